"""Several processes of jax.distributed write one file, fail together, and read their parts."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.parallel import merged, pieces, shares
from tests.parallel import lora_tree

WHOLE = np.arange(64 * 48, dtype=np.float32).reshape(64, 48)
NAMES = ("rows", "columns", "both", "swapped", "replicated", "half")


class Ended(NamedTuple):
    status: int
    output: str


def run(what: str, count: int, folder: Path, script: str = "process.py") -> list[Ended]:
    """Run ``count`` processes of a script on this machine and wait for all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    path = str(Path(__file__).parent / script)
    started = [
        subprocess.Popen(
            [sys.executable, path, str(count), str(i), port, str(folder), what],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for i in range(count)
    ]
    outputs = [process.communicate(timeout=200)[0] for process in started]
    return [Ended(p.returncode, out) for p, out in zip(started, outputs, strict=True)]


def check_ended_well(ended: list[Ended]) -> None:
    for one in ended:
        assert one.status == 0, one.output
        assert "done" in one.output


@pytest.fixture(scope="module", params=[2, 4])
def saved(request: Any, tmp_path_factory: Any) -> tuple[int, Path]:
    folder = tmp_path_factory.mktemp("hosts")
    check_ended_well(run("save", request.param, folder))
    return request.param, folder


def test_one_merged_file(saved: tuple[int, Path]) -> None:
    check_saved(saved[1], set())


def check_saved(folder: Path, others: set[str]) -> None:
    files = {"merged-crc_check-slice_bytes.ckpt", "merged-format.safetensors", "merged.ckpt"}
    assert set(os.listdir(folder)) == files | others
    for name in files:
        found = ms.load_checkpoint(folder / name, crc_check="crc" in name)
        assert all(np.array_equal(found[n], WHOLE) for n in NAMES)
        assert found["numpy"].tolist() == [0, 1, 2, 3, 4]
        assert found["step"] == 0


def test_the_bytes_are_those_of_one_process(saved: tuple[int, Path], tmp_path: Path) -> None:
    _, folder = saved
    tree = dict.fromkeys(NAMES, WHOLE) | {"numpy": np.arange(5), "step": 0, "note": "many"}
    ms.save_checkpoint(tree, tmp_path / "one.ckpt")
    assert (folder / "merged.ckpt").read_bytes() == (tmp_path / "one.ckpt").read_bytes()


def test_each_process_loads_only_its_boxes(saved: tuple[int, Path]) -> None:
    count, folder = saved
    check_ended_well(run("load", count, folder))


def test_rank_files_of_many_processes(tmp_path: Path) -> None:
    check_ended_well(run("ranks", 2, tmp_path))
    found = merged.open_ranks(tmp_path, tmp_path / "strategy.ckpt")
    assert len(found.files) == 8
    assert all(np.array_equal(found[n], WHOLE) for n in NAMES)


@pytest.mark.parametrize("count", [2, 4])
def test_gathered_where_no_file_system_is_shared(tmp_path: Path, count: int) -> None:
    check_ended_well(run("gather", count, tmp_path))
    check_saved(tmp_path, {"large.ckpt", "relative.ckpt"})
    large = ms.load_checkpoint(tmp_path / "large.ckpt")["large"]
    assert large.shape == (4096, 8192)
    assert (large == 7).all()
    assert np.array_equal(ms.load_checkpoint(tmp_path / "relative.ckpt")["rows"], WHOLE)


@pytest.mark.parametrize(("what", "count"), [("folders", 4), ("folders_gathered", 2)])
def test_a_folder_of_files(tmp_path: Path, what: str, count: int) -> None:
    """Its files are those that one process writes of unsharded arrays."""
    check_ended_well(run(what, count, tmp_path))
    check_folder(tmp_path)


def check_folder(where: Path) -> None:
    tree = dict.fromkeys(NAMES, WHOLE + 2) | {"numpy": np.arange(5), "step": 2}
    ms.save_checkpoint(tree, where / "one", format="safetensors", max_shard_size=3 * WHOLE.nbytes)
    assert sorted(os.listdir(where)) == ["one", "out"]
    assert sorted(os.listdir(where / "out")) == sorted(os.listdir(where / "one"))
    for path in (where / "one").iterdir():
        assert (where / "out" / path.name).read_bytes() == path.read_bytes()


def test_kills_while_a_folder_is_replaced(tmp_path: Path) -> None:
    """At each moment readers have the old files or an error; the next save puts things right."""
    whole_until_the_end = {"staging:1": True, "exchange:01": True, "written:0": False,
                           "replacing:0": False}  # fmt: skip
    for moment, whole in whole_until_the_end.items():
        ended = run(f"cut:{moment}", 2, tmp_path)
        for victim in moment.partition(":")[2]:
            assert ended[int(victim)].status == -9, ended[int(victim)].output
        if whole:
            assert ms.load_checkpoint(tmp_path / "out")["step"] == 2
        else:
            with pytest.raises(ms.CheckpointError, match="msckpt recover"):
                ms.load_checkpoint(tmp_path / "out")
        assert moment != "staging:1" or "told: " in ended[0].output
    found = {"step": np.arange(3)}
    ms.save_checkpoint(found, tmp_path / "out", format="safetensors", max_shard_size=100)
    assert os.listdir(tmp_path / "out") == ["model.safetensors"]


def test_failures_are_told_to_all(tmp_path: Path) -> None:
    check_ended_well(run("fails", 4, tmp_path))
    assert sorted(os.listdir(tmp_path)) == ["a.ckpt", "out"]


@pytest.mark.parametrize(("what", "count"), [("varied", 4), ("families", 4), ("families", 1)])
def test_the_files_are_those_of_unsharded_trees(tmp_path: Path, what: str, count: int) -> None:
    """Also with one process of 8 devices. What is in one file is read by the devices' boxes."""
    check_ended_well(run(what, count, tmp_path))
    spread, whole = (
        {path.relative_to(tmp_path).as_posix().replace("-one", ""): path.read_bytes()
         for path in tmp_path.rglob("*") if path.is_file() and ("-one" in str(path)) == alone}
        for alone in (False, True)
    )  # fmt: skip
    assert spread == whole
    assert len(spread) > 20


@pytest.mark.parametrize("count", [2, 4])
def test_adapters(tmp_path: Path, count: int) -> None:
    """LoRA leaves on many processes: the files of one, also merged, or an error on all."""
    ended = run("adapters", count, tmp_path)
    check_ended_well(ended)
    tree, family = lora_tree.whole(), lora_tree.FAMILY
    ms.save_adapter(tree, tmp_path / "one", family)
    ms.save_checkpoint(tree, tmp_path / "whole", format="safetensors", convention=family)
    for ours, theirs in (("one/adapter_model", "adapter/adapter_model"), ("whole", "merged")):
        left, right = ((tmp_path / f"{n}.safetensors").read_bytes() for n in (ours, theirs))
        assert left == right
    parts = {"format": "safetensors", "max_shard_size": 4000, "convention": family}
    ms.save_checkpoint(tree, tmp_path / "whole_parts", **parts)
    names = sorted(os.listdir(tmp_path / "whole_parts"))
    assert len(names) > 3
    assert names == sorted(os.listdir(tmp_path / "parts"))
    for name in names:
        left, right = ((tmp_path / each / name).read_bytes() for each in ("parts", "whole_parts"))
        assert left == right
    assert all("told: " in each.output for each in ended)
    assert any("up_proj.kernel_lora_b" in e.output and "another host" in e.output for e in ended)
    assert not (tmp_path / "away.safetensors").exists()


def test_asynchronous_saves_of_many_processes(tmp_path: Path) -> None:
    ended = run("asynchronous", 2, tmp_path)
    check_ended_well(ended)
    for version in range(3):
        found = ms.load_checkpoint(tmp_path / f"a{version}.ckpt")
        assert all(np.array_equal(found[n], WHOLE + version) for n in NAMES)
    assert all("share no file system" in one.output for one in ended)
    assert not (tmp_path / "b.ckpt").exists()


@pytest.mark.parametrize("count", [2, 4])
def test_layouts_of_mindspore(tmp_path: Path, count: int) -> None:
    check_ended_well(run("layers", count, tmp_path))
    spread, whole = [(tmp_path / f"{name}.ckpt").read_bytes() for name in ("spread", "whole")]
    assert spread == whole


def test_the_manager_of_orbax_on_many_processes(tmp_path: Path) -> None:
    check_ended_well(run("manager", 2, tmp_path))
    (file,) = (tmp_path / "run" / "2").rglob("params.ckpt")
    found = ms.load_checkpoint(file)
    assert all(np.array_equal(found[n], WHOLE + 2) for n in NAMES)


def test_local_arrays_are_saved_by_one_process_alone(tmp_path: Path) -> None:
    check_ended_well(run("local", 2, tmp_path))
    assert np.array_equal(ms.load_checkpoint(tmp_path / "a.ckpt")["a"], WHOLE)


@pytest.mark.parametrize("count", [2, 4])
def test_a_process_is_killed_while_it_writes(tmp_path: Path, count: int) -> None:
    ended = run("die", count, tmp_path)
    assert ended[-1].status != 0
    for one in ended[:-1]:
        assert f"process {count - 1} did not answer for 4 seconds" in one.output, one.output
    assert np.array_equal(ms.load_checkpoint(tmp_path / "a.ckpt")["rows"], WHOLE + 1)
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_a_process_is_killed_while_it_sends(tmp_path: Path) -> None:
    """Also process 3, whose turn does not come, has to hear of it."""
    ended = run("die_gathering", 4, tmp_path)
    assert ended[2].status != 0
    for one in (ended[0], ended[1], ended[3]):
        assert "told: " in one.output, one.output
    assert np.array_equal(ms.load_checkpoint(tmp_path / "a.ckpt")["rows"], WHOLE + 1)
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_process_0_is_killed_while_it_writes(tmp_path: Path) -> None:
    ended = run("die_first", 2, tmp_path)
    assert ended[0].status != 0
    # Either our error, or JAX has ended the process because its coordinator is gone.
    assert "told: " in ended[1].output or ended[1].status != 0
    assert np.array_equal(ms.load_checkpoint(tmp_path / "a.ckpt")["rows"], WHOLE + 1)
    ms.save_checkpoint({"a": np.ones(2)}, tmp_path / "a.ckpt")
    assert os.listdir(tmp_path) == ["a.ckpt"]  # the next save sweeps up


def test_a_slow_process_is_waited_for_and_an_absent_one_is_not(tmp_path: Path) -> None:
    ended = run("absent", 2, tmp_path)
    check_ended_well(ended)
    assert "did not call save_checkpoint" in ended[0].output
    assert np.array_equal(ms.load_checkpoint(tmp_path / "a.ckpt")["rows"], WHOLE + 1)


@pytest.mark.parametrize(("what", "victim"), [("fail", 1), ("fail_gathering", 0)])
def test_a_process_that_cannot_write_fails_all(tmp_path: Path, what: str, victim: int) -> None:
    ended = run(what, 2, tmp_path)
    assert "No space left" in ended[victim].output
    assert f"saving failed on processes [{victim}]" in ended[1 - victim].output
    assert np.array_equal(ms.load_checkpoint(tmp_path / "a.ckpt")["rows"], WHOLE + 1)
    assert os.listdir(tmp_path) == ["a.ckpt"]


def test_processes_with_different_trees(tmp_path: Path) -> None:
    for one in run("differ", 2, tmp_path):
        assert "different names, shapes or dtypes" in one.output
    assert os.listdir(tmp_path) == []


@given(st.data())
def test_runs_are_the_contiguous_stretches(data: Any) -> None:
    shape = data.draw(st.lists(st.integers(1, 5), max_size=4))
    box = tuple(
        tuple(sorted(data.draw(st.lists(st.integers(0, n), min_size=2, max_size=2, unique=True))))
        for n in shape
    )
    array = np.arange(int(np.prod(shape))).reshape(shape)
    wanted = array[boxes.slices(box, boxes.whole(shape))].ravel()
    found = [i for start, count in pieces.runs(shape, box) for i in range(start, start + count)]
    assert found == wanted.tolist()


@pytest.mark.parametrize(
    ("parts", "wanted"),
    [
        ([], ()),
        ([()], ((),)),
        ([((0, 2), (0, 3)), ((0, 2), (3, 6))], (((0, 2), (0, 6)),)),
        ([((0, 2), (0, 3)), ((2, 4), (0, 3))], (((0, 4), (0, 3)),)),
        (
            [((0, 2), (0, 3)), ((0, 2), (3, 6)), ((2, 4), (0, 3)), ((2, 4), (3, 6))],
            (((0, 4), (0, 6)),),
        ),
        ([((0, 1),), ((2, 3),)], (((0, 1),), ((2, 3),))),
    ],
)
def test_touching_boxes_are_joined(parts: Any, wanted: Any) -> None:
    assert shares.joined(parts) == wanted
