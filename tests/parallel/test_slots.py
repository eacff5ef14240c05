"""Slots in memory that members share, with a thread for each member."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from msckpt_jax.parallel import slots

MEMBERS = (2, 3, 5)
NBYTES = 1 << 12


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], Any]], list[Any]]:
    """Call a function for each member, in threads whose answers take the place of collectives."""
    local, barrier = threading.local(), threading.Barrier(len(MEMBERS), timeout=30)
    answers: list[Any] = [None] * len(MEMBERS)

    def told(members: tuple[int, ...], answer: np.ndarray) -> np.ndarray:
        answers[members.index(local.me)] = answer
        barrier.wait()
        every = np.array(answers)
        barrier.wait()
        return every

    def run(work: Callable[[int], Any]) -> list[Any]:
        def as_member(me: int) -> Any:
            local.me = me
            return work(me)

        with ThreadPoolExecutor(len(MEMBERS)) as pool:
            return list(pool.map(as_member, MEMBERS))

    monkeypatch.setattr(slots, "_told", told)
    return run


def content(sender: int, receiver: int, number: int) -> np.ndarray:
    return np.random.default_rng([sender, receiver, number]).integers(0, 256, NBYTES, np.uint8)


def test_each_round_brings_what_the_others_have_filled(together: Any) -> None:
    before = os.listdir("/proc/self/fd")

    def work(me: int) -> None:
        way = slots.between(MEMBERS, me, NBYTES)
        assert isinstance(way, slots.Shared)
        pauses = np.random.default_rng(me).random(50) * 1e-3
        for number, pause in enumerate(pauses):
            for other, slot in zip(MEMBERS, way.sent.contents, strict=True):
                slot[:] = content(me, other, number)
            way.sent.heads[:, 0] = number
            got = way.swapped()
            threading.Event().wait(pause)
            assert (got.heads[:, 0] == number).all()
            for other, slot in zip(MEMBERS, got.contents, strict=True):
                assert np.array_equal(slot, content(other, me, number))
        way.close()

    together(work)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_all_members_fill_the_room_of_each(together: Any) -> None:
    size = len(MEMBERS) * NBYTES

    def part(sender: int) -> slice:
        return slice(MEMBERS.index(sender), size, len(MEMBERS))  # not the bytes of a slot

    def work(me: int) -> None:
        way = slots.between(MEMBERS, me, NBYTES)
        for number in range(20):
            mine = way.rooms[me]
            for other in MEMBERS:
                way.rooms[other][part(me)] = (100 * number + 10 * me + other) % 256
            way.swapped()
            for other in MEMBERS:
                assert (mine[part(other)] == (100 * number + 10 * other + me) % 256).all()
        way.close()

    together(work)


def test_who_waits_long_is_told_and_goes_on(together: Any) -> None:
    late = threading.Event()

    def work(me: int) -> int:
        way = slots.between(MEMBERS, me, NBYTES, patience=0.05)
        if me == MEMBERS[1]:
            late.wait(30)
        way.sent.heads[:, 0] = me
        waited = 0
        while True:
            try:
                got = way.swapped()
                break
            except TimeoutError:
                waited += 1
                late.set()
        assert got.heads[:, 0].tolist() == [*MEMBERS]
        way.close()
        return waited

    waited = together(work)
    assert waited[0] or waited[2]


@pytest.mark.parametrize("step", ["_offer", "_connected"])
def test_without_memory_of_all_a_collective_operation_carries_them(
    together: Any, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    before, original, calls = os.listdir("/proc/self/fd"), getattr(slots, step), []

    def fails_once(*args: Any) -> Any:
        calls.append(step)
        return None if len(calls) == 1 else original(*args)

    monkeypatch.setattr(slots, step, fails_once)
    ways = together(lambda me: slots.between(MEMBERS, me, NBYTES))
    assert all(isinstance(way, slots.Carried) for way in ways)
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_member_that_leaves_is_noticed_at_once(together: Any) -> None:
    def work(me: int) -> str:
        way = slots.between(MEMBERS, me, NBYTES)
        if me == MEMBERS[0]:
            way.close()
            return ""
        try:
            way.swapped()
        except OSError as error:
            return str(error)
        finally:
            way.close()
        raise AssertionError

    assert all(together(work)[1:])


def test_links_of_other_users_are_turned_away(
    together: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots.os, "geteuid", lambda: -1)
    monkeypatch.setattr(slots, "_PATIENCE", 0.2)

    def work(me: int) -> type:
        with pytest.raises(OSError, match=r"timed out|has left|reset"):
            slots.between(MEMBERS, me, NBYTES)
        return OSError

    assert together(work) == [OSError] * len(MEMBERS)
