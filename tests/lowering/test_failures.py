"""No raw errors of ours: a refusal names the primitive, the line, the reason, and a way out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend import core

import msckpt_jax as ms
from msckpt_jax._compat import opened, user_line
from msckpt_jax.api import targets
from msckpt_jax.lowering.canonical import canonicalise
from msckpt_jax.lowering.context import Context

X = np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)
IMAGE = np.sin(np.arange(30, dtype=np.float32)).reshape(5, 6)
FORMATS = ("MINDIR", "AIR", "ONNX")


def test_a_rewrite_that_fails_is_refused_with_all_others() -> None:
    def fails(x: Any, **_: Any) -> Any:
        raise KeyError("axis")

    jaxpr = jax.make_jaxpr(lambda x: jnp.sin(x) + jnp.cos(x))(X)
    with pytest.raises(ms.ExportError) as caught:
        canonicalise(jaxpr, rewrites={"sin": fails, "cos": fails})
    first, second = caught.value.problems
    for name, problem in (("sin", first), ("cos", second)):
        assert "test_failures.py:" in problem
        assert f": {name}: its rewrite fails with KeyError: 'axis'; please report it" in problem
        assert "rules={name: rule}" in problem
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("file_format", FORMATS)
def test_a_rule_that_fails_is_refused(file_format: str, tmp_path: Path) -> None:
    def rule(ctx: Context, x: Any) -> Any:
        return ctx("Neg", x, type=np.zeros(3)[7])

    with pytest.raises(ms.ExportError) as caught:
        ms.export(lambda x: -x, X, file_name=tmp_path / "net", file_format=file_format,
                  rules={"neg": rule})  # fmt: skip
    (problem,) = caught.value.problems
    assert "test_failures.py:" in problem
    assert "neg: its rule fails with IndexError: index 7 is out of bounds" in problem
    assert isinstance(caught.value.__cause__, IndexError)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("file_format", ["AIR", "ONNX"])
def test_a_row_that_fails_is_refused(file_format: str, tmp_path: Path) -> None:
    def rule(ctx: Context, x: Any) -> Any:
        return ctx("ReduceSum", x, type=ctx.result)  # without the axes that its rows read

    with pytest.raises(ms.ExportError) as caught:
        ms.export(lambda x: -x, X, file_name=tmp_path / "net", file_format=file_format,
                  rules={"neg": rule})  # fmt: skip
    assert "ReduceSum" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_failure_outside_equations_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise AssertionError("a fault")

    monkeypatch.setattr("msckpt_jax.lowering.layouts.sink", fails)
    with pytest.raises(
        ms.ExportError, match="msckpt_jax itself fails with AssertionError: a fault"
    ):
        ms.export(jnp.sin, X, file_name=tmp_path / "net")


@pytest.mark.parametrize(
    ("file_format", "step"),
    [
        ("AIR", "air.adapt.adapt"),
        ("AIR", "air.check.check"),
        ("MINDIR", "lowering.training.notes"),
        ("MINDIR", "mindir.model.of_graph"),
        ("ONNX", "onnx.adapt.adapt"),
    ],
)
def test_a_step_that_fails_is_refused(
    file_format: str, step: str, tmp_path: Path, monkeypatch: Any
) -> None:
    def fails(*_: Any, **__: Any) -> Any:
        raise IndexError("a fault")

    monkeypatch.setattr(f"msckpt_jax.{step}", fails)
    options: dict[str, Any] = {"engine": "native"} if file_format == "ONNX" else {}
    with pytest.raises(ms.ExportError, match="itself fails with IndexError: a fault") as caught:
        ms.export(jnp.sin, X, file_name=tmp_path / "net", file_format=file_format, **options)
    assert isinstance(caught.value.__cause__, IndexError)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("function", "inputs", "message"),
    [
        (
            lambda x, y: x @ y,
            (X, X),
            r"given x of float32\[2,3\], y of float32\[2,3\]: TypeError: dot",
        ),
        (lambda x: x if x.sum() > 0 else -x, (X,), "TracerBoolConversionError"),
        (lambda: [][0], (), "given no inputs: IndexError"),
    ],
)
def test_an_error_of_the_network_itself(
    function: Any, inputs: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ms.ExportError, match=message) as caught:
        ms.export(function, *inputs, file_name=tmp_path / "net")
    assert caught.value.__cause__ is not None


def test_what_is_no_network(tmp_path: Path) -> None:
    class Net:
        def __call__(self, x: Any) -> Any:
            return x

    for net in (Net, (Net, {"w": X})):
        with pytest.raises(TypeError, match=r"Net is a class: pass a network .*, Net\(...\)"):
            ms.export(net, X, file_name=tmp_path / "net")
    with pytest.raises(TypeError, match="the weight 'w' is no array of numbers"):
        ms.export((lambda p, x: x, {"w": np.array(["abc"])}), X, file_name=tmp_path / "net")
    with pytest.raises(ValueError, match="the input x has a negative size"):
        ms.export(lambda x: x, jax.ShapeDtypeStruct((-1, 3), "float32"), file_name=tmp_path / "net")


@pytest.mark.parametrize("file_format", FORMATS)
def test_verifying_raises_documented_errors_that_name_the_file(
    file_format: str, tmp_path: Path
) -> None:
    def traceable(x: Any) -> Any:
        return jnp.sin(x) if isinstance(x, jax.core.Tracer) else jnp.zeros(1 // 0)

    with pytest.raises(ms.ExportError, match="verifying it fails: ZeroDivisionError") as caught:
        ms.export(traceable, X, file_name=tmp_path / "net", file_format=file_format, verify=True)
    file = tmp_path / f"net{targets.named(file_format).suffix}"
    assert str(file) in str(caught.value)
    assert file.exists()
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def _tangent(**dilation: Any) -> Any:
    def pool(x: Any) -> Any:
        return lax.reduce_window(x, -jnp.inf, lax.max, (2, 2), (1, 2), "VALID", **dilation)

    return lambda x: jax.jvp(pool, (x,), (jnp.cos(x),))


def _of_mul(x: Any) -> Any:
    return core.primitives.mul_p.bind(x, x)


def _mixed(x: Any) -> Any:
    kinds = ("int8", "uint8", "uint16", "bfloat16", "float16", "int32")
    x = jnp.round(abs(x) * 9)
    return [
        lax.dot_general(x.astype(a), x.astype(b), (((1,), (0,)), ((), ())))
        for a, b in itertools.combinations(kinds, 2)
    ]


#: Functions that failed inside, with their inputs.
FAILED: dict[str, tuple[Any, Any]] = {
    "tangents of dilated windows": (_tangent(window_dilation=(2, 1)), IMAGE),
    "tangents of dilated images": (_tangent(base_dilation=(1, 2)), IMAGE),
    "products of two dtypes": (_mixed, X[:, :2]),
    "a product without its parameter": (_of_mul, X),
    **{f"{name} of shape {shape}": (function, np.zeros(shape, np.float32))
       for name, function, shapes in (
           ("cholesky", jnp.linalg.cholesky, [(0, 0)]),
           ("eig", jnp.linalg.eig, [(0, 0)]),
           ("eigh", jnp.linalg.eigh, [(0, 0), (0, 2, 2)]),
           ("inv", jnp.linalg.inv, [(0, 0), (0, 2, 2)]),
           ("lu", lax.linalg.lu, [(0, 3), (3, 0), (2, 3, 0)]),
           ("qr", jnp.linalg.qr, [(0, 3), (3, 0)]),
           ("complete qr", lambda x: jnp.linalg.qr(x, "complete"), [(3, 0)]),
           ("svd", jnp.linalg.svd, [(0, 3), (2, 3, 0)]),
           ("expm", jax.scipy.linalg.expm, [(0, 0)]),
       ) for shape in shapes},
}  # fmt: skip


@pytest.mark.parametrize(("function", "x"), FAILED.values(), ids=FAILED)
def test_what_failed_is_right(function: Any, x: Any, tmp_path: Path) -> None:
    for file_format in ("AIR", "ONNX"):
        x = np.asarray(x, np.float32)
        done = ms.export(function, x, file_name=tmp_path / "net", file_format=file_format,
                         verify=True)  # fmt: skip
        assert done.difference is not None
    results = jax.tree.leaves(ms.load(ms.export(function, x, file_name=tmp_path / "net").file)(x))
    for found, expected in zip(results, jax.tree.leaves(function(x)), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def _all_equations(jaxpr: Any) -> Iterator[Any]:
    for eqn in opened(jaxpr)[0].eqns:
        yield eqn
        for body in core.jaxprs_in_params(eqn.params):
            yield from _all_equations(body)


def test_equations_of_loops_in_rewrites_have_the_users_line() -> None:
    jaxpr = jax.make_jaxpr(lambda x: lax.linalg.lu(x))(np.ones((200, 3), np.float32).T)
    found = canonicalise(jaxpr, rewrites=targets.named("ONNX").algorithms)
    lines = {user_line(eqn.source_info) for eqn in _all_equations(found)}
    assert len(lines) == 1
    assert "test_failures.py" in lines.pop()
