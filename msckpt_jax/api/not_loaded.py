"""The report of a load: the names that were not loaded, and why."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence

from msckpt_jax import display
from msckpt_jax.conventions.state_names import ACCUMULATORS
from msckpt_jax.visible import lines, log


class NotLoaded(list[str]):
    """Names that were not loaded: a plain list, as in MindSpore, that can also say why."""

    def __init__(self, why: Mapping[str, str], candidates: Sequence[str]):
        super().__init__(why)
        self._why, self._candidates = dict(why), list(candidates)

    @property
    def reasons(self) -> dict[str, str]:
        """The reason for each name, with the names of the other side that are like it."""
        return {name: f"{self._why[name]}{nearest(name, self._candidates)}" for name in self}

    def __repr__(self) -> str:
        return display.some(self)

    def explain(self) -> str:
        """The reasons as text, a line a name."""
        return lines(f"{name}: {reason}" for name, reason in self.reasons.items())


def report(
    wanted: Sequence[str],
    parameters: Mapping[str, object],
    source: Mapping[str, str],
    not_loaded: Mapping[str, str],
    casts: Sequence[str],
) -> tuple[NotLoaded, NotLoaded]:
    """The names of the network and of the file that were not loaded; casts are logged."""
    if casts:
        log.warning("%d parameters were cast: %s", len(casts), ", ".join(casts[:5]))
    if prefix := _prefix(source):
        log.warning("the file has all names behind the prefix %r, which was taken off", prefix)
    used = {source[name] for name in source if name not in not_loaded}
    missed = {n: why for n, why in not_loaded.items() if not n.startswith(ACCUMULATORS)}
    kept = _with_siblings(missed, [name for name in wanted if name not in not_loaded])
    param_not_load = NotLoaded(kept, list(parameters))
    unused = {n: "no such name in the network" for n in parameters if n not in used}
    mismatched = {source[n]: why for n, why in not_loaded.items() if n in source}
    ckpt_not_load = NotLoaded(unused | mismatched, wanted)
    if param_not_load:
        number = display.counted(len(kept), "parameter")
        log.warning("%s not loaded: %s", number, ", ".join(list(kept)[:5]))
    return param_not_load, ckpt_not_load


def _prefix(source: Mapping[str, str]) -> str:
    """The prefix that the keys of the file have, or nothing."""
    prefixes = (key[: -len(n)] for n, key in source.items() if key != n and key.endswith(f".{n}"))
    return next(prefixes, "")


def _with_siblings(missed: Mapping[str, str], loaded: Sequence[str]) -> dict[str, str]:
    """The reasons, and the loaded rest of the layer, which then is half old and half new."""
    layers: dict[str, list[str]] = {}
    for name in loaded:
        layers.setdefault(_layer(name), []).append(name)
    parts = {name: layers[_layer(name)][:3] for name in missed if _layer(name) in layers}
    if parts:
        names = ", ".join(dict.fromkeys(_layer(name) or "the top" for name in list(parts)[:5]))
        log.warning("layers were loaded in part: %s", names)
    told = {n: f", its layer was loaded in part: {', '.join(parts[n])}" for n in parts}
    return {name: why + told.get(name, "") for name, why in missed.items()}


def _layer(name: str) -> str:
    return name.rpartition(".")[0]


def nearest(name: str, candidates: Sequence[str]) -> str:
    """Return `` (nearest: ...)``, or nothing."""
    close = difflib.get_close_matches(name, candidates, 3)
    if not close:
        last = name.rpartition(".")[2]
        close = [near for near in candidates if near.rpartition(".")[2] == last][:3]
    return f" (nearest: {', '.join(close)})" if close else ""
