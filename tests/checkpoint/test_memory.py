"""Host memory stays bounded by a window, measured in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import msckpt_jax as ms

_MEASURE = """
import os, sys, threading, time
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"
import jax, numpy as np
import msckpt_jax as ms

def anonymous():
    text = open("/proc/self/status").read()
    return int(text.split("RssAnon:")[1].split()[0]) / 1024

mesh = jax.make_mesh((2, 4), ("x", "y"))
spec = eval(sys.argv[2])
whole = np.ones((8192, 16384), np.float32)  # 512 MiB
array = jax.block_until_ready(jax.device_put(whole, jax.NamedSharding(mesh, spec)))
kwargs = eval(sys.argv[3])
small = jax.device_put(np.ones((64, 64)), jax.NamedSharding(mesh, spec))
ms.save_checkpoint({"w": small}, sys.argv[1], **kwargs)
before, peak, run = anonymous(), [0.0], [True]

def watch():
    while run[0]:
        peak[0] = max(peak[0], anonymous())
        time.sleep(0.001)

thread = threading.Thread(target=watch)
thread.start()
ms.save_checkpoint({"w": array, "n": whole.T}, sys.argv[1], durable=False, **kwargs)
run[0] = False
thread.join()
print(peak[0] - before)
"""


def test_files_past_4_gib(tmp_path: Path) -> None:
    """Offsets and lengths beyond 32 bits; a broadcast array takes no memory."""
    path = tmp_path / "large.ckpt"
    row = np.arange(1 << 20, dtype=np.float32)
    large = np.broadcast_to(row, (1100, 1 << 20))  # 4.3 GiB
    ms.save_checkpoint({"a": large, "b": row[:5]}, path, durable=False)
    assert path.stat().st_size > large.nbytes > 2**32
    file = ms.open_checkpoint(path)
    assert file.entries["a"].slices == 9
    for part in (slice(0, 2), slice(511, 514), slice(1098, 1100)):
        assert np.array_equal(file.get_slice("a")[part, 7::99_991], large[part, 7::99_991])
    assert file["b"].tolist() == [0, 1, 2, 3, 4]
    path.unlink()


@pytest.mark.parametrize(
    ("spec", "kwargs"),
    [
        ("jax.P('x', 'y')", "{}"),
        ("jax.P(None, 'y')", "{'crc_check': True}"),
        ("jax.P(('x', 'y'))", "{'enc_key': bytes(16)}"),
    ],
)
def test_saving_holds_no_more_than_a_window(tmp_path: Path, spec: str, kwargs: str) -> None:
    out = subprocess.run(
        [sys.executable, "-c", _MEASURE, tmp_path / "a.ckpt", spec, kwargs],
        check=True,
        capture_output=True,
        text=True,
    )
    assert float(out.stdout) < 64
