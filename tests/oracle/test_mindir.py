"""MindIR files of ours in real MindSpore: networks, dynamic sizes, split and encrypted files."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from msckpt_jax.api.export import export
from msckpt_jax.errors import ExportError
from msckpt_jax.lowering.trials import compare
from msckpt_jax.mindir import runner
from msckpt_jax.specs import TensorSpec


class MLP(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.hidden = nnx.Linear(8, 16, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs, deterministic=True)
        self.out = nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return jax.nn.softmax(self.out(self.dropout(jnp.tanh(jax.nn.relu(self.hidden(x))))))


class CNN(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 8, (3, 3), strides=2, rngs=rngs)
        self.norm = nnx.BatchNorm(8, use_running_average=True, rngs=rngs)
        self.deep = nnx.Conv(8, 8, (3, 3), feature_group_count=8, padding="VALID", rngs=rngs)
        self.up = nnx.ConvTranspose(8, 4, (2, 2), strides=(2, 2), rngs=rngs)
        self.out = nnx.Linear(4, 5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.max_pool(nnx.relu(self.norm(self.conv(x))), (3, 3), (2, 2), "SAME")
        x = nnx.avg_pool(nnx.silu(self.up(self.deep(x))), (2, 2), (1, 1), "SAME")
        return self.out(x.mean((1, 2)))


class Attention(nnx.Module):
    def __init__(self):
        rngs = nnx.Rngs(0)
        self.embed = nnx.Embed(11, 16, rngs=rngs)
        self.norm = nnx.LayerNorm(16, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs)
        self.out = nnx.Linear(16, 16, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = self.embed(ids)
        mask = nnx.make_causal_mask(ids)
        x = x + self.attention(self.norm(x), mask=mask)
        return x + jax.nn.gelu(self.out(x))


class LSTM(nn.Module):
    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.RNN(nn.OptimizedLSTMCell(6))(x)


def linen(module: nn.Module, x: np.ndarray):
    return module, module.init(jax.random.key(0), x)


IMAGE = np.linspace(-1, 1, 2 * 17 * 16 * 3, dtype=np.float32).reshape(2, 17, 16, 3)
SEQUENCE = np.linspace(-1, 1, 2 * 7 * 4, dtype=np.float32).reshape(2, 7, 4)
IDS = np.arange(14, dtype=np.int32).reshape(2, 7) % 11
NETWORKS = {
    "MLP": lambda: (MLP(), np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)),
    "CNN": lambda: (CNN(), IMAGE),
    "attention": lambda: (Attention(), IDS),
    "LSTM": lambda: (linen(LSTM(), SEQUENCE), SEQUENCE),
}


def call(net, x):
    return net[0].apply(net[1], x) if isinstance(net, tuple) else net(x)


@pytest.mark.parametrize("target", [None, "cpu"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, target, runs, tmp_path):
    net, x = NETWORKS[name]()
    done = export(net, x, file_name=tmp_path / name, target=target)
    (outcome,) = runs([runner.Case(done.file, [[x]])])
    assert not outcome.error
    compare(done.file, [np.asarray(call(net, x))], outcome.results[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_of_any_size(name, runs, tmp_path):
    net, x = NETWORKS[name]()
    dynamic = TensorSpec((None, *x.shape[1:]), x.dtype)
    done = export(net, dynamic, file_name=tmp_path / name)
    batches = [x, np.concatenate([x, x, x])]
    # MindSpore 2.10 compiles anew for a second size, and cannot where there is a loop ("The actor
    # already exists"): each size is a load.
    outcomes = runs([runner.Case(done.file, [[batch]]) for batch in batches])
    for batch, outcome in zip(batches, outcomes, strict=True):
        assert not outcome.error
        compare(done.file, [np.asarray(call(net, batch))], outcome.results[0])


def _causal(x):
    size = x.shape[1]
    scores = x @ x.transpose(0, 2, 1)
    return jnp.where(jnp.tril(jnp.ones((size, size), bool)), scores, -1e9)


#: Functions of an array of shape (b, t, 8).
DYNAMIC = {
    "flatten": lambda x: (x.reshape(-1, 8) * 2).reshape(x.shape),
    "heads": lambda x: x.reshape(*x.shape[:2], 2, 4).transpose(0, 2, 1, 3),
    "softmax": lambda x: jax.nn.softmax(x @ x.transpose(0, 2, 1)),
    "mean": lambda x: x.mean(1),
    "mean of both": lambda x: x.mean((0, 1)),
    "arange": lambda x: x + jnp.arange(x.shape[1])[:, None],
    "causal": _causal,
    "concatenate": lambda x: jnp.concatenate([x, x], 1),
    "pad": lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 0))),
    "last": lambda x: x[:, -1],
    "size": lambda x: x * x.shape[0],
    "broadcast": lambda x: jnp.broadcast_to(jnp.arange(8.0), (x.shape[0], 8)),
    "argmax": lambda x: jax.nn.one_hot(jnp.argmax(x, -1), 8),
    "scan": lambda x: jax.lax.scan(lambda c, y: (c + y, c * y), x[:, 0], jnp.ones((3, 8)))[1],
    "attention": lambda x: jax.nn.dot_product_attention(*[x[:, :, None]] * 3, is_causal=True),
    "cond": lambda x: jax.lax.cond(x.sum() > 0, lambda y: y.mean(0), lambda y: y[0], x),
    "while": lambda x: jax.lax.fori_loop(0, 3, lambda i, y: y * 2 + i, x),
}


def test_dynamic_sizes(runs, tmp_path):
    shape = jax.ShapeDtypeStruct(("b", "t", 8), jnp.float32)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((b, t, 8)).astype(np.float32) for b, t in ((2, 3), (4, 5))]
    files = [
        export(function, shape, file_name=tmp_path / name).file
        for name, function in DYNAMIC.items()
    ]
    asked = [(function, file, x) for function, file in zip(DYNAMIC.values(), files, strict=True)
             for x in inputs]  # fmt: skip
    outcomes = runs([runner.Case(file, [[x]]) for _, file, x in asked])
    for (function, file, x), outcome in zip(asked, outcomes, strict=True):
        assert not outcome.error, file
        compare(file, [np.asarray(function(x))], outcome.results[0])


def test_names_are_those_of_the_checkpoint(tmp_path):
    done = export(MLP(), np.ones((1, 8), np.float32), file_name=tmp_path / "mlp")
    assert list(done.graph.parameters) == ["hidden.bias", "hidden.kernel", "out.bias", "out.kernel"]


KEY = b"0123456789abcdef"


@pytest.mark.parametrize("split_bytes", [0, 1 << 30])
@pytest.mark.parametrize("mode", [None, "AES-GCM", "AES-CBC", "SM4-CBC"])
def test_split_and_encrypted(mode, split_bytes, runs, tmp_path):
    net, x = NETWORKS["MLP"]()
    keys = {} if mode is None else {"enc_key": KEY, "enc_mode": mode}
    done = export(net, x, file_name=tmp_path / "net", split_bytes=split_bytes, **keys)
    load = {} if mode is None else {"dec_key": KEY, "dec_mode": mode}
    right, wrong = runs([runner.Case(done.file, [[x]], load), runner.Case(done.file, [[x]],
                        {"dec_key": KEY[::-1], "dec_mode": mode or "AES-GCM"})])  # fmt: skip
    assert not right.error
    compare(done.file, [np.asarray(net(x))], right.results[0])
    assert wrong.error


def test_trees_of_arguments_and_results(runs, tmp_path):
    def function(pair, scale):
        return {"sum": pair["a"] + pair["b"] * scale, "same": [pair["a"]]}

    pair = {"a": np.ones(3, np.float32), "b": np.arange(3, dtype=np.float32)}
    done = export(function, pair, 2.0, file_name=tmp_path / "net")
    assert [value.name for value in done.graph.inputs] == ["pair.a", "pair.b", "scale"]
    inputs = [pair["a"], pair["b"], np.float32(2)]
    (outcome,) = runs([runner.Case(done.file, [inputs])])
    expected = jax.tree.leaves(function(pair, np.float32(2)))
    compare(done.file, [np.asarray(x) for x in expected], outcome.results[0])


def test_verify(tmp_path):
    net, _ = NETWORKS["MLP"]()
    dynamic = TensorSpec((None, 8), jnp.float32)
    done = export(net, dynamic, file_name=tmp_path / "net", verify=True, enc_key=KEY)
    assert done.difference is not None
    assert done.difference < 1e-5


def test_verify_without_mindspore(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "available", lambda: False)
    net, x = NETWORKS["CNN"]()
    done = export(net, x, file_name=tmp_path / "net", verify=True, enc_key=KEY)
    assert done.difference is not None
    assert done.difference < 1e-5


class Noisy(nnx.Module):
    def __init__(self):
        self.key = nnx.Variable(jax.random.key(3))

    def __call__(self, x):
        return x + jax.random.uniform(self.key.get_value(), x.shape)


def test_a_key_among_the_weights(tmp_path):
    done = export(Noisy(), np.ones(5, np.float32), file_name=tmp_path / "net", verify=True)
    assert list(done.graph.parameters) == ["key@threefry2x32"]
    assert done.difference is not None


def test_a_cipher_of_the_user(runs, tmp_path):
    net, x = NETWORKS["MLP"]()

    def flipped(plain, key):
        return bytes(byte ^ key[0] for byte in plain)

    done = export(net, x, file_name=tmp_path / "net", enc_key=b"x", enc_mode=flipped)
    plain = tmp_path / "plain.mindir"
    plain.write_bytes(flipped(done.file.read_bytes(), b"x"))
    (outcome,) = runs([runner.Case(plain, [[x]])])
    compare(done.file, [np.asarray(net(x))], outcome.results[0])


def test_verify_finds_a_wrong_rule(tmp_path):
    def wrong(ctx, x, **_):
        return ctx("Cos", x)

    with pytest.raises(ExportError, match="result 0 is off by"):
        export(jnp.sin, np.ones(3, np.float32), file_name=tmp_path / "net", verify=True,
               rules={"sin": wrong})  # fmt: skip


def test_a_crash_is_that_of_its_case(runs, tmp_path):
    net, x = NETWORKS["MLP"]()
    done = export(net, x, file_name=tmp_path / "net")
    (tmp_path / "cut.mindir").write_bytes(done.file.read_bytes()[:100])
    good, bad = runner.Case(done.file, [[x]]), runner.Case(tmp_path / "cut.mindir", [[x]])
    assert [bool(outcome.error) for outcome in runs([good, bad, good])] == [False, True, False]


def test_division_of_wide_integers(runs, tmp_path):
    """MindSpore's own division is right up to 2**53, that by 0 or of the lowest by -1 kills it."""
    rng, info = np.random.default_rng(0), np.iinfo(np.int64)
    sizes = [rng.integers(-high, high, 200) for high in (1000, 2**40, 2**54, info.max)]
    x = np.concatenate([rng.integers(info.min, info.max, 800), [info.min, info.max, -5, 2**62, 0]])
    y = np.concatenate([*sizes, [-1, 1, 0, 2**62 - 1, info.max]])

    def both(x, y):
        return jax.lax.div(x, y), jax.lax.rem(x, y)

    with jax.enable_x64(True):
        done = export(both, x, y, file_name=tmp_path / "net")
        expected = [np.asarray(r) for r in both(jnp.asarray(x), jnp.asarray(y))]
    (outcome,) = runs([runner.Case(done.file, [[x, y]])])
    assert not outcome.error
    for want, have in zip(expected, outcome.results[0], strict=True):
        np.testing.assert_array_equal(have, want)
