"""States of optax under the names of MindSpore's optimizers.

Both keep the same numbers: a run saved by one goes on in the other. What is here was compared
step by step with MindSpore 2.10 (tests/conventions/test_optimizers.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from msckpt_jax.conventions import mapping
from msckpt_jax.conventions.mapping import Derived, Target
from msckpt_jax.conventions.modules import Layers, Located, Segments
from msckpt_jax.errors import CheckpointError


class Optimizer(NamedTuple):
    """A class of MindSpore.

    Attributes:
        states: optax state and field to the prefix of the parameters' names.
        step: the count of steps, and its shape.
        powers: parameters that are a hyperparameter to the power of that count, and their shape.
        zeros: prefixes of parameters that optax has no counterpart of.
        negated: a state that has the other sign in MindSpore.
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
    """Those of adam, and of its variant with one more."""
    fields = {"mu": first, "nu": second, "nu_max": largest}
    return _adam(first, second) | {("ScaleByAmsgradState", f): p for f, p in fields.items()}


_TRACE = ("TraceState", "trace")
_POWERS = {"beta1_power": "b1", "beta2_power": "b2"}
#: MindSpore's class to what it keeps: of ``mindspore.nn``, ``AdamW`` of ``experimental.optim``.
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
        negated=_TRACE,  # optax adds up what is added to the weights, MindSpore what is taken
    ),
    "Adagrad": Optimizer({("ScaleByRssState", "sum_of_squares"): "accum."}),
    "Adadelta": Optimizer(
        {
            ("ScaleByAdaDeltaState", "e_g"): "accum.",
            ("ScaleByAdaDeltaState", "e_x"): "accum_update.",
        }
    ),
}

#: The optimizer that a state belongs to when nobody says: the first that is there.
_USUAL = {
    "ScaleByRmsState": "RMSProp",
    "ScaleByRStdDevState": "RMSProp",
    "ScaleByAdamState": "Adam",
    "ScaleByAmsgradState": "Adam",
    "ScaleByRssState": "Adagrad",
    "ScaleByAdaDeltaState": "Adadelta",
    "TraceState": "Momentum",
}

#: Defaults of optax and of MindSpore.
BETAS = {"b1": 0.9, "b2": 0.999}


class States(NamedTuple):
    """The leaves of optimizers.

    Attributes:
        moments: leaves that belong to a parameter, with the path of that parameter, by the
            prefix of their names.
        counts: counts of steps, the first is that of the optimizer.
        rest: all others.
        optimizer: MindSpore's class.
        root: where the network lies in the tree; its names begin after that.
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
    slots = [one for one in located if one.slot is not None]
    present = {one.slot.state for one in slots if one.slot}
    usual = [kind for state, kind in _USUAL.items() if state in present]
    optimizer = asked or (usual[0] if usual else "Momentum")
    table = OPTIMIZERS[optimizer].states
    own_states = {state for state, _ in table}
    if usual and not own_states & present:
        raise CheckpointError(
            f"MindSpore's {optimizer} goes on with {' or '.join(sorted(own_states))}, which the "
            f"tree does not hold; optimizer={usual[0]!r} fits what it holds",
            found=", ".join(sorted(present & _USUAL.keys())),
        )
    network = [one.segments for one in located if one.slot is None]
    moments: dict[str, list[Located]] = {}
    counts, rest, roots = [], [], set()
    for one in slots:
        assert one.slot is not None
        state, field = one.slot.state, one.slot.field
        if (state, field) in table:
            root = _root(one.slot.rest, network)
            roots.add(root)
            own = (root or ()) + one.slot.rest
            moments.setdefault(table[state, field], []).append(one._replace(segments=own))
        elif field in ("count", "step"):
            counts.append(one)
        else:
            rest.append(one)
    counts.sort(key=lambda one: one.slot is not None and one.slot.state not in own_states)
    only = roots.pop() if len(roots) == 1 else None
    return States(moments, counts, rest, optimizer, only or ())


def _root(rest: Segments, network: Sequence[Segments]) -> Segments | None:
    """Where the parameter that a moment belongs to lies; None when that is not clear."""
    count = len(rest)
    found = {path[:-count] for path in network if count and path[-count:] == rest}
    return found.pop() if len(found) == 1 else None


def targets(
    states: States, found: Layers, base: str, hyperparameters: Mapping[str, float]
) -> list[Target]:
    """The parameters of MindSpore's optimizer."""
    how = OPTIMIZERS[states.optimizer]
    label = f"optimizer {states.optimizer}"
    out: list[Target] = []
    for prefix, moments in states.moments.items():
        made = mapping.build(mapping.claims(moments, found), found, base, states.root)
        if how.negated and how.states[how.negated] == prefix:
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
    return out + [_other(one, label) for one in states.rest]


def _other(one: Located, label: str) -> Target:
    own = mapping.kept(one.leaf, ".".join(one.segments))
    if one.slot and (one.slot.field, one.slot.rest) == ("hyperparams", ("learning_rate",)):
        return own._replace(name="learning_rate", layer=label)
    return own


def _counted(
    states: States, how: Optimizer, label: str, values: Mapping[str, float]
) -> list[Target]:
    """MindSpore's one count of steps, and what follows from it; optax has several."""
    first, (step, shape) = states.counts[0].leaf.name, how.step
    out = [Target(step, shape, (), label, derived=Derived(first))]
    injected = {
        one.slot.rest[0]: one.leaf.name
        for one in states.rest
        if one.slot and one.slot.field == "hyperparams" and one.slot.rest
    }
    for name, beta in how.powers.items() if states.moments else ():
        base = injected.get(beta, values[beta])
        out.append(Target(name, how.power_shape, (), label, derived=Derived(first, base)))
    for one in states.counts:
        own = mapping.kept(one.leaf, ".".join(one.segments))
        out.append(own._replace(layer=label, copy_of=step))
    return out
