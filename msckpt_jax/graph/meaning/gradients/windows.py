"""Gradients of operators over windows of images: convolution, pooling, padding, resizing."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from msckpt_jax.graph.meaning import arrays, convolution, pooling, sampling
from msckpt_jax.graph.meaning.arrays import ints
from msckpt_jax.graph.meaning.gradients.rule import (
    Gradient,
    Row,
    Transpose,
    attributes,
    gradients,
    signed,
    transposed,
)


def _to_places(x: Any, dout: Any, place: Any, *_: Any, **__: Any) -> Any:
    """The gradient of a maximum over windows by the places that were chosen in each image."""
    n, c, *sizes = x.shape
    flat = jnp.zeros((n, c, math.prod(sizes)), dout.dtype)
    batch, channel = jnp.arange(n)[:, None, None], jnp.arange(c)[None, :, None]
    place, dout = (jnp.reshape(v, (n, c, -1)) for v in (place, dout))
    return jnp.reshape(flat.at[batch, channel, place].add(dout), x.shape)


def _from_places(x: Any, dout: Any, place: Any, **_: Any) -> Any:
    """The gradient of values that were put to places in each image."""
    n, c = x.shape[:2]
    dout, place = (jnp.reshape(v, (n, c, -1)) for v in (dout, place))
    return jnp.reshape(jnp.take_along_axis(dout, place, 2), x.shape)


def _as_one_channel(*arrays: Any) -> list[Any]:
    """Arrays whose places are counted through all channels of a sample."""
    return [jnp.reshape(v, (v.shape[0], 1, -1)) for v in arrays]


def _to_sample_places(x: Any, dout: Any, place: Any, **_: Any) -> Any:
    return jnp.reshape(_to_places(*_as_one_channel(x, dout, place)), x.shape)


def _from_sample_places(x: Any, dout: Any, place: Any, **_: Any) -> Any:
    return jnp.reshape(_from_places(*_as_one_channel(place, dout, place)), place.shape)


def _to_adaptive_places(dout: Any, x: Any, place: Any) -> Any:
    return _to_places(x, dout, place) if x.ndim > 3 else _to_places(x[None], dout, place)[0]


def _convolution(
    dout: Any, x: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any,
    transpose: bool, output_padding: Any, groups: int, output_mask: Any,
) -> Any:  # fmt: skip
    """The gradients of the image, the weight and the bias."""
    bias = jnp.zeros(dout.shape[1], dout.dtype) if bias is None else bias
    forward = convolution.TABLE["Convolution"]
    return gradients(
        lambda x, w, b: forward(
            x, w, b, stride, padding, dilation, transpose, output_padding, groups
        ),
        (x, weight, bias), dout,
    )  # fmt: skip


def _twice(forward: str) -> Any:
    """The gradient of a gradient of a maximum over windows: what is added to the maxima."""

    def run(x: Any, out: Any, dout: Any, **attrs: Any) -> Any:
        return jax.jvp(lambda x: pooling.TABLE[forward](x, **attrs), (x,), (dout,))[1]

    return signed(run, ["x", "out", "dout"], attributes(pooling.TABLE[forward]))


def _crop_image(
    dout: Any,
    boxes: Any,
    index: Any,
    size: Any,
    *,
    method: str = "bilinear",
    T: Any = np.float32,  # noqa: N803 - MindSpore's name
) -> Any:
    crop, wide = sampling.TABLE["CropAndResize"], dout.astype(jnp.float32)
    back = transposed(
        lambda x: crop(x, boxes, index, dout.shape[1:3], method=method), ints(size), wide
    )
    return back.astype(T)


def _crop_boxes(dout: Any, image: Any, boxes: Any, index: Any, *, method: str = "bilinear") -> Any:
    crop, size = sampling.TABLE["CropAndResize"], dout.shape[1:3]
    wide = image.astype(boxes.dtype)
    return gradients(lambda boxes: crop(wide, boxes, index, size, method=method), [boxes], dout)


def _affine_grid(dout: Any, size: Any, *, align_corners: bool = False) -> Any:
    forward, rank = sampling.TABLE["AffineGrid"], len(ints(size)) - 2
    shape = (dout.shape[0], rank, rank + 1)
    return transposed(lambda x: forward(x, size, align_corners=align_corners), shape, dout)


def _padding(mode: str, pairs: Any, dout: Any) -> Any:
    shape = [n - low - high for n, (low, high) in zip(dout.shape, pairs, strict=True)]
    return transposed(lambda x: arrays.pad(x, pairs, mode), shape, dout)


def _mirror_pad(dout: Any, paddings: Any, *, mode: str) -> Any:
    rows = np.reshape(np.asarray(paddings), (-1, 2))
    return _padding(mode.lower(), [(int(a), int(b)) for a, b in rows], dout)


def _pad_v3(
    dout: Any, paddings: Any, *, mode: str = "reflect", paddings_contiguous: bool = True
) -> Any:
    return _padding(mode, arrays.pairs(dout, paddings, paddings_contiguous), dout)


_CONVOLUTIONS: dict[str, Row] = {
    "Conv2DBackpropFilter": Transpose("dout x shape", "Conv2D", "x sought"),
    "Conv3DBackpropFilter": Transpose("x dout shape", "Conv3D", "x sought"),
    "Conv3DBackpropInput": Transpose("weight dout shape", "Conv3D", "sought weight"),
    "ConvolutionGrad": _convolution,
    "BiasAddGrad": lambda dout, data_format=0: jnp.sum(
        dout, (0, *range(2, dout.ndim)), dtype=dout.dtype
    ),
}

_POOLS: dict[str, Row] = {
    "MaxPoolGrad": Gradient("x out dout", "MaxPool", "x"),
    "MaxPool3DGrad": Gradient("x out dout", "MaxPool3D", "x"),
    "MaxPoolGradGrad": _twice("MaxPool"),
    "MaxPool3DGradGrad": _twice("MaxPool3D"),
    "MaxPoolGradGradWithArgmax": _from_sample_places,
    "MaxPoolGradWithArgmax": _to_sample_places,
    **dict.fromkeys(
        ("MaxPoolGradWithArgmaxV2", "MaxPool3DGradWithArgmax",
         "MaxPoolGradWithMask", "MaxPoolGradWithIndices"),
        _to_places,
    ),
    "AdaptiveMaxPool2DGrad": _to_adaptive_places,
    "AdaptiveMaxPool3DGrad": _to_adaptive_places,
    "AvgPoolGrad": Transpose(
        "like out dout kernel strides pad_mode format", "AvgPool",
        "sought kernel strides pad_mode format",
    ),
    "AvgPool3DGrad": Transpose("shape dout", "AvgPool3D", "sought"),
    **{
        f"AvgPool{name}": Transpose(
            "dout like kernel stride padding ceil include divisor", forward,
            "sought kernel stride padding ceil include divisor",
        )
        for name, forward in (("2DGrad", "AvgPool2D"), ("3DGradExt", "AvgPool3DExt"))
    },
    **{
        f"AdaptiveAvgPool{n}D{op}": Transpose(f"dout {of}", f"AdaptiveAvgPool{n}D", "sought size")
        for n in (2, 3)
        for op, of in (("Grad", "shape"), ("GradExt", "like"))
    },
}  # fmt: skip

_SAMPLES: dict[str, Row] = {
    **{
        f"GridSampler{n}DGrad": Gradient(
            "dout x grid mode padding align mask", f"GridSampler{n}D", "x grid mode padding align",
            of="x grid",
        )
        for n in (2, 3)
    },
    "AffineGridGrad": _affine_grid,
    "CropAndResizeGradBoxes": _crop_boxes,
    "CropAndResizeGradImage": _crop_image,
    "ROIAlignGrad": Transpose("dout rois shape", "ROIAlign", "sought rois"),
    "Dilation2DBackpropInput": Gradient("x kernel dout", "Dilation2D", "x kernel"),
    "Dilation2DBackpropFilter": Gradient("x kernel dout", "Dilation2D", "x kernel", of="kernel"),
    "MaxUnpool2DGrad": _from_places,
    "MaxUnpool3DGrad": _from_places,
    "FractionalMaxPoolGradWithFixedKsize": _to_places,
    "FractionalMaxPool3DGradWithFixedKsize": _to_places,
    "Col2ImGrad": pooling.TABLE["Im2ColExt"],
}  # fmt: skip

_PADDINGS: dict[str, Row] = {
    "MirrorPadGrad": _mirror_pad,
    "PadV3Grad": _pad_v3,
    **{
        f"{op}Pad{n}DGrad": Transpose("dout like padding", f"{op}Pad{n}D", "sought padding")
        for op in ("Reflection", "Replication")
        for n in (1, 2, 3)
    },
}

_RESIZES: dict[str, Row] = {
    "ResizeBilinearGrad": Transpose(
        "dout like align half", "ResizeBilinearV2", "sought size align half"
    ),
    "ResizeBicubicGrad": Transpose(
        "dout like align half", "ResizeBicubic", "sought size align half"
    ),
    "ResizeLinear1DGrad": Transpose("dout like mode", "ResizeLinear1D", "sought size mode"),
    **{
        f"{op}Grad": Transpose("dout image align half", op, "sought size align half")
        for op in ("ResizeNearestNeighbor", "ResizeNearestNeighborV2")
    },
    **{
        f"Upsample{kind}Grad": Transpose(
            "dout shape size scales align", f"Upsample{kind}", "sought size scales align"
        )
        for kind in ("Linear1D", "Bilinear2D", "Bicubic2D", "Trilinear3D")
    },
    **{
        f"UpsampleNearest{n}DGrad": Transpose(
            "dout shape size scales", f"UpsampleNearest{n}D", "sought size scales"
        )
        for n in (1, 2, 3)
    },
}

ROWS: dict[str, Row] = {**_CONVOLUTIONS, **_POOLS, **_SAMPLES, **_PADDINGS, **_RESIZES}
