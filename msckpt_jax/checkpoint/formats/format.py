"""A file format of checkpoints: how it is recognised, read, and planned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax.checkpoint import writer
from msckpt_jax.checkpoint.entries import Entry, Problem
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.plan import SLICE_BYTES, Part, Plan
from msckpt_jax.checkpoint.records import Record
from msckpt_jax.checkpoint.source import Source

#: Computes the CRC32 of the bytes of parts.
Crc: TypeAlias = Callable[[Iterable[Part]], int]


class CheckSum(NamedTuple):
    """A check sum that ``file`` holds, and the function that computes it from the contents."""

    stored: int
    compute: Callable[[Crc], int]
    file: Any


class Contents(NamedTuple):
    """The contents of a file, or of the files of a folder.

    Attributes:
        entries: the entries by name.
        data: the bytes in which their spans lie.
        nbytes: the size of the files.
        check_sums: the stored check sums.
        metadata: the metadata as they are stored.
        custom: those of the metadata that say something about the model, not about the format.
        shardings: names to the shardings with which arrays were saved; None where a format does
            not note them.
        save: the name of the save of several files to which the file belongs, if it says so.
    """

    entries: dict[str, Entry]
    data: Any
    nbytes: int
    check_sums: tuple[CheckSum, ...] = ()
    metadata: Mapping[str, Any] = {}
    custom: Mapping[str, Any] = {}
    shardings: Mapping[str, Any] | None = None
    save: str | None = None


class Dealt(NamedTuple):
    """Records dealt to the files of a folder.

    Attributes:
        files: the records of each file, by its name.
        head: the file by which readers know the others, one of ``files`` or of ``small``.
        small: the contents of the other files.
    """

    files: Mapping[str, Sequence[Record]]
    head: str
    small: Mapping[str, bytes]


class Sharding(NamedTuple):
    """The rule of a format by which a model becomes several files in a folder.

    Attributes:
        dealt: deals records to files of at most so many bytes.
        heads: the files by which readers know the others.
        earlier: the files in a folder that an earlier save has left there.
        framework: the one for whose readers the files are meant.
    """

    dealt: Callable[[Sequence[Record], int], Dealt]
    heads: tuple[str, ...]
    earlier: Callable[[AnyPath], set[str]]
    framework: str


class How(NamedTuple):
    """The options of a file's plan; each format heeds those that concern it.

    Attributes:
        slice_bytes: tensors are cut into records of so many bytes.
        check_sum: whether the file gets a check sum.
        remove_redundancy: whether the file is one of several that hold each shard once; None says
            that it stands alone.
        metadata: the metadata about the model.
        threads: the number of threads that compute a check sum which is part of the plan.
        framework: the metadata ``format`` of safetensors: ``"ms"``, or ``"pt"``, without which
            older versions of ``transformers`` refuse a file.
        save: the name of the save of several files to which the file belongs; None: it is alone.
    """

    slice_bytes: int = SLICE_BYTES
    check_sum: bool = False
    remove_redundancy: bool | None = None
    metadata: Mapping[str, Any] = {}
    threads: int = writer.THREADS
    framework: str = "ms"
    save: str | None = None


class Format(NamedTuple):
    """A file format.

    Attributes:
        name: the value of ``format=``.
        recognises: tells whether a content is of this format.
        contents: reads the index; errors of single entries go to ``Problem``.
        suffix: the ending of its files; empty where a name tells nothing.
        plan: plans a file of records; None for a format that is only read.
        check: refuses records that a file cannot hold.
        strings: whether the format holds strings.
        metadata: whether it has a place for metadata.
        encryption: whether its files may be encrypted.
        several: whether it is several files in a folder.
        check_sum_last: whether a check sum follows the contents, so that many processes can write
            these first.
        sharding: makes a folder of several such files; None where there is no such folder.
        converted: whether ``load_checkpoint`` leaves it to ``convert_checkpoint``, because the
            names in it are those of another library.
    """

    name: str
    recognises: Callable[[Source], bool]
    contents: Callable[[Source, Problem], Contents]
    suffix: str = ""
    plan: Callable[[Sequence[Record], How], Plan] | None = None
    check: Callable[[Sequence[Record]], None] = lambda records: None
    strings: bool = False
    metadata: bool = False
    encryption: bool = False
    several: bool = False
    check_sum_last: bool = False
    sharding: Sharding | None = None
    converted: bool = False
