"""A MindIR as another model file: ``msckpt convert model.mindir model.air``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax

from msckpt_jax.api import export, jobs
from msckpt_jax.errors import ExportError
from msckpt_jax.graph.graph import Graph
from msckpt_jax.graph.values import Value
from msckpt_jax.lowering.trace import Traced, with_symbols
from msckpt_jax.lowering.wanted import Wanted
from msckpt_jax.mindir.function import MindIRFunction, load
from msckpt_jax.mindir.source import DecMode

#: The formats that a MindIR becomes, by suffix.
FORMATS = {suffix: name for name, suffix in export.SUFFIXES.items() if name != "MINDIR"}


def convert(
    source: Any,
    target: Any,
    *,
    dec_key: bytes | None = None,
    dec_mode: DecMode = "AES-GCM",
    soc: str | None = None,
    narrow: bool = False,
    opset: int = 21,
    durable: bool = True,
) -> tuple[Path, list[str]]:
    """Write the model of a MindIR file, ours or MindSpore's, as AIR or ONNX.

    Its operators are taken one by one. Where one of them has no counterpart, the model goes through
    JAX: what each operator means is traced and lowered again, under the same names of weights.

    Args:
        source: the ``.mindir`` file.
        target: the file to write; its suffix says which format.
        dec_key: key of an encrypted source.
        dec_mode: its cipher, or a function of path and key.
        soc: the chip that an AIR file is for, as in :func:`msckpt_jax.export`.
        narrow: whether an AIR file has no dtypes of 64 bits, as there.
        opset: of an ONNX file, as there.
        durable: fsync before a new file replaces an old one.

    Returns:
        The file, and notes about it.

    Raises:
        MindIRError: the source is damaged, or encrypted otherwise.
        ExportError: the model cannot be expressed in the format; nothing is written.
    """
    target = Path(target)
    if target.suffix not in FORMATS:
        raise ValueError(f"{target} must end with {' or '.join(FORMATS)}")
    file_format = FORMATS[target.suffix]
    export.check_format(file_format, soc=soc, narrow=narrow, opset=opset)
    jobs.check_folder(target)
    wanted = Wanted(
        None, b"", None, None, None, durable, None, soc, narrow, opset, "native", {},
    )  # fmt: skip
    model = load(source, dec_key=dec_key, dec_mode=dec_mode)
    writer = export.writer_of(file_format)
    try:
        return writer.write(model.graph, target, wanted)
    except ExportError as first:
        try:
            return writer.write(_through_jax(model, file_format), target, wanted)
        except ExportError as second:
            second.add_note(f"one operator at a time it went no further: {first}")
            raise


def _through_jax(model: MindIRFunction, file_format: str) -> Graph:
    """The model's graph made anew of what JAX traces."""
    names, weights = list(model.parameters), model.parameters
    structure = jax.tree.structure(model.inputs)

    def function(values: Any, *flat: Any) -> Any:
        return model.apply(dict(zip(names, values, strict=True)), *structure.unflatten(flat))

    inputs = {value.name or f"x{i}": _struct(value) for i, value in enumerate(model.graph.inputs)}
    types = [jax.ShapeDtypeStruct(weight.shape, weight.dtype) for weight in weights.values()]
    with jax.enable_x64(True):  # MindSpore's models have int64, whatever JAX is set to
        jaxpr = jax.make_jaxpr(function)(types, *with_symbols(list(inputs.values())))
        return export.lowered(Traced(jaxpr, weights, inputs, function), file_format)


def _struct(value: Value) -> jax.ShapeDtypeStruct:
    """The type of an input; sizes that the file does not name are called ``?0`` there."""
    shape = tuple(
        dim if isinstance(dim, int) else f"n{dim.removeprefix('?')}" for dim in value.type.shape
    )
    return jax.ShapeDtypeStruct(shape, value.type.dtype)  # type: ignore[arg-type]
