"""Write GE's graphs as an AIR file, weights streamed into it or into files beside it.

The messages have no weights: these go from their own buffers to their places, shard by shard, as a
CheckPoint's do. Past 2 GiB, which no protobuf message can have, each weight gets a file of its own,
which GE reads by the Const's ``location`` and ``length`` (``SeparateModelDef`` in its
``model_serialize.cc``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from msckpt_jax._protos.ge_ir_pb2 import AttrDef, GraphDef, ModelDef, OpDef, TensorDef
from msckpt_jax.air.adapt import Adapted
from msckpt_jax.air.check import MAXIMUM_BYTES
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.plan import Part
from msckpt_jax.lowering import payload

_GRAPH, _OP, _ATTR, _TENSOR, _DATA = (
    message.DESCRIPTOR.fields_by_name[field].number
    for message, field in (
        (ModelDef, "graph"), (GraphDef, "op"), (OpDef, "attr"), (AttrDef, "t"), (TensorDef, "data"),
    )
)  # fmt: skip
_KEY, _VALUE = 1, 2  # of a map's entry


class Options(NamedTuple):
    """How a file is written.

    ``encrypt`` is a function of bytes and key that gives bytes: GE has no ciphers of its own.
    """

    split_bytes: int = MAXIMUM_BYTES
    encrypt: Callable[[bytes, bytes], bytes] | None = None
    key: bytes = b""
    durable: bool = True


def write(model: Adapted, target: Path, options: Options) -> None:
    """Write the file; it replaces an older one when it is complete, with what lies beside it."""
    weights = {name: payload.content(p) for name, p in model.weights.items()}
    parts = list(_model(model.model, target.stem, weights))
    if sum(map(planning.size_of, parts)) <= options.split_bytes:
        payload.write(target, parts, options)
        _remove(target, None)
        return
    folder = _folder(target)
    folder.mkdir(mode=0o700, parents=True)
    for number, (name, content) in enumerate(weights.items()):
        file = folder / f"Const_{number}_file"
        payload.write(file, [content], options)
        _locate(model.model.graph[0], name, file.relative_to(target.parent), content)
    payload.write(target, list(_model(model.model, target.stem, {})), options)
    _remove(target, folder)


def _model(model: Any, name: str, weights: dict[str, Part]) -> Iterator[Part]:
    main, *bodies = model.graph
    yield ModelDef(name=name).SerializeToString(deterministic=True)
    yield from payload.nested(_GRAPH, list(_graph(main, weights)))
    for body in bodies:
        data = body.SerializeToString(deterministic=True)
        yield from payload.nested(_GRAPH, [data])


def _graph(message: Any, weights: dict[str, Part]) -> Iterator[Part]:
    """A GraphDef, its operators in order; protobuf's parser joins what is there in pieces."""
    yield GraphDef(name=message.name).SerializeToString(deterministic=True)
    for op in message.op:
        content = weights.get(op.name) if op.type == "Const" else None
        parts = (
            [op.SerializeToString(deterministic=True)] if content is None else _const(op, content)
        )
        yield from payload.nested(_OP, parts)


def _const(op: Any, content: Part) -> list[Part]:
    """A Const whose value is ``content``, around which the messages are written by hand."""
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


def _folder(target: Path) -> Path:
    """A new folder for weights; the present file may refer to the other one."""
    places = [target.parent / "air_weight" / f"{target.stem}{mark}" for mark in ("", "_1")]
    return places[1] if places[0].exists() else places[0]


def _remove(target: Path, kept: Path | None) -> None:
    """The weights of an older file of this name."""
    for mark in ("", "_1"):
        folder = target.parent / "air_weight" / f"{target.stem}{mark}"
        if folder != kept and folder.exists():
            shutil.rmtree(folder)


def _locate(graph: Any, name: str, location: Path, content: Part) -> None:
    op = next(op for op in graph.op if op.name == name)
    op.attr["location"].s = location.as_posix().encode()
    op.attr["length"].i = planning.size_of(content)
