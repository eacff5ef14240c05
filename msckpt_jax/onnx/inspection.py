"""The contents of an ONNX file, for ``msckpt inspect``."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import onnx
from google.protobuf.message import DecodeError
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto, helper

from msckpt_jax import display
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.errors import FileError
from msckpt_jax.graph import texts


def inspect(
    path: AnyPath, chosen: Callable[[str], bool], *, dec_key: bytes | None, dec_mode: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the contents of an ONNX file, to be printed as JSON, and lines of facts."""
    content = _content(path, chosen)
    return content, _facts(content)


def beside(file: AnyPath) -> list[str]:
    """The files of weights that a model names, below its folder; none of what is no model."""
    try:
        tensors = _model(file).graph.initializer
    except FileError:
        return []
    return sorted({place for tensor in tensors if (place := _location(tensor))})


def _model(file: AnyPath) -> ModelProto:
    try:
        return onnx.load_model_from_string(file.read_bytes())
    except DecodeError:
        raise FileError("no ONNX model, or a damaged one", file=file) from None


def _content(path: AnyPath, chosen: Callable[[str], bool]) -> dict[str, Any]:
    model, file_name = _model(path), str(path)
    if not texts.are_sound(model):
        raise FileError("a damaged ONNX model: a name is not UTF-8 text", file=file_name)
    if not model.HasField("graph"):
        raise FileError("no ONNX model: it has no graph", file=file_name)
    graph = model.graph
    ops = Counter(_operator(node) for node in _nodes(graph))
    weights = {tensor.name for tensor in graph.initializer}
    return {
        "file": file_name,
        "format": "onnx",
        "bytes": paths.size(path),
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "ir_version": model.ir_version,
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": [_described(value) for value in graph.input if value.name not in weights],
        "outputs": [_described(value) for value in graph.output],
        "operators": [{"name": op, "count": count} for op, count in ops.most_common()],
        "initializers": [_weight(t, file_name) for t in graph.initializer if chosen(t.name)],
        "data_files": sorted({place for t in graph.initializer if (place := _location(t))}),
    }


def _nodes(graph: GraphProto) -> Iterator[NodeProto]:
    """All nodes, those of control flow's bodies too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                yield from _nodes(body)


def _operator(node: NodeProto) -> str:
    return f"{node.domain}::{node.op_type}" if node.domain else node.op_type


def _described(value: ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or None
            for d in tensor.shape.dim]  # fmt: skip
    shape = dims if tensor.HasField("shape") else None
    return {"name": value.name, "dtype": _dtype(tensor.elem_type), "shape": shape}


#: The bits of numbers of which a byte holds several.
_PACKED = {"int4": 4, "uint4": 4, "float4e2m1": 4, "int2": 2, "uint2": 2}


def _weight(tensor: TensorProto, file_name: str) -> dict[str, Any]:
    """A weight and the size of its numbers, which may be stored wider, or in another file."""
    shape, dtype = list(tensor.dims), _dtype(tensor.data_type)
    if dtype is None:
        raise FileError("an initializer has no dtype of ONNX", file=file_name, name=tensor.name)
    whole = 8 * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    size = -(-math.prod(shape) * _PACKED.get(dtype, whole) // 8)
    return {"name": tensor.name, "dtype": dtype, "shape": shape, "bytes": size}


def _dtype(number: int) -> str | None:
    known = number in TensorProto.DataType.values() and number != TensorProto.UNDEFINED
    return TensorProto.DataType.Name(number).lower() if known else None


def _location(tensor: TensorProto) -> str | None:
    return {entry.key: entry.value for entry in tensor.external_data}.get("location")


def _facts(content: dict[str, Any]) -> list[str]:
    opsets = ", ".join(f"{domain} {version}" for domain, version in content["opsets"].items())
    total = display.size(sum(row["bytes"] for row in content["initializers"]))
    files = ", ".join(content["data_files"])
    facts = [
        f"onnx IR {content['ir_version']} of {content['producer'] or 'an unnamed producer'}",
        f"opset {opsets}",
        display.size(content["bytes"]),
        f"{display.counted(len(content['initializers']), 'initializer')} of {total}",
        f"weights in {files}" if files else "in one file",
    ]
    return [f"file: {', '.join(facts)}"]
