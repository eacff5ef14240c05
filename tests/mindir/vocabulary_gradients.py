"""Gradient operators that an export of MindSpore's has, each alone: rows as in vocabulary_rows.py.

Most others are in gradient_samples.py, as graphs of one operator.
"""

from __future__ import annotations

_IMAGE = "np.sin(np.arange(120.) * 7).reshape(4, 3, 2, 5)"
_MOMENTS = f"t({_IMAGE}.mean((0, 2, 3)), 'f4'), t({_IMAGE}.var((0, 2, 3)), 'f4')"
_LOGS = "t(np.log(np.random.default_rng(3).dirichlet(np.ones(4), (6, 2))))"

KERNELS = f"""
AffineGridGrad | G.AffineGridGrad(True)(x, (2, 3, 4, 5)) | f32 f16 | f(2, 4, 5, 2)
AffineGridGrad | G.AffineGridGrad()(x, (2, 3, 2, 4, 5)) | f32 | f(2, 2, 4, 5, 3)
BatchNormGradGrad | G.BatchNormGradGrad(True)(x, y, z, u, v, w, a, b) | f32 f16 | t({_IMAGE}), f(4, 3, 2, 5), f32(3), {_MOMENTS}, f(4, 3, 2, 5), f32(3), f32(3) | 256
BatchNormGradGrad | G.BatchNormGradGrad(False)(x, y, z, u, v, w, a, b) | f32 | f(4, 3, 2, 5), f(4, 3, 2, 5), f(3), f(3), p(3), f(4, 3, 2, 5), f(3), f(3) | 256
CTCLossV2Grad | ms.grad(lambda k: W.CTCLossV2()(k, y, z, u)[0] * v)(x) | f32 f64 | {_LOGS}, t([[1, 2, 2], [3, 1, 1]], 'i4'), t([6, 5], 'i4'), t([3, 2], 'i4'), f(2) | 256
CropAndResizeGradImage | M.CropAndResizeGradImage(ms.float32)(x, y, z, u) | f32 | f(4, 3, 4, 3), p32(4, 4), i(2, 4), t([2, 5, 6, 3], 'i4') | 256
CropAndResizeGradImage | M.CropAndResizeGradImage(ms.float16, 'nearest')(x, y, z, u) | f32 | f(4, 3, 4, 3), f32(4, 4), i(2, 4), t([2, 5, 6, 3], 'i4') | 256
CropAndResizeGradBoxes | M.CropAndResizeGradBoxes()(x, y, z, u) | f32 | f(4, 3, 4, 3), f(2, 5, 6, 3), p32(4, 4), i(2, 4) | 1024
InstanceNormV2Grad | G.InstanceNormV2Grad(False)(x, y, z, u, v, w, a) | f32 f16 | f(2, 3, 4, 5), f(2, 3, 4, 5), f32(2, 3, 1, 1), f32(2, 3, 1, 1), p32(2, 3, 1, 1), f32(2, 3, 1, 1), p32(2, 3, 1, 1) | 256
LuUnpackGrad | G.LuUnpackGrad(True, True)(x, y, z) | f32 f64 f16 i32 | f(3, 3), f(3, 4), f(3, 4)
LuUnpackGrad | G.LuUnpackGrad(True, True)(x, y, z) | f32 | f(2, 4, 3), f(2, 3, 3), f(2, 4, 3)
MaxPoolGradGrad | G.MaxPoolGradGrad(2, 2, 'VALID')(x, P.MaxPool(2, 2, 'valid')(x), y) | f32 | f(2, 3, 6, 7), f(2, 3, 6, 7)
MaxPoolGradGrad | G.MaxPoolGradGrad(3, 2, 'SAME')(x, P.MaxPool(3, 2, 'same')(x), y) | f32 | f(2, 3, 6, 7), f(2, 3, 6, 7)
MaxPool3DGradGrad | G.MaxPool3DGradGrad((1, 1, 2, 2, 2), (1, 1, 2, 2, 2), 'VALID')(x, P.MaxPool3D(2, 2, 'valid')(x), y) | f32 | f(2, 3, 4, 6, 5), f(2, 3, 4, 6, 5)
MaxPoolGradGradWithArgmax | G.MaxPoolGradGradWithArgmax(2, 2, 'VALID')(x, y, P.MaxPoolWithArgmax(2, 2, 'valid')(x)[1]) | f32 | f(2, 3, 6, 7), f(2, 3, 6, 7)
MaxPoolGradWithArgmax | G.MaxPoolGradWithArgmax(2, 2, 'VALID')(x, y, P.MaxPoolWithArgmax(2, 2, 'valid')(x)[1]) | f32 | f(2, 3, 6, 7), f(2, 3, 3, 3)
MaximumGradGrad | G.MaximumGradGrad()(x, y, z, u) | f32 f16 f64 i32 i64 | n(0, 3, 3, 4), n(0, 3, 3, 4), f(3, 4), f(3, 4)
MaximumGradGrad | G.MaximumGradGrad()(x, y, z, u) | f32 | t([1, 2, 2]), t([1, 1, 3]), f(3), f(3)
MinimumGradGrad | G.MinimumGradGrad()(x, y, z, u)[2] | f32 f16 i32 | t([1, 2, 2]), t([1, 1, 3]), f(3), f(3)
MedianGrad | ms.grad(lambda k: H.Median(axis=1)(k)[0] * y)(x) | f32 f64 | f(3, 5), f(3)
MedianGrad | ms.grad(lambda k: H.Median(axis=0, keep_dims=True)(k)[0] * y)(x) | f32 | f(4, 5), f(1, 5)
MedianGrad | ms.grad(lambda k: H.Median(True)(k)[0] * y)(x) | f32 | t([[1, 2, 2], [2, 3, 9]]), f()
SolveTriangularGrad | ms.grad(lambda k, l: A.SolveTriangular()(k, l, 0, True, False) * z, (0, 1))(x, y) | f32 f64 | t([[2, 7, 7], [4, 1, 7], [-1, 1, 2]]), f(3, 2), f(3, 2) | 512
SolveTriangularGrad | ms.grad(lambda k, l: A.SolveTriangular()(k, l, 1, False, True) * z, (0, 1))(x, y) | f32 f64 | t([[2, 0.5, 1], [4, 1, 0.7], [-1, 1, 2]]), f(3, 2), f(3, 2) | 512
SparseSegmentMeanGrad | G.SparseSegmentMeanGrad()(x, y, z, u) | f32 f64 | f(3, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 2], 'i4'), t(5, 'i4')
SparseSegmentSqrtNGrad | G.SparseSegmentSqrtNGrad()(x, y, z, u) | f32 f64 | f(3, 2), t([0, 2, 4, 1], 'i4'), t([0, 0, 1, 2], 'i4'), t(5, 'i4') | 1e9
ListAppendAndInsertGrad | S.ListAppendAndInsertGrad()(ms.mutable((1, 2, 3), True), 1), x | i64 | t([1])
SequenceSliceGrad | S.SequenceSliceGrad()(ms.mutable((1, 2), True), ms.mutable((5, 6, 7, 8), True), 0, 3, 2), x | i64 | t([1])
"""

#: Without kernels of the CPU: the slopes of the forward operators' definitions.
DEFINED = """
CrossEntropyLossGrad | ms.grad(lambda k: A.CrossEntropyLoss()(k, y, z, 'mean', 3)[0])(x) | f32 f16 | f(4, 5), t([1, 3, 0, 4], 'i8'), p(5) | 64 | slopes(lambda k: cross_entropy(k, y, z, 3), x)
FlashAttentionScoreGrad | ms.grad(lambda k, l, m: A.FlashAttentionScore(2, 1.0, 0.25, input_layout='BSH')(k, l, m)[3] * u, (0, 1, 2))(x, y, z) | f32 f16 bf16 | f(2, 5, 8), f(2, 7, 8), f(2, 7, 8), f(2, 5, 8) | 64 | slopes(lambda k, l, m: flat(attention(heads(k, 2), heads(l, 2), heads(m, 2), 0.25)) * u, x, y, z)
FlashAttentionScoreGrad | ms.grad(lambda k, l, m: A.FlashAttentionScore(2, 1.0, 0.25, input_layout='BNSD')(k, l, m, None, None, None, v)[3] * u, (0, 1, 2))(x, y, z) | f16 | f(1, 2, 3, 4), f(1, 1, 5, 4), f(1, 1, 5, 4), f(1, 2, 3, 4), t(np.tri(3, 5) < 1, '?') | 64 | slopes(lambda k, l, m: attention(k, l, m, 0.25, v) * u, x, y, z)
GroupedMatmulV2 | ms.grad(lambda k, l: A.Gmm()([k], [l], None, (2, 3, 6), 0, 0)[0] * z, (0, 1))(x, y) | f32 f16 | f(6, 4), f(3, 4, 5), f(6, 5) | 64 | slopes(lambda k, l: grouped(k, l, (2, 3, 6)) * z, x, y)
GroupedMatmulV4 | ms.grad(lambda k, l: A.GmmV2()([k], [l], None, z, 0, 1)[0] * u, (0, 1))(x, y) | f32 f16 | f(6, 4), f(3, 4, 5), t([2, 1, 3], 'i8'), f(6, 5) | 64 | slopes(lambda k, l: grouped(k, l, np.cumsum(z)) * u, x, y)
MoeTokenPermuteGrad | ms.grad(lambda k: A.MoeTokenPermute()(k, y, None, False)[0] * z)(x) | f16 bf16 | f(5, 4), t([[2, 0], [1, 2], [0, 1], [2, 1], [0, 2]], 'i4'), f(10, 4) | 64 | slopes(lambda k: route(k, y)[0] * z, x)
MoeTokenUnpermuteGrad | ms.grad(lambda k, l: A.MoeTokenUnpermute()(k, y, l, False, None) * u, (0, 1))(x, z) | f16 | f(6, 4), t([3, 0, 1, 4, 2, 5], 'i4'), p(3, 2), f(3, 4) | 64 | slopes(lambda k, l: (k[y].reshape(3, 2, 4) * l[..., None]).sum(1) * u, x, z)
RotaryPositionEmbeddingGrad | ms.grad(lambda k: A.RotaryPositionEmbedding()(k, y, z, 0) * u)(x) | f32 f16 | f(2, 3, 5, 8), n(-1, 1, 1, 1, 5, 8), n(-1, 1, 1, 1, 5, 8), f(2, 3, 5, 8) | 64 | slopes(lambda k: rotary(k, y, z, 0) * u, x)
RotaryPositionEmbeddingGrad | ms.grad(lambda k: A.RotaryPositionEmbedding()(k, y, z, 1) * u)(x) | f32 | f(2, 3, 5, 8), n(-1, 1, 1, 1, 5, 8), n(-1, 1, 1, 1, 5, 8), f(2, 3, 5, 8) | 64 | slopes(lambda k: rotary(k, y, z, 1) * u, x)
"""

ROWS = KERNELS + DEFINED
