"""``save_adapter`` and ``load_adapter``: the LoRA leaves of a tree as an adapter of PEFT."""

from __future__ import annotations

from typing import Any

from msckpt_jax.api import background, into, jobs
from msckpt_jax.api.jobs import Folder, Job
from msckpt_jax.api.save_options import check_amounts
from msckpt_jax.checkpoint import paths, records, settled, writer
from msckpt_jax.checkpoint.file import open_checkpoint
from msckpt_jax.checkpoint.formats import SAFETENSORS
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.checkpoint.parameters import Parameters
from msckpt_jax.checkpoint.paths import PathLike
from msckpt_jax.checkpoint.plan import SLICE_BYTES
from msckpt_jax.checkpoint.records import File
from msckpt_jax.conventions import saving
from msckpt_jax.conventions.families import peft_config
from msckpt_jax.conventions.families.adapter import Adapter, Stored
from msckpt_jax.conventions.families.family import Family
from msckpt_jax.errors import CheckpointError

_WEIGHTS = f"adapter_model{SAFETENSORS.suffix}"


def save_adapter(
    save_obj: Any,
    folder: PathLike,
    convention: Family,
    *,
    durable: bool = True,
    timeout: float = 600.0,
) -> None:
    """Save the LoRA leaves that qwix put into a tree of tunix as a folder that PEFT loads.

    It has ``adapter_model.safetensors`` and ``adapter_config.json``. Both replace those of an
    earlier save as one; other files in the folder stay. Shards are written as by
    :func:`save_checkpoint`, also those of many hosts. One leaf A of keys and values (Gemma) is
    written for both.

    Args:
        save_obj: a tree with LoRA leaves, such as the model or ``nnx.state(model, nnx.LoRAParam)``;
            other leaves are not looked at.
        folder: the folder, which is made if need be.
        convention: ``Family(config, jax="tunix", lora_alpha=...)``, with the alpha of qwix.
        durable: as for :func:`save_checkpoint`.
        timeout: as for :func:`save_checkpoint`.

    Raises:
        CheckpointError: there are no LoRA leaves, or one that does not follow from a weight of the
            family.
        TypeError, ValueError: an argument of the wrong type or value.

    Example:
        >>> config = {"model_type": "llama", "vocab_size": 8, "hidden_size": 4,
        ...     "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 6}
        >>> family = ms.Family(config, jax="tunix", lora_alpha=16.0)
        >>> mlp = {"kernel_lora_a": jnp.ones((4, 2)), "kernel_lora_b": jnp.zeros((2, 6))}
        >>> tree = {"layers": [{"mlp": {"up_proj": mlp}}]}
        >>> ms.save_adapter(tree, "adapter", family)
        >>> ms.open_checkpoint("adapter/adapter_model.safetensors").names[0]
        'base_model.model.model.layers.0.mlp.up_proj.lora_A.weight'
    """
    check_amounts(True, durable, SLICE_BYTES, writer.THREADS, timeout)
    path = jobs.folder_path(folder)
    adapter = Adapter(convention)
    background.settle()
    entries = saving.from_tree(save_obj, adapter, lambda name: True)
    records.check_tags(entries)
    config = adapter.config(save_obj)
    job = Job(
        SAFETENSORS.name,
        How(framework=adapter.framework),
        writer.Options(durable=durable, timeout=timeout),
        folder=Folder(path, _WEIGHTS, {peft_config.NAME: config}, (peft_config.NAME, _WEIGHTS)),
    )
    jobs.run([File(_WEIGHTS, entries)], job)


def load_adapter(folder: PathLike, like: Any, convention: Family) -> Any:
    """Load an adapter of PEFT into the LoRA leaves of a tree of tunix, with their shardings.

    Args:
        folder: the folder with ``adapter_config.json`` and ``adapter_model.safetensors``.
        like: a tree with LoRA leaves (arrays or ``jax.ShapeDtypeStruct``), such as
            ``nnx.state(model, nnx.LoRAParam)``; other leaves stay as they are.
        convention: ``Family(config, jax="tunix", lora_alpha=...)``, with the alpha of qwix.

    Returns:
        The tree with the values of the adapter.

    Raises:
        CheckpointError: layers of the tree are missing in the adapter, or the other way round; the
            ranks or alpha / rank differ; the adapter is more than LoRA (DoRA, biases, whole
            modules), or keys and values of Gemma have an A each and the leaf not the rank of both.
        TypeError, ValueError: an argument of the wrong type or value.

    Example:
        >>> like = nnx.state(model, nnx.LoRAParam)  # doctest: +SKIP
        >>> nnx.update(model, ms.load_adapter("adapter", like, family))  # doctest: +SKIP
    """
    path = paths.path_of(folder)
    weights, config = path / _WEIGHTS, path / peft_config.NAME
    if not weights.exists() and (path / "adapter_model.bin").exists():
        raise CheckpointError(
            f"an adapter in torch's pickle is not read: save it in PEFT as {SAFETENSORS.name}",
            file=path / "adapter_model.bin",
        )
    with settled.reading(path, [weights, config]) as check:
        content = peft_config.read(config)
        file = open_checkpoint(weights, format=SAFETENSORS.name)
        check(weights)
    parameters = Parameters(file, list(file))
    stored = Stored(convention, content, parameters)
    return into.like(like, parameters, False, stored)
