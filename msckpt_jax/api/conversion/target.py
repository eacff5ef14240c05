"""The target of a conversion: a file, a folder of files, rank files, or a directory of Orbax."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from msckpt_jax import arguments, dtypes
from msckpt_jax.api import jobs
from msckpt_jax.api.conversion.view import View
from msckpt_jax.checkpoint import (
    copying,
    formats,
    leaves,
    metadata,
    one_save,
    paths,
    records,
    store_folder,
    writer,
)
from msckpt_jax.checkpoint.cipher import Mode
from msckpt_jax.checkpoint.copying import FLOATS as FLOATS
from msckpt_jax.checkpoint.formats import foreign, shards
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.conventions.families.route import MIDDLE
from msckpt_jax.conventions.families.stacks import NESTING, Nesting
from msckpt_jax.conventions.families.table import FILES
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import meshspec, placement, rank_records, strategy
from msckpt_jax.parallel.layout import Layout
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.progress import Progress
from msckpt_jax.visible import visible

#: The dtypes to which tensors are cast.
DTYPES = {
    "float16": np.dtype(np.float16),
    "float32": np.dtype(np.float32),
    "float64": np.dtype(np.float64),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
}
#: The layout of rank files that asks for the shardings with which Orbax saved.
SAVED = "saved"
#: The size of files in a folder for Hugging Face's libraries, unless another one is asked for.
SHARD_SIZE = "5GB"
_METADATA = "metadata."


class Options(NamedTuple):
    """What is to become of the tensors, and how they are written.

    Attributes:
        to: the layout of rank files: a strategy, a mesh specification, or :data:`SAVED`.
        max_shard_size: the most bytes of a file in a folder of safetensors files.
        dtype: the name of the dtype to which floats are cast.
        chosen: tells of a name whether it is taken.
        rename: the new name.
        check_sum: whether files get one.
        mode, key: the cipher with which a file is encrypted.
        threads: the number of pieces that are written at a time.
        resume: the name of the job, which goes on where one of this name was killed; None: never.
    """

    to: StrategyLike | None = None
    max_shard_size: int | str | None = None
    dtype: str | None = None
    chosen: Callable[[str], bool] = lambda name: True
    rename: Callable[[str], str] = lambda name: name
    check_sum: bool = False
    mode: Mode | None = None
    key: bytes = b""
    threads: int = writer.THREADS
    resume: str | None = None

    @property
    def cast(self) -> np.dtype | None:
        return None if self.dtype is None else DTYPES[self.dtype]


class Work(NamedTuple):
    """The entries to write, the metadata of the whole, and the strings that are left out."""

    records: list[Record]
    metadata: dict[str, Any]
    strings: list[str]

    @property
    def nbytes(self) -> int:
        return sum(record.nbytes for record in self.records)


class Kind(NamedTuple):
    """A kind of target.

    Attributes:
        text: the name in sentences.
        write: writes a source, and returns the number of files.
        strings, metadata: whether strings, and metadata as such, find a place.
    """

    text: str
    write: Callable[[PathLike, Any, Work, Options, Progress | None], int]
    strings: bool = False
    metadata: bool = True


def kind(target: PathLike, stack: str | None, options: Options) -> Kind:
    """The kind of a target, with tensors of ``stack`` or (None) as they are in the source.

    Raises:
        TypeError, ValueError: options that do not go together, or with this target.
    """
    format = formats.of_path(os.fspath(paths.path_of(target)))
    if os.path.splitext(os.fspath(target))[1] in foreign.ENDINGS:
        endings = " or ".join(formats.SUFFIXES)
        raise ValueError(
            visible(
                f"{target}: no such file is written; name one that ends with {endings}, or a folder"
            )
        )
    if options.dtype is not None:
        arguments.choice("--dtype (dtype=)", options.dtype, DTYPES)
    if options.max_shard_size is not None:
        shards.size(options.max_shard_size, "--max-shard-size")
        if options.to is not None or options.mode is not None:
            raise ValueError("--max-shard-size cannot be combined with --to or --enc-key-file")
        if format is not None:
            raise ValueError(visible(f"{target}: with --max-shard-size name a folder, not a file"))
    if options.to is not None:
        if options.check_sum or options.mode is not None:
            raise ValueError("--to cannot be combined with --crc or --enc-key-file")
        return RANKS
    if format is not None:
        if options.mode is not None and (options.check_sum or not format.encryption):
            ending = formats.CKPT.suffix
            raise ValueError(f"only {ending} files can be encrypted, and without --crc")
        return Kind(format.name, _to_file, format.strings, format.metadata)
    if options.max_shard_size is not None or stack in FILES:
        return FOLDER
    if options.check_sum or options.mode is not None:
        suffixes = " and ".join(formats.SUFFIXES)
        raise ValueError(f"--crc and --enc-key-file are for {suffixes} files")
    return TREE


def work(source: Any, how: Kind, options: Options) -> Work:
    """Plan the entries and the metadata of a target.

    Raises:
        CheckpointError: nothing is left, or two entries get one name.
    """
    out = Work([], dict(getattr(source, "custom_metadata", {})), [])
    place = nesting(source, how)
    for name, entry in source.entries.items():
        if not options.chosen(name):
            continue
        if entry.type == dtypes.STRING and how.metadata and name.startswith(_METADATA):
            out.metadata[name.removeprefix(_METADATA)] = metadata.value(source[name])
            continue
        if entry.type == dtypes.STRING and not how.strings:
            out.strings.append(name)
            continue
        to = options.rename(place.before + name + place.after)
        out.records.append(copying.renamed(source, name, to, dtype(source, name, options.cast)))
    if not out.records:
        raise CheckpointError("nothing is left to convert", file=source.path)
    if not how.metadata:
        about = out.metadata.items()
        out.records.extend(leaves.of_value(_METADATA + k, metadata.text(v)) for k, v in about)
    records.check_tags(out.records)
    return out


def dtype(source: Any, name: str, asked: np.dtype | None) -> np.dtype | None:
    """The dtype to which a tensor is cast, or None."""
    return source.wanted(name, asked) if isinstance(source, View) else asked


def nesting(source: Any, how: Kind) -> Nesting:
    """The place of leaves in the checkpoints of the target's stack."""
    if how is not TREE or not isinstance(source, View):
        return Nesting()
    return NESTING.get(source.route.target, Nesting())


def is_folder(target: PathLike) -> bool:
    """Tell whether the name of a target is that of a folder."""
    return formats.of_path(os.fspath(paths.path_of(target))) is None


def limit(options: Options) -> int:
    """The most bytes of a file in a folder."""
    return shards.size(options.max_shard_size or SHARD_SIZE, "--max-shard-size")


def _to_file(
    path: PathLike, source: Any, work: Work, options: Options, progress: Progress | None
) -> int:
    format = formats.of_target(path)
    target = jobs.target_path(path, format.name)
    jobs.check_folder(target)
    written = writer.Options(
        options.mode, options.key, threads=options.threads, progress=progress, sealed=True
    )
    how = How(check_sum=options.check_sum, metadata=work.metadata, framework=_framework(source))
    job = jobs.Job(format.name, how, written, resume=options.resume)
    jobs.run([File(target, work.records)], job)
    return 1


def _framework(source: Any) -> str:
    """The framework whose readers look for its name in the metadata of a file."""
    of_torch = isinstance(source, View) and source.route.target == MIDDLE
    return "pt" if of_torch else How().framework


def _to_folder(
    path: PathLike, source: Any, work: Work, options: Options, progress: Progress | None
) -> int:
    folder = jobs.folder_path(path)
    jobs.check_folder(folder)
    beside = source.companions(options.cast) if isinstance(source, View) else {}
    written = writer.Options(threads=options.threads, progress=progress)
    how = How(check_sum=options.check_sum, metadata=work.metadata)
    job = jobs.Job(formats.SAFETENSORS.name, how, written, resume=options.resume)
    files, job = jobs.dealt(folder, work.records, job, limit(options), beside)
    jobs.run(files, job)
    return len(files)


def _to_tree(
    path: PathLike, source: Any, work: Work, options: Options, progress: Progress | None
) -> int:
    del source
    from msckpt_jax.api import orbax_directory

    orbax_directory.write(path, work.records, work.metadata, progress, options.resume)
    return 1


def _to_ranks(
    path: PathLike, source: Any, work: Work, options: Options, progress: Progress | None
) -> int:
    folder = jobs.folder_path(path)
    jobs.check_folder(folder)
    tensors = Written(work, source)
    layouts = layouts_of(options.to, source, tensors)
    plan = placement.plan_of(options.to if layouts is None else layouts)
    planned = rank_records.plan_files(tensors, plan, PurePosixPath(), "rank", formats.CKPT.suffix)
    files = [File(file.target, file.records) for file in planned]
    small = (
        {} if layouts is None else {strategy.FILE: strategy.encode(folder / strategy.FILE, layouts)}
    )
    head = next(iter(small), str(files[-1].target))
    written = writer.Options(threads=options.threads, progress=progress)
    job = jobs.Job(
        formats.CKPT.name, How(save=_save(options)), written,
        folder=jobs.Folder(folder, head, small, ()),
        resume=options.resume,
    )  # fmt: skip
    jobs.run(files, job)
    return len(files)


def _save(options: Options) -> str:
    """A name for a save of rank files, which a job that goes on after a kill keeps."""
    if options.resume is None:
        return one_save.new()
    return hashlib.sha256(options.resume.encode()).hexdigest()[:16]


def check_ranks(path: PathLike, source: Any, options: Options) -> None:
    """Refuse a folder that holds rank files, and shardings of which the source knows nothing."""
    folder = paths.path_of(path)
    if folder.is_dir():
        store_folder.recover(folder)  # what a killed conversion has made complete
    if paths.below(folder, "rank_"):
        raise ValueError(visible(f"{path} holds rank files already; convert to a new folder"))
    if options.to == SAVED:
        layouts_of(options.to, source, source)


def layouts_of(to: Any, source: Any, tensors: Any) -> Mapping[str, Layout] | None:
    """The layouts of a mesh specification, or those with which Orbax saved; None for a file's."""
    if isinstance(to, Mapping):
        return to
    if to == SAVED:
        if getattr(source, "shardings", None) is None:
            raise ValueError(
                "--to saved needs an Orbax checkpoint, which notes its shardings, and its own names"
            )
        from msckpt_jax.api import orbax_directory

        return orbax_directory.layouts(source)
    return meshspec.parse(to, tensors.entries) if "=" in str(to) else None


class Written(Mapping[str, Any]):
    """Records as a source of rank files."""

    def __init__(self, work: Work, source: Any):
        self.path = source.path
        self._records = {record.tag: record for record in work.records}
        self.plan = source.plan
        self.entries = {tag: copying.entry_of(record) for tag, record in self._records.items()}

    def pieces(self, name: str, box: Any = None) -> Any:
        del box
        return copying.pieces_of(self._records[name])

    def __getitem__(self, name: str) -> Any:
        raise KeyError(name)

    def __iter__(self) -> Any:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


#: The kinds besides single files.
FOLDER = Kind(formats.SAFETENSORS.name, _to_folder)
TREE = Kind("an Orbax checkpoint", _to_tree, strings=True)
RANKS = Kind("rank files", _to_ranks)


def renaming(rules: list[str]) -> Callable[[str], str]:
    """The function that applies rules ``REGEX=TEMPLATE`` to a name, in order.

    Raises:
        ValueError: a rule is none.
    """
    compiled = []
    for rule in rules:
        pattern, equals, template = rule.partition("=")
        if not equals:
            raise ValueError(f"--rename {rule!r} must be REGEX=TEMPLATE")
        try:
            compiled.append((re.compile(pattern), template))
            re.sub(pattern, template, "")
        except re.error as error:
            raise ValueError(f"--rename {rule!r}: {error}") from None

    def rename(name: str) -> str:
        for pattern, template in compiled:
            name = pattern.sub(template, name)
        return name

    return rename
