"""The peers: a plain write, safetensors, Orbax, and real MindSpore in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
import safetensors.numpy


def plain_write(path: Path, arrays: Mapping[str, np.ndarray], sync: bool = False) -> None:
    """The unit of all ratios: one os.write loop over the arrays' buffers."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for array in arrays.values():
        view = memoryview(array).cast("B")
        while view:
            view = view[os.write(fd, view) :]
    if sync:
        os.fsync(fd)
    os.close(fd)


def safetensors_save(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    safetensors.numpy.save_file(dict(arrays), path)


def orbax_save(path: Path, tree: Any, ocdbt: bool = True, compressed: bool = True) -> None:
    handler = ocp.PyTreeCheckpointHandler(use_ocdbt=ocdbt, use_compression=compressed)
    with ocp.Checkpointer(handler) as checkpointer:
        checkpointer.save(path, args=ocp.args.PyTreeSave(tree))


def orbax_blocked(path: Path, tree: Any) -> float:
    """Seconds for which an asynchronous save blocks the caller."""
    with ocp.AsyncCheckpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        begin = time.perf_counter()
        checkpointer.save(path, args=ocp.args.PyTreeSave(tree))
        blocked = time.perf_counter() - begin
        checkpointer.wait_until_finished()
    return blocked


def orbax_load(path: Path) -> Any:
    with ocp.PyTreeCheckpointer() as checkpointer:
        return checkpointer.restore(path)


_WORKER = """
import json, os, sys, time
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import mindspore as ms
import numpy as np
held = []
for line in sys.stdin:
    r = json.loads(line)
    begin = time.perf_counter()
    answer = None
    if r["do"] == "make":
        held = [{"name": f"layer{i}.weight", "data": ms.Parameter(ms.Tensor(
            np.random.default_rng(i).standard_normal(r["shape"], dtype=np.float32)),
            name=f"layer{i}.weight")} for i in range(r["count"])]
    elif r["do"] == "save":
        ms.save_checkpoint(held, r["path"], crc_check=r.get("crc", False),
                           async_save=r.get("async", False))
    elif r["do"] == "merge":
        ms.transform_checkpoints(r["src"], r["dst"], "p", r["strategy"], None)
    elif r["do"] == "load":
        try:
            ms.load_checkpoint(r["path"])
        except ValueError as error:
            answer = str(error)
    print(json.dumps(answer or time.perf_counter() - begin), file=answers, flush=True)
"""


class PeerRefusedError(Exception):
    """MindSpore refuses to load when free memory, page cache not counted, is less than the file."""


class MindSpore:
    """Real MindSpore 2.10; times are taken inside of its process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"GLOG_v": "4"},
        )

    def ask(self, do: str, **request: Any) -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"do": do} | request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"MindSpore died while it had to {do}")
        answer = json.loads(line)
        if isinstance(answer, str):
            raise PeerRefusedError(answer)
        return answer

    def save(self, path: Path, **kwargs: Any) -> float:
        return self.ask("save", path=str(path), **kwargs)

    def load(self, path: Path) -> float:
        return self.ask("load", path=str(path))
