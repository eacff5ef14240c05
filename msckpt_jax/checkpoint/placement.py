"""Put stored tensors on devices: every byte that this process needs is read once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import numpy as np

from msckpt_jax.checkpoint import boxes, writer
from msckpt_jax.checkpoint.records import on_host
from msckpt_jax.errors import CheckpointError

#: XLA takes host buffers of this alignment as they are, without another copy.
_ALIGN = 64
_BLOCK = 8 << 20
#: Bytes on their way to accelerators at one time.
_IN_FLIGHT = 256 << 20


class Request(NamedTuple):
    """A tensor to be placed: what it is in the file, and what it shall be.

    ``sharding`` None is the default device.
    """

    name: str
    shape: tuple[int, ...]
    pieces: Sequence[boxes.Piece]
    dtype: np.dtype
    sharding: jax.sharding.Sharding | None


def place(requests: Sequence[Request]) -> list[jax.Array]:
    """The arrays of the requests. Only the boxes of this process's devices are read."""
    out: list[jax.Array] = []
    waiting = 0
    with ThreadPoolExecutor(writer.THREADS) as pool:
        for request in requests:
            array = _place(request, pool)
            out.append(array)
            if not on_host(array.sharding):
                waiting += array.nbytes
                if waiting > _IN_FLIGHT:
                    array.block_until_ready()
                    waiting = 0
    return out


def read(request: Request) -> np.ndarray:
    """The whole tensor in host memory, in the dtype that is asked for."""
    out = np.empty(request.shape, request.dtype)
    boxes.gather(request.pieces, boxes.whole(request.shape), out)
    return out


def _place(request: Request, pool: ThreadPoolExecutor) -> jax.Array:
    shape, sharding = request.shape, request.sharding
    if sharding is None:
        return jax.device_put(_read_box(request, boxes.whole(shape), pool))
    try:
        where = sharding.addressable_devices_indices_map(shape)
    except ValueError as error:
        raise CheckpointError(
            f"its shape {list(shape)} does not fit the sharding: {error}", name=request.name
        ) from None
    wanted = {device: boxes.from_index(index or (), shape) for device, index in where.items()}
    host = {box: _read_box(request, box, pool) for box in dict.fromkeys(wanted.values())}
    shards = jax.device_put([host[box] for box in wanted.values()], list(wanted))
    return jax.make_array_from_single_device_arrays(shape, sharding, shards)


def _read_box(request: Request, box: boxes.Box, pool: ThreadPoolExecutor) -> np.ndarray:
    out = _aligned(boxes.shape_of(box), request.dtype)
    if out.nbytes <= _BLOCK:
        boxes.gather(request.pieces, box, out)
        return out
    limit = max(1, _BLOCK // out.itemsize)

    def one(part: boxes.Box) -> None:
        shifted = tuple((a + o, b + o) for (a, b), (o, _) in zip(part, box, strict=True))
        boxes.gather(request.pieces, shifted, out[boxes.slices(part, boxes.whole(out.shape))])

    list(pool.map(one, boxes.of_range(out.shape, 0, out.size, limit)))
    return out


def _aligned(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    nbytes = boxes.size_of(boxes.whole(shape)) * dtype.itemsize
    raw = np.empty(nbytes + _ALIGN, np.uint8)
    start = -raw.ctypes.data % _ALIGN
    return raw[start : start + nbytes].view(dtype).reshape(shape)
