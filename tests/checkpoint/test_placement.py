"""Parts on their way to devices: how many of them host memory holds at a time."""

from __future__ import annotations

import weakref
from typing import Any

import jax
import numpy as np
import pytest

from msckpt_jax.checkpoint import placement


@pytest.fixture
def alive(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of parts in host memory, noted whenever a further one is made.

    Devices get copies, as accelerators do: on a CPU they would keep the parts themselves.
    """
    parts: weakref.WeakSet[Any] = weakref.WeakSet()
    counts: list[int] = []

    class Part(np.ndarray):
        __hash__ = object.__hash__  # type: ignore[assignment]

    def noted(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        part = np.empty(shape, dtype).view(Part)
        parts.add(part)
        counts.append(len(parts))
        return part

    def sent(arrays: list[np.ndarray], devices: Any = None) -> Any:
        return put([np.array(array) for array in arrays], devices)

    put = jax.device_put
    monkeypatch.setattr(placement, "_aligned", noted)
    monkeypatch.setattr(jax, "device_put", sent)
    monkeypatch.setattr(placement, "on_host", lambda sharding: False)
    return counts


@pytest.mark.parametrize(("spec", "boxes"), [(jax.P("x", "y"), 8), (jax.P("y"), 4), (None, 1)])
def test_two_shards_are_held_at_a_time(
    alive: list[int], spec: Any, boxes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "_BATCH", 1)
    data = np.arange(3 * 16 * 8, dtype=np.float32).reshape(3, 16, 8)
    mesh = jax.make_mesh((2, 4), ("x", "y"))
    sharding = None if spec is None else jax.NamedSharding(mesh, spec)
    requests = [
        placement.Request(f"w{number}", (16, 8), [(((0, 16), (0, 8)), x)], x.dtype, sharding)
        for number, x in enumerate(data)
    ]
    placed = placement.place(requests)
    assert len(alive) == 3 * boxes
    assert max(alive) <= 2
    for array, x in zip(placed, data, strict=True):
        np.testing.assert_array_equal(array, x)
        assert sharding is None or array.sharding == sharding


def test_small_parts_go_together(alive: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    put = jax.device_put

    def counted(arrays: list[np.ndarray], devices: Any = None) -> Any:
        calls.append(len(arrays))
        return put(arrays, devices)

    monkeypatch.setattr(jax, "device_put", counted)
    x = np.ones(4, np.float32)
    requests = [placement.Request(f"w{n}", (4,), [(((0, 4),), x)], x.dtype, None)
                for n in range(50)]  # fmt: skip
    placement.place(requests)
    assert sum(calls) == 50
    assert sum(count > 0 for count in calls) == 1
    assert len(alive) == 50


@pytest.mark.parametrize("offset", [0, 1, 4])
def test_an_array_is_copied_once(monkeypatch: pytest.MonkeyPatch, offset: int) -> None:
    made: list[np.ndarray] = []

    def aligned(*args: Any, make: Any = placement._aligned) -> np.ndarray:
        made.append(make(*args))
        return made[-1]

    monkeypatch.setattr(placement, "_aligned", aligned)
    content = np.arange(4096 + offset, dtype=np.uint8)
    source = np.frombuffer(content, np.float32, count=1024, offset=offset)
    copied = placement.copied(source)
    assert copied.unsafe_buffer_pointer() == made[0].__array_interface__["data"][0]
    wanted = source.tobytes()
    content[:] = 0  # as a file that is written into
    assert np.asarray(copied).tobytes() == wanted
