"""BERT, named as in MindSpore's model zoo (``official/nlp/Bert``, BertModel).

A CheckPoint of pre-training holds these names behind ``bert.bert.``, a CheckPoint of fine-tuning
behind ``bert.bert.`` or ``bert.``; ``load_param_into_net`` removes such a prefix.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import DTypeLike

# The epsilon of MindSpore's nn.LayerNorm; Flax has 1e-6.
_EPSILON = 1e-7
#: The term that is added to the scores of masked positions.
_HIDDEN = -10000.0


class Attention(nnx.Module):
    """Query, key and value, and the attention between them, without an output layer."""

    def __init__(
        self, width: int, heads: int, dropout: float, *, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        dense = functools.partial(nnx.Linear, width, width, dtype=dtype, rngs=rngs)
        self.query_layer = dense()
        self.key_layer = dense()
        self.value_layer = dense()
        self.dropout = nnx.Dropout(dropout)
        self.heads = heads

    def __call__(self, x: jax.Array, bias: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        *rows, width = x.shape
        split = (*rows, self.heads, width // self.heads)
        query, key, value = (
            layer(x).reshape(split)
            for layer in (self.query_layer, self.key_layer, self.value_layer)
        )
        scores = jnp.einsum("nqhd,nkhd->nhqk", query, key) / math.sqrt(split[-1])
        weights = self.dropout(nnx.softmax(scores + bias), rngs=rngs)
        return jnp.einsum("nhqk,nkhd->nqhd", weights, value).reshape(x.shape)


class Output(nnx.Module):
    """Dense layer, sum with the shortcut, normalisation."""

    def __init__(
        self, features: int, width: int, dropout: float, *, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        self.dense = nnx.Linear(features, width, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)
        self.layernorm = nnx.LayerNorm(width, epsilon=_EPSILON, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, shortcut: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        return self.layernorm(shortcut + self.dropout(self.dense(x), rngs=rngs))


class SelfAttention(nnx.Module):
    def __init__(
        self, width: int, heads: int, dropout: float, *, dtype: DTypeLike | None, rngs: nnx.Rngs
    ):
        self.attention = Attention(width, heads, dropout, dtype=dtype, rngs=rngs)
        self.output = Output(width, width, dropout, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, bias: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        return self.output(self.attention(x, bias, rngs), x, rngs)


class EncoderCell(nnx.Module):
    """Self-attention and two dense layers."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        dropout: float,
        *,
        dtype: DTypeLike | None,
        rngs: nnx.Rngs,
    ):
        self.attention = SelfAttention(width, heads, dropout, dtype=dtype, rngs=rngs)
        self.intermediate = nnx.Linear(width, hidden, dtype=dtype, rngs=rngs)
        self.output = Output(hidden, width, dropout, dtype=dtype, rngs=rngs)

    def __call__(self, x: jax.Array, bias: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        x = self.attention(x, bias, rngs)
        # MindSpore's nn.GELU is the tanh approximation.
        return self.output(nnx.gelu(self.intermediate(x), approximate=True), x, rngs)


class Encoder(nnx.Module):
    def __init__(self, depth: int, *sizes: Any, dtype: DTypeLike | None, rngs: nnx.Rngs):
        cells = [EncoderCell(*sizes, dtype=dtype, rngs=rngs) for _ in range(depth)]
        self.layers = nnx.List(cells)

    def __call__(self, x: jax.Array, bias: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        for layer in self.layers:
            x = layer(x, bias, rngs)
        return x


class EmbeddingPostprocessor(nnx.Module):
    """The sum with the embeddings of segment and position, and a normalisation."""

    def __init__(
        self,
        width: int,
        types: int,
        positions: int,
        dropout: float,
        *,
        dtype: DTypeLike | None,
        rngs: nnx.Rngs,
    ):
        self.token_type_embedding = nnx.Embed(types, width, dtype=dtype, rngs=rngs)
        self.full_position_embedding = nnx.Embed(positions, width, dtype=dtype, rngs=rngs)
        self.layernorm = nnx.LayerNorm(width, epsilon=_EPSILON, dtype=dtype, rngs=rngs)
        self.dropout = nnx.Dropout(dropout)

    def __call__(self, words: jax.Array, types: jax.Array, rngs: nnx.Rngs | None) -> jax.Array:
        positions = self.full_position_embedding(jnp.arange(words.shape[1]))
        x = words + self.token_type_embedding(types) + positions
        return self.dropout(self.layernorm(x), rngs=rngs)


class Bert(nnx.Module):
    """The zoo's BertModel.

    Args:
        vocab_size: the number of tokens.
        hidden_size: the width of the network.
        num_hidden_layers: the number of encoder cells.
        num_attention_heads: the number of heads of each cell; it divides the width.
        intermediate_size: the width inside the cells.
        max_position_embeddings: the length of the longest sequence.
        type_vocab_size: the number of segments.
        dropout: the rate while training, for outputs and attention.
        dtype: the dtype of the computation; parameters are float32. None: float32.
        rngs: the random keys of the initial weights.

    Raises:
        ValueError: the heads do not divide the width.
    """

    def __init__(
        self,
        vocab_size: int = 21128,
        hidden_size: int = 768,
        num_hidden_layers: int = 12,
        num_attention_heads: int = 12,
        intermediate_size: int = 3072,
        *,
        max_position_embeddings: int = 512,
        type_vocab_size: int = 2,
        dropout: float = 0.1,
        dtype: DTypeLike | None = None,
        rngs: nnx.Rngs,
    ):
        if hidden_size % num_attention_heads:
            raise ValueError(
                f"num_attention_heads must divide hidden_size: {num_attention_heads} does not "
                f"divide {hidden_size}"
            )
        options = {"dtype": dtype, "rngs": rngs}
        self.bert_embedding_lookup = nnx.Embed(vocab_size, hidden_size, **options)
        self.bert_embedding_postprocessor = EmbeddingPostprocessor(
            hidden_size, type_vocab_size, max_position_embeddings, dropout, **options
        )
        cell = (hidden_size, num_attention_heads, intermediate_size, dropout)
        self.bert_encoder = Encoder(num_hidden_layers, *cell, **options)
        self.dense = nnx.Linear(hidden_size, hidden_size, **options)

    def __call__(
        self,
        input_ids: jax.Array,
        token_type_ids: jax.Array,
        input_mask: jax.Array,
        *,
        rngs: nnx.Rngs | None = None,
    ) -> tuple[jax.Array, jax.Array]:
        """The sequence output ``[N, L, hidden_size]`` and the pooled output ``[N, hidden_size]``.

        Args:
            input_ids: the tokens, int ``[N, L]``.
            token_type_ids: the segment of each token, int ``[N, L]``.
            input_mask: 1 for a token, 0 for padding, ``[N, L]``.
            rngs: the random keys of dropout; needed while training only.
        """
        x = self.bert_embedding_lookup(input_ids)
        x = self.bert_embedding_postprocessor(x, token_type_ids, rngs)
        bias = (1 - input_mask[:, None, None, :].astype(x.dtype)) * _HIDDEN
        x = self.bert_encoder(x, bias, rngs)
        return x, nnx.tanh(self.dense(x[:, 0]))


def bert_base(vocab_size: int = 21128, *, rngs: nnx.Rngs, **options: Any) -> Bert:
    """BERT-base; ``options`` are those of :class:`Bert`.

    The default is the vocabulary of the Chinese model, as in the zoo; the vocabulary of the English
    uncased model has 30522 tokens.
    """
    return Bert(vocab_size, rngs=rngs, **options)
