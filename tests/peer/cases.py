"""The export cases that jax2onnx ships in its wheel, as functions and arguments.

Each plugin and example of jax2onnx has metadata with test cases: a callable, shapes or values of
its inputs, keyword arguments. Only those with static shapes are taken, in float32 and, where
jax2onnx tests both, in float64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np


class Case(Protocol):
    """A function and its arguments; ``wide`` says that 64-bit types are on."""

    @property
    def name(self) -> str: ...
    @property
    def wide(self) -> bool: ...
    def function(self) -> Callable[..., Any]: ...
    def arguments(self) -> list[np.ndarray]: ...
    def determined(
        self, inputs: Sequence[np.ndarray], results: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]: ...


class PeerCase(NamedTuple):
    """``name`` is unique; ``wide`` says that 64-bit types are on."""

    name: str
    wide: bool
    data: dict[str, Any]

    def function(self) -> Callable[..., Any]:
        """The callable, keyword arguments applied; call it with 64-bit types as ``wide`` says."""
        found = self.data["callable"]
        if getattr(found, "__jax2onnx_factory__", False):
            found = found.with_dtype(jnp.float64 if self.wide else jnp.float32)
        if hasattr(found, "instantiate"):
            found = found.instantiate()
        keywords = dict(self.data.get("input_params") or {})
        return lambda *inputs: found(*inputs, **keywords)

    def arguments(self) -> list[np.ndarray]:
        """The values of the case, or random numbers of its shapes."""
        values = self.data.get("input_values")
        if values is not None:
            return [self._narrowed(np.asarray(value)) for value in values]
        digest = hashlib.sha256(self.name.encode()).hexdigest()
        rng = np.random.default_rng(int(digest[:16], 16))
        shapes = self.data.get("input_shapes") or []
        dtypes = self.data.get("input_dtypes") or [None] * len(shapes)
        return [self._random(rng, *pair) for pair in zip(shapes, dtypes, strict=False)]

    def determined(
        self, inputs: Sequence[np.ndarray], results: Sequence[np.ndarray]
    ) -> Sequence[np.ndarray]:
        """All of the results."""
        return results

    def _narrowed(self, value: np.ndarray) -> np.ndarray:
        if self.wide and jnp.issubdtype(value.dtype, jnp.floating):
            return value.astype(np.float64)
        return value if self.wide else value.astype(_NARROW.get(value.dtype.name, value.dtype))

    def _random(self, rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
        if hasattr(shape, "shape"):
            shape, dtype = shape.shape, dtype or shape.dtype
        shape = tuple(shape) if isinstance(shape, list | tuple) else (shape,)
        kind = np.dtype(dtype or np.float32)
        if self.wide and jnp.issubdtype(kind, jnp.floating):
            kind = np.dtype(np.float64)
        if jnp.issubdtype(kind, jnp.integer):
            return np.asarray(rng.integers(0, 5, shape)).astype(kind)
        if kind == np.bool_:
            return np.asarray(rng.random(shape) > 0.5)
        scale = 0.25 if jnp.issubdtype(kind, jnp.floating) else 1.0
        return np.asarray(rng.standard_normal(shape) * scale).astype(kind)


_NARROW = {"float64": np.float32, "int64": np.int32}


def peer_cases() -> Iterator[PeerCase]:
    """All static cases of the installed jax2onnx."""
    seen: dict[str, int] = {}
    for metadata in _metadata():
        prefix = f"{metadata.get('context', 'default')}::{metadata.get('component', 'default')}"
        for data in metadata.get("testcases", []):
            data = _static(data)
            if data is None:
                continue
            for wide in _widths(data):
                suffix = "" if not wide or _only_wide(data) else "_f64"
                name = f"{prefix}::{data['testcase']}{suffix}"
                seen[name] = seen.get(name, 0) + 1
                yield PeerCase(name if seen[name] == 1 else f"{name}#{seen[name]}", wide, data)


def _metadata() -> Iterator[dict[str, Any]]:
    from jax2onnx.plugins.plugin_system import (
        EXAMPLE_REGISTRY,
        PLUGIN_REGISTRY,
        import_all_plugins,
    )

    import_all_plugins()
    for plugin in PLUGIN_REGISTRY.values():
        found = getattr(plugin, "metadata", None)
        if found:
            yield found
    yield from EXAMPLE_REGISTRY.values()


def _static(data: dict[str, Any]) -> dict[str, Any] | None:
    """The case with a batch of 3 in the place of ``B``; None where sizes stay dynamic."""
    shapes = data.get("input_shapes")
    if data.get("callable") is None or data.get("run_only_dynamic"):
        return None
    if not shapes:
        return data
    plain = [
        tuple(3 if d == "B" else d for d in s) if isinstance(s, list | tuple) else s for s in shapes
    ]
    if any(isinstance(d, str) for s in plain if isinstance(s, tuple) for d in s):
        return None
    return {**data, "input_shapes": plain}


def _only_wide(data: dict[str, Any]) -> bool:
    named = str(data["testcase"]).endswith("_f64")
    return bool(data.get("run_only_f64_variant") or data.get("enable_double_precision") or named)


def _widths(data: dict[str, Any]) -> list[bool]:
    if _only_wide(data):
        return [True]
    narrow = data.get("run_only_f32_variant") or data.get("disable_float64_test")
    return [False] if narrow else [False, True]


def widened(case: Case) -> Any:
    """The context in which the case is built, traced and run."""
    return jax.enable_x64(case.wide)
