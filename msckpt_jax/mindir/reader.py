"""Read a MindIR file, written by any MindSpore or by us, into a Graph."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.errors import MindIRError
from msckpt_jax.graph import nesting
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.program import Program
from msckpt_jax.graph.values import Operand, Parameter, Tensor
from msckpt_jax.mindir import blocks, calls, nodes, source
from msckpt_jax.mindir.attributes import MONAD, Monad, Type
from msckpt_jax.mindir.blocks import Binding, Block, Choice, Closure, leaves, rebuilt
from msckpt_jax.mindir.functions import RETURN, Model
from msckpt_jax.mindir.source import DecMode, Source
from msckpt_jax.visible import log

if TYPE_CHECKING:
    from msckpt_jax.transforms import Pipeline


def read(
    file_name: Any,
    dec_key: bytes | None = None,
    dec_mode: DecMode = "AES-GCM",
    mmap: bool = True,
) -> Program:
    """Read a MindIR file.

    Args:
        file_name: the path of the ``.mindir`` file; for a split model, of the ``_graph.mindir``.
        dec_key: the key of an encrypted file.
        dec_mode: its cipher, or a function of path and key that gives the plain bytes.
        mmap: whether the files are mapped, or read.

    Raises:
        MindIRError: the file is damaged or encrypted otherwise, or its network recurses or has
            effects that are not known.
        FileNotFoundError: there is no such file.
    """
    return program(source.open_mindir(file_name, dec_key, dec_mode, mmap))


def program(opened: Source) -> Program:
    """The graph of an open file, with its arguments and its result."""
    try:
        try:
            return _program(opened, Model(opened.model, joins=False))
        except blocks.TooLargeError:  # one branch after another: each doubles what comes after it
            return _program(opened, Model(opened.model))
    except MindIRError as error:
        error.tell(file=opened.path)
        raise


def _program(opened: Source, model: Model) -> Program:
    _refuse_effects(model)
    parameters = dict(_parameters(opened))
    types = nodes.Types()
    block = Block(model.budget)
    arguments = tuple(_argument(block, value, model, types) for value in model.root.proto.input)
    by_name = {p.name: parameters[source.parameter_name(p)] for p in opened.model.graph.parameter}
    translation = calls.Translation(model, types, by_name)
    root = Closure(model.root.name, arguments)
    result = translation.run(block, root, {RETURN: calls.identity}, frozenset(), entered=True)
    if any(function.raises for function in model.functions.values()):
        log.warning(
            "%s: MindSpore raises an error of the network's own for some inputs, where a function "
            "of JAX gives numbers", opened.path,
        )  # fmt: skip
    result = _data(result)
    memory = translation.memory
    outputs = [block.output(memory.read(block, leaf)) for leaf in leaves(result)]
    inputs = [value for value in leaves(arguments) if value is not MONAD]
    state = {p: memory.content(p) for p in parameters.values()}
    changed = [parameter for parameter, content in state.items() if content is not parameter]
    results = [*outputs, *(block.output(state[parameter]) for parameter in changed)]
    graph = Graph(model.root.name, inputs, block.nodes, results, parameters)
    blocks.prune(graph)
    graph.results = source.result_names(opened.model, len(outputs))
    graph.state = [parameter.name for parameter in changed]
    kept: Any = tuple(argument for argument in arguments if not isinstance(argument, Monad))
    whole: Any = rebuilt(result, iter(outputs))
    told = source.nesting_note(opened.model)
    if told:
        try:
            kept, whole = nesting.nested(told, inputs, outputs)
        except ValueError as error:
            raise MindIRError(str(error)) from None
    graph.nesting = told or nesting.note(kept, whole)
    return Program(
        opened.path,
        "MindIRFunction",
        graph,
        kept,
        whole,
        MindIRError,
        _advice(opened.model),
        lambda: _pipeline(opened),
    )


def _refuse_effects(model: Model) -> None:
    unknown = [node for function in model.functions.values() for node in function.unknown_effects]
    first = {model.operator(node): node for node in reversed(unknown)}
    if first:
        told = [f"  {nodes.place(first[op], op)}" for op in sorted(first)]
        raise MindIRError(
            "the network has operators with effects that a function of JAX cannot have, that are "
            "not known here, or that its result does not wait for:",
            more=[*told[:_MOST], *_advice(model.proto)],
        )


#: The operators that a message has.
_MOST = 12
_TRAINING = (
    "  the file was exported in training mode; for inference, in MindSpore: net.set_train(False) "
    "before export",
)


def _advice(model: pb.ModelProto) -> tuple[str, ...]:
    """The advice for a network that was in training mode when it was exported."""
    training = any(each.name == "training" and each.i for each in model.graph.attribute)
    return _TRAINING if training else ()


def _pipeline(opened: Source) -> Pipeline | None:
    from msckpt_jax.mindir import preprocessor  # the transforms, only where they are used

    return preprocessor.pipeline_of(opened.model, opened.path)


def _parameters(opened: Source) -> Iterator[tuple[str, Parameter]]:
    for name, data in opened.weights.items():
        type = Tensor(data.dtype.newbyteorder("="), data.shape)
        yield name, Parameter(type, name, data)


def _argument(
    block: Block, value: pb.ValueInfoProto, model: Model, types: nodes.Types
) -> Operand | Monad:
    name = value.name.partition(":")[2] or value.name
    if model.is_monad(value.name, model.root):
        return MONAD

    def made(type: Type, name: str) -> Operand:
        if isinstance(type, tuple) and not isinstance(type, Tensor):
            return tuple(made(part, f"{name}.{k}") for k, part in enumerate(type))
        if type is None:
            raise MindIRError(
                "the file says neither dtype nor rank of an input: export it with a shape of that "
                "rank, in MindSpore Tensor(shape=[None, None], dtype=...)",
                name=name,
            )
        return block.fresh(type, name)

    return made(types.of_value(value), name)


def _data(binding: Binding) -> Binding:
    """The result without monads."""
    if blocks.is_tuple(binding):
        return tuple(_data(part) for part in binding if part is not MONAD)
    if isinstance(binding, Closure | Choice):
        raise MindIRError("the result is a function, which cannot be used as data")
    return binding
