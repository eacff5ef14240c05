"""Parameters into a network, or into a tree like another: match, check, cast, place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msckpt_jax import arguments, display, names
from msckpt_jax.api.leaf import wanted_value
from msckpt_jax.api.not_loaded import NotLoaded, nearest, report
from msckpt_jax.checkpoint import collector, placement, stored
from msckpt_jax.conventions import choosing, prefixes, proposals
from msckpt_jax.conventions import convention as conventions
from msckpt_jax.conventions.convention import ConventionLike
from msckpt_jax.conventions.loading import Translated
from msckpt_jax.conventions.proposals import Proposal
from msckpt_jax.errors import CheckpointError
from msckpt_jax.progress import Progress


def load_param_into_net(
    net: Any,
    parameter_dict: Mapping[str, Any],
    strict_load: bool = False,
    remove_redundancy: bool = False,
    *,
    skip_mismatch: bool = False,
    convention: ConventionLike | None = None,
    progress: Progress | bool | None = None,
) -> tuple[NotLoaded, NotLoaded]:
    """Load parameters into an ``nnx`` module, in place, with the shardings that it has.

    Dtypes are cast among the floats (16, 32, 64, bfloat16) and among the signed integers, where
    the values fit; a shape in the file may have further trailing ones.

    Two guesses are made, and logged: where none of the network's names is in the file, but all of
    them behind one prefix and no other, it is taken off (MindSpore takes any key that ends with a
    missing name, also an optimizer's); and where MindSpore's names give more of the network than
    its own, they are taken.

    Args:
        net: an ``nnx.Module``. For immutable trees see :func:`load_param_into_tree`.
        parameter_dict: names to arrays, as :func:`load_checkpoint` gives.
        strict_load: refuse to cast, and guess neither prefixes nor the convention.
        remove_redundancy: accepted for MindSpore's sake; a set of de-duplicated rank files is
            loaded by ``load_checkpoint(folder, net, strategy=...)``.
        skip_mismatch: report parameters whose shape or dtype does not fit instead of refusing.
        convention: the dict has MindSpore's names and layouts: ``"mindspore"``, ``"mint"`` or a
            :class:`Convention`. The network's names in the report are MindSpore's, too. None: the
            network's own names, else the convention with which more of them are there.
        progress: as for :func:`load_checkpoint`.

    Returns:
        ``(param_not_load, ckpt_not_load)``: the network's names that found no value, and the
        dict's names that were not used; ``.explain()`` of each says why, names the nearest, and
        tells which layers were loaded in part.

    Raises:
        CheckpointError: nothing at all was loaded; a shape, dtype or value does not fit; with
            ``convention`` also what :meth:`Convention.targets` refuses.
        TypeError: an argument of the wrong type.

    Example:
        >>> net = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
        >>> ms.save_checkpoint({"kernel": np.ones((2, 3), np.float32)}, "model.ckpt")
        >>> not_loaded, unused = ms.load_param_into_net(net, ms.load_checkpoint("model.ckpt"))
        >>> not_loaded, unused
        (['bias'], [])
        >>> net.kernel[0]
        Array([1., 1., 1.], dtype=float32)
    """
    del remove_redundancy
    if not names.is_module(net):
        raise TypeError(
            f"net must be an nnx.Module, not {type(net).__name__}: for pytrees use "
            "load_param_into_tree, which returns the new tree"
        )
    leaves = names.named_leaves(net)
    view = _view(net, leaves, parameter_dict, convention, strict_load, True, skip_mismatch)
    values, *report = _matched(net, leaves, view, strict_load, skip_mismatch, progress=progress)
    names.assign(net, values)
    return report[0], report[1]


def load_param_into_tree(
    tree: Any,
    parameter_dict: Mapping[str, Any],
    strict_load: bool = False,
    *,
    skip_mismatch: bool = False,
    convention: ConventionLike | None = None,
    progress: Progress | bool | None = None,
) -> tuple[Any, NotLoaded, NotLoaded]:
    """Do as :func:`load_param_into_net` for an immutable tree; the new tree is returned first.

    Leaves may be arrays or ``jax.ShapeDtypeStruct``; those that find no value stay as they are.

    Example:
        >>> tree = {"w": jnp.zeros(3), "b": jnp.zeros(3)}
        >>> tree, not_loaded, unused = ms.load_param_into_tree(tree, {"w": np.ones(3, np.float32)})
        >>> tree["w"], not_loaded
        (Array([1., 1., 1.], dtype=float32), ['b'])
    """
    flat = names.flatten(tree)
    view = _view(tree, flat.leaves, parameter_dict, convention, strict_load, True, skip_mismatch)
    values, *report = _matched(
        tree, flat.leaves, view, strict_load, skip_mismatch, progress=progress
    )
    return flat.rebuild(values), report[0], report[1]


@collector.paused()
def like(
    tree: Any,
    parameters: Mapping[str, Any],
    strict: bool,
    convention: ConventionLike | None = None,
    progress: Progress | bool | None = None,
) -> Any:
    """A tree like ``tree`` with all its values from ``parameters``.

    Raises:
        CheckpointError: a name is missing, or does not fit.
    """
    flat = names.flatten(tree)
    view = _view(tree, flat.leaves, parameters, convention, strict)
    if isinstance(view, Translated):
        missing = list(view.absent)
    else:
        missing = [leaf.name for leaf in flat.leaves if leaf.name not in parameters]
    if missing:
        hints = [f"{name!r}{nearest(name, list(parameters))}" for name in missing[:3]]
        raise CheckpointError(
            f"`like` has {display.counted(len(missing), 'parameter')} that the file lacks: "
            f"{', '.join(hints)}"
            f"{', ...' if len(missing) > 3 else ''}",
            file=stored.file_of(parameters), more=_proposed(tree, view),
        )  # fmt: skip
    if isinstance(view, Translated) and view.surplus:
        surplus = display.counted(len(view.surplus), "parameter")
        raise CheckpointError(
            f"the file has {surplus} that this model lacks: {', '.join(view.surplus[:3])}"
            f"{', ...' if len(view.surplus) > 3 else ''}. Another config= fits, or leave them out "
            "with choice_func=", file=stored.file_of(parameters),
        )  # fmt: skip
    values, *_ = _matched(
        tree, flat.leaves, view, strict, skip_mismatch=False, repair=False, progress=progress
    )
    return flat.rebuild(values)


def _view(
    tree: Any,
    leaves: Sequence[names.Leaf],
    parameters: Mapping[str, Any],
    convention: ConventionLike | None,
    strict: bool,
    repair: bool = False,
    skip_mismatch: bool = False,
) -> Mapping[str, Any]:
    """The parameters by the names of the leaves; a strict load guesses nothing."""
    arguments.parameter_dict(parameters)
    arguments.flags(strict_load=strict, skip_mismatch=skip_mismatch)
    repair = repair and not strict
    if convention is None and not strict:
        convention = choosing.chosen(tree, leaves, parameters, repair)
    if convention is None:
        return parameters
    resolver = conventions.of(convention)
    return Translated(
        resolver.targets(tree), leaves, parameters, resolver,
        repair=repair, skip_mismatch=skip_mismatch,
    )  # fmt: skip


def _matched(
    tree: Any,
    leaves: Sequence[names.Leaf],
    parameters: Mapping[str, Any],
    strict: bool,
    skip_mismatch: bool,
    repair: bool = True,
    progress: Progress | bool | None = None,
) -> tuple[list[Any], NotLoaded, NotLoaded]:
    """The new values of ``leaves``, and the report."""
    arguments.flags(strict_load=strict)
    arguments.progress(progress)
    source = {leaf.name: leaf.name for leaf in leaves if leaf.name in parameters}
    missing = [leaf.name for leaf in leaves if leaf.name not in parameters]
    if repair and not strict and not isinstance(parameters, Translated):
        source |= _behind([leaf.name for leaf in leaves], parameters)
    not_loaded = {n: "no such name in the file" for n in missing if n not in source}
    casts: list[str] = []
    wanted: dict[str, placement.Request | Callable[[], Any]] = {}
    for leaf in (leaf for leaf in leaves if leaf.name in source):
        try:
            wanted[leaf.name] = wanted_value(leaf, source[leaf.name], parameters, strict, casts)
        except CheckpointError as error:
            if not skip_mismatch:
                raise
            not_loaded[leaf.name] = str(error)
    if leaves and not wanted:
        raise _nothing(tree, parameters, not_loaded)
    what = f"load {stored.file_of(parameters) or ''}".rstrip()
    values = _read(
        [leaf.value for leaf in leaves], [wanted.get(leaf.name) for leaf in leaves], what, progress
    )
    wanted_names = [leaf.name for leaf in leaves]
    proposed = functools.partial(_proposal, tree, parameters)
    if isinstance(parameters, Translated):
        wanted_names, source = list(parameters.leaves), parameters.source
        not_loaded, parameters = parameters.not_loaded(not_loaded), parameters.parameters
    return values, *report(wanted_names, parameters, source, not_loaded, casts, proposed)


def _proposal(tree: Any, parameters: Mapping[str, Any]) -> Proposal | None:
    """The convention that would read more of a file."""
    if isinstance(parameters, Translated):
        return proposals.of(tree, parameters.parameters, parameters.convention)
    return proposals.of(tree, parameters, None)


def _proposed(tree: Any, parameters: Mapping[str, Any]) -> tuple[str, ...]:
    """The lines of such a convention in an error."""
    proposal = _proposal(tree, parameters)
    return proposal.lines if proposal else ()


def _nothing(tree: Any, parameters: Mapping[str, Any], why: Mapping[str, str]) -> CheckpointError:
    """The error for a file that gives none of the leaves."""
    more = _proposed(tree, parameters)
    if isinstance(parameters, Translated):
        why, parameters = parameters.not_loaded(why), parameters.parameters
    reasons = [f"{name!r}: {why[name]}{nearest(name, list(parameters))}" for name in list(why)[:3]]
    advice = [prefixes.hint(why, parameters), "pass convention= if the names are MindSpore's"]
    return CheckpointError(
        f"nothing was loaded: of {display.counted(len(why), 'name')} none fits; "
        f"{'; '.join(reasons)}. "
        f"What to do: {' or '.join(filter(None, advice))}",
        file=stored.file_of(parameters), more=more,
    )  # fmt: skip


def _behind(names: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, str]:
    """The keys of all names behind their common prefix, where there is one."""
    prefix = prefixes.common(names, parameters)
    return {} if prefix is None else {n: prefix + n for n in names if prefix + n in parameters}


def _read(
    old: Sequence[Any],
    wanted: Sequence[placement.Request | Callable[[], Any] | None],
    what: str,
    progress: Progress | bool | None,
) -> list[Any]:
    """The value that each request or function gives; the old value where there is neither."""
    requests = [w for w in wanted if isinstance(w, placement.Request)]
    placed = iter(placement.place(requests, what, progress))
    return [
        value if w is None else next(placed) if isinstance(w, placement.Request) else w()
        for value, w in zip(old, wanted, strict=True)
    ]
