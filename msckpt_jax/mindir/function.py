"""``load``: a MindIR file as a function of JAX."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from msckpt_jax import display
from msckpt_jax.errors import MindIRError
from msckpt_jax.graph import evaluate, listing
from msckpt_jax.graph.evaluate import Rule
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.values import Const, Operand, Tensor, Value
from msckpt_jax.mindir import reader
from msckpt_jax.mindir.reader import Program
from msckpt_jax.mindir.source import DecMode

if TYPE_CHECKING:
    from msckpt_jax.transforms import Pipeline


def load(
    file_name: Any,
    *,
    dec_key: bytes | None = None,
    dec_mode: DecMode = "AES-GCM",
    rules: Mapping[str, Rule] | None = None,
) -> MindIRFunction:
    """Load a MindIR file, ours or MindSpore's, as a function of JAX.

    Args:
        file_name: path of the ``.mindir`` file; of a split model, the ``_graph.mindir``.
        dec_key: key of an encrypted file.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"``, ``"SM4-CBC"``, or a function of the path and the
            key that gives the plain bytes.
        rules: meanings of operators that have none here, or other ones: from the operator's name
            to a function of its inputs, in the order of MindSpore's definition; attributes come
            by keyword.

    Returns:
        A :class:`MindIRFunction`.

    Raises:
        MindIRError: the file is damaged, encrypted otherwise, or has operators without a meaning
            (all are named).
        FileNotFoundError: there is no such file.
    """
    program = reader.read(file_name, dec_key, dec_mode)
    try:
        known = evaluate.rules_for(program.graph, rules)
    except MindIRError as error:
        raise MindIRError(error.problem, file=program.source.path) from None
    return MindIRFunction(program, known)


class MindIRFunction:
    """A model as a function: ``f(*inputs)``, or ``f.apply(parameters, *inputs)``.

    It is plain JAX: ``jit``, ``grad`` and ``vmap`` work on both. Under ``jit``, ``f`` makes its
    weights constants of the compiled program; ``jax.jit(f.apply)(f.parameters, x)`` does not.

    Attributes:
        parameters: name to weight, read-only arrays over the file until they are used.
        inputs: for each argument its ``jax.ShapeDtypeStruct``, or nested tuples of them; dynamic
            dimensions are None.
        graph: what is computed, as MindSpore's operators.
    """

    def __init__(self, program: Program, rules: Mapping[str, Rule]):
        self.graph: Graph = program.graph
        self.parameters = {name: p.data for name, p in self.graph.parameters.items()}
        self.inputs = tuple(_nested(argument, _struct) for argument in program.arguments)
        self._program, self._rules = program, rules
        self._on_device: dict[str, Any] | None = None

    @functools.cached_property
    def preprocess(self) -> Pipeline | None:
        """What the file has to prepare an image, or None: a callable, and a Grain ``Map``.

        ``f(f.preprocess(image_bytes)[None])`` is the result for a batch of one image.

        Raises:
            PreprocessorError: the section is damaged, or has an operator without a counterpart.
        """
        from msckpt_jax.mindir import preprocessor

        source = self._program.source
        return preprocessor.pipeline_of(source.model, source.path)

    def __call__(self, *inputs: Any) -> Any:
        """The model's result, with its own weights.

        Args:
            inputs: arrays, and tuples of arrays where the model takes them. Dimensions may differ
                from the file's where no constant in the graph fixes them.

        Raises:
            TypeError: another number of inputs, or of another structure.
        """
        if self._on_device is None:
            with jax.ensure_compile_time_eval():
                self._on_device = {k: jnp.asarray(v) for k, v in self.parameters.items()}
        return self.apply(self._on_device, *inputs)

    def apply(self, parameters: Mapping[str, Any], *inputs: Any) -> Any:
        """The model's result with other weights, given by name.

        Raises:
            KeyError: a parameter is missing.
            TypeError: another number of inputs, or of another structure.
        """
        flat = self._flat(inputs)
        outputs = evaluate.evaluate(self.graph, self._rules, parameters, flat)
        results = iter(map(_array, outputs))
        return _nested(self._program.result, lambda _: next(results))

    def _flat(self, inputs: tuple[Any, ...]) -> list[Any]:
        found, wanted = jax.tree.structure(inputs), jax.tree.structure(self.inputs)
        if found != wanted:
            raise TypeError(f"the model takes {self.inputs}, not {found}")
        return [jnp.asarray(leaf) for leaf in jax.tree.leaves(inputs)]

    def __repr__(self) -> str:
        return listing.text(f"MindIRFunction of {self._program.source.path}", self.graph)

    def _repr_html_(self) -> str:
        path = self._program.source.path
        return display.page(f"MindIRFunction of {path}", *listing.html(self.graph))


def _nested(operand: Operand, leaf: Any) -> Any:
    if isinstance(operand, tuple) and not isinstance(operand, Const):
        return tuple(_nested(part, leaf) for part in operand)  # type: ignore[arg-type]
    return leaf(operand)


def _struct(value: Value) -> Any:
    type: Tensor = value.type
    shape = tuple(dim if isinstance(dim, int) else None for dim in type.shape)
    return jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(type.dtype))  # type: ignore[arg-type]


def _array(output: Any) -> Any:
    """Results are arrays; None stays."""
    if isinstance(output, tuple):
        return tuple(map(_array, output))
    return output if output is None or isinstance(output, str) else jnp.asarray(output)
