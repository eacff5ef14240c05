"""Write small model files with the MindSpore that is installed, and the numbers that it computes.

The archives beside this script were made by it on a CPU, each version in an environment of its own
(2.7 to 2.9 with Python 3.10 and ``'numpy<2'`` instead)::

    python3.9 -m venv v2.0.0
    v2.0.0/bin/pip install mindspore==2.0.0 'numpy<1.24' 'scipy<1.12' 'protobuf<4' 'pillow<10'
    v2.0.0/bin/python make.py .

``<version>.zip`` has a ``.mindir`` for each network, and ``numbers.npz`` with the inputs
``<network>.input0`` and the results ``<network>.output0`` of the cell itself. No release between
2.0.0 and 2.7.0 has wheels for the Pythons at hand.
"""

from __future__ import annotations

import sys
import tempfile
import zipfile
from pathlib import Path

import mindspore as ms
import numpy as np
from mindspore import nn, ops

rng = np.random.default_rng(0)


def f(*shape):
    return ms.Tensor(rng.standard_normal(shape).astype(np.float32))


class Mlp(nn.Cell):
    def __init__(self):
        super().__init__()
        self.first = nn.Dense(3, 8, activation="relu")
        self.second = nn.Dense(8, 4)

    def construct(self, x):
        return ops.Softmax(-1)(self.second(self.first(x)))


class Cnn(nn.Cell):
    def __init__(self):
        super().__init__()
        self.features = nn.SequentialCell(
            nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2, 2),
            nn.Conv2d(4, 4, 3, stride=2, pad_mode="pad", padding=1, group=2, has_bias=True),
            nn.AvgPool2d(2, 1),
        )  # fmt: skip
        self.head = nn.Dense(4, 5)

    def construct(self, x):
        return self.head(self.features(x).mean((2, 3)))


class Flow(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(4, 4)

    def construct(self, x, count):
        i = ms.Tensor(0, ms.int32)
        while i < count:
            if x.sum() > 0:  # noqa: SIM108 - the control flow that is tested
                x = self.dense(x)
            else:
                x = x * 2 + 1
            i = i + 1
        return x, (i, x.sum())


class Lstm(nn.Cell):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 4, num_layers=1, batch_first=True)

    def construct(self, x, h, c):
        return self.lstm(x, (h, c))


class Block(nn.Cell):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm((8,)), nn.LayerNorm((8,))
        self.query, self.key, self.value, self.out = (nn.Dense(8, 8) for _ in range(4))
        self.up, self.down = nn.Dense(8, 16), nn.Dense(16, 8)
        self.gelu, self.softmax, self.matmul = nn.GELU(), ops.Softmax(-1), ops.BatchMatMul()

    def heads(self, x):
        return x.reshape(2, 5, 2, 4).transpose(0, 2, 1, 3)

    def construct(self, x):
        y = self.norm1(x)
        keys = self.heads(self.key(y)).transpose(0, 1, 3, 2)
        scores = self.matmul(self.heads(self.query(y)), keys) * 0.5
        y = self.matmul(self.softmax(scores), self.heads(self.value(y)))
        x = x + self.out(y.transpose(0, 2, 1, 3).reshape(2, 5, 8))
        return x + self.down(self.gelu(self.up(self.norm2(x))))


NETWORKS = {
    "mlp": (Mlp, lambda: [f(2, 3)]),
    "cnn": (Cnn, lambda: [f(2, 2, 8, 8)]),
    "flow": (Flow, lambda: [f(2, 4), ms.Tensor(3, ms.int32)]),
    "lstm": (Lstm, lambda: [f(2, 5, 3), f(1, 2, 4), f(1, 2, 4)]),
    "block": (Block, lambda: [f(2, 5, 8)]),
}


def filled(net):
    """The network with weights that are not those of its initialisation, such as zeros."""
    for parameter in net.get_parameters():
        values = rng.uniform(0.2, 0.8, parameter.shape) * rng.choice([-1, 1], parameter.shape)
        positive = parameter.name.endswith(("moving_variance", "gamma"))
        values = np.abs(values) if positive else values
        parameter.set_data(ms.Tensor(values.astype(np.float32)))
    return net.set_train(False)


def leaves(result):
    if isinstance(result, (tuple, list)):
        return [leaf for part in result for leaf in leaves(part)]
    return [result.asnumpy()]


def write(folder):
    """Write the files of all networks; a network that fails is left out, and told."""
    numbers = {}
    for name, (make, inputs) in NETWORKS.items():
        try:
            net, given = filled(make()), inputs()
            ms.export(net, *given, file_name=str(folder / name), file_format="MINDIR")
            for kind, values in (("input", given), ("output", net(*given))):
                for number, value in enumerate(leaves(values)):
                    numbers[f"{name}.{kind}{number}"] = value
        except Exception as error:
            print(f"{name}: {type(error).__name__}: {str(error)[:1000]}", file=sys.stderr)
    np.savez(folder / "numbers.npz", **numbers)


def pack(folder, archive):
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for file in sorted(folder.iterdir()):
            packed.write(file, file.name)


def main(target):
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder))
        pack(Path(folder), Path(target) / f"{ms.__version__}.zip")


if __name__ == "__main__":
    main(*sys.argv[1:])
