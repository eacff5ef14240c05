"""``latest_checkpoint`` and ``resume``: go on where a run ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import display, names
from msckpt_jax.api import load
from msckpt_jax.checkpoint import one_save, paths
from msckpt_jax.checkpoint.encryption import encryption
from msckpt_jax.checkpoint.file import open_checkpoint
from msckpt_jax.checkpoint.folder import finish
from msckpt_jax.checkpoint.paths import AnyPath, PathLike, regular
from msckpt_jax.conventions import choosing
from msckpt_jax.conventions import convention as conventions
from msckpt_jax.conventions.convention import ConventionLike
from msckpt_jax.errors import CheckpointError, StoreError
from msckpt_jax.parallel import strategy as strategies
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.training import filenames, restore
from msckpt_jax.training import local as locals_of
from msckpt_jax.training.filenames import RunFile
from msckpt_jax.visible import visible, warn


class Resumed(NamedTuple):
    """A state that was loaded, and where its run was.

    ``epoch`` and ``step`` (within the epoch) are those of the file's name. ``append`` holds the
    numbers and strings of the file that ``like`` has no place for, among them ``append_info``.

    Example:
        >>> with ms.ModelCheckpoint("net", "ckpts", batches_per_epoch=4) as checkpoint:
        ...     for number in range(6):
        ...         checkpoint.step({"w": np.full(2, number, np.float32)})
        >>> resumed = ms.resume("ckpts", {"w": jnp.zeros(2)})
        >>> checkpoint = ms.ModelCheckpoint("net", "ckpts", batches_per_epoch=4, resumed=resumed)
        >>> resumed.path
        'ckpts/net-2_2.ckpt'
    """

    state: Any
    epoch: int
    step: int
    append: dict[str, Any]
    path: str

    def __repr__(self) -> str:
        leaves = [leaf.value for leaf in names.named_leaves(self.state)]
        size = display.size(sum(getattr(leaf, "nbytes", 0) for leaf in leaves))
        return visible(
            f"<Resumed {self.path}: epoch {self.epoch}, step {self.step}, a state of "
            f"{display.counted(len(leaves), 'leaf', 'leaves')}, {size}, "
            f"append {display.brief(self.append)}>"
        )


class _Saved(NamedTuple):
    """A file's name, its paths (in rank folders several), and whether these are rank folders."""

    file: RunFile
    paths: list[AnyPath]
    in_ranks: bool


def latest_checkpoint(directory: PathLike, prefix: str | None = None) -> str | None:
    """The newest sound CheckPoint of a :class:`ModelCheckpoint`, ours or MindSpore's.

    Files are ordered by run (``prefix``, ``prefix_1``, ...), epoch and step of their names;
    breakpoint files are among them. A damaged or truncated file is skipped with a warning: the
    headers of all records are read, and the contents only where there is a check sum. For files in
    ``rank_N`` folders the file of the lowest rank is returned; all ranks must have theirs.

    Args:
        directory: the folder that was saved to.
        prefix: the prefix that was given there; None when all files share one.

    Returns:
        A path, or None: there is no such file, or no such folder.

    Raises:
        CheckpointError: there are several prefixes, and none was chosen.

    Example:
        >>> with ms.ModelCheckpoint("net", "ckpts", batches_per_epoch=4) as checkpoint:
        ...     for number in range(6):
        ...         checkpoint.step({"w": np.full(2, number, np.float32)})
        >>> ms.latest_checkpoint("ckpts")
        'ckpts/net-2_2.ckpt'
    """
    saved = _latest(directory, prefix)
    return None if saved is None else str(saved.paths[0])


def resume(
    directory: PathLike,
    like: Any,
    prefix: str | None = None,
    *,
    strategy: StrategyLike | None = None,
    local: PathLike | None = None,
    **options: Any,
) -> Resumed | None:
    """Load the latest CheckPoint of a run, so that training goes on as if it had not ended.

    With ``local`` that is the newest local step which is whole over all processes, if it is newer
    than the latest file in ``directory``: every part of every tensor lies, undamaged, on a machine
    that takes part. It does not matter which process has it, nor whether the mesh is the same.
    Parts that a process needs come from another one by collective operations, and are written
    beside its own: all processes call this function together, while nothing else runs.

    Args:
        directory: the folder that was saved to.
        prefix: the prefix that was given there; None when all files share one.
        like: a state as the training loop has it: a pytree, ``TrainState``, nnx object, or a
            dict of such, whose values do not matter, or ``jax.ShapeDtypeStruct``. The result has
            its structure, dtypes and shardings; nnx objects are new, PRNG keys are keys again.
        strategy: the strategy file of rank files, if it is not that of :class:`ModelCheckpoint`.
        local: the folder that was given there, if one was; it need not exist. Damaged local files
            are passed over with a warning.
        **options: further arguments of :func:`load_checkpoint`, such as ``dec_key`` and
            ``convention``; of these only ``strict_load`` concerns local steps.

    Returns:
        A :class:`Resumed`, or None when there is nothing to go on from. Give it to
        ``ModelCheckpoint(resumed=...)`` for numbers that go on.

    Raises:
        CheckpointError: as :func:`load_checkpoint`; or there are several prefixes; StoreError,
            which is one: the object store refuses to read, or cannot be reached.

    Example:
        >>> with ms.ModelCheckpoint("net", "ckpts", batches_per_epoch=4) as checkpoint:
        ...     for number in range(6):
        ...         checkpoint.step({"w": np.full(2, number, np.float32)})
        >>> resumed = ms.resume("ckpts", {"w": jnp.zeros(2)})
        >>> resumed.epoch, resumed.step, resumed.state["w"]
        (2, 2, Array([5., 5.], dtype=float32))
    """
    if not isinstance(strategy, Mapping | None):
        paths.path_of(strategy, "strategy")
    saved = _latest(directory, prefix)
    if local is not None:
        after, strict = saved and saved.file, options.get("strict_load", False)
        step = restore.newest(locals_of.folder_of(local), like, prefix, after, strict)
        if step is not None:
            append = _append(step.parameters.file, _names(like, None))
            return Resumed(step.state, step.epoch, step.step, append, step.path)
    if saved is None:
        return None
    where = saved.paths[0]
    if saved.in_ranks:
        run = f"_{saved.file.run}" if saved.file.run else ""
        default = where.parent.parent / f"{saved.file.prefix}{run}_{strategies.FILE}"
        where = {int(path.parent.name.removeprefix("rank_")): path for path in saved.paths}
        if strategy is None and not default.exists():
            raise CheckpointError(
                "the strategy file of these rank files is missing; pass strategy=", file=default
            )
        options |= {"strategy": strategy or regular(default)}
    convention = options.pop("convention", None)
    entries = load.load_checkpoint(where, **options)
    if convention is None and not options.get("strict_load"):
        convention = choosing.chosen(like, names.named_leaves(like), entries, repair=False)
    state = load.load_checkpoint(where, like=like, convention=convention, **options)
    append = _append(entries.file, _names(like, convention))
    return Resumed(state, saved.file.epoch, saved.file.step, append, str(saved.paths[0]))


def _append(file: Any, known: set[str]) -> dict[str, Any]:
    """The numbers and strings of a file that the state has no place for."""
    return {name: _plain(file[name]) for name in file
            if name not in known and _is_plain(file.entries[name])}  # fmt: skip


def _names(like: Any, convention: ConventionLike | None) -> set[str]:
    """The names that the state has in the file."""
    if convention is None:
        return {leaf.name for leaf in names.named_leaves(like)}
    return {target.name for target in conventions.of(convention).targets(like)}


def _latest(directory: PathLike, prefix: str | None) -> _Saved | None:
    if not (prefix is None or isinstance(prefix, str)):
        raise TypeError(f"prefix must be a str, not {type(prefix).__name__}")
    folder = paths.path_of(directory)
    if paths.is_local(folder) and folder.is_file():
        raise NotADirectoryError(visible(f"{directory} is a file: name the folder of the run"))
    if not folder.is_dir():
        return None
    if isinstance(folder, Path):
        finish(folder)
    listed = filenames.listing(folder)
    parsed = [filenames.parse(name, prefix) for name in listed]
    files = sorted(file for file in parsed if file is not None)
    prefixes = sorted({file.prefix for file in files})
    if len(prefixes) > 1:
        raise CheckpointError(
            f"there are CheckPoints of several runs; pass prefix=: one of {', '.join(prefixes)}",
            file=folder,
        )
    ranks: dict[int, set[str]] = {}  # by run, each of which may have another mesh
    for file in files:
        ranks.setdefault(file.run, set()).update(path.parent.name for path in listed[file.name])
    for file in reversed(files):
        places = listed[file.name]
        saved = _Saved(file, places, places[0].parent != folder)
        problem = _problem(saved, len(ranks[file.run]))
        if problem is None:
            return saved
        warn(f"skipped, because it is not sound: {problem}", stacklevel=3)
    return None


def _problem(saved: _Saved, ranks: int) -> str | None:
    """The fault of a CheckPoint, or None."""
    if saved.in_ranks and len(saved.paths) < ranks:
        return f"{saved.paths[0]}: only {len(saved.paths)} of {ranks} ranks have this file"
    saves: dict[str, str | None] = {}
    try:
        for path in saved.paths:
            if not path.is_file():  # a pipe would never end
                return f"{path}: no regular file, or a link that leads to none"
            if encryption(path) is None:  # else encryption() has seen all blocks complete
                with open_checkpoint(path) as file:
                    saves[path.parent.name] = file.save
                    if file.crc is not None:
                        file.check_crc()
        one_save.check(saves, "files in", saved.paths[0].parent.parent)
    except StoreError:  # no fault of the file
        raise
    except (CheckpointError, OSError) as error:
        return str(error)
    return None


def _is_plain(entry: Any) -> bool:
    return entry.type == "str" or (entry.is_array and not entry.shape)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray | np.generic) else value
