"""Guess the layer of a group of leaves by names and shapes, when there is no module to ask.

Where names and shapes do not decide, all possible readings are returned.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeAlias

from msckpt_jax.conventions.layers import CLASSES, Layer

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
#: A leaf's name in its layer, and the ways in which it can be read.
Readings: TypeAlias = tuple[str, list[str]]

_AUTOMATIC = re.compile(r"([A-Za-z]+)_\d+")  # a name that linen gives, such as Conv_0
_GATES = {"LSTM": ("ii", "hi", "ig", "hg", "io", "ho"), "GRU": ("ir", "iz", "in", "hr", "hz", "hn")}
_ATTENTION = ("query", "key", "value", "out")
_CONV = "the kernel of a Conv, (*window, in, out)"
_DECONV = "the kernel of a ConvTranspose, (*window, in, out), flipped in MindSpore"
_TURNED = "the kernel of a ConvTranspose(transpose_kernel=True), (*window, out, in)"
_GENERAL = "the kernel of a DenseGeneral over several axes"
_IN_OUT = "the kernel of a Dense, (in, out), transposed in MindSpore"
_OUT_IN = "a matrix of your own, which keeps its layout"


def guess(name: str, leaves: Shapes, of_flax: bool) -> Layer | Readings | None:
    """The layer called ``name`` that has ``leaves`` (names relative to it, with shapes).

    ``of_flax``: the leaves come from Flax, where only a dense layer has a matrix called ``kernel``.
    None: the layer is unknown.
    """
    for kind, gates in _GATES.items():
        if all(f"{gate}.kernel" in leaves for gate in gates):
            return Layer(kind)
    if all(len(leaves.get(f"{part}.kernel", ())) == 3 for part in _ATTENTION):
        return Layer("Attention")
    if {"dense_i.kernel", "dense_h.kernel"} <= leaves.keys():
        hidden, gates = leaves["dense_h.kernel"]
        return {4: Layer("LSTM"), 3: Layer("GRU"), 1: Layer("RNN cell")}.get(gates // hidden)
    match = _AUTOMATIC.fullmatch(name)
    automatic = CLASSES.get(match[1]) if match else None
    if "kernel" in leaves:
        return _with_kernel(leaves, automatic, of_flax)
    if automatic:
        return Layer(automatic)
    if {"mean", "var"} <= leaves.keys():
        return Layer("BatchNorm")
    for leaf, kind in (("scale", "LayerNorm"), ("embedding", "Embed"), ("negative_slope", "PReLU")):
        if leaf in leaves:
            return Layer(kind)
    if "bias" in leaves:
        return "bias", ["the beta of a normalisation without scale", "a parameter of your own"]
    return None


def _with_kernel(leaves: Shapes, automatic: str | None, of_flax: bool) -> Layer | Readings | None:
    kernel, bias = leaves["kernel"], leaves.get("bias")
    if automatic == "Conv":
        return Layer("Conv")
    if automatic == "ConvTranspose":
        return _transposed(kernel, bias)
    if automatic == "DenseGeneral" and bias is not None:
        return Layer("DenseGeneral", len(kernel) - len(bias))
    if len(kernel) == 2:
        certain = automatic == "Dense" or of_flax
        if certain or (kernel[0] != kernel[1] and bias == kernel[1:]):
            return Layer("Dense")
        return "kernel", [_IN_OUT, _OUT_IN]
    if 3 <= len(kernel) <= 5:
        return "kernel", [_CONV, _DECONV, _TURNED, *([_GENERAL] if len(kernel) < 5 else [])]
    return None


def _transposed(kernel: tuple[int, ...], bias: tuple[int, ...] | None) -> Layer | Readings:
    if bias is None or kernel[-1] == kernel[-2]:
        return "kernel", [_DECONV, _TURNED]
    turned = bias == kernel[-2:-1]
    return Layer("ConvTranspose(transpose_kernel=True)" if turned else "ConvTranspose")
