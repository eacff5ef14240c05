"""The arguments of ``export`` that ONNX files heed and others do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from msckpt_jax.lowering.option import Option, text_mapping
from msckpt_jax.onnx import packages, runtime_worker

ENGINES = ("auto", "native", "jax2onnx")
RUNTIMES = tuple(runtime_worker.RUNNERS)
#: The runtimes that ``verify`` judges a file for.
JUDGED = (*RUNTIMES, packages.LITE)


def _check_opset(opset: Any) -> None:
    if opset is None:
        return
    if not isinstance(opset, int | np.integer) or isinstance(opset, bool):
        raise TypeError(f"opset must be an int, not {type(opset).__name__}")
    if opset < 0:
        raise ValueError(f"opset must not be negative, but is {opset}")


def _check_engine(engine: Any) -> None:
    if not isinstance(engine, str) or engine not in ENGINES:
        raise ValueError(f"engine must be one of {ENGINES}, not {engine!r}")


def check_runtime(name: str) -> None:
    """Refuse a runtime that is not known, or not installed.

    Raises:
        ValueError: it is not known. ImportError: it is not installed; the message says how to.
    """
    if not isinstance(name, str) or name not in JUDGED:
        raise ValueError(f"runtime must be one of {', '.join(JUDGED)}, not {name!r}")
    if name == packages.LITE:
        return
    if line := packages.missing(name):
        raise ImportError(f"runtime={name!r} is asked for, and {line}")


def check_runs(name: str) -> None:
    """Refuse a runtime that runs no file.

    Raises:
        ValueError: it is MindSpore Lite, of which the converter's source is read only.
    """
    if name not in RUNTIMES:
        raise ValueError(
            f"runtime must be one of {', '.join(RUNTIMES)} for export, not {name!r}, which is not "
            f"run here: target={name!r} refuses what its converter cannot read"
        )


_ENGINE = "the library that writes the file; auto takes jax2onnx for operators without a row"
_RUNTIME = "the runtime that runs the file to verify it; lite looks at it only"
_OPSET = "the version of its operators (default: the lowest that the network needs)"
OPTIONS: Mapping[str, Option] = {
    "opset": Option(None, _OPSET, check=_check_opset, kind=int),
    "engine": Option("auto", _ENGINE, ENGINES, _check_engine),
    "runtime": Option(packages.RUNTIME, _RUNTIME, JUDGED, check_runtime, verifies=True),
    "user_info": Option(None, check=text_mapping("user_info")),
}
