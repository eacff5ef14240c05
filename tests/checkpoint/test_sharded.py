"""Folders of safetensors files with an index, as Hugging Face's libraries write them.

``data/llama`` was written by transformers 5.24 (``save_pretrained(folder, max_shard_size="4KB")``
of a tiny Llama in bfloat16 whose last norm is float32); ``data/llama.json`` has the dtype, shape
and SHA-256 of each tensor as torch 2.13 held it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

import msckpt_jax as ms
from msckpt_jax.checkpoint.stores.path import StorePath
from msckpt_jax.cli import main

DATA = Path(__file__).parent / "data"
LLAMA = DATA / "llama"
INDEX = "model.safetensors.index.json"
ONE, TWO = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"

TENSORS = {
    "embed": np.arange(12, dtype=np.float32).reshape(4, 3),
    "norm": np.ones(3, ml_dtypes.bfloat16),
    "step": np.array(7),
    "none": np.zeros((0, 2), np.float16),
    "mask": np.array([True, False]),
    "z": np.arange(6, dtype=np.int8).reshape(1, 6),
}


def write(
    folder: Any, tensors: dict[str, np.ndarray], index: str | None = INDEX, files: int = 2
) -> Path:
    """The tensors dealt to files by the library, and their index."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    stem = "model" if index is None else index.partition(".")[0]
    places = {
        name: f"{stem}-{1 + number % files:05}-of-{files:05}.safetensors"
        for number, name in enumerate(tensors)
    }
    for file in set(places.values()):
        part = {name: tensors[name] for name in tensors if places[name] == file}
        safetensors.numpy.save_file(part, folder / file, metadata={"format": "pt"})
    if index is not None:
        total = sum(array.nbytes for array in tensors.values())
        text = json.dumps({"metadata": {"total_size": total}, "weight_map": places}, indent=2)
        (folder / index).write_text(text)
    return folder


def same(found: Any, wanted: dict[str, np.ndarray]) -> None:
    assert list(found) == sorted(wanted)
    for name, array in wanted.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("path", [LLAMA, LLAMA / INDEX], ids=["folder", "index"])
def test_what_transformers_wrote(path: Path) -> None:
    wanted = json.loads((DATA / "llama.json").read_text())
    file = ms.open_checkpoint(path)
    assert file.format == "sharded"
    assert set(file) == set(wanted)
    for name, (dtype, shape, digest) in wanted.items():
        array = file[name]
        assert (array.dtype.name, list(array.shape)) == (dtype, shape)
        assert hashlib.sha256(array.tobytes()).hexdigest() == digest
    assert file.metadata["total_parameters"] == sum(file[name].size for name in file)
    assert file.custom_metadata == {}
    assert file.size == sum(part.stat().st_size for part in LLAMA.glob("*.safetensors"))


@pytest.mark.parametrize("index", [INDEX, "diffusion_pytorch_model.safetensors.index.json", None])
def test_what_the_library_wrote(tmp_path: Path, index: str | None) -> None:
    """Without an index all files are read."""
    folder = write(tmp_path / "model", TENSORS, index)
    same(ms.open_checkpoint(folder), TENSORS)
    if index is not None:
        same(ms.load_checkpoint(folder / index, format="sharded"), TENSORS)


def test_one_file_alone(tmp_path: Path) -> None:
    ms.save_checkpoint(TENSORS, tmp_path / "model.safetensors", format="safetensors")
    ms.save_checkpoint({"b": 1}, tmp_path / "consolidated.safetensors", format="safetensors")
    same(ms.open_checkpoint(tmp_path), TENSORS)


def test_the_index_says_which_files_are_meant(tmp_path: Path) -> None:
    folder = write(tmp_path, TENSORS)
    write(folder, {"w": np.ones(2)}, "other.safetensors.index.json")
    safetensors.numpy.save_file({"embed": np.ones(1)}, folder / "consolidated.safetensors")
    same(ms.open_checkpoint(folder), TENSORS)
    same(ms.open_checkpoint(folder / "other.safetensors.index.json"), {"w": np.ones(2)})
    (folder / INDEX).rename(folder / "first.safetensors.index.json")
    with pytest.raises(ms.CheckpointError, match=r"several indices.*first\..*, other\."):
        ms.open_checkpoint(folder)


def test_values_read_in_parts(tmp_path: Path, mesh: Any) -> None:
    whole = np.arange(64 * 32, dtype=np.float32).reshape(64, 32)
    folder = write(tmp_path / "model", {"a": whole, "b": whole + 1, "c": whole[0]})
    file = ms.open_checkpoint(folder)
    assert np.array_equal(file.get_slice("b")[3:5, 7], whole[3:5, 7] + 1)
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    like = {name: jax.ShapeDtypeStruct((64, 32), np.float32, sharding=sharding) for name in "ab"}
    found = ms.load_checkpoint(folder, like=like)
    assert found["b"].sharding == sharding
    assert np.array_equal(found["a"], whole)
    assert np.array_equal(found["b"], whole + 1)
    file.close()
    assert len(file) == 0


def test_a_remote_folder(object_store: dict[str, Any], tmp_path: Path, mesh: Any) -> None:
    """Each file is opened once, and of a tensor the rows that are asked for are read."""
    large = np.arange(1 << 20, dtype=np.float32).reshape(1024, 1024)
    tensors = {"a": large, "b": large + 1, "n": np.array(3)}
    for path in write(tmp_path / "m", tensors).iterdir():
        epath.Path(f"gs://bucket/m/{path.name}").write_bytes(path.read_bytes())
    read: list[tuple[str, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        original = StorePath.read

        def counting(self: StorePath, start: int, stop: int, *tag: Any) -> bytes:
            read.append((self.name, stop - start))
            return original(self, start, stop, *tag)

        patch.setattr(StorePath, "read", counting)
        file = ms.open_checkpoint("gs://bucket/m")
        assert {name for name, _ in read} == {INDEX, ONE, TWO}
        assert sum(size for _, size in read) < 200_000
        read.clear()
        assert np.array_equal(file.get_slice("b")[7:9, 5], large[7:9, 5] + 1)
        assert sum(size for _, size in read) <= 2 * 4096
    sharding = jax.NamedSharding(mesh, jax.P("x", "y"))
    like = {"a": jax.ShapeDtypeStruct(large.shape, large.dtype, sharding=sharding)}
    assert np.array_equal(ms.load_checkpoint("gs://bucket/m", like=like)["a"], large)
    file.close()


def test_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {name: array for name, array in TENSORS.items() if name != "none"}
    folder = write(tmp_path / "model", tensors)
    assert main(["inspect", str(folder), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["format"], shown["cipher"], shown["crc32"]) == ("sharded", None, None)
    assert [entry["name"] for entry in shown["entries"]] == sorted(tensors)
    assert next(e["value"] for e in shown["entries"] if e["name"] == "step") == 7
    assert main(["inspect", str(folder / INDEX)]) == 0
    assert main(["verify", str(folder)]) == 0
    assert "5 entries" in capsys.readouterr().out
    for target in ("a.ckpt", "a.safetensors", "orbax"):
        assert main(["convert", str(folder), str(tmp_path / target)]) == 0
        assert main(["diff", str(folder), str(tmp_path / target)]) == 0
        same({n: ms.open_checkpoint(tmp_path / target)[n] for n in sorted(tensors)}, tensors)
    assert "total_size" not in "".join(ms.open_checkpoint(tmp_path / "a.ckpt"))
    write(folder, tensors | {"step": np.array(8)})
    assert main(["diff", str(folder), str(tmp_path / "a.ckpt")]) == 1


def test_check_sums_of_all_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        array = np.arange(100, dtype=np.float32)
        ms.save_checkpoint({name: array}, tmp_path / f"{name}.safetensors", crc_check=True,
                           format="safetensors")  # fmt: skip
    assert len(ms.open_checkpoint(tmp_path, crc_check=True).check_sums) == 2
    assert main(["verify", str(tmp_path)]) == 0
    assert "check sum right" in capsys.readouterr().out
    data = bytearray((tmp_path / "b.safetensors").read_bytes())
    data[-1] ^= 1
    (tmp_path / "b.safetensors").write_bytes(data)
    assert main(["verify", str(tmp_path)]) == 1
    assert f"{tmp_path / 'b.safetensors'}: the check sum does not fit" in capsys.readouterr().out
    with pytest.raises(ms.CheckpointError, match="check sum"):
        ms.load_checkpoint(tmp_path, crc_check=True)


def test_the_cache_of_the_hub(tmp_path: Path) -> None:
    """Its files are links to ``blobs`` beside ``snapshots``; others are followed, too."""
    repository = tmp_path / "models--a--b"
    blobs, snapshot = repository / "blobs", repository / "snapshots" / "0f3c"
    write(blobs, TENSORS)
    snapshot.mkdir(parents=True)
    for number, path in enumerate(sorted(blobs.iterdir())):
        path.rename(blobs / str(number))
        (snapshot / path.name).symlink_to(f"../../blobs/{number}")
    same(ms.open_checkpoint(snapshot), TENSORS)
    same(ms.open_checkpoint(snapshot / INDEX), TENSORS)
    (tmp_path / "latest").symlink_to(snapshot)
    same(ms.open_checkpoint(tmp_path / "latest"), TENSORS)
    outside = shutil.move(blobs / "0", tmp_path / "0")
    (snapshot / ONE).unlink()
    (snapshot / ONE).symlink_to(outside)
    same(ms.open_checkpoint(snapshot), TENSORS)


# Hostile folders


def reindexed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    index = json.loads((folder / INDEX).read_text())
    text = change(index)
    (folder / INDEX).write_text(text if isinstance(text, str) else json.dumps(index))


def moved(name: str, to: Any) -> Callable[[Path], None]:
    return lambda folder: reindexed(folder, lambda index: index["weight_map"].update({name: to}))


def text(content: str) -> Callable[[Path], None]:
    return lambda folder: reindexed(folder, lambda index: content)


def looped(folder: Path) -> None:
    (folder / TWO).unlink()
    (folder / TWO).symlink_to(folder / TWO)


def piped(folder: Path) -> None:
    (folder / TWO).unlink()
    os.mkfifo(folder / TWO)


def nothing(folder: Path) -> None:
    for file in (ONE, TWO):
        (folder / file).unlink()
    reindexed(folder, lambda index: '{"weight_map": {}}')


def endless(folder: Path) -> None:
    (folder / TWO).unlink()
    (folder / TWO).symlink_to("/dev/zero")


def emptied(folder: Path) -> None:
    (folder / TWO).write_bytes(b"")


def a_folder(folder: Path) -> None:
    (folder / TWO).unlink()
    (folder / TWO).mkdir()


def damaged(folder: Path) -> None:
    data = (folder / TWO).read_bytes()
    (folder / TWO).write_bytes(data[:-1])


def twice(folder: Path) -> None:
    """Two files hold a tensor, of which the index names one."""
    safetensors.numpy.save_file({"embed": np.ones(1)}, folder / "third.safetensors")
    moved("more", "third.safetensors")(folder)


NO_INDEX = f"{INDEX}: the file is no index"

HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no JSON": (text("{"), NO_INDEX),
    "a list": (text("[]"), NO_INDEX),
    "no weight_map": (text("{}"), "weight_map"),
    "weight_map a list": (text('{"weight_map": ["a"]}'), NO_INDEX),
    "weight_map of pairs": (text('{"weight_map": [["w", "f"]]}'), NO_INDEX),
    "weight_map of texts": (text('{"weight_map": ["wf"]}'), NO_INDEX),
    "metadata a number": (text('{"weight_map": {}, "metadata": 5}'), NO_INDEX),
    "deep": (text('{"weight_map":' + "[" * 100_000), NO_INDEX),
    "a key twice": (text('{"weight_map": {"w": "a", "w": "b"}}'), "'w' stands twice"),
    "nothing in it": (nothing, "no parameters"),
    "absolute": (moved("step", "/etc/passwd"), "'step': the index names no file of its folder"),
    "above": (moved("step", "../model.safetensors"), "plain file name, found '../model"),
    "the folder above": (moved("step", ".."), "found '..'"),
    "the folder": (moved("step", "."), "found '.'"),
    "no name": (moved("step", ""), "found ''"),
    "backslash": (moved("step", "..\\x"), "names no file"),
    "a NUL": (moved("step", "x\0y"), "names no file"),
    "a lone surrogate": (moved("step", "\ud800"), "names no file"),
    "a long name": (moved("step", "x" * 300), "cannot be opened: File name too long"),
    "a number": (moved("step", 5), "found 5"),
    "a loop": (looped, f"{TWO}, parameter 'z': the file cannot be opened"),
    "a pipe": (piped, f"{TWO}, parameter 'z': the file is no regular file"),
    "a link to a device": (endless, f"{TWO}, parameter 'z': the file is no regular file"),
    "an empty file": (emptied, f"{TWO}, parameter 'z': the file is empty"),
    "a folder": (a_folder, f"{TWO}, parameter 'z': this is a folder"),
    "missing": (lambda folder: (folder / TWO).unlink(), f"{TWO}, parameter 'z': the file is miss"),
    "cut off": (damaged, f"{TWO}"),
    "not there": (moved("more", ONE), f"{ONE}, parameter 'more': the file lacks"),
    "elsewhere": (moved("step", TWO), f"'step': the index names another file "
                                      f"(expected {TWO}, found {ONE})"),
    "in two files": (twice, f"'embed': the index names another file (expected {ONE}, "
                            "found third.safetensors)"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_folders(tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    change, message = HOSTILE[case]
    folder = write(tmp_path / "model", TENSORS)
    change(folder)
    for path in (folder, folder / INDEX):
        with pytest.raises(ms.CheckpointError) as caught:
            ms.load_checkpoint(path)
        assert message in str(caught.value)
    assert str(folder) in str(caught.value)
    assert main(["verify", str(folder)]) == 1
    assert message in capsys.readouterr().out


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.sampled_from([ONE, TWO, *TENSORS]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*TENSORS]), inner),
    max_leaves=8,
)


@given(st.fixed_dictionaries({"weight_map": JSON}, optional={"metadata": JSON}) | JSON)
@pytest.mark.filterwarnings("ignore:.*not in the index")
def test_any_index(tmp_path_factory: pytest.TempPathFactory, index: Any) -> None:
    folder = tmp_path_factory.mktemp("index")
    write(folder, TENSORS)
    (folder / INDEX).write_text(json.dumps(index))
    for path in (folder, folder / INDEX):
        with contextlib.suppress(ms.CheckpointError):
            ms.open_checkpoint(path)


def test_all_problems_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, TENSORS, files=3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    moved("more", "model-00001-of-00003.safetensors")(folder)
    assert main(["verify", str(folder)]) == 1
    shown = capsys.readouterr().out
    assert "missing" in shown
    assert "'more'" in shown
    assert "2 problems; 4 entries sound" in shown


def test_two_files_without_an_index(tmp_path: Path) -> None:
    for name in "ab":
        safetensors.numpy.save_file({"w": np.ones(2)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(ms.CheckpointError, match=r"'w': two files hold it.*a\.safe.*b\.safe"):
        ms.open_checkpoint(tmp_path)


def test_names_that_the_index_lacks(tmp_path: Path) -> None:
    folder = write(tmp_path, TENSORS)
    reindexed(folder, lambda index: index["weight_map"].pop("step") and None)
    message = r"names that are in files but not in the index: \['step'\]"
    with pytest.warns(UserWarning, match=message) as caught:
        same(ms.open_checkpoint(folder), TENSORS)
    assert caught[0].filename == __file__


def test_other_arguments(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", TENSORS)
    with pytest.raises(ms.CheckpointError, match="expected ckpt, found sharded"):
        ms.open_checkpoint(folder, format="ckpt")
    with pytest.raises(ms.CheckpointError, match="not encrypted"):
        ms.open_checkpoint(folder, dec_key=bytes(16))
    with pytest.raises(ms.CheckpointError, match="no check sum"):
        ms.open_checkpoint(folder, crc_check=True)
    with pytest.raises(ValueError, match="one of ckpt, safetensors, not 'sharded'"):
        ms.save_checkpoint({"w": 1}, tmp_path / "x", format="sharded")
    with pytest.raises(ValueError, match=r"one of ckpt, .*, torch, not 'x'"):
        ms.open_checkpoint(folder, format="x")
    with pytest.raises(FileNotFoundError):
        ms.open_checkpoint(tmp_path / "none")
