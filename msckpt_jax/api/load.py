"""``load_checkpoint``: a file as a lazy dict, as arrays on a mesh, or into a network."""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict, Unpack, overload

import jax

from msckpt_jax import arguments
from msckpt_jax.api import into
from msckpt_jax.api.on_devices import Sharding, on_devices
from msckpt_jax.checkpoint import formats
from msckpt_jax.checkpoint.choice import choice
from msckpt_jax.checkpoint.file import open_checkpoint
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.conventions.convention import ConventionLike
from msckpt_jax.errors import CheckpointError
from msckpt_jax.progress import Progress

if TYPE_CHECKING:
    from msckpt_jax.parallel.strategy import StrategyLike


class Reading(TypedDict, total=False):
    """The arguments of :func:`load_checkpoint` that do not decide the type of its result."""

    strategy: StrategyLike | None
    convention: ConventionLike | None
    remove_redundancy: bool
    mmap: bool
    progress: Progress | bool | None


@overload
def load_checkpoint(
    ckpt_file_name: PathLike | Mapping[int, PathLike],
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: str | Sequence[str] | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: str | Sequence[str] | None = None,
    choice_func: Callable[[str], bool] | None = None,
    crc_check: bool = False,
    format: str | None = None,
    *,
    sharding: None = None,
    **reading: Unpack[Reading],
) -> Parameters: ...
@overload
def load_checkpoint(
    ckpt_file_name: PathLike | Mapping[int, PathLike],
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: str | Sequence[str] | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: str | Sequence[str] | None = None,
    choice_func: Callable[[str], bool] | None = None,
    crc_check: bool = False,
    format: str | None = None,
    *,
    sharding: Sharding,
    **reading: Unpack[Reading],
) -> dict[str, Any]: ...
@overload
def load_checkpoint(
    ckpt_file_name: PathLike | Mapping[int, PathLike],
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: str | Sequence[str] | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: str | Sequence[str] | None = None,
    choice_func: Callable[[str], bool] | None = None,
    crc_check: bool = False,
    format: str | None = None,
    *,
    like: Any,
    sharding: None = None,
    **reading: Unpack[Reading],
) -> Any: ...
def load_checkpoint(
    ckpt_file_name: PathLike | Mapping[int, PathLike],
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: str | Sequence[str] | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: str | Sequence[str] | None = None,
    choice_func: Callable[[str], bool] | None = None,
    crc_check: bool = False,
    format: str | None = None,
    *,
    like: Any = None,
    sharding: Sharding | None = None,
    strategy: StrategyLike | None = None,
    convention: ConventionLike | None = None,
    remove_redundancy: bool = False,
    mmap: bool = True,
    progress: Progress | bool | None = None,
) -> Any:
    """Load a CheckPoint that this library or MindSpore wrote.

    Args:
        ckpt_file_name: path, local or in an object store: of a file, or of a folder
            that :func:`open_checkpoint` reads.
        net: an ``nnx`` module to load into, as :func:`load_param_into_net` does.
        strict_load: with ``net`` or ``like``: refuse different dtypes instead of casting, and guess
            neither prefixes nor the convention.
        filter_prefix: leave out the names that start with it (or with any of several).
        dec_key: key of an encrypted file.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"`` or ``"SM4-CBC"``.
        specify_prefix: keep only the names that start with it (or with any of several).
        choice_func: keep the names it returns true for; as in MindSpore it is not asked when a
            prefix is given.
        crc_check: verify the file's check sum; a file without one is refused, because nobody can
            tell whether it was saved so or is cut off (MindSpore warns). Of an encrypted file the
            seal is asked for, which authenticates it as a whole.
        format: as for :func:`open_checkpoint`; None looks at the content.
        like: a pytree of arrays or ``jax.ShapeDtypeStruct``; the result gets its structure,
            dtypes and shardings. Each process reads only the byte ranges of its own shards.
        sharding: one for all arrays, or a function of name and shape (None: default device).
        strategy: strategy file (or dict of layouts) when ``ckpt_file_name`` is a folder of
            ``rank_N`` folders, or a dict of files by rank: these are read as one CheckPoint of
            full tensors.
        convention: with ``net`` or ``like``: the file has MindSpore's names and layouts,
            ``"mindspore"``, ``"mint"`` or a :class:`Convention`. Transposed tensors are read by
            the boxes that a shard needs, too. None: the tree's own names, else the convention
            with which more of its leaves are there; the log says which.
        remove_redundancy: accepted for MindSpore's sake; ``strategy`` reads de-duplicated files as
            it does others, because each file tells which parameters it holds.
        mmap: as for :func:`open_checkpoint`: False reads local files instead of mapping them.
        progress: with ``net``, ``like`` or ``sharding``, which read: True shows a bar, in terminals
            and notebooks. Or a function, called with the size in bytes of each piece that was
            read, by one thread at a time.

    Returns:
        Without ``like`` and ``sharding`` a :class:`Parameters`, an ordered mutable mapping from
        names to values that are read when asked for; with ``sharding`` a dict of ``jax.Array``;
        with ``like`` a tree like it.

    Raises:
        CheckpointError: the file is damaged or encrypted otherwise; nothing is left after the
            filters; nothing at all was loaded into ``net``; a parameter of ``like`` is missing or
            has another shape, an incompatible dtype, or values that do not fit a narrower one; with
            a :class:`Family` and ``like`` also parameters that are none of the model.
        TypeError, ValueError: an argument of the wrong type or value.

    Example:
        >>> ms.save_checkpoint({"w": np.arange(4, dtype=np.float32)}, "model.ckpt")
        >>> ms.load_checkpoint("model.ckpt")["w"]
        array([0., 1., 2., 3.], dtype=float32)
        >>> mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
        >>> sharding = jax.NamedSharding(mesh, jax.P("x"))
        >>> half = jax.ShapeDtypeStruct((4,), jnp.bfloat16, sharding=sharding)
        >>> ms.load_checkpoint("model.ckpt", like={"w": half})["w"].addressable_shards[1].data
        Array([2, 3], dtype=bfloat16)
    """
    if sum(given is not None for given in (net, like, sharding)) > 1:
        raise ValueError("pass only one of net, like and sharding")
    _check_types(strict_load, crc_check, sharding, remove_redundancy=remove_redundancy, mmap=mmap)
    arguments.progress(progress)
    if convention is not None and net is None and like is None:
        raise ValueError(
            "convention needs net= or like=: the meaning of a name depends on the network's layers"
        )
    chosen = choice(filter_prefix, specify_prefix, choice_func)
    reading: dict[str, Any] = {
        "dec_key": dec_key, "dec_mode": dec_mode, "crc_check": crc_check, "mmap": mmap,
    }  # fmt: skip
    if strategy is not None:
        from msckpt_jax.parallel import merged

        file = merged.open_ranks(ckpt_file_name, strategy, format=format, **reading)
    elif isinstance(ckpt_file_name, Mapping):
        raise TypeError("ckpt_file_name is a dict of files by rank: pass their strategy, too")
    else:
        file = open_checkpoint(ckpt_file_name, format=format, **reading)
        if formats.FORMATS[file.format].converted:
            model = f"model{formats.CKPT.suffix}"
            problem = f"msckpt convert {file.path} {model} makes a CheckPoint of it"
            raise CheckpointError(f"this is a {file.format} file: {problem}", file=file.path)
    parameters = Parameters(file, [name for name in file if chosen(name)])
    if not parameters:
        raise CheckpointError(
            "the filters leave none of the parameters", file=file.path, found=f"{len(file)} before"
        )
    unknown = next((e for e in (file.entries[name].unknown for name in parameters) if e), None)
    if unknown is not None:
        raise unknown.within(file.path)
    if net is not None:
        into.load_param_into_net(net, parameters, strict_load, convention=convention,
                                 progress=progress)  # fmt: skip
    if like is not None:
        return into.like(like, parameters, strict_load, convention, progress)
    if sharding is not None:
        return on_devices(parameters, sharding, progress)
    return parameters


def _check_types(strict_load: Any, crc_check: Any, sharding: Any, **more: Any) -> None:
    arguments.flags(strict_load=strict_load, crc_check=crc_check, **more)
    kinds = (jax.sharding.Sharding, type(None))
    is_mesh = isinstance(sharding, jax.sharding.Mesh)  # which can be called, as a decorator
    if is_mesh or not (isinstance(sharding, kinds) or callable(sharding)):
        raise TypeError(
            "sharding must be a jax.sharding.Sharding or a function of name and shape, not "
            f"{type(sharding).__name__}"
        )


def load_checkpoint_async(
    ckpt_file_name: PathLike | Mapping[int, PathLike],
    net: Any = None,
    strict_load: bool = False,
    filter_prefix: str | Sequence[str] | None = None,
    dec_key: bytes | None = None,
    dec_mode: str = "AES-GCM",
    specify_prefix: str | Sequence[str] | None = None,
    choice_func: Callable[[str], bool] | None = None,
    **kwargs: Any,
) -> concurrent.futures.Future[Any]:
    """Run :func:`load_checkpoint` in a thread; ``.result()`` gives its result or its error.

    Contents are read when they are asked for, so pass ``like``, ``sharding`` or ``net`` to have
    them read in the thread.

    Example:
        >>> ms.save_checkpoint({"w": np.arange(4, dtype=np.float32)}, "model.ckpt")
        >>> future = ms.load_checkpoint_async("model.ckpt", like={"w": jnp.zeros(4)})
        >>> future.result()
        {'w': Array([0., 1., 2., 3.], dtype=float32)}
    """
    pool = concurrent.futures.ThreadPoolExecutor(1, "msckpt load")
    try:
        return pool.submit(
            load_checkpoint,
            ckpt_file_name,
            net,
            strict_load,
            filter_prefix,
            dec_key,
            dec_mode,
            specify_prefix,
            choice_func,
            **kwargs,
        )
    finally:
        pool.shutdown(wait=False)
