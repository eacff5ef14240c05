"""Real MindSpore in a process of its own: cases in a JSON file, answers in another.

For each case it builds a network, loads our file into it, runs it, gives it other values, saves its
own file, runs it again.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the package around this file imports JAX's tests

import mindspore as ms
import mindspore_nets
import numpy as np
import values


def outputs(net: Any, inputs: list[Any]) -> list[np.ndarray]:
    found = net(*inputs)
    return [x.asnumpy() for x in (found if isinstance(found, tuple) else (found,))]


def run(case: dict[str, Any]) -> dict[str, Any]:
    net = getattr(mindspore_nets, case["net"])(*case["args"])
    net.set_train(False)
    answer: dict[str, Any] = {"shapes": {p.name: p.shape for p in net.get_parameters()}}
    if "ours" not in case:
        return answer
    loaded = ms.load_checkpoint(case["ours"])
    missing, unused = ms.load_param_into_net(net, loaded, strict_load=True)
    with np.load(case["inputs"]) as file:
        inputs = [ms.Tensor(array) for array in file.values()]
    after_ours = outputs(net, inputs)
    for param in net.get_parameters():
        param.set_data(ms.Tensor(values.parameter(param.name, param.shape, seed=1)))
    ms.save_checkpoint(net, case["theirs"])
    np.savez(case["outputs"], *after_ours, *outputs(net, inputs))
    return answer | {"missing": missing, "unused": unused}


def main() -> None:
    # One operator at a time, MindSpore fails with NumPy 2 at the first reshape.
    ms.set_context(mode=ms.GRAPH_MODE)
    cases = json.loads(Path(sys.argv[1]).read_text())
    answers = {name: run(case) for name, case in cases.items()}
    Path(sys.argv[2]).write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
