"""``msckpt verify``: is a file what it claims to be."""

from __future__ import annotations

import argparse
from pathlib import Path

from msckpt_jax import progress
from msckpt_jax.air.prototypes import SOCS
from msckpt_jax.cli import common
from msckpt_jax.errors import AirError, MindIRError

DESCRIPTION = """\
Check that every record's bytes fit its dims and dtype, that nothing is truncated, and that the
check sum is right if the file has one. All problems are listed with their byte offsets. MindSpore
itself pads short tensors with zeros and cuts long ones, in silence.

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
    parser.add_argument("--soc", choices=SOCS, help="the chip that an AIR file is for")


def run(args: argparse.Namespace) -> int:
    return _KINDS.get(Path(args.file).suffix, _checkpoint)(args)


def _air(args: argparse.Namespace) -> int:
    from msckpt_jax.air import check, file  # protobuf, only where it is needed

    try:
        model = file.read(args.file)
    except AirError as error:
        print(error)
        return 1
    found = check.check(model, soc=args.soc)
    for finding in found:
        print(finding)
    faults = sum(finding.fault for finding in found)
    operators = sum(len(graph.op) for graph in model.graph)
    print(f"{args.file}: {operators} operators, {faults} faults, {len(found) - faults} notes")
    return 1 if faults else 0


def _onnx(args: argparse.Namespace) -> int:
    from msckpt_jax.onnx import check

    found = check.check(Path(args.file))
    for problem in found.problems:
        print(problem)
    if found.opset is not None:
        print(f"{args.file}: opset {found.opset}, {found.nodes} nodes")
    return 1 if found.problems else 0


def _mindir(args: argparse.Namespace) -> int:
    from msckpt_jax.graph import meaning
    from msckpt_jax.mindir import reader, source

    mode = source.encryption(args.file)
    key = common.needed_key(args, args.file, mode) if mode else None
    try:
        graph = reader.read(args.file, key, args.dec_mode or mode or "AES-GCM").graph
    except MindIRError as error:
        print(error)
        return 1
    nodes = list(graph.walk())
    unknown = sorted({node.op for node in nodes} - meaning.table().keys() - {"If", "While"})
    for op in unknown:
        print(f"note: load has no meaning for the operator {op}")
    weights = len(graph.parameters)
    print(f"{args.file}: {len(nodes)} operators, {weights} parameters, {len(unknown)} notes")
    return 0


def _checkpoint(args: argparse.Namespace) -> int:
    file = common.open_file(args, args.file)
    problems = [str(problem) for problem in file.problems]
    if not problems and file.crc is not None:
        with progress.bar("check sum", file.payload) as advance:
            found = file.compute_crc(advance)
        if found != file.crc:
            problems.append(f"{file.path}: the check sum is {file.crc:#010x}, found {found:#010x}")
    for problem in problems:
        print(problem)
    if problems:
        print(f"{len(problems)} problems; {len(file)} entries are sound")
        return 1
    crc = "check sum right" if file.crc is not None else "no check sum"
    print(f"{file.path}: {len(file)} entries, {file.size:,} bytes, {crc}")
    return 0


_KINDS = {".air": _air, ".mindir": _mindir, ".onnx": _onnx}
