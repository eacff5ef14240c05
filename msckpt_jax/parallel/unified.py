"""Rank files merged into a few safetensors files: MindSpore's ``unified_safetensors``."""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from msckpt_jax import arguments
from msckpt_jax import progress as meters
from msckpt_jax.checkpoint import atomic, copying, formats, paths, store_folder, writer
from msckpt_jax.checkpoint.paths import AnyPath, PathLike
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import File
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import checks, merged, rank_records
from msckpt_jax.parallel.merged import MergedCheckpoint
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.progress import Progress

_PART_BYTES = 3 << 30
_MAP_FILE = "param_name_map.json"
_SUFFIX = formats.SAFETENSORS.suffix
_HYPER_FILE = f"hyper_param{_SUFFIX}"


def unified_safetensors(
    src_dir: PathLike,
    src_strategy_file: StrategyLike,
    dst_dir: PathLike,
    merge_with_redundancy: bool = True,
    file_suffix: str | None = None,
    max_process_num: int = 64,
    choice_func: Callable[[str], bool | str] | None = None,
    split_dst_file: tuple[int, int] | tuple[()] = (),
    *,
    progress: Progress | bool | None = None,
) -> None:
    """Merge rank files into ``part<i>.safetensors`` of about 3 GB each.

    Parameters that the strategy does not name go to ``hyper_param.safetensors``, and
    ``param_name_map.json`` names the part of each parameter.

    Args:
        src_dir: folder of ``rank_N`` folders, de-duplicated files included.
        src_strategy_file: their strategy.
        dst_dir: folder to write to; made if need be.
        merge_with_redundancy: accepted for MindSpore's sake, without effect: the contents of files
            show whether they are de-duplicated.
        file_suffix: the end of the names, before the extension, of the files to read; None: any.
        max_process_num: the largest number of files that are written at a time.
        choice_func: maps a parameter's name to False (leave it out), True, or another name.
        split_dst_file: ``(i, n)`` writes only the i-th of n shares, i from 1.
        progress: as for :func:`transform_checkpoints`.

    Raises:
        CheckpointError: as :func:`transform_checkpoints`; or two parameters get the same name.
        ValueError, TypeError: an argument of the wrong value or type.

    Example:
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.arange(4, dtype=np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "net", integrated_save=False, format="safetensors")
        >>> ms.unified_safetensors(".", "strategy.ckpt", "unified")
        >>> ms.load_checkpoint("unified/part0.safetensors")["w"]
        array([0., 1., 2., 3.], dtype=float32)
    """
    arguments.flags(merge_with_redundancy=merge_with_redundancy)
    arguments.functions(choice_func=choice_func)
    if not isinstance(file_suffix, str | None):
        raise TypeError(f"file_suffix must be a str, not {type(file_suffix).__name__}")
    share, shares = _share_of(split_dst_file)
    checks.check_count(max_process_num, "max_process_num")
    source = merged.open_ranks(src_dir, src_strategy_file, file_suffix)
    names = _chosen(source, choice_func)
    known = source.plan.parameters if source.plan else {}
    sharded = [name for name in names if name in known]
    groups = _groups({name: source.entries[name].nbytes for name in sharded})
    files = [
        File(PurePosixPath(_part(i)), [copying.renamed(source, n, names[n]) for n in group])
        for i, group in enumerate(groups)
        if i * shares // len(groups) == share - 1
    ]
    hyper = [name for name in names if name not in known and source.entries[name].type != "str"]
    if share == 1 and hyper:
        records = [copying.renamed(source, name, names[name]) for name in hyper]
        files.append(File(PurePosixPath(_HYPER_FILE), records))
    total = sum(record.nbytes for file in files for record in file.records)
    folder = paths.path_of(dst_dir)
    if not files and share > 1:
        return
    # Other processes may write their shares at the time. Of one source all have one name.
    own = None if shares == 1 else f"share {share} of {shares}"
    with atomic.making_folder(folder), store_folder.of(folder, of=own) as save:
        placed = [file._replace(target=save.files / file.target) for file in files]
        arguments.progress(progress)
        with meters.meter("merge", total, progress) as advance:
            rank_records.write_files(placed, min(max_process_num, 4), advance,
                                     save=_save(source, names), held=save.held)  # fmt: skip
        if share == 1:
            weights = {names[n]: _part(i) for i, g in enumerate(groups) for n in g}
            total = sum(source.entries[name].nbytes for name in sharded)
            content = {"metadata": {"total_size": total}, "weight_map": weights}
            text = json.dumps(content, indent=4).encode()
            options = writer.Options(held=save.held)
            writer.write(save.files / _MAP_FILE, Plan([text], len(text)), options)
        head = _MAP_FILE if share == 1 else str(files[-1].target)
        save.commit(head, outdated=_earlier(folder) if shares == 1 else ())


def _save(source: MergedCheckpoint, names: Mapping[str, str]) -> str:
    """The name of a save of the chosen parameters of a source, the same for all shares."""
    told = rank_records.job_of(source, None), sorted(names.items())
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _earlier(folder: AnyPath) -> list[str]:
    """The files that an earlier call has left in a folder."""
    own = re.compile(rf"part\d+{re.escape(_SUFFIX)}")
    names = [path.name for path in paths.below(folder)]
    return [name for name in names if name in (_HYPER_FILE, _MAP_FILE) or own.fullmatch(name)]


def _part(number: int) -> str:
    return f"part{number}{_SUFFIX}"


def _share_of(split: Any) -> tuple[int, int]:
    if not isinstance(split, tuple) or len(split) not in (0, 2):
        raise TypeError(f"split_dst_file must be (i, n), not {split!r}")
    share, shares = split or (1, 1)
    if not 1 <= share <= shares:
        raise ValueError(f"split_dst_file must be (i, n) with i from 1 to n, not {split}")
    return share, shares


def _chosen(source: MergedCheckpoint, choose: Callable[[str], bool | str] | None) -> dict[str, str]:
    """The names to keep, each with its new name."""
    out: dict[str, str] = {}
    for name in source:
        if name.startswith("accu_grads"):
            continue
        choice = True if choose is None else choose(name)
        if not isinstance(choice, bool | str):
            raise ValueError(f"choice_func must return bool or str, not {choice!r} for {name!r}")
        if choice is not False:
            out[name] = choice if isinstance(choice, str) else name
    _check_distinct(out)
    return out


def _check_distinct(renamed: Mapping[str, str]) -> None:
    """Refuse equal new names; nothing else would, because they may go to different files."""
    first: dict[str, str] = {}
    for old, new in renamed.items():
        if first.setdefault(new, old) != old:
            raise CheckpointError(f"{first[new]!r} and {old!r} would both get this name", name=new)


def _groups(sizes: Mapping[str, int]) -> list[list[str]]:
    """Parameters in groups of about 3 GB, the largest dealt out first to the lightest group."""
    count = min(max(1, math.ceil(sum(sizes.values()) / _PART_BYTES)), max(1, len(sizes)))
    groups: list[list[str]] = [[] for _ in range(count)]
    weights = [(0, number) for number in range(count)]
    for name in sorted(sizes, key=lambda n: -sizes[n]):
        weight, lightest = weights[0]
        groups[lightest].append(name)
        heapq.heapreplace(weights, (weight + sizes[name], lightest))
    return groups
