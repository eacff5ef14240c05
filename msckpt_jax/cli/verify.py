"""``msckpt verify``: is a file what it claims to be."""

from __future__ import annotations

import argparse
from pathlib import Path

from msckpt_jax import progress
from msckpt_jax.api import targets
from msckpt_jax.cli import common, options
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lowering.target import Target

DESCRIPTION = """\
Check that every record's bytes fit its dims and dtype, that nothing is truncated, and that the
check sum is right if the file has one; of a folder of safetensors files also that each name is in
the file that the index says. All problems are listed with their byte offsets. MindSpore itself pads
short tensors with zeros and cuts long ones, in silence.

An AIR file (.air) is checked by the rules of GE's loader and against the prototypes of CANN 8.1,
and with --soc against a chip's kernels. Notes are no faults. An ONNX file (.onnx) is checked by
onnx.checker, all types and shapes too, and loaded by onnxruntime. A MindIR (.mindir) is read whole:
its weights must be there in full, and its graphs make a function of JAX; operators that load has no
meaning for are notes.
"""
EXAMPLES = """\
  msckpt verify model.ckpt && echo sound
  msckpt verify secret.ckpt --dec-key-file key.bin
  msckpt verify model.air --soc Ascend910B
  msckpt verify model.onnx
  msckpt verify model.mindir

exit status: 0 sound, 1 damaged, 2 the file cannot be read
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    common.key_arguments(parser)
    options.add(parser, {name for target in targets.every() for name in target.verify_options})


def run(args: argparse.Namespace) -> int:
    target = targets.of_suffix(args.file)
    return _checkpoint(args) if target is None else _model(args, target)


def _model(args: argparse.Namespace, target: Target) -> int:
    path = Path(args.file)
    cipher = target.cipher(path) if target.cipher else None
    asked = targets.options_for(target, options.asked(args))
    heeded = {name: asked[name] for name in target.verify_options}
    verdict = target.verify(path, **common.model_secrets(args, args.file, cipher), **heeded)
    for line in verdict.lines:
        print(line)
    return 0 if verdict.sound else 1


def _checkpoint(args: argparse.Namespace) -> int:
    file = common.open_file(args, args.file)
    problems = [str(problem) for problem in file.problems]
    if not problems and file.check_sums:
        try:
            with progress.bar("check sum", file.size) as advance:
                file.check_crc(advance)
        except CheckpointError as error:
            problems.append(str(error))
    for problem in problems:
        print(problem)
    if problems:
        print(f"{len(problems)} problems; {len(file)} entries are sound")
        return 1
    crc = "check sum right" if file.check_sums else "no check sum"
    print(f"{file.path}: {len(file)} entries, {file.size:,} bytes, {crc}")
    return 0
