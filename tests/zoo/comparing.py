"""The JAX process: it loads an exported network and compares its numbers with MindSpore's.

``python -m tests.zoo.comparing`` with a request as JSON on stdin: pairs of a folder and its checks.
Each finished check is a line of JSON: the folder, a column of the table, its cell, and seconds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import msckpt_jax as ms
from msckpt_jax.onnx import runner


class Sample:
    """A network with its inputs, and what MindSpore made of them."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.net = ms.load(folder / "net.mindir")
        with np.load(folder / "net.npz") as saved:
            self.saved = dict(saved)
        self.inputs = [a for name, a in self.saved.items() if name.startswith("input")]
        self.outputs = [a for name, a in self.saved.items() if name.startswith("output")]
        self.jitted = jax.jit(self.net.apply)


def error(found: Any, wanted: Sequence[np.ndarray]) -> float:
    """The largest difference, in units of the largest number of its result.

    Raises:
        ValueError: shapes or dtypes differ, or the results are no test: not finite, or constant.
    """
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(found)]
    kinds = [(a.shape, a.dtype.kind) for a in leaves]
    if kinds != [(a.shape, a.dtype.kind) for a in wanted]:
        raise ValueError(f"{kinds} for {[(a.shape, a.dtype.kind) for a in wanted]}")
    if not any(a.size > 1 and np.ptp(a.astype(np.float64)) > 0 for a in wanted):
        raise ValueError("no test: all results are constant")
    return max(map(_error, leaves, wanted), default=0.0)


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    if not np.isfinite(wanted).all():
        raise ValueError("no test: MindSpore's results are not finite")
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    scale = np.abs(wanted).max(initial=0) or 1.0
    difference = np.abs(found - wanted).max(initial=0) / scale
    return float(difference) if np.isfinite(difference) else float("inf")


def call(s: Sample) -> float:
    return error(s.net(*s.inputs), s.outputs)


def jit(s: Sample) -> float:
    return error(s.jitted(s.net.parameters, *s.inputs), s.outputs)


def vmap(s: Sample) -> float:
    """Two samples at once, the second of which is the first turned around."""
    turned = [a[..., ::-1] if a.ndim else a for a in s.inputs]
    mapped = jax.jit(jax.vmap(s.net.apply, (None, *[0] * len(turned))))
    both = mapped(s.net.parameters, *map(np.stack, zip(s.inputs, turned, strict=True)))
    first, second = ([leaf[k] for leaf in jax.tree.leaves(both)] for k in (0, 1))
    alone = jax.tree.leaves(s.jitted(s.net.parameters, *turned))
    return max(error(first, s.outputs), error(second, [*map(np.asarray, alone)]))


def onnx(s: Sample) -> float:
    options: Any = {"file_format": "ONNX", "engine": "native", "durable": False}
    done = ms.export(s.net, *s.inputs, file_name=s.folder / "net", **options)
    return error(runner.session(done.file)(*s.inputs), s.outputs)


def air(s: Sample) -> float:
    done = ms.export(s.net, *s.inputs, file_name=s.folder / "net", file_format="AIR", durable=False)
    return error(jax.jit(ms.load(done.file))(*s.inputs), s.outputs)


def gradient(s: Sample) -> float:
    prefix = "gradient:"
    names = [name.removeprefix(prefix) for name in s.saved if name.startswith(prefix)]
    if not names:
        raise KeyError("MindSpore's gradients are not there")

    def loss(weights: Mapping[str, Any], first: Any) -> Any:
        results = s.net.apply({**s.net.parameters, **weights}, first, *s.inputs[1:])
        floats = [r for r in jax.tree.leaves(results) if r.dtype == np.float32]
        return sum((r * jnp.cos(jnp.arange(r.size, dtype=r.dtype)).reshape(r.shape)).sum()
                   for r in floats)  # fmt: skip

    weights = {name: s.net.parameters[name] for name in names}
    slopes = jax.jit(jax.grad(loss, (0, 1), allow_int=True))
    by_weight, by_input = slopes(weights, s.inputs[0])
    found = {prefix + name: slope for name, slope in by_weight.items()}
    found |= {"gradient input": by_input} if "gradient input" in s.saved else {}
    return error([*found.values()], [s.saved[name] for name in found])


def wide(s: Sample) -> tuple[float, float]:
    """The errors of MindSpore's results and of ours, both against float64."""
    ours = jax.tree.leaves(s.jitted(s.net.parameters, *s.inputs))

    def widened(array: Any) -> Any:
        return array.astype(np.float64) if array.dtype == np.float32 else array

    with jax.enable_x64(True):
        parameters = {name: widened(a) for name, a in s.net.parameters.items()}
        right = s.jitted(parameters, *map(widened, s.inputs))
    wanted = [np.asarray(leaf) for leaf in jax.tree.leaves(right)]
    return error(s.outputs, wanted), error(ours, wanted)


CHECKS: Mapping[str, Callable[[Sample], Any]] = {
    "call": call, "jit": jit, "vmap": vmap, "onnx": onnx, "air": air, "gradient": gradient,
    "float64": wide,
}  # fmt: skip


def attempt(work: Callable[[], Any]) -> tuple[Any, float]:
    """The result, or the error in a line, and the seconds that it took."""
    begin = time.perf_counter()
    try:
        result = work()
    except Exception as error:
        result = f"{type(error).__name__}: {error}".replace("\n", " ")
    return result, round(time.perf_counter() - begin, 2)


def main() -> None:
    for folder, checks in json.loads(sys.stdin.read()):
        sample, seconds = attempt(lambda folder=folder: Sample(Path(folder)))
        loaded = sample if isinstance(sample, str) else "yes"
        print(json.dumps([folder, "load", loaded, seconds]), flush=True)
        for check in checks if loaded == "yes" else ():
            result, seconds = attempt(lambda check=check, s=sample: CHECKS[check](s))
            print(json.dumps([folder, check, result, seconds]), flush=True)
        del sample
        jax.clear_caches()


if __name__ == "__main__":
    main()
