"""An AIR file and its messages."""

from __future__ import annotations

import os
from typing import Any

from google.protobuf.message import DecodeError

from msckpt_jax import display
from msckpt_jax._protos import ge_ir_pb2
from msckpt_jax.air.check import MAXIMUM_BYTES
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.formats import foreign
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.errors import AirError, StoreError
from msckpt_jax.graph import map_keys


def read(file_name: str | os.PathLike[str]) -> Any:
    """Return the ``ge_ir_pb2.ModelDef`` of a file, with the constants of its side files.

    Raises:
        AirError: it is no AIR file, has an attribute twice, or a side file is missing, too short
            or outside the folder.
    """
    path = paths.path_of(file_name)
    size = paths.size(path)
    if size > MAXIMUM_BYTES:
        raise AirError(
            "too large for GE, which reads 2 GiB",
            file=path,
            found=display.counted(size, "byte"),
        )
    data = path.read_bytes()
    try:
        model = ge_ir_pb2.ModelDef.FromString(data)
    except DecodeError:
        problem = "no AIR file, or one that is damaged or cut off"
        raise AirError(_instead(data, path) or problem, file=path) from None
    if not model.graph:
        raise AirError(_instead(data, path) or "no AIR file: it has no graph", file=path)
    if (key := map_keys.twice(model, data)) is not None:
        raise AirError(f"an attribute {key!r} is there twice, GE keeps the last", file=path)
    sides = _Sides(path)
    for graph in model.graph:
        for operator in graph.op:
            if operator.type in ("Const", "Constant") and "location" in operator.attr:
                _load_constant(operator, path, sides)
    return model


def _instead(data: bytes, path: AnyPath) -> str | None:
    return foreign.instead(memoryview(data), path, "AIR")


#: The bytes that constants may hold beyond twice those of their side files: constants that share
#: a file are read once each.
_SHARED_BYTES = 64 << 20


class _Sides:
    """The side files that were read, and the bytes that constants took from them."""

    def __init__(self, path: AnyPath):
        self._path = path
        self._sizes: dict[AnyPath, int] = {}
        self._taken = 0

    def take(self, side: AnyPath, size: int, taken: int) -> None:
        """Count bytes before they are read; refuse more than the files can be worth."""
        self._sizes[side] = size
        self._taken += taken
        most = 2 * sum(self._sizes.values()) + _SHARED_BYTES
        if self._taken > most:
            raise AirError(
                "its constants name the same side files again and again",
                file=self._path,
                expected=f"at most {most:,} bytes",
                found=f"{self._taken:,}",
            )


def _load_constant(operator: Any, path: AnyPath, sides: _Sides) -> None:
    """Put the bytes of a side file into a Const, as GE's ``SetWeightForModel`` does it."""
    text = operator.attr["location"].s.decode("utf-8", "replace")
    wanted = operator.attr["length"].i
    try:
        where = paths.inside(path.parent, text)
        size = paths.size(where) if where is not None and where.is_file() else None
    except StoreError:
        raise
    except (OSError, ValueError, RuntimeError):  # too long, a NUL, a loop of symbolic links
        where, size = path, None
    if where is None:
        raise AirError(
            f"the constant {operator.name!r} is to be read from outside its folder",
            file=path,
            found=text,
        )
    if size is None or size < wanted or wanted < 0:
        raise AirError(
            f"the side file {text!r} of the constant {operator.name!r} does not fit",
            file=path,
            expected=display.counted(wanted, "byte"),
            found="no file" if size is None else display.counted(size, "byte"),
        )
    sides.take(where, size, wanted)
    with where.open("rb") as file:
        operator.attr["value"].t.data = file.read(wanted)
    del operator.attr["location"], operator.attr["length"]
