"""``convert_checkpoint``: from disk to disk, into another format or another stack's tensors."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from msckpt_jax import arguments, display
from msckpt_jax import progress as meters
from msckpt_jax.api.conversion import plan as plans
from msckpt_jax.api.conversion import source as sources
from msckpt_jax.api.conversion import target as targets
from msckpt_jax.api.conversion import verify as verifying
from msckpt_jax.api.conversion.plan import ConversionPlan
from msckpt_jax.api.conversion.target import Kind, Options, Work
from msckpt_jax.api.conversion.verify import Difference
from msckpt_jax.api.conversion.view import Stacks, View
from msckpt_jax.checkpoint import cipher, collector, paths, writer
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.conventions.families.route import MIDDLE
from msckpt_jax.conventions.families.table import FILES, JAX
from msckpt_jax.errors import CheckpointError
from msckpt_jax.parallel import checks
from msckpt_jax.parallel import strategy as strategies
from msckpt_jax.parallel.strategy import StrategyLike
from msckpt_jax.progress import Progress
from msckpt_jax.visible import visible, warn


class Conversion(NamedTuple):
    """A conversion that can be written, or compared with what was.

    Attributes:
        target: the path to write.
        source: the source, as it is or as it is seen in another stack.
        kind: the kind of the target.
        work: the entries to write.
        options: what is to become of the tensors.
        resumes: whether the work goes on where a killed run of it has stopped.
    """

    target: PathLike
    source: Any
    kind: Kind
    work: Work
    options: Options
    resumes: bool = True

    @property
    def notes(self) -> list[str]:
        """What the target does without, a line each."""
        out = [f"{name} is a string: left out" for name in sorted(self.work.strings)]
        if isinstance(self.source, View) and self.source.left_out:
            left = self.source.left_out
            tops = dict.fromkeys(name.split(".")[0] for name in left)
            shown = ", ".join([*tops][:5]) + (", ..." if len(tops) > 5 else "")
            out.append(f"{display.counted(len(left), 'entry', 'entries')} left out, which hold no "
                       f"weights of the model: {shown}")  # fmt: skip
        return out

    @property
    def identity(self) -> str:
        """A name of the job, which changes with the source's files and all that decides the result.

        A save that is killed may be continued by one of the same name.
        """
        view = self.source.identity if isinstance(self.source, View) else self.source.plan
        entries = [(record.tag, record.type, record.dims) for record in self.work.records]
        told = self.kind.text, entries, self.work.metadata, self.options.check_sum
        return sources.identity(self.source.path, view, *told)

    def write(self, progress: Progress | None = None) -> int:
        """Write the target, and return the number of its files."""
        options = self.options._replace(resume=self.identity if self.resumes else None)
        return self.kind.write(self.target, self.source, self.work, options, progress)

    def differences(self, progress: Progress | None = None) -> list[Difference]:
        """The tensors of the target that are not what the mapping makes of the source."""
        ranks = paths.path_of(self.target) / strategies.FILE if self.kind is targets.RANKS else None
        strategy = ranks if ranks is not None and ranks.is_file() else self.options.to
        secrets = {"dec_key": self.options.key} if self.options.mode is not None else {}
        file = sources.opened(self.target, strategy, **secrets)
        return verifying.differences(
            self.work.records, file, progress, self.options.threads
        )  # fmt: skip


@collector.paused()
def prepared(
    target: PathLike, file: Any, stacks: Stacks, options: Options, new: bool = True
) -> Conversion:
    """The conversion of an opened file to a ``new`` target, or one that is to be compared.

    Raises:
        CheckpointError, TypeError, ValueError: as :func:`convert_checkpoint`.
    """
    kind, stacks = _decided(target, stacks, options)
    source = sources.seen(file, stacks)
    if new and kind is targets.RANKS:
        targets.check_ranks(target, source, options)
    return Conversion(target, source, kind, targets.work(source, kind, options), options)


@collector.paused()
def planned(target: PathLike, file: Any, stacks: Stacks, options: Options) -> ConversionPlan:
    """The plan for an opened file, or for what an index lists."""
    kind, stacks = _decided(target, stacks, options)
    return plans.of(target, sources.seen(file, stacks), file, kind, options)


def _decided(target: PathLike, stacks: Stacks, options: Options) -> tuple[Kind, Stacks]:
    """The kind of a target, and the stacks with Hugging Face's where that is the default."""
    stacks.check()
    folder = options.to is None and targets.is_folder(target)
    if stacks.asked and stacks.target is None:
        if not folder:
            known = ", ".join(dict.fromkeys((*FILES, *JAX)))
            raise ValueError(
                visible(f"{target}: say whose names and layouts it gets, --as (as_stack=): {known}")
            )
        stacks = stacks._replace(target=MIDDLE)
    return targets.kind(target, stacks.target, options), stacks


def check_paths(source: PathLike, target: PathLike) -> None:
    """Refuse a target that is the source."""
    if paths.same(source, target):
        raise ValueError(visible(f"{target} is the source itself; convert to another name"))


def convert_checkpoint(
    src: PathLike,
    dst: PathLike,
    *,
    config: Any = None,
    from_stack: str | None = None,
    as_stack: str | None = None,
    scanned: bool | None = None,
    maxtext_model: str | None = None,
    scan_axis: int | None = None,
    table: PathLike | None = None,
    leave_out: Callable[[str], bool] | None = None,
    strategy: StrategyLike | None = None,
    to: StrategyLike | None = None,
    max_shard_size: int | str | None = None,
    dtype: str | None = None,
    choice_func: Callable[[str], bool] | None = None,
    name_map: Mapping[str, str] | None = None,
    crc_check: bool = False,
    enc_key: bytes | None = None,
    enc_mode: str = "AES-GCM",
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    verify: bool = False,
    threads: int = writer.THREADS,
    progress: Progress | bool | None = None,
) -> None:
    """Convert a checkpoint, from disk to disk: its format, and the stack whose tensors it holds.

    The source is a ``.ckpt`` or ``.safetensors`` file, a folder as Hugging Face's libraries write
    it, a directory of Orbax, MindFormers' rank folders with their ``strategy``, or a ``.mindir`` or
    ``.air`` model, whose weights are taken out. The target is one of the former, too. Tensors are
    read, rearranged and written window by window.

    With one of ``config``, ``from_stack``, ``as_stack`` and the arguments up to ``leave_out`` the
    tensors become those of another stack, as a :class:`Family` maps them: of ``"maxtext"``,
    ``"tunix"``, ``"levanter"``, ``"huggingface"``, ``"mindformers"``, ``"mindformers-concat"``,
    ``"mindformers-mcore"`` and ``"mindone"`` those that the family's table has. Where no Family has
    both, two maps follow each other, with Hugging Face's names between them, and values in float32
    until they are written. Optimizer states and steps are left out.

    Args:
        src: the path to read.
        dst: the path to write. An ending ``.ckpt`` or ``.safetensors`` makes a file; another name
            is a folder of safetensors files for the stacks of files, else a new directory of Orbax,
            nested as the stack nests its checkpoints (``params/params/...`` for MaxText).
        config: Hugging Face's ``config.json``: path, folder, or content. None: that beside ``src``.
        from_stack: the stack of the source. None: what the names tell, if it is only one.
        as_stack: the stack of the target. None: ``"huggingface"`` for a folder.
        scanned: whether a tree that is made has stacked layers. None: if its stack has such.
        maxtext_model: the name of the model in MaxText, as for :class:`Family`.
        scan_axis: the axis that counts stacked layers, in the source and in the target.
        table: a table of your own, as for :class:`Family`.
        leave_out: leave out the tensors for whose names in the source it returns true, such as a
            head beside a tied embedding.
        strategy: the strategy of rank files that are read.
        to: write rank files of this layout: a strategy file, layouts, or a mesh specification such
            as ``"x=2,y=4; kernel$=x,y"``.
        max_shard_size: the most bytes of a file in a folder, ``"5GB"`` by default.
        dtype: cast floats to ``"float16"``, ``"bfloat16"``, ``"float32"`` or ``"float64"``, scaled
            ones from float32. What a family keeps in float32 beside narrower tensors (the router's
            bias of DeepSeek-V3) becomes float32.
        choice_func: take only the tensors for whose names, the target's, it returns true.
        name_map: new names by those that the target would have.
        crc_check: add a check sum.
        enc_key: encrypt a ``.ckpt`` file with this key.
        enc_mode: the cipher, as in :func:`save_checkpoint`.
        dec_key: the key of the source.
        dec_mode: the cipher of the source.
        verify: read both sides back, and compare them bit by bit through the mapping.
        threads: the number of pieces that are written at a time.
        progress: as for :func:`save_checkpoint`.

    Raises:
        CheckpointError: names or shapes are not those of the model, all at once; a value does not
            fit; ``verify`` finds a difference; what :func:`open_checkpoint` refuses.
        FileExistsError: a directory of Orbax is there already.
        FileNotFoundError: there is no source, or no config beside it.
        TypeError, ValueError: arguments that are wrong, or do not go together.

    Example:
        >>> config = {"model_type": "llama", "vocab_size": 8, "hidden_size": 4,
        ...     "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 6}
        >>> family = ms.Family(config, jax="maxtext")
        >>> tree = jax.tree.map(lambda x: jnp.ones(x.shape), family.abstract(scanned=True))
        >>> ms.save_checkpoint(tree, "tree.ckpt")
        >>> ms.convert_checkpoint("tree.ckpt", "hub", config=config, from_stack="maxtext")
        >>> ms.convert_checkpoint("hub", "mf.ckpt", as_stack="mindformers-concat")
        >>> ms.open_checkpoint("mf.ckpt").names[3]
        'model.layers.0.attention.w_qkv.weight'
    """
    check_paths(src, dst)
    arguments.flags(crc_check=crc_check, verify=verify)
    asked, _ = cipher.mode_named(enc_mode, "enc_mode"), cipher.mode_named(dec_mode, "dec_mode")
    mode = None if enc_key is None else asked
    key = b"" if mode is None else mode.check_key(enc_key, "enc_key")
    checks.check_count(threads, "threads")
    arguments.progress(progress)
    arguments.functions(choice_func=choice_func)
    names = arguments.name_map(name_map)
    options = Options(
        to, max_shard_size, dtype, choice_func or (lambda name: True),
        lambda name: names.get(name, name), crc_check, mode, key, threads,
    )  # fmt: skip
    stacks = Stacks(
        config, from_stack, as_stack, scanned, maxtext_model, scan_axis, table, leave_out
    )  # fmt: skip
    secrets = {} if dec_key is None else {"dec_key": dec_key, "dec_mode": dec_mode}
    conversion = prepared(dst, sources.opened(src, strategy, **secrets), stacks, options)
    for note in conversion.notes:
        warn(note, stacklevel=2)
    with meters.meter(f"convert {dst}", conversion.work.nbytes, progress) as advance:
        conversion.write(advance)
    if verify:
        with meters.meter(f"verify {dst}", conversion.work.nbytes, progress) as advance:
            check(conversion.differences(advance), dst)


def check(differences: list[Difference], target: PathLike) -> None:
    """Refuse a target that differs."""
    if differences:
        more = [f"  {each}" for each in differences[:10]]
        more += [f"  and {len(differences) - 10} more"] * (len(differences) > 10)
        counted = display.counted(len(differences), "tensor")
        raise CheckpointError(f"{counted} differ from the source:", file=target, more=more)


@collector.paused()
def plan_conversion(
    src: PathLike,
    dst: PathLike,
    *,
    config: Any = None,
    from_stack: str | None = None,
    as_stack: str | None = None,
    scanned: bool | None = None,
    maxtext_model: str | None = None,
    scan_axis: int | None = None,
    table: PathLike | None = None,
    leave_out: Callable[[str], bool] | None = None,
    strategy: StrategyLike | None = None,
    to: StrategyLike | None = None,
    max_shard_size: int | str | None = None,
    dtype: str | None = None,
) -> ConversionPlan:
    """Tell what :func:`convert_checkpoint` with the same arguments makes of what.

    Only the headers of files are read. Where only an index and a config are there, as of a model
    that was not downloaded yet, names are the index's, shapes and dtypes the config's.

    Raises:
        CheckpointError, TypeError, ValueError: as :func:`convert_checkpoint`.

    Example:
        >>> tree = {"w": np.ones((2, 3), np.float32)}
        >>> ms.save_checkpoint(tree, "a.ckpt")
        >>> ms.plan_conversion("a.ckpt", "b.safetensors", dtype="bfloat16")
        source  dtype    shape   becomes  dtype     shape   file           how
        w       Float32  [2, 3]  w        BFloat16  [2, 3]  b.safetensors  as it is
        1 tensor, 24 B -> 1 tensor, 12 B, in 1 file
    """
    stacks = Stacks(
        config, from_stack, as_stack, scanned, maxtext_model, scan_axis, table, leave_out
    )  # fmt: skip
    options = Options(to, max_shard_size, dtype)
    file = sources.listed(src, stacks) or sources.opened(src, strategy)
    return planned(dst, file, stacks, options)


def _is_renaming(value: Any) -> bool:
    texts = (*value, *value.values()) if isinstance(value, Mapping) else (value,)
    return isinstance(value, Mapping) and all(isinstance(text, str) for text in texts)
