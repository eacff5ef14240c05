"""jax2onnx, in a process of its own.

jax2onnx replaces hundreds of functions of jnp, jax.nn and Flax while it traces, and leaves some
replaced.

``python -m msckpt_jax.onnx.fallback_worker FOLDER`` reads the request that ``fallback`` has put
into the folder, and puts the model or the error beside it.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import jax
from jax.extend import core

from msckpt_jax.onnx import jaxprs


def main(folder: Path) -> None:
    request = pickle.loads((folder / "request").read_bytes())
    jax.config.update("jax_enable_x64", request["wide"])
    jaxpr = jaxprs.loads(request["jaxpr"])
    from jax2onnx import to_onnx

    try:
        model = to_onnx(
            core.jaxpr_as_fun(jaxpr),
            [jax.ShapeDtypeStruct(aval.shape, aval.dtype) for aval in jaxpr.in_avals],
            opset=request["opset"],
            input_names=request["names"],
            enable_double_precision=request["wide"],
        )
    except Exception as error:  # any error is a reason to refuse
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        (folder / "error").write_text(reason, encoding="utf-8")
        return
    (folder / "model").write_bytes(model.SerializeToString())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
