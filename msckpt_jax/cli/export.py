"""``msckpt export``: a function or network of a Python module as a model file."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import re
import sys
from collections.abc import Iterator
from typing import Any

from msckpt_jax import dtypes, progress
from msckpt_jax.api import targets
from msckpt_jax.cli import common, options, sources
from msckpt_jax.conventions.layers import BASES

DESCRIPTION = (
    """\
Write a network of a Python module, any callable or a pair (function, weights), as a model file:
a MindIR, which MindSpore runs with JAX's numbers, an AIR file for Ascend's atc, or an ONNX file.
The module may lie in the current folder. `msckpt ops` lists the primitives that can be exported.
"""
    + sources.STORES
)
EXAMPLES = """\
  msckpt export my.model:predict --input 'f32[1,3,224,224]' -f MINDIR -o net.mindir
  msckpt export 'my.model:make_net()' --input 'i32[batch,128]' -o net --verify
  msckpt export my.model:predict --input 'f32[1,3,224,224]' -f AIR --soc Ascend910B -o net

A name in a shape is a dynamic size.
"""

_INPUT = re.compile(r"(?P<dtype>\w+)\s*\[(?P<shape>[^\]]*)\]")
#: A comma that is not in parentheses, as those of mod(s, 8) are.
_BETWEEN = re.compile(r",(?![^(]*\))")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "net", metavar="MODULE:NAME", help="network, or with () a function that returns a network"
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE",
        help="file to write; the ending of the format is added if need be",
    )  # fmt: skip
    parser.add_argument(
        "-f",
        "--format",
        default=targets.DEFAULT,
        help=f"format of the model (default: {targets.DEFAULT})",
        choices=targets.NAMES,
    )
    parser.add_argument(
        "--input", action="append", default=[], metavar="DTYPE[SHAPE]",
        help="dtype and shape of an argument, such as f32[1,3,224,224]; once for each",
    )  # fmt: skip
    for kind in ("input", "output"):
        parser.add_argument(
            f"--{kind}-names", metavar="NAME,...", type=lambda text: text.split(","),
            help=f"names of the {kind}s in the file, in their order",
        )  # fmt: skip
    parser.add_argument(
        "--constraint", action="append", default=[], metavar="TEXT", dest="constraints",
        help="what is known of a dynamic size, such as 's <= 2048'; once for each",
    )  # fmt: skip
    parser.add_argument(
        "--verify", action="store_true", help="run the file, and compare its results with JAX's"
    )
    parser.add_argument(
        "--exact", action="store_true", help="follow JAX on shifts past the width and, in AIR, NaN"
    )
    parser.add_argument(
        "--training", action="store_true", help="keep networks in the mode that they are in"
    )
    parser.add_argument(
        "--convention",
        choices=BASES,
        help="names and layouts of the parameters, as in a CheckPoint",
    )
    parser.add_argument(
        "--target", choices=targets.DEVICES, help="take operators that are fast there"
    )
    parser.add_argument(
        "--no-fuse", action="store_true", help="write no fused operators (Softmax, LayerNorm, ...)"
    )
    options.add_weights(parser)
    parser.add_argument(
        "--unroll-layers", action="store_true",
        help="write scans over stacked weights out, with parameters of their own for each layer",
    )  # fmt: skip
    options.add(parser)
    common.key_arguments(parser, "enc")


def run(args: argparse.Namespace) -> int:
    from msckpt_jax.api.export import export

    inputs = [_input_of(text) for text in args.input]
    key = common.key_of(args.enc_key_file) if args.enc_key_file else None
    net = _find(args.net)
    with progress.waiting(f"export {args.net}"):
        done = export(
            net, *inputs, file_name=args.output, file_format=args.format, enc_key=key,
            enc_mode=args.enc_mode, verify=args.verify, exact=args.exact, training=args.training,
            constraints=args.constraints, target=args.target, weights=args.weights,
            weight_block_size=args.weight_block_size, fuse=not args.no_fuse,
            unroll_layers=args.unroll_layers, convention=args.convention,
            input_names=args.input_names, output_names=args.output_names, **options.asked(args),
        )  # fmt: skip
    common.say(*done.notes, done.summary)
    return 0


def _find(text: str) -> Any:
    """Return the object that ``module:name`` names, or the result of ``module:name()``."""
    module, _, path = text.partition(":")
    if not module or not path:
        raise ValueError(f"{text!r} is not MODULE:NAME")
    if module.endswith(".py") or "/" in module:
        name = module.removesuffix(".py").strip("./").replace("/", ".")
        raise ValueError(f"modules have names with dots, not paths: {name}:{path}")
    called = path.endswith("()")
    sys.path.insert(0, os.getcwd())
    try:
        with _user_code(f"importing {module}"):
            net: Any = importlib.import_module(module)
    finally:
        sys.path.pop(0)
    for name in path.removesuffix("()").split("."):
        if not hasattr(net, name):
            raise ValueError(f"{module} has no {path}")
        net = getattr(net, name)
    if not called:
        return net
    with _user_code(f"calling {text}"):
        return net()


@contextlib.contextmanager
def _user_code(doing: str) -> Iterator[None]:
    """Tell of an error of the user's module in one line.

    Raises:
        ValueError: the code within fails; its error is the cause.
    """
    from msckpt_jax.lowering.problems import line_of  # not for --help

    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {error.name!r}") from None
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        where = line_of(error)
        told = f"{where}: " if where else ""
        raise ValueError(f"{told}{doing} fails: {type(error).__name__}: {reason}") from error


def _input_of(text: str) -> Any:
    """The spec that ``f32[b,4]`` says."""
    from msckpt_jax import specs

    match = _INPUT.fullmatch(text.strip())
    row = dtypes.BY_SHORT.get(match["dtype"]) if match else None
    if match is None or row is None:
        known = ", ".join(dtypes.BY_SHORT)
        raise ValueError(f"{text!r} is not DTYPE[SHAPE] with one of the dtypes {known}")
    dims = [dim.strip() for dim in re.split(_BETWEEN, match["shape"]) if dim.strip()]
    return specs.spec((int(d) if d.isdigit() else d for d in dims), row.array)
