"""``exception_save``: what an interrupted run leaves behind."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from msckpt_jax.api import background
from msckpt_jax.checkpoint import writer

BREAKPOINT = CheckpointConfig(4, exception_save=True)


@pytest.fixture(autouse=True)
def _settled() -> Any:
    yield
    background.settle()


def fail(*_: Any) -> None:
    raise OSError("disk on fire")


def crash(folder: Path, config: CheckpointConfig, error: BaseException, states: list[Any]) -> None:
    with ModelCheckpoint("m", folder, config, batches_per_epoch=5) as ckpt:
        for state in states:
            ckpt.step(state)
        raise error


def interrupted(folder: Path, error: BaseException, config: CheckpointConfig) -> list[str]:
    """A run that the error ends after step 6; the notes on it when it arrives."""
    with pytest.raises(type(error)) as caught:
        crash(folder, config, error, [{"step": number} for number in range(1, 7)])
    assert caught.value is error
    return getattr(error, "__notes__", [])


@pytest.mark.parametrize(
    ("error", "how"),
    [
        (RuntimeError("loss is NaN"), False),
        (KeyboardInterrupt(), False),
        (SystemExit(3), "thread"),
        (GeneratorExit(), "process"),
    ],
)
def test_any_exception_leaves_a_breakpoint(
    tmp_path: Path, error: BaseException, how: bool | str
) -> None:
    config = CheckpointConfig(
        4, exception_save=True, append_info=["epoch_num", "step_num"], async_save=how
    )
    assert not interrupted(tmp_path, error, config)
    assert {path.name for path in tmp_path.iterdir()} == {"m-1_4.ckpt", "m-2_1_breakpoint.ckpt"}
    found = ms.load_checkpoint(tmp_path / "m-2_1_breakpoint.ckpt")
    assert dict(found) == {"step": 6, "epoch_num": 2, "step_num": 6}
    assert ms.latest_checkpoint(tmp_path) == str(tmp_path / "m-2_1_breakpoint.ckpt")


def test_without_exception_save_there_is_none(tmp_path: Path) -> None:
    interrupted(tmp_path, RuntimeError(), CheckpointConfig(4))
    assert [path.name for path in tmp_path.iterdir()] == ["m-1_4.ckpt"]


def test_nothing_to_save_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), ModelCheckpoint("m", tmp_path, BREAKPOINT):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "load"),
    [
        ({"enc_key": bytes(16)}, {"dec_key": bytes(16)}),
        ({"crc_check": True}, {"crc_check": True}),
        ({"format": "safetensors"}, {}),
    ],
)
def test_the_options_hold_for_breakpoints(tmp_path: Path, options: Any, load: Any) -> None:
    interrupted(tmp_path, RuntimeError(), CheckpointConfig(4, exception_save=True, **options))
    (path,) = tmp_path.glob("m-2_1_breakpoint.*")
    assert ms.load_checkpoint(path, **load)["step"] == 6


def test_a_run_never_overwrites_the_breakpoint_of_another(tmp_path: Path) -> None:
    for _ in range(2):
        interrupted(tmp_path, RuntimeError(), CheckpointConfig(0, exception_save=True))
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"m-2_1_breakpoint.ckpt", "m_1-2_1_breakpoint.ckpt"}


def test_a_failure_while_saving_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "write", fail)
    (note,) = interrupted(
        tmp_path, RuntimeError("loss is NaN"), CheckpointConfig(10, exception_save=True)
    )
    assert "m-2_1_breakpoint.ckpt failed: OSError: disk on fire" in note
    assert not list(tmp_path.iterdir())


def test_a_failed_asynchronous_save_is_a_note(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "write", fail)
    notes = interrupted(
        tmp_path, RuntimeError(), CheckpointConfig(4, exception_save=True, async_save=True)
    )
    assert [note.partition(" failed: ")[0] for note in notes] == [
        f"msckpt_jax: the save of {tmp_path / 'm-1_4.ckpt'}",
        f"msckpt_jax: the breakpoint {tmp_path / 'm-2_1_breakpoint.ckpt'}",
    ]


def test_a_failed_save_of_somebody_else_refuses_no_breakpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(writer, "write", fail)
        save = ms.save_checkpoint({"w": 1}, tmp_path / "other.ckpt", async_save=True)
        assert save is not None
        save.wait()
    (note,) = interrupted(tmp_path, RuntimeError(), CheckpointConfig(10, exception_save=True))
    assert "an earlier save failed" in note
    assert "other.ckpt: the asynchronous save failed: disk on fire" in note
    assert [path.name for path in tmp_path.iterdir()] == ["m-2_1_breakpoint.ckpt"]


def test_an_interrupted_wait_forgets_no_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in the next save, nor in a run."""
    release = threading.Event()

    def late(*_: Any) -> None:
        release.wait()
        fail()

    def interrupt(self: Any, timeout: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writer, "write", late)
    ckpt = ModelCheckpoint("m", tmp_path, CheckpointConfig(1, async_save=True))
    ckpt.step({"w": 1})
    with monkeypatch.context() as interrupted:
        interrupted.setattr(background.AsyncSave, "wait", interrupt)
        with pytest.raises(KeyboardInterrupt):
            background.settle()
        with pytest.raises(KeyboardInterrupt):
            ckpt.step({"w": 2})
    release.set()
    with pytest.raises(ms.AsyncSaveError, match="disk on fire"):
        ckpt.step({"w": 3})
    assert ckpt._completion.under_way is None


def test_every_error_of_several_saves_is_told() -> None:
    saves = [background.in_thread(fail, f"{number}.ckpt") for number in range(2)]
    with pytest.raises(ms.AsyncSaveError, match=r"0\.ckpt") as caught:
        background.settle()
    assert "1.ckpt" in caught.value.__notes__[0]
    assert all(save.done() for save in saves)
    background.settle()


def test_an_asynchronous_error_comes_from_the_next_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ckpt = ModelCheckpoint("m", tmp_path, CheckpointConfig(2, async_save=True))
    with monkeypatch.context() as broken:
        broken.setattr(writer, "write", fail)
        for number in range(1, 4):
            ckpt.step({"step": number})
        with pytest.raises(ms.AsyncSaveError, match="disk on fire") as caught:
            ckpt.step({"step": 4})
    assert isinstance(caught.value.__cause__, OSError)
    assert ckpt.latest_ckpt_file_name is None
    ckpt.step({"step": 5})  # what was due still is
    ckpt.close()
    assert [path.name for path in tmp_path.iterdir()] == ["m-1_5.ckpt"]


def test_an_error_that_somebody_else_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is deleted in favour of a file that is not there."""
    config = CheckpointConfig(2, keep_checkpoint_max=1, async_save=True)
    ckpt = ModelCheckpoint("m", tmp_path, config)
    for number in range(1, 4):
        ckpt.step({"step": number})
    background.settle()
    with monkeypatch.context() as broken:
        broken.setattr(writer, "write", fail)
        ckpt.step({"step": 4})
        with pytest.raises(ms.AsyncSaveError):
            ms.save_checkpoint({"w": 1}, tmp_path / "other.ckpt")
    with pytest.raises(OSError, match="disk on fire"):
        ckpt.close()
    assert [path.name for path in tmp_path.iterdir()] == ["m-1_2.ckpt"]


def test_an_asynchronous_error_comes_when_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last step is saved even so."""
    ckpt = ModelCheckpoint("m", tmp_path, CheckpointConfig(2, async_save=True))
    with monkeypatch.context() as broken:
        broken.setattr(writer, "write", fail)
        ckpt.step({"step": 1})
        ckpt.step({"step": 2})
        assert ckpt._completion._pending is not None
        ckpt._completion._pending[1].wait()
    ckpt.step({"step": 3})
    with pytest.raises(ms.AsyncSaveError, match="disk on fire"):
        ckpt.close()
    assert [path.name for path in tmp_path.iterdir()] == ["m-1_3.ckpt"]


# Donated states


def _loop(ckpt: ModelCheckpoint, wrapped: bool) -> None:
    """A loop whose step takes the buffers of the state, interrupted before it tells of step 3."""
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    state = {"w": jnp.zeros(3)}
    for number in range(1, 4):
        state = step(state)
        if number == 3:
            raise KeyboardInterrupt
        ckpt.step((lambda: state) if wrapped else state)  # noqa: B023


@pytest.mark.parametrize("wrapped", [False, True])
def test_donated_states(tmp_path: Path, wrapped: bool) -> None:
    config = CheckpointConfig(10, exception_save=True)
    with pytest.raises(KeyboardInterrupt) as caught, ModelCheckpoint("m", tmp_path, config) as ckpt:
        _loop(ckpt, wrapped)
    path = tmp_path / "m-1_2_breakpoint.ckpt"
    if wrapped:  # what the loop holds, which is one step on
        assert ms.load_checkpoint(path)["w"].tolist() == [3, 3, 3]
    else:
        assert not path.exists()
        assert "was donated to a later step" in caught.value.__notes__[0]
        assert "ckpt.step(lambda: state)" in caught.value.__notes__[0]


@pytest.mark.parametrize("integrated", [True, False])
def test_breakpoint_on_a_mesh(tmp_path: Path, mesh: Any, integrated: bool) -> None:
    config = CheckpointConfig(10, exception_save=True, integrated_save=integrated)
    state = {"w": jax.device_put(np.arange(64.0), jax.NamedSharding(mesh, jax.P(("x", "y"))))}
    with pytest.raises(RuntimeError):
        crash(tmp_path, config, RuntimeError(), [state] * 7)
    found = ms.resume(tmp_path, like=state)
    assert found is not None
    assert (found.epoch, found.step) == (2, 2)
    assert np.array_equal(found.state["w"], state["w"])
