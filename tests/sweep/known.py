"""The rows of the sweep beyond what is allowed, and why: (format, dtype, function) -> a reason.

A dtype of None stands for all.
"""

from __future__ import annotations

_EXP = "MindSpore's Exp of float32 is a polynomial for speed, off by 3e-5 at most"
_LEAST = "next to the smallest normal number, half of which the runtime takes for 0"
_KERNEL_GELU = "the kernel of GeLU; its tail cancels, as in the formula of tanh"
_SINE = "onnxruntime's Sin and Cos of float64 round the multiple of pi, next to a zero"
_CLENSHAW = "Clenshaw's recurrence, whose roundings add up at the ends"
_LANCZOS = "Lanczos's formula cancels next to 1 and 2; infinite for subnormal numbers in JAX"

KNOWN: dict[tuple[str, str | None, str], str] = {
    **{("MINDIR", "float32", name): _EXP for name in (
        "exp", "log_sigmoid", "logaddexp", "mish", "sigmoid", "silu", "softplus"
    )},
    **{("MINDIR", "float64", name): _LEAST for name in (
        "celu", "elu", "selu", "expm1", "erf_inv"
    )},
    **{("ONNX", None, name): _LEAST for name in ("celu", "elu", "expm1", "tanh")},
    ("MINDIR", None, "gelu (tanh)"): _KERNEL_GELU,
    ("ONNX", None, "gelu (tanh)"): _KERNEL_GELU,
    ("ONNX", None, "gelu"): "onnxruntime's Gelu is x (1 + erf) / 2: off by 1e-7 where it is small",
    **{("ONNX", "float64", name): _SINE for name in ("cos", "sin", "sinc", "tan")},
    **{("ONNX", "float64", name): _CLENSHAW for name in ("i0e", "i1e")},
    **{(name, None, "lgamma"): _LANCZOS for name in ("MINDIR", "ONNX")},
}  # fmt: skip
