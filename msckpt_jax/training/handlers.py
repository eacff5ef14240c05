"""Handlers of signals above those of others, and a bell that rings while Python cannot run them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler, None)
#: More than any system's ``struct sigaction``, which begins with the handler's address.
_ACTION_BYTES = 512
#: What a bell is rung with, beside the numbers of signals, which are smaller.
_RUNG, _OVER = 128, 255


class Handler:
    """A handler of one signal, which hands the signal on to the handler before it."""

    def __init__(self, number: int, react: Callable[[int, FrameType | None], None]):
        self.number = number
        self._react: Callable[[int, FrameType | None], None] | None = react
        self._native = _native(number)
        self._previous: Any = signal.signal(number, self._handle)

    @property
    def foreign(self) -> bool:
        """Tell whether the handler before is one that somebody has written in Python."""
        return self._previous not in _DEFAULTS

    @property
    def installed(self) -> bool:
        """Tell whether nobody has put another handler in the place of this one."""
        return signal.getsignal(self.number) == self._handle

    def hand_on(self, frame: FrameType | None, native: bool) -> BaseException | None:
        """Call the handler before, unless it is Python's own; return what it raises.

        ``native``: call one of compiled code, too. It may end the process at once.
        """
        try:
            if native and self._native is not None:
                _run_native(self.number, self._native)
            elif self.foreign:
                self._previous(self.number, frame)
        except BaseException as error:
            return error
        return None

    def restore(self) -> None:
        """Put the handler before in place, if this one still is; else only hand on from now."""
        self._react = None
        if self.installed:
            signal.signal(self.number, self._before)
            if self._native is not None:
                _libc().sigaction(self.number, self._native, None)

    @property
    def _before(self) -> Any:
        return signal.SIG_DFL if self._previous is None else self._previous

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._react is not None:
            self._react(number, frame)
            return
        # Somebody who came after has put this handler back, too late.
        signal.signal(number, self._before)
        signal.raise_signal(number)


class Bell:
    """A bell that signals ring at once, even while the main thread is in compiled code."""

    def __init__(self) -> None:
        self._ear, self._hammer = socket.socketpair()
        self._ear.setblocking(False)
        self._hammer.setblocking(False)
        self._over = False
        self._previous = signal.set_wakeup_fd(self._hammer.fileno(), warn_on_full_buffer=False)

    def ring(self, number: int) -> None:
        """Ring for a signal whose handler runs: a loop of asyncio may have taken the wire."""
        self._send(_RUNG + number)

    def end(self) -> None:
        """Let the listener know that the work is over."""
        self._send(_OVER)

    def hear(self, timeout: float) -> int | None:
        """The number of the next signal; 0: the work is over; None: nothing came."""
        if self._over:
            return 0
        if not select.select([self._ear], [], [], timeout)[0]:
            return None
        number = self._ear.recv(1)[0]
        if number == _OVER:
            self._over = True
            return 0
        if number < _RUNG and self._previous >= 0:
            with contextlib.suppress(OSError):
                os.write(self._previous, bytes([number]))
        return number % _RUNG

    def over_within(self, seconds: float) -> bool:
        """Tell whether the work was over after so many seconds, or before."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.hear(left) == 0:
                return True
        return False

    def close(self) -> None:
        """Give the wire back, if nobody else has taken it. The listener must have ended."""
        mine = self._hammer.fileno()
        now = signal.set_wakeup_fd(-1)
        with contextlib.suppress(OSError, ValueError):  # whose wire it was may have closed it
            signal.set_wakeup_fd(self._previous if now == mine else now)
        self._ear.close()
        self._hammer.close()

    def _send(self, number: int) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it has rung
            self._hammer.send(bytes([number]))


def _native(number: int) -> Any:
    """The handler that compiled code has installed, of which Python knows nothing, or None.

    ``jax.distributed`` installs one for SIGTERM.
    """
    if os.name != "posix" or signal.getsignal(number) not in (signal.SIG_DFL, None):
        return None
    action = ctypes.create_string_buffer(_ACTION_BYTES)
    if _libc().sigaction(number, None, action):
        return None
    address = int.from_bytes(action.raw[: ctypes.sizeof(ctypes.c_void_p)], sys.byteorder)
    return action if address > 1 else None  # 0 is the default action, 1 is to ignore


def _run_native(number: int, action: Any) -> None:
    """Let compiled code handle a signal as if this package were not there."""
    ours = ctypes.create_string_buffer(_ACTION_BYTES)
    _libc().sigaction(number, action, ours)
    try:
        _libc()["raise"](number)
    finally:
        _libc().sigaction(number, ours, None)


def _libc() -> Any:
    return ctypes.CDLL(None)
