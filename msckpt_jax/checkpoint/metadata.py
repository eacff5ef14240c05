"""Metadata of any kind as text, where a format holds nothing else."""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any


def text(item: Any) -> str:
    """Return an item as text: a string as it is, unless it would be read as JSON."""
    if not isinstance(item, str):
        return json.dumps(item)
    return json.dumps(item) if value(item) != item else item


def value(item: str) -> Any:
    """Undo :func:`text`."""
    try:
        return json.loads(item)
    except (ValueError, RecursionError):
        return item


def values(items: Mapping[str, str], but: Container[str]) -> dict[str, Any]:
    """The values of all texts except those of the keys in ``but``."""
    return {key: value(item) for key, item in items.items() if key not in but}
