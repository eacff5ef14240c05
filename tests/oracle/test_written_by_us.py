"""What we write, real MindSpore loads with the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training.train_state import TrainState

import msckpt_jax as ms
from msckpt_jax.checkpoint import cipher
from msckpt_jax.checkpoint.encryption import encryption

DTYPES = {
    "Bool": np.bool_,
    "Int8": np.int8,
    "Int16": np.int16,
    "Int32": np.int32,
    "Int64": np.int64,
    "UInt8": np.uint8,
    "UInt16": np.uint16,
    "UInt32": np.uint32,
    "UInt64": np.uint64,
    "Float16": np.float16,
    "Float32": np.float32,
    "Float64": np.float64,
    "BFloat16": ml_dtypes.bfloat16,
    "Int4": ml_dtypes.int4,
}
SHAPES: list[tuple[int, ...]] = [(), (1,), (3,), (2, 3), (2, 1, 4)]
CIPHERS = [
    ("AES-GCM", 16),
    ("AES-GCM", 24),
    ("AES-GCM", 32),
    ("AES-CBC", 16),
    ("AES-CBC", 32),
    ("SM4-CBC", 16),
]
SPECS = {
    "axis0": jax.P("x"),
    "axis1": jax.P(None, "y"),
    "both": jax.P("x", "y"),
    "swapped": jax.P("y", "x"),
    "nested": jax.P(("x", "y")),
    "nested_swapped": jax.P(None, ("y", "x")),
    "replicated": jax.P(),
}


def values(dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers of both signs where there are any, distinct where possible."""
    count = int(np.prod(shape))
    return (
        (np.arange(count) - (0 if np.dtype(dtype).kind in "ub" else 3)).astype(dtype).reshape(shape)
    )


def stored(array: np.ndarray) -> bytes:
    """The bits in the file: Int4 a byte an element."""
    return (array.astype(np.int8) if array.dtype == ml_dtypes.int4 else array).tobytes()


@pytest.mark.parametrize("asked", ["numpy", "jax"])
def test_every_dtype_and_shape(mindspore: Any, tmp_path: Path, asked: str) -> None:
    tree = {f"{n}_{len(s)}{s}": values(t, s) for n, t in DTYPES.items() for s in SHAPES}
    wanted = dict(tree)
    if asked == "jax":
        with jax.enable_x64(True):
            tree = {name: jnp.asarray(array) for name, array in tree.items()}
    ms.save_checkpoint(tree, str(tmp_path / "a.ckpt"))
    found = mindspore.load(tmp_path / "a.ckpt")
    assert list(found) == sorted(wanted)
    for name, array in wanted.items():
        assert found[name] == (name.split("_")[0], array.shape, stored(array)), name


def test_uint4_is_saved_as_uint8(mindspore: Any, tmp_path: Path) -> None:
    ms.save_checkpoint({"u": jnp.array([1, 15], jnp.uint4)}, str(tmp_path / "a.ckpt"))
    assert mindspore.load(tmp_path / "a.ckpt")["u"] == ("UInt8", (2,), b"\x01\x0f")


def test_zero_size_tensors_survive(mindspore: Any, tmp_path: Path) -> None:
    ms.save_checkpoint({"z": np.zeros((0, 3), np.float32)}, str(tmp_path / "a.ckpt"))
    assert mindspore.load(tmp_path / "a.ckpt")["z"] == ("Float32", (0, 3), b"")


def test_append_dict(mindspore: Any, tmp_path: Path) -> None:
    extra = {"epoch": 3, "lr": 0.1, "on": True, "note": "grüße 🙂", "e": "", "v": np.ones(2)}
    ms.save_checkpoint({"w": np.ones(1)}, str(tmp_path / "a.ckpt"), append_dict=extra)
    found = mindspore.load(tmp_path / "a.ckpt")
    assert found["epoch"] == ("Int64", (), np.int64(3).tobytes())
    assert found["lr"] == ("Float32", (), np.float32(0.1).tobytes())
    assert found["on"] == ("Bool", (), b"\x01")
    assert found["note"].data == extra["note"]
    assert found["e"].data == ""
    assert found["v"].array.tolist() == [1, 1]


def test_crc(mindspore: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    array = np.arange(1000.0)
    ms.save_checkpoint({"w": array}, str(path), crc_check=True)
    assert mindspore.load(path, crc_check=True)["w"].data == array.tobytes()
    damaged = bytearray(path.read_bytes())
    damaged[500] ^= 1
    path.chmod(0o600)
    path.write_bytes(damaged)
    with pytest.raises(Exception, match="ValueError"):
        mindspore.load(path, crc_check=True)


@pytest.mark.parametrize(("mode", "size"), CIPHERS)
@pytest.mark.parametrize("block", [64 << 20, 4096])
def test_ciphers(
    mindspore: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
    size: int,
    block: int,
) -> None:
    monkeypatch.setattr(cipher, "BLOCK_BYTES", block)
    key = bytes(range(size))
    tree = {"a": np.arange(3000.0), "b": np.arange(7, dtype=np.int8), "c": np.ones((50, 60))}
    ms.save_checkpoint(tree, str(tmp_path / "a.ckpt"), enc_key=key, enc_mode=mode)
    found = mindspore.load(tmp_path / "a.ckpt", dec_key=key, dec_mode=mode)
    assert {n: p.data for n, p in found.items()} == {n: a.tobytes() for n, a in tree.items()}


@pytest.mark.parametrize("mode", ["AES-GCM", "AES-CBC", "SM4-CBC"])
def test_encrypted_streams(mindspore: Any, tmp_path: Path, mode: str) -> None:
    """What cannot be written at offsets has smaller blocks."""
    array = np.arange(5 << 20, dtype=np.float32)
    with open(tmp_path / "a.ckpt", "wb") as file:
        ms.save_checkpoint({"w": array}, file, enc_key=bytes(16), enc_mode=mode)
    sealed = mode == "AES-GCM"
    assert encryption(tmp_path / "a.ckpt") == (mode, 3 + sealed)
    found = mindspore.load(tmp_path / "a.ckpt", dec_key=bytes(16), dec_mode=mode)
    assert found["w"].data == array.tobytes()


@pytest.mark.parametrize("crc", [False, True])
def test_safetensors(mindspore: Any, tmp_path: Path, crc: bool) -> None:
    # MindSpore with NumPy 2 reads no bfloat16 from safetensors.
    types = {n: t for n, t in DTYPES.items() if n != "BFloat16"}
    tree = {f"{n}_{len(s)}": values(t, s) for n, t in types.items() for s in SHAPES}
    if crc:  # MindSpore counts NUL bytes up to a scalar's value, so it must not be negative
        tree = {n: a for n, a in tree.items() if a.shape} | {"n": np.int32(5), "f": np.float32(1)}
    path = tmp_path / "a.safetensors"
    ms.save_checkpoint(tree, str(path), format="safetensors", crc_check=crc)
    found = mindspore.load(path, format="safetensors", crc_check=crc)
    assert {n: p.data for n, p in found.items()} == {n: stored(a) for n, a in tree.items()}
    assert {p.dtype for p in found.values()} >= {"Int4", "Bool", "Float64"}


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("slice_bytes", [512 << 20, 80])
def test_sharded_arrays_are_merged(
    mindspore: Any, tmp_path: Path, mesh: Any, spec: str, slice_bytes: int
) -> None:
    array = np.arange(16 * 24, dtype=np.float32).reshape(16, 24)
    sharded = jax.device_put(array, jax.NamedSharding(mesh, SPECS[spec]))
    half = jax.device_put(array.astype(ml_dtypes.bfloat16), jax.NamedSharding(mesh, SPECS[spec]))
    path = tmp_path / "a.ckpt"
    ms.save_checkpoint({"w": sharded, "h": half}, str(path), slice_bytes=slice_bytes)
    found = mindspore.load(path)
    assert found["w"] == ("Float32", (16, 24), array.tobytes())
    assert found["h"] == ("BFloat16", (16, 24), array.astype(ml_dtypes.bfloat16).tobytes())


@pytest.mark.parametrize("spec", SPECS)
def test_sharded_arrays_in_safetensors(
    mindspore: Any, tmp_path: Path, mesh: Any, spec: str
) -> None:
    array = np.arange(16 * 24, dtype=np.float32).reshape(16, 24)
    sharded = jax.device_put(array, jax.NamedSharding(mesh, SPECS[spec]))
    path = tmp_path / "a.safetensors"
    ms.save_checkpoint({"w": sharded, "n": np.arange(3)}, path, format="safetensors")
    found = mindspore.load(path, format="safetensors")
    assert found["w"] == ("Float32", (16, 24), array.tobytes())


def test_transposed_mesh_and_vectors(mindspore: Any, tmp_path: Path) -> None:
    devices = np.array(jax.devices()).reshape(2, 4).T
    mesh = jax.sharding.Mesh(devices, ("a", "b"))
    array = np.arange(32, dtype=np.int16)
    tree = {
        "v": jax.device_put(array, jax.NamedSharding(mesh, jax.P(("b", "a")))),
        "m": jax.device_put(array.reshape(4, 8), jax.NamedSharding(mesh, jax.P("a", "b"))),
    }
    ms.save_checkpoint(tree, str(tmp_path / "a.ckpt"))
    found = mindspore.load(tmp_path / "a.ckpt")
    assert found["v"].data == found["m"].data == array.tobytes()


@pytest.mark.parametrize("how", ["thread", "process", True])
def test_asynchronous_saves(mindspore: Any, tmp_path: Path, mesh: Any, how: Any) -> None:
    array = np.arange(64, dtype=np.float32).reshape(8, 8)
    tree = {"s": jax.device_put(array, jax.NamedSharding(mesh, jax.P("x", "y"))), "n": array}
    save = ms.save_checkpoint(tree, str(tmp_path / "a.ckpt"), async_save=how)
    assert save is not None
    save.result(60)
    found = mindspore.load(tmp_path / "a.ckpt")
    assert found["s"].data == found["n"].data == array.tobytes()


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.dense = nnx.Linear(4, 3, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)


def linen_variables() -> Any:
    return linen.Dense(3).init(jax.random.key(0), jnp.ones((1, 4)))


def train_state() -> Any:
    variables = linen_variables()
    return TrainState.create(apply_fn=print, params=variables["params"], tx=optax.adam(1e-3))


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (
            lambda: Net(nnx.Rngs(0)),
            "dense.bias dense.kernel drop.rngs.count drop.rngs.key@threefry2x32 norm.bias "
            "norm.mean norm.scale norm.var",
        ),
        (
            lambda: nnx.state(Net(nnx.Rngs(0)), nnx.Param),
            "dense.bias dense.kernel norm.bias norm.scale",
        ),
        (linen_variables, "params.bias params.kernel"),
        (
            train_state,
            "step params.bias params.kernel opt_state.0.count opt_state.0.mu.bias "
            "opt_state.0.mu.kernel opt_state.0.nu.bias opt_state.0.nu.kernel",
        ),
    ],
    ids=["nnx", "state", "linen", "train_state"],
)
def test_flax_objects(mindspore: Any, tmp_path: Path, make: Any, names: str) -> None:
    tree = make()
    ms.save_checkpoint(tree, str(tmp_path / "a.ckpt"))
    found = mindspore.load(tmp_path / "a.ckpt")
    assert list(found) == names.split()
    leaves = [
        jax.random.key_data(x)
        if jnp.issubdtype(getattr(x, "dtype", None), jax.dtypes.prng_key)
        else np.asarray(x)
        for x in jax.tree.leaves(tree)
    ]
    assert [p.data for p in found.values()] == [np.asarray(x).tobytes() for x in leaves]


def test_mindspore_loads_it_into_a_net(mindspore: Any, tmp_path: Path, mesh: Any) -> None:
    kernel = np.arange(12, dtype=np.float32).reshape(3, 4)
    sharded = jax.device_put(kernel, jax.NamedSharding(mesh, jax.P(None, "y")))
    tree = [{"name": "weight", "data": sharded}, {"name": "bias", "data": np.ones(3, np.float32)}]
    ms.save_checkpoint(tree, str(tmp_path / "a.ckpt"))
    found = mindspore.call("load_into_dense", path=str(tmp_path / "a.ckpt"))
    assert (found["missing"], found["unused"]) == ([], [])
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_allclose(found["output"], x @ kernel.T + 1)
