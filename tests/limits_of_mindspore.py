"""``python limits_of_mindspore.py FOLDER``: what MindSpore does that docs/limits.md tells of."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mindspore
from mindspore import Tensor, ops


def told(folder: Path) -> dict[str, Any]:
    """What it gives for bfloat16 of ``a.ckpt``, for NaN, a subnormal number and equal ones."""
    w: Any = mindspore.load_checkpoint(str(folder / "a.ckpt"))["w"]
    try:
        array = str(w.asnumpy())
    except Exception as error:
        array = f"{type(error).__name__}: {error}"
    nan, one, low = (Tensor([x], mindspore.float32) for x in (float("nan"), 1.0, -100.0))
    return {
        "asnumpy": array,
        "bits": bytes(w.data.get_bytes()).hex(),
        "as float32": w.astype(mindspore.float32).asnumpy().tolist(),
        "maximum": float(ops.Maximum()(nan, one).asnumpy()[0]),
        "exponential": float(ops.Exp()(low).asnumpy()[0]),
        "places": ops.TopK()(ops.zeros(24000, mindspore.float32), 300)[1].asnumpy().tolist(),
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    (folder / "told").write_text(json.dumps(told(folder)))
