"""Operands and arguments of every MindSpore operator that the rules emit.

The arguments are those that the rules give it, in all their kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax.graph.values import Const, Tensor
from msckpt_jax.lowering.rules.shape import ints

FLOATS = ("f32", "f16", "bf16", "f64")
INTS = ("i32", "i64", "i8", "i16", "u8", "u16", "u32", "u64")
COMPLEX = ("c64", "c128")
REAL = FLOATS + INTS
NUMBERS = REAL + COMPLEX
ALL = (*NUMBERS, "bool")
#: A shape (numbers of the dtype), several of them, an array as it is, a constant, or a function of
#: the dtype.
Operand: TypeAlias = (
    "tuple[int, ...] | list[tuple[int, ...]] | np.ndarray | Const | Callable[[Any], Any]"
)
#: The further arguments, and the attributes.
Variant: TypeAlias = "tuple[tuple[Any, ...], Mapping[str, Any]]"


class Sample(NamedTuple):
    """An operator's operands and arguments.

    Attributes:
        operands: the tensors. dtypes: the short names of those in which the rules may emit it.
        variants: the arguments after the tensors, and the attributes.
        results: how many results it has. compared: how many of them, the first, are unique.
        types: the types of all its results in MindSpore, by those that the meaning gives.
        low, high: the range of the numbers; integers are of all numbers where both are 0.
        units: the error that is allowed, in units of the last place.
    """

    operands: Sequence[Operand]
    dtypes: tuple[str, ...]
    variants: Sequence[Variant] = (((), {}),)
    results: int = 1
    compared: int = 1
    types: Callable[[list[Tensor]], list[Tensor]] = list
    low: float = 0
    high: float = 0
    units: float = 0

    def array(self, operand: Operand, dtype: np.dtype, seed: int) -> Any:
        """An operand in a dtype: an array, or a list of arrays."""
        if isinstance(operand, np.ndarray | Const):
            return operand
        if isinstance(operand, list):
            return [self.array(part, dtype, seed + k) for k, part in enumerate(operand)]
        if callable(operand):
            return operand(dtype)
        return _numbers(operand, dtype, self.low, self.high, seed)


def _numbers(
    shape: tuple[int, ...], dtype: np.dtype, low: float, high: float, seed: int
) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        least, most = (max(int(low), info.min), int(high)) if (low, high) != (0, 0) else (
            info.min, info.max)  # fmt: skip
        return rng.integers(least, most, shape, dtype, endpoint=True)
    low, high = (low, high) if (low, high) != (0, 0) else (-3, 3)
    parts = rng.uniform(low, high, (2, *shape))
    return (parts[0] + 1j * parts[1] if dtype.kind == "c" else parts[0]).astype(dtype)


def _definite(dtype: Any) -> np.ndarray:
    """A Hermitian matrix, whose eigenvalues are positive and apart."""
    x = _numbers((3, 3), np.dtype(np.complex128), -1, 1, 0)
    x = x if np.dtype(dtype).kind == "c" else np.real(x)
    return (x @ x.conj().T + np.diag([1.0, 2.0, 4.0])).astype(dtype)


def _of_one_dtype(types: list[Tensor]) -> list[Tensor]:
    """MindSpore's singular values of complex matrices are complex."""
    return [Tensor(types[1].dtype, t.shape) for t in types]


def _with_moments(types: list[Tensor]) -> list[Tensor]:
    """Mean and variance of float32."""
    return [types[0], *(Tensor(np.dtype(np.float32), t.shape) for t in types[1:])]


def _args(*arguments: Any) -> Variant:
    return arguments, {}


def _attrs(**attrs: Any) -> Variant:
    return (), attrs


def _int(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


_A, _V, _S = (2, 3, 4), (5,), (3, 3)
_TRUE, _FALSE, _NONE = Const(True), Const(False), Const(None)
_AXES = [_args(ints(*axes), _FALSE) for axes in ((0,), (1, 2), (0, 1, 2))]
_I32, _I64 = Const(np.dtype(np.int32)), Const(np.dtype(np.int64))
_WHERE = np.array([[0], [2], [0]], np.int32)
_POOL = {"kernel_size": (1, 1, 2, 2), "pad_mode": "VALID", "format": "NCHW", "data_format": "NCHW"}
_CONV = {"out_channel": 4, "kernel_size": (2, 2), "mode": 1, "pad_mode": "pad", "format": "NCHW",
         "data_format": "NCHW"}  # fmt: skip
_CONV3 = {"out_channel": 4, "kernel_size": (2, 2, 2), "mode": 1, "pad_mode": "pad", "offset_x": 0,
          "format": "NCDHW", "data_format": "NCDHW"}  # fmt: skip
_ANALYTIC = FLOATS + COMPLEX
_UNIT = {"low": -0.9, "high": 0.9}
_POSITIVE = {"low": 0.1, "high": 5}


def _one(dtypes: tuple[str, ...], units: float = 0, **more: Any) -> Sample:
    return Sample([_A], dtypes, units=units, **more)


def _two(dtypes: tuple[str, ...], units: float = 0, **more: Any) -> Sample:
    return Sample([_A, _A], dtypes, units=units, **more)


def _convolution(groups: int, step: int, taps: int, pad: int) -> Variant:
    places = {"pad": (pad,) * 4, "stride": (1, 1, step, step), "dilation": (1, 1, taps, taps)}
    return _attrs(**_CONV, **places, group=groups, groups=groups)


def _convolution3(step: int, taps: int, pad: int) -> Variant:
    places = {"pad": (pad,) * 6, "strides": (1, 1, *[step] * 3), "dilations": (1, 1, *[taps] * 3)}
    return _attrs(**_CONV3, **places, group=1, groups=1)


_ELEMENTWISE = {
    **{op: _one(_ANALYTIC, 8) for op in ("Cos", "Cosh", "Sin", "Sinh")},
    **{op: _one(_ANALYTIC, 32) for op in ("Exp", "Sigmoid")},
    **{op: _one(_ANALYTIC, 8, **_UNIT) for op in ("ACos", "Asin", "Tan")},
    "Atanh": _one(_ANALYTIC, 256, **_UNIT),
    **{op: _one(_ANALYTIC, 8, **_POSITIVE) for op in ("Asinh", "Atan", "Log1p", "Rsqrt")},
    "Log": _one(_ANALYTIC, 64, **_POSITIVE),
    "Acosh": _one(_ANALYTIC, 8, low=1.1, high=9),
    **{op: _one(FLOATS, 8) for op in ("BesselI0e", "BesselI1e", "Erf", "Erfc")},
    "Erfinv": _one(("f32", "f16", "bf16"), 8, **_UNIT),
    "Expm1": _one(("f64", *COMPLEX), 8),
    "Tanh": _one(("f64", *COMPLEX), 8),
    "Lgamma": _one(FLOATS, 64, low=2.5, high=20),
    "Sqrt": _one(_ANALYTIC, 1, **_POSITIVE),
    "Square": _one(NUMBERS, 1),
    "Reciprocal": _one(FLOATS, 1),
    "Abs": _one((*FLOATS, "i32", "i64", "i8", "i16")),
    "Neg": _one(NUMBERS),
    "Sign": _one((*FLOATS, "i32", "i64", "i8", "i16")),
    **{op: _one(FLOATS) for op in ("Ceil", "Floor", "IsFinite", "ReLU", "Rint")},
    **{op: _one(INTS) for op in ("Invert", "PopulationCount")},
    "LogicalNot": _one(("bool",)),
    "Conj": _one(COMPLEX),
    "Real": _one(COMPLEX),
    "Imag": _one(COMPLEX),
    "ComplexAbs": _one(COMPLEX, 4),
    **{op: _two(NUMBERS, 1) for op in ("Add", "Sub")},
    "Mul": _two(NUMBERS, 4),
    "Div": _two(_ANALYTIC, 8, **_POSITIVE),
    "Pow": _two(_ANALYTIC, 16, **_POSITIVE),
    "Atan2": _two(FLOATS, 8),
    "Complex": _two(("f32", "f64")),
    "NextAfter": _two(("f32", "f64")),
    **{op: _two(REAL) for op in ("Maximum", "Minimum")},
    **{op: _two((*REAL, "bool")) for op in ("Greater", "GreaterEqual", "Less", "LessEqual")},
    **{op: _two(ALL) for op in ("Equal", "NotEqual")},
    **{op: _two(("bool",)) for op in ("LogicalAnd", "LogicalOr", "LogicalXor")},
    **{op: _two(INTS) for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor")},
    **{op: _two(INTS, low=0, high=7) for op in ("LeftShift", "RightShift")},
    "Mod": _two(("i32", "i8", "i16", "u8", "u16", "u32"), low=1, high=100),
    "TruncateDiv": _two(INTS, low=1, high=100),
    "Zeta": _two(FLOATS, 64, low=2, high=9),
    **{
        op: _two(("f32", "f16", "bf16"), 64, **_POSITIVE)
        for op in ("Igamma", "Igammac", "IgammaGradA")
    },
    "Betainc": Sample([_A, _A, _A], FLOATS, low=0.1, high=0.9, units=64),
    "Select": Sample([np.arange(24).reshape(_A) % 3 > 0, _A, _A], ALL),
}
_MOVING = {
    "BroadcastTo": Sample([(3, 1)], ALL, [_args(ints(2, 3, 4))]),
    "Concat": Sample([[_A, _A]], ALL, [_args(Const(0)), _args(Const(2))]),
    "Gather": Sample([_A, _int(1, 0, 1)], ALL, [_args(Const(0), Const(0)),
                                               _args(Const(1), Const(0))]),
    "GatherNd": Sample([_A, np.array([[0, 1], [1, 2]], np.int32)], ALL),
    "Im2Col": Sample([(1, 2, 5, 5)], FLOATS, [_attrs(
        ksizes=(2, 2), strides=(s, s), dilations=(d, d), pads=(p, p)
    ) for s, d, p in ((1, 1, 0), (2, 1, 1), (1, 2, 0))]),
    "PadV3": Sample([_A, Const(np.array([1, 0, 0, 2, 0, 0])), ()], ALL,
                    [_attrs(mode="constant", paddings_contiguous=True)]),
    "Reshape": Sample([_A], ALL, [_args(ints(4, 6))]),
    "ReverseV2": Sample([_A], ALL, [_args(ints(0, 2))]),
    "Slice": Sample([_A], ALL, [_args(ints(0, 1, 2), ints(2, 2, 1))]),
    "Split": Sample([_A], ALL, [_args(Const(2), Const(2))], results=2, compared=2),
    "Squeeze": Sample([(1, 3, 1)], ALL, [_args(ints(0)), _args(ints(0, 2))]),
    "Stack": Sample([[_A, _A]], ALL, [_attrs(axis=0), _attrs(axis=2)]),
    "StridedSlice": Sample([_A], ALL, [_args(ints(0, 0, 1), ints(2, 3, 4), ints(1, 2, 2),
                                             *ints(0, 0, 0, 0, 0))]),
    "TensorScatterUpdate": Sample([(3, 4), _WHERE[:2], (2, 4)], ALL),
    **{f"TensorScatter{name}": Sample([(3, 4), _WHERE, (3, 4)], REAL, units=1)
       for name in ("Add", "Sub", "Mul", "Max", "Min")},
    "Tile": Sample([_A], ALL, [_args(ints(1, 2, 2))]),
    "Transpose": Sample([_A], ALL, [_args(ints(2, 0, 1))]),
    "Unstack": Sample([_A], ALL, [_attrs(axis=0, num=2)], results=2, compared=2),
}  # fmt: skip
#: Those that Sort has; the rules sort the others by TopK.
_SORTED = tuple(short for short in REAL if short not in ("f64", "u64"))
_REDUCING = {
    **{op: Sample([_A], REAL, [_args(Const(axis), _I32) for axis in (0, 2)])
       for op in ("Argmax", "Argmin")},
    **{op: Sample([_A], NUMBERS, [_args(Const(axis), _FALSE, Const(back))
                                  for axis in (0, 2) for back in (False, True)], units=4)
       for op in ("CumProd", "CumSum")},
    "Cummax": Sample([_A], REAL, [_args(Const(2))], results=2),
    "Cummin": Sample([_A], REAL, [_args(Const(2))], results=2),
    **{op: Sample([_A], ("bool",), _AXES) for op in ("ReduceAll", "ReduceAny")},
    **{op: Sample([_A], REAL, _AXES) for op in ("ReduceMax", "ReduceMin")},
    "ReduceProd": Sample([_A], NUMBERS, _AXES, units=16),
    "ReduceSum": Sample([_A], (*FLOATS, *COMPLEX, "i64"), [_args(*a, _FALSE) for a, _ in _AXES],
                        low=-1000, high=1000, units=64),
    "Sort": Sample([_A], _SORTED, [_attrs(axis=-1, descending=d) for d in (False, True)],
                   results=2, compared=2),
    "TopK": Sample([_A, Const(np.array(4, np.int32))], REAL, [_attrs(sorted=True)],
                   results=2, compared=2),
    "GatherD": Sample([_A], ALL, [_args(Const(2), Const(np.zeros(_A, np.int32)))]),
}  # fmt: skip
_LINEAR = {
    "MatMul": Sample([(3, 4), (4, 2)], NUMBERS, [_args(_FALSE, _FALSE)], units=16),
    "BatchMatMul": Sample([(2, 3, 4), (2, 4, 2)], NUMBERS, [_args(_FALSE, _FALSE)], units=16),
    "Cholesky": Sample([_definite], FLOATS, [_args(_FALSE)], units=64),
    "Eig": Sample([_definite], ("f32", "f64", *COMPLEX), [_args(_TRUE)], results=2, compared=0),
    "LU": Sample([_definite], FLOATS, results=3, units=64),
    "Orgqr": Sample([_S, (3,)], ("f32", "f64", *COMPLEX), units=64),
    "Qr": Sample([_definite], ("f32", "f64", *COMPLEX), [_args(Const(full))
                                                        for full in (False, True)],
                 results=2, compared=0),
    "SelfAdjointEig": Sample([_definite], ("f32", "f64", *COMPLEX), [_attrs(compute_v=True)],
                             results=2, units=64),
    "SolveTriangular": Sample(
        [_definite, (3, 2)], ("f32", "f64", *COMPLEX),
        [_args(Const(t), Const(lower), Const(unit))
         for t in (0, 1) for lower in (False, True) for unit in (False, True)], units=256),
    "Svd": Sample([_definite], ("f32", "f64", *COMPLEX), [_args(Const(full), _TRUE)
                                                         for full in (False, True)],
                  results=3, units=64, types=_of_one_dtype),
    **{op: Sample([_A], COMPLEX, [_args(ints(4), ints(2), _NONE), _args(ints(3, 4), ints(1, 2),
                                                                        _NONE)], units=64)
       for op in ("FFTN", "IFFTN", "IRFFTN")},
    "RFFTN": Sample([_A], ("f32", "f64"), [_args(ints(4), ints(2), _NONE)], units=64),
}  # fmt: skip
_NETWORKS = {
    "AvgPool": Sample([(1, 2, 5, 5)], ("f32", "f16", "bf16"),
                      [_args(ints(2, 2), ints(s, s), Const(2), Const(0)) for s in (1, 2)],
                      units=16),
    "MaxPool": Sample([(1, 2, 5, 5)], FLOATS, [_attrs(**_POOL, strides=(1, 1, s, s))
                                              for s in (1, 2)]),
    "Conv2D": Sample([(1, 4, 5, 5), lambda d: _numbers((4, 4, 2, 2), d, -3, 3, 1)],
                     ("f32", "f16", "bf16"), [_convolution(1, s, t, p)
                     for s, t, p in ((1, 1, 0), (2, 1, 1), (1, 2, 0))], units=64),
    "Conv3D": Sample([(1, 2, 4, 4, 4), (4, 2, 2, 2, 2)], ("f32", "f16", "bf16"),
                     [_convolution3(s, t, p)
                      for s, t, p in ((1, 1, 0), (2, 1, 1), (1, 2, 0))], units=512),
    "Softmax": Sample([_A], FLOATS, [_args(ints(axis)) for axis in (0, 2)], units=64),
    "LogSoftmax": Sample([_A], ("f32", "f16", "bf16"), [_args(Const(a)) for a in (0, 2)],
                         units=4096),
    "GeLU": Sample([_A], ("f32", "f16", "bf16"), units=128),
    "SiLU": Sample([_A], FLOATS, units=16),
    "LayerNorm": Sample([_A, (4,), (4,)], ("f32", "f16", "bf16"),
                        [_args(Const(-1), Const(-1), Const(1e-5))], results=3, units=64,
                        types=_with_moments),
    "BatchNorm": Sample([(2, 4, 3, 3), (4,), (4,), (4,), (4,)], ("f32", "f16", "bf16"),
                        [_args(_FALSE, Const(1e-5), Const(0.1), Const(0))], results=5, units=64,
                        **_POSITIVE),
}  # fmt: skip

SAMPLES: Mapping[str, Sample] = {
    **_ELEMENTWISE, **_MOVING, **_REDUCING, **_LINEAR, **_NETWORKS,
}  # fmt: skip
