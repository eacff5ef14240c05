"""The rules' table: what each emits is what it declares, and no parameter is passed over."""

from __future__ import annotations

import contextlib
import warnings
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from msckpt_jax import _compat
from msckpt_jax._compat import ClosedJaxpr
from msckpt_jax.api import targets
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.lowering import algorithms, folding, rewrites
from msckpt_jax.lowering.algorithms import complex as complex_numbers
from msckpt_jax.lowering.canonical import canonicalise
from msckpt_jax.lowering.context import Context, Options
from msckpt_jax.lowering.fusions import FUSIONS
from msckpt_jax.lowering.lower import lower
from msckpt_jax.lowering.lowered import lowered
from msckpt_jax.lowering.rewrites import REFUSED, Rewrite
from msckpt_jax.lowering.rewrites.ignoring import ignoring
from msckpt_jax.lowering.rewrites.sparse import PLAIN
from msckpt_jax.lowering.rule import HARMLESS
from msckpt_jax.lowering.rules import RULES
from msckpt_jax.lowering.trace import trace
from msckpt_jax.lowering.wanted import Lowering
from msckpt_jax.onnx import fusions
from tests import exporting
from tests.air import primitives
from tests.oracle import mindir_cases, test_mindir_dynamic

X = np.linspace(0.5, 2, 12, dtype=np.float32).reshape(3, 4)
SQUARE = X[:, :3] + 3 * np.eye(3, dtype=np.float32)
Z = SQUARE.astype(np.complex64)
#: The rewrites of all tables, with the names of these: two may have a primitive.
REWRITES: dict[str, Rewrite] = {
    f"{table}: {name}": rewrite
    for table, rows in {
        "rewrites": rewrites.REWRITES,
        "algorithms": algorithms.ALGORITHMS,
        "float64": algorithms.FLOAT64,
        "exact": algorithms.EXACT,
        "complex": complex_numbers.REWRITES,
        "onnx": fusions.REWRITES,
    }.items()
    for name, rewrite in rows.items()
}
N = np.arange(12, dtype=np.int32).reshape(3, 4)
NOTHING = X[:0]
IMAGE, KERNEL = np.ones((1, 2, 5, 5), np.float32), np.ones((3, 2, 2, 2), np.float32)


def _dynamic(*shape: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, np.float32)


#: What rules can do that none of the other cases asks for.
MORE: tuple[tuple[Any, ...], ...] = (
    *((lambda x, f=f: f(x[0, 0], x), X)
      for f in (lax.igamma, lax.igammac, lax.igamma_grad_a, lax.zeta, lax.nextafter)),
    (lambda x: lax.betainc(x[0, 0], x, x), X),
    (lambda x: lax.complex_p.bind(x, x[:, :1]), X),
    (lambda x: lax.clamp(False, x > 1, True), X),
    (lambda x: (lax.max(x[0, 0], x), lax.min(x[0, 0], x), lax.clamp(x[0, 0], x, x[0, 1])), X),
    (lambda z: z**-2, Z),
    (lambda n: lax.shift_right_arithmetic(n, n[0, 0]), N),
    *((lambda x, f=f: f(x, (0,)), NOTHING)
      for f in (lax.reduce_sum, lax.reduce_prod, lax.reduce_max, lax.reduce_min)),
    *((lambda x, f=f: f(x, (0,)), NOTHING > 0) for f in (lax.reduce_and, lax.reduce_or)),
    (jnp.unstack, X[:1]),
    (jnp.linalg.eigh, Z),
    (lax.sort, N.astype(np.uint64)),
    (lambda x, i: (x.at[i].set(1), x.at[i].add(1), x.at[i].multiply(2), x.at[i].max(0),
                   x.at[i].min(0)), X, np.int32(1)),
    (lambda x, i: lax.scatter_sub(x, i, x[0], lax.ScatterDimensionNumbers((0,), (0,), (0,))),
     X, np.array([1], np.int32)),
    (lax.linalg.householder_product, SQUARE, SQUARE[0]),
    (jnp.linalg.svd, Z),
    (lambda a: lax.linalg.triangular_solve(a, a, transpose_a=True, conjugate_a=True), Z),
    (lambda x, k: lax.conv(x, k, (1, 1), "SAME"), IMAGE, KERNEL),
    (lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 1, 2, 2), (1, 1, 1, 1), "SAME"),
     IMAGE.astype(np.float64)),
    (lambda x: lax.broadcasted_iota(np.int32, (x.shape[0], 5, 6), 0), _dynamic("b")),
    (lambda x: jnp.pad(x, ((0, x.shape[0]), (x.shape[1], 0))), _dynamic("b", "c")),
    (lambda x, i: lax.dynamic_slice(x, (i, 0), (x.shape[0] // 2, x.shape[1])),
     _dynamic("b", "c"), np.int32(1)),
    (lambda x, i: lax.dynamic_update_slice(x, x[: x.shape[0] // 2] * 2, (i, 0)),
     _dynamic("b", "c"), np.int32(1)),
    (lambda x, i: lax.dynamic_update_slice(x, x[: x.shape[0] // 2, : x.shape[1] // 2], (i, i)),
     _dynamic("b", "c"), np.int32(1)),
)  # fmt: skip


class _Record:
    """The operators that the rule of each primitive has emitted."""

    def __init__(self, patch: pytest.MonkeyPatch):
        self.emitted: dict[str, set[str]] = defaultdict(set)
        self.running: list[str] = []
        equation = Context._equation

        def running(context: Context, eqn: Any, operands: Any) -> Any:
            self.running.append(eqn.primitive.name)
            try:
                return equation(context, eqn, operands)
            finally:
                self.running.pop()

        patch.setattr(Context, "_equation", running)
        for name in ("_emit", "control"):
            patch.setattr(Context, name, self.noting(getattr(Context, name)))

    def noting(self, emit: Any) -> Any:
        def noted(context: Context, op: str, *rest: Any) -> Any:
            self.emitted[self.running[-1]].add(op)
            return emit(context, op, *rest)

        return noted


def _cases() -> Iterator[tuple[Any, ...]]:
    """``function, *inputs`` of all; of the many dtypes the first one, and some of the others."""
    for name, case, dtype in mindir_cases.cases():
        if dtype == case.dtypes[0] or zlib.crc32(name.encode()) % 4 == 0:
            yield case.function, *case.arguments(mindir_cases.dtype_of(dtype))
    for case in test_mindir_dynamic.CASES.values():
        yield case.function, *(jax.ShapeDtypeStruct(s, case.dtype) for s in case.shapes)
    for function, inputs in exporting.CASES.values():
        yield function, *inputs
    for group in (primitives.DIRECT, primitives.COMPOSITE, primitives.NOTHING, primitives.EXPANDED):
        yield from group.values()
    yield from MORE


def _lower(function: Any, *inputs: Any, file_format: str = "MINDIR", **how: Any) -> None:
    """As an export does; of what is refused in the end rules have emitted something, too."""
    wide = any(x.dtype in _WIDE for x in jax.tree.leaves(inputs))
    with jax.enable_x64(wide), warnings.catch_warnings(), contextlib.suppress(ExportError):
        warnings.simplefilter("ignore")  # JAX's own notes: complex to real, no 64 bits
        lowered(trace(function, inputs), targets.named(file_format), Lowering(**how))


_WIDE = ("int64", "uint64", "float64", "complex128")
_WAYS = (
    {},
    {"exact": True},
    {"target": "cpu"},
    {"file_format": "AIR", "exact": True},
    {"file_format": "AIR"},
    {"file_format": "ONNX"},
)


@pytest.fixture(scope="module")
def emitted() -> dict[str, set[str]]:
    """Without Cast, which the context puts in between where an operator lacks a kernel."""
    with pytest.MonkeyPatch.context() as patch:
        record = _Record(patch)
        for case in _cases():
            for how in _WAYS:
                _lower(*case, **how)
    return {name: ops - {"Cast"} for name, ops in record.emitted.items()}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_emits_what_it_declares(name: str, emitted: dict[str, set[str]]) -> None:
    fused = {fusion.op for fusion in (*FUSIONS, *fusions.FUSIONS)} | {"Conv2DBackpropInput"}
    # The equation of ms_op names the operator; the rule declares those of guards.
    assert emitted[name] == RULES[name].operators | (fused if name == "ms_op" else set())


@pytest.mark.parametrize("name", RULES)
def test_a_parameter_that_a_newer_jax_may_add_is_refused(name: str) -> None:
    with pytest.raises(UnsupportedError, match="with the parameter foo=3, which its rule does not"):
        RULES[name].arguments({"foo": 3})


@pytest.mark.parametrize(
    "name", [n for n in REWRITES if n.split(": ")[1] not in {*REFUSED, *PLAIN}]
)
def test_a_parameter_that_a_newer_jax_may_add_is_refused_by_rewrites(name: str) -> None:
    with pytest.raises(UnsupportedError, match="the parameter foo=3, which its rewrite does not"):
        ignoring(REWRITES[name]).arguments({"foo": 3})


@pytest.mark.parametrize("name", PLAIN)
def test_a_parameter_that_jax_itself_refuses(name: str) -> None:
    with pytest.raises(TypeError, match="foo"):
        rewrites.REWRITES[name](foo=3)


def test_what_is_ignored_is_harmless() -> None:
    tables = (RULES, {name: ignoring(rewrite) for name, rewrite in REWRITES.items()})
    ignored = {name for table in tables for row in table.values() for name in row.ignores}
    assert ignored == set(HARMLESS)


def _with_parameter(function: Any, x: Any, name: str, **params: Any) -> ClosedJaxpr:
    """The canonical jaxpr of a function; equations of a primitive have other parameters."""
    jaxpr = canonicalise(jax.make_jaxpr(function)(x))
    inner = jaxpr.jaxpr
    eqns = [
        eqn.replace(params={**eqn.params, **params}) if eqn.primitive.name == name else eqn
        for eqn in inner.eqns
    ]
    assert eqns != inner.eqns
    parts = (inner.constvars, jaxpr.consts, inner.invars, eqns, inner.outvars)
    return _compat.closed(jaxpr, *parts)


def _refusal(jaxpr: ClosedJaxpr) -> str:
    with pytest.raises(ExportError) as caught:
        lower(jaxpr, {}, ["x"], Options(RULES))
    (problem,) = caught.value.problems
    return problem


def test_an_unknown_parameter_is_named_with_its_value_and_the_users_line() -> None:
    problem = _refusal(_with_parameter(lambda x: jnp.sin(x), X, "sin", foo=3))
    assert "test_rules.py:" in problem
    assert problem.endswith("sin: with the parameter foo=3, which its rule does not know")


def test_an_unknown_parameter_of_a_rewrite_is_named_with_the_users_line() -> None:
    jaxpr = jax.make_jaxpr(lambda x: lax.clz(x))(N)
    (eqn,) = jaxpr.eqns
    inner = jaxpr.jaxpr
    parts = (inner.constvars, [], inner.invars, [eqn.replace(params={"foo": 3})], inner.outvars)
    with pytest.raises(UnsupportedError) as caught:
        canonicalise(_compat.closed(jaxpr, *parts))
    (problem,) = caught.value.problems
    assert "test_rules.py:" in problem
    assert problem.endswith("clz: with the parameter foo=3, which its rewrite does not know")


def test_a_long_value_is_cut() -> None:
    problem = _refusal(_with_parameter(jnp.sin, X, "sin", foo=tuple(range(10_000))))
    assert "foo=(0, 1, 2, " in problem
    assert len(problem) < 300


def _pooled(x: Any) -> Any:
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")


def _rows(x: Any) -> Any:
    return x[lax.top_k(x[:, 0], 3)[1]]


def _put(x: Any) -> Any:
    return x.at[lax.top_k(x[:, 0], 3)[1]].set(2)


#: A function, a primitive in it, and a parameter's value that the operator does not compute.
OTHER_VALUES: dict[str, tuple[Any, Any, str, dict[str, Any]]] = {
    "mul": (lambda x: x * x, X, "mul", {"out_dtype": np.dtype(np.float64)}),
    "reshape": (lambda x: x.reshape(4, 3), X, "reshape", {"dimensions": (1, 0)}),
    "pad": (lambda x: jnp.pad(x, 1), X, "pad", {"padding_config": ((1, 1, 1), (1, 1, 0))}),
    "cummax": (lambda x: lax.cummax(x), X, "cummax", {"reverse": True}),
    "sort by two keys": (jnp.sort, X, "sort", {"num_keys": 2}),
    "sort along another axis": (jnp.sort, X, "sort", {"dimension": 0}),
    "top_k": (lambda x: lax.top_k(x, 2), X, "top_k", {"axis": 0}),
    "dot_general": (lambda x: x @ x, SQUARE, "dot_general",
                    {"dimension_numbers": (((0,), (0,)), ((), ()))}),
    "gather out of bounds": (_rows, X, "gather", {"mode": lax.GatherScatterMode.CLIP}),
    "gather of parts": (_rows, X, "gather", {"slice_sizes": (1, 2)}),
    "scatter out of bounds": (_put, X, "scatter", {"mode": lax.GatherScatterMode.CLIP}),
    "scatter of a function": (_put, X, "scatter", {"update_jaxpr": jax.make_jaxpr(jnp.sin)(1.0)}),
    "convolution of groups": (lambda x: lax.conv(x, KERNEL, (1, 1), "SAME"), IMAGE,
                              "conv_general_dilated", {"batch_group_count": 2}),
    "convolution of a dilated image": (lambda x: lax.conv(x, KERNEL, (1, 1), "SAME"), IMAGE,
                                       "conv_general_dilated", {"lhs_dilation": (2, 2)}),
    "pool": (_pooled, IMAGE, "reduce_window_max", {"window_dilation": (1, 1, 2, 2)}),
    "eigh of the upper triangle": (jnp.linalg.eigh, SQUARE, "eigh", {"lower": False}),
    "eigh of some": (jnp.linalg.eigh, SQUARE, "eigh", {"subset_by_index": (0, 2)}),
    "svd of some": (jnp.linalg.svd, SQUARE, "svd", {"subset_by_index": (0, 2)}),
    "qr": (jnp.linalg.qr, SQUARE, "qr", {"pivoting": True}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("function", "x", "name", "params"), OTHER_VALUES.values(), ids=OTHER_VALUES
)
def test_a_value_that_the_operator_does_not_compute(
    function: Any, x: Any, name: str, params: dict[str, Any]
) -> None:
    lower(canonicalise(jax.make_jaxpr(function)(x)), {}, ["x"], Options(RULES))
    problem = _refusal(_with_parameter(function, x, name, **params))
    assert f": {name}: " in f": {problem}"
    assert "does not know" not in problem


def test_a_parameter_that_a_newer_jax_may_add_is_not_folded_away() -> None:
    """JAX is asked, not NumPy: this JAX refuses what it does not know."""
    (eqn,) = jax.make_jaxpr(lambda: lax.transpose_p.bind(N, permutation=(1, 0)))().eqns
    atoms = [folding.literal(N, eqn.invars[0].aval)]
    assert folding.fold(eqn, atoms) is not None
    with pytest.raises(TypeError, match="foo"):
        folding.fold(eqn.replace(params={**eqn.params, "foo": 3}), atoms)
