"""What MindSpore's converter wrote, operator by operator and attribute by attribute."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from msckpt_jax import dtypes
from msckpt_jax.air import adapt
from msckpt_jax.air.target import TARGET
from msckpt_jax.graph.graph import Graph
from msckpt_jax.lowering.lowered import lowered
from msckpt_jax.lowering.trace import trace
from msckpt_jax.lowering.wanted import Lowering
from tests.air.one_operator import DIFFERENCES, NETWORKS

_FILE = Path(__file__).parent / "data" / "ms_networks.txt"


def _written() -> dict[str, list[str]]:
    """What MindSpore wrote: network -> its operators."""
    text = "\n".join(line for line in _FILE.read_text().splitlines() if line[:1] != "#")
    names = re.findall(r"^(\S+)((?:\n  .*)*)", text, re.MULTILINE)
    return {name: [line[2:] for line in rest.splitlines()[1:]] for name, rest in names}


_WRITTEN = _written()


def _ours(name: str, network: Any) -> list[str]:
    if isinstance(network, Graph):
        graph = network
    else:
        function, *inputs = network
        with jax.enable_x64(name == "argmax"):
            graph = lowered(trace(function, inputs), TARGET, Lowering())
    return list(_lines(adapt.adapt(graph).model.graph[0]))


def _lines(graph: Any) -> Iterator[str]:
    by_name = {op.name: op for op in graph.op}
    for op in graph.op:
        if op.type in ("Data", "Const", "NetOutput"):
            continue
        keys = [key.decode() for key in op.attr["_input_name_key"].list.s]
        inputs = [
            f"{key}={_source(by_name, text, description)}"
            for key, text, description in zip(keys, op.input, op.input_desc, strict=True)
        ]
        results = ",".join(map(_type, op.output_desc))
        yield f"{op.type}({', '.join(inputs)}) -> {results}  {_attributes(op)}"


def _source(by_name: Any, text: str, description: Any) -> str:
    if not text:
        return "-"
    name, _, index = text.rpartition(":")
    op = by_name[name]
    if op.type == "Data":
        return _type(description)
    if op.type != "Const":
        return f"{op.type}:{index}"
    tensor = op.attr["value"].t
    row = dtypes.BY_GE[tensor.desc.dtype]
    values = np.frombuffer(tensor.data, row.array).tolist()
    return f"Const{_type(description)}={values}"


def _type(description: Any) -> str:
    dims = ",".join(map(str, description.shape.dim))
    layout = description.layout.removeprefix("ND")
    return f"{dtypes.BY_GE[description.dtype].short}[{dims}]{layout}"


def _attributes(op: Any) -> dict[str, Any]:
    out = {}
    for name, attribute in op.attr.items():
        if name.startswith("_"):
            continue
        value = getattr(attribute, attribute.WhichOneof("value"))
        out[name] = value
        if attribute.WhichOneof("value") == "list":
            out[name] = [*value.s, *value.i, *value.f, *value.b, *value.dt]
        elif isinstance(value, bytes):
            out[name] = value.decode()
    return out


def _comparable(lines: list[str]) -> list[tuple[str, str]]:
    """Operators without their order, attributes without theirs."""
    pairs = (line.partition("  ") for line in lines)
    return sorted((head, repr(sorted(ast.literal_eval(rest).items()))) for head, _, rest in pairs)


@pytest.mark.parametrize("name", NETWORKS)
def test_as_mindspore_writes_it(name: str) -> None:
    ours, mindspores = _comparable(_ours(name, NETWORKS[name])), _comparable(_WRITTEN[name])
    if name in DIFFERENCES:  # and when there is none any more, this fails
        assert ours != mindspores
    else:
        assert ours == mindspores


def test_all_networks_are_here() -> None:
    assert list(NETWORKS) == list(_WRITTEN)
    assert DIFFERENCES.keys() < _WRITTEN.keys()
