"""Names that a file has behind a prefix, as MindSpore repairs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def repair(missing: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, str]:
    """The missing names that are there with a prefix: MindSpore's ``_load_dismatch_prefix_params``.

    The first missing name that ends a key gives a prefix; all names that are there with it are
    taken; the rest give the next prefix.
    """
    out: dict[str, str] = {}
    left = list(missing)
    # Keys by their last component: the search stays linear for large networks.
    by_last: dict[str, list[str]] = {}
    for key in parameters:
        by_last.setdefault(key.rpartition(".")[2], []).append(key)
    for name in missing:
        if name in out:
            continue
        for key in by_last.get(name.rpartition(".")[2], ()):
            if key != name and key.endswith(name):
                prefix = key[: -len(name)]
                out |= {n: prefix + n for n in left if prefix + n in parameters}
                left = [n for n in left if n not in out]
                break
    return out
