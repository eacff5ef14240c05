"""Models of transformers' kind, as networks that a MindIR can hold."""

from __future__ import annotations

from typing import Any

from mindspore import nn


class Plain(nn.Cell):
    """A model that returns tuples."""

    def __init__(self, net: nn.Cell):
        super().__init__()
        self.net = net

    def construct(self, *inputs: Any) -> Any:
        return self.net(*inputs, return_dict=False)
