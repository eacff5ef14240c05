"""Work that a pool has no thread for is done at once, and once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from msckpt_jax.checkpoint.threads import submit


def test_without_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        first = submit(pool, gate.wait)  # the one thread is busy

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't create new thread at interpreter shutdown")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        futures = [submit(pool, lambda n: done.append(n) or n, n) for n in range(3)]
        assert done == [0, 1, 2]
        gate.set()
    assert first.result()
    assert [future.result() for future in futures] == done == [0, 1, 2]


def test_errors_and_cancelled_work() -> None:
    gate, done = threading.Event(), []
    with ThreadPoolExecutor(1) as pool:
        first = submit(pool, lambda: gate.wait() and 1 // 0)
        second = submit(pool, done.append, 1)
        assert second.cancel()
        gate.set()
        with pytest.raises(ZeroDivisionError):
            first.result()
    assert done == []
