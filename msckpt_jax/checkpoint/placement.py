"""Put stored tensors on devices: every byte that this process needs is read once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax import boxes
from msckpt_jax.checkpoint import writer
from msckpt_jax.checkpoint.plan import CHUNK_BYTES
from msckpt_jax.checkpoint.records import on_host
from msckpt_jax.errors import CheckpointError

#: XLA takes host buffers of this alignment as they are, without another copy.
_ALIGN = 64
#: Bytes on their way to accelerators at one time.
_IN_FLIGHT = 256 << 20


class Request(NamedTuple):
    """A tensor to be placed: as it is in the file, and as it will be.

    ``sharding`` None stands for the default device.
    """

    name: str
    shape: tuple[int, ...]
    pieces: Sequence[boxes.Piece]
    dtype: np.dtype
    sharding: jax.sharding.Sharding | None


def place(requests: Sequence[Request]) -> list[jax.Array]:
    """The arrays of the requests. Only the boxes of this process's devices are read.

    Many small arrays go to the devices in one call, and no more than ``_IN_FLIGHT`` bytes are on
    their way to accelerators at a time.
    """
    out: list[jax.Array] = []
    batch: list[_Reading] = []
    waiting = 0
    with ThreadPoolExecutor(writer.THREADS) as pool:
        for request in requests:
            batch.append(_reading(request, pool))
            waiting += sum(array.nbytes for array in batch[-1].parts.values())
            if waiting > _IN_FLIGHT:
                out += _put(batch)
                if not all(on_host(array.sharding) for array in out[-len(batch) :]):
                    jax.block_until_ready(out[-len(batch) :])
                batch, waiting = [], 0
    return out + _put(batch)


def read(request: Request) -> np.ndarray:
    """The whole tensor in host memory, in the dtype that is asked for."""
    out = np.empty(request.shape, request.dtype)
    boxes.gather(request.pieces, boxes.whole(request.shape), out)
    return out


class _Reading(NamedTuple):
    """The parts of an array in host memory, and which of them each device wants."""

    request: Request
    parts: dict[boxes.Box, np.ndarray]
    devices: dict[Any, boxes.Box]


def _reading(request: Request, pool: ThreadPoolExecutor) -> _Reading:
    shape, sharding = request.shape, request.sharding
    if sharding is None:
        box = boxes.whole(shape)
        return _Reading(request, {box: _read_box(request, box, pool)}, {})
    try:
        where = sharding.addressable_devices_indices_map(shape)
    except ValueError as error:
        raise CheckpointError(
            f"its shape {list(shape)} does not fit the sharding: {error}", name=request.name
        ) from None
    devices = {device: boxes.from_index(index or (), shape) for device, index in where.items()}
    parts = {box: _read_box(request, box, pool) for box in dict.fromkeys(devices.values())}
    return _Reading(request, parts, devices)


def _put(batch: Sequence[_Reading]) -> list[jax.Array]:
    """Send the parts of many arrays to their devices in one call for each kind of placement."""
    plain = [next(iter(r.parts.values())) for r in batch if r.request.sharding is None]
    placed = [(r.parts[box], device) for r in batch for device, box in r.devices.items()]
    on_default = iter(jax.device_put(plain))
    on_devices = iter(jax.device_put([a for a, _ in placed], [d for _, d in placed]))
    out = []
    for request, _, devices in batch:
        if request.sharding is None:
            out.append(next(on_default))
            continue
        shards = [next(on_devices) for _ in devices]
        make = jax.make_array_from_single_device_arrays
        out.append(make(request.shape, request.sharding, shards))
    return out


def _read_box(request: Request, box: boxes.Box, pool: ThreadPoolExecutor) -> np.ndarray:
    out = _aligned(boxes.shape_of(box), request.dtype)
    if out.nbytes <= CHUNK_BYTES:
        boxes.gather(request.pieces, box, out)
        return out
    limit = max(1, CHUNK_BYTES // out.itemsize)

    def gather(part: boxes.Box) -> None:
        boxes.gather(request.pieces, part, out[boxes.slices(part, box)])

    list(pool.map(gather, _windows(request.pieces, box, limit)))
    return out


def _windows(pieces: Sequence[boxes.Piece], box: boxes.Box, limit: int) -> Iterator[boxes.Box]:
    """Yield parts of ``box`` of at most ``limit`` elements, as the source wants them or by rows."""
    own = getattr(pieces[0][1], "windows", None) if len(pieces) == 1 else None
    if own is not None:
        yield from own(box, limit)
        return
    for part in boxes.of_range(boxes.shape_of(box), 0, boxes.size_of(box), limit):
        yield tuple((a + o, b + o) for (a, b), (o, _) in zip(part, box, strict=True))


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    nbytes = boxes.size_of(boxes.whole(shape)) * dtype.itemsize
    raw = np.empty(nbytes + _ALIGN, np.uint8)
    start = -raw.ctypes.data % _ALIGN
    return raw[start : start + nbytes].view(dtype).reshape(shape)
