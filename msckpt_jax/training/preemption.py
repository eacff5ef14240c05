"""SIGTERM as a scheduler sends it before it takes the machine away."""

from __future__ import annotations

import signal
import threading
from types import FrameType

import jax


class Preemption:
    """Note SIGTERM, so that the step under way can end and its state be saved.

    Raising at once would often find the state donated to the step under way. A second SIGTERM
    does raise at once.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._installed = False

    def install(self) -> None:
        """Handle the signal, unless somebody else does, or it cannot be handled here.

        Python lets only the main thread handle it. Under ``jax.distributed`` the signal belongs to
        JAX's own notifier, which tells all processes.
        """
        main = threading.current_thread() is threading.main_thread()
        default = main and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if default and jax.process_count() == 1:
            self.received = None
            signal.signal(signal.SIGTERM, self._note)
            self._installed = True

    def restore(self) -> None:
        """Give the signal back."""
        if self._installed:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self._installed = False

    def exit(self) -> None:
        """Exit with the status that shells give to a process that the signal has ended."""
        number, self.received = self.received or 0, None
        raise SystemExit(128 + number)

    def pass_on(self) -> None:
        """Let the signal have its effect if no further step has given it one."""
        if self.received is not None:
            signal.raise_signal(self.received)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self.exit()
        self.received = number
