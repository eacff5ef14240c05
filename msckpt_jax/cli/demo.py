"""``msckpt demo``: the main job, on real images."""

from __future__ import annotations

import argparse
import importlib.util
import os
import time

from msckpt_jax.checkpoint import formats, paths
from msckpt_jax.cli import common

DESCRIPTION = """\
Do the main job, on real images: train a small CNN on the digits that scikit-learn ships, with its
weights sharded over a mesh of devices; save them and the optimizer's state as ONE merged MindSpore
CheckPoint; load it back on another mesh and on one device; compare bit for bit. If MindSpore is
installed, it loads the file, too. The mesh has 8 virtual CPU devices, or real accelerators where
there are any. The demo takes less than a minute.
"""
EXAMPLES = """\
  msckpt demo
  msckpt demo --output /tmp/demo --steps 200

exit status: 0 all comparisons hold, 1 a comparison failed
"""
_VERDICTS = {True: "[green]equal[/]", False: "[red]DIFFERENT[/]", None: "[yellow]skipped[/]"}
_DEVICES = "--xla_force_host_platform_device_count"


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", metavar="DIR", default="msckpt_demo", help="folder (default: ./msckpt_demo)"
    )
    parser.add_argument(
        "--steps", type=common.count, default=150, help="training steps (default: 150)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed (default: 0)")


def run(args: argparse.Namespace) -> int:
    if importlib.util.find_spec("sklearn") is None:
        raise ValueError("the demo needs scikit-learn's images: pip install 'msckpt_jax[demo]'")
    if _DEVICES not in os.environ.get("XLA_FLAGS", ""):  # before JAX starts
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}=8"
    from msckpt_jax.cli import demo_model

    begin = time.perf_counter()
    folder = paths.path_of(args.output)
    paths.make(folder)
    result = demo_model.run(str(folder / f"digits{formats.CKPT.suffix}"), args.steps, args.seed)
    console = common.console()
    console.print(f"mesh {result.mesh} of {result.devices}", highlight=False)
    out = common.table("parameter", "shape", "sharding", ">bytes")
    for row in result.parameters:
        out.add_row(*map(common.plain, row))
    console.print(out)
    console.print(f"\naccuracy on held-out images: {result.accuracy:.1%}\n", highlight=False)
    checks = common.table("check", "result", "")
    for check in result.checks:
        checks.add_row(check.name, _VERDICTS[check.equal], common.plain(check.note))
    console.print(checks)
    seconds = time.perf_counter() - begin
    common.say("", f"{seconds:.0f} s. The file is {result.path}. In MindSpore:", "")
    common.say("  import mindspore", "", f"  params = mindspore.load_checkpoint({result.path!r})")
    if any(check.equal is False for check in result.checks):
        common.complain("error: a comparison failed")
        return 1
    return 0
