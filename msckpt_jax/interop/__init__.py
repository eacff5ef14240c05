"""The connections to the libraries of others.

Example:
    >>> ms.interop.orbax.MindSporeSave.__name__
    'MindSporeSave'
"""

from typing import TYPE_CHECKING

from msckpt_jax import lazy

if TYPE_CHECKING:
    from msckpt_jax.interop import orbax as orbax

__all__ = ["orbax"]
__getattr__ = lazy.modules(__name__, __all__)
