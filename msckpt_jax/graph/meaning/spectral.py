"""Cosine transforms, further Fourier transforms, and windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.meaning.arrays import ints
from msckpt_jax.graph.meaning.linear import NORMS


def _wide(x: Any) -> Any:
    return x if jnp.issubdtype(x.dtype, jnp.inexact) else x.astype(jnp.float32)


def _cosines(n: int) -> np.ndarray:
    """The orthogonal matrix of the cosine transform of type 2; its transpose is the inverse."""
    k = np.arange(n)
    scale = np.where(k == 0, np.sqrt(1 / n), np.sqrt(2 / n))
    return np.cos(np.pi * np.outer(k, 2 * k + 1) / (2 * n)) * scale[:, None]


def _cosine(inverse: bool) -> Callable[..., Any]:
    def run(x: Any, type: int = 2, n: Any = None, axis: int = -1, norm: Any = None) -> Any:
        if type != 2 or NORMS[norm] not in (None, "ortho"):  # MindSpore's None is "ortho", too
            raise MindIRError(f"a cosine transform of type {type}, norm {norm}: only 2 and ortho")
        x = _wide(x)
        size = x.shape[axis] if n is None else int(n)
        moved = _sized(jnp.moveaxis(x, axis, -1), size)
        matrix = _cosines(size).T if inverse else _cosines(size)
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


def _points(length: Any, periodic: bool) -> np.ndarray:
    """The places of a window's points in its period, which is a point longer if ``periodic``."""
    n = ints(length)[0]
    return np.arange(n) / (n if periodic else max(n - 1, 1))


def _window(fn: Callable[..., Any]) -> Callable[..., Any]:
    def run(
        length: Any, *, periodic: bool = True, max_length: int = 0, dtype: Any = np.float32
    ) -> Any:
        points = _points(length, periodic)
        return jnp.asarray(fn(points) if len(points) > 1 else np.ones(len(points)), dtype)

    return run


#: The numbers that HammingWindow's attribute has for dtypes.
_GE_DTYPES = {0: np.float32, 1: np.float16, 11: np.float64}


def _hamming(
    length: Any, *, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46,
    dtype: Any = 0,
) -> Any:  # fmt: skip
    points, dtype = _points(length, periodic), _GE_DTYPES.get(dtype, dtype)
    values = alpha - beta * np.cos(2 * np.pi * points)
    return jnp.asarray(values if len(points) > 1 else np.ones(len(points)), dtype)


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
    mode: Any = _OVERLAPS.get(pad_mode, pad_mode)
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
    "HammingWindow": _hamming,
    "STFT": _stft,
    "Correlate": _correlate,
}
