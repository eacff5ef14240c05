"""MindSpore's strategy files, which hold the layout of each parameter, in binary or JSON.

The binary form is that of protobuf package ``mindspore.straspb`` of MindSpore 2.10
(train/node_strategy_pb2.py), whose fields are not packed. It is read and written with the wire
codec of the CheckPoints, because registering the schema a second time kills a later
``import mindspore``.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Mapping
from typing import Any, TypeAlias

from msckpt_jax.checkpoint import atomic, json_keys, paths, wire
from msckpt_jax.checkpoint.paths import AnyPath, PathLike
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import soundness
from msckpt_jax.parallel.layout import Layout, named

Strategy = dict[str, Layout]
#: A strategy file, or its content.
StrategyLike: TypeAlias = PathLike | Mapping[str, Layout]
#: The name of a strategy file, with the ending of MindSpore's binary form.
FILE = "strategy.ckpt"
#: The endings by which a folder's strategy files are found.
SUFFIXES = (".ckpt", ".json")

_CURRENT_STAGE, _STRATEGY_ITEM, _LAYOUT_ITEM = 1, 2, 3
_NAME, _BODY = 1, 2
#: The keys of the JSON form.
_ITEMS = ("parallel_layout_item", "parallel_strategy_item")
#: The axis of a dimension that is not split.
_NONE = -1
_MATRIX, _MAP, _SPLIT, _OFFSET, _FIELD, _STEP, _SIZE = 1, 2, 3, 4, 5, 6, 7


def build_searched_strategy(strategy_filename: PathLike) -> Strategy:
    """Read the :class:`Layout` of each parameter from a strategy file: JSON if its name says so.

    In a merged file of pipeline stages the names are ``<stage>-<name>``.

    Raises:
        CheckpointError: the file is empty or not a strategy file, or a layout contradicts itself.
        FileNotFoundError: there is no such file.
        TypeError: the name is no path.

    Example:
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> w = jax.device_put(np.arange(4, dtype=np.float32), jax.NamedSharding(mesh, jax.P("x")))
        >>> ms.save_checkpoint({"w": w}, "net.ckpt", integrated_save=False)
        >>> ms.build_searched_strategy("strategy.ckpt")["w"].tensor_map
        ((0,),)
    """
    return read(strategy_filename)[0]


def read(file_name: PathLike) -> tuple[Strategy, int]:
    """The layouts of a strategy file, and its pipeline stage."""
    path = paths.path_of(file_name, "strategy_filename")
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        problem = (
            "there is no such strategy file (a save that is killed may leave none where it lies "
            "outside of the folder of its rank files)"
        )
        raise FileNotFoundError(errno.ENOENT, problem, str(path)) from None
    if not data:
        raise CheckpointError("the strategy file is empty", file=path)
    try:
        layouts, stage = (_from_json if path.name.endswith(".json") else _from_binary)(data)
    except CheckpointError as error:
        raise error.within(path) from None
    except wire.WireError as error:
        raise CheckpointError(
            f"this is no strategy file: {error.problem}", file=path, offset=error.offset
        ) from None
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"this is no strategy file: {error!r}", file=path) from None
    if type(stage) is not int or stage < 0:
        raise CheckpointError("the stage is no number", file=path, found=stage)
    return layouts, stage


def write(
    file_name: PathLike, layouts: Mapping[str, Layout], stage: int = 0, staged: bool = False
) -> None:
    """Write a strategy file that MindSpore's transform functions read.

    With ``staged``, for a file of all pipeline stages, the names are ``<stage>-<name>``.

    Raises:
        CheckpointError: a name holds ``-``, at which MindSpore looks for a pipeline stage; or a
            nested split is to be written as JSON, which cannot hold it.
    """
    path = paths.path_of(file_name)
    atomic.write(path, encode(path, layouts, stage, staged))


def encode(
    path: AnyPath, layouts: Mapping[str, Layout], stage: int = 0, staged: bool = False
) -> bytes:
    """The bytes of the strategy file ``path``."""
    soundness.check(layouts)
    for name in layouts:
        _check_name(name.partition("-")[2] if staged else name)
    return (_to_json if path.name.endswith(".json") else _to_binary)(layouts, stage)


def _check_name(name: str) -> None:
    """Refuse the names that MindSpore's transform functions cannot read."""
    if "-" in name:
        raise CheckpointError(
            "MindSpore takes what stands before '-' in a name for a pipeline stage; rename the "
            f"parameter, for instance to {name.replace('-', '_')!r}",
            name=name,
        )


# Binary


def _number(field: int, value: int) -> bytes:
    return wire.varint(field << 3) + wire.varint(value % 2**64)


def _bytes(field: int, value: bytes) -> bytes:
    return wire.varint(field << 3 | 2) + wire.varint(len(value)) + value


def _dims(field: int, values: tuple[int, ...]) -> bytes:
    return _bytes(field, b"".join(_number(1, value) for value in values))


def _to_binary(layouts: Mapping[str, Layout], stage: int) -> bytes:
    strategy = _number(1, stage) + _bytes(2, b"")
    out = [_number(_CURRENT_STAGE, 1)]
    out.append(_bytes(_STRATEGY_ITEM, _bytes(_NAME, b"msckpt_jax") + _bytes(_BODY, strategy)))
    for name, layout in layouts.items():
        item = _bytes(_NAME, name.encode()) + _bytes(_BODY, _layout_bytes(layout))
        out.append(_bytes(_LAYOUT_ITEM, item))
    return b"".join(out)


def _layout_bytes(layout: Layout) -> bytes:
    if _is_nested(layout):
        maps = [axes or (-1,) for axes in layout.tensor_map]
        if len(maps) == 1:
            maps.append(())  # else MindSpore takes the one map for a plain one
    else:
        maps = [tuple(axes[0] if axes else -1 for axes in layout.tensor_map)]
    return b"".join(
        [
            _dims(_MATRIX, layout.dev_matrix),
            *(_dims(_MAP, values) for values in maps),
            # MindSpore's readers take the first of these two without asking whether it is there.
            _dims(_SPLIT, layout.split_shape),
            _dims(_OFFSET, ()),
            _number(_FIELD, layout.field),
            _number(_STEP, layout.opt_shard_step),
            _number(_SIZE, layout.opt_shard_size),
        ]
    )


def _is_nested(layout: Layout) -> bool:
    return any(len(axes) > 1 for axes in layout.tensor_map)


def _from_binary(data: bytes) -> tuple[Strategy, int]:
    layouts: Strategy = {}
    stage = 0
    for field, value in reversed(list(fields(data))):
        if field == _LAYOUT_ITEM:
            item = dict(fields(value))
            name = item[_NAME].decode()
            layout = _layout_of(name, item[_BODY])
            if layouts.setdefault(name, layout) != layout:
                raise ValueError(f"{name!r} has two layouts")
        elif field == _STRATEGY_ITEM:
            stage = dict(fields(dict(fields(value))[_BODY])).get(1, 0)
        elif field != _CURRENT_STAGE or isinstance(value, bytes):
            kind = "a CheckPoint" if field == _CURRENT_STAGE else "another message"
            raise wire.WireError(f"by its field {field} it is {kind}", 0)
    return dict(reversed(layouts.items())), stage


def _layout_of(name: str, data: bytes) -> Layout:
    values: dict[int, list[Any]] = {}
    for field, value in fields(data):
        values.setdefault(field, []).append(value)
    maps = [_values(value) for value in values.get(_MAP, [])]
    if len(maps) > 1:
        tensor_map = tuple(tuple(a for a in axes if a != _NONE) for axes in maps if axes)
    else:
        tensor_map = tuple(() if a == _NONE else (a,) for axes in maps for a in axes)
    return named(
        name,
        _values(values[_MATRIX][0]),
        tensor_map,
        _signed32(values.get(_SIZE, [0])[0]),
        _signed32(values.get(_STEP, [0])[0]),
        _values(values[_SPLIT][0]) if _SPLIT in values else (),
        _signed32(values.get(_FIELD, [0])[0]),
    )


def fields(data: bytes) -> list[tuple[int, Any]]:
    """The numbers of fields, with their values: ints, or bytes."""
    return [
        (field, wire.read_varint(data, a, b)[0] if kind == wire.VARINT else data[a:b])
        for field, kind, a, b in wire.fields(data, 0, len(data))
    ]


def _values(data: bytes) -> tuple[int, ...]:
    return tuple(_signed32(value) for _, value in fields(data))


def _signed32(value: int) -> int:
    return (value & 0xFFFFFFFF) - ((value & 0x80000000) << 1)


# JSON


def _to_json(layouts: Mapping[str, Layout], stage: int) -> bytes:
    items = {name: _json_layout(name, layout) for name, layout in layouts.items()}
    strategy = {"msckpt_jax": {"stage": stage, "parallel_strategy": [[]]}}
    content = {"current_stage": 1, _ITEMS[1]: strategy, _ITEMS[0]: items}
    return json.dumps(content).encode()


def _json_layout(name: str, layout: Layout) -> dict[str, Any]:
    if _is_nested(layout):
        raise CheckpointError(
            "a JSON strategy cannot hold a dimension that is split over several mesh axes; "
            "write a binary one (a name that does not end with .json)",
            name=name,
        )
    return {
        "dev_matrix": list(layout.dev_matrix),
        "tensor_map": [axes[0] if axes else -1 for axes in layout.tensor_map],
        "tensor_shape": [],
        "field": layout.field,
        "opt_weight_shard_step": layout.opt_shard_step,
        "opt_weight_shard_size": layout.opt_shard_size,
        "param_split_shape": list(layout.split_shape),
        "indices_offset": [],
    }


def _from_json(data: bytes) -> tuple[Strategy, int]:
    content = json.loads(data, object_pairs_hook=json_keys.distinct)
    if not isinstance(content, dict) or not content.keys() & _ITEMS:
        raise ValueError(f"it has no {' and no '.join(_ITEMS)}")
    layouts = {
        name: named(
            name,
            tuple(item["dev_matrix"]),
            tuple(() if axis == _NONE else (axis,) for axis in item["tensor_map"]),
            item.get("opt_weight_shard_size", 0),
            item.get("opt_weight_shard_step", 0),
            tuple(item.get("param_split_shape", ())),
            item.get("field", 0),
        )
        for name, item in content.get(_ITEMS[0], {}).items()
    }
    items = list(content.get(_ITEMS[1], {}).values())
    return layouts, items[0].get("stage", 0) if items else 0
