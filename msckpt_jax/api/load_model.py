"""``load``: a model file to a function of JAX."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from typing import Any

from msckpt_jax.api import targets
from msckpt_jax.checkpoint import paths
from msckpt_jax.graph.function import ModelFunction


def load(
    file_name: str | os.PathLike[str],
    *,
    dec_key: bytes | None = None,
    dec_mode: str | Callable[[str, bytes], bytes] = "AES-GCM",
    rules: Mapping[str, Callable[..., Any]] | None = None,
    sizes: Mapping[str, int] | None = None,
    mmap: bool = True,
) -> ModelFunction:
    """Load a MindIR or AIR file, ours or MindSpore's, as a function of JAX.

    Args:
        file_name: path of the ``.mindir`` file (of a split model, the ``_graph.mindir``), or of
            the ``.air`` file.
        dec_key: key of an encrypted MindIR.
        dec_mode: ``"AES-GCM"``, ``"AES-CBC"``, ``"SM4-CBC"``, or a function of the path and the
            key that gives the plain bytes.
        rules: meanings by the operator's name, of operators that have none here or instead of
            ours: functions of the inputs, in the order of MindSpore's definition or GE's prototype,
            with the attributes by keyword: those that the function names, or with
            ``**attributes`` all.
        sizes: how many rows the results of ``NonZero``, ``MaskedSelect``, ``Unique`` and the like
            have, by the operator's name: within ``jit`` it has to be told. What is missing is
            filled up as by ``jnp.nonzero(..., size=)``, with places 0 and numbers 0, and what is
            too much is cut off. Outside of ``jit`` nothing has to be told.
        mmap: False reads the weights of a MindIR into memory. A file that is cut off by someone
            while it is mapped ends the process (SIGBUS). An AIR file is never mapped.

    Returns:
        The function. It is called with the model's inputs; ``.apply(parameters, *inputs)`` takes
        other weights than its own ``.parameters``. It prints as its graph.

    Raises:
        MindIRError, AirError: the file is damaged, encrypted otherwise, of another kind, which is
            told (a ``.ms`` of MindSpore Lite), or has operators without a meaning: all are named,
            each with the first place in the network.
        ValueError: ``sizes`` names an operator that takes none; the file is ONNX, or AIR and a key
            or ``sizes`` are given: GE has no ciphers, and its operators constant sizes.
        FileNotFoundError: there is no such file. IsADirectoryError: it is a folder.

    Example:
        >>> weights = {"w": jnp.ones((2, 3))}
        >>> net = (lambda p, x: x @ p["w"]), weights
        >>> file = ms.export(net, jnp.ones((1, 2)), file_name="net").file
        >>> f = ms.load(file)
        >>> f(jnp.ones((4, 2))).shape
        (4, 3)
        >>> jax.grad(lambda p: f.apply(p, jnp.ones((1, 2))).sum())(f.parameters)["w"]
        Array([[1., 1., 1.],
               [1., 1., 1.]], dtype=float32)
    """
    _check_folder(file_name)
    target = targets.of_file(file_name) or targets.named(targets.DEFAULT)
    if not (sizes is None or isinstance(sizes, Mapping)):
        raise TypeError(f"sizes must be a dict of operators to numbers, not {sizes!r}")
    if sizes:
        from msckpt_jax.graph.meaning import sized

        if target is not targets.named(targets.DEFAULT):
            raise ValueError(
                f"sizes are for the operators of a MindIR, and {str(file_name)!r} is none"
            )
        rules = sized.with_sizes(sizes) | dict(rules or {})
    return target.open(file_name, dec_key=dec_key, dec_mode=dec_mode, rules=rules, mmap=mmap)


def _check_folder(file_name: Any) -> None:
    """Refuse a folder, which is no model."""
    path = paths.path_of(file_name, "file_name")
    if paths.is_local(path) and path.is_dir():
        raise IsADirectoryError(
            errno.EISDIR,
            "this is a folder, not a model file (a folder of weights: load_checkpoint, or msckpt "
            "inspect)",
            str(path),
        )
