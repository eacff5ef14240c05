"""Every ONNX operator that the rows emit, in each dtype and attribute that the tables allow.

Each is a model of one node, which onnxruntime has to load and to run: its list of kernels does not
say that a kernel refuses a dtype for some value of an attribute. The numbers are for the other
tests. ``python -m tests.onnx.sweep`` prints what does not run.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import TensorProto, helper

from msckpt_jax.dtypes import BY_SHORT
from msckpt_jax.onnx import kernels

OPSETS = (18, 21, 26)
_I64 = np.int64
#: The main constraint's letter and the operands: a shape stands for numbers of that constraint, an
#: array is itself, None is left out.
Operand = tuple[int, ...] | np.ndarray | None


class Sample(NamedTuple):
    """The operands of an operator, how many results it has, and values of its attributes."""

    operands: Sequence[Operand]
    attributes: Mapping[str, Sequence[Any]] = {}
    results: int = 1


def _ints(*numbers: int) -> np.ndarray:
    return np.array(numbers, _I64)


_A, _S, _V = (2, 3, 4), (3, 3), (4,)
_AXES, _REDUCTIONS = _ints(1), ("none", "add", "mul", "min", "max")
_PLACES, _TWICE = np.array([[0], [1], [0]], _I64), np.zeros((2, 3, 1), _I64)
_KEPT = {"keepdims": (0, 1)}
_WINDOW = {"kernel_shape": ([2, 2],), "strides": ([1, 1], [2, 2]), "pads": ([0] * 4, [1] * 4)}
_CONV = {"strides": ([1, 1], [2, 2]), "dilations": ([1, 1], [2, 2]), "group": (1, 2)}

_ONE = """
Abs Acos Acosh Asin Asinh Atan Atanh BitwiseNot Ceil Cos Cosh Erf Exp Floor HardSwish Identity IsNaN
Log Mish Neg Not Reciprocal Relu Round Sigmoid Sign Sin Sinh Softplus Sqrt Tan Tanh
"""
_TWO = """
Add And BitwiseAnd BitwiseOr BitwiseXor Div Equal Greater GreaterOrEqual Less LessOrEqual Max Min
Mul Or Pow Sub Sum Xor
"""
SAMPLES: Mapping[str, Sample] = {
    **{name: Sample([_A]) for name in _ONE.split()},
    **{name: Sample([_A, _A]) for name in _TWO.split()},
    **{name: Sample([_A], {"axis": (0, 1, -1), **_KEPT, "select_last_index": (0, 1)})
       for name in ("ArgMax", "ArgMin")},
    **{name: Sample([_A, _AXES], _KEPT)
       for name in ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")},
    **{name: Sample([_A], {"axis": (0, -1)}) for name in ("LogSoftmax", "Softmax")},
    "AveragePool": Sample([(1, 2, 5, 5)], {**_WINDOW, "count_include_pad": (0, 1)}),
    "BatchNormalization": Sample([(2, 4, 3), _V, _V, _V, _V]),
    "BitShift": Sample([_A, _A], {"direction": ("LEFT", "RIGHT")}),
    "Concat": Sample([_A, _A], {"axis": (0, 2)}),
    "Conv": Sample([(1, 4, 5, 5), (2, 4, 2, 2)], {**_CONV, "group": (1,)}),
    "ConvTranspose": Sample([(1, 4, 5, 5), (4, 2, 2, 2)], _CONV),
    **{name: Sample([_A, np.array(1, _I64)], {"exclusive": (0, 1), "reverse": (0, 1)})
       for name in ("CumProd", "CumSum")},
    "DFT": Sample([(2, 4, 2)], {"inverse": (0, 1)}),
    "Det": Sample([_S]),
    "Expand": Sample([_V, _ints(2, 4)]),
    "Gather": Sample([_A, _ints(1, 0)], {"axis": (0, 1)}),
    "GatherElements": Sample([_A, np.zeros(_A, _I64)], {"axis": (0, 2)}),
    "GatherND": Sample([_A, _PLACES[:2]], {"batch_dims": (0,)}),
    "Gelu": Sample([_A], {"approximate": ("none", "tanh")}),
    "IsInf": Sample([_A], {"detect_negative": (0, 1)}),
    "LayerNormalization": Sample([_A, _V, _V], {"axis": (-1,)}),
    "LeakyRelu": Sample([_A], {"alpha": (0.3,)}),
    "MatMul": Sample([_S, _S]),
    "MaxPool": Sample([(1, 2, 5, 5)], _WINDOW),
    "Mod": Sample([_A, _A], {"fmod": (0, 1)}),
    "Pad": Sample([_A, _ints(0, 1, 0, 1, 0, 2), ()], {"mode": ("constant",)}),
    "Range": Sample([(), (), ()]),
    "Reshape": Sample([_A, _ints(4, 6)]),
    "ScatterElements": Sample([_A, np.zeros(_A, _I64), _A], {"reduction": _REDUCTIONS}),
    "ScatterND": Sample([_A, _PLACES, (3, 3, 4)], {"reduction": _REDUCTIONS}),
    "Shape": Sample([_A], {"start": (0, 1)}),
    "Slice": Sample([_A, _ints(0), _ints(2), _ints(1), _ints(1)]),
    "Split": Sample([_A, _ints(1, 2)], {"axis": (1,)}, 2),
    "Squeeze": Sample([(1, 3), _ints(0)]),
    "Tile": Sample([_A, _ints(1, 2, 1)]),
    "TopK": Sample([_A, _ints(2)], {"axis": (1, -1), "largest": (0, 1), "sorted": (1,)}, 2),
    "Transpose": Sample([_A], {"perm": ([2, 0, 1],)}),
    "Unsqueeze": Sample([_A, _ints(0)]),
    "Where": Sample([np.ones(_A, bool), _A, _A]),
}  # fmt: skip


def _variants(sample: Sample) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*sample.attributes.values()):
        yield dict(zip(sample.attributes, values, strict=True))


def cases(opset: int) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Operators, dtypes and attributes that the tables allow in an opset."""
    for op, sample in SAMPLES.items():
        try:
            schema = onnx.defs.get_schema(op, opset)
        except onnx.defs.SchemaError:  # a later opset has it
            continue
        for attributes in _variants(sample):
            known = {k: v for k, v in attributes.items() if k in schema.attributes}
            taken = kernels.able(schema, known)
            letter = _letter(schema, sample)
            for short in sorted(taken[letter].known if taken and letter in taken else ()):
                if short in BY_SHORT and BY_SHORT[short].onnx is not None:
                    yield op, short, known


def _letter(schema: Any, sample: Sample) -> str:
    """The constraint of the operands that are numbers."""
    position = next(i for i, part in enumerate(sample.operands) if isinstance(part, tuple))
    return schema.inputs[min(position, len(schema.inputs) - 1)].type_str


def problem(op: str, short: str, attributes: Mapping[str, Any], opset: int) -> str:
    """The reason why onnxruntime does not run the node; empty if it does."""
    import onnxruntime

    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        made = onnxruntime.InferenceSession(
            _model(op, short, attributes, opset), options, providers=["CPUExecutionProvider"]
        )
        made.run(None, {})
    except Exception as error:  # its errors have no class in common
        return str(error).strip().partition("\n")[0]
    return ""


def _model(op: str, short: str, attributes: Mapping[str, Any], opset: int) -> bytes:
    """One node, whose operands are constants."""
    sample, dtype = SAMPLES[op], BY_SHORT[short]
    nodes, inputs, constants = [], [], []
    for i, part in enumerate(sample.operands):
        if part is None:
            inputs.append("")
            continue
        array = part if isinstance(part, np.ndarray) else _numbers(part, dtype.array)
        number = helper.np_dtype_to_tensor_dtype(array.dtype)
        constants.append(TensorProto(
            name=f"c{i}", dims=array.shape, data_type=number, raw_data=array.tobytes()
        ))  # fmt: skip
        inputs.append(f"c{i}")
    outputs = [f"y{i}" for i in range(sample.results)]
    nodes.append(helper.make_node(op, inputs, outputs, **attributes))
    # Results leave as float32: Python has no bfloat16.
    nodes += [helper.make_node("Cast", [y], [f"{y}_out"], to=TensorProto.FLOAT) for y in outputs]
    results = [helper.make_tensor_value_info(f"{y}_out", TensorProto.FLOAT, None) for y in outputs]
    graph = helper.make_graph(nodes, op, [], results, constants)
    imports = [helper.make_opsetid("", opset)]
    version = helper.find_min_ir_version_for(imports, True)
    return helper.make_model(
        graph, opset_imports=imports, ir_version=version
    ).SerializeToString()  # fmt: skip


def _numbers(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Ones and twos, which every operator takes; one number is 1."""
    return (np.arange(int(np.prod(shape))) % 2 + 1).reshape(shape).astype(dtype)


def main() -> None:
    for opset in OPSETS:
        known = [*cases(opset)]
        print(f"opset {opset}: {len(known)} nodes")
        for case in known:
            if reason := problem(*case, opset):
                print(f"  {case}: {reason}")


if __name__ == "__main__":
    main()
