"""``msckpt diff``: the differences between two checkpoints."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import boxes, display, progress
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.plan import CHUNK_BYTES
from msckpt_jax.cli import common, sources

DESCRIPTION = (
    """\
Compare the entries of two checkpoints by name: missing and extra entries, other dtypes and shapes,
and the largest absolute difference of the values. The formats may differ. Checkpoints are

"""
    + sources.DESCRIPTION
    + """
NaNs are equal to NaNs. With --rtol and --atol values are equal when |a - b| <= atol + rtol * |b|,
as in NumPy.
"""
    + sources.STORES
)
EXAMPLES = """\
  msckpt diff before.ckpt after.ckpt
  msckpt diff model.ckpt model.safetensors --atol 1e-6
  msckpt diff Qwen3-0.6B/ model.ckpt
  msckpt diff a.ckpt b.ckpt --filter '^backbone' --json

exit status: 0 all are equal, 1 some differ, 2 a checkpoint cannot be read
"""


class Difference(NamedTuple):
    """A difference between two checkpoints.

    Attributes:
        name: the name of the entry.
        kind: missing, extra, kind, dtype, shape or value.
        a, b: the entry of each side, as text.
        largest: the largest difference of the values, if they can be compared.
    """

    name: str
    kind: str
    a: str
    b: str
    largest: float | None = None


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("a", metavar="A", help="file or folder")
    parser.add_argument("b", metavar="B", help="file or folder to compare with")
    parser.add_argument("--filter", metavar="REGEX", help="compare only names in which it is found")
    parser.add_argument("--rtol", type=float, default=0.0, help="relative tolerance (default: 0)")
    parser.add_argument("--atol", type=float, default=0.0, help="absolute tolerance (default: 0)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    common.limit_argument(parser)
    common.key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    left, right = (common.open_sound_file(args, name) for name in (args.a, args.b))
    chosen = common.choose(args.filter)
    total = sum(entry.nbytes for entry in left.entries.values() if chosen(entry.name))
    with progress.bar("compare", total) as advance:
        differing = list(differences(left, right, args.rtol, args.atol, chosen, advance))
    if args.json:
        common.say_json([d._asdict() for d in differing])
    elif differing:
        columns = ("name", "difference", "A", "B", ">max |a - b|")
        common.show(args.limit, columns, differing, _row)
    else:
        common.say(f"equal: {display.counted(sum(map(chosen, left)), 'entry', 'entries')}")
    return 1 if differing else 0


def _row(d: Difference) -> tuple[str, ...]:
    return d.name, d.kind, d.a, d.b, "" if d.largest is None else f"{d.largest:.6g}"


def differences(
    left: CheckpointFile,
    right: CheckpointFile,
    rtol: float,
    atol: float,
    chosen: Callable[[str], bool],
    advance: Callable[[int], Any],
) -> Iterator[Difference]:
    """Yield differences in the order of the left side, then the entries of the right side alone."""
    for name, entry in left.entries.items():
        if not chosen(name):
            continue
        if name not in right:
            yield Difference(name, "missing", _describe(left, name), "")
            continue
        difference = _compare(left, right, name, rtol, atol)
        advance(entry.nbytes)
        if difference is not None:
            yield difference
    for name in right:
        if name not in left and chosen(name):
            yield Difference(name, "extra", "", _describe(right, name))


def _compare(
    left: CheckpointFile, right: CheckpointFile, name: str, rtol: float, atol: float
) -> Difference | None:
    a, b = left.entries[name], right.entries[name]
    sides = _describe(left, name), _describe(right, name)
    if (a.is_array, a.key_impl, a.is_map) != (b.is_array, b.key_impl, b.is_map):
        return Difference(name, "kind", *sides)
    if not a.is_array or (a.unknown and a.type == b.type):
        same = all(
            bytes(left.raw_bytes(x)) == bytes(right.raw_bytes(y))
            for x, y in zip(a.tensors, b.tensors, strict=True)
        )
        return None if same else Difference(name, "value", *sides)
    if a.shape != b.shape:
        return Difference(name, "shape", *sides)
    largest, close = _largest_difference(left, right, name, rtol, atol)
    if a.type != b.type:
        return Difference(name, "dtype", *sides, largest)
    return None if close else Difference(name, "value", *sides, largest)


def _largest_difference(
    left: CheckpointFile, right: CheckpointFile, name: str, rtol: float, atol: float
) -> tuple[float, bool]:
    """The largest absolute difference, block by block, and whether all are in the tolerances."""
    shape = left.entries[name].shape
    row = left.entries[name].row
    count = max(1, CHUNK_BYTES // row.stored.itemsize)
    largest, close = 0.0, True
    for box in boxes.of_range(shape, 0, boxes.size_of(boxes.whole(shape)), count):
        index = tuple(slice(*side) for side in box)
        a, b = (_wide(file.get_slice(name)[index]) for file in (left, right))
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
    """Cast to a dtype in which no difference overflows: longdouble holds all 64-bit integers."""
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.longdouble)


def _describe(file: CheckpointFile, name: str) -> str:
    entry = file.entries[name]
    if entry.type == "str":
        return repr(file[name])[:40]
    return f"{entry.type}{list(entry.shape)}"
