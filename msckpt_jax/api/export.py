"""``export``: a JAX function or a Flax network to a model file.

Not called ``export``: the module would hide the function once it is imported.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jax.extend import source_info_util

from msckpt_jax.air.prototypes import SOCS
from msckpt_jax.api.exported import Exported
from msckpt_jax.checkpoint import cipher, writer
from msckpt_jax.errors import ExportError
from msckpt_jax.graph.graph import Graph
from msckpt_jax.lowering.context import Options, Rule
from msckpt_jax.lowering.trace import Traced, trace
from msckpt_jax.lowering.wanted import Wanted

# Our own frames are none of the user's: messages name the line that called JAX.
source_info_util.register_exclusion(__file__)

#: Suffix of the file by format.
SUFFIXES = {"MINDIR": ".mindir", "AIR": ".air", "ONNX": ".onnx"}
#: The module that writes a format: ``write(graph, path, wanted)``, ``difference(path, …)``.
_WRITERS = {name: f"msckpt_jax.{name.lower()}.target" for name in SUFFIXES}
#: Primitives that a format has operators for where MindSpore's CPU lacks them, or has wrong ones.
_KEPT = {"AIR": ("cumprod", "cumsum", "erf_inv")}
_OTHER_SUFFIXES = {*SUFFIXES.values(), ".ckpt", ".safetensors"}
TARGETS = (None, "cpu")
ENGINES = ("auto", "native", "jax2onnx")
#: Arguments that one format alone heeds, and the value that asks for nothing.
_OF_ONE = {"soc": ("AIR", None), "narrow": ("AIR", False), "opset": ("ONNX", 21)}


def export(
    net: Any,
    *inputs: Any,
    file_name: Any,
    file_format: str = "MINDIR",
    enc_key: bytes | None = None,
    enc_mode: str | Callable[[bytes, bytes], bytes] = "AES-GCM",
    custom_func: Callable[[Any], Any] | None = None,
    user_info: Mapping[str, str] | None = None,
    verify: bool = False,
    fuse: bool = True,
    exact: bool = False,
    target: str | None = None,
    rules: Mapping[str, Rule] | None = None,
    split_bytes: int | None = None,
    durable: bool = True,
    soc: str | None = None,
    narrow: bool = False,
    opset: int = 21,
    engine: str = "auto",
) -> Exported:
    """Export a network: a MindIR for MindSpore, an AIR for Ascend, or an ONNX file.

    All of it is refused before a byte is written when a part of it cannot be expressed: every
    such part is named with the line of the user's code that it comes from.

    Args:
        net: a function (``jax.jit`` or not), an ``nnx.Module``, or a pair ``(function, weights)``
            or ``(linen module, variables)``, called as ``function(weights, *inputs)``. Weights
            become parameters with the names they have in a CheckPoint; sharded ones are written
            shard by shard. Arrays that a function closes over become parameters ``constant_N``.
            The file computes what the network returns; what it changes in itself is not kept.
        inputs: example arguments, pytrees of arrays or ``jax.ShapeDtypeStruct``. A size that is
            None or a name is dynamic; equal names are equal sizes. (MindSpore compiles a loop once:
            with dynamic sizes call ``set_inputs`` of the ``GraphCell`` first, sizes None.) The
            file's inputs are the leaves in order, its results the leaves of the result; typed PRNG
            keys are their numbers, uint32. Or one Grain data set whose maps are
            ``msckpt_jax.transforms``: the network's input is its column "image", a batch, and the
            file also holds the preprocessing, for MindSpore's ``Model::Preprocess``.
        file_name: path; the format's suffix is appended unless it is there. The folder must exist.
        file_format: ``"MINDIR"``, ``"AIR"`` (GE's representation, for Ascend's ``atc``) or
            ``"ONNX"``, where complex arrays have a last axis of 2: real and imaginary parts.
        enc_key: encrypt with this key of 16, 24 or 32 bytes (SM4-CBC: 16).
        enc_mode: ``"AES-GCM"``, ``"AES-CBC"``, ``"SM4-CBC"``, or a function of bytes and key:
            AIR and ONNX know no ciphers, there it must be a function.
        custom_func: called with the ``ModelProto``, weights left out, before it is written.
        user_info: notes kept in the file.
        verify: run the file and compare with JAX: on the inputs given, on random numbers where
            only a shape was given. A MindIR runs in MindSpore (in another process), where that is
            missing by what ``load`` makes of it; an ONNX file in onnxruntime, an AIR file in JAX
            by the definitions of GE's operators.
        fuse: use MindSpore's own operators (Softmax, LayerNorm, ...) for what equals them.
        exact: follow JAX on special values, too: NaN in max, min, sign, sort and argmax, shifts
            past the width, integer division by zero, floats out of an integer's range, LU of
            singular matrices. The default are MindSpore's plain operators, which also divide
            64-bit integers in float64 (right up to 2**53; ``exact`` divides them rightly).
        target: ``"cpu"`` lowers convolutions to Im2Col and MatMul, many times faster there; the
            default keeps Conv2D, which Ascend and MindSpore Lite know best.
        rules: further lowering rules, primitive name to ``rule(context, equation, *operands)``.
        split_bytes: more weights go to ``<name>_variables/`` and the graph to
            ``<name>_graph.mindir``, or to ``<name>.onnx.data``: by default where there are more
            than 1 GiB, as MindSpore does it. AIR: to ``air_weight/``, by default past 2 GiB.
        durable: fsync before a new file replaces an old one.
        soc: AIR: ``"Ascend910B"``, ``"Ascend310P"`` or ``"Ascend910"``: ``notes`` tell what the
            chip has no kernel for.
        narrow: AIR: float64 becomes float32, int64 becomes int32, complex128 becomes complex64;
            constants and weights with numbers that these lack are refused.
        opset: ONNX: the version of its operators.
        engine: ONNX: ``"native"`` uses rules of this library only, ``"jax2onnx"`` that package
            only, in a process of its own; ``"auto"`` goes to jax2onnx for what the rules lack,
            with its reasons in ``notes``, unless there are ``rules`` or it is to be ``exact``,
            which jax2onnx does not heed. A file by jax2onnx is kept only if onnxruntime gives
            JAX's numbers with it, whether ``verify`` or not.

    Returns:
        The file to load, the graph that is in it, and what ``verify`` found.

    Raises:
        ExportError: the network cannot be exported; ``problems`` has each reason by itself. With
            ``verify`` also a result that is not JAX's.
        PreprocessorError: a data set that a MindIR cannot describe.
        TypeError, ValueError: an argument of the wrong type or value.
        OSError: FileNotFoundError for a missing folder.
    """
    path = _target(file_name, file_format)
    if target not in TARGETS:
        raise ValueError(f"target must be one of {TARGETS}, not {target!r}")
    check_format(file_format, soc=soc, narrow=narrow, opset=opset)
    if soc is not None and soc not in SOCS:
        raise ValueError(f"soc is for AIR and one of {', '.join(SOCS)}, not {soc!r}")
    if engine not in ENGINES or (engine == "jax2onnx" and file_format != "ONNX"):
        raise ValueError(f"engine must be one of {ENGINES}, the last for ONNX, not {engine!r}")
    if engine == "jax2onnx" and (rules or exact):
        raise ValueError("jax2onnx heeds neither rules nor exact")
    _check_numbers(split_bytes, opset)
    _check_user_info(user_info)
    encrypt, key = _encryption(enc_key, enc_mode)
    if verify and callable(encrypt):
        raise ValueError("verify=True cannot read what a function of yours has encrypted")
    inputs, preprocessor = _preprocessed(inputs)
    traced = trace(net, inputs)
    load = {} if enc_key is None else {"dec_key": enc_key, "dec_mode": enc_mode}
    wanted = Wanted(
        encrypt, key, custom_func, user_info, split_bytes, durable, preprocessor, soc, narrow,
        opset, engine, load,
    )  # fmt: skip
    writer = writer_of(file_format)
    if engine == "jax2onnx":
        graph, (file, notes) = None, writer.write_by_jax2onnx(traced, path, wanted, ())
    else:
        try:
            how = {"fuse": fuse, "exact": exact, "target": target, "rules": rules}
            graph = lowered(traced, file_format, **how)
            file, notes = writer.write(graph, path, wanted)
        except ExportError as error:
            if file_format != "ONNX" or engine == "native" or rules or exact:
                raise
            graph = None
            file, notes = writer.write_by_jax2onnx(traced, path, wanted, error.problems)
    try:
        difference = writer.difference(file, traced, wanted) if verify else None
    except ExportError as error:
        for note in notes:
            error.add_note(note)
        raise
    return Exported(file, graph, difference, tuple(notes))


def writer_of(file_format: str) -> Any:
    """The module that writes a format."""
    return importlib.import_module(_WRITERS[file_format])


def lowered(
    traced: Traced,
    file_format: str,
    *,
    fuse: bool = True,
    exact: bool = False,
    target: str | None = None,
    rules: Mapping[str, Rule] | None = None,
) -> Graph:
    """The graph of a network, checked against MindSpore's operators.

    For a MindIR MindSpore's CPU must have kernels for it: there are casts around some nodes.
    """
    from msckpt_jax.graph import check
    from msckpt_jax.lowering import pairs
    from msckpt_jax.lowering.canonical import canonicalise
    from msckpt_jax.lowering.lower import lower
    from msckpt_jax.lowering.rules import RULES

    mine, kernels = dict(rules or {}), file_format == "MINDIR"
    keep = (*mine, *_KEPT.get(file_format, ()))
    algorithms, rewrites, more = _forms_of(file_format, fuse, exact, traced.jaxpr)
    jaxpr, weights = traced.jaxpr, traced.weights
    if file_format == "ONNX" and pairs.needed(jaxpr):
        jaxpr = pairs.split(canonicalise(jaxpr, fuse=False, rules=algorithms, keep=keep))
        weights = {name: pairs.stored(value) for name, value in weights.items()}
    jaxpr = canonicalise(jaxpr, fuse=fuse, exact=exact, rules=rewrites, keep=keep, more=more)
    options = Options({**RULES, **mine}, exact, target, kernels)
    graph = lower(jaxpr, weights, list(traced.inputs), options)
    check.check(graph, kernels=kernels)
    return graph


def _forms_of(
    file_format: str, fuse: bool, exact: bool, jaxpr: Any
) -> tuple[Mapping[str, Any], Mapping[str, Any], Any]:
    """Algorithms for what a format lacks, these and rewrites for what it has, its fusions."""
    from msckpt_jax.lowering import algorithms

    if file_format != "ONNX":
        lacking = algorithms.AIR if file_format == "AIR" else algorithms.MINDIR
        lacking = {**lacking, **(algorithms.EXACT if exact else {})}
        return lacking, lacking, ()
    from msckpt_jax.onnx import fusions

    needed = algorithms.needed(jaxpr)
    if not fuse:
        return needed, needed, ()
    return needed, {**needed, **fusions.REWRITES}, fusions.FUSIONS


def _preprocessed(inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """The inputs, of a data set its image, and the ``PreprocessorProto`` of a data set."""
    grain = sys.modules.get("grain")
    kinds = () if grain is None else (grain.MapDataset, grain.IterDataset, grain.DataLoader)
    if not any(isinstance(value, kinds) for value in inputs):
        return inputs, None
    if len(inputs) != 1:
        raise ValueError(f"a data set must be the only input, but there are {len(inputs)}")
    from msckpt_jax.mindir import dataset

    described = dataset.describe(inputs[0])
    return (described.input,), described.preprocessor


def _target(file_name: Any, file_format: str) -> Path:
    """The path to write to, checked before anything else is done."""
    if file_format not in SUFFIXES:
        raise ValueError(f"file_format must be one of {', '.join(SUFFIXES)}, not {file_format!r}")
    if not isinstance(file_name, str | os.PathLike):
        raise TypeError(f"file_name must be a path, not {type(file_name).__name__}")
    path = writer.path_of(file_name)
    if not isinstance(path, Path):
        raise ValueError(f"{file_name}: export writes to local folders only")
    suffix = SUFFIXES[file_format]
    if path.suffix != suffix:
        if path.suffix in _OTHER_SUFFIXES:
            raise ValueError(f"{path} ends with {path.suffix}, but file_format is {file_format}")
        path = path.with_name(path.name + suffix)
    if not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(path.parent))
    return path


def check_format(file_format: str, **given: Any) -> None:
    """What another format alone heeds is not passed over."""
    for name, value in given.items():
        only, nothing = _OF_ONE[name]
        if value != nothing and file_format != only:
            raise ValueError(f"{name} is for {only}, not for {file_format}")


def _check_numbers(split_bytes: Any, opset: Any) -> None:
    numbers = {"opset": opset} | ({} if split_bytes is None else {"split_bytes": split_bytes})
    for name, value in numbers.items():
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise TypeError(f"{name} must be an int, not {type(value).__name__}")
        if value < 0:
            raise ValueError(f"{name} must not be negative, but is {value}")


def _check_user_info(notes: Any) -> None:
    if notes is None:
        return
    pairs = notes.items() if isinstance(notes, Mapping) else [(None, None)]
    if not all(isinstance(text, str) for pair in pairs for text in pair):
        raise TypeError("user_info must be a mapping of strings to strings")


def _encryption(key: Any, mode: Any) -> tuple[Any, bytes]:
    if key is None and callable(mode):
        raise ValueError("enc_mode is a function, but there is no enc_key: nothing is encrypted")
    if key is None:
        return None, b""
    if callable(mode):
        return mode, key
    found = cipher.mode_named(mode, "enc_mode")
    return found, found.check_key(key, "enc_key")
