"""Saves of rank files over older ones that are killed, in a process that forks for each save.

``python -m tests.parallel.rank_kills FOLDER ROUNDS`` prints what was seen, as JSON, for
test_rank_set.py. It starts no backend of JAX, since its threads would not outlive a fork.
"""

from __future__ import annotations

import collections
import itertools
import json
import os
import random
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import msckpt_jax as ms
from msckpt_jax.api import jobs
from msckpt_jax.checkpoint import folder as folders
from msckpt_jax.checkpoint import leaves, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.records import File
from msckpt_jax.parallel import ranks, strategy
from msckpt_jax.parallel.layout import Layout
from msckpt_jax.parallel.rank_set import RankSet
from tests.checkpoint.kills import forked, killed_before

SIZE, NAMES = 12, ("a", "b", "c")
#: The number of kills at random moments in a nightly run, which has more cases, too.
NIGHTLY = 200
#: Where the strategy lies: in the folder of the ranks, and elsewhere.
INSIDE, OUTSIDE = "run/strategy.ckpt", "strategies/s.ckpt"


def layouts(count: int) -> dict[str, Layout]:
    return dict.fromkeys(NAMES, Layout((count,), ((0,),)))


def save(root: Path, value: int, count: int, place: str, name: str = "net.ckpt") -> None:
    """Save parameters that are ``value`` throughout, split over so many ranks."""
    run, path = root / "run", root / place
    part = np.full(SIZE // count, value, np.float32)
    files = [
        File(ranks.rank_path(run / name, rank), [leaves.of_value(n, part) for n in NAMES])
        for rank in range(count)
    ]
    of = RankSet(run, name, path, strategy.encode(path, layouts(count)))
    jobs.run(files, jobs.Job("ckpt", How(), writer.Options(threads=1), ranks=of))


def read(root: Path, place: str) -> int | str:
    """The value of the save that is read, or why there is none."""
    try:
        found = ms.load_checkpoint(root / "run", strategy=root / place)
    except FileNotFoundError:
        return "no strategy"
    except ms.CheckpointError as error:
        told = ("msckpt recover", "read again", "no rank_N folder", "are of different saves",
                "are needed")  # fmt: skip
        return next(text for text in told if text in str(error))
    return only(dict(found))


def read_by_others(root: Path, place: str) -> int | str:
    """The same by the rules of MindSpore, which knows neither journals nor the names of saves."""
    if not (root / place).exists():
        return "no strategy"
    count = next(iter(strategy.read(root / place)[0].values())).ranks
    paths = [root / f"run/rank_{rank}/net.ckpt" for rank in range(count)]
    if not all(path.exists() for path in paths):
        return "no rank file"
    parts = [ms.load_checkpoint(path) for path in paths]
    return only({name: np.concatenate([part[name] for part in parts]) for name in NAMES})


def only(params: dict[str, Any]) -> int:
    """The value that all parameters have throughout."""
    assert sorted(params) == sorted(NAMES)
    assert all(array.shape == (SIZE,) for array in params.values())
    (value,) = {int(x) for array in params.values() for x in array}
    return value


def check_clean(root: Path, place: str, count: int) -> None:
    """Nothing is left but the files of one save, and no folder is empty."""
    files = {f"run/rank_{rank}/net.ckpt" for rank in range(count)} | {place}
    found = {path.relative_to(root).as_posix() for path in root.rglob("*")}
    assert found == files | {above.as_posix() for f in files for above in Path(f).parents} - {"."}


def prepared(root: Path, count: int, place: str) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    for folder in {root / "run", (root / place).parent}:
        folder.mkdir(parents=True)
    save(root, 1, count, place)
    return root


def at_every_call(root: Path, old: int, new: int, place: str) -> dict[Any, int]:
    """Kill a save of 2 before each of its calls, then look, and end it in one of two ways."""
    seen: collections.Counter[Any] = collections.Counter()
    for call in itertools.count():
        prepared(root, old, place)
        if not killed_before(call, lambda: save(root, 2, new, place)):
            return {"calls": call, **seen}
        value = read(root, place)
        assert value in (1, 2, "msckpt recover", "no strategy"), (call, value)
        assert read_by_others(root, place) in (1, 2, "no strategy", "no rank file"), call
        seen[value] += 1
        if call % 2:
            folders.recover(root / "run")
            assert read(root, place) in (1, 2, "no strategy")
        save(root, 3, old, place)
        assert read(root, place) == read_by_others(root, place) == 3, call
        check_clean(root, place, old)
    raise AssertionError


def without_end(root: Path, place: str) -> None:
    for value in itertools.count(2):
        save(root, value, 3, place)


def at_random_moments(root: Path, rounds: int, place: str) -> dict[str, int]:
    """Kill saves over saves; the next run is now a reader that recovers, now a save."""
    prepared(root, 3, place)
    moments = random.Random(0)
    seen: collections.Counter[str] = collections.Counter()
    for number in range(rounds):
        child = forked(lambda: without_end(root, place))
        time.sleep(moments.uniform(0.001, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        value = read(root, place)
        assert isinstance(value, int) or value in ("msckpt recover", "no strategy"), value
        seen["whole" if isinstance(value, int) else str(value)] += 1
        seen["staged"] += (root / "run/.msckpt-save.net.ckpt").exists()
        read_by_others(root, place)
        if number % 2:
            save(root, 1, 3, place)
        else:
            folders.recover(root / "run")
        if read(root, place) != "no strategy":
            assert isinstance(read(root, place), int)
            check_clean(root, place, 3)
    return seen


def steps(root: Path) -> dict[str, int]:
    """Kill saves of further steps, which leave those before them as they are at any time."""
    prepared(root, 2, INSIDE)
    step = 0
    for step, call in enumerate(itertools.count(3, 7)):
        name = f"step{step}.ckpt"
        ended = not killed_before(call, lambda name=name: save(root, 2, 2, INSIDE, name))
        files = {rank: root / f"run/rank_{rank}/net.ckpt" for rank in range(2)}
        found = ms.load_checkpoint(files, strategy=root / INSIDE)
        assert only(dict(found)) == 1
        if ended:
            break
    stages = [path.name for path in (root / "run").glob(".msckpt-save*")]
    assert not stages, stages  # the last save has cleaned up after those before it
    return {"steps": step}


def main(root: Path, rounds: int) -> None:
    os.fsync = lambda fd: None  # the disk outlives a killed process
    warnings.simplefilter("ignore")  # JAX warns of os.fork, but has started no threads yet
    pairs = [(3, 3, INSIDE), (3, 3, OUTSIDE), (4, 2, INSIDE), (2, 4, OUTSIDE)]
    if rounds >= NIGHTLY:
        pairs += [(2, 4, INSIDE), (4, 2, OUTSIDE)]
    every = {f"{old} {new} {p}": at_every_call(root / "a", old, new, p) for old, new, p in pairs}
    at_random = {place: at_random_moments(root / "a", rounds, place) for place in (INSIDE, OUTSIDE)}
    print(json.dumps({"every": every, "random": at_random, "steps": steps(root / "a")}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
