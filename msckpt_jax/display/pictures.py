"""Pictures of shardings: a box for each part of a tensor, named by the ranks that hold it."""

from __future__ import annotations

import base64
import colorsys
from collections.abc import Mapping, Sequence
from typing import Any

from msckpt_jax import boxes
from msckpt_jax.display.html import Html
from msckpt_jax.display.text import counted

#: Parts of a picture, so many that their ranks can be read; more are told in words.
_PARTS = 32
#: Parts that are told when the mouse is over a picture.
_TOLD = 16


def sharding(shape: Sequence[int], parts: Mapping[boxes.Box, Sequence[int]]) -> Html:
    """A picture of a tensor's parts: a colour for each, and the ranks that hold it.

    Args:
        shape: the shape of the whole tensor.
        parts: the ranks that hold each box ``((start, stop), ...)``.
    """
    cuts = [len({box[axis] for box in parts}) for axis in range(len(shape))]
    split = [axis for axis, count in enumerate(cuts) if count > 1]
    holders = [_ranks(ranks) for ranks in parts.values()]
    words = " x ".join(map(str, cuts)) if split else "whole"
    if len(split) > 2 or len(parts) > _PARTS:
        return Html(f"{words} parts")
    # A lone split dimension is drawn the way it lies: rows below each other, others side by side.
    down = split[0] if len(split) == 2 or (split == [0] and len(shape) > 1) else None
    across = split[-1] if split and split[-1] != down else None
    width, height = 132, 66 if down is not None else 22
    marks, told = [], []
    for number, (box, names) in enumerate(zip(parts, holders, strict=True)):
        x, w = _stretch(box, shape, across, width)
        y, h = _stretch(box, shape, down, height)
        marks.append(
            f'<rect x="{x:.4g}" y="{y:.4g}" width="{w:.4g}" height="{h:.4g}" '
            f'fill="{_colour(number / len(parts))}"/>'
        )
        if len(names) * 7 < w and h > 12:
            marks.append(f'<text x="{x + w / 2:.4g}" y="{y + h / 2:.4g}">{names}</text>')
        told.append(f"[{', '.join(f'{start}:{stop}' for start, stop in box)}] on {names}")
    return _image(f"{words}: {counted(len(parts), 'part')}", told, width, height, marks)


def _image(alt: str, told: Sequence[str], width: int, height: int, marks: Sequence[str]) -> Html:
    """A picture as an image with its data: notebooks that are not trusted strip ``<svg>``."""
    drawn = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="-1 -1 {width + 2} {height + 2}" stroke="#444" stroke-width=".6">'
        "<style>text{fill:#111;stroke:none;font:10px sans-serif;text-anchor:middle;"
        f"dominant-baseline:central}}</style>{''.join(marks)}</svg>"
    )
    data = base64.b64encode(drawn.encode()).decode()
    more = [f"and {len(told) - _TOLD} more"] if len(told) > _TOLD else []
    title = "; ".join([*told[:_TOLD], *more])
    return Html(
        f'<img alt="{alt}" title="{title}" width="{width}" height="{height}" '
        'style="max-width:none" '  # JupyterLab makes images as small as it takes for a page
        f'src="data:image/svg+xml;base64,{data}">'
    )


def _colour(hue: float) -> str:
    """A light colour, as ``#rrggbb``."""
    return "#" + "".join(
        f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, 0.78, 0.65)
    )


def sharding_of(array: Any) -> Html:
    """The picture of an array on several devices; nothing for any other array."""
    placement = getattr(array, "sharding", None)
    if placement is None or len(placement.device_set) == 1:
        return Html()
    parts: dict[boxes.Box, list[int]] = {}
    for number, index in enumerate(placement.devices_indices_map(array.shape).values()):
        parts.setdefault(boxes.from_index(index, array.shape), []).append(number)
    return sharding(array.shape, parts)


def _stretch(
    box: boxes.Box, shape: Sequence[int], axis: int | None, length: int
) -> tuple[float, float]:
    """The begin and the length of a part in the picture, along one of its sides."""
    if axis is None or not shape[axis]:
        return 0, length
    start, stop = box[axis]
    return length * start / shape[axis], length * (stop - start) / shape[axis]


def _ranks(ranks: Sequence[int]) -> str:
    """``0-3, 8``."""
    runs: list[list[int]] = []
    for rank in sorted(ranks):
        if runs and rank == runs[-1][1] + 1:
            runs[-1][1] = rank
        else:
            runs.append([rank, rank])
    return ",".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
