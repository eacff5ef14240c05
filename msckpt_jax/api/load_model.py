"""``load``: a model file to a function of JAX.

Not called ``load``: the module would hide the function once it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from msckpt_jax.air.function import AirFunction
    from msckpt_jax.mindir.function import MindIRFunction
    from msckpt_jax.mindir.source import DecMode


def load(
    file_name: str | os.PathLike[str],
    *,
    dec_key: bytes | None = None,
    dec_mode: DecMode = "AES-GCM",
    rules: Mapping[str, Callable[..., Any]] | None = None,
) -> MindIRFunction | AirFunction:
    """Load a MindIR or AIR file, ours or MindSpore's, as a function of JAX.

    Args:
        file_name: path of the ``.mindir`` file (of a split model, the ``_graph.mindir``), or of
            the ``.air`` file.
        dec_key: key of an encrypted MindIR.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"``, ``"SM4-CBC"``, or a function of the path and the
            key that gives the plain bytes.
        rules: meanings of operators that have none here, or other ones, by the operator's name.
            MindIR: a function of the inputs, in the order of MindSpore's definition; attributes
            come by keyword. AIR: a function of the attributes and the inputs.

    Returns:
        The function. It is called with the model's inputs; ``.apply(parameters, *inputs)`` takes
        other weights than its own ``.parameters``. It prints as its graph.

    Raises:
        MindIRError, AirError: the file is damaged, encrypted otherwise, or has operators without
            a meaning (all are named).
        ValueError: it is an ONNX file, or an AIR file with a key: GE has no ciphers.
        FileNotFoundError: there is no such file.
    """
    suffix = Path(file_name).suffix
    if suffix == ".onnx":
        raise ValueError(f"{file_name}: ONNX files are run by onnxruntime, not read by JAX")
    if suffix == ".air":
        if dec_key is not None:
            raise ValueError(f"{file_name}: AIR has no cipher; decrypt the file, then load it")
        from msckpt_jax.air import function as air

        return air.load(file_name, rules=rules)
    from msckpt_jax.mindir import function as mindir

    return mindir.load(file_name, dec_key=dec_key, dec_mode=dec_mode, rules=rules)
