from typing import Any

from tests.zoo.builders import SITE, bare

bare("mindyolo")

from mindyolo.models import create_model
from mindyolo.utils.config import Config, load_config


def yolo(file: str) -> Any:
    network = Config(load_config(str(SITE / "source" / "configs" / file))[0]).network
    return create_model(network.model_name, network, num_classes=80)
