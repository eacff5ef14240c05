"""The rule of a JAX primitive: how it becomes MindSpore's operators, and which these may be.

Its function, ``function(context, *inputs, **params)``, gets the operands of an equation and those
parameters of the primitive that it names. A parameter that it does not name, and that the rule does
not ignore, is refused: a newer JAX may have added it, with a meaning of its own. It is the same
with rewrites.
"""

from __future__ import annotations

import functools
import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping, Set
from typing import Any, NamedTuple

from msckpt_jax.errors import UnsupportedError

#: The parameters that rules and rewrites may ignore, and why none of their values changes a result.
HARMLESS = {
    **dict.fromkeys(("sharding", "out_sharding"), "one device computes all of it"),
    "memory_space": "the device has one memory",
    **dict.fromkeys(("accuracy", "precision"), "how exactly XLA is to compute, which is a hint"),
    **dict.fromkeys(("algorithm", "implementation", "use_magma"), "which library XLA is to call"),
    **dict.fromkeys(("indices_are_sorted", "unique_indices"), "promises that save XLA work"),
    **dict.fromkeys(
        ("aggregate_to_topk", "recall_target", "reduction_input_size_override"),
        "how few of the best elements suffice, where all of them are found",
    ),
    **dict.fromkeys(("msg", "allow_constant_across_batch"), "for ``vmap``, which is done before"),
    **dict.fromkeys(
        ("backend", "compiler_params", "cost_estimate", "debug", "full_range", "interpret",
         "metadata", "name", "out_avals"),
        "how a kernel is compiled, or what it is called",
    ),
    "select_callable": "it is for sorted eigenvalues, which are refused",
    "branches_platforms": "``platform_index`` has chosen the branch for CPU",
    "broadcast_dimensions": "only axes of size 1 are added, between those of the operand",
    "computation": "the function that ``jaxpr`` was traced from",
    "enable_eigvec_derivs": "derivatives are taken before the export",
    "fill_value": "it stands for elements out of bounds, of which there are none",
    "is_stable": "the operators are stable, as JAX allows in any case",
    "sort_eigenvalues": "the operator sorts them, as JAX allows in any case",
    "unroll": "how a loop over the coefficients is compiled",
    "update_consts": "``update_jaxpr`` is none, or computes what the primitive's name says",
    **dict.fromkeys(
        ("dtype", "index_dtype", "input_dtype", "_input_dtype", "k", "new_dtype", "new_sizes",
         "out_dtype", "preferred_element_type", "shape", "slice_sizes", "weak_type"),
        "the types of the operands and results say the same",
    ),
}  # fmt: skip

#: Letters of a parameter's value in a message.
_SHOWN = 80


class Rule(NamedTuple):
    """The rule of a primitive.

    Attributes:
        function: emits nodes, and returns the result or the results.
        operators: all of MindSpore's operators that the function may emit. Not among them are those
            that the context puts in between (casts, arithmetic of dynamic sizes), and those of
            other primitives in bodies and in jaxprs that the function has lowered.
        ignores: parameters that the function need not know; ``HARMLESS`` says why.
    """

    function: Callable[..., Any]
    operators: frozenset[str] = frozenset()
    ignores: frozenset[str] = frozenset()

    def arguments(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        """The parameters that the function takes.

        Raises:
            UnsupportedError: a parameter that it does not take, and that is not ignored.
        """
        return arguments(self.function, params, self.ignores, "rule")


def rule(function: Callable[..., Any], *operators: str, ignores: Iterable[str] = ()) -> Rule:
    """A rule, as tables have it."""
    return Rule(function, frozenset(operators), frozenset(ignores))


def rule_of(given: Rule | Callable[..., Any]) -> Rule:
    """A rule as it is; a plain function of the user's as a rule that ignores nothing."""
    return given if isinstance(given, Rule) else Rule(given)


def arguments(
    function: Callable[..., Any], params: Mapping[str, Any], ignores: Set[str], kind: str
) -> Mapping[str, Any]:
    """The parameters that the function of a rule or rewrite takes; ``kind`` names which it is."""
    names = keywords(function) if params else frozenset()
    if names is None:
        return params
    for name, value in params.items():
        if name not in names and name not in ignores:
            shown = textwrap.shorten(repr(value), _SHOWN)
            raise UnsupportedError(
                f"with the parameter {name}={shown}, which its {kind} does not know"
            )
    return {name: value for name, value in params.items() if name in names}


@functools.lru_cache(maxsize=4096)
def keywords(function: Callable[..., Any]) -> frozenset[str] | None:
    """The names that a function takes by keyword; None where it takes all."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    kinds = (inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return frozenset(p.name for p in parameters if p.kind in kinds)
