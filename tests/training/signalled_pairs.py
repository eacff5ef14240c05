"""Pairs of runs that get signals, for signalled.py: each is a process of ``jax.distributed``."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from signalled_runs import kill, run  # beside this file


def spread(version: int) -> dict[str, Any]:
    sharding = jax.NamedSharding(jax.make_mesh((2,), ("x",)), jax.P("x"))
    whole = np.arange(8, dtype=np.float32) + version
    return {"w": jax.make_array_from_callback((8,), sharding, lambda i: whole[i])}


def two_steps(where: Path, me: int) -> None:
    """One gets the signal; the other is some steps behind, or ahead."""
    with run(where, grace=30) as ckpt:
        for number in range(1, 400):
            time.sleep(0.05 + 0.01 * me)
            if me == 1 and number == 10:
                kill()
            ckpt.step(spread(number))


def two_each(where: Path, me: int) -> None:
    """A scheduler sends the signal to all, at about one time."""
    with run(where, grace=30) as ckpt:
        for number in range(1, 400):
            time.sleep(0.05)
            if number == 10 + me:
                kill()
            ckpt.step(spread(number))


def two_ctrl_c(where: Path, me: int) -> None:
    with run(where, grace=30) as ckpt:
        for number in range(1, 400):
            time.sleep(0.05)
            if me == 0 and number == 10:
                kill(signal.SIGINT)
            ckpt.step(spread(number))


def two_silent(where: Path, me: int) -> None:
    """One makes no further step: the other gives up, and both end."""
    with run(where) as ckpt:
        for number in range(1, 400):
            time.sleep(0.05)
            if me == 1 and number == 10:
                kill()
                time.sleep(60)
            ckpt.step(spread(number))


def two_alone(where: Path, me: int) -> None:
    """Each trains for itself, and only one has a run: it saves what is its own."""
    jax.devices()
    if me == 0:
        with run(where) as ckpt:
            for number in range(1, 400):
                time.sleep(0.05)
                if number == 10:
                    kill()
                ckpt.step({"w": jnp.full(3, 1.0 * number)})


def two_ended(where: Path, me: int) -> None:
    """The loop is over when the signal comes."""
    with run(where, grace=30) as ckpt:
        for number in range(1, 6):
            ckpt.step(spread(number))
        if me == 1:
            kill()
            time.sleep(0.5)
