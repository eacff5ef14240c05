"""What a user should know before an AIR file goes to Ascend's compiler."""

from __future__ import annotations

from msckpt_jax._protos.ge_ir_pb2 import ModelDef
from msckpt_jax.air import check
from msckpt_jax.air.adapt import Adapted
from msckpt_jax.air.check import Finding

#: The names that ``atc --soc_version`` knows, of the smallest chip of each kind.
SOC_VERSIONS = {"Ascend910B": "Ascend910B1", "Ascend310P": "Ascend310P3", "Ascend910": "Ascend910A"}


def findings(model: Adapted, soc: str | None = None) -> list[Finding]:
    """What is wrong with graphs that are not written yet; with ``soc`` what the chip lacks."""
    whole = ModelDef(graph=model.graphs)
    for op in whole.graph[0].op:
        if op.name in model.weights and op.type == "Const":
            op.attr["length"].i = 0  # the bytes come when it is written
    return check.check(whole, soc=soc)


def atc_command(path: str, soc: str | None = None) -> str:
    """The command that compiles the file; without the precision mode float32 becomes float16."""
    output = path.removesuffix(".air")
    version = SOC_VERSIONS.get(soc or "", "<SOC_VERSION>")
    return (
        f"atc --framework=1 --model={path} --output={output} --soc_version={version} "
        "--precision_mode=must_keep_origin_dtype"
    )
