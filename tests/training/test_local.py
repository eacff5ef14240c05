"""Local steps: what is saved comes back bit by bit, from the newest step that is whole."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax import CheckpointConfig, ModelCheckpoint
from msckpt_jax.checkpoint import leaves
from msckpt_jax.checkpoint import owner as owners
from msckpt_jax.checkpoint.records import Spread
from msckpt_jax.parallel import keepers, parcels
from tests.training.loops import names


def state_of(mesh: Any, number: int) -> dict[str, Any]:
    """All kinds of leaves, on a mesh and elsewhere."""
    rng = np.random.default_rng(number)

    def put(spec: jax.P, dtype: Any, shape: tuple[int, ...] = (8, 16)) -> jax.Array:
        values = rng.integers(-8, 8, shape).astype(dtype)
        return jax.device_put(values, jax.NamedSharding(mesh, spec))

    return {
        "both": put(jax.P("x", "y"), np.float32),
        "half": put(jax.P(None, "y"), jnp.bfloat16),
        "whole": put(jax.P(), np.int32),
        "scalar": put(jax.P(), np.float32, ()),
        "four": put(jax.P("y"), ml_dtypes.int4),
        "empty": jnp.zeros((0, 3)),
        "key": jax.random.key(number),
        "numpy": rng.standard_normal((3, 5)).T,
        "step": number,
        "rate": number / 3,
        "flag": number % 2 == 0,
        "note": "step \N{SNOWMAN}" * number,
        "none": "",
    }


def same(left: Any, right: Any) -> bool:
    if isinstance(left, str):
        return left == right
    if jnp.issubdtype(getattr(left, "dtype", None), jax.dtypes.prng_key):
        left, right = jax.random.key_data(left), jax.random.key_data(right)
    a, b = np.asarray(left), np.asarray(right)
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


class StopError(Exception):
    """The end of a run that is broken off."""


def run(folder: Path, mesh: Any, steps: Iterable[int], local_steps: int = 1, **kwargs: Any) -> None:
    """A run that is broken off after its last step."""
    config = kwargs.pop("config", CheckpointConfig(100, append_info=["step_num"]))
    near = {"local": folder / "near", "local_steps": local_steps}
    with (
        contextlib.suppress(StopError),
        ModelCheckpoint("m", folder / "far", config, **near, **kwargs) as ckpt,
    ):
        for number in steps:
            ckpt.step(state_of(mesh, number))
        raise StopError


def resumed(folder: Path, like: Any, **options: Any) -> ms.Resumed:
    found = ms.resume(folder / "far", like, local=folder / "near", **options)
    assert found is not None
    return found


def test_every_kind_of_leaf_comes_back(
    tmp_path: Path, mesh: Any, other_mesh: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """On the same mesh, on another one, and on none."""
    with caplog.at_level(logging.WARNING):
        run(tmp_path, mesh, range(1, 6), local_steps=2)
    assert [r.getMessage() for r in caplog.records if "local" in r.getMessage()] == [
        "local steps are kept once: there is no other machine to keep a copy"
    ]
    assert os.listdir(tmp_path / "far") == []
    (file,) = (tmp_path / "near").iterdir()
    assert file.name.startswith("m-1_4.")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
    expected = state_of(mesh, 4)
    sharding = jax.NamedSharding(other_mesh, jax.P("b"))
    elsewhere = {
        name: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding) if x.ndim == 2 else x
        for name, x in expected.items()
        if isinstance(x, jax.Array) and x.size and name != "key"
    }
    for like in (state_of(mesh, 0), elsewhere):
        found = resumed(tmp_path, like)
        assert (found.epoch, found.step, found.path) == (1, 4, str(file))
        assert found.append["step_num"] == 4
        assert set(found.state) == set(like)
        for name, value in found.state.items():
            assert same(value, expected[name]), name
            if isinstance(like[name], jax.ShapeDtypeStruct):
                assert value.sharding == like[name].sharding
    assert found.append == {"step_num": 4, "step": 4, "rate": 4 / 3, "flag": True,
                            "note": expected["note"], "none": ""}  # fmt: skip


def test_the_numbers_go_on_and_a_good_end_leaves_nothing(tmp_path: Path, mesh: Any) -> None:
    run(tmp_path, mesh, range(1, 8), local_steps=3, batches_per_epoch=4)
    found = resumed(tmp_path, state_of(mesh, 0))
    assert (found.epoch, found.step, found.append) == (2, 2, {"step_num": 6})
    with ModelCheckpoint("m", tmp_path / "far", batches_per_epoch=4, resumed=found,
                         local=tmp_path / "near", local_steps=1) as ckpt:  # fmt: skip
        ckpt.step(state_of(mesh, 7))
    assert os.listdir(tmp_path / "near") == []
    assert names(tmp_path / "far") == ["m-2_3.ckpt"]


def test_the_newer_of_both_tiers(tmp_path: Path, mesh: Any) -> None:
    like = {"step": 0}
    run(tmp_path, mesh, range(1, 7), local_steps=2, config=CheckpointConfig(3))
    assert resumed(tmp_path, like).path.endswith("m-1_6.ckpt")  # of the same step
    (tmp_path / "far" / "m-1_6.ckpt").unlink()
    assert resumed(tmp_path, like).state == {"step": 6}
    assert "near" in resumed(tmp_path, like).path
    ms.save_checkpoint({"step": 9}, tmp_path / "far" / "m-1_7.ckpt")
    assert resumed(tmp_path, like).state == {"step": 9}
    run(tmp_path, mesh, [1])  # a new run is newer, whatever its steps
    assert resumed(tmp_path, like).state == {"step": 1}
    (left,) = (tmp_path / "near").iterdir()
    assert left.name.startswith("m_1-1_1.")
    left.unlink()
    assert resumed(tmp_path, like).state == {"step": 9}
    (tmp_path / "near").rmdir()
    assert resumed(tmp_path, like).state == {"step": 9}
    assert ms.resume(tmp_path / "no", like, local=tmp_path / "near") is None


@pytest.mark.parametrize("damage", ["cut off", "one bit", "empty"])
def test_a_damaged_step(tmp_path: Path, mesh: Any, damage: str) -> None:
    ms.save_checkpoint({"step": 1}, tmp_path / "m-1_1.ckpt")
    (tmp_path / "far").mkdir()
    os.rename(tmp_path / "m-1_1.ckpt", tmp_path / "far" / "m-1_1.ckpt")
    config = CheckpointConfig(100)
    with ModelCheckpoint("m", tmp_path / "other", config, local=tmp_path / "near",
                         local_steps=1) as ckpt:  # fmt: skip
        ckpt.step(state_of(mesh, 2), step=2)
        (file,) = (tmp_path / "near").iterdir()
        data = bytearray(file.read_bytes())
        ckpt._local = None
    data = data if damage == "one bit" else data[:-100] if damage == "cut off" else bytearray()
    if damage == "one bit":
        data[-200] ^= 4
    file.write_bytes(data)
    with pytest.warns(UserWarning, match="not sound|are lost") as caught:
        assert resumed(tmp_path, {"step": 0}).state == {"step": 1}
    assert "parts of it are lost: the local step m-1_2" in str(caught[-1].message)


def test_the_step_before_stays_until_a_new_one_is_whole(
    tmp_path: Path, mesh: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    near = {"local": tmp_path / "near", "local_steps": 1}
    with (
        contextlib.suppress(StopError),
        ModelCheckpoint("m", tmp_path / "far", CheckpointConfig(100), **near) as ckpt,
    ):
        ckpt.step(state_of(mesh, 1))
        monkeypatch.setattr(os, "pwritev", full)
        with pytest.raises(OSError, match="No space"):
            ckpt.step(state_of(mesh, 2))
        raise StopError
    monkeypatch.undo()
    assert [name[:6] for name in os.listdir(tmp_path / "near")] == ["m-1_1."]
    assert resumed(tmp_path, {"step": 0}).state == {"step": 1}


def test_a_state_that_does_not_fit(tmp_path: Path, mesh: Any) -> None:
    run(tmp_path, mesh, [1])
    with pytest.raises(ms.CheckpointError, match="file lacks: 'bias'"):
        resumed(tmp_path, {"step": 0, "bias": np.zeros(3)})
    with pytest.raises(ms.CheckpointError, match="the shape differs"):
        resumed(tmp_path, {"whole": jax.ShapeDtypeStruct((8, 17), np.int32)})


def test_several_prefixes(tmp_path: Path, mesh: Any) -> None:
    run(tmp_path, mesh, [1])
    (file,) = (tmp_path / "near").iterdir()
    file.with_name(file.name.replace("m-", "n-")).write_bytes(file.read_bytes())
    with pytest.raises(ms.CheckpointError, match="pass prefix=: one of m, n"):
        resumed(tmp_path, {"step": 0})
    assert resumed(tmp_path, {"step": 0}, prefix="n").state == {"step": 1}
    (tmp_path / "near" / "m-1_2.ckpt").touch()  # nor is every name one of ours
    assert resumed(tmp_path, {"step": 0}, prefix="m").state == {"step": 1}


def test_files_of_others_and_of_live_runs(tmp_path: Path, mesh: Any) -> None:
    """A link is not read; what a live process keeps is not deleted, what a dead one kept is."""
    run(tmp_path, mesh, [1])
    (file,) = (tmp_path / "near").iterdir()
    own = str(owners.this())
    linked = file.with_name(file.name.replace("m-1_1", "m-1_9"))
    os.link(file, linked)
    assert ms.resume(tmp_path / "far", {"step": 0}, local=tmp_path / "near") is None
    linked.unlink()
    live, dead, elsewhere = (
        file.with_name(file.name.replace(own, str(owner)))
        for owner in (
            owners.this()._replace(pid=os.getppid(), start=owners._start(os.getppid()) or 0),
            owners.this()._replace(start=5),
            owners.this()._replace(host="0" * 12),
        )
    )
    for path in (live, dead, elsewhere):
        path.write_bytes(file.read_bytes())
    run(tmp_path, mesh, [3])
    left = sorted(path.name for path in (tmp_path / "near").iterdir())
    assert left == sorted([live.name, left[0] if left[0] != live.name else left[1]])


@pytest.mark.parametrize(
    ("kwargs", "error", "text"),
    [
        ({"local": "near"}, ValueError, "local= and local_steps= belong together"),
        ({"local_steps": 3}, ValueError, "local= and local_steps= belong together"),
        ({"local": "near", "local_steps": 0}, ValueError, "1 or more, not 0"),
        ({"local": 3, "local_steps": 1}, TypeError, "local must be a path, not int"),
        ({"local": "gs://a/b", "local_steps": 1}, ValueError, "own disk or in memory, not gs://"),
        ({"local": ".", "local_steps": 1}, ValueError, "give another one"),
        ({"local": "near", "local_steps": 1, "config": CheckpointConfig(enc_key=bytes(16))},
         ValueError, "not encrypted"),
    ],
)  # fmt: skip
def test_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kwargs: Any, error: Any, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=text):
        ModelCheckpoint("m", tmp_path, **kwargs)


# Who keeps what


def kept_by(holders: list[tuple[int, ...]], machines: str) -> list[tuple[tuple[int, ...], bool]]:
    """The keepers of the rows of a tensor, each of which some processes hold."""
    pairs = [(((n, n + 1), (0, 4)), p) for n, some in enumerate(holders) for p in some]
    (record,) = leaves.from_tree({"w": np.zeros((len(holders), 4), np.float32)})
    found = keepers.shards([record._replace(sharding=Spread(tuple(pairs)))], [*machines])
    rows: dict[int, Any] = {}
    for shard in found:
        for row in range(*shard.box[0]):
            rows[row] = shard.keepers, shard.sent
    return [rows[row] for row in range(len(holders))]


@pytest.mark.parametrize(
    ("holders", "machines", "expected"),
    [
        # a ring of machines
        ([(0,), (1,), (2,)], "abc", [((0, 1), True), ((1, 2), True), ((2, 0), True)]),
        # two processes on each: the same place on the next machine
        ([(0,), (1,), (2,), (3,)], "aabb",
         [((0, 2), True), ((1, 3), True), ((2, 0), True), ((3, 1), True)]),
        # replicated on another machine: nothing is sent, and the work is shared
        ([(0, 2), (0, 2), (1, 3), (1, 3)], "aabb", [((0, 2), False)] * 2 + [((1, 3), False)] * 2),
        # replicated on the same machine only
        ([(0, 1)], "aabb", [((0, 2), True)]),
        # machines of different sizes
        ([(0,), (1,), (2,)], "aab", [((0, 2), True), ((1, 2), True), ((2, 0), True)]),
        # one machine
        ([(0,), (1,)], "aa", [((0,), False), ((1,), False)]),
    ],
)  # fmt: skip
def test_keepers(holders: Any, machines: str, expected: Any) -> None:
    assert kept_by(holders, machines) == expected


@pytest.mark.parametrize("processes", [2, 3, 4, 5, 16, 17, 64])
@pytest.mark.parametrize("group", [1, 2, 4])
def test_neighbours_in_a_ring_take_three_turns(processes: int, group: int) -> None:
    """Simulated: a pair exchanges once both have done all their earlier pairs."""
    if processes % group or processes == group:
        return
    pairs = {tuple(sorted((p, (p + group) % processes))) for p in range(processes)}
    order = sorted(pairs, key=lambda pair: parcels._turn(pair, processes))
    done = [0] * processes
    for a, b in order:
        done[a] = done[b] = max(done[a], done[b]) + 1
    assert max(done) <= 3
    every = itertools.combinations(range(processes), 2)
    assert (
        len({parcels._turn(pair, processes) for pair in every}) == processes * (processes - 1) / 2
    )
