"""A Llama whole: export time, latency in onnxruntime, memory, beside jax2onnx, torch and optimum.

torch, transformers, onnxscript and optimum-onnx are in an environment of their own. Rounds are
interleaved; times are seconds of the process, in one thread of onnxruntime. Run it alone:

    python tests/benchmarks/export_decoder.py --torch /tmp/torch/bin/python
    python tests/benchmarks/export_decoder.py --only memory
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import jax
import ml_dtypes
import numpy as np
import onnxruntime
from flax import nnx
from models import Peer
from safetensors.numpy import load_file
from timing import anonymous_mib, peak_of

import msckpt_jax as ms
from tests.networks import decoder
from tests.networks.decoder import Config

_SIZES: dict[str, Any] = {"vocabulary": 2000, "width": 256, "heads": 8, "groups": 4, "size": 32,
                          "inner": 688}  # fmt: skip
DEEP, TINY = Config(layers=12, **_SIZES), Config(layers=4, **_SIZES)
_PROCESS = """
import json, os, sys, time, warnings
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
warnings.simplefilter("ignore")
"""
_JAX2ONNX = (
    _PROCESS
    + """
import jax, jax2onnx, numpy as np
from flax import nnx
from tests.networks import decoder
from export_decoder import DEEP
structure, weights = decoder.filled(DEEP, 0)
past = decoder.empty(DEEP, 1, 64, jax.ShapeDtypeStruct)
leaves, tree = jax.tree.flatten(past)
def step(ids, mask, positions, *past):
    cache = jax.tree.unflatten(tree, past)
    out = decoder.grown(nnx.merge(structure, weights), ids, mask, positions, cache)
    return tuple(jax.tree.leaves(out))
ids, mask = (jax.ShapeDtypeStruct((1, n), np.int32) for n in (1, 65))
for line in sys.stdin:
    file = json.loads(line)["file"]
    begin = time.process_time()
    jax2onnx.to_onnx(step, [ids, mask, ids, *leaves], return_mode="file", output_path=file)
    print(json.dumps(time.process_time() - begin), file=answers, flush=True)
"""
)
_TORCH = (
    _PROCESS
    + """
import torch
from transformers import LlamaConfig, LlamaForCausalLM
def made(layers):
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2000, hidden_size=256, intermediate_size=688, num_hidden_layers=layers,
        num_attention_heads=8, num_key_value_heads=4, rope_theta=10000.0, rms_norm_eps=1e-6,
        tie_word_embeddings=False,
    )
    return LlamaForCausalLM(config).eval()
deep = made(12)
class Logits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = deep
    def forward(self, ids):
        return self.inner(input_ids=ids, use_cache=False).logits
for line in sys.stdin:
    request = json.loads(line)
    begin = time.process_time()
    if request["do"] == "optimum":
        from optimum.exporters.onnx import main_export
        made(4).save_pretrained(request["file"])
        main_export(request["file"], request["file"], task="text-generation-with-past")
    else:
        ids = torch.ones((1, 64), dtype=torch.int64)
        torch.onnx.export(Logits(), (ids,), request["file"], dynamo=True, verbose=False)
    print(json.dumps(time.process_time() - begin), file=answers, flush=True)
"""
)


def ours(config: Config, weights: Any, file: Path, **options: Any) -> float:
    """Export a step whose sizes are all dynamic; return the seconds."""
    structure = nnx.graphdef(nnx.eval_shape(lambda: decoder.Decoder(config, rngs=nnx.Rngs(0))))

    def step(
        weights: Any, input_ids: Any, attention_mask: Any, position_ids: Any, past_key_values: Any
    ) -> Any:
        model = nnx.merge(structure, weights)
        return decoder.grown(model, input_ids, attention_mask, position_ids, past_key_values)

    spec = ms.TensorSpec
    ids, mask = spec(("b", "s"), "int32"), spec(("b", "p + s"), "int32")
    past = decoder.empty(config, "b", "p", spec)
    begin = time.process_time()
    ms.export((step, weights), ids, mask, ids, past, file_name=file, file_format="ONNX",
              engine="native", durable=False, **options)  # fmt: skip
    return time.process_time() - begin


def interleaved(contenders: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """The median of each; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, run in contenders.items():
            times[name].append(run())
    return {name: statistics.median(values[1:]) for name, values in times.items()}


def tell(what: str, medians: Mapping[str, float], goal: float) -> None:
    """Print the ratio of ours to the fastest other."""
    mine = medians["ours"]
    best = min(value for name, value in medians.items() if name != "ours")
    word = "reached" if mine <= goal * best else "MISSED"
    rest = ", ".join(f"{name} {value * 1e3:.1f} ms" for name, value in medians.items())
    print(f"{what}: {mine / best:.2f} of the fastest other (goal {goal}): {word}; {rest}")


def export_time(folder: Path, torch: str | None, rounds: int) -> None:
    weights = decoder.filled(DEEP, 0)[1]
    peers = {"jax2onnx": Peer(_JAX2ONNX, Path(__file__).parent)}
    if torch is not None:
        peers["torch.onnx, dynamo"] = Peer(_TORCH, Path(__file__).parent, torch)
    contenders = {
        name: lambda peer=peer: peer.ask("export", file=str(folder / "other.onnx"))
        for name, peer in peers.items()
    }
    mine = {"ours": lambda: ours(DEEP, weights, folder / "ours.onnx")}
    tell("export of 12 layers", interleaved({**mine, **contenders}, rounds), 1.0)
    for peer in peers.values():
        peer.close()


def latency(folder: Path, torch: str | None, rounds: int) -> None:
    if torch is None:
        print("latency: skipped, needs --torch")
        return
    peer = Peer(_TORCH, Path(__file__).parent, torch)
    peer.ask("optimum", file=str(folder))
    peer.close()
    weights = _llama(load_file(folder / "model.safetensors"))
    ours(TINY, weights, folder / "ours.onnx", target="onnxruntime")
    sessions = {name: _session(folder / file)
                for name, file in (("ours", "ours.onnx"), ("optimum", "model.onnx"))}  # fmt: skip
    for what, tokens, past in (("decode", 1, 32), ("decode", 1, 512), ("prefill", 128, 0)):
        feeds = {name: _feed(session, tokens, past) for name, session in sessions.items()}
        results = [session.run(None, feeds[name])[0] for name, session in sessions.items()]
        np.testing.assert_allclose(*results, rtol=1e-3, atol=1e-4)
        runs = {name: lambda s=session, f=feeds[name]: _timed(s, f)
                for name, session in sessions.items()}  # fmt: skip
        tell(f"{what} of {tokens} after {past}", interleaved(runs, 10 * rounds), 1.05)


def _session(file: Path) -> Any:
    options: Any = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])


def _timed(session: Any, feed: Any) -> float:
    begin = time.process_time()
    session.run(None, feed)
    return time.process_time() - begin


def _feed(session: Any, tokens: int, past: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    feed = {}
    for value in session.get_inputs():
        if value.name.startswith("past"):
            shape = (1, TINY.groups, past, TINY.size)
            feed[value.name] = rng.standard_normal(shape).astype(np.float32)
            continue
        numbers = {
            "input_ids": np.arange(tokens)[None] + 7,
            "attention_mask": np.ones((1, past + tokens)),
            "position_ids": past + np.arange(tokens)[None],
        }[value.name]
        feed[value.name] = numbers.astype(value.type[len("tensor(") : -1])
    return feed


def _llama(tensors: Mapping[str, np.ndarray]) -> Any:
    """The weights of transformers' Llama in our tree."""

    def weight(path: Any, of: Any) -> np.ndarray:
        keys = [key for part in path if (key := str(getattr(part, "key", "")))]
        name = ".".join(keys).replace(".kernel", ".weight").replace(".embedding", ".weight")
        tensor = tensors[name if name.startswith("lm_head") else f"model.{name}"]
        return tensor.T.copy() if "kernel" in keys else tensor

    return jax.tree_util.tree_map_with_path(weight, decoder.filled(TINY, 0)[1])


def memory(folder: Path, torch: str | None, rounds: int) -> None:
    """The most memory beside the weights while 3 GB of bfloat16 are exported."""
    large = Config(vocabulary=32000, width=2048, layers=30, heads=16, groups=8, size=128,
                   inner=5632, dtype=ml_dtypes.bfloat16)  # fmt: skip
    types = nnx.state(nnx.eval_shape(lambda: decoder.Decoder(large, rngs=nnx.Rngs(0))))
    weights = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), types)
    for leaf in jax.tree.leaves(weights):
        leaf[...] = 0.5  # pages that are there
    ours(DEEP, decoder.filled(DEEP, 0)[1], folder / "first.onnx")  # what is loaded once
    with peak_of(anonymous_mib) as extra:
        ours(large, weights, folder / "large.onnx")
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(weights)) / 1e9
    word = "reached" if extra[0] <= 64 else "MISSED"
    print(f"export of {size:.1f} GB: {extra[0]:.0f} MiB beside the weights (goal 64): {word}")


GROUPS = {"export": export_time, "latency": latency, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=list(GROUPS))
    parser.add_argument("--torch", metavar="PYTHON", help="a Python that has torch and the others")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds (default 3)")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for group in args.only:
        with tempfile.TemporaryDirectory() as folder:
            GROUPS[group](Path(folder), args.torch, args.rounds)


if __name__ == "__main__":
    main()
