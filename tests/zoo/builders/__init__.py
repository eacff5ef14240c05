"""The MindSpore side: what each repository imports, and how its networks are built."""

from __future__ import annotations

import sys
import types
from pathlib import Path

#: Where the repository is installed.
SITE = Path(sys.path[0])


def bare(name: str, **names: str) -> None:
    """Make a package whose own file is not run: only its modules are wanted."""
    package = types.ModuleType(name)
    package.__path__ = [str(SITE.joinpath(*name.split(".")))]
    vars(package).update(names)
    sys.modules[name] = package
