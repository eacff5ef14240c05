"""MindSpore files as an item of Orbax checkpoints: retention, steps and asynchrony are Orbax's.

::

    with ocp.CheckpointManager(folder, options=options) as manager:
        manager.save(step, args=MindSporeSave(state))
        state = manager.restore(step, args=MindSporeRestore(like=state))

and, in Orbax's v1 API::

    ocp.save_checkpointables(path, {"params": MindSporeSave(state)})
    state = ocp.load_checkpointables(path, {"params": MindSporeRestore(like=state)})["params"]

Each step holds one merged ``params.ckpt`` (or ``.safetensors``) that MindSpore loads as it is.
Importing this module registers the handlers with both APIs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Mapping
from typing import Any

import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import future
from orbax.checkpoint.experimental.v1 import handlers

from msckpt_jax.api import jobs, load
from msckpt_jax.checkpoint import formats, leaves, paths, records, snapshot, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.errors import CheckpointError

_STEM = "params"


class MindSporeHandler(ocp.AsyncCheckpointHandler):
    """Orbax's checkpoint handler for MindSpore CheckPoints."""

    def save(self, directory: epath.Path, args: MindSporeSave) -> None:
        """Write the item into Orbax's folder of the step."""
        entries, job = _prepared(args)
        jobs.run([File(_target(directory, args), entries)], job)

    async def async_save(
        self, directory: epath.Path, args: MindSporeSave
    ) -> list[future.Future] | None:
        """Take a snapshot now; Orbax awaits the rest, and the making of the folder, elsewhere."""
        entries, job = _prepared(args)
        kept = snapshot.frozen([File(_target(directory, args), entries)])

        async def write() -> None:
            jobs.run(kept, job)

        return [future.CommitFutureAwaitingContractedSignals(write(), name="msckpt_save")]

    def restore(self, directory: epath.Path, args: MindSporeRestore | None = None) -> Any:
        """Return a tree like ``args.like``, or lazy parameters, as :func:`load_checkpoint` does."""
        return load.load_checkpoint(_file_in(directory), like=None if args is None else args.like)

    def metadata(self, directory: epath.Path) -> dict[str, Any]:
        """The names with their dtypes and shapes."""
        parameters = load.load_checkpoint(_file_in(directory))
        return {name: (e.type, e.shape) for name, e in parameters.file.entries.items()}

    def finalize(self, directory: epath.Path) -> None:
        """Do nothing: the file appears only when it is whole."""

    def close(self) -> None:
        """Do nothing: the handler holds nothing."""


@ocp.args.register_with_handler(MindSporeHandler, for_save=True)
@dataclasses.dataclass
class MindSporeSave(ocp.args.CheckpointArgs):
    """A tree to save, with arguments of :func:`msckpt_jax.save_checkpoint`."""

    item: Any
    append_dict: Mapping[str, Any] | None = None
    crc_check: bool = False
    format: str = formats.DEFAULT


@ocp.args.register_with_handler(MindSporeHandler, for_restore=True)
@dataclasses.dataclass
class MindSporeRestore(ocp.args.CheckpointArgs):
    """A tree to restore, like a pytree of arrays or ``jax.ShapeDtypeStruct``.

    ``like`` None gives lazy parameters.
    """

    like: Any = None


class MindSporeCheckpointable(handlers.CheckpointableHandler[Any, Any]):
    """The handler of Orbax's v1 API."""

    def is_handleable(self, checkpointable: Any) -> bool:
        """Tell whether the object is a :class:`MindSporeSave`."""
        return isinstance(checkpointable, MindSporeSave)

    def is_abstract_handleable(self, abstract_checkpointable: Any) -> bool:
        """Tell whether the object is a :class:`MindSporeRestore`."""
        return isinstance(abstract_checkpointable, MindSporeRestore)

    async def save(self, directory: Any, checkpointable: MindSporeSave) -> Awaitable[None]:
        """Take a snapshot now; write it once the folder has been made."""
        entries, job = _prepared(checkpointable)
        (kept,) = snapshot.frozen([File(None, entries)])

        async def write() -> None:
            target = _target(await directory.await_creation(), checkpointable)
            jobs.run([kept._replace(target=target)], job)

        return write()

    async def load(
        self, directory: Any, abstract_checkpointable: MindSporeRestore | None = None
    ) -> Awaitable[Any]:
        """Return the result of :meth:`MindSporeHandler.restore`."""

        async def read() -> Any:
            return MindSporeHandler().restore(directory, abstract_checkpointable)

        return read()

    async def metadata(self, directory: Any) -> Any:
        """Return the result of :meth:`MindSporeHandler.metadata`."""
        return MindSporeHandler().metadata(directory)


handlers.register_handler(MindSporeCheckpointable)


def _prepared(args: MindSporeSave) -> tuple[list[Record], jobs.Job]:
    """The records and job of an item; what cannot be saved is refused now, not in a thread."""
    format = formats.to_write(args.format)
    entries = leaves.from_tree(args.item) + leaves.of_append(args.append_dict or {})
    records.check_tags(entries)
    job = jobs.Job(format.name, How(check_sum=args.crc_check), writer.Options())
    jobs.check_spanning(entries, job)
    format.check(entries)
    return entries, job


def _target(directory: epath.Path, args: MindSporeSave) -> Any:
    return paths.path_of(directory / f"{_STEM}.{args.format}")


def _file_in(directory: epath.Path) -> epath.Path:
    files = sorted(directory.glob(f"{_STEM}.*"))
    if not files:
        raise CheckpointError("the step holds no MindSpore file", file=directory)
    return files[0]
