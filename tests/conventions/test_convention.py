"""Names without MindSpore: what is recognised, what is refused, what comes back."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen, nnx
from flax.training.train_state import TrainState

import msckpt_jax as ms
from msckpt_jax import names
from msckpt_jax.conventions.convention import Convention


class Net(nnx.Module):
    """All kinds of layers."""

    def __init__(self, rngs: nnx.Rngs):
        self.blocks = nnx.List([nnx.Conv(4, 8, (3, 3), rngs=rngs), nnx.BatchNorm(8, rngs=rngs)])
        self.up = nnx.ConvTranspose(8, 8, (2, 2), rngs=rngs)
        self.head = nnx.Sequential(nnx.Linear(8, 16, rngs=rngs), nnx.relu, nnx.PReLU())
        self.attention = nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs)
        self.lstm = nnx.RNN(nnx.LSTMCell(8, 4, rngs=rngs), rngs=rngs)
        self.gru = nnx.GRUCell(8, 4, rngs=rngs)
        self.token = nnx.Param(jnp.arange(8.0))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


class Auto(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = linen.Conv(4, (3, 3))(x)
        x = linen.BatchNorm(use_running_average=True)(x)
        x = linen.ConvTranspose(6, (2, 2))(x)
        x = linen.MultiHeadDotProductAttention(2)(x.reshape(x.shape[0], -1, 6))
        return linen.Dense(6, name="fc")(linen.LayerNorm()(x))


class Setup(linen.Module):
    def setup(self) -> None:
        self.conv = linen.Conv(3, (2, 2))
        self.head = linen.Sequential([linen.Dense(4), linen.relu, linen.Dense(4)])
        self.layers = [linen.DenseGeneral((2, 2)), linen.Dense(3)]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.layers[1](self.layers[0](self.head(self.conv(x))))


IMAGE = jax.ShapeDtypeStruct((1, 4, 4, 3), jnp.float32)


def variables(module: linen.Module) -> Any:
    return jax.eval_shape(module.init, jax.random.key(0), IMAGE)


def mapped(tree: Any, convention: Any = "mindspore") -> dict[str, tuple[int, ...]]:
    return {row.name: row.shape for row in ms.explain(tree, convention)}


def leaf_bytes(tree: Any) -> dict[str, bytes]:
    out = {}
    for name, _, value in names.named_leaves(tree):
        if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
            value = jax.random.key_data(value)
        out[name] = np.asarray(value).tobytes()
    return out


@pytest.mark.parametrize("base", ["mindspore", "mint"])
@pytest.mark.parametrize("format", ["ckpt", "safetensors"])
def test_round_trip(tmp_path: Path, base: str, format: str) -> None:
    net, other = Net(nnx.Rngs(0)), Net(nnx.Rngs(1))
    net.gru.dense_i.bias[...] = -0.0
    path = tmp_path / f"a.{format}"
    ms.save_checkpoint(net, path, convention=base, format=format)
    assert leaf_bytes(ms.load_checkpoint(path, like=other, convention=base)) == leaf_bytes(net)
    assert ms.load_param_into_net(other, ms.load_checkpoint(path), convention=base) == ([], [])
    assert leaf_bytes(other) == leaf_bytes(net)
    in_memory = dict(ms.load_checkpoint(path))
    state = nnx.state(Net(nnx.Rngs(2)))
    how = Convention(base=base, module=net)
    back, *report = ms.load_param_into_tree(state, in_memory, convention=how)
    assert report == [[], []]
    assert leaf_bytes(back) == leaf_bytes(net)


def test_linen_by_names() -> None:
    found = mapped(variables(Auto()))
    assert found == {
        "BatchNorm_0.gamma": (4,),
        "BatchNorm_0.beta": (4,),
        "BatchNorm_0.moving_mean": (4,),
        "BatchNorm_0.moving_variance": (4,),
        "Conv_0.weight": (4, 3, 3, 3),
        "Conv_0.bias": (4,),
        "ConvTranspose_0.weight": (4, 6, 2, 2),
        "ConvTranspose_0.bias": (6,),
        "LayerNorm_0.gamma": (6,),
        "LayerNorm_0.beta": (6,),
        "MultiHeadDotProductAttention_0.in_proj_weight": (18, 6),
        "MultiHeadDotProductAttention_0.in_proj_bias": (18,),
        "MultiHeadDotProductAttention_0.out_proj.weight": (6, 6),
        "MultiHeadDotProductAttention_0.out_proj.bias": (6,),
        "fc.weight": (6, 6),
        "fc.bias": (6,),
    }


def test_linen_by_modules() -> None:
    tree = variables(Setup())
    with pytest.raises(ms.AmbiguousLeafError, match=r"params\.conv\.kernel: either"):
        Convention().targets(tree)
    found = mapped(tree, Convention(module=Setup(), inputs=(IMAGE,)))
    assert found == {
        "conv.weight": (3, 3, 2, 2),
        "conv.bias": (3,),
        "head.0.weight": (4, 3),
        "head.0.bias": (4,),
        "head.2.weight": (4, 4),
        "head.2.bias": (4,),
        "layers_0.weight": (4, 4),
        "layers_0.bias": (4,),
        "layers_1.weight": (3, 2),
        "layers_1.bias": (3,),
    }


def test_a_state_needs_its_module() -> None:
    net = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    assert mapped(nnx.state(net), Convention(module=net)) == mapped(net)
    with pytest.raises(ms.AmbiguousLeafError):
        Convention().targets(nnx.state(net))


def test_the_module_of_a_part() -> None:
    """Wherever the tree has all layers of the module: the network, and an average of it."""
    net = nnx.eval_shape(lambda: Net(nnx.Rngs(0)))
    tree = {"now": nnx.state(net), "average": {"of": nnx.state(net)}, "fc": {"scale": jnp.ones(3)}}
    found = mapped(tree, Convention(module=net))
    names = mapped(net)
    for prefix in ("now", "average.of"):
        assert {f"{prefix}.{name}": shape for name, shape in names.items()}.items() <= found.items()
    assert found["fc.gamma"] == (3,)


@pytest.mark.parametrize(
    ("leaves", "readings"),
    [
        ({"kernel": (4, 4)}, "kernel: either the kernel of a Dense, .*, or a matrix of your own"),
        ({"kernel": (4, 6)}, "kernel: either"),
        ({"kernel": (4, 4), "bias": (4,)}, "kernel: either"),
        ({"kernel": (3, 3, 4, 4), "bias": (4,)}, "either the kernel of a Conv, .* ConvTranspose"),
        ({"kernel": (3, 4, 4)}, "DenseGeneral"),
        ({"bias": (4,)}, "either the beta .*, or a parameter of your own"),
    ],
)
def test_ambiguous(leaves: dict[str, tuple[int, ...]], readings: str, tmp_path: Path) -> None:
    tree = {"a": {"net": {name: jnp.ones(shape) for name, shape in leaves.items()}}}
    path = tmp_path / "a.ckpt"
    with pytest.raises(ms.AmbiguousLeafError, match=readings) as error:
        ms.save_checkpoint(tree, path, convention="mindspore")
    assert "Convention(module=" in str(error.value)
    assert not path.exists()
    report = ms.explain(tree)
    assert list(report.unmapped) == list(error.value.readings)
    assert "not mapped" in repr(report)


@pytest.mark.parametrize(
    ("leaves", "found"),
    [
        ({"kernel": (4, 6), "bias": (6,)}, {"weight": (6, 4), "bias": (6,)}),
        ({"scale": (4,), "bias": (4,)}, {"gamma": (4,), "beta": (4,)}),
        (
            {"scale": (4,), "mean": (4,), "var": (4,)},
            {"gamma": (4,), "mean": (4,), "variance": (4,)},
        ),
        ({"embedding": (5, 4)}, {"embedding_table": (5, 4)}),
        ({"negative_slope": ()}, {"a": (1,)}),
        ({"gain": (4, 4)}, {"gain": (4, 4)}),
    ],
)
def test_told_by_shapes(leaves: Any, found: Any) -> None:
    """At the root: MindSpore calls a lone BatchNorm's and PReLU's parameters differently."""
    assert mapped({name: jax.ShapeDtypeStruct(s, "float32") for name, s in leaves.items()}) == found


def test_told_by_the_user() -> None:
    tree = {"conv1": {"kernel": jnp.ones((3, 3, 4, 4))}, "fc": {"kernel": jnp.ones((4, 4))}}
    how = Convention(
        layers={r"conv\d": "Conv", "fc": "other"}, rename={"^": "backbone.", "fc": "h"}
    )
    assert mapped(tree, how) == {"backbone.conv1.weight": (4, 4, 3, 3), "backbone.h.kernel": (4, 4)}


def test_train_state_and_boxes() -> None:
    module = linen.Dense(
        4, kernel_init=linen.with_partitioning(jax.nn.initializers.ones, ("x", "y"))
    )
    tree = module.init(jax.random.key(0), jnp.ones((1, 3)))
    assert mapped(tree) == {"weight": (4, 3), "bias": (4,)}
    state = TrainState(0, module.apply, tree["params"], tx=None, opt_state=())  # type: ignore[arg-type]
    assert mapped(state) == {"global_step": (1,), "step": (), "weight": (4, 3), "bias": (4,)}


class Training(TrainState):
    batch_stats: Any = None


class Own(NamedTuple):
    """The state of a gradient transformation of one's own."""

    slow: Any


def test_training_in_linen(tmp_path: Path) -> None:
    module = Auto()
    tree = jax.tree.map(lambda x: jnp.full(x.shape, 0.5, x.dtype), variables(module))
    own = optax.GradientTransformation(lambda p: Own(p), lambda g, s, p: (g, s))
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.1), own)
    state = Training.create(
        apply_fn=module.apply, params=tree["params"], tx=tx, batch_stats=tree["batch_stats"]
    )
    step = jax.jit(lambda s: s.apply_gradients(grads=jax.tree.map(jnp.cos, s.params)))
    state = step(step(state))
    ms.save_checkpoint(state, tmp_path / "a.ckpt", convention="mindspore")
    found = ms.load_checkpoint(tmp_path / "a.ckpt")
    network = mapped(tree)
    moments = [n for n in network if "moving" not in n]
    assert {*network, *(f"moment{i}.{n}" for i in (1, 2) for n in moments)} < set(found)
    assert found["global_step"].tolist() == [2]
    # a state of one's own keeps its names and layouts
    assert found["opt_state.2.slow.fc.kernel"].shape == (6, 6)
    begun = Training.create(
        apply_fn=module.apply, params=tree["params"], tx=tx, batch_stats=tree["batch_stats"]
    )
    back = ms.load_checkpoint(tmp_path / "a.ckpt", like=begun, convention="mindspore")
    assert back.step == 2
    assert leaf_bytes(back.opt_state) == leaf_bytes(state.opt_state)
    assert leaf_bytes(back.params) == leaf_bytes(state.params)


def test_linen_in_nnx() -> None:
    class Mixed(nnx.Module):
        def __init__(self, rngs: nnx.Rngs):
            self.one = nnx.bridge.lazy_init(
                nnx.bridge.ToNNX(linen.Dense(4), rngs=rngs), jnp.ones((1, 3))
            )
            self.many = nnx.bridge.lazy_init(
                nnx.bridge.ToNNX(Auto(), rngs=rngs), jnp.ones(IMAGE.shape)
            )

    found = mapped(Mixed(nnx.Rngs(0)))
    assert found["one.weight"] == (4, 3)
    assert found["many.Conv_0.weight"] == (4, 3, 3, 3)
    assert found["many.BatchNorm_0.moving_mean"] == (4,)


def test_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    net = Net(nnx.Rngs(0))
    ms.save_checkpoint(net, path, convention="mindspore")
    with pytest.raises(ValueError, match="convention needs net= or like="):
        ms.load_checkpoint(path, convention="mindspore")
    with pytest.raises(ValueError, match="base must be one of"):
        ms.save_checkpoint(net, path, convention="torch")
    with pytest.raises(TypeError, match="must be a str, a Convention or a Family"):
        ms.save_checkpoint(net, path, convention=1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no kind of layer"):
        Convention(layers={"a": "Convolution"})
    with pytest.raises(ValueError, match="no regular expression"):
        Convention(rename={"(": ""})
    with pytest.raises(ValueError, match="needs inputs"):
        Convention(module=Setup()).targets(variables(Setup()))
    with pytest.raises(ms.CheckpointError, match="get the same name"):
        Convention(rename={".*": "x"}).targets(net)
    part = {"query": net.attention.query, "key": net.attention.key, "out": net.attention.out}
    with pytest.raises(ms.CheckpointError, match="some are missing"):
        Convention(layers={"a": "Attention"}).targets({"a": part})


def test_reports_speak_mindspore(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    net = Net(nnx.Rngs(0))
    ms.save_checkpoint(net, path, convention="mindspore")
    params = ms.load_checkpoint(path)
    for name in ("head.0.weight", "head.0.bias", "lstm.bias_ih_l0"):
        del params[name]
    params["up.bias"] = np.ones(3, np.float32)
    load = functools.partial(ms.load_param_into_net, net, params, convention="mindspore")
    with pytest.raises(ms.CheckpointError, match=r"up.bias.*shape differs.*\[8\], found \[3\]"):
        load()
    missing, unused = load(skip_mismatch=True)
    assert set(missing) == {
        "head.0.bias", "head.0.weight", "up.bias", "lstm.bias_ih_l0", "lstm.bias_hh_l0",
    }  # fmt: skip
    assert set(unused) == {"up.bias", "lstm.bias_hh_l0"}
    assert "another parameter of its layer" in missing.explain()
    ms.save_checkpoint(net, path, convention=Convention(rename={"^": "backbone."}))
    with pytest.raises(ms.CheckpointError, match=r"parameters? that the file lacks: 'attention"):
        ms.load_checkpoint(path, like=net, convention="mindspore")


def test_a_prefix_before_the_names_of_a_convention(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    net, other = Net(nnx.Rngs(0)), Net(nnx.Rngs(1))
    ms.save_checkpoint(net, path, convention=Convention(rename={"^": "backbone."}))
    params = ms.load_checkpoint(path)
    params["moments.head.0.bias"] = np.full(params["backbone.head.0.bias"].shape, 9, np.float32)
    report = ms.load_param_into_net(other, params, convention="mindspore")
    assert report == ([], ["moments.head.0.bias"])
    assert leaf_bytes(other) == leaf_bytes(net)


def test_a_dropped_head_is_not_filled_with_its_moments(tmp_path: Path) -> None:
    net, other = Net(nnx.Rngs(0)), Net(nnx.Rngs(1))
    ms.save_checkpoint(net, tmp_path / "a.ckpt", convention="mindspore")
    params = ms.load_checkpoint(tmp_path / "a.ckpt")
    trained = [name for name in params if name.endswith(("weight", "bias"))]
    moments = {f"moments.{name}": 9 * np.ones_like(params[name]) for name in trained}
    params.update(moments)
    dropped = ms.filter_parameters(params, "head")
    before = other.head.layers[0].bias[...]
    missing, unused = ms.load_param_into_net(other, params, convention="mindspore")
    assert (missing, unused) == (dropped, list(moments))
    np.testing.assert_array_equal(other.head.layers[0].bias[...], before)


def test_a_bias_that_flax_lacks(tmp_path: Path) -> None:
    net = nnx.GRUCell(3, 2, rngs=nnx.Rngs(0))
    ms.save_checkpoint(net, tmp_path / "a.ckpt", convention="mindspore")
    params = ms.load_checkpoint(tmp_path / "a.ckpt")
    params["bias_hh"] = np.arange(6, dtype=np.float32)
    with pytest.raises(ms.CheckpointError, match="rows 4 to 6, which must be zero"):
        ms.load_param_into_net(net, params, convention="mindspore")
    params["bias_hh"][4:] = 0
    ms.load_param_into_net(net, params, convention="mindspore")
    assert net.dense_i.bias[...].tolist() == [0, 1, 2, 3, 0, 0]


def sharded(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    """Each leaf split over as many axes as it has dimensions that can be divided."""

    def put(x: jax.Array) -> jax.Array:
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            return x
        axes = list(mesh.axis_names)
        spec = [axes.pop() if axes and n % mesh.shape[axes[-1]] == 0 else None for n in x.shape]
        return jax.device_put(x, jax.NamedSharding(mesh, jax.P(*spec)))

    return jax.tree.map(put, tree)


@pytest.mark.parametrize("base", ["mindspore", "mint"])
def test_sharded_is_the_same_file(tmp_path: Path, mesh: Any, other_mesh: Any, base: str) -> None:
    net = Net(nnx.Rngs(0))
    how = Convention(base=base, module=net)
    state = nnx.state(net)
    split = sharded(state, mesh)
    assert sum(not x.sharding.is_fully_replicated for x in jax.tree.leaves(split)) > 20
    for async_save in (False, "thread", "process"):
        for name, tree in (("one", state), ("eight", split)):
            save = ms.save_checkpoint(
                tree, tmp_path / f"{name}.ckpt", convention=how, async_save=async_save
            )
            if save is not None:
                save.result()
        one, eight = [(tmp_path / f"{name}.ckpt").read_bytes() for name in ("one", "eight")]
        assert one == eight
    like = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding),
        sharded(state, other_mesh),
    )
    back = ms.load_checkpoint(tmp_path / "eight.ckpt", like=like, convention=how)
    assert leaf_bytes(back) == leaf_bytes(state)
    assert jax.tree.map(lambda x: x.sharding, back) == jax.tree.map(lambda x: x.sharding, like)


def test_rank_files(tmp_path: Path, mesh: Any) -> None:
    """The strategy is that of MindSpore's layout; what no strategy can say is replicated."""
    net = Net(nnx.Rngs(0))
    how = Convention(module=net)
    split = sharded(nnx.state(net), mesh)
    ms.save_checkpoint(split, tmp_path / "a.ckpt", integrated_save=False, convention=how)
    ms.save_checkpoint(split, tmp_path / "whole.ckpt", convention=how)
    layouts = ms.build_searched_strategy(str(tmp_path / "strategy.ckpt"))
    assert layouts["head.0.weight"].tensor_map == ((1,), (0,))  # (out, in), split as P("x", "y")
    back = ms.load_checkpoint(
        tmp_path, strategy=tmp_path / "strategy.ckpt", like=split, convention=how
    )
    assert leaf_bytes(back) == leaf_bytes(split)
