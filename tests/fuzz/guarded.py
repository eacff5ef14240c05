"""Damage what a check sum or a cipher guards, and guard it again: else no damage gets past it."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.checkpoint import cipher, wire
from tests.fuzz import mutate

KEY = b"0123456789abcdef"
_MODE = cipher.mode_named("AES-GCM", "mode")
#: The tail of the IVs in files with a seal: the bytes that are no nonce.
_SEALED = b"seal"


def records(rng: random.Random, whole: bytes) -> bytes:
    """Damage the records of a CheckPoint, behind a cipher and before a check sum."""
    if cipher.detect(whole[:4]) is not None:
        return blocks(rng, whole)
    trailer = len(whole) - wire.CRC_BYTES
    if whole[trailer:].startswith(wire.CRC_MARK) and rng.random() < 0.9:
        body = mutate.message(rng, whole[:trailer])
        return body + wire.crc_trailer(zlib.crc32(body))
    return mutate.message(rng, whole)


def zipped(rng: random.Random, whole: bytes) -> bytes:
    """Damage a member of a zip archive, whose check sum then fits; or any byte of the archive."""
    if rng.random() < 0.2:
        return mutate.data(rng, whole)
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(out, "w") as made:
        members = archive.infolist()
        chosen = rng.choice([m for m in members if not m.filename.endswith("version")])
        for member in members:
            content = archive.read(member)
            made.writestr(member, mutate.data(rng, content) if member is chosen else content)
    return out.getvalue()


def blocks(rng: random.Random, whole: bytes) -> bytes:
    """Damage a plain message, and encrypt it; or the blocks, under a seal that fits them."""
    how = rng.random()
    if how < 0.1:
        return mutate.data(rng, whole)
    plain = bytes(cipher.decrypt(memoryview(whole), _MODE, KEY).data)
    size = max(1, len(plain) // rng.choice((1, 1, 2, 3)))
    if how < 0.7:
        plain = mutate.message(rng, plain)
    parts = [plain[at : at + size] for at in range(0, len(plain), size)]
    if how > 0.8 and parts:
        place = rng.randrange(len(parts))
        parts[place : place + 1] = rng.choice(([], [b""], [parts[0]] * 2, [parts[place][:-1]]))
    made = [_block(rng, part) for part in parts]
    if how > 0.9:
        return b"".join(made)
    heads = [block[: _MODE.head_bytes] for block in made]
    return b"".join([*made, _block(rng, cipher.seal(heads))])


def preprocessor(rng: random.Random, whole: bytes) -> bytes:
    """Damage the JSON texts of a MindIR's preprocessor, or any of its fields."""
    if rng.random() < 0.3:
        return mutate.message(rng, whole)
    model = pb.ModelProto.FromString(whole)
    operation = rng.choice(model.preprocessor.op)
    name = rng.choice(("op_type", "operations", "input_columns", "output_columns"))
    text = mutate.text(rng, b"[" + getattr(operation, name).encode() + b"]")[1:-1]
    setattr(operation, name, text.decode(errors="replace"))
    return model.SerializeToString(deterministic=True)


def _block(rng: random.Random, plain: bytes) -> bytes:
    """A block of a sealed file, the same for the same state of ``rng``."""
    nonce = rng.randbytes(12)
    secret = AESGCM(KEY).encrypt(nonce, plain, None)
    content, tag = secret[:-16], secret[-16:]
    head = struct.pack("<I", _MODE.magic) + tag + struct.pack("<II", 24 + len(content), 16)
    return head + nonce + _SEALED + struct.pack("<I", len(content)) + content
