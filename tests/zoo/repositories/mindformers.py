"""mindformers: language models for Ascend."""

from __future__ import annotations

from tests.zoo.repositories import Repository

REPOSITORY = Repository(
    ("mindformers==1.8.0",),
    {},
    {
        "all": "2.1.0 wants MindSpore 2.11, 1.8.0 MindSpore 2.7; importing a model of 1.8.0 needs "
        "mindpet, tensorboardX, pyarrow, datasets and deprecated, and NumPy 1",
    },
)
