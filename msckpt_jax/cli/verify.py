"""``msckpt verify``: the check that a file is what it claims to be."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from msckpt_jax import display, progress
from msckpt_jax.api import targets
from msckpt_jax.checkpoint import cipher, paths
from msckpt_jax.checkpoint.fetching import fetched
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.cli import common, options, sources
from msckpt_jax.errors import CheckpointError

if TYPE_CHECKING:
    from msckpt_jax.lowering.target import Target

DESCRIPTION = (
    """\
Check that a checkpoint or a model is sound. Checkpoints are

"""
    + sources.DESCRIPTION
    + """
The bytes of every record must fit its dims and dtype, nothing may be truncated, and check sums must
be right where there are any. Each block of an encrypted file is checked, and by the seal (AES-GCM
of msckpt_jax) that all are of one save and in order; the last line tells. In a folder with an index
each name must be in the file that the index says. All problems are listed, with their byte offsets.
(MindSpore silently pads short tensors with zeros, and cuts long tensors.) Models are

  MODEL.mindir   read whole: its weights must be complete, and its graphs a function of JAX
  MODEL.air      checked by the rules of GE's loader and the prototypes of CANN 8.1, and with --soc
                 against the kernels of a chip
  MODEL.onnx     checked by onnx.checker, types and shapes included, and loaded by onnxruntime,
                 where that is installed; with --runtime run by another, too, on random numbers, and
                 compared with onnxruntime's results; --runtime lite runs nothing, but lists what
                 MindSpore Lite's converter cannot read, by its source

Notes, such as operators that load has no meaning for, are no faults.
"""
    + sources.STORES
)
EXAMPLES = """\
  msckpt verify model.ckpt && echo sound
  msckpt verify Qwen3-0.6B/
  msckpt verify run/1000
  msckpt verify secret.ckpt --dec-key-file key.bin
  msckpt verify model.air --soc Ascend910B
  msckpt verify model.onnx
  msckpt verify model.onnx --runtime lite
  msckpt verify model.mindir

exit status: 0 the file is sound, 1 it is damaged, 2 it cannot be read
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="file or folder to check")
    parser.add_argument("--json", action="store_true", help="print JSON")
    common.key_arguments(parser)
    known = targets.options()
    options.add(parser, {name for name, (option, _) in known.items() if option.verifies})


def run(args: argparse.Namespace) -> int:
    target = targets.of_suffix(args.file)
    return _checkpoint(args) if target is None else _model(args, target)


def _model(args: argparse.Namespace, target: Target) -> int:
    path = paths.path_of(args.file)
    cipher = target.cipher(path) if target.cipher else None
    asked = targets.options_for(target, options.asked(args))
    heeded = {name: asked[name] for name, option in target.options.items() if option.verifies}
    secrets = common.model_secrets(args, args.file, cipher)
    with progress.waiting(f"verify {args.file}"), fetched(path, target.beside) as there:
        verdict = target.verify(there, **secrets, **heeded)
    lines = [line.replace(str(there), args.file) for line in verdict.lines]
    return _say(args, target.name.lower(), verdict.sound, lines)


def _checkpoint(args: argparse.Namespace) -> int:
    file = common.open_file(args, args.file)
    unknown = [e.unknown.within(file.path) for e in file.entries.values() if e.unknown]
    problems = [str(problem) for problem in (*file.problems, *unknown)]
    if not problems and file.check_sums:
        try:
            with progress.bar("check sum", file.size) as advance:
                file.check_crc(advance)
        except CheckpointError as error:
            problems.append(str(error))
    entries = display.counted(len(file) - len(unknown), "entry", "entries")
    said = f"{file.path}: {entries}, {file.size:,} bytes, {_guarded(file)}"
    if problems:
        said = f"{display.counted(len(problems), 'problem')}; {entries} sound"
    return _say(args, file.format, not problems, [*problems, said])


def _say(args: argparse.Namespace, format: str, sound: bool, lines: list[str]) -> int:
    """Print the verdict on a file, and return the exit status."""
    if args.json:
        verdict = {"file": args.file, "format": format, "sound": sound, "lines": lines}
        common.say_json(verdict)
    else:
        common.say(*lines)
    return 0 if sound else 1


def _guarded(file: CheckpointFile) -> str:
    """The way in which the file is guarded against damage and forgery."""
    if file.cipher is None:
        return "check sum right" if file.check_sums else "no check sum"
    if file.sealed:
        return "authenticated as a whole"
    gcm = cipher.mode_named(file.cipher, "cipher").authenticated
    return "each block authenticated, but no seal for their order" if gcm else "not authenticated"
