"""Runs that get real signals, each in a process of its own: ``python signalled.py FOLDER CASE...``.

JAX is imported once, and every case is a fork of that interpreter, in which no backend has been
started. What a case prints goes to ``FOLDER/CASE.log``, its files to ``FOLDER/CASE``. The statuses
of all are printed as JSON. A case ``two_...`` has two processes of ``jax.distributed``.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import json
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=1"

import jax
import jax.numpy as jnp
import numpy as np

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from msckpt_jax.checkpoint import writer
from msckpt_jax.training import preemption

folder = Path(sys.argv[1])
GRACE = 3.0
AT_ONCE = 8
#: Seconds after which a case that hangs says where, and ends.
LIMIT = 90


def kill(*numbers: int) -> None:
    for number in numbers or [signal.SIGTERM]:
        os.kill(os.getpid(), number)


def soon(seconds: float, *numbers: int) -> None:
    threading.Timer(seconds, kill, numbers).start()


def donating(x: jax.Array) -> jax.Array:
    return _donating(x)


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


def run(case: str, state: Any = None, grace: float = GRACE, **options: Any) -> ModelCheckpoint:
    config = CheckpointConfig(options.pop("steps", 100), exception_save=True, **options)
    where = folder / case
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


def once(case: str) -> None:
    with run(case) as ckpt:
        loop(ckpt, lambda n: kill() if n == 3 else None)


def ctrl_c(case: str) -> None:
    with run(case) as ckpt:
        loop(ckpt, lambda n: kill(signal.SIGINT) if n == 3 else None)


def twice(case: str) -> None:
    """At once: the state of step 2 is donated."""
    with run(case) as ckpt:
        loop(ckpt, lambda n: (kill(), kill()) if n == 3 else None)


def last(case: str) -> None:
    """No step comes: a normal end, then the signal."""
    with run(case) as ckpt:
        loop(ckpt, lambda n: None)
        kill()


def off(case: str) -> None:
    with ModelCheckpoint("m", folder / case, CheckpointConfig(100)) as ckpt:
        loop(ckpt, lambda n: kill() if n == 3 else None)


def evaluating(case: str) -> None:
    """The state given last is alive, and no step comes."""
    with run(case) as ckpt:
        loop(ckpt, lambda n: None)
        kill()
        time.sleep(60)


def evaluating_ctrl_c(case: str) -> None:
    with run(case) as ckpt:
        loop(ckpt, lambda n: None)
        kill(signal.SIGINT)
        time.sleep(60)


def evaluating_donated(case: str) -> None:
    with run(case) as ckpt:
        state = jnp.zeros(3)
        ckpt.step({"w": state})
        donating(state)
        kill()
        time.sleep(60)


def late(case: str) -> None:
    """The state is donated, and the step comes after half of the grace."""
    with run(case, grace=4 * GRACE) as ckpt:
        loop(ckpt, lambda n: (kill(), await_wish(ckpt)) if n == 3 else None)


def compiled(case: str) -> None:
    """Control does not return to Python within the grace: a thread saves."""
    with run(case) as ckpt:
        ckpt.step({"w": jnp.ones(3)})
        soon(0.3)
        in_compiled_code(threading.Event().wait)


def compiled_ctrl_c(case: str) -> None:
    """After Ctrl-C the machine stays: control is waited for."""
    with run(case) as ckpt:
        ckpt.step({"w": jnp.ones(3)})
        soon(0.3, signal.SIGINT)
        in_compiled_code(lambda: time.sleep(1.5 * GRACE))
        print("not reached")


def compiled_donated(case: str) -> None:
    """Control returns late, and the state of the long step is saved."""
    with run(case, grace=4 * GRACE) as ckpt:
        state = jnp.ones(3)
        ckpt.step({"w": state})
        state = donating(state)
        soon(0.3)
        in_compiled_code(lambda: await_wish(ckpt))
        ckpt.step({"w": state})


def callback(case: str) -> None:
    """XLA makes an error of its own of what is raised there."""
    with run(case) as ckpt:
        ckpt.step({"w": jnp.ones(3)})
        soon(0.3)
        in_callback(GRACE * 4)


def saving(case: str) -> None:
    """In a save that the loop waits for."""
    once = [signal.SIGTERM]
    original = writer.write

    def write(*args: Any) -> None:
        while once:
            kill(once.pop())
        original(*args)

    writer.write = write
    with run(case, steps=2) as ckpt:
        loop(ckpt, lambda n: None)


def asynchronous(case: str, how: bool | str = True) -> None:
    slowly(0.5)
    with run(case, steps=2, async_save=how) as ckpt:
        loop(ckpt, lambda n: kill() if n == 3 else None)


def asynchronous_process(case: str) -> None:
    asynchronous(case, "process")


def before(case: str) -> None:
    """No step has come."""
    with run(case):
        kill()
        time.sleep(60)


def before_with_state(case: str) -> None:
    state = {"w": jnp.full(3, 7.0)}
    with run(case, state=lambda: state):
        kill()
        time.sleep(60)


def group(case: str) -> None:
    """Ctrl-C goes to the whole process group, and a save by a process is under way."""
    with ModelCheckpoint("m", folder / case, CheckpointConfig(2, async_save="process")) as ckpt:
        loop(ckpt, lambda n: os.killpg(0, signal.SIGINT) if n == 3 else None)


def orphaned(case: str) -> None:
    """A notebook's kernel is restarted: SIGKILL to the whole group."""
    ms.save_checkpoint({"w": np.full(3, 2.0)}, folder / case / "m.ckpt", async_save="process")
    os.killpg(0, signal.SIGKILL)


def second_waits(case: str) -> None:
    """Ctrl-C while a second save waits for the first, which fails: nobody forgets it."""

    def fail(*args: Any) -> None:
        time.sleep(1.0)
        raise OSError("disk on fire")

    writer.write = fail
    ms.save_checkpoint({"w": np.full(3, 1.0)}, folder / case / "a.ckpt", async_save=True)
    soon(0.3, signal.SIGINT)
    with contextlib.suppress(KeyboardInterrupt):
        ms.save_checkpoint({"w": np.full(3, 2.0)}, folder / case / "b.ckpt", async_save=True)
    ms.save_checkpoint({"w": np.full(3, 2.0)}, folder / case / "b.ckpt", async_save=True)


def handler_of_others(case: str) -> None:
    """It is called at once, and what it raises when the state is saved."""

    def theirs(*_: Any) -> None:
        print("told", flush=True)
        raise SystemExit(7)

    signal.signal(signal.SIGTERM, theirs)
    try:
        with run(case) as ckpt:
            loop(ckpt, lambda n: (kill(), print("on", flush=True)) if n == 3 else None)
    finally:
        assert signal.getsignal(signal.SIGTERM) is theirs


def handler_that_returns(case: str) -> None:
    """Its run ends by itself: it has been told."""
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    with run(case) as ckpt:
        loop(ckpt, lambda n: None)
        kill()
    assert told == [signal.SIGTERM]


def ignored(case: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with run(case) as ckpt:
        loop(ckpt, lambda n: kill(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def second_while_saving(case: str) -> None:
    """The second Ctrl-C breaks off the breakpoint, of which nothing is left."""
    slowly(2.0)
    with run(case) as ckpt:
        loop(ckpt, lambda n: (soon(0, signal.SIGINT), soon(1.0, signal.SIGINT)) if n == 3 else None)


def nested(case: str) -> None:
    with run(case) as outer, run(f"{case}/inner") as inner:
        state = jnp.zeros(3)
        for number in range(1, 6):
            state = state + 1
            if number == 3:
                kill()
            inner.step({"w": state})
            outer.step({"w": state})


def nested_evaluating(case: str) -> None:
    with run(case) as outer, run(f"{case}/inner") as inner:
        outer.step({"w": jnp.ones(3)})
        inner.step({"w": jnp.ones(3)})
        kill()
        time.sleep(60)


def worker(case: str) -> None:
    """A worker that is forked in the block ends by its own signal, which is not its parent's."""
    with run(case) as ckpt:

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


def moment(case: str) -> None:
    """A signal at a random moment of a loop that saves, donates and evaluates."""
    rng = random.Random(case)
    number = rng.choice([signal.SIGTERM, signal.SIGINT])
    kind = rng.choice([False, True, "process"])
    initial = {"w": jnp.zeros(3)}
    donating(jnp.zeros(3))
    with run(case, steps=3, async_save=kind, state=initial) as ckpt:
        soon(rng.random() * 2, number)
        state = jnp.zeros(3)
        while True:
            state = donating(state)
            time.sleep(rng.random() * 0.03)
            ckpt.step({"w": state})
            if rng.random() < 0.05:
                time.sleep(rng.random() * 0.5)


# Two processes


def spread(version: int) -> dict[str, Any]:
    sharding = jax.NamedSharding(jax.make_mesh((2,), ("x",)), jax.P("x"))
    whole = np.arange(8, dtype=np.float32) + version
    return {"w": jax.make_array_from_callback((8,), sharding, lambda i: whole[i])}


def two_steps(case: str, me: int) -> None:
    """One gets the signal; the other is some steps behind, or ahead."""
    with run(case, grace=30) as ckpt:
        for number in range(1, 400):
            time.sleep(0.05 + 0.01 * me)
            if me == 1 and number == 10:
                kill()
            ckpt.step(spread(number))


def two_ctrl_c(case: str, me: int) -> None:
    with run(case, grace=30) as ckpt:
        for number in range(1, 400):
            time.sleep(0.05)
            if me == 0 and number == 10:
                kill(signal.SIGINT)
            ckpt.step(spread(number))


def two_silent(case: str, me: int) -> None:
    """One makes no further step: the other gives up, and both end."""
    with run(case) as ckpt:
        for number in range(1, 400):
            time.sleep(0.05)
            if me == 1 and number == 10:
                kill()
                time.sleep(60)
            ckpt.step(spread(number))


def two_alone(case: str, me: int) -> None:
    """Each trains for itself, and only one has a run: it saves what is its own."""
    jax.devices()
    if me == 0:
        with run(case) as ckpt:
            for number in range(1, 400):
                time.sleep(0.05)
                if number == 10:
                    kill()
                ckpt.step({"w": jnp.full(3, 1.0 * number)})


def two_ended(case: str, me: int) -> None:
    """The loop is over when the signal comes."""
    with run(case, grace=30) as ckpt:
        for number in range(1, 6):
            ckpt.step(spread(number))
        if me == 1:
            kill()
            time.sleep(0.5)


# The processes


def children(cases: list[str]) -> Iterator[tuple[str, int, Callable[[], None]]]:
    for case in cases:
        (folder / case).mkdir()
        work = globals()[case.partition(":")[0]]
        if not case.startswith("two_"):
            yield case, 0, lambda case=case, work=work: work(case)
            continue
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        for me in range(2):

            def both(case: str = case, work: Any = work, me: int = me, at: str = address) -> None:
                jax.distributed.initialize(at, 2, me)
                work(case, me)

            yield case, me, both


def main() -> None:
    started: dict[int, tuple[str, int]] = {}
    statuses: dict[str, list[int]] = {}
    for case, me, work in children(sys.argv[2:]):
        child = os.fork()
        if child == 0:
            os.setpgid(0, 0)
            log = os.open(folder / f"{case}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            faulthandler.dump_traceback_later(LIMIT, exit=True)
            global _donating
            _donating = jax.jit(lambda x: x + 1, donate_argnums=0)
            work()
            return
        started[child] = case, me
        while len(started) >= AT_ONCE:
            reap(started, statuses)
    while started:
        reap(started, statuses)
    print(json.dumps(statuses))


def reap(started: dict[int, tuple[str, int]], statuses: dict[str, list[int]]) -> None:
    child, status = os.wait()
    case, me = started.pop(child)
    statuses.setdefault(case, [0, 0] if case.startswith("two_") else [0])[me] = (
        os.waitstatus_to_exitcode(status)
    )


if __name__ == "__main__":
    main()
