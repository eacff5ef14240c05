# pyright: strict
"""A user's file, which pyright (strict) and mypy (strict) check: tests/test_types.py runs them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any, assert_type

import jax
import numpy as np

import msckpt_jax as ms
from msckpt_jax.api.conversion.plan import ConversionPlan
from msckpt_jax.api.exported import Exported
from msckpt_jax.api.not_loaded import NotLoaded
from msckpt_jax.checkpoint.file import CheckpointFile
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.conventions.explain import Report
from msckpt_jax.graph.function import ModelFunction
from msckpt_jax.parallel.preview import TransformPlan

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
    ms.load_checkpoint("m.ckpt", like=state, progress=True)
    assert_type(ms.load_param_into_tree(state, parameters), tuple[Any, NotLoaded, NotLoaded])
    assert_type(ms.load_checkpoint_async("m.ckpt"), Future[Any])
    assert_type(ms.filter_parameters(parameters, "head"), list[str])
    assert_type(parameters, ms.Parameters)
    assert_type(ms.open_checkpoint("m.ckpt").names, list[str])
    with ms.open_checkpoint("m.ckpt", mmap=False) as file:
        assert_type(file, ms.CheckpointFile)
    return loaded


def refuses(state: State) -> tuple[Any, ...]:
    """Errors have what they tell as attributes."""
    try:
        ms.load_checkpoint("m.ckpt", like=state)
    except ms.AmbiguousLeafError as error:
        return (assert_type(error.readings, dict[str, list[str]]),)
    except (ms.StoreError, ms.AsyncSaveError, ms.CheckpointError) as error:
        return assert_type(error.file, str | None), assert_type(error.offset, int | None)
    try:
        ms.load("net.mindir")
    except (ms.MindIRError, ms.AirError) as error:
        return assert_type(error.node, str | None), assert_type(error.name, str | None)
    try:
        ms.export(square, 1.0, file_name="net")
    except ms.ExportError as error:
        return (assert_type(error.problems, tuple[str, ...]),)
    return ()


def converts(state: State) -> None:
    family = ms.Family("Qwen3-8B", jax="maxtext", files="mindformers-mcore")
    assert_type(family, ms.Family)
    convention = ms.Convention(base="mindspore", rename={"^": "backbone."})
    ms.save_checkpoint(state, "m.ckpt", convention=convention)
    ms.save_checkpoint(state, "m.ckpt", convention=family)
    assert_type(ms.explain(state, convention), Report)
    assert_type(ms.convert_checkpoint("m.ckpt", "hub", as_stack="huggingface"), None)
    assert_type(ms.plan_conversion("m.ckpt", "hub"), ConversionPlan)
    assert_type(ms.ckpt_to_safetensors("m.ckpt", name_map={"w": "weight"}), None)
    assert_type(ms.safetensors_to_ckpt("m.safetensors", processes_num=2), None)
    assert_type(ms.save_adapter(state, "adapter", family), None)
    ms.load_adapter("adapter", state, family)


def reshards(weights: np.ndarray[Any, np.dtype[np.float32]]) -> None:
    strategy = ms.build_searched_strategy("strategy.ckpt")
    assert_type(strategy, dict[str, ms.Layout])
    assert_type(strategy["w"].dev_matrix, tuple[int, ...])
    assert_type(ms.rank_list_for_transform(0, "a.ckpt", strategy), list[int])
    ranks: dict[int, str] = {0: "rank_0/m.ckpt"}
    assert_type(ms.MergedCheckpoint(ranks, "strategy.ckpt"), ms.MergedCheckpoint)
    assert_type(ms.transform_checkpoint_by_rank(0, ranks, "m.ckpt", "a.ckpt", "b.ckpt"), None)
    assert_type(ms.transform_checkpoints("a", "b", "m", "a.ckpt", progress=True), None)
    assert_type(ms.plan_transform("a", "a.ckpt", "b.ckpt"), TransformPlan)
    assert_type(ms.merge_pipeline_strategys("strategies", "whole.ckpt"), None)
    assert_type(ms.unified_safetensors("a", "a.ckpt", "b"), None)
    assert_type(ms.restore_group_info_list("group_info.pb"), list[int])
    ms.merge_sliced_parameter([weights, weights])
    ms.load_distributed_checkpoint(None, ["rank_0/m.ckpt"], train_strategy_filename="a.ckpt")
    assert_type(ms.load_segmented_checkpoints("segments"), dict[str, Any])


def trains(state: State) -> State:
    resumed = ms.resume("ckpts", state, prefix="net")
    assert_type(resumed, ms.Resumed | None)
    assert_type(ms.latest_checkpoint("ckpts"), str | None)
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
    either: ms.MindIRFunction | ms.AirFunction = net
    assert_type(either.input_names, tuple[str, ...])
    yield net(x)
    yield net.apply(net.parameters, x)
    yield ms.transforms.Resize(224)
    yield ms.networks.resnet.resnet18
    yield ms.interop.orbax.MindSporeSave
