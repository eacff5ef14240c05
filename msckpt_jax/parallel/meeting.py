"""Points where all processes of ``jax.distributed`` meet, through its key-value store.

No collective operation runs on devices, so that a thread may hold a meeting while training goes
on. Each process leaves a note; process 0 reads all of them and posts a verdict. Hence a meeting
costs each process two messages, and process 0 one for each process.
"""

from __future__ import annotations

import collections
import contextlib
import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from msckpt_jax.checkpoint import owner
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lazy import jax

#: The number of saves to each target. It and the target name a save alike on all processes.
_saves: collections.Counter[str] = collections.Counter()
#: The last saves, whose notes are kept because other processes may still read them.
_past: collections.deque[str] = collections.deque()
_KEPT = 16
#: The number of times a waiting process asks for signs of life before it takes another for dead.
_ASKS = 8
#: The beginning of the signs of life of a process that has failed, and takes part no more.
_FAILED = "failed "

_T = TypeVar("_T")


class Verdict(NamedTuple):
    """The outcome of a meeting.

    Attributes:
        everywhere: whether the work returned something true on all processes.
        first: the result of the work on process 0.
        neighbours: the most processes that run on one machine.
        answers: on process 0 the results of all.
    """

    everywhere: bool
    first: Any
    neighbours: int
    answers: Sequence[Any] = ()


class Meetings:
    """The meetings of one save to ``target``, which all processes hold in the same order.

    ``timeout`` is the number of seconds without a sign of life after which a process is taken
    for dead. :meth:`alive` gives such a sign; work that takes long calls it now and then. Where
    each process has a target of its own, ``key`` is the name that all of them have for the save.

    Attributes:
        pause: the seconds after which a process that waits for another asks for a sign of life.
    """

    def __init__(self, target: Any, timeout: float, key: str | None = None):
        self.target, self.timeout, self.pause = target, timeout, timeout / _ASKS
        self.me, self.processes = jax.process_index(), jax.process_count()
        name = hashlib.sha256((key or str(target)).encode()).hexdigest()[:24]
        self._prefix = f"msckpt/{name}/{_saves[name]}"
        _saves[name] += 1
        self._held = self._beats = 0
        self._failed = False
        self._next_beat = 0.0

    def meet(self, work: Callable[[], Any], digest: str = "") -> Verdict:
        """Do ``work``, wait for all processes, and fail on all of them when it failed on any.

        ``work`` returns something that JSON can hold.

        Raises:
            CheckpointError: a process failed, died, or brought another ``digest``.
            BaseException: the error of ``work``, once the other processes know.
        """
        error, answer = None, None
        try:
            answer = work()
        except BaseException as caught:
            error = caught
        try:
            note = {"good": error is None, "answer": answer, "digest": digest}
            verdict = self._exchange(note | {"machine": owner.machine()})
        except jax.errors.JaxRuntimeError as gone:  # process 0 is gone, and the store with it
            raise error or self.error(f"process 0 is gone: {gone}") from gone
        except CheckpointError as missing:
            raise error or missing from None
        if error is not None:
            raise error
        if verdict["problem"]:
            raise self.error(verdict["problem"])
        return Verdict(verdict["everywhere"], verdict["first"], verdict["neighbours"],
                       verdict.get("answers", ()))  # fmt: skip

    def alive(self) -> None:
        """Tell waiting processes that this process is at work."""
        now = time.monotonic()
        if now >= self._next_beat:
            self._next_beat = now + self.pause
            self._beats += 1
            self._tell()

    def together(self, work: Callable[[], _T], processes: Sequence[int]) -> _T:
        """Return the result of a collective operation, for which ``processes`` wait as well.

        Raises:
            CheckpointError: one of them gives no more signs of life, or has failed.
        """
        out: queue.Queue[tuple[bool, Any]] = queue.Queue()

        def run() -> None:
            try:
                out.put((True, work()))
            except BaseException as error:
                out.put((False, error))

        threading.Thread(target=run, daemon=True, name="msckpt exchange").start()

        def result() -> _T:
            try:
                good, value = out.get(timeout=self.pause)
            except queue.Empty:
                raise TimeoutError from None
            if not good:
                raise self.error(f"another process is gone: {value}") from value
            return value

        return self.watched(result, processes)

    def watched(self, work: Callable[[], _T], processes: Sequence[int]) -> _T:
        """Return the result of ``work``, which waits for ``processes``.

        It raises TimeoutError after :attr:`pause` seconds, and goes on when it is called again.

        Raises:
            CheckpointError: one of them gives no more signs of life, or has failed.
        """
        watch = _Watch(processes)
        while True:
            try:
                return work()
            except TimeoutError:
                self.alive()
                watch.check(self._beats_of_all(), self)
            except OSError as gone:
                raise self.error(f"another process is gone: {gone}") from gone

    def fail(self) -> None:
        """Tell the processes that wait in a collective operation to leave it."""
        self._failed = True
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # process 0 is gone: they know
            self._tell()

    def _tell(self) -> None:
        beat = f"{_FAILED if self._failed else ''}{self._beats}"
        _client().key_value_set(self._beat_key(self.me), beat, True)

    def _exchange(self, note: dict[str, Any]) -> dict[str, Any]:
        key = f"{self._prefix}/{self._held}"
        self._held += 1
        _client().key_value_set(f"{key}/{self.me}", json.dumps(note))
        if self.me != 0:
            return self._wait(f"{key}/verdict", 0)
        verdict, answers = self._judge(key)
        _client().key_value_set(f"{key}/verdict", json.dumps(verdict))
        self._forget()
        return verdict | {"answers": answers}

    def _judge(self, key: str) -> tuple[dict[str, Any], list[Any]]:
        """The verdict of process 0 on the notes of all processes, and their answers."""
        notes: list[dict[str, Any]] = []
        problem = ""
        try:
            for process in range(self.processes):
                notes.append(self._wait(f"{key}/{process}", process))
        except CheckpointError as missing:
            problem = missing.problem
        failed = [i for i, note in enumerate(notes) if not note["good"]]
        if failed:
            problem = f"saving failed on processes {failed}, whose errors say why"
        elif not problem and len({note["digest"] for note in notes}) > 1:
            problem = "the processes save different names, shapes or dtypes"
        everywhere = all(note["answer"] for note in notes)
        machines = collections.Counter(note["machine"] for note in notes)
        verdict = {"problem": problem, "everywhere": everywhere, "first": notes[0]["answer"],
                   "neighbours": max(machines.values())}  # fmt: skip
        return verdict, [note["answer"] for note in notes]

    def _forget(self) -> None:
        """Delete the notes of saves that are long over."""
        if self._held == 1:
            _past.append(self._prefix)
            if len(_past) > _KEPT:
                _client().key_value_delete(_past.popleft())

    def _wait(self, key: str, process: int) -> dict[str, Any]:
        """Wait for what ``process`` posts at ``key``, as long as it gives signs of life."""
        seen, silence = None, 0.0
        while silence < self.timeout:
            try:
                return json.loads(_client().blocking_key_value_get(key, int(self.pause * 1000) + 1))
            except jax.errors.JaxRuntimeError as error:
                if "DEADLINE_EXCEEDED" not in str(error):
                    raise
            self.alive()
            beat = self._beat_of(process)
            silence = silence + self.pause if beat == seen else 0.0
            seen = beat
        raise self.silent(process)

    def _beats_of_all(self) -> dict[int, str]:
        try:
            pairs = _client().key_value_dir_get(f"{self._prefix}/alive/")
        except jax.errors.JaxRuntimeError as gone:
            raise self.error(f"process 0 is gone: {gone}") from gone
        return {int(key.rpartition("/")[2]): beat for key, beat in pairs}

    def _beat_of(self, process: int) -> str | None:
        try:
            return _client().key_value_try_get(self._beat_key(process))
        except jax.errors.JaxRuntimeError as error:
            if "NOT_FOUND" in str(error):
                return None
            raise

    def _beat_key(self, process: int) -> str:
        return f"{self._prefix}/alive/{process}"

    def silent(self, process: int) -> CheckpointError:
        """The error for a process that gives no signs of life."""
        return self.error(
            f"process {process} did not answer for {self.timeout:g} seconds: it died, or it did "
            "not call save_checkpoint"
        )

    def error(self, problem: str) -> CheckpointError:
        """The error of this save."""
        return CheckpointError(problem, file=self.target)


class _Watch:
    """The signs of life of the processes that take part in a collective operation."""

    def __init__(self, processes: Sequence[int]):
        self._asks = dict.fromkeys(processes, 0)  # without news, one after the other
        self._seen: dict[int, str] = {}

    def check(self, beats: Mapping[int, str], meetings: Meetings) -> None:
        """Refuse to wait on for a process that has failed, or is silent."""
        for process, asks in self._asks.items():
            beat = beats.get(process, "")
            if beat.startswith(_FAILED):
                raise meetings.error(f"saving failed on process {process}, whose error says why")
            self._asks[process] = asks + 1 if beat == self._seen.get(process) else 0
            self._seen[process] = beat
            if self._asks[process] >= _ASKS:
                raise meetings.silent(process)


def _client() -> Any:
    """The client of the key-value store that ``jax.distributed.initialize`` has started.

    JAX has no public name for it, but Orbax has.
    """
    from orbax.checkpoint import multihost

    return multihost.get_jax_distributed_client()
