"""Check the arguments of ``save_checkpoint`` before anything is touched."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any, TypedDict

from msckpt_jax import arguments
from msckpt_jax.checkpoint import cipher, formats, paths
from msckpt_jax.checkpoint.formats import shards
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.conventions.convention import ConventionLike
from msckpt_jax.progress import Progress

_ASYNC = (False, True, "thread", "process")
_ALIGN = 16  # the largest element


class Saving(TypedDict, total=False):
    """The arguments of :func:`save_checkpoint` that MindSpore's has not."""

    remove_redundancy: bool | None
    strategy_file: PathLike | None
    durable: bool
    slice_bytes: int
    threads: int
    progress: Progress | bool | None
    timeout: float
    convention: ConventionLike | None
    max_shard_size: int | str | None


def check_amounts(
    integrated_save: Any, durable: Any, slice_bytes: int, threads: int, timeout: float
) -> None:
    arguments.flags(integrated_save=integrated_save, durable=durable)
    amounts = (("slice_bytes", slice_bytes, numbers.Integral, "an int"),
               ("threads", threads, numbers.Integral, "an int"),
               ("timeout", timeout, numbers.Real, "a number"))  # fmt: skip
    for name, value, kind, what in amounts:
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(f"{name} must be {what}, not {type(value).__name__}")
    if slice_bytes < _ALIGN or slice_bytes % _ALIGN:
        raise ValueError(f"slice_bytes must be a multiple of {_ALIGN}, not {slice_bytes}")
    if threads < 1 or not timeout > 0:
        raise ValueError(f"threads and timeout must be positive, not {threads} and {timeout}")


def check_parts(remove_redundancy: Any, strategy_file: Any) -> None:
    if remove_redundancy is not None:
        arguments.flags(remove_redundancy=remove_redundancy)
    if strategy_file is not None:
        paths.path_of(strategy_file, "strategy_file")


def shard_limit(max_shard_size: Any, format: str, integrated_save: bool) -> int | None:
    """The largest number of bytes of a file of a folder; None for a save of one file."""
    if max_shard_size is None:
        return None
    if formats.to_write(format).sharding is None:
        able = [name for name, kind in formats.FORMATS.items() if kind.sharding is not None]
        raise ValueError(f"max_shard_size= needs format={' or '.join(map(repr, able))}")
    if not integrated_save:
        raise ValueError("max_shard_size= writes merged tensors: not with integrated_save=False")
    return shards.size(max_shard_size, "max_shard_size")


def check_options(
    async_save: Any,
    append_dict: Any,
    enc_key: Any,
    enc_mode: Any,
    choice_func: Any,
    crc_check: Any,
    format: Any,
) -> cipher.Mode | None:
    """Refuse wrong arguments; return the cipher mode that is asked for, if any."""
    kind = formats.to_write(format)
    if not isinstance(async_save, bool | str):
        raise TypeError(f"async_save must be bool or str, not {type(async_save).__name__}")
    if async_save not in _ASYNC:
        raise ValueError(f"async_save must be 'thread' or 'process', not {async_save!r}")
    if append_dict is not None and not isinstance(append_dict, Mapping):
        raise TypeError(f"append_dict must be a dict, not {type(append_dict).__name__}")
    arguments.functions(choice_func=choice_func)
    arguments.flags(crc_check=crc_check)
    mode = cipher.mode_named(enc_mode, "enc_mode")
    if enc_key is None:
        return None
    if not kind.encryption:
        raise ValueError(
            f"{format} files are not encrypted: save as {formats.DEFAULT}, or without enc_key"
        )
    if crc_check:
        raise ValueError(
            "crc_check cannot be combined with enc_key: MindSpore could not read the file. "
            "AES-GCM files have a seal, which load_checkpoint(crc_check=True) asks for"
        )
    return mode
