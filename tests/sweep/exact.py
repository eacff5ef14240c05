"""``python -m tests.sweep.exact``: functions that are exact by nature, and docs/exact.md.

Each gives JAX's numbers to the bit in each format, at the edges of its dtype too.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

import msckpt_jax as ms
from msckpt_jax.lowering.trials import distance
from msckpt_jax.mindir import runner
from msckpt_jax.onnx import runner as onnxruntime
from tests.oracle.mindir_cases import INTS, dtype_of

FORMATS = ("AIR", "MINDIR", "ONNX")
DOCUMENT = Path(__file__).parents[2] / "docs" / "exact.md"
_EDGES = np.array([0.0, -0.0, 1, -1.5, np.inf, -np.inf, np.nan, 1e-30, 3e38, -3e38, 65504, 0.1, 0.5,
                   -0.5, 2.5, 1000, 1e10])  # fmt: skip
_LEFT, _RIGHT = (grid.ravel() for grid in np.meshgrid(_EDGES, _EDGES))
_FLOATS = ("float32", "float64", "float16", "bfloat16")


def _bits(x: Any) -> Any:
    return lax.bitcast_convert_type(x, f"uint{x.dtype.itemsize * 8}")


_OF_TWO = {
    "copysign": jnp.copysign,
    "nextafter": lax.nextafter,
    "rem": lax.rem,
    "mod": jnp.mod,
    "less": lax.lt,
    "/": lax.div,
    "max": jnp.maximum,
    "min": jnp.minimum,
    "select": lambda x, y: jnp.where(x > y, x, y),
}
_OF_ONE = {
    "1 / x": lambda x: 1 / x,
    "2 / x": lambda x: 2 / x,
    "x ** -3": lambda x: x**-3 < 0,
    "relu": jax.nn.relu,
    "clip": lambda x: jnp.clip(x, -1, 1),
    "sign": jnp.sign,
    "copysign of 1": lambda x: jnp.copysign(1, x),
    "signbit": jnp.signbit,
    "bits": _bits,
    "bits and back": lambda x: lax.bitcast_convert_type(_bits(x), x.dtype),
    "spacing": lambda x: jnp.spacing(jnp.where(jnp.abs(x) > 1e-3, x, 1)),
    "floor": jnp.floor,
    "rint": jnp.round,
    "trunc": jnp.trunc,
    "rest of 1": lambda x: x % 1.0,
    **{f"to {dtype}": lambda x, dtype=dtype: x.astype(dtype) for dtype in INTS},
}
_ROWS = np.array([
    [1, 2, np.nan, 3], [-np.inf] * 4, [0.5, -1, 2, 2], [np.inf, np.nan, 1, np.nan],
    [np.inf, 1, -np.inf, 0], [np.nan] * 4, [3, -2, 1, 0], [65504, 65504, np.inf, 1],
])  # fmt: skip
_OF_ROWS = {
    "max of rows": lambda x: x.max(1),
    "max of columns": lambda x: x.max(0),
    "min of all": lambda x: x.min(),
    "argmax": lambda x: jnp.argmax(x, 1),
    "argmin": lambda x: jnp.argmin(x, 0),
    "sort": lambda x: jnp.sort(x, 1),
    "argsort": lambda x: jnp.argsort(x, 1),
    "top_k": lambda x: lax.top_k(x, 3)[1],
    "cummax": lambda x: lax.cummax(x, 1),
    "cummin": lambda x: lax.cummin(x, 0, reverse=True),
    "max pool": lambda x: nnx.max_pool(x[None, ..., None], (2, 2), (1, 1), "SAME"),
    "min pool": lambda x: -nnx.max_pool(-x[None, ..., None], (2, 3), (2, 1)),
    "scatter max": lambda x: jnp.zeros((2, 4), x.dtype).at[jnp.arange(8) % 2].max(x),
    "scatter min": lambda x: jax.ops.segment_min(x, jnp.arange(8) // 3, 3),
    "NaN of softmax": lambda x: jnp.isnan(jax.nn.softmax(x)),
    "NaN of log_softmax": lambda x: jnp.isnan(jax.nn.log_softmax(x, 0)),
    "softmax": lambda x: jnp.round(16 * jax.nn.softmax(x)),
}
_OF_WHOLE = {
    "//": jnp.floor_divide,
    "%": jnp.mod,
    "div": lax.div,
    "rem": lax.rem,
    "// or 0": lambda x, y: jnp.where(y == 0, 0, x // y),
}


def _cases() -> dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]]:
    cases: dict[str, tuple[Callable[..., Any], tuple[np.ndarray, ...]]] = {}
    with np.errstate(all="ignore"):
        for name in _FLOATS:
            dtype = dtype_of(name)
            cases |= {
                f"{n} [{name}]": (f, (_LEFT.astype(dtype), _RIGHT.astype(dtype)))
                for n, f in _OF_TWO.items()
            }
            cases |= {f"{n} [{name}]": (f, (_EDGES.astype(dtype),)) for n, f in _OF_ONE.items()}
            cases |= {f"{n} [{name}]": (f, (_ROWS.astype(dtype),)) for n, f in _OF_ROWS.items()}
        for name in INTS:
            info = np.iinfo(name)
            ends = np.array([0, 1, 2, 7, info.max, info.max - 1, info.min, info.min + 1], name)
            pairs = tuple(grid.ravel() for grid in np.meshgrid(ends, np.append(ends, -ends)))
            cases |= {f"{n} [{name}]": (f, pairs) for n, f in _OF_WHOLE.items()}
    return cases


CASES = _cases()
#: AIR files run by their operators' meanings in JAX, one by one: some dtypes stand for all.
_OF_AIR = ("[float32]", "[int32]")


def _wide(name: str) -> Any:
    """A context in which the dtypes of a case, which its name tells, stay as they are."""
    return jax.enable_x64("64" in name)


def _exported(file_format: str, folder: Path) -> dict[str, Path]:
    options: dict[str, Any] = {"ONNX": {"engine": "native"}, "AIR": {"exact": True}}
    files = {}
    for number, (name, (function, inputs)) in enumerate(CASES.items()):
        if file_format == "AIR" and not name.endswith(_OF_AIR):
            continue
        with _wide(name):
            done = ms.export(function, *inputs, file_name=folder / str(number), durable=False,
                             file_format=file_format, **options.get(file_format, {}))  # fmt: skip
        files[name] = done.file
    return files


def _results(file_format: str, files: dict[str, Path]) -> Iterator[Any]:
    if file_format == "MINDIR":
        with runner.MindSpore() as mindspore:
            cases = [runner.Case(file, [CASES[name][1]]) for name, file in files.items()]
            yield from (outcome.error or outcome.results[0][0] for outcome in mindspore.run(cases))
        return
    for name, file in files.items():
        if file_format == "ONNX":
            yield onnxruntime.session(file)(*CASES[name][1])[0]
        else:
            with jax.enable_x64(True):
                yield np.asarray(ms.load(file)(*CASES[name][1]))


def differences(file_format: str, folder: Path) -> dict[str, Any]:
    """By the names of all cases: what differs from JAX's results, or None."""
    out: dict[str, Any] = {}
    files = _exported(file_format, folder)
    for name, found in zip(files, _results(file_format, files), strict=True):
        function, inputs = CASES[name]
        with _wide(name):
            want = np.asarray(function(*map(jnp.asarray, inputs)))
        if isinstance(found, str) or found.dtype != want.dtype:
            out[name] = found
        else:
            out[name] = None if distance(want, found, None)[1] else (want, found)
    return out


HEADER = """# Functions that are exact by nature

Each gives JAX's bits, at NaN, both zeros, infinities, the ends of its dtype and pairs of these: in
MindSpore 2.10.0, in onnxruntime 1.32.0, and by the definitions of GE's operators in JAX (AIR, with
`exact=True`, in 32 bits). What differs by nature of a runtime, and is no case here, stands in
[formats.md](formats.md). Made by `python -m tests.sweep.exact`; all of it is a test.

"""


def document(found: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of all functions: in how many of its dtypes each gives JAX's bits."""
    lines = [
        HEADER + f"| function | dtypes | {' | '.join(found)} |",
        "|---|---" + "|---" * len(found) + "|",
    ]
    functions: dict[str, list[str]] = {}
    for name in CASES:
        function, dtype = re.fullmatch(r"(.*) \[(.*)\]", name).groups()  # type: ignore[union-attr]
        functions.setdefault(function, []).append(dtype)
    for function, dtypes in functions.items():
        cells = []
        for of_format in found.values():
            ran = [n for n in (f"{function} [{dtype}]" for dtype in dtypes) if n in of_format]
            equal = sum(of_format[name] is None for name in ran)
            cells.append("equal" if equal == len(ran) else f"**{equal} of {len(ran)}**")
        lines.append(f"| `{function}` | {', '.join(dtypes)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    found = {}
    for file_format in FORMATS:
        with tempfile.TemporaryDirectory() as folder:
            found[file_format] = differences(file_format, Path(folder))
    DOCUMENT.write_text(document(found), "utf-8")


if __name__ == "__main__":
    main()
