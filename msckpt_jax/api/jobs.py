"""A save once the tree has become records: its files, its format and its options."""

from __future__ import annotations

import functools
import hashlib
import io
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import formats, leftovers, paths, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint import store_folder as folder_saves
from msckpt_jax.checkpoint.folder import FolderSave
from msckpt_jax.checkpoint.formats import foreign
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.parallel import hosts, ordered, rank_set, shares
from msckpt_jax.parallel.rank_set import RankSet
from msckpt_jax.progress import Progress
from msckpt_jax.visible import visible


class Folder(NamedTuple):
    """A folder whose files replace those of an earlier save as one.

    Attributes:
        path: the folder, which is made if need be.
        head: the file by which readers know the others.
        small: the contents of the files that hold no tensors, by their names.
        heads: the files by which readers may know an older set.
        earlier: the files in a folder that an earlier save has left there.
    """

    path: AnyPath
    head: str
    small: Mapping[str, bytes]
    heads: Sequence[str]
    earlier: Callable[[AnyPath], Collection[str]] = lambda path: ()


class Job(NamedTuple):
    """The way in which files are written once the tree has become records.

    When the files are those of ``ranks``, their targets are in its folder. When they make up a
    ``folder``, their targets are the names that they have in it.

    ``resume`` says of what the files are made, so that only the same have its value: a save of one
    process that is killed is continued by the next of the same value. It is durable. Files with a
    check sum at their end, encrypted ones and those of several processes are begun anew.
    """

    format: str
    how: How
    options: writer.Options
    ranks: RankSet | None = None
    folder: Folder | None = None
    resume: str | None = None

    def showing(self, progress: Progress | None) -> Job:
        """The same, which calls ``progress`` with the size of each piece."""
        return self._replace(options=self.options._replace(progress=progress))

    def exchanging(self, exchanged: Callable[[], None]) -> Job:
        """The same while training goes on, as soon as ``exchanged`` is called."""
        return self._replace(options=self.options._replace(exchanged=exchanged))


def target_of(files: Sequence[File], job: Job) -> Any:
    """The folder that a save writes, the name of its rank files, or its first file."""
    if job.ranks is not None:
        return job.ranks.root / job.ranks.name
    return files[0].target if job.folder is None else job.folder.path


def dealt(
    path: AnyPath, records: list[Record], job: Job, limit: int, beside: Mapping[str, bytes]
) -> tuple[list[File], Job]:
    """The files of a folder, each of at most ``limit`` bytes of tensors, and the job with it.

    ``beside``: the contents of further small files, by their names.
    """
    sharding = formats.named(job.format).sharding
    assert sharding is not None  # save_options has checked it
    made = sharding.dealt(records, limit)
    files = [File(name, [*group]) for name, group in made.files.items()]
    how = job.how._replace(framework=sharding.framework)
    small = {**beside, **made.small}
    folder = Folder(path, made.head, small, sharding.heads, sharding.earlier)
    return files, job._replace(how=how, folder=folder)


def run(files: list[File], job: Job) -> None:
    """Write files as ``job`` says."""
    if job.folder is not None:
        _replace(job.folder, files, job)
        return
    if job.ranks is not None:
        rank_set.write(job.ranks, job.options, functools.partial(_put, files, job))
        return
    for file in files:
        _write(file, job, hosts.needed(file.records))


def _put(files: list[File], job: Job, folder: AnyPath, save: str, options: writer.Options) -> None:
    """Write rank files below a folder, marked with the name of their save, several at a time."""
    job = job._replace(how=job.how._replace(save=save), options=options)
    placed: list[ordered.Placed] = []
    for file in files:
        path: Any = paths.path_of(file.target)
        target: Any = folder / path.parent.name / path.name
        paths.make(target.parent)
        placed.append(ordered.Placed(target, formats.plan(job.format, file.records, job.how)))
    if paths.is_local(folder) and all(ordered.able(plan, options) for _, plan in placed):
        ordered.create(placed)
        ordered.write(placed, options)
        return
    for target, plan in placed:
        writer.write(target, plan, options)


def _write(file: File, job: Job, together: bool) -> None:
    """Write a file, ``together`` with the other processes or alone."""
    if together:
        file = file._replace(records=[*map(shares.as_tensor, file.records)])
    plan = formats.plan(job.format, file.records, job.how)
    if together:
        hosts.write(file.target, plan, file.records, job.options)
    elif _is_file(file.target) and _in_order(plan, job):
        ordered.write_file(file.target, plan, job.options, _name(job, {"": plan}))
    else:
        writer.write(file.target, plan, job.options)


def _is_file(target: Any) -> bool:
    """Tell whether a target is a file, or a new one, of a local file system."""
    if hasattr(target, "write"):
        return False
    path = paths.path_of(target)
    return paths.is_local(path) and (path.is_file() or not path.exists())


def _in_order(plan: Plan, job: Job) -> bool:
    """Tell whether a file is written in the order of its sources, and can be."""
    wanted = job.resume is not None or ordered.pays(plan)
    return wanted and ordered.able(plan, job.options)


def _name(job: Job, plans: Mapping[str, Plan]) -> str | None:
    """A name for files that no others have; None for a job that does not go on after a kill."""
    if job.resume is None:
        return None
    told = job.resume, [*plans], planning.digest(plans.values())
    return hashlib.sha256(repr(told).encode()).hexdigest()[:32]


def _replace(folder: Folder, files: list[File], job: Job) -> None:
    """Write the files of a folder, which get their names when all are complete."""
    if paths.is_local(folder.path):
        leftovers.sweep(folder.path.parent)
    save = folder_saves.of(folder.path, job.options.durable)
    job = job._replace(options=job.options._replace(held=save.held))

    def commit() -> None:
        _commit(folder, save, job)

    if any(hosts.needed(file.records) for file in files):
        spread = [(file.target, list(map(shares.as_tensor, file.records))) for file in files]
        contents = {
            name: hosts.Content(formats.plan(job.format, records, job.how), records)
            for name, records in spread
        }
        hosts.write_folder(save, folder.path, contents, commit, job.options)
        return
    plans = {str(f.target): formats.plan(job.format, f.records, job.how) for f in files}
    if paths.is_local(folder.path) and all(ordered.able(p, job.options) for p in plans.values()):
        _replace_in_order(folder, plans, job)
        return
    with save:
        for file in files:
            target = save.files / file.target
            paths.make(target.parent)
            _write(file._replace(target=target), job, together=False)
        commit()


def _replace_in_order(folder: Folder, plans: Mapping[str, Plan], job: Job) -> None:
    """Write the files of a folder several at a time, by what they are read from."""
    name = _name(job, plans)
    with FolderSave(folder.path, job.options.durable, name) as save:
        placed = [ordered.Placed(save.files / file, plan) for file, plan in plans.items()]
        with save.log() as log:
            ordered.make(save.files, placed, log)
            ordered.write(placed, job.options, log)
        _commit(folder, save, job)


def _commit(folder: Folder, save: FolderSave, job: Job) -> None:
    _write_small(folder, save.files, job)
    save.commit(folder.head, folder.heads, folder.earlier(folder.path))


def _write_small(folder: Folder, staged: AnyPath, job: Job) -> None:
    options = writer.Options(durable=job.options.durable, held=job.options.held)
    for name, data in folder.small.items():
        writer.write(staged / name, Plan([data], len(data)), options)


def check_spanning(records: list[Record], job: Job) -> None:
    """Refuse a job that cannot be done with arrays that span processes."""
    if not hosts.needed(records):
        return
    if job.options.mode is not None:
        raise ValueError(
            "arrays that span processes cannot be encrypted while they are saved; do it "
            "afterwards with `msckpt convert --enc-key-file`"
        )
    if job.how.check_sum and not formats.named(job.format).check_sum_last:
        raise ValueError(
            f"a {job.format} file of many processes has no check sum; save as {formats.DEFAULT}"
        )


def target_path(name: Any, format: str) -> Any:
    """The path to write, by MindSpore's rule for the ending; open files pass as they are."""
    if hasattr(name, "write"):
        _check_open(name)
        return name
    path = paths.path_of(name, "ckpt_file_name")
    text = os.fspath(name)
    if path.is_dir():
        raise IsADirectoryError(visible(f"{text} is a folder; ckpt_file_name must name a file"))
    special = path.exists() and not path.is_file()
    if not special and not text.endswith(format):
        if path.suffix in foreign.ENDINGS:
            endings = " or ".join(formats.SUFFIXES)
            raise ValueError(
                visible(f"{text}: no such file is written; name one that ends with {endings}")
            )
        path = path.with_name(f"{path.name}.{format}")
    return path


def _check_open(file: Any) -> None:
    """Refuse an open file that takes no bytes."""
    if isinstance(file, io.TextIOBase):
        raise TypeError('ckpt_file_name is a file that is open for text: open(path, "wb")')
    if getattr(file, "closed", False) or not getattr(file, "writable", lambda: True)():
        raise ValueError('ckpt_file_name is a file that is not open for writing: open(path, "wb")')


def folder_path(name: Any) -> AnyPath:
    """The path of the folder in which to write several files."""
    if hasattr(name, "write"):
        raise ValueError("max_shard_size= writes to a folder, not to an open file")
    path = paths.path_of(name)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(
            f"{name} is a file; with max_shard_size= name the folder that is to be written"
        )
    return path


def check_folder(target: Any) -> None:
    """Refuse a local path in a missing folder; object stores need no folders."""
    if paths.is_local(target) and not target.parent.is_dir():
        raise FileNotFoundError(
            visible(f"the folder {target.parent} does not exist; create it first")
        )
