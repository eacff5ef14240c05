"""Who holds what of the parameters of a family, against a look at every shard by itself."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import records
from msckpt_jax.conventions import holders
from tests.families import models


class Device(NamedTuple):
    process_index: int
    number: int


class Sharding:
    """A sharding over processes of two devices: each axis is cut in as many parts as it can be."""

    is_fully_addressable = False

    def __init__(self, first: int, devices: int = 8):
        self.first, self.devices = first, devices

    def devices_indices_map(self, shape: tuple[int, ...]) -> dict[Device, tuple[slice, ...]]:
        rest, cuts = self.devices, [1] * len(shape)
        for axis in sorted(range(len(shape)), key=lambda axis: (axis - self.first) % len(shape)):
            while rest > 1 and shape[axis] % (2 * cuts[axis]) == 0:
                cuts[axis], rest = 2 * cuts[axis], rest // 2
        places = list(itertools.product(*map(range, cuts)))
        return {
            Device(number // 2, number): tuple(
                slice(n // cut * at, n // cut * (at + 1))
                for n, cut, at in zip(shape, cuts, places[number % len(places)], strict=True)
            )
            for number in range(self.devices)
        }


@pytest.mark.parametrize("scanned", [False, True])
@pytest.mark.parametrize("first", [0, 1, 2])
@pytest.mark.parametrize(
    ("folder", "files"),
    [("deepseek_v3", "huggingface"), ("qwen3_moe", "mindformers-mcore"),
     ("llama", "mindformers-concat"), ("gpt_oss", "huggingface")],
)  # fmt: skip
def test_holders_of_all_parts(folder: str, files: str, first: int, scanned: bool) -> None:
    how = ms.Family(models.config(folder), jax="maxtext", files=files)
    sharding: Any = Sharding(first)
    seen = []
    for target in how.targets(how.abstract(scanned)):
        for part in target.parts:
            spread = holders.of_part(sharding, part)
            expected = {
                (theirs, process)
                for box, process in records.placed(sharding, part.shape)
                for theirs in part.boxes(box)
            }
            assert set(spread.holders) == expected
            assert len(spread.holders) == len(expected)
            seen.append(spread)
    assert first == 1 or not scanned or len({*seen}) < len(seen)  # layers of a shard share theirs
    holders.forget()
