"""The step at which all processes of ``jax.distributed`` leave after a signal to any of them.

It is agreed on through the key-value store, by a thread: the main thread may be in a collective
operation that waits for another process. Each process that hears of the signal promises to stop and
ask in its next step. The farthest of these steps is the one that all reach.

JAX's ``reached_preemption_sync_point`` does the same for SIGTERM alone. It neither tells of the
signal before the step is reached, nor gives up.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import jax

_runs = itertools.count()
#: What a process that makes no further step says instead of a number.
_OVER = "over"


class Agreement:
    """The agreement of a run, of which every process makes the same number in the same order.

    Attributes:
        failed: whether a process has not answered in time.
        pause: the seconds between two questions to the store, which all processes ask.
    """

    def __init__(self) -> None:
        self._prefix = f"msckpt/preemption/{next(_runs)}"
        self._me, self._processes = jax.process_index(), jax.process_count()
        self._lock = threading.Lock()
        self._passed = 0
        self._asking = False
        self._target: int | None = None
        self.failed = False
        self._settled = threading.Event()
        self.pause = max(0.1, self._processes / 2000)

    def give_notice(self, number: int) -> None:
        """Tell all processes that this one has received a signal."""
        _client().key_value_set(f"{self._prefix}/notice", str(number), True)

    def noticed(self) -> int | None:
        """The number of the signal of which a process has given notice."""
        text = self._asked("notice")
        return None if text is None else int(text)

    def agree(self, deadline: float, over: Callable[[float], bool]) -> None:
        """Agree on a step; ``over`` waits for some seconds, and tells whether the run is over.

        Raises:
            jax.errors.JaxRuntimeError: process 0 is gone, and the store with it.
        """
        try:
            with self._lock:
                self._asking = True
            self._say(f"next/{self._me}", self._passed + 1)
            while time.monotonic() < deadline:
                verdict = self._asked("verdict") or (self._judged() if self._me == 0 else None)
                if verdict is not None:
                    self._target = None if verdict == _OVER else int(verdict)
                    break
                if over(self.pause):
                    break
            else:
                self.failed = True
        finally:
            self._settled.set()

    def reached(self, count: int) -> bool:
        """Tell whether all processes leave after the step of this number, the same on all.

        It waits while the processes agree.
        """
        with self._lock:
            if not self._asking:
                self._passed = count
                return False
        self._settled.wait()
        return self._target is not None and count >= self._target

    def silent(self) -> list[int]:
        """The processes that have not said what their next step is."""
        answers = _client().key_value_dir_get(f"{self._prefix}/next/")
        heard = {int(key.rpartition("/")[2]) for key, _ in answers}
        return [process for process in range(self._processes) if process not in heard]

    def end(self) -> None:
        """Say that this process makes no further step, so that nobody waits for it."""
        if not self._asking:
            self._say(f"next/{self._me}", _OVER)
        if self._me == 0 and self._target is None:
            self._say("verdict", _OVER)

    def _judged(self) -> str | None:
        """The verdict that process 0 posts when all processes have answered."""
        answers = [text for _, text in _client().key_value_dir_get(f"{self._prefix}/next/")]
        if len(answers) < self._processes:
            return None
        verdict = str(max(int(text) for text in answers if text != _OVER))
        self._say("verdict", verdict)
        return verdict

    def _say(self, key: str, value: object) -> None:
        _client().key_value_set(f"{self._prefix}/{key}", str(value), True)

    def _asked(self, key: str) -> str | None:
        try:
            return _client().key_value_try_get(f"{self._prefix}/{key}")
        except jax.errors.JaxRuntimeError as error:
            if "NOT_FOUND" in str(error):
                return None
            raise


def _client() -> Any:
    """The client of the key-value store, as :mod:`msckpt_jax.parallel.meeting` has it."""
    from orbax.checkpoint import multihost

    return multihost.get_jax_distributed_client()
