"""The plan of an exchange, and its rounds, with all processes in one."""

from __future__ import annotations

import itertools
import math
import os
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msckpt_jax import boxes
from msckpt_jax.checkpoint import formats
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record, Spread, Tensor
from msckpt_jax.parallel import dealing, exchange, hosts, pieces, slots
from msckpt_jax.parallel.dealing import Output
from msckpt_jax.parallel.exchange import FileSink

DTYPES = ("Int8", "Float32", "BFloat16", "Float64")
STORED = {"Int8": "i1", "Float32": "<f4", "BFloat16": "<u2", "Float64": "<f8"}


class Layout:
    """A tensor, the grid that cuts it, and the processes that hold each box."""

    def __init__(self, rng: np.random.Generator, number: int, processes: int):
        self.name, self.type = f"w{number}", DTYPES[rng.integers(len(DTYPES))]
        shape = rng.integers(1, 40, rng.integers(0, 4))
        self.whole = rng.integers(1, 100, shape).astype(STORED[self.type])
        cuts = [sorted({0, n, *rng.integers(0, n + 1, rng.integers(0, 4))}) for n in shape]
        self.held = {
            tuple((int(a), int(b)) for a, b in box): {
                int(p) for p in rng.choice(processes, rng.integers(1, 3))
            }
            for box in itertools.product(*(list(itertools.pairwise(c)) for c in cuts))
        }

    def record(self, process: int) -> Record:
        """What a process has."""
        origin = boxes.whole(self.whole.shape)
        own = tuple(
            (box, self.whole[(*boxes.slices(box, origin), ...)])
            for box, processes in self.held.items()
            if process in processes
        )
        content = Tensor(self.whole.shape, self.whole.dtype, own)
        held = tuple((box, p) for box, processes in self.held.items() for p in sorted(processes))
        return Record(self.name, self.type, content.shape, content, sharding=Spread(held))


class Room(NamedTuple):
    """What a member fills: slots, and the memory of those that are in reach."""

    sent: slots.Slots
    rooms: dict[int, np.ndarray]


def round_of(members: tuple[int, ...], nbytes: int, one_machine: bool) -> tuple[list[Room], Any]:
    """What the members of a party fill in a round, and what the one at a place gets then."""
    heads = np.zeros((len(members), len(members), slots.HEAD_BYTES), np.uint8)
    memory = np.full((len(members), len(members), nbytes), 255, np.uint8)  # by receiver
    rooms = dict(zip(members, memory.reshape(len(members), -1), strict=True))
    filled = [
        Room(slots.Slots(head, [*memory[:, at]]), rooms if one_machine else {me: rooms[me].copy()})
        for at, (me, head) in enumerate(zip(members, heads, strict=True))
    ]
    return filled, lambda at: slots.Slots(heads[:, at], [*memory[at]])


def play(
    wave: list[list[Output]], works: list[Any], one_machine: bool = False
) -> dict[tuple[int, ...], int]:
    """Let all processes do their work, and return the rounds of each party."""
    rounds = {}
    sinks = [
        {n: FileSink(os.open(o.path, os.O_RDWR), pieces.places(o.plan)) for n, o in enumerate(own)}
        for own in wave
    ]
    parties = {p.members: [q for w in works for q in w.parties if q.members == p.members]
               for work in works for p in work.parties}  # fmt: skip
    for members, same in parties.items():
        assert len(same) == len(members)  # all have planned it
        some = [
            exchange._Member(party, sinks[me], me, lambda n: None)
            for me, party in zip(members, same, strict=True)
        ]
        rounds[members] = 0
        going = True
        while going:
            filled, got = round_of(members, exchange.slot_bytes(same[0]), one_machine)
            for member, own in zip(some, filled, strict=True):
                member.fill(own)
            state = int(np.bitwise_or.reduce([own.sent.heads[0, 0] for own in filled]))
            for at, member in enumerate(some):
                member.take(got(at), bool(state & exchange._MORE))
            rounds[members] += 1
            going = bool(state & (exchange._MORE | exchange._LATER))
    for me, (own, work) in enumerate(zip(wave, works, strict=True)):
        hosts._write_own(own, work, sinks[me], hosts.writer.Options(), me, lambda n: None)
        for sink in sinks[me].values():
            os.close(sink.fd)
    return rounds


@pytest.mark.parametrize("kind", ["one file", "dealt", "to process 0"])
@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1 << 32))
def test_files_are_those_of_one_process(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    processes = int(rng.integers(2, 6))
    files = [
        [Layout(rng, 10 * n + k, processes) for k in range(rng.integers(1, 5))]
        for n in range(1 if kind == "one file" else 2)
    ]
    how = How(slice_bytes=512)
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "CHUNK_BYTES", int(rng.choice([1 << 10, 1 << 14])))
        patch.setattr(exchange, "_LEAST_BYTES", 64)
        patch.setattr(dealing, "EXTENT_BYTES", 256)
        patch.setattr(dealing, "FEW_RUNS", 0)
        patch.setattr(dealing, "FEW_MEMBERS", int(rng.integers(2, 6)))
        outputs: list[list[Output]] = []
        for me in range(processes):
            own = []
            for n, layouts in enumerate(files):
                records = [layout.record(me) for layout in layouts]
                path = Path(folder) / str(n)
                own.append(Output(path, formats.plan("ckpt", records, how), records))
            outputs.append(own)
        for output in outputs[0]:
            output.path.write_bytes(bytes(output.plan.nbytes))
        if kind != "one file":
            dealt = {tuple(dealing.writers(own, processes)) for own in outputs}
            assert len(dealt) == 1
            chosen = dealt.pop() if kind == "dealt" else (0, 0)
            outputs = [
                [o._replace(writer=w) for o, w in zip(own, chosen, strict=True)] for own in outputs
            ]
        for wave in zip(*map(dealing.waves, outputs), strict=True):
            works = [dealing.planned(w, me, processes, True) for me, w in enumerate(wave)]
            play(list(wave), works, one_machine=bool(rng.integers(2)))
        for output, layouts in zip(outputs[0], files, strict=True):
            whole = [Record(x.name, x.type, x.whole.shape, x.whole) for x in layouts]
            plan = formats.plan("ckpt", whole, how)
            content = b"".join(
                bytes(planning.as_bytes(part))
                for part in plan.parts
                if not isinstance(part, planning.Range)
            )
            assert output.path.read_bytes() == content


def test_files_go_to_those_that_have_least_and_hold_most() -> None:
    def output(nbytes: int, holder: int) -> Output:
        held = Spread((((((0, nbytes),), holder)),))
        content = Tensor((nbytes,), np.dtype("i1"), ())
        record = Record("w", "Int8", (nbytes,), content, sharding=held)
        return Output(Path(str(nbytes)), Plan([], nbytes), [record])

    outputs = [output(5, 2), output(9, 2), output(4, 1), output(7, 0)]
    assert dealing.writers(outputs, 3) == [1, 2, 1, 0]
    placed = [o._replace(writer=w) for o, w in zip(outputs, (1, 2, 1, 0), strict=True)]
    assert [[o.plan.nbytes for o in wave] for wave in dealing.waves(placed)] == [[5, 9, 7], [4]]


def test_windows_are_as_large_as_memory_allows() -> None:
    """Columns of 4 processes: each writes a quarter of the file, in windows of 8 MiB."""
    side = 8192
    quarter = side // 4
    held = Spread(tuple((((0, side), (n * quarter, (n + 1) * quarter)), n) for n in range(4)))
    content = Tensor((side, side), np.dtype("<f4"), ())
    record = Record("w", "Float32", (side, side), content, sharding=held)
    output = Output(Path("a"), Plan([], side * side * 4), [record])
    work = dealing.planned([output], 1, 4, exchange=True)
    (party,) = work.parties
    windows = [s.window for batch in party.batches(1) for s in batch]
    assert windows == [((2048 + k, 2304 + k), (0, side)) for k in range(0, 2048, 256)]
    assert not work.own
    assert math.prod(boxes.shape_of(windows[0] or ())) * 4 == planning.CHUNK_BYTES
