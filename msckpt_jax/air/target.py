"""AIR as one of the formats of ``export``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from msckpt_jax.air import adapt, check, function, writer
from msckpt_jax.air.check import MAXIMUM_BYTES
from msckpt_jax.air.narrowing import NARROW
from msckpt_jax.errors import ExportError
from msckpt_jax.graph.graph import Graph
from msckpt_jax.lowering import trials
from msckpt_jax.lowering.wanted import encryption

if TYPE_CHECKING:
    from msckpt_jax.lowering.trace import Traced
    from msckpt_jax.lowering.wanted import Wanted

#: The names that ``atc --soc_version`` knows, of the smallest chip of each kind.
SOC_VERSIONS = {"Ascend910B": "Ascend910B1", "Ascend310P": "Ascend310P3", "Ascend910": "Ascend910A"}


def write(graph: Graph, path: Path, wanted: Wanted) -> tuple[Path, list[str]]:
    """Write the file; it, what the chip lacks, and the command that compiles it."""
    encrypt = encryption(wanted, "AIR", "preprocessor", "custom_func", "user_info")
    adapted = adapt.adapt(graph, narrow=wanted.narrow)
    found = check.check(adapted.model, soc=wanted.soc)
    faults = tuple(str(finding) for finding in found if finding.fault)
    if faults:
        chip = f" for {wanted.soc}" if wanted.soc else ""
        raise ExportError(f"GE would refuse the file{chip}, nothing was written:", problems=faults)
    wish = MAXIMUM_BYTES if wanted.split_bytes is None else wanted.split_bytes
    split = min(wish, MAXIMUM_BYTES)
    options = writer.Options(split, encrypt, wanted.key, wanted.durable)
    writer.write(adapted, path, options)
    return path, [*map(str, found), atc_command(str(path), wanted.soc)]


def atc_command(path: str, soc: str | None = None) -> str:
    """The command that compiles the file; without the precision mode float32 becomes float16."""
    output = path.removesuffix(".air")
    version = SOC_VERSIONS.get(soc or "", "<SOC_VERSION>")
    return (
        f"atc --framework=1 --model={shlex.quote(path)} --output={shlex.quote(output)} "
        f"--soc_version={version} --precision_mode=must_keep_origin_dtype"
    )


def difference(file: Path, traced: Traced, wanted: Wanted) -> float:
    """The largest difference to JAX when the file runs by the meanings of GE's operators."""
    run = function.load(file, strict=True)
    tried = trials.trials(traced)
    if wanted.narrow:
        tried = [([*map(_narrow, given)], [*map(_narrow, found)]) for given, found in tried]

    def results(*inputs: Any) -> Any:
        with jax.enable_x64(True):  # the file has 64 bits where it says so
            found = run(*inputs)
        return found if isinstance(found, tuple) else (found,)

    return trials.largest(file, tried, results, "GE's operators")


def _narrow(array: np.ndarray) -> np.ndarray:
    return array.astype(NARROW.get(array.dtype, array.dtype), copy=False)
