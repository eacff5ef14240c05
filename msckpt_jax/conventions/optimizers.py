"""States of optax under the names of MindSpore's optimizers.

Both keep the same numbers: a run that was saved by either goes on in the other. The table was
compared step by step with MindSpore 2.10 (tests/conventions/test_optimizers.py).
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from msckpt_jax.conventions import mapping
from msckpt_jax.conventions.mapping import Derived, Target
from msckpt_jax.conventions.modules import Located, Segments
from msckpt_jax.errors import CheckpointError


class Optimizer(NamedTuple):
    """An optimizer of MindSpore.

    Attributes:
        states: optax state and field to the prefix of the parameters' names.
        step: the name and shape of the count of steps.
        powers: parameters that are a hyperparameter to the power of that count.
        power_shape: the shape of these.
        zeros: prefixes of parameters without a counterpart in optax.
        negated: a state that has the opposite sign in MindSpore.
    """

    states: Mapping[tuple[str, str], str]
    step: tuple[str, tuple[int, ...]] = ("global_step", (1,))
    powers: Mapping[str, str] = {}
    power_shape: tuple[int, ...] = ()
    zeros: tuple[str, ...] = ()
    negated: tuple[str, str] | None = None


def _adam(first: str, second: str) -> dict[tuple[str, str], str]:
    return {("ScaleByAdamState", "mu"): first, ("ScaleByAdamState", "nu"): second}


def _amsgrad(first: str, second: str, largest: str) -> dict[tuple[str, str], str]:
    """The states of adam, and of its variant with one more field."""
    fields = {"mu": first, "nu": second, "nu_max": largest}
    return _adam(first, second) | {("ScaleByAmsgradState", f): p for f, p in fields.items()}


_TRACE = ("TraceState", "trace")
_POWERS = {"beta1_power": "b1", "beta2_power": "b2"}
#: MindSpore's classes: of ``mindspore.nn``, but ``AdamW`` of ``experimental.optim``.
OPTIMIZERS = {
    "Adam": Optimizer(_amsgrad("moment1.", "moment2.", "vhat."), powers=_POWERS),
    "LazyAdam": Optimizer(_adam("moment1.", "moment2."), powers=_POWERS, power_shape=(1,)),
    "AdamOffload": Optimizer(_adam("moment1.", "moment2."), powers=_POWERS, power_shape=(1,)),
    "AdamW": Optimizer(
        _amsgrad("exp_avg.", "exp_avg_sq.", "max_exp_avg_sq."),
        step=("state_step", ()),
        zeros=("max_exp_avg_sq.",),
    ),
    "AdamWeightDecay": Optimizer(_adam("adam_m.", "adam_v.")),
    "Lamb": Optimizer(_adam("lamb_m.", "lamb_v.")),
    "AdaMax": Optimizer(
        _adam("moment1.", "moment2."), powers={"beta1_power": "b1"}, power_shape=(1,)
    ),
    "Momentum": Optimizer({_TRACE: "moments."}),
    "SGD": Optimizer({_TRACE: "accum."}, zeros=("stat.",)),
    "RMSProp": Optimizer(
        {
            ("ScaleByRmsState", "nu"): "mean_square.",
            ("ScaleByRStdDevState", "nu"): "mean_square.",
            ("ScaleByRStdDevState", "mu"): "mean_grad.",
            _TRACE: "moment.",
        },
        zeros=("moment.",),
        negated=_TRACE,  # optax adds its sum to the weights, MindSpore subtracts it
    ),
    "Adagrad": Optimizer({("ScaleByRssState", "sum_of_squares"): "accum."}),
    "Adadelta": Optimizer(
        {
            ("ScaleByAdaDeltaState", "e_g"): "accum.",
            ("ScaleByAdaDeltaState", "e_x"): "accum_update.",
        }
    ),
}

#: The optimizer of a state when the convention names none; the first state that is there decides.
_USUAL = {
    "ScaleByRmsState": "RMSProp",
    "ScaleByRStdDevState": "RMSProp",
    "ScaleByAdamState": "Adam",
    "ScaleByAmsgradState": "Adam",
    "ScaleByRssState": "Adagrad",
    "ScaleByAdaDeltaState": "Adadelta",
    "TraceState": "Momentum",
}

#: The power of a gradient that a moment is, by its field; sums of steps, whose size does not depend
#: on that of gradients, are none, and the sum that is negated is one of these.
_POWER = {
    "mu": 1, "trace": 1, "nu": 2, "nu_max": 2, "sum_of_squares": 2, "e_g": 2, "e_x": 0,
}  # fmt: skip

#: The defaults of optax and of MindSpore.
BETAS = {"b1": 0.9, "b2": 0.999}


def check(optimizer: str | None, hyperparameters: Mapping[str, float]) -> None:
    """Refuse an optimizer that is not known, and hyperparameters that none has.

    Raises:
        ValueError: with what is known.
        TypeError: hyperparameters are no dict of numbers.
    """
    if optimizer is not None and not (isinstance(optimizer, str) and optimizer in OPTIMIZERS):
        raise ValueError(
            f"{optimizer!r} is no optimizer that goes on with a state of optax; known: "
            f"{', '.join(OPTIMIZERS)}. Without optimizer=, states that none of them keeps have "
            "their own names"
        )
    if not isinstance(hyperparameters, Mapping):
        kind = type(hyperparameters).__name__
        raise TypeError(f"hyperparameters must be a dict of numbers, not {kind}")
    if unknown := hyperparameters.keys() - BETAS.keys():
        raise ValueError(f"hyperparameters may be b1 and b2, not {', '.join(map(str, unknown))}")
    for name, value in hyperparameters.items():
        if isinstance(value, bool) or not isinstance(value, numbers.Real) or not 0 <= value < 1:
            raise ValueError(f"hyperparameters: {name} must be a number from 0 to 1, not {value!r}")


class States(NamedTuple):
    """The leaves of optimizers.

    Attributes:
        moments: the leaves that belong to a parameter, with the path of that parameter, by the
            prefix of their names.
        counts: the counts of steps, the optimizer's count first.
        rest: all other leaves.
        optimizer: the name of MindSpore's class.
        root: the place of the network in the tree; its names begin after that.
    """

    moments: dict[str, list[Located]]
    counts: list[Located]
    rest: list[Located]
    optimizer: str
    root: Segments


def find(located: Sequence[Located], asked: str | None) -> States:
    """Sort the leaves of optimizers among ``located``.

    Raises:
        CheckpointError: MindSpore's class that was asked for keeps none of these states.
    """
    slots = [entry for entry in located if entry.slot is not None]
    present = {entry.slot.state for entry in slots if entry.slot}
    usual = [kind for state, kind in _USUAL.items() if state in present]
    optimizer = asked or (usual[0] if usual else "Momentum")
    table = OPTIMIZERS[optimizer].states
    own_states = {state for state, _ in table}
    if usual and not own_states & present:
        raise CheckpointError(
            f"MindSpore's {optimizer} goes on with {' or '.join(sorted(own_states))}, which the "
            f"tree does not hold; optimizer={usual[0]!r} fits the tree",
            found=", ".join(sorted(present & _USUAL.keys())),
        )
    network = [entry.segments for entry in located if entry.slot is None]
    moments: dict[str, list[Located]] = {}
    counts, rest, roots = [], [], set()
    for entry in slots:
        assert entry.slot is not None
        state, field = entry.slot.state, entry.slot.field
        if (state, field) in table:
            root = _root(entry.slot.rest, network)
            roots.add(root)
            own = (root or ()) + entry.slot.rest
            moments.setdefault(table[state, field], []).append(entry._replace(segments=own))
        elif field in ("count", "step"):
            counts.append(entry)
        else:
            rest.append(entry)
    counts.sort(key=lambda entry: entry.slot is not None and entry.slot.state not in own_states)
    only = roots.pop() if len(roots) == 1 else None
    return States(moments, counts, rest, optimizer, only or ())


def _root(rest: Segments, network: Sequence[Segments]) -> Segments | None:
    """The place of the network whose parameter a moment belongs to; None when it is not clear."""
    count = len(rest)
    roots = {path[:-count] for path in network if count and path[-count:] == rest}
    return roots.pop() if len(roots) == 1 else None


def targets(
    states: States, build: Callable[[Sequence[Located], int], list[Target]],
    hyperparameters: Mapping[str, float],
) -> list[Target]:  # fmt: skip
    """The parameters of MindSpore's optimizer.

    ``build`` makes those of moments, as of the weights that they are of. It is told the power of a
    gradient that they are.
    """
    how = OPTIMIZERS[states.optimizer]
    label = f"optimizer {states.optimizer}"
    out: list[Target] = []
    for prefix, moments in states.moments.items():
        negated = bool(how.negated) and how.states[how.negated] == prefix
        slot = moments[0].slot
        assert slot is not None
        made = build(moments, 0 if negated else _POWER[slot.field])
        if negated:
            made = [mapping.negated(target) for target in made]
        out += [t._replace(name=prefix + t.name, layer=label) for t in made]
    first = next(iter(states.moments), "")
    for zeros in how.zeros:
        if zeros not in states.moments:
            out += [
                Target(
                    zeros + t.name.removeprefix(first), t.shape, (), label, np.zeros(t.shape, "f4")
                )
                for t in out
                if t.name.startswith(first)
            ]
    if states.counts:
        out += _counted(states, how, label, BETAS | dict(hyperparameters))
    return out + [_kept(entry, label) for entry in states.rest]


def _kept(entry: Located, label: str) -> Target:
    own = mapping.kept(entry.leaf, ".".join(entry.segments))
    if entry.slot and (entry.slot.field, entry.slot.rest) == ("hyperparams", ("learning_rate",)):
        return own._replace(name="learning_rate", layer=label)
    return own


def _counted(
    states: States, how: Optimizer, label: str, values: Mapping[str, float]
) -> list[Target]:
    """MindSpore's only count of steps, the parameters that follow from it, and optax's counts."""
    first, (step, shape) = states.counts[0].leaf.name, how.step
    out = [Target(step, shape, (), label, derived=Derived(first))]
    injected = {
        entry.slot.rest[0]: entry.leaf.name
        for entry in states.rest
        if entry.slot and entry.slot.field == "hyperparams" and entry.slot.rest
    }
    for name, beta in how.powers.items() if states.moments else ():
        base = injected.get(beta, values[beta])
        out.append(Target(name, how.power_shape, (), label, derived=Derived(first, base)))
    for entry in states.counts:
        own = mapping.kept(entry.leaf, ".".join(entry.segments))
        out.append(own._replace(layer=label, copy_of=step))
    return out
