"""A kernel of Jupyter's: what is interrupted leaves nothing half-written, names are completed."""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from jupyter_client.manager import KernelManager

import msckpt_jax as ms

#: ``pause(work, share)`` sleeps when that share of the calls in the library are done: there it is
#: interrupted. Generators do not count: one that is given up is called, too, to close it, and what
#: is raised then goes nowhere. ``WORK`` is what people interrupt.
BEGIN = """
import inspect, os, shutil, sys, time
import jax, jax.numpy as jnp, numpy as np
import msckpt_jax as ms


def calls(work, pause_at=-1):
    number = 0

    def count(frame, event, _):
        nonlocal number
        code = frame.f_code
        if event != "call" or code.co_flags & inspect.CO_GENERATOR:
            return
        if "msckpt_jax" in code.co_filename:
            number += 1
            if number == pause_at:
                print("paused", flush=True)
                time.sleep(60)

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return number


def fresh():
    shutil.rmtree("out", ignore_errors=True)
    os.mkdir("out")


def pause(work, share):
    for _ in range(2):  # caches are filled
        fresh()
        total = calls(work)
    fresh()
    calls(work, int(total * share))


def deep(p, x):
    for k in range(30):
        x = jnp.sin(x) * k + p["w"]
    return x


weights = {"w": np.ones(1000, np.float32)}
net, x = (deep, weights), jnp.ones(1000)
ms.export(net, x, file_name="net")
ms.save_checkpoint({f"w{n}": np.full(1000, n) for n in range(20)}, "net.ckpt")
WORK = {
    "export": lambda: ms.export(net, x, file_name="out/net"),
    "export to ONNX": lambda: ms.export(net, x, file_name="out/net", file_format="ONNX"),
    "load": lambda: ms.load("net.mindir")(x),
    "load_checkpoint": lambda: ms.load_checkpoint("net.ckpt"),
    "save": lambda: ms.save_checkpoint(weights, "out/net.ckpt"),
    "convert": lambda: ms.convert_checkpoint("net.ckpt", "out/net.safetensors"),
}
"""


class Kernel:
    """A kernel that runs in a folder."""

    def __init__(self, folder: Path):
        self.manager = KernelManager()
        self.manager.start_kernel(cwd=str(folder))
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=60)

    def run(self, code: str) -> tuple[str, str]:
        """The name of a cell's error, if it has one, and all that it printed.

        It is interrupted when it has printed "paused", and again until it ends: Python drops an
        interrupt that comes while it collects garbage, for JAX has a function called then, and says
        so on stderr.
        """
        cell = self.client.execute(code)
        printed, error, paused = "", "", False
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                message = self.client.get_iopub_msg(timeout=8)
            except queue.Empty:
                if paused:
                    self.manager.interrupt_kernel()
                continue
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") != cell:
                continue
            if kind == "error":
                error = content["ename"]
            elif kind == "stream" and not (paused and content["name"] == "stderr"):
                printed += content["text"]
                if content["text"] == "paused\n":
                    paused = True
                    self.manager.interrupt_kernel()
            elif kind == "status" and content["execution_state"] == "idle":
                return error, printed
        raise TimeoutError(f"the cell does not end: {code}")

    def completions(self, code: str) -> list[str]:
        reply = self.client.complete(code, reply=True, timeout=60)
        return reply["content"]["matches"]

    def stop(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernel")


@pytest.fixture(scope="module")
def kernel(folder: Path) -> Iterator[Kernel]:
    started = Kernel(folder)
    assert started.run(BEGIN) == ("", "")
    yield started
    started.stop()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
@pytest.mark.parametrize(
    "work", ["export", "export to ONNX", "load", "load_checkpoint", "save", "convert"]
)
def test_what_is_interrupted_stops(kernel: Kernel, folder: Path, work: str, share: float) -> None:
    assert kernel.run(f"pause(WORK[{work!r}], {share})") == ("KeyboardInterrupt", "paused\n")
    left = [path.name for path in (folder / "out").iterdir()]
    if work == "convert":  # which goes on where it was
        left = [name for name in left if not (name.startswith(".net.") and name.endswith(".tmp"))]
    assert left == []
    assert kernel.run(f"WORK[{work!r}]()") == ("", "")
    assert len(list((folder / "out").iterdir())) == ("load" not in work)


def test_an_endless_trace_is_stopped(kernel: Kernel, folder: Path) -> None:
    code = """
def endless(x):
    print("paused", flush=True)
    while True:
        x = jnp.sin(x)
fresh()
ms.export(endless, x, file_name="out/net")
"""
    assert kernel.run(code) == ("KeyboardInterrupt", "paused\n")
    assert list((folder / "out").iterdir()) == []


def test_names_are_completed(kernel: Kernel) -> None:
    assert kernel.run('params = ms.load_checkpoint("net.ckpt")') == ("", "")
    keys = [name.strip("\"'") for name in kernel.completions('params["w1')]
    assert sorted(keys) == ["w1", *(f"w{n}" for n in range(10, 20))]
    offered = {name.removeprefix("ms.") for name in kernel.completions("ms.")}
    assert offered == {name for name in dir(ms) if not name.startswith("_")}


def test_a_save_is_awaited(kernel: Kernel) -> None:
    code = 'print(await ms.save_checkpoint(weights, "awaited.ckpt", async_save=True))'
    assert kernel.run(code) == ("", "None\n")
