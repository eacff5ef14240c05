"""Operators that MindSpore's CPU has no kernels for, each alone: rows as in vocabulary_rows.py.

Most are expanded into others there; a row whose operator is not has what its definition gives.
"""

from __future__ import annotations

_REAL = "f32 f64 i32 i64"
_ALL = "f16 f32 f64 i8 i32 i64 u8"

ELEMENTS = f"""
AcosExt | A.AcosExt()(x) | f32 f64 i32 | n(-1, 1, 40) | 64 | np.arccos(x)
AcoshExt | A.AcoshExt()(x) | f32 f64 i32 | n(1, 9, 40) | 64 | np.arccosh(x)
AsinExt | A.AsinExt()(x) | f32 f64 i32 | n(-1, 1, 40) | 64 | np.arcsin(x)
AsinhExt | A.AsinhExt()(x) | f32 f64 i32 | f(40) | 64 | np.arcsinh(x)
AtanExt | A.AtanExt()(x) | f32 f64 i32 | f(40) | 64 | np.arctan(x)
Atan2Ext | A.Atan2Ext()(x, y) | f32 f64 i32 | f(40), f(40) | 64 | np.arctan2(x, y)
AddScalar | A.AddScalar()(x, 2, 3) | {_ALL} | f(3, 4)
SubScalar | A.SubScalar()(x, 2, 3) | f32 i32 | f(3, 4)
Muls | A.Muls()(x, 3) | {_ALL} | f(3, 4)
Divs | A.Divs()(x, 2) | f32 f64 i32 | f(3, 4)
DivMod | A.DivMod()(x, y, 'floor') | f32 f64 i32 i64 i8 | n(-90, 90, 3, 40), n(1, 9, 40)
DivMod | A.DivMod()(x, y, 'trunc') | f32 f64 i32 i64 i8 | n(-90, 90, 3, 40), n(1, 9, 40)
DivMods | A.DivMods()(x, 3, 'floor') | f32 i32 | n(-90, 90, 3, 40)
DivMods | A.DivMods()(x, 3, 'trunc') | f32 i32 | n(-90, 90, 3, 40)
FloorDivScalar | A.FloorDivScalar()(x, 3) | f32 i32 | n(-90, 90, 3, 40) | 64 | np.floor_divide(x, 3)
FmodTensor | A.FmodTensor()(x, y) | f32 f64 i32 i64 | n(-90, 90, 3, 40), n(1, 9, 40) | 512 | np.fmod(x, y)
FmodScalar | A.FmodScalar()(x, 3) | f32 i32 | n(-90, 90, 3, 40) | 512 | np.fmod(x, 3)
RemainderTensorTensor | A.RemainderTensorTensor()(x, y) | f32 f64 i32 i64 | n(-90, 90, 3, 40), n(-9, -1, 40) | 512
RemainderTensorScalar | A.RemainderTensorScalar()(x, 3) | f32 i32 | n(-90, 90, 3, 40) | 512
RemainderScalarTensor | A.RemainderScalarTensor()(7, x) | f32 i32 | n(1, 9, 3, 40) | 512
AddcdivExt | A.AddcdivExt()(x, y, z, 2) | f32 f64 | f(3, 4), f(3, 4), n(1, 3, 3, 4) | 64 | x + 2 * y / z
AddcmulExt | A.AddcmulExt()(x, y, z, 2) | f32 f64 i32 | f(3, 4), f(3, 4), n(1, 3, 3, 4) | 64 | x + 2 * y * z
BitwiseAndScalar | A.BitwiseAndScalar()(x, 6) | i32 i64 i8 u8 | f(3, 4) | 64 | x & 6
BitwiseOrScalar | A.BitwiseOrScalar()(x, 6) | i32 i64 i8 u8 | f(3, 4) | 64 | np.bitwise_or(x, 6)
BitwiseXorScalar | A.BitwiseXorScalar()(x, 6) | i32 i64 i8 u8 | f(3, 4) | 64 | x ^ 6
BitwiseOrTensor | A.BitwiseOrTensor()(x, y) | i32 i64 i8 u8 bool | f(3, 4), f(4) | 64 | np.bitwise_or(x, y)
BitwiseXorTensor | A.BitwiseXorTensor()(x, y) | i32 i64 i8 u8 bool | f(3, 4), f(4) | 64 | x ^ y
BitwiseNot | A.BitwiseNot()(x) | i32 i64 i8 u8 bool | f(3, 4) | 64 | ~x
ClampScalar | A.ClampScalar()(x, -1, 2) | f16 f32 f64 i8 i32 i64 | f(3, 4)
ClampTensor | A.ClampTensor()(x, y, z) | f16 f32 f64 i8 i32 i64 | f(3, 4), n(-2, 0, 4), n(0, 2, 3, 1)
EqScalar | A.EqScalar()(x, 1) | f32 i32 | f(3, 40)
GreaterEqualScalar | A.GreaterEqualScalar()(x, 1) | f32 i32 | f(3, 40)
LessScalar | A.LessScalar()(x, 1) | f32 i32 | f(3, 40)
Exp2 | A.Exp2()(x) | f32 f64 i32 | f(3, 40) | 64 | 2.0 ** x
Frac | A.Frac()(x) | f32 f64 | f(3, 40) | 64 | x - np.trunc(x)
GeluExt | A.GeluExt()(x, 'tanh') | f32 | f(3, 40) | 256 | 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x ** 3)))
Hardtanh | A.Hardtanh()(x, -1, 2) | f16 f32 f64 | f(3, 40) | 64 | np.clip(x, -1, 2)
IsNegInf | A.IsNegInf()(x) | f32 | t([1, -np.inf, np.inf, np.nan]) | 64 | np.isneginf(x)
LeakyReLUExt | A.LeakyReLUExt()(x, 0.3) | f16 f32 | f(3, 40) | 64 | np.where(x > 0, x, 0.3 * x)
LerpScalar | A.LerpScalar()(x, y, 0.3) | f32 | f(3, 4), f(3, 4) | 64 | x + 0.3 * (y - x)
Log10 | A.Log10()(x) | f32 f64 i32 | n(1, 90, 40) | 64 | np.log10(x)
Log2 | A.Log2()(x) | f32 f64 i32 | n(1, 90, 40) | 64 | np.log2(x)
LogAddExp | A.LogAddExp()(x, y) | f32 | f(3, 4), f(4) | 64 | np.logaddexp(x, y)
LogAddExp2 | A.LogAddExp2()(x, y) | f32 f64 | f(3, 4), f(4) | 64 | np.logaddexp2(x, y)
LogSigmoid | A.LogSigmoid()(x)[0] | f32 | n(-30, 30, 40) | 64 | -np.log1p(np.exp(-x))
MishExt | A.MishExt()(x) | f32 | f(3, 40) | 64 | x * np.tanh(np.log1p(np.exp(x)))
PowScalarTensor | A.PowScalarTensor()(2, x) | f32 f64 i32 | n(0, 5, 40)
PowTensorScalar | A.PowTensorScalar()(x, 3) | f32 f64 i32 | f(40)
SeLUExt | A.SeLUExt()(x) | f32 | f(3, 40) | 64 | 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x))
Threshold | A.Threshold()(x, 1, 7) | f32 i32 | f(3, 40) | 64 | np.where(x > 1, x, 7)
XLogYScalarOther | A.XLogYScalarOther()(x, 3) | f32 i32 | t([0, 1, 2, 3]) | 64 | x * np.log(3)
XLogYScalarSelf | A.XLogYScalarSelf()(0, x) | f32 i32 | t([0, 1, 2, 3]) | 64 | 0 * x
ToDtype | A.ToDtype()(x, ms.int32, False, False) | f32 f64 i8 u8 bool | n(0, 99, 40)
TypeAs | A.TypeAs()(x, y) | f32 i32 | f(40), t([1], 'f2') | 64 | x
Clone | A.Clone()(x) | f32 i32 | f(4) | 64 | x
Contiguous | A.Contiguous()(x) | f32 i32 | f(4)
Copy | A.Copy()(x) | f32 i32 | f(4) | 64 | x
StopGradient | P.StopGradient()(x) | f32 | f(4)
EqualExt | A.EqualExt()(x, y) | f32 i32 bool | t([1, 0, 1]), t([1, 0, 1]) | 64 | np.array_equal(x, y)
EqualExt | A.EqualExt()(x, y) | f32 | f(3), f(3) | 64 | np.array_equal(x, y)
Fmin | H.Fmin()(x, y) | f32 f64 i32 | f(3, 4), f(4) | 64 | np.fmin(x, y)
Fmin | H.Fmin()(x, y) | f32 | t([1, np.nan, np.nan]), t([np.nan, 2, np.nan]) | 64 | np.fmin(x, y)
SparseDenseCwiseDiv | Z.SparseDenseCwiseDiv()(x, y, z, u) | f32 f64 | t([[0, 1], [1, 0], [2, 3]], 'i8'), f(3), t([3, 4], 'i8'), f(3, 4) | 64 | y / u[x[:, 0], x[:, 1]]
"""

REDUCTIONS = """
Any | A.Any()(x) | bool f32 i32 | t([0, 0, 1])
AnyExt | A.AnyExt()(x, 1, True) | bool | t([[0, 0, 1], [0, 0, 0]])
ArgMaxExt | A.ArgMaxExt()(x, 1, True) | f32 i32 | n(0, 3, 3, 40)
ArgMaxExt | A.ArgMaxExt()(x, None, False) | f32 | f(3, 40)
ArgMinExt | A.ArgMinExt()(x, -1, False) | f32 i32 | n(0, 3, 3, 40) | 64 | np.argmin(x, -1)
SortExt | A.SortExt()(x, -1, True, True) | f32 | f(9, 3) | 64 | (-np.sort(-x, -1), np.argsort(-x, -1, kind='stable'))
CountNonZero | A.CountNonZero()(x, (1,)) | f32 i32 bool | n(0, 2, 3, 4) | 64 | np.count_nonzero(x, 1)
CumsumExt | A.CumsumExt()(x, 1, None) | f32 f64 i32 u8 bool | f(3, 9) | 64 | np.cumsum(x, 1)
CumsumExt | A.CumsumExt()(x, 0, ms.int64) | f32 i32 | f(3, 9) | 64 | np.cumsum(x.astype(int), 0)
LinalgVectorNorm | A.LinalgVectorNorm()(x, 3.0, (1,), True, None) | f32 f64 | f(3, 4) | 64 | np.linalg.norm(x, 3, 1, True)
LinalgVectorNorm | A.LinalgVectorNorm()(x, float('-inf'), None, False, None) | f32 | f(3, 4) | 64 | abs(x).min()
LinalgVectorNorm | A.LinalgVectorNorm()(x, 0.0, (0,), False, None) | f32 | t([[0, 1, 2], [0, 0, 1]]) | 64 | (x != 0).sum(0)
Norm | A.Norm()(x, 3.0, (1,), True, None) | f32 | f(3, 4) | 64 | np.linalg.norm(x, 3, 1, True)
LogSumExp | A.LogSumExp()(x, (1,), True) | f32 | f(3, 4) | 64 | np.log(np.exp(x).sum(1, keepdims=True))
LogSoftmaxExt | A.LogSoftmaxExt()(x, 1, None) | f32 | f(3, 4)
Max | A.Max()(x) | f32 i32 | f(3, 40)
Min | A.Min()(x) | f32 i32 | f(3, 40)
MeanExt | A.MeanExt()(x, (1,), True, None) | f32 f64 | f(3, 40)
MeanExt | A.MeanExt()(x, None, False, ms.float64) | f32 i32 | f(3, 40)
SumExt | A.SumExt()(x, (1,), True, None) | f32 f64 i32 u8 bool | f(3, 40)
SumExt | A.SumExt()(x, None, False, ms.float32) | f64 i32 | f(3, 40)
ProdExt | A.ProdExt()(x, 1, True, None) | f32 f64 i32 u8 bool | n(1, 2, 3, 9)
Nansum | A.Nansum()(x, (1,), False, None) | f32 f64 i32 | t([[1, 2, 3], [4, 5, 6]]) | 64 | np.nansum(x, 1)
Std | A.Std()(x, (1,), 1, False) | f32 | f(3, 40) | 64 | x.std(1, ddof=1)
StdMean | A.StdMean()(x, (1,), 0, True) | f32 | f(3, 40) | 64 | (x.std(1, keepdims=True), x.mean(1, keepdims=True))
Var | A.Var()(x, (0, 1), 1, False) | f32 | f(3, 40) | 64 | x.var((0, 1), ddof=1)
VarMean | A.VarMean()(x, None, 1, False) | f32 | f(3, 40) | 64 | (x.var(ddof=1), x.mean())
MedianDim | A.MedianDim()(x, 1, True) | f32 i32 | f(3, 6) | 64 | (np.sort(x, 1)[:, 2:3], np.argsort(x, 1, kind='stable')[:, 2:3])
BincountExt | A.BincountExt()(x, y, 6) | i32 | n(0, 4, 9), f32(9) | 64 | np.bincount(x, y, 6)
TraceExt | A.TraceExt()(x) | f32 i32 | f(3, 4) | 64 | np.trace(x)
UniqueDim | A.UniqueDim()(x, True, True, 0) | f32 i32 | t([[1, 2], [0, 3], [1, 2], [0, 1]]) | 64 | np.unique(x, axis=0, return_inverse=True, return_counts=True)
"""

MATRICES = """
Addbmm | A.Addbmm()(x, y, z, 2, 3) | f32 f64 i32 | f(3, 5), f(2, 3, 4), f(2, 4, 5) | 64 | 2 * x + 3 * (y @ z).sum(0)
Addmm | A.Addmm()(x, y, z, 2, 3) | f32 | f(5), f(3, 4), f(4, 5) | 64 | 2 * x + 3 * y @ z
Addmv | A.Addmv()(x, y, z, 2, 3) | f32 f64 i32 | f(3), f(3, 4), f(4) | 64 | 2 * x + 3 * y @ z
Baddbmm | A.Baddbmm()(x, y, z, 2, 3) | f32 f64 i32 | f(2, 3, 5), f(2, 3, 4), f(2, 4, 5)
Dense | A.Dense()(x, y, z) | f32 | f(2, 3, 4), f(5, 4), f(5)
Dot | A.Dot()(x, y) | f32 i32 | f(9), f(9) | 64 | np.dot(x, y)
EinsumExt | A.EinsumExt()('bij,bkj->bik', (x, y)) | f32 | f(2, 3, 4), f(2, 5, 4)
MatMulExt | A.MatMulExt()(x, y) | f32 f64 i32 | f(2, 3, 4), f(4)
MatMulExt | A.MatMulExt()(x, y) | f32 | f(3, 4), f(2, 4, 5)
Mm | A.Mm()(x, y) | f32 i32 | f(3, 4), f(4, 5) | 64 | x @ y
Mv | A.Mv()(x, y) | f32 i32 | f(3, 4), f(4) | 64 | x @ y
Outer | A.Outer()(x, y) | f32 i32 | f(3), f(4) | 64 | np.outer(x, y)
MatrixInverseExt | A.MatrixInverseExt()(x) | f32 | t([[4, 1, 0], [1, 3, 1], [0, 2, 9]]) | 512 | np.linalg.inv(x)
InplaceAddmm | A.InplaceAddmm()(-x, y, z, 2, 3) | f32 | f(3, 5), f(3, 4), f(4, 5) | 64 | -2 * x + 3 * y @ z
"""

PLACES = """
BroadcastToView | A.BroadcastToView()(x, (2, 3, 4)) + 1 | f32 i32 | f(3, 1)
ChunkView | A.ChunkView()(x, 3, 1)[1] + 1 | f32 | f(2, 8)
ConstantPadND | A.ConstantPadND()(x, (1, 2, 0, 3), 7) | f32 i32 bool | f(2, 3, 4)
ConstantPadND | A.ConstantPadND()(x, (-1, 2), 7) | f32 | f(2, 3, 4)
DiagExt | A.DiagExt()(x, 1) | f32 i32 | f(3) | 64 | np.diag(x, 1)
DiagExt | A.DiagExt()(x, -1) | f32 i32 | f(3, 4) | 64 | np.diag(x, -1)
DiagonalView | A.DiagonalView()(x, 1, 0, 2) + 1 | f32 | f(3, 2, 4)
ExpandAs | A.ExpandAs()(x, y) | f32 i32 | f(3, 1), f(2, 3, 4) | 64 | np.broadcast_to(x, y.shape)
ExpandDimsView | A.ExpandDimsView()(x, 1) + 1 | f32 | f(3, 4)
FlattenExt | A.FlattenExt()(x, 1, -1) | f32 i32 | f(2, 3, 4)
GatherNdExt | A.GatherNdExt()(x, y) | f32 i32 | f(3, 4), t([[0, 1], [2, 3]], 'i4')
Index | A.Index()(x, (y, z)) | f32 i32 | f(3, 4), t([0, 2, -1], 'i8'), t([1, 3, 0], 'i8') | 64 | x[y, z]
Index | A.Index()(x, (y,)) | f32 | f(3, 4), t([True, False, True], '?') | 64 | x[y]
InnerIndex | A.InnerIndex()(x, (y, z)) | f32 i32 | f(3, 4), t([0, 2, -1], 'i8'), t([1, 3, 0], 'i8') | 64 | x[y, z]
IndexAddExt | A.IndexAddExt()(x, 1, y, z, 2) | f32 i32 | f(3, 5), t([1, 3, 1], 'i4'), f(3, 3) | 64 | put(x, (slice(None), y), 2 * z, 'add')
IndexFillScalar | A.IndexFillScalar()(x, 1, y, 7) | f32 i32 | f(3, 5), t([1, -2], 'i4') | 64 | put(x, (slice(None), y), 7)
IndexFillTensor | A.IndexFillTensor()(x, 0, y, z) | f32 i32 | f(3, 5), t([1], 'i4'), t(7) | 64 | put(x, y, z)
IndexSelect | A.IndexSelect()(x, 1, y) | f32 i32 | f(3, 5), t([1, 3, 1], 'i4') | 64 | x[:, y]
MaskedFillScalar | A.MaskedFillScalar()(x, y, 7) | f32 i32 | f(3, 4), b(3, 4)
Narrow | A.Narrow()(x, 1, 1, 3) | f32 i32 | f(3, 5) | 64 | x[:, 1:4]
NarrowView | A.NarrowView()(x, 1, -3, 2) + 1 | f32 | f(3, 5)
PixelShuffle | A.PixelShuffle()(x, 2) | f32 i32 | f(2, 8, 3, 4)
Repeat | A.Repeat()(x, (2, 1, 3)) | f32 i32 | f(3, 2) | 64 | np.tile(x, (2, 1, 3))
Roll | A.Roll((1, -1), (0, 1))(x) | f32 i32 | f(3, 4) | 64 | np.roll(x, (1, -1), (0, 1))
ScatterAddExt | A.ScatterAddExt()(x, 1, y, z) | f32 i32 | f(3, 5), t([[0, 2], [1, 1], [3, 2]], 'i8'), f(3, 2) | 64 | put(x, (np.arange(3)[:, None], y), z, 'add')
SelectExtView | A.SelectExtView()(x, 1, -2) + 1 | f32 | f(3, 5)
SelectV2 | A.SelectV2()(x, y, z) | f32 i32 | b(3, 4), f(4), f(3, 1) | 64 | np.where(x, y, z)
SliceExt | A.SliceExt()(x, 1, 1, 9, 2) | f32 i32 | f(3, 5) | 64 | x[:, 1:9:2]
SliceExtView | A.SliceExtView()(x, 1, -4, 4, 2) + 1 | f32 | f(3, 5)
SplitTensorView | A.SplitTensorView()(x, 2, 1)[1] + 1 | f32 | f(3, 5)
SplitWithSize | A.SplitWithSize()(x, (2, 3), 1) | f32 i32 | f(3, 5)
SplitWithSizeView | A.SplitWithSizeView()(x, (2, 3), 1)[1] + 1 | f32 | f(3, 5)
StackExt | A.StackExt(1)((x, y)) | f32 i32 | f(3, 4), f(3, 4) | 64 | np.stack((x, y), 1)
Take | A.Take()(x, y) | f32 i32 | f(3, 4), t([[0, 11], [-1, 5]], 'i4') | 64 | np.take(x, y)
TExt | A.TExt()(x) | f32 | f(3, 4) | 64 | x.T
TransposeExtView | A.TransposeExtView()(x, 0, 2) + 1 | f32 | f(2, 3, 4)
TransposeView | A.TransposeView()(x, (1, 0, 2)) + 1 | f32 | f(2, 3, 4)
TrilExt | A.TrilExt()(x, 1) | f32 i32 bool | f(2, 3, 4) | 64 | np.tril(x, 1)
UnstackExtView | A.UnstackExtView()(x, 1)[2] + 1 | f32 | f(2, 3, 4)
ViewAs | A.ViewAs()(x, y) | f32 | f(2, 6), f(3, 4)
FillScalar | A.FillScalar()((2, 3), 2.5, ms.float32) + x | f32 | f()
FillTensor | A.FillTensor()((2, 3), x, ms.float32) | f32 i32 | f()
FullLike | A.FullLike()(x, 3, None) | f32 i32 | f(3, 4) | 64 | np.full((3, 4), 3)
Arange | A.Arange()(1, 9, 2, ms.int32) + x | i32 | f()
NewOnes | A.NewOnes()(x, (2, 3), None) | f32 i32 | f()
NewZeros | A.NewZeros()(x, (2, 3), ms.int32) | f32 | f()
NewFull | A.NewFull()(x, (2, 3), 5, None) | f32 i32 | f() | 64 | np.full((2, 3), 5)
OnesLikeExt | A.OnesLikeExt()(x, None) | f32 i32 | f(3)
ZerosLikeExt | A.ZerosLikeExt()(x, ms.int32) | f32 | f(3)
Fills | Y.Fills()(x, 3.0) | f32 i32 | f(3, 4) | 64 | np.full((3, 4), 3.0)
Embedding | A.Embedding()(x, y, None, None, 2.0, False) | i32 i64 | n(0, 4, 2, 3), f32(5, 4)
"""

LAYERS = """
Conv2DTranspose | P.Conv2DTranspose(4, 3, 'same', stride=2)(x, y, (2, 3, 6, 7)) | f32 | f(2, 4, 3, 4), f(4, 3, 3, 3) | 512
RmsNorm | A.RmsNorm(1e-6)(x, y) | f32 | f(2, 3, 8), f(8) | 64 | (rms_norm(x, y, 1e-6), 1 / np.sqrt((x ** 2).mean(-1, keepdims=True) + 1e-6))
Swiglu | A.Swiglu()(x, -1) | f32 | f(3, 8) | 64 | silu(x[:, :4]) * x[:, 4:]
KLDiv | A.KLDiv()(x, y, 'mean', True) | f32 | f(3, 4), f(3, 4) | 64 | (np.exp(y) * (y - x)).mean()
KLDiv | A.KLDiv()(x, y, 'sum', False) | f32 | f(3, 4), p(3, 4) | 64 | (y * (np.log(y) - x)).sum()
L1LossExt | A.L1LossExt()(x, y, 'mean') | f32 | f(3, 4), f(3, 4) | 64 | abs(x - y).mean()
MSELossExt | A.MSELossExt()(x, y, 'none') | f32 | f(3, 4), f(3, 4) | 64 | (x - y) ** 2
SoftMarginLoss | A.SoftMarginLoss('mean')(x, y) | f32 | f(3, 4), t(np.sign(np.arange(12.) - 5.5).reshape(3, 4)) | 64 | np.log1p(np.exp(-x * y)).mean()
BatchNormStats | A.BatchNormStats()(x, 1e-5) | f32 | f(4, 3, 2, 5) | 64 | (x.mean((0, 2, 3)), 1 / np.sqrt(x.var((0, 2, 3)) + 1e-5))
NonMaxSuppressionV3 | M.NonMaxSuppressionV3()(x, y, z, u, v) | f32 | t([[1, 2, 3, 4], [1, 3, 3, 4], [1, 3, 4, 4], [1, 1, 4, 4], [1, 1, 3, 4]]), t([0.4, 0.5, 0.72, 0.9, 0.45]), t(5, 'i4'), t(0.5, 'f4'), t(0, 'f4') | 64 | np.array([3, 2, 0])
"""

_INPLACE = """
InplaceAddExt | A.InplaceAddExt()(-x, y, 2) | f32 i32 | f(3, 4), f(4)
InplaceSubExt | A.InplaceSubExt()(-x, y, 2) | f32 i32 | f(3, 4), f(4)
InplaceAddsExt | A.InplaceAddsExt()(-x, 3, 2) | f32 i32 | f(3, 4)
InplaceSubScalar | A.InplaceSubScalar()(-x, 3, 2) | f32 i32 | f(3, 4)
InplaceMul | A.InplaceMul()(-x, y) | f32 i32 | f(3, 4), f(4)
InplaceMuls | A.InplaceMuls()(-x, 3) | f32 i32 | f(3, 4)
InplaceDiv | A.InplaceDiv()(-x, y) | f32 | f(3, 4), n(1, 3, 4)
InplaceDivs | A.InplaceDivs()(-x, 3) | f32 | f(3, 4)
InplaceDivMod | A.InplaceDivMod()(-x, y, 'floor') | f32 i32 | n(-90, 90, 3, 4), n(1, 9, 4) | 64 | np.floor_divide(-x, y)
InplaceDivMods | A.InplaceDivMods()(-x, 3, 'trunc') | f32 i32 | n(-90, 90, 3, 4) | 64 | np.trunc(-x / 3)
InplaceFloorDivide | A.InplaceFloorDivide()(-x, y) | f32 i32 | n(-90, 90, 3, 4), n(1, 9, 4)
InplaceFloorDivides | A.InplaceFloorDivides()(-x, 3) | f32 i32 | n(-90, 90, 3, 4)
InplaceRemainderTensorTensor | A.InplaceRemainderTensorTensor()(-x, y) | f32 i32 | n(-90, 90, 3, 4), n(1, 9, 4) | 512
InplaceRemainderTensorScalar | A.InplaceRemainderTensorScalar()(-x, 3) | f32 i32 | n(-90, 90, 3, 4) | 512
InplaceExp | A.InplaceExp()(-x) | f32 | f(3, 4) | 64 | np.exp(-x)
InplaceLog | A.InplaceLog()(abs(x)) | f32 | f(3, 4) | 64 | np.log(abs(x))
InplaceFloor | A.InplaceFloor()(-x) | f32 | f(3, 4) | 64 | np.floor(-x)
InplaceSign | A.InplaceSign()(-x) | f32 | f(3, 4) | 64 | np.sign(-x)
InplaceReLU | A.InplaceReLU()(-x) | f32 | f(3, 4) | 64 | np.maximum(-x, 0)
InplaceSiLU | A.InplaceSiLU()(-x) | f32 | f(3, 4) | 64 | silu(-x)
InplaceSigmoid | A.InplaceSigmoid()(-x) | f32 | f(3, 4) | 64 | 1 / (1 + np.exp(x))
InplaceTanh | A.InplaceTanh()(-x) | f32 | f(3, 4) | 64 | np.tanh(-x)
InplaceElu | A.InplaceElu()(-x, 0.7) | f32 | f(3, 4) | 64 | np.where(x < 0, -x, 0.7 * np.expm1(-x))
InplaceHardtanh | A.InplaceHardtanh()(-x, -1, 2) | f32 | f(3, 4) | 64 | np.clip(-x, -1, 2)
InplaceThreshold | A.InplaceThreshold()(-x, 1, 7) | f32 | f(3, 4) | 64 | np.where(-x > 1, -x, 7)
InplaceClampScalar | A.InplaceClampScalar()(-x, -1, 2) | f32 i32 | f(3, 4) | 64 | np.clip(-x, -1, 2)
InplaceClampTensor | A.InplaceClampTensor()(-x, y, z) | f32 | f(3, 4), n(-2, 0, 4), n(0, 2, 3, 1) | 64 | np.minimum(np.maximum(-x, y), z)
InplaceZero | A.InplaceZero()(-x) | f32 i32 | f(3, 4) | 64 | 0 * x
InplaceFillScalar | A.InplaceFillScalar()(-x, 7) | f32 i32 | f(3, 4) | 64 | 0 * x + 7
InplaceFillTensor | A.InplaceFillTensor()(-x, y) | f32 i32 | f(3, 4), t(7) | 64 | 0 * x + y
InplaceFillDiagonal | A.InplaceFillDiagonal()(-x, 7, True) | f32 | f(9, 3) | 64 | np.where(np.isin(np.arange(27), np.arange(0, 27, 4)).reshape(9, 3), 7, -x)
InplaceIndexAddExt | A.InplaceIndexAddExt()(-x, 1, y, z, 2) | f32 i32 | f(3, 5), t([1, 3, 1], 'i4'), f(3, 3) | 64 | put(-x, (slice(None), y), 2 * z, 'add')
InplaceIndexCopy | A.InplaceIndexCopy()(-x, 1, y, z) | f32 i32 | f(3, 5), t([1, 3, 0], 'i8'), f(3, 3) | 64 | put(-x, (slice(None), y), z)
InplaceIndexFillScalar | A.InplaceIndexFillScalar()(-x, 1, y, 7) | f32 i32 | f(3, 5), t([1, 3], 'i4') | 64 | put(-x, (slice(None), y), 7)
InplaceIndexFillTensor | A.InplaceIndexFillTensor()(-x, 1, y, z) | f32 i32 | f(3, 5), t([1, 3], 'i4'), t(7) | 64 | put(-x, (slice(None), y), z)
InplaceIndexPut | A.InplaceIndexPut()(-x, (y, z), u, True) | f32 i32 | f(3, 4), t([0, 2, 0], 'i8'), t([1, 3, 1], 'i8'), f(3) | 64 | put(-x, (y, z), u, 'add')
InplaceMaskedFillScalar | A.InplaceMaskedFillScalar()(-x, y, 7) | f32 i32 | f(3, 4), b(3, 4) | 64 | np.where(y, 7, -x)
InplaceMaskedFillTensor | A.InplaceMaskedFillTensor()(-x, y, z) | f32 i32 | f(3, 4), b(4), t(7)
InplacePut | A.InplacePut()(-x, y, z, True) | f32 i32 | f(3, 4), t([1, 5, 1, -1], 'i8'), f(4) | 64 | put(-x.ravel(), y, z, 'add').reshape(3, 4)
InplaceScatterAdd | A.InplaceScatterAdd()(-x, 1, y, z) | f32 i32 | f(3, 5), t([[0, 2], [1, 1], [3, 2]], 'i8'), f(3, 2) | 64 | put(-x, (np.arange(3)[:, None], y), z, 'add')
InplaceScatterSrc | A.InplaceScatterSrc()(-x, 1, y, z) | f32 i32 | f(3, 5), t([[0, 2], [1, 4], [3, 2]], 'i8'), f(3, 2)
InplaceScatterSrcReduce | A.InplaceScatterSrcReduce()(-x, 1, y, z, 'add') | f32 i32 | f(3, 5), t([[0, 2], [1, 1], [3, 2]], 'i8'), f(3, 2) | 64 | put(-x, (np.arange(3)[:, None], y), z, 'add')
InplaceScatterValue | A.InplaceScatterValue()(-x, 1, y, 7) | f32 i32 | f(3, 5), t([[0, 2], [1, 4], [3, 2]], 'i8') | 64 | put(-x, (np.arange(3)[:, None], y), 7)
InplaceScatterValueReduce | A.InplaceScatterValueReduce()(-x, 1, y, 7, 'multiply') | f32 i32 | f(3, 5), t([[0, 2], [1, 4], [3, 2]], 'i8') | 64 | put(-x, (np.arange(3)[:, None], y), 7, 'multiply')
"""

ROWS = ELEMENTS + REDUCTIONS + MATRICES + PLACES + LAYERS + _INPLACE
