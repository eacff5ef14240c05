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
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.parallel import dealing, exchange, pieces, shares, slots
from msckpt_jax.parallel.dealing import Output

from .test_hosts import run

PAGE = Path(__file__).parents[2] / "docs" / "scaling.md"
HOSTS = (8, 64, 512, 4096)
DEVICES = 8  # a host
SIDE = 32_768
SHAPE = (SIDE, SIDE)
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


def direct_of_one(kind: str, count: int) -> tuple[int, int]:
    """Bytes and write calls of a host for one tensor, where each writes what it holds."""
    (share,) = shares.assigned([record(kind, count)])
    parts = list(pieces.cut(share.tensor, share.of(count // 2)))
    runs = (sum(1 for _ in pieces.runs((SIDE, SIDE), piece.box)) for piece in parts)
    return sum(piece.nbytes for piece in parts), sum(runs)


def most_replicated(count: int) -> int:
    """The bytes of the host that writes most, when all hosts hold the same."""
    one = record("replicated", count)
    load = np.zeros(count, np.int64)
    for share in shares.assigned([one] * TENSORS):
        for owner in share.processes:
            load[owner] += sum(map(boxes.size_of, share.of(owner))) * 4
    assert load.sum() == BYTES
    return int(load.max())


class Exchange(NamedTuple):
    """The exchanges of host ``me`` for some tensors.

    Attributes:
        rounds: the collective operations that it takes part in.
        calls: its writes of what others send, and of windows.
        sent: the bytes that it sends.
        moved: the bytes of the slots that it sends, empty ones too.
    """

    rounds: int
    calls: int
    sent: int
    moved: int


def exchanged(wave: list[Output], me: int, count: int) -> Exchange:
    """Count what the plan says. The rounds are those of ``me`` as a writer, or as a sender."""
    rounds = calls = sent = moved = 0
    for party in dealing.planned(wave, me, count, exchange=True).parties:
        limit = exchange.slot_bytes(party)
        own = rounds
        for writer in party.stretches:
            for batch in party.batches(writer) if writer != me else ():
                filled = list(exchange.packed(batch, me, limit))
                sent += sum(piece.nbytes for slot in filled for _, piece in slot)
                rounds += len(filled) if me not in party.stretches else 0
        for batch in party.batches(me) if me in party.stretches else ():
            others = [p for p in party.members if p != me]
            each = [len(list(exchange.packed(batch, p, limit))) for p in (others[0], others[-1])]
            assert len({*each}) == 1  # all hosts hold as much
            rounds += max(1, *each)
            for section in batch:
                if section.window is not None:
                    calls += 1
                    continue
                each = pieces.cut(section.shares.tensor, section.parts(others[0]), limit)
                calls += len(others) * sum(1 for p in each for _ in pieces.runs(SHAPE, p.box))
        moved += (rounds - own) * len(party.members) * (limit + slots.HEAD_BYTES)
    return Exchange(rounds, calls, sent, moved)


def one_file(kind: str, count: int, writer: int | None = None, me: int | None = None) -> Exchange:
    """The exchanges for 8 tensors of a file, times as many as make up the model.

    These are 4,096 windows: a whole number for each host.
    """
    some = 8
    output = Output(Path("a"), Plan([], BYTES), [record(kind, count)] * some, writer)
    found = exchanged([output], count // 2 if me is None else me, count)
    return Exchange(*(number * TENSORS // some for number in found))


def folder(kind: str, count: int) -> tuple[int, Exchange]:
    """The most files that a host writes, of one tensor each, and the exchanges for one of them."""
    one = [record(kind, count)]
    outputs = [Output(Path(str(n)), Plan([], 4), one) for n in range(TENSORS)]
    dealt = dealing.writers(outputs, count)
    most = max(np.bincount(dealt))
    assert most == -(-TENSORS // count)
    first = [output._replace(writer=w) for output, w in zip(outputs, dealt, strict=True)][:2]
    writer = first[0].writer
    assert writer is not None
    return int(most), exchanged(first, writer, count)


def requests(count: int) -> tuple[int, int]:
    """To the key-value store, by process 0 and by any other, when nobody waits for long.

    A meeting: each leaves a note, and reads the verdict; process 0 reads all notes and posts it.
    One sign of life each.
    """
    return MEETINGS * (count + 2) + 1, MEETINGS * 2 + 1


@functools.cache
def table() -> str:
    """One file: what each host writes, directly and through windows."""
    lines = [
        "| hosts | a host writes | write calls, rows | write calls, columns, each its own | "
        "put together | rounds | a host sends | replicated: the most a host writes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for count in HOSTS:
        nbytes, rows = direct_of_one("rows", count)
        assert nbytes * count * TENSORS == BYTES
        assert not one_file("rows", count).rounds
        before = direct_of_one("columns", count)[1] * TENSORS
        after = one_file("columns", count)
        lines.append(
            f"| {count:,} | {size(nbytes * TENSORS)} | {rows * TENSORS:,} | {before:,} "
            f"| {after.calls:,} | {after.rounds:,} | {size(after.sent)} "
            f"| {size(most_replicated(count))} |"
        )
    return "\n".join(lines)


@functools.cache
def asked() -> str:
    """The requests to the key-value store, of a file and of a folder."""
    files = f"{TENSORS:,}"
    lines = [
        "| hosts | requests of host 0 | of any other | all requests | "
        f"with {MEETINGS} meetings a file, {files} files |",
        "|---|---|---|---|---|",
    ]
    for count in HOSTS:
        first, other = requests(count)
        every = first + (count - 1) * other
        lines.append(f"| {count:,} | {first:,} | {other} | {every:,} | {every * TENSORS:,} |")
    return "\n".join(lines)


@functools.cache
def dealt() -> str:
    """A folder: what the host that has most to write does for one file."""
    lines = [
        "| hosts | files a host writes | rounds a file, rows | writes | slot | "
        "rounds a file, columns | writes |",
        "|---|---|---|---|---|---|---|",
    ]
    for count in HOSTS:
        most, rows = folder("rows", count)
        _, columns = folder("columns", count)
        slot = planning.CHUNK_BYTES // count
        slot = max(slot, exchange._LEAST_BYTES) >> 10
        lines.append(
            f"| {count:,} | {most} | {rows.rounds:,} | {rows.calls:,} | {slot:,} KiB "
            f"| {columns.rounds:,} | {columns.calls:,} |"
        )
    return "\n".join(lines)


@functools.cache
def gathered() -> str:
    """Where only process 0 can write."""
    lines = [
        "| hosts | a host sends | its rounds | its slots, empty ones too | rounds of host 0 | "
        "writes of host 0 |",
        "|---|---|---|---|---|---|",
    ]
    for count in HOSTS:
        first = one_file("rows", count, writer=0, me=0)
        other = one_file("rows", count, writer=0, me=1)
        lines.append(
            f"| {count:,} | {size(other.sent)} | {other.rounds:,} | {size(other.moved)} "
            f"| {first.rounds:,} | {first.calls:,} |"
        )
    return "\n".join(lines)


def size(nbytes: float) -> str:
    return f"{nbytes / 1e9:,.1f} GB" if nbytes >= 1e9 else f"{nbytes / 1e6:,.1f} MB"


@pytest.mark.parametrize("made", [table, asked, dealt, gathered])
def test_the_page_has_the_tables(made: Any) -> None:
    assert made() in PAGE.read_text(), made()


@pytest.mark.parametrize("kind", ["rows", "columns", "replicated"])
def test_every_element_has_one_owner(kind: str) -> None:
    for share in shares.assigned([record(kind, 8), record("replicated", 8), record(kind, 8)]):
        parts = [box for owner in share.processes for box in share.of(owner)]
        assert sum(map(boxes.size_of, parts)) == SIDE * SIDE
        assert not any(boxes.intersect(a, b) for n, a in enumerate(parts) for b in parts[n + 1 :])


def test_a_real_save_does_what_the_plan_says(tmp_path: Path) -> None:
    """Four files of 64 MiB, one of each process, or one of all: rounds, bytes and writes."""
    ended = run("counted", 4, tmp_path)
    for me, one in enumerate(ended):
        columns, rows = printed(one.output)
        # 256 MiB are 32 windows of 8 MiB: 8 of each; it sends what three others write.
        assert columns == {"rounds": 8, "sent": 48 << 20, "calls": 8 + 4 * (me == 0)}
        # 16 MiB to each other process, in slots of 2 MiB; 24 pieces come, and 2 are its own.
        assert rows == {"rounds": 8, "sent": 48 << 20, "calls": 24 + 2 + 1 + (me == 0)}


@pytest.mark.parametrize("count", [2, 4])
def test_the_number_of_requests(tmp_path: Path, count: int) -> None:
    """Those of a file, and of a folder of several."""
    ended = run("requests", count, tmp_path)
    for number in (0, 1):
        found = [printed(one.output)[number] for one in ended]
        first, other = requests(count)
        assert [one["calls"] for one in found] == [first, *[other] * (count - 1)]
        assert max(one["largest"] for one in found) < 400 + 2 * len(str(tmp_path))


def printed(output: str) -> list[Any]:
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def test_the_window() -> None:
    assert planning.CHUNK_BYTES == 8 << 20  # as the page says


if __name__ == "__main__":
    print(table(), asked(), dealt(), gathered(), sep="\n\n")
