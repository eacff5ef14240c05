"""Write models with MindSpore 2.10 whose dtypes, structures or places in errors are tested.

``python models.py .`` makes ``models.zip`` as ``make.py`` makes its archives.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import make
import mindspore as ms
import numpy as np
from mindspore import nn, ops

rng = np.random.default_rng(0)


def f(*shape, dtype=np.float32):
    return ms.Tensor(rng.standard_normal(shape).astype(dtype))


def parameter(array, name):
    return ms.Parameter(ms.Tensor(array), name=name)


class Float64(nn.Cell):
    def __init__(self):
        super().__init__()
        self.w = parameter(rng.standard_normal((3, 4)), "w")
        self.b = parameter(rng.standard_normal(4), "b")

    def construct(self, x):
        return ops.matmul(x, self.w) + self.b


class Int64(nn.Cell):
    def __init__(self):
        super().__init__()
        self.offset = parameter(np.array([2**40 + 3, 5, -(2**35)]), "offset")

    def construct(self, x):
        return x + self.offset


class Complex128(nn.Cell):
    def __init__(self):
        super().__init__()
        self.w = parameter(rng.standard_normal(3) + 1j * rng.standard_normal(3), "w")

    def construct(self, x):
        return x * self.w


class Positions(nn.Cell):
    """Whole numbers of 64 bits that 32 would hold, as language models have them."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(10, 4)
        self.position = parameter(np.arange(3), "position")

    def construct(self, ids):
        return self.table(ids + self.position)


class Constant(nn.Cell):
    def __init__(self):
        super().__init__()
        self.constant = ms.Tensor(np.array([1e-17, 1, 2]))

    def construct(self, x):
        return x.astype(ms.float64) * self.constant


class Inputs(nn.Cell):
    def construct(self, x, i):
        return x * 2 + 1, i * 3


class Loop(nn.Cell):
    def __init__(self):
        super().__init__()
        self.w = parameter(rng.standard_normal(3), "w")

    def construct(self, x, n):
        i = 0
        while i < n:
            x = x * self.w + 1
            i = i + 1
        return x


class Nested(nn.Cell):
    def __init__(self):
        super().__init__()
        self.dense = nn.Dense(4, 4)

    def construct(self, x, pair):
        return self.dense(x), (pair[0] + 1, (pair[1],)), x


class Lists(nn.Cell):
    def construct(self, x, pair):
        return [x + pair[0], pair[1]]


class Branches(nn.Cell):
    """Two layers, of which an input chooses one; a weight that both share; one that is unused."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Dense(4, 4), nn.Dense(4, 4)
        self.second.weight = self.first.weight
        self.unused = parameter(np.ones(5, np.float32), "unused")

    def construct(self, x, flag):
        if flag:  # noqa: SIM108 - the control flow that is tested
            y = self.first(x)
        else:
            y = self.second(x)
        return y


class Experts(nn.Cell):
    def __init__(self):
        super().__init__()
        self.experts = nn.CellList([nn.Dense(4, 4) for _ in range(3)])

    def construct(self, x, index):
        return self.experts[index](x)


class Layers(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell([nn.Dense(4, 4), nn.Dense(4, 4)])

    def construct(self, x, mask):
        return self.layers(x) + mask


class Norm(nn.Cell):
    def __init__(self):
        super().__init__()
        self.layers = nn.SequentialCell([nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)])

    def construct(self, x):
        return self.layers(x)


def whole(*numbers, dtype=np.int64):
    return ms.Tensor(np.array(numbers, dtype))


def scalar(number, dtype):
    return ms.Tensor(np.array(number, dtype))


NETWORKS = {
    "float64": (Float64, lambda: [f(2, 3, dtype=np.float64)]),
    "int64": (Int64, lambda: [whole(1, 2, 3)]),
    "complex128": (Complex128, lambda: [ms.Tensor(rng.standard_normal(3) + 0j)]),
    "positions": (Positions, lambda: [whole([1, 2, 3])]),
    "constant": (Constant, lambda: [f(3)]),
    "inputs": (Inputs, lambda: [f(3, dtype=np.float64), whole(2**33, 5)]),
    "loop": (Loop, lambda: [f(3, dtype=np.float64), scalar(4, np.int64)]),
    "nested": (Nested, lambda: [f(2, 4), ms.mutable((f(2), f(3)))]),
    "lists": (Lists, lambda: [f(2), ms.mutable([f(2), f(3)])]),
    "branches": (Branches, lambda: [f(2, 4), ms.Tensor(True)]),
    "experts": (Experts, lambda: [f(2, 4), scalar(1, np.int32)]),
    "layers": (Layers, lambda: [f(2, 4), f(2, 4)]),
    "training": (Norm, lambda: [f(2, 2, 4, 4)]),
}


def main(target):
    ms.set_context(mode=ms.GRAPH_MODE, device_target="CPU")
    numbers = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for name, (made, inputs) in NETWORKS.items():
            net, given = made().set_train(name == "training"), inputs()
            ms.export(net, *given, file_name=str(folder / name), file_format="MINDIR")
            for kind, values in (("input", given), ("output", net(*given))):
                for number, value in enumerate(make.leaves(values)):
                    numbers[f"{name}.{kind}{number}"] = value
        np.savez(folder / "numbers.npz", **numbers)
        make.pack(folder, Path(target) / "models.zip")


if __name__ == "__main__":
    main(*sys.argv[1:])
