"""A set of files in a store: whatever a kill leaves, nobody takes a mixture for a whole."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import msckpt_jax as ms
from msckpt_jax.checkpoint import store_folder
from msckpt_jax.checkpoint.formats import sharded
from msckpt_jax.checkpoint.stores import s3
from msckpt_jax.cli import main
from tests.stores.server import Server

#: The requests that change what is in a bucket.
CHANGES = {s3.S3: ("put", "delete", "upload"), s3.S3Upload: ("put", "complete", "abort")}


class Killed(BaseException):
    """The end of a process."""


class Kill:
    """Lets so many changes through; then nothing that the process does reaches the store."""

    def __init__(self, patch: pytest.MonkeyPatch, after: int):
        self.left = after
        for driver, names in CHANGES.items():
            for name in names:
                patch.setattr(driver, name, self._limited(getattr(driver, name)))

    def _limited(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Killed
            return method(*args)

        return call


def tree(fill: float) -> dict[str, Any]:
    mesh = jax.make_mesh((4,), ("x",), devices=jax.devices()[:4])
    sharding = jax.NamedSharding(mesh, jax.P("x"))
    return {name: jax.device_put(np.full(8, fill, "f4"), sharding) for name in "abc"}


def hub(folder: str, fill: float) -> None:
    ms.save_checkpoint(tree(fill), folder, format="safetensors", max_shard_size=40)


def adapter(folder: str, fill: float) -> None:
    """Numbered files, in place of the file that stood alone."""
    size = 1000 if fill == 1 else 40
    ms.save_checkpoint(tree(fill), folder, format="safetensors", max_shard_size=size)


def graph(folder: str, fill: float) -> None:
    net = (lambda p, x: x @ p["w"]), {"w": jnp.full((2, 3), fill)}
    ms.export(net, jnp.ones((1, 2)), file_name=f"{folder}/net", split_bytes=0)


def values(folder: str) -> set[float]:
    return {float(x) for array in ms.load_checkpoint(folder).values() for x in np.ravel(array)}


def result(folder: str) -> set[float]:
    return set(np.ravel(ms.load(f"{folder}/net_graph.mindir")(jnp.ones((1, 2)))).tolist())


def state(read: Callable[[], set[float]], known: dict[str, str]) -> str:
    """The set that a reader finds, or the beginning of the error."""
    try:
        return known.get(str(read()), "a mixture")
    except ms.CheckpointError as error:
        return error.problem.partition(",")[0]


@pytest.mark.parametrize(
    ("save", "read", "old", "new"),
    [(hub, values, 1.0, 2.0), (adapter, values, 1.0, 2.0), (graph, result, 2.0, 4.0)],
    ids=["hub", "adapter", "graph"],
)
def test_a_kill_at_any_request_leaves_the_old_set_the_new_one_or_an_error(
    save: Callable[[str, float], None],
    read: Callable[[str], set[float]],
    old: float,
    new: float,
    bucket: str,
) -> None:
    folder = f"{bucket}/set"
    seen: list[str] = []
    for after in range(100):
        save(folder, 1)
        with pytest.MonkeyPatch.context() as patch:
            Kill(patch, after)
            try:
                save(folder, 2)
                break
            except Killed:
                pass
        seen.append(state(lambda: read(folder), {str({old}): "old", str({new}): "new"}))
    assert seen == sorted(seen, key=["old", "a save is giving its files their names", "new"].index)
    assert seen.count("old") > len(seen) // 3  # while the bytes go up
    assert read(folder) == {new}


def test_an_error_leaves_no_upload(server: Server, bucket: str) -> None:
    hub(f"{bucket}/set", 1)
    keys = server.keys(bucket[5:])

    def fail(nbytes: int) -> None:
        raise RuntimeError("full")

    with pytest.raises(RuntimeError, match="full"):
        ms.save_checkpoint(tree(2), f"{bucket}/set", format="safetensors", max_shard_size=40,
                           progress=fail)  # fmt: skip
    assert (server.keys(bucket[5:]), server.uploads(bucket[5:])) == (keys, [])
    assert values(f"{bucket}/set") == {1}


def test_a_save_while_a_folder_is_opened(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its files may be of one save, and its index of another."""
    folder = f"{bucket}/set"
    hub(folder, 1)
    contents = sharded._contents

    def later(*args: Any) -> Any:
        time.sleep(1.1)  # the indices are equal, and times have seconds
        hub(folder, 2)
        return contents(*args)

    monkeypatch.setattr(sharded, "_contents", later)
    with pytest.raises(ms.CheckpointError, match="a save replaced its files while they were read"):
        ms.open_checkpoint(folder)


def test_an_interrupted_save_is_told_and_replaced(
    server: Server, bucket: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = f"{bucket}/set"
    hub(folder, 1)
    server.client.put_object(Bucket=bucket[5:], Key="set/.msckpt-save/journal.json", Body=b"{}")
    with pytest.raises(ms.CheckpointError, match="a save is giving its files their names"):
        ms.load_checkpoint(folder)
    assert main(["recover", folder]) == 2
    assert "cannot be finished in a store: save anew" in capsys.readouterr().err
    hub(folder, 2)
    assert values(folder) == {2}
    assert main(["recover", folder]) == 0


def test_rank_files_take_the_place_of_older_ones_together(
    server: Server, bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"{bucket}/net.ckpt"
    ms.save_checkpoint(tree(1), path, integrated_save=False)
    complete = store_folder.complete
    there: list[list[str]] = []

    def noted(held: Any) -> None:
        if held:
            there.append(server.keys(bucket[5:]))
            with pytest.raises(ms.CheckpointError, match="a save is giving its files their names"):
                ms.load_checkpoint(bucket, strategy=f"{bucket}/strategy.ckpt")
        complete(held)

    def values_of_ranks(folder: str) -> set[float]:
        files = [f"{folder}/rank_{rank}/net.ckpt" for rank in range(4)]
        return {float(x) for file in files for x in np.ravel(ms.load_checkpoint(file)["a"])}

    monkeypatch.setattr(store_folder, "complete", noted)
    ms.save_checkpoint(tree(2), path, integrated_save=False)
    assert there == [[".msckpt-save.net.ckpt/journal.json", "strategy.ckpt"]]
    monkeypatch.undo()
    assert values_of_ranks(bucket) == {2}
    assert set(np.ravel(ms.load_checkpoint(bucket, strategy=f"{bucket}/strategy.ckpt")["a"])) == {2}


@pytest.mark.parametrize("where", ["s3", "gs"])
def test_an_open_file_that_is_replaced_is_no_mixture(
    where: str, bucket: str, object_store: dict[str, Any]
) -> None:
    """Tensors are read when they are asked for, by the places that the older index has."""
    path = f"{bucket}/a.ckpt" if where == "s3" else "gs://bucket/a.ckpt"
    ms.save_checkpoint({"w": np.zeros(1 << 20), "v": np.zeros(1 << 20)}, path)
    file = ms.open_checkpoint(path)
    assert file["w"].sum() == 0
    ms.save_checkpoint({"w": np.ones(1 << 20), "v": np.ones(1 << 20)}, path)
    with pytest.raises(ms.CheckpointError, match="another object replaced it while it was open"):
        file["v"]
