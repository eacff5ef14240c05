"""The states of optimizers go the way of the weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest

import msckpt_jax as ms
from tests.families.test_logits import DATA

CASES = [
    ("llama", "maxtext", "mindformers-concat", True),
    ("gemma2", "maxtext", "huggingface", True),
    ("gemma2", "tunix", "huggingface", False),
    ("qwen3_moe", "tunix", "mindformers-mcore", False),
]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def random(tree: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)

    def some(leaf: Any) -> Any:
        floats = np.issubdtype(leaf.dtype, np.floating)
        return rng.normal(size=leaf.shape).astype(np.float32) if floats else np.int32(7)

    return jax.tree.map(some, tree)


def product(one: Any, two: Any) -> float:
    products = jax.tree.map(lambda a, b: np.sum(np.float64(a) * np.float64(b)), one, two)
    return sum(jax.tree.leaves(products))


@pytest.mark.parametrize(("folder", "stack", "files", "scanned"), CASES)
def test_adam(folder: str, stack: str, files: str, scanned: bool) -> None:
    """A gradient times a step is the same in both stacks; the second moment is its square."""
    how = ms.Family(DATA / folder, jax=stack, files=files)
    first, second = (random(how.abstract(scanned), seed) for seed in (1, 2))
    states: Any = optax.adam(1e-3).init(first)
    adam, *rest = states
    mu = random(adam.mu, 3)
    adam = adam._replace(count=np.int32(7), mu=mu, nu=jax.tree.map(np.square, mu))
    tree = {"params": first, "opt_state": (adam, *rest)}
    ms.save_checkpoint(tree, "a.ckpt", convention=how)
    ms.save_checkpoint(second, "b.ckpt", convention=how)
    one, two = ms.load_checkpoint("a.ckpt"), ms.load_checkpoint("b.ckpt")
    moments = {name: one[f"moment1.{name}"] for name in how.names}
    step = {name: np.float64(one[name]) - two[name] for name in how.names}
    ours = jax.tree.map(lambda a, b: np.float64(a) - b, first, second)
    np.testing.assert_allclose(product(moments, step), product(mu, ours), rtol=1e-5)
    for name, moment in moments.items():
        np.testing.assert_allclose(one[f"moment2.{name}"], np.square(moment), 1e-6)
    assert one["global_step"] == 7
    np.testing.assert_allclose(one["beta1_power"], 0.9**7)
    again = ms.load_checkpoint("a.ckpt", like=jax.tree.map(np.zeros_like, tree), convention=how)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, 3e-7, 3e-7), again, tree)
    ms.load_checkpoint("a.ckpt", like=first, convention=how)  # without the states


def test_a_sum_of_steps() -> None:
    """RMSProp's momentum is a sum of gradients over their size: scaled as neither, and negated."""
    how = ms.Family(DATA / "gemma2", jax="maxtext")
    params = random(how.abstract(), 1)
    states: Any = random(optax.rmsprop(1e-3, momentum=0.9).init(params), 2)
    ms.save_checkpoint({"model": params, "opt_state": states}, "a.ckpt", convention=how)
    saved = ms.load_checkpoint("a.ckpt")
    trace: Any = optax.tree_utils.tree_get(states, "trace")
    query = trace["decoder"]["layers_1"]["self_attention_local"]["query"]["kernel"]
    name = "model.layers.2.self_attn.q_proj.weight"
    np.testing.assert_array_equal(saved[f"moment.{name}"], -query.reshape(len(query), -1).T)
    sizes: Any = optax.tree_utils.tree_get(states, "nu")
    query = sizes["decoder"]["layers_1"]["self_attention_local"]["query"]["kernel"]
    np.testing.assert_allclose(saved[f"mean_square.{name}"], query.reshape(len(query), -1).T / 7,
                               1e-6)  # fmt: skip


def test_sharded_states_of_stacked_layers() -> None:
    how = ms.Family(DATA / "qwen3", jax="maxtext")
    tree = random(how.abstract(scanned=True), 1)
    tree = {"params": tree, "opt_state": random(optax.adamw(1e-3).init(tree), 2)}
    ms.save_checkpoint(tree, "a.ckpt", convention=how)
    mesh = jax.make_mesh((8,), ("x",))

    def placed(leaf: Any) -> Any:
        axis = next((n for n, size in enumerate(leaf.shape) if size % 8 == 0), None)
        spec = () if axis is None else (*(None,) * axis, "x")
        return jax.device_put(leaf, jax.NamedSharding(mesh, jax.P(*spec)))

    ms.save_checkpoint(jax.tree.map(placed, tree), "b.ckpt", convention=how)
    assert Path("a.ckpt").read_bytes() == Path("b.ckpt").read_bytes()


def test_wrong_options() -> None:
    with pytest.raises(ValueError, match="no optimizer that goes on"):
        ms.Family(DATA / "llama", jax="maxtext", optimizer="Adagrad2")
    with pytest.raises(ValueError, match="may be b1 and b2"):
        ms.Family(DATA / "llama", jax="maxtext", hyperparameters={"eps": 1e-3})
    how = ms.Family(DATA / "llama", jax="maxtext", optimizer="AdamW")
    params = random(how.abstract(), 1)
    tree = {"params": params, "opt_state": optax.adamw(1e-3).init(params)}
    names = {target.name for target in how.targets(tree)}
    assert {"exp_avg.model.norm.weight", "exp_avg_sq.lm_head.weight", "state_step"} <= names
