"""Saves into a folder that are killed, in a process without threads: it forks for each save.

``python -m tests.checkpoint.kills FOLDER`` prints what was seen, as JSON, for test_folder.py.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

import msckpt_jax as ms
from msckpt_jax.checkpoint import folder as folders

#: The calls before which a process is killed: all by which a save changes the disk.
CALLS = ("open", "mkdir", "pwritev", "fsync", "rename", "replace", "unlink", "rmdir")
#: Bytes of a file: three files, the same number of others, one file.
THREE, TWO, ONE = 300, 400, 10_000
OTHERS = {
    "config.json": "{}",
    "notes-00001-of-00002.safetensors": "someone's",
    "tokenizer.model": "",
}


def tree(value: int) -> dict[str, np.ndarray]:
    """Six parameters of 100 bytes; no shape tells one save from another."""
    return {name: np.full(25, value, np.float32) for name in "abcdef"}


def save(target: Path, value: int, limit: int) -> None:
    ms.save_checkpoint(tree(value), target, format="safetensors", max_shard_size=limit)


def read(target: Path) -> int | str:
    """The value of the save that is read, or why there is none."""
    try:
        return only(ms.load_checkpoint(target))
    except FileNotFoundError:
        return "absent"
    except ms.CheckpointError as error:
        if "msckpt recover" in str(error) or "read again" in str(error):
            return "refused"
        raise


def read_by_others(target: Path) -> int | str:
    """The same by the rules of transformers, which knows no journal."""
    if (target / "model.safetensors").exists():
        return only(safetensors.numpy.load_file(target / "model.safetensors"))
    index = target / "model.safetensors.index.json"
    if not index.exists():
        return "absent"
    places = json.loads(index.read_text())["weight_map"]
    files = {file: safetensors.numpy.load_file(target / file) for file in set(places.values())}
    return only({name: files[file][name] for name, file in places.items()})


def only(params: Any) -> int:
    assert sorted(params) == sorted("abcdef")
    (value,) = {int(x) for name in params for x in np.asarray(params[name])}
    return value


def check_clean(target: Path) -> None:
    """Nothing is left but the files of one save, and those of others."""
    index = target / "model.safetensors.index.json"
    own = {"model.safetensors"}
    if index.exists():
        own = {index.name, *json.loads(index.read_text())["weight_map"].values()}
    assert {*os.listdir(target)} == own | ({*OTHERS} & {*os.listdir(target)})
    assert os.listdir(target.parent) == [target.name]


def prepared(root: Path, limit: int | None) -> Path:
    """A folder with an older save of the value 1; None: no folder."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    target = root / "out"
    if limit is not None:
        target.mkdir()
        for name, text in OTHERS.items():
            (target / name).write_text(text)
        save(target, 1, limit)
    return target


def forked(work: Callable[[], Any]) -> int:
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    return child


def killed_before(call: int, work: Callable[[], Any], calls: Sequence[str] = CALLS) -> bool:
    """Do ``work`` in a process that ends before the call of that number; tell whether it did."""
    count = itertools.count()

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def guard(*args: Any, **kwargs: Any) -> Any:
            if next(count) == call:
                os._exit(9)
            return function(*args, **kwargs)

        return guard

    def start() -> None:
        for name in calls:
            setattr(os, name, guarded(getattr(os, name)))
        work()

    status = os.waitstatus_to_exitcode(os.waitpid(forked(start), 0)[1])
    assert status in (0, 9), status
    return status == 9


def at_every_call(root: Path, old: int | None, new: int) -> dict[Any, int]:
    """Kill a save of 2 before each of its calls, then look, and end it in one of two ways."""
    seen: collections.Counter[Any] = collections.Counter()
    for call in itertools.count():
        target = prepared(root, old)
        if not killed_before(call, lambda target=target: save(target, 2, new)):
            return {"calls": call, **seen}
        value = read(target)
        before = "absent" if old is None else 1
        assert value in (before, 2, "refused"), (call, value)
        assert read_by_others(target) in (before, 2, "absent"), call
        seen[value] += 1
        if call % 2 and target.exists():
            assert folders.recover(target) == (value == "refused")
            assert read(target) == (2 if value == "refused" else value), call
            assert folders.recover(target) is False
        save(target, 3, THREE)
        assert read(target) == read_by_others(target) == 3, call
        assert all((target / n).read_text() == t for n, t in OTHERS.items() if old is not None)
        check_clean(target)
    raise AssertionError


def twice(root: Path) -> int:
    """Kill a save, kill the save that finishes it before each of its calls, and end that."""
    middle = 0
    while True:
        target = prepared(root, THREE)
        assert killed_before(middle, lambda target=target: save(target, 2, TWO))
        if read(target) == "refused":
            break
        middle += 1
    for call in itertools.count():
        target = prepared(root, THREE)
        assert killed_before(middle + 3, lambda target=target: save(target, 2, TWO))
        assert read(target) == "refused"
        ended = not killed_before(call, lambda target=target: save(target, 3, ONE))
        assert read(target) in (2, 3, "refused")
        assert read_by_others(target) in (1, 2, 3, "absent")  # 1, as long as its head is there
        folders.recover(target)
        assert read(target) in ((3,) if ended else (2, 3))
        check_clean(target)
        if ended:
            return call
    raise AssertionError


def without_end(target: Path) -> None:
    for value in itertools.count(2):
        save(target, value, (THREE, TWO, ONE)[value % 3])


def at_random_moments(root: Path, rounds: int = 60) -> dict[str, int]:
    target, moments = prepared(root, THREE), random.Random(0)
    seen: collections.Counter[str] = collections.Counter()
    for _ in range(rounds):
        child = forked(lambda: without_end(target))
        time.sleep(moments.uniform(0.001, 0.05))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        seen["refused" if read(target) == "refused" else "whole"] += 1
        seen["staged"] += (target / ".msckpt-save").exists()
        read_by_others(target)
        folders.recover(target)
        assert isinstance(read(target), int)
        check_clean(target)
    return seen


def while_it_saves(root: Path, seconds: float = 2) -> dict[str, int]:
    """Read while another process saves without end: whole sets, or refusals."""
    target = prepared(root, THREE)
    child = forked(lambda: without_end(target))
    seen: collections.Counter[str] = collections.Counter()
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            seen["refused" if read(target) == "refused" else "whole"] += 1
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    folders.recover(target)
    return seen


def main(root: Path) -> None:
    os.fsync = lambda fd: None  # the disk outlives a killed process
    warnings.simplefilter("ignore")  # JAX warns of os.fork, but has started no threads yet
    pairs = [(None, THREE), (THREE, THREE), (THREE, TWO), (THREE, ONE), (ONE, THREE), (ONE, ONE)]
    seen = {
        "every": {f"{old} {new}": at_every_call(root / "a", old, new) for old, new in pairs},
        "twice": twice(root / "a"),
        "random": at_random_moments(root / "a"),
        "reading": while_it_saves(root / "a"),
    }
    print(json.dumps(seen))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
