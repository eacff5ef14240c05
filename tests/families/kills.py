"""Conversions that are killed, in a process without threads: it forks for each of them.

``python -m tests.families.kills ORBAX FOLDER`` prints what was seen, as JSON, for test_resuming.py.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msckpt_jax as ms
from msckpt_jax.checkpoint import plan, writer
from msckpt_jax.parallel import cells, ordered
from tests.checkpoint.kills import forked, killed_before
from tests.families import models, orbaxes

CONFIG = models.config("llama") | {"num_hidden_layers": 4, "intermediate_size": 48}
#: The calls before which a process ends: all by which a save changes the disk.
CALLS = ("open", "mkdir", "pwrite", "pwritev", "fsync", "rename", "replace", "unlink", "ftruncate")
LIMIT = 20_000


def family() -> ms.Family:
    return ms.Family(CONFIG, jax="maxtext", scan_axis=1)


def convert(source: Path, target: Path, resume: str | None, **options: Any) -> None:
    """Convert in small steps, to a folder or to a file, by the name."""
    cells.CELL_BYTES, ordered.STEP_BYTES, plan.CHUNK_BYTES = 1024, 4096, 2048
    if target.suffix:
        orbaxes.convert_to_file(source, target, family(), resume, **options)
    else:
        orbaxes.convert(source, target, family(), LIMIT, resume, **options)


def written(source: Path, target: Path, resume: str | None, note: Path) -> None:
    """Convert, and note how many bytes of tensors were written, rather than found."""
    count, original = [0], writer.write_vector

    def counted(fd: int, data: list, nbytes: int, offset: int) -> None:
        count[0] += nbytes
        original(fd, data, nbytes, offset)

    writer.write_vector = counted
    convert(source, target, resume)
    note.write_text(str(count[0]))


def ended(work: Callable[[], Any]) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(forked(work), 0)[1])


class Kills:
    """Conversions of a checkpoint into a folder, and the bytes that they should have."""

    def __init__(self, source: Path, root: Path, name: str):
        self.source, self.root, self.target = source, root, root / "out" / name
        self.prepared()
        begin = time.perf_counter()
        self.wanted, self.all = self.finished("job")
        self.seconds = time.perf_counter() - begin

    def prepared(self) -> None:
        shutil.rmtree(self.root / "out", ignore_errors=True)
        (self.root / "out").mkdir()
        if self.target.name == "older":
            self.target.mkdir()
            (self.target / "model.safetensors").write_text("an older save")
            (self.target / "notes").write_text("someone's")

    def finished(self, resume: str | None) -> tuple[dict[str, bytes], int]:
        """End what a killed run has left; return the files, and the bytes that were written."""
        self.target.parent.mkdir(exist_ok=True)
        note = self.root / "note"
        assert ended(lambda: written(self.source, self.target, resume, note)) == 0
        files = orbaxes.contents(self.target) if self.target.is_dir() else {}
        assert os.listdir(self.target.parent) == [self.target.name]
        if self.target.is_file():
            files = {self.target.name: self.target.read_bytes()}
        return files, int(note.read_text())

    def at_calls(self, step: int) -> list[int]:
        """Kill before every ``step``-th call, and go on; return the bytes written then."""
        out = []
        for call in itertools.count(step // 2, step):
            self.prepared()
            work = lambda: convert(self.source, self.target, "job", threads=1)  # noqa: E731
            if not killed_before(call, work, CALLS):
                return out
            files, nbytes = self.finished("job")
            assert files == self.wanted, call
            out.append(nbytes)
        raise AssertionError

    def at_random_moments(self, rounds: int) -> int:
        """Kill again and again until it is done; return the number of kills."""
        moments, kills = random.Random(1), 0  # whose first moment comes early
        for _ in range(rounds):
            self.prepared()
            while True:
                child = forked(lambda: convert(self.source, self.target, "job"))
                time.sleep(moments.uniform(0, 1.5 * self.seconds))
                os.kill(child, signal.SIGKILL)
                if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
                    break
                kills += 1
            files, _ = self.finished("job")
            assert files == self.wanted
        return kills

    def of_another_job(self, call: int) -> int:
        """Kill one job and do another; return the bytes written by that."""
        self.prepared()
        work = lambda: convert(self.source, self.target, "job", threads=1)  # noqa: E731
        assert killed_before(call, work, CALLS)
        files, nbytes = self.finished("another")
        assert files == self.wanted
        return nbytes


def main(source: Path, root: Path) -> None:
    seen = {}
    for name, step in (("folder", 23), ("older", 31), ("file.safetensors", 17)):
        kills = Kills(source, root, name)
        at_calls = kills.at_calls(step)
        seen[name] = {
            "all": kills.all,
            "calls": at_calls,
            "another": kills.of_another_job(step * (len(at_calls) - 2)),
            "random": kills.at_random_moments(2),
        }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
