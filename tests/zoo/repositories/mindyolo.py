"""mindyolo: detectors, by their files of settings."""

from __future__ import annotations

from tests.zoo.repositories import Network, Repository

_FILES = """
    yolov3/yolov3 yolov4/yolov4 yolov4/yolov4-silu
    yolov5/yolov5n yolov5/yolov5s yolov5/yolov5m yolov5/yolov5n6
    yolov7/yolov7-tiny yolov7/yolov7 yolov8/yolov8n yolov8/yolov8s
    yolov9/yolov9-t yolov9/yolov9-s yolov10/yolov10n yolov10/yolov10s
    yolov11/yolov11-n yolov11/yolov11-s yolox/yolox-nano yolox/yolox-tiny yolox/yolox-s
"""
#: With larger weights what goes through its many layers is infinite.
_GAIN = {"yolov4": 0.9}

REPOSITORY = Repository(
    ("mindyolo==0.5.0",),
    {
        (name := file.partition("/")[2]): Network(
            f"yolo('{file}.yaml')", "f(1, 3, 128, 128)", gain=_GAIN.get(name, 1.2)
        )
        for file in _FILES.split()
    },
    {"the larger sizes of a version": "they have the operators of the smaller ones"},
    explained={
        "yolov10n": "it gives the 300 boxes of the best scores in order, in which three pairs "
        "of boxes whose scores differ by their last bit are the other way around (looked "
        "into under `jit`)",
        "yolov10s": "of the 300 boxes of the best scores in order, two with equal scores are the "
        "other way around: MindSpore's TopK takes equal numbers in an order of its own, JAX's in "
        "that of their places (looked into under `jit`; box by box the error is 2e-07)",
    },
    source="https://github.com/mindspore-lab/mindyolo",
)
