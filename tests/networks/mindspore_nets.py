"""The same networks in MindSpore, with the attribute names of MindSpore Vision, mindcv and the zoo.

Imported by ``worker.py`` only, in MindSpore's process.
"""

from __future__ import annotations

import math
from typing import Any

import mindspore as ms
from mindspore import nn, ops

BASIC, BOTTLENECK = 1, 4
DEPTHS = {
    18: (BASIC, (2, 2, 2, 2)),
    34: (BASIC, (3, 4, 6, 3)),
    50: (BOTTLENECK, (3, 4, 6, 3)),
    101: (BOTTLENECK, (3, 4, 23, 3)),
    152: (BOTTLENECK, (3, 8, 36, 3)),
}


def conv(channels: int, out: int, size: int, stride: int = 1) -> nn.Cell:
    pad = (size - 1) // 2
    return nn.Conv2d(channels, out, size, stride, pad_mode="pad", padding=pad)


def units(channels: int, width: int, stride: int, expansion: int) -> list[tuple[int, ...]]:
    """The convolutions of a block: channels in, out, kernel size, stride."""
    if expansion == BASIC:
        return [(channels, width, 3, stride), (width, width, 3, 1)]
    return [(channels, width, 1, 1), (width, width, 3, stride), (width, 4 * width, 1, 1)]


class VisionUnit(nn.Cell):
    def __init__(self, channels: int, out: int, size: int, stride: int = 1, relu: bool = True):
        super().__init__()
        cells = [conv(channels, out, size, stride), nn.BatchNorm2d(out)]
        self.features = nn.SequentialCell(cells + [nn.ReLU()] * relu)

    def construct(self, x: Any) -> Any:
        return self.features(x)


class VisionBlock(nn.Cell):
    def __init__(self, channels: int, width: int, stride: int, expansion: int):
        super().__init__()
        *first, last = units(channels, width, stride, expansion)
        self.count = len(first) + 1
        for index, unit in enumerate(first, 1):
            setattr(self, f"conv{index}", VisionUnit(*unit))
        setattr(self, f"conv{self.count}", VisionUnit(*last, relu=False))
        out = width * expansion
        shortcut = stride != 1 or channels != out
        self.down_sample = VisionUnit(channels, out, 1, stride, relu=False) if shortcut else None

    def construct(self, x: Any) -> Any:
        y = x
        for index in range(1, self.count + 1):
            y = getattr(self, f"conv{index}")(y)
        return ops.relu(y + (x if self.down_sample is None else self.down_sample(x)))


class CvBlock(nn.Cell):
    def __init__(self, channels: int, width: int, stride: int, expansion: int):
        super().__init__()
        parts = units(channels, width, stride, expansion)
        self.count = len(parts)
        for index, unit in enumerate(parts, 1):
            setattr(self, f"conv{index}", conv(*unit))
            setattr(self, f"bn{index}", nn.BatchNorm2d(unit[1]))
        out = width * expansion
        self.down_sample = None
        if stride != 1 or channels != out:
            cells = [conv(channels, out, 1, stride), nn.BatchNorm2d(out)]
            self.down_sample = nn.SequentialCell(cells)

    def construct(self, x: Any) -> Any:
        y = x
        for index in range(1, self.count + 1):
            y = getattr(self, f"bn{index}")(getattr(self, f"conv{index}")(y))
            y = ops.relu(y) if index < self.count else y
        return ops.relu(y + (x if self.down_sample is None else self.down_sample(x)))


def stages(net: nn.Cell, block: type[nn.Cell], depth: int) -> int:
    """Give ``net`` the four stages; the channels that come out."""
    expansion, depths = DEPTHS[depth]
    channels = 64
    for stage, count in enumerate(depths):
        blocks, width = [], 64 * 2**stage
        for index in range(count):
            stride = 2 if stage and not index else 1
            blocks.append(block(channels, width, stride, expansion))
            channels = width * expansion
        setattr(net, f"layer{stage + 1}", nn.SequentialCell(blocks))
    return channels


class VisionBackbone(nn.Cell):
    def __init__(self, depth: int, symmetric: bool):
        super().__init__()
        self.conv1 = VisionUnit(3, 64, 7, 2)
        self.pad = nn.Pad(((0, 0), (0, 0), (1, 1), (1, 1)), mode="SYMMETRIC") if symmetric else None
        self.max_pool = nn.MaxPool2d(3, 2, pad_mode="valid" if symmetric else "same")
        self.channels = stages(self, VisionBlock, depth)

    def construct(self, x: Any) -> Any:
        x = self.conv1(x)
        x = self.max_pool(x if self.pad is None else self.pad(x))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))


class VisionHead(nn.Cell):
    def __init__(self, channels: int, classes: int):
        super().__init__()
        self.dense = nn.Dense(channels, classes)

    def construct(self, x: Any) -> Any:
        return self.dense(x)


class VisionResNet(nn.Cell):
    def __init__(self, depth: int, classes: int, symmetric: bool = False):
        super().__init__()
        self.backbone = VisionBackbone(depth, symmetric)
        self.head = VisionHead(self.backbone.channels, classes)

    def construct(self, x: Any) -> Any:
        return self.head(self.backbone(x).mean((2, 3)))


class CvResNet(nn.Cell):
    def __init__(self, depth: int, classes: int):
        super().__init__()
        self.conv1 = conv(3, 64, 7, 2)
        self.bn1 = nn.BatchNorm2d(64)
        self.max_pool = nn.MaxPool2d(3, 2, pad_mode="same")
        self.classifier = nn.Dense(stages(self, CvBlock, depth), classes)

    def construct(self, x: Any) -> Any:
        x = self.max_pool(ops.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.classifier(x.mean((2, 3)))


class Mish(nn.Cell):
    def construct(self, x: Any) -> Any:
        return x * ops.tanh(ops.softplus(x))


def unit(channels: int, out: int, size: int, stride: int = 1, kind: str = "leaky") -> nn.Cell:
    momentum, activation = {
        "leaky": (0.9, nn.LeakyReLU(0.1)),
        "relu": (0.1, nn.ReLU()),
        "mish": (0.9, Mish()),
    }[kind]
    convolution = nn.Conv2d(channels, out, size, stride, pad_mode="same")
    return nn.SequentialCell([convolution, nn.BatchNorm2d(out, momentum=momentum), activation])


class Residual(nn.Cell):
    def __init__(self, channels: int, hidden: int, kind: str):
        super().__init__()
        self.conv1 = unit(channels, hidden, 1, kind=kind)
        self.conv2 = unit(hidden, channels, 3, kind=kind)

    def construct(self, x: Any) -> Any:
        return self.conv2(self.conv1(x)) + x


class DarkNet(nn.Cell):
    def __init__(self) -> None:
        super().__init__()
        self.conv0 = unit(3, 32, 3, kind="relu")
        for stage, depth in enumerate((1, 2, 8, 8, 4), 1):
            out = 32 * 2**stage
            setattr(self, f"conv{stage}", unit(out // 2, out, 3, 2, "relu"))
            blocks = [Residual(out, out // 2, "relu") for _ in range(depth)]
            setattr(self, f"layer{stage}", nn.SequentialCell(blocks))

    def construct(self, x: Any) -> Any:
        x = self.layer2(self.conv2(self.layer1(self.conv1(self.conv0(x)))))
        fine = self.layer3(self.conv3(x))
        middle = self.layer4(self.conv4(fine))
        return fine, middle, self.layer5(self.conv5(middle))


class CspDarkNet(nn.Cell):
    SIZES = (
        (3, 32, 3, 1), (32, 64, 3, 2), (64, 64, 1, 1), (64, 32, 1, 1), (32, 64, 3, 1),
        (64, 64, 1, 1), (64, 64, 1, 1), (128, 64, 1, 1),
        (64, 128, 3, 2), (128, 64, 1, 1), (64, 64, 1, 1), (128, 64, 1, 1), (128, 128, 1, 1),
        (128, 256, 3, 2), (256, 128, 1, 1), (128, 128, 1, 1), (256, 128, 1, 1), (256, 256, 1, 1),
        (256, 512, 3, 2), (512, 256, 1, 1), (256, 256, 1, 1), (512, 256, 1, 1), (512, 512, 1, 1),
        (512, 1024, 3, 2), (1024, 512, 1, 1), (512, 512, 1, 1), (1024, 512, 1, 1),
        (1024, 1024, 1, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        for index, sizes in enumerate(self.SIZES):
            setattr(self, f"conv{index}", unit(*sizes, kind="mish"))
        for stage, depth, width in ((2, 2, 64), (3, 8, 128), (4, 8, 256), (5, 4, 512)):
            blocks = [Residual(width, width, "mish") for _ in range(depth)]
            setattr(self, f"layer{stage}", nn.SequentialCell(blocks))

    def construct(self, x: Any) -> Any:
        x = self.conv1(self.conv0(x))
        deep = self.conv2(x)
        deep = self.conv5(deep + self.conv4(self.conv3(deep)))
        x = self.conv7(ops.cat((deep, self.conv6(x)), 1))
        x = self.conv8(x)
        deep = self.conv10(self.layer2(self.conv9(x)))
        x = self.conv13(self.conv12(ops.cat((deep, self.conv11(x)), 1)))
        deep = self.conv15(self.layer3(self.conv14(x)))
        fine = self.conv17(ops.cat((deep, self.conv16(x)), 1))
        x = self.conv18(fine)
        deep = self.conv20(self.layer4(self.conv19(x)))
        middle = self.conv22(ops.cat((deep, self.conv21(x)), 1))
        x = self.conv23(middle)
        deep = self.conv25(self.layer5(self.conv24(x)))
        return fine, middle, self.conv27(ops.cat((deep, self.conv26(x)), 1))


class YoloBlock(nn.Cell):
    def __init__(self, channels: int, width: int, out: int):
        super().__init__()
        for index in range(6):
            sizes = (2 * width, width, 1) if index % 2 == 0 else (width, 2 * width, 3)
            setattr(self, f"conv{index}", unit(channels if index == 0 else sizes[0], *sizes[1:]))
        self.conv6 = nn.Conv2d(2 * width, out, 1, has_bias=True)

    def construct(self, x: Any) -> Any:
        x = self.conv4(self.conv3(self.conv2(self.conv1(self.conv0(x)))))
        return x, self.conv6(self.conv5(x))


def double(x: Any) -> Any:
    return ops.ResizeNearestNeighbor((2 * x.shape[2], 2 * x.shape[3]))(x)


class Yolo3Map(nn.Cell):
    def __init__(self, out: int):
        super().__init__()
        self.backbone = DarkNet()
        self.backblock0 = YoloBlock(1024, 512, out)
        self.conv1 = unit(512, 256, 1)
        self.backblock1 = YoloBlock(768, 256, out)
        self.conv2 = unit(256, 128, 1)
        self.backblock2 = YoloBlock(384, 128, out)

    def construct(self, x: Any) -> Any:
        fine, middle, coarse = self.backbone(x)
        x, big = self.backblock0(coarse)
        x, medium = self.backblock1(ops.cat((double(self.conv1(x)), middle), 1))
        _, small = self.backblock2(ops.cat((double(self.conv2(x)), fine), 1))
        return big, medium, small


class Yolo4Map(nn.Cell):
    SIZES = (
        (1024, 512, 1), (512, 1024, 3), (1024, 512, 1), (2048, 512, 1), (512, 1024, 3),
        (1024, 512, 1), (512, 256, 1), (512, 256, 1), (256, 128, 1), (256, 128, 1),
        (128, 256, 3, 2), (256, 512, 3, 2),
    )  # fmt: skip

    def __init__(self, out: int):
        super().__init__()
        self.backbone = CspDarkNet()
        for index, sizes in enumerate(self.SIZES, 1):
            setattr(self, f"conv{index}", unit(*sizes))
        self.maxpool1 = nn.MaxPool2d(5, 1, pad_mode="same")
        self.maxpool2 = nn.MaxPool2d(9, 1, pad_mode="same")
        self.maxpool3 = nn.MaxPool2d(13, 1, pad_mode="same")
        self.backblock0 = YoloBlock(512, 256, out)
        self.backblock1 = YoloBlock(256, 128, out)
        self.backblock2 = YoloBlock(512, 256, out)
        self.backblock3 = YoloBlock(1024, 512, out)

    def construct(self, x: Any) -> Any:
        fine, middle, coarse = self.backbone(x)
        x = self.conv3(self.conv2(self.conv1(coarse)))
        x = ops.cat((self.maxpool3(x), self.maxpool2(x), self.maxpool1(x), x), 1)
        deep = self.conv6(self.conv5(self.conv4(x)))
        x = ops.cat((double(self.conv7(deep)), self.conv8(middle)), 1)
        side, _ = self.backblock0(x)
        x = ops.cat((double(self.conv9(side)), self.conv10(fine)), 1)
        x, small = self.backblock1(x)
        x, medium = self.backblock2(ops.cat((self.conv11(x), side), 1))
        _, big = self.backblock3(ops.cat((self.conv12(x), deep), 1))
        return big, medium, small


class Detector(nn.Cell):
    """The zoo's network without training: boxes, scaled to the image."""

    def __init__(self, feature_map: nn.Cell, anchors: Any, scales: Any):
        super().__init__()
        self.feature_map = feature_map
        self.anchors, self.scales = anchors, scales

    def construct(self, x: Any) -> Any:
        raw = self.feature_map(x)
        big, medium, small = (
            self.boxes(raw[i], self.anchors[i], self.scales[i], x.shape) for i in range(3)
        )
        return (*raw, big, medium, small)

    def boxes(self, raw: Any, anchors: Any, scale: float, image: Any) -> Any:
        batch, channels, rows, columns = raw.shape
        raw = raw.reshape(batch, 3, channels // 3, rows, columns).transpose(0, 3, 4, 1, 2)
        grid_x = ops.arange(columns).astype(ms.float32).reshape(1, 1, -1, 1, 1)
        grid_y = ops.arange(rows).astype(ms.float32).reshape(1, -1, 1, 1, 1)
        shift = (scale - 1) / 2
        x = (ops.sigmoid(raw[..., 0:1]) * scale - shift + grid_x) / columns
        y = (ops.sigmoid(raw[..., 1:2]) * scale - shift + grid_y) / rows
        size = ops.exp(raw[..., 2:4]) * ms.Tensor(anchors, ms.float32)
        size = size / ms.Tensor([image[3], image[2]], ms.float32)
        return ops.cat((x, y, size, ops.sigmoid(raw[..., 4:])), -1)


class BertAttention(nn.Cell):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.query_layer = nn.Dense(width, width)
        self.key_layer = nn.Dense(width, width)
        self.value_layer = nn.Dense(width, width)
        self.heads = heads

    def construct(self, x: Any, mask: Any) -> Any:
        batch, length, width = x.shape
        size = width // self.heads
        query, key, value = (
            layer(x).reshape(batch, length, self.heads, size).transpose(0, 2, 1, 3)
            for layer in (self.query_layer, self.key_layer, self.value_layer)
        )
        scores = ops.BatchMatMul(transpose_b=True)(query, key) / math.sqrt(size)
        weights = nn.Softmax()(scores + (1.0 - mask) * -10000.0)
        return ops.BatchMatMul()(weights, value).transpose(0, 2, 1, 3).reshape(x.shape)


class BertOutput(nn.Cell):
    def __init__(self, features: int, width: int):
        super().__init__()
        self.dense = nn.Dense(features, width)
        self.layernorm = nn.LayerNorm((width,))

    def construct(self, x: Any, shortcut: Any) -> Any:
        return self.layernorm(shortcut + self.dense(x))


class BertSelfAttention(nn.Cell):
    def __init__(self, width: int, heads: int):
        super().__init__()
        self.attention = BertAttention(width, heads)
        self.output = BertOutput(width, width)

    def construct(self, x: Any, mask: Any) -> Any:
        return self.output(self.attention(x, mask), x)


class BertCell(nn.Cell):
    def __init__(self, width: int, heads: int, hidden: int):
        super().__init__()
        self.attention = BertSelfAttention(width, heads)
        self.intermediate = nn.Dense(width, hidden, activation="gelu")
        self.output = BertOutput(hidden, width)

    def construct(self, x: Any, mask: Any) -> Any:
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class BertEncoder(nn.Cell):
    def __init__(self, depth: int, *sizes: int):
        super().__init__()
        self.layers = nn.CellList([BertCell(*sizes) for _ in range(depth)])

    def construct(self, x: Any, mask: Any) -> Any:
        for layer in self.layers:
            x = layer(x, mask)
        return x


class BertEmbedding(nn.Cell):
    def __init__(self, types: int, positions: int, width: int):
        super().__init__()
        self.token_type_embedding = nn.Embedding(types, width)
        self.full_position_embedding = nn.Embedding(positions, width)
        self.layernorm = nn.LayerNorm((width,))

    def construct(self, words: Any, types: Any) -> Any:
        positions = ops.arange(words.shape[1]).astype(ms.int32).reshape(1, -1)
        x = words + self.token_type_embedding(types) + self.full_position_embedding(positions)
        return self.layernorm(x)


class Bert(nn.Cell):
    def __init__(self, vocab: int, width: int, depth: int, heads: int, hidden: int, positions: int):
        super().__init__()
        self.bert_embedding_lookup = nn.Embedding(vocab, width)
        self.bert_embedding_postprocessor = BertEmbedding(2, positions, width)
        self.bert_encoder = BertEncoder(depth, width, heads, hidden)
        self.dense = nn.Dense(width, width, activation="tanh")

    def construct(self, ids: Any, types: Any, mask: Any) -> Any:
        x = self.bert_embedding_postprocessor(self.bert_embedding_lookup(ids), types)
        x = self.bert_encoder(x, mask.astype(ms.float32).reshape(mask.shape[0], 1, 1, -1))
        return x, self.dense(x[:, 0])


def yolov3(classes: int, anchors: Any) -> nn.Cell:
    return Detector(Yolo3Map(3 * (5 + classes)), anchors, (1.0, 1.0, 1.0))


def yolov4(classes: int, anchors: Any, scales: Any) -> nn.Cell:
    return Detector(Yolo4Map(3 * (5 + classes)), anchors, scales)
