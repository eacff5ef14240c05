"""The table in docs/scaling.md, recomputed by the code that it describes.

``python -m tests.parallel.test_scaling`` prints it.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from msckpt_jax import boxes
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.parallel import gathering, pieces, shares

from .test_hosts import run

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
HOSTS = (8, 64, 512, 4096)
DEVICES = 8  # a host
SIDE = 32_768
TENSORS = 2_328
BYTES = TENSORS * SIDE * SIDE * 4  # 10.0 TB
MEETINGS = 4


class Device(NamedTuple):
    process_index: int
    number: int


class Sharding:
    """What a NamedSharding says of a mesh of more hosts than any test has.

    ``rows``: P("hosts", "devices"); ``columns``: P("devices", "hosts"); ``replicated``:
    P("devices"), the same on each host.
    """

    is_fully_addressable = False

    def __init__(self, kind: str, count: int):
        self.kind, self.count = kind, count

    def devices_indices_map(self, shape: tuple[int, ...]) -> dict[Device, tuple[slice, ...]]:
        def cut(size: int, parts: int, at: int) -> slice:
            return slice(size // parts * at, size // parts * (at + 1))

        out = {}
        for host in range(self.count):
            for number in range(DEVICES):
                by_host = cut(shape[0], self.count, host)
                by_device = cut(shape[0], DEVICES, number)
                out[Device(host, number)] = {
                    "rows": (by_host, by_device),
                    "columns": (by_device, by_host),
                    "replicated": (by_device, slice(0, shape[1])),
                }[self.kind]
        return out


def record(kind: str, count: int) -> Record:
    sharding: Any = Sharding(kind, count)
    content = Tensor((SIDE, SIDE), np.dtype("<f4"), ())
    return Record("w", "Float32", (SIDE, SIDE), content, sharding=sharding)


def share_of_one(kind: str, count: int) -> tuple[int, int]:
    """Bytes and write calls of a host for one tensor: each host has the same."""
    (share,) = shares.shares_of([record(kind, count)], only=count // 2)
    parts = list(pieces.cut([share]))
    runs = (sum(1 for _ in pieces.runs((SIDE, SIDE), piece.box)) for piece in parts)
    return sum(piece.nbytes for piece in parts), sum(runs)


def most_replicated(count: int) -> int:
    """The bytes of the host that writes most, when all hosts hold the same."""
    one = record("replicated", count)
    load = np.zeros(count, np.int64)
    for share in shares.shares_of([one] * TENSORS):
        load[share.owner] += sum(map(boxes.size_of, share.boxes)) * 4
    assert load.sum() == BYTES
    return int(load.max())


def requests(count: int) -> tuple[int, int]:
    """To the key-value store, by process 0 and by any other, when nobody waits for long.

    A meeting: each leaves a note, and reads the verdict; process 0 reads all notes and posts it.
    One sign of life each.
    """
    return MEETINGS * (count + 2) + 1, MEETINGS * 2 + 1


@functools.cache
def table() -> str:
    lines = [
        "| hosts | a host writes | write calls, rows | write calls, columns | "
        "replicated: the most a host writes | requests of host 0 | of any other | all requests |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for count in HOSTS:
        nbytes, rows = share_of_one("rows", count)
        assert nbytes * count * TENSORS == BYTES
        columns = share_of_one("columns", count)[1]
        first, other = requests(count)
        lines.append(
            f"| {count:,} | {size(nbytes * TENSORS)} | {rows * TENSORS:,} | {columns * TENSORS:,} "
            f"| {size(most_replicated(count))} | {first:,} | {other} "
            f"| {first + (count - 1) * other:,} |"
        )
    return "\n".join(lines)


def gathered() -> str:
    """Where only process 0 can write."""
    lines = [
        "| hosts | a host sends | operations of a host | host 0 receives | operations of host 0 |",
        "|---|---|---|---|---|",
    ]
    for count in HOSTS:
        one = shares.shares_of([record("rows", count)], only=1)
        several = max(1, planning.CHUNK_BYTES // sum(piece.nbytes for piece in pieces.cut(one)))
        windows = sum(1 for _ in gathering._batches(one * several)) * TENSORS // several
        sent = BYTES // count
        lines.append(
            f"| {count:,} | {size(sent)} | {windows:,} | {size(sent * (count - 1))} "
            f"| {windows * (count - 1):,} |"
        )
    return "\n".join(lines)


def size(nbytes: float) -> str:
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"


def test_the_page_has_the_table() -> None:
    assert table() in PAGE.read_text(), table()
    assert gathered() in PAGE.read_text(), gathered()


def test_a_process_plans_no_more_than_its_own_shares() -> None:
    """Else 4,096 hosts would each make nine million shares for a tree like this."""
    one = record("rows", 4096)
    found = shares.shares_of([one] * 3, only=17)
    assert [share.owner for share in found] == [17] * 3
    assert found[0].boxes == (((136, 144), (0, SIDE)),)


@pytest.mark.parametrize("kind", ["rows", "columns", "replicated"])
def test_own_shares_are_those_of_the_common_rule(kind: str) -> None:
    found = [record(kind, 8), record("replicated", 8), record(kind, 8)]
    everyone = shares.shares_of(found)
    for host in range(8):
        assert shares.shares_of(found, only=host) == [s for s in everyone if s.owner == host]


@pytest.mark.parametrize("count", [2, 4])
def test_the_number_of_requests(tmp_path: Path, count: int) -> None:
    ended = run("requests", count, tmp_path)
    found = [json.loads(one.output.splitlines()[0]) for one in ended]
    first, other = requests(count)
    assert [one["calls"] for one in found] == [first, *[other] * (count - 1)]
    assert max(one["largest"] for one in found) < 300 + len(str(tmp_path))


def test_the_window() -> None:
    assert planning.CHUNK_BYTES == 8 << 20  # as the page says


if __name__ == "__main__":
    print(table(), gathered(), sep="\n\n")
