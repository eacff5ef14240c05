"""Local steps: the state of a run on the machines' own disks or in their memory.

Each process writes one file a step. Parts of the state that only one machine holds are kept by the
next machine, too: they travel by collective operations while the step is saved. A step is whole
once all processes have their files; only then the one before is deleted.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax import boxes
from msckpt_jax.checkpoint import atomic, formats, leaves, leftovers, paths, records, writer
from msckpt_jax.checkpoint import owner as owners
from msckpt_jax.checkpoint.owner import Owner
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.plan import Plan
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import gathering, hosts, keepers, kept, parcels
from msckpt_jax.parallel.keepers import Shard
from msckpt_jax.parallel.kept import Manifest, Part
from msckpt_jax.parallel.meeting import Meetings
from msckpt_jax.parallel.parcels import Parcel
from msckpt_jax.training.config import CheckpointConfig
from msckpt_jax.training.position import Position
from msckpt_jax.training.schedule import Schedule
from msckpt_jax.visible import log, visible

_TAIL = r"-(?P<epoch>\d+)_(?P<step>\d+)\.(?P<save>[0-9a-f]{12})\.(?P<owner>[0-9a-f-]+)(\.more)?"
_NAME = re.compile(
    rf"(?P<prefix>.+?)(?:_(?P<run>\d+))?{_TAIL}\.{re.escape(formats.DEFAULT)}", re.DOTALL
)


class LocalFile(NamedTuple):
    """A file of a local step; ``save`` is the same for the files of a step on all machines.

    The ``path`` and its ``owner`` are None on other machines.
    """

    run: int
    epoch: int
    step: int
    save: str
    prefix: str
    owner: Owner | None
    path: Path | None

    @property
    def name(self) -> str:
        """The part of the file's name that says which step of which run it is."""
        run = f"_{self.run}" if self.run else ""
        return f"{self.prefix}{run}-{self.epoch}_{self.step}"


def listed(folder: Path, prefix: str | None) -> list[LocalFile]:
    """The files of local steps in a folder, which need not exist. Others' files do not count."""
    out = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        owner = owners.parse(match["owner"]) if match else None
        if match is None or owner is None or not atomic.is_left(path):
            continue
        if match["prefix"] == (prefix or match["prefix"]):
            run, epoch, step = (int(match[part] or 0) for part in ("run", "epoch", "step"))
            out.append(LocalFile(run, epoch, step, match["save"], match["prefix"], owner, path))
    return out


def path_of(folder: Path, step: str, save: str, fetched: bool = False) -> Path:
    """The path of this process's file, or of what it has ``fetched`` from others.

    ``step`` is the part of the name before the save.
    """
    more = ".more" if fetched else ""
    return folder / f"{step}.{save}.{owners.this()}{more}.{formats.DEFAULT}"


def folder_of(local: PathLike) -> Path:
    """The folder of local steps as a path.

    Raises:
        TypeError, ValueError: it is no path on a local file system.
    """
    path = None if paths.is_remote(local) else paths.path_of(local, "local")
    if not isinstance(path, Path):
        problem = f"local= is a folder on the machine's own disk or in memory, not {local}"
        raise ValueError(visible(problem))
    return path


def local_of(
    folder: PathLike | None, steps: int | None, base: str, directory: Any, config: CheckpointConfig
) -> Local | None:
    """The local steps of a run with files in ``directory``; None if none are wanted.

    Raises:
        TypeError, ValueError: an argument of the wrong type or value.
    """
    if folder is None and steps is None:
        return None
    if folder is None or steps is None:
        raise ValueError("local= and local_steps= belong together: give both")
    made = Local(folder, steps, base, config)
    if isinstance(directory, Path) and made.folder.samefile(directory):
        problem = f"local= is the folder of the run's files, {directory}: give another one"
        raise ValueError(visible(problem))
    return made


class Local:
    """The local steps of a run."""

    def __init__(self, folder: PathLike, steps: int, base: str, config: CheckpointConfig):
        if not isinstance(steps, int) or isinstance(steps, bool) or steps < 1:
            raise ValueError(f"local_steps must be a number of steps, 1 or more, not {steps!r}")
        if config.enc_key is not None:
            raise ValueError("local steps are not encrypted: leave out local= or enc_key=")
        self.folder = folder_of(folder)
        self._schedule = Schedule(steps, None, lambda: 0.0)
        self.due, self.saved = self._schedule.due, self._schedule.saved
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        leftovers.sweep(self.folder, config.stale_seconds)
        more = config.save_options
        self._base = base
        self._chosen = more.get("choice_func") or (lambda name: True)
        self._options = writer.Options(
            durable=more.get("durable", True),
            threads=more.get("threads", writer.THREADS),
            timeout=more.get("timeout", 600.0),
        )
        self._run = ""
        self._saves = 0
        self._machines: list[str] = []
        self._known: tuple[list[Any], list[Shard]] = [], []

    def save(
        self, tree: Any, append: Mapping[str, Any] | None, prefix: str, position: Position
    ) -> None:
        """Save a step, and delete the one before once this one is whole on all machines.

        Raises:
            CheckpointError, OSError, TypeError: as :func:`save_checkpoint`; the step before stays.
        """
        found = leaves.from_tree(tree, self._chosen) + leaves.of_append(append or {})
        records.check_tags(found)
        together = hosts.needed(found)
        step = f"{prefix}-{int(position.epoch)}_{int(position.step)}"
        meetings = Meetings(f"the local step {step}", self._options.timeout) if together else None
        self._begin(meetings)
        save = f"{self._run}{self._saves % 0x10000:04x}"
        self._saves += 1
        shards = self._shards_of(found)
        file = path_of(self.folder, step, save)
        if meetings is None:
            plan, _ = _planned(found, shards, save, 0)
            writer.write(file, plan, self._options)
        else:
            self._write(file, found, shards, save, meetings)
        file.chmod(stat.S_IRUSR | stat.S_IWUSR)
        if meetings is not None:
            meetings.meet(lambda: None)  # all have given their files their names
        self._delete(save)

    def clear(self) -> None:
        """Delete the local steps: the run has ended well, and its last step is saved."""
        try:
            if len(self._machines) > 1:  # not before all others have saved theirs
                Meetings(f"the end of {self._base}", self._options.timeout).meet(lambda: None)
        except CheckpointError as error:
            log.warning("the local steps in %s stay: %s", self.folder, error)
            return
        self._delete("")

    def _write(
        self, path: Path, found: list[Record], shards: list[Shard], save: str, meetings: Meetings
    ) -> None:
        plan, sent = _planned(found, shards, save, meetings.me)
        same = [(r.tag, r.type, r.dims) for r in found], [*map(tuple, shards)]
        digest = hashlib.sha256(repr(same).encode()).hexdigest()
        files: list[atomic.Temporary] = []
        with contextlib.ExitStack() as stack:

            def begin() -> None:
                replacing = atomic.replacing(path, durable=self._options.durable)
                files.append(stack.enter_context(replacing))
                writer.reserve(files[0].fd, plan.nbytes)

            meetings.meet(begin, digest)
            parcels.write(files[0], plan, sent, meetings, self._options)

    def _shards_of(self, found: list[Record]) -> list[Shard]:
        """The parts of the state, which are those of the last step as a rule."""
        layout = [(r.tag, r.type, r.dims, r.nbytes, r.sharding) for r in found]
        if layout != self._known[0]:
            self._known = layout, keepers.shards(found, self._machines)
        return self._known[1]

    def _begin(self, meetings: Meetings | None) -> None:
        """Agree on a name for the saves of this run, and know the machines, before the first."""
        if self._machines:
            return
        token = secrets.token_hex(4)
        if meetings is None:
            self._run, machines = token, [owners.machine()]
        else:
            self._run = meetings.meet(lambda: token).first
            machines = gathering.gathered(owners.machine())
        self._machines = machines
        if len(set(machines)) == 1:
            log.warning("local steps are kept once: there is no other machine to keep a copy")

    def _delete(self, spared: str) -> None:
        """Delete the files of all saves but one: this process's, and those of ended processes."""
        for file in listed(self.folder, self._base):
            assert file.owner is not None
            assert file.path is not None
            live = file.owner.is_here and file.owner.is_gone is False  # of another run, maybe
            if file.save != spared and (file.owner == owners.this() or not live):
                file.path.unlink(missing_ok=True)  # by another process of this machine


def _planned(
    found: Sequence[Record], shards: Sequence[Shard], save: str, me: int
) -> tuple[Plan, list[Parcel]]:
    """The plan of this process's file, and what it sends and receives."""
    as_tensors = [keepers.tensor_of(record) for record in found]
    parts: dict[int, Part] = {}
    contents: dict[int, Tensor] = {}
    ways: dict[tuple[int, int], list[Tensor]] = {}
    for number, shard in enumerate(shards):
        if me not in shard.keepers:
            continue
        whole = as_tensors[shard.record].content
        assert isinstance(whole, Tensor)
        comes = shard.sent and me == shard.keepers[1]
        pieces = () if comes else tuple(boxes.restrict(whole.pieces, shard.box))
        tensor = Tensor(boxes.shape_of(shard.box), whole.stored, pieces)
        parts[number], contents[number] = Part(shard.record, shard.box), tensor
        if shard.sent:
            ways.setdefault((shard.keepers[0], shard.keepers[1]), []).append(tensor)
    told = [(record.tag, record.type, record.dims) for record in found]
    manifest = Manifest(save, len(shards), told, parts)
    plan = kept.planned(manifest, contents, [record.type for record in as_tensors])
    return plan, [Parcel(*way, tensors) for way, tensors in ways.items()]
