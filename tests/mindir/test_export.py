"""``export``: what it refuses, and how it says so. Nothing here needs MindSpore."""

from __future__ import annotations

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from msckpt_jax.api.export import export
from msckpt_jax.api.load_model import load
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.lowering.rule import Rule

X = np.ones((2, 3), np.float32)


def refused(error, match, net=jnp.tanh, inputs=(X,), **kwargs):
    with pytest.raises(error, match=match):
        export(net, *inputs, **kwargs)


def two_that_are_missing(x):
    y = jax.lax.rng_uniform(x[0, 0], x[0, 1], (2,))
    return jax.lax.mulhi(y.astype(jnp.int32), 3)


def test_all_missing_primitives_with_the_users_lines(tmp_path):
    with pytest.raises(ExportError) as caught:
        export(two_that_are_missing, X, file_name=tmp_path / "net")
    first, second = caught.value.problems
    line = two_that_are_missing.__code__.co_firstlineno
    assert f"test_export.py:{line + 1}:" in first
    assert "rules={'rng_uniform': rule}" in first
    assert f"test_export.py:{line + 2}:" in second
    assert "rules={'mulhi': rule}" in second
    assert not list(tmp_path.iterdir())


def test_a_rule_of_the_user(tmp_path):
    def function(x):
        return jax.lax.mulhi(x.astype(jnp.int32), 3)

    def mulhi(ctx, x, y):
        return ctx("BitwiseXor", x, y)

    refused(ExportError, "mulhi", function, file_name=tmp_path / "net")
    done = export(function, X, file_name=tmp_path / "net", rules={"mulhi": mulhi})
    assert "BitwiseXor" in [node.op for node in done.graph.nodes]
    refused(ExportError, "mulhi", function, file_name=tmp_path / "net")


def test_a_rule_of_the_user_that_does_not_name_a_parameter(tmp_path):
    def rule(ctx, x):
        return ctx("Tanh", x)

    problem = r"test_export\.py:\d+.* tanh: with the parameter accuracy=None, which its"
    refused(ExportError, problem, lambda x: jnp.tanh(x), file_name=tmp_path / "net",
            rules={"tanh": rule})  # fmt: skip


def test_a_rule_with_what_it_ignores(tmp_path):
    row = Rule(lambda ctx, x: ctx("Sin", x), ignores=frozenset({"accuracy"}))
    done = export(jnp.tanh, X, file_name=tmp_path / "net", rules={"tanh": row})
    assert [node.op for node in done.graph.nodes] == ["Sin"]


def test_a_rule_that_breaks_its_promise(tmp_path):
    def rule(ctx, x, **_):
        return ctx.cast(x, np.int32)

    refused(ExportError, "rule for tanh gives", file_name=tmp_path / "net", rules={"tanh": rule})


def test_a_rule_that_MindSpore_would_crash_on(tmp_path):  # noqa: N802
    def rule(ctx, x, **_):
        return ctx("Gather", x, x)

    refused(ExportError, "Gather", file_name=tmp_path / "net", rules={"tanh": rule})


@pytest.mark.parametrize(
    ("error", "match", "changes"),
    [
        (ValueError, "ends with .onnx", {"file_name": "net.onnx"}),
        (ValueError, "ends with .ckpt", {"file_name": "net.ckpt"}),
        (FileNotFoundError, "no such folder", {"file_name": "missing/net"}),
        (TypeError, "file_name must be a path, not BytesIO", {"file_name": io.BytesIO()}),
        (ValueError, "must be one of MINDIR, AIR, ONNX, not 'GEIR'", {"file_format": "GEIR"}),
        (ValueError, "target must be one of", {"target": "tpu"}),
        (TypeError, "no model format has an option 'verfy'", {"verfy": True}),
        (ValueError, "enc_mode must be one of", {"enc_key": b"k" * 16, "enc_mode": "ROT13"}),
        (ValueError, "cannot read a", {"enc_key": b"k", "enc_mode": bytes.join, "verify": True}),
        (ValueError, "must have 16 bytes", {"enc_key": b"k" * 24, "enc_mode": "SM4-CBC"}),
        (ValueError, "there is no enc_key", {"enc_mode": bytes.join}),
        (ValueError, "opset is for ONNX, not for MINDIR", {"opset": 22}),
        (ValueError, "narrow is for AIR, not for ONNX", {"narrow": True, "file_format": "ONNX"}),
        (TypeError, "opset must be an int, not float", {"opset": 21.0, "file_format": "ONNX"}),
        (TypeError, "split_bytes must be an int, not str", {"split_bytes": "1GB"}),
        (ValueError, "split_bytes must not be negative", {"split_bytes": -1}),
        (TypeError, "user_info must be a mapping", {"user_info": {"a": 1}}),
        (TypeError, "user_info must be a mapping", {"user_info": [("a", "b")]}),
        (TypeError, "net must be a function", {"net": 3}),
        (TypeError, "the input x0? is a str", {"inputs": ("hello",)}),
        (TypeError, "the input x.a is a str", {"inputs": ({"a": "b"},)}),
        (ExportError, "returns no arrays", {"net": lambda x: None}),
    ],
)
def test_bad_input(error, match, changes, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refused(error, match, **{"file_name": "net", **changes})
    assert not list(tmp_path.iterdir())


def test_jit_and_partial_are_functions(tmp_path):
    import functools

    done = export(jax.jit(jnp.tanh), X, file_name=tmp_path / "a")
    assert [value.name for value in done.graph.inputs] == ["x"]
    done = export(functools.partial(jnp.add, X), X, file_name=tmp_path / "b")
    assert [value.name for value in done.graph.inputs] == ["x0"]  # as jnp.add tells no names
    assert [*done.graph.parameters] == ["argument_0"]


def test_weights_without_values(tmp_path):
    weights = {"w": jax.ShapeDtypeStruct((3,), jnp.float32)}
    refused(TypeError, "'w' has a shape and no values", (lambda w, x: x * w["w"], weights),
            file_name=tmp_path / "net")  # fmt: skip


def test_closed_over_arrays_become_parameters(tmp_path):
    table = jnp.arange(1000.0)
    done = export(lambda x: x + table, table, file_name=tmp_path / "net")
    assert list(done.graph.parameters) == ["table"]


def test_nan_is_guarded_where_the_operator_loses_it(tmp_path):
    of_two = export(jnp.maximum, X, X, file_name=tmp_path / "a")
    assert [node.op for node in of_two.graph.nodes] == ["Maximum", "NotEqual", "Select"]
    of_one = export(jax.nn.relu, X, file_name=tmp_path / "b")  # the second operand's comes through
    (node,) = of_one.graph.nodes
    assert (node.op, node.inputs[0].array) == ("Maximum", 0)


def test_eigenvalues_in_another_order(tmp_path):
    x = np.arange(9, dtype=np.float32).reshape(3, 3)
    file = tmp_path / "net.mindir"
    refused(ExportError, "another order", jnp.linalg.eig, (x,), file_name=file, exact=True)
    assert not file.exists()
    (note,) = export(jnp.linalg.eig, x, file_name=file).notes
    assert "another order" in note
    of_two = export(jnp.linalg.eigvals, x[:2, :2], file_name=file, exact=True)
    assert not of_two.notes


def test_bfloat16_is_computed_in_float32(tmp_path):
    x = jnp.ones((2, 2), jnp.bfloat16)
    done = export(lambda x: jnp.sin(x) + x, x, file_name=tmp_path / "a")
    assert [node.op for node in done.graph.nodes] == ["Cast", "Sin", "Cast", "Add"]


def test_convolutions_by_target(tmp_path):
    x, kernel = np.ones((1, 5, 5, 3), np.float32), np.ones((3, 3, 3, 4), np.float32)

    def conv(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    ops = {
        target: {n.op for n in export(conv, x, kernel, file_name=tmp_path / "n", target=target)
                 .graph.nodes}
        for target in (None, "cpu")
    }  # fmt: skip
    assert "Conv2D" in ops[None]
    assert {"Im2Col", "MatMul"} <= ops["cpu"]


def test_a_layers_line_is_the_users(tmp_path):
    layer = nnx.Linear(2, 2, rngs=nnx.Rngs(0))

    def no(ctx, *inputs, **params):
        raise UnsupportedError("not today")

    with pytest.raises(ExportError, match=r"test_export\.py:\d+.*dot_general: not today"):
        export(lambda x: layer(x), np.ones((3, 2), np.float32), file_name=tmp_path / "net",
               rules={"dot_general": no})  # fmt: skip


def test_a_convolution_in_three_dimensions_is_loaded_with_its_strides(tmp_path):
    def function(x, kernel):
        return jax.lax.conv_general_dilated(x, kernel, (1, 2, 1), "VALID", rhs_dilation=(1, 1, 2))

    x, kernel = np.ones((1, 2, 4, 5, 6), np.float32), np.ones((3, 2, 2, 2, 2), np.float32)
    file = export(function, x, kernel, file_name=tmp_path / "a").file
    np.testing.assert_array_equal(load(file)(x, kernel), function(x, kernel))


@pytest.mark.parametrize(
    "ends", [(True, False), (False, True), (1.0, 0.0), (1, 0), ([np.nan, 1.0], [0.0, 0.0])]
)
def test_branches_that_give_constants(ends, tmp_path):
    yes, no = map(jnp.asarray, ends)
    done = export(
        lambda p: jax.lax.cond(p > 0, lambda: yes, lambda: no), np.float32(0),
        file_name=tmp_path / "net",
    )  # fmt: skip
    for number, want in ((1, yes), (-1, no)):
        got = load(done.file)(np.float32(number))
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
