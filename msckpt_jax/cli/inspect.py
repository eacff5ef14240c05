"""``msckpt inspect``: the contents of a file."""

from __future__ import annotations

import argparse
import functools
import math
from typing import TYPE_CHECKING, Any

from msckpt_jax import display, dtypes, progress
from msckpt_jax.api import targets
from msckpt_jax.checkpoint import paths
from msckpt_jax.checkpoint.encryption import encryption
from msckpt_jax.checkpoint.entries import Entry
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.cli import common, sources, tables
from msckpt_jax.conventions.state_names import is_state
from msckpt_jax.visible import visible

if TYPE_CHECKING:
    from msckpt_jax.lowering.target import Target

DESCRIPTION = (
    """\
Print the contents of a checkpoint or a model. Checkpoints are

"""
    + sources.DESCRIPTION
    + """
Their entries are printed with names, dtypes, shapes, sizes, the number of slices in which they are
stored, and the values of strings and scalars; totals of the model's parameters are apart from those
of the optimizer's state. Only headers are read, so that files of any size are quick. Models are

  MODEL.mindir   printed with inputs, outputs, operators (and whether load knows them), parameters
                 and notes
  MODEL.air      printed with inputs, operators and constants
  MODEL.onnx     printed with inputs, outputs, operators, initializers and the files of its weights
"""
    + sources.STORES
)
EXAMPLES = """\
  msckpt inspect model.ckpt
  msckpt inspect model.ckpt --filter 'conv1|bn1'
  msckpt inspect model.ckpt --json | jq '.entries[].name'
  msckpt inspect Qwen3-0.6B/
  msckpt inspect run/1000
  msckpt inspect secret.ckpt --dec-key-file key.bin
  msckpt inspect model.mindir
  msckpt inspect model.air
  msckpt inspect model.onnx
"""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="file or folder to look at")
    parser.add_argument("--filter", metavar="REGEX", help="print only names in which it is found")
    parser.add_argument("--json", action="store_true", help="print JSON")
    common.limit_argument(parser)
    common.key_arguments(parser)


def run(args: argparse.Namespace) -> int:
    if (target := targets.of_file(args.file)) is not None:
        return _model(args, target)
    encrypted = encryption(args.file)
    if encrypted is not None and common.key_of(args.dec_key_file) is None:
        mode, blocks = encrypted
        facts = {"cipher": mode, "blocks": blocks}
        return _without_key(
            args, facts, f"encrypted with {mode}, {display.counted(blocks, 'block')}"
        )
    file = common.open_sound_file(args, args.file)
    chosen = common.choose(args.filter)
    entries = [entry for entry in file.entries.values() if chosen(entry.name)]
    if args.json:
        common.say_json(_as_json(file, entries))
    else:
        _print(file, entries, args.limit)
    return 0


def _model(args: argparse.Namespace, target: Target) -> int:
    path = paths.path_of(args.file)
    cipher = target.cipher(path) if target.cipher else None
    if cipher is not None and common.key_of(args.dec_key_file) is None:
        facts = {"format": target.name.lower(), "cipher": cipher}
        return _without_key(args, facts, f"a {target.suffix} file encrypted with {cipher}")
    secrets = common.model_secrets(args, args.file, cipher)
    with progress.waiting(f"read {args.file}"):
        content, facts = target.inspect(path, common.choose(args.filter), **secrets)
    return tables.show(args, content, facts)


def _as_json(file: CheckpointFile, entries: list[Entry]) -> dict[str, Any]:
    return {
        "file": file.path,
        "format": file.format,
        "bytes": file.size,
        "cipher": file.cipher,
        "crc32": file.crc,
        "save": file.save,
        "metadata": file.metadata,
        "totals": _totals(entries),
        "entries": [
            {
                "name": entry.name,
                "tag": entry.tag,
                "dtype": entry.type,
                "shape": list(entry.shape) if entry.type != dtypes.STRING else [],
                "bytes": entry.nbytes,
                "slices": entry.slices,
                "prng_key": entry.key_impl,
                "optimizer": is_state(entry.name),
                "value": _value(file, entry),
            }
            for entry in entries
        ],
    }


def _totals(entries: list[Entry]) -> dict[str, dict[str, int]]:
    out = {kind: {"entries": 0, "elements": 0, "bytes": 0} for kind in ("model", "optimizer")}
    for entry in entries:
        if entry.type == dtypes.STRING:
            continue
        total = out["optimizer" if is_state(entry.name) else "model"]
        total["entries"] += 1
        total["elements"] += sum(math.prod(t.shape) for t in entry.tensors)
        total["bytes"] += entry.nbytes
    return out


def _value(file: CheckpointFile, entry: Entry) -> Any:
    """The value of a string or a scalar; None for anything larger."""
    if entry.type == dtypes.STRING:
        return file[entry.name]
    if entry.shape or not entry.is_array:
        return None
    number = file[entry.name].item()
    if isinstance(number, complex) or (isinstance(number, float) and not math.isfinite(number)):
        return str(number)  # JSON has neither
    return number


def _row(file: CheckpointFile, entry: Entry) -> tuple[str, ...]:
    value = _value(file, entry)
    kind = f"{entry.type} key<{entry.key_impl}>" if entry.key_impl else entry.type
    shape = "" if entry.type == dtypes.STRING else str(list(entry.shape))
    text = "" if value is None else repr(value)[:60]
    return entry.name, kind, shape, f"{entry.nbytes:,}", str(entry.slices), text


def _print(file: CheckpointFile, entries: list[Entry], limit: int | None) -> None:
    columns = ("name", "dtype", "shape", ">bytes", ">slices", "value")
    common.show(limit, columns, entries, functools.partial(_row, file))
    console = common.console()
    console.print()
    for kind, total in _totals(entries).items():
        if total["entries"]:
            counts = display.counted(total["entries"], "entry", "entries")
            elements = display.counted(total["elements"], "element")
            size = display.size(total["bytes"])
            console.print(f"{kind}: {counts}, {elements}, {size}", highlight=False)
    sums = ", ".join(f"{held.stored:#010x}" for held in file.check_sums)
    crc = f"{sums} (not verified: msckpt verify)" if sums else "none"
    facts = f"{file.format}, {display.size(file.size)}, cipher {file.cipher or 'none'}, crc {crc}"
    if file.save is not None:
        facts += f", of the save {visible(file.save)}"
    console.print(f"file: {facts}", highlight=False, markup=False)


def _without_key(args: argparse.Namespace, facts: dict[str, Any], text: str) -> int:
    """Print the facts of an encrypted file that need no key."""
    if args.json:
        common.say_json({"file": args.file, **facts})
        return 0
    advice = f"give --dec-key-file, or the key as hex digits in {common.KEY_VARIABLE}"
    common.say(f"{args.file}: {text}", advice)
    return 0
