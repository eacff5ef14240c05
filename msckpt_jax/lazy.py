"""Modules as attributes of their package, imported when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Container
from types import ModuleType


def modules(package: str, names: Container[str]) -> Callable[[str], ModuleType]:
    """The ``__getattr__`` of a package that has modules of such names."""

    def imported(name: str) -> ModuleType:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return importlib.import_module(f"{package}.{name}")

    return imported
