"""One of several processes that keep local steps, each on a machine of its own: test_tiers.py."""

from __future__ import annotations

import os
import sys

count, me, port, folder, what = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={6 // count}"
os.environ["JAX_PLATFORMS"] = "cpu"

import signal
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.experimental import multihost_utils

import msckpt_jax as ms
from msckpt_jax.checkpoint import owner
from msckpt_jax.parallel import parcels

owner.machine = lambda: f"machine {me}"
FAR = Path(folder) / "far"
TX = optax.adam(1e-2)
SPECS = {
    "rows": jax.P(("x", "y")),
    "inner": jax.P(None, ("x", "y")),
    "both": jax.P("x", "y"),
    "replicated elsewhere": jax.P("y"),
    "everywhere": jax.P(),
}


def near(set_of: str, machine: int = me) -> Path:
    """The disk of a machine, as it is in a test's set of disks."""
    return Path(folder) / set_of / str(machine)


def start(mesh: Any) -> dict[str, Any]:
    """Weights and the moments of Adam, on the mesh; a counter, a key and a text on each process."""

    def put(number: int, spec: jax.P) -> jax.Array:
        whole = np.random.default_rng(number).standard_normal((12, 18), np.float32)
        sharding = jax.NamedSharding(mesh, spec)
        return jax.make_array_from_callback(whole.shape, sharding, lambda index: whole[index])

    params = {name: put(number, spec) for number, (name, spec) in enumerate(SPECS.items())}
    opt = TX.init(params)
    everywhere = jax.NamedSharding(mesh, jax.P())
    opt = jax.tree.map(lambda x: jax.device_put(x, everywhere) if x.ndim == 0 else x, opt)
    return {"params": params, "opt": opt, "count": 0, "key": jax.random.key(5), "note": "n" * 9}


@jax.jit
def update(params: Any, opt: Any) -> Any:
    grads = jax.tree.map(lambda x: x * 0.75 + 0.1, params)
    updates, opt = TX.update(grads, opt, params)
    return optax.apply_updates(params, updates), opt


def step(state: dict[str, Any]) -> dict[str, Any]:
    params, opt = update(state["params"], state["opt"])
    return state | {"params": params, "opt": opt, "count": state["count"] + 1}


def after(mesh: Any, steps: int) -> dict[str, Any]:
    """The state of an uninterrupted run."""
    state = start(mesh)
    for _ in range(steps):
        state = step(state)
    return state


def check(found: Any, expected: Any) -> None:
    """Compare all parts that this process has, bit by bit."""
    paths, found = zip(*jax.tree_util.tree_leaves_with_path(found), strict=True)
    for path, left, right in zip(paths, found, jax.tree.leaves(expected), strict=True):
        if isinstance(left, jax.Array) and not jnp.issubdtype(left.dtype, jax.dtypes.prng_key):
            assert left.sharding == right.sharding, path
            for a, b in zip(left.addressable_shards, right.addressable_shards, strict=True):
                assert a.index == b.index, path
                assert np.asarray(a.data).tobytes() == np.asarray(b.data).tobytes(), path
        else:
            assert type(left) is type(right), path
            assert left == right, path


def broken_off(mesh: Any) -> None:
    """Steps 2, 4 and 6 are kept, 3 and 6 merged; process 1 dies while it writes step 8."""
    config = ms.CheckpointConfig(3, append_info=["step_num"], timeout=4)
    ckpt = ms.ModelCheckpoint("m", FAR, config, local=near("run"), local_steps=2)
    state = start(mesh)
    for number in range(1, 9):
        state = step(state)
        if number == 8 and me == 1:
            parcels.exchange = lambda *args: os.kill(os.getpid(), signal.SIGKILL)
        try:
            ckpt.step(state)
        except ms.CheckpointError as error:
            print(f"told: {error}", flush=True)
            if me == 0:
                time.sleep(3)  # JAX ends the others when process 0 is gone: they hear of it first
            os._exit(0)  # jax.distributed would wait for the dead one


def resumed(mesh: Any, set_of: str, machine: int = me, far: Path = FAR) -> Any:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = ms.resume(far, start(mesh), local=near(set_of, machine))
    print(set_of, [str(w.message).partition(":")[0] for w in caught], flush=True)
    assert found is not None
    check(found.state, after(mesh, found.step))
    return found


def resume(mesh: Any) -> None:
    """Each set of disks is what a test has made of those of ``broken_off``."""
    assert resumed(mesh, "whole").step == 6
    # A machine's disk is gone, and the others come back under other numbers.
    found = resumed(mesh, "one gone", (me + 1) % count)
    assert (found.step, found.append) == (6, {"step_num": 6})
    assert resumed(mesh, "one gone", (me + 1) % count).step == 6  # and again
    assert resumed(mesh, "one damaged").step == 6
    assert resumed(mesh, "two gone").step == 3
    assert resumed(mesh, "all gone").step == 3
    later = Path(folder) / "later"  # what is there as step 7 is step 3
    assert ms.resume(later, start(mesh), local=near("whole")).path == str(later / "m-1_7.ckpt")
    # A mesh on which each process has other parts
    other = jax.sharding.Mesh(np.roll(mesh.devices.T.reshape(2, 3), 1), ("y", "x"))
    assert resumed(other, "one gone").step == 6
    go_on(mesh, found)


def go_on(mesh: Any, found: Any) -> None:
    """Train on, to a good end: nothing is left on the disks."""
    config = ms.CheckpointConfig(100)
    local = {"local": near("one gone"), "local_steps": 2}
    state = found.state
    with ms.ModelCheckpoint("m", FAR, config, resumed=found, **local) as ckpt:
        for _ in range(4):
            state = step(state)
            ckpt.step(state)
    multihost_utils.sync_global_devices("the end")
    assert not list(near("one gone").iterdir())
    last = ms.resume(FAR, start(mesh), local=near("one gone"))
    assert last is not None
    assert last.step == 10
    check(last.state, after(mesh, 10))


def fewer(mesh: Any) -> None:
    """Two processes, with the disks of two of the three machines."""
    assert resumed(mesh, "fewer", far=Path(folder) / "far of two").step == 6


def main() -> None:
    jax.distributed.initialize(f"127.0.0.1:{port}", count, me)
    globals()[what](jax.sharding.Mesh(np.reshape(jax.devices(), (3, 2)), ("x", "y")))
    print(f"process {me} of {count} done", flush=True)


if __name__ == "__main__":
    main()
