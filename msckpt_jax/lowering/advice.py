"""What to do about an error of the user's code under JAX, where the error itself does not say."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import jax

from msckpt_jax.lowering import inconclusive

#: Inputs by name.
_Inputs = Mapping[str, jax.ShapeDtypeStruct]


def advice(error: BaseException, inputs: _Inputs) -> str:
    """A sentence about an error that came with these inputs; nothing where there is none."""
    if told := inconclusive.advice(error):
        return told
    text = str(error)
    matches = ((form.search(text), sentence) for form, sentence in _ADVICE)
    return next((sentence(match, inputs) for match, sentence in matches if match), "") or (
        _shape_as_input(inputs)
    )


def _fixed(sentence: str) -> Callable[[re.Match[str], _Inputs], str]:
    return lambda match, inputs: sentence


def _channels_first(match: re.Match[str], inputs: _Inputs) -> str:
    """Tell of an input in the layout of MindSpore and PyTorch whose transposition would fit."""
    last, groups, wanted = map(int, match.groups())
    for name, type in inputs.items():
        shape = type.shape
        if len(shape) > 2 and shape[-1] == last and shape[1] == groups * wanted:
            turned = [shape[0], *shape[2:], shape[1]]
            return (
                f"the network has its channels last, and {name} has them on axis 1: pass it as "
                f"{turned}, which is jnp.moveaxis({name}, 1, -1)"
            )
    return ""


def _shape_as_input(inputs: _Inputs) -> str:
    """Tell of a tuple of whole numbers, which may be meant as the shape of an input."""
    parts = [name.rpartition(".") for name in inputs]
    heads = {head for head, _, part in parts if part.isdecimal()}
    whole = all(type.shape == () and type.dtype.kind == "i" for type in inputs.values())
    if len(heads) != 1 or len(inputs) < 2 or not whole or "" in heads:
        return ""
    return (
        f"{heads.pop()} is a tuple of numbers: if it is the shape of an input, pass "
        "jax.ShapeDtypeStruct(shape, dtype)"
    )


_VALUES = "values are not known while a network is exported"

#: What to do, by what JAX or Python says.
_ADVICE: Sequence[tuple[re.Pattern[str], Callable[[re.Match[str], _Inputs], str]]] = (
    (
        re.compile(r"Attempted boolean conversion of traced array"),
        _fixed(f"{_VALUES}: in place of `if`, `and`, `or` and `not` take jnp.where, jax.lax.cond, "
               "`&`, `|` and `~`, in place of `while` jax.lax.while_loop"),
    ),
    (
        re.compile(r"Abstract tracer value encountered where concrete value is expected"),
        _fixed(f"{_VALUES}: int(), float(), sizes and range() take Python's numbers, such as "
               "x.shape[0]"),
    ),
    (
        re.compile(r"__array__\(\) (?:method )?was called on"),
        _fixed("compute with jax.numpy in place of numpy, and convert the results afterwards"),
    ),
    (
        re.compile(r"Array boolean indices must be concrete"),
        _fixed("its size would depend on values: take jnp.where(mask, x, 0), or "
               "jnp.nonzero(mask, size=n)"),
    ),
    (
        re.compile(r"missing \d+ required (?:positional|keyword-only) argument"),
        _fixed("export(net, x, y, ...) takes an example of each input, or its "
               "jax.ShapeDtypeStruct"),
    ),
    (
        re.compile(r"'NoneType' object"),
        _fixed("None is no input: where an argument is to keep its default, leave it out"),
    ),
    (
        re.compile(r"unhashable type: '\w*Tracer'"),
        _fixed("an argument that is an option, and no array, was given an array: bind it by "
               "functools.partial(net, option=value)"),
    ),
    (
        re.compile(r"maximum recursion depth exceeded"),
        _fixed("a function calls itself without end, or is nested deeper than "
               "sys.setrecursionlimit allows"),
    ),
    (
        re.compile(r"operands could not be broadcast together with shapes \(\d*,?\) \(\d*,?\)"),
        _fixed("an input may have too few or too many axes for the layer"),
    ),
    (
        re.compile(r"no available implicit dtype promotion path"),
        _fixed("cast one of them: x.astype(y.dtype)"),
    ),
    (
        re.compile(r"lhs feature dimension size .*?(\d+) // (\d+) != (\d+)"),
        _channels_first,
    ),
)  # fmt: skip
