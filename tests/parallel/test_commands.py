"""``msckpt merge``, ``reshard`` and ``convert --to``: plans, resumption, what is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.cli import main
from msckpt_jax.parallel import merged

ARRAY = np.arange(64, dtype=np.float32).reshape(8, 8)


@pytest.fixture
def ranks(tmp_path: Path, mesh: Any) -> Path:
    folder = tmp_path / "src"
    folder.mkdir()
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    tree = {"w": jax.device_put(ARRAY, sharding), "b": np.ones(3, np.float32)}
    ms.save_checkpoint(tree, folder / "net.ckpt", integrated_save=False)
    return folder


def reshard(ranks: Path, to: str, out: Path, *more: str) -> list[str]:
    return ["reshard", str(ranks), "--from", str(ranks / "strategy.ckpt"), "--to", to,
            "-o", str(out), *more]  # fmt: skip


def test_files_of_another_layout_are_not_taken_for_done(
    ranks: Path, tmp_path: Path, capsys: Any
) -> None:
    """The parts of both layouts have the same names, dtypes and shapes."""
    out = tmp_path / "out"
    one, other = "a=2,b=2; w=a,b", "a=2,b=2; w=b,a"
    assert main(reshard(ranks, one, out)) == 0
    assert main(reshard(ranks, one, out)) == 0
    assert "4 were there already" in capsys.readouterr().out
    assert main(reshard(ranks, other, out)) == 2
    assert "holds other rank files" in capsys.readouterr().err
    assert np.array_equal(merged.open_ranks(out, out / "strategy.ckpt")["w"], ARRAY)
    for rank in range(8):  # the source changes: what was made of it is stale
        path = ranks / f"rank_{rank}/net.ckpt"
        ms.save_checkpoint({n: a + 1 for n, a in ms.load_checkpoint(path).items()}, path)
    assert main(reshard(ranks, one, out)) == 2


_KILLED = """
import os, signal, sys
from msckpt_jax.cli import main
from msckpt_jax.parallel import ordered
original, left = ordered.write_file, [2]

def write(*args):
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    original(*args)

ordered.write_file = write
main(sys.argv[1:])
"""


def test_a_killed_reshard_is_taken_up(ranks: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "out"
    command = reshard(ranks, "a=4; w=,a", out)
    assert subprocess.run([sys.executable, "-c", _KILLED, *command]).returncode == -signal.SIGKILL
    assert len(list(out.glob("rank_*/*.ckpt"))) == 2
    assert main(command) == 0
    assert "2 rank files" in (said := capsys.readouterr().out)
    assert "2 were there already" in said
    assert np.array_equal(merged.open_ranks(out, out / "strategy.ckpt")["w"], ARRAY)


def test_sharded_files_without_their_strategy(ranks: Path, tmp_path: Path, capsys: Any) -> None:
    """MindSpore takes rank 0's part for the whole, in silence."""
    command = ["reshard", str(ranks), "--to", "a=2", "-o", str(tmp_path / "out")]
    assert main(command) == 2
    assert "'w': no strategy says how it is sharded" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    with pytest.raises(ms.CheckpointError, match="'w': no strategy"):
        ms.transform_checkpoints(ranks, tmp_path / "out", "p")


def test_the_plan_of_a_merge(ranks: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "m.ckpt"
    args = ["merge", str(ranks), "--strategy", str(ranks / "strategy.ckpt"), "-o", str(out)]
    assert main([*args, "--plan"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    # 256 bytes of w over 8 ranks, 12 bytes of b from the first
    assert [line[:2] for line in lines[1:9]] == [
        [str(rank), "44" if rank == 0 else "32"] for rank in range(8)
    ]
    assert main([*args, "--jobs", "3"]) == 0
    assert np.array_equal(ms.load_checkpoint(out)["w"], ARRAY)


def test_encrypted_rank_files(tmp_path: Path, mesh: Any, capsys: Any) -> None:
    folder, key = tmp_path / "src", tmp_path / "key"
    folder.mkdir()
    key.write_bytes(bytes(16))
    sharding = jax.NamedSharding(mesh, jax.P("x"))
    ms.save_checkpoint({"w": jax.device_put(ARRAY, sharding)}, folder / "net",
                       integrated_save=False, enc_key=bytes(16), enc_mode="SM4-CBC")  # fmt: skip
    args = ["merge", str(folder), "--strategy", str(folder / "strategy.ckpt"), "-o",
            str(tmp_path / "m.ckpt")]  # fmt: skip
    assert main(args) == 2
    assert "encrypted with SM4-CBC" in capsys.readouterr().err
    assert main([*args, "--dec-key-file", str(key), "--dec-mode", "SM4-CBC"]) == 0
    assert np.array_equal(ms.load_checkpoint(tmp_path / "m.ckpt")["w"], ARRAY)


def test_a_file_becomes_rank_files(ranks: Path, tmp_path: Path, capsys: Any) -> None:
    ms.save_checkpoint({"w": ARRAY, "note": "x"}, tmp_path / "a.ckpt")
    for name, to in (("one", "a=2; w=,a"), ("two", str(ranks / "strategy.ckpt"))):
        out = tmp_path / name
        assert main(["convert", str(tmp_path / "a.ckpt"), str(out), "--to", to]) == 0
        strategy = out / "strategy.ckpt" if name == "one" else ranks / "strategy.ckpt"
        found = ms.load_checkpoint(out, strategy=strategy)
        assert np.array_equal(found["w"], ARRAY)
        assert list(found) == ["w"]
        assert "note is a string: left out" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "a.ckpt"), str(out), "--to", "a=2"]) == 2
    assert "rank files already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--jobs", "0"], "positive number"),
        (["--jobs", "-3"], "positive number"),
        (["--jobs", "x"], "positive number"),
        (["--prefix", "a/b"], "without '/'"),
        (["--prefix", ""], "without '/'"),
        (["--to", ""], "--to must name"),
        (["-o", "{source}"], "the source itself"),
    ],
)
def test_wrong_arguments_of_reshard(
    ranks: Path, tmp_path: Path, more: list[str], message: str, capsys: Any
) -> None:
    before = sorted(ranks.rglob("*"))
    more = [arg.format(source=ranks) for arg in more]
    assert main(reshard(ranks, "a=2", tmp_path / "out", *more)) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert sorted(ranks.rglob("*")) == before


def test_a_rank_that_holds_nothing_gets_no_file(tmp_path: Path, mesh: Any) -> None:
    """Nobody could load an empty one."""
    sharding = jax.NamedSharding(mesh, jax.P())
    tree = {"w": jax.device_put(ARRAY, sharding), "v": jax.device_put(ARRAY[0], sharding)}
    for form in ("ckpt", "safetensors"):
        folder = tmp_path / form
        folder.mkdir()
        ms.save_checkpoint(tree, folder / "net", integrated_save=False, remove_redundancy=True,
                           format=form)  # fmt: skip
        assert sorted(os.listdir(folder)) == ["rank_0", "rank_1", "strategy.ckpt"]
        found = ms.load_checkpoint(folder, strategy=folder / "strategy.ckpt")
        assert np.array_equal(found["w"], ARRAY)


# Arguments of the functions


def test_wrong_arguments_of_the_functions(ranks: Path, tmp_path: Path) -> None:
    plan, out = ranks / "strategy.ckpt", tmp_path / "out"
    files = {rank: ranks / f"rank_{rank}/net.ckpt" for rank in range(8)}
    single = ranks / "rank_0/net.ckpt"
    for error, message, call in (
        (ValueError, "process_num", lambda: ms.transform_checkpoints(ranks, out, "p", plan,
                                                                     process_num=0)),
        (ValueError, "source itself", lambda: ms.transform_checkpoints(ranks, ranks, "p", plan)),
        (ValueError, "below the 8 ranks", lambda: ms.rank_list_for_transform(8, plan, plan)),
        (ValueError, "below the 1 ranks", lambda: ms.rank_list_for_transform(1, plan)),
        (ValueError, "below the 8 ranks", lambda: ms.transform_checkpoint_by_rank(
            -1, files, tmp_path / "a.ckpt", plan, plan)),
        (ValueError, "must end with", lambda: ms.transform_checkpoint_by_rank(
            0, files, tmp_path / "a", plan)),
        (TypeError, "dict of rank to file", lambda: ms.transform_checkpoint_by_rank(
            0, [single], tmp_path / "a.ckpt", plan)),  # type: ignore[arg-type]
        (ValueError, "i from 1 to n", lambda: ms.unified_safetensors(
            ranks, plan, out, split_dst_file=(3, 2))),
        (TypeError, "callable", lambda: ms.unified_safetensors(
            ranks, plan, out, choice_func=3)),  # type: ignore[arg-type]
        (ms.CheckpointError, "'same'.*both get", lambda: ms.unified_safetensors(
            ranks, plan, out, choice_func=lambda name: "same")),
        (ms.CheckpointError, "'b'.*two entries", lambda: ms.ckpt_to_safetensors(
            single, out, name_map={"w": "b"})),
        (ValueError, "processes_num", lambda: ms.ckpt_to_safetensors(single, processes_num=0)),
        (TypeError, "all arrays", lambda: ms.merge_sliced_parameter(
            [ARRAY, {"name": "w", "data": ARRAY}])),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            call()
    assert sorted(os.listdir(tmp_path)) == ["src"]
    assert len(list(ranks.rglob("*.*"))) == 9


def test_wrong_arguments_of_cutting(ranks: Path, tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    ms.unified_safetensors(ranks, ranks / "strategy.ckpt", parts)
    kwargs: dict[str, Any] = {"format": "safetensors", "unified_safetensors_dir": parts,
                              "dst_safetensors_dir": tmp_path / "cut",
                              "predict_strategy": ranks / "strategy.ckpt"}  # fmt: skip
    for more in ({"rank_id": 8}, {"output_format": "npz"}):
        with pytest.raises(ValueError, match=r"rank_id|output_format"):
            ms.load_distributed_checkpoint(None, **kwargs, **more)
    assert not (tmp_path / "cut").exists()
