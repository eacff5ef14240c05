"""The ``msckpt`` command line: one module a command, imported when it is asked for.

A command module has ``DESCRIPTION``, ``EXAMPLES``, ``arguments(parser)``, and ``run(args)``, which
returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Never

from msckpt_jax import __version__
from msckpt_jax.errors import FileError
from msckpt_jax.visible import lines, visible

COMMANDS = {
    "demo": "train on a mesh, save a merged CheckPoint, load it on other meshes, compare",
    "inspect": "print the names, dtypes, shapes and sizes in a checkpoint or a model",
    "verify": "check that a checkpoint or a model is complete and sound",
    "diff": "compare two checkpoints: names, dtypes, shapes, largest difference",
    "convert": "write a checkpoint or a model in another format",
    "export": "write a JAX function or Flax network as a MindIR, an AIR or an ONNX file",
    "ops": "list the JAX primitives that can be exported",
    "recover": "finish or undo a save into a folder that was interrupted",
    "merge": "join rank files, by their strategy, into a file of full tensors",
    "reshard": "turn rank files of one layout into rank files of another layout",
    "completion": "print the completion of a shell: bash, zsh, fish or tcsh",
}

DESCRIPTION = """\
Inspect, check, compare, convert and export checkpoints and models of JAX and MindSpore.

Checkpoints are MindSpore's .ckpt files, safetensors files, folders of them as Hugging Face's
libraries write them, Orbax checkpoints, and MindSpore's rank files. Models are MindIR, AIR and ONNX
files.
"""
_EPILOG = """\
exit status:
  0  done
  1  the answer is no: files differ, or a file is damaged
  2  wrong arguments, or a file that cannot be read or written

`msckpt COMMAND --help` describes a command and shows examples.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line, and return the exit status."""
    try:
        status = _status(list(sys.argv[1:] if argv is None else argv))
        sys.stdout.flush()  # here, where it is no error that the reader has gone
        return status
    except BrokenPipeError:  # `msckpt inspect ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _status(args: Sequence[str]) -> int:
    try:
        return _run(args)
    except SystemExit as error:
        return int(error.code or 0) if not isinstance(error.code, str) else _fail(error.code)
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130
    except FileError as error:
        return _fail(*str(error).split("\n"))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _fail(f"{where}{error.strerror or error}")
    except (ValueError, TypeError, ImportError) as error:
        return _fail(*str(error).split("\n"), *getattr(error, "__notes__", ()))


def _run(args: Sequence[str]) -> int:
    parsed = parser_of(args[:1]).parse_args(args)
    from msckpt_jax import progress  # not for --help

    with progress.hidden(parsed.quiet):
        return importlib.import_module(f"msckpt_jax.cli.{parsed.command}").run(parsed)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Never:
        super().error(visible(message))


def parser_of(chosen: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser, with the arguments of the ``chosen`` commands: no other is imported."""
    parser = _Parser(
        prog="msckpt",
        description=DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"msckpt_jax {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        if name not in chosen:
            commands.add_parser(name, help=summary)
            continue
        module = importlib.import_module(f"msckpt_jax.cli.{name}")
        command = commands.add_parser(
            name,
            help=summary,
            description=module.DESCRIPTION,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        module.arguments(command)
        command.add_argument("-q", "--quiet", action="store_true", help="show no progress")
    return parser


def _fail(*texts: str) -> int:
    """Print an error, in one or several lines."""
    print(f"msckpt: error: {lines(texts)}", file=sys.stderr)
    return 2
