"""The newest local step that is whole over all processes, and the state in it.

Each process tells what it has. Parts that it needs and does not have come from another process, by
collective operations, into a file beside its own.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.api import into
from msckpt_jax.checkpoint import atomic, writer
from msckpt_jax.checkpoint.file import CheckpointFile, open_checkpoint
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import gathering, kept, parcels
from msckpt_jax.parallel.kept import Manifest
from msckpt_jax.parallel.meeting import Meetings
from msckpt_jax.parallel.parcels import Parcel
from msckpt_jax.training import local
from msckpt_jax.training.filenames import RunFile
from msckpt_jax.training.local import LocalFile
from msckpt_jax.visible import warn


class Restored(NamedTuple):
    """The state of a local step, the parameters of which it was made, and where that was."""

    state: Any
    parameters: Parameters
    epoch: int
    step: int
    path: str


class _Step(NamedTuple):
    """A whole step: its files on this process, and the manifests of those on each process."""

    file: LocalFile
    mine: list[Path]
    manifests: list[list[Manifest]]

    @property
    def first(self) -> Manifest:
        return next(manifest for each in self.manifests for manifest in each)

    @property
    def holders(self) -> dict[int, list[int]]:
        """The processes that have each part."""
        out: dict[int, list[int]] = {}
        for process, manifests in enumerate(self.manifests):
            for number in {number for each in manifests for number in each.parts}:
                out.setdefault(number, []).append(process)
        return out

    @property
    def parts(self) -> dict[int, kept.Part]:
        return {
            number: part
            for manifests in self.manifests
            for manifest in manifests
            for number, part in manifest.parts.items()
        }

    @property
    def is_whole(self) -> bool:
        every = [manifest for each in self.manifests for manifest in each]
        return bool(every) and len(self.holders) == every[0].total


def newest(
    folder: Path, like: Any, prefix: str | None, after: RunFile | None, strict: bool
) -> Restored | None:
    """The state of the newest local step that is whole, if it is newer than the file ``after``.

    All processes call it together; what counts as ``after`` is what process 0 has.

    Raises:
        CheckpointError: there are several prefixes, and none was chosen; the step does not fit
            ``like``.
    """
    step = _whole(folder, prefix, after)
    if step is None:
        return None
    paths = [*step.mine, *_fetched(folder, like, step)]
    if not paths:
        raise CheckpointError(f"`like` has nothing of the local step {step.file.name}")
    file = kept.Kept(paths)
    parameters = Parameters(file, list(file))  # type: ignore[arg-type]
    state = into.like(like, parameters, strict)
    return Restored(state, parameters, step.file.epoch, step.file.step, str(paths[0]))


# The step


def _whole(folder: Path, prefix: str | None, after: RunFile | None) -> _Step | None:
    mine = local.listed(folder, prefix)
    told = gathering.gathered([after, [file._replace(owner=None, path=None) for file in mine]])
    first, _ = told[0]
    last, prefix = ([], prefix) if first is None else ([*first[:4]], RunFile(*first).prefix)
    files = {LocalFile(*file) for _, every in told for file in every}
    files = {file for file in files if prefix in (None, file.prefix)}
    prefixes = sorted({file.prefix for file in files})
    if len(prefixes) > 1:
        raise CheckpointError(
            f"there are local steps of several runs; pass prefix=: one of {', '.join(prefixes)}",
            file=folder,
        )
    for file in sorted(files, reverse=True):
        if last >= [file.run, file.epoch, file.step, False]:
            break
        own = _sound([each.path for each in mine if each.path and each.save == file.save])
        texts = gathering.gathered([manifest.encode().decode() for manifest in own.values()])
        manifests = [[Manifest.decode(text.encode()) for text in each] for each in texts]
        step = _Step(file, list(own), manifests)
        if step.is_whole:
            return step
        warn(f"skipped, because parts of it are lost: the local step {file.name}", stacklevel=4)
    return None


def _sound(paths: Sequence[Path]) -> dict[Path, Manifest]:
    """The manifests of those files that are whole; their check sums are compared."""
    out = {}
    for path in paths:
        try:
            with open_checkpoint(path, crc_check=True) as file:
                out[path] = kept.manifest_of(file)
        except (CheckpointError, OSError) as error:
            warn(f"skipped, because it is not sound: {error}", stacklevel=5)
    return out


# Parts of other processes


def _fetched(folder: Path, like: Any, step: _Step) -> list[Path]:
    """The file with what this process needs and does not have; none if nothing is missing."""
    me, manifest, parts = jax.process_index(), step.first, step.parts
    own = {number for each in step.manifests[me] for number in each.parts}
    lacking = sorted(_wanted(like, manifest, parts) - own)
    wanted: list[list[int]] = gathering.gathered(lacking)
    if not any(wanted):
        return []
    path = local.path_of(folder, step.file.name, step.file.save, fetched=True)
    contents = {n: _empty(manifest, parts[n]) for n in lacking}
    types = [_row(kind).name for _, kind, _ in manifest.records]
    plan = kept.planned(manifest._replace(parts={n: parts[n] for n in lacking}), contents, types)
    meetings = Meetings(f"the local step {step.file.name}", writer.Options().timeout)
    files: list[atomic.Temporary] = []
    with contextlib.ExitStack() as stack:

        def begin() -> None:
            if lacking:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                files.append(stack.enter_context(atomic.replacing(path, durable=False)))

        meetings.meet(begin)
        opened = [stack.enter_context(open_checkpoint(each)) for each in step.mine]
        sent = _parcels(wanted, step, opened, contents)
        parcels.write(files[0] if files else None, plan, sent, meetings, writer.Options())
    return [path] if lacking else []


def _wanted(like: Any, manifest: Manifest, parts: dict[int, kept.Part]) -> set[int]:
    """The parts that this process needs for its devices, and for what goes with the state."""
    leaves = {leaf.name: leaf.value for leaf in names.named_leaves(like)}
    needed: list[set[boxes.Box]] = []
    for tag, kind, dims in manifest.records:
        name, impl = names.of_tag(tag, kind, dims)
        whole = {boxes.whole(dims)}
        sharding = getattr(leaves.get(name), "sharding", None)
        if kind == dtypes.STRING:
            needed.append({((0, 2**63),)})
        elif name not in leaves:
            needed.append(set() if dims else whole)
        elif impl or sharding is None or leaves[name].shape != dims:
            needed.append(whole)
        else:
            where = sharding.addressable_devices_indices_map(dims).values()
            needed.append({boxes.from_index(index or (), dims) for index in where})
    return {
        number
        for number, part in parts.items()
        if any(boxes.intersect(part.box, box) is not None for box in needed[part.record])
    }


def _parcels(
    wanted: Sequence[Sequence[int]],
    step: _Step,
    files: Sequence[CheckpointFile],
    contents: dict[int, Tensor],
) -> list[Parcel]:
    """What this process sends and receives, of what all processes want."""
    me, holders, parts = jax.process_index(), step.holders, step.parts
    load: Counter[int] = Counter()
    ways: dict[tuple[int, int], list[Tensor]] = {}
    for receiver, numbers in enumerate(wanted):
        for number in numbers:
            sender = min(holders[number], key=lambda process: (load[process], process))
            load[sender] += boxes.size_of(parts[number].box)
            if sender == me:
                ways.setdefault((me, receiver), []).append(_stored(files, str(number)))
            elif receiver == me:
                ways.setdefault((sender, me), []).append(contents[number])
    return [Parcel(*way, tensors) for way, tensors in ways.items()]


def _stored(files: Sequence[CheckpointFile], name: str) -> Tensor:
    array = next(file for file in files if name in file).raw(name)
    return Tensor(array.shape, array.dtype, ((boxes.whole(array.shape), array),))


def _empty(manifest: Manifest, part: kept.Part) -> Tensor:
    stored = _row(manifest.records[part.record][1]).stored
    return Tensor(boxes.shape_of(part.box), np.dtype(stored), ())


def _row(kind: str) -> dtypes.DType:
    return dtypes.BY_NAME["UInt8" if kind == dtypes.STRING else kind]
