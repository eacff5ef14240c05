"""The gate through which names of files reach a person: control characters are written out.

A file's names may be a stranger's, and a terminal obeys what they hold: escape sequences, line
ends, marks that turn the order of reading. Errors, reprs, tables, logs, warnings and the command
line all pass here.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable


def visible(text: object) -> str:
    """The text on one line, its control characters written out as ``repr`` has them."""
    text = str(text)
    return text if text.isprintable() else "".join(map(_character, text))


def lines(texts: Iterable[object]) -> str:
    """Texts one below the other, each as :func:`visible` has it."""
    return "\n".join(map(visible, texts))


def warn(text: str, stacklevel: int) -> None:
    """Warn as ``warnings.warn`` does."""
    warnings.warn(visible(text), stacklevel=stacklevel + 1)


def _character(character: str) -> str:
    return character if character.isprintable() else repr(character)[1:-1]


def _make_visible(record: logging.LogRecord) -> bool:
    record.msg, record.args = visible(record.getMessage()), ()
    return True


log = logging.getLogger("msckpt_jax")
log.addFilter(_make_visible)
