"""The contents of tensors while the functions of a file are followed.

Operators that change a tensor in place give it a new content: a value of the graph. A tensor is
known by the value (or the parameter) that it was first; who reads it gets its present content.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from msckpt_jax.errors import MindIRError
from msckpt_jax.graph.evaluate import DRAWS
from msckpt_jax.graph.graph import Node
from msckpt_jax.graph.values import UNKNOWN, Const, Operand, Size, Tensor, Value
from msckpt_jax.mindir import effects, nodes
from msckpt_jax.mindir.attributes import MONAD
from msckpt_jax.mindir.blocks import Binding, Block, is_tuple
from msckpt_jax.mindir.functions import Function


@dataclass(eq=False, slots=True)
class Snapshot(Value):
    """The content that a tensor, ``source``, had when it was loaded. Nothing can change it."""

    of: Any = None
    source: Any = None


@dataclass(eq=False, slots=True)
class Literal(Value):
    """A tensor that is a constant of the file."""

    of: Any = None


@dataclass(eq=False, slots=True)
class View(Value):
    """A sight of another tensor: the result, or a part of the results, of an operator on it."""

    base: Any = None
    op: str = ""
    args: tuple[Operand, ...] = ()
    part: int | None = None
    types: tuple[Tensor, ...] = ()


class _Lost:
    """The content of a tensor that may, or may not, be the same as another that was changed."""


LOST = _Lost()


class Frame:
    """A function that is being followed, and what its nodes have read and changed so far."""

    def __init__(self, function: Function):
        self.function, self.node = function, ""
        self._seen: defaultdict[Value, list[tuple[str, bool]]] = defaultdict(list)

    def note(self, tensor: Value, changed: bool) -> None:
        """Take down that the present node reads or changes a tensor.

        Raises:
            MindIRError: the file leaves open whether a change comes before or after.
        """
        for name, did in self._seen[tensor]:
            clash = (changed or did) and name != self.node
            if clash and not self.function.precedes(name, self.node):
                raise MindIRError(
                    f"{self.node!r} and {name!r} use the same tensor, at least one of them changes "
                    "it in place, and the file does not say which comes first"
                )
        self._seen[tensor].append((self.node, changed))


class Memory:
    """The present contents of all tensors that were changed.

    Attributes:
        active: False for a file that changes no tensors, whose values are their own contents.
        contents: the contents that differ from what the tensor was first.
        frames: the functions that are being followed, the outermost first.
        draws: the tensor that counts the random numbers drawn.
        related: for each tensor those that may be the same, which is known only at run time.
    """

    def __init__(self, active: bool):
        self.active = active
        self.draws = Value(Tensor(np.dtype(np.uint32), ()), "draws")
        self.contents: dict[Value, Any] = {self.draws: Const(np.zeros((), np.uint32))}
        self.frames: list[Frame] = []
        self.related: dict[Value, frozenset[Value]] = {}

    def held(self, constant: Any) -> Any:
        """A constant of the file, as a binding."""
        if not (self.active and isinstance(constant, Const)):
            return constant
        if not isinstance(constant.value, np.ndarray):
            return constant
        type = Tensor(constant.value.dtype.newbyteorder("="), constant.value.shape)
        return Literal(type, "", constant)

    def read(self, block: Block, binding: Binding) -> Any:
        """The present content of a binding, as an operand of nodes in ``block``."""
        if not self.active:
            return binding
        if isinstance(binding, Size):
            return Size(self.read(block, binding.of), binding.axis)
        if is_tuple(binding):
            return tuple(self.read(block, part) for part in binding if part is not MONAD)
        if isinstance(binding, Snapshot):
            return binding.of
        if isinstance(binding, View):
            return self._seen_through(block, binding)
        if not isinstance(binding, Value):
            return binding
        self._note(binding, changed=False)
        return self.content(binding)

    def content(self, tensor: Value) -> Any:
        content = self.contents.get(tensor, tensor.of if isinstance(tensor, Literal) else tensor)
        if content is LOST:
            raise MindIRError(
                "a tensor is read that may be the same as one that was changed in place, or not: "
                "which, is known only when the model runs; copy it where it is made",
                name=tensor.name or None,
            )
        return content

    def snapshot(self, block: Block, binding: Binding) -> Binding:
        content = self.read(block, binding)
        known = isinstance(content, Value)
        return Snapshot(content.type, content.name, content, binding) if known else content

    def view(self, block: Block, op: str, args: list[Binding], types: Any) -> Binding:
        """Another sight of the first operand, or several."""
        rest = tuple(self.read(block, arg) for arg in args[1:] if arg is not MONAD)
        parts: list[tuple[Any, int | None]] = [(types, None)]
        if not isinstance(types, Tensor):
            parts = [(type, k) for k, type in enumerate(types)]
        of = tuple(UNKNOWN if type is None else type for type, _ in parts)
        views = tuple(
            View(type, "", args[0], op, rest, k, of) for type, (_, k) in zip(of, parts, strict=True)
        )
        return views[0] if isinstance(types, Tensor) else views

    def change(
        self, block: Block, op: str, args: list[Binding], written: tuple[int, ...],
        attrs: dict[str, Any], types: Any,
    ) -> Binding:  # fmt: skip
        """Add a node of an operator that changes operands; return its result."""
        if written[-1] >= len(args):
            raise MindIRError(f"{op} cannot have {len(args)} operands")
        tensors = [args[k] for k in written]
        if op in effects.THROUGH_LOADS:
            tensors = [t.source if isinstance(t, Snapshot) else t for t in tensors]
            attrs = {**attrs, "moves": True}
        own: tuple[Any, ...] = (None,) * effects.OWN_RESULTS.get(op, 0)
        several = isinstance(types, tuple) and not isinstance(types, Tensor)
        if own and several:  # of some files only the types of those that are used are known
            own = (*types, *own)[: max(len(own), len(types))]
        elif len(own) == 1:
            own = (types,)
        if len(own) != effects.OWN_RESULTS.get(op, 0):
            raise MindIRError(f"{op} cannot have {len(own)} results")
        inputs = [self.read(block, arg) for arg in args]
        kinds = tuple(nodes.type_of(tensor) for tensor in tensors)
        results: Any = nodes.plain(block, op, inputs, attrs, (*own, *kinds))
        known: Any = tuple(
            self.write(block, op, tensor, content)
            for tensor, content in zip(tensors, results[len(own) :], strict=True)
        )
        if own:
            return results[0] if len(own) == 1 else results[: len(own)]
        return known if several else known[0]

    def draw(self, block: Block) -> None:
        """Let the last node draw random numbers that no other draws."""
        count, node = self.contents[self.draws], block.nodes[-1]
        node.inputs += (block.operand(count),)
        node.attrs = {**node.attrs, DRAWS: True}
        if isinstance(count, Const):
            more: Any = Const(np.asarray(count.value + 1, np.uint32))
        else:
            operands = (block.operand(count), Const(np.ones((), np.uint32)))
            more = block.add("Add", operands, self.draws.type)
        self.contents[self.draws] = more

    def _seen_through(self, block: Block, view: View) -> Value:
        base = block.operand(self.read(block, view.base))
        outputs = tuple(block.fresh(type) for type in view.types)
        args = map(block.operand, view.args)
        block.nodes.append(Node(view.op, (base, *args), outputs))
        return outputs[view.part or 0]

    def write(self, block: Block, op: str, tensor: Binding, content: Value) -> Value:
        """Change a tensor, or what a view shows of one; return the tensor as it is known now."""
        if isinstance(tensor, View):
            base = block.operand(self.read(block, tensor.base))
            out = block.fresh(tensor.base.type)
            attrs = {"view": tensor.op, "part": tensor.part}
            args = map(block.operand, tensor.args)
            block.nodes.append(Node("WriteThroughView", (base, content, *args), (out,), attrs))
            self.write(block, op, tensor.base, out)
            return tensor
        if isinstance(tensor, Literal):  # a constant is no variable: what comes is a new tensor
            self._note(tensor, changed=True)
            self.contents[tensor] = LOST
            return content
        if isinstance(tensor, Snapshot) or not isinstance(tensor, Value):
            raise MindIRError(f"{op} changes a value that is no tensor of the network")
        self._note(tensor, changed=True)
        self.contents[tensor] = content
        for other in self.related.get(tensor, ()):
            self.contents[other] = LOST
        return tensor

    def relate(self, groups: Iterable[Iterable[Binding]], hidden: Container[Value] = ()) -> None:
        """Take down that the tensors of each group may be the same.

        Groups with a tensor in common become one. ``hidden`` are those that nobody sees any more.
        """
        tensors = (set[Value]().union(*map(self.same_as, group)) for group in groups)
        for group in joined(tensors):
            seen = {tensor for tensor in group if tensor not in hidden}
            for tensor in seen:
                self.related[tensor] = self.related.get(tensor, frozenset()) | (seen - {tensor})

    def same_as(self, binding: Binding) -> set[Value]:
        """The tensors that a binding is, or may be."""
        tensor = root(binding)
        return set() if tensor is None else {tensor, *self.related.get(tensor, ())}

    def _note(self, tensor: Value, changed: bool) -> None:
        for frame in self.frames:
            frame.note(tensor, changed)


def root(binding: Binding) -> Value | None:
    """The tensor that a binding shows, if that can be changed in place."""
    while isinstance(binding, View):
        binding = binding.base
    if isinstance(binding, Snapshot | Literal) or not isinstance(binding, Value):
        return None
    return binding


_T = TypeVar("_T")


def joined(groups: Iterable[set[_T]]) -> list[set[_T]]:
    """The groups, those with a member in common as one."""
    out: list[set[_T]] = []
    for group in groups:
        apart = [other for other in out if other.isdisjoint(group)]
        out = [*apart, group.union(*(other for other in out if not other.isdisjoint(group)))]
    return out


def compared(
    before: dict[Value, Any], after: Sequence[dict[Value, Any]], hidden: Container[Value]
) -> tuple[list[Value], list[Value]]:
    """The tensors that were changed: those whose contents are known after it, and those lost.

    Args:
        before: the contents before.
        after: those at each end.
        hidden: the tensors that are not there any more.
    """
    changed = dict.fromkeys(
        tensor
        for contents in after
        for tensor, content in contents.items()
        if content is not before.get(tensor) and tensor not in hidden
    )
    lost = {tensor for tensor in changed for contents in after if contents.get(tensor) is LOST}
    lost |= {tensor for tensor in changed if before.get(tensor) is LOST}
    return [tensor for tensor in changed if tensor not in lost], list(lost)
