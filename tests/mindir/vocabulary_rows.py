"""Operators, each alone: what a network computes, its dtypes and inputs.

``Operator | call | dtypes | inputs [| allowed units]``. The operands are x, y, z, u, v, w, a, b, c;
vocabulary_worker.py says what makes them: ``f`` and ``p`` numbers of the row's dtype, ``i`` and
``l`` int32 and int64.
"""

from __future__ import annotations

from tests.mindir import (
    vocabulary_edges,
    vocabulary_expanded,
    vocabulary_gradients,
    vocabulary_kernels,
    vocabulary_state,
)

SIZES = """
NonZero | Y.NonZero()(x) | f32 f16 f64 bool i32 i64 u8 | n(0, 1, 3, 4) * n(0, 1, 3, 4)
MaskedSelect | Y.MaskedSelect()(x, y) | f32 f16 f64 bool i32 i64 i8 u8 c64 | f(3, 4), b(3, 4)
MaskedSelect | Y.MaskedSelect()(x, y) | f32 | f(3, 4), b(4)
Unique | Y.Unique()(x) | f32 f16 f64 i32 i64 u8 | n(0, 3, 9)
UniqueConsecutive | Y.UniqueConsecutive(True, True)(x) | f32 f16 f64 i32 i64 | t([1, 1, 2, 2, 3, 1, 1, 2])
UniqueConsecutive | Y.UniqueConsecutive(True, True)(x) | i32 | t([[1, 1, 2], [2, 3, 1]])
UniqueConsecutive | Y.UniqueConsecutive(True, True, 0)(x) | f32 i32 | t([[1, 1], [1, 1], [2, 3], [1, 1]])
UniqueConsecutive | Y.UniqueConsecutive()(x)[0] | f32 | t([1, 1, 2, 2, 3, 1, 1, 2])
UniqueWithPad | Y.UniqueWithPad()(x, y) | f32 i32 i64 | t([1, 5, 5, 2, 1, 3]), t(9)
ListDiff | Y.ListDiff()(x, y) | f32 f16 f64 i32 i64 | t([1, 2, 3, 4, 5, 3, 7]), t([3, 4, 9])
"""

SEGMENTS = """
SegmentSum | Y.SegmentSum()(x, y) | f32 f16 f64 i32 i64 i8 u8 c64 | n(0, 3, 5, 2), t([0, 0, 1, 3, 3], 'i4')
SegmentMean | Y.SegmentMean()(x, y) | f32 f16 f64 i32 i64 c64 | n(0, 9, 5, 2), t([0, 0, 1, 3, 3], 'i4')
SegmentProd | Y.SegmentProd()(x, y) | f32 f16 f64 i32 i64 | n(0, 3, 5, 2), t([0, 0, 1, 3, 3], 'i4')
SegmentMax | Y.SegmentMax()(x, y) | f32 f16 f64 i32 i64 | f(5, 2), t([0, 0, 1, 3, 3], 'i4')
SegmentMin | Y.SegmentMin()(x, y) | f32 f16 f64 i32 i64 | f(5, 2), t([0, 0, 1, 3, 3], 'i8')
SparseSegmentSum | Z.SparseSegmentSum()(x, y, z) | f32 f64 i32 | n(0, 9, 5, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 2], 'i4')
SparseSegmentSumWithNumSegments | Z.SparseSegmentSumWithNumSegments()(x, y, z, u) | f32 f64 i32 | n(0, 9, 5, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 3], 'i4'), t(5, 'i4')
SparseSegmentMean | H.SparseSegmentMean()(x, y, z) | f32 f64 | f(5, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 2], 'i4')
SparseSegmentMeanWithNumSegments | Z.SparseSegmentMeanWithNumSegments()(x, y, z, u) | f32 f64 | f(5, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 3], 'i4'), t(5, 'i4')
SparseSegmentSqrtN | Z.SparseSegmentSqrtN()(x, y, z) | f32 | f(5, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 2], 'i4')
SparseSegmentSqrtN | Z.SparseSegmentSqrtN()(x, y, z) | f64 | f(5, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 2], 'i4') | 1e9
SparseSegmentSqrtNWithNumSegments | Z.SparseSegmentSqrtNWithNumSegments()(x, y, z, u) | f32 | f(5, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 3], 'i4'), t(5, 'i4')
SparseSegmentSqrtNWithNumSegments | Z.SparseSegmentSqrtNWithNumSegments()(x, y, z, u) | f64 | f(5, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 3], 'i4'), t(5, 'i4') | 1e9
Bincount | Y.Bincount()(x, y, z) | f32 f64 i32 i64 | i(5, 9), t(6, 'i4'), f(9)
Histogram | H.Histogram(bins=4, min=-2.0, max=2.0)(x) | f32 f16 i32 | f(30)
Histogram | H.Histogram(bins=4)(x) | f32 i32 | f(30)
Bucketize | H.Bucketize([-1.0, 0.0, 2.0])(x) | f32 f64 i32 i64 | f(3, 9)
LowerBound | Y.LowerBound()(x, y) | f32 f64 i32 i64 | t([[0, 3, 9, 9, 10], [1, 2, 3, 4, 5]]), t([[2, 4, 9], [0, 2, 6]])
UpperBound | Y.UpperBound()(x, y) | f32 f64 i32 i64 | t([[0, 3, 9, 9, 10], [1, 2, 3, 4, 5]]), t([[2, 4, 9], [0, 2, 6]])
InTopK | W.InTopK(2)(x, y) | f32 | f(4, 5), i(5, 4)
NthElement | W.NthElement()(x, y) | f32 f16 f64 i32 i64 | f(3, 5), t(2, 'i4')
NthElement | W.NthElement(True)(x, y) | f32 | f(3, 5), t(1, 'i4')
EqualCount | H.EqualCount()(x, y) | i32 | i(3, 9), i(3, 9)
Median | H.Median(axis=1)(x) | f32 f64 i32 i64 | f(3, 5)
Median | H.Median(True)(x) | f32 f64 | f(3, 4)
Median | H.Median(False, 0, True)(x) | f32 | f(4, 5)
"""

LINEAR = """
MatrixDiagPartV3 | Y.MatrixDiagPartV3(align='LEFT_RIGHT')(x, y, z) | f32 f64 i32 | f(2, 3, 4), t([-1, 2], 'i4'), t(7)
MatrixDiagPartV3 | Y.MatrixDiagPartV3()(x, y, z) | f32 | f(2, 4, 3), t([-2, 1], 'i4'), t(7)
MatrixDiagPartV3 | Y.MatrixDiagPartV3(align='LEFT_LEFT')(x, y, z) | f32 | f(2, 4, 3), t([-2, 1], 'i4'), t(7)
MatrixDiagPartV3 | Y.MatrixDiagPartV3(align='RIGHT_RIGHT')(x, y, z) | f32 | f(2, 4, 3), t(1, 'i4'), t(7)
MatrixDiagV3 | Y.MatrixDiagV3()(x, y, z, u, v) | f32 f64 i32 | f(2, 3), t(1, 'i4'), t(-1, 'i4'), t(-1, 'i4'), t(7)
MatrixDiagV3 | Y.MatrixDiagV3(align='LEFT_RIGHT')(x, y, z, u, v) | f32 | f(2, 2, 3), t([-1, 0], 'i4'), t(3, 'i4'), t(4, 'i4'), t(7)
MatrixSetDiagV3 | Y.MatrixSetDiagV3()(x, y, z) | f32 f64 i32 | f(2, 3, 4), f(2, 3), t(0, 'i4')
MatrixSetDiagV3 | Y.MatrixSetDiagV3(align='LEFT_RIGHT')(x, y, z) | f32 | f(2, 3, 4), f(2, 3, 3), t([-1, 1], 'i4')
FillDiagonal | Y.FillDiagonal(9.0)(x) | f32 i32 i64 | f(3, 4)
FillDiagonal | Y.FillDiagonal(9.0, True)(x) | f32 | f(9, 3)
FillDiagonal | Y.FillDiagonal(9.0)(x) | f32 | f(3, 3, 3)
CholeskyInverse | H.CholeskyInverse()(x) | f32 f64 | t([[2, 0, 0], [4, 1, 0], [-1, 1, 2]]) | 512
CholeskyInverse | H.CholeskyInverse(True)(x) | f32 | t([[2, 4, -1], [0, 1, 1], [0, 0, 2]]) | 512
CholeskySolve | H.CholeskySolve()(x, y) | f32 f64 | f(3, 2), t([[2, 0, 0], [4, 1, 0], [-1, 1, 2]]) | 512
CholeskySolve | H.CholeskySolve(True)(x, y) | f32 | f(3, 2), t([[2, 4, -1], [0, 1, 1], [0, 0, 2]]) | 512
Eigh | L.Eigh(False)(x) | f32 f64 | t([[4, 1, 0], [1, 3, 1], [0, 1, 9]])
LuUnpack | H.LuUnpack()(x, y) | f32 f64 f16 | f(3, 3), t([2, 3, 3], 'i4')
LuUnpack | H.LuUnpack()(x, y) | f32 | f(2, 4, 3), t([[2, 3, 3], [3, 3, 4]], 'i4')
LuSolve | H.LuSolve()(x, y, z) | f32 | f(3, 2), t([[3, 1, 2], [0.5, 4, 1], [0.2, 0.3, 5]]), t([2, 3, 3], 'i4') | 512
MatrixTriangularSolve | H.MatrixTriangularSolve(True, False)(x, y) | f32 f64 c64 | t([[2, 0, 0], [4, 1, 0], [-1, 1, 2]]), f(3, 2) | 512
MatrixTriangularSolve | H.MatrixTriangularSolve(False, True)(x, y) | f32 c64 | t([[2, 4, -1], [0, 1, 1], [0, 0, 2]]), f(3, 2) | 512
Lstsq | Y.Lstsq()(x, y) | f32 f64 | f(5, 3), f(5, 2) | 2048
MatrixSolveLs | H.MatrixSolveLs()(x, y, z) | f32 f64 c64 | f(5, 3), f(5, 2), t(0.5, 'f8') | 2048
MatrixLogarithm | H.MatrixLogarithm()(x) | c64 c128 | t([[4, 1, 0], [1, 3, 1], [0, 1, 9]]) | 2048
TridiagonalMatMul | H.TridiagonalMatMul()(x, y, z, u) | f32 f64 f16 c64 | f(1, 4), f(1, 4), f(1, 4), f(4, 3)
TridiagonalSolve | H.TridiagonalSolve()(x, y) | f32 f64 c64 | t([[1, 2, 1, 0], [5, 6, 7, 8], [0, 1, 2, 1]]), f(4, 2) | 512
Renorm | H.Renorm(2, 0, 2.0)(x) | f32 f16 c64 | f(3, 4)
Renorm | H.Renorm(1, -1, 2.0)(x) | f32 | f(3, 4, 2)
NuclearNorm | W.NuclearNorm()(x) | f32 f64 | f(3, 4)
NuclearNorm | W.NuclearNorm([0, 2], True)(x) | f32 | f(3, 4, 2)
Pdist | W.Pdist()(x) | f32 f64 | f(5, 3)
Pdist | W.Pdist(float('inf'))(x) | f32 | f(5, 3)
Pdist | W.Pdist(0.0)(x) | f32 | f(5, 3)
Pdist | W.Pdist(3.0)(x) | f32 | f(5, 3)
TraceV2 | A.TraceV2()(x, 0, 0, 1, None) | f32 f64 i32 i64 | f(3, 4)
TraceV2 | A.TraceV2()(x, 1, 1, 2, None) | f32 | f(2, 3, 4)
TrilIndices | x.int(), H.TrilIndices(4, 3, -1)() | i32 | i(3)
TriuIndices | x.int(), H.TriuIndices(4, 3, 1)() | i32 | i(3)
ConjugateTranspose | Y.ConjugateTranspose()(x, (1, 0, 2)) | f32 i32 | f(2, 3, 4)
"""

SPECTRAL = """
DCT | A.DCT()(x, 2, None, -1, None) | f32 f64 i32 c64 | f(3, 8)
DCT | A.DCT()(x, 2, 10, 0, 'ortho') | f32 | f(3, 8)
IDCT | A.IDCT()(x, 2, None, -1, None) | f32 f64 c64 | f(3, 8)
IDCT | A.IDCT()(x, 2, 10, 0, 'ortho') | f32 | f(3, 8)
DCTN | A.DCTN()(x, 2, None, None, None) | f32 f64 | f(3, 8)
DCTN | A.DCTN()(x, 2, (4, 6), (0, 1), 'ortho') | f32 | f(3, 8)
IDCTN | A.IDCTN()(x, 2, None, None, None) | f32 f64 | f(3, 8)
IDCTN | A.IDCTN()(x, 2, (4, 6), (0, 1), 'ortho') | f32 | f(3, 8)
HFFT2 | A.HFFT2()(x, None, (-2, -1), None) | c64 c128 f32 | f(3, 5)
HFFTN | A.HFFTN()(x, None, None, None) | c64 c128 | f(2, 3, 5)
HFFTN | A.HFFTN()(x, (4, 6), (0, 2), 'ortho') | c64 | f(2, 3, 5)
IHFFT2 | A.IHFFT2()(x, None, (-2, -1), None) | f32 f64 | f(3, 6)
IHFFTN | A.IHFFTN()(x, None, None, None) | f32 f64 | f(2, 3, 6)
IHFFTN | A.IHFFTN()(x, (4, 6), (0, 2), 'forward') | f32 | f(2, 3, 6)
FFTWithSize | H.FFTWithSize(1, False, False)(x) | c64 c128 | f(2, 3, 6)
FFTWithSize | H.FFTWithSize(2, True, False, 'ortho')(x) | c64 | f(2, 3, 6)
FFTWithSize | H.FFTWithSize(2, False, True)(x) | f32 f64 | f(2, 3, 6)
FFTWithSize | H.FFTWithSize(2, False, True, 'forward', False)(x) | f32 | f(2, 3, 6)
FFTWithSize | H.FFTWithSize(1, True, True, 'backward', True, (6,))(x) | c64 | f(2, 3, 4)
FFTFreq | A.FFTFreq()(7, 0.5, None) + x | f32 | f()
RFFTFreq | A.RFFTFreq()(7, 0.5, None) + x | f32 | f()
BartlettWindow | F.BartlettWindow()(x) | f32 | t(9, 'i4')
BartlettWindow | F.BartlettWindow(False)(x) | f32 | t(8, 'i4')
BlackmanWindow | F.BlackmanWindow()(x) | f32 | t(9, 'i4')
BlackmanWindow | F.BlackmanWindow(False)(x) | f32 | t(8, 'i4')
HammingWindow | Y.HammingWindow()(x) | f32 | t([9], 'i4')
HammingWindow | Y.HammingWindow(False, 0.5, 0.4)(x) | f32 | t([8], 'i4')
STFT | H.STFT(8, 4, 6, False, True, True)(x, y) | f32 f64 | f(2, 32), f(6)
STFT | H.STFT(8, 4, 8, True, False, False)(x, y) | f32 c64 | f(2, 32), f(8)
Correlate | A.Correlate('full')(x, y) | f32 f64 c64 i32 i64 f16 | f(7), f(3)
Correlate | A.Correlate('same')(x, y) | f32 | f(7), f(3)
Correlate | A.Correlate('same')(x, y) | f32 | f(3), f(8)
Correlate | A.Correlate('valid')(x, y) | f32 c64 | f(3), f(7)
"""

IMAGES = """
GridSampler2D | W.GridSampler2D('bilinear', 'zeros', False)(x, y) | f32 | f(2, 3, 4, 5), n(-1.5, 1.5, 2, 6, 7, 2)
GridSampler2D | W.GridSampler2D('bilinear', 'border', True)(x, y) | f32 | f(2, 3, 4, 5), n(-1.5, 1.5, 2, 6, 7, 2)
GridSampler2D | W.GridSampler2D('bilinear', 'reflection', False)(x, y) | f32 | f(2, 3, 4, 5), n(-2.5, 2.5, 2, 6, 7, 2) | 512
GridSampler2D | W.GridSampler2D('nearest', 'reflection', True)(x, y) | f32 | f(2, 3, 4, 5), n(-2.5, 2.5, 2, 6, 7, 2)
GridSampler2D | W.GridSampler2D('nearest', 'zeros', False)(x, y) | f32 | f(2, 3, 4, 5), n(-1.5, 1.5, 2, 6, 7, 2)
GridSampler3D | W.GridSampler3D('bilinear', 'zeros', False)(x, y) | f32 f64 | f(2, 3, 3, 4, 5), n(-1.5, 1.5, 2, 2, 6, 7, 3)
GridSampler3D | W.GridSampler3D('bilinear', 'reflection', True)(x, y) | f32 | f(2, 3, 3, 4, 5), n(-2.5, 2.5, 2, 2, 6, 7, 3) | 512
GridSampler3D | W.GridSampler3D('nearest', 'border', False)(x, y) | f32 | f(2, 3, 3, 4, 5), n(-1.5, 1.5, 2, 2, 6, 7, 3)
AffineGrid | Y.AffineGrid()(x, (2, 3, 4, 5)) | f32 | f(2, 2, 3)
AffineGrid | Y.AffineGrid(True)(x, (2, 3, 4, 5)) | f32 | f(2, 2, 3)
AffineGrid | Y.AffineGrid(True)(x, (2, 3, 2, 4, 5)) | f32 | f(2, 3, 4)
CropAndResize | M.CropAndResize()(x, y, z, (3, 4)) | f32 f16 f64 u8 i32 | n(0, 9, 2, 5, 6, 3), p32(4, 4), i(2, 4)
CropAndResize | M.CropAndResize('bilinear', 0.5)(x, y, z, (3, 4)) | f32 | n(0, 9, 2, 5, 6, 3), f32(4, 4), i(2, 4) | 512
CropAndResize | M.CropAndResize('nearest', 0.5)(x, y, z, (3, 1)) | f32 | n(0, 9, 2, 5, 6, 3), p32(4, 4), i(2, 4)
ROIAlign | W.ROIAlign(2, 3, 0.5, 2)(x, y) | f32 | f(2, 3, 8, 9), t([[0, 1, 2, 9, 12], [1, 3.3, 0.2, 14, 9], [1, 4, 4, 4.2, 4.1]]) | 512
ROIAlign | W.ROIAlign(2, 3, 0.5, 3, 0)(x, y) | f32 | f(2, 3, 8, 9), t([[0, 1, 2, 9, 12], [1, 3.3, 0.2, 14, 9], [1, 4, 4, 4.2, 4.1]]) | 512
ResizeArea | M.ResizeArea()(x, y) | f32 f16 f64 u8 i32 | n(0, 9, 2, 5, 6, 3), t([3, 4], 'i4')
ResizeArea | M.ResizeArea(True)(x, y) | f32 | n(0, 9, 2, 5, 6, 3), t([3, 4], 'i4')
ResizeArea | M.ResizeArea()(x, y) | f32 | n(0, 9, 2, 5, 6, 3), t([8, 9], 'i4')
IOU | O.IOU()(x, y) | f32 | t([[0, 0, 4, 5], [2, 2, 8, 9], [1, 1, 2, 3]]), t([[1, 1, 5, 5], [3, 0, 9, 4]])
IOU | O.IOU()(x, y) | f64 | t([[0, 0, 4, 5], [2, 2, 8, 9], [1, 1, 2, 3]]), t([[1, 1, 5, 5], [3, 0, 9, 4]]) | 2e4
IOU | O.IOU('iof')(x, y) | f32 | t([[0, 0, 4, 5], [2, 2, 8, 9], [1, 1, 2, 3]]), t([[1, 1, 5, 5], [3, 0, 9, 4]])
NMSWithMask | H.NMSWithMask(0.3)(x) | f32 | t([[0, 0, 4, 5, 0.5], [1, 1, 5, 5, 0.9], [2, 2, 8, 9, 0.3], [0, 1, 4, 5, 0.8], [9, 9, 12, 12, 0.1]])
NonMaxSuppressionWithOverlaps | M.NonMaxSuppressionWithOverlaps()(x, y, z, u, v) | f32 | t([[1, 0.6, 0.2], [0.6, 1, 0.1], [0.2, 0.1, 1]]), t([0.5, 0.9, 0.3]), t(3, 'i4'), t(0.5), t(0.1)
CombinedNonMaxSuppression | M.CombinedNonMaxSuppression()(x, y, z, u, v, w) | f32 | t([[[[0, 0, 0.4, 0.5]], [[0.1, 0.1, 0.5, 0.5]], [[0.2, 0.2, 0.8, 0.9]]]]), t([[[0.5, 0.2], [0.9, 0.7], [0.3, 0.8]]]), t(2, 'i4'), t(5, 'i4'), t(0.3), t(0.25)
BoundingBoxEncode | O.BoundingBoxEncode((0.0, 0.1, 0.2, 0.3), (0.1, 0.1, 0.2, 0.2))(x, y) | f32 f16 | t([[2, 2, 8, 9], [1, 1, 4, 5]]), t([[1, 2, 9, 8], [1, 0, 4, 7]]) | 512
BoundingBoxDecode | O.BoundingBoxDecode((10, 12))(x, y) | f32 f16 | t([[2, 2, 8, 9], [1, 1, 4, 5]]), t([[0.1, 0.2, 0.3, 0.1], [-1, 2, 1, -2]])
CheckValid | O.CheckValid()(x, y) | f32 f16 i16 u8 | t([[2, 2, 8, 9], [1, 1, 14, 5]]), t([10, 12, 1])
AdjustContrastv2 | M.AdjustContrastv2()(x, y) | f32 | p(2, 4, 5, 3), t(1.5)
AdjustHue | M.AdjustHue()(x, y) | f32 | p(2, 4, 5, 3), t(0.2) | 512
AdjustSaturation | M.AdjustSaturation()(x, y) | f32 | p(2, 4, 5, 3), t(1.5) | 512
RGBToHSV | M.RGBToHSV()(x) | f32 f64 | p(2, 4, 5, 3)
HSVToRGB | M.HSVToRGB()(x) | f32 f64 f16 | p(2, 4, 5, 3)
"""

PATCHES = """
Col2Im | Y.Col2Im((2, 3), 1, 1, 1)(x, y) | f32 f64 f16 c64 | f(2, 3, 6, 42), t([6, 6], 'i4')
Col2Im | Y.Col2Im((2, 2), 2, 0, 2)(x, y) | f32 | f(2, 3, 4, 9), t([8, 8], 'i4')
MaxUnpool2D | W.MaxUnpool2D((2, 2), 2, 0)(x, y) | f32 f64 i32 f16 | n(1, 9, 1, 2, 2, 2), t([[[[0, 2], [9, 11]], [[1, 3], [8, 15]]]], 'i4')
MaxUnpool3D | W.MaxUnpool3D((2, 2, 2), 2, 0)(x, y) | f32 i32 | n(1, 9, 1, 1, 1, 2, 2), t([[[[[0, 2], [9, 31]]]]], 'i4')
ExtractVolumePatches | Y.ExtractVolumePatches((1, 1, 2, 2, 2), (1, 1, 1, 2, 1), 'VALID')(x) | f32 f16 i32 | f(1, 2, 3, 4, 5)
ExtractVolumePatches | Y.ExtractVolumePatches((1, 1, 2, 2, 2), (1, 1, 2, 2, 2), 'SAME')(x) | f32 | f(1, 2, 3, 4, 5)
MaxPoolWithArgmax | P.MaxPoolWithArgmax(2, 2, 'valid')(x) | f32 | f(2, 3, 6, 7)
MaxPoolWithArgmax | P.MaxPoolWithArgmax(2, 2, 'same')(x) | f32 | f(2, 3, 5, 7)
AdaptiveMaxPool3D | W.AdaptiveMaxPool3D()(x, y) | f32 f64 i32 | f(2, 3, 4, 5, 6), t([2, 3, 4], 'i4')
FractionalMaxPoolWithFixedKsize | W.FractionalMaxPoolWithFixedKsize((2, 3), (3, 3))(x, y) | f32 f16 f64 i32 | f(2, 3, 7, 8), p32(2, 3, 2)
FractionalMaxPool3DWithFixedKsize | W.FractionalMaxPool3DWithFixedKsize((2, 2, 3), (3, 3, 3))(x, y) | f32 f16 f64 i32 | f(2, 3, 6, 7, 8), p32(2, 3, 3)
"""

SMALL = """
BesselK0 | H.BesselK0()(x) | f32 f64 | n(0.01, 30, 40)
BesselK0e | H.BesselK0e()(x) | f32 f64 | n(0.01, 200, 40)
BesselK1 | H.BesselK1()(x) | f32 f64 | n(0.01, 30, 40)
BesselK1e | H.BesselK1e()(x) | f32 f64 | n(0.01, 200, 40)
ApproximateEqual | H.ApproximateEqual(0.5)(x, y) | f32 f16 | f(3, 4), f(3, 4)
DataFormatDimMap | W.DataFormatDimMap()(x) | i32 | t([-4, -1, 0, 1, 2, 3])
DataFormatVecPermute | W.DataFormatVecPermute()(x) | i32 i64 | t([5, 6, 7, 8])
DataFormatVecPermute | W.DataFormatVecPermute('NCHW', 'NHWC')(x) | i32 | t([[5, 6], [7, 8], [1, 2], [3, 4]])
CompareAndBitpack | H.CompareAndBitpack()(x, y) | f32 f16 f64 i32 bool | f(3, 16), t(0)
ClipByNorm | I.ClipByNorm()(x, y) | f32 f16 | f(3, 4), t(2)
Padding | Y.Padding(4)(x) | f32 i32 bool c64 | f(3, 1)
LogSpace | Y.LogSpace(7, 10)(x, y) | f32 | t(-1), t(2) | 256
MaskedScatter | Y.MaskedScatter()(x, y, z) | f32 f16 i32 bool | f(3, 4), b(3, 4), f(12)
MaskedScatter | Y.MaskedScatter()(x, y, z) | f32 | f(3, 4), b(4), f(12)
NoRepeatNGram | J.NoRepeatNGram(3)(x, y) | f32 f16 f64 | t([[[1, 2, 1, 2, 5, 1, 2], [9, 3, 9, 5, 4, 1, 5]]], 'i4'), p(1, 2, 10)
MultiMarginLoss | W.MultiMarginLoss()(x, y, z) | f32 f64 f16 | f(3, 4), l(4, 3), p(4)
MultiMarginLoss | W.MultiMarginLoss(2, 0.5, 'none')(x, y, z) | f32 | f(3, 4), l(4, 3), p(4)
UnravelIndex | Y.UnravelIndex()(x, y) | i32 i64 | t([22, 41, 37]), t([7, 6])
CheckNumerics | Y.CheckNumerics()(x) | f32 f64 f16 | f(3, 4)
InstanceNormV2 | W.InstanceNormV2(False)(x, y, z, u, v) | f32 f16 | f(2, 3, 4, 5), f32(2, 3, 1, 1), f32(2, 3, 1, 1), f32(2, 3, 1, 1), p32(2, 3, 1, 1)
RaggedRange | H.RaggedRange(ms.int64)(x, y, z) | f32 i32 | t([0, 5, 8]), t([3, 7, 12]), t([1, 1, 2])
ConcatOffset | G.ConcatOffset(2, 1)((x, y)) | f32 | f(3, 4), f(3, 5)
Eps | H.Eps()(x) | f32 f16 f64 | f(3)
ParallelConcat | Y.ParallelConcat()((x, y)) | f32 i32 bool | f(1, 4), f(1, 4)
Expand | Y.Expand()(x, y) | f32 i32 | f(3, 1), t([2, 3, 4], 'i4')
RangeV2 | Y.RangeV2()(x, y, z) | f32 i32 i64 | t(1), t(9), t(2)
SparseSoftmaxCrossEntropyWithLogitsV2 | W.SparseSoftmaxCrossEntropyWithLogitsV2()(x, y) | f32 f16 | f(3, 4), i(4, 3) | 256
IdentityN | Y.IdentityN()((x, y)) | f32 i32 | f(3), f(4)
"""

SEQUENCES = """
SequenceConcat | A.SequenceConcat(1)(ms.mutable([x, y])) | f32 i32 | f(3, 4), f(3, 4)
SequenceStack | S.SequenceStack(1)(ms.mutable([x, y])) | f32 i32 | f(3, 4), f(3, 4)
SequenceUnstack | S.SequenceUnstack(1, 4)(x) | f32 i32 | f(3, 4)
SequenceAddN | S.SequenceAddN()(ms.mutable((x, y), True)) | f32 | f(3, 4), f(3, 4)
SequenceMax | ops.stack((x, y)), S.SequenceMax()(ms.mutable((1, 5, 3), True)) | f32 | f(3, 4), f(3, 4)
"""

SPARSE = """
SparseTensorDenseMatmul | Z.SparseTensorDenseMatmul()(x, y, (3, 4), z) | f32 f64 i32 | t([[0, 1], [2, 3], [1, 0]], 'i4'), f(3), f(4, 2)
SparseTensorDenseMatmul | Z.SparseTensorDenseMatmul(True, True)(x, y, (3, 4), z) | f32 c64 | t([[0, 1], [2, 3], [1, 0]], 'i4'), f(3), f(2, 3)
SparseToDense | Z.SparseToDense()(x, y, (3, 4)) | f32 i32 bool | t([[0, 1], [1, 0], [2, 3]], 'i4'), f(3)
SparseToDenseV2 | Z.SparseToDenseV2()(x, y, z, u) | f32 i32 | t([[0, 1], [1, 0], [2, 3]], 'i4'), t([3, 4], 'i4'), f(3), t(9)
SparseTensorDenseAdd | Z.SparseTensorDenseAdd()(x, y, z, u) | f32 i32 c64 | t([[0, 1], [1, 0], [2, 3]], 'i4'), f(3), t([3, 4], 'i4'), f(3, 4)
SparseDenseCwiseAdd | Z.SparseDenseCwiseAdd()(x, y, z, u) | f32 i32 f64 | t([[0, 1], [1, 0], [2, 3]], 'i8'), f(3), t([3, 4], 'i8'), f(4)
SparseDenseCwiseMul | Z.SparseDenseCwiseMul()(x, y, z, u) | f32 i32 f64 | t([[0, 1], [1, 0], [2, 3]], 'i8'), f(3), t([3, 4], 'i8'), f(3, 4)
SparseAddmm | Z.SparseAddmm()(x, y, z, u, v, w, a) | f32 i32 | t([[0, 1], [1, 0], [2, 3]], 'i4'), f(3), t([3, 4], 'i4'), f(4, 2), f(3, 2), t([2]), t([3])
CTCLossV2 | W.CTCLossV2()(x, y, z, u)[0] | f32 f64 | n(-3, -0.1, 6, 2, 4), t([[1, 2, 2], [3, 1, 1]], 'i4'), t([6, 5], 'i4'), t([3, 2], 'i4') | 256
CTCLoss | W.CTCLoss()(x, y, z, u) | f32 | f(5, 2, 4), t([[0, 0], [0, 1], [1, 0]], 'i8'), t([1, 1, 2], 'i4'), t([5, 5], 'i4') | 1024
"""

#: Operators without CPU kernels: MindSpore exports them, their definition is in definitions.py.
DEFINED = """
FlashAttentionScore | A.FlashAttentionScore(2, 1.0, 0.25, input_layout='BSH')(x, y, z)[3] | f32 f16 bf16 | f(2, 5, 8), f(2, 7, 8), f(2, 7, 8) | 64 | flat(attention(heads(x, 2), heads(y, 2), heads(z, 2), 0.25))
FlashAttentionScore | A.FlashAttentionScore(4, 1.0, 0.25, input_layout='BSH')(x, y, z)[3] | f16 | f(2, 5, 16), f(2, 7, 8), f(2, 7, 8) | 64 | flat(attention(heads(x, 4), heads(y, 2), heads(z, 2), 0.25))
FlashAttentionScore | A.FlashAttentionScore(2, 1.0, 0.25, input_layout='BNSD')(x, y, z, None, None, None, u)[3] | f16 | f(2, 2, 5, 4), f(2, 2, 7, 4), f(2, 2, 7, 4), b(2, 1, 5, 7) | 64 | attention(x, y, z, 0.25, u)
FlashAttentionScore | A.FlashAttentionScore(2, 1.0, 0.25, 1, 2, input_layout='BNSD')(x, y, z, None, None, None, u)[3] | f16 | f(2, 2, 7, 4), f(2, 2, 7, 4), f(2, 2, 7, 4), t(np.zeros((7, 7)), 'u1') | 64 | attention(x, y, z, 0.25, np.triu(np.ones((7, 7)), 3) + np.tril(np.ones((7, 7)), -2))
FlashAttentionScore | A.FlashAttentionScore(2, 1.0, 1.0, input_layout='SBH', sparse_mode=1)(x, y, z, v, None, None, u)[3] | f16 | f(5, 2, 8), f(7, 2, 8), f(7, 2, 8), t(np.tri(5, 7) < 1, '?'), f(2, 2, 5, 7) | 64 | flat(attention(*(heads(a.transpose(1, 0, 2), 2) for a in (x, y, z)), 1, u, v)).transpose(1, 0, 2)
FlashAttentionScore | A.FlashAttentionScore(2, 1.0, 0.25, input_layout='BSND', sparse_mode=2)(x, y, z, None, None, None, u)[3] | f16 | f(2, 5, 2, 4), f(2, 5, 2, 4), f(2, 5, 2, 4), t(np.triu(np.ones((2048, 2048)), 1), 'u1') | 64 | attention(*(a.transpose(0, 2, 1, 3) for a in (x, y, z)), 0.25, causal(5, 5)).transpose(0, 2, 1, 3)
FlashAttentionScore | A.FlashAttentionScore(2, 1.0, 0.25, input_layout='BNSD', sparse_mode=3)(x, y, z, None, None, None, u)[3] | f16 bf16 | f(2, 2, 5, 4), f(2, 2, 7, 4), f(2, 2, 7, 4), t(np.triu(np.ones((2048, 2048)), 1), 'u1') | 64 | attention(x, y, z, 0.25, causal(5, 7, 1))
FlashAttentionScore | A.FlashAttentionScore(2, 1.0, 0.25, input_layout='TND', sparse_mode=3)(x, y, z, None, None, None, u, None, (2, 5), (3, 9))[3] | f16 | f(5, 2, 16), f(9, 2, 16), f(9, 2, 16), t(np.triu(np.ones((2048, 2048)), 1), 'u1') | 64 | rows_attention(x, y, z, 0.25, (2, 5), (3, 9))
PromptFlashAttention | A.PromptFlashAttention(2, 0.25, 2147483547, 2147483547, 'BNSD')(x, y, z, u) | f16 | f(2, 2, 5, 16), f(2, 2, 5, 16), f(2, 2, 5, 16), t(np.tri(5) < 1, '?') | 64 | attention(x, y, z, 0.25, u)
PromptFlashAttention | A.PromptFlashAttention(4, 0.25, input_layout='BSH', num_key_value_heads=2)(x, y, z) | f16 | f(2, 5, 16), f(2, 7, 8), f(2, 7, 8) | 64 | flat(attention(heads(x, 4), heads(y, 2), heads(z, 2), 0.25))
IncreFlashAttention | A.IncreFlashAttention(4, 'BSH', 0.25, 2)(x, [y], [z], u, v) | f16 | f(2, 1, 16), f(2, 7, 8), f(2, 7, 8), b(2, 7), t([5, 7], 'i8') | 64 | flat(attention(heads(x, 4), heads(y, 2), heads(z, 2), 0.25, np.logical_or(u, np.arange(7) >= v[:, None])[:, None, None]))
FusedInferAttentionScore | A.FusedInferAttentionScore(4, 0.25, input_layout='BSH', num_key_value_heads=2)(x, [y], [z])[0] | f16 | f(2, 5, 16), f(2, 7, 8), f(2, 7, 8) | 64 | flat(attention(heads(x, 4), heads(y, 2), heads(z, 2), 0.25))
PagedAttention | A.PagedAttention(4, 0.25, 2)(x, y, z, u, v) | f16 | f(3, 16), f(6, 4, 2, 4), f(6, 4, 2, 4), t([[1, 2], [4, 0], [5, 3]], 'i4'), t([7, 3, 8], 'i4') | 64 | paged(x, y, z, u, v, 4, 0.25)
RotaryPositionEmbedding | A.RotaryPositionEmbedding()(x, y, z, 0) | f32 f16 bf16 | f(2, 3, 5, 8), n(-1, 1, 1, 1, 5, 8), n(-1, 1, 1, 1, 5, 8) | 64 | rotary(x, y, z, 0)
RotaryPositionEmbedding | A.RotaryPositionEmbedding()(x, y, z, 1) | f32 f16 | f(2, 3, 5, 8), n(-1, 1, 1, 1, 5, 8), n(-1, 1, 1, 1, 5, 8) | 64 | rotary(x, y, z, 1)
MoeFinalizeRouting | A.MoeFinalizeRouting()(x, y, None, z, u, v, w) | f32 f16 | f(6, 4), f(3, 4), f(4, 4), p(3, 2), t([2, 3, 1, 0, 5, 4], 'i4'), t([[0, 1], [0, 2], [1, 3]], 'i4') | 64 | finalize(x, y, z, u, v, w)
MoeInitRoutingV2 | A.MoeInitRoutingV2()(x, y, 0, 0, 0, 0, 0, False)[:2] | f32 f16 | f(5, 4), t([[2, 0], [1, 2], [0, 1], [2, 1], [0, 2]], 'i4') | 0 | route(x, y)
MoeComputeExpertTokens | A.MoeComputeExpertTokens()(x, 5) | i32 | t([0, 0, 1, 2, 2]) | 0 | np.array([2, 3, 5, 5, 5])
MoeTokenPermute | A.MoeTokenPermute()(x, y, None, False) | f16 bf16 | f(5, 4), t([[2, 0], [1, 2], [0, 1], [2, 1], [0, 2]], 'i4') | 0 | route(x, y)
MoeTokenUnpermute | A.MoeTokenUnpermute()(x, y, z, False, None) | f16 | f(6, 4), t([3, 0, 1, 4, 2, 5], 'i4'), p(3, 2) | 64 | (x[y].reshape(3, 2, 4) * z[..., None]).sum(1)
GroupedMatmul | A.GroupedMatmul(3, 0)([x], [y], None, None, None, None, None, z) | f16 f32 | f(6, 4), f(3, 4, 5), t([2, 3, 6], 'i8') | 64 | grouped(x, y, z)
GroupedMatmul | A.GroupedMatmul(0, -1)([x, z], [y, u], [v, w]) | f16 | f(6, 4), f(4, 5), f(3, 4), f(4, 2), f(5), f(2) | 64 | (x @ y + v, z @ u + w)
GroupedMatmulV4 | A.GroupedMatmulV4()([x], [y], None, None, None, None, None, None, z, None, None, None, 3, 0, 1, 0, None) | f16 | f(6, 4), f(3, 4, 5), t([2, 1, 3], 'i8') | 64 | grouped(x, y, np.cumsum(z))
QuantV2 | A.QuantV2()(x, y, z, False, 'ROUND', ms.int8) | f32 f16 | n(-9, 9, 3, 4), n(1, 20, 4), n(-5, 5, 4) | 0 | int8(x * y + z)
DynamicQuantExt | A.DynamicQuantExt()(x, y) | f16 | f(3, 4), p(4) | 64 | dynamic(x, y)
QuantBatchMatmul | A.QuantBatchMatmul(False, True, ms.float16)(x, y, z, None, u) | i8 | n(-128, 127, 3, 8), n(-128, 127, 5, 8), t([0.01] * 5, 'f4'), t([5, -7, 100, 3, 0], 'i4') | 64 | (x.astype(int) @ y.astype(int).T + u) * z
WeightQuantBatchMatmul | A.WeightQuantBatchMatmul(False, False, 0)(x, y, z, u, None, None, v) | f16 | f(3, 8), t(np.arange(40).reshape(8, 5) - 20, 'i1'), p(5), f(5), f(5) | 64 | x @ ((y + u) * z) + v
FakeQuantPerLayer | Q.FakeQuantPerLayer(training=False)(x, y, z) | f32 | n(-9, 9, 3, 40), t([-6.3]), t([7.1]) | 64 | fake(x, y[0], z[0], 8, False, False)
FakeQuantPerLayer | Q.FakeQuantPerLayer(4, symmetric=True, narrow_range=True)(x, y, z) | f32 | n(-9, 9, 3, 40), t([-6.3]), t([7.1]) | 64 | fake(x, y[0], z[0], 4, True, True)
FakeQuantPerChannel | Q.FakeQuantPerChannel(channel_axis=1)(x, y, z) | f32 | n(-9, 9, 2, 2, 5, 4), t([-6.3, -1]), t([7.1, 3]) | 64 | np.stack([fake(x[:, c], y[c], z[c], 8, False, False) for c in range(2)], 1)
AddLayerNormV2 | A.AddLayerNormV2()(x, y, z, u, 1e-5, True) | f32 | f(3, 8), f(3, 8), f(8), f(8) | 256 | (layer_norm(x + y, z, u, 1e-5), (x + y).mean(-1, keepdims=True), 1 / np.sqrt((x + y).var(-1, keepdims=True) + 1e-5), x + y)
AddRmsNorm | A.AddRmsNorm()(x, y, z, 1e-6)[0] | f32 f16 | f(3, 8), f(3, 8), f(8) | 64 | rms_norm(x + y, z, 1e-6)
Dilation2D | W.Dilation2D(1, 1, 'VALID')(x, y) | f32 f16 | f(2, 3, 6, 7), f(3, 2, 3) | 4 | dilation(x, y, 1, 1)
Dilation2D | W.Dilation2D(2, 2, 'VALID')(x, y) | f32 | f(2, 3, 7, 9), f(3, 2, 3) | 4 | dilation(x, y, 2, 2)
MoeGatingTopKSoftmax | A.MoeGatingTopKSoftmax()(x, None, 2)[0] | f32 f16 | f(5, 8) | 64 | -np.sort(-softmax(x), -1)[:, :2]
GmmV2 | A.GmmV2()([x], [y], None, z, 0, 1)[0] | f32 f16 | f(6, 4), f(3, 4, 5), t([2, 1, 3], 'i8') | 64 | grouped(x, y, np.cumsum(z))
RingAttentionUpdate | A.RingAttentionUpdate()(x, y, z, u, v, w)[0] | f32 | f(5, 2, 6), p(2, 3, 5, 1) * t(np.ones((1, 1, 1, 8))), p(2, 3, 5, 1) * t(np.ones((1, 1, 1, 8))), f(5, 2, 6), p(2, 3, 5, 1) * t(np.ones((1, 1, 1, 8))), p(2, 3, 5, 1) * t(np.ones((1, 1, 1, 8))) | 64 | ring(x, y, z, u, v, w)
HistcExt | A.HistcExt()(x, 4, -2, 2) | f32 i32 | f(30) | 0 | np.histogram(x, 4, (-2, 2))[0]
Kthvalue | A.Kthvalue()(x, 2, -1, False) | f32 i32 | t([[5, 1, 9, 3], [2, 8, 4, 6]]) | 0 | (np.sort(x)[:, 1], np.argsort(x)[:, 1])
TriangularSolve | A.TriangularSolve()(x, y, True, False, False)[0] | f32 | f(3, 2), t([[2, 4, -1], [0, 1, 1], [0, 0, 2]]) | 512 | np.linalg.solve(y, x)
NonZeroExt | A.NonZeroExt()(x) | f32 | t([[0, 1, 2], [3, 0, 0]]) | 0 | np.nonzero(x)
Unique2 | A.Unique2()(x, True, True, True) | f32 i32 | t([3, 1, 3, 2]) | 0 | tuple(np.unique(x, return_inverse=True, return_counts=True))
MedianExt | A.MedianExt()(x) | f32 | f(3, 5) | 0 | np.median(x)
Quant | I.Quant(2.5, 1.0)(x) | f32 | n(-9, 9, 3, 4) | 0 | int8(x * 2.5 + 1)
Dequant | I.Dequant()(x, y) | i32 | n(-99, 99, 3, 4), t(0.25, 'f2') | 8 | x * 0.25
AntiQuant | I.AntiQuant()(x, y, z) | i8 | n(-99, 99, 3, 4), t(2.5, 'f4'), t(1, 'f4') | 8 | (x + 1.0) * 2.5
FakeQuantWithMinMaxVars | Q.FakeQuantWithMinMaxVars()(x, y, z) | f32 | n(-9, 9, 3, 40), t([-6.3]), t([7.1]) | 64 | fake(x, y[0], z[0], 8, False, False)
MaxUnpool2DExt | A.MaxUnpool2DExt()(x, y, (2, 2), None, (0, 0), None) | f32 | n(1, 9, 1, 1, 2, 2), t([[[[0, 2], [9, 15]]]], 'i8') | 0 | np.array([x.ravel()[list(y.ravel()).index(k)] if k in y else 0 for k in range(16)]).reshape(1, 1, 4, 4)
ClipByNorm | I.ClipByNorm((1,))(x, y) | f32 | f(3, 4), t(2) | 64 | x * np.minimum(1, y / np.linalg.norm(x, axis=1))[:, None]
"""

ROWS = "".join(
    (SIZES, SEGMENTS, LINEAR, SPECTRAL, IMAGES, PATCHES, SMALL, SEQUENCES, SPARSE, DEFINED,
     vocabulary_expanded.ROWS, vocabulary_gradients.ROWS, vocabulary_kernels.ROWS, vocabulary_state.ROWS,
     vocabulary_edges.ROWS)
).replace("\n\n", "\n")  # fmt: skip
