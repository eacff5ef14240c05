"""The rank files of a save in an object store, and their strategy, which readers need.

The bytes of all files go up first. Then the older strategy goes, the new files become objects, and
the new strategy is the last. Processes whose arrays belong together agree before each of these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msckpt_jax.checkpoint import atomic, one_save, store_folder, writer
from msckpt_jax.parallel.meeting import Meetings
from msckpt_jax.parallel.rank_set import Put, RankSet


def write(ranks: RankSet, options: writer.Options, put: Put) -> None:
    """Let ``put`` write this process's rank files, and give them their names.

    Raises:
        CheckpointError: another process failed or died before the files became objects.
        StoreError: the store refuses; the older set is whole, or has no strategy.
    """
    meetings = Meetings(ranks.root / ranks.name, options.timeout, "rank files")

    def meet(work: Callable[[], Any]) -> tuple[Any, bool]:
        """The first process's answer, and whether those of all are true."""
        if not ranks.spans:
            answer = work()
            return answer, bool(answer)
        verdict = meetings.meet(work)
        return verdict.first, verdict.everywhere

    def written(nbytes: int) -> None:
        meetings.alive()
        if options.progress is not None:
            options.progress(nbytes)

    name, _ = meet(one_save.new)
    with store_folder.together() as held:
        shown = options._replace(held=held, progress=written) if ranks.spans else options
        meet(lambda: put(ranks.root, name, shown._replace(held=held)))
        _, kept = meet(lambda: not any(upload.path.is_file() for upload in held))

        strategy = None if kept and _holds(ranks) else ranks.strategy
        meet(lambda: None if strategy is None else strategy.unlink(missing_ok=True))
        meet(lambda: store_folder.complete(held))
        meet(lambda: None if strategy is None else atomic.write(strategy, ranks.content))


def _holds(ranks: RankSet) -> bool:
    path = ranks.strategy
    return path is None or (path.is_file() and path.read_bytes() == ranks.content)
