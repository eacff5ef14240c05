"""The model of the demo: a CNN for 8x8 digits, trained on a mesh, saved, loaded, compared."""

from __future__ import annotations

import functools
import importlib.util
import json
import subprocess
import zlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from sklearn.datasets import load_digits

import msckpt_jax as ms
from msckpt_jax import display, names, processes


class Checked(NamedTuple):
    """A comparison: ``equal`` is None where it could not be made."""

    name: str
    equal: bool | None
    note: str


class Result(NamedTuple):
    path: str
    mesh: str
    devices: str
    parameters: list[tuple[str, str, str, str]]
    accuracy: float
    checks: list[Checked]


class CNN(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.conv1 = nnx.Conv(1, 32, (3, 3), rngs=rngs)
        self.conv2 = nnx.Conv(32, 64, (3, 3), rngs=rngs)
        self.hidden = nnx.Linear(4 * 4 * 64, 128, rngs=rngs)
        self.head = nnx.Linear(128, 10, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.relu(self.conv1(x))
        x = nnx.max_pool(nnx.relu(self.conv2(x)), (2, 2), (2, 2))
        x = nnx.relu(self.hidden(x.reshape(x.shape[0], -1)))
        return self.head(x)


#: The partition of each weight over the axes (data, model): one axis, both, or none.
_SPECS = {
    "conv1.kernel": jax.P(None, None, None, "model"),
    "conv2.kernel": jax.P(None, None, None, "model"),
    "conv2.bias": jax.P("model"),
    "hidden.kernel": jax.P("data", "model"),
    "hidden.bias": jax.P(("data", "model")),
    "head.kernel": jax.P("model"),
}


def run(path: str, steps: int, seed: int) -> Result:
    """Train, save to ``path``, load back, compare."""
    mesh, transposed = meshes()
    images, labels = digits()
    train, test = (images[:1500], labels[:1500]), (images[1500:], labels[1500:])
    optimizer = optax.adam(2e-3)
    model = nnx.state(CNN(nnx.Rngs(seed)))
    state = placed({"model": model, "opt_state": optimizer.init(model)}, mesh)
    state = trained(state, optimizer, train, steps, seed, mesh)
    ms.save_checkpoint(state, path, append_dict={"steps": steps}, crc_check=True)
    quality = accuracy(state["model"], *test)
    checks = [
        reloaded(path, state, transposed, f"loaded on {describe(transposed)}", test, quality),
        reloaded(path, state, None, "loaded on one device", test, quality),
        read_by_mindspore(path, state),
    ]
    return Result(path, describe(mesh), platform(mesh), rows(state), quality, checks)


def meshes() -> tuple[jax.sharding.Mesh, jax.sharding.Mesh]:
    """The training mesh, 2x4 on 8 devices, and its transpose."""
    count = len(jax.devices())
    rows = max(n for n in (1, 2, 4, 8, 16) if count % n == 0 and n * n <= count)
    columns = min(count // rows, 32 // rows)  # weights divide by up to 32
    make = jax.sharding.AxisType.Auto
    devices = jax.devices()[: rows * columns]
    return (
        jax.make_mesh((rows, columns), ("data", "model"), (make, make), devices=devices),
        jax.make_mesh((columns, rows), ("data", "model"), (make, make), devices=devices),
    )


def describe(mesh: jax.sharding.Mesh) -> str:
    return "x".join(map(str, mesh.devices.shape))


def platform(mesh: jax.sharding.Mesh) -> str:
    device = mesh.devices.flat[0]
    return (
        f"{mesh.size} {'virtual ' if device.platform == 'cpu' else ''}{device.device_kind} devices"
    )


def placed(state: Any, mesh: jax.sharding.Mesh | None) -> Any:
    """Put each weight on the mesh by its spec, or on one device if there is no mesh."""
    flat = names.flatten(state)

    def put(leaf: names.Leaf) -> jax.Array:
        if mesh is None:
            return jax.device_put(leaf.value, jax.devices()[0])
        spec = next((s for n, s in _SPECS.items() if leaf.name.endswith(n)), jax.P())
        return jax.device_put(leaf.value, jax.NamedSharding(mesh, spec))

    return flat.rebuild([put(leaf) for leaf in flat.leaves])


def digits() -> tuple[np.ndarray, np.ndarray]:
    pixels, target = load_digits(return_X_y=True)
    return pixels.reshape(-1, 8, 8, 1).astype(np.float32) / 16, target.astype(np.int32)


_GRAPH = nnx.graphdef(nnx.eval_shape(lambda: CNN(nnx.Rngs(0))))


def loss(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    logits = nnx.merge(_GRAPH, model)(x)
    return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()


def trained(
    state: Any,
    optimizer: optax.GradientTransformation,
    data: tuple[np.ndarray, np.ndarray],
    steps: int,
    seed: int,
    mesh: jax.sharding.Mesh,
) -> Any:
    shardings = jax.tree.map(lambda x: x.sharding, state)
    by_rows = jax.NamedSharding(mesh, jax.P("data"))

    @functools.partial(jax.jit, donate_argnums=0, out_shardings=shardings)
    def step(state: Any, x: jax.Array, y: jax.Array) -> Any:
        gradients = jax.grad(loss)(state["model"], x, y)
        updates, opt_state = optimizer.update(gradients, state["opt_state"], state["model"])
        return {"model": optax.apply_updates(state["model"], updates), "opt_state": opt_state}

    order = np.random.default_rng(seed)
    for _ in range(steps):
        batch = order.choice(len(data[0]), 128, replace=False)
        state = step(state, *(jax.device_put(side[batch], by_rows) for side in data))
        # Virtual CPU devices share few threads: two steps at a time can starve each other.
        jax.block_until_ready(state)
    return state


@jax.jit
def correct(model: Any, x: jax.Array, y: jax.Array) -> jax.Array:
    return (nnx.merge(_GRAPH, model)(x).argmax(-1) == y).mean()


def accuracy(model: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Compute on one device, so that the order of additions is the same for every mesh."""
    return float(correct(placed(model, None), jnp.asarray(x), jnp.asarray(y)))


def rows(state: Any) -> list[tuple[str, str, str, str]]:
    """The name, shape, sharding and bytes of everything that was saved."""
    return [
        (name, str(list(x.shape)), str(getattr(x.sharding, "spec", "one device")), f"{x.nbytes:,}")
        for name, _, x in names.named_leaves(state)
    ]


def reloaded(path: str, state: Any, mesh: Any, check: str, test: Any, quality: float) -> Checked:
    """Load onto another mesh, reading only each device's part, and compare bits and accuracy."""
    shapes = placed(jax.tree.map(jnp.zeros_like, state), mesh)
    loaded = ms.load_checkpoint(path, like=shapes)
    pairs = zip(jax.tree.leaves(loaded), jax.tree.leaves(state), strict=True)
    same = all(np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in pairs)
    again = accuracy(loaded["model"], *test)
    count = len(names.named_leaves(state))
    return Checked(
        check, same and again == quality, f"{display.counted(count, 'tensor')}, {again:.1%}"
    )


_ORACLE = """
import json, sys, zlib
import mindspore
params = mindspore.load_checkpoint(sys.argv[1])
print(json.dumps({n: [list(p.shape), zlib.crc32(bytes(p.data.get_bytes()))]
                  for n, p in params.items()}))
"""


def read_by_mindspore(path: str, state: Any) -> Checked:
    """Let real MindSpore load the file, in a process of its own, and compare every bit."""
    check = "loaded by real MindSpore"
    if importlib.util.find_spec("mindspore") is None:
        return Checked(check, None, "pip install mindspore==2.10.0, for Python 3.12 or older")
    command = processes.program(_ORACLE, path)
    environment = processes.environment()
    out = subprocess.run(command, env=environment, capture_output=True, text=True)
    if out.returncode:
        return Checked(check, False, out.stderr.strip().rpartition("\n")[2])
    loaded = json.loads(out.stdout.splitlines()[-1])
    wanted = {
        name: [list(x.shape), zlib.crc32(np.asarray(x).tobytes())]
        for name, _, x in names.named_leaves(state)
    }
    loaded.pop("steps")
    return Checked(
        check, loaded == wanted, f"{display.counted(len(loaded), 'tensor')}, bit for bit"
    )
