"""A run whose time only passes when a test says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msckpt_jax import CheckpointConfig, ModelCheckpoint


class Clock:
    """Seconds that only pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir() if p.suffix in (".ckpt", ".safetensors"))


def run(
    folder: Path,
    config: CheckpointConfig,
    count: int,
    seconds: float = 0.0,
    metrics: list[Any] | None = None,
    **kwargs: Any,
) -> ModelCheckpoint:
    """A run of ``count`` steps, each of which takes so many seconds."""
    clock = Clock()
    with ModelCheckpoint("m", folder, config, clock=clock, **kwargs) as ckpt:
        for number in range(1, count + 1):
            clock.now += seconds
            ckpt.step({"step": number}, metric=metrics[number - 1] if metrics else None)
    return ckpt
