"""The options of model formats on the command line, as their targets describe them."""

from __future__ import annotations

import argparse
from collections.abc import Container
from typing import Any

from msckpt_jax.api import targets


def add(parser: argparse.ArgumentParser, only: Container[str] | None = None) -> None:
    """Add the options of all model formats, or ``only`` some of them."""
    for name, (option, names) in targets.options().items():
        if not option.help or (only is not None and name not in only):
            continue
        how: dict[str, Any] = {"help": f"{' and '.join(names)} files only: {option.help}"}
        if isinstance(option.default, bool):
            how["action"] = "store_true"
        else:
            how["default"] = option.default
            how["type"] = option.kind if option.default is None else type(option.default)
            how["choices"] = option.choices or None
            how["help"] += "" if option.default is None else f" (default: {option.default})"
        parser.add_argument(f"--{name}", **how)


def add_weights(parser: Any) -> None:
    """Add the options that quantise the weights of a model."""
    parser.add_argument("--weights", choices=["int8", "int4"],
                        help="store the weights of matrix products in so many bits")  # fmt: skip
    parser.add_argument("--weight-block-size", type=int, metavar="N",
                        help="so many numbers share a scale (default: int8 all of an output "
                        "channel, int4 32)")  # fmt: skip


def asked(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of model formats that have other values than their defaults."""
    return {
        name: value
        for name, (option, _) in targets.options().items()
        if (value := getattr(args, name, option.default)) != option.default
    }
