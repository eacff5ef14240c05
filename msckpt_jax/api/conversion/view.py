"""A checkpoint seen under the names and in the layouts of another stack, without being read."""

from __future__ import annotations

import contextlib
import functools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import arguments, boxes, dtypes
from msckpt_jax.checkpoint import copying, paths, stored
from msckpt_jax.checkpoint.entries import Entry
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.conventions.families import config as configs
from msckpt_jax.conventions.families import quantised, stacks
from msckpt_jax.conventions.families import route as routes
from msckpt_jax.conventions.families.family import Family
from msckpt_jax.conventions.families.route import MIDDLE
from msckpt_jax.conventions.families.table import FILES, JAX
from msckpt_jax.errors import CheckpointError

#: The keys of ``config.json`` that tell the dtype of the weights.
_DTYPE_KEYS = ("dtype", "torch_dtype")


class Stacks(NamedTuple):
    """The two stacks of a conversion, and what is to be known of the model.

    Attributes:
        config: as for :class:`Family`; None: the ``config.json`` beside the source.
        source, target: the stacks; None: what the names tell, and Hugging Face's.
        scanned: whether a tree that is made has stacked layers; None: where its stack has such.
        maxtext_model, scan_axis, table: as for :class:`Family`.
        leave_out: tells of a name in the source whether to leave it out.
    """

    config: Any = None
    source: str | None = None
    target: str | None = None
    scanned: bool | None = None
    maxtext_model: str | None = None
    scan_axis: int | None = None
    table: PathLike | None = None
    leave_out: Callable[[str], bool] | None = None

    @property
    def asked(self) -> bool:
        """Tell whether the tensors are to be those of another stack."""
        return any(value is not None for value in self)

    def check(self) -> None:
        """Refuse stacks that no table knows."""
        known = dict.fromkeys((*JAX, *FILES))
        for option, name in (("--from (from_stack=)", self.source), ("--as (as_stack=)",
                             self.target)):  # fmt: skip
            if name is not None:
                arguments.choice(option, name, known)
        arguments.functions(leave_out=self.leave_out)


class View(Mapping[str, Any]):
    """A source in another stack; the interface is that of a CheckpointFile.

    Attributes:
        path, plan: those of the source.
        entries: the tensors by the names, and in the layouts, of the target's stack.
        route: the maps between the stacks.
        left_out: the names of the source that the model does without.
    """

    shardings = None

    def __init__(self, file: Any, how: Stacks):
        how.check()
        self.path, self.plan = str(file.path), None
        self.config = _config(how, self.path)
        without = how.leave_out or (lambda name: False)
        names = [n for n, entry in file.entries.items() if entry.is_array and not without(n)]
        parameters = file if isinstance(file, Listed) else Parameters(file, names)
        released = Family(self.config, jax=MIDDLE, table=how.table)
        self._parameters = parameters if isinstance(file, Listed) else released.opened(parameters)
        told = how.source or getattr(file, "stack", None)
        source = told or stacks.guess(*released.model, self._parameters)
        if source != MIDDLE:
            self._parameters = parameters
        self.route = routes.between(
            self.config, source, how.target or MIDDLE, scanned=how.scanned,
            maxtext_model=how.maxtext_model, scan_axis=how.scan_axis, table=how.table,
        )  # fmt: skip
        chosen = stacks.weights(self._parameters, source, self.route.maps[0].family)
        others = file.entries.keys() - set(names)
        self._names = chosen.names
        self.left_out = [*chosen.left_out, *(name for name in file.entries if name in others)]
        self.custom_metadata: dict[str, Any] = {}

    def _given(self, contents: bool) -> list[Record]:
        """The records of the source, with their contents or without."""
        out = []
        for path, name in self._names.items():
            shape, dtype = stored.shape_and_dtype(name, self._parameters)
            row = dtypes.for_saving(dtype)
            pieces = stored.pieces(name, self._parameters)[1] if contents else ()
            out.append(Record(path, row.name, shape, Tensor(shape, row.stored, tuple(pieces))))
        return out

    @functools.cached_property
    def _records(self) -> dict[str, Record]:
        with self._told():
            records = self.route.records(self._given(contents=True))
        return {record.tag: record for record in records}

    @functools.cached_property
    def entries(self) -> dict[str, Entry]:
        return {name: copying.entry_of(record) for name, record in self._records.items()}

    @functools.cached_property
    def sources(self) -> dict[str, Record]:
        """The records of the source that become something, without contents, by its names."""
        return {self._names[r.tag]: r for r in self._given(contents=False)}

    def links(self) -> tuple[list[Record], list[routes.Link]]:
        """The records of the target without contents, and the links from the source's names."""
        with self._told():
            records, links = self.route.links([*self.sources.values()])
        return records, [routes.Link(self._names[a], b, how) for a, b, how in links]

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Name the source in errors."""
        try:
            yield
        except CheckpointError as error:
            raise error.within(self.path) from None

    @property
    def identity(self) -> list[Any]:
        """All that decides what becomes of the source, by value."""
        return [
            (map.family.model, map.family.sides, map.family.maxtext_model, map.family.scan_axis,
             map.to_files, map.scanned, map.scaled)
            for map in self.route.maps
        ]  # fmt: skip

    def pieces(self, name: str, box: boxes.Box | None = None) -> Sequence[boxes.Piece]:
        """The pieces of a tensor, which are rearranged when they are read."""
        del box
        return copying.pieces_of(self._records[name])

    def wanted(self, name: str, dtype: np.dtype | None) -> np.dtype | None:
        """The dtype for a tensor where all are cast to ``dtype``: some stay float32."""
        if dtype is not None and self.route.maps[-1].family.keeps_float32(name):
            return np.dtype(np.float32)
        return dtype

    def companions(self, dtype: np.dtype | None) -> dict[str, bytes]:
        """The files that go beside the weights in a folder, such as the config."""
        if self.route.target != MIDDLE:
            return {}
        table = self.route.maps[-1].family.table
        out = Family(_folder_of(self.config), jax=MIDDLE, table=table).companions()
        if dtype is not None:
            out[configs.CONFIG] = _with_dtype(out[configs.CONFIG], dtype)
        return out

    def __getitem__(self, name: str) -> Any:
        out = np.empty(self.entries[name].shape, self.entries[name].row.stored)
        boxes.gather(self.pieces(name), boxes.whole(out.shape), out)
        return out

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _config(how: Stacks, path: str) -> Any:
    """The config, by default that beside the source."""
    if how.config is not None:
        return how.config
    source = paths.path_of(path)
    folder = source if source.is_dir() else source.parent
    if (folder / configs.CONFIG).is_file():
        return folder
    raise FileNotFoundError(
        2, f"there is no {configs.CONFIG} beside the source: pass --config (config=)", str(folder)
    )


def _folder_of(config: Any) -> Any:
    """The folder of a ``config.json``, whose other files go with it."""
    path = paths.path_of(config) if isinstance(config, str | os.PathLike) else None
    return config if path is None or path.name != configs.CONFIG else path.parent


def _with_dtype(text: bytes, dtype: np.dtype) -> bytes:
    """A ``config.json`` that tells the dtype that the weights are given."""
    config = json.loads(text)
    for part in (config, config.get("text_config")):
        for key in _DTYPE_KEYS:
            if isinstance(part, dict) and key in part:
                part[key] = dtype.name
    return json.dumps(config, indent=2).encode() + b"\n"


class Listed(Mapping[str, Any]):
    """A model of which only the index and the config are there; shapes and dtypes are the config's.

    Attributes:
        path: the folder. entries: as a CheckpointFile has them; the values are without contents.
        files: the file of each tensor. stack: the stack of the names.
    """

    plan = shardings = None
    format = "index"

    def __init__(self, path: str, places: Mapping[str, str], how: Stacks):
        names = quantised.plain_names(places)
        self.path, self.files = path, {name: places[key] for name, key in names.items()}
        self.custom_metadata: dict[str, Any] = {}
        config = _config(how, path)
        family = Family(config, jax=MIDDLE, table=how.table)
        self.stack = source = how.source or stacks.guess(*family.model, names)
        records = _of_config(family)
        if source != MIDDLE:
            options = {"maxtext_model": how.maxtext_model, "table": how.table}
            records, _ = routes.between(config, MIDDLE, source, **options).links(records)
        known = {record.tag: record for record in records}
        self.records = {name: known.get(name, _unknown(name)) for name in names}
        self.entries = {name: copying.entry_of(r) for name, r in self.records.items()}

    def __getitem__(self, name: str) -> Any:
        return self.records[name].content

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


def _of_config(family: Family) -> list[Record]:
    """The tensors of a model by its config, without contents."""
    out = []
    for name, shape in family.shapes().items():
        dtype = np.dtype(np.float32) if family.keeps_float32(name) else family.dtype
        row = dtypes.for_saving(dtype)
        out.append(Record(name, row.name, shape, Tensor(shape, row.stored, ())))
    return out


def _unknown(name: str) -> Record:
    row = dtypes.for_saving(np.dtype(np.uint8))
    return Record(name, row.name, (0,), Tensor((0,), row.stored, ()))
