"""The ``mindspore`` fixture: real MindSpore, started once, asked over a pipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np
import pytest

from msckpt_jax.mindir import runner
from tests.real import need_mindspore

_NUMPY = {"BFloat16": np.dtype(ml_dtypes.bfloat16), "Int4": np.dtype(np.int8)}


class Param(NamedTuple):
    """A parameter as MindSpore holds it; ``data`` are its bits, or the text of a str."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes | str

    @property
    def array(self) -> np.ndarray:
        assert isinstance(self.data, bytes)
        dtype = _NUMPY.get(self.dtype) or np.dtype(self.dtype.lower())
        return np.frombuffer(self.data, dtype).reshape(self.shape)


class MindSporeError(Exception):
    pass


class MindSpore:
    def __init__(self, folder: Path):
        self.folder = folder
        self.count = 0
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"GLOG_v": "4"},
        )

    def call(self, call: str, **request: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"call": call} | request), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, f"MindSpore died on {request}"
        answer = json.loads(line)
        if "error" in answer:
            raise MindSporeError(answer["error"])
        return answer["result"]

    def load(self, path: Any, **kwargs: Any) -> dict[str, Param]:
        found = self.call("load", path=str(path), folder=str(self.fresh()), kwargs=_hex(kwargs))
        return {
            p["name"]: Param(
                p["dtype"],
                tuple(p["shape"]),
                p["text"] if p["dtype"] == "str" else Path(p["file"]).read_bytes(),
            )
            for p in found
        }

    def save(
        self,
        params: dict[str, tuple[str, np.ndarray]],
        path: Any,
        append: dict[str, Any] | None = None,
        options: dict[str, int] | None = None,
        **kwargs: Any,
    ) -> None:
        """``params`` gives MindSpore's dtype name and an array with those bits."""
        folder = self.fresh()
        specs: list[dict[str, Any]] = []
        for index, (name, (dtype, array)) in enumerate(params.items()):
            file = folder / f"{index}.bin"
            file.write_bytes(array.tobytes())
            specs.append({"name": name, "dtype": dtype, "shape": array.shape, "file": str(file)})
        specs += [{"name": n, "value": v} for n, v in (append or {}).items()]
        self.call("save", path=str(path), params=specs, kwargs=_hex(kwargs), **(options or {}))

    def fresh(self) -> Path:
        self.count += 1
        folder = self.folder / str(self.count)
        folder.mkdir()
        return folder

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


def _hex(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {k: v.hex() if isinstance(v, bytes) else v for k, v in kwargs.items()}


@pytest.fixture(scope="session")
def runs() -> Iterator[Callable[..., list[runner.Outcome]]]:
    """Runs MindIR files in real MindSpore."""
    need_mindspore()
    with runner.MindSpore() as process:
        yield process.run


@pytest.fixture(scope="session")
def mindspore(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MindSpore]:
    need_mindspore()
    oracle = MindSpore(tmp_path_factory.mktemp("mindspore"))
    yield oracle
    oracle.close()
