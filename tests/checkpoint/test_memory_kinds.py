"""Arrays in the host's memory, such as offloaded moments: saved from there, loaded to there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import leaves

KINDS = ["device", "pinned_host", "unpinned_host"]
SPECS = {"rows": jax.P("x"), "columns": jax.P(None, "y"), "both": jax.P("x", "y"), "all": jax.P()}


def _tree(mesh: Any, kind: str) -> dict[str, Any]:
    """Arrays of all layouts in one memory: floats, four bits, nothing, a scalar, a PRNG key."""

    def put(value: Any, spec: Any = None) -> jax.Array:
        spec = jax.P() if spec is None else spec
        return jax.device_put(value, jax.NamedSharding(mesh, spec, memory_kind=kind))

    whole = np.arange(16 * 8, dtype=np.float32).reshape(16, 8)
    tree = {name: put(whole + i, spec) for i, (name, spec) in enumerate(SPECS.items())}
    four = put(jnp.arange(128, dtype=jnp.int4).reshape(16, 8), jax.P("x"))
    scalar, key = put(np.float32(2)), put(jax.random.key(3))
    return tree | {"four": four, "none": put(np.zeros((0, 8))), "scalar": scalar, "key": key}


def _bits(value: Any) -> np.ndarray:
    key = jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(value) if key else value)


def _assert_same(loaded: dict[str, Any], tree: dict[str, Any]) -> None:
    assert loaded.keys() == tree.keys()
    for name, array in tree.items():
        assert loaded[name].sharding == array.sharding, name
        assert loaded[name].sharding.memory_kind == array.sharding.memory_kind, name
        np.testing.assert_array_equal(_bits(loaded[name]), _bits(array), err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"async_save": True}, {"async_save": "process"}])
def test_saved_and_loaded(mesh: Any, tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    tree = _tree(mesh, kind)
    save = ms.save_checkpoint(tree, tmp_path / "m.ckpt", **options)
    if save is not None:
        save.result()
    for other in KINDS:
        like = _tree(mesh, other)
        _assert_same(ms.load_checkpoint(tmp_path / "m.ckpt", like=like), like)


@pytest.mark.parametrize("kind", KINDS)
def test_rank_files(mesh: Any, tmp_path: Path, kind: str) -> None:
    tree = {name: array for name, array in _tree(mesh, kind).items() if name in SPECS}
    ms.save_checkpoint(tree, tmp_path / "m.ckpt", integrated_save=False)
    like = {n: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for n, a in tree.items()}
    loaded = ms.load_checkpoint(tmp_path, strategy=tmp_path / "strategy.ckpt", like=like)
    _assert_same(loaded, tree)


def test_offloaded_moments_resume(mesh: Any, tmp_path: Path) -> None:
    """A training state with the weights on devices and the optimizer's moments in the host."""

    def put(kind: str) -> Any:
        sharding = jax.NamedSharding(mesh, jax.P("x"), memory_kind=kind)
        return lambda leaf: jax.device_put(leaf, sharding) if np.ndim(leaf) else leaf

    weights = {"w": np.arange(32, dtype=np.float32).reshape(8, 4)}
    moments = optax.adam(1e-3).init(weights)
    state = jax.tree.map(put("device"), weights), jax.tree.map(put("pinned_host"), moments)
    config = ms.CheckpointConfig(save_checkpoint_steps=1, integrated_save=True)
    with ms.ModelCheckpoint("net", tmp_path, config) as saver:
        saver.step(state)
    resumed = ms.resume(tmp_path, like=state, prefix="net")
    assert resumed is not None
    for old, new in zip(jax.tree.leaves(state), jax.tree.leaves(resumed.state), strict=True):
        assert getattr(new, "sharding", None) == getattr(old, "sharding", None)
        np.testing.assert_array_equal(new, old)


def test_parts_of_a_shard_in_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program of XLA cuts an array that an accelerator keeps in the host's memory."""
    memory = jax.sharding.SingleDeviceSharding(jax.devices()[0], memory_kind="pinned_host")
    array = jax.device_put(np.arange(24.0).reshape(6, 4), memory)
    monkeypatch.delattr(jax.lax, "dynamic_slice")
    part = leaves.DeviceShard(array)[2:4, 1:3]
    np.testing.assert_array_equal(part, [[9, 10], [13, 14]])
