"""The wishes of an export: how to lower the function, how to write the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import cipher
from msckpt_jax.lowering.quantised import Quantiser
from msckpt_jax.lowering.rule import Rule
from msckpt_jax.progress import Progress


class Lowering(NamedTuple):
    """The arguments of ``export`` that say how a function becomes a graph."""

    fuse: bool = True
    exact: bool = False
    target: str | None = None
    rules: Mapping[str, Rule | Callable[..., Any]] | None = None
    quantiser: Quantiser | None = None


class Wanted(NamedTuple):
    """The arguments of ``export`` that say how the file is written.

    Attributes:
        encrypt: a cipher of MindSpore's, a function of bytes and key that gives bytes, or None.
        key: the key of the cipher.
        split_bytes: the size from which weights lie in files of their own; None: the format's.
        durable: whether to fsync.
        preprocessor: the section of a data set that was the input, or None.
        load: the arguments with which the file is loaded again.
        options: the arguments of ``export`` that its format alone heeds, all of them.
        progress: True shows a bar; or a function, called with the size of each piece written.
    """

    encrypt: cipher.Mode | Callable[[bytes, bytes], bytes] | None = None
    key: bytes = b""
    split_bytes: int | None = None
    durable: bool = True
    preprocessor: Any = None
    load: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    progress: Progress | bool | None = None

    def split(self, default: int) -> int:
        """Return the size from which weights lie in files of their own."""
        return default if self.split_bytes is None else self.split_bytes
