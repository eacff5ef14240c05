"""``msckpt export``: a function or network of a Python module to a model file."""

from __future__ import annotations

import argparse
import importlib
import os
import re
import sys
from typing import Any

from msckpt_jax import dtypes
from msckpt_jax.api import targets
from msckpt_jax.cli import common, options

DESCRIPTION = """\
Export a function, an nnx.Module or a pair (function, weights) that a Python module has, as a model
file: a MindIR that MindSpore runs with JAX's numbers, an AIR or an ONNX file. The module is looked
for in the current folder, too.
"""
EXAMPLES = """\
  msckpt export my.model:predict --input 'f32[1,3,224,224]' -f MINDIR -o net.mindir
  msckpt export 'my.model:make_net()' --input 'i32[batch,128]' -o net --verify
  msckpt export my.model:predict --input 'f32[1,3,224,224]' -f AIR --soc Ascend910B -o net

A name in a shape is a dynamic size. `()` after the name calls it for the network.
"""

_INPUT = re.compile(r"(?P<dtype>\w+)\[(?P<shape>[^\]]*)\]")


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("net", metavar="MODULE:NAME")
    parser.add_argument("-o", "--output", required=True, metavar="FILE")
    parser.add_argument(
        "-f",
        "--format",
        default=targets.DEFAULT,
        help=f"default: {targets.DEFAULT}",
        choices=targets.NAMES,
    )
    parser.add_argument(
        "--input", action="append", default=[], metavar="DTYPE[SHAPE]",
        help="dtype and shape of an argument, such as f32[1,3,224,224]; once for each",
    )  # fmt: skip
    parser.add_argument("--verify", action="store_true", help="run it and compare with JAX")
    parser.add_argument("--exact", action="store_true", help="JAX's results on special values, too")
    parser.add_argument("--target", choices=["cpu"], help="operators that are fastest there")
    parser.add_argument("--no-fuse", action="store_true", help="no Softmax, LayerNorm, ... as such")
    options.add(parser)
    common.key_arguments(parser, "enc")


def run(args: argparse.Namespace) -> int:
    from msckpt_jax.api.export import export

    inputs = [input_of(text) for text in args.input]
    key = common.key_of(args.enc_key_file) if args.enc_key_file else None
    done = export(
        find(args.net), *inputs, file_name=args.output, file_format=args.format, enc_key=key,
        enc_mode=args.enc_mode, verify=args.verify, exact=args.exact, target=args.target,
        fuse=not args.no_fuse, **options.asked(args),
    )  # fmt: skip
    for note in done.notes:
        print(note)
    print(done.summary)
    return 0


def find(text: str) -> Any:
    """What ``module:name`` stands for; ``module:name()`` calls it."""
    module, _, path = text.partition(":")
    if not module or not path:
        raise ValueError(f"{text!r} is not MODULE:NAME")
    called = path.endswith("()")
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ValueError(f"there is no module {error.name!r}") from None
    finally:
        sys.path.pop(0)
    for name in path.removesuffix("()").split("."):
        if not hasattr(found, name):
            raise ValueError(f"{module} has no {path}")
        found = getattr(found, name)
    return found() if called else found


def input_of(text: str) -> Any:
    """``f32[b,4]`` as a ``jax.ShapeDtypeStruct``."""
    import jax

    match = _INPUT.fullmatch(text.replace(" ", ""))
    row = dtypes.BY_SHORT.get(match["dtype"]) if match else None
    if match is None or row is None:
        known = ", ".join(dtypes.BY_SHORT)
        raise ValueError(f"{text!r} is not DTYPE[SHAPE] with one of the dtypes {known}")
    dims = [dim for dim in match["shape"].split(",") if dim]
    return jax.ShapeDtypeStruct(tuple(int(d) if d.isdigit() else d for d in dims), row.array)
