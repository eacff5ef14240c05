"""What to say where JAX cannot decide something for all sizes: the constraint that decides it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import jax

#: The constraints with which a comparison is true, and false.
_DECIDED: dict[str, Callable[[str, str], tuple[str, str]]] = {
    ">=": lambda x, y: (f"{x} >= {y}", f"{x} <= {_more(y, -1)}"),
    ">": lambda x, y: (f"{x} >= {_more(y, 1)}", f"{x} <= {y}"),
    "<=": lambda x, y: (f"{x} <= {y}", f"{x} >= {_more(y, 1)}"),
    "<": lambda x, y: (f"{x} <= {_more(y, -1)}", f"{x} >= {y}"),
}
_TURNED = {">=": "<=", ">": "<", "<=": ">=", "<": ">"}


def is_inconclusive(error: BaseException) -> bool:
    """Tell whether JAX cannot decide something for all sizes."""
    return isinstance(error, jax.errors.InconclusiveDimensionOperation)


def advice(error: BaseException) -> str:
    """A sentence about an error of dynamic sizes: what decides it; nothing about other errors."""
    text = str(error)
    for form, sentence in _ADVICE:
        if match := form.search(text):
            return sentence(*match.groups())
    if is_inconclusive(error):
        return "say more about the sizes by constraints=, or give the input known sizes"
    return ""


def _compared(x: str, sign: str, y: str) -> str:
    if _is_number(x):
        x, sign, y = y, _TURNED[sign], x
    true, false = _DECIDED[sign](x, y)
    return f'say which it is: constraints=["{true}"] or constraints=["{false}"]'


def _is_number(text: str) -> bool:
    return text.lstrip("-").isdigit()


def _more(text: str, number: int) -> str:
    if _is_number(text):
        return str(int(text) + number)
    return f"{text} {'+' if number > 0 else '-'} {abs(number)}"


def _python(size: str = "a dynamic size") -> str:
    return (
        f"Python's own number is needed, which {size} is not: compute with "
        "jnp.asarray(x.shape[axis]), loop by jax.lax, or give the input a known size there"
    )


#: What to do, by what JAX says.
_ADVICE: Sequence[tuple[re.Pattern[str], Callable[..., str]]] = (
    (re.compile(r"comparison '(.+?)' (>=|<=|>|<) '(.+?)' is inconclusive"), _compared),
    (re.compile(r"dimension '(.+?)' used in a context that requires a constant"), _python),
    (re.compile(r"'_DimExpr' object cannot be interpreted as an integer"), _python),
    (
        re.compile(r"The remainder .+ should be 0"),
        lambda: (
            "write the size out instead of -1, with // where it is divided, and say what "
            'divides: constraints=["mod(s, 2) == 0"]'
        ),
    ),
    (
        re.compile(r"min\((\d+), (\w+)\)"),
        lambda number, name: f'say which is smaller: constraints=["{name} <= {number}"]',
    ),
    (
        re.compile(r"mod\((\w+), (\d+)\)"),
        lambda name, number: f'say that it divides: constraints=["mod({name}, {number}) == 0"]',
    ),
    (
        re.compile(r"(?i)(?:incompatible shapes|the same shape).*?\(.*?[a-z_]\w*[,)]"),
        lambda: 'equal sizes have one name, or a constraint: constraints=["c == b"]',
    ),
    (
        re.compile(r"non-constant size: (.+?)(?:\.|$)"),
        lambda size: f"JAX itself has it for known sizes only, which {size} is not",
    ),
)
