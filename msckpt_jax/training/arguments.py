"""The arguments of ``ModelCheckpoint``."""

from __future__ import annotations

import os
from typing import Any

from msckpt_jax.training.config import CheckpointConfig
from msckpt_jax.training.resume import Resumed


def seconds(value: Any) -> float:
    """The grace of a signal in seconds.

    Raises:
        TypeError, ValueError: it is no number, or not above 0 and finite.
    """
    if not isinstance(value, int | float) or isinstance(value, bool):
        kind = type(value).__name__
        raise TypeError(f"preemption_grace_seconds must be a number, not {kind}")
    if not 0 < value < float("inf"):
        raise ValueError(f"preemption_grace_seconds must be above 0 and finite, not {value}")
    return float(value)


def check(
    prefix: Any, directory: Any, config: Any, batches_per_epoch: Any, resumed: Any, clock: Any
) -> None:
    """Refuse arguments of the wrong type or value.

    Raises:
        TypeError, ValueError: with the name of the argument.
    """
    if resumed is not None and not isinstance(resumed, Resumed):
        raise TypeError(f"resumed must be a result of resume(), not {type(resumed).__name__}")
    if not isinstance(prefix, str) or not prefix or "/" in prefix:
        raise ValueError(f"prefix must be a str without '/', not {prefix!r}")
    if not callable(clock):
        raise TypeError(f"clock must be a function, not {type(clock).__name__}")
    if directory is not None and not isinstance(directory, str | os.PathLike):
        raise TypeError(f"directory must be a path, not {type(directory).__name__}")
    if config is not None and not isinstance(config, CheckpointConfig):
        raise TypeError(f"config must be a CheckpointConfig, not {type(config).__name__}")
    if batches_per_epoch is not None:
        if not isinstance(batches_per_epoch, int) or isinstance(batches_per_epoch, bool):
            kind = type(batches_per_epoch).__name__
            raise TypeError(f"batches_per_epoch must be an int, not {kind}")
        if batches_per_epoch < 1:
            raise ValueError(f"batches_per_epoch must be 1 or more, not {batches_per_epoch}")
