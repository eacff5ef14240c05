"""A model file that was read into a graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msckpt_jax.errors import FileError
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.values import Operand


@dataclass(frozen=True)
class Program:
    """A graph with the structure of its arguments and its result.

    Attributes:
        path: the file. kind: the public name of the function that is made of it.
        graph: all of it; constants are ``Const``, weights ``Parameter``.
        arguments: for each argument its Value, or nested tuples of them.
        result: the graph's outputs, in nested tuples.
        error: the exception for what is wrong with such a file.
        preprocess: makes what prepares an image for the model; None where the format has no such.
    """

    path: str
    kind: str
    graph: Graph
    arguments: tuple[Operand, ...]
    result: Operand
    error: type[FileError]
    preprocess: Callable[[], Any] | None = None
