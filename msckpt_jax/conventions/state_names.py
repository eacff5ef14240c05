"""Names in a file that belong to the state of an optimizer, MindSpore's or optax's."""

from __future__ import annotations

from msckpt_jax.conventions.optimizers import OPTIMIZERS

#: Gradient accumulators are not expected in a file, and not missed.
ACCUMULATORS = "accu_grads"

_KEPT = {prefix for row in OPTIMIZERS.values() for prefix in (*row.states.values(), *row.zeros)}
#: The beginnings of MindSpore's names; further ones belong to optimizers without a state in optax.
_PREFIXES = (
    *sorted(_KEPT), "linear.", "mu_", "eta_", "ax_", "prev.", "step_size.", ACCUMULATORS,
    "opt_state.", "optimizer.",
)  # fmt: skip
_NAMES = {
    "beta1_power", "beta2_power", "global_step", "learning_rate", "momentum", "state_step",
    "scale_sense", "current_iterator_step", "last_overflow_iterator_step", "step",
}  # fmt: skip
#: The components that tell it anywhere in a name.
_COMPONENTS = (
    {prefix.removesuffix(".") for prefix in _KEPT}
    | {field for row in OPTIMIZERS.values() for _, field in row.states}
    | {"opt_state"}
)


def is_state(name: str) -> bool:
    """Tell whether an entry belongs to an optimizer's state, by MindSpore's and optax's names."""
    parts = name.split(".")[:-1]
    return name.startswith(_PREFIXES) or name in _NAMES or not _COMPONENTS.isdisjoint(parts)
