"""Put stored tensors on devices: every byte that this process needs is read once."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax import boxes
from msckpt_jax import progress as meters
from msckpt_jax.checkpoint import collector, writer
from msckpt_jax.checkpoint.plan import CHUNK_BYTES
from msckpt_jax.checkpoint.records import on_host
from msckpt_jax.checkpoint.stores import ranges
from msckpt_jax.errors import CheckpointError
from msckpt_jax.lazy import jax
from msckpt_jax.progress import Progress

#: XLA takes host buffers of this alignment as they are, without another copy.
_ALIGN = 64
#: Bytes that go to accelerators in one call, unless a single shard has more.
_BATCH = 32 << 20


class Request(NamedTuple):
    """A tensor to be placed: as it is in the file, and as it will be.

    ``sharding`` None stands for the default device.
    """

    name: str
    shape: tuple[int, ...]
    pieces: Sequence[boxes.Piece]
    dtype: np.dtype
    sharding: jax.sharding.Sharding | None


#: Boxes of requests, by their numbers, that are read together, each with its devices.
_Batch: TypeAlias = list[tuple[int, boxes.Box, Sequence[Any]]]


class _Part(NamedTuple):
    """A part of a tensor in host memory, and the devices that want it, in the memory ``kind``."""

    number: int
    array: np.ndarray
    devices: Sequence[Any]
    kind: str | None


@collector.paused()
def place(
    requests: Sequence[Request], what: str = "load", progress: Progress | bool | None = None
) -> list[jax.Array]:
    """The arrays of the requests. Only the boxes of this process's devices are read.

    Many small parts go to the devices in one call. Host memory holds two such batches at most, the
    one that is read and the one that is on its way to accelerators: two shards where these are
    large. ``progress`` is that of ``load_checkpoint``, ``what`` the text of a bar.
    """
    dealt = [*_dealt(requests)]
    total = sum(_nbytes(requests[n], box) for batch in dealt for n, box, _ in batch)
    placed: list[dict[Any, jax.Array]] = [{} for _ in requests]
    on_the_way: list[jax.Array] = []
    with (
        meters.meter(what, total, progress) as advance,
        ThreadPoolExecutor(writer.THREADS) as pool,
    ):
        for batch in _batches(requests, dealt, pool, advance or (lambda nbytes: None)):
            sent = _send(batch, placed)
            jax.block_until_ready(on_the_way)
            on_the_way = [array for array in sent if not on_host(array.sharding)]
    return [_joined(request, parts) for request, parts in zip(requests, placed, strict=True)]


def read(request: Request) -> np.ndarray:
    """The whole tensor in host memory, in the dtype that is asked for."""
    with ThreadPoolExecutor(writer.THREADS) as pool:
        return _read_box(request, boxes.whole(request.shape), pool, lambda nbytes: None)


def _batches(
    requests: Sequence[Request],
    dealt: Sequence[_Batch],
    pool: ThreadPoolExecutor,
    advance: Progress,
) -> Iterator[list[_Part]]:
    """Yield the parts of all requests, as they are read, some at a time."""
    for batch in dealt:
        small = [(requests[n].pieces, box) for n, box, _ in batch if _is_small(requests[n], box)]
        with ranges.holding(small):
            parts = [
                _Part(n, _read_box(requests[n], box, pool, advance), devices, _kind(requests[n]))
                for n, box, devices in batch
            ]
        yield parts


def _dealt(requests: Sequence[Request]) -> Iterator[_Batch]:
    """Yield the boxes of all requests with their devices, so many at a time as fit in memory."""
    batch: _Batch = []
    waiting = 0
    for number, request in enumerate(requests):
        for box, devices in _wanted(request).items():
            nbytes = _nbytes(request, box)
            if batch and waiting + nbytes > _BATCH:
                yield batch
                batch, waiting = [], 0
            batch.append((number, box, devices))
            waiting += nbytes
    if batch:
        yield batch


def _is_small(request: Request, box: boxes.Box) -> bool:
    """Tell whether a box is read as a whole, not in windows."""
    return _nbytes(request, box) <= CHUNK_BYTES


def _nbytes(request: Request, box: boxes.Box) -> int:
    return boxes.size_of(box) * request.dtype.itemsize


def _wanted(request: Request) -> Mapping[boxes.Box, Sequence[Any]]:
    """The boxes of a tensor that this process needs, and the devices that want each."""
    shape, sharding = request.shape, request.sharding
    if sharding is None:
        return {boxes.whole(shape): ()}
    try:
        return _boxes(sharding, shape)
    except (ValueError, IndexError) as error:  # the latter where it has fewer axes
        raise CheckpointError(
            f"its shape {list(shape)} does not fit the sharding: {error}", name=request.name
        ) from None


@functools.lru_cache(maxsize=256)
def _boxes(
    sharding: jax.sharding.Sharding, shape: tuple[int, ...]
) -> Mapping[boxes.Box, Sequence[Any]]:
    out: dict[boxes.Box, list[Any]] = {}
    for device, index in sharding.addressable_devices_indices_map(shape).items():
        out.setdefault(boxes.from_index(index or (), shape), []).append(device)
    return out


def _send(batch: Sequence[_Part], placed: Sequence[dict[Any, jax.Array]]) -> list[jax.Array]:
    """Send parts to their devices in one call for each kind of placement; note where they are."""
    places = [(part, device) for part in batch for device in part.devices or [None]]
    out: list[jax.Array] = []
    for by_default in (True, False):
        chosen = [(part, device) for part, device in places if (device is None) == by_default]
        arrays = [part.array for part, _ in chosen]
        devices = None if by_default else [_memory(dev, part.kind) for part, dev in chosen]
        for (part, device), array in zip(chosen, jax.device_put(arrays, devices), strict=True):
            placed[part.number][device] = array
            out.append(array)
    return out


def _kind(request: Request) -> str | None:
    """The memory kind in which a tensor is wanted."""
    return None if request.sharding is None else request.sharding.memory_kind


@functools.lru_cache(maxsize=1024)
def _memory(device: Any, kind: str | None) -> Any:
    """The place on a device for arrays of a memory kind; the device itself for its default one."""
    if kind in (None, device.default_memory().kind):
        return device
    return jax.sharding.SingleDeviceSharding(device, memory_kind=kind)


def _joined(request: Request, parts: dict[Any, jax.Array]) -> jax.Array:
    if request.sharding is None:
        return parts[None]
    if len(parts) == 1:
        (array,) = parts.values()
        if array.sharding == request.sharding:
            return array
    where = request.sharding.addressable_devices_indices_map(request.shape)
    shards = [parts[device] for device in where]
    return jax.make_array_from_single_device_arrays(request.shape, request.sharding, shards)


def _read_box(
    request: Request, box: boxes.Box, pool: ThreadPoolExecutor, advance: Progress
) -> np.ndarray:
    out = _aligned(boxes.shape_of(box), request.dtype)
    if _is_small(request, box):
        boxes.gather(request.pieces, box, out)
        advance(out.nbytes)
        return out
    limit = max(1, CHUNK_BYTES // out.itemsize)

    def gather(part: boxes.Box) -> None:
        boxes.gather(request.pieces, part, out[boxes.slices(part, box)])
        advance(_nbytes(request, part))

    list(pool.map(gather, _windows(request.pieces, box, limit)))
    return out


def _windows(pieces: Sequence[boxes.Piece], box: boxes.Box, limit: int) -> Iterator[boxes.Box]:
    """Yield parts of ``box`` of at most ``limit`` elements, as the source wants them or by rows."""
    is_one = isinstance(pieces, list | tuple) and len(pieces) == 1
    own = getattr(pieces[0][1], "windows", None) if is_one else None
    if own is not None:
        yield from own(box, limit)
        return
    for part in boxes.of_range(boxes.shape_of(box), 0, boxes.size_of(box), limit):
        yield tuple((a + o, b + o) for (a, b), (o, _) in zip(part, box, strict=True))


def copied(array: np.ndarray) -> jax.Array:
    """The array on the default device, by a single copy of it, however its bytes lie in a file."""
    out = _aligned(array.shape, array.dtype)
    out[...] = array
    return jax.device_put(out)


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    raw = np.empty(math.prod(shape) * dtype.itemsize + _ALIGN, np.uint8)
    start = -raw.__array_interface__["data"][0] % _ALIGN  # .ctypes takes five times as long
    return np.ndarray(shape, dtype, raw, start)
