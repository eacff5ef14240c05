"""The arguments of ``export`` that MindIR files heed and others do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msckpt_jax.lowering.option import Option, text_mapping


def _check_function(function: Callable[[Any], Any] | None) -> None:
    if function is not None and not callable(function):
        raise TypeError(f"custom_func must be callable, not {type(function).__name__}")


OPTIONS: Mapping[str, Option] = {
    "custom_func": Option(None, check=_check_function),
    "user_info": Option(None, check=text_mapping("user_info")),
}
