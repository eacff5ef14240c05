"""A decoder that computes with the trees of MaxText, tunix and Levanter as their networks do.

It reads no table of names: what each stack multiplies, scales and rotates stands here by itself, in
NumPy's float64.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeAlias

import jax
import numpy as np

Tree: TypeAlias = Mapping[str, Any]
#: Projections by stacks: query, key and value; output; to the hidden units; from them.
EINSUMS = {
    "maxtext": ("btd,dhc->bthc", "btd,dkc->btkc", "bthc,hcd->btd", "...d,df->...f"),
    "tunix": ("btd,dhc->bthc", "btd,dkc->btkc", "bthc,hcd->btd", "...d,df->...f"),
    "tunix gemma": ("btd,hdc->bthc", "btd,kdc->btkc", "bthc,hcd->btd", "...d,df->...f"),
    "levanter": ("btd,kgcd->btkgc", "btd,kcd->btkc", "bthc,dhc->btd", "...d,fd->...f"),
}
#: By stacks, the places in a layer. The first that a layer has counts.
PLACES = {
    "maxtext": {
        "q": "query.kernel", "k": "key.kernel", "v": "value.kernel", "o": "out.kernel",
        "bq": "query.bias", "bk": "key.bias", "bv": "value.bias", "bo": "out.bias",
        "nq": "query_norm.scale", "nk": "key_norm.scale", "gate": "wi_0.kernel wi_0",
        "up": "wi_1.kernel wi_1", "down": "wo.kernel wo", "router": "gate.kernel",
        "attention": "self_attention GptOssAttention",
        "mlp": "mlp MoeBlock_0 moe_block GptOssMlp",
        "norms": "pre_self_attention_norm pre_self_attention_layer_norm, "
        "post_self_attention_norm post_self_attention_layer_norm, pre_ffw_norm, post_ffw_norm",
        "norm": "scale",
    },
    "tunix": {
        "q": "q_proj.w q_einsum.w", "k": "k_proj.w", "v": "v_proj.w",
        "joint": "kv_einsum.w qkv_einsum.w",
        "o": "o_proj.w attn_vec_einsum.w", "bq": "q_bias", "bk": "k_bias", "bv": "v_bias",
        "nq": "q_norm.w _query_norm.scale", "nk": "k_norm.w _key_norm.scale",
        "gate": "gate_proj.kernel gate_proj", "up": "up_proj.kernel up_proj",
        "down": "down_proj.kernel down_proj", "router": "router.kernel",
        "attention": "attn", "mlp": "mlp",
        "norms": "input_layernorm pre_attention_norm, post_attention_layernorm post_attn_norm "
        "post_attention_norm, pre_ffw_norm, post_ffw_norm",
        "norm": "w scale",
    },
    "levanter": {
        "q": "q_proj.weight", "k": "k_proj.weight", "v": "v_proj.weight", "o": "o_proj.weight",
        "bq": "q_proj.bias", "bk": "k_proj.bias", "bv": "v_proj.bias", "nq": "q_norm.weight",
        "nk": "k_norm.weight", "gate": "gate_proj.weight experts.w1.weight",
        "up": "up_proj.weight experts.w3.weight", "down": "down_proj.weight experts.w2.weight",
        "router": "gate.weight", "attention": "self_attn", "mlp": "mlp block_sparse_moe",
        "norms": "input_layernorm, post_attention_layernorm, pre_feedforward_layernorm, "
        "post_feedforward_layernorm",
        "norm": "weight",
    },
}  # fmt: skip
_FOLDED = {"llama", "mistral", "mixtral", "gemma2"}  # the queries that MaxText does not scale


def softmax(x: np.ndarray) -> np.ndarray:
    x = np.exp(x - x.max(-1, keepdims=True))
    return x / x.sum(-1, keepdims=True)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def silu(x: np.ndarray) -> np.ndarray:
    return x * sigmoid(x)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def get(tree: Tree, paths: str) -> Any:
    """The first subtree that is there; None if none is."""
    for path in paths.split():
        node: Any = tree
        for key in path.split("."):
            node = node.get(key) if isinstance(node, Mapping) else None
        if node is not None:
            return node
    return None


class Decoder:
    """The network of ``stack`` with ``config``, the content of a ``config.json``."""

    def __init__(self, stack: str, config: Mapping[str, Any], interleaved: bool = False):
        self.stack, self.c = stack, config
        self.kind = config["model_type"]
        self.gemma = self.kind.startswith("gemma")
        self.places = PLACES[stack]
        own = f"{stack} gemma"
        self.einsums = EINSUMS[own if self.gemma and own in EINSUMS else stack]
        self.deepseek = self.kind.startswith("deepseek")
        self.interleaved = interleaved or self.deepseek
        self.D, self.eps = config["hidden_size"], config["rms_norm_eps"]

    def __call__(self, tree: Tree, tokens: np.ndarray) -> np.ndarray:
        """The logits, (batch, tokens, vocabulary)."""
        ours = {"maxtext": "token_embedder.embedding", "tunix": "embedder.input_embedding",
                "levanter": "embeddings.token_embeddings.weight"}[self.stack]  # fmt: skip
        tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)
        table = get(tree, ours)
        x = table[tokens]
        scale = math.sqrt(self.D) if self.gemma else 1.0
        x = x * scale if self.stack != "maxtext" else x  # MaxText's table has it
        layers = LAYERS[self.stack](tree, self.kind)
        assert len(layers) == self.c["num_hidden_layers"]
        for i, layer in enumerate(layers):
            x = self.layer(x, layer, i)
        norm = get(tree, "decoder.decoder_norm.scale final_norm.w final_norm.scale "
                         "transformer.norm.weight")  # fmt: skip
        x = self.norm(x, norm)
        head = get(tree, "decoder.logits_dense.kernel lm_head.w lm_head.weight")
        if head is None:
            x = x / scale if self.stack == "maxtext" else x
            out = x @ table.T
        else:
            out = np.einsum("btd,vd->btv" if self.stack == "levanter" else "btd,dv->btv", x, head)
        cap = self.c.get("final_logit_softcapping")
        return np.tanh(out / cap) * cap if cap else out

    def norm(self, x: np.ndarray, weight: np.ndarray, eps: float | None = None) -> np.ndarray:
        offset = 1.0 if self.gemma and self.stack != "maxtext" else 0.0
        mean = np.mean(x * x, -1, keepdims=True)
        return x / np.sqrt(mean + (self.eps if eps is None else eps)) * (weight + offset)

    def layer(self, x: np.ndarray, p: Tree, i: int) -> np.ndarray:
        norms = [get(p, " ".join(f"{w}.{n}" for w in ways.split()
                                 for n in self.places["norm"].split()))
                 for ways in self.places["norms"].split(",")]  # fmt: skip
        attention = self.mla if self.deepseek else self.attention
        y = attention(self.norm(x, norms[0]), get(p, self.places["attention"]), i)
        if norms[2] is None:  # two norms a layer, or four
            x = x + y
            return x + self.mlp(self.norm(x, norms[1]), p)
        x = x + self.norm(y, norms[1])
        return x + self.norm(self.mlp(self.norm(x, norms[2]), p), norms[3])

    def attention(self, x: np.ndarray, p: Tree, i: int) -> np.ndarray:
        """Queries, keys and values of GQA, rotated, to the output."""
        keys = ("q", "k", "v", "o", "bq", "bk", "bv", "bo", "nq", "nk")
        w = {key: get(p, self.places.get(key, "")) for key in keys}
        if (joint := get(p, self.places.get("joint", ""))) is not None:
            w |= zip("qkv"[-len(joint) :], joint, strict=True)
        q, k, v = (
            _heads(np.einsum(how, x, w[key]), self.bias(w, key))
            for key, how in zip("qkv", (self.einsums[0], *[self.einsums[1]] * 2), strict=True)
        )
        if w["nq"] is not None:
            q, k = self.norm(q, w["nq"]), self.norm(k, w["nk"])
        q, k = self.rotary(q, i), self.rotary(k, i)
        out = self.mix(q * self.query_scale(q.shape[-1]), k, v, i, p.get("sinks"))
        return np.einsum(self.einsums[2], out, w["o"]) + (0.0 if w["bo"] is None else w["bo"])

    def bias(self, w: Tree, key: str) -> Any:
        """The bias of a projection; tunix' is flat."""
        bias = w[f"b{key}"]
        if bias is None or self.stack != "tunix":
            return bias
        return bias.reshape(-1, self.c["head_dim"])

    def query_scale(self, hd: int) -> float:
        if self.stack == "maxtext" and self.kind in _FOLDED:
            return 1.0
        if self.kind == "gemma2" and self.stack == "tunix":
            return hd**-0.5  # whatever query_pre_attn_scalar is
        return self.c.get("query_pre_attn_scalar", hd) ** -0.5

    def mla(self, x: np.ndarray, p: Tree, i: int) -> np.ndarray:
        dn, rank = self.c["qk_nope_head_dim"], self.c["kv_lora_rank"]
        if (down := get(p, "wq_a.kernel")) is not None:
            q = np.einsum("btr,rhc->bthc", self.norm(x @ down, p["q_norm"]["scale"], 1e-6),
                           p["wq_b"]["kernel"])  # fmt: skip
        else:
            q = np.einsum("btd,dhc->bthc", x, p["query"]["kernel"])
        low = x @ p["wkv_a"]["kernel"]
        kv = np.einsum("btr,rhc->bthc", self.norm(low[..., :rank], p["kv_norm"]["scale"], 1e-6),
                        p["wkv_b"]["kernel"])  # fmt: skip
        rotated = self.rotary(low[..., None, rank:], i)
        k = np.concatenate([kv[..., :dn], np.repeat(rotated, q.shape[2], 2)], -1)
        q = np.concatenate([q[..., :dn], self.rotary(q[..., dn:], i)], -1)
        out = self.mix(q * q.shape[-1] ** -0.5, k, kv[..., dn:], i, None)
        return np.einsum("bthc,hcd->btd", out, p["out"]["kernel"])

    def rotary(self, x: np.ndarray, i: int) -> np.ndarray:
        rope = self.c["rope_parameters"]
        rope = rope.get(self.kind_of(i), rope)
        half = x.shape[-1] // 2
        turns = rope["rope_theta"] ** (-np.arange(half) / half)
        if rope["rope_type"] == "llama3":
            turns = _llama3(turns, rope)
        angles = (np.arange(x.shape[1])[:, None] * turns)[:, None]
        cos, sin = np.cos(angles), np.sin(angles)
        a, b = (x[..., 0::2], x[..., 1::2]) if self.interleaved else (x[..., :half], x[..., half:])
        a, b = a * cos - b * sin, b * cos + a * sin
        join = np.stack if self.interleaved else np.concatenate
        return join([a, b], -1).reshape(x.shape)

    def kind_of(self, i: int) -> str:
        return (self.c.get("layer_types") or ["full_attention"] * (i + 1))[i]

    def mix(self, q: Any, k: Any, v: Any, i: int, sinks: Any) -> np.ndarray:
        """The values, mixed by causal attention; query head h has key head h // G."""
        k, v = (np.repeat(z, q.shape[2] // z.shape[2], 2) for z in (k, v))
        scores = np.einsum("bthc,bshc->bhts", q, k)
        if cap := self.c.get("attn_logit_softcapping"):
            scores = np.tanh(scores / cap) * cap
        t = np.arange(q.shape[1])
        far = t[:, None] - t[None]
        seen = far >= 0
        if self.kind_of(i) == "sliding_attention":
            seen &= far < self.c["sliding_window"]
        scores = np.where(seen, scores, -1e30)
        if sinks is not None:
            column = np.broadcast_to(sinks[:, None, None], (*scores.shape[:3], 1))
            scores = np.concatenate([scores, column], -1)
        weights = softmax(scores)[..., : len(t)]
        return np.einsum("bhts,bshc->bthc", weights, v)

    def mlp(self, x: np.ndarray, layer: Tree) -> np.ndarray:
        p = get(layer, self.places["mlp"])
        if (block := layer.get("DeepSeekMoeBlock_0")) is not None:
            p = block["MoeBlock_0"]
            return self.experts(x, p) + self.dense(x, block["shared_experts"])
        return self.dense(x, p) if get(p, self.places["router"]) is None else self.experts(x, p)

    def dense(self, x: np.ndarray, p: Tree) -> np.ndarray:
        gate, up, down = (get(p, self.places[key]) for key in ("gate", "up", "down"))
        how = self.einsums[3]
        act = gelu if self.gemma else silu
        return np.einsum(how, act(np.einsum(how, x, gate)) * np.einsum(how, x, up), down)

    def experts(self, x: np.ndarray, p: Tree) -> np.ndarray:
        router = get(p, self.places["router"])
        scores = x @ (router.T if self.stack == "levanter" else router)
        weights = ROUTERS.get(self.kind, _softmax)(scores, get(p, "gate.bias"), self.c)
        # Levanter swaps experts when it exports them: they are input-major everywhere.
        gate, up, down = (get(p, self.places[key]) for key in ("gate", "up", "down"))
        a, b = (np.einsum("btd,edf->btef", x, w) for w in (gate, up))
        if self.kind == "gpt_oss":
            a = np.minimum(a + p["wi_0_bias"], 7.0)
            b = np.clip(b + p["wi_1_bias"], -7.0, 7.0)
            y = np.einsum("btef,efd->bted", a * sigmoid(1.702 * a) * (b + 1), down)
            return np.einsum("bted,bte->btd", y + p["wo_bias"], weights)
        return np.einsum("btef,efd,bte->btd", silu(a) * b, down, weights)


def gpt2(tree: Tree, tokens: np.ndarray, config: Mapping[str, Any]) -> np.ndarray:
    """The logits of Levanter's GPT-2."""
    tree = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)

    def norm(x: np.ndarray, p: Tree) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x * x).mean(-1, keepdims=True) + config["layer_norm_epsilon"])
        return x * p["weight"] + p["bias"]

    words = tree["embeddings"]["token_embeddings"]["weight"]
    x = words[tokens] + tree["embeddings"]["position_embeddings"]["weight"][: tokens.shape[1]]
    causal = np.tri(tokens.shape[1]) > 0
    blocks = tree["transformer"]["blocks"]
    for p in _numbered(blocks, "stacked" if "stacked" in blocks else "blocks", 0):
        c, y = p["attn"]["c_attn"], norm(x, p["ln_1"])
        q, k, v = np.einsum("btd,dshc->sbthc", y, c["weight"]) + c["bias"][:, None, None]
        scores = np.einsum("bthc,bshc->bhts", q, k) / math.sqrt(q.shape[-1])
        y = np.einsum("bhts,bshc->bthc", softmax(np.where(causal, scores, -1e30)), v)
        c = p["attn"]["c_proj"]
        x = x + np.einsum("bthc,hcd->btd", y, c["weight"]) + c["bias"]
        up, down = p["mlp"]["c_fc"], p["mlp"]["c_proj"]
        y = gelu(norm(x, p["ln_2"]) @ up["weight"] + up["bias"])
        x = x + y @ down["weight"] + down["bias"]
    return norm(x, tree["transformer"]["ln_f"]) @ words.T


def _heads(x: np.ndarray, bias: Any) -> np.ndarray:
    """The heads on axis 2, whatever axes they were on."""
    x = x if bias is None else x + bias
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _chosen(scores: np.ndarray, by: np.ndarray, count: int) -> np.ndarray:
    """The scores of the ``count`` experts that are first in ``by``, zero for the others."""
    last = np.sort(by, -1)[..., -count, None]
    return np.where(by >= last, scores, 0.0)


def _softmax(logits: np.ndarray, bias: Any, c: Mapping[str, Any]) -> np.ndarray:
    """The chosen experts' shares add up to one."""
    chosen = _chosen(softmax(logits), logits, c["num_experts_per_tok"])
    return chosen / chosen.sum(-1, keepdims=True)


def _gpt_oss(logits: np.ndarray, bias: Any, c: Mapping[str, Any]) -> np.ndarray:
    return _softmax(logits + bias, None, c)


def _deepseek_v2(logits: np.ndarray, bias: Any, c: Mapping[str, Any]) -> np.ndarray:
    chosen = _chosen(softmax(logits), logits, c["num_experts_per_tok"])
    return chosen * c["routed_scaling_factor"]


def _deepseek_v3(logits: np.ndarray, bias: Any, c: Mapping[str, Any]) -> np.ndarray:
    scores = sigmoid(logits)
    by = scores + bias
    groups = by.reshape(*by.shape[:-1], c["n_group"], -1)
    best = np.sort(groups, -1)[..., -2:].sum(-1)
    kept = _chosen(np.ones_like(best), best, c["topk_group"])
    by = np.where(kept[..., None] > 0, groups, -1e30).reshape(by.shape)
    chosen = _chosen(scores, by, c["num_experts_per_tok"])
    return chosen / chosen.sum(-1, keepdims=True) * c["routed_scaling_factor"]


ROUTERS = {"gpt_oss": _gpt_oss, "deepseek_v2": _deepseek_v2, "deepseek_v3": _deepseek_v3}


def _llama3(turns: np.ndarray, rope: Mapping[str, Any]) -> np.ndarray:
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    waves = rope["original_max_position_embeddings"] * turns / (2 * np.pi)
    smooth = np.clip((waves - low) / (high - low), 0, 1)
    return (1 - smooth) * turns / rope["factor"] + smooth * turns


def _numbered(tree: Tree, name: str, axis: int = 1) -> list[Any]:
    """The subtrees ``name_0`` and so on, or ``0`` and so on of ``name``, or a stack's layers."""
    if f"{name}_0" in tree:
        return [tree[f"{name}_{i}"] for i in range(len(tree)) if f"{name}_{i}" in tree]
    inner = tree.get(name, {})
    if "0" in inner or not inner:
        return [inner[str(i)] for i in range(len(inner))]
    count = jax.tree.leaves(inner)[0].shape[axis]
    return [jax.tree.map(lambda x, i=i: np.take(x, i, axis), inner) for i in range(count)]


def _maxtext(tree: Tree, kind: str) -> list[Any]:
    p = tree["decoder"]
    if kind.startswith("deepseek"):
        return _numbered(p, "dense_layers") + _numbered(p, "moe_layers")
    layers = _numbered(p, "layers")
    if kind == "gemma2":
        return [{key.removesuffix(f"_{lg}"): part for key, part in block.items()
                 if key.endswith(f"_{lg}")}
                for block in layers for lg in ("local", "global")]  # fmt: skip
    if "layers" in p and "layers_0" in layers[0]:
        layers = [layer for block in layers for layer in _numbered(block, "layers")]
        layers += _numbered(p.get("layers_remainder", {}), "layers")
    return layers


def _levanter(tree: Tree, kind: str) -> list[Any]:
    layers = tree["transformer"]["layers"]
    return _numbered(layers, "stacked" if "stacked" in layers else "blocks", 0)


LAYERS = {
    "maxtext": _maxtext,
    "tunix": lambda tree, kind: _numbered(tree, "layers"),
    "levanter": _levanter,
}
