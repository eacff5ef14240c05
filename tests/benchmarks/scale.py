"""The cost of planning for many ranks and tensors, with the exponents of its growth.

    python -m tests.benchmarks.scale                        # tables, some minutes
    python -m tests.benchmarks.scale --ranks 4096 --tensors 1000 --steps open plan preview

The source is cut by a mesh of a x b ranks, the target by one of b x a. All rank files are links to
one, so that 4,096 of 1,000 tensors take the room of one; what is read is the same. Each
measurement is a process of its own: seconds of CPU, which other work on the machine changes least,
and MiB of memory that are held at its end. A step of planning takes those before it along:

- open: the files are opened, their headers read and compared with the strategy.
- plan: each file of the target has its size, and nothing stands against writing it.
- records: the content of each of these files is listed, one file after the other.
- preview: ``plan_transform``.
- merge, reshard, unify, load: the work itself, from and to local files.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from timing import anonymous_mib

STEPS = ("open", "plan", "records", "preview", "merge", "reshard", "unify", "load")
#: Tensors differ in one of so many lengths.
SHAPES = 8


def meshes(ranks: int) -> tuple[tuple[int, int], tuple[int, int]]:
    a = 1 << (int(math.log2(ranks)) + 1) // 2
    return (a, ranks // a), (ranks // a, a)


#: The axes that split the dimensions of a tensor, in the source and in the target.
KINDS = (
    (((1,), (0,)), ((1,), (0,))),
    (((1, 0), ()), ((0, 1), ())),
    (((1,), ()), ((1,), (0,))),
    (((),), ((),)),
)


def make(folder: Path, ranks: int, tensors: int) -> None:
    """Make the source's files and both strategies."""
    import msckpt_jax as ms
    from msckpt_jax.parallel import strategy

    matrices, layouts = meshes(ranks), ({}, {})
    tree = {}
    for number in range(tensors):
        name = f"model.layers.{number}.weight"
        axes_of = KINDS[number % len(KINDS)]
        shape = (4096, 64 * (1 + number % SHAPES))[: len(axes_of[0])]
        for side, axes in enumerate(axes_of):
            layouts[side][name] = ms.Layout(matrices[side], axes)
        pairs = zip(shape, layouts[0][name].splits, strict=True)
        tree[name] = np.zeros([n // parts for n, parts in pairs], np.float32)
    first = folder / "from" / "rank_0" / "net0.ckpt"
    first.parent.mkdir(parents=True)
    ms.save_checkpoint(tree, first)
    for rank in range(1, ranks):
        path = folder / "from" / f"rank_{rank}" / f"net{rank}.ckpt"
        path.parent.mkdir()
        os.link(first, path)
    for side, name in enumerate(("from", "to")):
        strategy.write(folder / f"{name}.ckpt", layouts[side])


def measure(step: str, folder: Path) -> None:
    """Print the seconds of CPU and the MiB of memory that a step takes."""
    import msckpt_jax as ms
    from msckpt_jax.parallel import merged, placement, preview, rank_records, transform, unified

    del transform, unified, preview
    source, old, new = folder / "from", folder / "from.ckpt", folder / "to.ckpt"
    out = folder / f"out-{step}"

    def opened() -> merged.MergedCheckpoint:
        return merged.open_ranks(source, old)

    def planned() -> list:
        return list(rank_records.plan_files(opened(), placement.plan_of(new), out, "net", ".ckpt"))

    def listed() -> None:
        for file in planned():
            assert file.records

    def loaded() -> None:
        ms.load_checkpoint(source, strategy=old, sharding=lambda name, shape: None)

    work: dict[str, Callable[[], object]] = {
        "open": opened,
        "plan": planned,
        "records": listed,
        "preview": lambda: ms.plan_transform(source, old, new),
        "merge": lambda: ms.transform_checkpoints(source, out, "net", old, None),
        "reshard": lambda: ms.transform_checkpoints(source, out, "net", old, new),
        "unify": lambda: ms.unified_safetensors(source, old, out),
        "load": loaded,
    }
    before = anonymous_mib()
    start = time.process_time()
    result = work[step]()
    print(json.dumps([time.process_time() - start, anonymous_mib() - before]))
    del result


def run(step: str, folder: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "tests.benchmarks.scale", "--measure", step, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, mib = json.loads(done.stdout.splitlines()[-1])
    return seconds, mib


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The power of the size with which the time grows, fitted to all of them."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def show(
    title: str, cases: Sequence[tuple[int, int]], along: int, steps: Sequence[str], room: str | None
) -> None:
    """Print the times of all steps, and the exponents of their growth along ranks or tensors."""
    print(f"\n{title}\n" + "".join(f"{c:>15}" for c in ("ranks", "tensors", *steps)))
    times: dict[str, list[float]] = {step: [] for step in steps}
    for ranks, tensors in cases:
        with tempfile.TemporaryDirectory(dir=room) as name:
            make(Path(name), ranks, tensors)
            results = [run(step, Path(name)) for step in steps]
        for step, (seconds, _) in zip(steps, results, strict=True):
            times[step].append(seconds)
        cells = [f"{seconds:.2f} s {mib:4.0f} M" for seconds, mib in results]
        print("".join(f"{c:>15}" for c in (f"{ranks:,}", f"{tensors:,}", *cells)), flush=True)
    if len(cases) > 1:
        powers = [f"{exponent([c[along] for c in cases], times[step]):.2f}" for step in steps]
        print("".join(f"{c:>15}" for c in ("exponent", "", *powers)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ranks", type=int, nargs="*", default=[256, 1024, 4096])
    parser.add_argument("--tensors", type=int, nargs="*", default=[100, 300, 1000])
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=STEPS)
    parser.add_argument("--folder", help="the folder for files (default: that of the system)")
    parser.add_argument("--measure", nargs=2)
    args = parser.parse_args()
    if args.measure:
        measure(args.measure[0], Path(args.measure[1]))
        return
    cases = [(ranks, args.tensors[0]) for ranks in args.ranks]
    show("More ranks:", cases, 0, args.steps, args.folder)
    if len(args.tensors) > 1:
        cases = [(args.ranks[0], tensors) for tensors in args.tensors]
        show("More tensors:", cases, 1, args.steps, args.folder)


if __name__ == "__main__":
    main()
