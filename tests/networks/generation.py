"""Ten tokens, chosen greedily, by functions of flat arrays that give the logits and the cache.

NumPy is all that this file needs: the process with MindSpore runs it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

TOKENS = 10
#: The length of caches of a fixed size.
LENGTH = 16
#: Two prompts; the second begins with padding, which no token sees.
PROMPT = np.array([[5, 17, 3, 60, 8], [0, 0, 44, 2, 71]], np.int32)
MASK = np.ones((2, LENGTH), np.int32)
MASK[1, :2] = 0

Run = Callable[..., Sequence[Any]]


def grown(prefill: Run, decode: Run) -> np.ndarray:
    """The tokens (batch, 10) by a cache that grows."""
    return _generated(prefill, decode, [MASK[:, : 5 + count] for count in range(TOKENS)], [[]] * 10)


def placed(prefill: Run, decode: Run) -> np.ndarray:
    """The tokens (batch, 10) by a cache of a fixed size."""
    places = [[np.array(5 + count - 1, np.int32)] for count in range(TOKENS)]
    return _generated(prefill, decode, [MASK] * TOKENS, places)


def _generated(
    prefill: Run, decode: Run, masks: Sequence[np.ndarray], places: Sequence[list[np.ndarray]]
) -> np.ndarray:
    positions = np.maximum(MASK.cumsum(1) - 1, 0).astype(np.int32)
    logits, *cache = prefill(PROMPT, masks[0], positions[:, :5])
    tokens = [_best(logits)]
    for count in range(1, TOKENS):
        inputs = tokens[-1], masks[count], positions[:, count + 4 : count + 5]
        logits, *cache = decode(*inputs, *places[count], *cache)
        tokens.append(_best(logits))
    return np.concatenate(tokens, 1)


def _best(logits: Any) -> np.ndarray:
    return np.asarray(logits)[:, -1:].argmax(-1).astype(np.int32)
