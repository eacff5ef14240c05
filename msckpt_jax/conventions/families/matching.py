"""The leaves of a tree and the parameters of files, matched tensor by tensor through a table."""

from __future__ import annotations

import difflib
import itertools
import math
import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from msckpt_jax import display
from msckpt_jax.conventions import notation, transform
from msckpt_jax.conventions.families.table import Paths, Place, Section, Table, Tensor
from msckpt_jax.conventions.geometry import Slot
from msckpt_jax.conventions.low_rank import LowRank
from msckpt_jax.conventions.mapping import Target, View
from msckpt_jax.conventions.notation import Builder, evaluate_shape
from msckpt_jax.conventions.transform import Transform
from msckpt_jax.errors import CheckpointError

#: The lengths of the parts of each concatenation, by the path and the number of the step.
Lengths: TypeAlias = dict[tuple[str, int], dict[int, int]]
#: The most leaves that an error names.
_MOST = 10
_NUMBER = re.compile(r"\d+")


class Leaf(NamedTuple):
    name: str
    shape: tuple[int, ...]


class Model(NamedTuple):
    """A model: its family's table, its sizes, and its tensors."""

    table: Table
    sizes: Mapping[str, Any]
    tensors: Sequence[Tensor]


class _Use(NamedTuple):
    """A tensor in a leaf: the row's path and steps, and the leaf's normal path with the index."""

    tensor: Tensor
    path: str
    steps: str
    place: Place


def normal(path: str) -> str:
    """A path in which ``layers.0`` and ``layers_0`` are one."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"_\1", path)


def listed(path: str) -> str:
    """A path with ``layers.0`` where another spelling has ``layers_0``."""
    return re.sub(r"_(\d+)(?=\.|$)", r".\1", path)


def targets(
    model: Model, ours: Section, theirs: Section, leaves: Mapping[str, Leaf], axis: int | None,
    merges: Mapping[str, LowRank],
) -> list[Target]:  # fmt: skip
    """The parameters of the files, in the order of the model's tensors.

    ``merges``: what is added to leaves, by their normal paths.

    Raises:
        CheckpointError: leaves are unknown, missing or of another shape; the shapes leave open
            which axis counts the layers.
    """
    uses = max((_uses(model, ours, scanned) for scanned in {False, bool(ours.scanned)}),
               key=lambda uses: len(leaves.keys() & {use.place.path for use in uses}))  # fmt: skip
    for section in (ours, theirs):
        lacking = {t.row for t in model.tensors} - section.rows.keys()
        if lacking:
            raise CheckpointError(f"the table of {model.table.name} lacks rows of this model",
                                  found=", ".join(sorted(lacking)))  # fmt: skip
    paths = Paths(theirs, model.sizes)
    match = _Match(model, ours, theirs, leaves, uses, axis)
    parts: dict[str, list[View]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for use in uses:
        tensor, leaf = use.tensor, leaves[use.place.path]
        index = {"e": tensor.e, "s": use.place.layer or 0}
        for path, steps in theirs.rows.get(tensor.row, ()):
            joint = match.joint(tensor.row, use, path, steps)
            if joint is None:
                continue
            how, shape = joint
            name = paths.place(path, tensor).path
            shapes[name] = shape
            view = View(leaf.name, leaf.shape, how, index, plus=merges.get(use.place.path))
            parts.setdefault(name, []).append(view)
    made = [Target(name, shapes[name], tuple(views), model.table.name)
            for name, views in parts.items()]  # fmt: skip
    padded = {leaves[use.place.path].name for use in uses if "pad0" in use.steps}
    _check_cover(made, padded)
    return made


def _check_cover(targets: Iterable[Target], padded: set[str]) -> None:
    """Refuse rows that leave a part of a leaf or a parameter open, or fill it twice."""
    of_leaves: dict[str, list[View]] = {}
    for target in targets:
        views = [view for view in target.parts if isinstance(view, View)]
        _check_full(target.name, target.shape, [(view, view.how.right) for view in views])
        for view in views:
            of_leaves.setdefault(view.leaf, []).append(view)
    for name, views in of_leaves.items():
        parts = [(view, view.how.left) for view in views]
        _check_full(name, views[0].shape, parts, name in padded)


def _check_full(
    name: str, shape: tuple[int, ...], parts: Sequence[tuple[View, Any]], padded: bool = False
) -> None:
    size, held = math.prod(shape), sum(view.how.size for view, _ in parts)
    if len(parts) > 1:
        ways = {id(axes): axes for _, axes in parts}
        first: dict[Any, int] = {}
        number = {key: first.setdefault(axes, key) for key, axes in ways.items()}
        places = {(number[id(axes)], *view.at.values()) for view, axes in parts}
        held = held if len(places) == len(parts) else size + 1
    if held > size or (held < size and not padded):
        raise CheckpointError(
            f"the rows of the table {'leave a part open' if held < size else 'fill a part twice'}",
            name=name, expected=f"{size} elements",
        )  # fmt: skip


def shapes(model: Model, section: Section, scanned: bool, axis: int) -> dict[str, tuple[int, ...]]:
    """The shapes of a stack's leaves by their paths, with the layers stacked on ``axis``."""
    paths = Paths(section, model.sizes, scanned)
    lengths = _lengths(model, section)
    out: dict[str, tuple[int, ...]] = {}
    of_rows: dict[tuple[str, str, str], tuple[int, ...]] = {}
    layers: dict[str, int] = {}
    for tensor in model.tensors:
        for path, steps in section.rows.get(tensor.row, ()):
            place = paths.place(path, tensor)
            key = tensor.row, path, steps
            if key not in of_rows:
                of_rows[key] = _built(model, lengths, *key, {"Vp": model.sizes["V"]}).shape()
            out.setdefault(place.path, of_rows[key])
            if place.layer is not None:
                layers[place.path] = max(layers.get(place.path, 0), place.layer + 1)
    for path, count in layers.items():
        out[path] = (*out[path][:axis], count, *out[path][axis:])
    return out


def transforms(
    model: Model, section: Section, wanted: Container[str]
) -> Iterator[tuple[Tensor, str, Transform]]:
    """Yield the tensors of the leaves whose normal paths are wanted, and how they lie in them."""
    lengths, more = _lengths(model, section), {"Vp": model.sizes["V"]}
    for use in _uses(model, section, scanned=False):
        if use.place.path in wanted:
            work = _built(model, lengths, use.tensor.row, use.path, use.steps, more)
            yield use.tensor, use.place.path, work.built()._replace(text=use.steps or "as it is")


def _uses(model: Model, section: Section, scanned: bool) -> list[_Use]:
    out: list[_Use] = []
    paths, places = Paths(section, model.sizes, scanned), {}
    for tensor in model.tensors:
        for path, steps in section.rows.get(tensor.row, ()):
            place = paths.place(path, tensor)
            if place not in places:
                places[place] = Place(normal(place.path), place.layer)
            out.append(_Use(tensor, path, steps, places[place]))
    return out


class _Match:
    """The transforms between leaves and parameters, each made once for all layers and experts."""

    def __init__(
        self, model: Model, ours: Section, theirs: Section, leaves: Mapping[str, Leaf],
        uses: Sequence[_Use], axis: int | None,
    ):  # fmt: skip
        self.model, self.leaves = model, leaves
        by_path = {use.place.path: use for use in uses}
        _check_names(model, leaves, by_path)
        self.layers: dict[str, int] = {}
        for use in uses:
            if use.place.layer is not None:
                count = max(self.layers.get(use.place.path, 0), use.place.layer + 1)
                self.layers[use.place.path] = count
        self._lengths = _lengths(model, theirs) | _lengths(model, ours)
        for section in (ours, theirs):
            _check_parts(model, self._lengths, section)
        self._own: dict[Any, Transform] = {}
        self._joints: dict[Any, tuple[Transform, tuple[int, ...]] | None] = {}
        axis = ours.scan_axis if axis is None else axis
        self.axis = self._stack_axis([by_path[path] for path in self.layers], axis)
        self._check_shapes(by_path.values())

    def joint(
        self, row: str, use: _Use, path: str, steps: str
    ) -> tuple[Transform, tuple[int, ...]] | None:
        """The transform from a leaf to a parameter, and the parameter's shape.

        None where these are other parts of Hugging Face's tensor. The loops of the transform are
        the expert ``e`` and the layer ``s``.
        """
        key = row, *self._kind(use), path, steps
        if key not in self._joints:
            mine = self._mine(use)
            text = "; ".join(filter(None, (use.steps and f"undo ({use.steps})", steps)))
            theirs = _built(self.model, self._lengths, row, path, steps, {}).built()
            try:
                joint = transform.between(mine, theirs)
                self._joints[key] = joint._replace(text=text or "as it is"), joint.shape()
            except transform.ApartError:
                self._joints[key] = None
        return self._joints[key]

    def _kind(self, use: _Use) -> tuple[Any, ...]:
        """The properties of a tensor's leaf that its transform depends on."""
        path = use.place.path
        return use.path, use.steps, self.leaves[path].shape, self.layers.get(path)

    def _mine(self, use: _Use) -> Transform:
        key = use.tensor.row, *self._kind(use)
        if key not in self._own:
            work = self._unstacked(use)
            if use.place.layer is not None:
                work.right.insert(self.axis, [Slot(None, self.layers[use.place.path], loop="s")])
            self._own[key] = work.built()
        return self._own[key]

    def _unstacked(self, use: _Use) -> Builder:
        rows = (*self.leaves[use.place.path].shape, 0)[0]
        more = {"Vp": rows}
        return _built(self.model, self._lengths, use.tensor.row, use.path, use.steps, more)

    def _stack_axis(self, uses: Sequence[_Use], asked: int | None) -> int:
        """The axis that counts the layers in all stacked leaves."""
        able: set[int] | None = None
        for use in uses:
            shape, layers = self.leaves[use.place.path].shape, self.layers[use.place.path]
            layer = self._unstacked(use).shape()
            axes = {axis for axis in range(len(layer) + 1)
                    if shape == (*layer[:axis], layers, *layer[axis:])}  # fmt: skip
            able = axes if able is None else able & axes or able
        able = able or set()
        if asked is not None:
            return asked
        if len(able) > 1:
            raise CheckpointError(
                "the shapes leave open which axis counts the stacked layers: pass scan_axis=",
                name=self.leaves[uses[0].place.path].name, found=f"axes {sorted(able)}",
            )  # fmt: skip
        return next(iter(able), 0)

    def _check_shapes(self, uses: Iterable[_Use]) -> None:
        wrong = []
        for use in uses:
            leaf, expected = self.leaves[use.place.path], self._mine(use).shape()
            if leaf.shape != expected:
                wrong.append(f"{leaf.name}: {list(leaf.shape)}, by the config {list(expected)}")
        if wrong:
            counted = display.counted(len(wrong), "leaf", "leaves")
            raise CheckpointError(
                f"the config gives other shapes to {counted}:", more=some_of(wrong)
            )


def _built(
    model: Model, lengths: Lengths, row: str, path: str, steps: str, more: Mapping[str, int]
) -> Builder:
    """The steps of a row, taken."""
    symbols = {**model.sizes, **more}
    work = Builder(evaluate_shape(model.table.shapes[row][0], symbols), symbols)
    for number, call in enumerate(notation.parse(steps)):
        if call.name == "cat":
            of_parts, (_, part) = lengths[path, number], _axis_and_part(call)
            if of_parts.keys() != set(range(len(of_parts))):
                raise CheckpointError("the table lacks parts of a concatenation", name=path)
            work.take(call, sum(of_parts[i] for i in range(part)), sum(of_parts.values()))
        else:
            work.take(call)
    return work


def _check_parts(model: Model, lengths: Lengths, section: Section) -> None:
    """Refuse rows whose parts of one tensor overlap."""
    for row in dict.fromkeys(tensor.row for tensor in model.tensors):
        ways = section.rows.get(row, ())
        for (path, steps), (other, its) in itertools.combinations(ways, 2):
            built = (_built(model, lengths, row, at, way, {"Vp": model.sizes["V"]}).built()
                     for at, way in ((path, steps), (other, its)))  # fmt: skip
            try:
                transform.between(*built)
            except transform.ApartError:
                continue
            raise CheckpointError(f"{path} and {other} have a part of the tensor in common",
                                  name=row)  # fmt: skip


def _lengths(model: Model, section: Section) -> Lengths:
    out: Lengths = {}
    for row, ways in section.rows.items():
        for path, steps in ways:
            calls = notation.parse(steps)
            if all(call.name != "cat" for call in calls) or row not in model.table.shapes:
                continue
            work = Builder(evaluate_shape(model.table.shapes[row][0], model.sizes), model.sizes)
            for number, call in enumerate(calls):
                if call.name == "cat":
                    axis, part = _axis_and_part(call)
                    shape = work.shape()
                    if axis >= len(shape):
                        raise CheckpointError(f"there is no axis {axis} to concatenate along",
                                              name=path, found=f"shape {list(shape)}")  # fmt: skip
                    out.setdefault((path, number), {})[part] = shape[axis]
                    break  # of the shape behind it nothing is known yet
                work.take(call)
    return out


def _axis_and_part(call: notation.Call) -> tuple[int, int]:
    """The first two arguments of a concatenation."""
    if len(call.arguments) != 3 or not all(text.isdecimal() for text in call.arguments):
        raise CheckpointError(f"cat({', '.join(call.arguments)}) is not cat(axis, part, count)")
    return int(call.arguments[0]), int(call.arguments[1])


def _check_names(model: Model, leaves: Mapping[str, Leaf], uses: Mapping[str, _Use]) -> None:
    unknown = {path: leaf for path, leaf in leaves.items() if path not in uses}
    missing = [path for path in uses if path not in leaves]
    if unknown or missing:
        alike: dict[str, str] = {}
        for path in uses:
            alike.setdefault(_NUMBER.sub("0", path), path)
        some = itertools.islice(unknown.items(), _MOST)
        lines = [f"not in the table: {leaf.name}{_near(path, uses, alike)}" for path, leaf in some]
        lines += [f"not in the tree: {path}" for path in missing[:_MOST]]
        raise CheckpointError(
            f"the tree is not that of {model.table.name} with this config; not in its table: "
            f"{display.counted(len(unknown), 'leaf', 'leaves')}, not in the tree: "
            f"{display.counted(len(missing), 'leaf', 'leaves')}:",
            more=some_of(lines),
        )


def _near(path: str, known: Container[str], alike: Mapping[str, str]) -> str:
    """The known path that is most like this one; ``alike`` has one for all layers and experts."""
    numbers = _NUMBER.findall(path)
    close = difflib.get_close_matches(_NUMBER.sub("0", path), alike, 1, 0.8)
    if not close:
        return ""
    rest = iter(numbers)
    same = _NUMBER.sub(lambda match: next(rest, match[0]), alike[close[0]])
    return f" (near {same if same in known else alike[close[0]]})"


def some_of(lines: Sequence[str]) -> list[str]:
    """Lines of an error, not too many of them."""
    more = [f"and {len(lines) - 2 * _MOST} more"] if len(lines) > 2 * _MOST else []
    return [f"  {line}" for line in [*lines[: 2 * _MOST], *more]]
