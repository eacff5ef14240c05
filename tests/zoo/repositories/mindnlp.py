"""mindnlp: language models."""

from __future__ import annotations

from tests.zoo.repositories import Repository

REPOSITORY = Repository(
    ("mindnlp==0.5.1",),
    {},
    {
        "all": "not tried: 0.5.1 wants MindSpore 2.7 at most, and runs the networks of Hugging "
        "Face's transformers by a torch of its own (mindtorch); the same networks, written for "
        "MindSpore, are those of mindone",
    },
)
