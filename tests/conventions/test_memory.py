"""No array is transposed, and no shards are gathered, as a whole: measured in another process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_MEASURE = """
import os, sys, threading, time
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
import jax, numpy as np
import msckpt_jax as ms

def anonymous():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024

def peak(work):
    before, found, run = anonymous(), [0.0], [True]
    def watch():
        while run[0]:
            found[0] = max(found[0], anonymous())
            time.sleep(0.001)
    thread = threading.Thread(target=watch)
    thread.start()
    work()
    run[0] = False
    thread.join()
    return found[0] - before

mesh = jax.make_mesh((2, 4), ("x", "y"))
path, spec, shape = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3])
name = {2: "Dense_0", 3: "Stack", 4: "Conv_0"}[len(shape)]
how = ms.Convention(stacked={"Stack": 1} if name == "Stack" else {}, layers={"Stack": "Dense"})
sharding = jax.NamedSharding(mesh, spec)

def tree(shape):
    whole = np.ones(shape, np.float32)
    return {"params": {name: {
        "kernel": jax.block_until_ready(jax.device_put(whole, sharding))}}}

def save(tree):
    ms.save_checkpoint(tree, path, durable=False, convention=how)

def load(tree):
    like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
    jax.block_until_ready(ms.load_checkpoint(path, like=like, convention=how))

small = tree(tuple(min(n, 64) for n in shape))
save(small), load(small)
large = tree(shape)  # 256 MiB
print(peak(lambda: save(large)), peak(lambda: load(large)))
"""


@pytest.mark.parametrize(
    ("spec", "shape"),
    [
        ("jax.P('x', 'y')", "(8192, 8192)"),
        ("jax.P(None, None, 'y')", "(4, 4, 2048, 2048)"),
        ("jax.P('x', None, 'y')", "(2048, 16, 2048)"),  # 16 layers, on axis 1
    ],
)
def test_no_more_than_windows(tmp_path: Path, spec: str, shape: str) -> None:
    out = subprocess.run(
        [sys.executable, "-c", _MEASURE, tmp_path / "a.ckpt", spec, shape],
        check=True,
        capture_output=True,
        text=True,
    )
    saved, loaded = map(float, out.stdout.split())
    assert saved < 64
    assert loaded < 256 + 64  # the arrays themselves
