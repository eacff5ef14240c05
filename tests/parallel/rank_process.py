"""Saves of rank files by several processes of jax.distributed, for test_rank_set.py."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import process  # beside this file: it takes the arguments, and starts JAX
from jax.experimental import multihost_utils
from process import SPECS, folder, me, tree, whole

import msckpt_jax as ms
from msckpt_jax.checkpoint import folder as folders_of
from msckpt_jax.parallel import merged, ordered


def save(mesh: Any, version: int, where: str = "", **kwargs: Any) -> Any:
    found = {k: v for k, v in tree(mesh, version).items() if k != "note"}
    Path(folder, where).mkdir(exist_ok=True)
    return ms.save_checkpoint(found, f"{folder}/{where}/net", integrated_save=False, **kwargs)


def check(version: int, hosts: int = 0) -> None:
    """The files are of one save; those of several hosts are put together."""
    places = [Path(folder, f"host{host}") for host in range(hosts)] or [Path(folder)]
    files = {rank: next(p for place in places if (p := place / f"rank_{rank}/net.ckpt").exists())
             for rank in range(8)}  # fmt: skip
    found = merged.MergedCheckpoint(files, places[0] / "strategy.ckpt")
    assert all((found[name] == whole(version)).all() for name in SPECS)
    for place in places:
        assert not list(place.glob(".msckpt*"))
        assert all(any(f.iterdir()) for f in place.glob("rank_*"))


def full(*args: Any, **kwargs: Any) -> None:
    raise OSError(28, "No space left on device")


def sets(mesh: Any) -> None:
    """One that fails, fails for all; asynchronous saves; hosts that share no file system."""
    save(mesh, 1)
    write = ordered.write
    for victim in (0, process.count - 1):
        if me == victim:
            ordered.write = full
        try:
            save(mesh, 2)
        except (ms.CheckpointError, OSError) as error:
            print(f"told: {error}", flush=True)
        else:
            raise AssertionError
        ordered.write = write
        multihost_utils.sync_global_devices("told")
        check(1)
        multihost_utils.sync_global_devices("checked")
    handles = [save(mesh, version, async_save=True) for version in (2, 3)]
    handles[1].result()
    multihost_utils.sync_global_devices("saved")
    check(3)
    for version in (4, 5):
        save(mesh, version, f"host{min(me, 1)}")
    multihost_utils.sync_global_devices("saved by hosts")
    check(5, hosts=2)


def cut(mesh: Any, moment: str, victim: str) -> None:
    """Save over what the last such group has left, then be killed in the midst of another save."""
    save(mesh, 1)
    multihost_utils.sync_global_devices("saved")
    check(1)
    if me == int(victim):
        module, name = {
            "staging": (ordered, "write"),
            "written": (folders_of, "_finish"),
            "replacing": (folders_of, "_move"),
        }[moment]
        original = getattr(module, name)

        def kill(*args: Any, **kwargs: Any) -> None:
            if moment == "replacing":
                original(args[0][:3], *args[1:])
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(module, name, kill)
    multihost_utils.sync_global_devices("begin")
    try:
        save(mesh, 2, timeout=3)
    except ms.CheckpointError as error:
        print(f"told: {error}", flush=True)
    os._exit(0)  # jax.distributed would wait for the dead process


if __name__ == "__main__":
    process.main(globals())
