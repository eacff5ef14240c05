"""``Target``: a model format as the doors know it.

Each of ``mindir``, ``air`` and ``onnx`` offers such an object as ``target.TARGET``, and
:mod:`msckpt_jax.api.targets` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.graph.function import ModelFunction
from msckpt_jax.graph.graph import Graph
from msckpt_jax.lowering import spelling
from msckpt_jax.lowering.fusions import Fusion
from msckpt_jax.lowering.option import Option
from msckpt_jax.lowering.rewrites import Rewrite
from msckpt_jax.lowering.spelling import Spell
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.lowering.wanted import Lowering, Wanted


class Written(NamedTuple):
    """A written file: the path to load, its graph (None if another library made it), notes."""

    file: AnyPath
    graph: Graph | None
    notes: Sequence[str]


class Verdict(NamedTuple):
    """The judgement whether a file is sound, and the lines that say so."""

    sound: bool
    lines: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Target:
    """A model format.

    Attributes:
        name: ``file_format`` of ``export``. suffix: the ending of its files.
        devices: the values of ``export(target=)`` that it knows.
        write: writes a graph to a path as is wanted; returns the file to load, and notes.
        open: makes a function of JAX of a path, the key, the cipher and the user's meanings.
        difference: returns the largest difference between the results of a file and of the
            traced function.
        check_runner: refuses, by an ImportError, where what runs the files is not installed.
        inspect: returns the contents of a file, to be printed as JSON, and lines of facts; takes
            the path, a function that chooses weights by name, the key and the cipher.
        verify: returns the verdict on a file; takes the path, the key, the cipher and options.
        options: the arguments of ``export``, by name, that this format heeds and others do not.
        kernels: whether the graph keeps to the dtypes that MindSpore's CPU has kernels for.
        guarded: whether the rules guard casts of floats to integers, divisions by 0 and NaN, which
            the runtime leaves open, or loses.
        keep: primitives that the format has operators for, though MindSpore's CPU lacks them.
        algorithms: rewrites for the primitives that the format lacks.
        algorithms64: those that it lacks for 64-bit dtypes.
        rewrites: further rewrites, for exports with fusions.
        fusions: operators that only this format fuses.
        tiny: the dtypes of 8 and 4 bits that its weights keep; others get a wider dtype.
        spell: the spelling of a product of quantised weights, for options and a ``target``.
        complex: whether the format has complex dtypes; else each such array becomes a pair.
        operators: the operators of MindSpore that the format has rows for; None: all of them.
        vocabulary: whose operators the graph of an open file has.
        export: writes a function where that takes more than lowering and ``write``; its last
            argument returns the lowered graph.
        describe: makes an input and a section of the file of a data set.
        beside: the files of weights that a model has below its folder. Where a model is to be run
            or verified in an object store, these are fetched with it.
        cipher: names the cipher of an encrypted file; None where the format has no ciphers.
        weights: the weights of a file by name, read-only arrays; takes the path, and the key and
            the cipher where it is encrypted. None where they are not taken out.
    """

    name: str
    suffix: str
    write: Callable[[Graph, AnyPath, Wanted], tuple[AnyPath, Sequence[str]]]
    open: Callable[..., ModelFunction]
    difference: Callable[[Path, Traced, Wanted], float]
    inspect: Callable[..., tuple[dict[str, Any], list[str]]]
    verify: Callable[..., Verdict]
    devices: tuple[str, ...] = ("cpu",)
    options: Mapping[str, Option] = field(default_factory=dict)
    kernels: bool = False
    guarded: bool = True
    keep: tuple[str, ...] = ()
    algorithms: Mapping[str, Rewrite] = field(default_factory=dict)
    algorithms64: Mapping[str, Rewrite] = field(default_factory=dict)
    rewrites: Mapping[str, Rewrite] = field(default_factory=dict)
    fusions: Sequence[Fusion] = ()
    tiny: Set[np.dtype] = frozenset()
    spell: Spell = spelling.plain
    complex: bool = True
    operators: Set[str] | None = None
    check_runner: Callable[[], None] = lambda: None
    vocabulary: str = "MindSpore"
    export: Callable[[Traced, AnyPath, Wanted, Lowering, Callable[[], Graph]], Written] | None = (
        None
    )
    describe: Callable[[Any], tuple[Any, Any]] | None = None
    beside: Callable[[AnyPath], Sequence[str]] = lambda path: ()
    cipher: Callable[[AnyPath], str | None] | None = None
    weights: Callable[..., Mapping[str, np.ndarray]] | None = None
