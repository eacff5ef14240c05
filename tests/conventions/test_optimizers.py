"""A run begun in one framework goes on in the other: same gradients, same weights and moments."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import msckpt_jax as ms
from msckpt_jax.conventions.convention import Convention

NET = "nn.SequentialCell(nn.Conv2d(2, 3, 2, has_bias=True), nn.Dense(3, 4))"


class Case(NamedTuple):
    name: str
    optax: optax.GradientTransformation
    mindspore: str
    convention: Convention = Convention()
    #: Of MindSpore's optimizer, what is not in our file and keeps the value that it was made with.
    missing: tuple[str, ...] = ("learning_rate",)
    #: False: MindSpore has no kernel for CPUs, or computes something else; only names are compared.
    runs: bool = True


_STEP = ("learning_rate", "global_step")  # optax counts the steps of adam only
_PLAIN = (*_STEP, "momentum")
CASES = [
    Case(
        "momentum",
        optax.sgd(0.1, momentum=0.9),
        "lambda p: nn.Momentum(p, 0.1, 0.9)",
        missing=_PLAIN,
    ),
    Case(
        "nesterov",
        optax.sgd(0.1, momentum=0.9, nesterov=True),
        # the kernel of nn.Momentum for CPUs ignores use_nesterov
        "lambda p: nn.SGD(p, 0.1, momentum=0.9, nesterov=True)",
        Convention(optimizer="SGD"),
        missing=_PLAIN,
    ),
    Case(
        "SGD class",
        optax.sgd(0.1, momentum=0.9),
        "lambda p: nn.SGD(p, 0.1, momentum=0.9)",
        Convention(optimizer="SGD"),
        missing=_PLAIN,
    ),
    Case("adam", optax.adam(0.01), "lambda p: nn.Adam(p, 0.01)"),
    Case(
        "adam of other betas",
        optax.adam(0.01, 0.8, 0.95),
        "lambda p: nn.Adam(p, 0.01, 0.8, 0.95)",
        Convention(hyperparameters={"b1": 0.8, "b2": 0.95}),
    ),
    Case(
        "adam with injected hyperparameters",
        optax.inject_hyperparams(optax.adam)(0.01, 0.8, 0.95),
        "lambda p: nn.Adam(p, 0.5, 0.8, 0.95)",
        missing=(),
    ),
    *[
        Case(
            f"adam as {name}",
            optax.adam(0.01),
            f"lambda p: nn.{name}(p, 0.01)",
            Convention(optimizer=name),
        )
        for name in ("LazyAdam", "AdamOffload")
    ],
    Case(
        "amsgrad",  # MindSpore corrects the largest second moment, optax each before
        optax.amsgrad(0.01),
        "lambda p: nn.Adam(p, 0.01, use_amsgrad=True)",
        runs=False,
    ),
    Case(
        "amsgrad of experimental.optim",
        optax.amsgrad(0.01),
        "lambda p: optim.Adam(p, 0.01, amsgrad=True)",
        Convention(optimizer="AdamW"),
        missing=(),
        runs=False,
    ),
    Case(
        "adam with L2",
        optax.chain(optax.add_decayed_weights(0.1), optax.adam(0.01)),
        "lambda p: nn.Adam(p, 0.01, weight_decay=0.1)",
    ),
    Case(
        "adamw",
        optax.adamw(0.01, weight_decay=0.1),
        "lambda p: optim.AdamW(p, 0.01, weight_decay=0.1)",
        Convention(optimizer="AdamW"),
        missing=(),
    ),
    Case(
        "lamb",
        optax.lamb(0.01, eps=1e-6),
        "lambda p: nn.Lamb(p, 0.01, eps=1e-6)",
        Convention(optimizer="Lamb"),
        runs=False,
    ),
    Case(
        "adamw, as a class that corrects no bias",
        optax.adamw(0.01),
        "lambda p: nn.AdamWeightDecay(p, 0.01)",
        Convention(optimizer="AdamWeightDecay"),
        runs=False,
    ),
    Case(
        "adamax",
        optax.adamax(0.01),
        "lambda p: nn.AdaMax(p, 0.01)",
        Convention(optimizer="AdaMax"),
    ),
    Case(
        "rmsprop",
        optax.rmsprop(0.01, decay=0.9),
        "lambda p: nn.RMSProp(p, 0.01, 0.9, epsilon=1e-8)",
        missing=_STEP,
    ),
    Case(
        "rmsprop with momentum",
        optax.rmsprop(0.01, decay=0.9, momentum=0.5),
        "lambda p: nn.RMSProp(p, 0.01, 0.9, 0.5, epsilon=1e-8)",
        missing=_STEP,
    ),
    Case(
        "centered rmsprop",
        optax.rmsprop(0.01, decay=0.9, momentum=0.5, centered=True),
        "lambda p: nn.RMSProp(p, 0.01, 0.9, 0.5, epsilon=1e-8, centered=True)",
        missing=_STEP,
    ),
    Case("adagrad", optax.adagrad(0.1, 0.1), "lambda p: nn.Adagrad(p, 0.1, 0.1)", missing=_STEP),
    Case(
        "adadelta",
        optax.adadelta(0.1, 0.9, 1e-6),
        "lambda p: nn.Adadelta(p, 0.1, 0.9, 1e-6)",
        missing=_STEP,
    ),
]


class Run:
    """A training run in optax, with gradients that are known beforehand."""

    def __init__(self, optimizer: optax.GradientTransformation):
        rngs = nnx.Rngs(0)
        net = nnx.Sequential(nnx.Conv(2, 3, (2, 2), rngs=rngs), nnx.Linear(3, 4, rngs=rngs))
        self.net = nnx.Dict(layer=net)
        self.optimizer = optimizer
        self.params = nnx.state(self.net, nnx.Param)
        self.state = optimizer.init(self.params)

    def tree(self) -> dict[str, Any]:
        nnx.update(self.net, self.params)
        return {"net": self.net, "optimizer": self.state}

    def gradients(self, step: int) -> Any:
        def draw(path: Any, x: jax.Array) -> jax.Array:
            seed = sum(jax.tree_util.keystr(path).encode()) * 10 + step
            return jax.random.normal(jax.random.key(seed), x.shape, x.dtype)

        return jax.tree_util.tree_map_with_path(draw, self.params)

    def steps(self, first: int, last: int) -> None:
        for step in range(first, last):
            updates, self.state = self.optimizer.update(
                self.gradients(step), self.state, self.params
            )
            self.params = optax.apply_updates(self.params, updates)

    def save_gradients(self, folder: Path) -> list[str]:
        out = []
        for step in range(6):
            nnx.update(self.net, self.gradients(step))
            out.append(str(folder / f"gradients{step}.ckpt"))
            ms.save_checkpoint(self.net, out[-1], convention="mindspore")
        return out

    def load(self, tree: dict[str, Any]) -> None:
        self.params, self.state = nnx.state(tree["net"], nnx.Param), tree["optimizer"]


def close(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_goes_on(mindspore: Any, tmp_path: Path, case: Case) -> None:
    run = Run(case.optax)
    gradients = run.save_gradients(tmp_path)
    run = Run(case.optax)

    def in_mindspore(load: str, save: str, steps: slice) -> Any:
        return mindspore.call(
            "run_optimizer", make=NET, optimizer=case.mindspore, gradients=gradients[steps],
            load=str(tmp_path / load), save=str(tmp_path / save),
        )  # fmt: skip

    def read(file: str, into: Run) -> dict[str, Any]:
        params = ms.load_checkpoint(tmp_path / file)
        tree, missing, _ = ms.load_param_into_tree(into.tree(), params, convention=case.convention)
        assert [name for name in missing if not name.startswith("optimizer.hyperparams")] == []
        return tree

    # three steps in optax, three in MindSpore: as six in optax
    ms.save_checkpoint(run.tree(), tmp_path / "begin.ckpt", convention=case.convention)
    run.steps(0, 3)
    ms.save_checkpoint(run.tree(), tmp_path / "optax.ckpt", convention=case.convention)
    found = in_mindspore("optax.ckpt", "both.ckpt", slice(3, 6) if case.runs else slice(0))
    assert {name.split(".")[0] for name in found["missing"]} == set(case.missing)
    assert [n for n in found["unused"] if not n.startswith("optimizer.hyperparams")] == []
    if not case.runs:
        return
    run.steps(3, 6)
    close(read("both.ckpt", Run(case.optax)), run.tree())

    # three steps in MindSpore, three in optax: the same
    in_mindspore("begin.ckpt", "mindspore.ckpt", slice(0, 3))
    other = Run(case.optax)
    other.load(read("mindspore.ckpt", other))
    other.steps(3, 6)
    close(other.tree(), run.tree())


def test_counts_come_back(tmp_path: Path) -> None:
    """MindSpore has one count of steps: others are written where they differ."""
    path = tmp_path / "a.ckpt"
    net = nnx.Linear(3, 2, rngs=nnx.Rngs(0))
    tx = optax.adam(optax.constant_schedule(0.1))
    optimizer = nnx.Optimizer(net, tx, wrt=nnx.Param)
    optimizer.step[...] = optimizer.opt_state[0].count[...] = 5
    optimizer.opt_state[1].count[...] = 7
    tree = {"net": net, "optimizer": optimizer}
    ms.save_checkpoint(tree, path, convention="mindspore")
    found = ms.load_checkpoint(path)
    assert found["global_step"].tolist() == [5]
    assert np.isclose(found["beta1_power"], 0.9**5)
    assert [name for name in found if name.startswith("optimizer")] == [
        "optimizer.opt_state.1.count"
    ]
    other = {"net": net, "optimizer": nnx.Optimizer(net, tx, wrt=nnx.Param)}
    back = ms.load_checkpoint(path, like=other, convention="mindspore")["optimizer"]
    counts = back.step, back.opt_state[0].count, back.opt_state[1].count
    assert [(int(c[...]), c.dtype.name) for c in counts] == [
        (5, "uint32"), (5, "int32"), (7, "int32"),
    ]  # fmt: skip

    how = Convention(hyperparameters={"b1": 0.8})
    with pytest.raises(ms.CheckpointError, match=r"beta1_power.*no power of 0\.8"):
        ms.load_checkpoint(path, like=other, convention=how)


def test_two_optimizers_and_masks(tmp_path: Path) -> None:
    rngs = nnx.Rngs(0)
    nets = {"a": nnx.Linear(3, 2, rngs=rngs), "b": nnx.Linear(3, 2, rngs=rngs)}
    params = {name: nnx.state(net, nnx.Param) for name, net in nets.items()}
    states = {
        "of_a": optax.sgd(0.1, momentum=0.9).init(params["a"]),
        "of_b": optax.masked(
            optax.sgd(0.1, momentum=0.9), lambda p: jax.tree.map(lambda x: x.ndim > 1, p)
        ).init(params["b"]),
    }
    # both networks have the same paths: their moments cannot be told apart
    with pytest.raises(ms.CheckpointError, match="get the same name"):
        Convention().targets({**nets, **states})
    one = {"b": nets["b"], "state": states["of_b"]}
    assert [t.name for t in Convention().targets(one)] == ["bias", "weight", "moments.weight"]


def test_refused() -> None:
    with pytest.raises(ValueError, match=r"'FTRL' is no optimizer that goes .* known: Adam"):
        Convention(optimizer="FTRL")
    tree = {"w": np.ones(3), "state": optax.adam(0.1).init({"w": np.ones(3)})}
    with pytest.raises(ms.CheckpointError, match=r"Adadelta goes .*='Adam' fits .*ScaleByAdamSt"):
        Convention(optimizer="Adadelta").targets(tree)
    assert Convention(optimizer="Adadelta").targets({"w": np.ones(3)})
    with pytest.raises(ValueError, match="b1 and b2, not lr"):
        Convention(hyperparameters={"lr": 0.1})
