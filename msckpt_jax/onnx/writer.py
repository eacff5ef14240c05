"""Write an ONNX model, with its weights streamed into it or into one file beside it.

The messages have no weights: these go from their own buffers to their places, shard by shard, like
a CheckPoint's. A file of weights is ``<name>.onnx.data`` or, while the present model refers to that
file, ``<name>.onnx.data_1``: a model never stands beside weights of another model.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping

from onnx import GraphProto, ModelProto, StringStringEntryProto, TensorProto

from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.plan import Part
from msckpt_jax.graph import payload
from msckpt_jax.lowering.wanted import Wanted
from msckpt_jax.onnx.adapt import Adapted

#: protobuf's limit on a message; weights are kept apart well before that.
MAXIMUM_BYTES = 2**31 - 1
SPLIT_BYTES = 1 << 30
#: Weights in a file of their own begin on a page, so that they can be mapped.
_ALIGN = 4096

_GRAPH, _INITIALIZER, _RAW_DATA = (
    message.DESCRIPTOR.fields_by_name[field].number
    for message, field in (
        (ModelProto, "graph"), (GraphProto, "initializer"), (TensorProto, "raw_data"),
    )
)  # fmt: skip


#: What follows the name of a model in that of its weights.
_DATA = re.compile(r"\.data(_\d+)?")


def write(adapted: Adapted, target: AnyPath, wanted: Wanted) -> None:
    """Write the model; once complete, it replaces an older model and the weights beside that."""
    weights = {name: payload.content(p) for name, p in adapted.weights.items()}
    older = [
        path
        for path in paths.below(target.parent, f"{target.name}.data")
        if _DATA.fullmatch(path.name.removeprefix(target.name)) and path.is_file()
    ]
    total = sum(map(planning.size_of, weights.values())) + adapted.model.ByteSize()
    if not weights or total <= min(wanted.split(SPLIT_BYTES), MAXIMUM_BYTES):
        payload.write(target, list(_model(adapted.model, weights)), wanted)
    else:
        marks = itertools.chain([""], (f"_{number}" for number in itertools.count(1)))
        kept = payload.free(target.with_name(f"{target.name}.data{mark}") for mark in marks)
        payload.write(kept, list(_apart(adapted.model, weights, kept.name)), wanted, target)
        try:
            payload.write(target, [adapted.model.SerializeToString(deterministic=True)], wanted)
        except BaseException:
            kept.unlink()  # no graph refers to it
            raise
    for path in older:
        path.unlink()


def _model(model: ModelProto, weights: Mapping[str, Part]) -> Iterator[Part]:
    """The parts of a file that holds its weights; protobuf joins a graph that is in pieces."""
    shell = ModelProto()
    shell.CopyFrom(model)
    tensors = [t for t in shell.graph.initializer if t.name in weights]
    rest = [t for t in shell.graph.initializer if t.name not in weights]
    del shell.graph.initializer[:]
    shell.graph.initializer.extend(rest)
    graph: list[Part] = [shell.graph.SerializeToString(deterministic=True)]
    for tensor in tensors:
        head = tensor.SerializeToString(deterministic=True)
        data = payload.nested(_RAW_DATA, [weights[tensor.name]])
        graph += payload.nested(_INITIALIZER, [head, *data])
    shell.ClearField("graph")
    yield shell.SerializeToString(deterministic=True)
    yield from payload.nested(_GRAPH, graph)


def _apart(model: ModelProto, weights: Mapping[str, Part], location: str) -> Iterator[Part]:
    """The parts of the file of weights; ``model`` is told the place of each."""
    offset = 0
    for tensor in model.graph.initializer:
        content = weights.get(tensor.name)
        if content is None:
            continue
        size = planning.size_of(content)
        tensor.data_location = TensorProto.EXTERNAL
        where = {"location": location, "offset": offset, "length": size}
        tensor.external_data.extend(
            StringStringEntryProto(key=key, value=str(value)) for key, value in where.items()
        )
        padding = -size % _ALIGN
        yield content
        yield bytes(padding)
        offset += size + padding
