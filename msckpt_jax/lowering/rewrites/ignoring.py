"""A rewrite that ignores parameters, as tables have it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msckpt_jax.lowering.rule import arguments


class Ignoring(NamedTuple):
    """A rewrite, and the parameters that it need not know; ``HARMLESS`` says why."""

    function: Callable[..., Any]
    ignores: frozenset[str]

    def arguments(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters that the function takes.

        Raises:
            UnsupportedError: a parameter that it does not take, and that is not ignored.
        """
        return arguments(self.function, params, self.ignores, "rewrite")


def ignoring(rewrite: Callable[..., Any] | Ignoring, *names: str) -> Ignoring:
    """A rewrite that ignores parameters, besides those that it ignores already."""
    known = rewrite if isinstance(rewrite, Ignoring) else Ignoring(rewrite, frozenset())
    return known._replace(ignores=known.ignores | {*names})
