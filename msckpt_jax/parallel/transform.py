"""MindSpore's transform functions: merge and reshard rank files, streaming, never gathering.

A destination file is planned as records whose pieces are boxes of the source files; the writer
copies byte ranges window by window, so that no tensor of either side is ever held whole.
"""

from __future__ import annotations

from collections.abc import Mapping

from msckpt_jax import arguments
from msckpt_jax import progress as meters
from msckpt_jax.checkpoint import formats, paths
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.records import File
from msckpt_jax.parallel import merged, rank_set, strategy
from msckpt_jax.parallel.checks import (
    check_count,
    check_other_folder,
    check_prefix,
    check_rank,
)
from msckpt_jax.parallel.merged import MergedCheckpoint
from msckpt_jax.parallel.placement import Plan, plan_of
from msckpt_jax.parallel.rank_records import (
    job_of,
    plan_files,
    rank_records,
    strings_left_out,
    write_files,
)
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.progress import Progress
from msckpt_jax.visible import warn

#: Beginnings of the names that MindSpore leaves out when it compares two strategies.
_UNCOUNTED = ("accu_grads", "adam_v", "adam_m")


def transform_checkpoints(
    src_checkpoints_dir: PathLike,
    dst_checkpoints_dir: PathLike,
    ckpt_prefix: str,
    src_strategy_file: StrategyLike | None = None,
    dst_strategy_file: StrategyLike | None = None,
    process_num: int = 1,
    output_format: str = formats.DEFAULT,
    *,
    progress: Progress | bool | None = None,
) -> None:
    """Turn the rank files of one strategy into those of another.

    The source is the last file, in lexicographic order, in each ``src/rank_N``: a CheckPoint or a
    safetensors file, which may be de-duplicated. The results are
    ``dst/rank_N/<prefix>N.<output_format>``. When both strategies have one stage and the
    destination has more parameters, the source is a part of a model, and ``_part<stage>`` is
    appended to the names, as MindSpore does.

    Args:
        src_checkpoints_dir: folder of ``rank_N`` folders.
        dst_checkpoints_dir: folder to write to; made if need be.
        ckpt_prefix: the beginning of the new files' names.
        src_strategy_file: strategy of the source; None stands for one unsharded rank.
        dst_strategy_file: strategy of the destination, or None likewise.
        process_num: the number of files that are written at a time.
        output_format: ``"ckpt"`` or ``"safetensors"``.
        progress: True shows a bar, in terminals and notebooks. Or a function, called with the
            size in bytes of each written piece, by one thread at a time.

    Raises:
        CheckpointError: the files of needed ranks are missing, or do not fit the strategy; a
            sharded parameter is in no strategy (MindSpore silently cuts it to one shard).
        NotADirectoryError: the source is no folder.
        ValueError: ``ckpt_prefix``, ``process_num`` or ``output_format`` is not usable, or the
            destination is the source.

    Example:
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.arange(4, dtype=np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "net.ckpt", integrated_save=False)
        >>> ms.transform_checkpoints(".", "merged", "net", "strategy.ckpt", None)
        >>> ms.load_checkpoint("merged/rank_0/net0.ckpt")["w"]
        array([0., 1., 2., 3.], dtype=float32)
    """
    check_prefix(ckpt_prefix, "ckpt_prefix")
    check_count(process_num, "process_num")
    suffix = formats.to_write(output_format, "output_format").suffix
    check_other_folder(src_checkpoints_dir, dst_checkpoints_dir)
    source = merged.open_ranks(src_checkpoints_dir, src_strategy_file)
    target = plan_of(dst_strategy_file)
    if names := sorted(strings_left_out(source, target)):
        warn(
            f"strings are left out of rank files because they crash MindSpore's merge: {names}",
            stacklevel=2,
        )
    suffix = f"{_part_suffix(src_strategy_file, source.plan, dst_strategy_file)}{suffix}"
    folder = paths.path_of(dst_checkpoints_dir)
    with rank_set.replacing(folder, lambda rank: f"{ckpt_prefix}{rank}{suffix}") as save:
        files = plan_files(source, target, save.files, ckpt_prefix, suffix)
        total = sum(file.nbytes for file in files)
        arguments.progress(progress)
        with meters.meter("transform", total, progress) as advance:
            how = job_of(source, target)
            write_files(files, process_num, advance, save=how, held=save.held)


def transform_checkpoint_by_rank(
    rank_id: int,
    checkpoint_files_map: Mapping[int, PathLike],
    save_checkpoint_file_name: PathLike,
    src_strategy_file: StrategyLike | None = None,
    dst_strategy_file: StrategyLike | None = None,
) -> None:
    """Make the file of one destination rank from ``{source rank: file}``.

    The map needs the ranks that :func:`rank_list_for_transform` names.

    Raises:
        CheckpointError: as :func:`transform_checkpoints`.
        ValueError: there is no such rank, or the name does not end with ``.ckpt`` or
            ``.safetensors``.

    Example:
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.arange(4, dtype=np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "net.ckpt", integrated_save=False)
        >>> files = {rank: f"rank_{rank}/net.ckpt" for rank in (0, 1)}
        >>> ms.transform_checkpoint_by_rank(0, files, "merged.ckpt", "strategy.ckpt", None)
        >>> ms.load_checkpoint("merged.ckpt")["w"]
        array([0., 1., 2., 3.], dtype=float32)
    """
    if not isinstance(checkpoint_files_map, Mapping) or not checkpoint_files_map:
        raise TypeError("checkpoint_files_map must be a dict of rank to file")
    target = plan_of(dst_strategy_file)
    check_rank(rank_id, target)
    path = paths.path_of(save_checkpoint_file_name)
    formats.of_target(path)  # refuse a wrong name before anything is opened
    source = MergedCheckpoint(checkpoint_files_map, src_strategy_file)
    write_files([File(path, rank_records(source, target, rank_id))])


def _part_suffix(src: StrategyLike | None, source: Plan | None, dst: StrategyLike | None) -> str:
    """The ending that MindSpore gives to names of a part of a model; none for a whole model."""
    target = plan_of(dst)
    if source is None or target is None or src is None:
        return ""
    mine, theirs = (
        {n for n in p.parameters if not n.startswith(_UNCOUNTED)} for p in (source, target)
    )
    one_stage = all(
        len(s.first_ranks) == 1 and p.ranks == s.layout.ranks
        for p in (source, target)
        for s in p.parameters.values()
    )
    stage = 0 if isinstance(src, Mapping) else strategy.read(src)[1]
    return f"_part{stage}" if mine < theirs and one_stage else ""
