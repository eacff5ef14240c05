"""Cosine transforms, further Fourier transforms, and windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning.linear import NORMS


def _wide(x: Any) -> Any:
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def _cosines(n: int, kind: int, norm: str | None) -> np.ndarray:
    """The matrix of a cosine transform of type 2 or 3, as SciPy scales it."""
    k = np.arange(n)
    forward = 2 * np.cos(np.pi * np.outer(k, 2 * k + 1) / (2 * n))
    if norm == "ortho":
        forward = forward * np.where(k == 0, np.sqrt(1 / (4 * n)), np.sqrt(1 / (2 * n)))[:, None]
        return forward if kind == 2 else forward.T
    if kind == 2:
        return forward / (2 * n if norm == "forward" else 1)
    backward = forward.T * np.where(k == 0, 0.5, 1)
    return backward / (2 * n if norm == "forward" else 1)


_INVERSE = {None: "forward", "backward": "forward", "forward": "backward", "ortho": "ortho"}


def _cosine(inverse: bool) -> Callable[..., Any]:
    def run(x: Any, type: int = 2, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
        if type != 2:
            raise MindIRError(f"a cosine transform of type {type}: only type 2 is supported")
        x, scale = _wide(x), NORMS[norm]
        size = x.shape[axis] if n is None else int(n)
        moved = _sized(jnp.moveaxis(x, axis, -1), size)
        matrix = _cosines(size, 3 if inverse else 2, _INVERSE[scale] if inverse else scale)
        return jnp.moveaxis(moved @ jnp.asarray(matrix, x.dtype).T, -1, axis)

    return run


def _sized(x: Any, size: int) -> Any:
    """Cut the last axis, or fill it up with zeros."""
    short = size - x.shape[-1]
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, short)]) if short > 0 else x[..., :size]


def _cosine_n(inverse: bool) -> Callable[..., Any]:
    one = _cosine(inverse)

    def run(x: Any, type: int = 2, s: Any = None, axes: Any = None, norm: Any = None) -> Any:
        if axes is None:
            axes = tuple(range(-len(s), 0)) if s is not None else tuple(range(x.ndim))
        sizes = [None] * len(axes) if s is None else s
        for axis, size in zip(axes, sizes, strict=True):
            x = one(x, type, size, axis, norm)
        return x

    return run


def _axes(x: Any, s: Any, dim: Any) -> tuple[int, ...]:
    if dim is not None:
        return tuple(dim)
    return tuple(range(-len(s), 0)) if s is not None else tuple(range(x.ndim))


def _hermitian(inverse: bool, last: int | None = None) -> Callable[..., Any]:
    """The transform to real numbers of an array that is Hermitian, or its inverse."""

    def run(x: Any, s: Any = None, dim: Any = None, norm: Any = None) -> Any:
        axes = _axes(x, s, tuple(range(-last, 0)) if dim is None and last else dim)
        scale = NORMS[norm] or "backward"
        sizes = [None] * len(axes) if s is None else [*s]
        if inverse:
            out = jnp.fft.ihfft(_wide(x), sizes[-1], axes[-1], scale)
            for axis, size in zip(axes[:-1], sizes[:-1], strict=True):
                out = jnp.fft.ifft(out, size, axis, scale)
            return out
        for axis, size in zip(axes[:-1], sizes[:-1], strict=True):
            x = jnp.fft.fft(x, size, axis, scale)
        return jnp.fft.hfft(x, sizes[-1], axes[-1], scale)

    return run


def _with_size(
    x: Any, signal_ndim: int, inverse: bool, real: bool, norm: Any = 0, onesided: bool = True,
    signal_sizes: Any = (),
) -> Any:  # fmt: skip
    axes, scale = tuple(range(-signal_ndim, 0)), NORMS[norm]
    if not real:
        return (jnp.fft.ifftn if inverse else jnp.fft.fftn)(x, axes=axes, norm=scale)
    if not inverse:
        return (jnp.fft.rfftn if onesided else jnp.fft.fftn)(x, axes=axes, norm=scale)
    if not onesided:
        return jnp.real(jnp.fft.ifftn(x, axes=axes, norm=scale))
    return jnp.fft.irfftn(x, s=tuple(signal_sizes) or None, axes=axes, norm=scale)


def _frequencies(fn: Callable[..., Any]) -> Callable[..., Any]:
    return lambda n, d=1.0, dtype=None: fn(int(n), d).astype(dtype or jnp.float32)


def _window(fn: Callable[..., Any]) -> Callable[..., Any]:
    """A window of a length; a periodic one is a longer one without its last point."""

    def run(length: Any, *, periodic: bool = True, dtype: Any = np.float32, **shape: Any) -> Any:
        n = int(length)
        if n <= 1:
            return jnp.ones(n, dtype)
        points = np.arange(n) / (n if periodic else n - 1)
        return jnp.asarray(fn(points, **shape), dtype)

    return run


def _hamming(t: np.ndarray, alpha: float = 0.54, beta: float = 0.46) -> np.ndarray:
    return alpha - beta * np.cos(2 * np.pi * t)


def _blackman(t: np.ndarray) -> np.ndarray:
    return 0.42 - 0.5 * np.cos(2 * np.pi * t) + 0.08 * np.cos(4 * np.pi * t)


def _stft(
    x: Any, window: Any, *, n_fft: int, hop_length: int, win_length: int, normalized: bool,
    onesided: bool, return_complex: bool,
) -> Any:  # fmt: skip
    """Transforms of windows of a signal: [..., frequencies, frames], complex or pairs."""
    left = (n_fft - win_length) // 2
    window = jnp.pad(window, (left, n_fft - win_length - left))
    starts = np.arange((x.shape[-1] - n_fft) // hop_length + 1) * hop_length
    frames = x[..., starts[:, None] + np.arange(n_fft)] * window
    whole = jnp.iscomplexobj(frames) or not onesided
    out = (jnp.fft.fft if whole else jnp.fft.rfft)(frames, norm="ortho" if normalized else None)
    out = jnp.swapaxes(out, -1, -2)
    return out if return_complex else jnp.stack([out.real, out.imag], -1)


#: The numbers of MindSpore's PadMode for Correlate.
_OVERLAPS = {1: "same", 2: "valid", 3: "full"}


def _correlate(x: Any, y: Any, pad_mode: Any = 2) -> Any:
    mode = _OVERLAPS.get(pad_mode, pad_mode)
    dtype = jnp.result_type(x.dtype, y.dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        dtype = jnp.dtype(jnp.float64 if jax.config.read("jax_enable_x64") else jnp.float32)
        dtype = jnp.dtype(jnp.float32) if x.dtype.itemsize < 8 else dtype
    return jnp.correlate(x.astype(dtype), y.astype(dtype), mode)


TABLE: dict[str, Callable[..., Any]] = {
    "DCT": _cosine(False),
    "IDCT": _cosine(True),
    "DCTN": _cosine_n(False),
    "IDCTN": _cosine_n(True),
    "HFFT2": _hermitian(False, 2),
    "HFFTN": _hermitian(False),
    "IHFFT2": _hermitian(True, 2),
    "IHFFTN": _hermitian(True),
    "FFTWithSize": _with_size,
    "FFTFreq": _frequencies(jnp.fft.fftfreq),
    "RFFTFreq": _frequencies(jnp.fft.rfftfreq),
    "BartlettWindow": _window(lambda t: 1 - np.abs(2 * t - 1)),
    "BlackmanWindow": _window(_blackman),
    "HammingWindow": _window(_hamming),
    "STFT": _stft,
    "Correlate": _correlate,
}
