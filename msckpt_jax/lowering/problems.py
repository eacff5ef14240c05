"""The problems of an export, gathered so that all are told at once."""

from __future__ import annotations

import contextlib
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path

from msckpt_jax import display, places
from msckpt_jax.errors import ExportError, UnsupportedError
from msckpt_jax.lowering import inconclusive

#: Errors that say nothing about an equation, and pass through.
PASSING = (MemoryError, RecursionError)
#: Where no code of the user's is.
_OTHERS = ("site-packages", sysconfig.get_path("stdlib"), str(Path(__file__).parents[1]), "<frozen")


class Problems(dict[str, Exception | None]):
    """Problems, each with the error behind it where something of ours has failed."""

    def note(self, line: str, what: str, kind: str, error: Exception) -> None:
        """Note that ``what`` is refused, or that its rule, rewrite or row (``kind``) fails."""
        unsure = inconclusive.is_inconclusive(error)
        known = unsure or isinstance(error, UnsupportedError)
        reason = _unsure(error) if unsure else str(error)
        text = f"{what}: {reason if known else _failure(what, kind, error)}"
        self.setdefault(f"{line}: {text}" if line else text, None if known else error)

    def refuse(self) -> None:
        """Do nothing where there are none.

        Raises:
            UnsupportedError: all of them; the first failure is its cause.
        """
        if self:
            text = f"{display.counted(len(self), 'problem')}, nothing was written:"
            cause = next(filter(None, self.values()), None)
            raise UnsupportedError(text, problems=tuple(self)) from cause


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Refuse the export if the code within, which is ours alone, fails.

    Raises:
        ExportError: it fails; the failure is the cause.
    """
    try:
        yield
    except (ExportError, MemoryError):
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"nothing was written: msckpt_jax itself fails with {type(error).__name__}: {reason}; "
            "please report it, with the error that is its cause"
        ) from error


def line_of(error: BaseException) -> str:
    """``file:line (function)`` of the innermost code of the user's that an error came through."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if not any(place in f.filename for place in _OTHERS)]
    last = own[-1] if own else None
    return places.place(last.filename, last.lineno or 0, last.name) if last else ""


def _unsure(error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{reason}: {inconclusive.advice(error)}"


def _failure(what: str, kind: str, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0]
    return (
        f"its {kind} fails with {type(error).__name__}: {reason}; please report it, and compute it "
        "in another way, or give its primitive a rule: export(..., rules={name: rule})"
    )
