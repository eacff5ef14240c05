"""The choice of the CheckPoints that a run keeps."""

from __future__ import annotations

import math
from typing import NamedTuple

from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.training.config import Best, CheckpointConfig


class Saved(NamedTuple):
    """A complete CheckPoint: its files, the time of its step, and its metric if it has one."""

    files: tuple[AnyPath, ...]
    time: float
    metric: float | None = None


class Retention:
    """The CheckPoints that a run keeps, of those that were added."""

    def __init__(self, config: CheckpointConfig):
        self._max = config.keep_checkpoint_max
        self._minutes = config.keep_checkpoint_per_n_minutes
        self._order: Best | None = config.keep_best
        self._recent: list[Saved] = []
        self._best: list[Saved] = []

    @property
    def best(self) -> Saved | None:
        return self._best[0] if self._best else None

    def add(self, new: Saved) -> list[Saved]:
        """Add a complete CheckPoint, and return the CheckPoints that are to be deleted."""
        before = {id(s): s for s in (*self._recent, *self._best)}
        self._recent = [*self._thinned(new.time), new][-(self._max or 0) :]
        self._best = self._ranked(new)
        kept = {id(s) for s in (*self._recent, *self._best)}
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
