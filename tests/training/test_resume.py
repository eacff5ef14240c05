"""``latest_checkpoint`` and ``resume``: the right file, and training that goes on bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from msckpt_jax.training import filenames


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        ms.save_checkpoint({"w": np.arange(100.0), "v": np.ones(3)}, folder / name, durable=False)


# Names


@pytest.mark.parametrize(
    ("name", "prefix", "expected"),
    [
        ("m-1_2.ckpt", None, (0, 1, 2, False, "m")),
        ("m_3-1_2.safetensors", None, (3, 1, 2, False, "m")),
        ("m_3-1_2_breakpoint.ckpt", None, (3, 1, 2, True, "m")),
        ("my-net_v2-10_200.ckpt", None, (0, 10, 200, False, "my-net_v2")),
        ("resnet_50-1_2.ckpt", None, (50, 1, 2, False, "resnet")),
        ("resnet_50-1_2.ckpt", "resnet_50", (0, 1, 2, False, "resnet_50")),
        ("resnet_50_1-1_2.ckpt", "resnet_50", (1, 1, 2, False, "resnet_50")),
        ("a.b-1_2.ckpt", "a.b", (0, 1, 2, False, "a.b")),
        ("axb-1_2.ckpt", "a.b", None),
        ("m-1_2.ckpt", "n", None),
        ("m-1.ckpt", None, None),
        ("m-1_2.ckpt.tmp", None, None),
        (".m-1_2.ckpt.0a1b.tmp", None, None),
        ("m-graph.meta", None, None),
        ("strategy.ckpt", None, None),
    ],
)
def test_parse(name: str, prefix: str | None, expected: tuple | None) -> None:
    found = filenames.parse(name, prefix)
    assert found == (None if expected is None else (*expected, name))


# The latest


@pytest.mark.parametrize(
    ("there", "prefix", "expected"),
    [
        ([], None, None),
        (["m-1_9.ckpt", "m-1_10.ckpt", "m-2_1.ckpt"], None, "m-2_1.ckpt"),
        (["m-1_9.ckpt", "m-1_10.ckpt"], "m", "m-1_10.ckpt"),
        (["m-9_9.ckpt", "m_2-1_1.ckpt", "m_10-1_1.ckpt"], None, "m_10-1_1.ckpt"),
        (["m-1_4.ckpt", "m-1_6_breakpoint.ckpt"], None, "m-1_6_breakpoint.ckpt"),
        (["m-1_6.ckpt", "m-1_4_breakpoint.ckpt"], None, "m-1_6.ckpt"),
        (["m-1_6_breakpoint.ckpt", "m_1-1_1.ckpt"], None, "m_1-1_1.ckpt"),
        (["m-9_9.ckpt", "n-1_1.ckpt"], "n", "n-1_1.ckpt"),
        (["m-9_9.ckpt"], "n", None),
        (["other.ckpt"], None, None),
        (["rank_0/m-1_1.ckpt", "rank_1/m-1_1.ckpt"], None, "rank_0/m-1_1.ckpt"),
    ],
)
def test_latest(tmp_path: Path, there: list[str], prefix: str | None, expected: str | None) -> None:
    write(tmp_path, *there)
    found = ms.latest_checkpoint(tmp_path, prefix)
    assert found == (None if expected is None else str(tmp_path / expected))


def test_no_folder(tmp_path: Path) -> None:
    assert ms.latest_checkpoint(tmp_path / "no") is None
    assert ms.resume(tmp_path / "no", like={}) is None


def test_several_prefixes(tmp_path: Path) -> None:
    write(tmp_path, "a-1_1.ckpt", "b-1_1.ckpt")
    with pytest.raises(ms.CheckpointError, match=r"pass prefix=: one of a, b"):
        ms.latest_checkpoint(tmp_path)


def _link(path: Path) -> None:
    path.symlink_to("none.ckpt")


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("make", [_link, _loop, os.mkfifo, Path.mkdir])
def test_what_is_no_file_is_passed_over(tmp_path: Path, make: Callable[[Path], Any]) -> None:
    write(tmp_path, "m-1_1.ckpt")
    make(tmp_path / "m-1_2.ckpt")
    with pytest.warns(UserWarning, match=r"m-1_2\.ckpt: no regular file"):
        assert ms.latest_checkpoint(tmp_path) == str(tmp_path / "m-1_1.ckpt")


def cut(data: bytes) -> bytes:
    return data[:-100]


DAMAGE = {
    "truncated": (cut, {}),
    "empty": (lambda data: b"", {}),
    "garbage": (lambda data: bytes(len(data)), {}),
    "one bit, check sum": (lambda data: data[:50] + b"\xff" + data[51:], {"crc_check": True}),
    "encrypted, truncated": (cut, {"enc_key": bytes(16)}),
    "safetensors, truncated": (cut, {"format": "safetensors"}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_passed_over(tmp_path: Path, damage: str) -> None:
    change, options = DAMAGE[damage]
    config = CheckpointConfig(**options)
    with ModelCheckpoint("m", tmp_path, config) as ckpt:
        for number in range(4):
            ckpt.step({"step": number, "w": jnp.arange(100.0)})
    for number in (3, 4):
        path = tmp_path / f"m-1_{number}.{config.format}"
        path.chmod(0o600)
        path.write_bytes(change(path.read_bytes()))
    with pytest.warns(UserWarning, match=r"m-1_[34].*") as caught:
        found = ms.latest_checkpoint(tmp_path)
    assert found == str(tmp_path / f"m-1_2.{config.format}")
    assert [f"m-1_{n}." in str(w.message) for n, w in zip((4, 3), caught, strict=True)] == [
        True
    ] * 2


def test_an_incomplete_set_of_rank_files_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path, *(f"rank_{rank}/m-1_{n}.ckpt" for rank in range(3) for n in (1, 2)))
    (tmp_path / "rank_1" / "m-1_2.ckpt").unlink()
    with pytest.warns(UserWarning, match="only 2 of 3 ranks have this file"):
        assert ms.latest_checkpoint(tmp_path) == str(tmp_path / "rank_0" / "m-1_1.ckpt")


def test_runs_of_different_meshes(tmp_path: Path) -> None:
    for prefix, count in (("m", 3), ("m_1", 2)):
        write(tmp_path, *(f"rank_{rank}/{prefix}-1_1.ckpt" for rank in range(count)))
    assert ms.latest_checkpoint(tmp_path) == str(tmp_path / "rank_0" / "m_1-1_1.ckpt")


def test_rank_files_need_their_strategy(tmp_path: Path) -> None:
    write(tmp_path, "rank_0/m-1_1.ckpt", "rank_1/m-1_1.ckpt")
    with pytest.raises(ms.CheckpointError, match=r"m_strategy\.ckpt: .* pass strategy="):
        ms.resume(tmp_path, like={"w": np.zeros(100)})


# Going on

_TRAIN = Path(__file__).with_name("train.py")


def train(folder: Path, stop: int) -> dict[str, dict[str, Any]]:
    """For each kind of training what a fresh process has come to."""
    out = subprocess.run(
        [sys.executable, _TRAIN, str(folder), str(stop)], capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    return json.loads(out.stdout)


def test_training_goes_on_bit_for_bit(tmp_path: Path) -> None:
    """Adam and dropout: what a fresh process ends with is what an uninterrupted one does."""
    whole = train(tmp_path / "whole", 9)
    first = train(tmp_path / "parts", 5)
    second = train(tmp_path / "parts", 9)
    assert list(whole) == ["nnx", "linen", "pytree", "mesh", "mindspore"]
    for kind in whole:
        assert first[kind]["files"] == ["m-1_4.ckpt", "m-2_1_breakpoint.ckpt"]
        assert first[kind]["losses"] + second[kind]["losses"] == whole[kind]["losses"]
        assert second[kind]["state"] == whole[kind]["state"]
        assert len(set(whole[kind]["losses"])) == 9
        assert second[kind]["files"][-1] == "m_1-3_1.ckpt"


def test_numbers_go_on(tmp_path: Path) -> None:
    config = CheckpointConfig(2, append_info=["epoch_num", "step_num", {"note": "a"}])
    for per_epoch in (None, 4):
        with ModelCheckpoint("m", tmp_path, config, batches_per_epoch=per_epoch) as ckpt:
            for epoch in (1, 2):
                for _ in range(4):
                    ckpt.step({"w": 1}, epoch=epoch)
    found = ms.resume(tmp_path, like={"w": 0})
    assert found is not None
    assert found.path == str(tmp_path / "m_1-2_4.ckpt")
    assert found.append == {"epoch_num": 2, "step_num": 8, "note": "a"}
    assert found.state == {"w": 1}
    for per_epoch, name in ((None, "m_2-2_6.ckpt"), (4, "m_3-3_2.ckpt")):
        kwargs = {"batches_per_epoch": per_epoch, "resumed": found}
        with ModelCheckpoint("m", tmp_path, config, **kwargs) as ckpt:
            ckpt.step({"w": 2})
            ckpt.step({"w": 3})
        assert ckpt.latest_ckpt_file_name == str(tmp_path / name)
        assert ms.load_checkpoint(tmp_path / name)["step_num"] == 10


def test_a_state_that_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path, "m-1_1.ckpt")
    with pytest.raises(ms.CheckpointError, match="file lacks: 'bias'"):
        ms.resume(tmp_path, like={"w": np.zeros(100), "bias": np.zeros(3)})


def test_resume_onto_a_mesh(tmp_path: Path, mesh: Any) -> None:
    sharding = jax.NamedSharding(mesh, jax.P("y"))
    with ModelCheckpoint("m", tmp_path, CheckpointConfig(enc_key=bytes(16))) as ckpt:
        ckpt.step({"w": jnp.arange(8.0), "key": jax.random.key(3), "note": "x"})
    like = {
        "w": jax.ShapeDtypeStruct((8,), np.float32, sharding=sharding),
        "key": jax.random.key(0),
    }
    found = ms.resume(tmp_path, like, dec_key=bytes(16))
    assert found is not None
    assert found.state["w"].sharding == sharding
    assert jnp.array_equal(
        jax.random.key_data(found.state["key"]), jax.random.key_data(jax.random.key(3))
    )
    assert found.append == {"note": "x"}
