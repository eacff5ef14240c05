"""Networks in Flax nnx that MindSpore's own CheckPoints fit.

Example:
    >>> net = ms.networks.resnet.resnet18(num_classes=3, rngs=nnx.Rngs(0))
    >>> net(jnp.ones((1, 32, 32, 3))).shape
    (1, 3)
"""

from typing import TYPE_CHECKING

from msckpt_jax import lazy

if TYPE_CHECKING:
    from msckpt_jax.networks import bert as bert
    from msckpt_jax.networks import resnet as resnet
    from msckpt_jax.networks import yolo as yolo
    from msckpt_jax.networks import yolov3 as yolov3
    from msckpt_jax.networks import yolov4 as yolov4

__all__ = ["bert", "resnet", "yolo", "yolov3", "yolov4"]
__getattr__ = lazy.modules(__name__, __all__)
