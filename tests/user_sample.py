# pyright: strict
"""A user's file, which pyright (strict) and mypy (strict) check: tests/test_types.py runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, assert_type

import jax
import numpy as np

import msckpt_jax as ms
from msckpt_jax.api.exported import Exported
from msckpt_jax.api.not_loaded import NotLoaded
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.graph.function import ModelFunction

State = dict[str, np.ndarray[Any, np.dtype[np.float32]]]


def square(x: jax.Array) -> jax.Array:
    return x * x


def sharding_of(name: str, shape: tuple[int, ...]) -> jax.sharding.Sharding | None:
    return None


def saves(state: State, in_background: bool) -> None:
    assert_type(ms.save_checkpoint(state, "m.ckpt"), None)
    assert_type(ms.save_checkpoint(state, "m.ckpt", append_dict={"epoch": 1}, durable=False), None)
    assert_type(ms.save_checkpoint(state, "m.ckpt", async_save=True), ms.AsyncSave)
    assert_type(ms.save_checkpoint(state, "m.ckpt", True, "thread"), ms.AsyncSave)
    assert_type(ms.save_checkpoint(state, "m.ckpt", async_save="process"), ms.AsyncSave)
    save = ms.save_checkpoint(state, "m.ckpt", async_save=in_background)
    assert_type(save, ms.AsyncSave | None)
    if save is not None:
        save.result(timeout=60)


def loads(state: State, sharding: jax.NamedSharding | None) -> State:
    either: dict[str, Any] | Parameters = ms.load_checkpoint("m.ckpt", sharding=sharding)
    assert len(either)
    parameters = ms.load_checkpoint("m.ckpt", filter_prefix="head")
    assert_type(parameters, Parameters)
    assert_type(ms.load_checkpoint("m.ckpt", None, True, mmap=False), Parameters)
    assert_type(ms.load_checkpoint("m.ckpt", sharding=sharding_of), dict[str, Any])
    assert_type(ms.open_checkpoint("m.ckpt"), CheckpointFile)
    assert_type(ms.load_param_into_net(state, parameters), tuple[NotLoaded, NotLoaded])
    # A tree like the one that is given, whose leaves may be other than its own: jax.Array.
    loaded: State = ms.load_checkpoint("m.ckpt", like=state)
    return loaded


def trains(state: State) -> State:
    resumed = ms.resume("ckpts", state, prefix="net")
    assert_type(resumed, ms.Resumed | None)
    if resumed:
        assert_type(resumed.epoch, int)
        state = resumed.state
    config = ms.CheckpointConfig(save_checkpoint_steps=4, keep_checkpoint_max=10)
    with ms.ModelCheckpoint("net", "ckpts", config, resumed=resumed) as checkpoint:
        assert_type(checkpoint, ms.ModelCheckpoint)
        checkpoint.step(state, epoch=1)
    return state


def exports(x: jax.Array) -> Iterator[Any]:
    done = ms.export(square, ms.TensorSpec((None, 3), "float32"), file_name="net", verify=True)
    assert_type(done, Exported)
    assert_type(done.difference, float | None)
    net = ms.load(done.file)
    assert_type(net, ModelFunction)
    yield net(x)
    yield net.apply(net.parameters, x)
    yield ms.transforms.Resize(224)
    yield ms.networks.resnet.resnet18
    yield ms.interop.orbax.MindSporeSave
