"""SIGTERM and Ctrl-C: what a run leaves behind, and whom signals belong to."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint

BREAKPOINT = CheckpointConfig(4, exception_save=True)
_PREEMPTED = """
import os, signal, sys, time
import jax, jax.numpy as jnp
from msckpt_jax import CheckpointConfig, ModelCheckpoint

folder, case = sys.argv[1:]
step = jax.jit(lambda x: x + 1, donate_argnums=0)
config = CheckpointConfig(100, exception_save=case != "off")
state = jnp.zeros(3)
with ModelCheckpoint("m", folder, config) as ckpt:
    for number in range(1, 6):
        state = step(state)
        if case == "last":
            ckpt.step({"w": state})
        if number == 3:
            if case != "ctrl-c":
                os.kill(os.getpid(), signal.SIGTERM)
            if case == "twice":
                os.kill(os.getpid(), signal.SIGTERM)
            if case == "last":
                break
            if case == "ctrl-c":
                os.kill(os.getpid(), signal.SIGINT)
        if case != "last":
            ckpt.step((lambda: {"w": state}) if case == "ctrl-c" else {"w": state})
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
print("not reached")
"""


@pytest.mark.parametrize(
    ("case", "status", "files"),
    [
        ("once", 143, ["m-1_3_breakpoint.ckpt"]),  # the step under way ends
        ("twice", 143, []),  # at once: the state of step 2 is donated
        ("last", -signal.SIGTERM, ["m-1_3.ckpt"]),  # no step came: a normal end, then the signal
        ("off", -signal.SIGTERM, []),
        ("ctrl-c", -signal.SIGINT, ["m-1_2_breakpoint.ckpt"]),
    ],
)
def test_signals(tmp_path: Path, case: str, status: int, files: list[str]) -> None:
    out = subprocess.run(
        [sys.executable, "-c", _PREEMPTED, str(tmp_path), case], capture_output=True, text=True
    )
    assert out.returncode == status, out.stderr
    assert not out.stdout
    assert [path.name for path in tmp_path.iterdir()] == files
    for name in files:
        assert ms.load_checkpoint(tmp_path / name)["w"].tolist() == [3, 3, 3]


def test_the_signal_is_given_back(tmp_path: Path) -> None:
    with ModelCheckpoint("m", tmp_path, BREAKPOINT):
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_handler_of_somebody_else_stays(tmp_path: Path) -> None:
    def theirs(*_: Any) -> None: ...

    signal.signal(signal.SIGTERM, theirs)
    try:
        with ModelCheckpoint("m", tmp_path, BREAKPOINT):
            assert signal.getsignal(signal.SIGTERM) is theirs
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_in_a_thread_signals_are_left_alone(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with ModelCheckpoint("m", tmp_path, BREAKPOINT) as ckpt:
                ckpt.step({"w": 1})
                raise KeyboardInterrupt
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [type(error) for error in errors] == [KeyboardInterrupt]
    assert (tmp_path / "m-1_1_breakpoint.ckpt").exists()
