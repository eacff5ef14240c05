"""``save_checkpoint``: from a tree of arrays to one file."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from typing import IO, Any, Literal, Unpack, overload

import jax

from msckpt_jax import arguments
from msckpt_jax import progress as meters
from msckpt_jax.api import background, jobs
from msckpt_jax.api.jobs import Job
from msckpt_jax.api.save_options import (
    Saving,
    check_amounts,
    check_options,
    check_parts,
    shard_limit,
)
from msckpt_jax.checkpoint import formats, leaves, paths, records, snapshot, writer
from msckpt_jax.checkpoint import plan as planning
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.records import File, Record
from msckpt_jax.conventions import convention as conventions
from msckpt_jax.conventions import saving
from msckpt_jax.conventions.convention import ConventionLike, Resolver
from msckpt_jax.parallel import hosts, ranks, strategy
from msckpt_jax.parallel.rank_set import RankSet
from msckpt_jax.progress import Progress


@overload
def save_checkpoint(  # pyright: ignore[reportOverlappingOverload]
    save_obj: Any,
    ckpt_file_name: PathLike | IO[bytes],
    integrated_save: bool = True,
    async_save: Literal[False] = False,
    append_dict: Mapping[str, Any] | None = None,
    enc_key: bytes | None = None,
    enc_mode: str = "AES-GCM",
    choice_func: Callable[[str], bool] | None = None,
    crc_check: bool = False,
    format: str = formats.DEFAULT,
    **saving: Unpack[Saving],
) -> None: ...
@overload  # without async_save the one above answers
def save_checkpoint(
    save_obj: Any,
    ckpt_file_name: PathLike | IO[bytes],
    integrated_save: bool = True,
    async_save: Literal[True, "thread", "process"] = ...,
    append_dict: Mapping[str, Any] | None = None,
    enc_key: bytes | None = None,
    enc_mode: str = "AES-GCM",
    choice_func: Callable[[str], bool] | None = None,
    crc_check: bool = False,
    format: str = formats.DEFAULT,
    **saving: Unpack[Saving],
) -> background.AsyncSave: ...
@overload
def save_checkpoint(
    save_obj: Any,
    ckpt_file_name: PathLike | IO[bytes],
    integrated_save: bool = True,
    async_save: bool | str = False,
    append_dict: Mapping[str, Any] | None = None,
    enc_key: bytes | None = None,
    enc_mode: str = "AES-GCM",
    choice_func: Callable[[str], bool] | None = None,
    crc_check: bool = False,
    format: str = formats.DEFAULT,
    **saving: Unpack[Saving],
) -> background.AsyncSave | None: ...
def save_checkpoint(
    save_obj: Any,
    ckpt_file_name: PathLike | IO[bytes],
    integrated_save: bool = True,
    async_save: bool | str = False,
    append_dict: Mapping[str, Any] | None = None,
    enc_key: bytes | None = None,
    enc_mode: str = "AES-GCM",
    choice_func: Callable[[str], bool] | None = None,
    crc_check: bool = False,
    format: str = formats.DEFAULT,
    *,
    remove_redundancy: bool | None = None,
    strategy_file: PathLike | None = None,
    durable: bool = True,
    slice_bytes: int = planning.SLICE_BYTES,
    threads: int = writer.THREADS,
    progress: Progress | bool | None = None,
    timeout: float = 600.0,
    convention: ConventionLike | None = None,
    max_shard_size: int | str | None = None,
) -> background.AsyncSave | None:
    """Save a tree of arrays as one MindSpore CheckPoint that real MindSpore loads.

    Sharded arrays become one merged tensor each without being gathered: every shard goes from its
    own buffer to its place in the file. Beyond what the arrays occupy on the host already, at
    most ``threads`` windows of 8 MiB are held.

    Under ``jax.distributed`` every process makes the same call when arrays span processes, and
    each writes the byte ranges of its own shards to the one file; where these are many tiny ones,
    windows of 8 MiB are put together from what all hold. The files of a folder are dealt to the
    processes, and so are the parts of an object of ``s3://``, ``gs://`` or ``az://``. Where the
    hosts share no file system, or the target is another object store, the shards are sent to
    process 0. What is sent goes by collective operations: call it in no thread while another one
    trains, but with ``async_save``, which sends to parts before it returns, and nothing else.

    The file is replaced atomically: until the new one is complete (and, with ``durable``, on the
    disk) the previous one stays; a failure leaves nothing behind. MindSpore deletes first.

    Args:
        save_obj: any pytree, ``nnx.Module``/``nnx.State``, linen variables, ``TrainState``, or
            MindSpore's list of ``{"name": str, "data": array}``, or what
            :func:`load_checkpoint` returns. Leaves are ``jax.Array`` of any
            sharding, NumPy arrays, Python numbers (int to Int64, float to Float64, bool), str,
            and typed PRNG keys (saved as key data under ``name@implementation``). A parameter's
            name is the dotted tree path.
        ckpt_file_name: path, local or in an object store (docs/stores.md), or an open binary file.
            ``.ckpt``/``.safetensors`` is appended unless the name ends with the format's name.
            The folder must exist.
        integrated_save: merge sharded arrays into full tensors in one file. False writes
            ``rank_N/<name>`` beside the target for every rank of this process (its position in
            ``mesh.devices.flat``), and a strategy file, as MindSpore's transform functions expect.
            They replace those of an earlier save, of all processes, as one set; each says which
            save it belongs to, and readers refuse a mixture. A save that is killed while it
            replaces them is finished by the next, by :func:`resume`, or by ``msckpt recover``.
        async_save: ``True``/``"thread"`` writes in a thread, ``"process"`` in another process.
            Returns after a snapshot: later donation or mutation does not change the file. The
            snapshot is free for ``jax.Array`` in host memory with ``"thread"``; it is a copy
            otherwise. One save runs at a time; the next waits for it and raises its error.
        append_dict: further entries: int (Int64), float (Float32), bool, str, arrays.
        enc_key: encrypt with this key of 16, 24 or 32 bytes (SM4-CBC: 16). Not with
            ``crc_check``: MindSpore cannot read that combination. AES-GCM files get a seal, which
            authenticates them as a whole; the CBC modes authenticate nothing.
        enc_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        choice_func: save only the parameters for whose names it returns true, so that leaves which
            cannot be saved may be left out; ``append_dict`` is kept whole.
        crc_check: append a CRC32 that ``load_checkpoint(crc_check=True)`` verifies.
        format: ``"ckpt"`` or ``"safetensors"`` (no encryption, no strings). A name that ends with
            ``.safetensors`` is one of the latter, whatever this says.
        remove_redundancy: without ``integrated_save`` each distinct shard is written by one rank
            only, bytes balanced. Noted in the metadata of safetensors, as MindSpore does.
        strategy_file: the file of the strategy when ``integrated_save`` is false; JSON when the
            name ends so. Default: ``strategy.ckpt`` beside the rank folders. Elsewhere it is not
            part of the set: a kill may leave none, but never that of another save.
        durable: fsync before the new file replaces the old one. Without it a crash of the machine
            (not of the process) may lose the file.
        slice_bytes: tensors are cut into records of so many bytes, as MindSpore cuts at 512 MiB.
        threads: the number of threads that write.
        progress: True shows a bar, in terminals and notebooks; with ``async_save`` in notebooks
            only, in the cell that began the save. Or a function, called with the size in bytes of
            each written piece, by one thread at a time.
        timeout: under ``jax.distributed``, the seconds without a sign of life after which a
            process is taken for dead, and the save fails on all others.
        convention: write MindSpore's names and layouts instead of the tree's: ``"mindspore"``,
            ``"mint"`` (``mindspore.mint.nn``), or a :class:`Convention`. Each shard is transposed
            by itself, window by window. ``choice_func`` gets MindSpore's names.
        max_shard_size: write a folder as Hugging Face's libraries do, for ``format="safetensors"``:
            ``ckpt_file_name`` is the folder, which is made if need be. Tensors go, in the order of
            the tree, to ``model-00001-of-00009.safetensors`` and so on, each of at most so many
            bytes of tensors ("5GB" is 5e9, "5GiB" is 5 * 2^30), and
            ``model.safetensors.index.json`` names the file of each; a larger tensor gets a file of
            its own. What fits one file is ``model.safetensors`` alone. The files replace those of
            an earlier save as one; other files in the folder stay. A save that is killed while it
            does is finished by the next, or by ``msckpt recover``; until then readers refuse.

    Returns:
        None, or with ``async_save`` a handle with ``result(timeout)``, ``done()``.

    Raises:
        CheckpointError: a name collides, a dtype is one that MindSpore cannot load (the message
            says what to cast to), leaves that ``convention`` cannot map, there is nothing to save,
            a string in safetensors, arrays on different meshes without ``integrated_save``;
            another process has failed or died.
        BlockingIOError: another process is saving into the folder of ``max_shard_size``, or the
            same rank files.
        AsyncSaveError: the previous asynchronous save failed; this one was not begun.
        TypeError, ValueError: an argument of the wrong type or value.
        OSError: FileNotFoundError for a missing folder, IsADirectoryError, a full disk.

    Example:
        >>> ms.save_checkpoint({"dense": {"kernel": np.ones((2, 3), np.float32)}}, "model.ckpt")
        >>> ms.open_checkpoint("model.ckpt").names
        ['dense.kernel']
    """
    if isinstance(format, str) and format == formats.DEFAULT:
        format = formats.of_name(ckpt_file_name).name
    mode = check_options(async_save, append_dict, enc_key, enc_mode, choice_func, crc_check, format)
    check_amounts(integrated_save, durable, slice_bytes, threads, timeout)
    check_parts(remove_redundancy, strategy_file)
    arguments.progress(progress)
    limit = shard_limit(max_shard_size, format, integrated_save)
    if limit is None:
        target = jobs.target_path(ckpt_file_name, format)
    else:
        target = jobs.folder_path(ckpt_file_name)
    background.settle()
    chosen = choice_func or (lambda name: True)
    save_obj = dict(save_obj) if isinstance(save_obj, Parameters) else save_obj
    resolver = Resolver() if convention is None else conventions.of(convention)
    if convention is None:
        entries = leaves.from_tree(save_obj, chosen)
    else:
        entries = saving.from_tree(save_obj, resolver, chosen)
    if append_dict:
        entries += leaves.of_append(append_dict)
    records.check_tags(entries)
    key = b"" if mode is None else mode.check_key(enc_key, "enc_key")
    how = How(slice_bytes, crc_check, remove_redundancy, threads=threads,
              framework=resolver.framework)  # fmt: skip
    options = writer.Options(mode, key, durable, threads, timeout=timeout, sealed=True)
    job = Job(format, how, options)
    files = [File(target, entries)]
    spans = hosts.needed(entries)
    if spans and (async_save == "process" or hasattr(target, "write")):
        raise ValueError("arrays that span processes are saved to a path, and asynchronously "
                         "by a thread only")  # fmt: skip
    if spans and integrated_save:
        jobs.check_spanning(entries, job)
    elif not spans:
        jobs.check_folder(target)
    if not integrated_save:
        files, job = _rank_files(target, entries, job, strategy_file)
    if limit is not None:
        files, job = jobs.dealt(target, entries, job, limit, resolver.companions())
    total = sum(record.nbytes for file in files for record in file.records)
    begin = meters.meter_behind if async_save else meters.meter
    meter = functools.partial(begin, f"save {target}", total, progress)
    return _start(files, job, async_save, meter)


def _start(
    files: list[File], job: Job, async_save: bool | str, meter: meters.Meter
) -> background.AsyncSave | None:
    if not async_save:
        with meter() as advance:
            jobs.run(files, job.showing(advance))
        return None
    for file in files:  # refuse now, not in the thread
        formats.named(job.format).check(file.records)
    if async_save == "process":
        if hasattr(files[0].target, "write"):
            raise TypeError("async_save='process' needs a path, not an open file")
        return background.in_process(files, job, meter)
    kept, shown = snapshot.frozen(files), meter()
    exchanged = threading.Event()
    job = job.exchanging(exchanged.set)

    def work() -> None:
        try:
            with shown as advance:
                jobs.run(kept, job.showing(advance))
        finally:
            exchanged.set()

    target = jobs.target_of(files, job)
    save = background.in_thread(work, str(target))
    if hosts.by_parts(target) and any(hosts.needed(file.records) for file in files):
        exchanged.wait()
    return save


def _rank_files(
    target: Any, entries: list[Record], job: Job, strategy_file: PathLike | None
) -> tuple[list[File], Job]:
    """The files of this process's ranks, and the job that makes a set of those of all."""
    if hasattr(target, "write"):
        raise ValueError("integrated_save=False needs a path, not an open file")
    parts, layouts = ranks.split(entries, bool(job.how.remove_redundancy))
    # Without redundancy a rank may have nothing to write, and nobody can load an empty file.
    files = [File(ranks.rank_path(target, rank), part) for rank, part in parts.items() if part]
    path = paths.path_of(strategy_file or target.parent / strategy.FILE)
    content = strategy.encode(path, layouts)
    mine = path if jax.process_index() == 0 else None
    ranks_of = RankSet(target.parent, target.name, mine, content, hosts.needed(entries))
    return files, job._replace(ranks=ranks_of)
