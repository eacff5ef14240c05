"""The rows of the sweep beyond what is allowed: why, and how far."""

from __future__ import annotations

from typing import NamedTuple

from tests.sweep.errors import Part


class Known(NamedTuple):
    """A reason, and what it covers: the errors measured, and a tenth.

    Attributes:
        worst: the largest error, in units. places: at how many places.
        sizes: the numbers between which they are.
    """

    reason: str
    worst: float
    places: int
    sizes: tuple[float, float]

    def holds(self, part: Part) -> bool:
        (low, high), (least, most) = self.sizes, part.range
        near = low <= least and most <= high
        return near and part.worst <= self.worst and part.places <= self.places


_INF = float("inf")
_EXP = "MindSpore's Exp of float32 is a polynomial for speed, off by 3e-5 at most"
_LEAST = "next to the smallest normal number, half of which the runtime takes for 0"
_ERF = "onnxruntime's Gelu is x (1 + erf) / 2: off by 1e-7 of x; erfc takes 390 times as long"
_SINE = "onnxruntime's Sin and Cos of float64 round the multiple of pi, next to a zero"
_CLENSHAW = "Clenshaw's recurrence, whose roundings add up at the ends"
_LANCZOS = "Lanczos's formula cancels next to 1, to some roundings of 1"
_TAIL = "the tail of 1 + tanh cancels, as in JAX, at other places"
_DOUBLED = "MindSpore's GeLU doubles its operand, which overflows"
_LOG = "MindSpore's Log of float32 below 0.1"

_GROUPS: dict[tuple[str, str, Known], str] = {
    ("MINDIR", "float32", Known(_EXP, 400, 960, (0.26, 87))):
        "exp, log_sigmoid, logaddexp, mish, sigmoid, silu, softplus",
    ("MINDIR", "float32", Known(_LEAST, 1.7e7, 4, (1.1e-38, 2.4e-38))): "celu, elu, expm1, tanh",
    ("MINDIR", "bfloat16", Known(_LEAST, 256, 4, (1.1e-38, 2.4e-38))): "celu, elu, expm1, tanh",
    ("MINDIR", "float64", Known(_LEAST, 9.1e15, 2, (2.2e-308, 4.5e-308))): "celu, elu, expm1",
    ("ONNX", "float32", Known(_LEAST, 180, 11, (1.1e-38, 1.4e-37))): "celu, elu, expm1, tanh",
    ("MINDIR", "float32", Known(_LOG, 6.3, 63, (1e-38, 0.1))): "entr, log",
    ("MINDIR", "float32", Known(_DOUBLED, _INF, 2, (1.7e38, 3.5e38))): "gelu (tanh)",
    ("MINDIR", "bfloat16", Known(_DOUBLED, _INF, 2, (1.7e38, 3.5e38))): "gelu (tanh)",
    ("MINDIR", "float64", Known(_LANCZOS, 9.1e12, 3, (0.99, 1.01))): "lgamma",
    ("ONNX", "float32", Known(_LANCZOS, 4.8e7, 5, (0.99, 1.01))): "lgamma",
    ("ONNX", "float64", Known(_LANCZOS, 4.4e15, 17, (0.99, 1.01))): "lgamma",
    ("ONNX", "float32", Known(_ERF, 1.7e7, 140, (3.5, 13))): "gelu",
    ("ONNX", "float64", Known(_TAIL, 7.1e15, 15, (3.5, 7))): "gelu (tanh)",
    ("ONNX", "bfloat16", Known(_TAIL, 1.2e3, 1, (5.1, 5.2))): "gelu (tanh)",
    ("ONNX", "float64", Known(_SINE, 2.8e3, 275, (0.8, 15.1))): "cos, sin, tan",
    ("ONNX", "float64", Known(_SINE, 8.8e14, 275, (0.8, 8))): "sinc",  # its zeros are whole numbers
    ("ONNX", "float64", Known(_CLENSHAW, 245, 610, (0, 430))): "i0e, i1e",
}  # fmt: skip

#: (format, dtype, function) -> its reason.
KNOWN: dict[tuple[str, str, str], Known] = {
    (file_format, dtype, name): known
    for (file_format, dtype, known), names in _GROUPS.items()
    for name in names.split(", ")
}
