"""Orbax checkpoints of a language model to Hugging Face's folder, against a restore as a whole.

The model is like Llama, in MaxText's layout: 1.2 GiB of bfloat16, 24 layers stacked on axis 1,
saved from a mesh of 2 x 4, so that each chunk is a shard with a part of all layers. The peer
restores it with Orbax, changes the layouts with NumPy and writes files with safetensors' own
`save_file`. Where MaxText is installed, its own converter runs beside them, by the functions of its
`to_huggingface` script, in a process with one device, as that has; the start of Python and the
tokenizer are left out. Times are medians over
interleaved rounds; extra MiB is the peak of anonymous memory beyond what was there before. Run it
alone on the machine, on a file system in memory:

    python tests/benchmarks/from_orbax.py --folder /dev/shm              # about 3 minutes
    python tests/benchmarks/from_orbax.py --folder /dev/shm --layers 4   # a quick look
"""

from __future__ import annotations

import os
import sys

#: Given as the first argument to the process in which MaxText runs, which has one device.
_PEER = "maxtext"
if sys.argv[1:2] != [_PEER]:
    _FLAG = "--xla_force_host_platform_device_count=8"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_FLAG}"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import argparse
import importlib.util
import json
import logging
import subprocess
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import jax
import ml_dtypes
import numpy as np
import orbax.checkpoint as ocp
import peers
import safetensors.numpy
from etils import epath
from rich.console import Console
from timing import Contender, measure, show

import msckpt_jax as ms
from msckpt_jax import names
from msckpt_jax.api import jobs
from msckpt_jax.checkpoint import copying, leaves, writer
from msckpt_jax.checkpoint.formats.format import How
from msckpt_jax.conventions import saving

SPECS = {
    "scale": jax.P("x"), "query.kernel": jax.P("x", None, "y"), "key.kernel": jax.P("x", None, "y"),
    "value.kernel": jax.P("x", None, "y"), "out.kernel": jax.P("y", None, None, "x"),
    "wi_0.kernel": jax.P("x", None, "y"), "wi_1.kernel": jax.P("x", None, "y"),
    "wo.kernel": jax.P("x", None, "y"), "embedding": jax.P("x", "y"),
    "logits_dense.kernel": jax.P("x", "y"),
}  # fmt: skip
#: MaxText's name of a model with the layout of this one.
MODEL = "llama3.1-8b"
#: The bytes of a file: five files.
LIMIT = 300_000_000


def config(layers: int) -> dict[str, Any]:
    return {
        "model_type": "llama", "vocab_size": 16384, "hidden_size": 1536, "head_dim": 128,
        "num_hidden_layers": layers, "num_attention_heads": 12, "num_key_value_heads": 4,
        "intermediate_size": 4096, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
        "rope_scaling": {
            "rope_type": "llama3", "rope_theta": 500_000.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
        },
    }  # fmt: skip


def save(path: Path, family: ms.Family) -> int:
    """Save random weights with Orbax; return the bytes of the largest group of chunks."""
    mesh = jax.make_mesh((2, 4), ("x", "y"))
    random = np.random.default_rng(0)
    bfloat16 = np.dtype(ml_dtypes.bfloat16)

    def made(leaf: names.Leaf) -> jax.Array:
        spec = next(spec for end, spec in SPECS.items() if leaf.name.endswith(end))
        values = random.standard_normal(leaf.value.shape, np.float32) * np.float32(0.02)
        return jax.device_put(values.astype(bfloat16), jax.NamedSharding(mesh, spec))

    named = names.flatten(family.abstract(scanned=True))
    tree = named.rebuild([made(leaf) for leaf in named.leaves])
    peers.orbax_save(path, {"params": {"params": tree}})
    return max(leaf.nbytes for leaf in jax.tree.leaves(tree))


def ours(source: Path, target: Path, family: ms.Family) -> None:
    file = ms.open_checkpoint(source)
    given = {name: leaves.Given(copying.record_of(file, name)) for name in file.entries}
    made = saving.from_tree(names.nested(given), family, lambda name: True)
    job = jobs.Job("safetensors", How(), writer.Options(durable=False))
    jobs.run(*jobs.dealt(target, made, job, LIMIT, family.companions()))


def whole(source: Path, target: Path, sizes: dict[str, Any]) -> None:
    """The usual way: everything is restored, changed and written as a whole."""
    with ocp.PyTreeCheckpointer() as checkpointer:
        tree = checkpointer.metadata(source).item_metadata.tree
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
        args = ocp.args.PyTreeRestore(restore_args=as_numpy)
        restored = ocp.PyTreeCheckpointHandler().restore(epath.Path(source), args=args)
    params = restored["params"]["params"]
    target.mkdir()
    group: dict[str, np.ndarray] = {}
    number, held = 1, 0
    for name, value in by_hand(params, sizes):
        if held + value.nbytes > LIMIT:
            safetensors.numpy.save_file(group, target / f"model-{number}.safetensors")
            group, held, number = {}, 0, number + 1
        group[name] = np.ascontiguousarray(value)
        held += value.nbytes
    safetensors.numpy.save_file(group, target / f"model-{number}.safetensors")


def by_hand(params: Any, sizes: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """Yield Hugging Face's tensors, by NumPy; Llama 3.1's rotary pairs lie side by side."""
    decoder, width = params["decoder"], sizes["hidden_size"]
    layers, head = decoder["layers"], sizes["head_dim"]

    def halves(kernel: np.ndarray) -> np.ndarray:
        return np.concatenate([kernel[..., 0::2], kernel[..., 1::2]], -1)

    yield "model.embed_tokens.weight", params["token_embedder"]["embedding"]
    for i in range(sizes["num_hidden_layers"]):
        at, attention = f"model.layers.{i}", layers["self_attention"]
        query = attention["query"]["kernel"][:, i].astype(np.float32) * np.float32(head**0.5)
        query = query.astype(ml_dtypes.bfloat16)
        yield f"{at}.self_attn.q_proj.weight", halves(query).reshape(width, -1).T
        key = halves(attention["key"]["kernel"][:, i])
        yield f"{at}.self_attn.k_proj.weight", key.reshape(width, -1).T
        value = attention["value"]["kernel"][:, i]
        yield f"{at}.self_attn.v_proj.weight", value.reshape(width, -1).T
        out = attention["out"]["kernel"][:, i]
        yield f"{at}.self_attn.o_proj.weight", out.reshape(-1, width).T
        for theirs, mine in (("gate", "wi_0"), ("up", "wi_1"), ("down", "wo")):
            yield f"{at}.mlp.{theirs}_proj.weight", layers["mlp"][mine]["kernel"][:, i].T
        before, after = "pre_self_attention_layer_norm", "post_self_attention_layer_norm"
        yield f"{at}.input_layernorm.weight", layers[before]["scale"][:, i]
        yield f"{at}.post_attention_layernorm.weight", layers[after]["scale"][:, i]
    yield "model.norm.weight", decoder["decoder_norm"]["scale"]
    yield "lm_head.weight", decoder["logits_dense"]["kernel"].T


def maxtext(source: Path, target: Path, sizes: dict[str, Any]) -> float:
    """The seconds that MaxText's `to_huggingface` takes, in a process of its own."""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    command = [sys.executable, __file__, _PEER, str(source), str(target), json.dumps(sizes)]
    done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout.split()[-1])


def maxtext_here(source: Path, target: Path, sizes: dict[str, Any]) -> None:
    """Print the seconds of the steps of `to_huggingface`, for bfloat16, as it recommends."""
    from absl import flags
    from maxtext.checkpoint_conversion import to_huggingface
    from maxtext.checkpoint_conversion.utils import utils
    from transformers import LlamaConfig

    flags.FLAGS([""])
    config = SimpleNamespace(
        scan_layers=True, param_scan_axis=1, use_multimodal=False, num_experts=0,
        base_num_decoder_layers=sizes["num_hidden_layers"], head_dim=sizes["head_dim"],
        inhomogeneous_layer_cycle_interval=1, weight_dtype="bfloat16", model_name=MODEL,
        checkpoint_storage_concurrent_gb=96, checkpoint_storage_use_ocdbt=True,
        checkpoint_storage_use_zarr3=True, load_parameters_path=str(source),
        lora=SimpleNamespace(lora_restore_path="", lora_alpha=0.0, lora_rank=0),
    )  # fmt: skip
    released = LlamaConfig(**sizes)
    target.mkdir()
    jax.devices()
    begin = time.perf_counter()
    found = to_huggingface.load_orbax_checkpoint(config)
    mappings = to_huggingface._get_model_mappings(MODEL, True, released.to_dict(), config)
    params = utils.detect_and_extract_checkpoint(found)
    keys = utils.validate_and_filter_param_map_keys(mappings["param_mapping"], set(params))
    made = to_huggingface._transform_weights_to_full_model(
        config, keys, params, mappings["param_mapping"], mappings["hook_fn_mapping"],
        mappings["shape_mapping"],
    )  # fmt: skip
    utils.save_model_files(made, released, None, None, str(target))
    print(time.perf_counter() - begin)


def check_equal(left: Path, right: Path) -> None:
    """Refuse to compare ways that do not write the same tensors."""
    one, two = ({name: array for file in sorted(folder.glob("*.safetensors"))
                 for name, array in safetensors.numpy.load_file(file).items()}
                for folder in (left, right))  # fmt: skip
    assert one.keys() == two.keys()
    wrong = [name for name in one if one[name].tobytes() != two[name].tobytes()]
    assert not wrong, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--folder")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    sizes = config(args.layers)
    family = ms.Family(sizes, jax="maxtext", maxtext_model=MODEL)
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name)
        source = folder / "orbax"
        group = save(source, family) / 2**20
        usual = "Orbax whole, NumPy, save_file"
        contenders = [
            Contender(usual, lambda: whole(source, folder / "whole", sizes), None),
            Contender("ours", lambda: ours(source, folder / "ours", family), usual, goal=0.75,
                      extra=4 * group + 96),
        ]  # fmt: skip
        if importlib.util.find_spec("maxtext") is not None:
            theirs = "MaxText's converter"
            contenders[1].at_least[theirs] = 4
            run = lambda: maxtext(source, folder / "maxtext", sizes)  # noqa: E731
            contenders.append(Contender(theirs, run, usual, memory=False))
        for contender in contenders:
            contender.run()
        if len(contenders) > 2:
            check_equal(folder / "maxtext", folder / "ours")
        check_equal(folder / "whole", folder / "ours")
        results = measure(contenders, args.rounds, folder, lambda path: path == source)
        title = f"Orbax to Hugging Face, {args.layers} layers; a group of chunks: {group:.0f} MiB"
        show(title, results, Console(width=150))


if __name__ == "__main__":
    if sys.argv[1:2] == [_PEER]:
        maxtext_here(Path(sys.argv[2]), Path(sys.argv[3]), json.loads(sys.argv[4]))
    else:
        main()
