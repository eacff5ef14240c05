"""Functions exported as ONNX: checked, and JAX's numbers in onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax import lax

import msckpt_jax as ms
from msckpt_jax.errors import ExportError
from msckpt_jax.onnx import runner
from msckpt_jax.onnx.adapt import ROWS
from msckpt_jax.onnx.opsets import OPSETS
from msckpt_jax.onnx.rows.operands import same
from tests.exporting import CASES, Mlp, sum_of_three


@pytest.mark.parametrize(("net", "inputs"), CASES.values(), ids=CASES)
def test_numbers(net: Any, inputs: Any, tmp_path: Path) -> None:
    out = ms.export(net, *inputs, file_name=tmp_path / "a", file_format="ONNX", verify=True)
    onnx.checker.check_model(str(out.file), full_check=True)
    assert out.difference is not None
    assert out.difference < (1e-2 if "float16" in str(inputs[0].dtype) else 1e-4)


X = np.arange(6, dtype=np.float32).reshape(2, 3)
#: Of each family of rows.
HANDFUL = ("mlp", "cnn", "attention", "switch", "scan", "random", "scatter", "sort", "reductions",
           "integers", "activations", "bfloat16", "float16", "cumulative")  # fmt: skip


@pytest.mark.parametrize("opset", OPSETS)
def test_opsets(opset: int, tmp_path: Path) -> None:
    for name in HANDFUL:
        net, inputs = CASES[name]
        out = ms.export(net, *inputs, file_name=tmp_path / "a", file_format="ONNX", opset=opset,
                        verify=True, engine="native")  # fmt: skip
        model = onnx.load(out.file)
        assert [entry.version for entry in model.opset_import] == [opset]
        onnx.checker.check_model(model, full_check=True)


def test_an_operator_that_the_opset_lacks_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROWS, "Sin", same("Swish"))
    with pytest.raises(ExportError, match="opset 21 has no Swish"):
        ms.export(jnp.sin, np.ones((2, 3), np.float32), file_name=tmp_path / "a",
                  file_format="ONNX", engine="native", opset=21)  # fmt: skip
    for opset in (11, 17, 27):
        for engine in ("auto", "native", "jax2onnx"):
            with pytest.raises(ValueError, match=f"opset must be 18 to 26, not {opset}"):
                ms.export(jnp.sin, np.ones(3, np.float32), file_name=tmp_path / "a",
                          file_format="ONNX", opset=opset, engine=engine)  # fmt: skip
    assert not list(tmp_path.iterdir())


_FLOAT8 = jnp.float8_e5m2


def _saturated(b: Any, node: Any) -> Any:
    """A row with an attribute that Cast has from opset 19 on."""
    return b("Cast", *node.inputs, type=node.outputs[0].type, to=1, saturate=0)


@pytest.mark.parametrize(
    ("net", "rows", "opset", "version"),
    [
        (jnp.sin, {}, 18, 8),
        ((lambda w, x: x * w["w"].astype(x.dtype), {"w": np.ones(3, _FLOAT8)}), {}, 19, 9),
        (jnp.sin, {"Sin": same("Gelu")}, 20, 9),
        (jnp.sin, {"Sin": _saturated}, 19, 9),
    ],
    ids=["sin", "float8", "a later operator", "a later attribute"],
)
def test_the_lowest_opset_that_a_network_needs(
    net: Any, rows: Any, opset: int, version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, row in rows.items():
        monkeypatch.setitem(ROWS, name, row)
    out = ms.export(net, X, file_name=tmp_path / "a", file_format="ONNX", engine="native")
    model = onnx.load(out.file)
    assert (model.opset_import[0].version, model.ir_version) == (opset, version)
    onnx.checker.check_model(model, full_check=True)


#: A network of a dtype that stays inside of files, and where it is.
FOREIGN: dict[str, tuple[Any, Any]] = {
    "input 0": (lambda x: x.astype(jnp.float32), jax.ShapeDtypeStruct((3,), _FLOAT8)),
    "result 0": (lambda x: x.astype(_FLOAT8), np.ones(3, np.float32)),
}


@pytest.mark.parametrize("end", FOREIGN)
def test_dtypes_that_stay_inside(end: str, tmp_path: Path) -> None:
    net, x = FOREIGN[end]
    with pytest.raises(ExportError, match=f"the {end}: numbers of float8_e5m2 stay inside"):
        ms.export(net, x, file_name=tmp_path / "a", file_format="ONNX", engine="native")
    assert not list(tmp_path.iterdir())


def test_initializers_have_the_checkpoints_names_and_bytes(tmp_path: Path) -> None:
    net = Mlp()
    out = ms.export(net, np.zeros((2, 3), np.float32), file_name=tmp_path / "a", file_format="ONNX")
    ms.save_checkpoint(net, tmp_path / "a.ckpt")
    found = {tensor.name: tensor for tensor in onnx.load(out.file).graph.initializer}
    for name, value in ms.load_checkpoint(tmp_path / "a.ckpt").items():
        assert found[name].raw_data == np.asarray(value).tobytes()


@pytest.mark.parametrize("engine", ["native", "jax2onnx"])
def test_an_input_takes_no_name_of_a_weight(engine: str, tmp_path: Path) -> None:
    """Nor does an array that the function closes over."""
    given = "x", "x_1", "output", "constant_0"
    weights = {name: np.full(3, i, np.float32) for i, name in enumerate(given)}
    known = jnp.arange(3000.0)

    def function(w: Any, x: jax.Array) -> jax.Array:
        more = (known * x[0, 1]).max() * w["constant_0"]
        return x * w["x"] + w["x_1"] * w["output"] + more

    net = function, weights
    out = ms.export(net, X, file_name=tmp_path / "a", file_format="ONNX", engine=engine,
                    verify=True)  # fmt: skip
    found = {tensor.name: tensor.raw_data for tensor in onnx.load(out.file).graph.initializer}
    assert {name: found[name] for name in weights} == {n: w.tobytes() for n, w in weights.items()}


def test_inputs_of_equal_paths(tmp_path: Path) -> None:
    out = ms.export(lambda d: d["a"]["b"] - 2 * d["a.b"], {"a": {"b": X}, "a.b": 3 * X},
                    file_name=tmp_path / "a", file_format="ONNX", verify=True)  # fmt: skip
    assert [value.name for value in onnx.load(out.file).graph.input] == ["d.a.b", "d.a.b_1"]


def test_large_weights_lie_beside_the_file(tmp_path: Path) -> None:
    net, x = Mlp(), np.ones((2, 3), np.float32)
    for _ in range(3):
        out = ms.export(net, x, file_name=tmp_path / "a", file_format="ONNX", split_bytes=100)
        onnx.checker.check_model(str(out.file), full_check=True)
        assert len(list(tmp_path.iterdir())) == 2
        np.testing.assert_allclose(runner.session(out.file)(x)[0], net(x), rtol=1e-5)
    out = ms.export(net, x, file_name=tmp_path / "a", file_format="ONNX")
    assert list(tmp_path.iterdir()) == [out.file]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32])
def test_convolutions_of_integers(dtype: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 100, (2, 4, 7, 6)).astype(dtype)
    w = rng.integers(0, 100, (6, 2, 3, 3)).astype(dtype)

    def net(x: jax.Array, w: jax.Array) -> tuple[jax.Array, ...]:
        how = {"window_strides": (2, 1), "padding": "SAME", "feature_group_count": 2}
        wide = lax.conv_general_dilated(x, w, **how, preferred_element_type=jnp.int32)
        return wide, lax.conv_general_dilated(x, w, **how, rhs_dilation=(1, 2))

    out = ms.export(net, x, w, file_name=tmp_path / "a", file_format="ONNX", engine="native")
    for have, want in zip(runner.session(out.file)(x, w), net(x, w), strict=True):
        np.testing.assert_array_equal(have, want)


def test_order_of_uint64(tmp_path: Path) -> None:
    """onnxruntime has no kernels for it; the highest bit counts."""
    x = np.array([[2**63, 1, 2**64 - 1, 0, 2**63 - 1], [5, 5, 2**63 + 5, 4, 9]], np.uint64)

    def net(x: jax.Array) -> list[jax.Array]:
        ordered = [jnp.sort(x, 1), jnp.argsort(x, 1), *lax.top_k(x, 2), jnp.max(x, 1)]
        return [*ordered, jnp.min(x), jnp.argmax(x, 1), jnp.argmin(x, 0), lax.cummax(x, 1)]

    with jax.enable_x64(True):
        out = ms.export(net, x, file_name=tmp_path / "a", file_format="ONNX", engine="native")
        for have, want in zip(runner.session(out.file)(x), net(jnp.asarray(x)), strict=True):
            assert have.dtype == want.dtype
            np.testing.assert_array_equal(have, want)


def test_keys_are_their_numbers(tmp_path: Path) -> None:
    """As inputs and as results; a batch of them, too."""

    def net(keys: jax.Array) -> tuple[jax.Array, ...]:
        return jax.vmap(jax.random.normal)(keys), jax.vmap(jax.random.split)(keys)

    given = jax.random.split(jax.random.key(3), 4)
    for example in (given, jax.ShapeDtypeStruct(("b",), given.dtype)):
        out = ms.export(net, example, file_name=tmp_path / "a", file_format="ONNX", verify=True,
                        engine="native")  # fmt: skip
        numbers, halves = runner.session(out.file)(np.asarray(jax.random.key_data(given)))
        expected = net(given)
        np.testing.assert_allclose(numbers, expected[0], 1e-5)
        np.testing.assert_array_equal(halves, jax.random.key_data(expected[1]))


def test_a_dynamic_batch_runs_at_several_sizes(tmp_path: Path) -> None:
    net = Mlp()
    x = ms.TensorSpec((None, 3), jnp.float32)
    out = ms.export(net, x, file_name=tmp_path / "a", file_format="ONNX", verify=True)
    for size in (1, 5):
        x = np.full((size, 3), size, np.float32)
        np.testing.assert_allclose(runner.session(out.file)(x)[0], net(x), rtol=1e-5)


@pytest.mark.parametrize("file_format", ["MINDIR", "AIR", "ONNX"])
def test_verify_tries_several_sizes(file_format: str, tmp_path: Path) -> None:
    x = jax.ShapeDtypeStruct(("b", 2), jnp.float32)
    with pytest.raises(ExportError, match="result 0 is off by"):
        ms.export(lambda x: x.sum(0), x,
                  file_name=tmp_path / "a", file_format=file_format, verify=True,
                  rules={"reduce_sum": sum_of_three})  # fmt: skip


def test_numbers_along_a_dynamic_axis(tmp_path: Path) -> None:
    def net(x: jax.Array) -> jax.Array:
        return x + jnp.arange(x.shape[0], dtype=x.dtype)[:, None]

    spec = jax.ShapeDtypeStruct(("b", 3), jnp.float32)
    file = ms.export(net, spec, file_name=tmp_path / "a", file_format="ONNX").file
    for size in (1, 4):
        x = np.ones((size, 3), np.float32)
        np.testing.assert_array_equal(runner.session(file)(x)[0], net(x))


def test_a_product_with_a_reciprocal_loads(tmp_path: Path) -> None:
    """onnxruntime 1.32 fails on ``Mul(Add(x, 0), Div(1, y))``."""

    def net(x: jax.Array) -> jax.Array:
        return (-x + 0.0) * (1.0 / (x * x))

    x = np.linspace(1, 2, 4, dtype=np.float32)
    out = ms.export(net, x, file_name=tmp_path / "a", file_format="ONNX", verify=True)
    assert out.difference is not None
    assert out.difference < 1e-6


@pytest.mark.parametrize("function", [jnp.linalg.eigvalsh, jnp.linalg.inv, jnp.fft.rfft])
def test_algorithms_of_a_dynamic_batch(function: Any, tmp_path: Path) -> None:
    spec = jax.ShapeDtypeStruct(("b", 4, 4), jnp.float32)
    out = ms.export(lambda x: abs(function(x)), spec, file_name=tmp_path / "a",
                    file_format="ONNX", engine="native", verify=True)  # fmt: skip
    assert out.difference is not None


def test_matrices_of_a_dynamic_size_are_refused(tmp_path: Path) -> None:
    spec = jax.ShapeDtypeStruct(("n", "n"), jnp.float32)
    with pytest.raises(ExportError, match="Cholesky: has no row"):
        ms.export(jnp.linalg.cholesky, spec, file_name=tmp_path / "a", file_format="ONNX",
                  engine="native")  # fmt: skip


def test_bytes_are_the_same_each_time(tmp_path: Path) -> None:
    paths = [tmp_path / "one", tmp_path / "two"]
    for path in paths:
        path.mkdir()
        ms.export(Mlp(), np.ones((2, 3), np.float32), file_name=path / "a", file_format="ONNX")
    one, two = ((path / "a.onnx").read_bytes() for path in paths)
    assert one == two


def test_encryption_by_a_function(tmp_path: Path) -> None:
    def flip(data: bytes, key: bytes) -> bytes:
        return bytes(b ^ key[0] for b in data)

    x = np.ones((2, 3), np.float32)
    for name, given in (("plain", {}), ("secret", {"enc_key": b"\x55", "enc_mode": flip})):
        ms.export(Mlp(), x, file_name=tmp_path / name, file_format="ONNX", split_bytes=1, **given)
    secret = flip((tmp_path / "secret.onnx").read_bytes(), b"\x55")
    assert onnx.load_from_string(secret).graph.node == onnx.load(tmp_path / "plain.onnx").graph.node
    weights = [flip(path.read_bytes(), b"\x55") for path in tmp_path.glob("secret.onnx.data*")]
    assert weights == [path.read_bytes() for path in tmp_path.glob("plain.onnx.data*")]
    assert weights


def test_arguments_that_onnx_has_no_place_for(tmp_path: Path) -> None:
    x = np.ones(3, np.float32)
    with pytest.raises(ValueError, match="custom_func is for MINDIR, not for ONNX"):
        ms.export(jnp.sin, x, file_name=tmp_path / "a", file_format="ONNX", custom_func=print)
    with pytest.raises(ValueError, match="ONNX has no cipher of its own"):
        ms.export(jnp.sin, x, file_name=tmp_path / "a", file_format="ONNX", enc_key=bytes(16))
    out = ms.export(jnp.sin, x, file_name=tmp_path / "a", file_format="ONNX", user_info={"k": "v"})
    assert [(entry.key, entry.value) for entry in onnx.load(out.file).metadata_props] == [
        ("k", "v")
    ]
