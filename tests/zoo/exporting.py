"""The MindSpore process: it builds a network, fills it with numbers, exports and runs it.

``python exporting.py FOLDER`` with a request as JSON on stdin. FOLDER gets ``net.mindir`` and
``net.npz``: inputs, results and, where they are wanted, gradients. The last line of its output is
an answer as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ops

_MOVING = re.compile(r"moving_(mean|variance)|running_(mean|var)")
_GAIN = 1.2
rng = np.random.default_rng(0)


def f(*shape: int) -> ms.Tensor:
    return ms.Tensor(rng.standard_normal(shape).astype(np.float32))


def i(high: int, *shape: int, dtype: Any = np.int32) -> ms.Tensor:
    return ms.Tensor(rng.integers(0, high, shape).astype(dtype))


def bare(name: str, folder: Path) -> types.ModuleType:
    """A package whose own file is not run: only its modules are wanted."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder / name)]
    sys.modules[name] = package
    return package


def filled(shape: tuple[int, ...], name: str, old: np.ndarray) -> np.ndarray:
    """Numbers for a parameter, which keep the size of what goes through it about the same."""
    if re.search(r"(moving|running)_var", name):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) > 1:
        return rng.standard_normal(shape) * _GAIN / np.sqrt(np.prod(shape[1:]))
    if old.any():  # a scale, which begins with 1, or a small number
        return rng.uniform(0.5, 1.5, shape)
    return rng.standard_normal(shape) * 0.1


def fill(net: Any) -> None:
    """Give each parameter that is trained, or moves with it, other numbers; tables stay."""
    for parameter in net.get_parameters():
        old = parameter.asnumpy()
        if old.dtype.kind == "f" and (parameter.requires_grad or _MOVING.search(parameter.name)):
            new = np.asarray(filled(old.shape, parameter.name, old), old.dtype)
            parameter.set_data(ms.Tensor(new))


def flat(values: Any) -> Iterator[Any]:
    if isinstance(values, dict):
        values = list(values.values())
    if isinstance(values, list | tuple):
        for value in values:
            yield from flat(value)
    else:
        yield values.asnumpy() if isinstance(values, ms.Tensor) else np.asarray(values)


def gradients(net: Any, inputs: tuple[Any, ...]) -> dict[str, np.ndarray]:
    """Gradients of a weighted sum of the results, by the first input and three parameters."""
    trained = [p for p in net.trainable_params() if p.dtype == ms.float32]
    chosen = [trained[k] for k in sorted({0, len(trained) // 2, len(trained) - 1})]

    def loss(*given: Any) -> Any:
        total = 0.0
        for result in tensors(net(*given)):
            if result.dtype == ms.float32:
                size = int(np.prod(result.shape))
                weight = ops.cos(ops.arange(size).astype(ms.float32)).reshape(result.shape)
                total = total + (result * weight).sum()
        return total

    of_input, of_weights = ms.grad(loss, grad_position=0, weights=ms.ParameterTuple(chosen))(*inputs)
    found = {f"gradient:{p.name}": g for p, g in zip(chosen, of_weights, strict=True)}
    return {k: v.asnumpy() for k, v in ({"gradient input": of_input} | found).items()}


def tensors(values: Any) -> list[Any]:
    if isinstance(values, list | tuple):
        return [leaf for value in values for leaf in tensors(value)]
    return [values]


def main() -> None:
    folder = Path(sys.argv[1]).resolve()
    request = json.loads(sys.stdin.read())
    os.chdir(folder)  # MindSpore leaves files where it fails
    with contextlib.suppress(SystemError):  # its first operator fails beside NumPy 2
        ms.Tensor(np.zeros((2, 2), np.float32)).reshape(4)
    for path in reversed(request["path"]):
        sys.path.insert(0, path)
    names: dict[str, Any] = globals() | {"site": Path(request["path"][0])}
    exec(request["setup"], names)
    ms.set_seed(0)
    net = eval(request["make"], names).set_train(False)
    fill(net)
    inputs = eval(request["inputs"], names)
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    ms.set_context(mode=ms.PYNATIVE_MODE)
    results = list(flat(net(*inputs)))
    arrays = {f"input{k}": x.asnumpy() for k, x in enumerate(inputs)}
    arrays |= {f"output{k}": x for k, x in enumerate(results)}
    if request["gradients"]:
        arrays |= gradients(net, inputs)
    np.savez("net.npz", **arrays)
    begin = time.perf_counter()
    ms.export(net, *inputs, file_name="net", file_format="MINDIR")
    size = sum(p.size for p in net.get_parameters())
    answer = {"parameters": size, "export_s": time.perf_counter() - begin}
    print("\n" + json.dumps(answer | {"mindspore": ms.__version__}), flush=True)
    os._exit(0)  # its threads do not always end


if __name__ == "__main__":
    main()
