"""A function and its canonical jaxpr compute the same: the one check of all rewrites."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from msckpt_jax._compat import ClosedJaxpr, Equation, opened
from msckpt_jax.lowering import forms
from msckpt_jax.lowering.canonical import canonicalise

#: Small programs: the compiler is the time that a test takes.
FAST = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}


def leftovers(jaxpr: ClosedJaxpr) -> Iterator[Equation]:
    """The equations that are in no canonical form, those of bodies included."""
    for eqn in opened(jaxpr)[0].eqns:
        if not forms.canonical(eqn):
            yield eqn
        for param in forms.BODIES.get(eqn.primitive.name, ()):
            body = eqn.params[param]
            for inner in body if isinstance(body, tuple) else (body,):
                yield from leftovers(inner)


def canonical(function: Callable, *args: Any, **options: Any) -> ClosedJaxpr:
    """The canonical jaxpr, in canonical forms only."""
    jaxpr = canonicalise(jax.make_jaxpr(function)(*args), **options)
    assert not [str(eqn) for eqn in leftovers(jaxpr)]
    return jaxpr


def names(jaxpr: ClosedJaxpr) -> list[str]:
    return [eqn.primitive.name for eqn in jaxpr.eqns]


def data(x: Any) -> np.ndarray:
    is_key = jax.numpy.issubdtype(x.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(x) if is_key else x)


def check(function: Callable, *args: Any, rtol: float | None = None, **options: Any) -> ClosedJaxpr:
    """Both give the same arrays: the same bits, or where ``rtol`` is given, close ones."""
    jaxpr = canonical(function, *args, **options)
    inputs = [data(leaf) for leaf in map(jax.numpy.asarray, jax.tree.leaves(args))]
    compute = jax.extend.core.jaxpr_as_fun(jaxpr)
    both = jax.jit(lambda xs, args: (compute(*xs), function(*args)), compiler_options=FAST)
    found, expected = both(inputs, args)
    expected = jax.tree.leaves(expected)
    assert len(found) == len(expected)
    for got, want in zip(map(data, found), map(data, expected), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        if rtol is None:
            plain = [x.astype(np.float32) if x.dtype.kind == "V" else x for x in (got, want)]
            np.testing.assert_array_equal(*plain)
            if want.dtype.kind == "f":
                numbers = want == want
                np.testing.assert_array_equal(*(np.signbit(x[numbers]) for x in plain))
        else:
            wide = np.result_type(want.dtype, np.float64) if want.dtype.kind != "c" else want.dtype
            scale = np.max(np.abs(want.astype(wide)), initial=0, where=np.isfinite(want))
            np.testing.assert_allclose(
                got.astype(wide), want.astype(wide), rtol=rtol, atol=rtol * scale
            )
    return jaxpr
