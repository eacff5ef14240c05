"""Rank files take the place of older ones as one set, whatever kills the processes that write."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import folder as folders
from msckpt_jax.cli import main
from tests.checkpoint.test_folder import in_memory as in_memory
from tests.parallel.rank_kills import NIGHTLY
from tests.parallel.test_hosts import check_ended_well, run

#: The number of kills at random moments, for each place of the strategy; 200 for a nightly run.
KILLS = os.environ.get("MSCKPT_KILLS", "10")


def test_kills(in_memory: Path) -> None:
    """rank_kills.py fails where a reader sees a mixture, or a save ends wrongly."""
    command = [sys.executable, "-m", "tests.parallel.rank_kills", str(in_memory), KILLS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280 + 10 * int(KILLS))
    assert done.returncode == 0, done.stderr[-3000:]
    seen = json.loads(done.stdout)
    for pair, kinds in seen["every"].items():
        assert {*kinds} - {"no strategy"} == {"calls", "1", "msckpt recover", "2"}, pair
        assert kinds["calls"] > 40
    assert all(kinds["staged"] > int(KILLS) / 4 for kinds in seen["random"].values())


def test_processes_fail_together(tmp_path: Path) -> None:
    ended = run("sets", 4, tmp_path, "rank_process.py")
    check_ended_well(ended)
    for number, one in enumerate(ended):
        assert one.output.count("told: ") == 2
        assert ("No space left" in one.output) == (number in (0, 3))


def test_processes_are_killed(tmp_path: Path) -> None:
    """The old set is whole, or readers refuse; the next group's save puts things right."""
    moments = ("staging:1", "replacing:0", "written:0", "staging:0", "written:0")
    for moment in moments[: 2 if int(KILLS) < NIGHTLY else None]:
        ended = run(f"cut:{moment}", 2, tmp_path, "rank_process.py")
        assert ended[int(moment[-1])].status == -9, ended
        if "staging" in moment:
            assert ms.load_checkpoint(tmp_path, strategy=tmp_path / "strategy.ckpt")["step"] == 1
        else:
            with pytest.raises(ms.CheckpointError, match="msckpt recover"):
                ms.load_checkpoint(tmp_path, strategy=tmp_path / "strategy.ckpt")
        assert moment != "staging:1" or "did not answer" in ended[0].output
    assert main(["recover", str(tmp_path)]) == 0
    assert ms.load_checkpoint(tmp_path, strategy=tmp_path / "strategy.ckpt")["step"] == 2


# Readers


@pytest.fixture
def ranks(tmp_path: Path, mesh: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the saves ``old`` and ``new`` of the same layout, of which it is the second."""
    monkeypatch.chdir(tmp_path)
    for value, name in enumerate(("old", "new")):
        for form in ("ckpt", "safetensors"):
            Path(f"{name}_{form}").mkdir()
            put(mesh, value, f"{name}_{form}/net", format=form)
    return tmp_path


def put(mesh: Any, value: int, path: str | Path, **kwargs: Any) -> None:
    w = jax.device_put(np.full((8, 8), value, np.float32), jax.NamedSharding(mesh, jax.P("x", "y")))
    ms.save_checkpoint({"w": w, "step": value}, path, integrated_save=False, **kwargs)


def mixed(form: str) -> dict[int, str]:
    """The files of eight ranks, of which two are those of an older save."""
    return {rank: f"{'old' if rank in (2, 3) else 'new'}_{form}/rank_{rank}/net.{form}"
            for rank in range(8)}  # fmt: skip


@pytest.mark.parametrize("form", ["ckpt", "safetensors"])
def test_a_mixture_is_refused(ranks: Path, form: str, capsys: Any) -> None:
    """Whatever reads several files tells which ranks are of which save."""
    for rank, path in mixed(form).items():
        (Path("mix") / f"rank_{rank}").mkdir(parents=True)
        shutil.copy(path, f"mix/rank_{rank}/net.{form}")
    saves = [ms.open_checkpoint(f"mix/rank_{rank}/net.{form}").save for rank in (0, 2)]
    assert all(saves)
    told = (
        f"rank 0, 1, 4, 5, 6, 7: save {saves[0]}",
        f"rank 2, 3: save {saves[1]}",
    )
    strategy = "new_ckpt/strategy.ckpt"
    for read in (
        lambda: ms.load_checkpoint("mix", strategy=strategy),
        lambda: ms.load_checkpoint(mixed(form), strategy=strategy),
        lambda: ms.MergedCheckpoint(mixed(form), strategy),
        lambda: ms.transform_checkpoints("mix", "out", "p", strategy),
        lambda: ms.transform_checkpoint_by_rank(0, mixed(form), "x.ckpt", strategy),
        lambda: ms.plan_transform("mix", strategy),
        lambda: ms.unified_safetensors("mix", strategy, "out"),
        lambda: ms.convert_checkpoint("mix", "out.ckpt", strategy=strategy),
    ):
        with pytest.raises(ms.CheckpointError, match="are of different saves") as caught:
            read()
        assert all(text in str(caught.value) for text in told)
    merge = ["merge", "mix", "--strategy", strategy, "-o", "x.ckpt"]
    reshard = ["reshard", "mix", "--from", strategy, "--to", "x=2", "-o", "out"]
    for command in (merge, reshard):
        assert main(command) == 2
        error = capsys.readouterr().err
        assert all(text in error for text in told)
    assert not Path("out").exists()
    assert main(["inspect", f"mix/rank_2/net.{form}"]) == 0
    assert f"of the save {saves[1]}" in capsys.readouterr().out


def test_files_that_name_no_save(ranks: Path) -> None:
    """They are a set by themselves, and none with others."""
    plain = {}
    for rank in range(8):
        part = dict(ms.load_checkpoint(f"new_ckpt/rank_{rank}/net.ckpt"))
        (Path("plain") / f"rank_{rank}").mkdir(parents=True)
        plain[rank] = f"plain/rank_{rank}/net.ckpt"
        ms.save_checkpoint(part, plain[rank])
    assert (ms.load_checkpoint(plain, strategy="new_ckpt/strategy.ckpt")["w"] == 1).all()
    plain |= {rank: f"new_ckpt/rank_{rank}/net.ckpt" for rank in range(7)}
    with pytest.raises(ms.CheckpointError, match="rank 7: no save is named"):
        ms.load_checkpoint(plain, strategy="new_ckpt/strategy.ckpt")


def test_conversions_keep_a_mixture_apart(ranks: Path) -> None:
    for name in ("old", "new"):
        ms.ckpt_to_safetensors(f"{name}_ckpt", f"safe_{name}")
    shutil.copy("safe_old/rank_1/net.safetensors", "safe_new/rank_1/net.safetensors")
    with pytest.raises(ms.CheckpointError, match="are of different saves"):
        ms.load_checkpoint("safe_new", strategy="new_ckpt/strategy.ckpt", format="safetensors")


def test_unified_files_of_different_saves(ranks: Path) -> None:
    for name in ("old", "new"):
        ms.unified_safetensors(f"{name}_ckpt", f"{name}_ckpt/strategy.ckpt", f"u_{name}")
        assert len(os.listdir(f"u_{name}")) == 3, os.listdir(f"u_{name}")
    shutil.copy("u_old/hyper_param.safetensors", "u_new")
    with pytest.raises(ms.CheckpointError, match="are of different saves"):
        ms.load_checkpoint("u_new")
    ms.unified_safetensors(
        "new_ckpt", "new_ckpt/strategy.ckpt", "u_new", choice_func=lambda n: n == "w"
    )
    assert dict(ms.load_checkpoint("u_new"))["w"].max() == 1
    assert sorted(os.listdir("u_new")) == ["param_name_map.json", "part0.safetensors"]


def test_fewer_ranks_leave_nothing_of_more(tmp_path: Path, mesh: Any) -> None:
    put(mesh, 1, tmp_path / "net")
    few = jax.make_mesh((2, 1), ("x", "y"), devices=jax.devices()[:2])
    put(few, 2, tmp_path / "net")
    assert sorted(os.listdir(tmp_path)) == ["rank_0", "rank_1", "strategy.ckpt"]
    strategy = tmp_path / "strategy.ckpt"
    assert (ms.load_checkpoint(tmp_path, strategy=strategy)["w"] == 2).all()
    for count in ("x=4; w=x", "x=2; w=,x"):
        ms.transform_checkpoints(tmp_path, tmp_path / "out", "p", strategy,
                                 layouts(count))  # fmt: skip
    assert sorted(os.listdir(tmp_path / "out")) == ["rank_0", "rank_1"]


def layouts(text: str) -> Any:
    count = int(text[2])
    return {"w": ms.Layout((count,), ((), (0,)) if "=,x" in text else ((0,), ()))}


def test_rank_folders_that_lead_elsewhere(tmp_path: Path, mesh: Any) -> None:
    (tmp_path / "away").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run/rank_3").symlink_to(tmp_path / "away")
    with pytest.raises(ms.CheckpointError, match="leads elsewhere"):
        put(mesh, 1, tmp_path / "run/net")
    with pytest.raises(FileNotFoundError, match="create it first"):
        put(mesh, 1, tmp_path / "run/net", strategy_file=tmp_path / "none/s.ckpt")
    assert os.listdir(tmp_path / "run") == ["rank_3"]


def test_resume_finishes_what_was_complete_and_passes_over_a_mixture(
    tmp_path: Path, mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = ms.CheckpointConfig(integrated_save=False, save_checkpoint_steps=1)
    like = {"w": jax.device_put(np.zeros((8, 8), np.float32), jax.NamedSharding(mesh, jax.P("x")))}
    move = folders._move

    def broken(names: list[str], *args: Any) -> None:
        move(names[:3], *args)
        raise KeyboardInterrupt

    with ms.ModelCheckpoint("m", tmp_path, config) as checkpoint:
        checkpoint.step(like, 1, 1)
        monkeypatch.setattr(folders, "_move", broken)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.step(like, 1, 2)
        monkeypatch.undo()
        assert (tmp_path / ".msckpt-save.m-1_2.ckpt/journal.json").exists()
        resumed = ms.resume(tmp_path, like)
        assert resumed is not None
        assert resumed.step == 2
        assert not list(tmp_path.glob(".msckpt*"))
    part = dict(ms.load_checkpoint(tmp_path / "rank_5/m-1_1.ckpt"))
    (tmp_path / "rank_5/m-1_2.ckpt").unlink()
    ms.save_checkpoint(part, tmp_path / "rank_5/m-1_2.ckpt")
    with pytest.warns(UserWarning, match=r"files in rank_5: no save is named"):
        resumed = ms.resume(tmp_path, like)
    assert resumed is not None
    assert resumed.step == 1
