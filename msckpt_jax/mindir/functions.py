"""The functions of a MindIR model, and where their calls lead.

MindSpore writes control flow as functions that call each other last of all (measured with
MindSpore 2.10.0): ``if`` is a call of the function that ``Switch`` chose, ``while`` a function (the
header) that its body calls again.
"""

from __future__ import annotations

import functools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.errors import MindIRError
from msckpt_jax.mindir.blocks import Budget

REF = "REF::"
#: The positions of operands that only order effects, by operator.
_ORDER_ONLY = {"Depend": slice(1, None), "UpdateState": slice(0, None), "Load": slice(1, None)}
#: Effects that can be left out, because they change no value.
_HARMLESS = {"Load", "UpdateState", "Depend", "Print", "Switch", "Partial", "MakeTuple"}


class Function:
    """A graph of the file, and the facts that are known without running it.

    Attributes:
        inputs: the names of the inputs.
        output: the name of the result.
        live: the nodes that the result needs, in order.
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

    @functools.cached_property
    def needed(self) -> set[str]:
        needed, todo = {self.output}, [self.output]
        while todo:
            node = self.nodes.get(todo.pop())
            for name in () if node is None else self.data_inputs(node):
                if name not in needed:
                    needed.add(name)
                    todo.append(name)
        return needed

    @functools.cached_property
    def live(self) -> list[pb.NodeProto]:
        return [
            node
            for name, node in self.nodes.items()
            if name in self.needed and node.op_type != "Constant"
        ]

    @functools.cached_property
    def effects(self) -> list[str]:
        """The operators of nodes that are there for an effect only."""
        monads = {name for name in self.inputs if self.model.is_monad(name, self)}
        operators = []
        for name, node in self.nodes.items():
            op = self.model.operator(node)
            if op == "UpdateState" or self.model.is_monad(name, self):
                monads.add(name)
            elif name not in self.needed and op not in _HARMLESS and monads & set(node.input):
                operators.append(op)
        return operators

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
        name, passed = self.output, set()
        while name in self.nodes and self.model.operator(self.nodes[name]) == "Depend":
            before = (*self.nodes[name].input, "")[0]
            if users[before] != [name] or before in passed:
                return None
            passed.add(before)
            name = before
        node = self.nodes.get(name)
        return name if node is not None and self.model.is_call(node, self) else None

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
    """The functions, primitives and constants of a file, by name."""

    def __init__(self, proto: pb.ModelProto):
        self.proto = proto
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
        self.budget = Budget(sum(len(function.nodes) for function in self.functions.values()))

    def _refuse_shadows(self, parameters: Iterable[pb.TensorProto]) -> None:
        taken = {name for f in self.functions.values() for name in (*f.nodes, *f.inputs)}
        for parameter in parameters:
            if parameter.name in taken:
                raise MindIRError(f"a parameter and another value have the name {parameter.name!r}")
            taken.add(parameter.name)

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
