"""Read a Grain data set as an export's input: its transforms, and the input of the network.

Grain has no public way to ask a data set for its transforms. So one element is drawn while the
transforms report each source and result: those that led to this element count, and any other code
between or after them is found out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax._protos import mind_ir_pb2
from msckpt_jax.errors import PreprocessorError
from msckpt_jax.mindir import preprocessor
from msckpt_jax.transforms import MapNode
from msckpt_jax.transforms.base import Step, observers

_COLUMN = "image"  # MindSpore's export looks at no other column


class Described(NamedTuple):
    """The description of a data set that an export needs.

    ``preprocessor`` is the section of the file; ``input`` has the shape (batch included) and
    dtype of the column "image".
    """

    preprocessor: mind_ir_pb2.PreprocessorProto
    input: jax.ShapeDtypeStruct


class _Seen(NamedTuple):
    step: Step
    checksum: int  # of the resulting image, before any other code got hold of it


def describe(dataset: Any) -> Described:
    """Describe the preprocessing and the network's input that ``dataset`` stands for.

    An element (a batch) is drawn. Its transforms have to be ``msckpt_jax.transforms``, alone or
    in a ``Pipeline``; sources, shuffling, repetition and batching leave no trace, as in MindSpore.

    Args:
        dataset: a Grain data set of images, or of dicts with the column "image".

    Raises:
        PreprocessorError: the data set has no element, no column "image", no transform of ours, or
            other code between or after these.
    """
    seen: list[_Seen] = []

    def see(step: Step) -> None:
        seen.append(_Seen(step, _checksum(step.result)))

    observers.append(see)
    try:
        element = _first(dataset)
    finally:
        observers.remove(see)
    image = np.asarray(_image(element))
    if not seen:
        raise PreprocessorError(
            "no transform of msckpt_jax.transforms ran in this process: map the data set with "
            "them, and export it without worker processes (worker_count=0, before mp_prefetch); "
            "without preprocessing, export with a jax.ShapeDtypeStruct"
        )
    section = preprocessor.section_of(_nodes(seen, image))
    return Described(section, jax.ShapeDtypeStruct(image.shape, image.dtype))


def _first(dataset: Any) -> Any:
    for element in _elements(dataset):
        if element is not None:  # None: filtered out
            return element
    raise PreprocessorError(f"the data set has no element: {repr(dataset)[:200]}")


def _elements(dataset: Any) -> Iterator[Any]:
    if hasattr(dataset, "__getitem__"):  # iterators would read ahead
        return (dataset[index] for index in range(len(dataset)))
    return iter(dataset)


def _image(element: Any) -> Any:
    if isinstance(element, tuple | list):
        raise PreprocessorError(
            f"the data set's elements are {type(element).__name__}s: make them dicts with the "
            f"column {_COLUMN!r}, or images alone"
        )
    if isinstance(element, dict) and _COLUMN not in element:
        raise PreprocessorError(
            f"the data set has no column {_COLUMN!r}, which is the network's input; it has "
            f"{sorted(element)}"
        )
    return _image_or_none(element)


def _image_or_none(element: Any) -> Any:
    return element.get(_COLUMN) if isinstance(element, dict) else element


def _checksum(element: Any) -> int:
    return zlib.crc32(np.asarray(_image_or_none(element)).tobytes())


def _nodes(seen: list[_Seen], image: np.ndarray) -> list[MapNode]:
    """The maps that led to ``image`` (or to its first element where it is a batch), in order."""
    chain = _chain(seen, image)
    if not chain:
        raise PreprocessorError(
            "the last transform of msckpt_jax.transforms did not make the data set's element: "
            "other code follows, which a MindIR cannot hold; apply it before, or in the network"
        )
    for step, checksum in chain:
        if _checksum(step.result) != checksum:
            raise PreprocessorError(f"other code changed the image in place after {step.mapped!r}")
    threads, mapped = {s.step.thread for s in chain}, [s.step.mapped for s in chain]
    for step, _ in seen:
        if step.thread in threads and not any(step.mapped is m for m in mapped):
            raise PreprocessorError(
                f"other code stands between {step.mapped!r} and {mapped[0]!r}, which a MindIR "
                "cannot hold; apply it before them, or in the network"
            )
    return [node for m in mapped for node in m.nodes]


def _chain(seen: list[_Seen], image: np.ndarray) -> list[_Seen]:
    """The longest run of steps that ends in ``image``, each mapping the result before."""
    last: dict[int, list[_Seen]] = {}  # by the identity of results, which ``seen`` keeps alive
    chains = []
    for entry in seen:
        chain = [*last.get(id(entry.step.source), []), entry]
        last[id(entry.step.result)] = chain
        chains.append(chain)
    while True:
        fitting = [c for c in chains if _equal(_image_or_none(c[-1].step.result), image)]
        if fitting or not image.ndim:
            return max(fitting, key=len, default=[])
        if not len(image):
            return []
        image = image[0]


def _equal(result: Any, image: np.ndarray) -> bool:
    result = np.asarray(result)
    same = result.dtype == image.dtype and result.shape == image.shape
    return same and result.tobytes() == image.tobytes()
