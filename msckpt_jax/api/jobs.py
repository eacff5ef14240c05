"""A save once the tree has become records: its files, its format and its options."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import formats, paths, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.parallel import hosts, strategy
from msckpt_jax.parallel.layout import Layout
from msckpt_jax.visible import visible


class Job(NamedTuple):
    """The way in which files are written once the tree has become records.

    When the files hold shards, ``layouts`` are theirs, and one process writes ``strategy_file``.
    """

    format: str
    how: How
    options: writer.Options
    strategy_file: Path | None = None
    layouts: Mapping[str, Layout] | None = None


def run(files: list[File], job: Job, may_gather: bool = False) -> None:
    """Write files as ``job`` says; ``may_gather`` as in :func:`hosts.write`."""
    for file in files:
        plan = formats.plan(job.format, file.records, job.how)
        if job.layouts is not None:
            Path(file.target).parent.mkdir(exist_ok=True)
            writer.write(file.target, plan, job.options)
        elif hosts.needed(file.records):
            hosts.write(file.target, plan, file.records, job.options, may_gather)
        else:
            writer.write(file.target, plan, job.options)
    if job.strategy_file is not None:
        strategy.write(job.strategy_file, job.layouts or {})


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
        return name
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"ckpt_file_name must be a path, not {type(name).__name__}")
    text = os.fspath(name)
    if not isinstance(text, str):
        raise TypeError("ckpt_file_name must be a text path, not bytes")
    path = paths.path_of(text)
    if path.is_dir():
        raise IsADirectoryError(visible(f"{text} is a folder; ckpt_file_name must name a file"))
    special = path.exists() and not path.is_file()
    if not special and not text.endswith(format):
        path = path.with_name(f"{path.name}.{format}")
    return path


def check_folder(target: Any) -> None:
    """Refuse a local path in a missing folder; object stores need no folders."""
    if isinstance(target, Path) and not target.parent.is_dir():
        raise FileNotFoundError(
            visible(f"the folder {target.parent} does not exist; create it first")
        )
