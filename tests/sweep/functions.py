"""The functions, their references in float64, and the numbers at which they are tried."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from scipy import special


class Function(NamedTuple):
    """``jax`` is what is exported, ``reference`` computes it in float64, or better."""

    jax: Callable[..., Any]
    reference: Callable[[np.ndarray], np.ndarray]
    small: bool = True  # JAX has it for floats of 16 bits


def _each(function: Callable[[float], float]) -> Callable[[np.ndarray], np.ndarray]:
    return np.vectorize(function, otypes=[np.float64])


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.where(x < 0, np.exp(np.minimum(x, 0)), 1) / (1 + np.exp(-np.abs(x)))


def _elu(x: np.ndarray) -> np.ndarray:
    return np.where(x > 0, x, np.expm1(np.minimum(x, 0)))


def _tanh_gelu(x: np.ndarray) -> np.ndarray:
    return x * _sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


#: SciPy's erfc rounds x² before it takes the exponential.
_erfc = _each(math.erfc)


def _ndtr(x: np.ndarray) -> np.ndarray:
    return 0.5 * _erfc(-x * np.sqrt(0.5))


def _lgamma(x: np.ndarray) -> np.ndarray:
    """SciPy's is infinite for the smallest numbers."""
    near = -np.log(np.maximum(np.abs(x), 5e-324))
    return np.where((np.abs(x) < 1e-300) & (x != 0), near, special.gammaln(x))


_NORM = jax.scipy.stats.norm
FUNCTIONS = {
    "acos": Function(jnp.arccos, np.arccos),
    "acosh": Function(jnp.arccosh, np.arccosh),
    "asin": Function(jnp.arcsin, np.arcsin),
    "asinh": Function(jnp.arcsinh, np.arcsinh),
    "atan": Function(jnp.arctan, np.arctan),
    "atanh": Function(jnp.arctanh, np.arctanh),
    "cbrt": Function(jnp.cbrt, np.cbrt),
    "celu": Function(jax.nn.celu, _elu),
    "cos": Function(jnp.cos, np.cos),
    "cosh": Function(jnp.cosh, np.cosh),
    "digamma": Function(lax.digamma, special.digamma),
    "elu": Function(jax.nn.elu, _elu),
    "entr": Function(jax.scipy.special.entr, special.entr, False),
    "erf": Function(lax.erf, _each(math.erf)),
    "erf_inv": Function(lax.erf_inv, special.erfinv),
    "erfc": Function(lax.erfc, _erfc),
    "exp": Function(jnp.exp, np.exp),
    "exp2": Function(jnp.exp2, np.exp2),
    "expm1": Function(jnp.expm1, np.expm1),
    "gelu": Function(lambda x: jax.nn.gelu(x, approximate=False), lambda x: x * _ndtr(x)),
    "gelu (tanh)": Function(jax.nn.gelu, _tanh_gelu),
    "i0e": Function(lax.bessel_i0e, special.i0e),
    "i1e": Function(lax.bessel_i1e, special.i1e),
    "lgamma": Function(lax.lgamma, _lgamma),
    "log": Function(jnp.log, np.log),
    "log10": Function(jnp.log10, np.log10),
    "log1p": Function(jnp.log1p, np.log1p),
    "log2": Function(jnp.log2, np.log2),
    "log_ndtr": Function(jax.scipy.special.log_ndtr, special.log_ndtr, False),
    "log_sigmoid": Function(jax.nn.log_sigmoid, lambda x: -_softplus(-x)),
    "logaddexp": Function(lambda x: jnp.logaddexp(x, 0), _softplus),
    "logit": Function(jax.scipy.special.logit, special.logit, False),
    "mish": Function(jax.nn.mish, lambda x: x * np.tanh(_softplus(x))),
    "ndtr": Function(jax.scipy.special.ndtr, _ndtr, False),
    "norm.logcdf": Function(_NORM.logcdf, special.log_ndtr, False),
    "norm.logsf": Function(_NORM.logsf, lambda x: special.log_ndtr(-x), False),
    "reciprocal": Function(lambda x: 1 / x, lambda x: 1 / x),
    "rsqrt": Function(lax.rsqrt, lambda x: 1 / np.sqrt(x)),
    "sigmoid": Function(jax.nn.sigmoid, _sigmoid),
    "silu": Function(jax.nn.silu, lambda x: x * _sigmoid(x)),
    "sin": Function(jnp.sin, np.sin),
    "sinc": Function(jnp.sinc, np.sinc),
    "sinh": Function(jnp.sinh, np.sinh),
    "softplus": Function(jax.nn.softplus, _softplus),
    "softsign": Function(jax.nn.soft_sign, lambda x: x / (1 + np.abs(x))),
    "sqrt": Function(jnp.sqrt, np.sqrt),
    "square": Function(jnp.square, np.square),
    "tan": Function(jnp.tan, np.tan),
    "tanh": Function(jnp.tanh, np.tanh),
    "xlog1py": Function(lambda x: jax.scipy.special.xlog1py(1.0, x), np.log1p, False),
}


def places(dtype: Any, count: int) -> np.ndarray:
    """Numbers of both signs over all exponents, subnormal ones too, and the edges of branches."""
    info = jnp.finfo(dtype)
    lowest = max(float(info.smallest_subnormal), 1e-320)
    far = np.logspace(np.log10(lowest), np.log10(float(info.max)) * 0.999, count)
    steps = 2.0 ** -np.arange(2, info.nmant + 1)
    near = [np.linspace(0, 30, count), 1 - steps, 1 + steps]
    with np.errstate(all="ignore"):
        positive = np.concatenate([[0, np.inf], far, *near]).astype(dtype)
    return np.concatenate([positive, -positive])
