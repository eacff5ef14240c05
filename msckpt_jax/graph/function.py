"""A model file as a function of JAX, whatever its format."""

from __future__ import annotations

import contextlib
import difflib
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from msckpt_jax import display, names
from msckpt_jax.graph import listing, widths
from msckpt_jax.graph.evaluate import FLOW, Check, Meaning, draws, evaluate
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.meaning import without
from msckpt_jax.graph.program import Program
from msckpt_jax.graph.values import Const, Operand, Tensor, Value
from msckpt_jax.specs import TensorSpec, spec
from msckpt_jax.visible import visible

if TYPE_CHECKING:
    from msckpt_jax.transforms import Pipeline


class ModelFunction:
    """A model as a function: ``f(*inputs)``, or ``f.apply(parameters, *inputs)``.

    It is plain JAX: ``jit``, ``grad`` and ``vmap`` work on both. Under ``jit``, ``f`` makes its
    weights constants of the compiled program; ``jax.jit(f.apply)(f.parameters, x)`` does not.
    ``MindIRFunction`` and ``AirFunction`` are two names of this class.

    A model that computes with numbers of 64 bits does so even where ``jax_enable_x64`` is off: it
    is on within the call, and results have the dtypes of the file. Some transformations of such a
    model (``vmap`` of ``grad``) need it everywhere: ``jax.config.update("jax_enable_x64", True)``.

    A model with ``state`` changes parameters: statistics, counters, caches, all of them if it holds
    an optimizer's step. It is called as in Flax, and gives the parameters for the next call, too:
    ``outputs, parameters = f.apply(parameters, *inputs, mutable=True)``. A model in training mode
    that draws random numbers, for Dropout, takes a key: ``f(*inputs, rng=jax.random.key(0))``.

    Attributes:
        file: the file's path.
        parameters: name to weight, read-only arrays over the file until they are used. In an AIR
            file, weights are the floating-point constants that have names of their own.
        state: the names of the parameters that the model changes; empty for most.
        draws: whether it draws random numbers, and needs ``rng``.
        input_names, output_names: the names of the inputs and of the results, flat.
        inputs: for each argument its ``jax.ShapeDtypeStruct``, or nested tuples of them; with
            dynamic sizes, which are None, a :class:`TensorSpec`.
        graph: the operators that are computed, MindSpore's or GE's.

    Example:
        >>> weights = {"w": jnp.ones((2, 3))}
        >>> net = (lambda p, x: x @ p["w"]), weights
        >>> file = ms.export(net, jnp.ones((1, 2)), file_name="net").file
        >>> print(ms.load(file))
        <MindIRFunction of net.mindir
          %0: f32[1,2] = input  # x
          %1: f32[1,3] = MatMul(%0, w, False, False)
          return %1
        >
    """

    def __init__(
        self,
        program: Program,
        table: Mapping[str, Meaning],
        rules: Mapping[str, Meaning] | None = None,
        check: Check | None = None,
    ):
        self.file = program.path
        self.graph: Graph = program.graph
        self.parameters = {name: p.data for name, p in self.graph.parameters.items()}
        self.state = tuple(self.graph.state)
        self.input_names = tuple(value.name for value in self.graph.inputs)
        self.output_names = _result_names(self.graph)
        self._wide = widths.is_wide(self.graph)
        with self._width():
            self.inputs = tuple(_nested(argument, _struct) for argument in program.arguments)
        self._meanings = _meanings(program, {**table, **(rules or {})})
        self._program, self._check = program, check
        self.draws = any(
            node.op not in FLOW and draws(node, self._meanings[node.op])
            for node in self.graph.walk()
        )

    @functools.cached_property
    def on_device(self) -> Mapping[str, jax.Array]:
        """The weights as arrays of JAX, which a call takes."""
        with self._width(), jax.ensure_compile_time_eval():
            return {name: jnp.asarray(value) for name, value in self.parameters.items()}

    @functools.cached_property
    def preprocess(self) -> Pipeline | None:
        """The preparation of images that the file describes: a callable and Grain ``Map``, or None.

        ``f(f.preprocess(image_bytes)[None])`` is the result for a batch of one image.

        Raises:
            PreprocessorError: the section is damaged, or has an operator without a counterpart.
        """
        make = self._program.preprocess
        return None if make is None else make()

    def __call__(self, *inputs: Any, rng: Any = None) -> Any:
        """Compute the model's result, with its own weights.

        Args:
            inputs: arrays, and tuples of arrays where the model takes them. Dimensions may differ
                from the file's where no constant in the graph fixes them.
            rng: a ``jax.random.key`` for a model that draws random numbers, which needs one.

        Raises:
            TypeError: the number or the structure of the inputs differs from the model's, the model
                changes parameters, or it needs ``rng``.
            ValueError: a ``jit`` around the model would compile an operator of 64 bits with 32.
        """
        self._refuse_state()
        return self._run(self.on_device, inputs, rng)[0]

    def apply(
        self, parameters: Mapping[str, Any], *inputs: Any, mutable: bool = False, rng: Any = None
    ) -> Any:
        """Compute the model's result with other weights, all of them given by name.

        Args:
            parameters: name to array, like ``f.parameters``.
            inputs: as for a call.
            mutable: True gives the pair of the result and a new dictionary of all parameters, with
                those in ``f.state`` changed. In ``jit`` it is static:
                ``jax.jit(functools.partial(f.apply, mutable=True))``.
            rng: a ``jax.random.key`` for a model that draws random numbers, which needs one.

        Raises:
            KeyError: a parameter is missing, or the model has none of such a name.
            TypeError: the number or the structure of the inputs differs from the model's, the model
                changes parameters and ``mutable`` is False, or it needs ``rng``.
        """
        self._check_names(parameters)
        if not mutable:
            self._refuse_state()
        result, changed = self._run(parameters, inputs, rng)
        return (result, {**parameters, **changed}) if mutable else result

    def _refuse_state(self) -> None:
        if self.state:
            raise TypeError(visible(
                f"{self.file}: the model changes the parameters {_some([*self.state])}, and gives "
                "new ones: outputs, parameters = f.apply(parameters, *inputs, mutable=True), "
                "first with f.parameters"
            ))  # fmt: skip

    def _width(self) -> AbstractContextManager[Any]:
        """The setting of JAX in which it keeps the numbers of the file."""
        return jax.enable_x64(True) if self._wide else contextlib.nullcontext()

    def _run(
        self, parameters: Mapping[str, Any], inputs: tuple[Any, ...], rng: Any
    ) -> tuple[Any, dict[str, Any]]:
        if self.draws and rng is None:
            raise TypeError(visible(
                f"{self.file}: the model draws random numbers, as for Dropout in training mode: "
                "give it a key, f(*inputs, rng=jax.random.key(0)), another one in each step"
            ))  # fmt: skip
        checks = [self._check] if self._check else []
        if self._wide and not widths.is_enabled():
            checks.append(widths.check_expanded)
        with self._width():
            return self._computed(parameters, inputs, checks, rng)

    def _computed(
        self, parameters: Mapping[str, Any], inputs: tuple[Any, ...], checks: Sequence[Check],
        rng: Any,
    ) -> tuple[Any, dict[str, Any]]:  # fmt: skip
        flat = self._flat(inputs)
        try:
            outputs = evaluate(self.graph, self._meanings, parameters, flat, checks, rng)
        except Exception as error:
            error.add_note(visible(f"in the model {self.file}"))
            raise
        results = iter(map(_array, outputs))
        result = _nested(self._program.result, lambda _: next(results))
        return result, dict(zip(self.state, results, strict=True))

    def _check_names(self, parameters: Mapping[str, Any]) -> None:
        if parameters.keys() == self.parameters.keys():
            return
        missing = [name for name in self.parameters if name not in parameters]
        unknown = [name for name in parameters if name not in self.parameters]
        text = f"parameters are missing: {_some(missing)}" if missing else ""
        if unknown:
            close = difflib.get_close_matches(str(unknown[0]), missing or list(self.parameters), 1)
            nearest = f" (nearest: {close[0]!r})" if close else ""
            text += f"{'; ' if text else ''}the model has no {_some(unknown)}{nearest}"
        raise KeyError(f"{self.file}: {text}; f.parameters has them all")

    def _flat(self, inputs: tuple[Any, ...]) -> list[Any]:
        given, wanted = jax.tree.structure(inputs), jax.tree.structure(self.inputs)
        if given != wanted:
            raise TypeError(f"the model takes {[*self.input_names]}, {self.inputs}, not {given}")
        wanted = jax.tree.leaves(self.inputs)
        return [_widened(leaf, w) for leaf, w in zip(jax.tree.leaves(inputs), wanted, strict=True)]

    @property
    def _title(self) -> str:
        return f"{self._program.kind} of {self.file}"

    def __repr__(self) -> str:
        return listing.text(self._title, self.graph)

    def _repr_html_(self) -> str:
        return display.page(self._title, *listing.html(self.graph))


def _result_names(graph: Graph) -> tuple[str, ...]:
    """The names of the results; those without one are called ``output``."""
    unique = names.Unique(graph.results)
    given = graph.results or [""] * (len(graph.outputs) - len(graph.state))
    return tuple(name or unique("output") for name in given)


def _meanings(program: Program, known: Mapping[str, Meaning]) -> dict[str, Meaning]:
    """The meaning of each operator of a program.

    Raises:
        FileError: some operators have none; it names them all, and is the program's exception.
    """
    nodes = (node for graph in program.graph.graphs() for node in graph.nodes)
    counts = Counter(node.op for node in nodes if node.op not in FLOW)
    missing = [_missing(op, count) for op, count in sorted(counts.items()) if op not in known]
    if missing:
        raise program.error(
            f"the operators {', '.join(missing)} have no meaning in JAX; give each its own: "
            "load(..., rules={'Op': lambda *inputs, **attributes: ...})",
            file=program.path,
        )
    return {op: known[op] for op in counts}


def _missing(op: str, count: int) -> str:
    """An operator without a meaning: how often the graph has it, and why it has none."""
    why = without.reason(op)
    return f"{op} ({count}: {why})" if why else f"{op} ({count})"


def _some(names: list[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" * (len(names) > 5))


def _nested(operand: Operand, leaf: Callable[[Any], Any]) -> Any:
    if isinstance(operand, tuple) and not isinstance(operand, Const):
        return tuple(_nested(part, leaf) for part in operand)  # type: ignore[arg-type]
    return leaf(operand)


def _struct(value: Value) -> TensorSpec | jax.ShapeDtypeStruct:
    type: Tensor = value.type
    shape = tuple(dim if isinstance(dim, int) else None for dim in type.shape)
    return spec(shape, jax.dtypes.canonicalize_dtype(type.dtype))


def _widened(given: Any, wanted: TensorSpec | jax.ShapeDtypeStruct) -> jax.Array:
    """An input; where the file has 64 bits and JAX narrowed the array before, with 64 again."""
    array = jnp.asarray(given)
    narrowed = widths.narrowed(wanted.dtype) == array.dtype != wanted.dtype
    return array.astype(wanted.dtype) if narrowed else array


def _array(output: Any) -> Any:
    """A result as an array; None stays."""
    if isinstance(output, tuple):
        return tuple(map(_array, output))
    return output if output is None or isinstance(output, str) else jnp.asarray(output)


#: The public names, by the format that users have; MindSpore has no name for either.
AirFunction = MindIRFunction = ModelFunction
