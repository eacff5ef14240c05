"""MindIR models made by hand, in the form that MindSpore 2.10 loads."""

from __future__ import annotations

from typing import Any

import numpy as np

from msckpt_jax._protos import mind_ir_pb2 as pb

_KINDS = pb.AttributeProto


def constant(graph: pb.GraphProto, name: str, **fields: Any) -> str:
    attribute = graph.node.add(op_type="Constant", output=[name]).attribute.add(name="value")
    for field, value in fields.items():
        if isinstance(value, list):
            getattr(attribute, field).extend(value)
        else:
            setattr(attribute, field, value)
    return name


def node(graph: pb.GraphProto, name: str, op: str, *inputs: str) -> str:
    """A node of an operator; its type is not told."""
    graph.node.add(op_type=op, input=inputs, output=[name], name=name)
    return name


def call(graph: pb.GraphProto, name: str, function: str, *inputs: str) -> str:
    return node(graph, name, f"REF::{function}", *inputs)


def function(model: pb.ModelProto, name: str, *inputs: str) -> pb.GraphProto:
    graph = model.functions.add(name=name)
    for given in inputs:
        graph.input.add(name=f"{name}:{given}")
    return graph


def empty() -> pb.ModelProto:
    model = pb.ModelProto(
        ir_version="1.1", producer_name="by hand", model_version="2.10.0", mind_ir_version=3,
        little_endian=True,
    )  # fmt: skip
    model.graph.name = "main"
    model.graph.input.add(name="main:x").tensor.add(dims=[2, 3], data_type=1)
    return model


def weight(model: pb.ModelProto, name: str, array: np.ndarray) -> str:
    model.graph.parameter.add(
        name=f"main:{name}", ref_key=name, dims=array.shape, data_type=1, raw_data=array.tobytes()
    )
    return f"main:{name}"


def network() -> pb.ModelProto:
    """``relu(x @ w + b)`` with weights of ones."""
    model = empty()
    graph = model.graph
    w = weight(model, "w", np.ones((3, 2), np.float32))
    b = weight(model, "b", np.ones(2, np.float32))
    model.primitives.add(name="MatMul:1", op_type="MatMul", prim_type=2)
    no = constant(graph, "no", type=_KINDS.BOOL, i=0)
    product = call(graph, "main:product", "MatMul:1", "main:x", w, no, no)
    graph.output.add(name=node(graph, "main:y", "ReLU", node(graph, "main:sum", "Add", product, b)))
    return model


def branch() -> pb.ModelProto:
    """``x + 1`` where the sum is positive, else ``-x``."""
    model = empty()
    graph = model.graph
    then, other = function(model, "then", "x"), function(model, "other", "x")
    one = scalar(graph, "one", 1, np.float32)
    then.output.add(name=node(then, "then:y", "Add", "then:x", one))
    other.output.add(name=node(other, "other:y", "Neg", "other:x"))
    for name in ("axis", "flag"):
        kind = {"type": _KINDS.TUPLE} if name == "axis" else {"type": _KINDS.BOOL, "i": 0}
        constant(graph, name, **kind)
    total = node(graph, "main:sum", "ReduceSum", "main:x", "axis", "flag", "flag")
    zero = scalar(graph, "zero", 0, np.float32)
    positive = node(graph, "main:positive", "Greater", total, zero)
    sides = [node(graph, f"main:{f}", "Partial", f, "main:x") for f in ("then", "other")]
    chosen = node(graph, "main:chosen", "Switch", positive, *sides)
    graph.output.add(name=call(graph, "main:y", chosen))
    return model


def loop() -> pb.ModelProto:
    """``x + 3``, one at a time."""
    model = empty()
    graph = model.graph
    one, three = scalar(graph, "one", 1, np.int32), scalar(graph, "three", 3, np.int32)
    step = scalar(graph, "step", 1, np.float32)
    header, body, after = (
        function(model, name, *inputs)
        for name, inputs in (("header", "ix"), ("body", "ix"), ("after", "x"))
    )
    less = node(header, "header:less", "Less", "header:i", three)
    go = node(header, "header:go", "Partial", "body", "header:i", "header:x")
    leave = node(header, "header:leave", "Partial", "after", "header:x")
    chosen = node(header, "header:chosen", "Switch", less, go, leave)
    header.output.add(name=call(header, "header:y", chosen))
    i = node(body, "body:next", "Add", "body:i", one)
    x = node(body, "body:new", "Add", "body:x", step)
    body.output.add(name=call(body, "body:y", "header", i, x))
    after.output.add(name="after:x")
    zero = scalar(graph, "zero", 0, np.int32)
    graph.output.add(name=call(graph, "main:y", "header", zero, "main:x"))
    return model


def scalar(graph: pb.GraphProto, name: str, value: float, dtype: Any) -> str:
    array = np.array(value, dtype)
    kind = {np.dtype(np.int32): 6, np.dtype(np.float32): 1}[array.dtype]
    attribute = graph.node.add(op_type="Constant", output=[name]).attribute.add(
        name="value", type=_KINDS.TENSORS
    )
    attribute.tensors.add(name="value0", data_type=kind, raw_data=array.tobytes())
    return name
