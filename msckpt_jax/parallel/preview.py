"""``plan_transform``: a preview of a transformation of rank files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from msckpt_jax import boxes, display
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.parallel import merged, rank_records
from msckpt_jax.parallel.merged import MergedCheckpoint
from msckpt_jax.parallel.placement import Parts, Plan, plan_of
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.visible import lines


class Share(NamedTuple):
    """The content of a destination rank: the number of entries, the bytes from each source rank."""

    rank: int
    entries: int
    read: dict[int, int]


class Moved(NamedTuple):
    """An entry, and the ranks that hold its parts before and after."""

    name: str
    shape: tuple[int, ...]
    nbytes: int
    before: Parts
    after: Parts


class TransformPlan(NamedTuple):
    """The result of :func:`plan_transform`; its text and its HTML are tables.

    Attributes:
        shares: the content of each destination rank.
        entries: the places of the parts of each entry.
    """

    shares: list[Share]
    entries: list[Moved]

    @property
    def moved(self) -> int:
        """The bytes that a rank's file takes from the files of other ranks."""
        return sum(
            n for rank, _, read in self.shares for source, n in read.items() if source != rank
        )

    @property
    def summary(self) -> str:
        total = sum(sum(share.read.values()) for share in self.shares)
        return (
            f"{display.counted(len(self.shares), 'file')}, {display.size(total)}; "
            f"{display.size(self.moved)} come from files of other ranks"
        )

    def as_json(self) -> dict[str, Any]:
        """The plan in lists and dicts of texts and numbers; ranks are texts where they are keys."""
        return {
            "moved_bytes": self.moved,
            "files": [
                {
                    "rank": share.rank,
                    "entries": share.entries,
                    "bytes": sum(share.read.values()),
                    "read": {str(rank): n for rank, n in sorted(share.read.items())},
                }
                for share in self.shares
            ],
        }

    def __repr__(self) -> str:
        rows = [
            [str(share.rank), f"{sum(share.read.values()):,}", str(share.entries), _sources(share)]
            for share in self.shares
        ]
        return lines([*display.columns(_COLUMNS, rows), self.summary])

    def _repr_html_(self) -> str:
        ranks = display.table(
            _COLUMNS,
            (
                [share.rank, display.Size(sum(share.read.values())), share.entries, _sources(share)]
                for share in self.shares
            ),
        )
        entries = display.table(
            ["name", "shape", "size", "before", "after"],
            (
                [
                    entry.name,
                    str(list(entry.shape)),
                    display.Size(entry.nbytes),
                    display.sharding(entry.shape, entry.before),
                    display.sharding(entry.shape, entry.after),
                ]
                for entry in self.entries
            ),
        )
        return display.page(
            f"TransformPlan: {self.summary}",
            display.fold("entries: which rank holds what", entries, unfolded=True),
            display.fold("files: what is read from which rank", ranks),
        )


#: Source ranks that a row names.
_SOURCES = 8
_COLUMNS = ("rank", "bytes", "entries", "read from ranks")


def plan_transform(
    src_checkpoints_dir: PathLike,
    src_strategy_file: StrategyLike | None = None,
    dst_strategy_file: StrategyLike | None = None,
) -> TransformPlan:
    """Tell what :func:`transform_checkpoints` with the same arguments will read and write.

    Only the headers of the files are read.

    Args:
        src_checkpoints_dir: folder of ``rank_N`` folders.
        src_strategy_file: strategy of the source; None stands for one unsharded rank.
        dst_strategy_file: strategy of the destination, or a dict of names to :class:`Layout`;
            None merges the files.

    Raises:
        CheckpointError: the files of needed ranks are missing, or do not fit the strategy.
        NotADirectoryError: the source is no folder.

    Example:
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.arange(4, dtype=np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "net.ckpt", integrated_save=False)
        >>> ms.plan_transform(".", "strategy.ckpt", None)
        rank  bytes  entries  read from ranks
        0     16     1        0: 8 B, 1: 8 B
        1 file, 16 B; 8 B come from files of other ranks
    """
    source = merged.open_ranks(src_checkpoints_dir, src_strategy_file)
    try:
        return of(source, plan_of(dst_strategy_file))
    finally:
        source.close()


def of(source: MergedCheckpoint, target: Plan | None) -> TransformPlan:
    """The plan for opened rank files; strings, which rank files do not hold, are left out."""
    cutting = rank_records.Cutting(source, target)
    cutting.check_whole()
    left_out = rank_records.strings_left_out(source, target)
    entries = [
        Moved(
            name,
            entry.shape,
            entry.nbytes,
            source.parts(name),
            target.parts(name, entry.shape) if target else {boxes.whole(entry.shape): [0]},
        )
        for name, entry in source.entries.items()
        if name not in left_out
    ]
    read = _read(source, target, entries)
    counts = cutting.sizes()[1].tolist()
    return TransformPlan([Share(r, n, read[r]) for r, n in enumerate(counts)], entries)


def _read(
    source: MergedCheckpoint, target: Plan | None, entries: Sequence[Moved]
) -> list[dict[int, int]]:
    """The bytes that each rank takes from each source rank, found once for tensors cut alike."""
    out: list[Counter[int]] = [Counter() for _ in range(target.ranks if target else 1)]
    alike: dict[Hashable, list[Moved]] = {}
    for entry in entries:
        staged = target.parameters.get(entry.name) if target else None
        key = source.source(entry.name), staged, entry.shape, entry.nbytes
        alike.setdefault(key, []).append(entry)
    for first, *others in alike.values():
        for box, holders in first.after.items():
            for source_rank, nbytes in _taken(source, first.name, box):
                for rank in holders:
                    out[rank][source_rank] += nbytes * (1 + len(others))
    return [dict(read) for read in out]


def _taken(source: MergedCheckpoint, name: str, box: boxes.Box) -> list[tuple[int, int]]:
    """The ranks from whose files a box is read, and the bytes that are read from each."""
    entry = source.entries[name]
    if not entry.is_array:  # it is read whole, from one of them
        return [(rank, entry.nbytes) for rank, _ in source.read(name, box)]
    size = entry.tensors[0].row.stored.itemsize
    return [(rank, count * size) for rank, count in source.read(name, box)]


def _sources(share: Share) -> str:
    """The ranks that are read from; of many the first, and how many more there are."""
    read = [f"{rank}: {display.size(n)}" for rank, n in sorted(share.read.items())]
    more = [f"{len(read) - _SOURCES} more"] if len(read) > _SOURCES else []
    return ", ".join([*read[:_SOURCES], *more])
