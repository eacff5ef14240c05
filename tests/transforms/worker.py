"""Real MindSpore, in a process of its own: ``worker.py transforms|pipelines FOLDER``.

Reads ``inputs.npz`` and ``jobs.json`` of the folder; writes answers, or models and batches, there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import mindspore.dataset as ds
import numpy as np
from mindspore.dataset import transforms, vision
from mindspore.dataset.vision import Border, ConvertMode, Inter

KNOWN = {**vars(transforms), **vars(vision)}
KNOWN |= {"np": np, "Border": Border, "ConvertMode": ConvertMode, "Inter": Inter}


def run_transforms(folder: Path, inputs: dict[str, np.ndarray], jobs: dict[str, Any]) -> None:
    constructed = {}
    for expression in jobs["constructions"]:
        try:
            eval(expression, KNOWN)
            constructed[expression] = None
        except (TypeError, ValueError) as error:
            constructed[expression] = type(error).__name__
    (folder / "constructed.json").write_text(json.dumps(constructed))
    answers = {}
    for index, (expression, name) in enumerate(jobs["runs"]):
        try:
            answers[str(index)] = eval(expression, KNOWN)(inputs[name])
        except (RuntimeError, TypeError):
            continue
    np.savez(folder / "answers.npz", **answers)


class Flat(ms.nn.Cell):
    def construct(self, x: Any) -> Any:
        return x.reshape((-1,))


def run_pipelines(folder: Path, inputs: dict[str, np.ndarray], jobs: dict[str, Any]) -> None:
    rows = [(inputs["photo"], np.array(i, np.int32)) for i in range(2)]
    for name, (maps, batch) in jobs.items():
        data = ds.GeneratorDataset(rows, ["image", "label"], shuffle=False)
        for column, expressions in maps:
            data = data.map([eval(e, KNOWN) for e in expressions], [column])
        data = data.batch(batch)
        ms.export(Flat(), data, file_name=f"{folder}/{name}", file_format="MINDIR")
        first = next(data.create_dict_iterator(num_epochs=1, output_numpy=True))
        np.savez(folder / f"{name}.npz", **first)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    with np.load(folder / "inputs.npz") as file:
        inputs = dict(file)
    jobs = json.loads((folder / "jobs.json").read_text())
    {"transforms": run_transforms, "pipelines": run_pipelines}[sys.argv[1]](folder, inputs, jobs)
