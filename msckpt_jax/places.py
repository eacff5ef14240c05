"""Lines of the user's code as the user knows them: in a file, or in a cell of a notebook."""

from __future__ import annotations

import sys


def place(file: str, line: int | str, function: str) -> str:
    """``file:line (function)``, or ``Cell In[8], line 3 (function)``."""
    cell = _cell(file)
    where = f"{cell}, line {str(line).partition(':')[0]}" if cell else f"{file}:{line}"
    return f"{where} ({function})" if function else where


def _cell(file: str) -> str:
    """The name of the cell that IPython runs as a file of this name; empty for other files."""
    ipython = sys.modules.get("IPython")  # imported in every notebook, and not for its sake here
    shell = None if ipython is None else ipython.get_ipython()
    told = None if shell is None else shell.compile.format_code_name(file)
    return " ".join(told) if told else ""
