"""Functions of few primitives, and arguments: what MindSpore must run with JAX's numbers.

Each is exported and run once for each of its dtypes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
from jax import lax

FLOATS = ("float32", "float16", "bfloat16", "float64")
INTS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
COMPLEX = ("complex64", "complex128")
NUMBERS = FLOATS + INTS
MOST = (*NUMBERS, "bool")
MAIN = ("float32", "float64")


class Case(NamedTuple):
    """``arguments(dtype)`` makes the arguments."""

    name: str
    function: Callable[..., Any]
    arguments: Callable[[Any], tuple[Any, ...]]
    dtypes: tuple[str, ...] = FLOATS
    exact: bool = False


def numbers(dtype: Any, shape: tuple[int, ...], low: float = -3, high: float = 3, seed: int = 0):
    """Numbers in a range; for unsigned dtypes the positive part of it."""
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    if dtype == np.bool_:
        return rng.random(shape) < 0.5
    if dtype.kind == "c":
        parts = rng.uniform(low, high, (2, *shape))
        return (parts[0] + 1j * parts[1]).astype(dtype)
    if dtype.kind in "iu":
        least = max(int(np.ceil(low)), 0) if dtype.kind == "u" else int(np.ceil(low))
        return rng.integers(least, int(high) + 1, shape).astype(dtype)
    return rng.uniform(low, high, shape).astype(dtype)


def _of(*shapes: tuple[int, ...], low: float = -3, high: float = 3):
    """Arguments of these shapes."""
    return lambda dtype: tuple(numbers(dtype, s, low, high, i) for i, s in enumerate(shapes))


def _wide(*shapes: tuple[int, ...]):
    """Arguments over the whole range of an integer dtype."""

    def make(dtype):
        info = np.iinfo(dtype)
        out = []
        for seed, shape in enumerate(shapes):
            rng = np.random.default_rng(seed)
            out.append(rng.integers(info.min, info.max, shape, dtype, endpoint=True))
        return tuple(out)

    return make


def _of_all_lengths(dtype: Any):
    """All pairs of what float64 does not hold and of the ends, and numbers of all lengths."""
    info = np.iinfo(dtype)
    far = [info.max >> shift for shift in (0, 1, 2, 9, 10, 11)]
    ends = np.array([0, 1, 2, 3, info.min, info.min + 1, *far, *(n - 1 for n in far)], dtype)
    ends = np.concatenate([ends, -ends])
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, info.bits, (2, 500)).astype(dtype)
    more = rng.integers(info.min, info.max, (2, 500), dtype, endpoint=True) >> lengths
    pairs = np.meshgrid(ends, ends)
    return tuple(np.concatenate([a.ravel(), b]) for a, b in zip(pairs, more, strict=True))


_A, _B = (3, 5), (3, 5)


def _unary() -> Iterator[Case]:
    floats = {
        lax.acos: (-0.9, 0.9), lax.acosh: (1.1, 4), lax.asin: (-0.9, 0.9), lax.asinh: (-3, 3),
        lax.atan: (-3, 3), lax.atanh: (-0.9, 0.9), lax.ceil: (-3, 3), lax.cos: (-9, 9),
        lax.cosh: (-3, 3), lax.erf: (-2, 2), lax.erfc: (-2, 2), lax.exp: (-3, 3),
        lax.exp2: (-3, 3), lax.expm1: (-2, 2), lax.floor: (-3, 3), lax.log: (0.1, 9),
        lax.log1p: (-0.5, 5), lax.logistic: (-9, 9), lax.rsqrt: (0.1, 9), lax.sin: (-9, 9),
        lax.sinh: (-3, 3), lax.sqrt: (0.1, 9), lax.tan: (-1, 1), lax.tanh: (-4, 4),
        lax.cbrt: (-8, 8), lax.is_finite: (-3, 3), lax.lgamma: (0.2, 5), lax.digamma: (0.5, 5),
    }  # fmt: skip
    for function, (low, high) in floats.items():
        yield Case(function.__name__, function, _of(_A, low=low, high=high))
    yield Case("mish", jax.nn.mish, _of(_A, low=-6, high=4), ("float16", "float32"))
    yield Case("erf_inv", lax.erf_inv, _of(_A, low=-0.9, high=0.9))
    yield Case("bessel_i0e", lax.bessel_i0e, _of(_A), MAIN)
    yield Case("bessel_i1e", lax.bessel_i1e, _of(_A), MAIN)
    signed = tuple(dtype for dtype in NUMBERS if not dtype.startswith("u"))
    yield Case("abs", lax.abs, _of(_A), signed)
    for function in (lax.neg, lax.sign, lax.square):
        yield Case(function.__name__, function, _of(_A), NUMBERS)
    for function in (lax.bitwise_not, lax.population_count, lax.clz):
        yield Case(function.__name__, function, _wide(_A), INTS)
    yield Case("not of bools", lax.bitwise_not, _of(_A), ("bool",))
    for way in lax.RoundingMethod:

        def half(dtype):
            return (np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.3, -0.7], dtype),)

        yield Case(f"round {way.name}", functools.partial(lax.round, rounding_method=way), half)
    for power in (-3, -1, 0, 1, 2, 5):
        low = functools.partial(lax.integer_pow, y=power)
        yield Case(f"integer_pow {power}", low, _of(_A, low=0.5, high=2))
    yield Case("integer_pow of ints", lambda x: lax.integer_pow(x, 3), _of(_A), INTS)
    for function in (lax.exp, lax.log, lax.sin, lax.cos, lax.sqrt, lax.neg, lax.conj, lax.real,
                     lax.imag, lax.abs, lax.tanh, lax.square):  # fmt: skip
        yield Case(f"{function.__name__} of complex", function, _of(_A), COMPLEX)


def _binary() -> Iterator[Case]:
    for function in (lax.add, lax.sub, lax.mul, lax.max, lax.min):
        yield Case(function.__name__, function, _of(_A, _B), NUMBERS)
        yield Case(
            f"{function.__name__} scalar", lambda x, f=function: f(x, x[0, 0]), _of(_A), MAIN
        )
    for function in (lax.add, lax.sub, lax.mul):
        yield Case(f"{function.__name__} wraps", function, _wide(_A, _B), INTS)
        yield Case(f"{function.__name__} of complex", function, _of(_A, _B), COMPLEX)
    yield Case("div of complex", lax.div, _of(_A, _B), COMPLEX)
    for function in (lax.max, lax.min):
        yield Case(f"{function.__name__} wide", function, _wide(_A, _B), INTS)
        yield Case(f"{function.__name__} of bools", function, _of(_A, _B), ("bool",))
    for function in (lax.eq, lax.ne, lax.lt, lax.le, lax.gt, lax.ge):
        yield Case(function.__name__, function, _of(_A, _B, high=2), MOST)
        yield Case(f"{function.__name__} wide", function, _wide(_A, _B), INTS)
    for function in (lax.bitwise_and, lax.bitwise_or, lax.bitwise_xor):
        yield Case(function.__name__, function, _wide(_A, _B), INTS)
        yield Case(f"{function.__name__} of bools", function, _of(_A, _B), ("bool",))
    yield Case("div", lax.div, _of(_A, _B, low=0.5))
    yield Case("div of ints", lambda x, y: lax.div(x, y | 1), _wide(_A, _B), INTS)
    yield Case("rem", lax.rem, _of(_A, _B, low=0.5))
    yield Case("rem negative", lambda x, y: lax.rem(-x, y), _of(_A, _B, low=0.5))
    yield Case("rem of ints", lambda x, y: lax.rem(x, y | 1), _wide(_A, _B), INTS)
    yield Case("floor division", lambda x, y: x // (y | 1), _wide(_A, _B), INTS)
    yield Case("mod", lambda x, y: x % (y | 1), _wide(_A, _B), INTS)
    yield Case("atan2", lax.atan2, _of(_A, _B))
    yield Case("pow", lax.pow, _of(_A, _B, low=0.5))
    yield Case("pow of a float by an int", lambda x: lax.pow(x, jnp.full(_A, 3)), _of(_A))
    yield Case("nextafter", lax.nextafter, _of(_A, _B), MAIN)
    yield Case("complex", lax.complex, _of(_A, _B), MAIN)
    for function in (lax.igamma, lax.igammac, lax.igamma_grad_a):
        yield Case(function.__name__, function, _of(_A, _B, low=0.5), MAIN)
    yield Case("zeta", lax.zeta, _of(_A, _B, low=1.5), MAIN)
    yield Case("betainc", lax.betainc, _of(_A, _A, _A, low=0.1, high=0.9), MAIN)
    for function in (lax.shift_left, lax.shift_right_arithmetic, lax.shift_right_logical):

        def within(x, y, f=function):
            return f(x, y & (jnp.iinfo(y.dtype).bits - 1))

        yield Case(function.__name__, within, _wide(_A, _B), INTS)
        yield Case(f"{function.__name__} past the width", function, _wide(_A, _B), INTS, True)
    yield Case("select_n", lambda x, y: lax.select_n(x < y, x, y), _of(_A, _B), MOST)
    yield Case("select_n scalar", lambda x: lax.select_n(x[0, 0] < x[1, 1], x, -x), _of(_A))
    yield Case("clamp", lambda x: lax.clamp(x[0, 0], x, x[0, 0] + 1), _of(_A), NUMBERS)
    yield Case("polygamma", lambda x: lax.polygamma(jnp.ones_like(x), x), _of(_A, low=0.5), MAIN)


def _casts() -> Iterator[Case]:
    for dtype in (*MOST, *COMPLEX):
        to = functools.partial(lax.convert_element_type, new_dtype=np.dtype(dtype))
        yield Case(f"to {dtype}", to, _of(_A, low=0, high=9), MOST)
    yield Case("complex to float", lambda x: lax.convert_element_type(x, x.real.dtype),
               _of(_A), COMPLEX)  # fmt: skip
    for bits in ((8, 7), (5, 10)):
        yield Case(f"reduce_precision {bits}", lambda x, b=bits: lax.reduce_precision(x, *b),
                   _of(_A), ("float32",))  # fmt: skip


def _shapes() -> Iterator[Case]:
    same = {
        "reshape": lambda x: x.reshape(5, 2, 3),
        "transpose": lambda x: x.transpose(2, 0, 1),
        "broadcast_in_dim": lambda x: jnp.broadcast_to(x[:, None], (2, 4, 3, 5)),
        "broadcast a scalar": lambda x: jnp.broadcast_to(x[0, 0, 0], (2, 3)),
        "squeeze": lambda x: lax.squeeze(x[:1], (0,)),
        "expand_dims": lambda x: lax.expand_dims(x, (0, 2)),
        "concatenate": lambda x: lax.concatenate([x, x[:, :1]], 1),
        "pad": lambda x: lax.pad(x, x[0, 0, 0], [(1, 2, 0), (0, 0, 0), (0, 3, 0)]),
        "rev": lambda x: lax.rev(x, (0, 2)),
        "slice": lambda x: x[1:, :2, 2:4],
        "slice with strides": lambda x: x[:, ::2, 1::3],
        "split": lambda x: tuple(lax.split(x, (2, 1, 2), 2)),
        "split evenly": lambda x: tuple(jnp.split(x, 3, axis=1)),
        "stack": lambda x: jnp.stack([x, x[::-1]], 1),
        "unstack": lambda x: tuple(jnp.unstack(x, axis=1)),
        "tile": lambda x: jnp.tile(x, (2, 1, 2)),
        "no elements": lambda x: lax.concatenate([x[:0], x], 0),
    }
    for name, function in same.items():
        yield Case(name, function, _of((2, 3, 5)), (*MOST, "complex64"))
    yield Case("iota", lambda x: x + lax.broadcasted_iota(x.dtype, (300, 4), 0), _of((300, 4)),
               NUMBERS)  # fmt: skip
    yield Case("a constant result", lambda x: (x, np.arange(3)), _of(_A), MAIN)
    yield Case("an argument as result", lambda x, y: (y, x, x), _of(_A, _B), MAIN)


def _reductions() -> Iterator[Case]:
    shape = (3, 4, 5)
    for function in (jnp.sum, jnp.max, jnp.min):
        dtypes = NUMBERS
        for axes in ((0,), (0, 2), (0, 1, 2)):
            reduced = functools.partial(function, axis=axes)
            yield Case(f"{function.__name__} {axes}", reduced, _of(shape), dtypes)
    yield Case("prod", functools.partial(jnp.prod, axis=1), _of(shape, low=1), NUMBERS)
    yield Case("sum wide", lambda x: lax.reduce_sum(x, (0, 2)), _wide(shape), INTS)
    yield Case("max wide", functools.partial(jnp.max, axis=1), _wide(shape), INTS)
    for function in (jnp.all, jnp.any, jnp.max, jnp.min):
        yield Case(f"{function.__name__} of bools", functools.partial(function, axis=1),
                   _of(shape), ("bool",))  # fmt: skip
    yield Case("reduce_xor", lambda x: lax.reduce_xor(x, (1,)), _of(shape), ("bool",))
    for function in (jnp.argmax, jnp.argmin):
        for axis in (0, 2):
            yield Case(f"{function.__name__} {axis}", functools.partial(function, axis=axis),
                       _of(shape), MOST)  # fmt: skip
    for function in (lax.cumsum, lax.cumprod, lax.cummax, lax.cummin, lax.cumlogsumexp):
        dtypes = FLOATS if function is lax.cumlogsumexp else NUMBERS
        for reverse in (False, True):
            name = f"{function.__name__} {'reverse' if reverse else ''}"
            cumulative = functools.partial(function, axis=1, reverse=reverse)
            yield Case(name, cumulative, _of(shape, low=1, high=2), dtypes)
    yield Case("sort", lambda x: lax.sort(x), _of(shape), MOST)
    yield Case("sort wide", lambda x: lax.sort(x), _wide((3, 9)), INTS)
    yield Case("argsort", lambda x: jnp.argsort(x), _of(shape), MOST)
    yield Case("sort axis 0", lambda x: lax.sort(x, 0), _of(shape), MAIN)
    yield Case("sort two keys", lambda x, y: lax.sort((x, y, x + y), num_keys=2), _of(_A, _B), MAIN)
    yield Case("top_k", lambda x: lax.top_k(x, 3), _of(shape), NUMBERS)
    yield Case("logsumexp", lambda x: jax.nn.logsumexp(x, axis=-1), _of(shape), FLOATS)
    yield Case("sum of complex", lambda x: jnp.sum(x, 0), _of(shape), COMPLEX)


def _products() -> Iterator[Case]:
    yield Case("matmul", jnp.matmul, _of((3, 4), (4, 5)), (*NUMBERS, "complex64"))
    yield Case("matmul wraps", jnp.matmul, _wide((3, 4), (4, 5)), INTS)
    yield Case("batched", jnp.matmul, _of((2, 3, 4), (2, 4, 5)), NUMBERS)
    yield Case("matrix and vector", jnp.matmul, _of((3, 4), (4,)), MAIN)
    yield Case("dot of vectors", jnp.dot, _of((4,), (4,)), MAIN)
    yield Case("einsum", lambda x, y: jnp.einsum("bhqd,bkhd->bhqk", x, y),
               _of((2, 3, 4, 5), (2, 6, 3, 5)), ("float32", "bfloat16"))  # fmt: skip
    yield Case("of bools", lambda x, y: lax.dot(x, y), _of((3, 4), (4, 5)), ("bool",))


def _spd(dtype):
    x = numbers(dtype, (4, 4)).astype(np.float64)
    return ((x @ x.T + 4 * np.eye(4)).astype(dtype),)


def _eigen(left):
    """What does not depend on the order of the eigenvalues and the phases of their vectors."""

    def checked(x):
        values, vectors = lax.linalg.eig(x, compute_left_eigenvectors=left,
                                         compute_right_eigenvectors=not left)  # fmt: skip
        if left:
            x, scale = jnp.conj(jnp.swapaxes(x, -1, -2)), jnp.conj(values)
        else:
            scale = values
        off = jnp.abs(x @ vectors - vectors * scale[..., None, :])
        largest = jnp.take_along_axis(vectors, jnp.argmax(jnp.abs(vectors), -2, keepdims=True), -2)
        return (jnp.sum(values, -1), jnp.sum(values**2, -1), off < 1e-3,
                jnp.sum(jnp.abs(vectors) ** 2, -2), jnp.abs(largest.imag) < 1e-3)  # fmt: skip

    return checked


def _cholesky_of_product(x):
    return lax.linalg.cholesky(x @ x.conj().T + jnp.eye(4, dtype=x.dtype))


def _both_sides(x):
    values, left, right = lax.linalg.eig(x)
    adjoint = left.conj().T
    return x @ right - right * values + 1, adjoint @ x - values[:, None] * adjoint + 1


def _linalg() -> Iterator[Case]:
    solve = lax.linalg.triangular_solve
    yield Case("cholesky", lax.linalg.cholesky, _spd, MAIN)
    yield Case("eigvalsh", lambda x: jnp.linalg.eigh(x)[0], _spd, MAIN)
    yield Case("eigh", lambda x: (lambda w, v: (v * w) @ v.T)(*jnp.linalg.eigh(x)), _spd, MAIN)
    for left in (False, True):
        yield Case(f"eig {left}", _eigen(left), _of((2, 5, 5)), (*MAIN, *COMPLEX))
    yield Case("eigenvalues of 2 x 2", jnp.linalg.eigvals, _of((3, 2, 2)), (*MAIN, *COMPLEX))
    for shape in ((2, 5, 5), (5, 3), (2, 3, 5)):
        yield Case(f"lu {shape[-2:]}", lambda x: tuple(lax.linalg.lu(x)), _of(shape), MAIN)
    yield Case("qr", lambda x: tuple(jnp.linalg.qr(x)), _of((2, 5, 3)), MAIN)
    yield Case("svd", lambda x: (lambda u, s, v: (u * s) @ v)(*jnp.linalg.svd(x, False)),
               _of((5, 3)), MAIN)  # fmt: skip
    yield Case("singular values", lambda x: jnp.linalg.svd(x, compute_uv=False), _of((5, 3)), MAIN)
    yield Case("both sides of eig", _both_sides, _of((4, 4)), ("float32", "complex64"))
    yield Case("cholesky of complex", _cholesky_of_product, _of((4, 4)), COMPLEX)
    yield Case("lu of complex", lambda x: tuple(lax.linalg.lu(x)), _of((2, 4, 4)), COMPLEX)
    yield Case("solve of complex", jnp.linalg.solve, _of((4, 4), (4, 2)), COMPLEX)
    yield Case("singular values of complex", lambda x: jnp.linalg.svd(x, compute_uv=False),
               _of((5, 3)), COMPLEX)  # fmt: skip
    yield Case("geqrf", lambda x: jnp.linalg.qr(x, mode="raw"), _of((2, 5, 3)), (*MAIN, *COMPLEX))
    yield Case("qr with pivots", lambda x: tuple(lax.linalg.qr(x, pivoting=True)), _of((4, 4)),
               (*MAIN, *COMPLEX))  # fmt: skip
    yield Case("schur", lambda x: (lambda t, z: (z @ t @ z.conj().T, z @ z.conj().T))(
        *lax.linalg.schur(x)), _of((5, 5)), (*MAIN, *COMPLEX))  # fmt: skip
    yield Case("sqrtm", lambda x: (lambda s: s @ s)(jax.scipy.linalg.sqrtm(x + 3 * jnp.eye(4))),
               _of((4, 4)), ("float32", "complex128"))  # fmt: skip
    for left in (True, False):
        for lower in (True, False):
            for transpose in (True, False):
                solved = functools.partial(
                    solve, left_side=left, lower=lower, transpose_a=transpose
                )
                yield Case(f"triangular_solve {left} {lower} {transpose}",
                           lambda a, b, f=solved: f(a + 4 * jnp.eye(4, dtype=a.dtype), b),
                           _of((4, 4), (4, 4)), MAIN)  # fmt: skip
    yield Case("solve", jnp.linalg.solve, lambda d: (*_spd(d), numbers(d, (4, 2))), MAIN)
    yield Case("inv", jnp.linalg.inv, _spd, MAIN)
    yield Case("det", jnp.linalg.det, _spd, MAIN)
    yield Case("fft", lambda x: jnp.fft.fft(x), _of((2, 6)), COMPLEX)
    yield Case("ifft", lambda x: jnp.fft.ifft(x), _of((2, 6)), COMPLEX)
    yield Case("fft2", lambda x: jnp.fft.fft2(x), _of((2, 4, 6)), COMPLEX)
    yield Case("rfft", lambda x: jnp.fft.rfft(x), _of((2, 6)), MAIN)
    yield Case("irfft", lambda x: jnp.fft.irfft(x), _of((2, 6)), COMPLEX)
    yield Case("rfft2", lambda x: jnp.fft.rfft2(x), _of((2, 6, 4)), MAIN)


def _indexing() -> Iterator[Case]:
    def at(dtype):
        return numbers(dtype, (5, 4)), np.array([[3, 0], [4, 7]], np.int32)

    gathers = {
        "rows": lambda x, i: x[i],
        "filled out of bounds": lambda x, i: x.at[i].get(mode="fill"),
        "clipped": lambda x, i: jnp.take(x, i, axis=0, mode="clip"),
        "negative": lambda x, i: x[-1 - i % 5],
        "elements": lambda x, i: x[i % 5, i % 4],
        "columns": lambda x, i: x[:, i % 4],
        "take_along_axis": lambda x, i: jnp.take_along_axis(x, jnp.argsort(x, axis=0), axis=0),
    }
    for name, function in gathers.items():
        yield Case(f"gather {name}", function, at, (*MOST, "complex64"))
    for name in ("set", "add", "multiply", "min", "max"):

        def update(x, i, n=name):
            return getattr(x.at[i], n)(jnp.ones_like(x[0, 0]) * 2)

        yield Case(f"scatter {name}", update, at, MOST if name == "set" else NUMBERS)
    for name in ("add", "subtract", "multiply"):
        places = np.array([1, 0, 9, 1, -1])
        put = functools.partial(lambda n, i, x, y: getattr(x.at[i], n)(y), name, places)
        yield Case(f"scatter {name} of complex", put, _of((4, 3), (5, 3)), COMPLEX)
    yield Case("scatter elements", lambda x, i: x.at[i % 5, i % 4].add(1), at, NUMBERS)
    yield Case("scatter with drop", lambda x, i: x.at[i].set(1, mode="drop"), at, NUMBERS)

    def starts(dtype):
        return numbers(dtype, (5, 4)), np.int32(9), np.int32(-2)

    def sliced(x, i, j):
        return lax.dynamic_slice(x, (i, j), (2, 3))

    yield Case("dynamic_slice", sliced, starts, (*MOST, "complex64"))
    for shape in ((2, 3), (1, 4), (5, 2)):

        def update(x, i, j, s=shape):
            return lax.dynamic_update_slice(x, jnp.ones(s, x.dtype), (i, j))

        yield Case(f"dynamic_update_slice {shape}", update, starts, (*MOST, "complex64"))


def _control() -> Iterator[Case]:
    def branches(x):
        return lax.cond(x.sum() > 0, lambda y: (y * 2, y.sum()), lambda y: (y, y.max()), x)

    def switch(x):
        which = lax.convert_element_type(jnp.abs(x[0, 0]), jnp.int32)
        return lax.switch(which, [lambda y: y + 1, lambda y: y * 2, lambda y: -y], x)

    def loop(x):
        return lax.while_loop(lambda c: c[1] < 5, lambda c: (c[0] * 2 + x, c[1] + 1), (x, 0))

    def scan(x):
        return lax.scan(lambda c, y: (c + y, c * y), jnp.zeros_like(x[0]), x)

    def nested(x):
        def body(i, c):
            return lax.cond(i % 2 == 0, lambda: c + i, lambda: c * 2)

        return lax.fori_loop(0, 6, body, x)

    def long(x):
        return lax.scan(lambda c, y: (c * 0.5 + y, c), x[0, 0], jnp.tile(x.ravel(), 30))

    def each(x):
        return lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x)

    table = {
        "while of a batch": jax.vmap(each),
        "cond": branches, "switch": switch, "while": loop, "scan": scan, "nested": nested,
        "long scan": long,
    }  # fmt: skip
    for name, function in table.items():
        yield Case(name, function, _of(_A), ("float32", "bfloat16"))
        yield Case(f"{name} negative", lambda x, f=function: f(-x * x), _of(_A), ("float32",))
    yield Case("no iterations", lambda x: lax.fori_loop(0, x.astype(int)[0, 0] - 9,
               lambda i, c: c + 1, x), _of(_A), ("float32",))  # fmt: skip


def _conv(dims: str, x: tuple[int, ...], k: tuple[int, ...], name: str = "", **params: Any) -> Case:
    numbers_ = dims.split(",")
    params = {"window_strides": (1,) * (len(x) - 2), "padding": "SAME"} | params
    function = functools.partial(
        lax.conv_general_dilated, dimension_numbers=tuple(numbers_), **params
    )
    return Case(f"conv {dims} {name}", function, _of(x, k), ("float32", "float16", "bfloat16"))


_TO32 = {"preferred_element_type": np.int32}
#: Convolutions of integers over their whole range: their products wrap around as XLA's do.
_WHOLE_CONVOLUTIONS: tuple[tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]], ...] = (
    ("2D", (2, 4, 7, 6), (6, 4, 2, 3), {"padding": [(1, 2), (0, 3)], "window_strides": (2, 1)}),
    ("dilated", (1, 2, 9, 8), (3, 2, 3, 1), {"rhs_dilation": (2, 3), "lhs_dilation": (1, 2),
                                            "padding": [(0, 1), (2, 0)], **_TO32}),
    ("depthwise", (1, 6, 7, 3), (2, 2, 1, 6), {
        "feature_group_count": 3, "dimension_numbers": ("NHWC", "HWIO", "NHWC"), **_TO32
    }),
    ("1D", (2, 3, 9), (4, 3, 3), {"window_strides": (2,), **_TO32}),
    ("3D", (1, 2, 4, 5, 6), (3, 2, 2, 1, 2), {"window_strides": (1, 2, 1)}),
)  # fmt: skip


def _nn() -> Iterator[Case]:
    nchw, nhwc = "NCHW,OIHW,NCHW", "NHWC,HWIO,NHWC"
    image, kernel = (2, 4, 9, 8), (6, 4, 3, 3)
    yield _conv(nchw, image, kernel)
    yield _conv(nchw, image, kernel, "strides", window_strides=(2, 1), padding="VALID")
    yield _conv(nchw, image, kernel, "padding", padding=[(1, 2), (0, 3)])
    yield _conv(nchw, image, kernel, "dilation", rhs_dilation=(2, 3))
    yield _conv(nchw, image, (8, 1, 3, 3), "groups", feature_group_count=4)
    yield _conv(nchw, image, (8, 2, 3, 3), "2 groups", feature_group_count=2)
    yield _conv(nhwc, (2, 9, 8, 4), (3, 3, 4, 6))
    yield _conv(nhwc, (2, 9, 8, 4), (3, 3, 4, 6), "transposed", lhs_dilation=(2, 2),
                padding=[(1, 2), (1, 2)])  # fmt: skip
    yield _conv(nhwc, (2, 9, 8, 4), (3, 3, 4, 6), "cropped", padding=[(-1, 0), (2, -2)])
    yield _conv("NHC,HIO,NHC", (2, 9, 4), (3, 4, 6), "1D")
    yield _conv("NDHWC,DHWIO,NDHWC", (2, 5, 6, 7, 3), (3, 3, 2, 3, 4), "3D")
    for name, x, k, params in _WHOLE_CONVOLUTIONS:
        params = {"window_strides": (1, 1), "padding": "SAME"} | params
        function = functools.partial(lax.conv_general_dilated, **params)
        yield Case(f"whole conv {name}", function, _wide(x, k), ("int8", "int16"))
    yield Case("conv of float64", lambda x, k: lax.conv(x, k, (2, 1), "SAME"),
               _of(image, kernel), ("float64",))  # fmt: skip
    yield Case("conv_transpose", lambda x, k: lax.conv_transpose(x, k, (2, 2), "SAME"),
               _of((2, 5, 6, 3), (3, 3, 3, 4)), ("float32",))  # fmt: skip
    pools = {
        "max": (lax.max, -jnp.inf), "min": (lax.min, jnp.inf), "sum": (lax.add, 0.0),
    }  # fmt: skip
    for name, (operation, start) in pools.items():
        for padding in ("VALID", "SAME"):

            def pooled(x, o=operation, s=start, p=padding):
                return lax.reduce_window(x, s, o, (1, 3, 2, 1), (1, 2, 2, 1), p)

            # XLA adds float16 step by step: without cancellation it is right.
            dtypes = ("float32", "float16", "float64")
            yield Case(f"{name} pool {padding}", pooled, _of((2, 7, 8, 3), low=0), dtypes)
    yield Case("1D max pool", lambda x: lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 1),
               (1, 2, 1), "SAME"), _of((2, 7, 3)), ("float32",))  # fmt: skip
    yield Case("max pool of ints", lambda x: lax.reduce_window(x, jnp.iinfo(x.dtype).min, lax.max,
               (2, 2), (1, 1), "VALID"), _of((5, 5)), ("int32",))  # fmt: skip
    for function in (jax.nn.softmax, jax.nn.log_softmax, jax.nn.gelu, jax.nn.silu, jax.nn.relu,
                     jax.nn.sigmoid, jax.nn.softplus, jax.nn.elu, jax.nn.selu, jax.nn.leaky_relu,
                     jax.nn.hard_swish, jax.nn.relu6, jax.nn.mish):  # fmt: skip
        yield Case(function.__name__, function, _of(_A), ("float32", "float16", "bfloat16"))
    yield Case("exact gelu", lambda x: jax.nn.gelu(x, approximate=False), _of(_A), ("float32",))
    yield Case("one_hot", lambda x: jax.nn.one_hot(x, 5), _of(_A), ("int32",))
    yield Case("attention", jax.nn.dot_product_attention, _of(*[(2, 6, 3, 4)] * 3),
               ("float32", "bfloat16"))  # fmt: skip


def _random() -> Iterator[Case]:
    def key(dtype):
        return (np.array([3, 7], np.uint32),)

    draws = {
        "uniform": lambda k: jax.random.uniform(k, (3, 5)),
        "normal": lambda k: jax.random.normal(k, (3, 5)),
        "bits": lambda k: jax.random.bits(k, (3, 5)),
        "randint": lambda k: jax.random.randint(k, (3, 5), -4, 9),
        "split": lambda k: jax.random.key_data(jax.random.split(k, 3)),
        "fold_in": lambda k: jax.random.key_data(jax.random.fold_in(k, 5)),
        "bernoulli": lambda k: jax.random.bernoulli(k, 0.3, (3, 5)),
        "threefry": lambda k: lax.rng_bit_generator(
            jnp.tile(jax.random.key_data(k), 2), (3, 5), algorithm=lax.RandomAlgorithm.RNG_THREE_FRY
        ),
        "permutation": lambda k: jax.random.permutation(k, 9),
    }
    for name, function in draws.items():

        def drawn(data, f=function):
            return f(jax.random.wrap_key_data(data))

        yield Case(f"random {name}", drawn, key, ("uint32",))


def _special() -> Iterator[Case]:
    """Special values: with ``exact`` as in JAX."""
    odd = np.array([[1, np.nan, -2, np.inf], [np.inf, 3, -np.inf, 0], [1, 5, 2, 5]])

    def args(dtype):
        return (odd.astype(dtype), odd[::-1].astype(dtype))

    dtypes = ("float32", "float64")
    functions = {
        "max": lax.max, "min": lax.min, "sign": lambda x, y: lax.sign(x),
        "reduce_max": lambda x, y: jnp.max(x, 1), "reduce_min": lambda x, y: jnp.min(x, 0),
        "argmax": lambda x, y: jnp.argmax(x, 1), "argmin": lambda x, y: jnp.argmin(x, 1),
        "clamp": lambda x, y: jnp.clip(x, -1, 1), "relu": lambda x, y: jax.nn.relu(x),
        "sort": lambda x, y: jnp.sort(x, 1), "select": lambda x, y: jnp.where(x > y, x, y),
    }  # fmt: skip
    for name, function in functions.items():
        yield Case(f"exact {name}", function, args, dtypes, True)
    for to in INTS:
        yield Case(f"saturating {to}", lambda x, to=to: x.astype(to), _beyond,
                   ("float32", "float64", "float16", "bfloat16"))  # fmt: skip

    def singular(dtype):
        return (np.array([[0, 2, 1], [0, 4, 3], [0, 8, 5]]).astype(dtype),)

    yield Case("exact lu", lambda x: tuple(lax.linalg.lu(x)), singular, dtypes, True)
    yield Case("exact determinant", jnp.linalg.det, singular, dtypes, True)

    def zeros(dtype):
        info = np.iinfo(dtype)
        x = np.array([7, -7, 0, info.max, info.min, info.min, 5]).astype(dtype)
        return x, np.array([0, 2, 0, 0, 0, -1, -1]).astype(dtype)

    for function in (lax.div, lax.rem, jnp.floor_divide, jnp.mod):
        yield Case(f"{function.__name__} by 0", function, zeros, INTS)
        for dtype in ("int64", "uint64"):
            yield Case(f"long {function.__name__}", function, _of_all_lengths, (dtype,))


def _beyond(dtype):
    """Floats around the ends of each integer's range, and beyond."""
    ends = [2.0**bits for bits in (7, 8, 15, 16, 31, 32, 63, 64)]
    near = [end * (1 + step) for end in ends for step in (-(2**-52), -(2**-23), 0, 2**-10)]
    x = np.array([*near, 0.5, 3.7, 65504, np.inf])
    with np.errstate(over="ignore"):
        return (np.array([*x, *-x, np.nan]).astype(dtype_of(dtype)),)


GROUPS = (
    _unary, _binary, _casts, _shapes, _reductions, _products, _linalg, _indexing, _control, _nn,
    _random, _special,
)  # fmt: skip


def cases() -> Iterator[tuple[str, Case, str]]:
    """``(id, case, dtype)`` of all."""
    for group in GROUPS:
        for case in group():
            for dtype in case.dtypes:
                yield f"{group.__name__[1:]}: {case.name} [{dtype}]", case, dtype


def dtype_of(name: str) -> np.dtype:
    return np.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
