"""``msckpt completion``: commands, options and files at a press of Tab."""

from __future__ import annotations

import argparse

from msckpt_jax import cli

DESCRIPTION = """\
Print what a shell runs to complete commands, options and their values, and the names of files.
"""
EXAMPLES = """\
  msckpt completion bash > ~/.local/share/bash-completion/completions/msckpt
  msckpt completion zsh > ~/.zfunc/_msckpt      (a folder of fpath)
  msckpt completion fish > ~/.config/fish/completions/msckpt.fish
"""
_SHELLS = ("bash", "zsh", "fish", "tcsh")
#: The words of help for arguments that are files or folders.
_PATHS = {"FILE", "FOLDER", "DIR", "SRC", "DST", "A", "B", "FILE|FOLDER"}


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=_SHELLS, metavar="SHELL", help=" or ".join(_SHELLS))


def run(args: argparse.Namespace) -> int:
    try:
        import shtab
    except ImportError:
        raise ImportError(
            "completion is made by shtab: pip install 'msckpt_jax[completion]'"
        ) from None
    parser = cli.parser_of([*cli.COMMANDS])
    for action in _actions(parser):
        if action.metavar in _PATHS:
            action.complete = shtab.FILE  # pyright: ignore[reportAttributeAccessIssue]
    print(shtab.complete(parser, shell=args.shell))
    return 0


def _actions(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    """The arguments of a parser and of the parsers of its commands."""
    commands = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    below = [_actions(command) for action in commands for command in action.choices.values()]
    return [*parser._actions, *(action for actions in below for action in actions)]
