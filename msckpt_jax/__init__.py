"""MindSpore CheckPoints for JAX. Names and arguments follow MindSpore: ``import msckpt_jax as ms``.

Nothing is imported before it is used: ``import msckpt_jax`` takes milliseconds. ``msckpt --help``
lists the commands; README.md and docs/ tell the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from msckpt_jax import lazy

if TYPE_CHECKING:
    from msckpt_jax import interop as interop
    from msckpt_jax import networks as networks
    from msckpt_jax import transforms as transforms
    from msckpt_jax.api.adapter import load_adapter as load_adapter
    from msckpt_jax.api.adapter import save_adapter as save_adapter
    from msckpt_jax.api.background import AsyncSave as AsyncSave
    from msckpt_jax.api.convert import ckpt_to_safetensors as ckpt_to_safetensors
    from msckpt_jax.api.convert import safetensors_to_ckpt as safetensors_to_ckpt
    from msckpt_jax.api.convert_checkpoint import convert_checkpoint as convert_checkpoint
    from msckpt_jax.api.convert_checkpoint import plan_conversion as plan_conversion
    from msckpt_jax.api.export import export as export
    from msckpt_jax.api.filtering import filter_parameters as filter_parameters
    from msckpt_jax.api.into import load_param_into_net as load_param_into_net
    from msckpt_jax.api.into import load_param_into_tree as load_param_into_tree
    from msckpt_jax.api.load import load_checkpoint as load_checkpoint
    from msckpt_jax.api.load import load_checkpoint_async as load_checkpoint_async
    from msckpt_jax.api.load_model import load as load
    from msckpt_jax.api.load_parts import load_distributed_checkpoint as load_distributed_checkpoint
    from msckpt_jax.api.load_parts import load_segmented_checkpoints as load_segmented_checkpoints
    from msckpt_jax.api.save import save_checkpoint as save_checkpoint
    from msckpt_jax.checkpoint.file import CheckpointFile as CheckpointFile
    from msckpt_jax.checkpoint.file import open_checkpoint as open_checkpoint
    from msckpt_jax.checkpoint.parameters import Parameters as Parameters
    from msckpt_jax.conventions.convention import Convention as Convention
    from msckpt_jax.conventions.explain import explain as explain
    from msckpt_jax.conventions.families.family import Family as Family
    from msckpt_jax.errors import AirError as AirError
    from msckpt_jax.errors import AmbiguousLeafError as AmbiguousLeafError
    from msckpt_jax.errors import AsyncSaveError as AsyncSaveError
    from msckpt_jax.errors import CheckpointError as CheckpointError
    from msckpt_jax.errors import ExportError as ExportError
    from msckpt_jax.errors import MindIRError as MindIRError
    from msckpt_jax.errors import StoreError as StoreError
    from msckpt_jax.graph.function import AirFunction as AirFunction
    from msckpt_jax.graph.function import MindIRFunction as MindIRFunction
    from msckpt_jax.parallel.group_info import restore_group_info_list as restore_group_info_list
    from msckpt_jax.parallel.layout import Layout as Layout
    from msckpt_jax.parallel.merged import MergedCheckpoint as MergedCheckpoint
    from msckpt_jax.parallel.needed import rank_list_for_transform as rank_list_for_transform
    from msckpt_jax.parallel.preview import plan_transform as plan_transform
    from msckpt_jax.parallel.slices import merge_sliced_parameter as merge_sliced_parameter
    from msckpt_jax.parallel.stages import merge_pipeline_strategys as merge_pipeline_strategys
    from msckpt_jax.parallel.strategy import build_searched_strategy as build_searched_strategy
    from msckpt_jax.parallel.transform import (
        transform_checkpoint_by_rank as transform_checkpoint_by_rank,
    )
    from msckpt_jax.parallel.transform import transform_checkpoints as transform_checkpoints
    from msckpt_jax.parallel.unified import unified_safetensors as unified_safetensors
    from msckpt_jax.specs import TensorSpec as TensorSpec
    from msckpt_jax.training.config import CheckpointConfig as CheckpointConfig
    from msckpt_jax.training.model_checkpoint import ModelCheckpoint as ModelCheckpoint
    from msckpt_jax.training.resume import Resumed as Resumed
    from msckpt_jax.training.resume import latest_checkpoint as latest_checkpoint
    from msckpt_jax.training.resume import resume as resume

__version__ = "0.1.0"

_HOME = {
    "AirError": "errors",
    "AirFunction": "graph.function",
    "AmbiguousLeafError": "errors",
    "AsyncSave": "api.background",
    "AsyncSaveError": "errors",
    "CheckpointConfig": "training.config",
    "CheckpointError": "errors",
    "CheckpointFile": "checkpoint.file",
    "Convention": "conventions.convention",
    "ExportError": "errors",
    "Family": "conventions.families.family",
    "Layout": "parallel.layout",
    "MergedCheckpoint": "parallel.merged",
    "MindIRError": "errors",
    "MindIRFunction": "graph.function",
    "ModelCheckpoint": "training.model_checkpoint",
    "Parameters": "checkpoint.parameters",
    "Resumed": "training.resume",
    "StoreError": "errors",
    "TensorSpec": "specs",
    "build_searched_strategy": "parallel.strategy",
    "ckpt_to_safetensors": "api.convert",
    "convert_checkpoint": "api.convert_checkpoint",
    "explain": "conventions.explain",
    "export": "api.export",
    "filter_parameters": "api.filtering",
    "latest_checkpoint": "training.resume",
    "load": "api.load_model",
    "load_adapter": "api.adapter",
    "load_checkpoint": "api.load",
    "load_checkpoint_async": "api.load",
    "load_distributed_checkpoint": "api.load_parts",
    "load_param_into_net": "api.into",
    "load_param_into_tree": "api.into",
    "load_segmented_checkpoints": "api.load_parts",
    "merge_pipeline_strategys": "parallel.stages",
    "merge_sliced_parameter": "parallel.slices",
    "open_checkpoint": "checkpoint.file",
    "plan_conversion": "api.convert_checkpoint",
    "plan_transform": "parallel.preview",
    "rank_list_for_transform": "parallel.needed",
    "restore_group_info_list": "parallel.group_info",
    "resume": "training.resume",
    "safetensors_to_ckpt": "api.convert",
    "save_adapter": "api.adapter",
    "save_checkpoint": "api.save",
    "transform_checkpoint_by_rank": "parallel.transform",
    "transform_checkpoints": "parallel.transform",
    "unified_safetensors": "parallel.unified",
}
#: The packages that are attributes, too.
_PACKAGES = ("interop", "networks", "transforms")

__all__ = [*_HOME, *_PACKAGES]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        return lazy.modules(__name__, _PACKAGES)(name)
    value = getattr(importlib.import_module(f"msckpt_jax.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
