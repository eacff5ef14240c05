"""Keys that a message has twice: protobuf keeps the last value and says nothing."""

from __future__ import annotations

import functools
from typing import Any

from msckpt_jax.checkpoint import wire


def twice(message: Any, data: Any) -> str | None:
    """Return a key that a map of a message has twice, or None.

    Args:
        message: what protobuf parsed.
        data: the bytes that it was parsed from.
    """
    return _twice(message.DESCRIPTOR, memoryview(data), 0, len(data))


def _twice(descriptor: Any, data: memoryview, start: int, stop: int) -> str | None:
    inside = _with_maps(descriptor)
    seen: set[tuple[int, bytes]] = set()
    for field, kind, first, end in wire.fields(data, start, stop):
        inner = inside.get(field) if kind == wire.BYTES else None
        if inner is None:
            continue
        if inner.GetOptions().map_entry:
            key = _key(data, first, end)
            if (field, key) in seen:
                return key.decode("utf-8", "replace")
            seen.add((field, key))
        if again := _twice(inner, data, first, end):
            return again
    return None


def _key(data: memoryview, start: int, stop: int) -> bytes:
    keys = [bytes(data[a:b]) for field, _, a, b in wire.fields(data, start, stop) if field == 1]
    return keys[-1] if keys else b""


@functools.cache
def _with_maps(descriptor: Any) -> dict[int, Any]:
    """The message types, by the number of their field, that are entries of maps or hold some."""
    return {
        field.number: field.message_type
        for field in descriptor.fields
        if field.message_type is not None and _holds(field.message_type, frozenset())
    }


def _holds(descriptor: Any, above: frozenset[str]) -> bool:
    if descriptor.GetOptions().map_entry:
        return True
    above |= {descriptor.full_name}
    inner = (field.message_type for field in descriptor.fields if field.message_type is not None)
    return any(_holds(part, above) for part in inner if part.full_name not in above)
