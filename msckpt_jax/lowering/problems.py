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
_OTHERS = (
    "site-packages", sysconfig.get_path("stdlib"), sysconfig.get_path("scripts"),
    str(Path(__file__).parents[1]), "<frozen",
)  # fmt: skip
#: The ends of lines of messages that go on in the next line, and what these begin with.
_GOES_ON, _POINTS = (":", "differ"), ("*", "-")


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
    return _innermost(traceback.extract_tb(error.__traceback__))


def caller() -> str:
    """``file:line (function)`` of the code of the user's that called us."""
    return _innermost(traceback.extract_stack())


def _innermost(frames: traceback.StackSummary) -> str:
    own = [f for f in frames if not any(place in f.filename for place in _OTHERS)]
    last = own[-1] if own else None
    return places.place(last.filename, last.lineno or 0, last.name) if last else ""


def reason_of(error: BaseException) -> str:
    """The first sentence of an error's message, with what it announces."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[:1]
    for line in lines[1:4]:
        if not told[-1].endswith(_GOES_ON) and not line.startswith(_POINTS):
            break
        told.append(line.lstrip("*- ").rstrip(";"))
    return f"{''.join(told[:1])} {'; '.join(told[1:])}".strip().rstrip(".")[:500]


def _unsure(error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0].rstrip(".")
    return f"{reason}: {inconclusive.advice(error)}"


def _failure(what: str, kind: str, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0]
    return (
        f"its {kind} fails with {type(error).__name__}: {reason}; please report it, and compute it "
        "in another way, or give its primitive a rule: export(..., rules={name: rule})"
    )
