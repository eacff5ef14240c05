"""SIGTERM and Ctrl-C: what a run leaves behind, and whom signals belong to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from msckpt_jax.training.handlers import Handler

BREAKPOINT = CheckpointConfig(4, exception_save=True)
#: How many random moments are tried; a nightly run sets it to 200.
MOMENTS = int(os.environ.get("MSCKPT_SIGNALS", "6"))


class Left(NamedTuple):
    """What a run has left: its status, its files with the number in each, and a text of its log."""

    status: int | list[int]
    files: dict[str, float]
    told: str = ""


_NEXT = "the state is saved when the next step is told"
CASES = {
    "once": Left(143, {"m-1_3_breakpoint": 3}, _NEXT),
    "ctrl_c": Left(-2, {"m-1_3_breakpoint": 3}, "KeyboardInterrupt"),
    "twice": Left(143, {}, "was donated to a later step"),
    "last": Left(-15, {"m-1_5": 5}, _NEXT),
    "off": Left(-15, {}),
    "evaluating": Left(143, {"m-1_5_breakpoint": 5}, _NEXT),
    "evaluating_ctrl_c": Left(-2, {"m-1_5_breakpoint": 5}, "KeyboardInterrupt"),
    "evaluating_donated": Left(143, {}, "no step came within 3 s: nothing was saved"),
    "late": Left(143, {"m-1_3_breakpoint": 3}, _NEXT),
    "compiled": Left(143, {"m-1_1_breakpoint": 1}, "no step came within 3 s: the state is saved"),
    "compiled_ctrl_c": Left(-2, {"m-1_1_breakpoint": 1}, "KeyboardInterrupt"),
    "compiled_donated": Left(143, {"m-1_2_breakpoint": 2}, _NEXT),
    "compiled_donated_ctrl_c": Left(-2, {"m-1_2_breakpoint": 2}, "KeyboardInterrupt"),
    "callback": Left(143, {"m-1_1_breakpoint": 1}, "SystemExit: 143"),
    "saving": Left(143, {"m-1_2": 2, "m-1_2_breakpoint": 2}, _NEXT),
    "asynchronous": Left(143, {"m-1_2": 2, "m-1_3_breakpoint": 3}, _NEXT),
    "asynchronous_process": Left(143, {"m-1_2": 2, "m-1_3_breakpoint": 3}, _NEXT),
    "before": Left(143, {}, "no step was told, and ModelCheckpoint was given no state="),
    "before_with_state": Left(143, {"m-1_0_breakpoint": 7}, _NEXT),
    "group": Left(-2, {"m-1_2": 2}, "KeyboardInterrupt"),
    "orphaned": Left(-9, {"m": 2}),
    "second_waits": Left(1, {}, "a.ckpt: the asynchronous save failed: disk on fire"),
    "handler_of_others": Left(7, {"m-1_3_breakpoint": 3}, "told\non\n"),
    "handler_that_returns": Left(0, {"m-1_5": 5}),
    "ignored": Left(0, {"m-1_5": 5}),
    "second_while_saving": Left(-2, {}, "KeyboardInterrupt"),
    "nested": Left(143, {"m-1_2_breakpoint": 2, "inner/m-1_3_breakpoint": 3}, _NEXT),
    "nested_evaluating": Left(143, {"m-1_1_breakpoint": 1, "inner/m-1_1_breakpoint": 1}, _NEXT),
    "worker": Left(0, {"m-1_5": 5}),
    "two_ended": Left([143, 143], {"m-1_5": 5}),
    "two_silent": Left([143, 143], {}, "no breakpoint was saved"),
}
#: Two processes that save one step together, which depends on their speed, and their status.
MANY = {"two_steps": 143, "two_each": 143, "two_ctrl_c": -2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    return tmp_path_factory.mktemp("signals")


def signalled(folder: Path, cases: list[str]) -> dict[str, list[int]]:
    script = str(Path(__file__).with_name("signalled.py"))
    command = [sys.executable, script, str(folder), *cases]
    out = subprocess.run(command, capture_output=True, text=True, timeout=60 + 10 * len(cases))
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def log_of(folder: Path, case: str) -> str:
    return (folder / f"{case}.log").read_text()


def left_in(folder: Path) -> dict[str, float]:
    """The files, each of one number; nothing else is there."""
    out = {}
    for path in folder.rglob("*"):
        if not path.is_dir():
            assert path.suffix == ".ckpt"
            (value,) = set(ms.load_checkpoint(path)["w"].tolist())
            out[path.relative_to(folder).with_suffix("").as_posix()] = value
    return out


@pytest.fixture(scope="module")
def statuses(folder: Path) -> dict[str, list[int]]:
    return signalled(folder, [*CASES, *MANY, "two_alone"])


@pytest.mark.parametrize("case", list(CASES))
def test_what_is_left(folder: Path, statuses: dict[str, list[int]], case: str) -> None:
    log = log_of(folder, case)
    left = CASES[case]
    wanted = left.status if isinstance(left.status, list) else [left.status]
    assert statuses[case] == wanted, log
    assert left.told in log
    assert "not reached" not in log
    if case == "orphaned":  # the run is gone: its child completes the save
        await_file(folder / case / "m.ckpt")
    if case == "two_ended":
        (path,) = (folder / case).iterdir()
        assert np.array_equal(ms.load_checkpoint(path)["w"], np.arange(8) + 5)
        return
    assert left_in(folder / case) == left.files


def await_file(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)


@pytest.mark.parametrize(("case", "status"), MANY.items())
def test_many_processes_leave_after_one_step(
    folder: Path, statuses: dict[str, list[int]], case: str, status: int
) -> None:
    log = log_of(folder, case)
    assert statuses[case] == [status, status], log
    assert log.count("they save the next step that all reach") == 2
    (path,) = (folder / case).iterdir()
    step = int(path.name.removeprefix("m-1_").removesuffix("_breakpoint.ckpt"))
    assert step >= 10
    assert np.array_equal(ms.load_checkpoint(path)["w"], np.arange(8) + step)


def test_a_process_that_trains_alone_saves_alone(
    folder: Path, statuses: dict[str, list[int]]
) -> None:
    """The other has no run, and answers nothing."""
    assert statuses["two_alone"][0] == 143, log_of(folder, "two_alone")
    ((name, value),) = left_in(folder / "two_alone").items()
    assert name == f"m-1_{value:g}_breakpoint"


def test_random_moments(tmp_path: Path) -> None:
    """There is a breakpoint, or the log says that there is none; all files are whole."""
    cases = [f"moment:{number}" for number in range(MOMENTS)]
    ended = signalled(tmp_path, cases)
    for case in cases:
        log = log_of(tmp_path, case)
        assert ended[case][0] in (143, -2), log
        files = left_in(tmp_path / case)
        assert {name: float(name.split("_")[1]) for name in files} == files, log
        assert any("breakpoint" in name for name in files) or "breakpoint" in log, log


def test_the_signals_are_given_back(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    wire = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wire)
    with ModelCheckpoint("m", tmp_path, BREAKPOINT):
        assert signal.getsignal(signal.SIGTERM) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert signal.set_wakeup_fd(wire) == wire


def test_a_handler_that_came_after_stays(tmp_path: Path) -> None:
    """It may put back the one that it has found, which hands on to the one before then."""
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(1))
    try:
        with ModelCheckpoint("m", tmp_path, BREAKPOINT):
            ours = signal.signal(signal.SIGTERM, lambda number, _: told.append(2))
        signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGTERM, ours)
        signal.raise_signal(signal.SIGTERM)
        assert told == [2, 1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_handler_of_compiled_code_is_run_and_comes_back() -> None:
    """As that of jax.distributed for SIGTERM, of which Python knows nothing."""
    program = """
import ctypes, signal
from msckpt_jax.training.handlers import Handler
libc, told = ctypes.CDLL(None), []
native = ctypes.CFUNCTYPE(None, ctypes.c_int)(lambda number: told.append(number))
libc.signal(signal.SIGUSR1, native)
errors = []
handler = Handler(signal.SIGUSR1, lambda n, frame: errors.append(handler.hand_on(frame, not told)))
signal.raise_signal(signal.SIGUSR1)
signal.raise_signal(signal.SIGUSR1)
handler.restore()
libc["raise"](signal.SIGUSR1)
assert told == [signal.SIGUSR1] * 2 and errors == [None, None], (told, errors)
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_handler_hands_on_what_the_one_before_raises() -> None:
    def theirs(*_: Any) -> None:
        raise ValueError("theirs")

    before = signal.signal(signal.SIGTERM, theirs)
    try:
        errors: list[BaseException | None] = []
        handler = Handler(
            signal.SIGTERM, lambda _, frame: errors.append(handler.hand_on(frame, False))
        )
        signal.raise_signal(signal.SIGTERM)
        handler.restore()
        assert [str(error) for error in errors] == ["theirs"]
        assert signal.getsignal(signal.SIGTERM) is theirs
    finally:
        signal.signal(signal.SIGTERM, before)


def test_in_a_thread_signals_are_left_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
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
    assert "Python handles them in the main thread only" in caplog.text


@pytest.mark.parametrize(
    ("value", "kind"), [(0, ValueError), (float("inf"), ValueError), ("1", TypeError)]
)
def test_the_grace_is_a_number_of_seconds(tmp_path: Path, value: Any, kind: type) -> None:
    with pytest.raises(kind, match="preemption_grace_seconds must be"):
        ModelCheckpoint("m", tmp_path, preemption_grace_seconds=value)
