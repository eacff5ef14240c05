"""Weights in a model file: messages are written around their bytes, and no weight is copied."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import numpy as np

from msckpt_jax import boxes, dtypes
from msckpt_jax.checkpoint import cipher, leaves, records, wire
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint import writer as bytes_writer
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.plan import Part, Plan
from msckpt_jax.graph.values import Parameter
from msckpt_jax.progress import Progress, meter


class Options(Protocol):
    """The settings of writing a file.

    ``encrypt`` is a cipher of MindSpore's, or a function of bytes and key that gives bytes;
    ``progress`` True for a bar, or a function that is called with the size of each piece.
    """

    @property
    def encrypt(self) -> cipher.Mode | Callable[[bytes, bytes], bytes] | None: ...
    @property
    def key(self) -> bytes: ...
    @property
    def durable(self) -> bool: ...
    @property
    def progress(self) -> Progress | bool | None: ...


def content(parameter: Parameter, narrow: bool = False) -> Part:
    """The bytes of a weight: an array, or a tensor that is gathered window by window.

    ``narrow``: the data may have another dtype than the weight, and is cast while it is written.
    """
    data, dtype = parameter.data, parameter.type.dtype
    row = dtypes.of_array(dtype)
    if row is not None and not row.loads:  # no dtype of a CheckPoint
        return np.ascontiguousarray(data, dtype)
    values = leaves.of_value(parameter.name, data).content
    if narrow and isinstance(values, np.ndarray) and values.dtype != dtype:
        values = records.Tensor(values.shape, dtype, ((boxes.whole(values.shape), values),))
    if isinstance(values, records.Tensor):
        values = values._replace(stored=dtype) if narrow else values
        return planning.Range(values, 0, math.prod(values.shape))
    return values


def nested(field: int, parts: Sequence[Part]) -> list[Part]:
    """A length-delimited field of a protobuf message, made of ``parts``."""
    size = sum(map(planning.size_of, parts))
    return [wire.varint(field << 3 | 2) + wire.varint(size), *parts]


def write(
    path: AnyPath, parts: Sequence[Part], options: Options, beside: AnyPath | None = None
) -> None:
    """Write a file, which replaces an older file when it is complete.

    A new file of weights gets the mode of the model ``beside``, if that exists.
    """
    parts = [part for part in parts if planning.size_of(part)]
    mode = options.encrypt
    if callable(mode):
        plain = b"".join(b for chunk in planning.chunks(parts) for b in _buffers(chunk))
        cipher_text = mode(plain, options.key)
        if not isinstance(cipher_text, bytes | bytearray | memoryview):
            raise TypeError(f"enc_mode must return bytes, not {type(cipher_text).__name__}")
        parts, mode = [bytes(cipher_text)], None
    plan = Plan(list(parts), sum(map(planning.size_of, parts)))
    with meter(f"export {path}", plan.nbytes, options.progress) as advance:
        how = bytes_writer.Options(mode, options.key, options.durable, progress=advance)
        bytes_writer.write(path, plan, how, beside)


def free(names: Iterator[AnyPath]) -> AnyPath:
    """The first name without a file: a model that is there may refer to any other."""
    return next(path for path in names if not path.exists())


def _buffers(chunk: planning.Chunk) -> list[bytes]:
    staging = np.empty(planning.STAGING_BYTES, np.uint8)
    return [bytes(planning.as_bytes(b)) for b in planning.buffers(chunk, staging)]
