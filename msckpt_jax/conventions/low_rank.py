"""Products of two small leaves (LoRA) that are added to a large one while it is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from msckpt_jax import boxes, dtypes
from msckpt_jax.boxes import Box, Piece
from msckpt_jax.errors import CheckpointError


class Half(NamedTuple):
    """A factor of a product: a leaf, one axis of which counts the ranks."""

    leaf: str
    shape: tuple[int, ...]


class LowRank(NamedTuple):
    """What is added to a leaf: ``scale`` times A B, summed up over the ranks.

    Attributes:
        a: has those axes of the leaf that ``inside`` names, and the ranks behind them.
        b: has the ranks, and behind them all other axes of the leaf.
        inside: the axes of the leaf along which inputs are summed up.
        scale: alpha / rank.
    """

    a: Half
    b: Half
    inside: tuple[int, ...]
    scale: float

    @property
    def rank(self) -> int:
        return self.b.shape[0]


def added(
    pieces: Sequence[Piece], plus: LowRank, a: Sequence[Piece], b: Sequence[Piece], dtype: np.dtype
) -> list[Piece]:
    """The pieces of a leaf of this dtype with the product of ``a`` and ``b`` added to each.

    They give float32, or float64 for a leaf of float64: the reader rounds once.

    Raises:
        CheckpointError: the leaf is of integers.
    """
    if not dtypes.is_float(dtype):
        raise CheckpointError(
            "LoRA is merged into floats only; bring quantised weights back first", found=dtype
        )
    return [(box, _Sum(source, box, plus, a, b, dtype)) for box, source in pieces]


def wide(dtype: np.dtype) -> np.dtype:
    """The dtype in which sums are computed."""
    return np.dtype(np.float64 if dtype == np.float64 else np.float32)


class _Sum:
    """The box ``origin`` of a leaf, with the product added to each window that is read."""

    def __init__(
        self, source: Any, origin: Box, plus: LowRank,
        a: Sequence[Piece], b: Sequence[Piece], dtype: np.dtype,
    ):  # fmt: skip
        self.source, self.origin, self.plus, self.a, self.b = source, origin, plus, a, b
        self.leaf_dtype, self.dtype = dtype, wide(dtype)

    def __getitem__(self, index: tuple[slice, ...]) -> np.ndarray:
        corner = [start for start, _ in self.origin]
        box = tuple((s.start + o, s.stop + o) for s, o in zip(index, corner, strict=True))
        of_a, of_b = self._halves(box)
        a = self._factor(self.plus.a, self.a, of_a)
        b = self._factor(self.plus.b, self.b, of_b)
        with np.errstate(over="ignore", invalid="ignore"):
            product = _product(a.reshape(-1, self.plus.rank), b.reshape(self.plus.rank, -1))
            product *= self.dtype.type(self.plus.scale)
            sizes, order = boxes.shape_of(box), self._order
            out = product.reshape([sizes[axis] for axis in order]).transpose(np.argsort(order))
            weight = np.asarray(self.source[index])
            out += weight
            self._check(out, weight)
        return out

    def origins(self, box: Box) -> Iterator[Piece]:
        yield from boxes.origins(self.source, box)
        corner = [start for start, _ in self.origin]
        of_a, of_b = self._halves(
            tuple((a + o, b + o) for (a, b), o in zip(box, corner, strict=True))
        )
        yield from boxes.origins_of(self.a, of_a)
        yield from boxes.origins_of(self.b, of_b)

    @property
    def _order(self) -> list[int]:
        """The axes of the leaf as a product has them: those of A, then those of B."""
        return sorted(range(len(self.origin)), key=lambda axis: axis not in self.plus.inside)

    def _halves(self, box: Box) -> tuple[Box, Box]:
        """The boxes of A and B whose product is a box of the leaf."""
        count, sides = len(self.plus.inside), [box[axis] for axis in self._order]
        ranks = (0, self.plus.rank)
        return (*sides[:count], ranks), (ranks, *sides[count:])

    def _factor(self, half: Half, pieces: Sequence[Piece], box: Box) -> np.ndarray:
        out = np.empty(boxes.shape_of(box), self.dtype)
        try:
            boxes.gather(pieces, box, out)
        except ValueError:
            raise CheckpointError(
                "a part of this leaf, by which LoRA changes a weight, lies on another host than "
                "the part of the weight: shard it as the weight is, or replicate it",
                name=half.leaf,
            ) from None
        return out

    def _check(self, out: np.ndarray, weight: np.ndarray) -> None:
        most = float(ml_dtypes.finfo(self.leaf_dtype).max)
        if out.size and not (-most <= out.min() and out.max() <= most):  # or there is a NaN
            over = np.isfinite(weight.astype(self.dtype)) & ~(np.abs(out) <= most)
            if over.any():
                raise CheckpointError(
                    f"values with LoRA merged do not fit {self.leaf_dtype}", name=self.plus.a.leaf,
                    expected=f"{-most} to {most}", found=out[over][0],
                )  # fmt: skip


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a @ b``, summed up rank by rank: the same bits for any window, unlike those of BLAS."""
    columns = b.shape[1]
    if columns == 1:  # a single one is summed up along the row, in another order
        b = np.repeat(b, 2, axis=1)
    return np.einsum("ir,rj->ij", a, b)[:, :columns]
