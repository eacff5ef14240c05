"""Whole models loaded from parts: distributed CheckPoints, files of segments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msckpt_jax.api import into
from msckpt_jax.checkpoint import formats, one_save, paths
from msckpt_jax.checkpoint.choice import choice
from msckpt_jax.checkpoint.entries import Entry
from msckpt_jax.checkpoint.file import CheckpointFile, open_checkpoint
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.checkpoint.paths import PathLike, regular
from msckpt_jax.checkpoint.records import File
from msckpt_jax.errors import CheckpointError
from msckpt_jax.names import key_tag
from msckpt_jax.parallel import checks, rank_records, rank_set
from msckpt_jax.parallel.merged import MergedCheckpoint
from msckpt_jax.parallel.placement import plan_of
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.visible import visible


def load_distributed_checkpoint(
    network: Any,
    checkpoint_filenames: Sequence[PathLike] | None = None,
    predict_strategy: StrategyLike | None = None,
    train_strategy_filename: StrategyLike | None = None,
    strict_load: bool = False,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    format: str = formats.DEFAULT,
    unified_safetensors_dir: PathLike | None = None,
    dst_safetensors_dir: PathLike | None = None,
    rank_id: int | None = None,
    output_format: str = formats.SAFETENSORS.name,
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
        strict_load: refuse to cast, and guess neither prefixes nor the convention.
        dec_key: key of encrypted rank files.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        format: the format to read, ``"ckpt"`` or ``"safetensors"``.
        unified_safetensors_dir: folder of safetensors files, with ``format="safetensors"``.
        dst_safetensors_dir: folder to write to when there is no network.
        rank_id: write the file of this rank only.
        output_format: the format of the files to write, ``"safetensors"`` or ``"ckpt"``.
        name_map: names in the network to names in the files.
        max_process_num: the number of files that are written at a time, at most.
        return_param_dict: return the parameters instead of loading them.

    Returns:
        The parameters with ``return_param_dict``, else True, as MindSpore does.

    Raises:
        CheckpointError: files are missing, or do not fit the strategy.
        ValueError: arguments that contradict each other.

    Example:
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.arange(4, dtype=np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "net.ckpt", integrated_save=False)
        >>> files = ["rank_0/net.ckpt", "rank_1/net.ckpt"]
        >>> how = {"train_strategy_filename": "strategy.ckpt", "return_param_dict": True}
        >>> ms.load_distributed_checkpoint(None, files, **how)["w"]
        array([0., 1., 2., 3.], dtype=float32)
    """
    if formats.to_write(format) is formats.CKPT:
        source = _trained(checkpoint_filenames, train_strategy_filename, dec_key, dec_mode)
    else:
        source = _unified(unified_safetensors_dir, name_map or {})
    if return_param_dict:
        return Parameters(source, list(source))
    if network is not None:
        into.load_param_into_net(network, Parameters(source, list(source)), strict_load)
        return True
    if dst_safetensors_dir is None:
        raise ValueError("without a network, dst_safetensors_dir is needed")
    suffix = formats.to_write(output_format, "output_format").suffix
    target = plan_of(predict_strategy)
    if rank_id is not None:
        checks.check_rank(rank_id, target)
    folder = paths.path_of(dst_safetensors_dir)
    name, jobs = f"net{suffix}", min(max_process_num, 4)
    if rank_id is not None:
        records = rank_records.rank_records(source, target, rank_id)
        rank_records.write_files([File(folder / f"rank_{rank_id}" / name, records)], jobs)
        return True
    cutting = rank_records.Cutting(source, target)
    with rank_set.replacing(folder, lambda rank: name) as save:
        files = [
            File(save.files / f"rank_{rank}" / name, cutting.records(rank))
            for rank in range(target.ranks if target else 1)
        ]
        rank_records.write_files(files, jobs, save=one_save.new(), held=save.held)
    return True


def _trained(
    files: Sequence[PathLike] | None,
    strategy_file: StrategyLike | None,
    key: bytes | None,
    mode: str,
) -> MergedCheckpoint:
    if not files or strategy_file is None:
        needed = "checkpoint_filenames and train_strategy_filename"
        raise ValueError(f"format={formats.CKPT.name!r} needs {needed}")
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


def _unified(folder: PathLike | None, names: Mapping[str, str]) -> CheckpointFile:
    """The files of a folder as one CheckPoint; ``names`` leads to the names in the files."""
    if folder is None:
        raise ValueError(f"format={formats.SAFETENSORS.name!r} needs unified_safetensors_dir")
    file = open_checkpoint(folder)
    back = {there: here for here, there in names.items()}
    entries = [_called(entry, back.get(entry.name, entry.name)) for entry in file.entries.values()]
    file.entries = {}
    for entry in entries:
        if file.entries.setdefault(entry.name, entry) is not entry:
            raise CheckpointError(
                "name_map gives two parameters of the files this name", file=folder, name=entry.name
            )
    return file


def _called(entry: Entry, name: str) -> Entry:
    tag = key_tag(name, entry.key_impl) if entry.key_impl else name
    return entry._replace(name=name, tag=tag)


def load_segmented_checkpoints(
    ckpt_file_dir: PathLike,
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: str | Sequence[str] | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: str | Sequence[str] | None = None,
    choice_func: Callable[[str], bool] | None = None,
) -> dict[str, Any]:
    """Load all ``*.ckpt`` files of a folder; the last file counts for a name that is repeated.

    Files that the filters leave empty are passed over (MindSpore raises).

    Raises:
        CheckpointError: the folder holds no ``.ckpt`` file, or the filters leave nothing.

    Example:
        >>> ms.save_checkpoint({"first": np.zeros(2, np.float32)}, "1.ckpt")
        >>> ms.save_checkpoint({"second": np.ones(2, np.float32)}, "2.ckpt")
        >>> ms.load_segmented_checkpoints(".")
        {'first': array([0., 0.], dtype=float32), 'second': array([1., 1.], dtype=float32)}
    """
    folder = paths.path_of(ckpt_file_dir)
    if not folder.is_dir():
        raise NotADirectoryError(visible(f"{folder} is not a folder"))
    suffix = formats.CKPT.suffix
    files = paths.below(folder, suffix=suffix)
    if not files:
        raise CheckpointError(f"no {suffix} file is in the folder", file=folder)
    chosen = choice(filter_prefix, specify_prefix, choice_func)
    out: dict[str, Any] = {}
    for path in files:
        file = open_checkpoint(regular(path), dec_key, dec_mode)
        out |= {name: file[name] for name in file if chosen(name)}
    if not out:
        raise CheckpointError("the filters leave none of the parameters", file=folder)
    if net is not None:
        into.load_param_into_net(net, out, strict_load)
    return out
