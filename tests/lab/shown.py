"""A notebook of all that the library shows; its cells are run in this process, not in a kernel."""

from __future__ import annotations

import ast
import contextlib
from pathlib import Path
from typing import Any

import nbformat

#: Cells that are run and not part of the notebook.
BEFORE = """
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import msckpt_jax as ms

Auto = jax.sharding.AxisType.Auto
mesh = jax.make_mesh((2, 4), ("data", "model"), (Auto, Auto))


class Net(nnx.Module):
    def __init__(self, rngs):
        self.hidden = nnx.Linear(64, 256, rngs=rngs)
        self.head = nnx.Linear(256, 8, rngs=rngs)

    def __call__(self, x):
        return self.head(nnx.gelu(self.hidden(x)))


def split(x):
    spec = jax.P("data", "model") if x.ndim == 2 else jax.P("model")
    return jax.device_put(x, jax.NamedSharding(mesh, spec))


net = Net(nnx.Rngs(0))
nnx.update(net, jax.tree.map(split, nnx.state(net)))
ms.save_checkpoint(net, "net.ckpt", append_dict={"epoch": 3})
ms.save_checkpoint(net, "ranks.ckpt", integrated_save=False)
like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
                    nnx.state(net))
"""

#: What is shown, by the name of its picture: a heading, and code whose last expression is shown.
CELLS = {
    "checkpoint": ("A CheckPoint", 'ms.open_checkpoint("net.ckpt")'),
    "sharding": (
        "Parameters on a mesh: which device holds what",
        'params = ms.load_checkpoint("net.ckpt")\n'
        'params["hidden.kernel"] = net.hidden.kernel[...]\n'
        'params["head.bias"] = net.head.bias[...]\n'
        "params",
    ),
    "ranks": (
        "The files of eight ranks, read as one CheckPoint",
        'ms.load_checkpoint(".", strategy="strategy.ckpt").file',
    ),
    "plan": (
        "What resharding will do, before it does",
        "both, columns = ms.Layout((4, 2), ((1,), (0,))), ms.Layout((4, 2), ((0,),))\n"
        'target = {"hidden.kernel": both, "head.kernel": both, "hidden.bias": columns,\n'
        '          "head.bias": columns}\n'
        'ms.plan_transform(".", "strategy.ckpt", target)',
    ),
    "explained": (
        "The names and layouts of a network in MindSpore",
        "ms.explain(net)",
    ),
    "graph": (
        "An exported network, in MindSpore's operators",
        'done = ms.export(net, jnp.ones((1, 64)), file_name="net")\ndone',
    ),
    "loop": (
        "A loaded model with a loop; its body unfolds",
        "def halve(x):\n"
        "    return jax.lax.while_loop(lambda c: c.sum() > 1, lambda c: c / 2, x)\n"
        "\n"
        'ms.load(ms.export(halve, jnp.ones(8), file_name="halve").file)',
    ),
    "air": (
        "An AIR file, with the command that compiles it",
        'ms.export(net, jnp.ones((1, 64)), file_name="net", file_format="AIR", soc="Ascend910B1")',
    ),
}  # fmt: skip

#: What has no place in the gallery, and is hard to show well.
HARD = {
    "long names": (
        "Long names",
        'names = [f"model.decoder.layers.{n}.self_attention.query_projection.kernel.moment_1.ema"\n'
        "         for n in range(3)]\n"
        'ms.save_checkpoint(dict.fromkeys(names, jnp.ones((3, 3))), "long.ckpt")\n'
        'ms.open_checkpoint("long.ckpt")',
    ),
}


def notebook(folder: Path, cells: dict[str, tuple[str, str]]) -> nbformat.NotebookNode:
    """The notebook of ``cells`` with their outputs; they are run in ``folder``."""
    names: dict[str, Any] = {"__name__": "__main__"}
    made = []
    with contextlib.chdir(folder):
        exec(compile(BEFORE, "net.py", "exec"), names)
        for number, (heading, code) in enumerate(cells.values(), 1):
            value = _last_value(code, names)
            data = {"text/html": value._repr_html_(), "text/plain": repr(value)}
            output = nbformat.v4.new_output("execute_result", data, execution_count=number)
            made.append(nbformat.v4.new_markdown_cell(f"## {heading}"))
            made.append(nbformat.v4.new_code_cell(code, outputs=[output], execution_count=number))
    python = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
              "language_info": {"name": "python"}}  # fmt: skip
    return nbformat.v4.new_notebook(cells=made, metadata=python)


def _last_value(code: str, names: dict[str, Any]) -> Any:
    """Run a cell; return the value of its last line."""
    body = ast.parse(code).body
    last = body.pop()
    assert isinstance(last, ast.Expr)
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
