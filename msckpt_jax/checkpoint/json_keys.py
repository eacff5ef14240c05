"""JSON whose objects name each key once: of equal keys, the others would be lost in silence."""

from __future__ import annotations

from typing import Any


def distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs, for ``json.loads(object_pairs_hook=...)``.

    Raises:
        ValueError: a key stands twice.
    """
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise ValueError(f"the key {key!r} stands twice")
        out[key] = value
    return out
