"""Jobs that write files, each over what an older run of it has left."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

import msckpt_jax as ms

KEY = bytes(range(16))
SHAPE = (8, 12)


class Job(NamedTuple):
    """A job that reads ``src`` and writes into ``out``, sub-folders of the folder that it gets.

    Attributes:
        work: does it, with arrays of one value, which is that of ``src`` where it reads one.
        read: returns the value in ``out``.
        source: writes ``src``.
        renews: whether it writes over what an older run has left; else ``out`` is empty before.
        between: further values that its own earlier files have.
    """

    work: Callable[[Path, int], Any]
    read: Callable[[Path], int]
    source: Callable[[Path, int], Any] | None = None
    renews: bool = True
    between: tuple[int, ...] = ()


def tree(value: int) -> dict[str, np.ndarray]:
    """Three parameters; no shape tells one value from another."""
    return {name: np.full(SHAPE, value, np.float32) for name in "abc"}


@functools.cache
def sharded(value: int) -> dict[str, jax.Array]:
    """The same on a mesh of four devices. Forked processes use them, and no XLA."""
    mesh = jax.make_mesh((2, 2), ("x", "y"))
    specs = {"a": jax.P("x", "y"), "b": jax.P(None, "y"), "c": jax.P("x")}
    return {n: jax.device_put(x, jax.NamedSharding(mesh, specs[n])) for n, x in tree(value).items()}


def only(params: Any) -> int:
    """The value of all elements of all parameters."""
    assert sorted(params) == [*"abc"], sorted(params)
    (value,) = {int(x) for name in params for x in np.asarray(params[name]).ravel()}
    return value


def _saving(name: str, reading: dict[str, Any], **options: Any) -> Job:
    def work(folder: Path, value: int) -> None:
        ms.save_checkpoint(tree(value), folder / "out" / name, **options)

    def read(folder: Path) -> int:
        return only(ms.load_checkpoint(folder / "out" / name, **reading))

    return Job(work, read)


def _save_in_thread(folder: Path, value: int) -> None:
    save = ms.save_checkpoint(tree(value), folder / "out/m.ckpt", async_save=True)
    assert save is not None
    save.result()


def _save_ranks(folder: Path, value: int, place: str = "out") -> None:
    ms.save_checkpoint(sharded(value), folder / place / "net.ckpt", integrated_save=False)


def _read_ranks(folder: Path) -> int:
    out = folder / "out"
    return only(ms.load_checkpoint(out, strategy=out / "strategy.ckpt"))


_FROM_RANKS = functools.partial(_save_ranks, place="src")


def _transform(folder: Path, value: int) -> None:
    ms.transform_checkpoints(folder / "src", folder / "out", "net", folder / "src/strategy.ckpt")


def _unify(folder: Path, value: int) -> None:
    ms.unified_safetensors(folder / "src", folder / "src/strategy.ckpt", folder / "out")


def _read_unified(folder: Path) -> int:
    return only(ms.load_checkpoint(folder / "out"))


def _read_transformed(folder: Path) -> int:
    return only(ms.load_checkpoint(folder / "out/rank_0/net0.ckpt"))


def _converting(name: str, **options: Any) -> Job:
    def work(folder: Path, value: int) -> None:
        ms.convert_checkpoint(folder / "src/net.ckpt", folder / "out" / name, **options)

    def source(folder: Path, value: int) -> None:
        ms.save_checkpoint(tree(value), folder / "src/net.ckpt")

    def read(folder: Path) -> int:
        return only(ms.load_checkpoint(folder / "out" / name))

    return Job(work, read, source)


def _train(folder: Path, value: int) -> None:
    """Three steps, of which two stay; the last one's value counts."""
    config = ms.CheckpointConfig(save_checkpoint_steps=1, keep_checkpoint_max=2)
    with ms.ModelCheckpoint("net", folder / "out", config) as saver:
        for step in range(3):
            saver.step(tree(value if step == 2 else 10 + step))


def _resumed(folder: Path) -> int:
    resumed = ms.resume(folder / "out", like=tree(0), prefix="net")
    if resumed is None:
        raise FileNotFoundError(folder)
    return only(resumed.state)


JOBS = {
    "save": _saving("m.ckpt", {}, crc_check=True),
    "save encrypted": _saving("m.ckpt", {"dec_key": KEY}, enc_key=KEY),
    "save safetensors": _saving("m.safetensors", {}, format="safetensors", crc_check=True),
    "save in a thread": _saving("m.ckpt", {})._replace(work=_save_in_thread),
    "save a folder": _saving("hf", {}, format="safetensors", max_shard_size=500),
    "save ranks": Job(_save_ranks, _read_ranks),
    "transform": Job(_transform, _read_transformed, _FROM_RANKS),
    "unify": Job(_unify, _read_unified, _FROM_RANKS),
    "convert to a file": _converting("m.safetensors"),
    "convert to a folder": _converting("hf", max_shard_size=500),
    "convert to Orbax": _converting("orbax")._replace(renews=False),
    "train": Job(_train, _resumed, between=(10, 11)),
}
