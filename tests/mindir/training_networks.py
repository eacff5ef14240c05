"""The MindSpore process of test_training.py: whole networks, their gradients and training steps.

``python training_networks.py FOLDER [NAME ...]``: for each network FOLDER/name.mindir, which gives
the loss and the gradients of all weights, and FOLDER/name.npz with inputs and results; for each of
the training steps FOLDER/name.mindir and the losses and weights of three steps.
"""

from __future__ import annotations

import os
import sys
import zlib
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import nn, ops
from networks import flat, warm_up

ms.set_context(mode=ms.GRAPH_MODE)
rng = np.random.default_rng(0)


def f(*shape: int) -> ms.Tensor:
    return ms.Tensor(rng.standard_normal(shape).astype(np.float32))


def i(high: int, *shape: int) -> ms.Tensor:
    return ms.Tensor(rng.integers(0, high, shape).astype(np.int32))


class MLP(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell(
            nn.Dense(6, 8), nn.Tanh(), nn.Dense(8, 8), nn.LeakyReLU(), nn.Dense(8, 4)
        )

    def construct(self, x):
        return self.layers(x)


class ConvNet(nn.Cell):
    """Convolutions, batch normalization in training, both poolings."""

    def __init__(self, train=True):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 8, 3, 2, "pad", 1, has_bias=True), nn.BatchNorm2d(8)
        self.relu, self.max, self.mean = nn.ReLU(), nn.MaxPool2d(2, 2), nn.AvgPool2d(2, 2)
        self.head = nn.Dense(8, 4)

    def construct(self, x):
        x = self.max(self.relu(self.bn1(self.conv1(x))))
        x = self.mean(self.relu(self.bn2(self.conv2(x))))
        return self.head(x.mean((2, 3)))


class Residual(nn.Cell):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 6, 3), nn.BatchNorm2d(6)
        self.short, self.bn3 = nn.Conv2d(3, 6, 1, 2), nn.BatchNorm2d(6)
        self.head = nn.Dense(6, 4)

    def construct(self, x):
        y = self.bn2(self.conv2(ops.relu(self.bn1(self.conv1(x)))))
        y = ops.relu(y + self.bn3(self.short(x)))
        return self.head(ops.adaptive_avg_pool2d(y, 1).flatten(start_dim=1))


class Mobile(nn.Cell):
    """A depthwise convolution, squeeze and excitation, hard swish."""

    def __init__(self):
        super().__init__()
        self.expand, self.depth = nn.Conv2d(3, 12, 1), nn.Conv2d(12, 12, 3, group=12)
        self.bn, self.project = nn.BatchNorm2d(12), nn.Conv2d(12, 3, 1)
        self.reduce, self.excite = nn.Dense(12, 4), nn.Dense(4, 12)
        self.swish, self.gate = nn.HSwish(), nn.HSigmoid()

    def construct(self, x):
        y = self.swish(self.bn(self.depth(self.swish(self.expand(x)))))
        s = self.gate(self.excite(ops.relu(self.reduce(y.mean((2, 3))))))
        y = y * s[:, :, None, None]
        return (x + self.project(y)).mean((2, 3))


class UNet(nn.Cell):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, has_bias=True), nn.Conv2d(6, 12, 3)
        self.pool, self.up = nn.MaxPool2d(2, 2), nn.Conv2dTranspose(12, 6, 2, 2, has_bias=True)
        self.out = nn.Conv2d(12, 3, 1)

    def construct(self, x):
        a = ops.relu(self.down1(x))
        b = ops.relu(self.down2(self.pool(a)))
        b = ops.interpolate(b, (4, 4), mode="bilinear", align_corners=True)
        return ops.sigmoid(self.out(ops.cat((a, self.up(b)), 1)))


class Diffusion(nn.Cell):
    """Group normalization, SiLU and nearest neighbours, as in diffusion models."""

    def __init__(self):
        super().__init__()
        self.norm, self.conv = nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3, has_bias=True)
        self.time = nn.Dense(4, 4)

    def construct(self, x, t):
        h = self.conv(ops.silu(self.norm(x)))
        h = h + self.time(ops.silu(t))[:, :, None, None]
        return ops.interpolate(h, (8, 8), mode="nearest") + ops.interpolate(x, (8, 8))


class Attention(nn.Cell):
    """A causal block: layer normalization, heads, softmax, GeLU."""

    def __init__(self, width=8, heads=2):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm1, self.norm2 = nn.LayerNorm((width,)), nn.LayerNorm((width,))
        self.qkv, self.out = nn.Dense(width, 3 * width), nn.Dense(width, width)
        self.up, self.down = nn.Dense(width, 4 * width), nn.Dense(4 * width, width)

    def construct(self, x):
        n, t, d = x.shape
        q, k, v = ops.split(self.qkv(self.norm1(x)), d, 2)
        q = q.reshape(n, t, self.heads, -1).transpose(0, 2, 1, 3)
        k = k.reshape(n, t, self.heads, -1).transpose(0, 2, 3, 1)
        v = v.reshape(n, t, self.heads, -1).transpose(0, 2, 1, 3)
        mask = ops.tril(ops.ones((t, t))).astype(ms.bool_)
        scores = ops.masked_fill(ops.matmul(q, k) * self.scale, ops.logical_not(mask), -1e9)
        y = ops.matmul(ops.softmax(scores, -1), v).transpose(0, 2, 1, 3).reshape(n, t, d)
        x = x + self.out(y)
        return x + self.down(ops.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Language(nn.Cell):
    def __init__(self):
        super().__init__()
        self.words, self.places = nn.Embedding(11, 8), nn.Embedding(5, 8)
        self.block, self.norm = Attention(), nn.LayerNorm((8,))

    def construct(self, ids):
        x = self.words(ids) + self.places(ops.arange(ids.shape[1]))
        x = self.norm(self.block(x))
        return ops.matmul(x, self.words.embedding_table.T).reshape(-1, 11)


class Patches(nn.Cell):
    """A vision transformer."""

    def __init__(self):
        super().__init__()
        self.patch, self.block = nn.Conv2d(3, 8, 4, 4, "valid", has_bias=True), Attention()
        self.token = ms.Parameter(ops.zeros((1, 1, 8)), name="token")
        self.head = nn.Dense(8, 4)

    def construct(self, x):
        x = self.patch(x).flatten(start_dim=2).swapaxes(1, 2)
        x = ops.cat((ops.tile(self.token, (x.shape[0], 1, 1)), x), 1)
        return self.head(self.block(x)[:, 0])


class Encoder(nn.Cell):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.encoder, self.head = nn.TransformerEncoder(layer, 1), nn.Dense(8, 4)

    def construct(self, x):
        return self.head(self.encoder(x).mean(1))


class Words(nn.Cell):
    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(10, 6), nn.Dense(6, 4)

    def construct(self, ids):
        return self.head(self.table(ids).mean(1))


class Recurrent(nn.Cell):
    def __init__(self, layer):
        super().__init__()
        self.layer, self.head = layer, nn.Dense(5, 4)

    def construct(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Cells(nn.Cell):
    """Steps of a cell, unrolled."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.LSTMCell(4, 5), nn.Dense(5, 4)

    def construct(self, x):
        h = c = ops.zeros((x.shape[0], 5))
        for step in range(3):
            h, c = self.cell(x[:, step], (h, c))
        return self.head(h)


class Messages(nn.Cell):
    """A graph network: gathers along edges, sums at nodes."""

    def __init__(self):
        super().__init__()
        self.message, self.head = nn.Dense(4, 6, activation="relu"), nn.Dense(6, 4)

    def construct(self, x, source, target):
        messages = ops.gather(self.message(x), source, 0)
        return self.head(ops.unsorted_segment_sum(messages, target, 6))


class Embedded(nn.Cell):
    """Normalized outputs of two inputs."""

    def __init__(self):
        super().__init__()
        self.net = nn.SequentialCell(nn.Dense(5, 6), nn.PReLU(6), nn.Dense(6, 3), nn.ELU())

    def construct(self, x, y):
        x, y = self.net(x), self.net(y)
        x = x / ops.sqrt((x * x).sum(1, keepdims=True) + 1e-6)
        return ops.abs(x - ops.L2Normalize(1)(y)).max(1) + ops.maximum(x, y).sum(1)


class Half(nn.Cell):
    """Computed in float16, with weights of float32."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Dense(6, 8).to_float(ms.float16), nn.Dense(8, 4).to_float(ms.float16)

    def construct(self, x):
        return self.b(ops.relu(self.a(x))).astype(ms.float32)


class Branch(nn.Cell):
    """Another layer for each sign of the input."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Dense(6, 4), nn.Dense(6, 4, activation="tanh")

    def construct(self, x):
        if x.sum() > 0:
            y = self.a(x) * x[:, :4]
        else:
            y = ops.exp(self.b(x))
            if x.max() > 1:
                y = y * y
        return y + 1


class WithLoss(nn.Cell):
    """The loss of a network, whose last input is the target."""

    def __init__(self, net, loss):
        super().__init__()
        self.net, self.loss = net, loss

    def construct(self, *args):
        return self.loss(self.net(*args[:-1]), args[-1])


class Gradients(nn.Cell):
    def __init__(self, loss):
        super().__init__()
        self.loss = loss
        weights = ms.ParameterTuple(loss.trainable_params())
        self.gradients = ms.value_and_grad(loss, None, weights)

    def construct(self, *args):
        return self.gradients(*args)


def _classes():
    return nn.CrossEntropyLoss()


#: The network, the loss, the inputs, of which the last is the target.
NETWORKS: dict[str, Any] = {
    "mlp": lambda: (MLP(), _classes(), f(5, 6), i(4, 5)),
    "convnet": lambda: (ConvNet(), _classes(), f(4, 3, 8, 8), i(4, 4)),
    "residual": lambda: (Residual(), _classes(), f(4, 3, 8, 8), i(4, 4)),
    "mobile": lambda: (Mobile(), nn.MSELoss(), f(4, 3, 6, 6), f(4, 3)),
    "unet": lambda: (UNet(), nn.BCELoss(reduction="mean"), f(2, 3, 8, 8),
                     ops.sigmoid(f(2, 3, 8, 8))),
    "diffusion": lambda: (Diffusion(), nn.SmoothL1Loss(), f(2, 4, 4, 4), f(2, 4), f(2, 4, 8, 8)),
    "language": lambda: (Language(), nn.SoftmaxCrossEntropyWithLogits(True, "mean"), i(11, 2, 5),
                         i(11, 10)),
    "patches": lambda: (Patches(), _classes(), f(3, 3, 8, 8), i(4, 3)),
    "encoder": lambda: (Encoder(), _classes(), f(2, 3, 8), i(4, 2)),
    "words": lambda: (Words(), _classes(), i(10, 3, 5), i(4, 3)),
    "lstm": lambda: (Recurrent(nn.LSTM(4, 5, batch_first=True)), _classes(), f(3, 4, 4), i(4, 3)),
    "gru": lambda: (Recurrent(nn.GRU(4, 5, batch_first=True)), _classes(), f(3, 4, 4), i(4, 3)),
    "cells": lambda: (Cells(), nn.HuberLoss(), f(2, 3, 4), f(2, 4)),
    "messages": lambda: (Messages(), nn.L1Loss(), f(6, 4), i(6, 9), i(6, 9), f(6, 4)),
    "embedded": lambda: (Embedded(), nn.MSELoss("sum"), f(4, 5), f(4, 5), f(4)),
    "branch": lambda: (Branch(), nn.MSELoss(), f(5, 6) - 0.5, f(5, 4)),
    "half": lambda: (Half(), _classes(), f(5, 6), i(4, 5)),
}  # fmt: skip

#: The axes of inputs that are dynamic: the number of the input, and the axis.
DYNAMIC = {"mlp": [(0, 0), (1, 0)], "words": [(0, 0), (0, 1), (1, 0)]}

#: The optimizer of each training step, and the network that it trains.
STEPS: dict[str, tuple[str, Any]] = {
    "momentum": ("convnet", lambda p: nn.Momentum(p, 0.1, 0.9, weight_decay=1e-3)),
    "sgd": ("mlp", lambda p: nn.SGD(p, 0.1, momentum=0.9)),
    "adam": ("mlp", lambda p: nn.Adam(p, 0.01)),
    "adam_rate": ("words", lambda p: nn.Adam(
        p, nn.ExponentialDecayLR(0.01, 0.5, 1), weight_decay=1e-2)),
    "adamw": ("language", lambda p: nn.AdamWeightDecay(p, 0.01, weight_decay=0.1)),
    "rmsprop": ("mlp", lambda p: nn.RMSProp(p, 0.01)),
    "adagrad": ("mlp", lambda p: nn.Adagrad(p)),
    "adafactor": ("mlp", lambda p: nn.AdaFactor(p, None, beta1=0.9)),
    "adamoffload": ("mlp", lambda p: nn.AdamOffload(p, 0.01)),
    "asgd": ("mlp", lambda p: nn.ASGD(p)),
    "adadelta": ("mlp", lambda p: nn.Adadelta(p)),
    "adamax": ("mlp", lambda p: nn.AdaMax(p, 0.01)),
    "amsgrad": ("mlp", lambda p: nn.Adam(p, 0.01, use_amsgrad=True)),
    "ftrl": ("mlp", lambda p: nn.FTRL(p, learning_rate=0.1)),
    "lazyadam": ("mlp", lambda p: nn.LazyAdam(p, 0.01)),
    "proximal": ("mlp", lambda p: nn.ProximalAdagrad(p)),
    "rprop": ("mlp", lambda p: nn.Rprop(p, 0.01)),
}  # fmt: skip


def made(name: str) -> tuple[nn.Cell, list[ms.Tensor]]:
    global rng
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    ms.set_seed(1)
    net, loss, *inputs = NETWORKS[name]()
    return WithLoss(net, loss).set_train(), inputs


def gradients(name: str, folder: Path) -> None:
    loss, inputs = made(name)
    cell, declared = Gradients(loss), list(inputs)
    for number, axis in DYNAMIC.get(name, ()):
        shape = list(declared[number].shape)
        shape[axis] = None
        declared[number] = ms.Tensor(shape=shape, dtype=inputs[number].dtype)
    ms.export(cell, *declared, file_name=str(folder / name), file_format="MINDIR")
    save(folder / name, inputs, flat(cell(*inputs)))


def steps(name: str, folder: Path) -> None:
    network, optimizer = STEPS[name]
    loss, inputs = made(network)
    cell = nn.TrainOneStepCell(loss, optimizer(loss.trainable_params())).set_train()
    ms.export(cell, *inputs, file_name=str(folder / name), file_format="MINDIR")
    found: dict[str, np.ndarray] = {}
    for step in range(3):
        found[f"loss{step}"] = cell(*inputs).asnumpy().copy()
        for key, value in cell.parameters_dict().items():
            found[f"step{step}:{key}"] = value.asnumpy().copy()
    save(folder / name, inputs, [], **found)


def save(path: Path, inputs: list[ms.Tensor], outputs: list[np.ndarray], **more: Any) -> None:
    arrays = {f"input{k}": a for k, a in enumerate(flat(inputs))}
    np.savez(f"{path}.npz", **arrays, **{f"output{k}": a for k, a in enumerate(outputs)}, **more)


def main() -> None:
    folder = Path(sys.argv[1])
    os.chdir(folder)  # MindSpore leaves files where it fails
    warm_up()
    for name in sys.argv[2:] or [*NETWORKS, *STEPS]:
        try:
            (gradients if name in NETWORKS else steps)(name, folder)
        except Exception as error:
            (folder / f"{name}.txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
