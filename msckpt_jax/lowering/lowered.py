"""The lowering of a traced function, for a target: canonical jaxpr, rules, checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from msckpt_jax import _compat
from msckpt_jax._compat import ClosedJaxpr
from msckpt_jax.graph import check
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.values import Parameter, Tensor
from msckpt_jax.lowering import algorithms as library
from msckpt_jax.lowering import pairs, tiny
from msckpt_jax.lowering.canonical import canonicalise
from msckpt_jax.lowering.context import Options
from msckpt_jax.lowering.lower import lower
from msckpt_jax.lowering.problems import failures
from msckpt_jax.lowering.rewrites import Rewrite
from msckpt_jax.lowering.rules import RULES
from msckpt_jax.lowering.target import Target
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.lowering.wanted import Lowering


def lowered(traced: Traced, target: Target, how: Lowering) -> Graph:
    """Return the graph of a function, checked against MindSpore's operators.

    Where the target keeps to MindSpore's kernels there are casts around some nodes.

    Raises:
        ExportError: equations cannot be expressed: all of them, each with the user's line.
    """
    with failures():
        return _lowered(traced, target, how, dict(how.rules or {}))


def _lowered(traced: Traced, target: Target, how: Lowering, rules: Mapping[str, Any]) -> Graph:
    keep = (*rules, *target.keep)
    jaxpr, weights = traced.jaxpr, traced.weights
    algorithms = _algorithms(jaxpr, target, how.exact)
    if tiny.needed(jaxpr):
        plain = canonicalise(jaxpr, fuse=False, rewrites=algorithms, keep=keep)
        jaxpr, weights = tiny.carried(plain, weights, target.tiny)
    if not target.complex and pairs.needed(jaxpr):
        jaxpr = pairs.split(canonicalise(jaxpr, fuse=False, rewrites=algorithms, keep=keep))
        weights = {name: pairs.stored(value) for name, value in weights.items()}
    jaxpr = canonicalise(
        jaxpr,
        fuse=how.fuse,
        exact=how.exact or target.kernels,
        rewrites={**algorithms, **(target.rewrites if how.fuse else {})},
        keep=keep,
        more=target.fusions if how.fuse else (),
    )
    guarded = how.exact or target.guarded
    options = Options({**RULES, **rules}, how.exact, how.target, target.kernels, guarded)
    graph = lower(jaxpr, weights, list(traced.inputs), options)
    graph.results = [*traced.results] if any(traced.results) else []
    graph.nesting = traced.nesting
    if traced.keeps:
        unused = {
            name: Parameter(Tensor(np.dtype(weight.dtype), tuple(weight.shape)), name, weight)
            for name, weight in weights.items()
        }
        graph.parameters = {**unused, **graph.parameters}
    check.check(graph, kernels=target.kernels)
    if how.quantiser is None:
        return graph
    # Complex weights are pairs now, and narrow ones wider: they are not those of the function.
    same = {n for n, weight in traced.weights.items() if weight.dtype == weights[n].dtype}
    return how.quantiser(graph, target.spell, same)


def _algorithms(jaxpr: ClosedJaxpr, target: Target, exact: bool) -> Mapping[str, Rewrite]:
    """Return the rewrites for primitives that a target lacks, in the dtypes of the jaxpr."""
    exactly = library.EXACT if exact else {}
    wide = target.algorithms64 if target.algorithms64 and _compat.is_wide(jaxpr) else {}
    return {**wide, **target.algorithms, **exactly}
