"""Real MindSpore with its own networks, and jax2onnx, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from peers import PeerRefusedError

NETWORKS = Path(__file__).parents[1] / "networks"

_MINDSPORE = """
import json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import mindspore as ms
import numpy as np
from mindspore import nn
import mindspore_nets
ms.set_context(mode=ms.GRAPH_MODE)
cells = {}
for line in sys.stdin:
    r = json.loads(line)
    if "inputs" in r:
        with np.load(r["inputs"]) as file:
            inputs = [ms.Tensor(array) for array in file.values()]
    if r["do"] == "export":
        net = getattr(mindspore_nets, r["net"])(*r["args"]).set_train(False)
    begin = time.perf_counter()
    if r["do"] == "export":
        ms.export(net, *inputs, file_name=r["file"], file_format="MINDIR")
    elif r["do"] == "load":
        cells[r["file"]] = nn.GraphCell(ms.load(r["file"]))
    elif r["do"] == "run":
        found = cells[r["file"]](*inputs)
        for x in found if isinstance(found, tuple) else (found,):
            x.asnumpy()
    print(json.dumps(time.perf_counter() - begin), file=answers, flush=True)
"""

_JAX2ONNX = """
import json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import networks, jax, jax2onnx
from flax import nnx
for line in sys.stdin:
    r = json.loads(line)
    net, inputs = networks.ours(r["net"])
    inputs = [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in inputs]
    for _, module in nnx.iter_modules(net):  # its Dropout takes no rngs
        for name, value in list(vars(module).items()):
            if isinstance(value, nnx.Dropout):
                setattr(module, name, lambda x, **_: x)
    begin = time.perf_counter()
    try:
        jax2onnx.to_onnx(net, inputs, return_mode="file", output_path=r["file"])
        answer = time.perf_counter() - begin
    except Exception as error:
        answer = f"{type(error).__name__}: {error}"
    print(json.dumps(answer), file=answers, flush=True)
"""


class Peer:
    """A process that answers each request with the seconds it took, measured inside of it.

    Or with the reason why it refuses, which ``ask`` raises as ``PeerRefusedError``.
    """

    def __init__(self, code: str, folder: Path, python: str = sys.executable):
        paths = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        self.process = subprocess.Popen(
            [python, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"GLOG_v": "4", "PYTHONPATH": paths},
        )

    def ask(self, do: str, **request: Any) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"do": do} | request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the peer died while it had to {do} {request}")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise PeerRefusedError(answer)
        return answer

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()


def mindspore() -> Peer:
    return Peer(_MINDSPORE, NETWORKS)


def jax2onnx() -> Peer:
    return Peer(_JAX2ONNX, Path(__file__).parent)
