"""mindnlp: language models."""

from __future__ import annotations

from tests.zoo.repositories import Repository

REPOSITORY = Repository(
    ("mindnlp==0.5.1",),
    {},
    {
        "all": "0.5.1 wants MindSpore 2.7 at most, and replaces torch itself, with which it runs "
        "the networks of transformers; no graph of MindSpore is compiled, and none exported. The "
        "same networks written for MindSpore are those of mindone",
    },
)
