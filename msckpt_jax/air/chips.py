"""Ascend's chips: by which table of kernels, and by which name ``atc`` knows them.

A chip's name in ``--soc_version`` is ``Ascend`` and what ``npu-smi info`` shows; the kernels of a
kind of chips lie in one folder of CANN, whose name is the chip's short name. Which is which is from
the platform files of CANN (``Short_SoC_version``), as Huawei's own sources have it:
gitcode.com/Ascend/RecSDK, ``cust_op/ascendc_op/config/transform.json``, and the versions that
torch_npu (``NpuVariables.cpp``) and CANN's ``--soc_version`` pages name.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import NamedTuple


class Chip(NamedTuple):
    """A chip.

    Attributes:
        version: its name for ``atc --soc_version``.
        kind: the short name of its kind, in lower case.
        near: a known chip with a name like this one, if it is unknown itself.
    """

    version: str
    kind: str
    near: str | None = None

    @property
    def kernels(self) -> str | None:
        """The engine of ``kernels.tsv`` that is this chip's; None where there is no such table."""
        return self.kind if self.kind in TABLES else None


#: The kinds of chips whose kernels are in ``kernels.tsv``.
TABLES = ("ascend910b", "ascend310p", "ascend910")
#: The kinds of chips by the names that MindSpore's users know: the chip that stands for each, and
#: all chips of the kind. (To ``atc`` Ascend910B by itself is one of the first 910, without a 1 to
#: 4 behind it; to everybody else it is the kind.)
_KINDS: Mapping[str, tuple[str, str]] = {
    "Ascend910B": (
        "Ascend910B1",
        "Ascend910B1 Ascend910B2 Ascend910B2C Ascend910B3 Ascend910B4 Ascend910B4-1",
    ),
    "Ascend310P": (
        "Ascend310P3",
        "Ascend310P1 Ascend310P2 Ascend310P3 Ascend310P4 Ascend310P5 Ascend310P7 "
        "Ascend310P3Vir01 Ascend310P3Vir02 Ascend310P3Vir04 Ascend310P3Vir08",
    ),
    "Ascend910": (
        "Ascend910A",
        "Ascend910A Ascend910ProA Ascend910ProB Ascend910PremiumA",
    ),
    "Ascend910_93": (
        "Ascend910_9391",
        "Ascend910_9362 Ascend910_9372 Ascend910_9381 Ascend910_9382 Ascend910_9391 Ascend910_9392",
    ),
    "Ascend310": ("Ascend310", "Ascend310"),
    "Ascend310B": ("Ascend310B1", "Ascend310B1 Ascend310B2 Ascend310B3 Ascend310B4"),
    "Ascend950": ("Ascend950", "Ascend950DT Ascend950PR"),
}
#: Chips by their names in lower case.
CHIPS: Mapping[str, Chip] = {
    name.lower(): Chip(version, kind.lower())
    for kind, (first, members) in _KINDS.items()
    for name, version in [(kind, first), *((member, member) for member in members.split())]
}


def named(name: str) -> Chip:
    """The chip of a name, in whatever case; an unknown one goes by the name that was given."""
    known = CHIPS.get(name.lower())
    if known is not None:
        return known
    close = difflib.get_close_matches(name.lower(), CHIPS, 1, 0.9)
    return Chip(name, name.lower(), CHIPS[close[0]].version if close else None)
