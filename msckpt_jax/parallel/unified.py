"""Whole models from parts: unified safetensors, files of segments, distributed CheckPoints."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from msckpt_jax import progress as meters
from msckpt_jax.checkpoint import boxes, copying, into, load, reader, wire, writer
from msckpt_jax.checkpoint.index import Entry
from msckpt_jax.checkpoint.records import File
from msckpt_jax.errors import CheckpointError
from msckpt_jax.names import key_tag
from msckpt_jax.parallel import merged, strategy, transform
from msckpt_jax.parallel.layout import Layout
from msckpt_jax.parallel.merged import MergedCheckpoint
from msckpt_jax.parallel.placement import plan_of

_PART_BYTES = 3 << 30
_MAP_FILE = "param_name_map.json"
_HYPER_FILE = "hyper_param.safetensors"


def unified_safetensors(
    src_dir: Any,
    src_strategy_file: Any,
    dst_dir: Any,
    merge_with_redundancy: bool = True,
    file_suffix: str | None = None,
    max_process_num: int = 64,
    choice_func: Callable[[str], bool | str] | None = None,
    split_dst_file: tuple[int, int] | tuple[()] = (),
    *,
    progress: writer.Progress | bool | None = None,
) -> None:
    """Merge rank files into ``part<i>.safetensors`` of about 3 GB each.

    What the strategy does not name goes to ``hyper_param.safetensors``, and
    ``param_name_map.json`` says in which part each parameter lies.

    Args:
        src_dir: folder of ``rank_N`` folders, de-duplicated files included.
        src_strategy_file: their strategy.
        dst_dir: folder to write to; made if need be.
        merge_with_redundancy: accepted for MindSpore's sake; whether files are de-duplicated is
            seen from what they hold.
        file_suffix: only files whose name ends so (before the extension).
        max_process_num: how many files are written at a time, at the most.
        choice_func: from a parameter's name to False (leave it out), True, or another name.
        split_dst_file: ``(i, n)`` writes only the i-th of n shares, i from 1.
        progress: as for :func:`transform_checkpoints`.

    Raises:
        CheckpointError: as :func:`transform_checkpoints`; or two parameters get one name.
        ValueError, TypeError: an argument of the wrong value or type.
    """
    del merge_with_redundancy
    share, shares = _share_of(split_dst_file)
    if choice_func is not None and not callable(choice_func):
        raise TypeError("choice_func must be callable")
    transform.check_count(max_process_num, "max_process_num")
    source = merged.open_ranks(src_dir, src_strategy_file, file_suffix)
    names = _chosen(source, choice_func)
    folder = Path(dst_dir)
    folder.mkdir(parents=True, exist_ok=True)
    sharded = [name for name in names if source.plan and name in source.plan.parameters]
    groups = _groups({name: source.entries[name].nbytes for name in sharded})
    files = [
        File(folder / f"part{i}.safetensors", [copying.renamed(source, n, names[n]) for n in group])
        for i, group in enumerate(groups)
        if i * shares // len(groups) == share - 1
    ]
    hyper = [name for name in names if name not in sharded and source.entries[name].type != "str"]
    if share == 1 and hyper:
        found = [copying.renamed(source, name, names[name]) for name in hyper]
        files.append(File(folder / _HYPER_FILE, found))
    total = sum(record.nbytes for file in files for record in file.records)
    with meters.meter("merge", total, progress) as advance:
        transform.write_files(files, min(max_process_num, 4), advance)
    if share == 1:
        weights = {names[n]: f"part{i}.safetensors" for i, g in enumerate(groups) for n in g}
        total = sum(source.entries[name].nbytes for name in sharded)
        content = {"metadata": {"total_size": total}, "weight_map": weights}
        (folder / _MAP_FILE).write_text(json.dumps(content, indent=4))


def _share_of(split: Any) -> tuple[int, int]:
    share, shares = split or (1, 1)
    if not 1 <= share <= shares:
        raise ValueError(f"split_dst_file must be (i, n) with i from 1 to n, not {split}")
    return share, shares


def _chosen(source: MergedCheckpoint, choose: Any) -> dict[str, str]:
    """The names to keep, and what they are called afterwards."""
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
    """Refuse new names that meet: the parts are files of their own, so nothing else would."""
    first: dict[str, str] = {}
    for old, new in renamed.items():
        if first.setdefault(new, old) != old:
            raise CheckpointError(f"{first[new]!r} and {old!r} would both get this name", name=new)


def _groups(sizes: Mapping[str, int]) -> list[list[str]]:
    """Parameters in groups of about 3 GB, the largest dealt out first to the lightest group."""
    count = min(max(1, math.ceil(sum(sizes.values()) / _PART_BYTES)), max(1, len(sizes)))
    groups: list[list[str]] = [[] for _ in range(count)]
    weights = [0] * count
    for name in sorted(sizes, key=lambda n: -sizes[n]):
        lightest = weights.index(min(weights))
        groups[lightest].append(name)
        weights[lightest] += sizes[name]
    return groups


def load_distributed_checkpoint(
    network: Any,
    checkpoint_filenames: Sequence[Any] | None = None,
    predict_strategy: Any = None,
    train_strategy_filename: Any = None,
    strict_load: bool = False,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    format: str = "ckpt",
    unified_safetensors_dir: Any = None,
    dst_safetensors_dir: Any = None,
    rank_id: int | None = None,
    output_format: str = "safetensors",
    name_map: Mapping[str, str] | None = None,
    max_process_num: int = 64,
    return_param_dict: bool = False,
) -> Any:
    """Load the rank files of a training run, or a folder of unified safetensors.

    With ``format="ckpt"`` the files in ``checkpoint_filenames`` (in the order of ranks) are read
    as ``train_strategy_filename`` says; with ``"safetensors"`` the parts in
    ``unified_safetensors_dir``. A network (``nnx`` module) gets the merged values with the
    shardings that it has, each device reading its own boxes; ``predict_strategy`` is not needed
    for that. Without a network the parts are cut by ``predict_strategy`` and written to
    ``dst_safetensors_dir/rank_N/net.<output_format>``, for one rank or all.

    Args:
        network: the ``nnx`` module to load into, or None.
        checkpoint_filenames: rank files of the training run, in the order of ranks.
        predict_strategy: strategy file (or dict) of the files to write; None is one rank.
        train_strategy_filename: strategy file of ``checkpoint_filenames``.
        strict_load: refuse to cast, and do not repair prefixes.
        dec_key: key of encrypted rank files.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        format: what is read, ``"ckpt"`` or ``"safetensors"``.
        unified_safetensors_dir: folder of safetensors files, with ``format="safetensors"``.
        dst_safetensors_dir: folder to write to when there is no network.
        rank_id: write the file of this rank only.
        output_format: of the files to write, ``"safetensors"`` or ``"ckpt"``.
        name_map: names in the network to names in the files.
        max_process_num: how many files are written at a time, at the most.
        return_param_dict: return the parameters instead of loading them.

    Returns:
        The parameters with ``return_param_dict``, else True, as MindSpore does.

    Raises:
        CheckpointError: files are missing, or do not fit the strategy.
        ValueError: arguments that contradict each other.
    """
    if format == "ckpt":
        source = _trained(checkpoint_filenames, train_strategy_filename, dec_key, dec_mode)
    elif format == "safetensors":
        if unified_safetensors_dir is None:
            raise ValueError("format='safetensors' needs unified_safetensors_dir")
        source = _Parts(Path(unified_safetensors_dir), name_map or {})
    else:
        raise ValueError(f"format must be 'ckpt' or 'safetensors', not {format!r}")
    if return_param_dict:
        return load.Parameters(source, list(source))
    if network is not None:
        into.load_param_into_net(network, load.Parameters(source, list(source)), strict_load)
        return True
    if dst_safetensors_dir is None:
        raise ValueError("without a network, dst_safetensors_dir is needed")
    if output_format not in transform.FORMATS:
        raise ValueError(f"output_format must be 'ckpt' or 'safetensors', not {output_format!r}")
    target = plan_of(predict_strategy)
    if rank_id is not None:
        transform.check_rank(rank_id, target)
    ranks = range(target.ranks if target else 1) if rank_id is None else [rank_id]
    files = [
        File(
            Path(dst_safetensors_dir) / f"rank_{rank}" / f"net.{output_format}",
            transform.rank_records(source, target, rank),
        )
        for rank in ranks
    ]
    transform.write_files(files, min(max_process_num, 4))
    return True


def _trained(
    files: Sequence[Any] | None, strategy_file: Any, key: bytes | None, mode: str
) -> MergedCheckpoint:
    if not files or strategy_file is None:
        raise ValueError("format='ckpt' needs checkpoint_filenames and train_strategy_filename")
    plan = plan_of(strategy_file)
    assert plan is not None
    if len(files) != plan.ranks:
        raise CheckpointError(
            "checkpoint_filenames must name a file for each rank of the strategy",
            file=strategy_file,
            expected=plan.ranks,
            found=len(files),
        )
    return MergedCheckpoint(dict(enumerate(files)), strategy_file, dec_key=key, dec_mode=mode)


class _Parts(MergedCheckpoint):
    """The safetensors files of a folder as one CheckPoint; ``names`` to names in the files."""

    def __init__(self, folder: Path, names: Mapping[str, str]):
        files = sorted(folder.glob("*.safetensors"))
        if not files:
            raise CheckpointError("no safetensors files in the folder", file=folder)
        self.path, self.plan, self.format = str(folder), None, "safetensors"
        self._parts = {}
        self.files = {i: reader.open_checkpoint(file) for i, file in enumerate(files)}
        back = {there: here for here, there in names.items()}
        for file in self.files.values():
            found = [_called(e, back.get(e.name, e.name)) for e in file.entries.values()]
            file.entries = {entry.name: entry for entry in found}
        self.entries = {n: e for file in self.files.values() for n, e in file.entries.items()}


def _called(entry: Entry, name: str) -> Entry:
    tag = key_tag(name, entry.key_impl) if entry.key_impl else name
    return entry._replace(name=name, tag=tag)


def load_segmented_checkpoints(
    ckpt_file_dir: Any,
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: str | Sequence[str] | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: str | Sequence[str] | None = None,
    choice_func: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    """The parameters of all ``*.ckpt`` files of a folder; of a repeated name the last file's.

    Files that the filters leave empty are passed over (MindSpore raises).

    Raises:
        CheckpointError: the folder holds no ``.ckpt`` file, or the filters leave nothing.
    """
    folder = Path(ckpt_file_dir)
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    files = sorted(folder.glob("*.ckpt"))
    if not files:
        raise CheckpointError("no .ckpt file in the folder", file=folder)
    chosen = load.choice(filter_prefix, specify_prefix, choice_func)
    out: dict[str, Any] = {}
    for file in files:
        found = reader.open_checkpoint(file, dec_key, dec_mode)
        out |= {name: found[name] for name in found if chosen(name)}
    if not out:
        raise CheckpointError("the filters leave none of its parameters", file=folder)
    if net is not None:
        into.load_param_into_net(net, out, strict_load)
    return out


def merge_sliced_parameter(
    sliced_parameters: Sequence[Any], strategy: Mapping[str, Layout] | None = None
) -> Any:
    """Join the slices of one parameter, in the order of ranks.

    Args:
        sliced_parameters: arrays, or ``{"name", "data"}`` dicts of one name.
        strategy: layouts by name, as :func:`build_searched_strategy` gives; None joins along
            axis 0.

    Returns:
        An array, or a ``{"name", "data"}`` dict when the slices were such.

    Raises:
        ValueError: the number or the shapes of the slices do not fit. KeyError: the strategy
        lacks the name. TypeError: something else was passed.
    """
    if not isinstance(sliced_parameters, Sequence) or isinstance(sliced_parameters, str):
        raise TypeError("sliced_parameters must be a list")
    if not sliced_parameters:
        raise ValueError("sliced_parameters is empty")
    named = isinstance(sliced_parameters[0], Mapping)
    if any(isinstance(s, Mapping) != named for s in sliced_parameters):
        raise TypeError("sliced_parameters must be all arrays, or all dicts of name and data")
    names = {s["name"] for s in sliced_parameters} if named else set()
    parts = [np.asarray(s["data"] if named else s) for s in sliced_parameters]
    if len(names) > 1 or len({p.shape[1:] for p in parts}) > 1:
        raise ValueError("the slices differ in name, or in shape beyond axis 0")
    if strategy is None:
        out = np.concatenate(parts)
    else:
        if not named:
            raise TypeError("with a strategy the slices must be dicts of name and data")
        out = _joined(parts, strategy[sliced_parameters[0]["name"]])
    return {"name": sliced_parameters[0]["name"], "data": out} if named else out


def _joined(parts: Sequence[np.ndarray], layout: Layout) -> np.ndarray:
    if len(parts) != layout.ranks:
        raise CheckpointError(
            "there must be a slice for each rank", expected=layout.ranks, found=len(parts)
        )
    out = np.empty(layout.full_shape(parts[0].shape), parts[0].dtype)
    for rank, part in enumerate(parts):
        box = layout.box(rank, out.shape)
        if part.shape != boxes.shape_of(box):
            raise CheckpointError(
                f"the slice of rank {rank} does not fit",
                expected=list(boxes.shape_of(box)),
                found=list(part.shape),
            )
        out[boxes.slices(box, boxes.whole(out.shape))] = part
    return out


def restore_group_info_list(group_info_file_name: Any) -> list[int]:
    """The ranks whose CheckPoints can stand in for one another, from a group info file.

    Raises:
        CheckpointError: the file has no such list.
    """
    data = Path(group_info_file_name).read_bytes()
    try:
        lists = [value for field, value in strategy.fields(data) if field == 2]
        ranks = [rank for value in lists for _, rank in strategy.fields(value)]
    except (wire.WireError, TypeError):
        ranks = []
    if not ranks:
        raise CheckpointError("no group info with a list of ranks", file=group_info_file_name)
    return ranks
