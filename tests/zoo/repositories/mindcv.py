"""mindcv: image classifiers, each family and size."""

from __future__ import annotations

from tests.zoo.repositories import Network, Repository

_SMALL = "resnet18 mobilenet_v3_small_075 convnext_tiny densenet121 squeezenet1_0"
REPOSITORY = Repository(
    ("mindcv==0.3.0",),
    "bare('mindcv', site); from mindcv import models",
    {name: Network(f"models.{name}()", "f(1, 3, 64, 64)") for name in _SMALL.split()},
)
