"""A MindIR file, of any MindSpore or ours, to a Graph.

Functions are inlined where they are called. A function that reaches itself by tail calls is a
loop, and becomes a ``While``: what decides whether it goes round, what it passes on, and what it
gives at the end are three views of the same functions, translated one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.errors import MindIRError
from msckpt_jax.lowering.graph import Const, Graph, Node, Operand, Parameter, Tensor, Value
from msckpt_jax.mindir import attributes, blocks, nodes, source
from msckpt_jax.mindir.attributes import MONAD
from msckpt_jax.mindir.blocks import Block, Choice, Closure, leaves, rebuilt, same, structure
from msckpt_jax.mindir.functions import REF, RETURN, Function, Model
from msckpt_jax.mindir.source import DecMode, Source

_DEPTH = 60
_NODES = 200_000  # a few lines of mutual calls can stand for more nodes than there is memory


@dataclass
class Program:
    """A model file as a graph, with the structure of its arguments and its result.

    Attributes:
        graph: all of it. arguments: for each argument its Value, or nested tuples of them.
        result: nested tuples of the graph's outputs. source: the parsed file.
    """

    graph: Graph
    arguments: tuple[Operand, ...]
    result: Operand
    source: Source


def read(file_name: Any, dec_key: bytes | None = None, dec_mode: DecMode = "AES-GCM") -> Program:
    """Read a MindIR file.

    Args:
        file_name: path of the ``.mindir`` file; of a split model, the ``_graph.mindir``.
        dec_key: key of an encrypted file.
        dec_mode: its cipher, or a function of path and key that gives the plain bytes.

    Raises:
        MindIRError: the file is damaged or encrypted otherwise; it recurses, or changes its
            parameters.
    """
    return program(source.open_mindir(file_name, dec_key, dec_mode))


def program(opened: Source) -> Program:
    """The graph of an open file."""
    try:
        return _Translation(opened).program()
    except MindIRError as error:
        if error.file is not None:
            raise
        raise MindIRError(
            error.problem,
            file=opened.path,
            name=error.name,
            expected=error.expected,
            found=error.found,
        ) from None


class _Translation:
    def __init__(self, opened: Source):
        self.source = opened
        self.model = Model(opened.model)
        self.types = nodes.Types()
        self.left = _NODES + 4 * sum(len(f.nodes) for f in self.model.functions.values())
        self.parameters: dict[str, Parameter] = {}
        self.by_name: dict[str, Parameter] = {}
        for proto in opened.model.graph.parameter:
            name = source.parameter_name(proto)
            data = opened.weights[name]
            made = Parameter(Tensor(data.dtype.newbyteorder("="), data.shape), name, data)
            self.parameters[name] = self.by_name[proto.name] = made
        self.constants: dict[str, Any] = {}
        self.active: list[str] = []

    def program(self) -> Program:
        effects = {op or "a call" for f in self.model.functions.values() for op in f.effects}
        if effects:
            raise MindIRError(
                "the network changes its parameters or has other effects, which a function of "
                f"JAX cannot: {', '.join(sorted(effects))}; export it for inference"
            )
        block, root = Block(), self.model.root
        arguments = tuple(self._argument(block, value) for value in root.proto.input)
        result = self.run(block, root, arguments, {RETURN: _identity}, frozenset())
        flat = [block.output(leaf) for leaf in leaves(result) if leaf is not MONAD]
        flat = [out for out in flat if out is not MONAD]
        inputs = [v for v in leaves(arguments) if v is not MONAD]
        graph = Graph(root.name, inputs, block.nodes, flat, self.parameters)
        blocks.prune(graph)
        kept = tuple(a for a in arguments if a is not MONAD)
        return Program(graph, kept, rebuilt(_without_monads(result), iter(flat)), self.source)

    def _argument(self, block: Block, value: pb.ValueInfoProto) -> Any:
        name = value.name.partition(":")[2] or value.name
        if self.model.is_monad(value.name, self.model.root):
            return MONAD

        def made(type: Any, name: str) -> Any:
            if isinstance(type, tuple) and not isinstance(type, Tensor):
                return tuple(made(part, f"{name}.{k}") for k, part in enumerate(type))
            if type is None:
                raise MindIRError("the file says neither dtype nor shape of an input", name=name)
            return block.fresh(type, name)

        return made(self.types.of_value(value), name)

    # -- calls

    def run(
        self,
        block: Block,
        function: Function,
        args: tuple[Any, ...],
        ends: Mapping[str, Any],
        stops: frozenset[str],
    ) -> Any:
        """What a call of ``function`` leads to.

        Args:
            block: where nodes go.
            function: what is called.
            args: its arguments.
            ends: what becomes of a value (RETURN), or of the arguments of a call of a loop's
                header: a Const, or a function of it. What is missing is not reached.
            stops: the headers of all loops around, where following calls ends.
        """
        if len(self.active) > _DEPTH:
            raise MindIRError(f"calls and control flow nest deeper than {_DEPTH}")
        while True:
            env = self._environment(function, args)
            tail = function.tail
            for node in function.live:
                name = node.output[0]
                if name == tail:
                    target = self._target(node, env)
                    break
                env[name] = self.node(block, function, node, env)
            else:
                return _end(ends[RETURN], self.lookup(function.output, env, function))
            while isinstance(target, Choice):
                live = [t for t in (target.then, target.other) if self._reaches(t, ends, stops)]
                constant = self._constant_end(live, ends, stops)
                if constant is not None:
                    return constant
                if len(live) == 2:
                    return self.branch(block, target, ends, stops)
                if not live:
                    raise MindIRError(f"a loop in {function.name!r} never ends")
                target = live[0]
            name, args = target.function, target.args
            constant = self._constant_end([target], ends, stops)
            if constant is not None:
                return constant
            if name in ends:
                return _end(ends[name], args)
            function = self._function(name)
            if name in self.active:
                raise MindIRError(f"the function {name!r} calls itself other than as a loop")
            if name not in stops and name in self.model.ends_after(name, stops | {name}):
                args = self.loop(block, function, args, stops)
                stops = stops | {name}

    def _environment(self, function: Function, args: tuple[Any, ...]) -> dict[str, Any]:
        if len(args) != len(function.inputs):
            raise MindIRError(
                f"{function.name!r} is called with another number of arguments",
                expected=len(function.inputs),
                found=len(args),
            )
        return dict(zip(function.inputs, args, strict=True))

    def _function(self, name: str) -> Function:
        if name not in self.model.functions:
            raise MindIRError(f"there is no function {name!r}")
        return self.model.functions[name]

    def _target(self, node: pb.NodeProto, env: dict[str, Any]) -> Closure | Choice:
        """The closure that a node calls, its arguments added."""
        name = node.op_type.removeprefix(REF)
        callee = Closure(name) if name in self.model.functions else env.get(name)
        args = tuple(self.lookup(arg, env) for arg in node.input)
        return _applied(callee, args, name)

    def _reached(
        self, target: Closure | Choice, ends: Mapping[str, Any], stops: frozenset[str]
    ) -> set[str]:
        if isinstance(target, Choice):
            return self._reached(target.then, ends, stops) | self._reached(
                target.other, ends, stops
            )
        self._function(target.function)
        return set(self.model.ends(target.function, stops)) & set(ends)

    _reaches = _reached

    def _constant_end(
        self, targets: list[Any], ends: Mapping[str, Any], stops: frozenset[str]
    ) -> Const | None:
        """The one constant that all of these calls end with."""
        reached = set().union(*(self._reached(t, ends, stops) for t in targets))
        found = [ends[name] for name in reached]
        constant = bool(found) and all(isinstance(end, Const) and end == found[0] for end in found)
        return found[0] if constant else None

    def call(self, block: Block, node: pb.NodeProto, env: dict[str, Any], owner: Function) -> Any:
        """A call whose result is used by other nodes."""
        target = self._target(node, env)
        self.active.append(owner.name)
        try:
            if isinstance(target, Choice):
                return self.branch(block, target, {RETURN: _identity}, frozenset())
            return self.enter(block, target, {RETURN: _identity}, frozenset())
        finally:
            self.active.pop()

    def enter(
        self, block: Block, target: Closure, ends: Mapping[str, Any], stops: frozenset[str]
    ) -> Any:
        """A call as :meth:`run` has it, of a closure that may be a loop or an end."""
        name, args = target.function, target.args
        if name in ends:
            return _end(ends[name], args)
        if name in self.active:
            raise MindIRError(f"the function {name!r} calls itself other than as a loop")
        function = self._function(name)
        if name not in stops and name in self.model.ends_after(name, stops | {name}):
            args = self.loop(block, function, args, stops)
            stops = stops | {name}
        return self.run(block, function, args, ends, stops)

    # -- control flow

    def branch(
        self, block: Block, choice: Choice, ends: Mapping[str, Any], stops: frozenset[str]
    ) -> Any:
        """An If node, unless the condition or the results are constant."""
        if isinstance(choice.condition, Const):
            side = choice.then if np.all(choice.condition.value) else choice.other
            return self._side(block, side, ends, stops)
        self.active.append("")
        sides = [Block(block), Block(block)]
        results = [
            self._side(inner, side, ends, stops)
            for inner, side in zip(sides, (choice.then, choice.other), strict=True)
        ]
        self.active.pop()
        if structure(results[0]) != structure(results[1]):
            raise MindIRError("the branches of a Switch give results of different structure")
        pairs = list(zip(leaves(results[0]), leaves(results[1]), strict=True))
        condition = nodes.as_bool(block, block.operand(choice.condition))
        if len(pairs) == 1 and all(isinstance(part, Const) for part in pairs[0]):
            values = tuple(part.value for part in pairs[0])
            if values == (True, False):
                return condition
            if values == (False, True):
                return block.add("LogicalNot", (condition,), nodes.BOOL)
        # What both sides take from outside as it is needs no result.
        differ = [k for k, (a, b) in enumerate(pairs) if not same(a, b) or _owned(a, sides)]
        outs = [[side.output(pair[n]) for k, pair in enumerate(pairs) if k in differ]
                for n, side in enumerate(sides)]  # fmt: skip
        made = [block.fresh(nodes.type_of(a, b)) for a, b in zip(*outs, strict=True)]
        outer = list(dict.fromkeys([*sides[0].imports, *sides[1].imports]))
        bodies = tuple(
            Graph(name, [side.value(v) for v in outer], side.nodes, out)
            for name, side, out in zip(("then", "else"), sides, outs, strict=True)
        )
        block.nodes.append(Node("If", (condition, *outer), tuple(made), {}, bodies))
        new = iter(made)
        merged = [next(new) if k in differ else a for k, (a, _) in enumerate(pairs)]
        return rebuilt(results[0], iter(merged))

    def _side(
        self,
        block: Block,
        side: Closure | Choice,
        ends: Mapping[str, Any],
        stops: frozenset[str],
    ) -> Any:
        constant = self._constant_end([side], ends, stops)
        if constant is not None:
            return constant
        if isinstance(side, Choice):
            return self.branch(block, side, ends, stops)
        return self.enter(block, side, ends, stops)

    def loop(
        self, block: Block, header: Function, args: tuple[Any, ...], stops: frozenset[str]
    ) -> tuple[Any, ...]:
        """A While node; gives the header's arguments when the loop is left."""
        inside = stops | {header.name}
        given = list(leaves(args))
        carried: set[int] = set()
        self.active.append("")
        while True:  # what comes back unchanged needs no place in the carry
            step = Block(block)
            inner = _inner(step, given, carried)
            again = {header.name: _identity}
            new = self.run(step, header, rebuilt(args, iter(inner)), again, inside)
            if structure(new) != structure(args):
                raise MindIRError(f"the loop {header.name!r} changes the structure of its carry")
            new = list(leaves(new))
            changed = {
                k for k, pair in enumerate(zip(inner, new, strict=True)) if not same(*pair)
            } - carried
            if not changed:
                break
            carried |= changed
        condition = Block(block)
        inner_condition = _inner(condition, given, carried)
        decide = {name: Const(name == header.name) for name in (*inside, RETURN)}
        go_on = self.run(condition, header, rebuilt(args, iter(inner_condition)), decide, inside)
        self.active.pop()
        if isinstance(go_on, Const):
            raise MindIRError(f"the loop {header.name!r} never ends")
        order = sorted(carried)
        outs = [step.output(new[k]) for k in order]
        test = condition.output(go_on)
        outer = list(dict.fromkeys([*step.imports, *condition.imports]))
        bodies = (
            Graph("condition", _inputs(condition, inner_condition, order, outer),
                  condition.nodes, [test]),
            Graph("step", _inputs(step, inner, order, outer), step.nodes,
                  [*outs, *map(step.value, outer)]),
        )  # fmt: skip
        inputs = (*(block.operand(given[k]) for k in order), *outer)
        made = tuple(block.fresh(nodes.type_of(v)) for v in bodies[1].inputs)
        block.nodes.append(Node("While", inputs, made, {}, bodies))
        left = dict(zip(order, made, strict=False))
        return rebuilt(args, iter([left.get(k, leaf) for k, leaf in enumerate(given)]))

    # -- nodes

    def lookup(self, name: str, env: dict[str, Any], function: Function | None = None) -> Any:
        if name in env:
            return env[name]
        if name in self.constants:
            return self.constants[name]
        if name in self.by_name:
            return self.by_name[name]
        node = self.model.constants.get(name)
        if node is not None:
            if len(node.attribute) != 1:
                raise MindIRError(f"the constant {name!r} has {len(node.attribute)} values")
            self.constants[name] = attributes.constant(node.attribute[0])
            return self.constants[name]
        plain = name.removeprefix(REF)
        if plain in self.model.functions:
            return Closure(plain)
        raise MindIRError(f"{name!r} is used before it is computed, or nothing computes it")

    def node(self, block: Block, function: Function, node: pb.NodeProto, env: Any) -> Any:
        self.left -= 1
        if self.left < 0:
            raise MindIRError("inlining its functions gives too many nodes: no honest file")
        if self.model.is_call(node, function):
            return self.call(block, node, env, function)
        op = self.model.operator(node)
        data = function.data_inputs(node) if op in ("Load", "Depend") else node.input
        args = [self.lookup(name, env) for name in data]
        special: Callable[..., Any] | None = nodes.SPECIAL.get(op)
        if special is not None:
            try:
                return special(block, *args)
            except TypeError:
                raise MindIRError(f"{op} has {len(args)} operands: {node.output[0]!r}") from None
        primitive = self.model.primitives.get(node.op_type.removeprefix(REF))
        types = self.types.of_node(node)
        if types is None and function.items[node.output[0]]:
            types = (None,) * max(2, function.items[node.output[0]])  # a tuple, in any case
        return nodes.plain(block, op, args, nodes.attributes_of(node, primitive), types)


def _identity(binding: Any) -> Any:
    return binding


def _end(end: Any, binding: Any) -> Any:
    return end if isinstance(end, Const) else end(binding)


def _applied(callee: Any, args: tuple[Any, ...], name: str) -> Closure | Choice:
    if isinstance(callee, Choice):
        then = _applied(callee.then, args, name)
        return Choice(callee.condition, then, _applied(callee.other, args, name))
    if isinstance(callee, Closure):
        return Closure(callee.function, callee.args + args)
    raise MindIRError(f"{name!r} is called, but is no function of the file")


def _owned(binding: Any, sides: list[Block]) -> bool:
    return isinstance(binding, Value) and any(binding in side.own for side in sides)


def _inner(block: Block, given: list[Any], carried: set[int]) -> list[Any]:
    """The arguments as a body of the loop has them: those that change are its inputs."""
    return [
        block.fresh(nodes.type_of(leaf), getattr(leaf, "name", "")) if k in carried else leaf
        for k, leaf in enumerate(given)
    ]


def _inputs(block: Block, inner: list[Any], order: list[int], outer: list[Value]) -> list[Value]:
    return [*(inner[k] for k in order), *map(block.value, outer)]


def _without_monads(binding: Any) -> Any:
    if blocks.is_tuple(binding):
        return tuple(_without_monads(part) for part in binding if part is not MONAD)
    return binding
