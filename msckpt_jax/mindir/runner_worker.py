"""Run real MindSpore in a process of its own: JSON requests on stdin, JSON answers on stdout.

The process imports MindSpore and runs nothing itself: it forks a child that runs the cases one
after the other. When a case kills the child (a MindIR that is wrong crashes MindSpore), the next
child goes on with the case after it. A process that has run a graph cannot be forked: MindSpore
deadlocks. This file is run as a script and imports nothing of the package, because MindSpore and
JAX do not live in one process.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

answers = os.fdopen(os.dup(1), "w")  # MindSpore prints to stdout, also from C++
os.dup2(2, 1)

import mindspore as ms  # noqa: E402
import numpy as np  # noqa: E402
from mindspore import nn  # noqa: E402
from mindspore.train import serialization  # noqa: E402


def tensor(spec: dict[str, Any]) -> Any:
    data = Path(spec["file"]).read_bytes()
    if spec["dtype"] == "BFloat16":
        kind = serialization.tensor_to_ms_type["BFloat16"]
        made = serialization.Tensor_.convert_bytes_to_tensor(data, tuple(spec["shape"]), kind)
        return ms.Tensor(made)
    return ms.Tensor(np.frombuffer(data, spec["dtype"].lower()).reshape(spec["shape"]))


def describe(value: Any, path: str) -> dict[str, Any]:
    data = bytes(value.contiguous().get_bytes()) if value.size else b""
    Path(path).write_bytes(data)
    return {"dtype": str(value.dtype), "shape": list(value.shape), "file": path}


def flat(values: Any) -> list[Any]:
    if isinstance(values, tuple | list):
        return [leaf for value in values for leaf in flat(value)]
    return [values]


def run(
    file: str,
    calls: list[list[dict[str, Any]]],
    folder: str,
    load: dict[str, Any],
    shapes: list[list[int | None]],
) -> Any:
    """Load a file and call it with each list of inputs; return its results."""
    if "dec_key" in load:
        load = load | {"dec_key": bytes.fromhex(load["dec_key"])}
    net = nn.GraphCell(ms.load(file, **load))
    if shapes:
        kinds = [tensor(spec).dtype for spec in calls[0]]
        specs = [ms.Tensor(shape=s, dtype=k) for s, k in zip(shapes, kinds, strict=True)]
        net.set_inputs(*specs)
    out = []
    for number, inputs in enumerate(calls):
        results = flat(net(*map(tensor, inputs)))
        out.append([describe(v, f"{folder}/{number}_{i}.out") for i, v in enumerate(results)])
    return out


def child(cases: list[dict[str, Any]], pipe: int, timeout: int) -> None:
    with os.fdopen(pipe, "w") as out:
        for case in cases:
            signal.alarm(timeout)
            try:
                answer = {"result": run(**case)}
            except Exception as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(answer), file=out, flush=True)
    os._exit(0)


def forked(cases: list[dict[str, Any]], timeout: int) -> int:
    """Pass on the answers of a child, and the reason if it died; return their number."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        child(cases, writing, timeout)
    os.close(writing)
    count = 0
    with os.fdopen(reading) as lines:
        for line in lines:
            if line.endswith("\n"):
                count += 1
                print(line, end="", file=answers, flush=True)
    status = os.waitpid(pid, 0)[1]
    if count == len(cases):
        return count
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGALRM:
        answer: dict[str, Any] = {"timeout": timeout}
    else:
        answer = {"crash": signal.Signals(number).name if number else "exit"}
    print(json.dumps(answer), file=answers, flush=True)
    return count + 1


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        cases, done = request["cases"], 0
        while done < len(cases):
            done += forked(cases[done:], request["timeout"])


if __name__ == "__main__":
    main()
