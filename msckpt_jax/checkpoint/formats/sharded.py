"""A folder of safetensors files with an index, as Hugging Face's libraries write large models.

``model.safetensors.index.json`` is ``{"metadata": {...}, "weight_map": {name: file}}``; the stem
may be another. Without an index ``model.safetensors`` is read where it exists (the rule of
``transformers``), else all safetensors files (MindSpore's unified safetensors are such a folder).
Numbered files that the index does not name, that stand beside ``model.safetensors``, or that are
not all there, are refused: libraries differ in what they read of such a folder. The files lie one
after another in one range of bytes, to which the spans of the entries refer.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import collector, json_keys, one_save, settled
from msckpt_jax.checkpoint.entries import Entry, Problem, Stored, distinct
from msckpt_jax.checkpoint.formats import safetensors, shards
from msckpt_jax.checkpoint.formats.format import Contents, Format
from msckpt_jax.checkpoint.paths import PathLike, regular
from msckpt_jax.checkpoint.source import Joined, Source, is_folder, opened
from msckpt_jax.checkpoint.stage import STAGE
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import warn

#: Metadata of an index that tell of the files, not of the model.
_OF_FILES = {"total_size", "total_parameters"}
#: The number of names that a warning lists.
_TOLD = 5


class _Index(NamedTuple):
    """The files of a folder and, by an index, the file of each name.

    ``head`` is the file by which the others are known: the index, ``model.safetensors``, or none.
    """

    folder: Any
    files: list[str]
    head: Any = None
    places: Mapping[str, str] = {}
    metadata: Mapping[str, Any] = {}


def recognises(source: Source) -> bool:
    """Tell whether a folder holds an index or safetensors files, or a file is an index.

    No other format begins as an object of JSON does.
    """
    if source.data is None:  # in the midst of a save there may be no such file
        endings = (shards.SUFFIX, shards.INDEX_SUFFIX, STAGE)
        return any(name.endswith(endings) for name in source.names)
    return bytes(source.data[:1]) == b"{" or source.path.name.endswith(shards.INDEX_SUFFIX)


@collector.paused()
def contents(source: Source, problem: Problem) -> Contents:
    """The entries of all files, in the order of their names.

    Raises:
        CheckpointError: the index is not valid, or names something else than files of its folder;
            files are missing, or there are files of another save; a save is under way.
    """
    if source.data is not None:
        where, heads = source.path.parent, {source.path.name}
    else:
        indices = (name for name in source.names if name.endswith(shards.INDEX_SUFFIX))
        where, heads = source.path, {*shards.HEADS, *indices}
    problems: list[CheckpointError] = []  # told when it is known that no save is their reason
    with settled.reading(where, [where / head for head in heads]) as check_head:
        index = _index(opened(source.path, source.mmap))  # anew: a save may have come in between
        check_head(index.head)
        out = _contents(index, source.mmap, problems.append)
    for error in problems:
        problem(error)
    return out


def _contents(index: _Index, mmap: bool, problem: Problem) -> Contents:
    problems: list[CheckpointError] = []
    parts = dict(_parts(index, mmap, problems.append))
    try:
        one_save.check({file: part.save for file, part in parts.items()}, "files", index.folder)
    except CheckpointError as error:
        problems.append(error)
    places = _places(index, parts, problems)
    for error in problems:
        problem(error)
    data = Joined([part.data for part in parts.values()])
    moved: list[Entry] = []
    for (file, part), start in zip(parts.items(), data.starts, strict=False):
        own = (entry for entry in part.entries.values() if places[entry.tag] == file)
        moved += [_moved(entry, start) for entry in own]
        if not part.check_sums:  # which need them; there may be 100,000
            part.entries.clear()
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
    kind, shape, spans, source = entry.tensors[0]
    spans = tuple([(start + by, stop + by) for start, stop in spans])
    moved = (Stored(kind, shape, spans, source),)  # twice as fast as _replace, for 100,000 tensors
    return Entry(entry.name, entry.tag, entry.offset + by, moved, entry.is_map, entry.key_impl)


# The index


def _index(source: Source) -> _Index:
    """The index of a folder, or the index that was named itself."""
    if source.data is not None:
        return _parsed(source)
    indices = [name for name in source.names if name.endswith(shards.INDEX_SUFFIX)]
    if shards.INDEX in indices:
        indices = [shards.INDEX]
    if len(indices) > 1:
        raise CheckpointError(
            "the folder holds several indices: name one of these files",
            file=source.path,
            found=", ".join(indices),
        )
    files = [name for name in source.names if name.endswith(shards.SUFFIX)]
    if indices:
        index = _parsed(_member(source.path / indices[0], source.mmap))
        stem = indices[0].removesuffix(shards.INDEX_SUFFIX)
        _check_surplus(source, _of_stem(files, stem) - {*index.files}, indices[0])
        return index
    if shards.ALONE in files:
        _check_surplus(source, _of_stem(files, shards.MODEL) - {shards.ALONE}, shards.ALONE)
        return _Index(source.path, [shards.ALONE], source.path / shards.ALONE)
    _check_complete(source, files)
    return _Index(source.path, files)


def index_alone(path: PathLike) -> _Index | None:
    """The index of a folder, or one that is named itself, if none of its files is there; else None.

    Raises:
        CheckpointError: as :func:`contents`.
        FileNotFoundError: there is neither a file nor a folder.
    """
    source = opened(path)
    if source.data is None and not any(n.endswith(shards.INDEX_SUFFIX) for n in source.names):
        return None
    if source.data is not None and not source.path.name.endswith(shards.INDEX_SUFFIX):
        return None
    index = _index(source)
    return None if any((index.folder / file).exists() for file in index.files) else index


def _of_stem(files: Iterable[str], stem: str) -> set[str]:
    """The files that a loader may take for those of a model: numbered, alone, or ``transformers'``.

    ``transformers`` takes ``model.safetensors``, whatever an index says.
    """
    numbered = (shards.NUMBERED.fullmatch(file) for file in files)
    own = {match[0] for match in numbered if match is not None and match["stem"] == stem}
    return own | {*files} & {f"{stem}{shards.SUFFIX}", shards.ALONE}


def _check_surplus(source: Source, surplus: set[str], head: str) -> None:
    if surplus:
        raise CheckpointError(
            f"{head} and further files stand side by side, as if of two saves, and libraries "
            f"differ in which they read: remove what is not meant, or name {head} itself",
            file=source.path,
            found=_told(surplus),
        )


def _check_complete(source: Source, files: Iterable[str]) -> None:
    """Refuse numbered files of which some are missing: half of a download, say."""
    numbered = [match for file in files if (match := shards.NUMBERED.fullmatch(file))]
    sets: dict[tuple[str, str], set[int]] = {}
    for match in numbered:
        sets.setdefault((match["stem"], match["count"]), set()).add(int(match["number"]))
    for (stem, count), numbers in sets.items():
        missing = int(count) - sum(1 <= number <= int(count) for number in numbers)
        if missing:
            raise CheckpointError(
                f"{missing} of the files {stem}-00001-of-{count} ... are missing, and the index",
                file=source.path,
                found=_told(match[0] for match in numbered if match["count"] == count),
            )


def _told(names: Iterable[str]) -> str:
    some = sorted(names)
    more = f" and {len(some) - _TOLD} more" if len(some) > _TOLD else ""
    return ", ".join(some[:_TOLD]) + more


def _parsed(source: Source) -> _Index:
    index = None
    try:
        index = json.loads(bytes(source.data[:]), object_pairs_hook=json_keys.distinct)
        places, metadata = {**index["weight_map"]}, {**(index.get("metadata") or {})}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            "the file is no index of safetensors files",
            file=source.path,
            expected="an object of JSON with a weight_map of names to files",
            found=repr(error) if not isinstance(index, dict) else f"the keys {_told(index)}",
        ) from None
    plain: set[str] = set()
    for name, file in places.items():
        if not isinstance(file, str) or not (file in plain or _is_plain(file)):
            raise CheckpointError(
                "the index names no file of its folder",
                file=source.path,
                name=name,
                expected="a plain file name",
                found=repr(file),
            )
        plain.add(file)
    return _Index(source.path.parent, sorted(plain), source.path, places, metadata)


def _is_plain(file: str) -> bool:
    """Tell whether ``file`` is a plain name, which cannot lead out of its folder."""
    if file in ("", ".", ".."):
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
        CheckpointError: the file is missing, cannot be opened, or is no file. Links are followed,
            of which Hugging Face's cache is made.
    """
    try:
        if isinstance(path, Path) and path.exists() and not path.is_dir():
            regular(path)
        source = opened(path, mmap)
    except FileNotFoundError:
        raise CheckpointError("the file is missing", file=path) from None
    except OSError as error:
        raise CheckpointError(f"the file cannot be opened: {error.strerror}", file=path) from None
    if source.data is None:
        raise is_folder(source)
    return source


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
            f"{index.folder}: names that are in files but not in the index: {unlisted[:_TOLD]}",
            stacklevel=7,
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
