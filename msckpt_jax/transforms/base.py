"""The base of all transforms: calls, Grain's ``map``, parameters as MindSpore writes them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from msckpt_jax.errors import TransformError
from msckpt_jax.transforms.modes import Border, ConvertMode, Inter

if TYPE_CHECKING:
    from grain.transforms import Map
else:
    try:
        from grain.transforms import Map
    except ImportError:  # Grain is optional: the transforms also are plain callables
        Map = object


class MapNode(NamedTuple):
    """A ``map`` of a MindSpore data set: operations on a column, and the result's column."""

    operations: tuple[Transform, ...]
    input_column: str = "image"
    output_column: str = "image"

    def run(self, value: Any) -> Any:
        for operation in self.operations:
            value = operation(value)
        return value


class Step(NamedTuple):
    """A transform or pipeline that mapped ``source`` to ``result``, and the thread that ran it."""

    mapped: Mapped
    source: Any
    result: Any
    thread: int


#: Functions that are told of each element that is mapped; none except while a data set is exported.
observers: list[Callable[[Step], None]] = []


class Mapped(Map):
    """A Grain ``Map`` that runs MindSpore's map nodes, on dicts of columns or on bare images."""

    @property
    def nodes(self) -> tuple[MapNode, ...]:
        raise NotImplementedError

    def map(self, element: Any) -> Any:
        """The element with the mapped column replaced; an element that is no dict is the image.

        Raises:
            TransformError: the column is missing, or a transform cannot take the data.
        """
        result = element
        if isinstance(element, dict):
            for node in self.nodes:
                result = _replaced(result, node)
        else:
            result = self._run_on_image(element)
        for tell in tuple(observers):
            tell(Step(self, element, result, threading.get_ident()))
        return result

    def _run_on_image(self, image: Any) -> Any:
        column = "image"
        for node in self.nodes:
            if node.input_column == column:
                image, column = node.run(image), node.output_column
        return image


def _replaced(element: dict[str, Any], node: MapNode) -> dict[str, Any]:
    if node.input_column not in element:
        raise TransformError(
            f"the element has no column {node.input_column!r}, only {sorted(element)}; "
            "name the column with Pipeline(operations, input_columns=...)"
        )
    kept = {k: v for k, v in element.items() if k != node.input_column}
    return kept | {node.output_column: node.run(element[node.input_column])}


class Transform(Mapped):
    """A MindSpore transform of one image, with the numbers of MindSpore's CPU operator.

    The attributes are the arguments in their stored form.
    """

    #: MindSpore's name of the operator in a MindIR.
    operator: ClassVar[str]
    #: True if MindSpore writes a ``device_target``.
    has_device: ClassVar[bool] = False

    def apply(self, image: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def __call__(self, image: Any) -> np.ndarray:
        """The transformed image.

        Args:
            image: a NumPy array, or a PIL image, which is taken as an array.
        """
        return self.apply(np.asarray(image))

    @property
    def nodes(self) -> tuple[MapNode, ...]:
        return (MapNode((self,)),)

    def params(self) -> dict[str, Any] | None:
        """The parameters in MindSpore's order (sorted) and form; None if there are none."""
        params = {"device_target": "CPU"} if self.has_device else {}
        params |= {name: _written(value) for name, value in vars(self).items()}
        return dict(sorted(params.items())) or None

    @classmethod
    def of_params(cls, params: dict[str, Any] | None) -> Self:
        """The transform that has these parameters.

        Raises:
            TypeError, ValueError, IndexError: a constructor would refuse the parameters.
        """
        given = {k: v for k, v in (params or {}).items() if k != "device_target"}
        return cls(**{name: _READ.get(name, _same)(value) for name, value in given.items()})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in vars(self).items())})"

    def __eq__(self, value: object) -> bool:
        return type(self) is type(value) and vars(self) == vars(value)

    def __hash__(self) -> int:
        return hash((type(self), *vars(self).values()))


def _same(value: Any) -> Any:
    return value


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


_READ: dict[str, Callable[[Any], Any]] = {
    "interpolation": Inter.read,
    "padding_mode": Border.read,
    "convert_mode": ConvertMode,
    "fill_value": _tuple,
}


def _written(value: Any) -> Any:
    if isinstance(value, Inter | Border):
        return value.written
    return list(value) if isinstance(value, tuple) else value


def frames(image: np.ndarray, name: str) -> np.ndarray:
    """The image as [frames, H, W] or [frames, H, W, C], for operators that take <..., H, W, C>."""
    if image.ndim < 2:
        raise TransformError(f"{name}: expected <H, W> or <..., H, W, C>, found {image.shape}")
    return image[None] if image.ndim <= 3 else image.reshape(-1, *image.shape[-3:])


def check_rank(image: np.ndarray, name: str) -> None:
    if image.ndim not in (2, 3):
        raise TransformError(f"{name}: expected <H, W> or <H, W, C>, found {image.shape}")


#: The dtypes of OpenCV's arrays; MindSpore's operators on these refuse all others.
_OPENCV = {np.dtype(t) for t in ("?", "i1", "u1", "i2", "u2", "i4", "f2", "f4", "f8")}


def check_dtype(image: np.ndarray, name: str) -> None:
    if image.dtype not in _OPENCV:
        names = ", ".join(sorted(t.name for t in _OPENCV))
        raise TransformError(f"{name}: expected one of {names}, found {image.dtype}")
