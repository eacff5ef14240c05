"""``msckpt convert``: the same checkpoint, or the same model, in another format."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from msckpt_jax import display, progress
from msckpt_jax.api import convert_checkpoint, targets
from msckpt_jax.api.conversion import source as opening
from msckpt_jax.api.conversion.target import DTYPES, SHARD_SIZE, Options, renaming
from msckpt_jax.api.conversion.view import Stacks
from msckpt_jax.checkpoint import cipher, collector, paths, writer
from msckpt_jax.cli import common, options, sources
from msckpt_jax.conventions.families.table import FILES, JAX
from msckpt_jax.parallel import meshspec

if TYPE_CHECKING:
    from msckpt_jax.lowering.target import Target

DESCRIPTION = (
    """\
Write a checkpoint, or a model, in another format. A checkpoint SRC is

"""
    + sources.DESCRIPTION
    + """\
  FOLDER                        rank files rank_0, rank_1, ..., with their --strategy

and becomes the DST

  FILE.ckpt, FILE.safetensors   a file
  FOLDER, with --to             rank files of this layout
  FOLDER, with --max-shard-size  safetensors files with an index, as Hugging Face's libraries write
  FOLDER                        an Orbax checkpoint

Tensors are copied piece by piece, so that memory stays small for any size. The custom metadata of
Orbax become metadata of safetensors, or entries `metadata.KEY` of a .ckpt, and back. Files other
than .ckpt cannot be encrypted. Strings, which safetensors and rank files cannot hold, are left out
with a warning. The `value` that Orbax has below every nnx.Variable is left out of the names.

With --from or --as, or one of the options beside them, the tensors become those of another stack: a
language model goes from any to any of

  trees   """
    + ", ".join(name for name in JAX if name not in FILES)
    + """
  files   """
    + ", ".join(FILES)
    + """

of those that the table of its family has. Layers and experts are stacked and taken apart, names,
layouts and factors are those of docs/language-models.md. --from is what the names tell, and needed
where they do not; --as is huggingface for a folder. A FOLDER is then, for a tree, an Orbax
checkpoint nested as the stack nests its own (params/params for MaxText), and else safetensors files
with an index (of 5GB), beside which go config.json and the tokenizer's files. The states of
optimizers, and steps, are left out.

--to is a strategy file, `saved` (the shardings with which Orbax saved), or a mesh, given as

"""
    + meshspec.DESCRIPTION
    + """
A model SRC becomes a DST of another format operator by operator, or, where an operator has no
counterpart, through JAX:

  MODEL.mindir   ours or MindSpore's, to MODEL.air for Ascend's atc, or to MODEL.onnx
  MODEL.air      to MODEL.mindir or MODEL.onnx, always through JAX

Any other DST gets the weights of MODEL.mindir or MODEL.air, by their names, as those of a
checkpoint.
"""
    + sources.STORES
)
EXAMPLES = """\
  msckpt convert model.ckpt model.safetensors
  msckpt convert model.safetensors model.ckpt --crc
  msckpt convert model.ckpt half.ckpt --dtype bfloat16
  msckpt convert model.ckpt flax.ckpt --rename '^backbone\\.=' --rename 'gamma$=scale'
  msckpt convert plain.ckpt secret.ckpt --enc-key-file key.bin --enc-mode AES-GCM
  msckpt convert Qwen3-0.6B/ model.ckpt
  msckpt convert model.ckpt hub/ --max-shard-size 5GB
  msckpt convert run/1000 model.ckpt --filter '^params'
  msckpt convert run/1000 ranks/ --to saved
  msckpt convert run/1000 mesh/ --to 'x=2,y=4; kernel$=x,y'
  msckpt convert ranks/ orbax/ --strategy ranks/strategy.ckpt
  msckpt convert model.ckpt for_nnx/ --rename '$=.value'

  msckpt convert Qwen3-8B/ qwen3.ckpt --as mindformers-mcore --plan
  msckpt convert Qwen3-8B/ qwen3.ckpt --as mindformers-mcore --dtype bfloat16
  msckpt convert Qwen3-8B/ start/0/items --as maxtext --verify
  msckpt convert start/0 tuned/ --config Qwen3-8B --from maxtext
  msckpt convert start/0 tp2/ --config Qwen3-8B --as mindformers-mcore --to 'x=2; qkv=x; proj=,x'
  msckpt convert tp2/ joined/ --strategy tp2/strategy.ckpt --config Qwen3-8B

  msckpt convert model.mindir model.air --soc Ascend910B
  msckpt convert model.mindir model.onnx --opset 22
  msckpt convert model.air again.mindir
  msckpt convert model.mindir weights.safetensors
"""
#: Options that only checkpoints heed.
_OF_CHECKPOINTS = (
    "dtype", "rename", "filter", "crc", "strategy", "to", "max_shard_size", "enc_key_file",
    "config", "source_stack", "target_stack", "scanned", "maxtext_model", "scan_axis", "table",
    "leave_out", "plan", "json", "all", "verify", "verify_only", "jobs",
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="SRC", help="file or folder to read")
    parser.add_argument("target", metavar="DST", help="file or folder to write")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        help="cast all floating-point tensors to it, but for those that a family keeps in float32",
    )
    parser.add_argument(
        "--rename",
        metavar="REGEX=TEMPLATE",
        action="append",
        default=[],
        help=r"replace each match of the regular expression in the names (\1 is its first group); "
        "if given several times, rules apply in order",
    )
    parser.add_argument("--filter", metavar="REGEX", help="take only names in which it is found")
    parser.add_argument("--crc", action="store_true", help="add a check sum")
    parser.add_argument("--strategy", metavar="FILE", help="strategy file of rank files to read")
    parser.add_argument("--to", metavar="FILE|saved|MESH", help="write rank files of this layout")
    parser.add_argument(
        "--max-shard-size",
        metavar="SIZE",
        help="write a folder of safetensors files of at most so many bytes, like 5GB or 500MiB; "
        f"they replace those of an earlier save as one ({SHARD_SIZE} where --as asks for a folder)",
    )
    parser.add_argument("--jobs", type=common.count, metavar="N",
                        help=f"pieces to write at a time (default: {writer.THREADS})")  # fmt: skip
    parser.add_argument("--no-resume", action="store_true", help="begin anew where a killed run of "
                        "the same work has left finished parts")  # fmt: skip
    _of_stacks(parser.add_argument_group("language models"))
    _of_checks(parser.add_argument_group("plan and verify"))
    options.add_weights(parser.add_argument_group("models"))
    options.add(parser)
    common.key_arguments(parser)
    common.key_arguments(parser, "enc")


def _of_stacks(group: Any) -> None:
    stacks = list(dict.fromkeys((*JAX, *FILES)))
    group.add_argument("--config", metavar="FILE|FOLDER", help="config.json of Hugging Face "
                       "(default: that beside SRC)")  # fmt: skip
    group.add_argument("--from", dest="source_stack", metavar="STACK", choices=stacks,
                       help=f"the stack of SRC: {', '.join(stacks)}")  # fmt: skip
    group.add_argument("--as", dest="target_stack", metavar="STACK", choices=stacks,
                       help="the stack that DST is for")  # fmt: skip
    group.add_argument("--scanned", action=argparse.BooleanOptionalAction, help="stack the layers "
                       "of a tree (default: if the stack ever does)")  # fmt: skip
    group.add_argument("--maxtext-model", metavar="NAME", help="the name of the model in MaxText, "
                       "such as llama3.1-8b: it decides how rotary pairs lie")  # fmt: skip
    group.add_argument("--scan-axis", type=int, metavar="AXIS", help="the axis that counts stacked "
                       "layers (default: what the shapes tell, the stack's own)")  # fmt: skip
    group.add_argument("--table", metavar="FILE", help="a table of your own for the family")
    group.add_argument("--leave-out", metavar="REGEX", help="leave out the tensors of SRC in whose "
                       "names it is found, such as a head beside a tied embedding")  # fmt: skip


def _of_checks(group: Any) -> None:
    group.add_argument("--plan", action="store_true", help="only tell what would become what, from "
                       "the headers; an index and a config.json are enough")  # fmt: skip
    group.add_argument("--json", action="store_true", help="with --plan: as JSON")
    group.add_argument("--all", action="store_true", help="with --plan: all lines of a long table")
    group.add_argument("--verify", action="store_true", help="then read both sides back, and "
                       "compare them bit by bit; status 1 if they differ")  # fmt: skip
    group.add_argument("--verify-only", action="store_true", help="do that with a DST that is "
                       "there, and write nothing")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    convert_checkpoint.check_paths(args.source, args.target)
    model = targets.of_suffix(args.source)
    if model is not None and targets.of_suffix(args.target) is not None:
        return _model(args, model)
    of_models = [name for name in ("weights", "weight_block_size") if getattr(args, name)]
    if of_models := [*of_models, *options.asked(args)]:
        given = ", ".join(f"--{name.replace('_', '-')}" for name in of_models)
        raise ValueError(f"{given}: for models that are written, not for CheckPoints")
    if (args.json or args.all) and not args.plan:
        raise ValueError("--json and --all go with --plan")
    stacks = Stacks(
        args.config, args.source_stack, args.target_stack, args.scanned, args.maxtext_model,
        args.scan_axis, args.table, common.choose(args.leave_out) if args.leave_out else None,
    )  # fmt: skip
    how = _options(args)
    return _plan(args, stacks, how) if args.plan else _write(args, stacks, how)


@collector.paused()
def _plan(args: argparse.Namespace, stacks: Stacks, how: Options) -> int:
    file = opening.listed(args.source, stacks) or _source(args)
    with progress.waiting(f"plan {args.target}"):
        plan = convert_checkpoint.planned(args.target, file, stacks, how)
    if args.json:
        common.say_json(plan.as_json())
    else:
        common.say(*plan.lines(everything=args.all))
    return 0


def _write(args: argparse.Namespace, stacks: Stacks, how: Options) -> int:
    new = not args.verify_only
    source = _source(args)
    with progress.waiting(f"plan {args.target}"):
        conversion = convert_checkpoint.prepared(args.target, source, stacks, how, new)
    nbytes, count = conversion.work.nbytes, len(conversion.work.records)
    common.complain(*(f"warning: {note}" for note in conversion.notes))
    conversion = conversion._replace(resumes=not args.no_resume)
    if new:
        with progress.bar("convert", nbytes) as advance:
            files = conversion.write(advance)
        where = f", in {display.counted(files, 'file')}" if files > 1 else ""
        entries = display.counted(count, "entry", "entries")
        size = display.size(nbytes)
        common.say(f"{args.target}: {conversion.kind.text}, {entries}, {size}{where}")
    if new and not args.verify:
        return 0
    with progress.bar("verify", nbytes) as advance:
        differences = conversion.differences(advance)
    common.say(*differences)
    wrong = display.counted(len(differences), "difference")
    right = (
        f"all {display.counted(count, 'entry', 'entries')} are what the source gives, bit by bit"
    )
    common.say(f"{args.target}: {wrong if differences else right}")
    return 1 if differences else 0


def _model(args: argparse.Namespace, source: Target) -> int:
    """Convert a model file to another format."""
    given = [name for name in _OF_CHECKPOINTS if getattr(args, name)]
    if given:
        arguments = ", ".join(f"--{_FLAGS.get(name, name).replace('_', '-')}" for name in given)
        raise ValueError(
            f"{arguments} can be used for CheckPoints, not for the model {args.source}"
        )
    secrets = _secrets(args, source)
    from msckpt_jax.api import convert_model  # loads all that lowers models

    with progress.waiting(f"convert {args.source}"):
        file, notes = convert_model.convert(
            args.source, args.target, **secrets, weights=args.weights,
            weight_block_size=args.weight_block_size, **options.asked(args),
        )  # fmt: skip
    common.say(*notes, f"{file}: {display.size(paths.size(file))}")
    return 0


def _secrets(args: argparse.Namespace, source: Target) -> dict[str, Any]:
    """The key and the cipher of a model file that is encrypted."""
    cipher = source.cipher(paths.path_of(args.source)) if source.cipher else None
    return {} if cipher is None else common.model_secrets(args, args.source, cipher)


#: The names of options that are not their arguments'.
_FLAGS = {"source_stack": "from", "target_stack": "as"}


def _source(args: argparse.Namespace) -> Any:
    """Open the source as a mapping with ``entries`` and ``pieces``, whatever its format."""
    opening.check_strategy(args.source, args.strategy)
    if (model := targets.of_suffix(args.source)) is not None:
        return opening.opened(args.source, args.strategy, **_secrets(args, model))
    if args.strategy is not None:
        with progress.waiting(f"open {args.source}"):
            return opening.opened(args.source, args.strategy, **common.rank_secrets(args))
    return common.open_sound_file(args, args.source)


def _options(args: argparse.Namespace) -> Options:
    # The environment is not asked: who may decrypt a file need not want an encrypted copy.
    key = None if args.enc_key_file is None else common.key_of(args.enc_key_file)
    mode = None if key is None else cipher.mode_named(args.enc_mode, "--enc-mode")
    checked = b"" if mode is None else mode.check_key(key, "--enc-key-file")
    return Options(
        args.to, args.max_shard_size, args.dtype, common.choose(args.filter),
        renaming(args.rename), args.crc, mode, checked, args.jobs or writer.THREADS,
    )  # fmt: skip
