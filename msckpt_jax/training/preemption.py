"""SIGTERM, as a scheduler sends it before it takes a machine away, and Ctrl-C, during a run.

A signal is noted by the main thread's handler, and told to a thread that has the time in view. It
takes effect

- when the step under way calls ``step()``, whose state is whole by then. Of many processes, when
  they come to the step that they have agreed on;
- else, in one process, after half of the grace, if the state given last is alive: the main thread
  leaves the block, or, while it is in compiled code, the thread saves;
- else when the grace is over.

A second signal takes effect at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NamedTuple, NoReturn

import jax

from msckpt_jax.api import background
from msckpt_jax.training.agreement import Agreement
from msckpt_jax.training.handlers import Bell, Handler
from msckpt_jax.visible import log

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Seconds between two looks whether another process has received a signal.
_LOOK_SECONDS = 1.0
#: Seconds in which the main thread answers unless it is in compiled code.
_ANSWER_SECONDS = 1.0
#: Seconds for asynchronous saves to end when the process has to.
_PENDING_SECONDS = 60.0
#: Those who have sent themselves a signal, to wake the main thread up.
_nudged: set[Preemption] = set()
#: Held by the one that waits for an answer: two of the same signal may come as one, or as two.
_nudging = threading.Lock()
#: Those who handle signals, of which the children of a fork know nothing.
_installed: dict[int, Preemption] = {}


class Run(NamedTuple):
    """The run that is to be saved.

    Attributes:
        begun: tells whether there is a state at all.
        alive: tells whether the state given last can still be read.
        save: saves it.
    """

    begun: Callable[[], bool]
    alive: Callable[[], bool]
    save: Callable[[], None]


class Preemption:
    """The signal that a run has received, if it has, and the moment of its effect.

    Attributes:
        received: the signal's number, or None.
        saved: whether the thread has saved the state.
        gave_up: whether the processes have come to no common step.
        left: the exception by which the signal has had its effect.
    """

    def __init__(self, grace: float):
        self.received: int | None = None
        self.saved = self.gave_up = False
        self._grace, self._deadline = grace, float("inf")
        self._times = 0
        self.left: BaseException | None = None
        self._theirs: BaseException | None = None
        self._handlers: dict[int, Handler] = {}
        self._agreement: Agreement | None = None
        self._thread: threading.Thread | None = None
        self._answered = threading.Event()
        self._final = False
        self._saving = threading.RLock()  # held while a file is written
        self._main_saves = 0
        self._over = False

    def install(self, run: Run) -> None:
        """Handle both signals, but those that are ignored.

        Python lets only the main thread do so; in another nothing is done, and the log says so.
        """
        self.received, self.saved, self.gave_up = None, False, False
        self._times, self._theirs, self.left = 0, None, None
        self._over = self._final = False
        self._handlers, self._agreement = {}, None
        if threading.current_thread() is not threading.main_thread():
            log.warning("signals leave no breakpoint: Python handles them in the main thread only")
            return
        self._run = run
        self._agreement = Agreement() if jax.process_count() > 1 else None
        # At the end of the process JAX's backends may be gone, of which this would ask then.
        self._first_of_many = self._agreement is not None and jax.process_index() == 0
        self._bell = Bell()
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._handlers[number] = Handler(number, self._note)
        _installed[id(self)] = self
        self._thread = threading.Thread(target=self._watch, name="msckpt signals", daemon=True)
        self._thread.start()

    def step(self, count: int) -> None:
        """Raise if a signal takes effect after the step of this number."""
        if self._agreement is not None:
            if self._agreement.reached(count):
                self._leave(self.received or signal.SIGTERM)
            late = time.monotonic() >= self._deadline
            if self.received is not None and (late or self._agreement.failed):
                self.gave_up = True
                self._leave(self.received)
        else:
            self.between()

    def between(self) -> None:
        """Raise if a signal has come, in a run of one process whose state is whole."""
        if self._agreement is None and self.received is not None:
            with self._saving:  # the thread may be at it
                self._leave(self.received)

    @contextlib.contextmanager
    def saving(self) -> Iterator[None]:
        """Let no signal but a second break off a save, and nobody else save meanwhile."""
        with self._saving:
            self._main_saves += 1
            try:
                yield
            finally:
                self._main_saves -= 1

    def seconds_left(self) -> float | None:
        """The seconds in which all processes must have saved; None for no limit."""
        if self._agreement is None or self.received is None:
            return None
        return max(1.0, min(self._grace, self._deadline - time.monotonic()))

    def end(self) -> None:
        """Let the thread end: the run is over, well or not."""
        self._over = True
        if self._thread is not None:
            self._bell.end()
            self._thread.join()
            self._thread = None
        for _ in range(1000):  # else the handler before gets the signal that the thread has sent
            if self not in _nudged:
                break
            time.sleep(0.001)

    def restore(self) -> None:
        """Give the signals back."""
        self.end()
        _installed.pop(id(self), None)
        for handler in self._handlers.values():
            handler.restore()
        if self._handlers:
            self._bell.close()
        _nudged.discard(self)
        if self._agreement is not None:
            with _store():
                self._agreement.end()
                if self.received is None:
                    self._receive(self._agreement.noticed())
            if self.received == signal.SIGTERM:
                self._end_with_the_others()

    def forget(self) -> None:
        """Leave the signals alone in the child of a fork, such as a worker that loads data.

        Else it would survive SIGTERM, and ring the bell of its parent.
        """
        for handler in self._handlers.values():
            handler.restore()
        self._bell.close()
        self._handlers, self._agreement, self._thread, self._over = {}, None, None, True

    def pass_on(self, error: BaseException | None) -> None:
        """Let the signal have its effect if it has not had it: ``error`` has ended the run."""
        number = self.received
        if number is None:
            return
        if self.left is not None and self.left is not error:
            raise self.left from error  # a callback of a compiled step made another error of it
        if error is not None and not isinstance(error, Exception):
            return  # the process ends, or is interrupted
        if error is not None:
            log.error("%s came while the run ended: %s: %s", signal.Signals(number).name,
                      type(error).__name__, error)  # fmt: skip
        if self._theirs is not None or self._agreement is not None:
            self._leave(number)  # JAX's own handler would let the process go on
        handler = self._handlers.get(number)
        if handler is None or not handler.foreign:
            signal.raise_signal(number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        """React in the main thread, between two lines of Python."""
        if _nudged:
            self._nudge_came(number, frame)
            return
        self._times += 1
        if self._times > 1:
            self._leave(number)
        self.received = self.received or number
        self._bell.ring(number)
        self._theirs = self._hand_on(number, frame)
        if self._agreement is None and not self._over and not self._run.begun():
            self._leave(number)

    def _hand_on(self, number: int, frame: FrameType | None) -> BaseException | None:
        # JAX's own handler takes a note only. One that tells of crashes would end the process.
        return self._handlers[number].hand_on(frame, native=self._agreement is not None)

    def _nudge_came(self, number: int, frame: FrameType | None) -> None:
        """Answer the threads that have sent the signal: of this run, or of one around it."""
        mine, error = self in _nudged, None
        _nudged.discard(self)
        if _nudged and (self._main_saves or self.left is not None):
            while _nudged:  # it is on its way to them, or comes when the file is written
                _nudged.pop()._answered.set()
        elif _nudged:
            error = self._hand_on(number, frame)
        if mine:
            self._wake()
        if error is not None:
            raise error

    def _wake(self) -> None:
        """Answer the thread in the main thread, and leave if that is the time."""
        self._answered.set()
        if self._main_saves or self._over or self.received is None:
            return  # the check after the save leaves
        with self._saving:  # the thread may be at it
            ready = self._agreement is None and (self.saved or self._run.alive())
        if ready or self._final:
            self.gave_up = self._agreement is not None
            self._leave(self.received)

    def _leave(self, number: int) -> NoReturn:
        ours = KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)
        self.left = self._theirs or ours
        raise self.left

    def _watch(self) -> None:
        """Wait for a signal, then until it has had its effect, or its grace is over."""
        with _store():
            number = self._first()
            if number:
                self._receive(number)
                self._await_effect(number)

    def _receive(self, number: int | None) -> None:
        self.received = self.received or number
        self._deadline = time.monotonic() + self._grace

    def _first(self) -> int | None:
        """The first signal that this process, or another, receives; 0: the run is over."""
        period = 3600.0 if self._agreement is None else _LOOK_SECONDS + self._agreement.pause
        while True:
            number = self._bell.hear(period)
            if number == 0 or number in self._handlers:
                if number and self._agreement is not None:
                    self._agreement.give_notice(number)
                return number
            if self._agreement is not None and (number := self._agreement.noticed()):
                return number

    def _await_effect(self, number: int) -> None:
        name = signal.Signals(number).name
        if self._agreement is not None:
            log.warning(
                "%s to one of the processes: they save the next step that all reach within %g s",
                name, self._grace,
            )  # fmt: skip
            self._agreement.agree(self._deadline - self._grace / 2, self._bell.over_within)
        else:
            log.warning(
                "%s: the state is saved when the next step is told, or in %g s if it can be read "
                "then; a second signal ends the run at once",
                name, self._grace / 2,
            )  # fmt: skip
            if self._bell.over_within(self._grace / 2):
                return
            self._save_late(number)
        if not self._bell.over_within(self._deadline - time.monotonic()):
            self._give_up(number, name)

    def _save_late(self, number: int) -> None:
        """Save the state given last, if it is alive: no step has come."""
        if self._nudge(number):
            return  # the main thread has left, or waits for a step because the state is gone
        if number != signal.SIGTERM or not self._saving.acquire(timeout=self._grace / 2):
            return  # after Ctrl-C the machine stays: there is time until control returns
        try:
            if self._run.alive():
                self._run.save()
                self.saved = True
        except Exception as error:
            log.warning("the state could not be saved: %s: %s", type(error).__name__, error)
        finally:
            self._saving.release()

    def _nudge(self, number: int) -> bool:
        """Wake the main thread up, and tell whether it has answered: it may be in compiled code."""
        handler = self._handlers.get(number)
        if handler is None or not isinstance(
            getattr(signal.getsignal(number), "__self__", None), Handler
        ):
            return False  # somebody else's handler would take it for a signal
        with _nudging:
            self._answered.clear()
            _nudged.add(self)
            signal.pthread_kill(threading.main_thread().ident or 0, number)
            return self._answered.wait(_ANSWER_SECONDS)

    def _give_up(self, number: int, name: str) -> None:
        """End the run when the grace is over: by the main thread, else without it."""
        with self._saving:  # what is being written ends first
            if self._over:
                return
        silent = self._agreement.silent() if self._agreement is not None else []
        reason = f"processes {silent} have not answered" if silent else "no step came"
        saved = "the state is saved" if self.saved else "nothing was saved after the signal"
        log.warning("%s: %s within %g s: %s; the run ends", name, reason, self._grace, saved)
        if number == signal.SIGINT and self._told_within_a_second(number):
            return  # after Ctrl-C the machine stays
        self._final = True
        answered = self._nudge(number)
        if number == signal.SIGTERM and not (answered and self._bell.over_within(5)):
            self._end(number)

    def _told_within_a_second(self, number: int) -> bool:
        """Tell whether a step comes within a second of the return of control to Python."""
        while not self._nudge(number):
            if self._bell.over_within(self._grace / 2):
                return True
        return self._bell.over_within(_ANSWER_SECONDS)

    def _end_with_the_others(self) -> None:
        """End the process when the grace is over, should it wait for other processes then."""
        timer = threading.Timer(self.seconds_left() or 1.0, self._end, [self.received])
        timer.daemon = True
        timer.start()

    def _end(self, number: int) -> None:
        """End the process with the status of a signal, once the saves under way are complete."""
        background.wait(_PENDING_SECONDS)
        log.warning("the process ends: %s", signal.Signals(number).name)
        if self._first_of_many:
            time.sleep(1.0)  # JAX aborts the others when process 0 is gone
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(128 + number)


def _forget() -> None:
    while _installed:
        _installed.popitem()[1].forget()


os.register_at_fork(after_in_child=_forget)


@contextlib.contextmanager
def _store() -> Iterator[None]:
    """Go on without the key-value store when process 0, which holds it, is gone."""
    try:
        yield
    except jax.errors.JaxRuntimeError as gone:
        log.warning("the processes cannot agree on a step: process 0 is gone: %s", gone)
