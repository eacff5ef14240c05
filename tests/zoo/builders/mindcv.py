from tests.zoo.builders import bare

bare("mindcv")

from mindcv import models  # noqa: F401
