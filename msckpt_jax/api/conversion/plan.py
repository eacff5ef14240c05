"""The plan of a conversion: what becomes what, in which file, from the headers alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from msckpt_jax import display, dtypes
from msckpt_jax.api.conversion import target as targets
from msckpt_jax.api.conversion.target import Kind, Options
from msckpt_jax.api.conversion.view import Listed, View
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.formats import shards
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.records import Record, Tensor
from msckpt_jax.conventions.families.route import Link
from msckpt_jax.parallel import placement
from msckpt_jax.visible import lines

#: What is said of a tensor that is taken as it is.
_AS_IT_IS = "as it is"
_COLUMNS = ("source", "dtype", "shape", "becomes", "dtype", "shape", "file", "how")


class Planned(NamedTuple):
    """A tensor of the source or the target.

    ``file`` is the file of the target that holds it; in rank files each rank has its part.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    file: str = ""


class ConversionPlan(NamedTuple):
    """The result of :func:`plan_conversion`; its text and its HTML are tables.

    Attributes:
        source: the tensors of the source that are taken, by their names.
        target: the tensors that are made, by their names.
        links: for each tensor of the target those of the source that it is made of, and how.
        left_out: the names in the source that the target does without.
        files: the number of files.
        by_config: whether the dtypes are the config's, because no file is there.
    """

    source: dict[str, Planned]
    target: dict[str, Planned]
    links: list[Link]
    left_out: list[str]
    files: int
    by_config: bool = False

    @property
    def summary(self) -> str:
        """The numbers in one line."""
        told = [
            f"{display.counted(len(side), 'tensor')}, {display.size(_bytes(side.values()))}"
            for side in (self.source, self.target)
        ]
        left = f"; {len(self.left_out)} left out" if self.left_out else ""
        config = "; dtypes by config" if self.by_config else ""
        return f"{' -> '.join(told)}, in {display.counted(self.files, 'file')}{left}{config}"

    @property
    def rows(self) -> Iterator[tuple[str, ...]]:
        """The lines of the table, one for each link."""
        for name, made, how in self.links:
            before, after = self.source[name], self.target[made]
            yield (name, before.dtype, str(list(before.shape)),
                   made, after.dtype, str(list(after.shape)), after.file, how)  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The plan in lists and dicts of texts and numbers."""
        of_targets: dict[str, list[Link]] = {}
        for link in self.links:
            of_targets.setdefault(link.target, []).append(link)
        return {
            "tensors": [
                _json(made) | {"of": [_json(self.source[link.source]) | {"how": link.how}
                                      for link in of_targets[made.name]]}
                for made in self.target.values()
            ],
            "left_out": self.left_out,
            "source_bytes": _bytes(self.source.values()),
            "target_bytes": _bytes(self.target.values()),
            "files": self.files,
            "dtypes_by_config": self.by_config,
        }  # fmt: skip

    def lines(self, everything: bool = False) -> list[str]:
        """The table; of a long one the first and the last lines, unless ``everything`` is asked."""
        return [*display.columns(_COLUMNS, self.rows, everything), self.summary]

    def __repr__(self) -> str:
        return lines(self.lines())

    def _repr_html_(self) -> str:
        table = display.table(_COLUMNS, self.rows)
        left = display.fold("left out", display.lines(self.left_out))
        return display.page(f"ConversionPlan: {self.summary}", table, *[left] * bool(self.left_out))


def of(target: PathLike, source: Any, file: Any, how: Kind, options: Options) -> ConversionPlan:
    """The plan for an opened ``file`` that is seen as ``source``."""
    records, links = source.links() if isinstance(source, View) else _copied(file)
    nesting = targets.nesting(source, how)
    names = {r.tag: options.rename(nesting.before + r.tag + nesting.after)
             for r in records if options.chosen(r.tag)}  # fmt: skip
    made = [_cast(r, targets.dtype(source, r.tag, options.cast))._replace(tag=names[r.tag])
            for r in records if r.tag in names]  # fmt: skip
    places, files = _files(target, made, source, how, options)
    links = [link._replace(target=names[link.target])
             for link in dict.fromkeys(links) if link.target in names]  # fmt: skip
    used = {link.source for link in links}
    given = source.sources if isinstance(source, View) else {r.tag: r for r in records}
    return ConversionPlan(
        {name: _planned(name, record) for name, record in given.items() if name in used},
        {r.tag: _planned(r.tag, r, places.get(r.tag, "")) for r in made},
        links,
        [*source.left_out] if isinstance(source, View) else [],
        files,
        isinstance(file, Listed),
    )


def _copied(file: Any) -> tuple[list[Record], list[Link]]:
    """The records and links where all tensors keep their names."""
    entries = [entry for entry in file.entries.values() if entry.type != dtypes.STRING]
    records = [
        Record(e.name, e.type, e.shape, Tensor(e.tensors[0].shape, e.row.stored, ()))
        for e in entries
    ]
    return records, [Link(e.name, e.name, _AS_IT_IS) for e in entries]


def _cast(record: Record, dtype: Any) -> Record:
    content = record.content
    assert isinstance(content, Tensor)
    if dtype is None or record.type not in targets.FLOATS:
        return record
    row = dtypes.for_saving(dtype)
    return record._replace(type=row.name, content=content._replace(stored=row.stored))


def _files(
    target: PathLike, made: list[Record], source: Any, how: Kind, options: Options
) -> tuple[dict[str, str], int]:
    """The file of each tensor, and the number of files."""
    if how is targets.FOLDER:
        dealt = shards.dealt(made, targets.limit(options)).files
        return {r.tag: name for name, group in dealt.items() for r in group}, len(dealt)
    if how is targets.RANKS:
        tensors = targets.Written(targets.Work(made, {}, []), source)
        layouts = targets.layouts_of(options.to, source, tensors)
        plan = placement.plan_of(options.to if layouts is None else layouts)
        return {}, plan.ranks if plan else 1
    name = paths.path_of(target).name
    return dict.fromkeys((r.tag for r in made), name), 1


def _planned(name: str, record: Record, file: str = "") -> Planned:
    return Planned(name, record.type, record.dims, record.nbytes, file)


def _json(tensor: Planned) -> dict[str, Any]:
    file = {"file": tensor.file} if tensor.file else {}
    return {"name": tensor.name, "dtype": tensor.dtype, "shape": list(tensor.shape)} | file


def _bytes(tensors: Iterable[Planned]) -> int:
    return sum(tensor.nbytes for tensor in tensors)
