"""Elementwise primitives, bits of floats, linear algebra."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.extend.core import primitives
from jax.lax import linalg

from tests.lowering.equal import check

X = np.random.default_rng(0).standard_normal((4, 5)).astype(np.float32)
INTS = np.array([0, 1, -1, 2, 127, -128, 1000, -12345, 2**31 - 1, -(2**31)], np.int32)
SPECIAL = np.array([0.0, -0.0, 1, -1.5, np.inf, -np.inf, np.nan, 1e-30, 3e38, 65504, 2**-15, 0.1])
WIDTHS = ["float16", "bfloat16", "float32"]


def specials(x):
    return SPECIAL.astype(np.float32) + jnp.where(x[0, 0] > 99, x[0, 0], -0.0)


PIVOTS = np.array([[2, 1, 3], [0, 3, 2]], np.int32)
TWO = np.array([[[3, 1], [0, 2]], [[3, 0], [2, 1]], [[0, 1], [-1, 0]], [[1, 2], [2, 1]],
                [[3, -2], [1, 0]]], np.float32)  # fmt: skip
SIZES = np.array([1, 0, 2], np.int32)

CASES = {
    "select_many": lambda x: lax.select_n((x * 2).astype(np.int32), x, x + 1, x + 2, x + 3),
    "select_one": lambda x: lax.select_n(x > 0, x),
    "clz": lambda x: [lax.clz(INTS.astype(t)) for t in ("uint32", "uint8", "uint16")],
    "population": lambda x: lax.population_count(INTS),
    "same_width": lambda x: lax.bitcast_convert_type(
        lax.bitcast_convert_type(x.astype(np.int32), np.uint32), np.int32
    ),
    "total_order": lambda x: [
        primitive.bind(*jnp.broadcast_arrays(specials(x)[:, None], specials(x)))
        for primitive in (primitives.lt_to_p, primitives.le_to_p, primitives.eq_to_p)
    ],
    "shifted_out": lambda x: [
        lax.shift_right_logical(INTS, np.int32(32)) + x.astype(np.int32)[0, 0],
        lax.shift_left(x.astype(np.int32), np.int32(40)),
    ],
    "conjugate_of_real": lax.conj,
    "reshape_in_order": lambda x: lax.reshape(x, (2, 10), (1, 0)),
    "wide_product": lambda x: lax.mul(x.astype(jnp.bfloat16), x.astype(jnp.bfloat16)),
    "empty": lambda x: jnp.zeros_like(lax.empty((3,), np.float32)),
}


@pytest.mark.parametrize("name", CASES)
def test_exact(name):
    check(CASES[name], X)


CLOSE = {
    "cumlogsumexp": lambda x: lax.cumlogsumexp(x, 1),
    "cumlogsumexp_reversed": lambda x: lax.cumlogsumexp(x, 0, reverse=True),
    "erf_inv": lambda x: lax.erf_inv(jnp.clip(x, -1, 1)),
    "erf_inv_tail": lambda x: lax.erf_inv(jnp.float32(1) - 10.0 ** -jnp.arange(1.0, 8.0)),
    "symmetric_product": lambda x: linalg.symmetric_product(
        x, x @ x.T, alpha=2.0, beta=3.0, symmetrize_output=True
    ),
    "cholesky_update": lambda x: linalg.cholesky_update(
        jnp.triu(x[:4, :4]) + 3 * jnp.eye(4), x[0, :4]
    ),
    "permutation": lambda x: linalg.lu_pivots_to_permutation(
        np.array([[2, 1, 3], [0, 3, 2]], np.int32), 5
    ),
    "tridiagonal": lambda x: linalg.tridiagonal_solve(x[0, :4], x[1, :4] + 5, x[2, :4], x[:, :2]),
    "lu_rectangular": lambda x: [linalg.lu(x), linalg.lu(x.T)],
    "eigenvalues_of_two": lambda x: jnp.linalg.eigvals(jnp.concatenate([x[None, :2, :2], TWO])),
    "eigh_upper": lambda x: lax.linalg.eigh(x[:, :4], lower=False, symmetrize_input=False)[1],
    "polygamma": lambda x: lax.polygamma(jnp.round(x % 4), jnp.abs(x) + 1),
    "ormqr": lambda x: [
        linalg.ormqr(
            x[:4, :3],
            x[0, :3] / 9,
            x[:, :4],
            left=left,
            transpose=transpose,
        )
        for left in (True, False)
        for transpose in (True, False)
    ],
    "ragged_dot": lambda x: lax.ragged_dot(
        x, jnp.stack([x.T, -x.T, x.T * 2]), jnp.array([1, 0, 2])
    ),
    "reduce_precision": lambda x: [lax.reduce_precision(x, e, m) for e, m in ((8, 7), (5, 10))],
}


@pytest.mark.parametrize("name", CLOSE)
def test_close(name):
    check(CLOSE[name], X, rtol=3e-6)


@pytest.mark.parametrize("dtype", WIDTHS)
def test_bits_of_floats(dtype):
    with np.errstate(over="ignore"):
        x = SPECIAL.astype(dtype)
    unsigned = f"uint{x.dtype.itemsize * 8}"
    bits = jnp.asarray(x).view(unsigned)
    check(lambda x: lax.bitcast_convert_type(x, unsigned), x)
    check(lambda b: lax.bitcast_convert_type(b, dtype), bits)
    check(lambda x: lax.bitcast_convert_type(x, np.uint8), x)
    check(lambda b: lax.bitcast_convert_type(b, dtype), bits.view(np.uint8).reshape(-1, x.itemsize))


FUNCTIONS = {
    "copysign": lambda x: jnp.copysign(x, -x),
    "frexp": jnp.frexp,
    "ldexp": lambda x: jnp.ldexp(x, 3),
    "signbit": jnp.signbit,
    "nextafter": lambda x: jnp.nextafter(x, 0.0),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_bits(name):
    check(FUNCTIONS[name], X)


@pytest.mark.parametrize("bits", [(8, 10), (5, 2), (4, 3), (6, 30)])
def test_reduce_precision_to_formats_that_are_no_dtypes(bits):
    x = np.concatenate([X.reshape(-1) * 2.0**k for k in range(-20, 20, 3)]).astype(np.float32)
    special = SPECIAL.astype(np.float32)
    check(lambda x: lax.reduce_precision(x, *bits), np.concatenate([x, special]))


def test_reduce_precision_at_the_edges():
    x = np.float32(2.0**-14) * (1 + np.arange(-64, 64) * np.float32(2.0**-14))
    check(lambda x: lax.reduce_precision(x, 5, 10), np.concatenate([x, -x, x * 2**29]))
