"""The rule that makes the meaning of a gradient operator from the forward operator's meaning.

MindSpore's gradients of complex numbers are the conjugates of JAX's.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from msckpt_jax.graph.meaning.arrays import ints


class Gradient(NamedTuple):
    """A row: an operator that computes gradients of another operator.

    Attributes:
        arguments: the names of its arguments, in order; ``dout`` is the gradient of the first
            result of ``forward``.
        forward: the other operator. Attributes are passed on to it.
        operands: the arguments of ``forward``, in the order that it takes them.
        of: those whose gradients are the results; the first operand if empty.
    """

    arguments: str
    forward: str
    operands: str
    of: str = ""

    def meaning(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """The meaning, by that of the forward operator."""
        names, taken = self.arguments.split(), self.operands.split()
        wanted = self.of.split() or taken[:1]

        def run(*given: Any, **attrs: Any) -> Any:
            known = _named(names, given, attrs)
            options = {name: value for name, value in attrs.items() if name not in names}

            def function(*moving: Any) -> Any:
                now = known | dict(zip(wanted, moving, strict=True))
                out = forward(*(now[name] for name in taken if name in now), **options)
                return out[0] if isinstance(out, tuple) else out

            return gradients(function, [known[name] for name in wanted], known["dout"])

        return signed(run, names, attributes(forward))


class Transpose(NamedTuple):
    """A row: an operator that computes the gradient of another, which is linear in what is sought.

    Attributes:
        arguments: the names of its arguments, in order: ``dout``, and what tells the shape of the
            result: ``shape``, ``image`` (without the axes of batch and channels), or ``like``.
        forward: the other operator. Attributes are passed on to it.
        operands: its arguments: ``sought`` is the one whose gradient is the result, ``size`` is
            that of the image of ``dout``, unless it is an argument.
    """

    arguments: str
    forward: str
    operands: str

    def meaning(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        names, taken = self.arguments.split(), self.operands.split()

        def run(*given: Any, **attrs: Any) -> Any:
            known = _named(names, given, attrs)
            options = {name: value for name, value in attrs.items() if name not in names}
            dout = known["dout"]
            shape = _shape(known, dout)
            known = {"size": dout.shape[2:]} | known

            def function(sought: Any) -> Any:
                now = known | {"sought": sought}
                return forward(*(now[name] for name in taken if name in now), **options)

            return transposed(function, shape, dout)

        return signed(run, names, attributes(forward))


class Slope(NamedTuple):
    """A row: an operator of elements whose derivative is a function of ``x`` or its result ``y``.

    It serves where only the result is given, and where MindSpore takes one side of a kink: JAX
    takes half of the gradient there.

    Attributes:
        arguments: the names of its arguments, in order: ``dout``, ``x`` or ``y``, and options.
        derivative: the derivative as a function of the argument, with the options by name.
        conjugate: False where MindSpore conjugates before and after the operator.
    """

    arguments: str
    derivative: Callable[..., Any]
    conjugate: bool = True

    def meaning(self) -> Callable[..., Any]:
        names = self.arguments.split()
        of = "y" if "y" in names else "x"

        def run(*given: Any, **attrs: Any) -> Any:
            known = _named(names, given, attrs)
            dout, point = known.pop("dout"), known.pop(of)
            slope = self.derivative(point, **known)
            return (dout * (_conjugate(slope) if self.conjugate else slope)).astype(dout.dtype)

        return signed(run, names, [])


#: A row of a table of gradients: one of the kinds above, or the meaning itself.
Row: TypeAlias = "Gradient | Transpose | Slope | Callable[..., Any]"


def meaning(row: Row, forward: Mapping[str, Callable[..., Any]]) -> Callable[..., Any]:
    """The meaning of a row, by the meanings of the forward operators."""
    if isinstance(row, Gradient | Transpose):
        return row.meaning(forward[row.forward])
    return row.meaning() if isinstance(row, Slope) else row


def gradients(function: Callable[..., Any], at: Sequence[Any], dout: Any) -> Any:
    """The gradients of a function's arguments: one, or a tuple where it has several."""
    out, back = jax.vjp(function, *map(jnp.asarray, at))
    seed = jnp.reshape(jnp.asarray(dout), out.shape).astype(out.dtype)
    first, *rest = (_conjugate(g) for g in back(_conjugate(seed)))
    return (first, *rest) if rest else first


def transposed(function: Callable[..., Any], shape: Sequence[int], dout: Any) -> Any:
    """The gradient of a linear function of an array of this shape, of the dtype of ``dout``."""
    back = jax.linear_transpose(function, jax.ShapeDtypeStruct(tuple(shape), dout.dtype))
    (result,) = back(_conjugate(dout))
    return _conjugate(result)


def _shape(known: Mapping[str, Any], dout: Any) -> tuple[int, ...]:
    if "like" in known:
        return known["like"].shape
    return ints(known["shape"]) if "shape" in known else dout.shape[:2] + ints(known["image"])


def _named(names: Sequence[str], given: Sequence[Any], attrs: Any) -> dict[str, Any]:
    """The arguments by name: old files have some of them as attributes."""
    known = dict(zip(names, given, strict=False))
    return known | {name: attrs[name] for name in names if name in attrs}


def _conjugate(x: Any) -> Any:
    return jnp.conj(x) if jnp.iscomplexobj(x) else x


def signed(
    run: Callable[..., Any], names: Sequence[str], attributes: Sequence[inspect.Parameter]
) -> Callable[..., Any]:
    """The function with a signature, which tells what attributes it takes."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter(name, kind) for name in names]
    run.__signature__ = inspect.Signature([*parameters, *attributes])  # type: ignore[attr-defined]
    return run


def attributes(meaning: Callable[..., Any]) -> list[inspect.Parameter]:
    """The arguments that a meaning takes by name only."""
    try:
        arguments = inspect.signature(meaning).parameters.values()
    except (ValueError, TypeError):  # a ufunc takes no attributes of MindSpore's
        return []
    return [p for p in arguments if p.kind is inspect.Parameter.KEYWORD_ONLY]
