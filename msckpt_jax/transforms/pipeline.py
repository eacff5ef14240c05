"""Transforms in a row, on a column."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Self

import numpy as np

from msckpt_jax.transforms.base import MapNode, Mapped, Transform
from msckpt_jax.visible import visible


class Pipeline(Mapped):
    """Transforms in a row: MindSpore's ``dataset.map(operations, input_columns)``.

    A callable on an image, and a ``grain.transforms.Map``: ``dataset.map(pipeline)``.

    Args:
        operations: transforms, in the order in which they run.
        input_columns: the column that they run on, or a list of this column.
        output_columns: the column of the result, if it differs.
    """

    def __init__(
        self,
        operations: Transform | Sequence[Transform],
        input_columns: str | Sequence[str] = "image",
        output_columns: str | Sequence[str] | None = None,
    ):
        if isinstance(operations, Transform):
            operations = [operations]
        if not isinstance(operations, Iterable):
            kind = type(operations).__name__
            raise TypeError(f"operations must be a transform or a list of them, not {kind}")
        for operation in operations:
            if not isinstance(operation, Transform):
                raise TypeError(f"operations holds {operation!r}: expected msckpt_jax.transforms")
        if not operations:
            raise ValueError("operations is empty: expected a transform or several")
        source = _column(input_columns, "input_columns")
        result = source if output_columns is None else _column(output_columns, "output_columns")
        self._nodes = (MapNode(tuple(operations), source, result),)

    @classmethod
    def of_nodes(cls, nodes: Iterable[MapNode]) -> Self:
        """The pipeline of several maps, of the same column or of several columns."""
        made = cls.__new__(cls)
        made._nodes = tuple(nodes)
        return made

    @property
    def nodes(self) -> tuple[MapNode, ...]:
        return self._nodes

    def __call__(self, image: Any) -> np.ndarray:
        """The image after all maps of the column "image".

        Args:
            image: the input of the first transform: bytes for ``Decode``, else an array.
        """
        return self._run_on_image(image)

    def __repr__(self) -> str:
        parts = [f"{n.input_column}: {list(n.operations)!r}" for n in self.nodes]
        return visible(f"Pipeline({'; '.join(parts)})")


def _column(names: str | Sequence[str], argument: str) -> str:
    if isinstance(names, str):
        return names
    if not isinstance(names, Sequence) or len(names) != 1 or not isinstance(names[0], str):
        raise ValueError(f"{argument} is {names!r}: each transform takes one column")
    return names[0]
