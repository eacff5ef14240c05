"""Repositories of networks, a file each: how they are installed, and which networks they have."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

NAMES = ("mindcv", "mindyolo", "mindocr", "mindone", "mindnlp", "mindformers")


@dataclass(frozen=True)
class Network:
    """A network of a repository.

    Attributes:
        make: an expression of the names in the repository's file of ``builders``.
        inputs: an expression of its inputs: ``f(1, 3, 64, 64)`` normal numbers, ``i(9, 1, 8)``
            whole numbers below 9.
        gradients: whether its gradients are compared, too.
        gain: the size of its weights; at 1.2 a layer with ReLU keeps the size of what it gets.
    """

    make: str
    inputs: str
    gradients: bool = False
    gain: float = 1.2


@dataclass(frozen=True)
class Repository:
    """A repository.

    Attributes:
        requirements: what pip installs, without dependencies, the repository first.
        networks: name to network.
        explained: name to the reason of a difference that was looked into.
        source: a git repository whose files the networks need beside the package, in ``source``.
        missing: name to the reason why a network, or a part of the repository, is not there.
    """

    requirements: tuple[str, ...]
    networks: Mapping[str, Network]
    missing: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    explained: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    source: str = ""


def repository(name: str) -> Repository:
    return importlib.import_module(f"{__name__}.{name}").REPOSITORY
