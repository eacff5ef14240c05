"""Follow the calls and the control flow of a MindIR model into one structured graph.

Functions are inlined where they are called. A function that reaches itself by tail calls is a
loop, and becomes a ``While``: its condition, the values that it passes on, and its result at the
end are three views of the same functions, each translated by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.graph import Graph, Node
from msckpt_jax.graph.values import ABSENT, Const, Parameter, Value
from msckpt_jax.mindir import attributes, effects, nodes
from msckpt_jax.mindir.blocks import (
    NODE,
    Binding,
    Block,
    Choice,
    Closure,
    leaves,
    merged,
    rebuilt,
    same,
    structure,
)
from msckpt_jax.mindir.carry import Carry
from msckpt_jax.mindir.functions import REF, RETURN, Function, Model
from msckpt_jax.mindir.memory import LOST, Frame, Literal, Memory, compared

_DEPTH = 60

#: The ends of calls: RETURN, with a result, or the header of a loop, with its arguments. Each maps
#: to a Const, or to a function of the result or arguments. Ends that are missing are never reached.
Ends: TypeAlias = "Mapping[str, Const | Callable[[Any], Any]]"


class _Ended(NamedTuple):
    result: Binding


def identity(binding: Binding) -> Binding:
    return binding


class Translation:
    def __init__(self, model: Model, types: nodes.Types, parameters: dict[str, Parameter]):
        self.model, self.types, self.parameters = model, types, parameters
        self.budget, self.memory = model.budget, Memory(model.has_effects)
        self.constants: dict[str, attributes.Constant | Literal] = {}
        self.active: list[str] = []  # functions that wait for a result; "" for a branch or loop

    def run(
        self,
        block: Block,
        target: Closure | Choice,
        ends: Ends,
        stops: frozenset[str],
        entered: bool = False,
    ) -> Binding:
        """Follow a call to its end; return the binding that the end gives.

        Args:
            block: the block that gets the nodes.
            target: the function and its arguments.
            ends: the ends that the call may reach.
            stops: the headers of all loops around, which calls are not followed into.
            entered: True if the function itself counts neither as an end nor as a loop.
        """
        if len(self.active) > _DEPTH:
            raise MindIRError(f"calls and control flow nest deeper than {_DEPTH}")
        depth = len(self.memory.frames)
        result = self._followed(block, target, ends, stops, entered)
        del self.memory.frames[depth:]
        return result

    def _followed(
        self, block: Block, target: Closure | Choice, ends: Ends, stops: frozenset[str],
        entered: bool,
    ) -> Binding:  # fmt: skip
        depth = len(self.memory.frames)
        while True:
            callee = target if entered else self._choose(block, target, ends, stops)
            if isinstance(callee, _Ended):
                return callee.result
            assert isinstance(callee, Closure)
            args = callee.args
            if not entered and self._is_loop(callee.function, stops):
                args = self.loop(block, callee, stops)
                stops = stops | {callee.function}
            entered = False
            function = self._function(callee.function)
            env = _environment(function, args)
            del self.memory.frames[depth:]
            self.memory.frames.append(Frame(function))
            for node in function.live:
                self.memory.frames[-1].node = node.output[0]
                if node.output[0] == function.tail:
                    target = self._target(node, env)
                    break
                env[node.output[0]] = self.node(block, function, node, env)
            else:
                return _end(ends[RETURN], self.lookup(function.output, env))

    def _choose(
        self, block: Block, target: Closure | Choice, ends: Ends, stops: frozenset[str]
    ) -> Closure | _Ended:
        """The function that is called, or the result where no more calls are needed."""
        while isinstance(target, Choice):
            sides, condition = (target.then, target.otherwise), target.condition
            live = [side for side in sides if self._reached(side, ends, stops)]
            constant = self._constant_end(live, ends, stops)
            if constant is not None:
                return _Ended(constant)
            if not live:
                raise MindIRError("a loop never ends, or the network always raises an error")
            if len(live) == 2:
                if not isinstance(condition, Const):
                    join = self._join(target, stops) if self.model.joins else None
                    if join is None:
                        return _Ended(self.branch(block, target, ends, stops))
                    args: Any = self.branch(block, target, {join: identity}, stops | {join})
                    target = Closure(join, args)
                    continue
                live = [sides[0 if np.all(condition.value) else 1]]
            target = live[0]
        constant = self._constant_end([target], ends, stops)
        if constant is not None:
            return _Ended(constant)
        if target.function in ends:
            return _Ended(_end(ends[target.function], target.args))
        if target.function in self.active:
            raise MindIRError(
                f"the function {target.function!r} calls itself other than as a loop, as the "
                "gradient of a while loop does: export the network itself, and take jax.grad of it"
            )
        return target

    def _is_loop(self, name: str, stops: frozenset[str]) -> bool:
        return name not in stops and name in self.model.ends_after(name, stops | {name})

    def _function(self, name: str) -> Function:
        if name not in self.model.functions:
            raise MindIRError(f"there is no function {name!r}")
        return self.model.functions[name]

    def _target(self, node: pb.NodeProto, env: dict[str, Binding]) -> Closure | Choice:
        """The closure that a node calls, with the node's arguments added."""
        name = node.op_type.removeprefix(REF)
        callee = Closure(name) if name in self.model.functions else env.get(name)
        return _applied(callee, tuple(self.lookup(arg, env) for arg in node.input), name)

    def _reached(self, target: Closure | Choice, ends: Ends, stops: frozenset[str]) -> set[str]:
        if isinstance(target, Choice):
            then = self._reached(target.then, ends, stops)
            return then | self._reached(target.otherwise, ends, stops)
        self._function(target.function)
        self.budget.spend(1)
        return set(self.model.ends(target.function, stops)) & set(ends)

    def _join(self, choice: Choice, stops: frozenset[str]) -> str | None:
        """A function that all sides of a branch call in the end, the first if there are several."""
        sides = list(_sides(choice))
        todo = list(dict.fromkeys(sides))
        for name in todo:  # grows: in the order of the calls
            if name in stops:
                continue
            if all(self.model.ends(side, stops | {name}) == {name} for side in sides):
                return name
            targets = self._function(name).targets
            todo += [target for target in targets if target not in todo]
        return None

    def _constant_end(
        self, targets: Sequence[Closure | Choice], ends: Ends, stops: frozenset[str]
    ) -> Const | None:
        """The constant with which all of these calls end, or None."""
        reached = set().union(*(self._reached(target, ends, stops) for target in targets))
        results = [ends[name] for name in reached]
        first = results[0] if results else None
        same_end = all(result == first for result in results)
        return first if isinstance(first, Const) and same_end else None

    def branch(self, block: Block, choice: Choice, ends: Ends, stops: frozenset[str]) -> Binding:
        """Add an If node, unless the results are constant; return the merged results."""
        sides = (Block(self.budget, block), Block(self.budget, block))
        condition = block.operand(self.memory.read(block, choice.condition))
        self.active.append("")
        before, results, after = self.memory.contents, [], []
        for side, target in zip(sides, (choice.then, choice.otherwise), strict=True):
            self.memory.contents = dict(before)
            results.append(self.run(side, target, ends, stops))
            after.append(self.memory.contents)
        self.active.pop()
        changed, lost = compared(before, after, sides[0].own | sides[1].own)
        condition = nodes.as_bool(block, condition)
        pairs: list[tuple[Any, Any]] = []

        def paired(a: Any, b: Any) -> Binding:
            pairs.append((a, b))
            return a

        merged(condition, results[0], results[1], paired)
        if not changed and len(pairs) == 1 and all(isinstance(part, Const) for part in pairs[0]):
            values = [np.asarray(part.value) for part in pairs[0]]
            if all(value.dtype == bool and value.ndim == 0 for value in values):
                if values[0] and not values[1]:
                    return rebuilt(results[0], iter([condition]))
                if values[1] and not values[0]:
                    other = block.add("LogicalNot", (condition,), nodes.BOOL)
                    return rebuilt(results[0], iter([other]))
        self.budget.spend(len(pairs))
        # A value that both sides take from outside unchanged needs no result.
        own = sides[0].own | sides[1].own
        differ = [k for k, (a, b) in enumerate(pairs) if _differ(a, b, own)]
        outs = []
        for n, side in enumerate(sides):
            self.memory.contents = after[n]
            parts = [self.memory.read(side, pairs[k][n]) for k in differ]
            parts += map(self.memory.content, changed)
            outs.append(list(map(side.output, parts)))
        made = [block.fresh(nodes.type_of(a, b)) for a, b in zip(*outs, strict=True)]
        contents = dict(zip(changed, made[len(differ) :], strict=True))
        self.memory.contents = before | contents | dict.fromkeys(lost, LOST)
        self.memory.relate([(made[n], *pairs[k]) for n, k in enumerate(differ)], own)
        outer = list(dict.fromkeys([*sides[0].imports, *sides[1].imports]))
        bodies = tuple(
            Graph(name, [side.value(v) for v in outer], side.nodes, out)
            for name, side, out in zip(("then", "else"), sides, outs, strict=True)
        )
        block.nodes.append(Node("If", (condition, *outer), tuple(made), {}, bodies))
        known = dict(zip(differ, made, strict=False))
        outside = [b if a is ABSENT else a for a, b in pairs]
        joint: Iterator[Any] = iter([known.get(k, leaf) for k, leaf in enumerate(outside)])
        return merged(condition, results[0], results[1], lambda a, b: next(joint))

    def loop(self, block: Block, entry: Closure, stops: frozenset[str]) -> tuple[Binding, ...]:
        """Add a While node; return the header's arguments when the loop is left."""
        header, args = entry.function, entry.args
        inside = stops | {header}
        carry = Carry(list(leaves(args)), self.memory)

        def body(ends: Ends) -> tuple[Block, list[Any], Any]:
            inner = Block(self.budget, block)
            self.budget.spend(NODE + len(carry.given) + len(carry.tensors))
            own = carry.enter(inner)
            call = Closure(header, rebuilt(args, iter(own)))
            return inner, own, self.run(inner, call, ends, inside, entered=True)

        self.active.append("")
        while True:  # a value that comes back unchanged needs no place in the carry
            step, own, result = body({header: identity})
            if structure(result) != structure(args):
                raise MindIRError(f"the loop {header!r} changes the structure of its carry")
            new = list(leaves(result))
            if not carry.grows(step, own, new):
                break
        outs, order = carry.outputs(step, new), carry.inputs(own)
        decide = {name: Const(name == header) for name in (*inside, RETURN)}
        condition, tested, go_on = body(decide)
        self.active.pop()
        if isinstance(go_on, Const):
            raise MindIRError(f"the loop {header!r} never ends")
        test = condition.output(self.memory.read(condition, go_on))
        outer = list(dict.fromkeys([*step.imports, *condition.imports]))
        bodies = (
            Graph("condition", [*carry.inputs(tested), *map(condition.value, outer)],
                  condition.nodes, [test]),
            Graph("step", [*order, *map(step.value, outer)], step.nodes,
                  [*outs, *map(step.value, outer)]),
        )  # fmt: skip
        inputs = (*carry.start(block), *outer)
        made = tuple(block.fresh(value.type) for value in bodies[1].inputs)
        block.nodes.append(Node("While", inputs, made, {}, bodies))
        return rebuilt(args, iter(carry.leave(made)))

    def lookup(self, name: str, env: dict[str, Binding]) -> Binding:
        if name in env:
            return env[name]
        if name in self.constants:
            return self.constants[name]
        if name in self.parameters:
            return self.parameters[name]
        node = self.model.constants.get(name)
        if node is not None:
            if len(node.attribute) != 1:
                raise MindIRError(f"the constant {name!r} has {len(node.attribute)} values")
            constant = attributes.constant(node.attribute[0])
            self.constants[name] = self.memory.held(constant)
            return self.constants[name]
        plain = name.removeprefix(REF)
        if plain in self.model.functions:
            return Closure(plain)
        raise MindIRError(f"{name!r} is used before it is computed, or nothing computes it")

    def node(
        self, block: Block, function: Function, node: pb.NodeProto, env: dict[str, Binding]
    ) -> Binding:
        """The value of a node, which becomes a node of the graph unless it is mere structure."""
        count = len(block.nodes)
        try:
            result = self._node(block, function, node, env)
        except MindIRError as error:
            if not self.model.is_call(node, function):
                error.tell(node=nodes.place(node, self.model.operator(node)))
            raise
        for made in block.nodes[count:]:
            made.source = made.source or node.domain
        return result

    def _node(
        self, block: Block, function: Function, node: pb.NodeProto, env: dict[str, Binding]
    ) -> Binding:
        self.budget.spend(NODE)
        if self.model.is_call(node, function):
            self.active.append(function.name)
            ends = {RETURN: identity}
            result = self.run(block, self._target(node, env), ends, frozenset())
            self.active.pop()
            return result
        op = self.model.operator(node)
        args = [self.lookup(name, env) for name in function.data_inputs(node)]
        special = nodes.SPECIAL.get(op)
        if special is not None and len(args) not in special.operands:
            raise MindIRError(f"{op} cannot have {len(args)} operands: {node.output[0]!r}")
        if op in ("Load", "TensorMove") and self.memory.active:
            return self.memory.snapshot(block, args[0])
        if op == "switch_layer":
            args[0] = self.memory.read(block, args[0])
        if special is not None:
            return special.fn(block, *args)
        primitive = self.model.primitives.get(node.op_type.removeprefix(REF))
        types = self.types.of_node(node)
        if types is None and function.items[node.output[0]]:
            count = max(2, function.items[node.output[0]])  # a tuple, in any case
            self.budget.spend(count * NODE)
            types = (None,) * count
        attrs = nodes.attributes_of(node, primitive)
        written = function.writes(node)
        if op in effects.VIEWS and self.memory.active and args and types is not None:
            return self.memory.view(block, op, args, types)
        if written:
            return self.memory.change(block, op, args, written, attrs, types)
        inputs = [self.memory.read(block, arg) for arg in args]
        result = nodes.plain(block, op, inputs, attrs, types)
        if op in effects.RANDOM:
            self.memory.draw(block)
        return result


def _sides(target: Closure | Choice) -> Iterator[str]:
    """Yield the functions of which one is called."""
    if isinstance(target, Choice):
        yield from _sides(target.then)
        yield from _sides(target.otherwise)
    else:
        yield target.function


def _differ(a: Any, b: Any, own: Container[Any]) -> bool:
    """Tell whether a result of two branches, with values of their ``own``, is a result of each."""
    if a is ABSENT or b is ABSENT:
        return not isinstance(b if a is ABSENT else a, Const | attributes.Monad)
    return not same(a, b) or (isinstance(a, Value) and a in own)


def _environment(function: Function, args: tuple[Binding, ...]) -> dict[str, Binding]:
    if len(args) != len(function.inputs):
        raise MindIRError(
            f"the function {function.name!r} is called with another number of arguments",
            expected=len(function.inputs),
            found=len(args),
        )
    return dict(zip(function.inputs, args, strict=True))


def _end(end: Const | Callable[[Any], Any], binding: Binding) -> Binding:
    return end if isinstance(end, Const) else end(binding)


def _applied(callee: Binding | None, args: tuple[Binding, ...], name: str) -> Closure | Choice:
    if isinstance(callee, Choice):
        then = _applied(callee.then, args, name)
        return Choice(callee.condition, then, _applied(callee.otherwise, args, name))
    if isinstance(callee, Closure):
        return Closure(callee.function, callee.args + args)
    raise MindIRError(f"{name!r} is called, but is no function of the file")
