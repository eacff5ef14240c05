"""A model file as a function of JAX, whatever its format."""

from __future__ import annotations

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax import arguments, display, names
from msckpt_jax.checkpoint import placement
from msckpt_jax.errors import FileError
from msckpt_jax.graph import given, listing, widths
from msckpt_jax.graph.evaluate import FLOW, IN, Check, Meaning, draws, evaluate, place
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.meaning import without
from msckpt_jax.graph.program import Program
from msckpt_jax.graph.values import Const, Operand, Tensor, Value
from msckpt_jax.specs import TensorSpec, spec
from msckpt_jax.visible import lines, log, visible

if TYPE_CHECKING:
    from msckpt_jax.transforms import Pipeline


class ModelFunction:
    """A model as a function: ``f(*inputs)``, or ``f.apply(parameters, *inputs)``.

    It is plain JAX: ``jit``, ``grad`` and ``vmap`` work on both. Under ``jit``, ``f`` makes its
    weights constants of the compiled program; ``jax.jit(f.apply)(f.parameters, x)`` does not.
    ``MindIRFunction`` and ``AirFunction`` are two names of this class.

    A model that computes with numbers of 64 bits does so even where ``jax_enable_x64`` is off: it
    is on within the call, and results have the dtypes of the file. ``jit`` and ``grad`` narrow
    their arguments before the model sees them: weights whose numbers then are no longer the file's
    are refused, but for ``f.on_device``. Some transformations of such a model (``vmap`` of
    ``grad``) need 64 bits everywhere: ``jax.config.update("jax_enable_x64", True)``.

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
        inputs: for each argument its ``jax.ShapeDtypeStruct``, or nested tuples of them, in files
            of ours dicts, too; with dynamic sizes, which are None, a :class:`TensorSpec`.
        graph: the operators that are computed, MindSpore's or GE's.

    Example:
        >>> weights = {"w": jnp.ones((2, 3))}
        >>> net = (lambda p, x: x @ p["w"]), weights
        >>> file = ms.export(net, jnp.ones((1, 2)), file_name="net").file
        >>> print(ms.load(file))
        <MindIRFunction of net.mindir
          %0: f32[1,2] = input  # x
          %1: f32[1,3] = MatMul(%0, w, False, False)  # Default/MatMul_3
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
        self._meanings = _meanings(program, {**table, **_checked(rules)})
        self._program, self._check, self._warned = program, check, False
        self.draws = any(
            node.op not in FLOW and draws(node, self._meanings[node.op])
            for node in self.graph.walk()
        )

    @functools.cached_property
    def on_device(self) -> Mapping[str, jax.Array]:
        """The weights as arrays of JAX, which a call takes."""
        with self._width(), jax.ensure_compile_time_eval():
            return {name: placement.copied(value) for name, value in self.parameters.items()}

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
            inputs: arrays, and tuples and dicts of arrays where the model takes them, or all
                arrays flat, in the order of ``input_names``. Dimensions may differ
                from the file's where no constant in the graph fixes them.
            rng: a ``jax.random.key`` for a model that draws random numbers, which needs one.

        Raises:
            TypeError: the number or the structure of the inputs differs from the model's, or one
                holds another kind of numbers; the model changes parameters, or needs ``rng``.
            ValueError: an operator fails on inputs that differ from the file's; a ``jit`` around
                the model would compile an operator of 64 bits with 32.
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
            TypeError, ValueError: as for a call; the model changes parameters and ``mutable`` is
                False; a parameter is of another kind or shape than the file's, or has numbers of 64
                bits that JAX narrowed before it came here.
        """
        arguments.flags(mutable=mutable)
        enabled = widths.is_enabled()
        with self._width():
            checked = given.parameters(self.file, self.parameters, parameters, enabled)
        if not mutable:
            self._refuse_state()
        result, changed = self._run(checked, inputs, rng)
        return (result, {**checked, **changed}) if mutable else result

    def _refuse_state(self) -> None:
        if self.state:
            raise TypeError(lines([
                f"{self.file}: the model changes the parameters {given.some(self.state)}, and "
                "gives new ones: outputs, parameters = f.apply(parameters, *inputs, mutable=True), "
                "first with f.parameters", *self._program.advice
            ]))  # fmt: skip

    def _width(self) -> AbstractContextManager[Any]:
        """The setting of JAX in which it keeps the numbers of the file."""
        return jax.enable_x64(True) if self._wide else contextlib.nullcontext()

    def _run(
        self, parameters: Mapping[str, Any], inputs: tuple[Any, ...], rng: Any
    ) -> tuple[Any, dict[str, Any]]:
        if not (rng is None or isinstance(rng, jax.Array | np.ndarray)):
            raise TypeError(f"rng must be a jax.random.key, not {type(rng).__name__}")
        if self.draws and rng is None:
            raise TypeError(lines([
                f"{self.file}: the model draws random numbers, as for Dropout in training mode: "
                "give it a key, f(*inputs, rng=jax.random.key(0)), another one in each step",
                *self._program.advice,
            ]))  # fmt: skip
        checks = [self._check] if self._check else []
        if self._wide and not widths.is_enabled():
            checks.append(widths.check_expanded)
        with self._width():
            return self._computed(parameters, inputs, checks, rng)

    def _computed(
        self, parameters: Mapping[str, Any], inputs: tuple[Any, ...], checks: Sequence[Check],
        rng: Any,
    ) -> tuple[Any, dict[str, Any]]:  # fmt: skip
        flat = given.inputs(self.file, self.input_names, self.inputs, inputs)
        self._warn_of_sizes(flat)
        try:
            outputs = evaluate(self.graph, self._meanings, parameters, flat, checks, rng)
        except Exception as error:
            self._explain(error, given.differences(self.input_names, self.inputs, flat))
            raise
        results = iter(map(_array, outputs))
        result = _nested(self._program.result, lambda _: next(results))
        return result, dict(zip(self.state, results, strict=True))

    def _warn_of_sizes(self, flat: Sequence[Any]) -> None:
        """Warn once of inputs for whose sizes the constants of the file may not be right."""
        differing = given.other_sizes(self.input_names, self.inputs, flat)
        if differing and not self._warned:
            self._warned = True
            log.warning(
                "%s: numbers may be wrong where a constant of the file is of its own sizes, such "
                "as the divisor of a mean; a file with dynamic sizes is right for all: %s",
                self.file, "; ".join(differing),
            )  # fmt: skip

    def _explain(self, error: Exception, differences: list[str]) -> None:
        """Tell in an error where it arose, and which inputs are not those of the file.

        Raises:
            FileError: in its place, where JAX has to know a number that it does not.
            ValueError: in its place, where such inputs may be the reason.
        """
        notes = getattr(error, "__notes__", [])  # JAX adds some of its own
        where = next((note for note in notes if note.startswith(IN)), IN)
        if isinstance(error, FileError):
            error.tell(file=self.file, node=where.removeprefix(IN))
        elif isinstance(error, _NOT_KNOWN):
            raise self._program.error(
                "a size, a place or a condition depends on numbers that are not known under jit, "
                "vmap or grad, and in a branch or loop of the model: call it outside, or hold them "
                "fixed: jax.jit(lambda x: f(x, 3))",
                file=self.file, node=where.removeprefix(IN),
            ) from error  # fmt: skip
        elif differences and type(error) in (TypeError, ValueError):
            reason = str(error).strip().partition("\n")[0][:300]
            raise ValueError(lines([
                f"{self.file}: the inputs do not fit, {where} fails on them:", *differences,
                f"  {type(error).__name__}: {reason}",
            ])) from error  # fmt: skip
        else:
            error.add_note(visible(f"in the model {self.file}"))

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
    outputs = graph.outputs[: len(graph.outputs) - len(graph.state)]
    given = graph.results or [""] * sum(map(_array_count, outputs))
    return tuple(name or unique("output") for name in given)


def _array_count(output: Operand) -> int:
    """The number of arrays in a result: a constant may be a tuple, or None, which has none."""
    return len(jax.tree.leaves(output.value)) if isinstance(output, Const) else 1


def _checked(rules: Any) -> Mapping[str, Meaning]:
    known = rules is None or isinstance(rules, Mapping)
    if not known or not all(map(callable, (rules or {}).values())):
        raise TypeError("rules must be a mapping of names of operators to functions")
    return rules or {}


def _meanings(program: Program, known: Mapping[str, Meaning]) -> dict[str, Meaning]:
    """The meaning of each operator of a program.

    Raises:
        FileError: some operators have none; it names them all, and is the program's exception.
    """
    nodes = [node for graph in program.graph.graphs() for node in graph.nodes]
    counts = Counter(node.op for node in nodes if node.op not in FLOW)
    missing = sorted(counts.keys() - known.keys())
    if missing:
        first = {node.op: node for node in reversed(nodes)}
        told = [
            f"  {op} ({counts[op]}), first{place(first[op])}{_why(op)}" for op in missing[:_MOST]
        ]
        more = [f"  and {len(missing) - _MOST} more: {', '.join(missing[_MOST:])}"[:1000]]
        raise program.error(
            f"{display.counted(len(missing), 'operator')} without a meaning in JAX; give each its "
            "own: load(..., rules={'Op': lambda *inputs, **attributes: ...})",
            file=program.path,
            more=[*told, *more[: len(missing) > _MOST], *program.advice],
        )
    return {op: known[op] for op in counts}


#: The errors of JAX that tell of a number which is not known while tracing.
_NOT_KNOWN = (
    jax.errors.ConcretizationTypeError, jax.errors.NonConcreteBooleanIndexError,
    jax.errors.TracerArrayConversionError, jax.errors.TracerIntegerConversionError,
)  # fmt: skip
#: The operators that a message has.
_MOST = 12


def _why(op: str) -> str:
    """The reason why an operator has no meaning, where it is known."""
    why = without.reason(op)
    return f": {why}" if why else ""


def _nested(tree: Any, leaf: Callable[[Any], Any]) -> Any:
    """The same tuples and dicts with other leaves, in the file's order."""
    if isinstance(tree, dict):
        return type(tree)((key, _nested(part, leaf)) for key, part in tree.items())
    if isinstance(tree, tuple) and not isinstance(tree, Const):
        return tuple(_nested(part, leaf) for part in tree)
    return None if tree is None else leaf(tree)


def _struct(value: Value) -> TensorSpec | jax.ShapeDtypeStruct:
    type: Tensor = value.type
    shape = tuple(dim if isinstance(dim, int) else None for dim in type.shape)
    return spec(shape, jax.dtypes.canonicalize_dtype(type.dtype))


def _array(output: Any) -> Any:
    """A result as an array; None stays."""
    if isinstance(output, tuple):
        return tuple(map(_array, output))
    return output if output is None or isinstance(output, str) else jnp.asarray(output)


#: The public names, by the format that users have; MindSpore has no name for either.
AirFunction: TypeAlias = ModelFunction
MindIRFunction: TypeAlias = ModelFunction
