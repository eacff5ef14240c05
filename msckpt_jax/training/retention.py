"""The choice of the CheckPoints that a run keeps."""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Iterable
from typing import NamedTuple

from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.training import filenames
from msckpt_jax.training.config import Best, CheckpointConfig, Every
from msckpt_jax.training.position import Position


class Saved(NamedTuple):
    """A complete CheckPoint.

    Attributes:
        files: its files, of this process or of all.
        time: the time of its step.
        metric: the metric, if it has one.
        total: the number of its step in the training; None if it is not known.
    """

    files: tuple[AnyPath, ...]
    time: float
    metric: float | None = None
    total: int | None = 0


class Retention:
    """The CheckPoints that a run keeps, of those that were added.

    Each policy chooses by itself, and what any of them chooses stays.
    """

    def __init__(self, config: CheckpointConfig):
        self._max = config.keep_checkpoint_max
        self._minutes = config.keep_checkpoint_per_n_minutes
        self._order: Best | None = config.keep_best
        self._recent: list[Saved] = []
        self._best: list[Saved] = []
        self._outdated: list[Saved] = []
        self._stay: set[tuple[AnyPath, ...]] = set()
        self._for_good = [_RULES[type(rule)](rule) for rule in config.keep_every]

    @property
    def best(self) -> Saved | None:
        return self._best[0] if self._best else None

    def earlier(self, saved: Iterable[Saved]) -> None:
        """Choose among CheckPoints of earlier runs, too; the first one added deletes the others."""
        for each in saved:
            self._outdated += self._chosen(each)

    def begin(self, total: int) -> None:
        """Begin a run after so many steps of the training."""
        for rule in self._for_good:
            rule.begin(total)

    def add(self, new: Saved) -> list[Saved]:
        """Add a complete CheckPoint, and return the CheckPoints that are to be deleted."""
        outdated, self._outdated = self._outdated, []
        return outdated + self._chosen(new)

    def _chosen(self, new: Saved) -> list[Saved]:
        """Choose among the CheckPoints with a new one; return those that nobody wants any more."""
        before = {id(s): s for s in (*self._recent, *self._best)}
        self._recent = [*self._thinned(new.time), new][-(self._max or 0) :]
        self._best = self._ranked(new)
        kept = {id(s) for s in (*self._recent, *self._best)}
        kept.update(id(s) for s in before.values() if s.files in self._stay)
        told = [rule.keeps(new) for rule in self._for_good]  # each of them counts it
        if any(told):
            self._stay.add(new.files)
        return [saved for key, saved in before.items() if key not in kept]

    def _thinned(self, now: float) -> list[Saved]:
        """The recent CheckPoints, with only the oldest of those younger than n minutes.

        The rule is MindSpore 2.10's (train/callback/_checkpoint.py, keep_one_ckpoint_per_minutes).
        """
        if self._minutes is None:
            return self._recent
        young = [s for s in self._recent if now - s.time < 60 * self._minutes]
        return self._recent[: len(self._recent) - len(young)] + young[:1]

    def _ranked(self, new: Saved) -> list[Saved]:
        if self._order is None or new.metric is None or math.isnan(new.metric):
            return self._best
        sign = 1 if self._order.mode == "min" else -1
        ranked = sorted([*self._best, new], key=lambda s: sign * (s.metric or 0.0))
        return ranked[: self._order.number]


# Rules of what is kept for good


class _Steps:
    """Keeps the first CheckPoint of each so many steps of the training, but for the first ones."""

    def __init__(self, every: int):
        self._every, self._passed = every, {0}

    def begin(self, total: int) -> None:
        self._passed.add(total // self._every)

    def keeps(self, new: Saved) -> bool:
        if new.total is None:
            return True
        number = new.total // self._every
        first = number not in self._passed
        self._passed.add(number)
        return first


class _Times:
    """Keeps the first CheckPoint, and the first of each so much time after the last one kept."""

    def __init__(self, every: datetime.timedelta):
        self._seconds, self._last = every.total_seconds(), -math.inf

    def begin(self, total: int) -> None:
        """Do nothing: the time of a training is not in its files."""

    def keeps(self, new: Saved) -> bool:
        due = new.time - self._last >= self._seconds
        self._last = new.time if due else self._last
        return due


_RULES: dict[type[Every], type] = {int: _Steps, datetime.timedelta: _Times}


# Earlier runs


def earlier(
    directory: AnyPath, base: str, own: str, per_epoch: int | None, now: float
) -> list[Saved]:
    """The CheckPoints of a folder whose runs came before the run ``own``, in their order."""
    run = int(own.removeprefix(base).removeprefix("_") or 0)
    listed = filenames.listing(directory)
    files = sorted(file for name in listed if (file := filenames.parse(name, base)) is not None)
    clock = now - time.time()
    out = []
    for file in (file for file in files if file.run < run):
        paths = tuple(listed[file.name])
        try:
            written = max(path.stat().st_mtime for path in paths)
        except OSError:  # a link that leads to nothing, or deleted by another process
            continue
        known = file.epoch <= 1 or per_epoch is not None
        at = Position.of_file(file.epoch, file.step, None, per_epoch).total
        out.append(Saved(paths, clock + written, None, at if known else None))
    return out
