"""The position of a run: the numbers in the names of its files."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple


class Position(NamedTuple):
    """Counts from 1; ``step`` is within the epoch, ``total`` from the start of the training."""

    epoch: int = 1
    step: int = 0
    total: int = 0

    @classmethod
    def of_file(cls, epoch: int, step: int, total: int | None, per_epoch: int | None) -> Position:
        """The position that a file's name tells; a missing ``total`` follows from ``per_epoch``."""
        return cls(epoch, step, (epoch - 1) * (per_epoch or 0) + step if total is None else total)

    def after(self, epoch: int | None, step: int | None, per_epoch: int | None) -> Position:
        """The position after a further step, for which the loop gave the numbers that it knows.

        As MindSpore 2.10 does (train/callback/_checkpoint.py, _save_ckpt), a number of steps is
        taken modulo the batches per epoch where these are known.

        Raises:
            TypeError: a number is none, or has a fraction.
        """
        epoch, step = _whole("epoch", epoch), _whole("step", step)
        if step is None:
            total = self.total + 1
            if epoch is None and per_epoch:
                return _of_total(total, per_epoch)
            epoch = self.epoch if epoch is None else epoch
            return Position(epoch, self.step + 1 if epoch == self.epoch else 1, total)
        if epoch is None:
            return _of_total(step, per_epoch) if per_epoch else Position(self.epoch, step, step)
        if per_epoch and step > per_epoch:
            step = (step - 1) % per_epoch + 1
        return Position(epoch, step, self.total + self._distance(epoch, step, per_epoch))

    def _distance(self, epoch: int, step: int, per_epoch: int | None) -> int:
        """The number of steps from here, at least 1: a loop may tell of several steps at once."""
        if per_epoch:
            return max(1, (epoch - self.epoch) * per_epoch + step - self.step)
        return max(1, step - self.step if epoch == self.epoch else step)


def _whole(name: str, value: Any) -> int | None:
    """A number as an int, one on a device among them."""
    try:
        return None if value is None else operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an int, not {value!r}") from None


def _of_total(total: int, per_epoch: int) -> Position:
    epoch, step = divmod(total - 1, per_epoch)
    return Position(epoch + 1, step + 1, total)
