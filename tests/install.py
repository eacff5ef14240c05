"""Try clean installations of this package: ``python tests/install.py``, no part of the tests.

For each Python, each JAX and each extra by itself, and for none, an environment is made, and the
package is installed and used: a CheckPoint, three model files, the command line, and the line that
says what to install where an extra is missing. ``lowest`` has the lower bounds of pyproject.toml.
``--neighbours`` resolves the package beside others instead, without installing them.

It takes minutes and a package index; with ``uv`` on the PATH fewer of them.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LOWEST = "lowest"
JAXES = (LOWEST, "0.10", "0.11", "0.12")
EXTRAS = ("", "data", "demo", "onnxruntime", "jax2onnx", "s3")
#: The neighbours, and the oldest Python that they take.
NEIGHBOURS = {"": (3, 11), "google-tunix": (3, 11), "maxtext": (3, 12)}


def interpreter(version: str) -> str | None:
    """The Python of a version on this machine; with uv it may have to be fetched."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    own = sorted(str(path) for path in pyenv.glob(f"{version}*/bin/python"))
    for python in (shutil.which(f"python{version}"), *own):
        if (
            python
            and subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0
        ):
            return python
    return version if shutil.which("uv") else None


class Environment:
    """A virtual environment: with uv, or with venv and pip."""

    def __init__(self, folder: Path, python: str):
        self.uv = shutil.which("uv")
        self.python = folder / "bin" / "python"
        make = [self.uv, "venv", "-q", "--python", python] if self.uv else [python, "-m", "venv"]
        _run([*make, folder])

    def install(self, *arguments: str | Path) -> str:
        pip = [self.python, "-m", "pip", "install"]
        if self.uv:
            pip = [self.uv, "pip", "install", "--python", self.python]
        return _run([*pip, *arguments])


def _run(command: list[Any], folder: Path | None = None) -> str:
    """The output of a command.

    Raises:
        RuntimeError: it fails; the message is the last of its lines that say why.
    """
    done = subprocess.run(
        list(map(str, command)), cwd=folder, check=False, text=True, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise RuntimeError("\n".join(lines[-12:]))
    return done.stdout


def constraints(jax: str, extra: str) -> str:
    """The lines of a file of constraints for one JAX, or for the lowest version of everything.

    With an extra that is everything that the extra needs, and JAX: it may need more of the rest.
    """
    if jax != LOWEST:
        return f"jax=={jax}.*\n"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    needs, extras = project["dependencies"], project["optional-dependencies"]
    if extra:
        needs = [need for need in needs if need.startswith("jax>")] + extras[extra]
    bounds = (re.match(r"([\w-]+)>=([\w.]+)[^;]*(.*)", re.sub(r"\[.*?\]", "", n)) for n in needs)
    return "".join(f"{bound[1]}=={bound[2]}{bound[3]}\n" for bound in bounds if bound)


def tried(python: str, jax: str, extra: str) -> str:
    """The verdict on one environment: the versions that were used, or why there are none."""
    with tempfile.TemporaryDirectory(prefix="msckpt-install-") as name:
        folder = Path(name)
        (folder / "constraints").write_text(constraints(jax, extra), "utf-8")
        what = f"{ROOT}[{extra}]" if extra else str(ROOT)
        try:
            environment = Environment(folder / "venv", python)
            environment.install("-q", "-c", folder / "constraints", what)
        except RuntimeError as error:
            return f"not installed: {_reason(str(error))}"
        try:
            told = _run([environment.python, "-P", __file__, "--smoke", extra], folder)
        except RuntimeError as error:
            return f"FAILS: {error}"
        return told.strip().splitlines()[-1]


def _reason(text: str) -> str:
    return " ".join(text.split())[:300]


def smoke(extra: str) -> None:
    """Use the package that is installed, in the current folder."""
    import importlib.metadata

    import jax.numpy as jnp
    import numpy as np

    import msckpt_jax as ms
    from msckpt_jax import cli, transforms
    from msckpt_jax.checkpoint import paths

    weights = {"dense": {"kernel": jnp.ones((3, 2)), "bias": jnp.zeros(2)}}
    ms.save_checkpoint(weights, "a.ckpt", convention="mindspore")
    loaded = ms.load_checkpoint("a.ckpt", like=weights, convention="mindspore")
    assert np.array_equal(loaded["dense"]["kernel"], np.ones((3, 2)))

    def net(weights: Any, x: Any) -> Any:
        return jnp.tanh(x @ weights["dense"]["kernel"] + weights["dense"]["bias"])

    def export(**how: Any) -> Any:
        return ms.export((net, weights), np.ones((4, 3), np.float32), file_name="net", **how)

    def enlarge() -> Any:
        return transforms.Resize((4, 4))(np.zeros((8, 8, 3), np.uint8))

    def command(*arguments: str) -> None:
        told = io.StringIO()
        with contextlib.redirect_stderr(told):
            status = cli.main(arguments)
        if status == 2:  # a refusal
            raise ValueError(told.getvalue())

    export(file_format="MINDIR", verify=True)  # without MindSpore, in JAX
    export(file_format="AIR", verify=True)
    export(file_format="ONNX", engine="native")
    with contextlib.suppress(SystemExit):
        cli.main(["--help"])
    runs = extra in ("onnxruntime", "jax2onnx")
    _check(runs, lambda: export(file_format="ONNX", verify=True), "onnxruntime")
    _check(extra == "jax2onnx", lambda: export(file_format="ONNX", engine="jax2onnx"), "jax2onnx")
    _check(extra == "data", enlarge, "data")
    _check(extra == "demo", lambda: command("demo", "--steps", "5"), "demo")
    _check(extra == "completion", lambda: command("completion", "bash"), "completion")
    _check(extra == "s3", lambda: paths.path_of("s3://bucket/key"), "s3")
    names = ("jax", "flax", "orbax-checkpoint", "onnx", "numpy", "protobuf")
    print("fine:", *(f"{name} {importlib.metadata.version(name)}" for name in names))


def _check(there: bool, use: Callable[[], Any], extra: str) -> None:
    """Use what an extra is for; where it is missing, the error says what to install."""
    if there:
        use()
        return
    told = "nothing"
    try:
        use()
    except Exception as error:  # of several classes
        told = str(error)
    assert re.search(rf"pip install \S*{extra}", told), f"{extra} is missing, told is: {told}"


def neighbours(python: str) -> Iterator[str]:
    """Yield what is installed for this package beside each neighbour."""
    version = tuple(
        map(int, _run([python, "-c", "import sys; print(*sys.version_info[:2])"]).split())
    )
    with tempfile.TemporaryDirectory() as name:
        environment = Environment(Path(name) / "venv", python)
        for package, oldest in NEIGHBOURS.items():
            if version < oldest:
                yield f"{package}: needs Python {'.'.join(map(str, oldest))}"
                continue
            out = environment.install("--dry-run", ROOT, *filter(None, [package]))
            yield f"{package or 'alone'}:\n{out}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", nargs="+", default=PYTHONS, help=f"by default {PYTHONS}")
    parser.add_argument("--jax", nargs="+", default=JAXES, help=f"by default {JAXES}")
    parser.add_argument("--extra", nargs="+", default=EXTRAS, help=f"by default {EXTRAS}")
    parser.add_argument("--neighbours", action="store_true", help="resolve beside other packages")
    parser.add_argument("--smoke", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.smoke is not None:
        smoke(args.smoke)
        return
    failed = False
    for version in args.python:
        python = interpreter(version)
        if python is None:
            print(f"Python {version}: none here", flush=True)
            continue
        if args.neighbours:
            print(*neighbours(python), sep="\n", flush=True)
            continue
        for jax in args.jax:
            for extra in args.extra:
                verdict = tried(python, jax, extra)
                failed |= verdict.startswith("FAILS")
                print(f"Python {version}, JAX {jax}, {extra or 'no extra'}: {verdict}", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
