"""mindocr: readers of texts, by their files of settings."""

from __future__ import annotations

from tests.zoo.repositories import Network, Repository

_TABLE = {
    "cls/mobilenetv3/cls_mv3": "f(1, 3, 48, 192)",
    "det/dbnet/db_mobilenetv3_icdar15": "f(1, 3, 64, 64)",
    "det/dbnet/db_r18_icdar15": "f(1, 3, 64, 64)",
    "det/dbnet/db_r50_icdar15": "f(1, 3, 64, 64)",
    "det/dbnet/dbpp_r50_icdar15": "f(1, 3, 64, 64)",
    "det/east/east_mobilenetv3_icdar15": "f(1, 3, 64, 64)",
    "det/east/east_r50_icdar15": "f(1, 3, 64, 64)",
    "det/psenet/pse_mv3_icdar15": "f(1, 3, 64, 64)",
    "det/psenet/pse_r50_icdar15": "f(1, 3, 64, 64)",
    "rec/crnn/crnn_resnet34": "f(1, 3, 32, 100)",
    "rec/crnn/crnn_vgg7": "f(1, 3, 32, 100)",
    "rec/master/master_resnet31": "f(1, 3, 48, 160)",
    "rec/rare/rare_resnet34": "f(1, 3, 32, 100)",
    "rec/robustscanner/robustscanner_resnet31":
        "(f(1, 3, 48, 160), ops.ones((1, 1, 40), ms.int32), i(6, 1, 6))",
    "rec/svtr/svtr_tiny": "f(1, 3, 64, 256)",
    "rec/visionlan/visionlan_resnet45_LA": "f(1, 3, 64, 256)",
}  # fmt: skip
#: Each further letter of a text runs all of the decoder again, in a graph of its own.
_HEAD = {
    "master_resnet31": ", batch_max_length=5",
    "robustscanner_resnet31": ", max_seq_len=6",
}
#: Their last layers magnify the rounding of float32, with larger weights too much.
_GAIN = {"db_r50_icdar15": 0.9, "dbpp_r50_icdar15": 0.9}

REPOSITORY = Repository(
    (
        "mindocr==0.5.0",
        "shapely",
        "pyclipper",
        "lmdb",
        "addict",
        "sentencepiece",
        "huggingface-hub>=0.34,<1",
    ),
    {
        (name := file.rpartition("/")[2]): Network(
            f"ocr('{file}.yaml'{_HEAD.get(name, '')})", inputs, gain=_GAIN.get(name, 1.2)
        )
        for file, inputs in _TABLE.items()
    },
    {
        "ABINet": "it is made of MindSpore's parallel._transformer, which 2.10 has no more",
        "the larger sizes of a network": "they have the operators of the smaller ones",
    },
    source="https://github.com/mindspore-lab/mindocr",
)
