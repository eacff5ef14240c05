"""Helpers that commands share: keys, opened files, tables, arguments."""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from rich.console import Console
from rich.table import Table
from rich.text import Text

from msckpt_jax import display, progress
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.encryption import encryption
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.errors import FileError
from msckpt_jax.visible import visible

Item = TypeVar("Item")
#: The environment variable that may hold the key, in hex.
KEY_VARIABLE = "MSCKPT_KEY"
#: Rows of a table that a terminal gets.
_ROWS = 500
_MODES = ["AES-GCM", "AES-CBC", "SM4-CBC"]


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # the BrokenPipeError that is handled now: main knows what to do


def console() -> Console:
    """A console on standard output, which cuts no lines of a file or a pipe at 80 columns."""
    return _Console() if sys.stdout.isatty() else _Console(width=200, soft_wrap=True)


def table(*columns: str) -> Table:
    """A plain table; columns whose name begins with ``>`` hold numbers."""
    out = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        numbers = column.startswith(">")
        out.add_column(column.lstrip(">"), justify="right" if numbers else "left", overflow="fold")
    return out


def key_arguments(parser: argparse.ArgumentParser, prefix: str = "dec") -> None:
    """Add the arguments of a key to read with, or of the key ``enc`` to write with."""
    read = (
        f"file with the raw key of an encrypted source. Without it the variable {KEY_VARIABLE} "
        "gives the key of a file, not of rank files, as hex digits. A key on the command line "
        "would be seen by other users"
    )
    write = "file with the raw key with which to encrypt the file that is written"
    parser.add_argument(
        f"--{prefix}-key-file", metavar="FILE", help=read if prefix == "dec" else write
    )
    parser.add_argument(
        f"--{prefix}-mode",
        choices=_MODES,
        default=None if prefix == "dec" else _MODES[0],
        help=f"cipher of the source (default: that of the file; for rank files {_MODES[0]})"
        if prefix == "dec"
        else f"cipher to encrypt with (default: {_MODES[0]})",
    )


def key_of(file_name: str | None) -> bytes | None:
    """The key in a file, else the key in the environment, else None."""
    if file_name is not None:
        return paths.path_of(file_name).read_bytes()
    text = os.environ.get(KEY_VARIABLE)
    if text is None:
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ValueError(f"{KEY_VARIABLE} must hold hex digits") from None


def rank_secrets(args: argparse.Namespace) -> dict[str, Any]:
    """Return the key and the cipher of rank files, as further arguments of their reader."""
    if args.dec_key_file is None:
        return {}
    return {"dec_key": key_of(args.dec_key_file), "dec_mode": args.dec_mode or _MODES[0]}


def open_file(args: argparse.Namespace, name: str) -> CheckpointFile:
    """Open a checkpoint, with the key if it is encrypted; problems are not raised."""
    with progress.waiting(f"open {name}"):
        encrypted = encryption(name)
        if encrypted is None:
            return CheckpointFile(name)
        mode, _ = encrypted
        return CheckpointFile(name, needed_key(args, name, mode), args.dec_mode or mode)


def model_secrets(args: argparse.Namespace, name: str, mode: str | None) -> dict[str, Any]:
    """Return the key and the cipher of a model file, as further arguments of its reader."""
    key = None if mode is None else needed_key(args, name, mode)
    return {"dec_key": key, "dec_mode": args.dec_mode or mode or _MODES[0]}


def needed_key(args: argparse.Namespace, name: str, mode: str) -> bytes:
    """The key of a file that is encrypted with ``mode``."""
    key = key_of(args.dec_key_file)
    if key is None:
        raise FileError(
            f"encrypted with {mode}: give --dec-key-file, or the variable {KEY_VARIABLE}", file=name
        )
    return key


def open_sound_file(args: argparse.Namespace, name: str) -> CheckpointFile:
    """Open a checkpoint, and raise its first problem."""
    file = open_file(args, name)
    if file.problems:
        raise file.problems[0]
    return file


def count(text: str) -> int:
    """Convert the text of an argument to a positive number."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a positive number, not {text!r}")
    return int(text)


def choose(pattern: str | None) -> Callable[[str], bool]:
    """A function that tells whether the pattern is found in a name; without a pattern, always."""
    if pattern is None:
        return lambda name: True
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise ValueError(f"--filter: {error}") from None
    return lambda name: compiled.search(name) is not None


def warn_of_strings(names: Iterable[str]) -> None:
    """Warn of strings that are left out, because the target cannot hold them."""
    complain(*(f"warning: {name} is a string: left out" for name in sorted(names)))


def say(*texts: object) -> None:
    """Print texts, each on its line."""
    for text in texts:
        print(visible(text))


def say_json(content: Any) -> None:
    """Print JSON; of all characters that are not printable, its escapes."""
    text = json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)
    print("".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text))


def _finite(content: Any) -> Any:
    """The content with texts for the numbers that JSON has not: ``inf``, ``-inf``, ``nan``."""
    if isinstance(content, Mapping):
        return {key: _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [*map(_finite, content)]
    return str(content) if isinstance(content, float) and not math.isfinite(content) else content


def complain(*texts: object) -> None:
    """Print texts to stderr, each on its line."""
    for text in texts:
        print(f"msckpt: {visible(text)}", file=sys.stderr)


def show(
    limit: int | None,
    columns: Sequence[str],
    items: Sequence[Item],
    row: Callable[[Item], Sequence[str]],
) -> None:
    """Print a table of items; of many the first, and how many more there are."""
    most = limit or (_ROWS if sys.stdout.isatty() else len(items))
    out = table(*columns)
    for item in items[:most]:
        out.add_row(*map(plain, row(item)))
    console().print(out)
    if len(items) > most:
        more = display.counted(len(items) - most, "more row")
        say(f"... {more}: --limit {len(items)} prints them")


def limit_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument for the rows of tables that are printed."""
    parser.add_argument("--limit", type=count, metavar="N", help="print at most N rows of a table "
                        f"(default: in a terminal {_ROWS}, else all)")  # fmt: skip


def plain(text: str) -> Text:
    """Text for a table cell: no markup, and control characters made visible."""
    return Text(visible(text))
