"""Boxes of objects: overlaps, the choice of the best ones, and their codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer

from msckpt_jax.errors import MindIRError


def _sides(boxes: Any) -> tuple[Any, Any, Any, Any]:
    return tuple(boxes[..., k] for k in range(4))  # type: ignore[return-value]


def overlap(a: Any, b: Any, extra: float = 0.0, over: str = "iou") -> Any:
    """The shares of each box of ``a`` with each of ``b``: their intersection over their union.

    ``extra`` counts the last pixel; ``over`` "iof" divides by the area of ``b`` instead.
    """
    ax1, ay1, ax2, ay2 = _sides(a[..., :, None, :])
    bx1, by1, bx2, by2 = _sides(b[..., None, :, :])
    width = jnp.maximum(jnp.minimum(ax2, bx2) - jnp.maximum(ax1, bx1) + extra, 0)
    height = jnp.maximum(jnp.minimum(ay2, by2) - jnp.maximum(ay1, by1) + extra, 0)
    common = width * height
    first = (ax2 - ax1 + extra) * (ay2 - ay1 + extra)
    second = (bx2 - bx1 + extra) * (by2 - by1 + extra)
    return common / (second if over == "iof" else first + second - common)


def _iou(anchors: Any, truths: Any, *, mode: str = "iou") -> Any:
    return jnp.swapaxes(overlap(anchors, truths, 1.0, "iof" if mode == "iof" else "iou"), -1, -2)


def greedy(overlaps: Any, threshold: Any, alive: Any) -> Any:
    """Keep each box, in their order, that no kept box before it overlaps by more."""

    def step(kept: Any, k: Any) -> tuple[Any, None]:
        before = kept & (jnp.arange(kept.shape[0]) < k) & (overlaps[k] > threshold)
        return kept.at[k].set(kept[k] & ~jnp.any(before)), None

    return lax.scan(step, alive, jnp.arange(alive.shape[0]))[0]


def _nms_with_mask(boxes: Any, *, iou_threshold: float = 0.5) -> Any:
    order = jnp.argsort(boxes[:, 4], stable=True, descending=True)
    boxes = boxes[order]
    corners = jnp.concatenate(
        [jnp.minimum(boxes[:, :2], boxes[:, 2:4]), jnp.maximum(boxes[:, :2], boxes[:, 2:4])], 1
    )
    kept = greedy(overlap(corners, corners), iou_threshold, jnp.ones(len(boxes), bool))
    return boxes, jnp.arange(len(boxes), dtype=jnp.int32), kept  # as MindSpore's CPU counts


def _chosen(scores: Any, most: Any, least: Any, threshold: Any, overlaps: Any, op: str) -> Any:
    """The numbers of the boxes that stay, the best first."""
    if any(isinstance(value, Tracer) for value in (scores, most, least, threshold, overlaps)):
        raise MindIRError(f"the size of {op}'s result depends on numbers, which jit hides")
    order = jnp.argsort(scores, stable=True, descending=True)
    kept = greedy(overlaps[order][:, order], threshold, scores[order] > least)
    return order[kept][: max(int(most), 0)].astype(jnp.int32)


def _nms_v3(boxes: Any, scores: Any, most: Any, threshold: Any, least: Any) -> Any:
    low = jnp.minimum(boxes[:, :2], boxes[:, 2:])
    corners = jnp.concatenate([low, jnp.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    overlaps = overlap(corners, corners)
    return _chosen(scores, most, least, threshold, overlaps, "NonMaxSuppressionV3")


def _nms_with_overlaps(overlaps: Any, scores: Any, most: Any, threshold: Any, least: Any) -> Any:
    return _chosen(scores, most, least, threshold, overlaps, "NonMaxSuppressionWithOverlaps")


def _centres(boxes: Any) -> tuple[Any, Any, Any, Any]:
    x1, y1, x2, y2 = _sides(boxes)
    return (x1 + x2) * 0.5, (y1 + y2) * 0.5, x2 - x1 + 1, y2 - y1 + 1


def _encode(anchors: Any, truths: Any, *, means: Any = (0.0,) * 4, stds: Any = (1.0,) * 4) -> Any:
    ax, ay, aw, ah = _centres(anchors)
    x, y, w, h = _centres(truths)
    code = jnp.stack([(x - ax) / aw, (y - ay) / ah, jnp.log(w / aw), jnp.log(h / ah)], -1)
    return (code - jnp.asarray(means, code.dtype)) / jnp.asarray(stds, code.dtype)


def _decode(
    anchors: Any, deltas: Any, *, max_shape: Any, means: Any = (0.0,) * 4, stds: Any = (1.0,) * 4,
    wh_ratio_clip: float = 0.016,
) -> Any:  # fmt: skip
    deltas = deltas * jnp.asarray(stds, deltas.dtype) + jnp.asarray(means, deltas.dtype)
    most = abs(np.log(wh_ratio_clip))
    dx, dy, dw, dh = _sides(deltas)
    ax, ay, aw, ah = _centres(anchors)
    x, y = ax + aw * dx, ay + ah * dy
    w, h = (side * jnp.exp(jnp.clip(d, -most, most)) for side, d in ((aw, dw), (ah, dh)))
    height, width = max_shape[0], max_shape[1]
    corners = [
        (x - (w - 1) * 0.5, width), (y - (h - 1) * 0.5, height),
        (x + (w - 1) * 0.5, width), (y + (h - 1) * 0.5, height),
    ]  # fmt: skip
    return jnp.stack([jnp.clip(v, 0, most) for v, most in corners], -1).astype(anchors.dtype)


def _check_valid(boxes: Any, limits: Any) -> Any:
    height, width, ratio = limits[0], limits[1], limits[2]
    x1, y1, x2, y2 = _sides(boxes)
    inside = (x1 >= 0) & (y1 >= 0)
    return inside & (x2 <= width * ratio - 1) & (y2 <= height * ratio - 1)


def _combined_nms(
    boxes: Any, scores: Any, per_class: Any, total: Any, threshold: Any, least: Any, *,
    pad_per_class: bool = False, clip_boxes: bool = True,
) -> Any:  # fmt: skip
    """The best boxes of all classes of each image, filled up with zeros."""
    if any(isinstance(v, Tracer) for v in (per_class, total)):
        raise MindIRError("CombinedNonMaxSuppression takes constant numbers of boxes")
    per_class, total = int(per_class), int(total)
    classes = scores.shape[-1]
    size = min(total, per_class * classes) if pad_per_class else total

    def of_class(boxes: Any, scores: Any) -> tuple[Any, Any]:
        order = jnp.argsort(scores, stable=True, descending=True)
        low, high = boxes[order][:, :2], boxes[order][:, 2:]
        corners = jnp.concatenate([jnp.minimum(low, high), jnp.maximum(low, high)], 1)
        kept = greedy(overlap(corners, corners), threshold, scores[order] > least)
        kept = kept & (jnp.cumsum(kept) <= per_class)
        return boxes[order], jnp.where(kept, scores[order], -jnp.inf)

    def of_image(boxes: Any, scores: Any) -> tuple[Any, ...]:
        shared = boxes.shape[1] == 1
        spread = jnp.repeat(boxes, classes, 1) if shared else boxes
        chosen, marks = jax.vmap(of_class)(jnp.swapaxes(spread, 0, 1), scores.T)
        number = jnp.repeat(jnp.arange(classes), marks.shape[1])
        best = jnp.argsort(jnp.ravel(marks), stable=True, descending=True)[:size]
        mark = jnp.ravel(marks)[best]
        valid = jnp.isfinite(mark)
        box = jnp.reshape(chosen, (-1, 4))[best]
        box = jnp.clip(box, 0, 1) if clip_boxes else box
        return (
            jnp.where(valid[:, None], box, 0), jnp.where(valid, mark, 0),
            jnp.where(valid, number[best], 0).astype(jnp.float32), jnp.sum(valid).astype(jnp.int32),
        )  # fmt: skip

    parts = jax.vmap(of_image)(boxes, scores)
    short = size - parts[1].shape[1]
    if short <= 0:
        return parts
    return tuple(
        jnp.pad(p, [(0, 0), (0, short)] + [(0, 0)] * (p.ndim - 2)) if p.ndim > 1 else p
        for p in parts
    )


TABLE: dict[str, Callable[..., Any]] = {
    "IOU": _iou,
    "NMSWithMask": _nms_with_mask,
    "NonMaxSuppressionV3": _nms_v3,
    "NonMaxSuppressionWithOverlaps": _nms_with_overlaps,
    "CombinedNonMaxSuppression": _combined_nms,
    "BoundingBoxEncode": _encode,
    "BoundingBoxDecode": _decode,
    "CheckValid": _check_valid,
}
