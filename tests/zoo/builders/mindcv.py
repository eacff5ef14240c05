"""MindSpore 2.10 lacks something that the repository asks of an older one: it has stand-ins."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from mindspore import Tensor, ops
from mindspore.common import initializer

from tests.zoo.builders import bare

bare("mindcv")

from mindcv import models  # noqa: F401
from mindcv.models import rexnet


def resize_bilinear(size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """``ops.ResizeBilinear`` as it was; only the second version of the operator is left."""

    def resized(x: Tensor) -> Tensor:
        return ops.operations.ResizeBilinearV2()(x, size)

    return resized


def made(*arguments: Any) -> Tensor:
    """Numbers to begin with, which are there: rexnet reshapes them at once."""
    return initializer.initializer(*arguments).init_data()


ops.ResizeBilinear = resize_bilinear
rexnet.init = SimpleNamespace(HeUniform=initializer.HeUniform, initializer=made)
