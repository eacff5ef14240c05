"""Models saved as Hugging Face's libraries save them: their names, their sizes, their index."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from flax import nnx
from huggingface_hub.serialization import _base as hub
from hypothesis import given
from hypothesis import strategies as st

import msckpt_jax as ms
from msckpt_jax import boxes
from msckpt_jax.checkpoint import leaves
from msckpt_jax.checkpoint.formats import shards
from msckpt_jax.cli import main

INDEX = "model.safetensors.index.json"
TREE = {
    "bias": np.arange(10, dtype=np.int8),
    "embed": np.arange(64, dtype=np.float32).reshape(8, 8),
    "half": np.arange(7).astype(ml_dtypes.bfloat16),
    "none": np.zeros((0, 3), np.float16),
    "step": np.array(7),
}


def save(tree: Any, folder: Any, size: Any = 100, **kwargs: Any) -> None:
    ms.save_checkpoint(tree, folder, format="safetensors", max_shard_size=size, **kwargs)


def same(found: Any, wanted: Any) -> None:
    assert sorted(found) == sorted(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert np.asarray(found[name]).tobytes() == array.tobytes()


def places(folder: Path) -> dict[str, str]:
    return json.loads((folder / INDEX).read_text())["weight_map"]


def test_the_files_and_their_index(tmp_path: Path) -> None:
    save(TREE, tmp_path / "out")
    files = [f"model-{i:05}-of-00002.safetensors" for i in (1, 2)]
    assert sorted(os.listdir(tmp_path / "out")) == [*files, INDEX]
    index = json.loads((tmp_path / "out" / INDEX).read_text())
    assert index["metadata"] == {"total_size": sum(array.nbytes for array in TREE.values())}
    assert index["weight_map"] == dict.fromkeys(TREE, files[1]) | {"embed": files[0]}
    for file in files:
        with safetensors.safe_open(tmp_path / "out" / file, "numpy") as opened:
            assert opened.metadata() == {"format": "pt"}
            assert {*opened.keys()} == {n for n, f in index["weight_map"].items() if f == file}
    same(ms.load_checkpoint(tmp_path / "out"), TREE)
    same(ms.load_checkpoint(tmp_path / "out" / INDEX), TREE)
    assert {*os.listdir(tmp_path)} == {"out"}
    mask = os.umask(0)
    os.umask(mask)
    for file in (*files, INDEX):
        assert (tmp_path / "out" / file).stat().st_mode & 0o777 == 0o666 & ~mask


def test_one_file_without_an_index(tmp_path: Path) -> None:
    save(TREE, tmp_path / "out", "5GB")
    assert os.listdir(tmp_path / "out") == ["model.safetensors"]
    found = safetensors.numpy.load_file(tmp_path / "out" / "model.safetensors")
    assert found["embed"].tobytes() == TREE["embed"].tobytes()
    same(ms.open_checkpoint(tmp_path / "out"), TREE)


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 60))
def test_tensors_are_dealt_as_the_library_deals_them(sizes: list[int], limit: int) -> None:
    tensors = {f"t{i:02}": np.zeros(size, np.uint8) for i, size in enumerate(sizes)}
    dealt = shards.dealt(leaves.from_tree(tensors), limit)
    theirs = hub.split_state_dict_into_shards_factory(
        tensors,
        get_storage_size=lambda array: array.nbytes,
        filename_pattern="model{suffix}.safetensors",
        max_shard_size=limit,
    )
    ours = {name: [record.tag for record in group] for name, group in dealt.files.items()}
    assert ours == {name: [*group] for name, group in theirs.filename_to_tensors.items()}
    if theirs.is_sharded:
        index = json.loads(dealt.small[INDEX])
        assert index == {"metadata": theirs.metadata, "weight_map": theirs.tensor_to_filename}


@pytest.mark.parametrize("text", ["5GB", "0.3GB", "500MB", "12KB", "1.5tb", " 2 mb "])
def test_sizes_as_the_library_reads_them(text: str) -> None:
    assert shards.size(text, "x") == hub.parse_size_to_int(text)


def test_binary_sizes() -> None:
    assert [shards.size(size, "x") for size in ("3GiB", "1kib", 5)] == [3 << 30, 1024, 5]


@pytest.mark.parametrize("size", ["5", "GB", "-1GB", "5 XB", "", "1e3MB", 0, "0GB", -1])
def test_what_is_no_size(tmp_path: Path, size: Any) -> None:
    with pytest.raises(ValueError, match="max_shard_size"):
        save(TREE, tmp_path / "out", size)
    with pytest.raises(TypeError, match="max_shard_size"):
        save(TREE, tmp_path / "out", True)
    assert not os.listdir(tmp_path)


def test_the_order_of_the_tree_decides(tmp_path: Path) -> None:
    """Layer 10 follows layer 9 in a list of layers."""
    save({"layers": [np.full(25, i, np.float32) for i in range(12)]}, tmp_path / "out", "1KB")
    assert places(tmp_path / "out") == {
        f"layers.{i}": f"model-0000{1 + (i > 9)}-of-00002.safetensors" for i in range(12)
    }


# What an earlier save has left


def test_older_files_go_and_others_stay(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    others = ["config.json", "consolidated-00001-of-00001.safetensors", "other.safetensors",
              "pytorch_model.bin", "model.safetensors.bak", "named.json"]  # fmt: skip
    for name in others:
        (folder / name).write_text(name)
    (folder / "model-00007-of-00009.safetensors").write_text("of a killed download")
    (folder / "strange.safetensors").write_text("which the old index names")
    old = {"a": "strange.safetensors", "b": "named.json", "c": "../x.safetensors", "d": 5}
    (folder / INDEX).write_text(json.dumps({"weight_map": old}))
    (tmp_path / "x.safetensors").write_text("")
    for size, count in ((100, 2), (8, 4), ("1GB", 0), (100, 2)):
        save(TREE, folder, size)
        own = {f"model-{i:05}-of-{count:05}.safetensors" for i in range(1, count + 1)} | {INDEX}
        wanted = {*others} | (own if count else {"model.safetensors"})
        assert {*os.listdir(folder)} == wanted
        same(ms.load_checkpoint(folder), TREE)
    assert all((folder / name).read_text() == name for name in others)
    assert (tmp_path / "x.safetensors").exists()


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 5}', "[" * 10_000, "\xff"])
def test_an_older_index_that_is_damaged(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX).write_text(text, encoding="latin-1")
    save(TREE, tmp_path)
    same(ms.load_checkpoint(tmp_path), TREE)


def test_the_cache_of_the_hub_is_not_written_through(tmp_path: Path) -> None:
    """Its links are replaced, not the files that other revisions share."""
    save(TREE, tmp_path / "blobs")
    (tmp_path / "snapshot").mkdir()
    for path in (tmp_path / "blobs").iterdir():
        (tmp_path / "snapshot" / path.name).symlink_to(path)
    save({**TREE, "step": np.array(8)}, tmp_path / "snapshot")
    assert ms.load_checkpoint(tmp_path / "snapshot")["step"] == 8
    same(ms.load_checkpoint(tmp_path / "blobs"), TREE)


@pytest.mark.parametrize("more", [
    "model-00003-of-00003.safetensors", "model-00001-of-00003.safetensors", "model.safetensors",
])  # fmt: skip
def test_files_of_another_save(tmp_path: Path, more: str) -> None:
    """Libraries differ in what they read: transformers prefers model.safetensors, others not."""
    save(TREE, tmp_path)
    safetensors.numpy.save_file({"embed": np.ones(1)}, tmp_path / more)
    message = rf"side by side, as if of two saves.*name {INDEX} itself \(found {more}\)"
    with pytest.raises(ms.CheckpointError, match=message):
        ms.open_checkpoint(tmp_path)
    same(ms.open_checkpoint(tmp_path / INDEX), TREE)


def test_files_beside_one_that_stands_alone(tmp_path: Path) -> None:
    save(TREE, tmp_path)
    (tmp_path / INDEX).unlink()
    alone = tmp_path / "model.safetensors"
    ms.save_checkpoint({"w": np.ones(2)}, alone, format="safetensors")
    with pytest.raises(ms.CheckpointError, match=r"name model.safetensors itself \(found model-0"):
        ms.open_checkpoint(tmp_path)
    same(ms.open_checkpoint(alone), {"w": np.ones(2)})


@pytest.mark.parametrize("missing", [1, 2])
def test_half_of_a_download(tmp_path: Path, missing: int) -> None:
    save(TREE, tmp_path)
    (tmp_path / INDEX).unlink()
    same(ms.open_checkpoint(tmp_path), TREE)
    (tmp_path / f"model-{missing:05}-of-00002.safetensors").unlink()
    with pytest.raises(ms.CheckpointError, match="1 of the files model-00001-of-00002"):
        ms.open_checkpoint(tmp_path)


# Arguments


class Net(nnx.Module):
    def __init__(self) -> None:
        self.conv = nnx.Conv(2, 3, (3, 3), rngs=nnx.Rngs(0))
        self.head = nnx.Linear(3, 4, rngs=nnx.Rngs(1))


def test_further_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written: list[int] = []
    save(Net(), tmp_path / "out", append_dict={"epoch": 3}, crc_check=True, convention="mindspore",
         choice_func=lambda name: name != "head.bias", progress=written.append)  # fmt: skip
    ms.save_checkpoint(Net(), tmp_path / "one.ckpt", append_dict={"epoch": 3},
                       convention="mindspore")  # fmt: skip
    one = ms.load_checkpoint(tmp_path / "one.ckpt")
    del one["head.bias"]
    found = ms.load_checkpoint(tmp_path / "out", crc_check=True)
    same({name: np.asarray(found[name]) for name in found},
         {name: np.asarray(one[name]) for name in one})  # fmt: skip
    assert found["conv.weight"].shape == (3, 2, 3, 3)
    assert sum(written) > sum(np.asarray(one[name]).nbytes for name in one)
    net = Net()
    net.head.kernel[...] = jnp.zeros((3, 4))
    not_loaded, unused = ms.load_param_into_net(net, found, convention="mindspore")
    assert ([*not_loaded], [*unused]) == (["head.bias"], ["epoch"])
    assert np.array_equal(net.head.kernel, Net().head.kernel)
    assert main(["verify", str(tmp_path / "out")]) == 0
    assert "check sum right" in capsys.readouterr().out


@pytest.mark.parametrize("how", [True, "thread", "process"])
def test_asynchronously(tmp_path: Path, how: Any) -> None:
    handle: Any = ms.save_checkpoint(TREE, tmp_path / "out", format="safetensors",
                                     max_shard_size=100, async_save=how)  # fmt: skip
    assert handle.target == str(tmp_path / "out")
    handle.result()
    same(ms.load_checkpoint(tmp_path / "out"), TREE)


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for error, message, arguments in (
        (ValueError, "needs format='safetensors'", {"format": "ckpt"}),
        (ValueError, "not with integrated_save=False", {"integrated_save": False}),
        (ValueError, "not encrypted", {"enc_key": bytes(16)}),
        (ValueError, "not to an open file", {"ckpt_file_name": io.BytesIO()}),
        (NotADirectoryError, "is a file; with max_shard_size", {"ckpt_file_name": "file"}),
        (FileNotFoundError, "does not exist", {"ckpt_file_name": "none/out"}),
        (ms.CheckpointError, "holds no strings", {"save_obj": {"a": "b"}}),
        (ms.CheckpointError, "nothing to save", {"save_obj": {}}),
    ):
        given: dict[str, Any] = {"save_obj": TREE, "ckpt_file_name": "out", "format": "safetensors",
                                 "max_shard_size": 100}  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(tmp_path)
            with pytest.raises(error, match=message):
                ms.save_checkpoint(**(given | arguments))
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(ValueError, match="max_shard_size= is not for the files of a run"):
        ms.CheckpointConfig(format="safetensors", max_shard_size="5GB")


# Meshes


def test_shards_of_a_mesh_are_written_window_by_window(
    tmp_path: Path, mesh: Any, other_mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files are those of unsharded arrays, and no array is gathered."""
    whole = {
        f"w{i}": np.arange(512 * 1024, dtype=np.float32).reshape(512, 1024) + i for i in range(3)
    }
    specs = [jax.P("x", "y"), jax.P(None, "y"), jax.P(("y", "x"))]
    tree = {
        name: jax.device_put(array, jax.NamedSharding(mesh, spec))
        for (name, array), spec in zip(whole.items(), specs, strict=True)
    }
    gathered: list[int] = []
    gather = boxes.gather

    def noted(pieces: Any, box: Any, out: Any) -> None:
        gathered.append(out.nbytes)
        gather(pieces, box, out)

    monkeypatch.setattr(boxes, "gather", noted)
    monkeypatch.setattr("msckpt_jax.checkpoint.plan.CHUNK_BYTES", 1 << 18)
    save(tree, tmp_path / "sharded", "2.1MB")
    assert 0 < max(gathered) <= 1 << 18
    save(whole, tmp_path / "whole", "2.1MB")
    for file in os.listdir(tmp_path / "whole"):
        assert (tmp_path / "sharded" / file).read_bytes() == (
            tmp_path / "whole" / file
        ).read_bytes()
    assert len(os.listdir(tmp_path / "sharded")) == 4
    like = {
        name: jax.ShapeDtypeStruct(
            (512, 1024), np.float32, sharding=jax.NamedSharding(other_mesh, jax.P("b", "a"))
        )
        for name in whole
    }
    found = ms.load_checkpoint(tmp_path / "sharded", like=like)
    same(found, whole)


# The command line


def test_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, folder, back = (str(tmp_path / name) for name in ("a.ckpt", "out", "b.ckpt"))
    ms.save_checkpoint({**TREE, "note": "warm"}, one)
    Path(key := str(tmp_path / "key")).write_bytes(bytes(16))
    assert main(["convert", one, folder, "--max-shard-size", "100B"]) == 2
    assert "like '5GB'" in capsys.readouterr().err
    assert main(["convert", one, folder, "--max-shard-size", "0.1KB", "--crc"]) == 0
    shown = capsys.readouterr()
    assert "5 entries" in shown.out
    assert "in 2 files" in shown.out
    same(ms.load_checkpoint(folder, crc_check=True), TREE)
    assert ms.open_checkpoint(folder).custom_metadata == {}
    assert main(["convert", folder, back]) == 0
    assert main(["diff", folder, back]) == 0
    assert main(["convert", folder, str(tmp_path / "small"), "--max-shard-size", "1GB",
                 "--dtype", "bfloat16", "--rename", "^=model."]) == 0  # fmt: skip
    assert os.listdir(tmp_path / "small") == ["model.safetensors"]
    assert ms.load_checkpoint(tmp_path / "small")["model.embed"].dtype == ml_dtypes.bfloat16
    for more, message in (
        (["--to", "x=2"], "cannot be combined with --to"),
        (["--enc-key-file", key], "cannot be combined"),
    ):
        assert main(["convert", folder, str(tmp_path / "x"), "--max-shard-size", "1GB", *more]) == 2
        assert message in capsys.readouterr().err
    assert main(["convert", folder, back, "--max-shard-size", "1GB"]) == 2
    assert "name a folder, not a file" in capsys.readouterr().err
    assert main(["convert", folder, folder, "--max-shard-size", "1GB"]) == 2
    assert "is the source itself" in capsys.readouterr().err


def test_rank_files_in_such_folders_are_merged(
    tmp_path: Path, mesh: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    whole = {name: np.arange(32, dtype=np.float32).reshape(8, 4) + i for i, name in enumerate("ab")}
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    tree = {name: jax.device_put(array, sharding) for name, array in whole.items()}
    ms.save_checkpoint(tree, "net.ckpt", integrated_save=False)
    Path("new").mkdir()
    for rank in range(8):
        save(dict(ms.load_checkpoint(f"rank_{rank}/net.ckpt")), f"new/rank_{rank}", 16)
    assert len(os.listdir("new/rank_3")) == 3
    assert main(["merge", "new", "--strategy", "strategy.ckpt", "-o", "merged.ckpt"]) == 0
    same(ms.load_checkpoint("merged.ckpt"), whole)
    assert main(["merge", "new/rank_3", "--strategy", "strategy.ckpt", "-o", "x.ckpt"]) == 2
    assert "convert takes other folders" in capsys.readouterr().err
