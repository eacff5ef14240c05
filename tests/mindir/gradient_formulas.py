"""Gradient operators that MindSpore's CPU has no kernel of: what each is the gradient of.

A row has the arrays that the gradients are of, the forward function of these, and a call of the
gradient operator with ``dout`` and the arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.graph import meaning

T = meaning.table()


class Formula(NamedTuple):
    """A case: ``gradients(dout, *arrays)`` are those of ``forward`` at arrays of these shapes."""

    shapes: Sequence[tuple[int, ...]]
    forward: Callable[..., Any]
    gradients: Callable[..., Any]
    low: float = -2
    high: float = 2


_A, _IMAGE, _SPACE = (3, 4), (2, 3, 6, 8), (2, 3, 5, 6, 4)
_IDS = np.array([[0, 3, 3], [2, 3, 0]])
_LABELS = np.array([[[0, 2], [1, 1]], [[2, 2], [0, 1]]])


def _unary(op: str, forward: str, *rest: Any, **range_: float) -> Formula:
    return Formula([_A], lambda x: first(T[forward](x, *rest)),
                   lambda d, x: T[op](d, x, *rest), **range_)  # fmt: skip


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def _pair(op: str, forward: str, *rest: Any, first_dout: bool = True, **range_: float) -> Formula:
    target = np.random.default_rng(1).uniform(0.1, 0.9, _A)

    def call(d: Any, x: Any) -> Any:
        return T[op](d, x, target, *rest) if first_dout else T[op](x, target, d, *rest)

    return Formula([_A], lambda x: T[forward](x, target, *rest), call, **range_)


def _pool(op: str, forward: str, rank: int, *rest: Any) -> Formula:
    shape = (*_SPACE[:2], *_SPACE[2 : 2 + rank])
    return Formula([shape], lambda x: T[forward](x, *rest), lambda d, x: T[op](d, x, *rest))


def _resize(kind: str, rank: int, *rest: Any) -> Formula:
    shape, size = (*_SPACE[:2], *_SPACE[2 : 2 + rank]), (7, 4, 5)[:rank]
    return Formula(
        [shape],
        lambda x: T[f"Upsample{kind}"](x, size, None, *rest),
        lambda d, x: T[f"Upsample{kind}Grad"](d, shape, size, None, *rest),
    )


def _moments(x: Any, axes: Any) -> tuple[Any, Any]:
    mean, variance = jnp.mean(x, axes, keepdims=True), jnp.var(x, axes, keepdims=True)
    return mean, 1 / jnp.sqrt(variance + 1e-5)


def _norm(x: Any, axes: Any) -> Any:
    mean, factor = _moments(x, axes)
    return (x - mean) * factor


def _batch_norm(training: bool) -> Formula:
    mean, variance = np.array([0.1, -0.2, 0.3]), np.array([0.5, 1.5, 2.0])
    axes = (0, 2, 3)

    def forward(x: Any, w: Any, b: Any) -> Any:
        wide = (1, 3, 1, 1)
        fixed = (x - mean.reshape(wide)) / jnp.sqrt(variance.reshape(wide) + 1e-5)
        unit = _norm(x, axes) if training else fixed
        return unit * jnp.reshape(w, wide) + jnp.reshape(b, wide)

    def call(d: Any, x: Any, w: Any, b: Any) -> Any:
        saved = [jnp.ravel(v) for v in _moments(x, axes)]
        return T["BatchNormGradExt"](d, x, w, mean, variance, *saved, training, 1e-5, (1, 1, 1))

    return Formula([_IMAGE, (3,), (3,)], forward, call)


def _convolution(x: Any, w: Any, b: Any) -> Any:
    return T["Convolution"](x, w, b, (2, 1), (1, 0), (1, 2), False, (0, 0), 1)


def _lstm(x: Any, h: Any, c: Any, w: Any) -> Any:
    return T["LSTM"](x, h, c, w, input_size=3, hidden_size=2)


def _lstm_gradients(d: Any, x: Any, h: Any, c: Any, w: Any) -> Any:
    y, last_h, last_c, *_ = _lstm(x, h, c, w)
    zeros = jnp.zeros_like(last_h)
    return T["LSTMGrad"](x, h, c, w, y, last_h, last_c, d, zeros, zeros, None, input_size=3,
                         hidden_size=2)  # fmt: skip


_DILATION: Any = {"stride": (1, 1, 2, 1), "dilation": (1, 1, 1, 2), "pad_mode": "VALID"}
_DILATED = Formula(
    [_IMAGE, (3, 3, 2)],
    lambda x, k: T["Dilation2D"](x, k, **_DILATION),
    lambda d, x, k: tuple(
        T[f"Dilation2DBackprop{kind}"](x, k, d, **_DILATION) for kind in ("Input", "Filter")
    ),
)
#: Places of eight values among sixteen, in each of two images.
_PLACES = np.array([[3, 0, 7, 9, 15, 2, 8, 4], [1, 2, 3, 4, 12, 10, 9, 0]]).reshape(1, 2, 2, 2, 2)


def _fractional(op: str, forward: str, *rest: Any, **attrs: Any) -> Formula:
    shape = _SPACE if "3D" in op else _IMAGE
    return Formula(
        [shape],
        lambda x: T[forward](x, *rest, **attrs)[0],
        lambda d, x: T[op](x, d, T[forward](x, *rest, **attrs)[1], data_format="NCHW"),
    )


FORMULAS: dict[str, Formula] = {
    **{
        f"AdaptiveAvgPool{n}DGradExt": _pool(
            f"AdaptiveAvgPool{n}DGradExt", f"AdaptiveAvgPool{n}DExt", n, (3, 4, 2)[:n]
        )
        for n in (2, 3)
    },
    "AddLayerNormGrad": Formula(
        [_A, _A, (4,), (4,)],
        lambda x, y, g, b: _norm(x + y, 1) * g + b,
        lambda d, x, y, g, b: (lambda dx, dg, db: (dx, dx, dg, db))(
            *T["AddLayerNormGrad"](d, x, y, *_moments(x + y, 1)[::-1], g)
        ),
    ),
    "AvgPool2DGrad": _pool(
        "AvgPool2DGrad", "AvgPool2D", 2, (3, 2), (2, 2), (1, 0), True, False, None
    ),
    "AvgPool3DGradExt": _pool(
        "AvgPool3DGradExt", "AvgPool3DExt", 3, (3, 2, 2), (2, 2, 1), (1, 0, 1), False, True, 3
    ),
    "BatchNormGradExt": _batch_norm(True),
    "BinaryCrossEntropyWithLogitsBackward": _pair(
        "BinaryCrossEntropyWithLogitsBackward", "BCEWithLogitsLoss", None, None, 1
    ),
    "CholeskyGrad": Formula(
        [(3, 3)],
        lambda x: jnp.linalg.cholesky((x + x.T) / 2 + 9 * jnp.eye(3)),
        lambda d, x: T["CholeskyGrad"](jnp.linalg.cholesky((x + x.T) / 2 + 9 * jnp.eye(3)), d),
    ),
    "ConvolutionGrad": Formula(
        [_IMAGE, (4, 3, 3, 2), (4,)],
        _convolution,
        lambda d, x, w, b: T["ConvolutionGrad"](
            d, x, w, b, (2, 1), (1, 0), (1, 2), False, (0, 0), 1, (1, 1, 1)
        ),
    ),
    "Col2ImGrad": Formula(
        [(2, 18, 6)],
        lambda x: T["Col2ImExt"](x, (6, 5), (3, 2), (1, 2), (1, 0), (2, 2)),
        lambda d, x: T["Col2ImGrad"](d, (3, 2), (1, 2), (1, 0), (2, 2)),
    ),
    **{f"Dilation2DBackprop{kind}": _DILATED for kind in ("Input", "Filter")},
    "FractionalMaxPoolGradWithFixedKsize": _fractional(
        "FractionalMaxPoolGradWithFixedKsize", "MaxPoolWithIndices", (3, 2), (2, 2), (1, 0)
    ),
    "FractionalMaxPool3DGradWithFixedKsize": _fractional(
        "FractionalMaxPool3DGradWithFixedKsize", "MaxPool3DWithArgmax", ksize=2, strides=2
    ),
    "MaxUnpool3DGrad": Formula(
        [(1, 2, 2, 2, 2)],
        lambda x: jnp.zeros((1, 2, 16)).at[0, np.arange(2)[:, None], _PLACES.reshape(2, 8)].set(
            jnp.reshape(x, (2, 8))
        ),
        lambda d, x: T["MaxUnpool3DGrad"](x, jnp.reshape(d, (1, 2, 4, 2, 2)), _PLACES),
    ),
    "EluGradExt": _unary("EluGradExt", "EluExt", 0.7),
    "EmbeddingDenseBackward": Formula(
        [(5, 4)],
        lambda w: jnp.where((_IDS == 2)[..., None], 0, w[_IDS]),
        lambda d, w: T["EmbeddingDenseBackward"](d, _IDS, 5, 2, False),
    ),
    "FFTShapeCopy": Formula(
        [(3, 4)], lambda x: x[:2], lambda d, x: T["FFTShapeCopy"](d, (3, 4))
    ),
    "FlattenGrad": Formula(
        [(2, 3, 4)], T["Flatten"], lambda d, x: T["FlattenGrad"](d, np.array((2, 3, 4)))
    ),
    "GeluGradExt": _unary("GeluGradExt", "GeluExt", 0),
    "HardtanhGrad": _unary("HardtanhGrad", "Hardtanh", -0.5, 1),
    "InstanceNormGrad": Formula(
        [_IMAGE, (3,), (3,)],
        lambda x, g, b: _norm(x, (2, 3)) * g[:, None, None] + b[:, None, None],
        lambda d, x, g, b: T["InstanceNormGrad"](
            d, x, g, jnp.mean(x, (2, 3)), jnp.var(x, (2, 3)), epsilon=1e-5
        ),
    ),
    "KLDivGrad": _pair("KLDivGrad", "KLDiv", 1, False),
    "L1LossBackwardExt": _pair("L1LossBackwardExt", "L1LossExt", 1),
    "LayerNormGradExt": Formula(
        [(2, 3, 4), (3, 4), (3, 4)],
        lambda x, g, b: _norm(x, (1, 2)) * g + b,
        lambda d, x, g, b: T["LayerNormGradExt"](
            d, x, (3, 4), *_moments(x, (1, 2)), g, b, (1, 1, 1)
        ),
    ),
    "LayerNormGradV3": Formula(
        [(2, 3, 4), (3, 4), (3, 4)],
        lambda x, g, b: _norm(x, (1, 2)) * g + b,
        lambda d, x, g, b: T["LayerNormGradV3"](x, d, *_moments(x, (1, 2))[::-1], g, 1, 1),
    ),
    "LeakyReLUGradExt": Formula(
        [_A],
        lambda x: T["LeakyReLUExt"](x, 0.3),
        lambda d, x: T["LeakyReLUGradExt"](d, x, 0.3, False),
    ),
    "LogSigmoidGrad": Formula(
        [_A], lambda x: first(T["LogSigmoid"](x)),
        lambda d, x: T["LogSigmoidGrad"](d, x, T["LogSigmoid"](x)[1]),
    ),
    "LSTMGrad": Formula(
        [(4, 2, 3), (1, 2, 2), (1, 2, 2), (48, 1, 1)], lambda *a: _lstm(*a)[0], _lstm_gradients
    ),
    "MSELossGradExt": _pair("MSELossGradExt", "MSELossExt", 1),
    **{
        f"MaxPoolGradWith{kind}": Formula(
            [_IMAGE],
            lambda x, kind=kind: T[f"MaxPoolWith{kind}"](x, (3, 2), (2, 2), (1, 0))[0],
            lambda d, x, kind=kind: T[f"MaxPoolGradWith{kind}"](
                x, d, T[f"MaxPoolWith{kind}"](x, (3, 2), (2, 2), (1, 0))[1], (3, 2), (2, 2), (1, 0),
                (1, 1), False, 3,
            ),
        )
        for kind in ("Mask", "Indices")
    },
    "MishGradExt": _unary("MishGradExt", "MishExt"),
    "NLLLoss2dGrad": Formula(
        [(2, 3, 2, 2)],
        lambda x: T["NLLLoss2d"](x, _LABELS, np.array([0.5, 1, 2]), 1, 0)[0],
        lambda d, x: T["NLLLoss2dGrad"](d, x, _LABELS, np.array([0.5, 1, 2]), 1, 0, None),
    ),
    **{
        f"{kind}Pad{n}DGrad": _pool(
            f"{kind}Pad{n}DGrad", f"{kind}Pad{n}D", n, (1, 2, 2, 0, 1, 3)[: 2 * n]
        )
        for kind in ("Reflection", "Replication")
        for n in (1, 2, 3)
    },
    "RepeatInterleaveGrad": Formula(
        [_A],
        lambda x: jnp.repeat(x, np.array([2, 0, 1, 3]), 1),
        lambda d, x: T["RepeatInterleaveGrad"](d, np.array([2, 0, 1, 3]), 1),
    ),
    "RmsNormGrad": Formula(
        [_A, (4,)],
        lambda x, g: T["RmsNorm"](x, g, 1e-6)[0],
        lambda d, x, g: T["RmsNormGrad"](d, x, T["RmsNorm"](x, g, 1e-6)[1], g),
    ),
    "SeluGrad": Formula([_A], T["SeLUExt"], lambda d, x: T["SeluGrad"](d, T["SeLUExt"](x))),
    "SiLUGrad": _unary("SiLUGrad", "SiLU"),
    "SoftMarginLossGrad": _pair("SoftMarginLossGrad", "SoftMarginLoss", 1, first_dout=False),
    "SoftmaxBackward": Formula(
        [_A], lambda x: jax.nn.softmax(x, 0),
        lambda d, x: T["SoftmaxBackward"](d, jax.nn.softmax(x, 0), 0),
    ),
    "SoftmaxGrad": Formula(
        [_A], jax.nn.softmax, lambda d, x: T["SoftmaxGrad"](jax.nn.softmax(x), d)
    ),
    "SoftplusGradExt": _unary("SoftplusGradExt", "SoftplusExt", 2, 1),
    "SwigluGrad": _unary("SwigluGrad", "Swiglu", -1),
    "ThresholdGrad": Formula(
        [_A], lambda x: T["Threshold"](x, 0.1, 20), lambda d, x: T["ThresholdGrad"](d, x, 0.1)
    ),
    "UpsampleBicubic2DGrad": _resize("Bicubic2D", 2, False),
    "UpsampleBilinear2DGrad": _resize("Bilinear2D", 2, True),
    "UpsampleLinear1DGrad": _resize("Linear1D", 1, False),
}  # fmt: skip

#: Further cases of operators above.
MORE: dict[str, Formula] = {
    "BatchNormGradExt, not in training": _batch_norm(False),
    "BCEWithLogits, weighted": Formula(
        [_A],
        lambda x: T["BCEWithLogitsLoss"](x, 0.3, np.full(_A, 2.0), np.full(_A, 3.0), 0),
        lambda d, x: T["BinaryCrossEntropyWithLogitsBackward"](
            d, x, 0.3, np.full(_A, 2.0), np.full(_A, 3.0), 0
        ),
    ),
    "EluGradExt of the result": Formula(
        [_A], lambda x: T["EluExt"](x, 0.7),
        lambda d, x: T["EluGradExt"](d, T["EluExt"](x, 0.7), 0.7, True),
    ),
    "GeluGradExt, approximately": _unary("GeluGradExt", "GeluExt", 1),
    "EmbeddingDenseBackward by frequency": Formula(
        [(5, 4)],
        lambda w: w[_IDS] / jnp.array([2, 1, 1, 3, 1])[_IDS][..., None],
        lambda d, w: T["EmbeddingDenseBackward"](d, _IDS, 5, None, True),
    ),
    "StridedSliceGrad with masks": Formula(
        [(3, 4, 5)],
        lambda x: x[1:, ::2, None, -1],
        lambda d, x: T["StridedSliceGrad"](
            d, (3, 4, 5), (1, 0, 0, -1), (3, 0, 1, 0), (1, 2, 1, 1), begin_mask=2, end_mask=2,
            ellipsis_mask=0, new_axis_mask=4, shrink_axis_mask=8,
        ),
    ),
    "IRFFTDouble": Formula(
        [(2, 5)],
        lambda x: jnp.fft.irfft(x + 0j, 8),
        lambda d, x: T["IRFFTDouble"](jnp.fft.rfft(d), 8, -1).real / 8,
    ),
}  # fmt: skip
