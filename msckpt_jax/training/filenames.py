"""Names of a run's files: ``prefix-epoch_step.ckpt``, as MindSpore's ModelCheckpoint gives them."""

from __future__ import annotations

import re
from typing import NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from msckpt_jax.checkpoint import formats, leftovers, paths
from msckpt_jax.checkpoint.paths import AnyPath

_BASE = r"(?P<prefix>{prefix})(?:_(?P<run>\d+))?-"
_SUFFIX = rf"(?:{'|'.join(map(re.escape, formats.SUFFIXES))})"
_TAIL = r"(?P<epoch>\d+)_(?P<step>\d+)(?P<breakpoint>_breakpoint)?" + _SUFFIX
_RANK_FOLDER = re.compile(r"rank_\d+")


class RunFile(NamedTuple):
    """The parts of a file's name, in the order by which files of one prefix are sorted."""

    run: int
    epoch: int
    step: int
    breakpoint: bool
    prefix: str
    name: str


def make(prefix: str, epoch: int, step: int, format: str, breakpoint: bool = False) -> str:
    epoch, step = int(epoch), int(step)  # a scalar array prints otherwise
    if epoch < 0 or step < 0:
        raise ValueError(f"epoch and step must not be negative, but are {epoch} and {step}")
    return f"{prefix}-{epoch}_{step}{'_breakpoint' * breakpoint}.{format}"


def parse(name: str, prefix: str | None = None) -> RunFile | None:
    """Take a name apart; return None for a name of another prefix or of another form."""
    base = _BASE.format(prefix=".+?" if prefix is None else re.escape(prefix))
    match = re.fullmatch(base + _TAIL, name)
    if match is None:
        return None
    run, epoch, step = (int(match[part] or 0) for part in ("run", "epoch", "step"))
    return RunFile(run, epoch, step, bool(match["breakpoint"]), match["prefix"], name)


def listing(directory: AnyPath) -> dict[str, list[AnyPath]]:
    """The names in a folder and its ``rank_N`` folders, each with its paths."""
    out: dict[str, list[AnyPath]] = {}
    for path in paths.below(directory):
        inner = _RANK_FOLDER.fullmatch(path.name) and path.is_dir()
        for file in paths.below(path) if inner else [path]:
            out.setdefault(file.name, []).append(file)
    return out


def sweep(directory: AnyPath, stale_seconds: float) -> None:
    """Remove what dead processes have left in a folder and its ``rank_N`` folders, dealt to all."""
    if paths.is_local(directory):
        leftovers.sweep(directory, stale_seconds)
        ranks = sorted(p for p in directory.iterdir() if _RANK_FOLDER.fullmatch(p.name))
        for folder in ranks[jax.process_index() :: jax.process_count()]:
            leftovers.sweep(folder, stale_seconds)


def own_prefix(directory: AnyPath, prefix: str) -> str:
    """``prefix``, or ``prefix_1``, ``prefix_2``, ... when the folder holds files of other runs.

    The rule is MindSpore's: the number is one more than the largest in the folder, and gaps are not
    filled (train/callback/_checkpoint.py, _chg_ckpt_file_name_if_same_exist). MindSpore numbers
    breakpoint files by themselves; here they count, too, so that a run and its breakpoint share a
    prefix that no other run has, and the newest file can be told by its name.
    """
    base = re.compile(_BASE.format(prefix=re.escape(prefix)) + ".*" + _SUFFIX)
    matches = [base.fullmatch(name) for name in listing(directory)]
    runs = [int(match["run"] or 0) for match in matches if match is not None]
    return f"{prefix}_{max(runs) + 1}" if runs else prefix


def agreed_prefix(base: str, own: str) -> str:
    """The prefix of process 0, for all processes, which must call this function together."""
    run = int(own.removeprefix(base).removeprefix("_") or 0)
    run = int(multihost_utils.broadcast_one_to_all(np.int32(run)))
    return f"{base}_{run}" if run else base


def agreed_time(now: float) -> float:
    """The time of process 0's clock, for all processes, which must call this function together."""
    bits = np.float64(now).reshape(1).view(np.int32)  # JAX would round it
    return float(np.asarray(multihost_utils.broadcast_one_to_all(bits)).view(np.float64)[0])
