"""``msckpt verify``: is a file what it claims to be."""

from __future__ import annotations

import argparse

from msckpt_jax.cli import common

DESCRIPTION = """\
Check that every record's bytes fit its dims and dtype, that nothing is truncated, and that the
check sum is right if the file has one. All problems are listed with their byte offsets. MindSpore
itself pads short tensors with zeros and cuts long ones, in silence.
"""
EXAMPLES = """\
  msckpt verify model.ckpt && echo sound
  msckpt verify secret.ckpt --dec-key-file key.bin

exit status: 0 sound, 1 damaged, 2 the file cannot be read
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE")
    common.key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    file = common.open_file(args, args.file)
    problems = [str(problem) for problem in file.problems]
    if not problems and file.crc is not None:
        with common.progress("check sum", file.payload) as advance:
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
