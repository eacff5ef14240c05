"""Python processes that import from where this one does, and from nowhere else.

``python -m``, ``-c`` and a script's own folder each put a folder before the standard library, the
current one among them, where a file ``pickle.py`` may lie that came with someone's model.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

#: The flags of the interpreter that narrow its path; a child has those of its parent.
_NARROWING = {"isolated": "-I", "ignore_environment": "-E", "no_user_site": "-s", "no_site": "-S"}
_PACKAGES = str(Path(__file__).parent.parent)


def module(name: str, *args: object) -> list[str]:
    """Return the command that runs a module as ``python -m`` does."""
    run = f"runpy.run_module({name!r}, run_name='__main__', alter_sys=True)"
    return program(f"import runpy; {run}", *args)


def script(file: Path, *args: object) -> list[str]:
    """Return the command that runs a file, whose folder is not put on the path."""
    return program(f"import runpy; runpy.run_path({str(file)!r}, run_name='__main__')", *args)


def program(text: str, *args: object) -> list[str]:
    """Return the command that runs the text of a program as ``python -c`` does."""
    # The path is set before the first import; -P keeps the current folder out until then.
    text = f"import sys; sys.path[:] = {_path()!r}\n{text}"
    flags = [flag for name, flag in _NARROWING.items() if getattr(sys.flags, name)]
    return [sys.executable, "-P", *flags, "-c", text, *map(str, args)]


def _path() -> list[str]:
    """Return this process' import path; "", the folder that is the current one, is left out.

    This package, which may have been found there, can still be imported.
    """
    path = [str(entry) for entry in sys.path if entry]
    importable = len(path) == len(sys.path) or _PACKAGES in path
    return path if importable else [*path, _PACKAGES]


def environment(**more: str) -> Mapping[str, str]:
    """Return the variables for a child: of ``PYTHONPATH``, no folder that depends on the current.

    The interpreter reads it as it starts, and so do the children of children.
    """
    kept = filter(os.path.isabs, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    return os.environ | {"PYTHONPATH": os.pathsep.join(kept)} | more
