"""Encryption of CheckPoints: MindSpore's block layout, with ``cryptography`` for the ciphers.

The plain stream is cut into pieces of 64 MiB, and each becomes one block. (MindSpore reads blocks
of any size; a file that is written in order has smaller ones.) Integers are little-endian uint32
(MindSpore core, utils/crypto.cc)::

    magic [16 bytes GCM tag] block_len iv_len=16 iv[16] cipher_len cipher

``block_len`` counts what follows it. AES-GCM stores 16 IV bytes of which the first 12 are the
nonce; the CBC modes pad as PKCS7 and authenticate nothing.

AES-GCM authenticates each block by itself: blocks could be exchanged, left out, or come from
another file of the same key. So our CheckPoints end with one more block, the *seal*: a digest of
the heads of all blocks before it (each has its block's tag), as field 100 of the protobuf message,
which MindSpore's schema lacks and its reader skips. The four bytes of each IV that are no nonce
tell that a seal follows, so that a file without it is seen to be cut off.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

BLOCK_BYTES = 64 << 20
NONCE = 12
_IV = 16
_TAG = 16
_PAD = 16
#: The head of a field 100 of 32 bytes. No record of a CheckPoint begins so.
_SEAL = b"\xa2\x06\x20"
#: The last bytes of the IV of a block that a seal follows.
_SEALED = b"seal"
_SEAL_BYTES = len(_SEAL) + hashlib.sha256().digest_size


class Key(bytes):
    """The bytes of a key; whatever holds them prints their number."""

    def __repr__(self) -> str:
        return f"<key of {len(self)} bytes>"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class Mode:
    name: str
    magic: int
    key_sizes: tuple[int, ...]
    authenticated: bool

    @property
    def head_bytes(self) -> int:
        return 4 + (_TAG if self.authenticated else 0) + 4 + 4 + _IV + 4

    def cipher(self, key: bytes, iv: bytes, tag: bytes | None = None, nonce: int = NONCE) -> Cipher:
        algorithm = algorithms.SM4(key) if self.name == "SM4-CBC" else algorithms.AES(key)
        gcm = self.authenticated
        return Cipher(algorithm, modes.GCM(iv[:nonce], tag) if gcm else modes.CBC(iv))

    def cipher_bytes(self, plain: int) -> int:
        return plain if self.authenticated else plain + _PAD - plain % _PAD

    def check_key(self, key: Any, argument: str) -> Key:
        """Return the key, which never shows itself, or raise an error that does not show it."""
        if not isinstance(key, bytes | bytearray):
            raise TypeError(f"{argument} must be bytes, not {type(key).__name__}")
        if len(key) not in self.key_sizes:
            sizes = " or ".join(map(str, self.key_sizes))
            raise ValueError(f"{argument} for {self.name} must have {sizes} bytes, not {len(key)}")
        return Key(key)


MODES = {
    mode.name: mode
    for mode in (
        Mode("AES-GCM", 0x7F3A5ED8, (16, 24, 32), True),
        Mode("AES-CBC", 0x7F3A5ED9, (16, 24, 32), False),
        Mode("SM4-CBC", 0x7F3A5EDA, (16,), False),
    )
}
_BY_MAGIC = {struct.pack("<I", mode.magic): mode for mode in MODES.values()}


class CipherError(Exception):
    """A block is damaged or the key does not fit; the reader adds the file."""

    def __init__(self, problem: str, offset: int):
        super().__init__(problem)
        self.problem = problem
        self.offset = offset


def mode_named(name: Any, argument: str) -> Mode:
    if not isinstance(name, str) or name not in MODES:
        raise ValueError(f"{argument} must be one of {', '.join(MODES)}, not {name!r}")
    return MODES[name]


def detect(head: Any) -> Mode | None:
    """The mode of a file that begins with these 4 bytes, or None when it is not encrypted."""
    return _BY_MAGIC.get(bytes(head[:4]))


def encrypted_bytes(mode: Mode, plain: int) -> int:
    full, rest = divmod(plain, BLOCK_BYTES)
    size = full * (mode.head_bytes + mode.cipher_bytes(BLOCK_BYTES))
    return size + (mode.head_bytes + mode.cipher_bytes(rest) if rest else 0)


class BlockEncryptor:
    """The encryption of a block, piece by piece; ``head`` is known after ``finish``."""

    def __init__(self, mode: Mode, key: bytes, plain: int, sealed: bool = False):
        self.mode = mode
        self.iv = os.urandom(NONCE) + _SEALED if sealed else os.urandom(_IV)
        self.size = mode.cipher_bytes(plain)
        self.padding = self.size - plain
        self.encryptor = mode.cipher(key, self.iv).encryptor()

    def update(self, buffer: Any, out: memoryview) -> int:
        """Encrypt into ``out``, 15 bytes longer than ``buffer``; return the number of bytes."""
        return self.encryptor.update_into(buffer, out)

    def finish(self) -> bytes:
        """Return the last cipher bytes."""
        padding = bytes([self.padding]) * self.padding
        return self.encryptor.update(padding) + self.encryptor.finalize()

    @property
    def head(self) -> bytes:
        tag = self.encryptor.tag if self.mode.authenticated else b""  # type: ignore[attr-defined]
        return (
            struct.pack("<I", self.mode.magic)
            + tag
            + struct.pack("<II", 4 + _IV + 4 + self.size, _IV)
            + self.iv
            + struct.pack("<I", self.size)
        )


def block_of(mode: Mode, key: bytes, plain: bytes) -> bytes:
    """A whole block of a short content."""
    encryptor = BlockEncryptor(mode, key, len(plain), sealed=True)
    out = bytearray(len(plain) + _PAD)
    size = encryptor.update(plain, memoryview(out))
    content = bytes(out[:size]) + encryptor.finish()
    return encryptor.head + content


def seal(heads: Sequence[bytes | memoryview]) -> bytes:
    """The content of the seal of blocks with these heads."""
    digest = hashlib.sha256()
    for head in heads:
        digest.update(head)
    return _SEAL + digest.digest()


class Plain(NamedTuple):
    """A decrypted stream, and whether it was sealed: all of it is of one save, in its order."""

    data: memoryview
    sealed: bool


class Block(NamedTuple):
    offset: int
    tag: bytes | None
    iv: bytes
    start: int
    stop: int


def blocks(data: memoryview, mode: Mode) -> Iterator[Block]:
    """The blocks of an encrypted file.

    Raises:
        CipherError: a length does not fit the file.
    """
    offset = 0
    while offset < len(data):
        if len(data) - offset < mode.head_bytes:
            raise CipherError("the file ends within the head of a cipher block", offset)
        if detect(data[offset : offset + 4]) is not mode:
            raise CipherError(f"no {mode.name} block begins here", offset)
        at = offset + 4
        tag = bytes(data[at : at + _TAG]) if mode.authenticated else None
        at += _TAG if mode.authenticated else 0
        block_len, iv_len = struct.unpack_from("<II", data, at)
        iv = bytes(data[at + 8 : at + 8 + _IV])
        (size,) = struct.unpack_from("<I", data, at + 8 + _IV)
        start = at + 8 + _IV + 4
        if iv_len != _IV or block_len != 4 + _IV + 4 + size:
            raise CipherError("the lengths in the head of the block contradict each other", offset)
        if size > len(data) - start:
            raise CipherError(
                f"the block says {size} bytes but {len(data) - start} are left: truncated", offset
            )
        yield Block(offset, tag, iv, start, start + size)
        offset = start + size


def check_sizes(pieces: Sequence[Block]) -> None:
    """Refuse blocks that no writer leaves: the stream is cut into equal pieces and a rest.

    Raises:
        CipherError: a block stands twice, or one that is no last one has another size; a seal
            should follow, and does not.
    """
    first = pieces[0].stop - pieces[0].start
    sealed = len(pieces) > 1 and pieces[-1].stop - pieces[-1].start == _SEAL_BYTES
    promised = any(block.tag and block.iv.endswith(_SEALED) for block in pieces)
    if promised and not sealed:
        raise CipherError("the seal after the last block is missing: truncated", pieces[-1].stop)
    body = pieces[:-1] if sealed else pieces
    for block in body:
        size = block.stop - block.start
        if size > first or (block is not body[-1] and size != first):
            raise CipherError("the block has another size than the first: blocks are exchanged or "
                              "left out", block.offset)  # fmt: skip
    if len({block.iv for block in pieces}) < len(pieces):
        raise CipherError("two blocks have the same IV: one stands twice", pieces[-1].offset)


def decrypt(data: memoryview, mode: Mode, key: bytes, nonce: int = NONCE) -> Plain:
    """The plain stream of an encrypted file; it takes as much memory as the file.

    Args:
        data: the file.
        mode: the mode in which it was encrypted.
        key: the key with which it was encrypted.
        nonce: the number of bytes of the IV that are the nonce of AES-GCM.

    Raises:
        CipherError: the file is damaged or has another key; AES-GCM notices every changed bit, and
            a seal every other block.
    """
    cipher_blocks = list(blocks(data, mode))
    sealed = False
    out = bytearray(sum(b.stop - b.start for b in cipher_blocks) + _PAD)
    view, used = memoryview(out), 0
    for block in cipher_blocks:
        decryptor = mode.cipher(key, block.iv, block.tag, nonce).decryptor()
        try:
            size = decryptor.update_into(data[block.start : block.stop], view[used:])
            decryptor.finalize()
        except (InvalidTag, ValueError):
            raise CipherError("wrong key, or the block is damaged", block.offset) from None
        if not mode.authenticated:
            padding = view[used + size - 1] if size else 0
            tail = bytes(view[used + size - padding : used + size])
            if not 1 <= padding <= min(_PAD, size) or tail != bytes([padding]) * padding:
                raise CipherError("wrong key, or the block is damaged", block.offset)
            size -= padding
        if mode.authenticated and size == _SEAL_BYTES and view[used : used + 3] == _SEAL:
            _check_seal(bytes(view[used : used + size]), block, cipher_blocks, data)
            sealed, size = True, 0
        used += size
    return Plain(view[:used].toreadonly(), sealed)


def _check_seal(given: bytes, block: Block, all_blocks: Sequence[Block], data: memoryview) -> None:
    before = all_blocks[:-1]
    if block is not all_blocks[-1] or given != seal([data[b.offset : b.start] for b in before]):
        raise CipherError(
            "the blocks are not those of one save: some are exchanged, left out or of another file",
            block.offset,
        )
