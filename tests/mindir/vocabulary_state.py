"""Operators that change their operands, each alone: rows like those of vocabulary_rows.py.

An operand that is ``held`` is a parameter of the network. MindSpore takes three steps, of which all
results and new parameters are compared.
"""

from __future__ import annotations

OPTIMIZERS = """
Adam | P.Adam()(x, y, z, 0.9, 0.99, 0.1, 0.9, 0.99, 1e-8, u) | f32 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), f(3, 4)
Adam | P.Adam(use_nesterov=True)(x, y, z, 0.9, 0.99, 0.1, 0.9, 0.99, 1e-8, u) | f32 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), f(3, 4)
AdamWeightDecay | P.AdamWeightDecay()(x, y, z, 0.1, 0.9, 0.99, 1e-8, 0.1, u) | f32 f16 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), f(3, 4)
ApplyAdaMax | P.ApplyAdaMax()(x, y, z, u, v, w, a, b, c) | f32 f16 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), t(0.5), t(0.1), t(0.9), t(0.98), t(0.001), f(3, 4)
ApplyAdadelta | P.ApplyAdadelta()(x, y, z, 0.1, 0.9, 1e-6, u) | f32 | held(f(3, 4)), held(p(3, 4)), held(p(3, 4)), f(3, 4)
ApplyAdagrad | P.ApplyAdagrad()(x, y, z, u) | f32 f16 | held(f(3, 4)), held(p(3, 4)), t(0.1), f(3, 4)
ApplyAdagrad | P.ApplyAdagrad()(x, y, z, u) | f64 | held(f(3, 4)), held(p(3, 4)), t(0.1), f(3, 4) | 1e9
ApplyAdagradDA | P.ApplyAdagradDA()(x, y, z, u, 0.1, 0.0, 0.02, 2) | f32 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), f(3, 4)
ApplyAdagradV2 | P.ApplyAdagradV2(epsilon=1e-3)(x, y, 0.1, z) | f32 | held(f(3, 4)), held(p(3, 4)), f(3, 4)
ApplyAdagradV2 | P.ApplyAdagradV2(1e-3, False)(x, y, 0.1, z) | f32 | held(f(3, 4)), held(p(3, 4)), f(3, 4)
ApplyAdamWithAmsgrad | P.ApplyAdamWithAmsgrad()(x, y, z, u, v, w, a, b) | f32 f16 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), held(p(3, 4)), t(0.9), t(0.99), t(0.1), f(3, 4)
ApplyAdamWithAmsgradV2 | P.ApplyAdamWithAmsgradV2()(x, y, z, u, v, w, a, 0.8, 0.98, 1e-4, b) | f32 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), held(p(3, 4)), t(0.9), t(0.99), t(0.1), f(3, 4)
ApplyAddSign | P.ApplyAddSign()(x, y, z, u, v, w, a) | f32 f16 f64 | held(f(3, 4)), held(f(3, 4)), t(0.1), t(1.5), t(0.9), t(0.8), f(3, 4)
ApplyPowerSign | P.ApplyPowerSign()(x, y, z, u, v, w, a) | f32 f16 | held(f(3, 4)), held(f(3, 4)), t(0.1), t(1.5), t(0.9), t(0.8), f(3, 4)
ApplyCenteredRMSProp | P.ApplyCenteredRMSProp()(x, y, z, u, v, w, 0.9, 0.5, 1e-4) | f32 | held(f(3, 4)), held(n(-0.1, 0.1, 3, 4)), held(n(1, 2, 3, 4)), held(f(3, 4)), f(3, 4), t(0.1)
ApplyFtrl | P.ApplyFtrl()(x, y, z, u, 0.1, 0.0, 0.03, -0.5) | f32 | held(f(3, 4)), held(p(3, 4)), held(f(3, 4)), f(3, 4)
ApplyFtrl | P.ApplyFtrl()(x, y, z, u, 0.1, 0.0, 0.03, -0.3) | f32 | held(f(3, 4)), held(p(3, 4)), held(f(3, 4)), f(3, 4)
ApplyGradientDescent | P.ApplyGradientDescent()(x, y, z) | f32 f16 f64 i64 i8 u8 c64 | held(f(3, 4)), t(2), f(3, 4)
ApplyMomentum | P.ApplyMomentum()(x, y, z, u, v) | f32 f16 f64 i32 i64 c64 | held(f(3, 4)), held(f(3, 4)), t(2), f(3, 4), t(3)
ApplyMomentum | P.ApplyMomentum(gradient_scale=0.5)(x, y, 0.1, z, 0.9) | f32 | held(f(3, 4)), held(f(3, 4)), f(3, 4)
ApplyProximalAdagrad | P.ApplyProximalAdagrad()(x, y, 0.1, 0.2, 0.03, z) | f32 | held(f(3, 4)), held(p(3, 4)), f(3, 4)
ApplyProximalGradientDescent | P.ApplyProximalGradientDescent()(x, y, 0.2, 0.03, z) | f32 | held(f(3, 4)), t(0.1), f(3, 4)
ApplyRMSProp | P.ApplyRMSProp()(x, y, z, 0.1, u, 0.9, 0.5, 1e-10) | f32 | held(f(3, 4)), held(p(3, 4)), held(f(3, 4)), f(3, 4)
SGD | P.SGD()(x, y, z, u, v, w) | f32 f16 | held(f(3, 4)), f(3, 4), t(0.1), held(f(3, 4)), t(0.9), held(t(np.ones((3, 4))))
SGD | P.SGD(0.1, 0.2)(x, y, z, u, v, w) | f32 | held(f(3, 4)), f(3, 4), t(0.1), held(f(3, 4)), t(0.9), held(t(np.ones((3, 4))))
SGD | P.SGD(0.0, 0.2, True)(x, y, z, u, v, w) | f32 | held(f(3, 4)), f(3, 4), t(0.1), held(f(3, 4)), t(0.9), held(t(np.ones((3, 4))))
FusedSparseAdam | P.FusedSparseAdam()(x, y, z, u, v, w, a, b, c, d, e) | f32 | held(f(5, 4)), held(f(5, 4)), held(p(5, 4)), t(0.9), t(0.99), t(0.1), t(0.9), t(0.99), t(1e-8), f(3, 4), t([2, 0, 2], 'i4')
FusedSparseLazyAdam | P.FusedSparseLazyAdam()(x, y, z, u, v, w, a, b, c, d, e) | f32 | held(f(5, 4)), held(f(5, 4)), held(p(5, 4)), t(0.9), t(0.99), t(0.1), t(0.9), t(0.99), t(1e-8), f(3, 4), t([2, 0, 2], 'i4')
FusedSparseLazyAdam | P.FusedSparseLazyAdam(False, True)(x, y, z, u, v, w, a, b, c, d, e) | f32 | held(f(5, 4)), held(f(5, 4)), held(p(5, 4)), t(0.9), t(0.99), t(0.1), t(0.9), t(0.99), t(1e-8), f(3, 4), t([2, 0, 2], 'i4')
FusedSparseFtrl | P.FusedSparseFtrl(0.1, 0.2, 0.03, -0.5)(x, y, z, u, v) | f32 | held(f(5, 4)), held(p(5, 4)), held(f(5, 4)), f(3, 4), t([2, 0, 2], 'i4')
FusedSparseProximalAdagrad | P.FusedSparseProximalAdagrad()(x, y, z, u, v, w, a) | f32 | held(f(5, 4)), held(p(5, 4)), t(0.1), t(0.2), t(0.03), f(3, 4), t([2, 0, 2], 'i4')
SparseApplyAdagrad | P.SparseApplyAdagrad(0.1)(x, y, z, u) | f32 | held(f(5, 4)), held(p(5, 4)), f(3, 4), t([2, 0, 2], 'i4')
SparseApplyAdagradV2 | W.SparseApplyAdagradV2(0.1, 1e-9)(x, y, z, u) | f32 | held(f(5, 4)), held(p(5, 4)), f(3, 4), t([2, 0, 1], 'i4')
SparseApplyAdagradDA | W.SparseApplyAdagradDA()(x, y, z, u, v, w, 0.0, 0.03, a) | f32 | held(f(5, 4)), held(f(5, 4)), held(p(5, 4)), f(3, 4), t([2, 0, 2], 'i4'), t(0.1), t(2, 'i8')
SparseApplyAdagradDA | W.SparseApplyAdagradDA()(x, y, z, u, v, w, a, b, c) | f32 f64 | held(f(5, 4)), held(f(5, 4)), held(p(5, 4)), f(3, 4), t([2, 0, 2], 'i4'), t(0.1), t(0.2), t(0.03), t(2, 'i8')
SparseApplyCenteredRMSProp | W.SparseApplyCenteredRMSProp()(x, y, z, u, v, w, a, b, c, d) | f32 f64 | held(f(5, 4)), held(n(-0.1, 0.1, 5, 4)), held(n(1, 2, 5, 4)), held(f(5, 4)), t(0.1), t(0.9), t(0.5), t(0.01), f(3, 4), t([2, 0, 2], 'i4')
SparseApplyMomentum | W.SparseApplyMomentum()(x, y, z, u, v, w) | f32 f16 f64 i32 i8 | held(f(5, 4)), held(f(5, 4)), t(2), f(3, 4), t([2, 0, 2], 'i4'), t(3)
SparseApplyMomentum | W.SparseApplyMomentum(False, True)(x, y, z, u, v, w) | f32 f64 | held(f(5, 4)), held(f(5, 4)), t(0.1), f(3, 4), t([2, 0, 2], 'i8'), t(0.9)
SparseApplyProximalGradientDescent | W.SparseApplyProximalGradientDescent()(x, y, z, u, v, w) | f32 f16 f64 | held(f(5, 4)), t(0.1), t(0.2), t(0.03), f(3, 4), t([2, 0, 2], 'i4')
SparseApplyRMSProp | W.SparseApplyRMSProp(0.9, 0.5, 0.01)(x, y, z, u, v, w) | f32 f16 | held(f(3, 4)), held(p(3, 4)), held(f(3, 4)), t(0.1), f(3, 4), t([2, 0, 1], 'i4')
AdamNoUpdateParam | P.AdamNoUpdateParam()(x, y, z, u, v, w, a, b, c) | f32 | held(f(3, 4)), held(p(3, 4)), t([0.9]), t([0.99]), t([0.1]), t([0.9]), t([0.99]), t([1e-8]), f(3, 4)
FusedAdaFactor | J.FusedAdaFactor()(x, y, z, u, v, w, a, b, c, d, e, h) | f32 | t([1e-3, 0.01]), t(1.0), t(0.9), t(0.8), t(0.1), t(0.1), f(3, 4), held(f(3, 4)), held(f(3, 4)), held(p(3)), held(p(4)), held(p(3, 4))
FusedAdaFactor | J.FusedAdaFactor(True, True, True)(x, y, z, u, v, w, a, b, c, d, e, h) | f32 | t([1e-3, 0.01]), t(1.0), t(0.9), t(0.8), t(0.1), t(0.1), f(2, 3, 4), held(f(2, 3, 4)), held(f(2, 3, 4)), held(p(2, 3)), held(p(2, 4)), held(p(2, 3, 4))
FusedAdaFactor | J.FusedAdaFactor(True, True)(x, y, z, u, v, w, a, b, c, d, e, h) | f32 | t([1e-3, 0.01]), t(0.5), t(0.9), t(0.8), t(0.1), t(0.1), f(4), held(f(4)), held(f(4)), held(p(1)), held(p(1)), held(p(4))
SparseApplyFtrl | P.SparseApplyFtrl(0.1, 0.2, 0.03, -0.5)(x, y, z, u, v) | f32 | held(f(5, 4)), held(p(5, 4)), held(f(5, 4)), f(3, 4), t([2, 0, 2], 'i4')
"""

#: Without kernels of the CPU, or with kernels that differ from what MindSpore documents.
DEFINED = """
AdamW | A.AdamW()(x, y, z, u, v, w, 0.1, 0.9, 0.99, 0.01, 1e-8, False, True)[0] | f32 f16 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), p(3, 4), f(3, 4), t(3, 'f4') | 64 | adam_w(x, y, z, -v, w, 0.1, 0.9, 0.99, 0.01, 1e-8)
ApplyAdagrad | P.ApplyAdagrad(False)(x, y, z, u)[0] | f32 | held(f(3, 4)), held(p(3, 4)), t(0.1), f(3, 4) | 64 | x - z * u / np.sqrt(y), x - z * u / np.sqrt(y), y
ApplyAdagradDA | P.ApplyAdagradDA()(x, y, z, u, 0.1, 0.3, 0.02, 2) | f32 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), f(3, 4) | 64 | twice(adagrad_da(y + u, z + u * u, 0.1, 0.3, 0.02, 2))
ApplyFtrl | P.ApplyFtrl()(x, y, z, u, 0.1, 0.2, 0.03, -0.3) | f32 | held(f(3, 4)), held(p(3, 4)), held(f(3, 4)), f(3, 4) | 64 | twice(ftrl(x, y, z, u, 0.1, 0.2, 0.03, -0.3))
ApplyRMSProp | P.ApplyRMSProp()(x, y, z, 0.1, u, 0.9, 0.5, 1e-2) | f32 | held(f(3, 4)), held(p(3, 4)), held(f(3, 4)), f(3, 4) | 64 | twice(rms_prop(x, y, z, 0.1, u, 0.9, 0.5, 1e-2))
BatchNormExt | A.BatchNormExt()(x, y, z, u, v, True, 0.3, 1e-5)[0] | f32 | f(4, 3, 5), f(3), f(3), held(f(3)), held(p(3)) | 64 | batch_norm(x, y, z, 1e-5), u * 0.7 + 0.3 * x.mean((0, 2)), v * 0.7 + 0.3 * x.var((0, 2), ddof=1)
BatchNormExt | A.BatchNormExt()(x, y, z, u, v, False, 0.3, 1e-5)[0] | f32 f16 | f(4, 3, 5), f(3), f(3), f(3), p(3) | 64 | (x - u[:, None]) / np.sqrt(v[:, None] + 1e-5) * y[:, None] + z[:, None]
FusedSparseAdam | P.FusedSparseAdam(False, True)(x, y, z, u, v, w, a, b, c, d, e)[0] | f32 | held(f(5, 4)), held(f(5, 4)), held(p(5, 4)), t(0.9), t(0.99), t(0.1), t(0.9), t(0.99), t(1e-8), f(3, 4), t([2, 0, 2], 'i4') | 64 | twice(nesterov(x, y, z, u, v, w, a, b, c, rows(d, e, 5)))
Lamb | I.Lamb()(x, y, z, 0.1, 0.9, 0.99, 1e-6, 0.02, u, v) | f32 f16 | held(f(3, 4)), held(f(3, 4)), held(p(3, 4)), t(3, 'i4'), f(3, 4) | 64 | twice(lamb(x, y, z, 0.1, 0.9, 0.99, 1e-6, 0.02, u, v))
LARSUpdate | P.LARSUpdate(1e-4, 0.01)(x, y, z, u, 0.1, 0.5) | f32 | f(3, 4), f(3, 4), t(7.0), t(3.0) | 64 | 0.01 * np.sqrt(7) / (np.sqrt(3) + 0.1 * np.sqrt(7) + 1e-4) * (y + 0.1 * x)
"""

_EACH = "f32 f16 f64 i32 i64 i8 u8"
SCATTERS = f"""
Assign | P.Assign()(x, y) | f32 f16 f64 i32 i8 u8 c64 bool | held(f(3, 4)), f(3, 4)
AssignAdd | P.AssignAdd()(x, y) | f32 f64 i32 i64 i8 u8 c64 | held(f(3, 4)), f(3, 4)
AssignSub | P.AssignSub()(x, y) | f32 f64 i32 i64 i8 u8 | held(f(3, 4)), f(3, 4)
ScatterAdd | P.ScatterAdd()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 0]], 'i4'), f(2, 2, 4)
ScatterSub | P.ScatterSub()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 0]], 'i4'), f(2, 2, 4)
ScatterMul | P.ScatterMul()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 0]], 'i4'), f(2, 2, 4)
ScatterDiv | P.ScatterDiv()(x, y, z) | {_EACH} | held(n(1, 99, 5, 4)), t([[1, 3], [1, 0]], 'i4'), n(2, 5, 2, 2, 4)
ScatterMax | P.ScatterMax()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 0]], 'i4'), f(2, 2, 4)
ScatterMin | P.ScatterMin()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 0]], 'i4'), f(2, 2, 4)
ScatterUpdate | P.ScatterUpdate()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [2, 0]], 'i4'), f(2, 2, 4)
ScatterNdAdd | P.ScatterNdAdd()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 3], [0, 2]], 'i4'), f(3)
ScatterNdSub | P.ScatterNdSub()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1], [1], [0]], 'i4'), f(3, 4)
ScatterNdMul | P.ScatterNdMul()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 3], [0, 2]], 'i4'), f(3)
ScatterNdDiv | P.ScatterNdDiv()(x, y, z) | {_EACH} | held(n(1, 99, 5, 4)), t([[1, 3], [1, 3], [0, 2]], 'i4'), n(2, 5, 3)
ScatterNdMax | P.ScatterNdMax()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 3], [0, 2]], 'i4'), f(3)
ScatterNdMin | P.ScatterNdMin()(x, y, z) | {_EACH} | held(f(5, 4)), t([[1, 3], [1, 3], [0, 2]], 'i4'), f(3)
ScatterNdUpdate | P.ScatterNdUpdate()(x, y, z) | {_EACH} c64 | held(f(5, 4)), t([[1, 3], [2, 3], [0, 2]], 'i4'), f(3)
InplaceCopy | A.InplaceCopy()(x, y, False) | f32 f16 f64 i32 i8 u8 c64 bool | held(f(3, 4)), f(3, 4)
InplaceCopy | A.InplaceCopy()(x, y, False) | f32 f16 i32 i8 | held(f(3, 4)), t([1.5, -2.5, 3.25, 0], 'f8')
"""

ROWS = OPTIMIZERS + SCATTERS + DEFINED
