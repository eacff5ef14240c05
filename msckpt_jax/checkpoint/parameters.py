"""``Parameters``: the values of a file by name, read when they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, Sequence
from typing import Any

import numpy as np

from msckpt_jax import display, names, visible
from msckpt_jax.checkpoint.copying import Readable
from msckpt_jax.lazy import jax

_NOWHERE = object()


class Parameters(MutableMapping[str, Any]):
    """The parameters of a file by name, read when asked for; entries can be set and deleted.

    ``dict(parameters)`` reads them all. ``file`` is the open :class:`CheckpointFile`.

    Example:
        >>> tree = {"dense": {"kernel": np.ones((2, 3), np.float32)}, "step": 7}
        >>> ms.save_checkpoint(tree, "model.ckpt")
        >>> parameters = ms.load_checkpoint("model.ckpt")
        >>> del parameters["step"]
        >>> parameters.nested()["dense"]["kernel"].shape
        (2, 3)
    """

    def __init__(self, file: Readable, kept: Sequence[str]):
        self.file = file
        self._values: dict[str, Any] = dict.fromkeys(kept, _IN_FILE)

    def __getitem__(self, name: str) -> Any:
        value = self._values.get(name, _NOWHERE)
        if value is _NOWHERE:
            raise KeyError(visible.visible(f"there is no parameter {name!r}"))
        return self.file[name] if value is _IN_FILE else value

    def __setitem__(self, name: str, value: Any) -> None:
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        del self._values[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def in_file(self, name: str) -> bool:
        """Tell whether the value is still that of the file."""
        return self._values[name] is _IN_FILE

    def nested(self) -> dict[str, Any]:
        """All values in nested dicts by the dots in their names, as linen variables are.

        Raises:
            CheckpointError: a name is the prefix of another.
        """
        return names.nested(self)

    def copy(self) -> Parameters:
        copied = Parameters(self.file, ())
        copied._values = self._values.copy()
        return copied

    def _ipython_key_completions_(self) -> list[str]:
        return [*self]

    def __treescope_repr__(self, path: str | None, subtree_renderer: Any) -> Any:
        """The tree of the names, with types in the place of values: ``nnx.display`` reads none."""
        types = {name: self._type(name) for name in self}
        return subtree_renderer(names.nested(types))

    def __repr__(self) -> str:
        lines = [f"  {name}: {self._describe(name)}" for name in self]
        if len(lines) > 40:
            lines[20:-20] = [f"  ... {len(lines) - 40} more"]
        return visible.lines([f"<Parameters of {self.file.path}", *lines, ">"])

    def _repr_html_(self) -> str:
        return display.page(
            f"Parameters of {self.file.path}: {len(self)}",
            display.table(["name", "dtype", "shape", "size", "sharding"], map(self._row, self)),
        )

    def _row(self, name: str) -> list[display.Cell]:
        """The cells of a value of the file or an array that was set; else the value's type."""
        value: Any = self.file.entries[name] if self.in_file(name) else self._values[name]
        if not hasattr(value, "nbytes"):
            return [name, type(value).__name__, "", "", ""]
        kind = value.type if self.in_file(name) else value.dtype
        size = display.Size(value.nbytes)
        return [name, str(kind), str(list(value.shape)), size, display.sharding_of(value)]

    def _type(self, name: str) -> Any:
        """The type of an array of the file; any other value."""
        entry = self.file.entries[name] if self.in_file(name) else None
        if entry is None or not entry.is_array:
            return self[name]
        return jax.ShapeDtypeStruct(entry.shape, entry.row.array)

    def _describe(self, name: str) -> str:
        if self.in_file(name):
            entry = self.file.entries[name]
            return f"{entry.type}{list(entry.shape)}"
        return f"{type(self._values[name]).__name__}{list(np.shape(self._values[name]))}"


_IN_FILE = object()
