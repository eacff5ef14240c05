"""Generate with MindIR files in MindSpore: ``generation_worker.py CACHE PREFILL DECODE TOKENS``...

``CACHE`` is a function of ``generation``; the tokens are written as ``.npy`` files.
"""

from __future__ import annotations

import sys
from typing import Any

import generation
import mindspore as ms
import numpy as np
from mindspore import nn


def loaded(file: str) -> generation.Run:
    """The file as a function of arrays; the cache stays with MindSpore."""
    net = nn.GraphCell(ms.load(file))

    def run(*inputs: Any) -> Any:
        tensors = [ms.Tensor(x) if isinstance(x, np.ndarray) else x for x in inputs]
        logits, *cache = flat(net(*tensors))
        return [logits.asnumpy(), *cache]

    return run


def flat(values: Any) -> list[Any]:
    if isinstance(values, tuple | list):
        return [leaf for value in values for leaf in flat(value)]
    return [values]


for cache, prefill, decode, tokens in zip(*[iter(sys.argv[1:])] * 4, strict=True):
    np.save(tokens, getattr(generation, cache)(loaded(prefill), loaded(decode)))
