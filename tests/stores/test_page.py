"""docs/stores.md: its Python runs, and its numbers of requests are those that are made."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from tests.pages import DOCS

PAGE = (DOCS / "stores.md").read_text(encoding="utf-8")
SMALL = {"w": np.ones((64, 8), np.float32)}
LARGE = {name: np.ones(5 << 20, np.float32) for name in "vw"}


def test_the_python_runs(bucket: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code.replace("s3://bucket", bucket), names)
    assert names["found"].step == 4


def ranks() -> dict[str, Any]:
    mesh = jax.make_mesh((8,), ("x",))
    return {"w": jax.device_put(SMALL["w"], jax.NamedSharding(mesh, jax.P("x")))}


def step(bucket: str) -> Callable[[], Any]:
    config = ms.CheckpointConfig(1, keep_checkpoint_max=1)
    checkpoint = ms.ModelCheckpoint("net", f"{bucket}/run", config)
    checkpoint.step(SMALL)
    return lambda: checkpoint.step(SMALL)


#: The rows of the table: what makes ready for a bucket, and returns what is counted.
ROWS: dict[str, Callable[[str], Callable[[], Any]]] = {
    "save a file of up to 8 MiB": lambda b: lambda: ms.save_checkpoint(SMALL, f"{b}/a.ckpt"),
    "save a file of 40 MiB": lambda b: lambda: ms.save_checkpoint(LARGE, f"{b}/b.ckpt"),
    "open it": lambda b: lambda: ms.open_checkpoint(f"{b}/b.ckpt"),
    "load it": lambda b: lambda: ms.load_checkpoint(f"{b}/b.ckpt", like=LARGE),
    "save it as 2 files with an index": lambda b: (
        lambda: ms.save_checkpoint(LARGE, f"{b}/hub", format="safetensors", max_shard_size="20MiB")
    ),
    "save rank files of 8 ranks": lambda b: (
        lambda: ms.save_checkpoint(ranks(), f"{b}/r/net.ckpt", integrated_save=False)
    ),
    "begin a run with `ModelCheckpoint`": lambda b: lambda: ms.ModelCheckpoint("net", f"{b}/run"),
    "a step that is saved and deletes an older one": step,
}


def test_the_numbers_of_requests(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr("botocore.client.BaseClient._make_api_call", _counting(made))
    counted: dict[str, int] = {}
    for row, prepared in ROWS.items():
        call = prepared(bucket)
        made.clear()
        call()
        counted[row] = len(made)
    told = re.findall(r"^\| (.*) \| (\d+)[^|]*\|$", PAGE, re.MULTILINE)
    assert {row: int(number) for row, number in told} == counted


def _counting(made: list[str]) -> Any:
    import botocore.client

    call = botocore.client.BaseClient._make_api_call

    def counted(self: Any, operation: str, arguments: Any) -> Any:
        made.append(operation)
        return call(self, operation, arguments)

    return counted
