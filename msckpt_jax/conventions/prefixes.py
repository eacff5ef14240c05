"""The one prefix behind which a file has all names of a network.

MindSpore takes any key that ends with a missing name, so that a dropped ``proj.weight`` is filled
from ``outproj.weight``, and a dropped head from its moments. Here a prefix is a guess about the
whole file: it ends at a dot, gives every name, is the only one that does, and does not lead from a
network into the state of an optimizer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msckpt_jax.conventions.state_names import ACCUMULATORS, is_state


def common(names: Iterable[str], parameters: Mapping[str, Any]) -> str | None:
    """The prefix with which all ``names`` are there, where none is there as it is."""
    wanted = [name for name in names if not name.startswith(ACCUMULATORS)]
    if not wanted or any(name in parameters for name in wanted):
        return None
    able = [prefix for prefix in _candidates(wanted[0], parameters)
            if all(prefix + name in parameters for name in wanted)]  # fmt: skip
    return able[0] if len(able) == 1 else None


def hint(names: Iterable[str], parameters: Mapping[str, Any]) -> str:
    """The advice to rename keys by the prefixes that give the most of the names, or nothing."""
    wanted = list(names)
    counts: dict[str, int] = {}
    for name in wanted[:8]:
        for prefix in _candidates(name, parameters):
            counts.setdefault(prefix, sum(prefix + each in parameters for each in wanted))
    best = sorted(counts, key=lambda prefix: -counts[prefix])[:3]
    told = [f"behind {prefix!r} are {counts[prefix]}" for prefix in best]
    return f"rename the keys ({', '.join(told)} of {len(wanted)} names)" if told else ""


def _candidates(name: str, parameters: Iterable[str]) -> list[str]:
    """The prefixes of a name in the file, but for those of an optimizer's state."""
    prefixes = [key[: -len(name)] for key in parameters if key.endswith(f".{name}")]
    return [prefix for prefix in prefixes if not is_state(prefix)]
