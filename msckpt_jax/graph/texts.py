"""The texts of protobuf messages, which protobuf gives as bytes where they are no UTF-8."""

from __future__ import annotations

import functools
from typing import Any


def are_sound(message: Any) -> bool:
    """Tell whether all strings are UTF-8; protobuf gives other strings as bytes."""
    strings, lists, messages, message_lists = _fields(message.DESCRIPTOR)
    return (
        not any(isinstance(getattr(message, name), bytes) for name in strings)
        and not any(isinstance(v, bytes) for name in lists for v in getattr(message, name))
        and all(are_sound(getattr(message, n)) for n in messages if message.HasField(n))
        and all(are_sound(part) for name in message_lists for part in getattr(message, name))
    )


@functools.cache
def _fields(descriptor: Any) -> tuple[list[str], list[str], list[str], list[str]]:
    """The names of fields of text and of messages, single and repeated."""
    out: tuple[list[str], ...] = ([], [], [], [])
    for proto in descriptor.fields:
        entries = proto.message_type is not None and proto.message_type.GetOptions().map_entry
        if proto.type in (proto.TYPE_STRING, proto.TYPE_MESSAGE) and not entries:
            repeated = isinstance(proto.default_value, list)
            out[2 * (proto.type == proto.TYPE_MESSAGE) + repeated].append(proto.name)
    return out  # type: ignore[return-value]
