"""The runtimes beside onnxruntime in which a file can be tried, each in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import ValueInfoProto

from msckpt_jax import processes
from msckpt_jax.dtypes import TABLE
from msckpt_jax.errors import UnsupportedError
from msckpt_jax.lowering import trials
from msckpt_jax.onnx import runner, runtime_worker, workers
from msckpt_jax.onnx.builder import dims_of

#: The size that is tried where any is possible.
_SIZE = 3
_BY_NUMBER = {row.onnx: row.array for row in TABLE if row.onnx is not None}


def results(
    file: Path, name: str, inputs: Sequence[np.ndarray], python: str | None = None
) -> list[np.ndarray]:
    """The results of a file in a runtime.

    Args:
        file: the file.
        name: the runtime.
        inputs: the file's inputs.
        python: the interpreter to run it in; by default this one.

    Raises:
        UnsupportedError: the runtime refuses the file or the inputs, or ends without a result.
    """
    with tempfile.TemporaryDirectory(prefix="msckpt-") as folder:
        np.savez(Path(folder) / "inputs.npz", *inputs)
        command = processes.script(Path(runtime_worker.__file__), name, file.absolute(), folder)
        if python is not None:
            command = [python, runtime_worker.__file__, *command[-3:]]
        environment = processes.environment()
        made = workers.answer(name, command, environment, Path(folder), "results.npz")
        with np.load(made) as stored:
            return [stored[key] for key in stored.files]


def problems(file: Path, name: str) -> tuple[list[str], str]:
    """The problems of a file in a runtime, and a line that says how it fared.

    The file runs on random numbers (integers: 0 and 1), with 3 for each size that may be any, in
    onnxruntime, too.
    """
    graph = onnx.load(file, load_external_data=False).graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = list(_random(value for value in graph.input if value.name not in held))
    try:
        have = results(file, name, inputs)
    except UnsupportedError as error:
        return [str(error)], ""
    want = runner.session(file)(*inputs)
    types = [[(x.dtype, x.shape) for x in each] for each in (want, have)]
    if types[0] != types[1]:
        return [f"{name} gives {_shown(types[1])}, onnxruntime {_shown(types[0])}"], ""
    pairs = [trials.distance(a, b) for a, b in zip(want, have, strict=True)]
    largest = max((difference for difference, _ in pairs), default=0.0)
    line = f"the largest difference of {name} and onnxruntime is {largest:.3g}"
    return ([] if all(equal for _, equal in pairs) else [line]), line


def _random(values: Iterator[ValueInfoProto]) -> Iterator[np.ndarray]:
    draw = np.random.default_rng(0)
    for value in values:
        shape = tuple(dim if isinstance(dim, int) else _SIZE for dim in dims_of(value))
        dtype = _BY_NUMBER[value.type.tensor_type.elem_type]
        some = draw.integers(0, 2, shape) if dtype.kind in "biu" else draw.standard_normal(shape)
        yield np.asarray(some).astype(dtype)


def _shown(types: Sequence[tuple[np.dtype, tuple[int, ...]]]) -> str:
    return ", ".join(f"{dtype}{list(shape)}" for dtype, shape in types)
