"""Damage files by their structure: fields of protobuf messages, values of JSON, and plain bytes."""

from __future__ import annotations

import copy
import functools
import json
import pickle
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

from msckpt_jax.checkpoint.wire import varint

#: Numbers at which readers err: signs, widths, products that overflow.
NUMBERS = (
    0, 1, 2, 3, 7, 31, 64, 127, 255, 2**16, 2**31 - 1, 2**31, 2**32, 2**40, 2**62, 2**63 - 1,
    2**64 - 1, 2**64 - 2, 2**64 - 2**31,
)  # fmt: skip
TEXTS = (b"", b"\xff\xfe", b"\0", b"..", b"/", b"a" * 300, "ø".encode(), b"\x1b[2J", b"0" * 5000)
JSON = (
    None, True, -1, 0, 1, 2**31, 2**62, 2**70, 1e308, 0.5, "", "w", "..", "\x1b[2J", [], [0], [-1],
    [2**62, 2**62], [0, 2**62, 2**62], {}, {"w": 1}, [[[[]]]],
)  # fmt: skip


def data(rng: random.Random, whole: bytes) -> bytes:
    """Change, drop, repeat bytes, or cut the file."""
    out = bytearray(whole)
    for _ in range(rng.choice((1, 1, 2, 6))):
        at = rng.randrange(len(out) + 1)
        how = rng.randrange(5)
        if how == 0 and at < len(out):
            out[at] = rng.randrange(256)
        elif how == 1:
            del out[at : at + rng.randrange(1, 9)]
        elif how == 2:
            out[at:at] = out[rng.randrange(len(out) + 1) :][: rng.randrange(1, 60)]
        elif how == 3 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif rng.random() < 0.2:
            del out[at:]
    return bytes(out)


# protobuf

#: A field: its number, its wire type, and its value (an int, bytes, or fields).
Field = list[Any]


def parsed(data: bytes, depth: int = 0) -> list[Field] | None:
    """The fields of a message, or None where the bytes are none."""
    out: list[Field] = []
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        number, kind = key >> 3, key & 7
        if at < 0 or not number or kind not in (0, 1, 2, 5):
            return None
        if kind == 0:
            value, at = _number(data, at)
            if at < 0:
                return None
            out.append([number, kind, value])
            continue
        size = {1: 8, 5: 4}.get(kind)
        if size is None:
            size, at = _number(data, at)
        if at < 0 or at + size > len(data):
            return None
        part = data[at : at + size]
        at += size
        may = kind == 2 and 1 < len(part) < 5000 and depth < 12
        inner = parsed(part, depth + 1) if may else None
        out.append([number, kind, part if inner is None else inner])
    return out


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        value |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            return value, at
    return 0, -1


def written(fields: list[Field]) -> bytes:
    out = []
    for number, kind, value in fields:
        body = written(value) if isinstance(value, list) else value
        if kind == 0:
            out.append(varint(number << 3) + varint(body))
        else:
            length = varint(len(body)) if kind == 2 else b""
            out.append(varint(number << 3 | kind) + length + body)
    return b"".join(out)


@functools.lru_cache(maxsize=64)
def _pickled(whole: bytes) -> bytes:
    """The fields of a message, to be copied: quicker than to be parsed again."""
    return pickle.dumps(parsed(whole))


def _lists(fields: list[Field]) -> Iterator[list[Field]]:
    yield fields
    for field in fields:
        if isinstance(field[2], list):
            yield from _lists(field[2])


def message(rng: random.Random, whole: bytes) -> bytes:
    """Change numbers and texts, and drop, repeat, swap and move the fields of a message."""
    fields: list[Field] | None = pickle.loads(_pickled(whole))
    if not fields or rng.random() < 0.1:
        return data(rng, whole)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        lists = [part for part in _lists(fields) if part]
        if not lists:
            break
        _change(rng, rng.choice(lists), lists)
    return written(fields)


def _change(rng: random.Random, part: list[Field], lists: list[list[Field]]) -> None:
    at = rng.randrange(len(part))
    field = part[at]
    other = rng.choice(rng.choice(lists))
    how = rng.randrange(8)
    if how == 0:
        del part[at]
    elif how == 1:
        part.insert(at, copy.deepcopy(field))
    elif how == 2:
        part.insert(at, copy.deepcopy(other))
    elif how == 3 and other[1] == field[1]:
        field[2] = copy.deepcopy(other[2])
    elif how == 4:
        field[0] = rng.randrange(1, 20)
    elif field[1] == 0:
        field[2] = rng.choice((*NUMBERS, rng.randrange(70), field[2] ^ 1))
    elif isinstance(field[2], bytes):
        field[2] = _text(rng, field)


def _text(rng: random.Random, field: Field) -> bytes:
    if field[1] != 2:
        return struct.pack("<d" if field[1] == 1 else "<f", rng.choice((0, -1, 1e30, float("nan"))))
    return rng.choice((*TEXTS, field[2] + b"x", field[2][:-1], field[2] * 2, field[2] * 50))


# JSON


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])


def text(rng: random.Random, whole: bytes) -> bytes:
    """Change, drop, repeat and rename the values of a JSON text."""
    value = json.loads(whole)
    if not value or rng.random() < 0.1:
        return data(rng, whole)
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(value))
        if not places:
            break
        owner, key = rng.choice(places)
        other, name = rng.choice(places)
        how = rng.randrange(5)
        if how == 0:
            del owner[key]
        elif how == 1:
            owner[key] = copy.deepcopy(rng.choice(JSON))
        elif how == 2:
            owner[key] = copy.deepcopy(other[name])
        elif how == 3 and isinstance(owner, dict):
            owner[rng.choice(("w", "", "\x1b[2J", key + "x"))] = owner.pop(key)
        elif isinstance(owner[key], str):
            owner[key] += rng.choice(("x", "\0", "/..", "9" * 400))
    return json.dumps(value).encode()


def headed(rng: random.Random, whole: bytes) -> bytes:
    """Change the JSON that follows its length in 8 bytes, as in safetensors files."""
    (size,) = struct.unpack_from("<Q", whole)
    if rng.random() < 0.2:
        return data(rng, whole)
    header = text(rng, whole[8 : 8 + size])
    return struct.pack("<Q", len(header)) + header + whole[8 + size :]


#: A mutator: the same for the same state of ``rng``.
Mutator = Callable[[random.Random, bytes], bytes]
