"""``msckpt convert``: the same parameters in another format, with other dtypes or names."""

from __future__ import annotations

import argparse
import os
import re
import sys

import ml_dtypes
import numpy as np

from msckpt_jax import dtypes
from msckpt_jax.checkpoint import cipher, copying, records, save, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.reader import CheckpointFile
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.cli import common
from msckpt_jax.errors import CheckpointError

DESCRIPTION = """\
Write the parameters of one file to another; the formats follow from the names (.ckpt or
.safetensors). Tensors are copied piece by piece, so that memory stays small for files of any
size. safetensors holds neither strings nor encryption: strings are left out with a warning.
"""
EXAMPLES = """\
  msckpt convert model.ckpt model.safetensors
  msckpt convert model.safetensors model.ckpt --crc
  msckpt convert model.ckpt half.ckpt --dtype bfloat16
  msckpt convert model.ckpt flax.ckpt --rename '^backbone\\.=' --rename 'gamma$=scale'
  msckpt convert plain.ckpt secret.ckpt --enc-key-file key.bin --enc-mode AES-GCM
"""
_FLOATS = {
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC")
    parser.add_argument("target", metavar="DST")
    parser.add_argument("--dtype", choices=_FLOATS, help="dtype of all floating-point tensors")
    parser.add_argument(
        "--rename",
        metavar="REGEX=TEMPLATE",
        action="append",
        default=[],
        help=r"replace what the regular expression finds in each name (\1 is its first group); "
        "several are applied in order",
    )
    parser.add_argument("--filter", metavar="REGEX", help="only names in which it is found")
    parser.add_argument("--crc", action="store_true", help="write a check sum")
    common.key_arguments(parser)
    common.key_arguments(parser, "enc")


def run(args: argparse.Namespace) -> int:
    if os.path.exists(args.target) and os.path.samefile(args.source, args.target):
        raise ValueError(f"{args.target} is the source itself; convert to another name")
    format = "safetensors" if args.target.endswith(".safetensors") else "ckpt"
    file = common.open_sound_file(args, args.source)
    found = _records(args, file, format)
    # Not from the environment: that a file may be decrypted does not ask for an encrypted copy.
    key = None if args.enc_key_file is None else common.key_of(args.enc_key_file)
    mode = None if key is None else cipher.mode_named(args.enc_mode, "--enc-mode")
    if mode is not None and (args.crc or format == "safetensors"):
        raise ValueError("encryption goes with .ckpt only, and without --crc")
    checked = b"" if mode is None else mode.check_key(key, "--enc-key-file")
    target = save.target_path(args.target, format)
    save.check_folder(target)
    total = sum(record.nbytes for record in found)
    with common.progress("convert", total) as advance:
        options = writer.Options(args.crc, mode, checked, progress=advance)
        job = save.Job(format, None, planning.SLICE_BYTES, options)
        save.run([File(target, found)], job)
    print(f"{target}: {len(found)} entries, {common.size(total)}")
    return 0


def _records(args: argparse.Namespace, file: CheckpointFile, format: str) -> list[Record]:
    chosen, rename = common.choose(args.filter), _renaming(args.rename)
    found = []
    for entry in file.entries.values():
        if not chosen(entry.name):
            continue
        if entry.type == dtypes.STRING and format == "safetensors":
            print(f"msckpt: warning: {entry.name} is a string: left out", file=sys.stderr)
            continue
        record = copying.record_of(file, entry.name, _FLOATS.get(args.dtype))
        found.append(record._replace(tag=rename(record.tag)))
    if not found:
        raise CheckpointError("nothing is left to convert", file=file.path)
    records.check_tags(found)
    return found


def _renaming(rules: list[str]):
    compiled = []
    for rule in rules:
        pattern, equals, template = rule.partition("=")
        if not equals:
            raise ValueError(f"--rename {rule!r} must be REGEX=TEMPLATE")
        try:
            compiled.append((re.compile(pattern), template))
            re.sub(pattern, template, "")
        except re.error as error:
            raise ValueError(f"--rename {rule!r}: {error}") from None

    def rename(name: str) -> str:
        for pattern, template in compiled:
            name = pattern.sub(template, name)
        return name

    return rename
