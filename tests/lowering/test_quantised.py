"""Weights in 8 or 4 bits: their numbers, which of them, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.graph.values import Tensor
from msckpt_jax.lowering import quantising
from msckpt_jax.lowering.quantising import Sheets, Wish
from tests import quantising as plain

_X = jnp.ones((2, 64))


def _quantised(weight: np.ndarray, wish: Wish, axis: int = -2) -> quantising.Quantised:
    type_ = Tensor(weight.dtype, weight.shape)
    return quantising.quantised(Sheets("w", lambda layer: weight, None, type_, axis), wish)


@pytest.mark.parametrize("dtype", plain.DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("wish", [Wish(8, None), Wish(8, 16), Wish(4, 32)], ids=str)
@pytest.mark.parametrize("axis", [-2, -1])
def test_numbers_are_the_nearest(dtype: Any, wish: Wish, axis: int) -> None:
    rng = np.random.default_rng(0)
    weight = (rng.standard_normal((64, 96)) * 2.0 ** rng.integers(-3, 6, 96)).astype(dtype)
    made = _quantised(weight, wish, axis)
    np.testing.assert_array_equal(
        made.weight(), plain.dequantised(weight, axis, wish.bits, wish.block)
    )
    assert 0.49 < made.error <= 0.5
    assert np.abs(made.numbers()).max() == wish.most
    assert made.scale.dtype == dtype


@pytest.mark.parametrize("dtype", plain.DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("bits", [8, 4])
def test_extreme_numbers(dtype: Any, bits: int) -> None:
    """The largest and the smallest numbers, and zeros, move by half a scale at most."""
    info = ml_dtypes.finfo(dtype)
    columns = [info.max, info.max, info.smallest_normal, info.smallest_subnormal, 0.0, 3e-5, -0.0]
    signs = np.array([1, -1, 0.49, 0.5])[:, None]
    with np.errstate(over="ignore"):
        weight = np.tile((np.array(columns, np.float64) * signs), (8, 1)).astype(dtype)
    made = _quantised(weight, Wish(bits, None))
    back = made.weight()
    assert np.isfinite(back.astype(np.float64)).all()
    assert made.error <= 0.5
    assert made.scale[0, 4] == made.scale[0, 6] == 1
    apart = np.abs(back.astype(np.float64) - weight.astype(np.float64))
    rounding = np.abs(weight.astype(np.float64)) * float(info.eps)
    assert (apart <= made.scale.astype(np.float64) / 2 + rounding).all()


def test_ties_go_to_even() -> None:
    weight = np.zeros((32, 1), np.float32)
    weight[:6, 0] = [127, 0.5, 1.5, 2.5, -0.5, -1.5]
    assert _quantised(weight, Wish(8, None)).numbers()[:6, 0].tolist() == [127, 0, 2, 2, 0, -2]


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite(tmp_path: Path, number: float) -> None:
    weight = np.ones((64, 64), np.float32)
    weight[3, 5] = number
    with pytest.raises(ms.ExportError, match=r"the weight 'a\.kernel' has numbers that are NaN or"):
        ms.export((lambda p, x: x @ p["a"]["kernel"], {"a": {"kernel": weight}}), _X,
                  file_name=tmp_path / "a", weights="int8")  # fmt: skip
    assert not list(tmp_path.iterdir())


def test_what_is_quantised(tmp_path: Path) -> None:
    """Weights of products are, others say why not; the names stay."""
    rng = np.random.default_rng(0)

    def array(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    weights = {
        "embedding": array(96, 64), "kernel": array(64, 64), "bias": array(64),
        "small": array(64, 4), "twice": array(64, 64), "shared": array(64, 64),
        "odd": array(72, 64),
    }  # fmt: skip

    def net(p: Any, i: Any) -> Any:
        x = p["embedding"][i]
        x = jnp.tanh(x @ p["kernel"] + p["bias"]) @ p["twice"]
        x = (x @ p["shared"]) @ p["shared"] @ p["twice"].T
        y = jnp.concatenate([x, x[:, :8]], 1) @ p["odd"]
        return x @ p["embedding"].T, x @ p["small"], y

    done = ms.export((net, weights), jnp.arange(5), file_name=tmp_path / "a", weights="int4")
    assert done.graph is not None
    dtypes = {name: p.type.dtype.name for name, p in done.graph.parameters.items()}
    assert dtypes == {
        **dict.fromkeys(weights, "float32"), "kernel": "uint8", "kernel.scale": "float32",
        "shared": "uint8", "shared.scale": "float32",
    }  # fmt: skip
    assert done.notes[0].startswith(
        "2 weights of 7 quantised (int4, a scale for each block of 32): 32.0 KiB became 5.0 KiB, "
        "no number moved by more than 0.5"
    )
    assert set(done.notes[1:5]) == {
        "not quantised: embedding: used not only in products",
        "not quantised: twice: multiplied in several layouts",
        "not quantised: small: of fewer than 1024 numbers",
        "not quantised: odd: of 72 rows, no multiple of 32",
    }
    assert {p.name for p in done.graph.parameters.values()} == dtypes.keys()


def test_names_that_are_taken(tmp_path: Path) -> None:
    weights = {"w": np.ones((64, 64), np.float32), "w.scale": np.ones((64,), np.float32)}
    done = ms.export((lambda p, x: (x @ p["w"]) * p["w.scale"], weights), _X,
                     file_name=tmp_path / "a", file_format="AIR", weights="int8",
                     verify=True)  # fmt: skip
    assert done.graph is not None
    assert sorted(done.graph.parameters) == ["w", "w.scale", "w.scale_1"]


def test_weights_that_the_file_has_in_another_form(tmp_path: Path) -> None:
    """Complex ones are pairs in ONNX, narrow ones are wider in AIR: they stay as they are."""
    rng = np.random.default_rng(0)
    weights = {
        "w": rng.standard_normal((64, 64)).astype(np.float32),
        "c": (rng.standard_normal((64, 64)) * (1 + 2j)).astype(np.complex64),
        "e": jnp.asarray(rng.standard_normal((64, 64)), jnp.float8_e5m2),
    }

    def net(p: Any, x: Any) -> Any:
        return (x @ p["w"]) @ p["e"].astype(x.dtype), jnp.real(x @ p["c"])

    for kind in ("ONNX", "AIR"):
        done = ms.export((net, weights), _X, file_name=tmp_path / "a", file_format=kind,
                         weights="int8", verify=True)  # fmt: skip
        assert done.graph is not None
        assert [name for name in done.graph.parameters if "scale" in name] == ["w.scale"]


def test_what_a_function_holds(tmp_path: Path) -> None:
    """Arrays with a path are weights, and JAX has their rounded numbers; others stay."""
    inside = jnp.asarray(np.random.default_rng(0).standard_normal((64, 64)), jnp.float32)
    done = ms.export(lambda x: x @ inside, _X, file_name=tmp_path / "a", file_format="ONNX",
                     weights="int4", verify=True)  # fmt: skip
    assert done.graph is not None
    assert done.graph.parameters.keys() == {"inside", "inside.scale"}
    assert done.difference == pytest.approx(0, abs=1e-4)


def test_a_wish_that_nothing_fulfils(tmp_path: Path) -> None:
    """Constants without a path may be tables of any use."""

    def function(x: Any) -> Any:
        return x @ np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)

    with pytest.raises(ms.ExportError, match="'int8': no weight of a matrix product can be"):
        ms.export(function, _X, file_name=tmp_path / "a", weights="int8")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("how", [{}, {"convention": "mindspore"}], ids=["own", "convention"])
def test_layers_written_out(tmp_path: Path, how: dict[str, Any]) -> None:
    """Layers by themselves, and those of a convention: verified on what is in the file."""

    class Scanned(nnx.Module):
        def __init__(self) -> None:
            keys = jax.random.split(jax.random.key(0), 3)
            self.layers = nnx.vmap(lambda key: nnx.Linear(64, 64, rngs=nnx.Rngs(key)))(keys)

        def __call__(self, x: Any) -> Any:
            step = nnx.scan(lambda layer, x: jnp.tanh(layer(x)), in_axes=(0, nnx.Carry),
                            out_axes=nnx.Carry)  # fmt: skip
            return step(self.layers, x)

    done = ms.export(Scanned(), _X, file_name=tmp_path / "a", file_format="ONNX",
                     weights="int8", verify=True, unroll_layers=True, **how)  # fmt: skip
    assert done.graph is not None
    assert not {"While", "Concat"} & {node.op for node in done.graph.walk()}
    assert sum(name.endswith(".scale") for name in done.graph.parameters) == 3
    assert done.difference == pytest.approx(0, abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"weights": "fp8"}, ValueError, "weights must be None, 'int8' or 'int4', not 'fp8'"),
        ({"weights": "int4", "weight_block_size": 24}, ValueError, "a power of two from 16 on"),
        ({"weights": "int4", "weight_block_size": 8}, ValueError, "a power of two from 16 on"),
        ({"weights": "int4", "weight_block_size": 32.0}, TypeError, "must be an int, not float"),
        ({"weight_block_size": 32}, ValueError, "is for weights='int8' and weights='int4'"),
    ],
)
def test_wishes_that_are_none(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        ms.export((lambda p, x: x @ p, jnp.ones((64, 64))), _X, file_name=tmp_path / "a",
                  **arguments)  # fmt: skip


def test_sharded_weights_are_those_in_one_piece(tmp_path: Path) -> None:
    """Byte for byte."""
    weight = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
    mesh = jax.make_mesh((2, 4), ("x", "y"))
    spread = jax.device_put(weight, jax.NamedSharding(mesh, jax.P("x", "y")))
    files = []
    for number, given in enumerate((weight, spread)):
        done = ms.export((lambda p, x: x @ p["w"], {"w": given}), _X, weights="int4",
                         file_name=tmp_path / str(number))  # fmt: skip
        files.append(done.file.read_bytes())
    assert files[0] == files[1]


def test_layers_of_a_stack(tmp_path: Path) -> None:
    """A loop takes one layer at a time; a short one has each layer as a matrix of its own."""
    x = jnp.ones((5, 32))
    for count in (3, 100):
        stack = np.random.default_rng(0).standard_normal((count, 32, 32)).astype(np.float32) / 8

        def net(p: Any, x: Any) -> Any:
            return jax.lax.scan(lambda c, w: (jnp.tanh(c @ w), None), x, p["w"])[0]

        done = ms.export((net, {"w": stack}), x, file_name=tmp_path / "a", weights="int4",
                         file_format="ONNX", verify=True)  # fmt: skip
        assert done.difference is not None
        assert done.difference < 1e-6
        assert done.file.stat().st_size < stack.nbytes / 4 + (50000 if count == 100 else 10000)
