"""Runs that get signals, for signalled.py: each is a function of the folder that it saves to."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from msckpt_jax.checkpoint import writer
from msckpt_jax.training import preemption

GRACE = 3.0
donating = jax.jit(lambda x: x + 1, donate_argnums=0)


def kill(*numbers: int) -> None:
    for number in numbers or [signal.SIGTERM]:
        os.kill(os.getpid(), number)


def soon(seconds: float, *numbers: int) -> None:
    threading.Timer(seconds, kill, numbers).start()


def in_compiled_code(until: Callable[[], Any]) -> None:
    """Let control not return to Python until a function returns: a lock that no signal breaks."""
    lock, libc = ctypes.create_string_buffer(128), ctypes.CDLL(None)

    def unlock() -> None:
        until()
        libc.pthread_mutex_unlock(lock)

    libc.pthread_mutex_lock(lock)
    threading.Thread(target=unlock, daemon=True).start()
    libc.pthread_mutex_lock(lock)


def await_wish(ckpt: ModelCheckpoint) -> None:
    """Wait until the main thread has been asked to leave, half of the grace after the signal."""
    while not (ckpt._preemption in preemption._nudged or ckpt._preemption._answered.is_set()):
        time.sleep(0.01)


def in_callback(seconds: float) -> None:
    """A step with a callback, which runs in the main thread."""

    def wait(x: Any) -> Any:
        time.sleep(seconds)
        return np.asarray(x)

    x = jnp.zeros(3)
    jax.jit(lambda x: jax.pure_callback(wait, x, x))(x).block_until_ready()


def run(where: Path, state: Any = None, grace: float = GRACE, **options: Any) -> ModelCheckpoint:
    config = CheckpointConfig(options.pop("steps", 100), exception_save=True, **options)
    return ModelCheckpoint("m", where, config, state=state, preemption_grace_seconds=grace)


def loop(ckpt: ModelCheckpoint, act: Callable[[int], object], step: Any = donating) -> None:
    """Five steps; ``act`` is called before each is told."""
    state = jnp.zeros(3)
    for number in range(1, 6):
        state = step(state)
        act(number)
        ckpt.step({"w": state})


def slowly(seconds: float) -> None:
    """Let each file be slow to write."""
    original = writer.write

    def write(*args: Any) -> None:
        time.sleep(seconds)
        original(*args)

    writer.write = write


# One process


def once(where: Path) -> None:
    with run(where) as ckpt:
        loop(ckpt, lambda n: kill() if n == 3 else None)


def ctrl_c(where: Path) -> None:
    with run(where) as ckpt:
        loop(ckpt, lambda n: kill(signal.SIGINT) if n == 3 else None)


def twice(where: Path) -> None:
    """At once: the state of step 2 is donated."""
    with run(where) as ckpt:
        loop(ckpt, lambda n: (kill(), kill()) if n == 3 else None)


def last(where: Path) -> None:
    """No step comes: a normal end, then the signal."""
    with run(where) as ckpt:
        loop(ckpt, lambda n: None)
        kill()


def off(where: Path) -> None:
    with ModelCheckpoint("m", where, CheckpointConfig(100)) as ckpt:
        loop(ckpt, lambda n: kill() if n == 3 else None)


def evaluating(where: Path) -> None:
    """The state given last is alive, and no step comes."""
    with run(where) as ckpt:
        loop(ckpt, lambda n: None)
        kill()
        time.sleep(60)


def evaluating_ctrl_c(where: Path) -> None:
    with run(where) as ckpt:
        loop(ckpt, lambda n: None)
        kill(signal.SIGINT)
        time.sleep(60)


def evaluating_donated(where: Path) -> None:
    with run(where) as ckpt:
        state = jnp.zeros(3)
        ckpt.step({"w": state})
        donating(state)
        kill()
        time.sleep(60)


def late(where: Path) -> None:
    """The state is donated, and the step comes after half of the grace."""
    with run(where, grace=4 * GRACE) as ckpt:
        loop(ckpt, lambda n: (kill(), await_wish(ckpt)) if n == 3 else None)


def compiled(where: Path) -> None:
    """Control does not return to Python within the grace: a thread saves."""
    with run(where) as ckpt:
        ckpt.step({"w": jnp.ones(3)})
        soon(0.3)
        in_compiled_code(threading.Event().wait)


def compiled_ctrl_c(where: Path) -> None:
    """After Ctrl-C the machine stays: control is waited for."""
    with run(where) as ckpt:
        ckpt.step({"w": jnp.ones(3)})
        soon(0.3, signal.SIGINT)
        in_compiled_code(lambda: time.sleep(1.5 * GRACE))
        print("not reached")


def compiled_donated_ctrl_c(where: Path) -> None:
    """Control returns when the grace is over; the machine is still there."""
    with run(where) as ckpt:
        state = jnp.ones(3)
        ckpt.step({"w": state})
        state = donating(state)
        soon(0.3, signal.SIGINT)
        in_compiled_code(lambda: time.sleep(2 * GRACE))
        ckpt.step({"w": state})


def compiled_donated(where: Path) -> None:
    """Control returns late, and the state of the long step is saved."""
    with run(where, grace=4 * GRACE) as ckpt:
        state = jnp.ones(3)
        ckpt.step({"w": state})
        state = donating(state)
        soon(0.3)
        in_compiled_code(lambda: await_wish(ckpt))
        ckpt.step({"w": state})


def callback(where: Path) -> None:
    """XLA makes an error of its own of what is raised there."""
    with run(where) as ckpt:
        ckpt.step({"w": jnp.ones(3)})
        soon(0.3)
        in_callback(GRACE * 4)


def saving(where: Path) -> None:
    """In a save that the loop waits for."""
    once = [signal.SIGTERM]
    original = writer.write

    def write(*args: Any) -> None:
        while once:
            kill(once.pop())
        original(*args)

    writer.write = write
    with run(where, steps=2) as ckpt:
        loop(ckpt, lambda n: None)


def asynchronous(where: Path, how: bool | str = True) -> None:
    slowly(0.5)
    with run(where, steps=2, async_save=how) as ckpt:
        loop(ckpt, lambda n: kill() if n == 3 else None)


def asynchronous_process(where: Path) -> None:
    asynchronous(where, "process")


def before(where: Path) -> None:
    """No step has come."""
    with run(where):
        kill()
        time.sleep(60)


def before_with_state(where: Path) -> None:
    state = {"w": jnp.full(3, 7.0)}
    with run(where, state=lambda: state):
        kill()
        time.sleep(60)


def group(where: Path) -> None:
    """Ctrl-C goes to the whole process group, and a save by a process is under way."""
    with ModelCheckpoint("m", where, CheckpointConfig(2, async_save="process")) as ckpt:
        loop(ckpt, lambda n: os.killpg(0, signal.SIGINT) if n == 3 else None)


def orphaned(where: Path) -> None:
    """A notebook's kernel is restarted: SIGKILL to the whole group."""
    ms.save_checkpoint({"w": np.full(3, 2.0)}, where / "m.ckpt", async_save="process")
    os.killpg(0, signal.SIGKILL)


def second_waits(where: Path) -> None:
    """Ctrl-C while a second save waits for the first, which fails: nobody forgets it."""

    def fail(*args: Any) -> None:
        time.sleep(1.0)
        raise OSError("disk on fire")

    writer.write = fail
    ms.save_checkpoint({"w": np.full(3, 1.0)}, where / "a.ckpt", async_save=True)
    soon(0.3, signal.SIGINT)
    with contextlib.suppress(KeyboardInterrupt):
        ms.save_checkpoint({"w": np.full(3, 2.0)}, where / "b.ckpt", async_save=True)
    ms.save_checkpoint({"w": np.full(3, 2.0)}, where / "b.ckpt", async_save=True)


def handler_of_others(where: Path) -> None:
    """It is called at once, and what it raises when the state is saved."""

    def theirs(*_: Any) -> None:
        print("told", flush=True)
        raise SystemExit(7)

    signal.signal(signal.SIGTERM, theirs)
    try:
        with run(where) as ckpt:
            loop(ckpt, lambda n: (kill(), print("on", flush=True)) if n == 3 else None)
    finally:
        assert signal.getsignal(signal.SIGTERM) is theirs


def handler_that_returns(where: Path) -> None:
    """Its run ends by itself: it has been told."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    with run(where) as ckpt:
        loop(ckpt, lambda n: None)
        kill()
    assert told == [signal.SIGTERM]


def ignored(where: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with run(where) as ckpt:
        loop(ckpt, lambda n: kill(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def second_while_saving(where: Path) -> None:
    """The second Ctrl-C breaks off the breakpoint, of which nothing is left."""
    slowly(2.0)
    with run(where) as ckpt:
        loop(ckpt, lambda n: (soon(0, signal.SIGINT), soon(1.0, signal.SIGINT)) if n == 3 else None)


def nested(where: Path) -> None:
    with run(where) as outer, run(where / "inner") as inner:
        state = jnp.zeros(3)
        for number in range(1, 6):
            state = state + 1
            if number == 3:
                kill()
            inner.step({"w": state})
            outer.step({"w": state})


def nested_evaluating(where: Path) -> None:
    with run(where) as outer, run(where / "inner") as inner:
        outer.step({"w": jnp.ones(3)})
        inner.step({"w": jnp.ones(3)})
        kill()
        time.sleep(60)


def worker(where: Path) -> None:
    """A worker that is forked in the block ends by its own signal, which is not its parent's."""
    with run(where) as ckpt:

        def act(number: int) -> None:
            if number == 3:
                child = os.fork()
                if child == 0:
                    time.sleep(60)
                    os._exit(0)
                time.sleep(0.2)
                os.kill(child, signal.SIGTERM)
                assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
                time.sleep(0.2)

        loop(ckpt, act)


def moment(where: Path) -> None:
    """A signal at a random moment of a loop that saves, donates and evaluates."""
    rng = random.Random(where.name)
    number = rng.choice([signal.SIGTERM, signal.SIGINT])
    kind = rng.choice([False, True, "process"])
    initial = {"w": jnp.zeros(3)}
    donating(jnp.zeros(3))
    with run(where, steps=3, async_save=kind, state=initial) as ckpt:
        soon(rng.random() * 2, number)
        state = jnp.zeros(3)
        while True:
            state = donating(state)
            time.sleep(rng.random() * 0.03)
            ckpt.step({"w": state})
            if rng.random() < 0.05:
                time.sleep(rng.random() * 0.5)
