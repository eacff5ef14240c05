"""mindformers: language models for Ascend."""

from __future__ import annotations

from tests.zoo.repositories import Repository

REPOSITORY = Repository(
    ("mindformers==1.8.0",),
    {},
    {
        "all": "not tried: 2.1.0 wants MindSpore 2.11, and 1.8.0, for MindSpore 2.7, imports "
        "nothing without pyarrow, datasets, mindpet and more, and wants NumPy 1",
    },
)
