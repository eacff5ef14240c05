"""The documented definitions of Ascend's operators, in NumPy and float64: one row, one loop."""

from __future__ import annotations

from typing import Any

import numpy as np


def due(expression: str, inputs: list[np.ndarray], found: list[np.ndarray]) -> list[np.ndarray]:
    """The results of an expression of x, y, z, ..., in the dtypes of those that were found."""
    names = dict(zip("xyzuvwabcdeh", map(_wide, inputs), strict=False))
    results = eval(f"({expression})", globals() | names)  # lambdas see no locals of eval
    results = results if isinstance(results, tuple) else (results,)
    return [np.asarray(r).astype(f.dtype) for r, f in zip(results, found, strict=True)]


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float64) if x.dtype.kind not in "biu" else x


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def heads(x: np.ndarray, n: int) -> np.ndarray:
    """[B, S, H] as [B, N, S, D]."""
    return x.reshape(*x.shape[:2], n, -1).transpose(0, 2, 1, 3)


def flat(x: np.ndarray) -> np.ndarray:
    """[B, N, S, D] as [B, S, H]."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def attention(
    q: Any, k: Any, v: Any, scale: float, discard: Any = None, shift: Any = 0
) -> np.ndarray:
    """Each head and each row by itself, of [B, N, S, D]; discarded keys are left out."""
    out = np.zeros((*q.shape[:3], v.shape[-1]))
    share = q.shape[1] // k.shape[1]
    shape = (q.shape[0], q.shape[1], q.shape[2], k.shape[2])
    discard = np.broadcast_to(False if discard is None else discard, shape)
    shift = np.broadcast_to(shift, shape)
    for b, n, s in np.ndindex(*q.shape[:3]):
        kept = ~discard[b, n, s].astype(bool)
        if kept.any():
            scores = k[b, n // share][kept] @ q[b, n, s] * scale + shift[b, n, s][kept]
            out[b, n, s] = softmax(scores) @ v[b, n // share][kept]
    return out


def causal(s: int, t: int, corner: int = 0) -> np.ndarray:
    """True above the diagonal that begins in the upper left, or ends in the lower right."""
    return np.arange(t) > np.arange(s)[:, None] + (t - s if corner else 0)


def rows_attention(q: Any, k: Any, v: Any, scale: float, ends: Any, key_ends: Any) -> np.ndarray:
    """Sequences of [T, N, D], one after another, each causal to its lower right corner."""
    out, start, first = [], 0, 0
    for end, last in zip(ends, key_ends, strict=True):
        query, key, value = (
            x.transpose(1, 0, 2)[None] for x in (q[start:end], k[first:last], v[first:last])
        )
        mask = causal(end - start, last - first, 1)
        out.append(attention(query, key, value, scale, mask)[0].transpose(1, 0, 2))
        start, first = end, last
    return np.concatenate(out)


def paged(q: Any, keys: Any, values: Any, tables: Any, lengths: Any, n: int, scale: float):
    """One query a sequence, [B, H], over the keys that its table of blocks tells."""
    out = np.zeros_like(q)
    for b, length in enumerate(lengths):
        k, v = (c[tables[b]].reshape(-1, *c.shape[2:])[:length] for c in (keys, values))
        query = q[b].reshape(1, n, 1, -1)
        k, v = (x.transpose(1, 0, 2)[None] for x in (k, v))
        out[b] = attention(query, k, v, scale).reshape(q[b].shape)
    return out


def rotary(x: Any, cos: Any, sin: Any, mode: int) -> np.ndarray:
    out = np.empty_like(x)
    d = x.shape[-1]
    for k in range(d):
        if mode == 0:
            other = -x[..., k + d // 2] if k < d // 2 else x[..., k - d // 2]
        else:
            other = -x[..., k + 1] if k % 2 == 0 else x[..., k - 1]
        out[..., k] = x[..., k] * np.broadcast_to(cos, x.shape)[..., k]
        out[..., k] += other * np.broadcast_to(sin, x.shape)[..., k]
    return out


def finalize(expanded: Any, x1: Any, bias: Any, scales: Any, rows: Any, experts: Any):
    out = x1.copy()
    n, k = scales.shape
    for i, j in np.ndindex(n, k):
        out[i] += scales[i, j] * (expanded[rows[i + j * n]] + bias[experts[i, j]])
    return out


def route(x: Any, experts: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tokens expert by expert in the order of rows, and where each choice of a row went."""
    places, out = np.zeros(experts.size, np.int32), []
    for expert in range(int(experts.max()) + 1):
        for i, k in np.argwhere(experts == expert):
            places[i * experts.shape[1] + k] = len(out)
            out.append(x[i])
    return np.stack(out), places


def grouped(x: Any, weight: Any, ends: Any, bias: Any = None) -> np.ndarray:
    out, start = np.zeros((x.shape[0], weight.shape[-1])), 0
    for e, end in enumerate(ends):
        out[start:end] = x[start:end] @ weight[e] + (0 if bias is None else bias[e])
        start = end
    return out


def int8(x: Any) -> np.ndarray:
    return np.clip(np.rint(x), -128, 127).astype(np.int8)


def dynamic(x: Any, smooth: Any = 1) -> tuple[np.ndarray, np.ndarray]:
    scale = np.abs(x * smooth).max(-1) / 127
    return int8(x * smooth / scale[..., None]), scale


def fake(x: Any, low: Any, high: Any, bits: int, symmetric: bool, narrow: bool) -> np.ndarray:
    """Round to one of the 2 ** bits numbers from ``low`` on, of which one is 0."""
    if symmetric:
        high = max(high, -low)
        low = -high
    least, most = int(narrow), 2**bits - 1
    scale = (high - low) / (most - least)
    zero = np.floor(np.clip(least - low / scale, least, most) + 0.5)
    numbers = (np.arange(least, most + 1) - zero) * scale
    place = np.floor((np.clip(x, numbers[0], numbers[-1]) - numbers[0]) / scale + 0.5)
    return numbers[place.astype(int)]


def silu(x: Any) -> np.ndarray:
    return x / (1 + np.exp(-x))


def layer_norm(x: Any, gamma: Any, beta: Any, epsilon: float) -> np.ndarray:
    apart = x - x.mean(-1, keepdims=True)
    return apart / np.sqrt((apart**2).mean(-1, keepdims=True) + epsilon) * gamma + beta


def rms_norm(x: Any, gamma: Any, epsilon: float) -> np.ndarray:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + epsilon) * gamma


def dilation(x: Any, kernel: Any, stride: int, spread: int) -> np.ndarray:
    """The largest sum of a window and the kernel, window by window."""
    reach = [(k - 1) * spread + 1 for k in kernel.shape[1:]]
    counts = [(n - r) // stride + 1 for n, r in zip(x.shape[2:], reach, strict=True)]
    out = np.zeros((*x.shape[:2], *counts))
    for h, w in np.ndindex(*counts):
        top, left = h * stride, w * stride
        window = x[:, :, top : top + reach[0] : spread, left : left + reach[1] : spread]
        out[:, :, h, w] = (window + kernel).max((2, 3))
    return out


def ring(a: Any, a_max: Any, a_sum: Any, b: Any, b_max: Any, b_sum: Any) -> np.ndarray:
    """The attention to all keys, of that to two parts of them, [S, B, H]."""
    out = np.zeros_like(a)
    heads = a_max.shape[1]
    for s, k, n in np.ndindex(a.shape[0], a.shape[1], heads):
        of = slice(n * a.shape[2] // heads, (n + 1) * a.shape[2] // heads)
        weights = [
            np.exp(m[k, n, s, 0]) * t[k, n, s, 0] for m, t in ((a_max, a_sum), (b_max, b_sum))
        ]
        out[s, k, of] = np.average([a[s, k, of], b[s, k, of]], axis=0, weights=weights)
    return out


def adam_w(var, m, v, grad, step, lr, beta1, beta2, decay, epsilon):
    """The variable, which is the result, too, and its moments."""
    m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
    var = var - lr * decay * var
    var = var - lr * (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + epsilon)
    return var, var, m, v


def lamb(var, m, v, lr, beta1, beta2, epsilon, decay, step, grad):
    m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
    r = (m / (1 - beta1**step)) / (np.sqrt(v / (1 - beta2**step)) + epsilon) + decay * var
    return var - lr * np.linalg.norm(var) / np.linalg.norm(r) * r, m, v


def adagrad_da(total, squares, lr, l1, l2, step):
    least = np.maximum(np.abs(total) - l1 * step, 0)
    return -lr * np.sign(total) * least / (l2 * step * lr + np.sqrt(squares)), total, squares


def ftrl(var, accum, linear, grad, lr, l1, l2, power):
    new = accum + grad**2
    linear = linear + grad - (new**-power - accum**-power) / lr * var
    moved = (np.sign(linear) * l1 - linear) / (1 / (new**power * lr) + 2 * l2)
    return np.where(np.abs(linear) > l1, moved, 0), new, linear


def rms_prop(var, square, moment, lr, grad, decay, momentum, epsilon):
    square = decay * square + (1 - decay) * grad**2
    moment = momentum * moment + lr / np.sqrt(square + epsilon) * grad
    return var - moment, square, moment


def rows(grad, indices, count):
    out = np.zeros((count, *grad.shape[1:]))
    for row, index in zip(grad, indices, strict=True):
        out[index] += row
    return out


def nesterov(var, m, v, power1, power2, lr, beta1, beta2, epsilon, grad):
    m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
    rate = lr * np.sqrt(1 - power2) / (1 - power1)
    return var - rate * (beta1 * m + (1 - beta1) * grad) / (np.sqrt(v) + epsilon), m, v


def batch_norm(x, weight, bias, epsilon):
    """Of [N, C, L]."""
    mean, spread = x.mean((0, 2)), np.sqrt(x.var((0, 2)) + epsilon)
    return ((x - mean[:, None]) / spread[:, None]) * weight[:, None] + bias[:, None]


def slopes(function, *at):
    """The gradients of a sum, by central differences of float64."""
    out = []
    for n, x in enumerate(at):
        slope = np.zeros_like(x)
        for place in np.ndindex(*x.shape):
            ends = []
            for step in (1e-6, -1e-6):
                moved = x.copy()
                moved[place] += step
                ends.append(np.sum(function(*at[:n], moved, *at[n + 1 :])))
            slope[place] = (ends[0] - ends[1]) / 2e-6
        out.append(slope)
    return tuple(out)


def cross_entropy(x, target, weight, ignored):
    losses, total = 0.0, 0.0
    for row, label in zip(x, target, strict=True):
        if label != ignored:
            losses -= weight[label] * np.log(softmax(row)[label])
            total += weight[label]
    return losses / total


def nll(x, target, weight, ignored):
    """The loss of each row, and the total weight."""
    losses, total = np.zeros(len(x)), 0.0
    for n, label in enumerate(target):
        if label != ignored:
            losses[n] = -weight[label] * x[n, label]
            total += weight[label]
    return losses, total


def whole_mean(x):
    """Of each row, towards 0, in Python's numbers."""
    sums = [sum(map(int, row)) for row in x]
    return np.array([abs(s) // x.shape[1] * (1 if s > 0 else -1) for s in sums], x.dtype)


def put(x, place, values, how=""):
    """The array with values at a place: set there, or one by one with a ufunc."""
    out = np.array(x)
    if how:
        getattr(np, how).at(out, place, values)
    else:
        out[place] = values
    return out


def twice(results):
    """The first result, which is the new variable, and all contents."""
    return results[0], *results
