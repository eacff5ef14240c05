"""A network of mindcv with random parameters: its CheckPoint, images, logits. MindSpore's process.

``python mindcv_side.py OUT SIZE MODULE EXPRESSION`` writes OUT.ckpt and OUT.npz.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import mindspore
import numpy as np


def narrow(nn: Any) -> None:
    """Give dense layers 16 features where mindcv wants 4096."""

    class Dense(nn.Dense):
        def __init__(self, inputs: int, outputs: int):
            super().__init__(16 if inputs == 4096 else inputs, min(outputs, 16))

    nn.Dense = Dense


def main(out: str, size: int, module: str, expression: str) -> None:
    mindspore.set_context(mode=mindspore.PYNATIVE_MODE)
    known = vars(importlib.import_module(f"mindcv.models.{module}"))
    net = eval(expression, known | {"narrow": narrow})
    net.set_train(False)
    random = np.random.default_rng(0)
    for parameter in net.get_parameters():
        value = 0.1 * random.normal(size=parameter.shape)
        if parameter.name.endswith(("variance", "gamma")):
            value = 1 + abs(value)
        parameter.set_data(mindspore.Tensor(value.astype(np.float32)))
    images = random.normal(size=(1, 3, size, size)).astype(np.float32)
    logits = net(mindspore.Tensor(images)).asnumpy()
    mindspore.save_checkpoint(net, f"{out}.ckpt")
    np.savez(f"{out}.npz", images=images, logits=logits)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
