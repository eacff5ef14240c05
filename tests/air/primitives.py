"""A function for each of JAX's primitives that AIR is to have, and for those it is not to have.

``DIRECT`` have an operator of GE's, ``COMPOSITE`` are several, ``NOTHING`` are no computation or
calls that are written out. ``EXPANDED`` have no counterpart on Ascend, but are written as what
they are made of; the rest are ``REFUSED``.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AxisType, NamedSharding, PartitionSpec

_RANDOM = np.random.default_rng(0)


def _f(*shape: int) -> np.ndarray:
    return _RANDOM.standard_normal(shape).astype(np.float32)


def _i(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


X, Y = _f(2, 3), _f(2, 3)
P, Q = abs(X) + 0.5, abs(Y) + 0.5  # above 0
U, V = np.tanh(X), np.tanh(Y)  # between -1 and 1
N, M = _i(7, -7, 100, -1), _i(2, 3, 7, 5)
B, C = X > 0, Y > 0
Z = (X + 1j * Y).astype(np.complex64)
SQUARE = _f(3, 3)
SYMMETRIC = SQUARE @ SQUARE.T + 3 * np.eye(3, dtype=np.float32)
IMAGE, FILTER = _f(1, 4, 8, 8), _f(6, 4, 3, 3)
I2, U2 = _i(1, 0), _f(2, 3)


def _shift(x: Any, by: Any) -> Any:
    return lax.shift_right_logical(x, by)


def _loop(x: Any) -> Any:
    return lax.while_loop(lambda c: c.sum() < 100, lambda c: c * 2 + 1, x)


def _window(name: str) -> Any:
    best = {"max": (-jnp.inf, lax.max), "min": (jnp.inf, lax.min), "sum": (0.0, lax.add)}[name]
    return lambda x: lax.reduce_window(x, *best, (1, 1, 3, 3), (1, 1, 2, 2), "SAME")


def _custom_jvp(x: Any) -> Any:
    function = jax.custom_jvp(jnp.sin)
    function.defjvp(lambda x, t: (jnp.sin(x[0]), t[0]))
    return function(x)


def _custom_vjp(x: Any) -> Any:
    function = jax.custom_vjp(jnp.sin)
    function.defvjp(lambda x: (jnp.sin(x), None), lambda r, g: (g,))
    return function(x)


def _solve(x: Any) -> Any:
    return lax.custom_linear_solve(lambda v: v * 2, x, lambda f, b: b / 2, symmetric=True)


def _sharded(x: Any) -> Any:
    mesh = jax.make_mesh((1,), ("x",), axis_types=(AxisType.Auto,))
    return lax.with_sharding_constraint(x, NamedSharding(mesh, PartitionSpec("x"))) + 1


def _alone(function: Any) -> Any:
    """A function of an array that lies on one device."""
    mesh = jax.make_mesh((1,), ("a",), axis_types=(AxisType.Auto,))
    spec = PartitionSpec("a")
    return jax.shard_map(function, mesh=mesh, in_specs=spec, out_specs=spec, check_vma=False)


DIRECT: dict[str, tuple[Any, ...]] = {
    "abs": (lax.abs, X),
    "neg": (lax.neg, X),
    "exp": (lax.exp, X),
    "log": (lax.log, P),
    "log1p": (lax.log1p, P),
    "expm1": (lax.expm1, X),
    "sin": (lax.sin, X),
    "cos": (lax.cos, X),
    "tan": (lax.tan, X),
    "asin": (lax.asin, U),
    "acos": (lax.acos, U),
    "atan": (lax.atan, X),
    "sinh": (lax.sinh, X),
    "cosh": (lax.cosh, X),
    "tanh": (lax.tanh, X),
    "asinh": (lax.asinh, X),
    "acosh": (lax.acosh, P + 1),
    "atanh": (lax.atanh, U),
    "sqrt": (lax.sqrt, P),
    "rsqrt": (lax.rsqrt, P),
    "floor": (lax.floor, X),
    "ceil": (lax.ceil, X),
    "sign": (lax.sign, X),
    "erf": (lax.erf, X),
    "erfc": (lax.erfc, X),
    "logistic": (lax.logistic, X),
    "square": (lax.square, X),
    "digamma": (lax.digamma, P),
    "lgamma": (lax.lgamma, P),
    "erf_inv": (lax.erf_inv, U),
    "is_finite": (lax.is_finite, X),
    "not": (lambda b, n: (lax.bitwise_not(b), lax.bitwise_not(n)), B, N),
    "round": (lambda x: (jnp.round(x), lax.round(x)), X),
    "exp2": (lax.exp2, X),
    "population_count": (lax.population_count, N),
    "real": (lax.real, Z),
    "imag": (lax.imag, Z),
    "conj": (lax.conj, Z),
    "complex": (lax.complex, X, Y),
    "bessel_i0e": (lax.bessel_i0e, X),
    "bessel_i1e": (lax.bessel_i1e, X),
    "copy": (jnp.copy, X),
    "add": (lax.add, X, Y),
    "sub": (lax.sub, X, Y),
    "mul": (lax.mul, X, Y),
    "max": (lax.max, X, Y),
    "min": (lax.min, X, Y),
    "pow": (lax.pow, P, Y),
    "atan2": (lax.atan2, X, Y),
    "eq": (lax.eq, X, Y),
    "ne": (lax.ne, X, Y),
    "lt": (lax.lt, X, Y),
    "le": (lax.le, X, Y),
    "gt": (lax.gt, X, Y),
    "ge": (lax.ge, X, Y),
    "nextafter": (lax.nextafter, X, Y),
    "igamma": (lax.igamma, P, Q),
    "igammac": (lax.igammac, P, Q),
    "add_any": (jax.grad(lambda x: (x * x).sum()), X),
    "div": (lambda x, y, n, m: (x / y, lax.div(n, m)), X, Q, N, M),
    "rem": (lambda x, y, n, m: (lax.rem(x, y), lax.rem(n, m)), X, Q, N, M),
    "and": (lambda b, c, n, m: (b & c, n & m), B, C, N, M),
    "or": (lambda b, c, n, m: (b | c, n | m), B, C, N, M),
    "xor": (lambda b, c, n, m: (b ^ c, n ^ m), B, C, N, M),
    "shift_left": (lax.shift_left, N, M),
    "shift_right_arithmetic": (lax.shift_right_arithmetic, N, M),
    "select_n": (lambda b, x, y: lax.select_n(b, x, y), B, X, Y),
    "clamp": (lambda x: lax.clamp(-0.5, x, 0.5), X),
    "convert_element_type": (lambda x: [x.astype(d) for d in ("int32", "bfloat16", "bool")], X),
    "bitcast_convert_type": (lambda x: lax.bitcast_convert_type(x, np.int32), X),
    "reshape": (lambda x: x.reshape(3, 2), X),
    "squeeze": (lambda x: lax.squeeze(x, (0,)), X[:1]),
    "transpose": (jnp.transpose, X),
    "broadcast_in_dim": (lambda x: lax.broadcast_in_dim(x, (4, 2, 3), (1, 2)), X),
    "rev": (lambda x: lax.rev(x, (0, 1)), X),
    "concatenate": (lambda x, y: lax.concatenate([x, y], 1), X, Y),
    "split": (lambda x: lax.split(x, (1, 2), 1), X),
    "stack": (lambda x, y: jnp.stack([x, y], 1), X, Y),
    "unstack": (lambda x: tuple(jnp.unstack(x)), X),
    "tile": (lambda x: jnp.tile(x, (2, 2)), X),
    "pad": (lambda x: lax.pad(x, 2.0, ((1, 2, 0), (0, 1, 0))), X),
    "slice": (lambda x: lax.slice(x, (0, 1), (2, 3)), X),
    "iota": (lambda x: x + lax.iota(np.float32, 3), X),
    "argmax": (lambda x: lax.argmax(x, 1, np.int32), X),
    "argmin": (lambda x: lax.argmin(x, 0, np.int32), X),
    "reduce_sum": (lambda x: x.sum(1), X),
    "reduce_max": (lambda x: x.max(1), X),
    "reduce_min": (lambda x: x.min(), X),
    "reduce_prod": (lambda x: x.prod(0), X),
    "reduce_and": (lambda b: b.all(1), B),
    "reduce_or": (lambda b: b.any(1), B),
    "cumsum": (lambda x: (lax.cumsum(x), lax.cumsum(x, 1, reverse=True)), X),
    "cumprod": (lambda x: (lax.cumprod(x), lax.cumprod(x, 1, reverse=True)), X),
    "cummax": (lambda x: (lax.cummax(x), lax.cummax(x, 1, reverse=True)), X),
    "cummin": (lambda x: (lax.cummin(x), lax.cummin(x, 1, reverse=True)), X),
    "top_k": (lambda x: lax.top_k(x, 2), X),
    "approx_top_k": (lambda x: lax.approx_max_k(x, 2), X),
    "cholesky": (lax.linalg.cholesky, SYMMETRIC),
    "qr": (lambda x: jnp.linalg.qr(x), SQUARE),
    "eigh": (lambda x: jnp.linalg.eigh(x)[0], SYMMETRIC),
    "zeta": (lax.zeta, P + 1, Q),
    "regularized_incomplete_beta": (lax.betainc, P, Q, abs(U)),
}

COMPOSITE: dict[str, tuple[Any, ...]] = {
    "cbrt": (lax.cbrt, X),
    "integer_pow": (lambda x: (x**3, x**-2), X),
    "reduce_precision": (lambda x: lax.reduce_precision(x, 5, 10), X),
    "shift_right_logical": (_shift, N, M),
    "dynamic_slice": (lambda x, i: lax.dynamic_slice(x, (0, i), (2, 2)), X, np.int32(1)),
    "dynamic_update_slice": (
        lambda x, y, i: lax.dynamic_update_slice(x, y, (i, 0)), X, Y[:1], np.int32(1)
    ),
    "gather": (lambda x, i: x[i], X, I2),
    "scatter": (lambda x, i, u: x.at[i].set(u), X, I2, U2),
    "scatter-add": (lambda x, i, u: x.at[i].add(u), X, I2, U2),
    "scatter-sub": (lambda x, i, u: x.at[i].subtract(u), X, I2, U2),
    "scatter-mul": (lambda x, i, u: x.at[i].mul(u), X, I2, U2),
    "scatter-min": (lambda x, i, u: x.at[i].min(u), X, I2, U2),
    "scatter-max": (lambda x, i, u: x.at[i].max(u), X, I2, U2),
    "reduce_xor": (lambda b: lax.reduce_xor_p.bind(b, axes=(1,)), B),
    "cumlogsumexp": (lambda x: lax.cumlogsumexp(x, 1), X),
    "sort": (lambda x, y: lax.sort((x, y), num_keys=1), X, Y),
    "dot_general": (lambda x, y: (x @ y.T, jnp.einsum("ij,ij->i", x, y)), X, Y),
    "conv_general_dilated": (
        lambda x, w: lax.conv_general_dilated(x, w, (2, 2), "SAME"), IMAGE, FILTER
    ),
    "reduce_window_max": (_window("max"), IMAGE),
    "reduce_window_min": (_window("min"), IMAGE),
    "reduce_window_sum": (_window("sum"), IMAGE),
    "triangular_solve": (
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True),
        SYMMETRIC, SQUARE,
    ),
    "svd": (lambda x: jnp.linalg.svd(x, compute_uv=False), SQUARE),
    "lu": (lax.linalg.lu, SQUARE),
    "eig": (lambda x: (lambda w: (w.sum(), (w * w).sum()))(jnp.linalg.eigvals(x)), SQUARE),
    "geqrf": (lambda x: jnp.linalg.qr(x, mode="raw"), SQUARE),
    "schur": (lambda x: (lambda t, z: z @ t @ z.T)(*lax.linalg.schur(x)), SQUARE),
    "fft": (lambda x, z: (jnp.fft.rfft(x), jnp.fft.fft2(z), jnp.fft.irfft(z, 4)), X, Z),
    "cond": (lambda b, x: lax.cond(b, jnp.sin, jnp.cos, x), np.bool_(True), X),
    "while": (_loop, P),
    "scan": (lambda x: lax.scan(lambda c, y: (c + y, c * y), jnp.zeros(3), x), X),
}  # fmt: skip

NOTHING: dict[str, tuple[Any, ...]] = {
    "stop_gradient": (lambda x: lax.stop_gradient(x) + 1, X),
    "name": (lambda x: checkpoint_name(x + 1, "a"), X),
    "optimization_barrier": (lambda x: lax.optimization_barrier(x) + 1, X),
    "device_put": (lambda x: jax.device_put(x) + 1, X),
    "sharding_constraint": (_sharded, X),
    "jit": (jax.jit(lambda x: x + 1), X),
    "custom_jvp_call": (_custom_jvp, X),
    "custom_vjp_call": (_custom_vjp, X),
    "remat2": (jax.checkpoint(lambda x: jnp.sin(x) + 1), X),
    "custom_linear_solve": (_solve, X),
}

EXPANDED: dict[str, tuple[Any, ...]] = {
    "clz": (lambda x: lax.clz(x), N),
    "reduce": (lambda x: lax.reduce(x, -jnp.inf, jnp.logaddexp, (1,)), X),
    "reduce_window": (
        lambda x: lax.reduce_window(x, -jnp.inf, jnp.logaddexp, (1, 2), (1, 1), "VALID"), X
    ),
    "select_and_scatter_add": (jax.grad(lambda x: _window("max")(x).sum()), IMAGE),
    "polygamma": (lambda x: lax.polygamma(2.0, x), P),
    "rng_bit_generator": (
        lambda k: lax.rng_bit_generator(k, (3,))[1], np.arange(4, dtype=np.uint32)
    ),
    "random_bits": (lambda s: jax.random.bits(jax.random.key(s), (3,)), np.uint32(1)),
    "random_split": (
        lambda s: jax.random.key_data(jax.random.split(jax.random.key(s))), np.uint32(1)
    ),
    "random_fold_in": (
        lambda s: jax.random.key_data(jax.random.fold_in(jax.random.key(s), 3)), np.uint32(1)
    ),
    "psum": (jax.vmap(lambda x: lax.psum(x, "a"), axis_name="a"), X),
    "pmax": (_alone(lambda x: lax.pmax(x, "a")), X),
    "pmin": (jax.vmap(lambda x: lax.pmin(x, "a"), axis_name="a"), X),
}  # fmt: skip

REFUSED: dict[str, tuple[Any, ...]] = {
    "rng_uniform": (lambda x: lax.rng_uniform(0.0, x, (3,)), np.float32(1)),
    "all_gather": (_alone(lambda x: lax.all_gather(x, "a")), X),
    "all_to_all": (_alone(lambda x: lax.all_to_all(x, "a", 0, 1)), X[:1]),
    "ppermute": (_alone(lambda x: lax.ppermute(x, "a", [(0, 0)])), X),
    "reduce_scatter": (_alone(lambda x: lax.psum_scatter(x, "a")), X[:1]),
    "axis_index": (_alone(lambda x: x + lax.axis_index("a")), X),
    "mulhi": (lambda x, y: lax.mulhi(x, y), N, M),
}  # fmt: skip
