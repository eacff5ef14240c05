"""Operators that the rules do not emit: MindSpore exports and runs each alone, JAX compares.

``python -m tests.mindir.vocabulary [OPERATOR ...]`` prints what is wrong; with ``--write`` it
keeps the errors in vocabulary.tsv, of which docs/meanings.md is made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import msckpt_jax as ms
from tests.mindir import vocabulary_page as page
from tests.mindir.vocabulary_rows import ROWS

_HERE = Path(__file__).parent


#: The steps that a network with parameters takes in MindSpore.
STEPS = 3


class Row(NamedTuple):
    """An operator in a dtype.

    Attributes:
        key: a name of the network. call: what it computes. inputs: what makes the inputs.
        allowed: the error that is allowed, in units of the last place of the largest number.
        due: the results where MindSpore's CPU has no kernel: an expression of NumPy; else empty.
    """

    op: str
    dtype: str
    key: str
    call: str
    inputs: str
    allowed: float
    due: str = ""


class Outcome(NamedTuple):
    """What became of a row: a problem of MindSpore's, one of ours, or the error in units."""

    theirs: str = ""
    ours: str = ""
    units: float = 0.0


def rows(table: str = ROWS) -> Iterator[Row]:
    """Lines ``Operator | call | dtypes | inputs [| allowed units [| due]]``."""
    for line in filter(None, table.splitlines()):
        op, call, dtypes, inputs, *rest = (part.strip() for part in line.split(" | "))
        for short in dtypes.split():
            key = f"{op}_{zlib.crc32(line.encode()):08x}_{short}"
            allowed = float(rest[0]) if rest else 64.0
            yield Row(op, short, key, call, inputs, allowed, rest[1] if len(rest) > 1 else "")


def outcomes(asked: Iterable[Row], timeout: int = 600) -> dict[Row, Outcome]:
    """Export and run rows in MindSpore, and in JAX."""
    asked = list(asked)
    with tempfile.TemporaryDirectory() as folder:
        exported(asked, Path(folder), timeout)
        return {row: outcome(row, Path(folder)) for row in asked}


def exported(asked: list[Row], folder: Path, timeout: int = 600) -> None:
    """Let MindSpore export and run the rows that are not in a folder; a crash fails its own."""
    left = [row for row in asked if not any(folder.glob(f"{row.key}.[nt]*"))]
    while left:
        crashed = _exported(left, folder, timeout)
        if crashed:
            (folder / f"{crashed}.txt").write_text("MindSpore crashed")
        left = left[[row.key for row in left].index(crashed) + 1 :] if crashed else []


def _exported(asked: list[Row], folder: Path, timeout: int) -> str:
    """Let MindSpore work on rows; the key of the row at which it died."""
    described = [
        {"key": r.key, "call": r.call, "inputs": r.inputs, "dtype": r.dtype, "runs": not r.due}
        for r in asked
    ]
    (folder / "rows.json").write_text(json.dumps(described))
    environment = os.environ | {"GLOG_v": "4", "PYTHONPATH": str(_HERE)}
    script = _HERE / "vocabulary_worker.py"
    subprocess.run([sys.executable, script, folder], env=environment, timeout=timeout,
                   capture_output=True, check=False)  # fmt: skip
    return (folder / "now").read_text()


def outcome(row: Row, folder: Path) -> Outcome:
    """Compare a row that MindSpore has exported."""
    failure = folder / f"{row.key}.txt"
    if failure.exists():
        return Outcome(theirs=failure.read_text())
    with np.load(folder / f"{row.key}.npz") as saved:
        arrays = {key: saved[key] for key in saved}
    inputs = [array for key, array in arrays.items() if not key.startswith("output")]
    due = [array for key, array in arrays.items() if key.startswith("output")]
    try:
        found = _computed(folder / f"{row.key}.mindir", arrays)
    except Exception as error:
        notes = "; ".join(getattr(error, "__notes__", []))
        return Outcome(ours=f"{type(error).__name__}: {error} {notes}")
    if row.due:
        from tests.mindir import definitions

        due = definitions.due(row.due, inputs, found)
    return compared(due, found)


def _computed(file: Path, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """The results; with parameters those of each step, and their new contents."""
    function = ms.load(file)
    inputs = [array for key, array in arrays.items() if key.startswith("input")]
    given = [x.astype(w.dtype) if w.dtype == jax.numpy.bfloat16 else x
             for x, w in zip(inputs, jax.tree.leaves(function.inputs), strict=True)]  # fmt: skip
    held = [key.partition("_")[2] for key in arrays if key.startswith("held")]
    if not held:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(function(*given))]
    found: list[np.ndarray] = []
    parameters = function.parameters
    for _ in range(STEPS if any(key.startswith("output1") for key in arrays) else 1):
        result, parameters = function.apply(parameters, *given, mutable=True)
        found += map(np.asarray, jax.tree.leaves(result))
        found += [np.asarray(parameters[name]) for name in held]
    return found


def compared(due: list[np.ndarray], found: list[np.ndarray]) -> Outcome:
    """The largest error of the results; why they cannot be compared."""
    if len(due) != len(found):
        return Outcome(ours=f"{len(found)} results, not {len(due)}")
    worst = 0.0
    for k, (want, got) in enumerate(zip(due, found, strict=True)):
        if want.shape != got.shape:
            return Outcome(ours=f"result {k} has the shape {got.shape}, not {want.shape}")
        if _kind(want.dtype) != _kind(got.dtype):
            return Outcome(ours=f"result {k} is {got.dtype}, not {want.dtype}")
        worst = max(worst, error(want, got))
    return Outcome(units=worst)


def _kind(dtype: np.dtype) -> Any:
    if dtype.kind in "iu":
        return jax.dtypes.canonicalize_dtype(dtype)
    return np.dtype(np.float32) if dtype == jax.numpy.bfloat16 else dtype


def error(want: np.ndarray, got: np.ndarray) -> float:
    """The largest error, in units of the last place of the largest number; exact ones must be."""
    if got.dtype.kind in "biuSU":
        return 0.0 if np.array_equal(want, got) else np.inf
    eps = float(jax.numpy.finfo(got.dtype).eps)
    wide = np.complex128 if want.dtype.kind == "c" else np.float64
    want, got = want.astype(wide), got.astype(wide)
    finite = np.isfinite(want)
    if not np.array_equal(finite, np.isfinite(got)):
        return np.inf
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        return np.inf
    size = np.max(np.abs(want[finite]), initial=1e-300)
    return float(np.max(np.abs(want[finite] - got[finite]), initial=0) / (size * eps))


def wrong(row: Row, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty where it is right."""
    if outcome.theirs or outcome.ours:
        return outcome.theirs or outcome.ours
    return "" if outcome.units <= row.allowed else f"off by {outcome.units:.3g} units"


def main() -> None:
    names = {name for name in sys.argv[1:] if not name.startswith("-")}
    asked = [row for row in rows() if not names or row.op in names]
    right: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(os.environ.get("VOCABULARY", made))  # a folder that keeps MindSpore's work
        folder.mkdir(exist_ok=True)
        exported(asked, folder, 3600)
        for row in asked:
            done = outcome(row, folder)
            text = wrong(row, done)
            side = "MINDSPORE" if done.theirs else "WRONG" if text else "right"
            print(side, row.op, row.dtype, row.call, text[:600] or f"{done.units:.3g}", flush=True)
            if not text:
                units = right.setdefault(row.op, {})
                units[row.dtype] = max(done.units, units.get(row.dtype, 0))
    if "--write" in sys.argv:
        page.keep({
            op: page.Measured(" ".join(units), max(units.values())) for op, units in right.items()
        })  # fmt: skip


if __name__ == "__main__":
    main()
