"""Work on many small objects without the garbage collector looking through all of them."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def paused() -> Iterator[None]:
    """Pause the cyclic garbage collector.

    20,000 tensors make some 100,000 objects, none of them in a cycle; the collections that they
    trigger walk through everything JAX keeps and take longer than the work itself.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
