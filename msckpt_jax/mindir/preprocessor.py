"""The ``preprocessor`` section of a MindIR: a data set's transforms, as JSON.

MindSpore 2.10.0 writes it in ``_save_dataset_to_mindir`` (train/serialization.py), with an
entry for each ``map`` of the data set; its C++ API reads it in ``Model::Preprocess``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any, Never

from msckpt_jax import transforms
from msckpt_jax._protos import mind_ir_pb2
from msckpt_jax.errors import PreprocessorError
from msckpt_jax.transforms import MapNode, Pipeline, Transform

_TRANSFORMS: dict[str, type[Transform]] = {
    cls.operator: cls
    for cls in (
        transforms.CenterCrop,
        transforms.ConvertColor,
        transforms.Crop,
        transforms.Decode,
        transforms.HWC2CHW,
        transforms.HorizontalFlip,
        transforms.Normalize,
        transforms.NormalizePad,
        transforms.OneHot,
        transforms.Pad,
        transforms.Rescale,
        transforms.Resize,
        transforms.ToTensor,
        transforms.TypeCast,
    )
}

#: The largest product of these parameters in a file: it decides how much memory is allocated.
_MOST = {"size": 2**26, "padding": 2**26, "num_classes": 2**24}


def section_of(nodes: Iterable[MapNode]) -> mind_ir_pb2.PreprocessorProto:
    """The section of a MindIR for these maps, with the bytes that MindSpore writes."""
    section = mind_ir_pb2.PreprocessorProto()
    for node in nodes:
        operations = [
            {"tensor_op_name": op.operator, "tensor_op_params": op.params()}
            for op in node.operations
        ]
        section.op.add(
            input_columns=json.dumps([node.input_column]),
            output_columns=json.dumps([node.output_column]),
            op_type=json.dumps("Map"),
            operations=json.dumps(operations),
            offload=False,
        )
    return section


def pipeline_of(model: mind_ir_pb2.ModelProto, file: str | None = None) -> Pipeline | None:
    """The preprocessing in a MindIR, or None if there is none.

    Args:
        model: the model of the file.
        file: the path of the file, for errors.

    Raises:
        PreprocessorError: MindSpore does not write such JSON, an operator is unknown or Python code
            (which is never imported), or its constructor refuses the parameters.
    """
    try:
        nodes = [_node(op) for op in model.preprocessor.op]
    except PreprocessorError as error:
        raise PreprocessorError(
            error.problem, file=file, expected=error.expected, found=error.found
        ) from error.__cause__
    return Pipeline.of_nodes(nodes) if nodes else None


def _node(op: Any) -> MapNode:
    if _json(op.op_type, "op_type") != "Map":
        raise PreprocessorError("unknown op_type", expected='"Map"', found=op.op_type[:60])
    operations = _json(op.operations, "operations")
    if not isinstance(operations, list) or not operations:
        raise PreprocessorError(f"operations is no list of operators: {op.operations[:60]!r}")
    source = _column(op.input_columns, "input_columns")
    result = _column(op.output_columns, "output_columns")
    return MapNode(tuple(_transform(operation) for operation in operations), source, result)


def _json(text: str, field: str) -> Any:
    def refuse(constant: str) -> Never:
        raise ValueError(f"{constant} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise PreprocessorError(f"{field} is no JSON: {error}: {text[:60]!r}") from None


def _column(text: str, field: str) -> str:
    columns = _json(text, field)
    if columns == []:  # MindSpore's map without columns takes the first column
        return "image"
    if not isinstance(columns, list) or len(columns) != 1 or not isinstance(columns[0], str):
        raise PreprocessorError(f"{field} is not one column: {text[:60]!r}")
    return columns[0]


def _transform(operation: Any) -> Transform:
    if not isinstance(operation, dict):
        raise PreprocessorError(f"an operator is no JSON object: {repr(operation)[:60]}")
    name = operation.get("tensor_op_name")
    if "python_module" in operation:
        raise PreprocessorError(
            f"the operator {str(name)[:60]!r} is Python code of another process, which is not "
            "imported; export the data set with C++ operators (Decode(to_pil=False), ...)"
        )
    cls = _TRANSFORMS.get(name) if isinstance(name, str) else None
    if cls is None:
        known = ", ".join(sorted(_TRANSFORMS))
        raise PreprocessorError(
            "unknown operator", expected=f"one of {known}", found=repr(name)[:60]
        )
    params = operation.get("tensor_op_params")
    if isinstance(params, dict) and params.get("device_target", "CPU") != "CPU":
        raise PreprocessorError(
            f"{name} runs on hardware whose numbers these transforms do not have",
            expected="the device_target 'CPU'", found=repr(params["device_target"])[:60],
        )  # fmt: skip
    try:
        made = cls.of_params(params)
    except (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError) as error:
        problem = f"{name} cannot have these parameters: {error}: {repr(params)[:200]}"
        raise PreprocessorError(problem) from error
    if made.params() != params:
        raise PreprocessorError(
            f"{name} has parameters that MindSpore does not write",
            expected=made.params(), found=repr(params)[:200],
        )  # fmt: skip
    _check_sizes(cls.operator, params or {})
    return made


def _check_sizes(name: str, params: dict[str, Any]) -> None:
    for key, most in _MOST.items():
        value = params.get(key, 0)
        if math.prod(value if isinstance(value, list) else [value]) > most:
            raise PreprocessorError(
                f"{name} has a huge {key}", expected=f"at most {most}", found=value
            )
