"""A save once the tree has become records: which files it writes, and how."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint import writer
from msckpt_jax.checkpoint.formats import ckpt, safetensors
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.parallel import hosts, strategy

FORMATS = ("ckpt", "safetensors")


class Job(NamedTuple):
    """How files are written once the tree has become records.

    When the files hold shards, ``layouts`` says how, and one process writes ``strategy_file``.
    ``metadata`` goes to the header of safetensors.
    """

    format: str
    remove_redundancy: bool | None
    slice_bytes: int
    options: writer.Options
    strategy_file: Path | None = None
    layouts: Mapping[str, Any] | None = None
    metadata: Mapping[str, str] | None = None


def run(files: list[File], job: Job, may_gather: bool = False) -> None:
    """Write files as ``job`` says; ``may_gather`` as in :func:`hosts.write`."""
    # The check sum of safetensors stands in the header, which the plan holds.
    options = job.options._replace(crc=job.options.crc and job.format == "ckpt")
    for file in files:
        plan = make_plan(file.records, job)
        if job.layouts is not None:
            Path(file.target).parent.mkdir(exist_ok=True)
            writer.write(file.target, plan, options)
        elif hosts.needed(file.records):
            hosts.write(file.target, plan, file.records, options, may_gather)
        else:
            writer.write(file.target, plan, options)
    if job.strategy_file is not None:
        strategy.write(job.strategy_file, job.layouts or {})


def check_spanning(found: list[Record], job: Job) -> None:
    """Refuse what cannot be done with arrays that span processes."""
    if not hosts.needed(found):
        return
    if job.options.mode is not None:
        raise ValueError(
            "arrays that span processes cannot be encrypted while they are saved; do it "
            "afterwards with `msckpt convert --enc-key-file`"
        )
    if job.options.crc and job.format == "safetensors":
        raise ValueError("a safetensors file of many processes has no check sum; save as ckpt")


def make_plan(found: list[Record], job: Job) -> planning.Plan:
    if job.format == "ckpt":
        return ckpt.ckpt(found, job.slice_bytes)

    def checksum(parts: Iterable[planning.Part]) -> int:
        return writer.checksum(parts, job.options.threads)

    return safetensors.plan(
        found,
        checksum=checksum if job.options.crc else None,
        remove_redundancy=job.remove_redundancy,
        extra=job.metadata,
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
    path = writer.path_of(text)
    if path.is_dir():
        raise IsADirectoryError(f"{text} is a folder; ckpt_file_name must name a file")
    special = path.exists() and not path.is_file()
    if not special and not text.endswith(format):
        path = path.with_name(f"{path.name}.{format}")
    return path


def check_folder(target: Any) -> None:
    """Refuse a local path in a missing folder; object stores have none that would have to be."""
    if isinstance(target, Path) and not target.parent.is_dir():
        raise FileNotFoundError(f"the folder {target.parent} does not exist; create it first")
