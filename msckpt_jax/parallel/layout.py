"""The layout of a tensor on ranks: MindSpore's device matrix and tensor map, JAX's NamedSharding.

A rank is the row-major index into the device matrix; in JAX that is the position in
``mesh.devices.flat``, not ``device.id``. ``tensor_map[i]`` names the axes of the matrix that
split dimension ``i``, counted from the right, major axis first (MindSpore 2.10,
parallel/_tensor.py).
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numpy as np

from msckpt_jax import boxes
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel.grid import Grid

if TYPE_CHECKING:
    import jax


#: The largest number of ranks: a file of some bytes could ask for any.
MOST_RANKS = 1 << 20


class _Fields(NamedTuple):
    dev_matrix: tuple[int, ...]
    tensor_map: tuple[tuple[int, ...], ...]
    opt_shard_size: int = 0
    opt_shard_step: int = 0
    split_shape: tuple[int, ...] = ()
    field: int = 0


class Layout(_Fields):
    """The layout of one tensor, which says exactly which part of it each rank holds.

    It cuts a tensor by a grid: the parts of its ranks are equal or apart, and all of them together
    are the tensor. The functions that merge and cut rely on that.

    Attributes:
        dev_matrix: the sizes of the mesh axes.
        tensor_map: the axes that split each dimension; none, ``()``, for a replicated dimension
            (MindSpore writes -1), and each axis in one dimension at most.
        opt_shard_size: the number of parts in which dimension 0 is split further, over the axes
            that are left (MindSpore's optimizer sharding, ZeRO); -1 takes all these axes, 0 none.
        opt_shard_step: the distance between ranks that hold neighbouring parts.
        split_shape: the rows of each slice when dimension 0 is split unevenly; else empty.
        field: MindSpore's field-wise split, which is kept but not interpreted.

    Raises:
        CheckpointError: the arguments are of other types, or contradict each other.

    Example:
        >>> layout = ms.Layout((2, 4), ((1,), ()))
        >>> layout.splits, layout.full_shape((8, 16))
        ((2, 1), (16, 16))
    """

    __slots__ = ()

    def __new__(
        cls,
        dev_matrix: tuple[int, ...],
        tensor_map: tuple[tuple[int, ...], ...],
        opt_shard_size: int = 0,
        opt_shard_step: int = 0,
        split_shape: tuple[int, ...] = (),
        field: int = 0,
    ) -> Self:
        made = super().__new__(
            cls, dev_matrix, tensor_map, opt_shard_size, opt_shard_step, split_shape, field
        )
        for test in (_matrix, _map, _optimizer, _rows):
            if (problem := test(made)) is not None:
                raise CheckpointError(problem, found=made)
        return made

    @property
    def ranks(self) -> int:
        return math.prod(self.dev_matrix)

    @property
    def splits(self) -> tuple[int, ...]:
        """The number of parts of each dimension, optimizer sharding included."""
        flat = self.flattened()
        return tuple(
            math.prod(flat.dev_matrix[-1 - axis] for axis in axes) for axes in flat.tensor_map
        )

    def flattened(self) -> Layout:
        """The same layout with optimizer sharding as further axes of dimension 0."""
        if not self.opt_shard_size or not self.opt_shard_step:
            return self._replace(opt_shard_size=0, opt_shard_step=0)
        used = {axis for axes in self.tensor_map for axis in axes}
        count = len(self.dev_matrix)
        left = [a for a in range(count) if a not in used and self.dev_matrix[-1 - a] > 1]
        wanted = self.opt_shard_size
        if wanted == -1:
            wanted = math.prod(self.dev_matrix[-1 - axis] for axis in left)
        matrix, taken = list(self.dev_matrix), []
        for axis in left:  # from the right, as MindSpore takes them
            if wanted == 1:
                break
            size = matrix[-1 - axis]
            if wanted < size:  # only a part of this axis: cut it in two, take the right half
                if size % wanted:
                    break
                return self._cut_axis(axis, wanted).flattened()
            if wanted % size:
                break
            taken.insert(0, axis)
            wanted //= size
        if wanted != 1 or not self.tensor_map:
            raise CheckpointError(
                f"optimizer sharding in {self.opt_shard_size} parts does not fit the device "
                f"matrix {list(self.dev_matrix)} with tensor map {list(self.tensor_map)}"
            )
        first = self.tensor_map[0] + tuple(taken)
        return self._replace(
            dev_matrix=tuple(matrix), tensor_map=(first, *self.tensor_map[1:]),
            opt_shard_size=0, opt_shard_step=0, field=0,
        )  # fmt: skip

    def _cut_axis(self, axis: int, right: int) -> Layout:
        at = len(self.dev_matrix) - 1 - axis
        size = self.dev_matrix[at]
        matrix = (*self.dev_matrix[:at], size // right, right, *self.dev_matrix[at + 1 :])
        moved = tuple(tuple(a + (a >= axis) for a in axes) for axes in self.tensor_map)
        return self._replace(dev_matrix=matrix, tensor_map=moved)

    def full_shape(self, part: Sequence[int]) -> tuple[int, ...]:
        """The shape of the whole tensor, given the shape of a rank's part."""
        even = tuple(n * k for n, k in zip(part, self.splits, strict=True))
        return (sum(self.split_shape), *even[1:]) if self.split_shape else even

    def box(self, rank: int, shape: Sequence[int]) -> boxes.Box:
        """The part of a tensor of ``shape`` that ``rank`` holds.

        Raises:
            CheckpointError: a dimension cannot be divided evenly.
        """
        return self.grid(shape).box(int(cells(self)[rank % self.ranks]))

    def grid(self, shape: Sequence[int]) -> Grid:
        """The cells by which a tensor of ``shape`` is cut.

        Raises:
            CheckpointError: a dimension cannot be divided evenly, or does not have the rows that
                an uneven split deals out.
        """
        return _grid(self, tuple(shape))


def named(name: str, *fields: Any) -> Layout:
    """The layout of a parameter, whose name is in the error."""
    try:
        return Layout(*fields)
    except CheckpointError as error:
        raise error.within(None, name) from None


def _numbers(values: Any) -> bool:
    return isinstance(values, tuple) and all(type(n) is int for n in values)


def _matrix(layout: Layout) -> str | None:
    if not _numbers(layout.dev_matrix) or not layout.dev_matrix or min(layout.dev_matrix) < 1:
        return "dev_matrix must be a tuple of positive numbers"
    if layout.ranks > MOST_RANKS:
        return f"dev_matrix has {layout.ranks} ranks, and {MOST_RANKS} are the most"
    return None


def _map(layout: Layout) -> str | None:
    if not isinstance(layout.tensor_map, tuple) or not all(map(_numbers, layout.tensor_map)):
        return "tensor_map must be a tuple with a tuple of mesh axes for each dimension"
    axes = [axis for dim in layout.tensor_map for axis in dim]
    if -1 in axes:
        return "tensor_map holds MindSpore's -1; write () for a dimension that is not split"
    if outside := [axis for axis in axes if not 0 <= axis < len(layout.dev_matrix)]:
        return f"tensor_map names axis {outside[0]} of {len(layout.dev_matrix)}"
    if twice := [axis for axis in axes if axes.count(axis) > 1]:
        return f"tensor_map splits by axis {twice[0]} twice"
    return None


def _optimizer(layout: Layout) -> str | None:
    size, step = layout.opt_shard_size, layout.opt_shard_step
    if not _numbers((size, step, layout.field)) or size < -1 or step < 0 or layout.field < 0:
        return "opt_shard_size must be -1 or more, opt_shard_step and field 0 or more"
    try:
        layout.flattened()
    except CheckpointError as error:
        return error.problem
    return None


def _rows(layout: Layout) -> str | None:
    rows = layout.split_shape
    if not _numbers(rows) or (rows and min(rows) < 0):
        return "split_shape must be a tuple of numbers of rows"
    if rows and (not layout.tensor_map or len(rows) != layout.splits[0]):
        parts = layout.splits[0] if layout.tensor_map else "no"
        return f"split_shape has {len(rows)} numbers, and dimension 0 {parts} parts"
    return None


@functools.lru_cache(maxsize=4096)
def _grid(layout: Layout, shape: tuple[int, ...]) -> Grid:
    rows, bounds = layout.split_shape, []
    for dim, (parts, n) in enumerate(zip(layout.splits, shape, strict=True)):
        if rows and dim == 0:
            if sum(rows) != n:
                raise CheckpointError(f"a dimension of size {n} is not split by {list(rows)} rows")
            bounds.append((0, *itertools.accumulate(rows)))
        elif n % parts:
            raise CheckpointError(
                f"a dimension of size {n} cannot be split into {parts} equal parts"
            )
        else:
            bounds.append(range(0, n + 1, n // parts) if n else (0,) * (parts + 1))
    return Grid(tuple(bounds))


@functools.lru_cache(maxsize=256)
def cells(layout: Layout) -> np.ndarray:
    """The number of the cell that each rank holds."""
    flat = layout.flattened()
    strides = list(itertools.accumulate(reversed(flat.dev_matrix), operator.mul, initial=1))
    ranks, out = np.arange(layout.ranks), np.zeros(layout.ranks, np.int64)
    for axis in itertools.chain.from_iterable(flat.tensor_map):
        size = flat.dev_matrix[-1 - axis]
        out = out * size + ranks // strides[axis] % size
    out.flags.writeable = False
    return out


def of_sharding(sharding: jax.sharding.NamedSharding, ndim: int) -> Layout:
    """The layout of arrays with this sharding."""
    import jax

    mesh = sharding.mesh
    assert isinstance(mesh, jax.sharding.Mesh)  # concrete arrays lie on concrete meshes
    axes = mesh.axis_names
    spec = (*sharding.spec, *(None,) * (ndim - len(sharding.spec)))
    tensor_map = tuple(tuple(len(axes) - 1 - axes.index(name) for name in _axes(s)) for s in spec)
    return Layout(tuple(mesh.devices.shape), tensor_map)


def _axes(entry: object) -> tuple[str, ...]:
    if entry is None:
        return ()
    return entry if isinstance(entry, tuple) else (entry,)  # type: ignore[return-value]
