"""Files of others: named by their content, and read where they hold nothing but tensors.

The files in ``data/foreign`` are PyTorch 2.13's own: ``torch.save`` of a small network's state,
with what safetensors' ``save_file`` makes of it, of a training state, of a module, and of a state
in the format of before PyTorch 1.6.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.serialization
import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

import msckpt_jax as ms
from msckpt_jax import cli
from msckpt_jax.checkpoint.formats import zipped

DATA = Path(__file__).parent / "data/foreign"
BASE = np.arange(12, dtype=np.float32).reshape(3, 4)
#: What checkpoint.pt holds.
STATE = {
    "state_dict.t": BASE.T,
    "state_dict.part": BASE[1:, 1:3],
    "state_dict.bf": np.arange(4).astype(ml_dtypes.bfloat16),
    "state_dict.h": np.arange(3, dtype=np.float16),
    "state_dict.flag": np.array([True, False]),
    "state_dict.i": np.int64(7),
    "state_dict.empty": np.zeros((0, 3), np.float32),
    "state_dict.p": np.ones(2, np.float32),
    "state_dict.f8": np.ones(4, ml_dtypes.float8_e4m3fn),
    "state_dict.wide": BASE[:, :1].repeat(2, axis=1),
    "state_dict.c": np.array([1 + 2j], np.complex64),
    "epoch": np.int64(3),
    "lr": np.float64(0.5),
    "best": np.True_,
    "groups.0.params.0": np.int64(0),
    "groups.0.params.1": np.int64(1),
    "groups.0.betas.0": np.float64(0.9),
    "groups.0.betas.1": np.float64(0.99),
    "size.0": np.int64(3),
    "size.1": np.int64(4),
}


def _assert_same(found: Any, wanted: Any) -> None:
    assert {*found} == {*wanted}
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# PyTorch


def test_a_state_of_torch() -> None:
    with ms.open_checkpoint(DATA / "state_dict.pt") as file:
        _assert_same(file, safetensors.numpy.load_file(DATA / "state_dict.safetensors"))


@pytest.mark.parametrize("mmap", [True, False])
def test_a_training_state_of_torch(mmap: bool) -> None:
    """Numbers, strings and lists, tensors that share a storage, transposed ones, all dtypes."""
    with ms.open_checkpoint(DATA / "checkpoint.pt", mmap=mmap) as file:
        assert file["arch"] == "tiny-é"
        _assert_same({name: file[name] for name in file if name != "arch"}, STATE)
        np.testing.assert_array_equal(file.get_slice("state_dict.t")[1:3, 2:], BASE.T[1:3, 2:])


def test_converted(tmp_path: Path) -> None:
    assert cli.main(["convert", f"{DATA}/state_dict.pt", f"{tmp_path}/m.ckpt"]) == 0
    wanted = safetensors.numpy.load_file(DATA / "state_dict.safetensors")
    _assert_same(ms.load_checkpoint(tmp_path / "m.ckpt"), wanted)
    ms.convert_checkpoint(DATA / "state_dict.pt", tmp_path / "m.safetensors")
    _assert_same(safetensors.numpy.load_file(tmp_path / "m.safetensors"), wanted)


def test_load_checkpoint_names_the_command() -> None:
    with pytest.raises(ms.CheckpointError, match=r"torch file: msckpt convert .*state_dict.pt"):
        ms.load_checkpoint(DATA / "state_dict.pt")


@pytest.mark.parametrize(
    ("name", "message"),
    [("module.pt", r"Sequential; load it in PyTorch"), ("before_1_6.pt", "PyTorch file of before")],
)
def test_pickles_are_refused(name: str, message: str) -> None:
    with pytest.raises(ms.CheckpointError, match=message):
        ms.open_checkpoint(DATA / name)


def _torch_file(path: Path, content: bytes, storage: bytes = bytes(64)) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", content)
        archive.writestr("archive/data/0", storage)
    return path


class _Call:
    def __init__(self, function: Callable[..., Any], *args: Any):
        self._call = function, args

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize("function", [os.system, eval, exec, print, getattr, np.load, type])
def test_nothing_is_called(tmp_path: Path, function: Any) -> None:
    """A pickle may name any function and its arguments."""
    mark = tmp_path / "called"
    call = _Call(function, f"touch {mark}")
    path = _torch_file(tmp_path / "m.pt", pickle.dumps({"w": call}, protocol=2))
    with pytest.raises(ms.CheckpointError, match="it asks for"):
        ms.open_checkpoint(path)
    assert not mark.exists()


def test_a_few_bytes_ask_for_much(tmp_path: Path) -> None:
    """Lists of lists that are the same ten times over, as in "a billion laughs"."""
    laughs: list[Any] = [1]
    for _ in range(40):
        laughs = [laughs] * 10
    path = _torch_file(tmp_path / "m.pt", pickle.dumps(laughs))
    with pytest.raises(ms.CheckpointError, match="there once"):
        ms.open_checkpoint(path)


def _tensor(shape: Any, strides: Any, offset: Any = 0, key: Any = "0") -> bytes:
    """The pickle of one tensor, as PyTorch writes it."""

    class Storage:
        pass

    class Tensor:
        def __reduce__(self) -> Any:
            return _rebuild, (Storage(), offset, shape, strides, False, {})

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: Any) -> Any:
            return ("storage", "FLOAT", key, "cpu", 16) if isinstance(obj, Storage) else None

    out = io.BytesIO()
    Pickler(out, 2).dump({"w": Tensor()})
    text = out.getvalue().replace(
        f"c{__name__}\n_rebuild".encode(), b"ctorch._utils\n_rebuild_tensor_v2"
    )
    return text.replace(b"X\x05\0\0\0FLOAT", b"ctorch\nFloatStorage\n")


def _rebuild(*args: Any) -> None:
    raise AssertionError


def test_a_tensor_by_hand(tmp_path: Path) -> None:
    """The pickles below are what PyTorch would write, but for what is wrong in them."""
    path = _torch_file(tmp_path / "m.pt", _tensor((2, 3), (1, 2), 4), BASE.tobytes() + bytes(16))
    with ms.open_checkpoint(path) as file:
        np.testing.assert_array_equal(file["w"], [[4, 6, 8], [5, 7, 9]])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (((2**62,), (0,)), "repeats elements"),
        (((17,), (1,)), "outside of its storage"),
        (((4,), (1,), 13), "outside of its storage"),
        (((4,), (-1,), 8), "no whole numbers"),
        (((4,), (1.5,)), "no whole numbers"),
        (((4,), (1, 1)), "no whole numbers"),
        (((4,), (1,), 0, "1"), "lacks a member"),
        (((4,), (1,), 0, "../../etc/passwd"), "lacks a member"),
        (((2**62, 2**62), (1, 1)), "outside of its storage"),
    ],
)
def test_hostile_tensors(tmp_path: Path, args: Any, message: str) -> None:
    path = _torch_file(tmp_path / "m.pt", _tensor(*args))
    with pytest.raises(ms.CheckpointError, match=message):
        ms.open_checkpoint(path)


@pytest.mark.parametrize("name", ["state_dict.pt", "a.npz"])
def test_cut_off_and_damaged(tmp_path: Path, name: str) -> None:
    """A CheckpointError or sound arrays; nothing else."""
    if name == "a.npz":
        np.savez_compressed(tmp_path / "whole", w=BASE, v=BASE.T)
        data = bytearray((tmp_path / "whole.npz").read_bytes())
    else:
        data = bytearray((DATA / name).read_bytes())
    path = tmp_path / f"m{Path(name).suffix}"

    def read() -> None:
        try:
            with ms.open_checkpoint(path) as file:
                dict(file)
        except ms.CheckpointError:
            pass

    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] or b"x")
        read()
        data[at] ^= 0xFF
        path.write_bytes(data)
        data[at] ^= 0xFF
        read()


# NumPy


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path: Path, save: Any) -> None:
    arrays = {
        "w": BASE, "by_columns": np.asfortranarray(BASE), "scalar": np.float64(2), "b": BASE > 3,
        "empty": np.zeros((0, 2), np.int8), "swapped": np.arange(3, dtype=">i4"), "a.b/c": BASE[0],
    }  # fmt: skip
    save(tmp_path / "m.npz", **arrays)
    with ms.open_checkpoint(tmp_path / "m.npz") as file:
        wanted = {
            name: np.asarray(a).astype(a.dtype.newbyteorder("=")) for name, a in arrays.items()
        }
        _assert_same(file, wanted)
        np.testing.assert_array_equal(file.get_slice("by_columns")[1:, :2], BASE[1:, :2])
    ms.convert_checkpoint(
        tmp_path / "m.npz", tmp_path / "m.ckpt", choice_func=lambda n: n != "empty"
    )
    np.testing.assert_array_equal(ms.load_checkpoint(tmp_path / "m.ckpt")["swapped"], [0, 1, 2])
    with pytest.raises(ms.CheckpointError, match="npz file: msckpt convert"):
        ms.load_checkpoint(tmp_path / "m.npz")


def test_a_compressed_array_is_unpacked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many windows of it are read, each of which would else unpack all before it."""
    np.savez_compressed(tmp_path / "m.npz", w=BASE, v=BASE + 1)
    read, counts = zipped.Archive.read, []

    def counted(self: Any, name: str, start: int, count: int) -> bytes:
        counts.append(name)
        return read(self, name, start, count)

    with ms.open_checkpoint(tmp_path / "m.npz") as file:
        monkeypatch.setattr(zipped.Archive, "read", counted)
        for name, whole in {"w": BASE, "v": BASE + 1}.items():
            rows = [file.get_slice(name)[row] for row in range(3)]
            np.testing.assert_array_equal(rows, whole)
    assert counts == ["w.npy", "v.npy"]


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", w=np.array([_Call(os.system, "false")], object), v=BASE)
    with pytest.raises(ms.CheckpointError, match=r"'w'.*object"):
        ms.open_checkpoint(tmp_path / "m.npz")


# All others


def _packed(write: Callable[[Any], Any]) -> bytes:
    out = io.BytesIO()
    write(out)
    return out.getvalue()


def _tar(out: Any) -> None:
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.add(__file__, "file")


def _zip(out: Any, name: str = "word/document.xml") -> None:
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(name, "text")


OTHERS: dict[str, tuple[bytes, str]] = {
    "pickle": (pickle.dumps({"w": 1}), "Python pickle"),
    "zip": (_packed(_zip), "zip archive"),
    "keras": (_packed(lambda out: _zip(out, "metadata.json")), "Keras.*keras.saving.load_model"),
    "msgpack": (flax.serialization.to_bytes({"params": {"w": BASE}}), "msgpack.*msgpack_restore"),
    "zstd": (b"\x28\xb5\x2f\xfd" + bytes(64), "Zstandard"),
    "lz4": (b"\x04\x22M\x18" + bytes(64), "LZ4"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(64), "7z"),
    "parquet": (b"PAR1" + bytes(64), "Parquet"),
    "engine": (b"ftrt" + bytes(64), "TensorRT.*take the ONNX"),
    "index": (bytes.fromhex("00000608011a020801") + bytes(64), "checkpoint of TensorFlow"),
    "list": (b'model_checkpoint_path: "ckpt-1"\n', "list of checkpoints of TensorFlow"),
    "npy": (_packed(lambda out: np.save(out, BASE)), "one array of NumPy"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    "gguf": (b"GGUF\x03\0\0\0" + bytes(64), "GGUF"),
    "lite": (struct.pack("<I", 28) + b"MSL2" + bytes(64), "MindSpore Lite"),
    "tflite": (struct.pack("<I", 28) + b"TFL3" + bytes(64), "TensorFlow Lite"),
    "gzip": (gzip.compress(b"text"), "gzip"),
    "bzip2": (bz2.compress(b"text"), "bzip2"),
    "xz": (lzma.compress(b"text"), "xz file"),
    "tar": (_packed(_tar), "tar archive"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS.*lfs pull"),
    "html": (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "s3 error": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "HTML or XML"),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors", ".bin"])
def test_others_are_named(tmp_path: Path, kind: str, suffix: str) -> None:
    content, message = OTHERS[kind]
    path = tmp_path / f"m{suffix}"
    path.write_bytes(content)
    for read in (ms.load_checkpoint, ms.open_checkpoint):
        with pytest.raises(ms.CheckpointError, match=message):
            read(path)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("net.mlmodel", b"\x08\x05\x12\x10", "a Core ML model by its name"),
        ("saved_model.pb", b"\x08\x01\x12\xd6\x8a\x01\n", "SavedModel.*by its name.*tf.train"),
        ("net.pb", b"\n\x05const", "graph of TensorFlow.*by its name"),
    ],
)
def test_some_are_named_by_their_names(
    tmp_path: Path, name: str, content: bytes, told: str
) -> None:
    """They begin as ONNX or strategy files do."""
    (tmp_path / name).write_bytes(content + bytes(64))
    with pytest.raises(ms.CheckpointError, match=told):
        ms.load_checkpoint(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("saved_model.pb", "SavedModel of TensorFlow"),
        ("model.ckpt-1.index", "checkpoints of TensorFlow"),
        ("Manifest.json", "Core ML"),
        ("net.ckpt", "name one of the files in it"),
        ("pytorch_model-00001-of-00002.bin", "msckpt convert reads each"),
    ],
)
def test_folders_are_named(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / name).write_bytes(b"text")
    with pytest.raises(ms.CheckpointError, match=told):
        ms.load_checkpoint(tmp_path)
    with pytest.raises(IsADirectoryError, match="a folder, not a model file"):
        ms.load(tmp_path)


@pytest.mark.parametrize("name", ["a.npz", "m.keras", "m.ckpt", "m.safetensors"])
def test_what_is_no_model_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "a.npz":
        np.savez(path, w=BASE)
    elif name == "m.keras":
        path.write_bytes(OTHERS["keras"][0])
    else:
        ms.save_checkpoint({"w": BASE}, path)
    with pytest.raises(ms.MindIRError, match=r"this is a (zip archive, as|CheckPoint|safetensors)"):
        ms.load(path)


@pytest.mark.parametrize("kind", ["MINDIR", "AIR", "ONNX"])
def test_models_are_named(tmp_path: Path, kind: str) -> None:
    net = (lambda p, x: x @ p["w"]), {"w": np.ones((2, 3), np.float32)}
    x = np.ones((1, 2), np.float32)
    file = ms.export(net, x, file_name=tmp_path / "net", file_format=kind).file
    name = {"MINDIR": "MindIR", "AIR": "AIR"}.get(kind, kind)
    with pytest.raises(ms.CheckpointError, match=f"this is an? {name} model"):
        ms.load_checkpoint(file)


def test_a_strategy_is_named(tmp_path: Path, mesh: Any) -> None:
    array = jax.device_put(np.zeros((8, 8), np.float32), jax.NamedSharding(mesh, jax.P("x")))
    ms.save_checkpoint({"w": array}, tmp_path / "net.ckpt", integrated_save=False)
    with pytest.raises(ms.CheckpointError, match="this is a strategy file: pass it as strategy="):
        ms.load_checkpoint(tmp_path / "strategy.ckpt")


# Endings


def test_the_ending_chooses_the_format(tmp_path: Path) -> None:
    ms.save_checkpoint({"w": BASE}, tmp_path / "m.safetensors")
    assert os.listdir(tmp_path) == ["m.safetensors"]
    _assert_same(safetensors.numpy.load_file(tmp_path / "m.safetensors"), {"w": BASE})
    ms.save_checkpoint({"w": BASE}, tmp_path / "n.ckpt", format="safetensors")  # as MindSpore does
    assert sorted(os.listdir(tmp_path)) == ["m.safetensors", "n.ckpt.safetensors"]


@pytest.mark.parametrize("ending", [".pt", ".npz", ".h5", ".bin", ".onnx", ".gguf"])
def test_endings_of_what_is_not_written(tmp_path: Path, ending: str) -> None:
    with pytest.raises(ValueError, match=rf"m\{ending}: no such file is written; name one that"):
        ms.save_checkpoint({"w": BASE}, tmp_path / f"m{ending}")
    assert not os.listdir(tmp_path)
    ms.save_checkpoint({"w": BASE}, tmp_path / "m.ckpt")
    with pytest.raises(ValueError, match=rf"m\{ending}: no such file is written; name one that"):
        ms.convert_checkpoint(tmp_path / "m.ckpt", tmp_path / f"m{ending}")
    assert os.listdir(tmp_path) == ["m.ckpt"]
