"""Real MindSpore, as in the other tests against it."""

from tests.oracle.conftest import mindspore as mindspore
