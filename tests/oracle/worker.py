"""Real MindSpore in a process of its own: JSON requests on stdin, JSON answers on stdout.

Arrays travel as raw bytes in files of a folder that both sides know. Importing MindSpore beside
JAX in one process breaks it.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

answers = os.fdopen(os.dup(1), "w")  # MindSpore prints to stdout, also from C++
os.dup2(2, 1)

import mindspore as ms
import numpy as np
from mindspore import mint, nn  # noqa: F401 (what tests evaluate)
from mindspore.experimental import optim  # noqa: F401
from mindspore.train import serialization
from mindspore.train.callback import _checkpoint

with contextlib.suppress(SystemError):  # only the first such call fails: it looks for NumPy 1
    ms.ops.reshape(ms.Tensor([0.0]), (1, 1))

_SLICE, _BLOCK = serialization.SLICE_SIZE, serialization.ENCRYPT_BLOCK_SIZE


def describe(name: str, value: Any, folder: str, index: int) -> dict[str, Any]:
    """dtype, shape and the file of the bits; the text itself for a str."""
    if isinstance(value, str):
        return {"name": name, "dtype": "str", "shape": [], "text": value}
    data = value.data if isinstance(value, ms.Parameter) else value
    path = f"{folder}/{index}.bin"
    Path(path).write_bytes(bytes(data.get_bytes()) if data.size else b"")
    return {"name": name, "dtype": str(data.dtype), "shape": list(data.shape), "file": path}


def tensor(spec: dict[str, Any]) -> Any:
    if spec["dtype"] == "str":
        return spec["text"]
    kind = serialization.tensor_to_ms_type[spec["dtype"]]
    data = Path(spec["file"]).read_bytes()
    made = serialization.Tensor_.convert_bytes_to_tensor(data, tuple(spec["shape"]), kind)
    return ms.Parameter(made, name=spec["name"])


def load(path: str, folder: str, kwargs: dict[str, Any]) -> list[dict[str, Any]]:
    loaded = ms.load_checkpoint(path, **kwargs)
    return [describe(n, v, folder, i) for i, (n, v) in enumerate(loaded.items())]


def save(path: str, params: list[dict[str, Any]], kwargs: dict[str, Any]) -> None:
    append = {s["name"]: s["value"] for s in params if "value" in s}
    items = [{"name": s["name"], "data": tensor(s)} for s in params if "value" not in s]
    before = threading.enumerate()
    ms.save_checkpoint(items, path, append_dict=append or None, **kwargs)
    for thread in set(threading.enumerate()) - set(before):
        thread.join()  # it reads the options of this request, which the next one changes


def load_into_dense(path: str) -> dict[str, Any]:
    net = ms.nn.Dense(4, 3)
    missing, unused = ms.load_param_into_net(net, ms.load_checkpoint(path))
    x = ms.Tensor(np.arange(8, dtype=np.float32).reshape(2, 4))
    return {"missing": missing, "unused": unused, "output": net(x).asnumpy().tolist()}


def transform(
    src: str, dst: str, prefix: str, from_: str | None, to: str | None, form: str = "ckpt"
) -> None:
    ms.transform_checkpoints(src, dst, prefix, from_, to, output_format=form)


def unify(src: str, strategy: str, dst: str, redundant: bool) -> None:
    # It waits, without end, while more than half of the machine's memory is taken.
    with mock.patch("psutil.virtual_memory", return_value=SimpleNamespace(percent=0)):
        ms.unified_safetensors(src, strategy, dst, merge_with_redundancy=redundant)


def merge_sliced(files: list[str], name: str, strategy: str | None, folder: str) -> Any:
    slices = [ms.load_checkpoint(file)[name] for file in files]
    layouts = None if strategy is None else ms.build_searched_strategy(strategy)
    return describe(name, ms.merge_sliced_parameter(slices, layouts), folder, 0)


class Holder(ms.nn.Cell):
    """A network of parameters and nothing else."""

    def __init__(self, shapes: dict[str, list[int]], dtypes: dict[str, str]):
        super().__init__()
        for name, shape in shapes.items():
            zeros = ms.Tensor(np.zeros(shape, np.float32)).astype(getattr(ms, dtypes[name]))
            setattr(self, name, ms.Parameter(zeros, name=name))


def load_distributed(
    files: list[str], strategy: str, shapes: dict[str, list[int]], dtypes: dict[str, str],
    folder: str,
) -> list[dict[str, Any]]:  # fmt: skip
    net = Holder(shapes, dtypes)
    ms.load_distributed_checkpoint(net, files, None, strategy)
    return [describe(p.name, p, folder, i) for i, p in enumerate(net.get_parameters())]


def split_unified(source: str, strategy: str, dst: str) -> None:
    ms.load_distributed_checkpoint(
        network=None, predict_strategy=strategy, format="safetensors",
        unified_safetensors_dir=source, dst_safetensors_dir=dst,
    )  # fmt: skip


def signatures(names: list[str]) -> dict[str, list[list[str]]]:
    """For each function its parameters, with the text of their defaults."""
    return {
        name: [
            [p.name, repr(p.default)]
            for p in inspect.signature(getattr(ms, name)).parameters.values()
            if p.kind is not p.VAR_KEYWORD
        ]
        for name in names
    }


def needed_ranks(rank: int, from_: str | None, to: str | None) -> list[int]:
    return [int(r) for r in ms.rank_list_for_transform(rank, from_, to)]


def transform_rank(
    rank: int, files: dict[str, str], out: str, from_: str | None, to: str | None
) -> None:
    ms.transform_checkpoint_by_rank(rank, {int(r): f for r, f in files.items()}, out, from_, to)


def merge_pipeline(src: str, dst: str) -> None:
    ms.merge_pipeline_strategys(src, dst)


def groups(path: str) -> list[int]:
    return [int(rank) for rank in ms.restore_group_info_list(path)]


def change_format(path: str, dst: str, to: str, name_map: dict[str, str] | None) -> None:
    change = ms.ckpt_to_safetensors if to == "safetensors" else ms.safetensors_to_ckpt
    change(path, dst, name_map=name_map)


def segments(folder: str, out: str, kwargs: dict[str, Any]) -> list[dict[str, Any]]:
    found = ms.load_segmented_checkpoints(folder, **kwargs)
    return [describe(n, v, out, i) for i, (n, v) in enumerate(found.items())]


class Ticking(ms.Callback):
    """Seconds pass by steps, in the clock and the file times that ModelCheckpoint reads."""

    def __init__(self, directory: str, seconds: float, fail_at: int | None):
        super().__init__()
        self.directory, self.seconds, self.fail_at = Path(directory), seconds, fail_at
        self.now, self.seen = 1e9, set(self.directory.iterdir())
        _checkpoint.time = self  # type: ignore[assignment]

    def time(self) -> float:
        return self.now

    def step_begin(self, run_context: Any) -> None:
        self.now += self.seconds

    def step_end(self, run_context: Any) -> None:
        for path in set(self.directory.iterdir()) - self.seen:
            os.utime(path, (self.now, self.now))
            self.seen.add(path)
        if run_context.original_args().cur_step_num == self.fail_at:
            raise KeyboardInterrupt


def train(
    directory: str, prefix: str, config: dict[str, Any], epochs: int, batches: int, seconds: float,
    fail_at: int | None,
) -> list[str]:  # fmt: skip
    """The files that there are after a run of Model.train with ModelCheckpoint."""
    ms.set_context(mode=ms.PYNATIVE_MODE)
    ms.set_seed(0)
    data = np.random.default_rng(0).standard_normal((batches, 2)).astype(np.float32)
    dataset = ms.dataset.NumpySlicesDataset((data, data[:, :1]), shuffle=False).batch(1)
    net = ms.nn.Dense(2, 1)
    optimizer = ms.nn.Momentum(net.trainable_params(), 0.01, 0.9)
    model = ms.train.Model(net, ms.nn.MSELoss(), optimizer)
    clock = Ticking(directory, seconds, fail_at)
    ckpt = ms.train.ModelCheckpoint(prefix, directory, ms.train.CheckpointConfig(**config))
    with contextlib.suppress(KeyboardInterrupt):
        model.train(epochs, dataset, callbacks=[ckpt, clock], dataset_sink_mode=False)
    return sorted(path.name for path in Path(directory).iterdir())


def signature(name: str) -> list[list[Any]]:
    """Names and defaults of a function's or class's arguments; kwargs have no default."""
    parameters = inspect.signature(getattr(ms.train, name)).parameters.values()
    return [[p.name, None if p.default is p.empty else p.default] for p in parameters]


class Nest(ms.nn.Cell):
    """A network with one layer."""

    def __init__(self, layer: ms.nn.Cell):
        super().__init__()
        self.layer = layer


def run_layer(
    make: str,
    forward: str,
    inputs: str,
    output: str,
    load: str | None,
    save: str | None,
    patch: str,
) -> dict[str, Any]:
    """Run a layer with the parameters of a file, or with random ones that are saved to a file.

    ``make``, ``forward`` and ``patch`` are Python: the layer, ``f(layer, *inputs)``, and what is
    done to random parameters ``p`` (name to array) first.
    """
    net = Nest(eval(make)).set_train(False)
    missing = unused = []
    if load is not None:
        missing, unused = ms.load_param_into_net(net, ms.load_checkpoint(load), strict_load=True)
    else:
        rng = np.random.default_rng(1)
        p = {q.name: rng.uniform(0.1, 1, q.shape) for q in net.get_parameters()}
        exec(patch, {"p": p})
        for q in net.get_parameters():
            q.set_data(ms.Tensor(p[q.name]).astype(q.dtype))
        ms.save_checkpoint(net, save)
    arrays = [ms.Tensor(array) for array in np.load(inputs).values()]
    np.save(output, eval(forward)(net.layer, *arrays).asnumpy())
    return {"missing": missing, "unused": unused}


def run_graph(model: str, load: str, inputs: str, output: str, folder: str) -> dict[str, Any]:
    """Run a MindIR with the parameters of a CheckPoint instead of its own, which are described."""
    net = ms.nn.GraphCell(ms.load(model))
    own = [describe(p.name, p, folder, i) for i, p in enumerate(net.get_parameters())]
    missing, unused = ms.load_param_into_net(net, ms.load_checkpoint(load), strict_load=True)
    results = net(*[ms.Tensor(array) for array in np.load(inputs).values()])
    results = results if isinstance(results, tuple) else (results,)
    np.savez(output, *[result.asnumpy() for result in results])
    return {"own": own, "missing": missing, "unused": unused}


def run_optimizer(
    make: str, optimizer: str, gradients: list[str], load: str, save: str
) -> dict[str, Any]:
    """Go on from a file with these gradients (files, too), and save network and optimizer."""
    net = Nest(eval(make))
    update = eval(optimizer)(net.trainable_params())
    missing, unused = ms.load_param_into_net(update, ms.load_checkpoint(load))
    for file in gradients:
        found = ms.load_checkpoint(file)
        update(tuple(ms.Tensor(found[p.name]) for p in net.trainable_params()))
    ms.save_checkpoint(update, save)
    return {"missing": missing, "unused": unused}


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        serialization.SLICE_SIZE = request.pop("slice_kib", _SLICE)
        serialization.ENCRYPT_BLOCK_SIZE = request.pop("block_kib", _BLOCK)
        for key in ("enc_key", "dec_key"):
            if key in request.get("kwargs", {}):
                request["kwargs"][key] = bytes.fromhex(request["kwargs"][key])
        try:
            answer = {"result": globals()[request.pop("call")](**request)}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
