"""Write ``msckpt_jax/_protos`` anew from the schemas in this folder: ``python protos/generate.py``.

protoc's own Python modules run on its protobuf version and the next; MindSpore wants the newest
one and other packages older ones. So what is generated is the descriptor and the type stub, and
``msckpt_jax._protos`` makes the classes. Needs grpcio-tools, which brings protoc.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

HERE = Path(__file__).resolve().parent
SCHEMAS = ("mind_ir", "ge_ir")

_MODULE = '''\
"""Generated from protos/{name}.proto by protos/generate.py: do not edit."""

from msckpt_jax._protos import messages

globals().update(messages(
{descriptor}
))
'''


def main(out: Path) -> None:
    for name in SCHEMAS:
        with tempfile.TemporaryDirectory() as folder:
            descriptor, stub = _compile(name, Path(folder))
        (out / f"{name}_pb2.py").write_text(_MODULE.format(name=name, descriptor=descriptor))
        (out / f"{name}_pb2.pyi").write_text(stub)


def _compile(name: str, folder: Path) -> tuple[str, str]:
    """The source text of the descriptor's bytes, and the type stub."""
    arguments = [
        "protoc",
        f"-Imsckpt_jax/_protos={HERE}",  # the name under which the file is registered
        f"--descriptor_set_out={folder}/descriptor",
        f"--pyi_out={folder}",
        f"msckpt_jax/_protos/{name}.proto",
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit(f"protoc refused {name}.proto")
    data = (folder / "descriptor").read_bytes()
    lines = (f"    {data[at : at + 24]!r}" for at in range(0, len(data), 24))
    return "\n".join(lines), next(folder.rglob("*.pyi")).read_text()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parent / "msckpt_jax" / "_protos")
