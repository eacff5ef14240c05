"""MindSpore files as an item of Orbax checkpoints: retention, steps and asynchrony are Orbax's.

::

    with ocp.CheckpointManager(folder, options=options) as manager:
        manager.save(step, args=MindSporeSave(state))
        state = manager.restore(step, args=MindSporeRestore(like=state))

Each step holds one merged ``params.ckpt`` (or ``.safetensors``) that MindSpore loads as it is.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import future

from msckpt_jax.checkpoint import load, records, save, snapshot, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.records import File
from msckpt_jax.errors import CheckpointError

_STEM = "params"


class MindSporeHandler(ocp.AsyncCheckpointHandler):
    """Orbax's checkpoint handler for MindSpore CheckPoints."""

    def save(self, directory: epath.Path, args: MindSporeSave) -> None:
        """Write the item into Orbax's folder of the step."""
        save.save_checkpoint(
            args.item,
            directory / f"{_STEM}.{args.format}",
            append_dict=args.append_dict,
            crc_check=args.crc_check,
            format=args.format,
        )

    async def async_save(
        self, directory: epath.Path, args: MindSporeSave
    ) -> list[future.Future] | None:
        """Take a snapshot now; Orbax awaits the rest, and the making of the folder, elsewhere."""
        found = records.from_tree(args.item) + records.of_append(args.append_dict or {})
        records.check_tags(found)
        options = writer.Options(crc=args.crc_check)
        job = save.Job(args.format, None, planning.SLICE_BYTES, options)
        save.make_plan(found, job._replace(options=writer.Options()))  # refuse now
        target = writer.path_of(directory / f"{_STEM}.{args.format}")
        kept = snapshot.frozen([File(target, found)])

        async def write() -> None:
            save.run(kept, job)

        return [future.CommitFutureAwaitingContractedSignals(write(), name="msckpt_save")]

    def restore(self, directory: epath.Path, args: MindSporeRestore | None = None) -> Any:
        """What :func:`load_checkpoint` gives for ``args.like``; without it lazy parameters."""
        like = None if args is None else args.like
        files = sorted(directory.glob(f"{_STEM}.*"))
        if not files:
            raise CheckpointError("the step holds no MindSpore file", file=directory)
        return load.load_checkpoint(files[0], like=like)

    def metadata(self, directory: epath.Path) -> dict[str, Any]:
        """Names with their dtypes and shapes."""
        found = self.restore(directory)
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
    format: str = "ckpt"


@ocp.args.register_with_handler(MindSporeHandler, for_restore=True)
@dataclasses.dataclass
class MindSporeRestore(ocp.args.CheckpointArgs):
    """``like``: a pytree of arrays or ``jax.ShapeDtypeStruct``; None gives lazy parameters."""

    like: Any = None
