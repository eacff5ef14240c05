"""Faults at many points of a job: ``python -m tests.faults.sweep JOB POINTS FOLDER``.

Prints what was seen, as JSON, for test_faults.py. It fails where a reader gets a mixture or
nothing, an error does not name a file or leaves something behind, or the next run is not clean.
"""

from __future__ import annotations

import collections
import importlib
import itertools
import json
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"

import msckpt_jax as ms
from msckpt_jax.parallel import unified
from tests.faults import inject, jobs

FAULTS = {
    "killed": inject.kill, "full": inject.full, "broken": inject.broken, "short": inject.short,
}  # fmt: skip
OLD, NEW, LAST = 1, 2, 3


class Sweep:
    """A job, done again and again over what an older run has left, with a fault each time."""

    def __init__(self, name: str, root: Path):
        self.job, self.root = jobs.JOBS[name], root
        self.folder, self.kept = root / "work", root / "kept"
        self.note = root.with_name(f"{root.name}.note")  # not on the disk that is full
        (self.kept / "out").mkdir(parents=True)
        (self.kept / "src").mkdir()
        self.source(self.kept, OLD)
        self.old: int | str = "absent"
        if self.job.renews:
            self.job.work(self.kept, OLD)
            self.old = OLD
        self.calls = self.clean(NEW)
        self.whole = _listing(self.folder)

    def source(self, folder: Path, value: int) -> None:
        if self.job.source is not None:
            self.job.source(folder, value)

    def prepare(self) -> None:
        """Put what the older run has left in its place, and a new source."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.kept, self.folder)
        self.source(self.folder, NEW)

    def clean(self, value: int) -> int:
        """Do the job without a fault; return the number of its calls."""
        self.prepare()
        outcome = self.run(value)
        assert outcome.error is None, outcome
        assert self.read() == value
        return outcome.calls

    def run(self, value: int, **fault: Any) -> inject.Outcome:
        return inject.run(lambda: self.job.work(self.folder, value), self.note, **fault)

    def read(self) -> int | str:
        """The value that is read, or why there is none. TensorStore does not live with forks."""

        def value() -> int | str:
            try:
                return self.job.read(self.folder)
            except FileNotFoundError:
                return "absent"
            except ms.CheckpointError:
                return "refused"

        outcome = inject.run(value, self.note)
        assert outcome.error is None, outcome
        return outcome.result

    def at(self, point: int, fault: inject.Fault) -> str:
        """Break the job at a call, then look, and do it again; return what was seen."""
        self.prepare()
        before = _listing(self.folder)
        outcome = self.run(NEW, fault=fault, at=point)
        return self.looked(point, outcome, before)

    def with_room(self, pages: int) -> str:
        """Do the job on a small disk with room for so many pages, then look, and do it again."""
        self.prepare()
        before = _listing(self.folder)
        filler = self.root / "filler"
        disk = os.statvfs(self.root)
        filler.write_bytes(bytes((disk.f_bavail - pages) * disk.f_frsize))
        outcome = self.run(NEW)
        filler.unlink()
        return self.looked(pages, outcome, before)

    def looked(self, point: int, outcome: inject.Outcome, before: set[str]) -> str:
        seen = self.read()
        assert seen in (self.old, NEW, *self.job.between, "absent", "refused"), (point, seen)
        if outcome.error is not None:
            self.check_error(outcome.error, before, seen)
        elif not outcome.killed:
            assert seen == NEW, (point, outcome, seen)
        self.source(self.folder, LAST)
        if seen == NEW and not self.job.renews:
            return "whole"
        again = self.run(LAST)
        assert again.error is None, (point, outcome, seen, again)
        assert self.read() == LAST, (point, outcome, seen)
        self.check_listing(point)
        return f"{seen}" + (" error" if outcome.error else "")

    def check_error(self, error: str, before: set[str], seen: int | str) -> None:
        assert "Errno" in error or "CheckpointError" in error, error
        assert os.fspath(self.folder) in error, error
        after = _listing(self.folder)
        journal = any(name.endswith("journal.json") for name in after)
        if not journal and seen == self.old:
            assert after == before, (error, after ^ before)

    def check_listing(self, point: int) -> None:
        names = _listing(self.folder)
        left = {n for n in names - self.whole if ".tmp" in n or ".msckpt" in n or "/." in n}
        assert not left, (point, left)
        if self.job.read is not jobs.JOBS["train"].read:
            assert names == self.whole, (point, names ^ self.whole)


def _listing(folder: Path) -> set[str]:
    """The files and folders below ``out``; Orbax names some of its files by chance."""
    out = folder / "out"
    names = {os.fspath(path.relative_to(out)) for path in out.rglob("*")}
    return {name for name in names if "orbax/" not in name}


def main(name: str, points: int, root: Path) -> None:
    warnings.simplefilter("ignore")  # JAX warns of os.fork, and no child runs a program of XLA
    unified._PART_BYTES = 500
    if "Orbax" in name:
        importlib.import_module("orbax.checkpoint")  # else each of the processes would
    for value in (OLD, NEW, LAST):
        jobs.sharded(value)
    sweep = Sweep(name, root)
    seen: dict[str, Any] = {"calls": sweep.calls}
    for kind, fault in FAULTS.items():
        count = points if kind == "killed" else points // 3 + 1
        at = {round((number + 0.5) * sweep.calls / count - 0.5) for number in range(count)}
        seen[kind] = collections.Counter(sweep.at(point, fault) for point in sorted(at))
    if os.path.ismount(root):
        rooms = map(sweep.with_room, itertools.count())
        seen["room"] = collections.Counter(
            itertools.takewhile(lambda state: "error" in state, rooms)
        )
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
