"""Eight virtual CPU devices for every test, and the meshes and trees that tests share."""

from __future__ import annotations

import os

_DEVICES = "--xla_force_host_platform_device_count=8"
if _DEVICES not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_DEVICES}"

from collections.abc import Iterator
from typing import Any, ClassVar

import hypothesis
import jax
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from tests.stores import clouds

hypothesis.settings.register_profile("default", deadline=None, max_examples=60)
hypothesis.settings.register_profile("ci", deadline=None, max_examples=60, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each folder to one of the processes that share the tests: its fixtures are made once."""
    from xdist.scheduler import LoadScopeScheduling

    class Folders(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0].rpartition("/")[0]

    return Folders(config, log)


@pytest.fixture(scope="session")
def mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((2, 4), ("x", "y"))


@pytest.fixture(scope="session")
def other_mesh() -> jax.sharding.Mesh:
    return jax.make_mesh((4, 2), ("a", "b"))


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> Iterator[None]:
    """Thousands of small compiled functions would add up to gigabytes."""
    yield
    jax.clear_caches()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


class Store(MemoryFileSystem):
    """A file system in memory in the place of Google's, which composes objects."""

    protocol = ("gs", "gcs")
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]

    def merge(self, path: str, paths: list[str]) -> None:
        assert len(paths) <= 32
        self.pipe_file(path, b"".join(map(self.cat_file, paths)))


@pytest.fixture
def object_store() -> dict[str, Any]:
    """What ``gs://`` paths hold: contents by name. One class for all, for etils keeps the first."""
    clouds.speak_google_by(Store)
    Store.store.clear()
    return Store.store
