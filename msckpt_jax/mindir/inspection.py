"""Describe the content of a MindIR file, for ``msckpt inspect``."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from msckpt_jax import display, dtypes
from msckpt_jax._protos import mind_ir_pb2 as pb
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.graph import meaning
from msckpt_jax.graph.values import Tensor
from msckpt_jax.mindir import nodes, output_types, source
from msckpt_jax.mindir.attributes import Type
from msckpt_jax.mindir.functions import Model
from msckpt_jax.mindir.source import DecMode, Source

#: Calls, tuples and the order of effects: remains of the Python program, which compute nothing.
_STRUCTURE = {*nodes.SPECIAL, "Constant", ""}


def inspect(
    path: AnyPath, chosen: Callable[[str], bool], *, dec_key: bytes | None, dec_mode: DecMode
) -> tuple[dict[str, Any], list[str]]:
    """Return the content of a MindIR file as JSON has it, and lines of facts."""
    content = _content(source.open_mindir(path, dec_key, dec_mode), chosen)
    return content, _facts(content)


def _content(opened: Source, chosen: Callable[[str], bool]) -> dict[str, Any]:
    proto, model, types = opened.model, Model(opened.model), nodes.Types()
    ops = Counter(
        op
        for function in model.functions.values()
        for node in function.nodes.values()
        if (op := model.operator(node)) not in _STRUCTURE
    )
    known = meaning.table()
    inputs = [v for v in proto.graph.input if not model.is_monad(v.name, model.root)]
    return {
        "file": opened.path,
        "format": "mindir",
        "bytes": paths.size(paths.path_of(opened.path)),
        "cipher": opened.cipher,
        "data_files": opened.data_files,
        "producer": f"{proto.producer_name} {proto.model_version}".strip(),
        "mind_ir_version": proto.mind_ir_version,
        "functions": len(model.functions),
        "inputs": [
            row
            for v in inputs
            for row in _rows(v.name.partition(":")[2] or v.name, types.of_value(v))
        ],
        "outputs": _results(opened, types),
        "operators": [
            {"name": op, "count": count, "loads": op in known} for op, count in ops.most_common()
        ],
        "parameters": [
            {
                **next(_rows(name, Tensor(data.dtype.newbyteorder("="), data.shape))),
                "bytes": data.nbytes,
            }
            for name, data in opened.weights.items()
            if chosen(name)
        ],
        "user_info": dict(proto.user_info),
        "preprocessor": [op.operations for op in proto.preprocessor.op],
    }


def _results(opened: Source, types: nodes.Types) -> list[dict[str, Any]]:
    """The results as the file tells them, and their types by its function where it does not."""
    told = [row for value in opened.model.graph.output for row in _outputs(value, types)]
    if all(row["shape"] is not None for row in told):
        return told
    inferred = output_types.infer(opened)
    names = [row["name"] for row in (told if len(told) == len(inferred) else [])]
    return [
        row
        for result, name in itertools.zip_longest(inferred, names)
        for row in _rows(name or result.name, Tensor(result.dtype, result.shape))
    ] or told


def _outputs(value: pb.ValueInfoProto, types: nodes.Types) -> Iterator[dict[str, Any]]:
    """The results of a graph: ours have names, and a tuple the types of its parts."""
    if any(tensor.name for tensor in value.tensor):
        for tensor in value.tensor:
            yield from _rows(tensor.name, types.of_value(pb.ValueInfoProto(tensor=[tensor])))
    else:
        yield from _rows(value.name.partition(":")[2] or value.name, types.of_value(value))


def _rows(name: str, type: Type) -> Iterator[dict[str, Any]]:
    if isinstance(type, Tensor):
        row = dtypes.of_array(type.dtype)
        shape = [dim if isinstance(dim, int) else None for dim in type.shape]
        yield {"name": name, "dtype": row.name if row else type.dtype.name, "shape": shape}
    elif type is None:
        yield {"name": name, "dtype": None, "shape": None}
    else:
        for k, part in enumerate(type):
            yield from _rows(f"{name}.{k}", part)


def _facts(content: dict[str, Any]) -> list[str]:
    total = display.size(sum(row["bytes"] for row in content["parameters"]))
    facts = [
        f"mindir {content['mind_ir_version']} of {content['producer']}",
        display.size(content["bytes"]),
        f"{display.counted(len(content['parameters']), 'parameter')} of {total}",
        display.counted(content["functions"], "function"),
        f"cipher {content['cipher'] or 'none'}",
        f"split over {', '.join(content['data_files'])}" if content["data_files"] else "not split",
        display.counted(len(content["preprocessor"]), "preprocessing map"),
    ]
    notes = [f"{key}: {value}" for key, value in content["user_info"].items()]
    return [*notes, f"file: {', '.join(facts)}"]
