"""A folder of safetensors files with an index, as Hugging Face's libraries write large models.

``model.safetensors.index.json`` is ``{"metadata": {...}, "weight_map": {name: file}}``; the stem
may be another. Without an index ``model.safetensors`` is read where it exists (the rule of
``transformers``), else all safetensors files (MindSpore's unified safetensors are such a folder).
The files lie one after another in one range of bytes, to which the spans of the entries refer.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import collector, json_keys
from msckpt_jax.checkpoint.entries import Entry, Problem, distinct
from msckpt_jax.checkpoint.formats import safetensors
from msckpt_jax.checkpoint.formats.format import Contents, Format
from msckpt_jax.checkpoint.paths import regular
from msckpt_jax.checkpoint.source import Joined, Source, is_folder, opened
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import warn

_FILE = safetensors.FORMAT.suffix
_INDEX = f"{_FILE}.index.json"
#: The stem that ``transformers`` looks for.
_MODEL = "model"
#: Metadata of an index that tell of the files, not of the model.
_OF_FILES = {"total_size", "total_parameters"}
#: The number of names that a warning lists.
_TOLD = 5


class _Index(NamedTuple):
    """The files of a folder and, by an index, the file of each name."""

    folder: Any
    files: list[str]
    places: Mapping[str, str] = {}
    metadata: Mapping[str, Any] = {}


def recognises(source: Source) -> bool:
    """Tell whether a folder holds an index or safetensors files, or a file is an index.

    No other format begins as an object of JSON does.
    """
    if source.data is None:
        return any(name.endswith((_FILE, _INDEX)) for name in source.names)
    return bytes(source.data[:1]) == b"{" or source.path.name.endswith(_INDEX)


@collector.paused()
def contents(source: Source, problem: Problem) -> Contents:
    """The entries of all files, in the order of their names.

    Raises:
        CheckpointError: the index is not valid, or names something else than files of its folder.
    """
    index = _index(source)
    problems: list[CheckpointError] = []
    parts = dict(_parts(index, source.mmap, problems.append))
    places = _places(index, parts, problems)
    for error in problems:
        problem(error)
    data = Joined([part.data for part in parts.values()])
    moved = [
        _moved(entry, start)
        for (file, part), start in zip(parts.items(), data.starts, strict=False)
        for entry in part.entries.values()
        if places[entry.tag] == file
    ]
    custom = _merged([*(part.custom for part in parts.values()), index.metadata])
    return Contents(
        _by_name(sorted(moved, key=lambda entry: entry.tag), problem),
        data,
        len(data),
        tuple(check_sum for part in parts.values() for check_sum in part.check_sums),
        _merged([*(part.metadata for part in parts.values()), index.metadata]),
        {key: value for key, value in custom.items() if key not in _OF_FILES},
    )


def _by_name(entries: Iterable[Entry], problem: Problem) -> dict[str, Entry]:
    out: dict[str, Entry] = {}
    for entry in entries:
        try:
            out[entry.name] = distinct(out, entry)
        except CheckpointError as error:
            problem(error)
    return out


def _merged(mappings: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {key: value for mapping in mappings for key, value in mapping.items()}


def _moved(entry: Entry, by: int) -> Entry:
    tensor = entry.tensors[0]
    spans = tuple((start + by, stop + by) for start, stop in tensor.spans)
    return entry._replace(offset=entry.offset + by, tensors=(tensor._replace(spans=spans),))


# The index


def _index(source: Source) -> _Index:
    """The index of a folder, or the index that was named itself."""
    if source.data is not None:
        return _parsed(source)
    indices = [name for name in source.names if name.endswith(_INDEX)]
    if f"{_MODEL}{_INDEX}" in indices:
        indices = [f"{_MODEL}{_INDEX}"]
    if len(indices) > 1:
        raise CheckpointError(
            "the folder holds several indices: name one of these files",
            file=source.path,
            found=", ".join(indices),
        )
    if indices:
        return _parsed(_member(source.path / indices[0], source.mmap))
    files = [name for name in source.names if name.endswith(_FILE)]
    alone = f"{_MODEL}{_FILE}"
    return _Index(source.path, [alone] if alone in files else files)


def _parsed(source: Source) -> _Index:
    try:
        index = json.loads(bytes(source.data[:]), object_pairs_hook=json_keys.distinct)
        places, metadata = {**index["weight_map"]}, {**(index.get("metadata") or {})}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            "the file is no index of safetensors files",
            file=source.path,
            expected="an object of JSON with a weight_map of names to files",
            found=repr(error),
        ) from None
    for name, file in places.items():
        if not _is_plain(file):
            raise CheckpointError(
                "the index names no file of its folder",
                file=source.path,
                name=name,
                expected="a plain file name",
                found=repr(file),
            )
    return _Index(source.path.parent, sorted({*places.values()}), places, metadata)


def _is_plain(file: Any) -> bool:
    """Tell whether ``file`` is a plain name, which cannot lead out of its folder."""
    if not isinstance(file, str) or file in ("", ".", ".."):
        return False
    return file.isprintable() and not {*file} & {*"/\\"}


# The files


def _parts(index: _Index, mmap: bool, problem: Problem) -> Iterator[tuple[str, Contents]]:
    """Yield each file with its contents."""
    named = {file: name for name, file in index.places.items()}
    for file in index.files:
        path = index.folder / file
        try:
            part = _member(path, mmap)
            yield file, safetensors.contents(part, lambda e, path=path: problem(e.within(path)))
        except CheckpointError as error:
            problem(error.within(path, named.get(file)))


def _member(path: Any, mmap: bool) -> Source:
    """Open a file of the folder.

    Raises:
        CheckpointError: the file is missing, cannot be opened, or is a link that leads elsewhere.
    """
    try:
        if isinstance(path, Path):  # object stores have no links
            _check_link(path)
        source = opened(path, mmap)
    except FileNotFoundError:
        raise CheckpointError("the file is missing", file=path) from None
    except OSError as error:
        raise CheckpointError(f"the file cannot be opened: {error.strerror}", file=path) from None
    if source.data is None:
        raise is_folder(source)
    return source


def _check_link(path: Path) -> None:
    """Refuse links that lead out of the folder, except into the cache of Hugging Face's hub.

    There ``snapshots/COMMIT/NAME`` is a link to a file in ``blobs``.
    """
    folder, real = (Path(os.path.realpath(name)) for name in (path.parent, path))
    caches = [above.parent / "blobs" for above in folder.parents if above.name == "snapshots"]
    if not any(map(real.is_relative_to, (folder, *caches))):
        raise CheckpointError(
            "the file is a link that leads out of the folder",
            file=path,
            expected=folder,
            found=real,
        )
    if real.exists() and not real.is_dir():
        regular(path)


# Index and files


def _places(
    index: _Index, parts: Mapping[str, Contents], problems: list[CheckpointError]
) -> dict[str, str]:
    """The file from which each name is read; differences of index and files are problems.

    Names that the index lacks are read with a warning, as ``transformers`` does.
    """
    held = {f: dict.fromkeys((e.tag for e in p.entries.values()), f) for f, p in parts.items()}
    places = {**_merged(reversed(held.values())), **index.places}
    unlisted = [name for name in places if name not in index.places]
    if index.places and unlisted:
        warn(
            f"{index.folder}: {len(unlisted)} names are in files but not in the index: "
            f"{unlisted[:_TOLD]}",
            stacklevel=6,
        )
    problem = "the index names another file" if index.places else "two files hold it"
    problems += [
        CheckpointError(problem, file=index.folder, name=name, expected=places[name], found=file)
        for file, names in held.items()
        for name in names
        if places[name] != file
    ]
    told = {error.name for error in problems}
    problems += [
        CheckpointError("the file lacks what the index says", file=index.folder / file, name=name)
        for name, file in index.places.items()
        if file in held and name not in held[file] and name not in told
    ]
    return places


FORMAT = Format("sharded", recognises, contents, metadata=True, several=True)
