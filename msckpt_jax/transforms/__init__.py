"""MindSpore's image transforms for Grain, with MindSpore's numbers and without MindSpore.

Names and arguments are those of ``mindspore.dataset.vision`` and ``mindspore.dataset.transforms``
2.10.0. Each transform is a callable on an image and a ``grain.transforms.Map``; it needs Grain
only there. ``Resize``, ``Decode`` and ``ConvertColor`` need OpenCV and Pillow:
``pip install 'msckpt_jax[data]'``.

Example:
    >>> ms.transforms.HWC2CHW()(np.zeros((4, 6, 3), np.uint8)).shape
    (3, 4, 6)
"""

from msckpt_jax.transforms.base import MapNode as MapNode
from msckpt_jax.transforms.base import Transform as Transform
from msckpt_jax.transforms.colours import ConvertColor as ConvertColor
from msckpt_jax.transforms.colours import Decode as Decode
from msckpt_jax.transforms.geometry import HWC2CHW as HWC2CHW
from msckpt_jax.transforms.geometry import CenterCrop as CenterCrop
from msckpt_jax.transforms.geometry import Crop as Crop
from msckpt_jax.transforms.geometry import HorizontalFlip as HorizontalFlip
from msckpt_jax.transforms.geometry import Pad as Pad
from msckpt_jax.transforms.geometry import Resize as Resize
from msckpt_jax.transforms.modes import Border as Border
from msckpt_jax.transforms.modes import ConvertMode as ConvertMode
from msckpt_jax.transforms.modes import Inter as Inter
from msckpt_jax.transforms.pipeline import Pipeline as Pipeline
from msckpt_jax.transforms.values import Normalize as Normalize
from msckpt_jax.transforms.values import NormalizePad as NormalizePad
from msckpt_jax.transforms.values import OneHot as OneHot
from msckpt_jax.transforms.values import Rescale as Rescale
from msckpt_jax.transforms.values import ToTensor as ToTensor
from msckpt_jax.transforms.values import TypeCast as TypeCast
