"""The exit status of a process that ends while its last save fails."""

from __future__ import annotations

import sys
from typing import Any


def fail() -> None:
    """Let the process, which is at its end, exit with a status that is not 0.

    Python ends with status 120 where the standard streams cannot be flushed last of all. To leave
    by ``os._exit`` would be plainer, and keep others' exit handlers from running.
    """
    sys.stderr = _Failing(sys.stderr)  # type: ignore[assignment]


class _Failing:
    """A stream that cannot be flushed once the interpreter is finalized."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def flush(self) -> None:
        if self._stream is not None:
            self._stream.flush()
        if sys.is_finalizing():
            raise OSError("an asynchronous save has failed")
