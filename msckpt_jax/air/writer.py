"""Write GE's graphs as an AIR file, weights streamed into it or into files beside it.

The messages have no weights: these go from their own buffers to their places, shard by shard, as a
CheckPoint's do. Past 2 GiB, which no protobuf message can have, each weight gets a file of its own,
which GE reads by the Const's ``location`` and ``length`` (``SeparateModelDef`` in its
``model_serialize.cc``).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import PurePath
from typing import Any

from msckpt_jax._protos.ge_ir_pb2 import AttrDef, GraphDef, ModelDef, OpDef, TensorDef
from msckpt_jax.air.adapt import Adapted
from msckpt_jax.air.check import MAXIMUM_BYTES
from msckpt_jax.air.narrowing import NARROW
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.checkpoint.plan import Part
from msckpt_jax.errors import ExportError
from msckpt_jax.graph import payload
from msckpt_jax.graph.values import Parameter
from msckpt_jax.lowering.wanted import Wanted

_GRAPH, _OP, _ATTR, _TENSOR, _DATA = (
    message.DESCRIPTOR.fields_by_name[field].number
    for message, field in (
        (ModelDef, "graph"), (GraphDef, "op"), (OpDef, "attr"), (AttrDef, "t"), (TensorDef, "data"),
    )
)  # fmt: skip
#: The folder of all models' files of weights.
FOLDER = "air_weight"
_KEY, _VALUE = 1, 2  # of a map's entry


def write(model: Adapted, target: AnyPath, wanted: Wanted) -> None:
    """Write the file; when complete, it and the files beside it replace older files.

    Raises:
        ExportError: if it has more than 2 GiB without its weights; nothing is written.
    """
    weights = {name: _content(parameter) for name, parameter in model.weights.items()}
    parts = list(_model(model.model, target.stem, weights))
    folder = target.parent / FOLDER / target.stem
    older = _files(folder)
    if sum(map(planning.size_of, parts)) <= min(wanted.split(MAXIMUM_BYTES), MAXIMUM_BYTES):
        payload.write(target, parts, wanted)
        _remove(folder, older)
        return
    new = _names(folder, len(weights), older)
    _locate(
        model.model.graph[0], weights, [PurePath(FOLDER, target.stem, file.name) for file in new]
    )
    parts = list(_model(model.model, target.stem, {}))
    size = sum(map(planning.size_of, parts))
    if size > MAXIMUM_BYTES:
        raise ExportError(f"GE reads up to 2 GiB; the graph without its weights has {size:,} bytes")
    try:
        paths.make(folder, mode=0o700)
        for file, content in zip(new, weights.values(), strict=True):
            payload.write(file, [content], wanted, target)
        payload.write(target, parts, wanted)
    except BaseException:
        _remove(folder, new)
        raise
    _remove(folder, older)


def _content(parameter: Parameter) -> Part:
    return payload.content(parameter, narrow=getattr(parameter.data, "dtype", None) in NARROW)


def _model(model: Any, name: str, weights: dict[str, Part]) -> Iterator[Part]:
    main, *bodies = model.graph
    shell = ModelDef(name=name)
    for key, value in model.attr.items():
        shell.attr[key].CopyFrom(value)
    yield shell.SerializeToString(deterministic=True)
    yield from payload.nested(_GRAPH, list(_graph(main, weights)))
    for body in bodies:
        data = body.SerializeToString(deterministic=True)
        yield from payload.nested(_GRAPH, [data])


def _graph(message: Any, weights: dict[str, Part]) -> Iterator[Part]:
    """The bytes of a GraphDef, operator by operator; protobuf's parser joins the pieces."""
    yield GraphDef(name=message.name).SerializeToString(deterministic=True)
    for op in message.op:
        content = weights.get(op.name) if op.type == "Const" else None
        parts = (
            [op.SerializeToString(deterministic=True)] if content is None else _const(op, content)
        )
        yield from payload.nested(_OP, parts)


def _const(op: Any, content: Part) -> list[Part]:
    """The bytes of a Const whose value is ``content``, with messages written by hand around it."""
    shell = OpDef()
    shell.CopyFrom(op)
    del shell.attr["value"], shell.attr["length"]
    tensor: list[Part] = [
        op.attr["value"].t.SerializeToString(deterministic=True),
        *payload.nested(_DATA, [content]),
    ]
    value = payload.nested(_VALUE, payload.nested(_TENSOR, tensor))
    entry = [*payload.nested(_KEY, [b"value"]), *value]
    return [shell.SerializeToString(deterministic=True), *payload.nested(_ATTR, entry)]


_FILE = re.compile(r"Const_[0-9]+_file(_[0-9]+)?")


def _files(folder: AnyPath) -> list[AnyPath]:
    """The weights of older files of this name, finished or not."""
    return [path for path in paths.below(folder) if _FILE.fullmatch(path.name)]


def _names(folder: AnyPath, count: int, taken: Sequence[AnyPath]) -> list[AnyPath]:
    """GE's names of the files, numbered where the present file may refer to some of them."""
    for mark in ("", *(f"_{number}" for number in range(1, len(taken) + 1))):
        files = [folder / f"Const_{number}_file{mark}" for number in range(count)]
        if not {*files} & {*taken}:
            return files
    raise AssertionError(taken)  # there are more marks than files that could have them


def _remove(folder: AnyPath, files: Sequence[AnyPath]) -> None:
    """Remove files of weights, and folders that are empty then."""
    for file in files:
        file.unlink(missing_ok=True)
    for place in (folder, folder.parent) if paths.is_local(folder) else ():
        with suppress(OSError):  # not there, or not empty: somebody else's
            place.rmdir()


def _locate(graph: Any, weights: Mapping[str, Part], places: Sequence[PurePath]) -> None:
    operators = {op.name: op for op in graph.op}
    for (name, content), place in zip(weights.items(), places, strict=True):
        op = operators[name]
        op.attr["location"].s = place.as_posix().encode()
        op.attr["length"].i = planning.size_of(content)
