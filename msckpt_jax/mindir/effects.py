"""The operators of MindIR that change tensors in place, that alias them, and that draw numbers."""

from __future__ import annotations

#: The operands that an operator changes, where these are others than the first one alone.
WRITES: dict[str, tuple[int, ...]] = {
    "Adam": (0, 1, 2),
    "AdamNoUpdateParam": (0, 1),
    "AdamW": (0, 1, 2),
    "AdamWeightDecay": (0, 1, 2),
    "ApplyAdaMax": (0, 1, 2),
    "ApplyAdadelta": (0, 1, 2),
    "ApplyAdagrad": (0, 1),
    "ApplyAdagradDA": (0, 1, 2),
    "ApplyAdagradV2": (0, 1),
    "ApplyAdam": (0, 1, 2),
    "ApplyAdamWithAmsgrad": (0, 1, 2, 3),
    "ApplyAdamWithAmsgradV2": (0, 1, 2, 3),
    "ApplyAddSign": (0, 1),
    "ApplyCenteredRMSProp": (0, 1, 2, 3),
    "ApplyFtrl": (0, 1, 2),
    "ApplyMomentum": (0, 1),
    "ApplyPowerSign": (0, 1),
    "ApplyProximalAdagrad": (0, 1),
    "ApplyRMSProp": (0, 1, 2),
    "BatchNorm": (3, 4),
    "BatchNormExt": (3, 4),
    "FusedAdaFactor": (7, 8, 9, 10, 11),
    "FusedSparseAdam": (0, 1, 2),
    "FusedSparseFtrl": (0, 1, 2),
    "FusedSparseLazyAdam": (0, 1, 2),
    "FusedSparseProximalAdagrad": (0, 1),
    "Lamb": (0, 1, 2),
    "SGD": (0, 3, 5),
    "SparseApplyAdagrad": (0, 1),
    "SparseApplyAdagradDA": (0, 1, 2),
    "SparseApplyAdagradV2": (0, 1),
    "SparseApplyCenteredRMSProp": (0, 1, 2, 3),
    "SparseApplyFtrl": (0, 1, 2),
    "SparseApplyMomentum": (0, 1),
    "SparseApplyRMSProp": (0, 1, 2),
}
#: Operators that change their first operand.
WRITES |= dict.fromkeys(
    (
        "ApplyGradientDescent", "ApplyProximalGradientDescent",
        "SparseApplyProximalGradientDescent", "Assign", "AssignAdd", "AssignSub",
        "InnerInplaceIndexPut", "ScatterAdd", "ScatterDiv", "ScatterMax", "ScatterMin",
        "ScatterMul", "ScatterNdAdd", "ScatterNdDiv", "ScatterNdMax", "ScatterNdMin",
        "ScatterNdMul", "ScatterNdSub", "ScatterNdUpdate", "ScatterSub", "ScatterUpdate",
    ),
    (0,),
)  # fmt: skip
#: Operators with results of their own beside the operands that they change, and how many.
OWN_RESULTS = {"AdamNoUpdateParam": 1, "BatchNorm": 5, "BatchNormExt": 3, "FusedAdaFactor": 1}
#: Operators that change the parameters that their operands were loaded from, if an operand says so:
#: the position of that operand.
THROUGH_LOADS = {"BatchNormExt": 5}
#: Operators whose result is another sight of their first operand: a change of either is both's.
VIEWS = frozenset(
    (
        "BroadcastToView", "ChunkView", "DiagonalView", "ExpandDimsView", "ImagView", "NarrowView",
        "RealView", "SelectExtView", "SliceExtView", "SplitTensorView", "SplitWithSizeView",
        "TransposeExtView", "TransposeView", "UnstackExtView",
    )
)  # fmt: skip
#: Operators that draw random numbers.
RANDOM = frozenset(
    (
        "Dropout", "Dropout2D", "Dropout3D", "StandardNormal", "UniformInt", "UniformReal",
    )
)  # fmt: skip
#: Operators that are said to have effects, but change no value.
HARMLESS = frozenset(("Embedding", "Load", "UpdateState", "Depend", "Print", "Switch", "Partial",
                      "MakeTuple"))  # fmt: skip


def written(op: str, ordered: bool) -> tuple[int, ...]:
    """The positions of the operands that an operator changes.

    Args:
        op: the name of the operator.
        ordered: whether a monad orders the node. Some operators are called ``Inplace``, but give a
            new tensor; and so do a BatchNorm and an IndexAdd that no monad orders.
    """
    if op in THROUGH_LOADS:
        return ()
    if op in OWN_RESULTS or op == "IndexAdd" or (op.startswith("Inplace") and op not in WRITES):
        return WRITES.get(op, (0,)) if ordered else ()
    return WRITES.get(op, ())
