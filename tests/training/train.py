"""Runs that resume, go on to a step, and print what they have come to.

Those that stop before step 9 end by an exception, as a crash would.
"""

from __future__ import annotations

import os
import sys

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import contextlib
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen, nnx
from flax.training import train_state

import msckpt_jax as ms
from msckpt_jax import names

EPOCH = 4


def batch(number: int) -> tuple[jax.Array, jax.Array]:
    x = np.random.default_rng(number).standard_normal((16, 8), np.float32)
    return jnp.asarray(x), jnp.asarray(x.sum(1, keepdims=True))


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(8, 32, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.head = nnx.Linear(32, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.dropout(nnx.relu(self.hidden(x))))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.Dropout(0.5, deterministic=False)(linen.relu(linen.Dense(32)(x)))
        return linen.Dense(1)(x)


class State(train_state.TrainState):
    key: Any = None


def with_nnx() -> tuple[Any, Callable]:
    model = Net(nnx.Rngs(0, dropout=1))
    state = {"model": model, "optimizer": nnx.Optimizer(model, optax.adam(1e-2), wrt=nnx.Param)}

    @nnx.jit
    def update(state: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        def loss(model: Net) -> jax.Array:
            return jnp.mean((model(x) - y) ** 2)

        value, grads = nnx.value_and_grad(loss)(state["model"])
        state["optimizer"].update(state["model"], grads)
        return value

    def step(state: Any, number: int) -> tuple[Any, jax.Array]:
        return state, update(state, *batch(number))

    return state, step


def with_linen() -> tuple[Any, Callable]:
    net = Linen()
    params = net.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, batch(0)[0])
    state = State.create(
        apply_fn=net.apply, params=params, tx=optax.adam(1e-2), key=jax.random.key(2)
    )

    @jax.jit
    def step(state: State, number: Any, x: jax.Array, y: jax.Array) -> tuple[State, jax.Array]:
        key = jax.random.fold_in(state.key, state.step)

        def loss(params: Any) -> jax.Array:
            return jnp.mean((state.apply_fn(params, x, rngs={"dropout": key}) - y) ** 2)

        value, grads = jax.value_and_grad(loss)(state.params)
        return state.apply_gradients(grads=grads), value

    return state, lambda state, number: step(state, number, *batch(number))


def with_pytree() -> tuple[Any, Callable]:
    tx = optax.adamw(1e-2)
    params = {"w": jnp.zeros((8, 1)), "b": jnp.zeros(1, jnp.bfloat16)}
    state = {"params": params, "opt": tx.init(params), "key": jax.random.key(0, impl="rbg")}

    @jax.jit
    def step(state: Any, x: jax.Array, y: jax.Array) -> tuple[Any, jax.Array]:
        key, drop = jax.random.split(state["key"])
        kept = jax.random.bernoulli(drop, 0.5, x.shape)

        def loss(params: Any) -> jax.Array:
            return jnp.mean((jnp.where(kept, x, 0) @ params["w"] + params["b"] - y) ** 2)

        value, grads = jax.value_and_grad(loss)(state["params"])
        updates, opt = tx.update(grads, state["opt"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {"params": params, "opt": opt, "key": key}, value

    return state, lambda state, number: step(state, *batch(number))


def on_mesh() -> tuple[Any, Callable]:
    """The kernel and Adam's moments of it over 8 devices."""
    state, step = with_pytree()
    mesh = jax.make_mesh((2, 4), ("x", "y"))

    def put(x: jax.Array) -> jax.Array:
        spec = jax.P(("x", "y")) if x.shape == (8, 1) else jax.P()
        return jax.device_put(x, jax.NamedSharding(mesh, spec))

    return jax.tree.map(put, state), step


def digest(state: Any) -> dict[str, str]:
    out = {}
    for name, _, value in names.named_leaves(state):
        if jnp.issubdtype(getattr(value, "dtype", None), jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        out[name] = hashlib.sha256(np.asarray(value).tobytes()).hexdigest()
    return out


def run(folder: Path, kind: str, stop: int) -> dict[str, Any]:
    state, step = KINDS[kind]()
    options = {"convention": "mindspore"} if kind == "mindspore" else {}
    found = ms.resume(folder, like=state, **options)
    state, done = (state, 0) if found is None else (found.state, found.append["step_num"])
    merged = kind != "mesh" or stop == 9
    config = ms.CheckpointConfig(
        4, exception_save=True, append_info=["step_num"], integrated_save=merged, **options
    )
    losses = []
    with (
        contextlib.suppress(KeyboardInterrupt),
        ms.ModelCheckpoint("m", folder, config, batches_per_epoch=EPOCH, resumed=found) as ckpt,
    ):
        for number in range(done, stop):
            state, loss = step(state, number)
            losses.append(float(loss))
            ckpt.step(state)
        if stop < 9:
            raise KeyboardInterrupt
    files = sorted({path.name for path in folder.rglob("m*-*.ckpt")})
    return {"losses": losses, "state": digest(state), "files": files}


KINDS = {
    "nnx": with_nnx,
    "linen": with_linen,
    "pytree": with_pytree,
    "mesh": on_mesh,
    "mindspore": with_nnx,  # under MindSpore's names, the optimizer's, too
}
folder, stop = Path(sys.argv[1]), int(sys.argv[2])
print(json.dumps({kind: run(folder / kind, kind, stop) for kind in KINDS}))
