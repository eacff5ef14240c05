"""ONNX files on disk: weights beside the graph, replaced together, streamed from their shards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import msckpt_jax as ms
from msckpt_jax.onnx import runner, writer
from tests.exporting import Mlp

X = np.ones((2, 3), np.float32)


def test_past_the_limit_of_a_message_weights_are_beside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is 2 GB; here it is less."""
    monkeypatch.setattr(writer, "MAXIMUM_BYTES", 100)
    out = ms.export(Mlp(), X, file_name=tmp_path / "a", file_format="ONNX", split_bytes=1 << 40)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]
    np.testing.assert_allclose(runner.session(out.file)(X)[0], Mlp()(X), rtol=1e-5)


def test_split_bytes_of_zero(tmp_path: Path) -> None:
    """Weights lie apart whatever their size; there is no file of none."""
    out = ms.export(Mlp(), X, file_name=tmp_path / "a", file_format="ONNX", split_bytes=0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]
    np.testing.assert_allclose(runner.session(out.file)(X)[0], Mlp()(X), rtol=1e-5)
    ms.export(jnp.sin, X, file_name=tmp_path / "a", file_format="ONNX", split_bytes=0)
    assert [path.name for path in tmp_path.iterdir()] == ["a.onnx"]


def test_a_folder_in_the_place_of_weights_stays(tmp_path: Path) -> None:
    (tmp_path / "a.onnx.data").mkdir()
    for split in (0, None):
        out = ms.export(Mlp(), X, file_name=tmp_path / "a", file_format="ONNX", split_bytes=split)
        np.testing.assert_allclose(runner.session(out.file)(X)[0], Mlp()(X), rtol=1e-5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]


@pytest.mark.parametrize("fails", ["a.onnx.data_1", "a.onnx"])
def test_a_failed_export_leaves_the_older_files(
    fails: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export() -> Any:
        return ms.export(Mlp(), X, file_name=tmp_path / "a", file_format="ONNX", split_bytes=100)

    def write(path: Path, *rest: Any) -> None:
        if path.name == fails:
            raise OSError(28, "no space left")
        original(path, *rest)

    file, original = export().file, writer.payload.write
    before = file.read_bytes(), (tmp_path / "a.onnx.data").read_bytes()
    monkeypatch.setattr(writer.payload, "write", write)
    with pytest.raises(OSError, match="no space left"):
        export()
    assert (file.read_bytes(), (tmp_path / "a.onnx.data").read_bytes()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.onnx", "a.onnx.data"]
    np.testing.assert_allclose(runner.session(file)(X)[0], Mlp()(X), rtol=1e-5)


@pytest.mark.parametrize("split", [100, 1 << 30])
def test_sharded_weights_are_not_gathered(
    split: int, mesh: jax.sharding.Mesh, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = np.arange(64 * 16, dtype=np.float32).reshape(64, 16) / 1000
    spec = NamedSharding(mesh, PartitionSpec("x", "y"))
    weights = {"w": jax.device_put(value, spec)}

    def gathered(*_: Any) -> Any:
        raise AssertionError("the whole array was asked for")

    monkeypatch.setattr(type(weights["w"]), "__array__", gathered)
    x = np.ones((2, 64), np.float32)
    out = ms.export((lambda p, x: x @ p["w"], weights), x, file_name=tmp_path / "a",
                    file_format="ONNX", split_bytes=split)  # fmt: skip
    monkeypatch.undo()
    (weight,) = (t for t in onnx.load(out.file).graph.initializer if t.name == "w")
    assert weight.raw_data == value.tobytes()


def test_random_numbers_are_jaxs_bit_by_bit(tmp_path: Path) -> None:
    def net(seed: jax.Array) -> tuple[jax.Array, ...]:
        one, other = jax.random.split(jax.random.key(seed))
        shuffled = jax.random.permutation(one, 9)
        return jax.random.bits(one, (7,)), jax.random.uniform(other, (2, 3)), shuffled

    file = ms.export(net, np.uint32(0), file_name=tmp_path / "a", file_format="ONNX").file
    for seed in (0, 1, 2**31 + 7):
        found = runner.session(file)(np.array(seed, np.uint32))
        for have, want in zip(found, net(jnp.uint32(seed)), strict=True):
            np.testing.assert_array_equal(have, want)
