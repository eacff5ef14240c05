"""Complex numbers in ONNX: pairs of real ones, along a last axis of 2 at the file's ends."""

from __future__ import annotations

from collections.abc import Callable
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

_RNG = np.random.default_rng(0)


def _numbers(*shape: int) -> Any:
    parts = _RNG.standard_normal((2, *shape)).astype(np.float32)
    return parts[0] + 1j * parts[1]


Z = np.concatenate([_numbers(6), [0, 1, -2, 3j, -3j, 1e-3 - 20j]]).astype(np.complex64)


#: Without the poles of atanh, and on both sides of the cuts.
CUTS = np.append(np.where(Z == 1, 0.5, Z), [2, -2, 2 - 1e-6j, -2 - 1e-6j, 5j]).astype(np.complex64)


def _rotated(z: jax.Array) -> jax.Array:
    """A loop and a branch that carry complex numbers."""
    turned = lax.fori_loop(0, 3, lambda i, z: z * (0.5 + 1j) + i, z)
    return lax.cond(jnp.abs(turned[0]) > 1, jnp.conj, lambda z: z, turned)


FUNCTIONS: dict[str, tuple[Callable[..., Any], np.ndarray]] = {
    "arithmetic": (lambda z: [z * z[::-1], z - 2, -z, z / (z[::-1] + 9), z**3, z == z[::-1]], Z),
    "parts": (lambda z: [z.real, z.imag, jnp.abs(z), jnp.angle(z), jnp.conj(z)], Z),
    "exponential": (lambda z: [jnp.exp(z / 9), jnp.log(z + 0.1), jnp.sqrt(z), z**0.3], Z),
    "angles": (lambda z: [f(z / 9) for f in (jnp.sin, jnp.cos, jnp.tan)], Z),
    "hyperbolic": (lambda z: [f(z / 9) for f in (jnp.sinh, jnp.cosh, jnp.tanh)], Z),
    "inverses": (lambda z: [f(z) for f in (jnp.arcsin, jnp.arccos, jnp.arctan)], CUTS),
    "hyperbolic inverses": (
        lambda z: [f(z) for f in (jnp.arcsinh, jnp.arccosh, jnp.arctanh)],
        CUTS,
    ),
    "powers of 2": (lambda z: jnp.exp2(z / 2), Z),
    "near 1": (lambda z: [jnp.expm1(z / 9), jnp.log1p(z), jax.nn.sigmoid(z / 9)], Z),
    "near 0": (lambda z: [f(z * 1e-6) * 1e6 for f in (jnp.expm1, jnp.log1p, jnp.arcsinh)], Z),
    "running products": (lambda z: [jnp.cumprod(z), jnp.prod(z.reshape(3, 4), 1)], Z),
    "the same bits": (lambda z: lax.bitcast_convert_type(z, z.dtype), Z),
    "places": (lambda z: [z.at[2].set(1j), z[jnp.array([1, 5])], jnp.sum(z), jnp.cumsum(z)], Z),
    "a number": (lambda z: [z * 2j, z.real, jnp.stack([z, z])], np.asarray(Z[0])),
    "products": (lambda z: [z @ z.T, jnp.einsum("ij,kj->ik", z, z.conj())], _numbers(3, 4)),
    "control flow": (_rotated, Z),
    "fft": (jnp.fft.fft, _numbers(2, 12)),
    "fft, in two steps": (jnp.fft.ifft, _numbers(96)),
    "fft, in three": (jnp.fft.fft, _numbers(8192)),
    "fft of a prime": (jnp.fft.fft, _numbers(101)),
    "fft2": (jnp.fft.fft2, _numbers(2, 6, 5)),
    "rfft": (jnp.fft.rfft, _numbers(2, 9).real),
    "rfft2 and back": (lambda x: jnp.fft.irfft2(jnp.fft.rfft2(x) * 2), _numbers(6, 8).real),
    "irfft": (lambda z: [jnp.fft.irfft(z), jnp.fft.irfft(z, 9)], _numbers(2, 5)),
    "cholesky": (lambda z: jnp.linalg.cholesky(z @ z.conj().T + jnp.eye(4)), _numbers(4, 4)),
    "solve": (lambda z: jnp.linalg.solve(z, z[:, :2]), _numbers(4, 4)),
}


@pytest.mark.parametrize(("function", "z"), FUNCTIONS.values(), ids=FUNCTIONS)
def test_numbers(function: Callable[..., Any], z: np.ndarray, tmp_path: Path) -> None:
    x = jnp.asarray(z)
    out = ms.export(function, x, file_name=tmp_path / "a", file_format="ONNX", engine="native")
    onnx.checker.check_model(str(out.file), full_check=True)
    found = runner.session(out.file)(z)
    for got, want in zip(found, jax.tree.leaves(function(x)), strict=True):
        want = np.asarray(want)
        if want.dtype.kind == "c":
            got = got[..., 0] + 1j * got[..., 1]
        scale = np.abs(want).max()
        np.testing.assert_allclose(got, want, 1e-4, 1e-5 * scale)


def test_verified(tmp_path: Path) -> None:
    z = _numbers(3).astype(np.complex64)
    net = (lambda weights, x: x * weights["w"], {"w": z})
    out = ms.export(net, z, file_name=tmp_path / "a", file_format="ONNX", verify=True)
    assert out.difference is not None
    assert out.difference < 1e-5
    (weight,) = [t for t in onnx.load(out.file).graph.initializer if t.name == "w"]
    assert list(weight.dims) == [3, 2]
    assert weight.raw_data == z.tobytes()


def test_what_has_no_rule_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"test_complex.*scatter-max: it has no rewrite for complex"
    ):
        ms.export(
            lambda z: z.at[0].max(z[1]),
            Z,
            file_name=tmp_path / "a",
            file_format="ONNX",
            engine="native",
        )
    assert not list(tmp_path.iterdir())
