"""A model file that was read into a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msckpt_jax.errors import FileError
from msckpt_jax.graph.graph import Graph

if TYPE_CHECKING:
    from msckpt_jax.transforms import Pipeline


@dataclass(frozen=True)
class Program:
    """A graph with the structure of its arguments and its result.

    Attributes:
        path: the path of the file.
        kind: the public name of the function that is made of it.
        graph: the whole graph; constants are ``Const``, weights ``Parameter``.
        arguments: for each argument its Value, or nested tuples and dicts of Values.
        result: the graph's outputs, in nested tuples and dicts.
        error: the exception for faults of such a file.
        advice: what messages about the file add, for whom it was made: lines.
        preprocess: a function that makes the preparation of images; None where the format has none.
    """

    path: str
    kind: str
    graph: Graph
    arguments: tuple[Any, ...]
    result: Any
    error: type[FileError]
    advice: Sequence[str] = ()
    preprocess: Callable[[], Pipeline | None] | None = None
