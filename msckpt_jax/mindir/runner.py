"""Run MindIR files in real MindSpore, for ``verify=True`` and the tests.

MindSpore lives in a process of its own that is started once and takes seconds to start; give it
many cases at a time. A file that crashes MindSpore fails its own case only.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from msckpt_jax import dtypes, processes


class Case(NamedTuple):
    """A file and the inputs of each call. ``load`` has further arguments of ``mindspore.load``.

    ``shapes`` of the inputs, dynamic sizes None, are for ``set_inputs``: without them MindSpore
    compiles the file anew for each size, and loops for the first only.
    """

    file: str | os.PathLike[str]
    calls: Sequence[Sequence[Any]]
    load: Mapping[str, Any] = {}
    shapes: Sequence[Sequence[int | None]] = ()


class Outcome(NamedTuple):
    """The flat results of each call, or ``error``: MindSpore's exception, a crash, a timeout."""

    results: list[list[np.ndarray]]
    error: str = ""
    crashed: bool = False


def available() -> bool:
    """Tell whether another process could import MindSpore."""
    return importlib.util.find_spec("mindspore") is not None


class MindSpore:
    """A process with MindSpore. Use it as a context manager, or ``close`` it."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="msckpt-")
        self._count = 0
        self._process = subprocess.Popen(
            processes.script(Path(__file__).with_name("runner_worker.py")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=processes.environment(GLOG_v="4"),
        )

    def __enter__(self) -> MindSpore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, cases: Sequence[Case], timeout: int = 120) -> list[Outcome]:
        """Run each case; ``timeout`` seconds a case.

        Raises:
            RuntimeError: the process could not be started, or died as a whole.
        """
        if not cases:
            return []
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with tempfile.TemporaryDirectory(dir=self._folder.name) as folder:
            sent = [_request(c, Path(folder), i) for i, c in enumerate(cases)]
            try:
                request = json.dumps({"cases": sent, "timeout": timeout})
                print(request, file=self._process.stdin, flush=True)
            except BrokenPipeError:
                raise self._death() from None
            return [self._answer() for _ in sent]

    def _answer(self) -> Outcome:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._death()
        return _outcome(json.loads(line))

    def _death(self) -> RuntimeError:
        return RuntimeError(f"the MindSpore process ended with {self._process.wait()}")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)
        self._folder.cleanup()


def _request(case: Case, folder: Path, number: int) -> dict[str, Any]:
    here = folder / str(number)
    here.mkdir()
    calls = [
        [_spec(np.asarray(value), here / f"{call}_{i}.in") for i, value in enumerate(inputs)]
        for call, inputs in enumerate(case.calls)
    ]
    load = {k: v.hex() if isinstance(v, bytes) else v for k, v in case.load.items()}
    return {
        "file": os.fspath(case.file), "calls": calls, "folder": str(here), "load": load,
        "shapes": [list(shape) for shape in case.shapes],
    }  # fmt: skip


def _spec(array: np.ndarray, path: Path) -> dict[str, Any]:
    row = dtypes.of_array(array.dtype)
    if row is None or row.mindir is None:
        raise TypeError(f"MindSpore has no tensors of dtype {array.dtype}")
    path.write_bytes(array.tobytes())
    return {"dtype": row.name, "shape": list(array.shape), "file": str(path)}


def _outcome(answer: dict[str, Any]) -> Outcome:
    if "result" in answer:
        return Outcome([[_array(spec) for spec in call] for call in answer["result"]])
    if "timeout" in answer:
        return Outcome([], f"no result after {answer['timeout']} s")
    if "crash" in answer:
        return Outcome([], f"MindSpore crashed: {answer['crash']}", crashed=True)
    return Outcome([], answer["error"])


def _array(spec: dict[str, Any]) -> np.ndarray:
    data = np.frombuffer(Path(spec["file"]).read_bytes(), dtypes.BY_NAME[spec["dtype"]].array)
    return data.reshape(spec["shape"])
