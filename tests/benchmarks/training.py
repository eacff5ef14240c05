"""What saving costs a training loop: steps that are not saved, and asynchronous saves beside Orbax.

Steps: a thousand calls that save nothing, so that milliseconds read as microseconds a step.
Loop: Adam on a chain of dense layers, an asynchronous save every few steps. Blocked is the time in
the calls, in which the loop cannot go on; the whole loop's time shows what writing takes from the
training's cores. Rounds are interleaved in rotating order. Run it alone on the machine:

    python tests/benchmarks/training.py               # about 4 minutes
    python tests/benchmarks/training.py --scale 0.1   # a quick look at small sizes
"""

from __future__ import annotations

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import json
import logging
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp
from rich.console import Console
from timing import Contender, measure, show

from msckpt_jax import CheckpointConfig, ModelCheckpoint

LAYERS, WIDTH, BATCH = 8, 2048, 64
EVERY, STEPS, KEPT = 10, 30, 2

#: What the loop does after a step: state and number.
Tell = Callable[[Any, int], Any]


def not_saved(folder: Path, rounds: int, console: Console) -> list[dict[str, Any]]:
    """A thousand steps of each policy, and of Orbax's manager."""
    state, count = {"w": jnp.zeros(3)}, 1000

    def steps(config: CheckpointConfig, **kwargs: Any) -> float:
        ckpt = ModelCheckpoint("m", folder, config, batches_per_epoch=100)
        begin = time.perf_counter()
        for _ in range(count):
            ckpt.step(state, **kwargs)
        return time.perf_counter() - begin

    def orbax() -> float:
        options = ocp.CheckpointManagerOptions(save_interval_steps=10**9)
        with ocp.CheckpointManager(folder / "orbax", options=options) as manager:
            args = ocp.args.StandardSave(state)
            begin = time.perf_counter()
            for number in range(1, count + 1):
                manager.save(number, args=args)
            return time.perf_counter() - begin

    by_steps, by_time = CheckpointConfig(10**9), CheckpointConfig(save_checkpoint_seconds=10**9)
    guarded = CheckpointConfig(10**9, exception_save=True, keep_best=("loss", "min", 3))
    loss = jnp.zeros(())
    contenders = [
        Contender("ours, by steps", lambda: steps(by_steps), None, 5, absolute=True, memory=False,
                  at_least={"Orbax": 1}),
        Contender("ours, numbers given", lambda: steps(by_steps, epoch=3, step=7), None, 5,
                  absolute=True, memory=False),
        Contender("ours, by seconds", lambda: steps(by_time), None, 5, absolute=True, memory=False),
        Contender("ours, exception_save, metric", lambda: steps(guarded, metric=loss), None, 5,
                  absolute=True, memory=False),
        Contender("Orbax", orbax, None, memory=False),
    ]  # fmt: skip
    title = "microseconds a step that is not saved (the unit is 1000 steps)"
    return show(title, measure(contenders, rounds, folder, lambda path: False), console)


def make_loop(scale: float) -> Callable[[Tell], float]:
    """A loop that tells of each step; returns the seconds of training and telling."""
    width = max(64, int(WIDTH * scale**0.5))
    tx = optax.adam(1e-3)
    params = {f"layer{i}": jnp.eye(width) for i in range(LAYERS)}
    x = jax.random.normal(jax.random.key(0), (BATCH, width))

    def loss(params: Any) -> jax.Array:
        y = x
        for kernel in params.values():
            y = jnp.tanh(y @ kernel)
        return jnp.mean(y**2)

    @jax.jit
    def fresh(params: Any) -> Any:
        copy = jax.tree.map(lambda p: p + 0, params)
        return {"params": copy, "opt": tx.init(copy)}

    def update(state: Any) -> Any:
        value, grads = jax.value_and_grad(loss)(state["params"])
        updates, opt = tx.update(grads, state["opt"])
        return {"params": optax.apply_updates(state["params"], updates), "opt": opt}, value

    step = jax.jit(update, donate_argnums=0)

    def loop(tell: Tell) -> float:
        state = jax.block_until_ready(fresh(params))
        begin = time.perf_counter()
        for number in range(1, STEPS + 1):
            state, value = step(state)
            jax.block_until_ready(value)  # as a loop that prints the loss does
            tell(state, number)
        return time.perf_counter() - begin

    return loop


class Blocked:
    """Adds up the seconds of calls."""

    def __init__(self, call: Tell):
        self.call, self.seconds = call, 0.0

    def __call__(self, state: Any, number: int) -> None:
        jax.block_until_ready(state)  # not the step's own time
        begin = time.perf_counter()
        self.call(state, number)
        self.seconds += time.perf_counter() - begin


def in_a_loop(folder: Path, rounds: int, scale: float, console: Console) -> list[dict[str, Any]]:
    loop = make_loop(scale)
    config = CheckpointConfig(EVERY, keep_checkpoint_max=KEPT, async_save=True)
    options = ocp.CheckpointManagerOptions(save_interval_steps=EVERY, max_to_keep=KEPT)
    seconds: dict[str, list[float]] = {"ours": [], "Orbax": []}

    def with_ours() -> float:
        with ModelCheckpoint("m", folder, config) as ckpt:
            blocked = Blocked(lambda state, number: ckpt.step(state))
            seconds["ours"].append(loop(blocked))
        return blocked.seconds

    def with_orbax() -> float:
        with ocp.CheckpointManager(folder / "orbax", options=options) as manager:
            blocked = Blocked(
                lambda state, number: manager.save(number, args=ocp.args.StandardSave(state))
            )
            seconds["Orbax"].append(loop(blocked))
            manager.wait_until_finished()
        return blocked.seconds

    def alone() -> float:
        return loop(lambda state, number: jax.block_until_ready(state))

    mib = 3 * LAYERS * max(64, int(WIDTH * scale**0.5)) ** 2 * 4 / 2**20
    title = f"seconds blocked by asynchronous saves of {mib:.0f} MiB every {EVERY} of {STEPS} steps"
    results = measure(
        [
            Contender("the loop without saves", alone, None, memory=False),
            Contender("ours, blocked", with_ours, "the loop without saves", memory=False,
                      at_least={"Orbax, blocked": 1}),
            Contender("Orbax, blocked", with_orbax, "the loop without saves", memory=False),
        ],
        rounds, folder, lambda path: False,
    )  # fmt: skip
    rows = show(title, results, console)
    for name, times in seconds.items():
        ratio = sorted(times[1:])[len(times[1:]) // 2] / results[0].median
        console.print(f"the whole loop with {name}: {ratio:.2f}x the loop without saves")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds (default 7)")
    parser.add_argument("--scale", type=float, default=1.0, help="scales the size of the state")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    console = Console(width=150)
    console.print(
        f"{os.cpu_count()} cores; {jax.devices()[0].device_kind}; {platform.platform()}\n"
    )
    with tempfile.TemporaryDirectory() as name:
        rows = not_saved(Path(name), args.rounds, console)
        rows += in_a_loop(Path(name), args.rounds, args.scale, console)
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
