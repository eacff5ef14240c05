"""Operators that MindSpore's CPU runs, each alone: rows like those of vocabulary_rows.py.

They are in the networks of cases.py, too, mostly in float32.
"""

from __future__ import annotations

_SIGNED = "f16 f32 f64 i8 i16 i32 i64"
_REAL = f"{_SIGNED} u8"
_ANY = f"{_REAL} c64 bool"

ELEMENTS = f"""
AddExt | A.AddExt()(x, y, 2) | {_REAL} c64 | f(3, 4), f(4)
AddExt | A.AddExt()(x, y, 1) | bool | f(3, 4), f(4)
SubExt | A.SubExt()(x, y, 3) | {_REAL} c64 | f(3, 4), f(4)
AddN | P.AddN()((x, y, x)) | {_REAL} c64 | f(3, 4), f(3, 4)
AddV2 | H.AddV2()(x, y) | f16 f32 f64 i8 i32 u8 c64 | f(3, 4), f(3, 4)
Addcdiv | A.Addcdiv()(x, y, z, u) | f16 f32 f64 | f(3, 4), f(3, 4), n(1, 3, 3, 4), t(2)
Addcmul | A.Addcmul()(x, y, z, u) | f16 f32 f64 i32 i64 i8 u8 | f(3, 4), f(3, 4), n(1, 3, 3, 4), t(2)
Angle | A.Angle()(x) | c64 c128 | f(3, 4)
BesselI0 | H.BesselI0()(x) | f16 f32 f64 | f(40) | 512
BesselI1 | H.BesselI1()(x) | f16 f32 f64 | f(40) | 512
BiasAdd | P.BiasAdd()(x, y) | {_SIGNED} u8 c64 | f(3, 4, 2), f(4)
BitwiseAndTensor | A.BitwiseAndTensor()(x, y) | i8 i16 i32 i64 u8 bool | f(3, 4), f(3, 4)
Cast | A.Cast()(x, ms.int32) | {_ANY} | f(3, 40)
Cast | A.Cast()(x, ms.int8) | f16 f32 f64 i16 i64 | n(-100, 100, 3, 40)
Cast | A.Cast()(x, ms.uint8) | f16 f32 f64 i16 i64 u16 | n(0, 200, 3, 40)
Cast | A.Cast()(x, ms.uint8) | i8 i16 i32 i64 | n(-100, 100, 3, 40)
Cast | A.Cast()(x, ms.float16) | {_ANY} | f(3, 40)
Cast | A.Cast()(x, ms.bfloat16).astype(ms.float32) | f32 f64 i32 | f(3, 40)
Cast | A.Cast()(x, ms.bool_) | {_ANY} | f(3, 40)
Cast | A.Cast()(x, ms.complex64) | {_ANY} | f(3, 40)
CeLU | A.CeLU(1.5)(x) | f32 | f(3, 40)
Digamma | H.Digamma()(x) | f16 f32 | n(0.1, 9, 40) | 512
DivNoNan | H.DivNoNan()(x, y) | f16 f32 f64 c64 | f(3, 4), t([0, 1, 2, 3])
Elu | A.Elu(1.0)(x) | f32 f64 | f(3, 40) | 256
FastGeLU | A.FastGeLU()(x) | f16 f32 | f(3, 40) | 256
FloorDiv | A.FloorDiv()(x, y) | f32 f64 i8 i16 i32 i64 u8 | n(0, 90, 3, 40), n(1, 9, 40)
FloorDiv | A.FloorDiv()(x, y) | f16 f32 f64 i8 i16 i32 i64 | n(-90, 90, 3, 40), n(1, 9, 40)
FloorDiv | A.FloorDiv()(x, y) | f32 f64 i8 i16 i32 i64 | n(-90, 90, 3, 40), n(-9, -1, 40)
FloorMod | A.FloorMod()(x, y) | {_REAL} | n(1, 90, 3, 40), n(1, 9, 40) | 512
FloorMod | A.FloorMod()(x, y) | f32 f64 i8 i16 i32 i64 | n(-90, 90, 3, 40), n(-9, -1, 40) | 512
FloorMod | A.FloorMod()(x, y) | f32 f64 i8 i16 i32 i64 | n(-90, 90, 3, 40), n(1, 9, 40) | 512
TruncateMod | H.TruncateMod()(x, y) | f32 f64 i8 i32 | n(-90, 90, 3, 40), n(-9, -1, 40) | 512
TruncateMod | H.TruncateMod()(x, y) | f32 f64 i32 u8 | n(1, 90, 3, 40), n(1, 9, 40) | 512
Fmax | H.Fmax()(x, y) | f16 f32 f64 i32 i64 | f(3, 4), f(4)
Fmax | H.Fmax()(x, y) | f16 f32 f64 | t([1, np.nan, np.nan]), t([np.nan, 2, np.nan])
Gcd | A.Gcd()(x, y) | i32 i64 | n(-99, 99, 3, 40), n(-99, 99, 40)
Lcm | H.Lcm()(x, y) | i32 i64 | n(-99, 99, 3, 40), n(-99, 99, 40)
Ger | H.Ger()(x, y) | f32 | f(4), f(3)
Ger | H.Ger()(x, y) | f64 | f(4), f(3) | 1e9
HShrink | A.HShrink(0.5)(x) | f32 | f(3, 40)
HSigmoid | A.HSigmoid()(x) | f32 f64 i8 i16 i32 i64 | n(-5, 5, 3, 40)
HSwish | A.HSwish()(x) | f16 f32 f64 i8 i16 i32 i64 | n(-5, 5, 3, 40)
Heaviside | H.Heaviside()(x, y) | f16 f32 f64 i32 i64 i8 u8 | t([0, 1, 0, 5]), f(4)
Hypot | H.Hypot()(x, y) | f32 f64 | f(3, 4), f(4)
Inv | H.Inv()(x) | f32 f64 c64 i32 | n(1, 5, 3, 4)
IsClose | A.IsClose(1e-2, 1e-2, True)(x, y) | f32 f64 f16 i32 | t([1, 2, 3, 4]), t([1, 3, 3, 5])
IsInf | A.IsInf()(x) | f16 f32 f64 | t([1, np.inf, -np.inf, np.nan])
IsNan | H.IsNan()(x) | f16 f32 f64 | t([1, np.inf, -np.inf, np.nan])
Lerp | A.Lerp()(x, y, z) | f32 | f(3, 4), f(3, 4), p(3, 4)
Logit | A.Logit(0.1)(x) | f16 f32 f64 | p(3, 40)
MaskedFill | A.MaskedFill()(x, y, z) | {_ANY} | f(3, 4), b(3, 4), t(1)
Mish | W.Mish()(x) | f32 | f(3, 40)
MulNoNan | H.MulNoNan()(x, y) | f16 f32 f64 c64 i32 | f(3, 4), t([0, 1, 2, 3])
MulNoNan | H.MulNoNan()(x, y) | f32 | t([np.nan, np.inf, 1]), t([0, 0, 2])
Mvlgamma | Y.Mvlgamma(3)(x) | f32 f64 | n(2, 9, 40) | 512
NanToNum | A.NanToNum(1.0, 2.0, 3.0)(x) | f16 f32 | t([1, np.inf, -np.inf, np.nan])
PReLU | A.PReLU()(x, y) | f16 f32 | f(2, 3, 4), f(3)
Polar | A.Polar()(x, y) | f32 f64 | p(3, 4), f(3, 4)
Polygamma | H.Polygamma()(y, x) | f32 f64 f16 | n(1, 9, 40), t(2, 'i4') | 2048
ReLU6 | A.ReLU6()(x) | f32 | n(-9, 9, 3, 40)
ReLUV3 | W.ReLUV3()(x) | {_REAL} | f(3, 40)
RealDiv | A.RealDiv()(x, y) | f32 f64 c64 | f(3, 4), n(1, 3, 4)
Round | A.Round()(x, 0) | f32 f64 i32 i64 | t([0.5, 1.5, 2.5, -0.5, -1.5, 0.4])
SeLU | W.SeLU()(x) | f16 f32 | f(3, 40)
SeLU | W.SeLU()(x) | f64 | f(3, 40) | 1e9
Sinc | A.Sinc()(x) | f16 f32 f64 i32 i8 u8 c64 | f(3, 40) | 256
SoftShrink | A.SoftShrink(0.5)(x) | f32 | f(3, 40)
Softplus | W.Softplus()(x) | f32 | n(-30, 30, 3, 40)
SoftplusExt | A.SoftplusExt()(x, 2, 5) | f32 f64 | n(-9, 9, 3, 40)
Softsign | W.Softsign()(x) | f32 f64 | f(3, 40)
SquaredDifference | H.SquaredDifference()(x, y) | f16 f32 f64 i32 i64 c64 | f(3, 4), f(4)
Trunc | A.Trunc()(x) | {_REAL} bool | f(3, 40)
Xdivy | H.Xdivy()(x, y) | f16 f32 f64 c64 | t([0, 1, 2, 0]), t([1, 2, 3, 0])
Xlogy | A.Xlogy()(x, y) | f16 f32 f64 c64 | t([0, 1, 2, 0]), t([1, 2, 3, 0.5])
ZerosLike | A.ZerosLike()(x) | {_ANY} | f(3, 4)
OnesLike | A.OnesLike()(x) | {_ANY} | f(3, 4)
Identity | A.Identity()(x) | {_ANY} | f(3, 4)
"""

REDUCTIONS = f"""
ArgMaxWithValue | A.ArgMaxWithValue(1, False)(x) | f16 f32 f64 i8 i32 i64 u8 | n(0, 3, 3, 40)
ArgMinWithValue | A.ArgMinWithValue(-1, True)(x) | f16 f32 f64 i8 i32 i64 u8 | n(0, 3, 3, 40)
CumulativeLogsumexp | H.CumulativeLogsumexp()(x, y) | f32 f64 f16 | f(3, 4), t(1, 'i4')
CumulativeLogsumexp | H.CumulativeLogsumexp(True, True)(x, y) | f32 f64 | f(3, 4), t(0, 'i4')
L2Loss | W.L2Loss()(x) | f16 f32 f64 | f(3, 4)
L2Normalize | W.L2Normalize(1)(x) | f16 f32 f64 | f(3, 4)
LpNorm | H.LpNorm([1], 3)(x) | f32 | f(3, 4)
MaxDim | A.MaxDim()(x, 1, False) | {_REAL} | n(0, 3, 3, 40)
MinDim | A.MinDim()(x, 0, True) | {_REAL} | n(0, 3, 3, 40)
ReduceMean | P.ReduceMean(True)(x, (1,)) | f32 f64 c64 i32 i64 | n(0, 99, 3, 40)
ReduceMean | P.ReduceMean()(x, ()) | f32 i32 | n(-99, 99, 3, 40)
ReduceStd | A.ReduceStd((1,), True, False)(x) | f16 f32 | f(3, 40)
ReduceStd | A.ReduceStd((), False, True)(x) | f32 | f(3, 40)
SquareSumAll | H.SquareSumAll()(x, y) | f32 f16 | f(3, 4), f(3, 4)
Trace | A.Trace()(x) | {_REAL} | f(3, 4)
UnsortedSegmentSum | A.UnsortedSegmentSum()(x, y, 4) | {_REAL} c64 | f(5, 2), t([0, 3, 0, -1, 1], 'i4')
UnsortedSegmentMax | Y.UnsortedSegmentMax()(x, y, 4) | {_REAL} | f(5, 2), t([0, 3, 0, 1, 1], 'i4')
UnsortedSegmentMin | Y.UnsortedSegmentMin()(x, y, 4) | {_REAL} | f(5, 2), t([0, 3, 0, 1, 1], 'i4')
UnsortedSegmentProd | Y.UnsortedSegmentProd()(x, y, 4) | {_REAL} c64 | f(5, 2), t([0, 3, 0, 1, 1], 'i4')
SearchSorted | A.SearchSorted(ms.int32, False)(x, y) | f32 f64 i8 i16 i32 i64 | t([[1, 3, 5, 5, 7], [0, 2, 4, 6, 8]]), t([[5, 0, 9], [3, 4, 8]])
SearchSorted | A.SearchSorted(ms.int64, True)(x, y) | f32 i32 | t([[1, 3, 5, 5, 7], [0, 2, 4, 6, 8]]), t([[5, 0, 9], [3, 4, 8]])
"""

PLACES = f"""
BatchToSpaceND | P.BatchToSpaceND([2, 2], [[0, 1], [1, 0]])(x) | {_REAL} | f(8, 3, 2, 3)
SpaceToBatchND | Y.SpaceToBatchND([2, 2], [[0, 1], [1, 0]])(x) | {_REAL} | f(2, 3, 3, 5)
ChannelShuffle | W.ChannelShuffle(2)(x) | {_REAL} | f(2, 6, 2, 3)
Cross | A.Cross(1)(x, y) | f16 f32 f64 i8 i32 i64 c64 | f(2, 3), f(2, 3)
DepthToSpace | Y.DepthToSpace(2)(x) | f16 f32 i8 i32 u8 c64 | f(2, 8, 3, 2)
SpaceToDepth | Y.SpaceToDepth(2)(x) | f16 f32 i8 i32 u8 c64 | f(2, 3, 4, 6)
Diag | A.Diag()(x) | f16 f32 f64 i32 i64 c64 | f(3)
Diag | A.Diag()(x) | f32 | f(2, 3)
DiagPart | Y.DiagPart()(x) | f16 f32 f64 i32 i64 c64 | f(2, 3, 2, 3)
Diagonal | A.Diagonal(1, 0, 2)(x) | {_REAL} bool | f(3, 2, 4)
EmbeddingLookup | Y.EmbeddingLookup()(x, y, 2) | f16 f32 f64 i32 u8 bool | f(5, 4), t([[2, 6, 1], [9, 3, 2]], 'i4')
ExpandDims | A.ExpandDims()(x, -2) | {_ANY} | f(3, 4)
FFTShift | A.FFTShift()(x, (0, 1)) | {_ANY} | f(3, 4)
IFFTShift | A.IFFTShift()(x, None) | {_ANY} | f(3, 5)
Flatten | A.Flatten()(x) | {_ANY} | f(2, 3, 4)
GLU | A.GLU(1)(x) | f16 f32 f64 | f(3, 4)
IndexAdd | H.IndexAdd(1)(x, y, z) | f16 f32 f64 i32 i8 u8 | held(f(3, 5)), t([1, 3, 1], 'i4'), f(3, 3)
IndexFill | Y.IndexFill()(x, 1, y, z) | {_REAL} | f(3, 5), t([1, -2], 'i4'), t(2)
MatrixBandPart | Y.MatrixBandPart()(x, 1, 2) | f32 f64 i32 c64 u8 bool | f(2, 5, 6)
MatrixBandPart | Y.MatrixBandPart()(x, -1, 0) | f32 | f(2, 5, 6)
Meshgrid | A.Meshgrid('xy')((x, y)) | {_ANY} | f(3), f(4)
Meshgrid | A.Meshgrid('ij')((x, y, x)) | f32 | f(3), f(4)
MirrorPad | W.MirrorPad('REFLECT')(x, y) | f16 f32 f64 i8 i32 i64 u8 c64 bool | f(2, 3, 4), t([[0, 0], [1, 2], [2, 1]], 'i4')
MirrorPad | W.MirrorPad('SYMMETRIC')(x, y) | f32 | f(2, 3, 4), t([[0, 0], [1, 2], [2, 1]], 'i4')
OneHot | A.OneHot(-1)(x, 5, y, z) | i32 i64 | n(0, 6, 3), f32(), f32()
OneHot | A.OneHot(0)(x, 5, y, z) | i32 | n(0, 6, 3, 2), f32(), f32()
Pad | W.Pad(((1, 2), (0, 3)))(x) | f32 f64 i8 i32 u8 c64 bool | f(3, 4)
ReverseSequence | Y.ReverseSequence(1)(x, y) | f32 f64 i8 i32 u8 c64 bool | f(2, 5, 3), t([2, 4], 'i4')
Scatter | A.Scatter()(x, 1, y, z, 'none') | {_REAL} | f(3, 5), t([[0, 2], [1, 4], [3, 2]], 'i8'), f(3, 2)
Scatter | A.Scatter()(x, 0, y, z, 'add') | {_REAL} | f(3, 5), t([[0, 2], [1, 2], [0, 2]], 'i8'), f(3, 2)
ScatterValue | A.ScatterValue()(x, 1, y, 2, 'none') | {_REAL} | f(3, 5), t([[0, 2], [1, 4], [3, 2]], 'i8')
ScatterValue | A.ScatterValue()(x, 1, y, 2, 'add') | f32 i32 | f(3, 5), t([[0, 2], [1, 1], [3, 2]], 'i8')
ScatterNd | A.ScatterNd()(y, x, (3, 4)) | {_REAL} c64 | f(3), t([[1, 2], [0, 3], [1, 2]], 'i4')
TensorScatterDiv | Y.TensorScatterDiv()(x, y, z) | f16 f32 f64 i16 i32 i64 | n(1, 99, 3, 4), t([[1, 2], [0, 3], [1, 2]], 'i4'), n(2, 5, 3)
TensorScatterElements | A.TensorScatterElements(1, 'none')(x, y, z) | {_REAL} | f(3, 5), t([[0, 2], [1, 4], [3, 2]], 'i4'), f(3, 2)
TensorScatterElements | A.TensorScatterElements(0, 'add')(x, y, z) | f32 i32 | f(3, 5), t([[0, 2], [1, 2], [0, 2]], 'i4'), f(3, 2)
Tril | Y.Tril(-1)(x) | {_REAL} bool | f(2, 3, 4)
Triu | A.Triu(1)(x) | {_REAL} bool | f(2, 3, 4)
DynamicStitch | I.DynamicStitch()((x, y), (z, u)) | i32 | t([0, 3], 'i4'), t([1, 2, 3], 'i4'), f(2, 2), f(3, 2)
ConcatOffsetV1 | Y.ConcatOffsetV1()(x, (y, z)) | i32 | t(1), t([2, 3, 4]), t([2, 5, 4])
ConvertToDynamic | I.ConvertToDynamic()(x) | f32 i32 | f(3, 4)
InplaceAdd | P.InplaceAdd((0, 2))(x, y) | f32 f64 i8 i32 u8 | f(3, 4), f(2, 4)
InplaceSub | P.InplaceSub((0, 2))(x, y) | f32 f64 i8 i32 u8 | f(3, 4), f(2, 4)
InplaceUpdate | P.InplaceUpdate((0, 2))(x, y) | f16 f32 i32 | f(3, 4), f(2, 4)
InplaceIndexAdd | H.InplaceIndexAdd(1)(x, y, z) | f16 f32 f64 i8 i32 u8 | held(f(3, 5)), t([1, 3, 1], 'i4'), f(3, 3)
TensorCopySlices | A.TensorCopySlices()(-x, y, (1,), (3,), (1,)) | f32 f64 i32 | f(4, 5), f(2, 5)
"""

LAYERS = """
AdaptiveAvgPool2D | P.AdaptiveAvgPool2D((3, 4))(x) | f16 f32 f64 | f(2, 3, 5, 6)
AdaptiveAvgPool3D | P.AdaptiveAvgPool3D((3, 4, 2))(x) | f16 f32 f64 i32 | f(2, 3, 5, 6, 4)
AdaptiveMaxPool2D | A.AdaptiveMaxPool2D((3, 4))(x) | f16 f32 f64 | f(2, 3, 5, 6)
AvgPool3D | P.AvgPool3D((2, 2, 3), (1, 2, 1), 'pad', (1, 1, 0, 0, 1, 1), True, False)(x) | f16 f32 | f(2, 3, 4, 5, 6)
AvgPool3D | P.AvgPool3D((2, 2, 3), 2, 'same')(x) | f32 | f(2, 3, 4, 5, 6)
MaxPool3D | P.MaxPool3D((2, 2, 3), 2, 'same')(x) | f16 f32 f64 | f(2, 3, 4, 5, 6)
MaxPool3D | P.MaxPool3D((2, 2, 3), (1, 2, 1), 'pad', (1, 1, 0, 0, 1, 1), True)(x) | f32 | f(2, 3, 4, 5, 6)
MaxPool3DWithArgmax | W.MaxPool3DWithArgmax((2, 2, 3), (1, 2, 1), (1, 0, 1))(x) | f16 f32 f64 u8 | f(2, 3, 4, 5, 6)
MaxPoolWithArgmaxV2 | W.MaxPoolWithArgmaxV2((2, 3), (1, 2), (1, 0))(x) | f16 f32 f64 i32 i8 | f(2, 3, 5, 6)
BCEWithLogitsLoss | A.BCEWithLogitsLoss('mean')(x, y, z, u) | f32 | f(3, 4), p(3, 4), p(4), p(4)
BatchMatMulExt | A.BatchMatMulExt()(x, y) | f32 f64 i32 i8 u8 c64 | f(2, 3, 4), f(2, 4, 5)
BinaryCrossEntropy | A.BinaryCrossEntropy('mean')(x, y, z) | f16 f32 | p(3, 4), p(3, 4), p(3, 4) | 256
Cdist | A.Cdist(2.0)(x, y) | f32 | f(2, 3, 4), f(2, 5, 4)
Cdist | A.Cdist(1.0)(x, y) | f32 | f(2, 3, 4), f(2, 5, 4)
Cdist | A.Cdist(float('inf'))(x, y) | f32 | f(2, 3, 4), f(2, 5, 4)
Cdist | A.Cdist(0.0)(x, y) | f32 | f(2, 3, 4), f(2, 5, 4)
Conv2DBackpropInput | P.Conv2DBackpropInput(4, 3, 'same', stride=2)(x, y, (2, 3, 6, 7)) | f32 | f(2, 4, 3, 4), f(4, 3, 3, 3) | 512
Conv3DTranspose | P.Conv3DTranspose(4, 3, (2, 2, 3), stride=2, pad_mode='pad', pad=1)(x, y) | f32 | f(2, 4, 3, 4, 5), f(4, 3, 2, 2, 3) | 512
GroupNorm | A.GroupNorm()(x, 2, y, z, 1e-5) | f16 f32 f64 | f(2, 4, 3, 5), f(4), f(4) | 256
KLDivLoss | W.KLDivLoss('mean')(x, y) | f16 f32 f64 | f(3, 4), p(3, 4)
KLDivLoss | W.KLDivLoss('batchmean')(x, y) | f32 | f(3, 4), p(3, 4)
LRN | W.LRN(2, 1.0, 0.5, 0.75)(x) | f32 | f(2, 7, 3, 4) | 256
LSTM | P.LSTM(3, 4, 1, True, False, 0.0)(x, y, z, u)[:3] | f32 | f(5, 2, 3), f(1, 2, 4), f(1, 2, 4), n(-0.5, 0.5, 128, 1, 1) | 256
NLLLoss | A.NLLLoss('mean', -100)(x, y, z) | f32 | f(4, 5), t([1, 0, 4, -100], 'i4'), p(5)
ResizeBicubic | A.ResizeBicubic(True, False)(x, (7, 4)) | f16 f32 | f(2, 3, 5, 6) | 1024
ResizeBicubic | A.ResizeBicubic(False, True)(x, (7, 9)) | f32 | f(2, 3, 5, 6) | 1024
ResizeBicubic | A.ResizeBicubic(False, False)(x, (7, 9)) | f32 | f(2, 3, 5, 6) | 1024
ResizeBilinearV2 | A.ResizeBilinearV2(True, False)(x, (7, 4)) | f16 f32 f64 | f(2, 3, 5, 6) | 512
ResizeBilinearV2 | A.ResizeBilinearV2(False, True)(x, (7, 9)) | f32 | f(2, 3, 5, 6) | 512
ResizeBilinearV2 | A.ResizeBilinearV2(False, False)(x, (3, 9)) | f32 | f(2, 3, 5, 6) | 512
ResizeLinear1D | A.ResizeLinear1D('align_corners')(x, (7,)) | f32 | f(2, 3, 5) | 512
ResizeLinear1D | A.ResizeLinear1D('half_pixel')(x, (4,)) | f32 | f(2, 3, 5) | 512
ResizeNearestNeighbor | A.ResizeNearestNeighbor((7, 4), True)(x) | f16 f32 f64 i32 i64 | f(2, 3, 5, 6)
ResizeNearestNeighbor | A.ResizeNearestNeighbor((3, 11), False)(x) | f32 | f(2, 3, 5, 6)
ResizeNearestNeighborV2 | A.ResizeNearestNeighborV2(True, False)(x, (7, 4)) | f16 f32 f64 u8 | f(2, 3, 5, 6)
ResizeNearestNeighborV2 | A.ResizeNearestNeighborV2(False, True)(x, (7, 11)) | f32 | f(2, 3, 5, 6)
SigmoidCrossEntropyWithLogits | W.SigmoidCrossEntropyWithLogits()(x, y) | f16 f32 | f(3, 4), p(3, 4)
SmoothL1Loss | A.SmoothL1Loss(0.5, 'mean')(x, y) | f32 f64 | f(3, 4), f(3, 4)
SmoothL1Loss | A.SmoothL1Loss(0.5, 'none')(x, y) | f32 f64 | f(3, 4), f(3, 4)
SoftmaxCrossEntropyWithLogits | W.SoftmaxCrossEntropyWithLogits()(x, y) | f32 | f(3, 4), p(3, 4)
SparseSoftmaxCrossEntropyWithLogits | W.SparseSoftmaxCrossEntropyWithLogits()(x, y) | f32 | f(3, 4), i(4, 3)
SparseSoftmaxCrossEntropyWithLogits | W.SparseSoftmaxCrossEntropyWithLogits(True)(x, y) | f32 | f(3, 4), i(4, 3)
UpsampleNearest1D | A.UpsampleNearest1D()(x, (7,), None) | f16 f32 f64 u8 | f(2, 3, 5)
UpsampleNearest1D | A.UpsampleNearest1D()(x, None, (1.7,)) | f32 | f(2, 3, 5)
UpsampleNearest2D | A.UpsampleNearest2D()(x, (7, 4), None) | f16 f32 f64 u8 | f(2, 3, 5, 6)
UpsampleNearest2D | A.UpsampleNearest2D()(x, None, (1.7, 0.6)) | f32 | f(2, 3, 5, 6)
UpsampleNearest3D | A.UpsampleNearest3D()(x, (7, 4, 3), None) | f16 f32 f64 u8 | f(2, 3, 5, 6, 4)
UpsampleTrilinear3D | A.UpsampleTrilinear3D(True)(x, (7, 4, 3), None) | f16 f32 | f(2, 3, 5, 6, 4) | 512
UpsampleTrilinear3D | A.UpsampleTrilinear3D(False)(x, None, (1.7, 0.6, 2.0)) | f32 | f(2, 3, 5, 6, 4) | 512
"""

MATRICES = """
MatrixDeterminant | A.MatrixDeterminant()(x) | f32 f64 c64 | f(2, 3, 3) | 512
LogMatrixDeterminant | A.LogMatrixDeterminant()(x) | f32 f64 c64 | f(2, 3, 3) | 512
MatrixInverse | H.MatrixInverse()(x) | f32 f64 c64 | t([[4, 1, 0], [1, 3, 1], [0, 2, 9]]) | 512
MatrixInverse | H.MatrixInverse(True)(x) | f32 c64 | t([[4, 1, 0], [1, 3, 1], [0, 2, 9]]) | 512
MatrixPower | H.MatrixPower(3)(x) | f32 i32 i8 i64 u8 | n(0, 2, 2, 3, 3) | 256
MatrixPower | H.MatrixPower(-2)(x) | f32 | t([[4, 1, 0], [1, 3, 1], [0, 2, 9]]) | 1024
MatrixSolve | H.MatrixSolve()(x, y) | f32 f64 c64 | t([[4, 1, 0], [1, 3, 1], [0, 2, 9]]), f(3, 2) | 512
MatrixSolve | H.MatrixSolve(True)(x, y) | f32 c64 | t([[4, 1, 0], [1, 3, 1], [0, 2, 9]]), f(3, 2) | 512
FFT | A.FFT()(x, 6, -1, 'ortho') | f32 f64 c64 c128 i32 | f(3, 8) | 256
IFFT | A.IFFT()(x, None, 0, 'forward') | f32 c64 | f(3, 8) | 256
FFT2 | A.FFT2()(x, (4, 6), (-2, -1), None) | f32 c64 | f(3, 8) | 256
IFFT2 | A.IFFT2()(x, None, (0, 1), 'ortho') | f32 c64 | f(3, 8) | 256
RFFT | A.RFFT()(x, 7, -1, None) | f32 f64 i32 | f(3, 8) | 256
IRFFT | A.IRFFT()(x, 7, -1, None) | f32 c64 | f(3, 5) | 256
IRFFT | A.IRFFT()(x, None, 0, 'ortho') | c64 | f(3, 5) | 256
RFFT2 | A.RFFT2()(x, None, (-2, -1), None) | f32 | f(3, 8) | 256
IRFFT2 | A.IRFFT2()(x, None, (-2, -1), None) | c64 | f(3, 5) | 256
HFFT | A.HFFT()(x, None, -1, None) | c64 f32 | f(3, 5) | 256
IHFFT | A.IHFFT()(x, None, -1, None) | f32 | f(3, 6) | 256
"""

NUMBERS = """
SparseGatherV2 | Y.SparseGatherV2()(x, y, 1) | f32 i32 | f(3, 5), t([[1, 3], [0, 2]], 'i4') | 0 | x[:, y]
Eye | A.Eye()(3, 4, ms.float32) + x | f32 | f()
LinSpace | A.LinSpace()(x, y, 7) | f32 f64 | f(), f()
Fill | P.Fill()(ms.float32, (2, 3), 2.5) + x | f32 | f()
FillV2 | P.FillV2()((2, 3), x) | f16 f32 f64 i8 i32 i64 u8 bool | f()
Ones | A.Ones()((2, 3), ms.float16) + x | f16 | f()
Zeros | A.Zeros()((2, 3), ms.int32) + x | i32 | f()
Size | ms.Tensor(P.Size()(x)) + y | f32 | f(2, 3), t(0, 'i8')
Rank | ms.Tensor(A.Rank()(x)) + y | f32 | f(2, 3), t(0, 'i8')
TensorShape | A.TensorShape()(x) | f32 i8 | f(2, 3)
"""

ROWS = ELEMENTS + REDUCTIONS + PLACES + LAYERS + MATRICES + NUMBERS
