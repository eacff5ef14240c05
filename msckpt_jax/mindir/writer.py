"""Write a Graph as MindIR: one file, or a graph file and a file of weights beside it.

The messages are made without weights; these are streamed from their own buffers to their places,
shard by shard, like those of a CheckPoint.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Mapping

from msckpt_jax._protos.mind_ir_pb2 import GraphProto, ModelProto, TensorProto
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.plan import Part
from msckpt_jax.graph import payload
from msckpt_jax.graph.graph import Graph
from msckpt_jax.lowering.problems import failures
from msckpt_jax.lowering.wanted import Wanted
from msckpt_jax.mindir import model as messages

#: MindSpore splits a file whose weights are larger (train/serialization.py, TOTAL_SAVE).
SPLIT_BYTES = 1 << 30
#: In the file of weights, each weight begins at a multiple of this; the header has this size.
_ALIGN = 64

_GRAPH, _PARAMETER, _RAW_DATA = (
    message.DESCRIPTOR.fields_by_name[field].number
    for message, field in (
        (ModelProto, "graph"), (GraphProto, "parameter"), (TensorProto, "raw_data"),
    )
)  # fmt: skip


_DATA = re.compile(r"data_\d+")


def write(graph: Graph, target: AnyPath, wanted: Wanted) -> AnyPath:
    """Write ``graph``; return the path of the file to load.

    ``target`` ends with ``.mindir``. Weights larger than ``wanted.split_bytes`` go to
    ``<name>_variables/`` and the graph to ``<name>_graph.mindir``. A file is replaced when its
    successor is complete; a graph file never stands beside the weights of another graph.
    """
    with failures():
        model = messages.of_graph(graph, wanted.options["user_info"])
    if wanted.preprocessor is not None:
        model.preprocessor.CopyFrom(wanted.preprocessor)
    if (custom_func := wanted.options["custom_func"]) is not None:
        custom_func(model)
    weights = {name: payload.content(p) for name, p in graph.parameters.items()}
    if sum(map(planning.size_of, weights.values())) <= wanted.split(SPLIT_BYTES):
        payload.write(target, _one_file(model, weights), wanted)
        return target
    stem = target.name.removesuffix(".mindir")
    target = target.with_name(f"{stem}_graph.mindir")
    folder = target.with_name(f"{stem}_variables")
    older = [path for path in paths.below(folder, "data_") if _DATA.fullmatch(path.name)]
    data = payload.free(folder / f"data_{number}" for number in itertools.count())
    parts = _external(model, weights, f"{folder.name}/{data.name}")
    paths.make(folder, mode=0o700)
    try:
        payload.write(data, parts, wanted, target)
        payload.write(target, [model.SerializeToString(deterministic=True)], wanted)
    except BaseException:
        data.unlink(missing_ok=True)  # no graph refers to it
        if paths.is_local(folder):
            with contextlib.suppress(OSError):  # the weights of an older graph lie there
                folder.rmdir()
        raise
    for path in older:
        path.unlink()
    return target


def _one_file(model: ModelProto, weights: Mapping[str, Part]) -> list[Part]:
    """The parts of a file that holds its weights; protobuf's parser takes the fields in any order.

    They are written by hand, because a message with weights would hold a copy of each.
    """
    graph = GraphProto()
    graph.CopyFrom(model.graph)
    parameters = list(graph.parameter)
    del graph.parameter[:]
    inner: list[Part] = [graph.SerializeToString(deterministic=True)]
    for parameter in parameters:
        content = weights[parameter.ref_key]
        head = parameter.SerializeToString(deterministic=True)
        data = payload.nested(_RAW_DATA, [content])
        inner += payload.nested(_PARAMETER, [head, *data])
    shell = ModelProto()
    shell.CopyFrom(model)
    shell.ClearField("graph")
    outer = shell.SerializeToString(deterministic=True)
    return [outer, *payload.nested(_GRAPH, inner)]


def _external(model: ModelProto, weights: Mapping[str, Part], location: str) -> list[Part]:
    """The parts of the file of weights, sorted by name; ``model`` gets the place of each weight."""
    protos = {proto.ref_key: proto for proto in model.graph.parameter}
    parts: list[Part] = [b"\x01" + bytes(_ALIGN - 1)]  # 1: little-endian
    offset = _ALIGN
    for name in sorted(protos):
        size = planning.size_of(weights[name])
        where = protos[name].external_data
        where.location, where.offset, where.length = location, offset, size
        padding = -size % _ALIGN
        parts += [weights[name], bytes(padding)]
        offset += size + padding
    return parts
