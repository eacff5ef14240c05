"""The functions of a MindIR model, and where their calls lead.

MindSpore writes control flow as functions that call each other last of all (measured with
MindSpore 2.10.0): ``if`` is a call of the function that ``Switch`` chose, ``while`` a function (the
header) that its body calls again.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator

from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.errors import MindIRError
from msckpt_jax.mindir import effects
from msckpt_jax.mindir.blocks import Budget

REF = "REF::"
#: The nodes that a file may have, beside those in proportion to its own, without joins.
_SMALL = 5_000
#: The positions of operands that only order effects, by operator.
_ORDER_ONLY = {"Depend": slice(1, None), "UpdateState": slice(0, None), "Load": slice(1, None)}


class Function:
    """A graph of the file, and the facts that are known without running it.

    Attributes:
        inputs: the names of the inputs.
        output: the name of the result.
        items: the number of parts of a value that ``TupleGetItem`` asks for, by the value's name.
        tail: the name of the call whose result is the function's, or None.
    """

    def __init__(self, proto: pb.GraphProto, model: Model):
        self.name, self.proto, self.model = proto.name, proto, model
        self.inputs = [value.name for value in proto.input]
        if len(set(self.inputs)) < len(self.inputs):
            raise MindIRError(f"two inputs of {self.name!r} have the same name")
        self.nodes = {}
        for node in proto.node:
            if len(node.output) != 1:
                raise MindIRError(f"a node of {self.name!r} has {len(node.output)} outputs")
            if node.output[0] in self.nodes or node.output[0] in self.inputs:
                raise MindIRError(f"two values of {self.name!r} have the name {node.output[0]!r}")
            self.nodes[node.output[0]] = node
        if len(proto.output) > 1:
            made = pb.NodeProto(op_type="MakeTuple", output=[f"{self.name}:results"])
            made.input.extend(value.name for value in proto.output)
            self.nodes[made.output[0]] = made
            self.output = made.output[0]
        elif proto.output:
            self.output = proto.output[0].name
        else:
            raise MindIRError(f"the graph {self.name!r} has no output")

    @functools.cached_property
    def monads(self) -> set[str]:
        """The names of the inputs that order effects."""
        return {
            value.name
            for value in self.proto.input
            if value.denotation.endswith("MonadType") or _is_monad(value.attr_info)
        }

    def _reached(self, inputs: Callable[[pb.NodeProto], Iterable[str]]) -> set[str]:
        reached, todo = {self.output}, [self.output]
        while todo:
            node = self.nodes.get(todo.pop())
            for name in () if node is None else inputs(node):
                if name not in reached:
                    reached.add(name)
                    todo.append(name)
        return reached

    @functools.cached_property
    def live(self) -> list[pb.NodeProto]:
        """The nodes that the result needs, in order, and those that have effects before it."""
        every = self.model.has_effects
        needed = self._reached(self._inputs if every else self.data_inputs)
        return [
            node
            for name, node in self.nodes.items()
            if name in needed and node.op_type != "Constant"
        ]

    @functools.cached_property
    def ordered(self) -> dict[str, str]:
        """The nodes that a monad orders, by name, and their operators; "" is a call."""
        monads = {name for name in self.inputs if self.model.is_monad(name, self)}
        monads |= {name for name in self.nodes if self.model.is_monad(name, self)}
        nodes = {}
        for name, node in self.nodes.items():
            op = self.model.operator(node)
            if op == "UpdateState":
                monads.add(name)
            elif any(name in monads or self.model.is_monad(name, self) for name in node.input):
                nodes[name] = op
        return nodes

    def writes(self, node: pb.NodeProto) -> tuple[int, ...]:
        """The positions of the operands that a node changes in place."""
        op = self.model.operator(node)
        if op in effects.THROUGH_LOADS and self._moves(node, effects.THROUGH_LOADS[op]):
            return effects.WRITES[op]
        return effects.written(op, node.output[0] in self.ordered)

    def _moves(self, node: pb.NodeProto, flag: int) -> bool:
        """Tell whether the operand at ``flag`` is true, and the one that would change a tensor."""
        changed = effects.WRITES[self.model.operator(node)][0]
        known = len(node.input) > flag and node.input[changed] not in self.model.constants
        return known and bool(self.model.constant_int(node.input[flag], self))

    @functools.cached_property
    def unknown_effects(self) -> list[pb.NodeProto]:
        """The nodes with effects that are not known, or that the result does not wait for."""
        needed, live = self._reached(self.data_inputs), self._reached(self._inputs)
        known = effects.HARMLESS | effects.VIEWS | effects.RANDOM

        def is_known(name: str, op: str) -> bool:
            node = self.nodes[name]
            if self.writes(node):
                return name in live
            inert = name in needed and not self.model.has_attribute(node, "side_effect_mem")
            return op in known or inert

        unknown = (name for name, op in self.ordered.items() if op and not is_known(name, op))
        return [self.nodes[name] for name in unknown]

    def precedes(self, first: str, then: str) -> bool:
        """Tell whether a node needs another, directly or not, orders included."""
        return bool(self._before[then] >> self._number[first] & 1)

    @functools.cached_property
    def _number(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.nodes)}

    @functools.cached_property
    def _before(self) -> dict[str, int]:
        """The nodes that each node needs, as bits."""
        before: dict[str, int] = {}
        for name, node in self.nodes.items():
            bits = 1 << self._number[name]
            for operand in self._inputs(node):
                bits |= before.get(operand, 0)
            before[name] = bits
        return before

    def _inputs(self, node: pb.NodeProto) -> list[str]:
        """All operands of a node, and the function value that it calls."""
        callee = node.op_type.removeprefix(REF)
        return [*node.input, *([callee] if callee in self.nodes else [])]

    def data_inputs(self, node: pb.NodeProto) -> list[str]:
        """The operands of a node that carry data, and the function value that it calls."""
        order = _ORDER_ONLY.get(self.model.operator(node))
        names = list(node.input)
        if order is not None:
            del names[order]
        callee = node.op_type.removeprefix(REF)
        if callee in self.nodes:
            names.append(callee)
        return names

    @functools.cached_property
    def items(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for node in self.live:
            if self.model.operator(node) == "TupleGetItem" and len(node.input) == 2:
                index = self.model.constant_int(node.input[1], self)
                counts[node.input[0]] = max(counts[node.input[0]], index + 1)
        return counts

    @functools.cached_property
    def tail(self) -> str | None:
        users = defaultdict(list)
        for node in self.live:
            for name in self.data_inputs(node):
                users[name].append(node.output[0])
        name, passed = self.output, set[str]()
        while name in self.nodes and self.model.operator(self.nodes[name]) == "Depend":
            before = (*self.nodes[name].input, "")[0]
            if users[before] != [name] or before in passed:
                return None
            passed.add(before)
            name = before
        node = self.nodes.get(name)
        if node is None or not self.model.is_call(node, self) or self._acts_after(name):
            return None
        return name

    def _acts_after(self, name: str) -> bool:
        """Tell whether a node that comes after this one may have an effect."""
        if not self.model.has_effects:
            return False
        names = [node.output[0] for node in self.live]
        after = self.live[names.index(name) + 1 :]
        return any(self.writes(node) or self.model.is_call(node, self) for node in after)

    @functools.cached_property
    def raises(self) -> bool:
        """Tell whether the function only raises an error."""
        return any(self.model.operator(node) == "raise" for node in self.live)

    @functools.cached_property
    def targets(self) -> list[str]:
        """The functions that the tail call may go to, as far as the file tells."""
        return list(self._targets())

    def _targets(self) -> Iterator[str]:
        if self.tail is not None:
            todo = [self.nodes[self.tail].op_type.removeprefix(REF)]
            seen = set(todo)
            while todo:
                name = todo.pop()
                if name in self.model.functions:
                    yield name
                    continue
                for choice in self._chosen(name):
                    if choice not in seen:
                        seen.add(choice)
                        todo.append(choice)

    def _chosen(self, name: str) -> list[str]:
        """The functions that a function value may stand for."""
        node = self.nodes.get(name)
        op = "" if node is None else self.model.operator(node)
        if node is None or op not in ("Partial", "Switch"):
            return []
        choices = node.input[:1] if op == "Partial" else node.input[1:]
        return [choice.removeprefix(REF) for choice in choices]


class Model:
    """The functions, primitives and constants of a file, by name.

    Attributes:
        joins: whether what comes after a branch is followed once. Otherwise it is followed from
            each side, which keeps apart what is known of sizes there, but takes twice the nodes.
    """

    def __init__(self, proto: pb.ModelProto, joins: bool = True):
        self.proto, self.joins = proto, joins
        self.primitives = {}
        for primitive in proto.primitives:
            if primitive.name in self.primitives:
                raise MindIRError(f"two primitives have the name {primitive.name!r}")
            self.primitives[primitive.name] = primitive
        self.constants: dict[str, pb.NodeProto] = {}
        self.functions: dict[str, Function] = {}
        for graph in (*proto.functions, proto.graph):
            if graph.name in self.functions:
                raise MindIRError(f"two graphs have the name {graph.name!r}")
            function = Function(graph, self)
            self.functions[graph.name] = function
            for node in graph.node:
                if node.op_type == "Constant":
                    if node.output[0] in self.constants:
                        raise MindIRError(f"two constants have the name {node.output[0]!r}")
                    self.constants[node.output[0]] = node
        self._refuse_shadows(proto.graph.parameter)
        self.root = self.functions[proto.graph.name]
        count = sum(len(function.nodes) for function in self.functions.values())
        self.budget = Budget(count) if joins else Budget(count, _SMALL)

    def _refuse_shadows(self, parameters: Iterable[pb.TensorProto]) -> None:
        taken = {name for f in self.functions.values() for name in (*f.nodes, *f.inputs)}
        for parameter in parameters:
            if parameter.name in taken:
                raise MindIRError(f"a parameter and another value have the name {parameter.name!r}")
            taken.add(parameter.name)

    @functools.cached_property
    def has_effects(self) -> bool:
        """Tell whether a node of a function changes a tensor in place, or draws a number."""
        return any(
            function.writes(node) or self.operator(node) in effects.RANDOM
            for function in self.functions.values()
            for node in function.nodes.values()
        )

    def has_attribute(self, node: pb.NodeProto, name: str) -> bool:
        primitive = self.primitives.get(node.op_type.removeprefix(REF))
        own = [] if primitive is None else primitive.attribute
        return any(attribute.name == name for attribute in (*own, *node.attribute))

    def operator(self, node: pb.NodeProto) -> str:
        """MindSpore's name of the operator; "" for the call of a function."""
        if not node.op_type.startswith(REF):
            return node.op_type
        primitive = self.primitives.get(node.op_type[len(REF) :])
        return "" if primitive is None else primitive.op_type

    def is_call(self, node: pb.NodeProto, function: Function) -> bool:
        return self.operator(node) == "" or self.names_function(node.op_type, function)

    def names_function(self, name: str, function: Function) -> bool:
        """Tell whether an operand is a function, or a value of the graph that may be a function."""
        name = name.removeprefix(REF)
        return name in self.functions or name in function.nodes

    def is_monad(self, name: str, function: Function) -> bool:
        node = self.constants.get(name)
        if node is not None:
            return _is_monad(node.attribute[0]) if node.attribute else False
        return name in function.monads

    def constant_int(self, name: str, function: Function) -> int:
        node = function.nodes.get(name) or self.constants.get(name)
        if node is None or node.op_type != "Constant" or not node.attribute:
            return 0
        value = node.attribute[0]
        return max(value.ints[0] if value.ints else value.i, 0)

    @functools.cache  # noqa: B019 - lives as long as the model
    def ends(self, name: str, stops: frozenset[str]) -> frozenset[str]:
        """The ends of a call of a function by tail calls: some of ``stops``, or RETURN."""
        if name in stops:
            return frozenset((name,))
        return self.ends_after(name, stops)

    def ends_after(self, name: str, stops: frozenset[str]) -> frozenset[str]:
        """The ends of the calls that the function itself makes, even if it is one of ``stops``."""
        ends, seen, todo = set(), {name}, [name]
        while todo:
            function = self.functions[todo.pop()]
            targets = function.targets
            self.budget.spend(1 + len(targets))
            if not targets and not function.raises:
                ends.add(RETURN)
            for target in targets:
                if target in stops:
                    ends.add(target)
                elif target not in seen:
                    seen.add(target)
                    todo.append(target)
        return frozenset(ends)


#: The end of a function that gives a value. No function has this name: names are never empty.
RETURN = ""


def _is_monad(attribute: pb.AttributeProto) -> bool:
    kinds = pb.AttributeProto.AttributeType
    return attribute.ref_attr_name.startswith("Monad:") or attribute.type in (
        kinds.Value("UMONAD"),
        kinds.Value("IOMONAD"),
    )
