"""Damaged and malicious files: a CheckpointError, never a crash, hang or large allocation."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import msckpt_jax as ms
from msckpt_jax.checkpoint.wire import varint

TREE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.int64(7), "s": "hé"}


def field(number: int, content: bytes | int) -> bytes:
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    return varint(number << 3 | 2) + varint(len(content)) + content


def tensor(dims: Any = (2,), kind: bytes = b"Float32", content: bytes = bytes(8)) -> bytes:
    return b"".join(field(1, d) for d in dims) + field(2, kind) + field(3, content)


def record(tag: bytes = b"w", body: bytes | None = None, number: int = 2) -> bytes:
    return field(1, field(1, tag) + field(number, tensor() if body is None else body))


GOOD = record()
HOSTILE = {
    "empty file": (b"", "empty"),
    "garbage": (b"\x93numpy" + bytes(100), "no CheckPoint record begins here"),
    "zeros": (bytes(64), "no CheckPoint record"),
    "huge record": (b"\x0a" + varint(2**62), "are left: truncated"),
    "endless varint": (b"\x0a" + b"\xff" * 20, "cut off or too long"),
    "wrong wire type": (b"\x0b\x01" + GOOD, "no CheckPoint record"),
    "group in a record": (field(1, b"\x0b"), "wire type 3"),
    "huge tag": (field(1, b"\x0a" + varint(2**40)), "are left"),
    "tag not UTF-8": (record(b"\xff\xfe"), "not UTF-8"),
    "no tag": (field(1, field(2, tensor())), "no tag"),
    "no tensor": (field(1, field(1, b"w")), "no tensor"),
    "no type": (record(body=field(1, 2) + field(3, bytes(8))), "no type"),
    "unknown dtype": (record(body=tensor(kind=b"Float128")), "unknown dtype"),
    "content too short": (record(body=tensor(content=bytes(4))), "expected 8 bytes, found 4"),
    "content too long": (record(body=tensor(content=bytes(9))), "expected 8 bytes, found 9"),
    "huge dims": (record(body=tensor(dims=(2**40, 2**40))), "NumPy cannot hold this shape"),
    "many elements": (record(body=tensor(dims=(2**40,))), "does not fit"),
    "no elements, huge dims": (
        record(body=tensor(dims=(0, 2**62, 2**62), content=b"")),
        "NumPy cannot hold this shape",
    ),
    "negative dim": (record(body=tensor(dims=(2**64 - 1,))), "negative"),
    "many dims": (record(body=tensor(dims=(1,) * 1000)), "more than 64 dimensions"),
    "many packed dims": (record(body=field(1, b"\x01" * 5000) + tensor(())), "more than 64"),
    "odd string": (record(body=tensor((0,), b"str", b"abcde")), "not UTF-32"),
    "bad string": (record(body=tensor((0,), b"str", b"\xff" * 4)), "not UTF-32"),
    "map of two": (record(body=field(1, tensor()) * 2, number=3), "three tensors"),
    "map of unknown dtype": (
        record(body=field(1, tensor(kind=b"float7")) * 3, number=3),
        "unknown dtype",
    ),
    "second record bad": (GOOD + b"\x0a\x05abc", f"byte {len(GOOD) + 1}"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_ckpt(tmp_path: Path, case: str) -> None:
    data, message = HOSTILE[case]
    path = tmp_path / "bad.ckpt"
    path.write_bytes(data)
    with pytest.raises(ms.CheckpointError) as caught:
        ms.load_checkpoint(str(path))
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def safetensors_file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(dtype: Any = "F32", shape: Any = (1,), offsets: Any = (0, 4)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


HOSTILE_SAFETENSORS = {
    "short": (b"\x01", "too short"),
    "giant header": (struct.pack("<Q", 2**62) + b"{}", "longer than the file"),
    "not json": (safetensors_file(b"{nonsense"), "no valid JSON"),
    "not a dict": (safetensors_file(b"[1, 2, 3]"), "no valid JSON"),
    "deep nesting": (safetensors_file(b'{"a":' + b"[" * 100_000), "no valid JSON"),
    "no shape": (safetensors_file({"a": {"dtype": "F32"}}), "no valid JSON"),
    "float shape": (safetensors_file({"a": entry(shape=(1.0,))}, bytes(4)), "whole numbers"),
    "bool shape": (safetensors_file({"a": entry(shape=(True,))}, bytes(4)), "whole numbers"),
    "negative shape": (safetensors_file({"a": entry(shape=(-1,))}, bytes(4)), "whole numbers"),
    "wrong size": (safetensors_file({"a": entry(shape=(2,))}, bytes(4)), "expected 8 bytes"),
    "unknown dtype": (safetensors_file({"a": entry(dtype="Q9")}, bytes(4)), "unknown dtype"),
    "dtype a list": (safetensors_file({"a": entry(dtype=[1])}, bytes(4)), "unknown dtype"),
    "gap": (safetensors_file({"a": entry(offsets=(4, 8))}, bytes(8)), "leave a gap"),
    "overlap": (safetensors_file({"a": entry(), "b": entry()}, bytes(4)), "overlap"),
    "outside": (safetensors_file({"a": entry()}, bytes(2)), "outside"),
    "goes on": (safetensors_file({"a": entry()}, bytes(9)), "goes on"),
    "metadata a list": (safetensors_file({"__metadata__": [1], "a": entry()}, bytes(4)), "JSON"),
    "metadata of dicts": (
        safetensors_file({"__metadata__": {"a": {}, "crc_num": 5}, "a": entry()}, bytes(4)),
        "metadata",
    ),
    "not a check sum": (
        safetensors_file({"__metadata__": {"crc_num": "9" * 5000}, "a": entry()}, bytes(3)),
        "outside",
    ),
    "lone surrogate": (safetensors_file(b'{"\\ud800":{}}'), "no valid JSON"),
}


@pytest.mark.parametrize("case", HOSTILE_SAFETENSORS)
def test_hostile_safetensors(tmp_path: Path, case: str) -> None:
    data, message = HOSTILE_SAFETENSORS[case]
    path = tmp_path / "bad.safetensors"
    path.write_bytes(data)
    with pytest.raises(ms.CheckpointError, match=message):
        ms.load_checkpoint(str(path))


def save_plain(path: str) -> dict[str, Any]:
    ms.save_checkpoint(TREE, path, crc_check=True)
    return {}


def save_secret(path: str) -> dict[str, Any]:
    ms.save_checkpoint(TREE, path, enc_key=bytes(16))
    return {"dec_key": bytes(16)}


def save_tensors(path: str) -> dict[str, Any]:
    tree = {k: v for k, v in TREE.items() if k != "s"}
    ms.save_checkpoint(tree, path, format="safetensors", crc_check=True)
    return {}


KINDS: dict[str, Callable[[str], dict[str, Any]]] = {
    "a.ckpt": save_plain,
    "b.ckpt": save_secret,
    "c.safetensors": save_tensors,
}


def outcome(path: Path, **kwargs: Any) -> Any:
    """What loading and reading everything gives: a dict, or the CheckpointError."""
    try:
        return dict(ms.load_checkpoint(str(path), **kwargs))
    except ms.CheckpointError as error:
        return error


@pytest.mark.parametrize("name", KINDS)
def test_truncation_at_every_byte(tmp_path: Path, name: str) -> None:
    kwargs = KINDS[name](str(tmp_path / name))
    data = (tmp_path / name).read_bytes()
    path = tmp_path / f"cut_{name}"
    shorter = 0
    for size in range(len(data)):
        path.write_bytes(data[:size])
        found = outcome(path, **kwargs)
        if isinstance(found, dict):  # cut between records: only the caller can know
            shorter += 1
            assert name == "a.ckpt"
            if len(found) < len(TREE):
                with pytest.raises(ms.CheckpointError, match="that the file lacks"):
                    ms.load_checkpoint(str(path), like=TREE)
            with pytest.raises(ms.CheckpointError, match="no check sum"):
                ms.load_checkpoint(str(path), crc_check=True)
    assert shorter == (len(TREE) if name == "a.ckpt" else 0)


@pytest.mark.parametrize("name", KINDS)
def test_every_flipped_byte(tmp_path: Path, name: str) -> None:
    kwargs = KINDS[name](str(tmp_path / name))
    data = bytearray((tmp_path / name).read_bytes())
    path = tmp_path / f"flipped_{name}"
    caught = 0
    for at in range(len(data)):
        for mask in (0x01, 0x80, 0xFF):
            data[at] ^= mask
            path.write_bytes(data)
            data[at] ^= mask
            crc = {} if name == "b.ckpt" else {"crc_check": True}
            caught += isinstance(outcome(path, **kwargs, **crc), ms.CheckpointError)
            outcome(path, **kwargs)
    assert caught > 0.9 * 3 * len(data)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x0a", GOOD, b"\x40\0\0\0\0\0\0\0{"]))
def test_random_bytes(tmp_path_factory: Any, junk: bytes, start: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "junk.ckpt"
    path.write_bytes(start + junk)
    assert isinstance(outcome(path), dict | ms.CheckpointError)


@given(st.data())
def test_random_records(tmp_path_factory: Any, data: Any) -> None:
    """Well-formed protobuf with random fields gets further into the reader than junk does."""
    messages: st.SearchStrategy[bytes] = st.recursive(
        st.one_of(st.binary(max_size=8), st.sampled_from([b"Float32", b"str", b"Int4", b"w"])),
        lambda inner: st.lists(
            st.builds(field, st.integers(1, 4), st.one_of(inner, st.integers(0, 2**64 - 1))),
            max_size=4,
        ).map(b"".join),
        max_leaves=20,
    )
    path = tmp_path_factory.getbasetemp() / "records.ckpt"
    path.write_bytes(b"".join(field(1, m) for m in data.draw(st.lists(messages, max_size=4))))
    assert isinstance(outcome(path), dict | ms.CheckpointError)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({}, "encrypted with AES-GCM: pass dec_key"),
        ({"dec_key": bytes(15) + b"1"}, "wrong key"),
        ({"dec_key": bytes(16), "dec_mode": "AES-CBC"}, "expected AES-CBC, found AES-GCM"),
    ],
)
def test_wrong_keys(tmp_path: Path, kwargs: dict[str, Any], message: str) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint(TREE, path, enc_key=bytes(16))
    with pytest.raises(ms.CheckpointError, match=message):
        ms.load_checkpoint(path, **kwargs)


@pytest.mark.parametrize("mode", ["AES-CBC", "SM4-CBC"])
def test_wrong_key_of_a_mode_that_authenticates_nothing(tmp_path: Path, mode: str) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint(TREE, path, enc_key=bytes(16), enc_mode=mode)
    with pytest.raises(ms.CheckpointError):
        ms.load_checkpoint(path, dec_key=b"1" * 16, dec_mode=mode)


def test_a_key_for_a_plain_file(tmp_path: Path) -> None:
    path = str(tmp_path / "a.ckpt")
    ms.save_checkpoint(TREE, path)
    with pytest.raises(ms.CheckpointError, match="not encrypted"):
        ms.load_checkpoint(path, dec_key=bytes(16))


def test_a_folder_and_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ms.CheckpointError, match="folder"):
        ms.load_checkpoint(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        ms.load_checkpoint(str(tmp_path / "none.ckpt"))


TOLERATED = {
    "old spelling": (record(body=tensor((2,), b"Uint8", b"\x01\x02")), np.array([1, 2], "u1")),
    "old scalar": (record(body=tensor((0,), content=bytes(4))), np.array(0, "f4")),
    "packed dims": (
        record(body=field(1, b"\x02\x01") + field(2, b"Int8") + field(3, b"\x01\x02")),
        np.array([[1], [2]], "i1"),
    ),
    "fields in another order": (
        field(
            1, field(2, field(3, bytes(8)) + field(2, b"Float32") + field(1, 2)) + field(1, b"w")
        ),
        np.zeros(2, "f4"),
    ),
    "unknown fields": (field(1, field(9, 1) + field(1, b"w") + field(2, tensor())), np.zeros(2)),
    "complex": (
        record(body=tensor((1,), b"Complex64", struct.pack("<2f", 1, 2))),
        np.array([1 + 2j], "c8"),
    ),
    "random states": (
        record(body=tensor((0,), b"random_op", b"\x01\x02\x03")),
        np.array([1, 2, 3], "u1"),
    ),
    "repeated tag, the last wins": (
        record() + record(b"x") + record(body=tensor((1,), content=bytes(4))),
        np.zeros(1, "f4"),
    ),
    "slices cut within an element": (
        record(body=tensor(content=bytes(3))) + record(body=tensor(content=bytes(5))),
        np.zeros(2, "f4"),
    ),
}


@pytest.mark.parametrize("case", TOLERATED)
def test_other_generations(tmp_path: Path, case: str) -> None:
    data, wanted = TOLERATED[case]
    path = tmp_path / "a.ckpt"
    path.write_bytes(data)
    found = ms.load_checkpoint(str(path))["w"]
    assert found.shape == wanted.shape
    assert np.array_equal(found, wanted)


def test_map_tensors(tmp_path: Path) -> None:
    def part(keys: list[int]) -> bytes:
        k, n = np.array(keys, "<i8"), len(keys)
        return record(
            b"m",
            field(1, tensor((n,), b"int64", k.tobytes()))
            + field(1, tensor((n, 2), b"float32", np.ones((n, 2), "f4").tobytes()))
            + field(1, tensor((n,), b"int32", np.zeros(n, "i4").tobytes())),
            3,
        )

    path = tmp_path / "a.ckpt"
    path.write_bytes(part([2**40, 2]) + part([3]))
    keys, values, status = ms.load_checkpoint(str(path))["m"]
    assert keys.tolist() == [2**40, 2, 3]
    assert (values.shape, status.shape) == ((3, 2), (3,))


def test_packed_int4_is_refused_and_can_be_read_raw(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    path.write_bytes(record(body=tensor((2,), b"Int4", b"\x7f\x01")))
    with pytest.raises(ms.CheckpointError, match="packed"):
        ms.load_checkpoint(str(path))["w"]
    assert ms.open_checkpoint(str(path)).raw("w").tolist() == [127, 1]


def test_nothing_is_allocated_for_what_a_file_only_claims(tmp_path: Path) -> None:
    claims = [
        record(body=tensor(dims=(2**31, 2**31))),
        b"\x0a" + varint(2**62) + bytes(1000),
        safetensors_file({"a": entry(shape=(2**50,), offsets=(0, 2**52))}, bytes(8)),
        struct.pack("<III", 0x7F3A5ED9, 0xFFFFFFFF, 16) + bytes(16) + b"\xff" * 4,
    ]
    for index, data in enumerate(claims):
        (tmp_path / f"{index}.ckpt").write_bytes(data)
    program = """
import sys, tracemalloc
import jax
import msckpt_jax as ms
ms.open_checkpoint
tracemalloc.start()
for path in sys.argv[1:]:
    for key in ({}, {"dec_key": bytes(16), "dec_mode": "AES-CBC"}):
        try:
            ms.load_checkpoint(path, **key)
        except ms.CheckpointError:
            continue
        sys.exit("loaded " + path)
assert tracemalloc.get_traced_memory()[1] < 4 << 20, tracemalloc.get_traced_memory()
"""
    files = [str(tmp_path / f"{i}.ckpt") for i in range(len(claims))]
    subprocess.run([sys.executable, "-c", program, *files], check=True, timeout=120)
