"""The arguments of ``export`` that AIR files heed and others do not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msckpt_jax.lowering.option import Option


def _check_soc(soc: Any) -> None:
    if soc is None:
        return
    if not isinstance(soc, str):
        raise TypeError(f"soc is the name of a chip, not {type(soc).__name__}")
    if not re.fullmatch(r"[\w-]+", soc, re.ASCII):
        raise ValueError(f"soc is the name of a chip for atc --soc_version, not {soc!r}")


_SOC = "the chip to export for, as of atc --soc_version: Ascend910B1"
OPTIONS: Mapping[str, Option] = {
    "soc": Option(None, _SOC, check=_check_soc, verifies=True),
    "narrow": Option(False, "no 64-bit dtypes"),
}
