"""What is loaded from a good file: filters, casts, networks, trees, reports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms

TREE = {
    "bn": {"gamma": np.ones(2, np.float32), "beta": np.zeros(2, np.float32)},
    "fc": {"weight": np.arange(6, dtype=np.float32).reshape(3, 2)},
    "step": 5,
    "note": "hi",
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    ms.save_checkpoint(TREE, str(tmp_path / "a.ckpt"))
    return str(tmp_path / "a.ckpt")


@pytest.mark.parametrize(
    ("kwargs", "names"),
    [
        ({"filter_prefix": "bn"}, ["fc.weight", "note", "step"]),
        ({"filter_prefix": ["b", "n"]}, ["fc.weight", "step"]),
        ({"specify_prefix": ("bn.", "fc")}, ["bn.beta", "bn.gamma", "fc.weight"]),
        ({"specify_prefix": "bn", "filter_prefix": "bn.g"}, ["bn.beta"]),
        ({"choice_func": lambda n: "e" in n}, ["bn.beta", "fc.weight", "note", "step"]),
        ({"choice_func": lambda n: False, "filter_prefix": "bn"}, ["fc.weight", "note", "step"]),
    ],
)
def test_filters(path: str, kwargs: dict[str, Any], names: list[str]) -> None:
    assert list(ms.load_checkpoint(path, **kwargs)) == names


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"filter_prefix": ""}, ValueError),
        ({"filter_prefix": []}, ValueError),
        ({"specify_prefix": ["a", ""]}, ValueError),
        ({"filter_prefix": 3}, TypeError),
        ({"specify_prefix": [3]}, TypeError),
        ({"choice_func": 3}, TypeError),
        ({"specify_prefix": "zz"}, ms.CheckpointError),
        ({"dec_mode": "DES"}, ValueError),
        ({"dec_key": "text"}, TypeError),
        ({"dec_key": b"short"}, ValueError),
        ({"format": "npz"}, ValueError),
        ({"format": "safetensors"}, ms.CheckpointError),
        ({"like": {}, "sharding": 1}, ValueError),
    ],
)
def test_wrong_arguments_of_load(path: str, kwargs: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        ms.load_checkpoint(path, **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "error"),
    [
        ({"format": "npz"}, ValueError),
        ({"async_save": "fork"}, ValueError),
        ({"async_save": 1.5}, TypeError),
        ({"append_dict": [1]}, TypeError),
        ({"append_dict": {1: 1}}, TypeError),
        ({"append_dict": {"a": [1]}}, TypeError),
        ({"append_dict": {"step": 1}}, ms.CheckpointError),
        ({"enc_key": "text"}, TypeError),
        ({"enc_key": b"short"}, ValueError),
        ({"enc_key": bytes(32), "enc_mode": "SM4-CBC"}, ValueError),
        ({"enc_mode": "ROT13"}, ValueError),
        ({"enc_key": bytes(16), "crc_check": True}, ValueError),
        ({"enc_key": bytes(16), "format": "safetensors"}, ValueError),
        ({"crc_check": 1}, TypeError),
        ({"choice_func": "no"}, TypeError),
        ({"slice_bytes": 100}, ValueError),
        ({"format": "safetensors"}, ms.CheckpointError),  # it holds a str
    ],
)
def test_wrong_arguments_of_save(tmp_path: Path, kwargs: dict[str, Any], error: type) -> None:
    with pytest.raises(error):
        ms.save_checkpoint(TREE, str(tmp_path / "a"), **kwargs)
    assert not list(tmp_path.iterdir())


def test_the_result_is_a_mutable_mapping(path: str) -> None:
    found = ms.load_checkpoint(path)
    del found["note"]
    weight = found.pop("fc.weight")
    found["mine"] = weight
    assert list(found) == ["bn.beta", "bn.gamma", "step", "mine"]
    assert found.copy().keys() == found.keys()
    assert dict(found)["mine"] is weight
    assert "mine: ndarray[3, 2]" in repr(found)
    assert not weight.flags.writeable


def test_nested_dicts_for_linen(path: str) -> None:
    found = ms.load_checkpoint(path, specify_prefix=("bn", "fc")).nested()
    assert jax.tree.structure(found) == jax.tree.structure({k: TREE[k] for k in ("bn", "fc")})


def test_choice_func_of_save(tmp_path: Path) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint(TREE, path, choice_func=lambda n: n == "step", append_dict={"x": 1})
    assert list(ms.load_checkpoint(path)) == ["step", "x"]


def test_the_handle(path: str) -> None:
    with ms.open_checkpoint(path) as file:
        assert file.names == ["bn.beta", "bn.gamma", "fc.weight", "note", "step"]
        assert (file.format, file.crc, file.cipher, len(file)) == ("ckpt", None, None, 5)
        assert repr(file) == f"<CheckpointFile {path}: 5 entries, 56 B>"
        cells = re.findall(r"<td[^>]*>(.*?)</td>", file._repr_html_())
        assert cells[cells.index("fc.weight") :][:3] == ["fc.weight", "Float32", "[3, 2]"]
        part = file.get_slice("fc.weight")[1:, 1]
        assert part.tolist() == [3, 5]
        with pytest.raises(TypeError, match="no slices"):
            file.get_slice("note")
        with pytest.raises(IndexError):
            file.get_slice("fc.weight")[0, 0, 0]
    assert part.tolist() == [3, 5]


def test_one_tensor_costs_one_tensor(tmp_path: Path) -> None:
    """Values are views into the mapped file, not copies."""
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint({"w": np.ones(100_000), "v": np.zeros(3)}, path)
    found = ms.load_checkpoint(path)["w"]
    while isinstance(found, np.ndarray):
        owner, found = found, found.base
    assert not owner.flags.owndata


# Into networks


class Net(nnx.Module):
    def __init__(self, seed: int = 0, width: int = 3, dtype: Any = jnp.float32):
        rngs = nnx.Rngs(seed)
        self.fc = nnx.Linear(2, width, rngs=rngs, param_dtype=dtype)
        self.norm = nnx.BatchNorm(width, rngs=rngs)


def params_of(net: nnx.Module, tmp_path: Path) -> Any:
    ms.save_checkpoint(net, str(tmp_path / "net.ckpt"))
    return ms.load_checkpoint(str(tmp_path / "net.ckpt"))


def same(one: nnx.Module, other: nnx.Module) -> bool:
    pairs = zip(jax.tree.leaves(nnx.state(one)), jax.tree.leaves(nnx.state(other)), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_a_net_is_loaded_in_place(tmp_path: Path) -> None:
    source, net = Net(0), Net(1)
    assert ms.load_param_into_net(net, params_of(source, tmp_path)) == ([], [])
    assert same(source, net)


def test_load_checkpoint_into_a_net(tmp_path: Path) -> None:
    source, net = Net(0), Net(1)
    params_of(source, tmp_path)
    found = ms.load_checkpoint(str(tmp_path / "net.ckpt"), net=net)
    assert "fc.kernel" in found
    assert same(source, net)


def test_shardings_of_the_net_stay(tmp_path: Path, mesh: Any) -> None:
    source, net = Net(0, width=8), Net(1, width=8)
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    net.fc.kernel.set_value(jax.device_put(net.fc.kernel[...], sharding))
    ms.load_param_into_net(net, params_of(source, tmp_path))
    assert net.fc.kernel[...].sharding == sharding
    assert same(source, net)


@pytest.mark.parametrize(
    ("stored", "wanted", "ok"),
    [
        (np.float64, np.float16, True),
        (np.float16, ml_dtypes.bfloat16, True),
        (ml_dtypes.bfloat16, np.float32, True),
        (np.int64, np.int8, True),
        (ml_dtypes.int4, np.int32, True),
        (np.uint8, ml_dtypes.uint4, True),
        (np.uint8, np.uint16, False),
        (np.int32, np.float32, False),
        (np.float32, np.int32, False),
        (np.bool_, np.int8, False),
        (np.int8, np.uint8, False),
    ],
)
def test_casts(tmp_path: Path, stored: Any, wanted: Any, ok: bool) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint({"w": np.array([1, 0, 1]).astype(stored)}, path)
    like = {"w": np.zeros(3, wanted)}
    if ok:
        found = ms.load_checkpoint(path, like=like)["w"]
        assert found.dtype == wanted
        assert found.astype(int).tolist() == [1, 0, 1]
    else:
        with pytest.raises(ms.CheckpointError, match="dtype differs"):
            ms.load_checkpoint(path, like=like)
    with pytest.raises(ms.CheckpointError, match="dtype differs"):
        ms.load_checkpoint(path, like=like, strict_load=True)


def test_uint4_values_must_fit(tmp_path: Path) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint({"w": np.array([16], np.uint8)}, path)
    with pytest.raises(ms.CheckpointError, match="uint4"):
        ms.load_checkpoint(path, like={"w": jnp.zeros(1, jnp.uint4)})


@pytest.mark.parametrize(
    ("stored", "wanted", "ok"),
    [((2, 3, 1, 1), (2, 3), True), ((1,), (), True), ((), (1,), False), ((3, 2), (2, 3), False)],
)
def test_trailing_ones(tmp_path: Path, mesh: Any, stored: Any, wanted: Any, ok: bool) -> None:
    path = str(tmp_path / "a.ckpt")
    array = np.arange(int(np.prod(stored)), dtype=np.float32).reshape(stored)
    ms.save_checkpoint({"w": array}, path)
    for like in (np.zeros(wanted, np.float32), jnp.zeros(wanted, jnp.float32)):
        if ok:
            found = ms.load_checkpoint(path, like={"w": like})["w"]
            assert np.array_equal(found, array.reshape(wanted))
        else:
            with pytest.raises(ms.CheckpointError, match=r"shape differs.*expected.*found"):
                ms.load_checkpoint(path, like={"w": like})


def test_the_one_prefix_is_taken_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, net = Net(0), Net(1)
    params = dict(params_of(source, tmp_path))
    renamed = {f"a.b.{name}": value for name, value in params.items()} | {
        "other.x": params["norm.mean"]
    }
    assert ms.load_param_into_net(net, renamed) == ([], ["other.x"])
    assert same(source, net)
    assert "behind the prefix 'a.b.'" in caplog.text
    with pytest.raises(ms.CheckpointError, match=r"nothing was loaded.*'fc.bias'.*rename the keys"):
        ms.load_param_into_net(Net(1), renamed, strict_load=True)


def half(params: dict[str, Any]) -> dict[str, Any]:
    return {("a." if n.startswith("fc") else "b.c.") + n: v for n, v in params.items()}


def twice(params: dict[str, Any]) -> dict[str, Any]:
    return {p + n: v * (p == "a.") for p in ("a.", "ema.") for n, v in params.items()}


def moments(params: dict[str, Any]) -> dict[str, Any]:
    return {f"moments.{n}": v for n, v in params.items()}


def optax_states(params: dict[str, Any]) -> dict[str, Any]:
    return {f"net.opt_state.0.mu.{n}": v for n, v in params.items()}


@pytest.mark.parametrize("file", [half, twice, moments, optax_states])
def test_what_is_no_only_prefix_is_refused(tmp_path: Path, file: Any) -> None:
    params, net, untouched = file(dict(params_of(Net(0), tmp_path))), Net(1), Net(1)
    with pytest.raises(ms.CheckpointError, match="nothing was loaded: of 6 names none fits"):
        ms.load_param_into_net(net, params)
    assert same(net, untouched)


def test_the_network_is_found_beside_its_optimizer(tmp_path: Path) -> None:
    source, net = Net(0), Net(1)
    params = dict(params_of(source, tmp_path))
    both = {f"params.{n}": v for n, v in params.items()} | moments(params) | optax_states(params)
    assert ms.load_param_into_net(net, both)[0] == []
    assert same(source, net)


@pytest.mark.parametrize(
    "other", ["moments.fc.kernel", "opt_state.0.nu.fc.kernel", "backbone.fc.kernel"]
)
def test_a_dropped_layer_is_not_filled(tmp_path: Path, other: str) -> None:
    params, net = dict(params_of(Net(0), tmp_path)), Net(1)
    before = net.fc.kernel[...]
    params[other] = params.pop("fc.kernel")
    missing, unused = ms.load_param_into_net(net, params)
    assert (missing, unused) == (["fc.kernel"], [other])
    assert np.array_equal(net.fc.kernel[...], before)


def test_a_name_that_ends_alike_is_another(tmp_path: Path) -> None:
    tree = {"proj": {"w": jnp.zeros(2)}, "x": {"w": jnp.zeros(2)}}
    file = {"outproj.w": np.ones(2, np.float32), "x.w": np.ones(2, np.float32)}
    new, missing, unused = ms.load_param_into_tree(tree, file)
    assert (missing, unused, new["proj"]["w"].tolist()) == (["proj.w"], ["outproj.w"], [0, 0])
    with pytest.raises(ms.CheckpointError, match="nothing was loaded"):
        ms.load_param_into_tree({"proj": tree["proj"]}, {"outproj.w": np.ones(2, np.float32)})


def test_a_layer_loaded_in_part_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    params = dict(params_of(Net(0), tmp_path))
    del params["fc.bias"]
    missing, _ = ms.load_param_into_net(Net(1), params)
    assert missing.explain().startswith(
        "fc.bias: no such name in the file, its layer was loaded in part: fc.kernel"
    )
    assert "layers were loaded in part: fc" in caplog.text


def test_the_report(tmp_path: Path) -> None:
    params = params_of(Net(0), tmp_path)
    params["fc.kernal"] = params.pop("fc.kernel")
    params["epoch"] = "three"
    missing, unused = ms.load_param_into_net(Net(1), params)
    assert (missing, unused) == (["fc.kernel"], ["fc.kernal", "epoch"])
    assert "fc.kernal" in missing.reasons["fc.kernel"]
    assert "no such name in the network (nearest: fc.kernel" in unused.explain()


def test_a_mismatch_is_refused_or_skipped(tmp_path: Path) -> None:
    params, net, untouched = params_of(Net(0, width=4), tmp_path), Net(1), Net(1)
    with pytest.raises(ms.CheckpointError, match=r"fc\.bias.*shape differs.*\[3\].*\[4\]"):
        ms.load_param_into_net(net, params)
    assert same(net, untouched)
    with pytest.raises(ms.CheckpointError, match=r"nothing was loaded.*fc\.bias.*shape differs"):
        ms.load_param_into_net(net, params, skip_mismatch=True)
    assert same(net, untouched)
    params["norm.bias"] = np.array([1, 2, 3], np.float32)
    missing, _ = ms.load_param_into_net(net, params, skip_mismatch=True)
    assert "shape differs" in missing.reasons["fc.kernel"]
    assert np.array_equal(net.fc.kernel[...], untouched.fc.kernel[...])
    assert net.norm.bias[...].tolist() == [1, 2, 3]


def test_casts_into_a_net_keep_its_dtype(tmp_path: Path) -> None:
    net = Net(1, dtype=jnp.bfloat16)
    ms.load_param_into_net(net, params_of(Net(0), tmp_path))
    assert net.fc.kernel[...].dtype == jnp.bfloat16


def test_gradient_accumulators_are_not_missed(tmp_path: Path) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint({"w": np.ones(1)}, path)
    tree = {"w": np.zeros(1), "accu_grads.w": np.zeros(1)}
    new, missing, _ = ms.load_param_into_tree(tree, ms.load_checkpoint(path))
    assert missing == []
    assert new["w"] == 1


def test_immutable_trees(path: str) -> None:
    tree = {"fc": {"weight": jnp.zeros((3, 2))}, "other": jnp.ones(1)}
    new, missing, unused = ms.load_param_into_tree(tree, ms.load_checkpoint(path))
    assert np.array_equal(new["fc"]["weight"], TREE["fc"]["weight"])
    assert not tree["fc"]["weight"].any()
    assert (missing, unused) == (["other"], ["bn.beta", "bn.gamma", "note", "step"])


@pytest.mark.parametrize(
    ("net", "params", "kwargs"),
    [({}, {}, {}), (Net(), [1], {}), (Net(), {}, {"strict_load": 1}), (Net(), {"fc.bias": {}}, {})],
)
def test_wrong_types(net: Any, params: Any, kwargs: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        ms.load_param_into_net(net, params, **kwargs)


def test_like_names_what_is_missing(path: str) -> None:
    with pytest.raises(ms.CheckpointError, match=r"a\.ckpt.*'fc\.weigth' \(nearest: fc\.weight"):
        ms.load_checkpoint(path, like={"fc": {"weigth": np.ones(1)}})


def test_like_refuses_other_kinds(path: str) -> None:
    for like in ({"note": np.ones(1)}, {"step": "text"}, {"step": jax.random.key(0)}):
        with pytest.raises(ms.CheckpointError, match="another kind"):
            ms.load_checkpoint(path, like=like)


def test_an_uneven_sharding_is_refused_by_name(path: str, mesh: Any) -> None:
    sharding = jax.NamedSharding(mesh, jax.P("y"))
    with pytest.raises(ms.CheckpointError, match=r"fc\.weight.*does not fit the sharding"):
        ms.load_checkpoint(path, specify_prefix="fc", sharding=sharding)


def test_sharding_by_function_and_x64(tmp_path: Path, mesh: Any) -> None:
    path = str(tmp_path / "a.ckpt")
    wide = jax.NamedSharding(mesh, jax.P("x"))
    ms.save_checkpoint({"w": np.ones((4, 2)), "n": np.arange(3), "s": "text"}, path)
    with pytest.warns(UserWarning, match="jax_enable_x64"):
        found = ms.load_checkpoint(path, sharding=lambda n, shape: wide if n == "w" else None)
    assert (found["w"].sharding, found["w"].dtype) == (wide, jnp.float32)
    assert (found["n"].dtype, found["s"]) == (jnp.int32, "text")
    ms.save_checkpoint({"n": np.array([2**40])}, path)
    with pytest.raises(ms.CheckpointError, match="do not fit int32"):
        ms.load_checkpoint(path, sharding=lambda name, shape: None)


def test_asynchronous_load(path: str) -> None:
    assert ms.load_checkpoint_async(path).result()["step"] == 5
    like = {"step": 0}
    assert ms.load_checkpoint_async(path, like=like).result() == {"step": 5}
    with pytest.raises(FileNotFoundError):
        ms.load_checkpoint_async(path + ".no").result()


# Progress


@pytest.mark.parametrize("size", [3, 3_000_000])
@pytest.mark.parametrize("way", ["like", "sharding", "net", "tree"])
def test_progress_tells_of_all_bytes(tmp_path: Path, mesh: jax.sharding.Mesh, way: str, size: int):
    """All that this process reads: of a replicated array each byte once."""
    ms.save_checkpoint({"w": np.ones((8, size), np.float32)}, tmp_path / "a.ckpt")
    spread = jax.NamedSharding(mesh, jax.P("x", None))
    like = {"w": jax.ShapeDtypeStruct((8, size), np.float32, sharding=spread)}
    pieces: list[int] = []
    if way == "tree":
        parameters = ms.load_checkpoint(tmp_path / "a.ckpt")
        ms.load_param_into_tree(like, parameters, progress=pieces.append)
    else:
        net = nnx.Dict(w=nnx.Param(jnp.ones((8, size)))) if way == "net" else None
        wanted = {"like": like, "sharding": spread, "net": net}[way]
        ms.load_checkpoint(tmp_path / "a.ckpt", progress=pieces.append, **{way: wanted})
    assert sum(pieces) == 8 * size * 4
    assert len(pieces) > 1 or size == 3
