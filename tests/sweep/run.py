"""``python -m tests.sweep.run``: sweep all functions, and write docs/accuracy.md.

Options: ``--only TEXT`` (names that have it), ``--format``, ``--dtype``, ``--count`` places an
exponent range; with any of them the rows are printed, and the document is left alone.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from msckpt_jax.air.target import open_model
from msckpt_jax.api.export import export
from msckpt_jax.errors import ExportError
from msckpt_jax.mindir import runner
from msckpt_jax.onnx import runner as onnxruntime
from tests.sweep.errors import Part, Row, row
from tests.sweep.functions import FUNCTIONS, places
from tests.sweep.known import KNOWN

FORMATS = ("AIR", "MINDIR", "ONNX")
DTYPES = ("float32", "float64", "float16", "bfloat16")
COUNT = 400
DOCUMENT = Path(__file__).parents[2] / "docs" / "accuracy.md"


def rows(
    file_format: str, dtype: str, names: Sequence[str], count: int = COUNT
) -> Iterator[tuple[str, Row | str]]:
    """The row of each function, or the reason why the format refuses it."""
    x = places(jax.numpy.dtype(dtype), count)
    with (
        tempfile.TemporaryDirectory() as folder,
        jax.enable_x64(dtype == "float64"),
        warnings.catch_warnings(),
        np.errstate(all="ignore"),
    ):
        warnings.simplefilter("ignore")
        expected = {name: np.asarray(jax.jit(FUNCTIONS[name].jax)(x)) for name in names}
        files = {name: _exported(name, x, file_format, Path(folder)) for name in names}
        there = {name: file for name, file in files.items() if isinstance(file, Path)}
        found = dict(zip(there, _run(file_format, list(there.values()), x), strict=True))
        for name, file in files.items():
            result = found[name] if name in found else str(file)
            if isinstance(result, str):
                yield name, result
                continue
            reference = FUNCTIONS[name].reference(x.astype(np.float64))
            yield name, row(x, reference, expected[name], result)


def chosen(dtype: str, text: str = "") -> list[str]:
    """The functions that JAX has in a dtype."""
    small = dtype in ("float16", "bfloat16")
    return [name for name, f in FUNCTIONS.items() if text in name and (f.small or not small)]


def _exported(name: str, x: np.ndarray, file_format: str, folder: Path) -> Path | str:
    options: dict[str, Any] = {"engine": "native"} if file_format == "ONNX" else {}
    path = folder / str(list(FUNCTIONS).index(name))
    try:
        return export(
            FUNCTIONS[name].jax,
            x,
            file_name=path,
            file_format=file_format,
            durable=False,
            **options,
        ).file
    except ExportError as error:
        return f"refused: {error.problems[0]}"


def _run(file_format: str, files: Sequence[Path], x: np.ndarray) -> Sequence[np.ndarray | str]:
    if file_format == "MINDIR":
        with runner.MindSpore() as mindspore:
            outcomes = mindspore.run([runner.Case(file, [[x]]) for file in files])
        return [o.error.strip() or o.results[0][0] for o in outcomes]
    if file_format == "ONNX":
        return [onnxruntime.session(file)(x)[0] for file in files]
    return [np.asarray(jax.tree.leaves(jax.jit(open_model(file))(x))[0]) for file in files]


def reason(file_format: str, dtype: str, name: str, result: Row | str) -> str | None:
    """Why a row is beyond what is allowed; None where it has no reason, or is beyond its bounds."""
    known = KNOWN.get((file_format, dtype, name))
    if known is None or isinstance(result, str) or not known.holds(result.beyond):
        return None
    return known.reason


HEADER = """# Accuracy of exported elementary functions

Each function over its whole range (all exponents of both signs, subnormal numbers, infinities, 0 to
30 in small steps, the neighbours of 1), in what runs the files: MindSpore 2.10.0 and onnxruntime
1.32.0 on a CPU, GE's definitions in JAX for AIR. An error is in units of the last place of the
right number, which NumPy and SciPy compute in float64. It may be four times JAX's own, and 2;
subnormal numbers may be 0. Where JAX itself is off by more than 1000 units, it may be four times
the error there; where JAX has infinity or NaN for a number, it may be any.
Made by `python -m tests.sweep.run`; a part of it is a test.

"""


def document(found: dict[tuple[str, str], list[tuple[str, Row | str]]]) -> str:
    """The table of the worst rows, those beyond first, each with its reason."""
    lines = [
        HEADER,
        "## Beyond",
        "",
        "| format | dtype | function | worst | JAX | places | reason |",
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for (format_, dtype), each in found.items():
        for name, result in each:
            why = reason(format_, dtype, name, result) or "**not explained**"
            if isinstance(result, str):
                lines.append(f"| {format_} | {dtype} | {name} | no result | | | {why} |")
            elif result.beyond.places:
                lines.append(
                    f"| {format_} | {dtype} | {name} | {result.beyond.worst:.3g} | "
                    f"{result.jax:.3g} | {_where(result.beyond, result.places)} | {why} |"
                )
    lines += ["", "## Where JAX is rough", "", "Places where JAX errs by more than 1000 units.", ""]
    lines += ["| format | dtype | function | worst | JAX | places |", "|---|---|---|---|---|---|"]
    for (format_, dtype), each in found.items():
        for name, result in each:
            if isinstance(result, Row) and result.rough.places:
                rough, where = result.rough, _where(result.rough, result.places)
                errors = f"{rough.worst:.3g} | {rough.jax:.3g}"
                lines.append(f"| {format_} | {dtype} | {name} | {errors} | {where} |")
    lines += ["", "## All", "", "The largest error in units, and JAX's own in brackets.", ""]
    for dtype in dict.fromkeys(dtype for _, dtype in found):
        formats = [format_ for format_, d in found if d == dtype]
        lines += [f"| {dtype} | {' | '.join(formats)} |", "|---|" + "---|" * len(formats)]
        tables = [dict(found[format_, dtype]) for format_ in formats]
        for name in tables[0]:
            cells = " | ".join(_cell(table[name]) for table in tables)
            lines.append(f"| {name} | {cells} |")
        lines.append("")
    return "\n".join(lines)


def _where(part: Part, places: int) -> str:
    low, high = part.range
    return f"{part.places} of {places}, size {low:.3g} to {high:.3g}"


def _cell(result: Row | str) -> str:
    if isinstance(result, str):
        return "refused" if result.startswith("refused") else "fails"
    return f"{result.worst:.3g} ({result.jax:.3g})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("--dtype", choices=DTYPES)
    parser.add_argument("--count", type=int, default=COUNT)
    args = parser.parse_args()
    found: dict[tuple[str, str], Any] = {}
    for dtype in [args.dtype] if args.dtype else DTYPES:
        for format_ in [args.format] if args.format else FORMATS:
            names = chosen(dtype, args.only)
            found[format_, dtype] = list(rows(format_, dtype, names, args.count))
    if args == parser.parse_args([]):
        DOCUMENT.write_text(document(found))
    else:
        print(document(found))


if __name__ == "__main__":
    main()
