"""Encrypted files, whatever is in them."""

from __future__ import annotations

from typing import Any, NamedTuple

from msckpt_jax.checkpoint import cipher
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.source import Source, opened
from msckpt_jax.errors import CheckpointError


class Opened(NamedTuple):
    """A source with plain content; ``sealed`` is None where it was not encrypted."""

    source: Source
    sealed: bool | None


def encryption(ckpt_file_name: PathLike) -> tuple[str, int] | None:
    """The cipher mode and the number of blocks of an encrypted file, without its key.

    Raises:
        CheckpointError: the file is cut off, or its blocks cannot be those of one save.
    """
    source = opened(ckpt_file_name)
    mode = mode_of(source)
    if mode is None:
        return None
    try:
        blocks = list(cipher.blocks(memoryview(source.data[:]), mode))
        cipher.check_sizes(blocks)
        return mode.name, len(blocks)
    except cipher.CipherError as error:
        raise CheckpointError(error.problem, file=source.path, offset=error.offset) from None


def mode_of(source: Source) -> cipher.Mode | None:
    """The cipher mode of a file; a folder has none."""
    return None if source.data is None else cipher.detect(source.data[:4])


def plain(source: Source, key: Any, mode_name: str) -> Opened:
    """The source with its content decrypted into memory, if it is encrypted.

    Raises:
        CheckpointError: the file is encrypted in another mode or with another key, or damaged; it
            is encrypted and no key was given, or it is not and a key was given.
    """
    wanted = cipher.mode_named(mode_name, "dec_mode")
    if key is not None:
        key = wanted.check_key(key, "dec_key")
    mode, file = mode_of(source), source.path
    if mode is None:
        if key is not None:
            raise CheckpointError("dec_key was given, but the file is not encrypted", file=file)
        return Opened(source, None)
    if key is None:
        raise CheckpointError(f"the file is encrypted with {mode.name}: pass dec_key", file=file)
    if mode is not wanted:
        problem = "the file is encrypted in another mode"
        raise CheckpointError(problem, file=file, expected=wanted.name, found=mode.name)
    data = memoryview(source.data[:])
    try:
        cipher.check_sizes(list(cipher.blocks(data, mode)))
        decrypted = cipher.decrypt(data, mode, key)
        return Opened(source._replace(data=decrypted.data), decrypted.sealed)
    except cipher.CipherError as error:
        raise CheckpointError(error.problem, file=file, offset=error.offset) from None
