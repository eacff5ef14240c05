"""The report of a load: the names that were not loaded, and why."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence

from msckpt_jax import display
from msckpt_jax.conventions.proposals import Proposal
from msckpt_jax.conventions.state_names import ACCUMULATORS
from msckpt_jax.visible import lines, log

#: The most names that an explanation tells one by one.
_MOST = 20


class NotLoaded(list[str]):
    """Names that were not loaded: a plain list, as in MindSpore, that can also say why."""

    def __init__(
        self, why: Mapping[str, str], candidates: Sequence[str], proposal: Proposal | None = None
    ):
        super().__init__(why)
        self._why, self._candidates, self._proposal = dict(why), list(candidates), proposal

    @property
    def reasons(self) -> dict[str, str]:
        """The reason for each name, with the names of the other side that are like it."""
        return {name: self._reason(name) for name in self}

    def __repr__(self) -> str:
        return display.some(self)

    def explain(self) -> str:
        r"""The reasons as text, a line a name; of more than 20 names the rest is counted.

        Names that differ from those of the other side by a rule, so that all shapes agree, are one
        line together, with the convention that would read them.

        Example:
            >>> net = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
            >>> tree = {"net": net, "step": 1}
            >>> file = {"net.0.kernel": np.ones((2, 3)), "net.0.bias": np.ones(3), "step": 2}
            >>> print(ms.load_param_into_tree(tree, file)[1].explain())
            2 parameters of the file would fit under other names:
              2: 'net.0' where the network has 'net' (net.bias is net.0.bias)
            convention=ms.Convention(layers={'.*': 'other'}, rename={r'\bnet\b': 'net.0'})
        """
        proposal = self._proposal
        told = proposal.lines if proposal and proposal.names & {*self} else ()
        covered = (proposal.names | proposal.keys) if proposal else frozenset()
        rest = [name for name in self if name not in covered]
        if proposal and not told and len(rest) < len(self):
            told = (f"{len(self) - len(rest)} would fit by the convention that "
                    "the explanation of the parameters not loaded tells",)  # fmt: skip
        more = [f"and {len(rest) - _MOST} more"] if len(rest) > _MOST else []
        return lines([*told, *(f"{name}: {self._reason(name)}" for name in rest[:_MOST]), *more])

    def _reason(self, name: str) -> str:
        return f"{self._why[name]}{nearest(name, self._candidates)}"


def report(
    wanted: Sequence[str],
    parameters: Mapping[str, object],
    source: Mapping[str, str],
    not_loaded: Mapping[str, str],
    casts: Sequence[str],
    proposed: Callable[[], Proposal | None],
) -> tuple[NotLoaded, NotLoaded]:
    """The names of the network and of the file that were not loaded; casts are logged.

    ``proposed`` gives the convention that would load more, which is asked for if it can.
    """
    if casts:
        log.warning("%d parameters were cast: %s", len(casts), ", ".join(casts[:5]))
    if prefix := _prefix(source):
        log.warning("the file has all names behind the prefix %r, which was taken off", prefix)
    used = {source[name] for name in source if name not in not_loaded}
    missed = {n: why for n, why in not_loaded.items() if not n.startswith(ACCUMULATORS)}
    kept = _with_siblings(missed, [name for name in wanted if name not in not_loaded])
    unused = {n: "no such name in the network" for n in parameters if n not in used}
    mismatched = {source[n]: why for n, why in not_loaded.items() if n in source}
    proposal = proposed() if kept and unused else None
    param_not_load = NotLoaded(kept, list(parameters), proposal)
    ckpt_not_load = NotLoaded(unused | mismatched, wanted, proposal)
    if param_not_load:
        number = display.counted(len(kept), "parameter")
        log.warning("%s not loaded: %s", number, ", ".join(list(kept)[:5]))
    if proposal:
        log.warning("%s", " ".join(map(str.strip, proposal.lines)))
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
