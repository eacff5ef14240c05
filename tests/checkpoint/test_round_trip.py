"""Random trees, dtypes, shapes and shardings come back bit for bit, onto any mesh."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.checkpoint import leaves

DTYPES = [
    np.dtype(t)
    for t in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
] + [np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.int4)]
MESHES = {
    "2x4": ((2, 4), ("x", "y"), slice(None)),
    "4x2": ((4, 2), ("x", "y"), slice(None)),
    "2x2x2": ((2, 2, 2), ("x", "y", "z"), slice(None)),
    "reversed": ((8,), ("x",), slice(None, None, -1)),
}


def mesh_named(name: str) -> jax.sharding.Mesh:
    shape, axes, order = MESHES[name]
    return jax.sharding.Mesh(np.array(jax.devices())[order].reshape(shape), axes)


@st.composite
def arrays(draw: Any, max_side: int = 5) -> np.ndarray:
    dtype = draw(st.sampled_from(DTYPES))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=max_side))
    bits = draw(st.randoms(use_true_random=False)).randbytes(int(np.prod(shape)) * dtype.itemsize)
    if dtype == ml_dtypes.int4:
        low = (np.frombuffer(bits, np.uint8) % 16).astype(np.int8) - 8
        return low.astype(dtype).reshape(shape)
    if dtype == np.bool_:
        return (np.frombuffer(bits, np.uint8) % 2).astype(bool).reshape(shape)
    return np.frombuffer(bits, dtype).reshape(shape)


@st.composite
def sharded(draw: Any) -> jax.sharding.NamedSharding:
    """A sharding for arrays of shape (8, 16, 8) on one of the meshes."""
    mesh = mesh_named(draw(st.sampled_from(sorted(MESHES))))
    axes = list(draw(st.permutations(mesh.axis_names)))
    spec: list[Any] = []
    for _ in range(draw(st.integers(0, 3))):
        count = draw(st.integers(0, len(axes)))
        taken, axes = axes[:count], axes[count:]
        spec.append(tuple(taken) if count > 1 else taken[0] if taken else None)
    return jax.NamedSharding(mesh, jax.P(*spec))


keys = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="@"), min_size=1)
trees = st.recursive(
    arrays(),
    lambda inner: st.one_of(
        st.dictionaries(keys, inner, min_size=1, max_size=3),
        st.lists(inner, min_size=1, max_size=3),
        st.tuples(inner, inner),
    ),
    max_leaves=6,
)


def bits(array: Any) -> tuple[Any, ...]:
    array = np.asarray(array)
    plain = array.astype(np.int8) if array.dtype == ml_dtypes.int4 else array
    return array.dtype, array.shape, plain.tobytes()


class Saved:
    """A saved tree: call it to load, ``data`` are the bytes of the file."""

    def __init__(self, path: Path):
        self.path = str(path)

    def __call__(self, **options: Any) -> Any:
        return ms.load_checkpoint(self.path, **options)

    @property
    def data(self) -> bytes:
        return Path(self.path).read_bytes()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Saved]:
    folder = tmp_path_factory.mktemp("round_trip")
    count = itertools.count()

    def save(tree: Any, **kwargs: Any) -> Saved:
        path = folder / f"{next(count) % 50}.{kwargs.get('format', 'ckpt')}"
        ms.save_checkpoint(tree, str(path), durable=False, **kwargs)
        return Saved(path)

    return save


def collide(tree: Any) -> bool:
    try:
        leaves.from_tree(tree)
    except ms.CheckpointError:
        return True
    return False


@given(trees, st.sampled_from([16, 48, 512 << 20]), st.sampled_from(["ckpt", "safetensors"]))
def test_trees(saved: Any, tree: Any, slice_bytes: int, format: str) -> None:
    assume(not collide(tree))
    load = saved(tree, slice_bytes=slice_bytes, format=format, crc_check=format == "ckpt")
    plain = load(crc_check=format == "ckpt")
    wanted = [r.tag for r in leaves.from_tree(tree)]
    assert list(plain) == (wanted if format == "ckpt" else sorted(wanted))
    by_name = dict(zip(wanted, jax.tree.leaves(tree), strict=True))
    assert {n: bits(a) for n, a in plain.items()} == {n: bits(a) for n, a in by_name.items()}
    alike = load(like=tree)
    assert jax.tree.structure(alike) == jax.tree.structure(tree)
    assert list(map(bits, jax.tree.leaves(alike))) == list(map(bits, jax.tree.leaves(tree)))


@given(sharded(), sharded(), st.sampled_from([64, 1008, 512 << 20]), st.sampled_from(DTYPES))
def test_shardings(saved: Any, one: Any, other: Any, slice_bytes: int, dtype: np.dtype) -> None:
    with jax.enable_x64(True):
        whole = (np.arange(1024) % 13).astype(dtype).reshape(8, 16, 8)
        array = jax.device_put(whole, one)
        load = saved({"w": array}, slice_bytes=slice_bytes)
        gathered = saved({"w": whole}, slice_bytes=slice_bytes)
        assert load.data == gathered.data
        like = {"w": jax.ShapeDtypeStruct(whole.shape, dtype, sharding=other)}
        for found in (load(like=like)["w"], load(sharding=other)["w"]):
            assert found.sharding == other
            assert bits(found) == bits(whole)


@given(st.data())
def test_get_slice_is_numpy_indexing(saved: Any, data: Any) -> None:
    array = np.arange(5 * 6 * 7, dtype=np.int32).reshape(5, 6, 7)
    load = saved({"w": array}, slice_bytes=data.draw(st.sampled_from([16, 80, 512 << 20])))
    index = data.draw(hnp.basic_indices(array.shape, allow_newaxis=False))
    found = ms.open_checkpoint(load.path).get_slice("w")[index]
    assert bits(found) == bits(array[index])


@given(hnp.array_shapes(min_dims=0, max_dims=4, max_side=5), st.data())
def test_ranges_become_contiguous_boxes(shape: tuple[int, ...], data: Any) -> None:
    size = int(np.prod(shape))
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))
    limit = data.draw(st.integers(1, 40))
    array = np.arange(size).reshape(shape)
    found = list(boxes.of_range(shape, start, stop, limit))
    parts = [array[boxes.slices(b, boxes.whole(shape))].ravel() for b in found]
    assert all(part.size <= limit for part in parts)
    assert list(itertools.chain(*parts)) == list(range(start, stop))


@given(st.data())
def test_gather_and_restrict(data: Any) -> None:
    array = np.arange(6 * 8).reshape(6, 8)
    row = data.draw(st.integers(1, 5))
    column = data.draw(st.integers(1, 7))
    cut = [((a, b), (c, d)) for a, b in ((0, row), (row, 6)) for c, d in ((0, column), (column, 8))]
    pieces = [(box, array[boxes.slices(box, boxes.whole(array.shape))]) for box in cut]
    low = data.draw(st.tuples(st.integers(0, 5), st.integers(0, 7)))
    high = tuple(data.draw(st.integers(a + 1, n)) for a, n in zip(low, (6, 8), strict=True))
    box = tuple(zip(low, high, strict=True))
    wanted = array[boxes.slices(box, boxes.whole(array.shape))]
    out = np.empty(boxes.shape_of(box), array.dtype)
    boxes.gather(pieces, box, out)
    assert np.array_equal(out, wanted)
    inner = np.empty_like(out)
    boxes.gather(boxes.restrict(pieces, box), boxes.whole(out.shape), inner)
    assert np.array_equal(inner, wanted)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_prng_keys(saved: Any, impl: str, mesh: Any) -> None:
    tree = {"one": jax.random.key(3, impl=impl), "many": jax.random.split(jax.random.key(1), 8)}
    load = saved(tree)
    found = load()
    assert found["one"].dtype == tree["one"].dtype
    assert jnp.array_equal(jax.random.key_data(found["one"]), jax.random.key_data(tree["one"]))
    sharding = jax.NamedSharding(mesh, jax.P("x"))
    like = tree | {"many": jax.device_put(tree["many"], sharding)}
    alike = load(like=like)
    assert alike["many"].sharding.is_equivalent_to(sharding, 1)
    assert jax.random.uniform(alike["one"]) == jax.random.uniform(tree["one"])


def test_python_values(saved: Any) -> None:
    tree = {"i": 3, "f": 0.1, "b": True, "s": "hé", "n": np.float32(2), "neg": -1}
    assert saved(tree)(like=tree) == tree
    assert type(saved(tree)(like=tree)["b"]) is bool


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12).reshape(3, 4).T,
        np.arange(12, dtype=">f4").reshape(3, 4),
        np.asfortranarray(np.ones((3, 4))),
        np.arange(24)[::-3],
        np.broadcast_to(np.float32(7), (3, 5)),
    ],
    ids=["transposed", "big-endian", "fortran", "strided", "broadcast"],
)
def test_unusual_memory_layouts(saved: Any, array: np.ndarray) -> None:
    found = saved({"w": array})()["w"]
    assert np.array_equal(found, array)
    assert found.dtype == array.dtype.newbyteorder("=")


def test_large_arrays_take_many_windows(saved: Any, mesh: Any) -> None:
    """Larger than a window, so that threads, staging and the order of pieces are exercised."""
    array = np.random.default_rng(0).random((3000, 1504), np.float32)  # 18 MB
    specs = [jax.P("x"), jax.P(None, "y"), jax.P("x", "y"), jax.P(("x", "y")), jax.P()]
    tree = {str(i): jax.device_put(array, jax.NamedSharding(mesh, s)) for i, s in enumerate(specs)}
    load = saved(tree | {"n": array, "t": array.T}, crc_check=True, slice_bytes=7 << 20)
    found = load(crc_check=True)
    assert all(np.array_equal(found[name], array) for name in (*tree, "n"))
    assert np.array_equal(found["t"], array.T)
    other = jax.NamedSharding(mesh, jax.P("y", "x"))
    like = {name: jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=other) for name in tree}
    assert all(np.array_equal(a, array) for a in load(like=like).values())


def test_accelerator_shards(saved: Any, mesh: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path of GPUs and TPUs: parts are cut on the device, then copied to the host."""
    whole = np.arange(4096 * 520, dtype=np.float32).reshape(4096, 520)
    specs = [jax.P("x"), jax.P(None, "y"), jax.P("x", "y"), jax.P()]
    tree = {str(i): jax.device_put(whole, jax.NamedSharding(mesh, s)) for i, s in enumerate(specs)}
    tree["one"] = jnp.asarray(whole)
    wanted = saved(tree).data
    cut: list[Any] = []
    original = leaves.DeviceShard.__getitem__
    monkeypatch.setattr(leaves, "on_host", lambda sharding: False)
    monkeypatch.setattr(
        leaves.DeviceShard, "__getitem__", lambda s, i: cut.append(i) or original(s, i)
    )
    load = saved(tree)
    assert load.data == wanted
    assert len(cut) > len(tree)
    save = ms.save_checkpoint(tree, load.path, async_save=True)
    assert save is not None
    save.result()
    assert load.data == wanted
