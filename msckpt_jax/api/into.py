"""Parameters into a network, or into a tree like another: match, check, cast, place."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax import names
from msckpt_jax.checkpoint import placement, stored
from msckpt_jax.checkpoint.records import is_key
from msckpt_jax.conventions.convention import Convention
from msckpt_jax.conventions.loading import Translated
from msckpt_jax.errors import CheckpointError

log = logging.getLogger("msckpt_jax")

# MindSpore casts within these groups only (train/serialization.py, _update_param).
_FLOATS = {"float16", "float32", "float64", "bfloat16"}
_INTS = {"int4", "int8", "int16", "int32", "int64"}
#: Gradient accumulators are not expected in a file, and not missed.
_UNMISSED = "accu_grads"


class NotLoaded(list[str]):
    """Names that were not loaded: a plain list, as in MindSpore, that can also say why."""

    def __init__(self, why: Mapping[str, str], others: Sequence[str]):
        super().__init__(why)
        self._why, self._others = dict(why), list(others)

    @property
    def reasons(self) -> dict[str, str]:
        """For each name why, and which names of the other side are like it."""
        return {name: f"{self._why[name]}{nearest(name, self._others)}" for name in self}

    def explain(self) -> str:
        """The reasons as text, a line a name."""
        return "\n".join(f"{name}: {reason}" for name, reason in self.reasons.items())


class Target(NamedTuple):
    """What a leaf of the network wants: ``dtype`` None stands for a str."""

    shape: tuple[int, ...]
    dtype: Any
    sharding: jax.sharding.Sharding | None


def load_param_into_net(
    net: Any,
    parameter_dict: Mapping[str, Any],
    strict_load: bool = False,
    remove_redundancy: bool = False,
    *,
    skip_mismatch: bool = False,
    convention: str | Convention | None = None,
) -> tuple[NotLoaded, NotLoaded]:
    """Load parameters into an ``nnx`` module, in place, with the shardings that it has.

    Dtypes are cast among the floats (16, 32, 64, bfloat16) and among the signed integers; a shape
    may have trailing ones more. When names are missing, prefixes that all of a network's names
    lack are removed, as in MindSpore; unlike there, what is loaded that way is not reported.

    Args:
        net: an ``nnx.Module``. For immutable trees see :func:`load_param_into_tree`.
        parameter_dict: names to arrays, as :func:`load_checkpoint` gives.
        strict_load: refuse to cast, and do not repair prefixes.
        remove_redundancy: accepted for MindSpore's sake; a set of de-duplicated rank files is
            loaded by ``load_checkpoint(folder, net, strategy=...)``.
        skip_mismatch: report parameters whose shape or dtype does not fit instead of refusing.
        convention: the dict has MindSpore's names and layouts: ``"mindspore"``, ``"mint"`` or a
            :class:`Convention`. The network's names in the report are MindSpore's, too.

    Returns:
        ``(param_not_load, ckpt_not_load)``: the network's names that found no value, and the
        dict's names that were not used; ``.explain()`` of each says why and names the nearest.

    Raises:
        CheckpointError: a shape or dtype does not fit; with ``convention`` also what
            :meth:`Convention.targets` refuses.
        TypeError: an argument of the wrong type.
    """
    del remove_redundancy
    if not names.is_module(net):
        raise TypeError(
            f"net must be an nnx.Module, not {type(net).__name__}: for pytrees use "
            "load_param_into_tree, which returns the new tree"
        )
    leaves = names.named_leaves(net)
    view = _view(net, leaves, parameter_dict, convention, not strict_load, skip_mismatch)
    values, *report = _matched(leaves, view, strict_load, skip_mismatch)
    names.assign(net, values)
    return report[0], report[1]


def load_param_into_tree(
    tree: Any,
    parameter_dict: Mapping[str, Any],
    strict_load: bool = False,
    *,
    skip_mismatch: bool = False,
    convention: str | Convention | None = None,
) -> tuple[Any, NotLoaded, NotLoaded]:
    """:func:`load_param_into_net` for immutable trees: the new tree comes first in the result.

    Leaves may be arrays or ``jax.ShapeDtypeStruct``; those that find no value stay as they are.
    """
    flat = names.flatten(tree)
    view = _view(tree, flat.leaves, parameter_dict, convention, not strict_load, skip_mismatch)
    values, *report = _matched(flat.leaves, view, strict_load, skip_mismatch)
    return flat.rebuild(values), report[0], report[1]


def like(
    tree: Any,
    parameters: Mapping[str, Any],
    strict: bool,
    convention: str | Convention | None = None,
) -> Any:
    """A tree like ``tree`` with all its values from ``parameters``.

    Raises:
        CheckpointError: a name is missing, or does not fit.
    """
    flat = names.flatten(tree)
    view = _view(tree, flat.leaves, parameters, convention)
    if isinstance(view, Translated):
        missing = list(view.absent)
    else:
        missing = [leaf.name for leaf in flat.leaves if leaf.name not in parameters]
    if missing:
        hints = [f"{name!r}{nearest(name, list(parameters))}" for name in missing[:3]]
        raise CheckpointError(
            f"{len(missing)} parameters of `like` are missing: {', '.join(hints)}"
            f"{', ...' if len(missing) > 3 else ''}",
            file=stored.file_of(parameters),
        )
    values, *_ = _matched(flat.leaves, view, strict, skip_mismatch=False, repair=False)
    return flat.rebuild(values)


def request(
    name: str,
    parameters: Mapping[str, Any],
    dtype: np.dtype,
    sharding: jax.sharding.Sharding | None,
    shape: tuple[int, ...] | None = None,
) -> placement.Request:
    """How to read one array: by pieces of the file where the value still lies there."""
    found, pieces = stored.pieces(name, parameters, shape)
    return placement.Request(name, found, pieces, dtype, sharding)


def nearest(name: str, others: Sequence[str]) -> str:
    """`` (nearest: ...)`` or nothing."""
    close = difflib.get_close_matches(name, others, 3)
    if not close:
        last = name.rpartition(".")[2]
        close = [other for other in others if other.rpartition(".")[2] == last][:3]
    return f" (nearest: {', '.join(close)})" if close else ""


def _view(
    tree: Any,
    leaves: Sequence[names.Leaf],
    parameters: Mapping[str, Any],
    convention: str | Convention | None,
    repair: bool = False,
    skip_mismatch: bool = False,
) -> Mapping[str, Any]:
    """The parameters by the names of the leaves."""
    if not isinstance(parameters, Mapping):
        raise TypeError(f"parameter_dict must be a dict, not {type(parameters).__name__}")
    if convention is None:
        return parameters
    return Translated(
        tree, leaves, parameters, convention, repair=repair, skip_mismatch=skip_mismatch
    )


def _matched(
    leaves: Sequence[names.Leaf],
    parameters: Mapping[str, Any],
    strict: bool,
    skip_mismatch: bool,
    repair: bool = True,
) -> tuple[list[Any], NotLoaded, NotLoaded]:
    """The new values of ``leaves``, and the report."""
    if not isinstance(strict, bool):
        raise TypeError(f"strict_load must be bool, not {type(strict).__name__}")
    source = {leaf.name: leaf.name for leaf in leaves if leaf.name in parameters}
    missing = [leaf.name for leaf in leaves if leaf.name not in parameters]
    if repair and not strict and not isinstance(parameters, Translated):
        source |= stored.repair(missing, parameters)
    not_loaded = {n: "no such name in the file" for n in missing if n not in source}
    casts: list[str] = []
    wanted: dict[str, placement.Request | Callable[[], Any]] = {}
    for leaf in (leaf for leaf in leaves if leaf.name in source):
        try:
            wanted[leaf.name] = _load(leaf, source[leaf.name], parameters, strict, casts)
        except CheckpointError as error:
            if not skip_mismatch:
                raise
            not_loaded[leaf.name] = str(error)
    values = _read([leaf.value for leaf in leaves], [wanted.get(leaf.name) for leaf in leaves])
    wanted_names = [leaf.name for leaf in leaves]
    if isinstance(parameters, Translated):
        wanted_names, source = list(parameters.leaves), parameters.source
        not_loaded, parameters = parameters.not_loaded(not_loaded), parameters.parameters
    return values, *_report(wanted_names, parameters, source, not_loaded, casts)


def _read(
    old: Sequence[Any], wanted: Sequence[placement.Request | Callable[[], Any] | None]
) -> list[Any]:
    """The value that each request or function gives; the old one where there is neither."""
    placed = iter(placement.place([w for w in wanted if isinstance(w, placement.Request)]))
    return [
        value if w is None else next(placed) if isinstance(w, placement.Request) else w()
        for value, w in zip(old, wanted, strict=True)
    ]


def _report(
    wanted: Sequence[str],
    parameters: Mapping[str, Any],
    source: Mapping[str, str],
    not_loaded: Mapping[str, str],
    casts: list[str],
) -> tuple[NotLoaded, NotLoaded]:
    if casts:
        log.warning("%d parameters were cast: %s", len(casts), ", ".join(casts[:5]))
    used = {source[name] for name in source if name not in not_loaded}
    kept = {n: why for n, why in not_loaded.items() if not n.startswith(_UNMISSED)}
    param_not_load = NotLoaded(kept, list(parameters))
    unused = {n: "no such name in the network" for n in parameters if n not in used}
    mismatched = {source[n]: why for n, why in not_loaded.items() if n in source}
    ckpt_not_load = NotLoaded(unused | mismatched, wanted)
    if param_not_load:
        log.warning("%d parameters were not loaded: %s", len(kept), ", ".join(list(kept)[:5]))
    return param_not_load, ckpt_not_load


def _load(
    leaf: names.Leaf, key: str, parameters: Mapping[str, Any], strict: bool, casts: list[str]
) -> placement.Request | Callable[[], Any]:
    """A request for an array on devices, or a function that reads anything else."""
    target = _target(leaf)
    shape, dtype = stored.found(key, parameters)
    where = {"name": leaf.name, "file": stored.file_of(parameters)}
    if target.dtype is None or dtype is None or is_key(target.dtype) or is_key(dtype):
        if target.dtype != dtype or target.shape != shape:
            raise CheckpointError(
                "the value is of another kind",
                expected=_describe(target.dtype, target.shape),
                found=_describe(dtype, shape),
                **where,
            )
        return lambda: _put(parameters[key], target.sharding)
    if shape != target.shape and not stored.trailing_ones(shape, target.shape):
        raise CheckpointError(
            "the shape differs", expected=list(target.shape), found=list(shape), **where
        )
    if dtype != target.dtype:
        if strict or not _castable(dtype, target.dtype):
            raise CheckpointError("the dtype differs", expected=target.dtype, found=dtype, **where)
        if target.dtype.name == "uint4":
            _check_uint4(leaf.name, parameters[key])
        else:
            casts.append(f"{leaf.name} from {dtype} to {target.dtype}")
    wanted = request(key, parameters, target.dtype, target.sharding, target.shape)
    if isinstance(leaf.value, jax.Array | jax.ShapeDtypeStruct):
        return wanted
    if isinstance(leaf.value, np.ndarray):
        return lambda: placement.read(wanted)
    return lambda: type(leaf.value)(placement.read(wanted)[()])


def _target(leaf: names.Leaf) -> Target:
    value = leaf.value
    if isinstance(value, jax.Array | jax.ShapeDtypeStruct):
        sharding = value.sharding if getattr(value, "committed", True) else None
        return Target(value.shape, value.dtype, sharding)
    if isinstance(value, str):
        return Target((), None, None)
    if isinstance(value, bool | int | float) and not isinstance(value, np.generic):
        # Saved as Bool, Int64, Float64 or, from an append_dict, Float32.
        return Target((), np.dtype(type(value)), None)
    if isinstance(value, np.ndarray | np.generic):
        return Target(value.shape, value.dtype, None)
    raise TypeError(f"{leaf.name!r} is a {type(value).__name__}, which no CheckPoint holds")


def _describe(dtype: Any, shape: tuple[int, ...]) -> str:
    return "a str" if dtype is None else f"{dtype}{list(shape)}"


def _castable(one: np.dtype, other: np.dtype) -> bool:
    pair = {one.name, other.name}
    # uint4 is stored as UInt8, the only unsigned pair that has to meet again.
    return pair <= _FLOATS or pair <= _INTS or (one.name, other.name) == ("uint8", "uint4")


def _check_uint4(name: str, array: Any) -> None:
    if array.size and array.max() > 15:
        raise CheckpointError("values do not fit uint4", name=name, found=f"up to {array.max()}")


def _put(value: Any, sharding: jax.sharding.Sharding | None) -> Any:
    return value if isinstance(value, str) else jax.device_put(value, sharding)
