"""Read the leaves of a tree from parameters under MindSpore's names and in its layouts."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from msckpt_jax import boxes, dtypes, names
from msckpt_jax.checkpoint import collector, narrowing, stored
from msckpt_jax.checkpoint.records import Tensor
from msckpt_jax.conventions import prefixes, sources
from msckpt_jax.conventions.convention import Resolver
from msckpt_jax.conventions.mapping import Part, Target, View
from msckpt_jax.deferred import jnp
from msckpt_jax.errors import CheckpointError
from msckpt_jax.visible import log

_FLOAT = "float"


def keys_of(
    targets: Sequence[Target], parameters: Mapping[str, Any], repair: bool
) -> dict[str, str]:
    """The key in the file of each parameter that is there, with ``repair`` behind a prefix, too."""
    own = [target.name for target in targets if target.parts and not target.copy_of]
    prefix = prefixes.common(own, parameters) if repair else None
    behind = {} if prefix is None else {t.name: prefix + t.name for t in targets}
    keys = {t.name: t.name for t in targets} | {n: k for n, k in behind.items() if k in parameters}
    out = {name: key for name, key in keys.items() if key in parameters}
    for target in targets:  # optax has several counts of steps, MindSpore has one
        if target.copy_of in out and target.name not in out:
            out[target.name] = out[target.copy_of]
    return out


def _tell(kinds: Mapping[str, int]) -> None:
    """Log how many parameters of each kind are left out."""
    if kinds:
        told = ", ".join(f"{count} of {kind}" for kind, count in kinds.items())
        log.warning("parameters of the file that the model does without: %s", told)


def _kind(dtype: Any) -> Any:
    """The kind of numbers among which values may be cast; floats of 8 bits mean nothing alone."""
    if not dtypes.is_float(dtype):
        return "integer"
    return _FLOAT if np.dtype(dtype).itemsize > 1 else dtype


def _check_merged(targets: Sequence[Target]) -> None:
    """Refuse parameters into which leaves are merged: no file tells them apart again."""
    for target in targets:
        for part in target.parts:
            if isinstance(part, View) and part.plus is not None:
                raise CheckpointError(
                    "LoRA is merged into a weight when it is saved, and cannot be taken out again: "
                    "load a tree without LoRA leaves, and an adapter by load_adapter",
                    name=part.plus.a.leaf,
                )


class Translated(Mapping[str, Any]):
    """The values of a tree's leaves by their names, arrays as Tensors.

    ``convention`` is that of the parameters. Three attributes go by MindSpore's names of
    parameters: ``leaves`` has the leaves that lie in a parameter, ``source`` its name in the file,
    ``absent`` the reason why it cannot be loaded. ``surplus`` names the parameters of the file that
    a model of this kind does not have. With ``exact`` the pieces of a scaled leaf hold float32, as
    in :func:`saving.from_tree`.
    """

    @collector.paused()
    def __init__(
        self,
        targets: Sequence[Target],
        leaves: Sequence[names.Leaf],
        parameters: Mapping[str, Any],
        resolver: Resolver,
        *,
        repair: bool = False,
        skip_mismatch: bool = False,
        exact: bool = False,
    ):
        self.convention = resolver
        self.exact = exact
        self.file = getattr(parameters, "file", None)
        self.parameters = parameters = resolver.opened(parameters)
        self._computed = getattr(parameters, "computed", frozenset())
        self._dtypes = {leaf.name: leaf.value.dtype for leaf in leaves
                        if isinstance(getattr(leaf.value, "dtype", None), np.dtype)}  # fmt: skip
        _check_merged(targets)
        self.leaves = {t.name: [p.leaf for p in t.parts] for t in targets}
        self.source = keys_of(targets, parameters, repair)
        used = set(self.source.values())
        rest = [name for name in parameters if name not in used]
        self.surplus = [name for name in rest if not resolver.leaves_out(name)]
        surplus = set(self.surplus)
        _tell(resolver.kinds_left_out([name for name in rest if name not in surplus]))
        self.absent: dict[str, str] = {}
        for target in targets:
            if target.parts:
                self._check(target, skip_mismatch)
            elif target.derived and isinstance(target.derived.base, float):
                self._check_power(target, target.derived.base)
        lost = {leaf for name in self.absent for leaf in self.leaves[name]}
        self._places: dict[str, list[tuple[Target, Part | View]]] = {}
        for target in targets:
            for part in target.parts:
                if part.leaf not in lost:
                    self._places.setdefault(part.leaf, []).append((target, part))

    def _check(self, target: Target, skip_mismatch: bool) -> None:
        """Note why a parameter cannot be loaded, or refuse it."""
        key = self.source.get(target.name)
        if key is None:
            self.absent[target.name] = "no such name in the file"
            return
        shape, _ = stored.shape_and_dtype(key, self.parameters)
        try:
            if shape != target.shape and not stored.trailing_ones(shape, target.shape):
                raise CheckpointError(
                    "the shape differs", name=target.name, file=stored.file_of(self.parameters),
                    expected=list(target.shape), found=list(shape),
                )  # fmt: skip
            self._check_zeros(target, key)
        except CheckpointError as error:
            if not skip_mismatch:
                raise
            self.absent[target.name] = str(error)

    def _check_power(self, target: Target, base: float) -> None:
        """Refuse to go on with another hyperparameter: nothing else would reveal it."""
        key, step = self.source.get(target.name), self.source.get("global_step")
        if key is None or step is None:
            return
        power = float(np.asarray(self.parameters[key]).reshape(()))
        expected = base ** int(np.asarray(self.parameters[step]).reshape(()))
        if not math.isclose(power, expected, rel_tol=1e-3, abs_tol=1e-30):
            raise CheckpointError(
                f"the parameter is no power of {base}: "
                "pass Convention(hyperparameters={'b1': ...}), or b2",
                name=target.name, file=stored.file_of(self.parameters),
                expected=expected, found=power,
            )  # fmt: skip

    def _check_zeros(self, target: Target, key: str) -> None:
        start, stop = target.zero_rows
        if start < stop and np.asarray(self.parameters[key])[start:stop].any():
            raise CheckpointError(
                f"Flax's layer has no counterpart of rows {start} to {stop}, which must be zero",
                name=target.name, file=stored.file_of(self.parameters),
            )  # fmt: skip

    def not_loaded(self, why: Mapping[str, str]) -> dict[str, str]:
        """The reasons why parameters were not loaded, from those of their leaves."""
        out = dict(self.absent)
        for name, leaves in self.leaves.items():
            lost = [leaf for leaf in leaves if leaf in why]
            if lost and name not in out:
                own = lost[0] in self._places
                out[name] = why[lost[0]] if own else "another parameter of its layer was not loaded"
        return out

    def places(self, leaf: str) -> list[tuple[Target, Part | View]]:
        """The parameters that hold parts of a leaf, those first whose part is written."""
        return sorted(self._places[leaf], key=lambda place: not place[1].written)

    def dtype(self, leaf: str) -> np.dtype:
        """The dtype that holds the values of a leaf's parameters."""
        return self._joint_dtype([target for target, _ in self._places[leaf]])

    @collector.paused()
    def __getitem__(self, leaf: str) -> Any:
        places = self.places(leaf)
        target, part = places[0]
        key = self.source[target.name]
        shape, dtype = stored.shape_and_dtype(key, self.parameters)
        if not isinstance(dtype, np.dtype):
            return self.parameters[key]
        if key != target.name and target.copy_of:
            count = np.asarray(self.parameters[key]).reshape(part.shape)
            dtype = self._dtypes.get(leaf, np.dtype(np.int64))  # int64: a Python int
            narrowing.check(count, dtype, name=leaf, file=stored.file_of(self.parameters))
            return count.astype(dtype)
        if len(places) == 1 and part.is_identity and target.shape == part.shape:
            if not stored.in_file(key, self.parameters):
                return self.parameters[key]
            return Tensor(shape, dtype, stored.pieces(key, self.parameters)[1])
        dtype = self.dtype(leaf)
        views = [(self._pieces(t), p.transform.inverse) for t, p in places if isinstance(p, View)]
        if views and self.exact:
            pieces = sources.exact(views, part.shape, dtype, leaf)
            return Tensor(part.shape, dtype, tuple(pieces))
        if views:
            computed = any(how.steps for _, how in views) or any(
                self.source[target.name] in self._computed for target, _ in places
            )
            wanted = self._dtypes.get(leaf, dtype)
            if computed and _kind(dtype) == _kind(wanted) == _FLOAT:
                dtype = jnp.promote_types(dtype, wanted)  # a wider leaf: what is not yet rounded
            source = sources.Assembled(views, part.shape, dtype, leaf)
            return Tensor(part.shape, dtype, ((boxes.whole(part.shape), source),))
        read = [sources.Place(self._pieces(t), p.pattern, p.start)
                for t, p in places if isinstance(p, Part)]  # fmt: skip
        source = sources.Restored(read, part.shape, dtype)
        return Tensor(part.shape, dtype, ((boxes.whole(part.shape), source),))

    def _pieces(self, target: Target) -> Sequence[boxes.Piece]:
        key = self.source[target.name]
        return sources.Later(lambda: stored.pieces(key, self.parameters, target.shape)[1])

    def _joint_dtype(self, targets: Sequence[Target]) -> np.dtype:
        """The dtype that holds the values of all these parameters: those of layers may differ."""
        keys = [self.source[target.name] for target in targets]
        kinds = {stored.shape_and_dtype(key, self.parameters)[1]: key for key in keys}
        if len({_kind(dtype) for dtype in kinds}) > 1:
            raise CheckpointError(
                "the layers of a stack are partly of floats, partly of integers or of 8-bit floats",
                name=", ".join(kinds.values()), file=stored.file_of(self.parameters),
                found=", ".join(map(str, kinds)),
            )  # fmt: skip
        first, *others = kinds
        return functools.reduce(jnp.promote_types, others, first) if others else first

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, leaf: object) -> bool:
        return leaf in self._places
