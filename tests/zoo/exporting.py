"""The MindSpore process: it builds a network, fills it with numbers, exports and runs it.

``python exporting.py`` with a request as JSON on stdin: what is imported, and networks, each with
its folder. This gets ``net.mindir``, ``net.npz`` (inputs, results and, where they are wanted,
gradients), and ``answer.json``, what the table tells of the network, or the error.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import ops

_MOVING = re.compile(r"moving_(mean|variance)|running_(mean|var)")
rng = np.random.default_rng(0)


def f(*shape: int) -> ms.Tensor:
    return ms.Tensor(rng.standard_normal(shape).astype(np.float32))


def i(high: int, *shape: int, dtype: Any = np.int32) -> ms.Tensor:
    return ms.Tensor(rng.integers(0, high, shape).astype(dtype))


def filled(shape: tuple[int, ...], name: str, old: np.ndarray, gain: float) -> np.ndarray:
    """Numbers for a parameter, which keep the size of what goes through it about the same."""
    if re.search(r"(moving|running)_var", name):
        return rng.uniform(0.5, 1.5, shape)
    if len(shape) > 1:
        return rng.standard_normal(shape) * gain / np.sqrt(np.prod(shape[1:]))
    if old.any():  # a scale, which begins with 1, or a small number
        return rng.uniform(0.5, 1.5, shape)
    return rng.standard_normal(shape) * 0.1


def fill(net: Any, gain: float) -> None:
    """Give each parameter that is trained, or moves with it, other numbers; tables stay."""
    for parameter in net.get_parameters():
        old = parameter.asnumpy()
        if old.dtype.kind == "f" and (parameter.requires_grad or _MOVING.search(parameter.name)):
            new = np.asarray(filled(old.shape, parameter.name, old, gain), old.dtype)
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
    """Gradients of a weighted sum of the results, by three parameters and the first input.

    The input has one when it is of floats.
    """
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

    position: Any = 0 if inputs[0].dtype == ms.float32 else None
    slope: Any = ms.grad(loss, grad_position=position, weights=ms.ParameterTuple(chosen))
    slopes = slope(*inputs)
    of_input, of_weights = ((), slopes) if position is None else ((slopes[0],), slopes[1])
    names = ["gradient input"] * len(of_input) + [f"gradient:{p.name}" for p in chosen]
    return {k: v.asnumpy() for k, v in zip(names, (*of_input, *of_weights), strict=True)}


def tensors(values: Any) -> list[Any]:
    if isinstance(values, list | tuple):
        return [leaf for value in values for leaf in tensors(value)]
    return [values]


def exported(network: dict[str, Any], names: dict[str, Any]) -> dict[str, str]:
    """Export a network into its folder; what the table tells of it."""
    rng.bit_generator.state = np.random.default_rng(0).bit_generator.state
    ms.set_seed(0)
    net = eval(network["make"], names).set_train(False)
    fill(net, network["gain"])
    inputs = eval(network["inputs"], names)
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    arrays = {f"input{k}": x.asnumpy() for k, x in enumerate(inputs)}
    with names.get("computing", contextlib.nullcontext)():
        arrays |= {f"output{k}": x for k, x in enumerate(flat(net(*inputs)))}
        if network["gradients"]:
            arrays |= gradients(net, inputs)
    np.savez(f"{network['folder']}/net.npz", **arrays)
    ms.export(net, *inputs, file_name=f"{network['folder']}/net", file_format="MINDIR")
    size = sum(p.size for p in net.get_parameters())
    return {"mindspore": ms.__version__, "parameters": str(size)}


def main() -> None:
    request = json.loads(sys.stdin.read())
    os.chdir(request["networks"][0]["folder"])  # MindSpore leaves files where it fails
    with contextlib.suppress(SystemError):  # its first operator fails beside NumPy 2
        ms.Tensor(np.zeros((2, 2), np.float32)).reshape(4)
    sys.path[:0] = request["path"]
    builders = importlib.import_module(f"tests.zoo.builders.{request['repository']}")
    names = globals() | vars(builders)
    ms.set_context(mode=ms.PYNATIVE_MODE, pynative_synchronize=True)
    for network in request["networks"]:
        try:
            answer = exported(network, names)
        except Exception as error:
            lines = [line.strip(" -") for line in f"{type(error).__name__}: {error}".splitlines()]
            answer = {"load": f"MindSpore: {' '.join(filter(None, lines))[:300]}"}
        Path(network["folder"], "answer.json").write_text(json.dumps(answer))
        gc.collect()
    os._exit(0)  # its threads do not always end


if __name__ == "__main__":
    main()
