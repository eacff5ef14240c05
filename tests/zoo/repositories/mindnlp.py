"""mindnlp: language models, each with a small configuration."""

from __future__ import annotations

from typing import Any

from tests.zoo.repositories import Network, Repository


def _model(family: str, name: str, inputs: str = "i(99, 1, 8)", **options: Any) -> Network:
    arguments = "".join(f", {key}={value!r}" for key, value in options.items())
    return Network(f"model({family!r}, {name!r}{arguments})", inputs)


REPOSITORY = Repository(
    (
        "mindnlp==0.3.1", "numpy==1.26.4", "pytest==7.2.0", "addict", "evaluate", "pyctcdecode",
        "datasets==4.4.1", "pyarrow==19.0.0", "pandas<2.4", "tokenizers>=0.22,<0.23",
        "huggingface-hub>=0.34,<1", "sentencepiece", "regex", "tqdm", "dill", "multiprocess",
        "xxhash", "jieba", "pytz", "tzdata", "python-dateutil", "six", "httpx", "fsspec",
        "requests",
    ),
    {
        "BertModel": _model("bert", "BertModel"),
        "RobertaModel": _model(
            "roberta", "RobertaModel", "(i(99, 1, 8), ops.ones((1, 8), ms.int32))", pad_token_id=1
        ),
        "AlbertModel": _model("albert", "AlbertModel", embedding_size=16),
        "DistilBertModel": _model(
            "distilbert", "DistilBertModel", dim=32, n_layers=2, n_heads=4, hidden_dim=37
        ),
        "ErnieModel": _model("ernie", "ErnieModel"),
        "GPT2Model": _model("gpt2", "GPT2Model", use_cache=False),
        "OPTModel": _model("opt", "OPTModel", use_cache=False, ffn_dim=37, word_embed_proj_dim=32),
        "LlamaModel": _model("llama", "LlamaModel", use_cache=False),
        "MistralModel": _model("mistral", "MistralModel", use_cache=False, num_key_value_heads=2),
        "BloomModel": _model("bloom", "BloomModel", use_cache=False, n_layer=2, n_head=4),
        "T5EncoderModel": _model(
            "t5", "T5EncoderModel", d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4
        ),
    },
    {
        "0.4.1": "its networks are modules of its own, which MindSpore does not export",
        "0.5.1": "wants MindSpore 2.7 at most, and runs the networks of Hugging Face's "
        "transformers by a torch of its own (mindtorch)",
    },
)  # fmt: skip
