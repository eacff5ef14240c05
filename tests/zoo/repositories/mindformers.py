"""mindformers: language models for Ascend, those that a CPU computes, too."""

from __future__ import annotations

from tests.zoo.repositories import Network, Repository

_TOKENS = "i(99, 1, 8)"

REPOSITORY = Repository(
    (
        "mindformers==1.8.0", "mindspore==2.7.2", "numpy==1.26.4", "transformers==4.57.1",
        "tokenizers>=0.22,<0.23", "huggingface-hub>=0.34,<1", "datasets==4.4.1", "pyarrow==19.0.0",
        "pandas<2.4", "mindpet==1.0.4", "nltk==3.9.1", "opencv-python-headless==4.10.0.84",
        "sentencepiece", "regex", "tqdm", "dill", "multiprocess", "xxhash", "deprecated", "wrapt",
        "jieba", "rouge_chinese", "ftfy", "tiktoken", "tensorboardX", "setproctitle", "astunparse",
        "joblib", "click", "six", "wcwidth", "pytz", "tzdata", "python-dateutil", "httpx",
        "fsspec", "requests", "psutil",
    ),
    {
        "llama2": Network("llm()", _TOKENS, True),
        "llama3": Network("llm(n_kv_heads=2)", _TOKENS),
        "llama_tied": Network("llm(tie_word_embeddings=True)", _TOKENS),
        "qwen2_as_llama": Network("llm(qkv_has_bias=True, n_kv_heads=2)", _TOKENS),
        "glm2": Network("glm(rmsnorm=False)", _TOKENS),
    },
    {
        "2.1.0": "wants MindSpore 2.11, which pip does not have here",
        "qwen2 and qwen3 for inference": "built with 1 layer: in float32 'For "
        "primitive[ApplyRotaryPosEmb], the input argument[key] must be a type of "
        "{Tensor[BFloat16], Tensor[Float16]}', in float16 'TupleGetItem evaluator index should be "
        "in range[-2, 2), but got 2'",
        "qwen3 in training": "built with 1 layer: 'Failed calling ApplyRotaryPosEmb with "
        "\"position_ids=None\"'",
        "glm4, telechat2": "they make their caches on an Ascend chip: 'Create device context "
        "failed, please make sure target device:2 is available'",
        "deepseek3": "its settings want those of a trainer: ''MLATransformerConfig' object has no "
        "attribute 'swap''",
    },
)  # fmt: skip
