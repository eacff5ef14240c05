"""``export``: a JAX function or a Flax network to a model file."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend import source_info_util

from msckpt_jax import arguments
from msckpt_jax.api import targets
from msckpt_jax.api.exported import Exported
from msckpt_jax.checkpoint import cipher, formats, paths
from msckpt_jax.checkpoint.fetching import fetched
from msckpt_jax.checkpoint.formats import foreign
from msckpt_jax.checkpoint.paths import AnyPath, PathLike
from msckpt_jax.conventions.convention import ConventionLike
from msckpt_jax.errors import ExportError
from msckpt_jax.lowering import nets, quantising, tiny, trials
from msckpt_jax.lowering.laid_out import laid_out
from msckpt_jax.lowering.lowered import lowered
from msckpt_jax.lowering.problems import failures
from msckpt_jax.lowering.quantised import Quantiser
from msckpt_jax.lowering.rule import Rule
from msckpt_jax.lowering.target import Target, Written
from msckpt_jax.lowering.trace import Traced, trace
from msckpt_jax.lowering.unroll import unrolled
from msckpt_jax.lowering.wanted import Lowering, Wanted
from msckpt_jax.progress import Progress
from msckpt_jax.visible import visible

# Our own frames are not the user's: messages name the line of the user that called JAX.
source_info_util.register_exclusion(__file__)

_OTHER_SUFFIXES = {*targets.SUFFIXES, *formats.SUFFIXES, *foreign.ENDINGS}


def export(
    net: Any,
    *inputs: Any,
    file_name: PathLike,
    file_format: str = targets.DEFAULT,
    enc_key: bytes | None = None,
    enc_mode: str | Callable[[bytes, bytes], bytes] = "AES-GCM",
    custom_func: Callable[[Any], Any] | None = None,
    user_info: Mapping[str, str] | None = None,
    verify: bool = False,
    fuse: bool = True,
    exact: bool = False,
    training: bool = False,
    constraints: Sequence[str] = (),
    target: str | None = None,
    weights: str | None = None,
    weight_block_size: int | None = None,
    rules: Mapping[str, Rule | Callable[..., Any]] | None = None,
    convention: ConventionLike | None = None,
    split_bytes: int | None = None,
    unroll_layers: bool = False,
    durable: bool = True,
    soc: str | None = None,
    input_names: Sequence[str] | Mapping[str, str] | None = None,
    output_names: Sequence[str] | Mapping[str, str] | None = None,
    narrow: bool = False,
    opset: int | None = None,
    engine: str = "auto",
    progress: Progress | bool | None = None,
    **more: Any,
) -> Exported:
    """Export a network: a MindIR for MindSpore, an AIR for Ascend, or an ONNX file.

    A network of which a part cannot be expressed is refused before a byte is written: the error
    names every such part with the line of the user's code that it comes from.

    Args:
        net: any callable: a function (``jax.jit`` or not), an ``nnx.Module``, an Equinox module,
            a bound method, a ``functools.partial``, a Keras model on JAX, a function of ``load``;
            or a pair ``(function, weights)`` or ``(linen module, variables)``, called as
            ``function(weights, *inputs)``. Weights become parameters with the names that they have
            in a CheckPoint; sharded ones are written shard by shard. So do arrays that a callable
            holds, in closures, arguments, attributes and the globals of its file, by their paths;
            these begin with the variables where there are several. Arrays without a path become
            parameters ``constant_N``, which ``notes`` tell. Flags, texts, functions and Python's
            numbers among the weights are part of the program.
            The file computes the network's results; its changes of its own state are not kept.
        inputs: example arguments, pytrees of arrays, ``jax.ShapeDtypeStruct`` or
            :class:`TensorSpec`, in which a size that is None, a name or an expression of names is
            dynamic (docs/dynamic.md). (MindSpore
            compiles a loop once: with dynamic sizes call ``set_inputs`` of the ``GraphCell`` first,
            sizes None.) The
            file's inputs are the leaves in order, its results the leaves of the result; typed PRNG
            keys are their numbers, uint32. Or a single Grain data set whose maps are
            ``msckpt_jax.transforms``: the network's input is its column "image", a batch, and the
            file also holds the preprocessing, for MindSpore's ``Model::Preprocess``.
        file_name: path, also in an object store; the format's suffix is appended unless it is
            there. A local folder must exist.
        file_format: ``"MINDIR"``, ``"AIR"`` (GE's representation, for Ascend's ``atc``) or
            ``"ONNX"``, where complex arrays have a last axis of 2: real and imaginary parts.
        enc_key: encrypt with this key of 16, 24 or 32 bytes (SM4-CBC: 16).
        enc_mode: ``"AES-GCM"``, ``"AES-CBC"``, ``"SM4-CBC"``, or a function of bytes and key:
            AIR and ONNX know no ciphers, there it must be a function.
        custom_func: called with the ``ModelProto``, weights left out, before it is written.
        user_info: notes kept in the file.
        verify: run the file and compare with JAX: on the inputs given, on random numbers where
            only a shape was given. A MindIR runs in MindSpore (in another process) or, where that
            is missing, as the function that ``load`` makes of it; an ONNX file in onnxruntime, or
            with ``runtime="openvino"`` or ``"tract"`` there; an AIR file in JAX by the definitions
            of GE's operators.
        fuse: use MindSpore's own operators (Softmax, LayerNorm, ...) for parts that equal them.
        exact: follow JAX also where that takes more operators: LU of singular matrices; in AIR also
            NaN in max, min, sort, argmax, sign and pooling, floats out of an integer's range,
            shifts past the width and integer division by zero: the other formats follow it always.
        training: keep networks in the mode that they are in, and do without notes about it. By
            default an ``nnx.Module`` is exported in inference mode, as by ``Module.eval()`` on a
            view: yours stays as it is. ``notes`` say which layers were in training mode, and
            name the lines of functions (linen's ``apply`` among them) that draw random numbers or
            normalise by the statistics of the batch.
        constraints: what is known of dynamic sizes, as ``jax.export.symbolic_shape`` takes it:
            ``["s <= 2048", "mod(s, 8) == 0"]``. Sizes that it made have their own.
        target: ``"cpu"`` lowers convolutions to Im2Col and MatMul, many times faster there; the
            default keeps Conv2D, which Ascend and MindSpore Lite know best. ONNX also
            ``"onnxruntime"``: takes its own operators, which no other runtime has; and ``"lite"``:
            takes forms that MindSpore Lite's converter reads right, and refuses the rest, by its
            source, which nobody has run here (docs/runtimes.md).
        weights: ``"int8"`` or ``"int4"``: weights that are operands of matrix products, and of
            nothing else, are stored in so many bits, with scales that they are multiplied by when
            the file runs. ``notes`` say which, and how far numbers moved: half a scale at most.
            ``verify`` compares with JAX on these weights.
        weight_block_size: the numbers that share a scale, a power of two from 16 on, along the axis
            that products sum over. By default int8 has a scale for each output channel, int4 one
            for each 32 numbers.
        rules: further lowering rules, primitive name to ``rule(context, *inputs, **params)``.
        convention: names and lays out the parameters as ``save_checkpoint`` does with the same
            argument, so that each takes the other's values by name: MindSpore's
            ``load_param_into_net(GraphCell, load_checkpoint(...))``. The graph makes the leaves of
            them again; ``notes`` say what other values have to heed.
        split_bytes: more bytes of weights than this go to ``<name>_variables/`` and the graph to
            ``<name>_graph.mindir``, or the weights to ``<name>.onnx.data``: by default more than
            1 GiB, as in MindSpore. AIR: to ``air_weight/``, by default past 2 GiB.
        unroll_layers: write out scans over stacked weights: ``layers.kernel`` of three layers
            becomes ``layers.0.kernel``, ``layers.1.kernel``, ``layers.2.kernel``. By default such a
            scan is a loop over the stacked parameter, or written out if it is small.
        durable: fsync before a new file replaces an old one.
        soc: AIR: the chip, a kind (``"Ascend910B"``, ``"Ascend310P"``, ``"Ascend910"``) or by
            its whole name as of ``atc --soc_version`` (``"Ascend910B4"``): ``notes`` name the
            operators for which it has no kernel, or say that its kernels are not known.
        input_names: names of the inputs in the file, one for each leaf, or a mapping of default
            names to others. The default is the parameter's name, and the path in it:
            ``batch.ids``.
        output_names: names of the results likewise. The defaults are the keys of dicts, named
            tuples and dataclasses, joined by dots; ``output``, ``output_1`` without keys.
        narrow: AIR: float64 becomes float32, int64 becomes int32, complex128 becomes complex64;
            constants and weights with numbers that do not fit are refused.
        opset: ONNX: the version of its operators, 18 to 26; by default the lowest that the network
            needs, so that older runtimes take the file.
        engine: ONNX: ``"native"`` uses rows of this library only, ``"jax2onnx"`` that package
            only, in a process of its own; ``"auto"`` goes to jax2onnx for operators without a
            row, with its reasons in ``notes``, unless there are ``rules`` or the file is to be
            ``exact``, which jax2onnx does not heed. A file by jax2onnx is kept only if onnxruntime
            gives JAX's numbers with it, with or without ``verify``. Both are extras:
            ``pip install 'msckpt_jax[jax2onnx]'``.
        progress: True shows a bar while the file is written, in terminals and notebooks. Or a
            function, called with the size in bytes of each written piece, by one thread at a time.
        **more: options of other model formats, see ``msckpt export --help``.

    Returns:
        The file to load, the graph in it, and the difference that ``verify`` measured.

    Raises:
        ExportError: the network cannot be exported; ``problems`` has each reason by itself. With
            ``verify`` also: a result of the file is not JAX's, or running the file fails; the
            message names the file, which stays there.
        AmbiguousLeafError, CheckpointError: the ``convention`` cannot tell the parameters of a
            leaf, or the leaf from the parameters.
        PreprocessorError: a MindIR cannot describe the data set.
        ImportError: ``verify`` of an ONNX file, and onnxruntime is not installed; nothing was
            written.
        TypeError, ValueError: an argument of the wrong type or value.
        OSError: FileNotFoundError for a missing folder.

    Example:
        >>> net = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        >>> done = ms.export(net, jnp.ones((1, 2)), file_name="net")
        >>> print(done.summary)
        net.mindir: 3 operators, 2 parameters, 707 B
    """
    arguments.flags(
        verify=verify, fuse=fuse, exact=exact, training=training, unroll_layers=unroll_layers,
        durable=durable,
    )  # fmt: skip
    arguments.progress(progress)
    format = targets.named(file_format)
    path = _path(file_name, format)
    devices = (None, *format.devices)
    if not isinstance(target, str | None) or target not in devices:
        raise ValueError(f"target must be one of {devices} for {format.name}, not {target!r}")
    wish = quantising.wish(weights, weight_block_size)
    asked = _asked(
        custom_func=custom_func, user_info=user_info, soc=soc, narrow=narrow, opset=opset,
        engine=engine,
    )  # fmt: skip
    options = targets.options_for(format, asked | more)
    _check_split(split_bytes)
    _check_rules(rules)
    encrypt, key = _encryption(enc_key, enc_mode, format)
    if verify and callable(encrypt):
        raise ValueError("verify=True cannot read a file that a function of yours has encrypted")
    if verify:
        format.check_runner()
    inputs, preprocessor = _preprocessed(inputs, format)
    load = {} if enc_key is None else {"dec_key": key, "dec_mode": enc_mode}
    wanted = Wanted(encrypt, key, split_bytes, durable, preprocessor, load, options, progress)
    quantiser = None if wish is None else Quantiser(wish, {**options, "target": target})
    with nets.width(net):
        traced = trace(
            net, inputs, constraints=constraints, as_it_is=training, input_names=input_names,
            output_names=output_names,
        )  # fmt: skip
        if convention is not None:
            traced = laid_out(traced, convention)
        if unroll_layers:
            with failures():
                traced = unrolled(traced)
        file, graph, notes = _written(
            traced, path, wanted, format, Lowering(fuse, exact, target, rules, quantiser)
        )
        notes = [*tiny.notes(traced.weights, format.tiny, format.name), *notes]
        if quantiser is not None:
            notes = [*quantiser.notes, *notes]
            if verify:
                traced, moved = _rounded(traced, quantiser)
                notes = [moved, *notes]
        # The first note says who made a file without a graph, the last how to compile an AIR file.
        notes = [*notes, *traced.notes] if graph is None else [*traced.notes, *notes]
        difference = _difference(file, traced, wanted, format, notes) if verify else None
        return Exported(file, graph, difference, tuple(notes))


def _rounded(traced: Traced, quantiser: Quantiser) -> tuple[Traced, str]:
    """Return the function on the weights that are in the file, and how far its results moved."""
    rounded = traced.on(quantiser.rounded(traced.weights))
    moved = trials.moved(traced, rounded)
    return rounded, f"quantising moved the results by {moved:.2g} of the largest number at most"


def _difference(
    file: AnyPath, traced: Traced, wanted: Wanted, format: Target, notes: Sequence[str]
) -> float:
    """Return the largest difference to JAX; an error has the notes about the file.

    Raises:
        ExportError: the file differs, or something on the way fails: errors of runtimes have no
            class in common.
    """
    try:
        try:
            with fetched(file, format.beside) as there:
                return format.difference(there, traced, wanted)
        except (ExportError, MemoryError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
            raise ExportError(
                f"{file}: it was written, but verifying it fails: {reason}"
            ) from error
    except ExportError as error:
        for note in notes:
            error.add_note(visible(note))
        raise


_DEFAULTS = {name: p.default for name, p in inspect.signature(export).parameters.items()}


def _asked(**given: Any) -> dict[str, Any]:
    """Return the arguments of ``export`` that have other values than their defaults."""
    defaults = ((name, value, _DEFAULTS[name]) for name, value in given.items())
    return {
        name: value
        for name, value, default in defaults
        if type(value) is not type(default) or value != default
    }


def _written(
    traced: Traced, path: AnyPath, wanted: Wanted, format: Target, how: Lowering
) -> Written:
    if format.export is not None:
        return format.export(traced, path, wanted, how, lambda: lowered(traced, format, how))
    graph = lowered(traced, format, how)
    file, notes = format.write(graph, path, wanted)
    return Written(file, graph, notes)


def _preprocessed(inputs: tuple[Any, ...], format: Target) -> tuple[tuple[Any, ...], Any]:
    """Return the inputs (for a data set, its image) and the file's section for a data set."""
    grain = sys.modules.get("grain")
    kinds = () if grain is None else (grain.MapDataset, grain.IterDataset, grain.DataLoader)
    if not any(isinstance(value, kinds) for value in inputs):
        return inputs, None
    if len(inputs) != 1:
        raise ValueError(f"a data set must be the only input, but there are {len(inputs)}")
    if format.describe is None:
        raise ValueError(f"{format.name} has no place for the preprocessing of a data set")
    image, section = format.describe(inputs[0])
    return (image,), section


def _path(file_name: Any, format: Target) -> AnyPath:
    """Return the path to write to, checked before anything else is done."""
    path = paths.path_of(file_name, "file_name")
    if path.suffix != format.suffix:
        if path.suffix in _OTHER_SUFFIXES:
            raise ValueError(
                visible(f"{path} ends with {path.suffix}, but file_format is {format.name}")
            )
        path = path.with_name(path.name + format.suffix)
    if paths.is_local(path) and not path.parent.is_dir():
        raise FileNotFoundError(2, "no such folder", str(path.parent))
    return path


def _check_split(split_bytes: Any) -> None:
    if split_bytes is None:
        return
    if not isinstance(split_bytes, int | np.integer) or isinstance(split_bytes, bool):
        raise TypeError(f"split_bytes must be an int, not {type(split_bytes).__name__}")
    if split_bytes < 0:
        raise ValueError(f"split_bytes must not be negative, but is {split_bytes}")


def _check_rules(rules: Any) -> None:
    known = rules is None or isinstance(rules, Mapping)
    if not known or not all(isinstance(r, Rule) or callable(r) for r in (rules or {}).values()):
        raise TypeError("rules must be a mapping of names of primitives to functions")


def _encryption(key: Any, mode: Any, format: Target) -> tuple[Any, bytes]:
    if key is None and callable(mode):
        raise ValueError("enc_mode is a function, but there is no enc_key: nothing is encrypted")
    if key is None:
        cipher.mode_named(mode, "enc_mode")
        return None, b""
    if callable(mode):
        return mode, cipher.Key(key) if isinstance(key, bytes | bytearray) else key
    named = cipher.mode_named(mode, "enc_mode")
    if format.cipher is None:
        raise ValueError(
            f"{format.name} has no cipher of its own: enc_mode must be a function of bytes and key"
        )
    return named, named.check_key(key, "enc_key")
