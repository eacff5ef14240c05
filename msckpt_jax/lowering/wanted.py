"""What an export is asked for, beyond the function itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from msckpt_jax.checkpoint import cipher

if TYPE_CHECKING:
    from msckpt_jax.lowering.wanted import Wanted


class Wanted(NamedTuple):
    """How a file is to be written: the arguments of ``export`` that a format may heed."""

    encrypt: cipher.Mode | Callable[[bytes, bytes], bytes] | None
    key: bytes
    custom_func: Callable[[Any], Any] | None
    user_info: Mapping[str, str] | None
    split_bytes: int | None
    durable: bool
    preprocessor: Any
    soc: str | None
    narrow: bool
    opset: int
    engine: str
    load: Mapping[str, Any]


def encryption(
    wanted: Wanted, file_format: str, *absent: str
) -> Callable[[bytes, bytes], bytes] | None:
    """The user's function that encrypts, for formats that have no cipher of their own.

    Raises:
        ValueError: there is one of the arguments ``absent``, which the format has no place for,
            or the name of a cipher.
    """
    given = [name for name in absent if getattr(wanted, name) is not None]
    if given:
        raise ValueError(f"{file_format} has no place for {', '.join(given)}: MINDIR has")
    if wanted.encrypt is None or callable(wanted.encrypt):
        return wanted.encrypt
    raise ValueError(
        f"{file_format} has no cipher of its own: enc_mode must be a function of bytes and key"
    )
