"""The gate of paths: what a user gives may lie in an object store."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from msckpt_jax.checkpoint import paths
from tests.pages import script

HOUSE = script("house")

#: Files that name local files, and why no path of a user gets there but through ``path_of``.
LOCAL = {
    "api/orbax_directory.py": "Orbax's temporary directories, where the target is local",
    "checkpoint/atomic.py": "local files are replaced there; it gets paths of the gate",
    "checkpoint/fetching.py": "copies in a temporary folder",
    "checkpoint/folder.py": "local folders are; it gets paths of the gate",
    "checkpoint/file.py": "many local files are mapped when they are read, after the gate",
    "checkpoint/formats/orbax.py": "Orbax's own paths are those of etils",
    "checkpoint/journal.py": "names within a local folder",
    "checkpoint/log.py": "the log of a save into a local folder",
    "checkpoint/mappings.py": "local files are mapped, after the gate",
    "checkpoint/naming.py": "the name in an error of the local system",
    "checkpoint/owner.py": "what Linux tells of processes",
    "checkpoint/paths.py": "the gate",
    "checkpoint/source.py": "the local half of reading, after the gate",
    "checkpoint/stage.py": "stages of saves into local folders",
    "checkpoint/writer.py": "the local half of writing, after the gate",
    "cli/__init__.py": "the null device",
    "lowering/problems.py": "the folder of this package",
    "mindir/runner.py": "a temporary folder, and its own script",
    "mindir/runner_worker.py": "runs in a process of its own",
    "onnx/check.py": "onnx's checker has local files; others are fetched first",
    "onnx/fallback.py": "a temporary folder",
    "onnx/fallback_worker.py": "runs in a process of its own",
    "onnx/runtime_worker.py": "runs in a process of its own",
    "onnx/runtimes.py": "a temporary folder, and its own script",
    "parallel/hosts.py": "the staged files of a local target",
    "parallel/rank_set.py": "sets in local folders; rank_store.py has those in stores",
    "parallel/ordered.py": "a local target, after the gate",
    "processes.py": "the folder of this package",
}
#: Functions that take the name of a local file, by the module that they are called on.
_OF_MODULES = {
    "os": {"stat", "lstat", "listdir", "scandir", "mkdir", "makedirs", "open", "rename", "replace",
           "remove", "unlink"},
    "os.path": {"exists", "isfile", "isdir", "samefile", "realpath", "abspath", "getsize"},
    "glob": {"glob", "iglob"},
    "shutil": {"copy", "copyfile", "copytree", "move", "rmtree"},
    "pathlib": {"Path"},
}  # fmt: skip


def local_names(source: str) -> Iterator[str]:
    """Yield the calls by which a program names a local file."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        function = node.func
        if isinstance(function, ast.Name) and function.id in ("Path", "open"):
            yield ast.unparse(node)
        elif isinstance(function, ast.Attribute):
            module = ast.unparse(function.value)
            if function.attr in _OF_MODULES.get(module, ()):
                yield ast.unparse(node)


def test_paths_of_users_go_through_the_gate() -> None:
    """A ``pathlib.Path("s3://bucket")`` would be a local folder called ``s3:``."""
    naming = {
        path.relative_to(HOUSE.ROOT).as_posix(): calls
        for path in HOUSE.modules().values()
        if (calls := [*local_names(path.read_text(encoding="utf-8"))])
    }
    told = "make a path by checkpoint.paths.path_of, or say in LOCAL why it is a local one"
    assert {file: calls for file, calls in naming.items() if file not in LOCAL} == {}, told
    assert {*LOCAL} - {*naming} == set()


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("from pathlib import Path\nPath(x).exists()", 1),
        ("import pathlib, os\npathlib.Path(x), os.path.isdir(x), os.stat(x), open(x)", 4),
        ("path.open('rb'), paths.path_of(x), os.path.splitext(x), os.fspath(x), PurePath(x)", 0),
    ],
)
def test_what_counts_as_a_local_name(source: str, count: int) -> None:
    assert len([*local_names(source)]) == count


@pytest.mark.parametrize("name", ["s3:/bucket/key", Path("s3://bucket/key"), Path("gs://b")])
def test_a_url_that_pathlib_has_flattened_is_refused(name: str | Path) -> None:
    with pytest.raises(ValueError, match="pathlib takes a slash from"):
        paths.path_of(name)


@pytest.mark.parametrize("name", ["a:/b", "run:/b", "./s3:/b", "/tmp/s3:/b"])
def test_a_colon_alone_makes_no_url(name: str) -> None:
    assert paths.is_local(paths.path_of(name))


@pytest.mark.parametrize("name", [b"a.ckpt", 3, None])
def test_what_is_no_path(name: object) -> None:
    with pytest.raises(TypeError, match="path must be"):
        paths.path_of(name)
