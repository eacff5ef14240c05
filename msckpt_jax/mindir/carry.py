"""What a loop passes from round to round: its header's arguments, and contents of tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from msckpt_jax.graph.values import Operand, Parameter, Value
from msckpt_jax.mindir import nodes
from msckpt_jax.mindir.blocks import Block, same
from msckpt_jax.mindir.memory import LOST, Memory, compared, joined


class Carry:
    """The values that change in a loop, which grow in number until a round adds none.

    Attributes:
        given: the header's arguments when the loop is entered.
        tensors: the tensors from outside that the loop changes in place.
    """

    def __init__(self, given: list[Any], memory: Memory):
        self.given, self.memory = given, memory
        self.tensors: list[Value] = []
        self._before, self._apart = memory.contents, dict(memory.related)
        self._start = dict(memory.contents)
        self._arguments: list[int] = []
        self._lost: set[Value] = set()
        self._kin: list[set[Any]] = []  # arguments by number, and tensors from outside

    def enter(self, block: Block) -> list[Any]:
        """The arguments in a body: those that change are new values, like the contents."""
        own = [
            block.fresh(nodes.type_of(leaf), getattr(leaf, "name", ""))
            if k in self._arguments
            else leaf
            for k, leaf in enumerate(self.given)
        ]
        self._held = [block.fresh(tensor.type, tensor.name) for tensor in self.tensors]
        self._start = self._known(self._held)
        self.memory.contents, self.memory.related = dict(self._start), dict(self._apart)
        self.memory.relate(self._related(own))
        return own

    def grows(self, block: Block, own: list[Any], new: list[Any]) -> bool:
        """Take down what a round has changed; tell whether that was more than is known."""
        pairs = enumerate(zip(own, new, strict=True))
        more = [k for k, pair in pairs if not same(*pair) and k not in self._arguments]
        if more:
            self._arguments = sorted([*self._arguments, *more])
            return True
        known = len(self.tensors), len(self._lost), self._kin
        tensors, lost = compared(self._start, [self.memory.contents], block.own)
        self._lost.update(lost)
        self.tensors = list(dict.fromkeys([*self.tensors, *tensors]))
        self.tensors = [tensor for tensor in self.tensors if tensor not in self._lost]
        self._kin = self._kinship(block, own, new)
        return known != (len(self.tensors), len(self._lost), self._kin)

    def _kinship(self, block: Block, own: list[Any], new: list[Any]) -> list[set[Any]]:
        """The arguments and tensors that may be the same, in some round."""
        numbers = {own[k]: k for k in self._arguments}

        def members(binding: Any) -> set[Any]:
            return {numbers.get(tensor, tensor) for tensor in self.memory.same_as(binding)}

        pairs = [(k, members(self.given[k]) | members(new[k])) for k in self._arguments]
        groups = [{k, *same} for k, same in pairs]
        seen = [{m for m in group if _is_around(m, block.outer)} for group in joined(groups)]
        return [group for group in seen if len(group) > 1]

    def _related(self, values: Sequence[Any]) -> list[list[Any]]:
        return [[values[m] if isinstance(m, int) else m for m in group] for group in self._kin]

    def _known(self, contents: Sequence[Value]) -> dict[Value, Any]:
        held = dict(zip(self.tensors, contents, strict=True))
        return self._before | held | dict.fromkeys(self._lost, LOST)

    def inputs(self, own: list[Any]) -> list[Value]:
        """The inputs of the body that was entered last."""
        return [*(own[k] for k in self._arguments), *self._held]

    def outputs(self, block: Block, new: list[Any]) -> list[Any]:
        """The results of a body for its inputs, at the end of the round."""
        results = [self.memory.read(block, new[k]) for k in self._arguments]
        return [block.output(x) for x in (*results, *map(self.memory.content, self.tensors))]

    def start(self, block: Block) -> Iterator[Operand]:
        """Yield the operands of the loop."""
        self.memory.contents = self._before
        for k in self._arguments:
            yield block.operand(self.memory.read(block, self.given[k]))
        for tensor in self.tensors:
            yield block.operand(self.memory.content(tensor))

    def leave(self, made: Sequence[Value]) -> list[Any]:
        """The header's arguments when the loop is left, of whose results ``made`` begins."""
        count = len(self._arguments)
        left = dict(zip(self._arguments, made, strict=False))
        values = [left.get(k, leaf) for k, leaf in enumerate(self.given)]
        self.memory.related = dict(self._apart)
        self.memory.contents = self._known(made[count : count + len(self.tensors)])
        self.memory.relate(self._related(values))
        return values


def _is_around(member: Any, block: Block | None) -> bool:
    """Tell whether it is an argument, or a tensor of the blocks around."""
    if isinstance(member, int | Parameter):
        return True
    return block is not None and (member in block.own or _is_around(member, block.outer))
