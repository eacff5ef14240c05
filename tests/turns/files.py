"""The files that wrong turns are taken with, in a folder ``here``: made once, and never changed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import msckpt_jax as ms

KEY = b"0123456789abcdef"
W = np.arange(12, dtype=np.float32).reshape(3, 4)
CONFIG = {
    "model_type": "llama", "vocab_size": 22, "hidden_size": 20, "num_hidden_layers": 3,
    "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 4, "intermediate_size": 14,
    "torch_dtype": "float32",
}  # fmt: skip
USER = """\
import jax.numpy as jnp

def double(x): return x * 2
def wrong(x): return x @ jnp.ones((7, 7))
def branches(x): return x if x.sum() > 0 else -x
def needs(size): return lambda x: x * size
number = 3
"""


def make(folder: Path) -> None:
    """Write the files."""
    ms.save_checkpoint({"w": W, "b": W[0], "step": 3}, folder / "a.ckpt")
    ms.save_checkpoint({"w": W, "b": W[0]}, folder / "a.safetensors")
    ms.save_checkpoint({"w": W}, folder / "key.ckpt", enc_key=KEY)
    ms.save_checkpoint({"w": W, "v": W}, folder / "hub", format="safetensors", max_shard_size=64)
    for number in range(1, 3):
        ms.save_checkpoint({"w": W}, folder / f"net-1_{number}.ckpt")
    mesh = jax.make_mesh((2,), ("x",), devices=jax.devices()[:2])
    spread = jax.device_put(jnp.ones((4, 2)), jax.NamedSharding(mesh, jax.P("x")))
    ms.save_checkpoint({"w": spread}, folder / "part.ckpt", integrated_save=False)
    net = (lambda p, x, pair: x @ p["w"] + pair["k"]), {"w": W}
    inputs = jnp.ones((2, 3)), {"k": jnp.ones(4)}
    for kind in ("MINDIR", "AIR", "ONNX"):
        ms.export(net, *inputs, file_name=folder / "net", file_format=kind)
    ms.export(lambda x: x + 1, jnp.ones(3), file_name=folder / "key", enc_key=KEY)
    ms.convert_checkpoint(folder / "a.safetensors", folder / "orbax")
    _of_others(folder)


def _of_others(folder: Path) -> None:
    np.savez(folder / "a.npz", w=W)
    np.save(folder / "one.npy", W)
    (folder / "empty").mkdir()
    (folder / "empty.ckpt").write_bytes(b"")
    (folder / "text.txt").write_text("some words\n")
    (folder / "short.key").write_bytes(b"short")
    (folder / "wrong.key").write_bytes(bytes(16))
    (folder / "right.key").write_bytes(KEY)
    (folder / "a.ckpt.gz").write_bytes(gzip.compress((folder / "a.ckpt").read_bytes()))
    for name in ("a.ckpt", "a.safetensors", "net.mindir", "net.air", "net.onnx", "a.npz"):
        content = (folder / name).read_bytes()
        (folder / f"cut_{name}").write_bytes(content[: len(content) * 2 // 3])
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "bad.json").write_text("{")
    (folder / "user.py").write_text(USER)
    (folder / "broken.py").write_text("import no_such_module_at_all\n")
    (folder / "faulty.py").write_text("x = 1 / 0\n")
    (folder / "syntax.py").write_text("def f(:\n")
