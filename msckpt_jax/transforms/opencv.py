"""Call OpenCV so that it gives the numbers of MindSpore's build of it.

MindSpore 2.10.0 contains OpenCV 4.11 without Intel's IPP, whose cubic interpolation differs by 1
in 4 % of the pixels; without IPP, ``opencv-python-headless`` 4.11 to 5.0 give MindSpore's bits.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from msckpt_jax.errors import TransformError


def call(name: str, function: str, image: np.ndarray, *args: Any, **kwargs: Any) -> np.ndarray:
    """Call ``cv2.<function>(image, ...)``; bools travel as bytes. ``name`` is for the error."""
    try:
        import cv2
    except ImportError:
        raise ImportError(f"{name} needs OpenCV: pip install 'msckpt_jax[data]'") from None
    run: Callable[..., np.ndarray] = getattr(cv2, function)
    source = image.view(np.uint8) if image.dtype == bool else image
    try:
        with _without_ipp(cv2.ipp):
            result = run(np.ascontiguousarray(source), *args, **kwargs)
    except cv2.error as error:
        problem = f"{name}: OpenCV cannot do this for {image.dtype} of shape {image.shape}"
        raise TransformError(f"{problem}: {str(error).strip()}") from None
    return result.view(bool) if image.dtype == bool else result


@contextlib.contextmanager
def _without_ipp(ipp: Any) -> Iterator[None]:
    used = ipp.useIPP()  # the switch is the thread's own
    ipp.setUseIPP(False)
    try:
        yield
    finally:
        ipp.setUseIPP(used)
