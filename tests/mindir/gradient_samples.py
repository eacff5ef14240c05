"""The operands of each gradient operator that MindSpore's CPU has a kernel of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax.graph import meaning
from msckpt_jax.graph.values import Const

#: A tensor's shape, a tensor that is not of the dtype, a constant, or a function of the tensors
#: before it and a generator of random numbers.
Operand: TypeAlias = "tuple[int, ...] | np.ndarray | Const | Callable[..., Any]"

_FLOATS = ("f32", "f64")
#: MindSpore computes with float64 in float32 here.
_F32 = ("f32",)
_COMPLEX = ("f32", "f64", "c64")


class Sample(NamedTuple):
    """An operator's operands in order.

    Attributes:
        operands: those of a node. attrs: its attributes. results: how many it has.
        compared: how many results are compared, all if 0. dtypes: short names.
        low, high: the range of random numbers.
        eps: the allowed error by the largest number of a result, in units of the dtype's epsilon.
    """

    operands: Sequence[Operand]
    attrs: Mapping[str, Any] = {}
    results: int = 1
    compared: int = 0
    dtypes: tuple[str, ...] = _FLOATS
    low: float = -3
    high: float = 3
    eps: float = 8


def forward(op: str, *rest: Any, result: int = 0, **attrs: Any) -> Callable[..., Any]:
    """The operand that is a result of the forward operator of the first tensor."""

    def operand(rng: Any, x: Any, *_: Any) -> Any:
        out = meaning.table()[op](x, *rest, **attrs)
        return np.asarray(out[result] if isinstance(out, tuple) else out)

    return operand


def like(position: int = -1) -> Callable[..., Any]:
    """The operand with random numbers in the shape of another."""
    return lambda rng, *before: rng.uniform(-3, 3, np.shape(before[position]))


def ints(*values: int, dtype: Any = np.int64) -> np.ndarray:
    return np.array(values, dtype)


def _steps(rng: Any, *_: Any) -> np.ndarray:
    """Numbers with all kinks of piecewise activations among them."""
    return np.array([[-4, -3, -1, -0.5], [-0.25, -0.0, 0.0, 0.25], [0.5, 1, 3, 6]])


def _ties(rng: Any, *_: Any) -> np.ndarray:
    return rng.integers(-2, 2, (3, 4)).astype(np.float64)


def _labels(high: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, high, shape).astype(np.int32)


_A, _IMAGE, _SPACE = (3, 4), (2, 3, 6, 8), (2, 3, 5, 6, 7)
_UNIT = {"low": -0.9, "high": 0.9}
_POSITIVE = {"low": 0.1, "high": 3}
_SHARE = {"low": 0.05, "high": 0.95}
_NCHW = {"data_format": "NCHW", "format": "NCHW"}
_MAX = {"kernel_size": (1, 1, 3, 2), "strides": (1, 1, 2, 2)} | _NCHW
_MAX_3D = {"kernel_size": (1, 1, 2, 3, 2), "strides": (1, 1, 2, 2, 2), "format": "NCDHW",
           "data_format": "NCDHW"}  # fmt: skip
_CONV = {"out_channel": 4, "kernel_size": (3, 2), "mode": 1, "group": 1, "groups": 1} | _NCHW
_CONV_3D = {"out_channel": 4, "kernel_size": (3, 2, 2), "mode": 1, "group": 1, "groups": 1,
            "format": "NCDHW", "data_format": "NCDHW", "pad": (0,) * 6, "pad_list": (0,) * 6,
            "pad_mode": "valid", "strides": (1, 1, 1, 1, 1), "dilations": (1, 1, 1, 1, 1),
            "stride": (1, 1, 1, 1, 1), "dilation": (1, 1, 1, 1, 1)}  # fmt: skip


def _padded(mode: str, *pad: int, step: int = 1, spread: int = 1) -> dict[str, Any]:
    widths = pad or (0, 0, 0, 0)
    return {"pad_mode": mode, "pad": widths, "pad_list": widths, "stride": (1, 1, step, step),
            "dilation": (1, 1, spread, spread)}  # fmt: skip


_ELEMENTWISE: dict[str, list[Sample]] = {
    "AbsGrad": [Sample([_steps, like()])],
    "ACosGrad": [Sample([_A, _A], dtypes=_COMPLEX, **_UNIT)],
    "AsinGrad": [Sample([_A, _A], dtypes=_COMPLEX, **_UNIT)],
    "AtanGrad": [Sample([_A, _A], dtypes=_FLOATS)],
    "AcoshGrad": [Sample([_A, _A], dtypes=_COMPLEX, **_POSITIVE)],
    "AsinhGrad": [Sample([_A, _A], dtypes=_COMPLEX)],
    "SqrtGrad": [Sample([_A, _A], dtypes=_COMPLEX, **_POSITIVE)],
    "RsqrtGrad": [Sample([_A, _A], dtypes=_COMPLEX, **_POSITIVE)],
    "ReciprocalGrad": [Sample([_A, _A], dtypes=_COMPLEX)],
    "InvGrad": [Sample([_A, _A], dtypes=_COMPLEX)],
    "LogitGrad": [Sample([_A, _A, Const(eps)], low=0.02, high=0.98) for eps in (-1.0, 0.1)],
    "MvlgammaGrad": [Sample([_A, _A], {"p": 3}, dtypes=_F32, low=1.5, high=4, eps=64)],
    **{
        op: [Sample([_ties, _ties, like(), Const(True), Const(True)], results=2),
             Sample([_ties, (4,), _A, Const(True), Const(True)], results=2)]
        for op in ("MaximumGrad", "MinimumGrad")
    },
}  # fmt: skip

_ACTIVATIONS: dict[str, list[Sample]] = {
    "TanhGrad": [Sample([_A, _A], dtypes=_COMPLEX, **_UNIT)],
    "SigmoidGrad": [Sample([_A, _A], dtypes=_COMPLEX, **_SHARE)],
    "EluGrad": [Sample([_A, lambda rng, *_: np.maximum(_steps(rng), -0.9)])],
    **{op: [Sample([_A, _steps])] for op in ("ReluGrad", "HSigmoidGrad", "HSwishGrad")},
    **{op: [Sample([_A, _steps], dtypes=_F32)] for op in (
        "FastGeLUGrad", "ReLU6Grad", "SoftplusGrad")},
    "HShrinkGrad": [Sample([_A, _steps, Const(0.5)], dtypes=_F32)],
    "SoftShrinkGrad": [Sample([_A, _steps, Const(0.5)], dtypes=_F32)],
    "GeLUGrad": [Sample([_A, _steps, forward("GeLU")], dtypes=_F32)],
    "PReLUGrad": [Sample([_A, _steps, (4,)], results=2, dtypes=_F32),
                  Sample([_IMAGE, _IMAGE, (1,)], results=2, dtypes=_F32)],
    "GluGrad": [Sample([(2, 3, 2), (2, 3, 4), Const(-1)]),
                Sample([(2, 3, 4), (4, 3, 4), Const(0)])],
    "LogSoftmaxGrad": [Sample([_A, _A, Const(axis)], dtypes=_F32) for axis in (-1, 0)],
}  # fmt: skip

_LOSSES: dict[str, list[Sample]] = {
    "BinaryCrossEntropyGrad": [
        Sample([_A, _A, _A, _A, Const(2)], dtypes=_F32, **_SHARE),
        Sample([_A, _A, (), _A, Const(1)], dtypes=_F32, **_SHARE),
        Sample([_A, _A, (), _A, Const(0)], dtypes=_F32, **_SHARE),
    ],
    "SigmoidCrossEntropyWithLogitsGrad": [Sample([_A, _A, _A], dtypes=_F32)],
    "KLDivLossGrad": [
        Sample([_A, _A, _A], {"reduction": "none"}, **_SHARE),
        Sample([(), _A, _A], {"reduction": "mean"}, **_SHARE),
    ],
    "SmoothL1LossGrad": [
        Sample([_steps, lambda rng, x: x * 0, _A, Const(0.5), Const(2)]),
        Sample([_A, _A, (), Const(1.0), Const(1)]),
    ],
    "NLLLossGrad": [
        Sample([(5, 4), (), _labels(4, 5), (4,), (), Const(0), Const(-100)], dtypes=_F32),
        Sample([(5, 4), (5,), _labels(4, 5), (4,), (), Const(2), Const(1)], dtypes=_F32),
    ],
}

_LAYERS: dict[str, list[Sample]] = {
    "LayerNormGrad": [
        Sample([_A, _A, lambda rng, x, *_: x.var(1, keepdims=True),
                lambda rng, x, *_: x.mean(1, keepdims=True), (4,), Const(1), Const(1)],
               results=3, dtypes=_F32),
        Sample([(2, 3, 4), (2, 3, 4), lambda rng, x, *_: x.var((1, 2), keepdims=True),
                lambda rng, x, *_: x.mean((1, 2), keepdims=True), (3, 4), Const(1), Const(1)],
               results=3, dtypes=_F32),
    ],
    "BatchNormGrad": [
        Sample([_IMAGE, _IMAGE, (3,), lambda rng, d, x, *_: x.mean((0, 2, 3)),
                lambda rng, d, x, *_: x.var((0, 2, 3)), (3,), Const(training), Const(1e-3),
                Const(0)], results=3, dtypes=_F32, eps=32)
        for training in (True, False)
    ],
    "GroupNormGrad": [
        Sample([_IMAGE, _IMAGE, lambda rng, d, x: x.mean((2, 3)),
                lambda rng, d, x, *_: 1 / x.std((2, 3)), (3,), Const(3), Const(True), Const(True),
                Const(True)], results=3, eps=32),
    ],
    "L2NormalizeGrad": [Sample([_A, forward("L2Normalize", axis=(1,), epsilon=1e-4), like()],
                               {"axis": (1,), "epsilon": 1e-4})],
    "LRNGrad": [Sample([_IMAGE, _IMAGE, lambda rng, d, x: np.asarray(meaning.table()["LRN"](x))],
                       {"depth_radius": 5, "bias": 1.0, "alpha": 1.0, "beta": 0.5},
                       dtypes=_F32, eps=64)],
    "DropoutGrad": [Sample([_A, lambda rng, *_: rng.integers(0, 2, _A)], {"keep_prob": 0.75},
                           dtypes=_F32)],
}  # fmt: skip

_PLACES: dict[str, list[Sample]] = {
    "CdistGrad": [
        Sample([(2, 3, 4), (2, 3, 5), (2, 4, 5), lambda rng, d, x, y, p=p: np.asarray(
            meaning.table()["Cdist"](x, y, p)), Const(p)], dtypes=_F32, eps=64)
        for p in (1.0, 2.0, 3.0)
    ],
    "GatherDGradV2": [
        Sample([_A, Const(0), _labels(3, 2, 4), (2, 4)]),
        Sample([_A, Const(-1), _labels(4, 3, 5), (3, 5)]),
    ],
    "MaskedSelectGrad": [
        Sample([_A, np.array([[True, False, True, True]] * 2 + [[False] * 4]), (6,)])
    ],
    "SliceGrad": [Sample([(2, 2), _A, Const((1, 1)), Const((2, 2))])],
    "StridedSliceGrad": [
        Sample([(2, 2), Const((3, 4)), Const((0, 1)), Const((3, 4)), Const((2, 2))],
               {"begin_mask": 0, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 0,
                "shrink_axis_mask": 0}),
        Sample([(4,), Const((3, 4)), Const((1, 0)), Const((2, 4)), Const((1, 1))],
               {"begin_mask": 0, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 0,
                "shrink_axis_mask": 1}),
    ],
    "TraceGrad": [Sample([(), ints(3, 4)])],
    "TraceV2Grad": [Sample([(2,), ints(2, 3, 4), Const(1), Const(1), Const(2)])],
}  # fmt: skip

_WINDOWS: dict[str, list[Sample]] = {
    "BiasAddGrad": [Sample([_IMAGE, Const(0)]), Sample([_A, Const(0)])],
    "Conv2DBackpropFilter": [
        Sample([(2, 4, 4, 7), _IMAGE, Const((4, 3, 3, 2))], _CONV | _padded("valid"),
               dtypes=_F32, eps=32),
        Sample([(2, 4, 4, 7), _IMAGE, Const((4, 3, 3, 2))],
               _CONV | _padded("pad", 1, 1, 0, 1, spread=2), dtypes=_F32, eps=32),
        Sample([(2, 4, 3, 4), _IMAGE, Const((4, 3, 3, 2))], _CONV | _padded("same", step=2),
               dtypes=_F32, eps=32),
        Sample([(2, 6, 4, 7), _IMAGE, Const((6, 1, 3, 2))],
               _CONV | _padded("valid") | {"out_channel": 6, "group": 3, "groups": 3},
               dtypes=_F32, eps=32),
    ],
    "Conv3DBackpropFilter": [
        Sample([_SPACE, (2, 4, 3, 5, 6), Const((4, 3, 3, 2, 2))], _CONV_3D, dtypes=_F32, eps=64)
    ],
    "Conv3DBackpropInput": [
        Sample([(4, 3, 3, 2, 2), (2, 4, 3, 5, 6), Const(_SPACE)], _CONV_3D, dtypes=_F32, eps=64)
    ],
    "MaxPoolGrad": [
        Sample([_IMAGE, forward("MaxPool", **_MAX, pad_mode=mode), like()],
               _MAX | {"pad_mode": mode}, dtypes=_F32)
        for mode in ("VALID", "SAME")
    ] + [
        Sample([lambda rng: rng.integers(0, 2, _IMAGE),
                forward("MaxPool", **_MAX, pad_mode="VALID"), like()],
               _MAX | {"pad_mode": "VALID"}, dtypes=_F32)
    ],
    "MaxPool3DGrad": [
        Sample([_SPACE, forward("MaxPool3D", **_MAX_3D, pad_mode=mode), like()],
               _MAX_3D | {"pad_mode": mode, "pad_list": (0,) * 6}, dtypes=_F32)
        for mode in ("VALID", "SAME")
    ],
    "MaxPoolGradWithArgmaxV2": [
        Sample([_IMAGE, lambda rng, x: rng.uniform(-3, 3, (2, 3, 3, 4)),
                lambda rng, x, d: np.asarray(meaning.table()["MaxPoolWithArgmaxV2"](
                    x, kernel_size=(1, 1, 2, 2), strides=(1, 1, 2, 2), pads=(1, 1, 0, 0),
                    argmax_type=4)[1], np.int64)],
               {"kernel_size": (1, 1, 2, 2), "strides": (1, 1, 2, 2), "pads": (1, 1, 0, 0),
                "dilation": (1, 1, 1, 1), "ceil_mode": False, "argmax_type": 4}),
    ],
    "MaxPool3DGradWithArgmax": [
        Sample([_SPACE, (2, 3, 2, 3, 3), lambda rng, x, d: np.asarray(
                    meaning.table()["MaxPool3DWithArgmax"](x, ksize=(2,) * 3, strides=(2,) * 3)[1],
                    np.int32)],
               {"ksize": (2, 2, 2), "strides": (2, 2, 2), "pads": (0, 0, 0), "dilation": (1, 1, 1),
                "ceil_mode": False, "format": "NCDHW", "data_format": "NCDHW"}),
    ],
    "AdaptiveMaxPool2DGrad": [
        Sample([(2, 3, 4, 3), _IMAGE, lambda rng, d, x: np.asarray(
            meaning.table()["AdaptiveMaxPool2D"](x, (4, 3))[1], np.int64)]),
    ],
    "AdaptiveMaxPool3DGrad": [
        Sample([(2, 3, 2, 3, 2), _SPACE,
                lambda rng, *_: np.arange(2 * 3 * 12).reshape(2, 3, 2, 3, 2).astype(np.int32)]),
    ],
    "AvgPoolGrad": [
        Sample([_IMAGE, forward("AvgPool", (3, 2), (2, 2), mode), like(), Const((3, 2)),
                Const((2, 2)), Const(mode), Const(0)], dtypes=_F32)
        for mode in (1, 2)
    ],
    "AvgPool3DGrad": [
        Sample([ints(*_SPACE), (2, 3, 2, 3, 3)],
               {"kernel_size": (1, 1, 2, 2, 2), "strides": (1, 1, 2, 2, 2), "pad_mode": "VALID",
                "pad_list": (0,) * 6, "ceil_mode": False, "count_include_pad": True,
                "divisor_override": divisor, "format": "NCDHW", "data_format": "NCDHW"},
               dtypes=_F32)
        for divisor in (0, 5)
    ],
    "AdaptiveAvgPool2DGrad": [Sample([(2, 3, *size), ints(*_IMAGE)]) for size in ((3, 2), (4, 5))],
    "AdaptiveAvgPool3DGrad": [
        Sample([(2, 3, *size), ints(*_SPACE, dtype=np.int32)]) for size in ((5, 3, 2), (2, 4, 5))
    ],
    "MirrorPadGrad": [
        Sample([(5, 8), Const(np.array([[1, 1], [2, 2]], np.int64))], {"mode": mode})
        for mode in ("REFLECT", "SYMMETRIC")
    ],
    "PadV3Grad": [
        Sample([(2, 3, 9, 11), ints(1, 2, 2, 1)], {"mode": mode, "paddings_contiguous": True})
        for mode in ("reflect", "edge", "circular")
    ],
    **{op: [Sample([(2, 3, 9, 5), _IMAGE, Const(align), Const(half)], dtypes=_F32, eps=64)
            for align, half in ((False, False), (True, False), (False, True))]
       for op in ("ResizeBilinearGrad", "ResizeBicubicGrad")},
    "ResizeLinear1DGrad": [
        Sample([(2, 3, 9), (2, 3, 5), Const(mode)], dtypes=_F32, eps=32)
        for mode in (1, 2)
    ],
    **{op: [Sample([(2, 3, 9, 5), Const((6, 8)), Const(align), Const(half)], dtypes=_F32)
            for align, half in ((False, False), (True, False))]
       for op in ("ResizeNearestNeighborGrad", "ResizeNearestNeighborV2Grad")},
    **{f"UpsampleNearest{n}DGrad": [
        Sample([(2, 3, *(9, 5, 4)[:n]), Const((2, 3, *(6, 8, 7)[:n])), Const((9, 5, 4)[:n]),
                Const(None)]),
        Sample([(2, 3, *(12, 16, 14)[:n]), Const((2, 3, *(6, 8, 7)[:n])), Const(None),
                Const((2.0,) * n)])] for n in (1, 2, 3)},
    "UpsampleTrilinear3DGrad": [
        Sample([(2, 3, 9, 5, 4), Const((2, 3, 6, 8, 7)), Const((9, 5, 4)), Const(None),
                Const(align)], dtypes=_F32, eps=64)
        for align in (False, True)
    ],
}  # fmt: skip

#: Grids within the image: at its edge MindSpore chooses by roundings.
_SAMPLING: dict[str, list[Sample]] = {
    "GridSampler2DGrad": [
        Sample([(2, 3, 4, 5), (2, 3, 6, 8), (2, 4, 5, 2), Const(0), Const(padding), Const(align),
                Const((1, 1))], results=2, dtypes=_F32, eps=64, low=-0.9, high=0.9)
        for padding, align in ((0, False), (1, True))
    ],
    "GridSampler3DGrad": [
        Sample([(2, 3, 4, 5, 2), (2, 3, 6, 8, 4), (2, 4, 5, 2, 3), Const(0), Const(0),
                Const(False), Const((1, 1))], results=2, dtypes=_F32, eps=64, low=-0.9, high=0.9)
    ],
    "ROIAlignGrad": [
        Sample([(2, 3, 2, 2), np.array([[0, 0.5, 0.5, 4, 4], [1, 1, 1, 5, 3]], np.float32),
                Const((2, 3, 6, 8))],
               {"pooled_height": 2, "pooled_width": 2, "spatial_scale": 1.0, "sample_num": 2},
               dtypes=_F32, eps=64)
    ],
    "MaxUnpool2DGrad": [
        Sample([(1, 2, 2, 2), (1, 2, 4, 4), np.array([[[[0, 3], [9, 15]], [[5, 6], [8, 2]]]])],
               {"ksize": (1, 1, 2, 2), "strides": (1, 1, 2, 2), "pads": (0, 0, 0, 0),
                "output_shape": (1, 2, 4, 4), "format": "NCHW", "data_format": "NCHW"},
               dtypes=_F32)
    ],
    "PdistGrad": [
        Sample([(6,), (4, 3), lambda rng, d, x, p=p: np.asarray(meaning.table()["Pdist"](x, p=p))],
               {"p": p}, dtypes=_F32, eps=64) for p in (1.0, 2.0, 3.0)
    ],
    "MultiMarginLossGrad": [
        Sample([(), _A, np.array([1, 0, 3]), (4,)], {"p": p, "margin": 1.0, "reduction": "mean"},
               dtypes=_F32) for p in (1, 2)
    ],
    "LayerNormGradGrad": [
        Sample([_A, _A, lambda rng, x, *_: x.var(1, keepdims=True),
                lambda rng, x, *_: x.mean(1, keepdims=True), (4,), _A, (4,), (4,), Const(1),
                Const(1)], results=3, dtypes=_F32, eps=64)
    ],
}  # fmt: skip

SAMPLES = _ELEMENTWISE | _ACTIVATIONS | _LOSSES | _LAYERS | _PLACES | _WINDOWS | _SAMPLING
