import sys
from typing import Any
from unittest import mock

import yaml

from tests.zoo.builders import SITE, bare

bare("mindocr")
bare("mindocr.utils")
for _gone in ("layers", "moe", "op_parallel_config", "transformer"):
    # MindSpore 2.10 has it no more; of the networks, only ABINet uses it.
    sys.modules[f"mindspore.parallel._transformer.{_gone}"] = mock.MagicMock()

from mindocr.models import build_model


def ocr(file: str, **head: Any) -> Any:
    """The network of a file of settings, without trained weights; its head has other options."""
    settings = yaml.safe_load((SITE / "source" / "configs" / file).read_text())["model"]
    settings.pop("pretrained", None)
    settings["backbone"]["pretrained"] = False
    settings["head"].update(head)
    return build_model(settings)
