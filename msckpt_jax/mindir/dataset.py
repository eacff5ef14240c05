"""A Grain data set as an export's input: its transforms, and what the network gets.

Grain has no public way to ask a data set for its transforms. So one element is drawn, while the
transforms say what they map to what: only those that led to this element count, and any other
code between or after them is found out.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from msckpt_jax.errors import PreprocessorError
from msckpt_jax.mindir import preprocessor
from msckpt_jax.transforms import MapNode
from msckpt_jax.transforms.base import Step, observers

_COLUMN = "image"  # the only one that MindSpore's export looks at


class Described(NamedTuple):
    """What an export needs of a data set.

    ``preprocessor`` is the section of the file, a ``PreprocessorProto``; ``input`` has the shape
    (batch included) and dtype of the column "image".
    """

    preprocessor: Any
    input: jax.ShapeDtypeStruct


class _Seen(NamedTuple):
    step: Step
    checksum: int  # of the resulting image, before anything else got hold of it


def describe(dataset: Any) -> Described:
    """The preprocessing and the network's input that ``dataset`` stands for.

    One element (a batch) is drawn. Its transforms have to be ``msckpt_jax.transforms``, alone or
    in a ``Pipeline``; sources, shuffling, repetition and batching leave no trace, as in MindSpore.

    Args:
        dataset: a Grain data set of images, or of dicts with the column "image".

    Raises:
        PreprocessorError: no element, no column "image", no transform of ours, or other code
            between or after them.
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
        if element is not None:  # filtered out
            return element
    raise PreprocessorError(f"the data set has no element: {repr(dataset)[:200]}")


def _elements(dataset: Any) -> Iterator[Any]:
    if hasattr(dataset, "__getitem__"):  # one at a time, where iterators read ahead
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
            f"the data set has no column {_COLUMN!r}, which is the network's input, only "
            f"{sorted(element)}"
        )
    return _image_or_none(element)


def _image_or_none(element: Any) -> Any:
    return element.get(_COLUMN) if isinstance(element, dict) else element


def _checksum(element: Any) -> int:
    return zlib.crc32(np.asarray(_image_or_none(element)).tobytes())


def _nodes(seen: list[_Seen], image: np.ndarray) -> list[MapNode]:
    """The maps that led to ``image``, or to the first of the batch that it is, in order."""
    chain = _chain(seen, image)
    if not chain:
        raise PreprocessorError(
            "the data set's element is not what the last transform of msckpt_jax.transforms made: "
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
    """The longest run of steps, each mapping the one before's result, that ends in ``image``."""
    last: dict[int, list[_Seen]] = {}  # by the identity of results, which ``seen`` keeps alive
    chains = []
    for one in seen:
        chain = [*last.get(id(one.step.source), []), one]
        last[id(one.step.result)] = chain
        chains.append(chain)
    while True:
        found = [c for c in chains if _equal(_image_or_none(c[-1].step.result), image)]
        if found or not image.ndim:
            return max(found, key=len, default=[])
        if not len(image):
            return []
        image = image[0]


def _equal(result: Any, image: np.ndarray) -> bool:
    result = np.asarray(result)
    same = result.dtype == image.dtype and result.shape == image.shape
    return same and result.tobytes() == image.tobytes()
