"""The checks of sizes that GE's open functions do not infer, though its loader takes them."""

from __future__ import annotations

from collections.abc import Iterator

from msckpt_jax.air.operator_view import OperatorView
from msckpt_jax.air.wiring import Problem

#: Operators that GE's open functions infer from numbers only: their inputs that must be constants.
_CONSTANTS = {
    "BroadcastTo": ("shape",),
    "Fill": ("dims",),
    "StridedSlice": ("begin", "end", "strides"),
    "Tile": ("multiples",),
}


def _sizes_are_constants(view: OperatorView) -> Iterator[Problem]:
    for port in _CONSTANTS.get(view.operator.type, ()):
        source = view.source(view.ports.get(port, len(view.sources)))
        if source is not None and view.graph.by_name[source[0]].type not in ("Const", "Constant"):
            yield Problem(f"input {port!r} is computed, which GE's function does not take")
    described = view.operator.input_desc
    if view.operator.type == "Tile" and described and -1 in described[0].shape.dim:
        yield Problem("repeats a tensor of dynamic sizes, which GE's function does not take")


def _joins_are_told(view: OperatorView) -> Iterator[Problem]:
    """GE's function refuses a join of one piece, and adds sizes that it does not know as -1."""
    if view.operator.type != "ConcatV2":
        return
    positions = [at for name, at in view.ports.items() if name != "concat_dim"]
    if len(positions) < 2:
        yield Problem("joins one piece, which GE's function does not take")
    for at in positions:
        if not 0 <= at < len(view.operator.input_desc):
            return
        axis = _axis(view, len(view.operator.input_desc[at].shape.dim))
        if axis is not None and view.operator.input_desc[at].shape.dim[axis] == -1:
            yield Problem(
                f"joins along axis {axis}, whose size is dynamic: GE's open function adds it up "
                "as -1, so that the size of the result is wrong; keep this size static",
                fault=False,
            )
            return


def _axis(view: OperatorView, rank: int) -> int | None:
    """The axis of a join, if it is a constant and fits the rank."""
    source = view.source(view.ports.get("concat_dim", len(view.sources)))
    constant = None if source is None else view.graph.by_name[source[0]]
    if constant is None or constant.type not in ("Const", "Constant"):
        return None
    data = constant.attr["value"].t.data
    axis = int.from_bytes(data, "little", signed=True) if len(data) in (4, 8) else rank
    return axis % rank if -rank <= axis < rank else None


SIZE_CHECKS = (_sizes_are_constants, _joins_are_told)
