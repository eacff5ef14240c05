"""``python docs/pictures.py``: the README's pictures, of what the library shows in a notebook.

Each is an object's own ``_repr_html_``, as a browser draws it; it needs the extra ``test`` and a
Chromium (``apt-get install chromium-headless-shell``).
"""

from __future__ import annotations

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import msckpt_jax as ms

FOLDER = Path(__file__).parent / "pictures"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
WIDTH = 760
UNFOLD = "document.querySelectorAll('details').forEach(d => { d.open = true })"
BODY = "<body style='margin:12px;display:inline-block;font:14px sans-serif;background:#fff'>"


#: A user's file: the graph tells its lines.
NET = """
import jax
from flax import nnx

class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(4, 8, rngs=rngs)
        self.head = nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(jax.nn.gelu(self.hidden(x)))
"""


def net() -> nnx.Module:
    names: dict[str, Any] = {"__name__": "net"}
    exec(compile(NET, "net.py", "exec"), names)
    return names["Net"](nnx.Rngs(0))


def checkpoint() -> Any:
    ms.save_checkpoint(net(), "net.ckpt", append_dict={"epoch": 3})
    return ms.open_checkpoint("net.ckpt")


def sharding() -> Any:
    mesh = jax.make_mesh((2, 4), ("data", "model"))
    specs = {
        "embedding": jax.P("model", None),
        "kernel": jax.P("data", "model"),
        "bias": jax.P("model"),
    }
    shapes = {"embedding": (4096, 1024), "kernel": (1024, 4096), "bias": (4096,)}
    tree = {
        name: jax.device_put(jnp.zeros(shape), jax.NamedSharding(mesh, specs[name]))
        for name, shape in shapes.items()
    }
    ms.save_checkpoint(tree, "dense.ckpt")
    params = ms.load_checkpoint("dense.ckpt")
    params.update(tree)
    return params


def graph() -> Any:
    return ms.export(net(), jnp.ones((1, 4)), file_name="net").graph


#: What makes each object, and whether its parts are unfolded.
PICTURES = {"checkpoint": (checkpoint, False), "sharding": (sharding, True), "graph": (graph, True)}


def draw() -> None:
    from playwright.sync_api import sync_playwright

    browser_path = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as playwright, tempfile.TemporaryDirectory() as work:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        tab = browser.new_page(
            viewport={"width": WIDTH, "height": 400}, device_scale_factor=2, color_scheme="light"
        )
        for name, (make, unfolded) in PICTURES.items():
            with contextlib.chdir(work):
                page = make()._repr_html_()
            tab.set_content(BODY + page)
            if unfolded:
                tab.evaluate(UNFOLD)
            tab.locator("body").screenshot(path=FOLDER / f"{name}.png")
        browser.close()


if __name__ == "__main__":
    draw()
