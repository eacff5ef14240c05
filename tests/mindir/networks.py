"""The MindSpore process: it exports every network of cases.py, and keeps inputs and results.

``python networks.py FOLDER``: for each case FOLDER/name.mindir and FOLDER/name.npz, or
FOLDER/name.txt with the error.
"""

from __future__ import annotations

import contextlib
import sys
import zlib
from pathlib import Path
from typing import Any

import cases
import mindspore as ms
import numpy as np
from mindspore import mint, nn, ops

rng = np.random.default_rng(0)


def f(*shape: int, dtype: Any = np.float32) -> ms.Tensor:
    return ms.Tensor(rng.standard_normal(shape).astype(dtype))


def p(*shape: int) -> ms.Tensor:
    return ms.Tensor(rng.uniform(0.05, 0.95, shape).astype(np.float32))


def i(high: int, *shape: int, dtype: Any = np.int32) -> ms.Tensor:
    return ms.Tensor(rng.integers(0, high, shape).astype(dtype))


def flat(value: Any) -> list[np.ndarray]:
    if isinstance(value, tuple | list):
        return [array for part in value for array in flat(part)]
    return [value.asnumpy() if isinstance(value, ms.Tensor) else np.asarray(value)]


def export(name: str, network: str, inputs: str, folder: Path) -> None:
    global rng
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    ms.set_seed(1)
    names = {**globals(), "mint": mint, "nn": nn, "ops": ops}
    net = eval(network, names).set_train(False)
    args = eval(f"({inputs},)", names)
    ms.export(net, *args, file_name=str(folder / name), file_format="MINDIR")
    results = flat(net(*args))
    np.savez(
        folder / f"{name}.npz",
        **{f"input{k}": a for k, a in enumerate(flat(args))},
        **{f"output{k}": a for k, a in enumerate(results)},
    )


def warm_up() -> None:
    """MindSpore 2.10's first operator of a process fails where NumPy 2 warns while importing."""
    with contextlib.suppress(SystemError):
        ms.Tensor(np.zeros((2, 2), np.float32)).reshape(4)


def main() -> None:
    folder = Path(sys.argv[1])
    warm_up()
    for name, (network, inputs) in cases.CASES.items():
        try:
            export(name, network, inputs, folder)
        except Exception as error:
            (folder / f"{name}.txt").write_text(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main()
