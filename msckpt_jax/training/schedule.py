"""The times to save."""

from __future__ import annotations

from collections.abc import Callable


class Schedule:
    """A schedule by steps, or else by seconds since the last save; without either, of no saves."""

    def __init__(self, steps: int | None, seconds: int | None, clock: Callable[[], float]):
        self._steps, self._seconds, self._clock = steps, seconds, clock
        self._next = steps or 0
        self._last = clock()

    def due(self, count: int) -> bool:
        """Tell whether the step of this number is to be saved."""
        if self._steps:
            return count >= self._next
        return bool(self._seconds) and self._clock() - self._last > self._seconds

    def saved(self, count: int) -> None:
        self._next = count + (self._steps or 0)
        self._last = self._clock()
