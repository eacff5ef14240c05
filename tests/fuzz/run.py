"""Fuzz readers for as long as wanted: ``python -m tests.fuzz.run 1000000 [TARGET ...]``.

A finding prints its target and number: ``python -m tests.fuzz.run 1 TARGET --first NUMBER`` makes
the same file again and leaves it in the folder that is printed.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import warnings
from pathlib import Path
from typing import Never

from tests.fuzz import targets

#: Seconds that a file may take; more is a finding.
_SECONDS = 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="the number of files for each target")
    parser.add_argument("targets", nargs="*", help="by default all")
    parser.add_argument("--first", type=int, default=0, help="the number of the first file")
    args = parser.parse_intermixed_args()
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _end)
    numbers = range(args.first, args.first + args.count)
    findings = sum(_run(name, numbers) for name in args.targets or targets.TARGETS)
    print(f"{findings} findings")
    return 1 if findings else 0


def _run(name: str, numbers: range) -> int:
    """Run a target; return the number of findings, the files of which stay."""
    folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    read = refused = findings = 0
    for number in numbers:
        signal.alarm(_SECONDS)
        try:
            counts = targets.run(name, range(number, number + 1), folder)
        except targets.FindingError as finding:
            print(f"{finding} (in {folder})", flush=True)
            findings += 1
            folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
            continue
        read, refused = read + counts[0], refused + counts[1]
    signal.alarm(0)
    print(f"{name}: {read:,} read, {refused:,} refused, {findings} findings", flush=True)
    return findings


def _end(*_: object) -> Never:
    raise TimeoutError(f"it takes more than {_SECONDS} seconds")


if __name__ == "__main__":
    raise SystemExit(main())
