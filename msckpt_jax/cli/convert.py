"""``msckpt convert``: the same parameters, or the same model, in another format."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from msckpt_jax import dtypes, progress
from msckpt_jax.api import convert_model, jobs, targets
from msckpt_jax.checkpoint import cipher, copying, formats, metadata, records, writer
from msckpt_jax.checkpoint.formats.format import Format, How
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.cli import common, options
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lowering.target import Target
from msckpt_jax.parallel import merged, meshspec, placement, rank_records, strategy

DESCRIPTION = (
    """\
Write the parameters of one CheckPoint to another, in another format:

  FILE.ckpt, FILE.safetensors   a file
  a folder of rank_0, rank_1    MindSpore's rank files; as a source with their --strategy, as
                                a target with --to, the layout
  any other folder              as a source safetensors files with or without an index, as
                                Hugging Face's libraries write them (an index may be named, too);
                                else an Orbax checkpoint (of its steps, name one: run/1000)

Tensors are copied piece by piece, so that memory stays small for any size. The custom metadata
of Orbax become metadata of safetensors, or entries named `metadata.KEY` of a .ckpt, and back.
safetensors and rank files hold neither strings nor encryption: strings are left out with a
warning. The `value` that Orbax writes below every nnx.Variable is left out of the names.

A MindIR, ours or MindSpore's, becomes an AIR file for Ascend's atc, or an ONNX file:

  MODEL.mindir to MODEL.air or MODEL.onnx

--to names a strategy file, `saved` (the shardings with which Orbax saved), or a mesh:
"""
    + meshspec.DESCRIPTION
)
EXAMPLES = """\
  msckpt convert model.ckpt model.safetensors
  msckpt convert model.safetensors model.ckpt --crc
  msckpt convert model.ckpt half.ckpt --dtype bfloat16
  msckpt convert model.ckpt flax.ckpt --rename '^backbone\\.=' --rename 'gamma$=scale'
  msckpt convert plain.ckpt secret.ckpt --enc-key-file key.bin --enc-mode AES-GCM
  msckpt convert Qwen3-0.6B/ model.ckpt
  msckpt convert run/1000 model.ckpt --filter '^params'
  msckpt convert run/1000 ranks/ --to saved
  msckpt convert run/1000 mesh/ --to 'x=2,y=4; kernel$=x,y'
  msckpt convert ranks/ orbax/ --strategy ranks/strategy.ckpt
  msckpt convert model.ckpt for_nnx/ --rename '$=.value'
  msckpt convert model.mindir model.air --soc Ascend910B
  msckpt convert model.mindir model.onnx --opset 22
"""
_METADATA = "metadata."
#: Options that do nothing to a model.
_OF_CHECKPOINTS = ("dtype", "rename", "filter", "crc", "strategy", "to", "enc_key_file")
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
    parser.add_argument("--strategy", metavar="FILE", help="strategy of a source of rank files")
    parser.add_argument("--to", metavar="FILE|saved|MESHSPEC", help="write rank files so laid out")
    options.add(parser)
    common.key_arguments(parser)
    common.key_arguments(parser, "enc")


class Work(NamedTuple):
    """What is written: entries, and metadata of the whole."""

    records: list[Record]
    metadata: dict[str, Any]

    @property
    def nbytes(self) -> int:
        return sum(record.nbytes for record in self.records)


def run(args: argparse.Namespace) -> int:
    if os.path.exists(args.target) and os.path.samefile(args.source, args.target):
        raise ValueError(f"{args.target} is the source itself; convert to another name")
    if (model := targets.of_suffix(args.source)) is not None:
        return _model(args, model)
    source = _source(args)
    if args.to is not None:
        return _to_ranks(args, source)
    format = formats.of_path(args.target)
    work = _work(args, source, format)
    if format is None:
        _to_orbax(args, work)
    else:
        _to_file(args, work, format)
    what = "an Orbax checkpoint" if format is None else format.name
    print(f"{args.target}: {what}, {len(work.records)} entries, {common.size(work.nbytes)}")
    return 0


def _model(args: argparse.Namespace, source: Target) -> int:
    """A model file to another."""
    given = [name for name in _OF_CHECKPOINTS if getattr(args, name)]
    if given:
        arguments = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{arguments}: for CheckPoints, not for the model {args.source}")
    cipher = source.cipher(Path(args.source)) if source.cipher else None
    secrets = {} if cipher is None else common.model_secrets(args, args.source, cipher)
    file, notes = convert_model.convert(args.source, args.target, **secrets, **options.asked(args))
    for note in notes:
        print(note)
    print(f"{file}: {common.size(file.stat().st_size)}")
    return 0


def _source(args: argparse.Namespace) -> Any:
    """The source as a mapping with ``entries`` and ``pieces``, whatever it is."""
    in_ranks = os.path.isdir(args.source) and any(Path(args.source).glob("rank_*"))
    if args.strategy is None and in_ranks:
        raise ValueError(f"{args.source} holds rank files: give their --strategy")
    if args.strategy is not None and os.path.isdir(args.source):
        return merged.open_ranks(args.source, args.strategy, **common.rank_secrets(args))
    return common.open_sound_file(args, args.source)


def _to_file(args: argparse.Namespace, work: Work, format: Format) -> None:
    target = jobs.target_path(args.target, format.name)
    # Not from the environment: that a file may be decrypted does not ask for an encrypted copy.
    key = None if args.enc_key_file is None else common.key_of(args.enc_key_file)
    mode = None if key is None else cipher.mode_named(args.enc_mode, "--enc-mode")
    if mode is not None and (args.crc or not format.encryption):
        raise ValueError(f"encryption goes with {formats.CKPT.suffix} only, and without --crc")
    checked = b"" if mode is None else mode.check_key(key, "--enc-key-file")
    jobs.check_folder(target)
    with progress.bar("convert", work.nbytes) as advance:
        how = How(check_sum=args.crc, metadata=work.metadata)
        job = jobs.Job(format.name, how, writer.Options(mode, checked, progress=advance))
        jobs.run([File(target, work.records)], job)


def _to_orbax(args: argparse.Namespace, work: Work) -> None:
    if args.crc or args.enc_key_file:
        suffixes = " and ".join(formats.SUFFIXES)
        raise ValueError(f"--crc and --enc-key-file are for {suffixes} files")
    from msckpt_jax.interop import orbax_directory

    with progress.bar("convert", work.nbytes) as advance:
        orbax_directory.write(args.target, work.records, work.metadata, advance)


def _to_ranks(args: argparse.Namespace, source: Any) -> int:
    if args.crc or args.enc_key_file or args.dtype or args.rename or args.filter:
        raise ValueError("--to goes with no option that changes the entries; convert the files")
    layouts = None
    if args.to == "saved":
        if getattr(source, "shardings", None) is None:
            raise ValueError("--to saved is for sources of Orbax, which notes the shardings")
        from msckpt_jax.interop import orbax_directory

        layouts = orbax_directory.layouts(source)
    elif "=" in args.to:
        layouts = meshspec.parse(args.to, source.entries)
    folder = Path(args.target)
    if folder.is_dir() and any(folder.glob("rank_*")):
        raise ValueError(f"{folder} holds rank files already; convert to a new folder")
    target = placement.plan_of(args.to if layouts is None else layouts)
    common.warn_of_strings(rank_records.strings_left_out(source, target))
    files = rank_records.plan_files(source, target, folder, "rank", formats.CKPT.suffix)
    total = sum(record.nbytes for file in files for record in file.records)
    with progress.bar("convert", total) as advance:
        rank_records.write_files(files, progress=advance)
    if layouts is not None:
        strategy.write(folder / strategy.FILE, layouts)
    print(f"{folder}: {len(files)} rank files, {common.size(total)}")
    return 0


def _work(args: argparse.Namespace, source: Any, format: Format | None) -> Work:
    """What is written to a file of a format, or to Orbax."""
    chosen, rename = common.choose(args.filter), _renaming(args.rename)
    found: list[Record] = []
    about = dict(getattr(source, "custom_metadata", {}))
    has_metadata = format is None or format.metadata
    for entry in source.entries.values():
        if not chosen(entry.name):
            continue
        if entry.type == dtypes.STRING and has_metadata and entry.name.startswith(_METADATA):
            about[entry.name.removeprefix(_METADATA)] = metadata.value(source[entry.name])
            continue
        if entry.type == dtypes.STRING and format is not None and not format.strings:
            common.warn_of_strings([entry.name])
            continue
        record = copying.record_of(source, entry.name, _FLOATS.get(args.dtype))
        found.append(record._replace(tag=rename(record.tag)))
    if not found:
        raise CheckpointError("nothing is left to convert", file=source.path)
    if not has_metadata:
        found += [records.of_value(_METADATA + k, metadata.text(v)) for k, v in about.items()]
    records.check_tags(found)
    return Work(found, about)


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
