"""``msckpt convert model.mindir model.air``: a model file in another format."""

from __future__ import annotations

import os
from typing import Any

import jax

from msckpt_jax.api import jobs, targets
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.paths import AnyPath
from msckpt_jax.errors import ExportError
from msckpt_jax.graph.function import ModelFunction
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.values import Value
from msckpt_jax.lowering import quantising, symbols
from msckpt_jax.lowering.lowered import lowered
from msckpt_jax.lowering.quantised import Quantiser
from msckpt_jax.lowering.target import Target
from msckpt_jax.lowering.trace import Traced
from msckpt_jax.lowering.wanted import Lowering, Wanted
from msckpt_jax.specs import TensorSpec, spec
from msckpt_jax.visible import visible

#: The vocabulary of the graphs that a target writes.
_VOCABULARY = "MindSpore"


def convert(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    dec_key: bytes | None = None,
    dec_mode: Any = "AES-GCM",
    durable: bool = True,
    weights: str | None = None,
    weight_block_size: int | None = None,
    **options: Any,
) -> tuple[AnyPath, list[str]]:
    """Write the model of a file, ours or MindSpore's, in another format.

    The operators of a MindIR become those of the format, each by its row. Where an operator has no
    row, and for an AIR file, the model goes through JAX: the meanings of all operators are traced
    and lowered again, under the same names of weights.

    Args:
        source: the ``.mindir`` or ``.air`` file.
        target: the file to write; its suffix names the format.
        dec_key: key of an encrypted source.
        dec_mode: its cipher, or a function of path and key.
        durable: fsync before a new file replaces an old one.
        weights: ``"int8"`` or ``"int4"``, as in :func:`msckpt_jax.export`.
        weight_block_size: as there.
        options: the arguments of :func:`msckpt_jax.export` that the target's format heeds.

    Returns:
        The file, and notes about it.

    Raises:
        MindIRError, AirError: the source is damaged, or encrypted otherwise.
        ExportError: the model cannot be expressed in the format; nothing is written.
        ValueError: the suffix belongs to no model format, or to the source's own.
    """
    target = paths.path_of(target)
    wanted = targets.of_suffix(target)
    reading = targets.of_file(source) or targets.named(targets.DEFAULT)
    if wanted is None or wanted is reading:
        suffixes = [suffix for suffix in targets.SUFFIXES if suffix != reading.suffix]
        raise ValueError(visible(f"{target} must end with {' or '.join(suffixes)}"))
    how = Wanted(durable=durable, options=targets.options_for(wanted, options))
    wish = quantising.wish(weights, weight_block_size)
    quantiser = None if wish is None else Quantiser(wish, {**how.options, "target": None})
    jobs.check_folder(target)
    model = reading.open(source, dec_key=dec_key, dec_mode=dec_mode)
    if model.state or model.draws:
        does = "changes its parameters" if model.state else "draws random numbers"
        raise ExportError(visible(
            f"{source}: the model {does}, as in training mode, which no conversion keeps: load "
            "it, and export a function with what you want of it, such as "
            "(lambda p, x: f.apply(p, x, mutable=True), f.parameters)"
        ))  # fmt: skip

    def anew() -> tuple[AnyPath, list[str]]:
        return _write(wanted, _through_jax(model, wanted, quantiser), target, how, quantiser)

    if reading.vocabulary != _VOCABULARY:
        return anew()
    try:
        graph = model.graph if quantiser is None else quantiser(model.graph, wanted.spell)
        return _write(wanted, graph, target, how, quantiser)
    except ExportError as first:
        try:
            return anew()
        except ExportError as second:
            second.add_note(f"converting it one operator at a time failed, too: {first}")
            raise


def _write(
    format: Target, graph: Graph, path: AnyPath, how: Wanted, quantiser: Quantiser | None
) -> tuple[AnyPath, list[str]]:
    file, notes = format.write(graph, path, how)
    return file, [*([] if quantiser is None else quantiser.notes), *notes]


def _through_jax(model: ModelFunction, target: Target, quantiser: Quantiser | None) -> Graph:
    """Return the model's graph, made anew from a trace of JAX."""
    names, weights = list(model.parameters), model.parameters
    structure = jax.tree.structure(model.inputs)

    def function(values: Any, *flat: Any) -> Any:
        return model.apply(dict(zip(names, values, strict=True)), *structure.unflatten(flat))

    inputs = {value.name or f"x{i}": _struct(value) for i, value in enumerate(model.graph.inputs)}
    types = [jax.ShapeDtypeStruct(weight.shape, weight.dtype) for weight in weights.values()]
    how = Lowering(quantiser=quantiser)
    with jax.enable_x64(True):  # the models have int64, whatever JAX is set to
        jaxpr = jax.make_jaxpr(function)(types, *symbols.symbolic(inputs))
        traced = Traced(
            jaxpr, weights, inputs, function, results=model.graph.results,
            nesting=model.graph.nesting, keeps=True,
        )  # fmt: skip
        return lowered(traced, target, how)


def _struct(value: Value) -> TensorSpec | jax.ShapeDtypeStruct:
    """The type of an input; sizes that the file does not name are called ``?0`` there."""
    shape = tuple(
        dim if isinstance(dim, int) else f"n{dim.removeprefix('?')}" for dim in value.type.shape
    )
    return spec(shape, value.type.dtype)
