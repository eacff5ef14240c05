"""``python -m tests.runtimes.parsers CLONE``: write the operators that MindSpore Lite parses.

CLONE is a clone of github.com/mindspore-ai/mindspore-lite, of which the newest commit is read.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import onnx

from msckpt_jax.onnx import lite

FOLDER = "mindspore-lite/tools/converter/parser/onnx"
DOCUMENT = Path(lite.__file__).with_name("lite.tsv")
_REGISTERED = re.compile(r'OnnxNodeRegistrar\s+\w+\(\s*"([^"]+)"')


def _git(clone: str, *command: str) -> str:
    done = subprocess.run(["git", "-C", clone, *command], capture_output=True, check=True)
    return done.stdout.decode()


def table(clone: str) -> str:
    """The text of the table: the commit, and the operators of ONNX that have a parser."""
    commit, day = _git(clone, "log", "-1", "--format=%H %cs", "HEAD").split()
    names = _git(clone, "ls-tree", "--name-only", "HEAD", f"{FOLDER}/").split()
    texts = (_git(clone, "show", f"HEAD:{name}") for name in names if name.endswith(".cc"))
    registered = {name for text in texts for name in _REGISTERED.findall(text)}
    known = {schema.name for schema in onnx.defs.get_all_schemas() if not schema.domain}
    head = f"# mindspore-ai/mindspore-lite {commit} of {day}, {FOLDER}"
    return "\n".join([head, *sorted(registered & known), ""])


if __name__ == "__main__":
    DOCUMENT.write_text(table(sys.argv[1]), encoding="utf-8")
