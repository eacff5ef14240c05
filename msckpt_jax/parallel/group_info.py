"""MindSpore's group info files: ``restore_group_info_list``."""

from __future__ import annotations

from msckpt_jax.checkpoint import paths, wire
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import strategy


def restore_group_info_list(group_info_file_name: PathLike) -> list[int]:
    """Read the ranks whose CheckPoints can replace each other from a group info file.

    Raises:
        CheckpointError: the file has no such list.

    Example:
        >>> with open("group_info.pb", "wb") as file:  # MindSpore's GroupInfoMap
        ...     _ = file.write(bytes([0x12, 6, 8, 0, 8, 2, 8, 5]))
        >>> ms.restore_group_info_list("group_info.pb")
        [0, 2, 5]
    """
    data = paths.path_of(group_info_file_name).read_bytes()
    try:
        lists = [value for field, value in strategy.fields(data) if field == 2]
        ranks = [rank for value in lists for _, rank in strategy.fields(value)]
    except (wire.WireError, TypeError):
        ranks = []
    if not ranks:
        raise CheckpointError(
            "the file has no group info with a list of ranks", file=group_info_file_name
        )
    return ranks
