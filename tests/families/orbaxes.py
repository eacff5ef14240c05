"""Language models in Orbax checkpoints, and their way into Hugging Face's folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

import msckpt_jax as ms
from msckpt_jax import names
from msckpt_jax.api import jobs
from msckpt_jax.checkpoint import copying, leaves, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.conventions import saving


def tree(how: ms.Family, scanned: bool, mesh: jax.sharding.Mesh, axes: Sequence[int]) -> Any:
    """A MaxText tree of different numbers, each leaf on the mesh; ``axes``: those cut first."""
    random = np.random.default_rng(0)

    def made(value: Any) -> jax.Array:
        spec: list[str | None] = [None] * len(value.shape)
        waiting = list(mesh.axis_names)
        for axis in (axis for axis in axes if axis < len(spec)):
            if waiting and value.shape[axis] % mesh.shape[waiting[0]] == 0:
                spec[axis] = waiting.pop(0)
        array = random.standard_normal(value.shape).astype(value.dtype)
        return jax.device_put(array, jax.NamedSharding(mesh, jax.P(*spec)))

    return jax.tree.map(made, how.abstract(scanned))


def save(path: Path, tree: Any, chunk_bytes: int | None = None, **kwargs: Any) -> None:
    """Save as Orbax does; ``chunk_bytes`` cuts the shards further."""
    args = jax.tree.map(lambda _: ocp.SaveArgs(chunk_byte_size=chunk_bytes), tree)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**kwargs)) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(tree, save_args=args))


def records(path: Path, how: ms.Family) -> list[Record]:
    """Hugging Face's tensors, which are read from the checkpoint when they are written."""
    file = ms.open_checkpoint(path)
    given = {name: leaves.Given(copying.record_of(file, name)) for name in file.entries}
    return saving.from_tree(names.nested(given), how, lambda name: True)


def convert(
    path: Path, target: Path, how: ms.Family, limit: int, resume: str | None = None, **options: Any
) -> None:
    made = records(path, how)
    job = jobs.Job("safetensors", How(), writer.Options(**options), resume=resume)
    jobs.run(*jobs.dealt(target, made, job, limit, how.companions()))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def convert_to_file(
    path: Path, target: Path, how: ms.Family, resume: str | None = None, **options: Any
) -> None:
    job = jobs.Job("safetensors", How(), writer.Options(**options), resume=resume)
    jobs.run([File(target, records(path, how))], job)
