"""``msckpt diff``: what two files do not have in common."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes, progress
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.plan import CHUNK_BYTES
from msckpt_jax.cli import common

DESCRIPTION = """\
Compare the entries of two files or folders by name, whatever their formats: what is missing or
extra, other dtypes and shapes, and the largest absolute difference of the values. NaNs are equal to
NaNs. With --rtol/--atol values are equal when |a - b| <= atol + rtol * |b|, as in NumPy.
"""
EXAMPLES = """\
  msckpt diff before.ckpt after.ckpt
  msckpt diff model.ckpt model.safetensors --atol 1e-6
  msckpt diff a.ckpt b.ckpt --filter '^backbone' --json

exit status: 0 equal, 1 different, 2 a file cannot be read
"""


class Difference(NamedTuple):
    """``kind`` is missing, extra, kind, dtype, shape or value; the sides as text."""

    name: str
    kind: str
    a: str
    b: str
    largest: float | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A")
    parser.add_argument("b", metavar="B")
    parser.add_argument("--filter", metavar="REGEX", help="only names in which it is found")
    parser.add_argument("--rtol", type=float, default=0.0, help="relative tolerance (default 0)")
    parser.add_argument("--atol", type=float, default=0.0, help="absolute tolerance (default 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    common.key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    one, other = (common.open_sound_file(args, name) for name in (args.a, args.b))
    chosen = common.choose(args.filter)
    total = sum(entry.nbytes for entry in one.entries.values() if chosen(entry.name))
    with progress.bar("compare", total) as advance:
        found = list(differences(one, other, args.rtol, args.atol, chosen, advance))
    if args.json:
        print(json.dumps([d._asdict() for d in found], indent=1, ensure_ascii=False))
    elif found:
        out = common.table("name", "difference", "A", "B", ">max |a - b|")
        for d in found:
            largest = "" if d.largest is None else f"{d.largest:.6g}"
            out.add_row(*map(common.plain, (d.name, d.kind, d.a, d.b, largest)))
        common.console().print(out)
    else:
        print(f"equal: {sum(map(chosen, one))} entries")
    return 1 if found else 0


def differences(
    one: CheckpointFile,
    other: CheckpointFile,
    rtol: float,
    atol: float,
    chosen: Callable[[str], bool],
    advance: Callable[[int], Any],
) -> Iterator[Difference]:
    """What differs, in the order of the first file, then what only the second has."""
    for name, entry in one.entries.items():
        if not chosen(name):
            continue
        if name not in other:
            yield Difference(name, "missing", _describe(one, name), "")
            continue
        found = _compare(one, other, name, rtol, atol)
        advance(entry.nbytes)
        if found is not None:
            yield found
    for name in other:
        if name not in one and chosen(name):
            yield Difference(name, "extra", "", _describe(other, name))


def _compare(
    one: CheckpointFile, other: CheckpointFile, name: str, rtol: float, atol: float
) -> Difference | None:
    a, b = one.entries[name], other.entries[name]
    sides = _describe(one, name), _describe(other, name)
    if (a.is_array, a.key_impl, a.is_map) != (b.is_array, b.key_impl, b.is_map):
        return Difference(name, "kind", *sides)
    if not a.is_array:
        same = all(
            bytes(one.raw_bytes(x)) == bytes(other.raw_bytes(y))
            for x, y in zip(a.tensors, b.tensors, strict=True)
        )
        return None if same else Difference(name, "value", *sides)
    if a.shape != b.shape:
        return Difference(name, "shape", *sides)
    largest, close = largest_difference(one, other, name, rtol, atol)
    if a.type != b.type:
        return Difference(name, "dtype", *sides, largest)
    return None if close else Difference(name, "value", *sides, largest)


def largest_difference(
    one: CheckpointFile, other: CheckpointFile, name: str, rtol: float, atol: float
) -> tuple[float, bool]:
    """The largest absolute difference and whether all are within the tolerances, by blocks."""
    shape = one.entries[name].shape
    rows = one.entries[name].tensors[0].row
    count = max(1, CHUNK_BYTES // rows.stored.itemsize)
    largest, close = 0.0, True
    for box in boxes.of_range(shape, 0, boxes.size_of(boxes.whole(shape)), count):
        index = tuple(slice(*side) for side in box)
        a, b = (_wide(file.get_slice(name)[index]) for file in (one, other))
        if np.array_equal(a, b):
            continue
        equal = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore", over="ignore"):
            delta = np.where(equal, 0, np.abs(a - b))
            near = equal | (delta <= atol + rtol * np.abs(b))
        # A NaN on one side is as far away as can be.
        largest = max(largest, float(np.nan_to_num(delta, nan=np.inf).max()))
        close = close and bool(near.all())
    return largest, close


def _wide(array: np.ndarray) -> np.ndarray:
    """In a dtype in which differences do not overflow: longdouble holds all 64-bit integers."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.longdouble)


def _describe(file: CheckpointFile, name: str) -> str:
    entry = file.entries[name]
    if entry.type == "str":
        return repr(file[name])[:40]
    return f"{entry.type}{list(entry.shape)}"
