"""``msckpt convert``: the same checkpoint, or the same model, in another format."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from msckpt_jax import display, dtypes, progress
from msckpt_jax.api import convert_model, jobs, targets
from msckpt_jax.checkpoint import cipher, copying, formats, leaves, metadata, records, writer
from msckpt_jax.checkpoint.formats import shards
from msckpt_jax.checkpoint.formats.format import Format, How
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.cli import common, options, sources
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lowering.target import Target
from msckpt_jax.parallel import merged, meshspec, placement, rank_records, strategy

DESCRIPTION = (
    """\
Write a checkpoint, or a model, in another format. A checkpoint SRC is

"""
    + sources.DESCRIPTION
    + """\
  FOLDER                        MindSpore's rank files rank_0, rank_1, ..., with their --strategy

and becomes the DST

  FILE.ckpt, FILE.safetensors   a file
  FOLDER, with --to             rank files of this layout
  FOLDER, with --max-shard-size  safetensors files with an index, as Hugging Face's libraries write
  FOLDER                        an Orbax checkpoint

Tensors are copied piece by piece, so that memory stays small for any size. The custom metadata of
Orbax become metadata of safetensors, or entries `metadata.KEY` of a .ckpt, and back. Files other
than .ckpt cannot be encrypted. Strings, which safetensors and rank files cannot hold, are left out
with a warning. The `value` that Orbax has below every nnx.Variable is left out of the names.

--to is a strategy file, `saved` (the shardings with which Orbax saved), or a mesh, given as

"""
    + meshspec.DESCRIPTION
    + """
A model SRC becomes a DST of another format operator by operator, or, where an operator has no
counterpart, through JAX:

  MODEL.mindir   ours or MindSpore's, to MODEL.air for Ascend's atc, or to MODEL.onnx
  MODEL.air      to MODEL.mindir or MODEL.onnx, always through JAX
"""
)
EXAMPLES = """\
  msckpt convert model.ckpt model.safetensors
  msckpt convert model.safetensors model.ckpt --crc
  msckpt convert model.ckpt half.ckpt --dtype bfloat16
  msckpt convert model.ckpt flax.ckpt --rename '^backbone\\.=' --rename 'gamma$=scale'
  msckpt convert plain.ckpt secret.ckpt --enc-key-file key.bin --enc-mode AES-GCM
  msckpt convert Qwen3-0.6B/ model.ckpt
  msckpt convert model.ckpt hub/ --max-shard-size 5GB
  msckpt convert run/1000 model.ckpt --filter '^params'
  msckpt convert run/1000 ranks/ --to saved
  msckpt convert run/1000 mesh/ --to 'x=2,y=4; kernel$=x,y'
  msckpt convert ranks/ orbax/ --strategy ranks/strategy.ckpt
  msckpt convert model.ckpt for_nnx/ --rename '$=.value'
  msckpt convert model.mindir model.air --soc Ascend910B
  msckpt convert model.mindir model.onnx --opset 22
  msckpt convert model.air again.mindir
"""
_METADATA = "metadata."
#: Options that only checkpoints heed.
_OF_CHECKPOINTS = (
    "dtype", "rename", "filter", "crc", "strategy", "to", "max_shard_size", "enc_key_file",
)  # fmt: skip
_FLOATS = {
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="file or folder to read")
    parser.add_argument("target", metavar="DST", help="file or folder to write")
    parser.add_argument("--dtype", choices=_FLOATS, help="cast all floating-point tensors to it")
    parser.add_argument(
        "--rename",
        metavar="REGEX=TEMPLATE",
        action="append",
        default=[],
        help=r"replace each match of the regular expression in the names (\1 is its first group); "
        "if given several times, rules apply in order",
    )
    parser.add_argument("--filter", metavar="REGEX", help="take only names in which it is found")
    parser.add_argument("--crc", action="store_true", help="add a check sum")
    parser.add_argument("--strategy", metavar="FILE", help="strategy file of rank files to read")
    parser.add_argument("--to", metavar="FILE|saved|MESH", help="write rank files of this layout")
    parser.add_argument(
        "--max-shard-size",
        metavar="SIZE",
        help="write a folder of safetensors files of at most so many bytes, like 5GB or 500MiB; "
        "they replace those of an earlier save as one",
    )
    options.add(parser)
    common.key_arguments(parser)
    common.key_arguments(parser, "enc")


class Work(NamedTuple):
    """The entries to write, and the metadata of the whole."""

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
    _check_sizes(args)
    source = _source(args)
    if args.to is not None:
        return _to_ranks(args, source)
    if args.max_shard_size is not None:
        return _to_folder(args, source)
    format = formats.of_path(args.target)
    work = _work(args, source, format)
    if format is None:
        _to_orbax(args, work)
    else:
        _to_file(args, work, format)
    kind = "an Orbax checkpoint" if format is None else format.name
    entries = display.counted(len(work.records), "entry", "entries")
    common.say(f"{args.target}: {kind}, {entries}, {display.size(work.nbytes)}")
    return 0


def _model(args: argparse.Namespace, source: Target) -> int:
    """Convert a model file to another format."""
    given = [name for name in _OF_CHECKPOINTS if getattr(args, name)]
    if given:
        arguments = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(
            f"{arguments} can be used for CheckPoints, not for the model {args.source}"
        )
    cipher = source.cipher(Path(args.source)) if source.cipher else None
    secrets = {} if cipher is None else common.model_secrets(args, args.source, cipher)
    file, notes = convert_model.convert(args.source, args.target, **secrets, **options.asked(args))
    common.say(*notes, f"{file}: {display.size(file.stat().st_size)}")
    return 0


def _source(args: argparse.Namespace) -> Any:
    """Open the source as a mapping with ``entries`` and ``pieces``, whatever its format."""
    in_ranks = os.path.isdir(args.source) and any(Path(args.source).glob("rank_*"))
    if args.strategy is None and in_ranks:
        raise ValueError(f"{args.source} holds rank files: give their --strategy")
    if args.strategy is not None and os.path.isdir(args.source):
        return merged.open_ranks(args.source, args.strategy, **common.rank_secrets(args))
    return common.open_sound_file(args, args.source)


def _check_sizes(args: argparse.Namespace) -> None:
    """Refuse a wrong --max-shard-size, and options that go with none."""
    if args.max_shard_size is None:
        return
    shards.size(args.max_shard_size, "--max-shard-size")
    if args.to or args.enc_key_file:
        raise ValueError("--max-shard-size cannot be combined with --to or --enc-key-file")
    if formats.of_path(args.target) is not None:
        raise ValueError(f"{args.target}: with --max-shard-size name a folder, not a file")


def _to_folder(args: argparse.Namespace, source: Any) -> int:
    """Write several files of the format that has such folders."""
    format = formats.SAFETENSORS
    work = _work(args, source, format)
    path = jobs.folder_path(args.target)
    jobs.check_folder(path)
    limit = shards.size(args.max_shard_size, "--max-shard-size")
    with progress.bar("convert", work.nbytes) as advance:
        how = How(check_sum=args.crc, metadata=work.metadata)
        job = jobs.Job(format.name, how, writer.Options(progress=advance))
        files, job = jobs.dealt(path, work.records, job, limit, {})
        jobs.run(files, job)
    size = display.size(work.nbytes)
    entries = display.counted(len(work.records), "entry", "entries")
    where = display.counted(len(files), f"{format.name} file")
    common.say(f"{path}: {entries}, {size}, in {where}")
    return 0


def _to_file(args: argparse.Namespace, work: Work, format: Format) -> None:
    target = jobs.target_path(args.target, format.name)
    # The environment is not asked: who may decrypt a file need not want an encrypted copy.
    key = None if args.enc_key_file is None else common.key_of(args.enc_key_file)
    mode = None if key is None else cipher.mode_named(args.enc_mode, "--enc-mode")
    if mode is not None and (args.crc or not format.encryption):
        raise ValueError(f"only {formats.CKPT.suffix} files can be encrypted, and without --crc")
    checked = b"" if mode is None else mode.check_key(key, "--enc-key-file")
    jobs.check_folder(target)
    with progress.bar("convert", work.nbytes) as advance:
        how = How(check_sum=args.crc, metadata=work.metadata)
        written = writer.Options(mode, checked, progress=advance, sealed=True)
        job = jobs.Job(format.name, how, written)
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
        raise ValueError(
            "--to cannot be combined with --crc, --enc-key-file, --dtype, --rename or --filter"
        )
    layouts = None
    if args.to == "saved":
        if getattr(source, "shardings", None) is None:
            raise ValueError("--to saved needs an Orbax checkpoint, which notes its shardings")
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
    common.say(f"{folder}: {len(files)} rank files, {display.size(total)}")
    return 0


def _work(args: argparse.Namespace, source: Any, format: Format | None) -> Work:
    """Plan the entries and metadata of a file of a format, or of an Orbax checkpoint."""
    chosen, rename = common.choose(args.filter), _renaming(args.rename)
    kept: list[Record] = []
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
        to, dtype = rename(entry.name), _FLOATS.get(args.dtype)
        kept.append(copying.renamed(source, entry.name, to, dtype))
    if not kept:
        raise CheckpointError("nothing is left to convert", file=source.path)
    if not has_metadata:
        kept += [leaves.of_value(_METADATA + k, metadata.text(v)) for k, v in about.items()]
    records.check_tags(kept)
    return Work(kept, about)


def _renaming(rules: list[str]) -> Callable[[str], str]:
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
