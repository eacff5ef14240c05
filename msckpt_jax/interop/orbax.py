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
from msckpt_jax.checkpoint import formats, records, snapshot, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.errors import CheckpointError

_STEM = "params"


class MindSporeHandler(ocp.AsyncCheckpointHandler):
    """Orbax's checkpoint handler for MindSpore CheckPoints."""

    def save(self, directory: epath.Path, args: MindSporeSave) -> None:
        """Write the item into Orbax's folder of the step."""
        found, job = _prepared(args)
        jobs.run([File(_target(directory, args), found)], job, may_gather=True)

    async def async_save(
        self, directory: epath.Path, args: MindSporeSave
    ) -> list[future.Future] | None:
        """Take a snapshot now; Orbax awaits the rest, and the making of the folder, elsewhere."""
        found, job = _prepared(args)
        kept = snapshot.frozen([File(_target(directory, args), found)])

        async def write() -> None:
            jobs.run(kept, job)

        return [future.CommitFutureAwaitingContractedSignals(write(), name="msckpt_save")]

    def restore(self, directory: epath.Path, args: MindSporeRestore | None = None) -> Any:
        """What :func:`load_checkpoint` gives for ``args.like``; without it lazy parameters."""
        return load.load_checkpoint(_found_in(directory), like=None if args is None else args.like)

    def metadata(self, directory: epath.Path) -> dict[str, Any]:
        """Names with their dtypes and shapes."""
        found = load.load_checkpoint(_found_in(directory))
        return {name: (e.type, e.shape) for name, e in found.file.entries.items()}

    def finalize(self, directory: epath.Path) -> None:
        """Nothing is left to do: the file appears only when it is whole."""

    def close(self) -> None:
        """Nothing is held."""


@ocp.args.register_with_handler(MindSporeHandler, for_save=True)
@dataclasses.dataclass
class MindSporeSave(ocp.args.CheckpointArgs):
    """What to save, as for :func:`msckpt_jax.save_checkpoint`."""

    item: Any
    append_dict: Mapping[str, Any] | None = None
    crc_check: bool = False
    format: str = formats.DEFAULT


@ocp.args.register_with_handler(MindSporeHandler, for_restore=True)
@dataclasses.dataclass
class MindSporeRestore(ocp.args.CheckpointArgs):
    """``like``: a pytree of arrays or ``jax.ShapeDtypeStruct``; None gives lazy parameters."""

    like: Any = None


class MindSporeCheckpointable(handlers.CheckpointableHandler[Any, Any]):
    """The handler of Orbax's v1 API."""

    def is_handleable(self, checkpointable: Any) -> bool:
        """Whether it is a :class:`MindSporeSave`."""
        return isinstance(checkpointable, MindSporeSave)

    def is_abstract_handleable(self, abstract_checkpointable: Any) -> bool:
        """Whether it is a :class:`MindSporeRestore`."""
        return isinstance(abstract_checkpointable, MindSporeRestore)

    async def save(self, directory: Any, checkpointable: MindSporeSave) -> Awaitable[None]:
        """Take a snapshot now, write it once the folder has been made."""
        found, job = _prepared(checkpointable)
        (kept,) = snapshot.frozen([File(None, found)])

        async def write() -> None:
            target = _target(await directory.await_creation(), checkpointable)
            jobs.run([kept._replace(target=target)], job)

        return write()

    async def load(
        self, directory: Any, abstract_checkpointable: MindSporeRestore | None = None
    ) -> Awaitable[Any]:
        """What :meth:`MindSporeHandler.restore` gives."""

        async def read() -> Any:
            return MindSporeHandler().restore(directory, abstract_checkpointable)

        return read()

    async def metadata(self, directory: Any) -> Any:
        """What :meth:`MindSporeHandler.metadata` gives."""
        return MindSporeHandler().metadata(directory)


handlers.register_handler(MindSporeCheckpointable)


def _prepared(args: MindSporeSave) -> tuple[list[Record], jobs.Job]:
    """The records of an item; what cannot be saved is refused now, not in a thread."""
    format = formats.to_write(args.format)
    found = records.from_tree(args.item) + records.of_append(args.append_dict or {})
    records.check_tags(found)
    job = jobs.Job(format.name, How(check_sum=args.crc_check), writer.Options())
    jobs.check_spanning(found, job)
    format.check(found)
    return found, job


def _target(directory: epath.Path, args: MindSporeSave) -> Any:
    return writer.path_of(directory / f"{_STEM}.{args.format}")


def _found_in(directory: epath.Path) -> epath.Path:
    files = sorted(directory.glob(f"{_STEM}.*"))
    if not files:
        raise CheckpointError("the step holds no MindSpore file", file=directory)
    return files[0]
