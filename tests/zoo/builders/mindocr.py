from typing import Any

import yaml

from tests.zoo.builders import SITE, bare

bare("mindocr")

from mindocr.models import build_model


def ocr(file: str) -> Any:
    """The network of a file of settings, without trained weights."""
    settings = yaml.safe_load((SITE / "source" / "configs" / file).read_text())["model"]
    settings.pop("pretrained", None)
    settings["backbone"]["pretrained"] = False
    return build_model(settings)
