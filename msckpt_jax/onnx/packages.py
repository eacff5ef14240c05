"""Packages that this room can do without: one runs ONNX files, one has further operators."""

from __future__ import annotations

import importlib.util

RUNTIME, FALLBACK = "onnxruntime", "jax2onnx"
#: The runtime that files are made for and looked at, but not run: no package index has it.
LITE = "lite"


def missing(package: str) -> str:
    """The line that says how to install a package; empty where it is installed."""
    if importlib.util.find_spec(package) is not None:
        return ""
    return f"{package} is not installed: pip install {package}"
