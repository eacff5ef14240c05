"""Reductions, losses, quotients at their ends: rows as in vocabulary_rows.py; a test runs them all.

Sums past their dtype, axes of a number, ignored labels beside infinity and NaN. Where MindSpore's
CPU departs from the definition (docs/state.md), the definition is due.
"""

from __future__ import annotations

_WHOLE = "i8 i16 i32 i64 u8 u16"
_BITS = "t([[0, 0, 2], [0, 0, 0]])"
_FINITE = "t([[-1, -2, -3], [-4, -5, -6], [-7, -8, -9], [-1.5, -2.5, -3.5]])"
_INFINITE = "t([[-np.inf, np.nan, np.nan], [-4, -5, -6], [-np.inf, -8, -9], [-1.5, -2.5, np.nan]])"

TRUTH = f"""
Any | A.Any()(x) | bool i8 | t([0, 0, 2])
Any | A.Any()(x) | f32 f16 i16 i32 i64 u8 | t([0, 0, 0]) | 64 | x.any()
Any | A.Any()(x) | f32 bf16 | t([0, -0.0]) | 64 | x.any()
AnyExt | A.AnyExt()(x, 1, True) | bool i8 | {_BITS}
AnyExt | A.AnyExt()(x, 1, True) | f32 f16 bf16 f64 i16 i32 i64 u8 | {_BITS} | 64 | x.any(1, keepdims=True)
AnyExt | A.AnyExt()(x, -1, False) | f32 f64 | t([[0, -0.0, np.nan], [0, 0.3, 0], [-0.0, 0, 0]]) | 64 | x.any(-1)
AnyExt | A.AnyExt()(x, 0, False) | bool f32 | t(np.zeros((0, 3))) | 64 | x.any(0)
AnyExt | A.AnyExt()(x, -1, True) | bool | t(1)
ReduceAny | P.ReduceAny()(x, 1) | bool i8 | {_BITS}
ReduceAny | P.ReduceAny()(x, 1) | f32 f16 bf16 f64 i16 i32 i64 u8 u16 | {_BITS} | 64 | x.any(1)
ReduceAny | P.ReduceAny()(x, ()) | f32 i32 | {_BITS} | 64 | x.any()
ReduceAny | P.ReduceAny()(x, 0) | bool | t(1)
ReduceAll | P.ReduceAll()(x, 1) | bool f32 f16 bf16 f64 i8 i16 i32 i64 u8 c64 | t([[1, 0, 2], [1, 3, 1]])
ReduceAll | P.ReduceAll(True)(x, -1) | f32 f64 bf16 | t([[1, -0.0, 2], [1, np.nan, 0.3]])
ReduceAll | P.ReduceAll()(x, 0) | bool f32 | t(np.zeros((0, 3)))
"""

SUMS = f"""
ReduceMean | P.ReduceMean()(x, 1) | {_WHOLE} | t([[7, 8, 8], [3, 4, 4]])
ReduceMean | P.ReduceMean()(x, ()) | i8 i16 i32 i64 | t([[-7, -8, -8], [-3, -4, 5]])
ReduceMean | P.ReduceMean()(x, 1) | i8 i16 | n(-128, 127, 9, 300) | 64 | whole_mean(x)
ReduceMean | P.ReduceMean()(x, 1) | u8 u16 | n(0, 255, 9, 300) | 64 | whole_mean(x)
ReduceMean | P.ReduceMean()(x, 1) | i32 | n(-2**31, 2**31 - 1, 9, 300) | 64 | whole_mean(x)
ReduceMean | P.ReduceMean()(x, 1) | i64 | n(-2**63, 2**63 - 1, 9, 300) | 64 | whole_mean(x)
ReduceMean | P.ReduceMean(True)(x, -1) | f32 i32 | t(2)
MeanExt | A.MeanExt()(x, (1,), False, None) | {_WHOLE} | t([[7, 8, 8], [3, 4, 4]])
MeanExt | A.MeanExt()(x, (1,), False, None) | i8 u8 | n(0, 127, 9, 300) | 64 | whole_mean(x)
MeanExt | A.MeanExt()(x, (1,), True, ms.int32) | i8 bool f32 | t([[7, 8, 8], [3, 4, 4]])
MeanExt | A.MeanExt()(x, (0,), False, None) | f32 | t(2)
ReduceSum | P.ReduceSum()(x, 1) | {_WHOLE} | n(0, 127, 3, 300)
ReduceSum | P.ReduceSum(True)(x, -1) | f32 i32 | t(2)
ReduceProd | P.ReduceProd()(x, 1) | {_WHOLE} bool | n(0, 127, 3, 5)
ReduceProd | P.ReduceProd()(x, 0) | f32 i32 | t(2)
SumExt | A.SumExt()(x, (1,), True, None) | {_WHOLE} u32 u64 bool | n(0, 127, 3, 300)
SumExt | A.SumExt()(x, (1,), False, ms.int8) | i32 u8 bool | n(0, 127, 3, 300)
SumExt | A.SumExt()(x, (-1,), False, None) | f32 | t(2)
ProdExt | A.ProdExt()(x, 1, True, None) | {_WHOLE} u32 u64 bool | n(0, 127, 3, 4)
ProdExt | A.ProdExt()(x, 0, False, None) | f32 | t(2)
ReduceMax | P.ReduceMax()(x, 1) | {_WHOLE} f32 | n(0, 127, 3, 9)
ReduceMax | P.ReduceMax()(x, 0) | f32 i32 | t(2)
ReduceMin | P.ReduceMin()(x, 1) | {_WHOLE} f32 | n(0, 127, 3, 9)
ReduceMin | P.ReduceMin()(x, 0) | f32 i32 | t(2)
ArgMaxWithValue | A.ArgMaxWithValue(0)(x) | f32 | t(2)
ArgMinWithValue | A.ArgMinWithValue(-1, True)(x) | f32 | t(2)
"""

LABELS = f"""
NLLLoss | A.NLLLoss('none', 1)(x, y, z) | f32 | {_FINITE}, t([0, 2, 0, 2], 'i4'), t([1, 2, 3])
NLLLoss | A.NLLLoss('none', 1)(x, y, z) | f32 | {_FINITE}, t([1, 2, 0, 1], 'i4'), t([1, 2, 3]) | 64 | nll(x, y, z, 1)
NLLLoss | A.NLLLoss('none', -100)(x, y, z)[0] | f32 | {_INFINITE}, t([-100, 2, 0, -100], 'i8'), t([1, 2, 3]) | 64 | nll(x, y, z, -100)[0]
NLLLoss | A.NLLLoss('sum', 1)(x, y, z) | f32 | {_FINITE}, t([1, 2, 0, 1], 'i4'), t([1, 2, 3])
NLLLoss | A.NLLLoss('sum', -100)(x, y, z) | f32 | {_INFINITE}, t([-100, 2, 1, -100], 'i4'), t([1, 2, 3])
NLLLoss | A.NLLLoss('mean', 0)(x, y, z) | f32 | {_INFINITE}, t([0, 2, 1, 0], 'i8'), t([np.inf, 2, 3])
NLLLoss | A.NLLLoss('mean', -100)(x, y, z) | f32 | {_FINITE}, t([-100, -100, -100, -100], 'i4'), t([1, 2, 3])
NLLLoss | A.NLLLoss('sum', -100)(x, y, z) | f32 | {_FINITE}, t([-100, -100, -100, -100], 'i4'), t([1, 2, 3])
NLLLoss | A.NLLLoss('mean', -100)(x, y, z) | f32 | {_FINITE}, t([0, 1, 1, 0], 'i4'), t([0, 0, 3])
NLLLoss | A.NLLLoss('sum', -100)(x, y, z) | f32 | t([[-1, -np.inf], [np.nan, -2]]), t([0, 1], 'i4'), t([1, 0])
CrossEntropyLoss | A.CrossEntropyLoss()(x, y, z, 'none', -100)[0] | f32 | t([[-np.inf, 1, 2], [0, 1, 2]]), t([-100, 2], 'i8'), t([1, 2, 3]) | 64 | nll(np.log(np.maximum(softmax(x), 1e-30)), y, z, -100)[0]
SparseSoftmaxCrossEntropyWithLogits | W.SparseSoftmaxCrossEntropyWithLogits()(x, y) | f32 | t([[1000, 0, 0], [3, 4, -500]]), t([1, 2], 'i4') | 64 | 1504.3133 / 2
SparseSoftmaxCrossEntropyWithLogits | W.SparseSoftmaxCrossEntropyWithLogits()(x, y) | f32 | t([[1, -np.inf, 0], [3, 4, 5]]), t([0, 1], 'i4')
SoftmaxCrossEntropyWithLogits | W.SoftmaxCrossEntropyWithLogits()(x, y) | f32 | t([[999, 0, 0], [3, -np.inf, 1]]), t([[1, 0, 0], [0.5, 0, 0.5]])
"""

_PARTS = "t([1, 0.3, 6.6, 100, -1, 1, 7.2, 1e4, -6, 1, np.inf, -1, 0, 5, -np.inf, np.nan, -3, -0.0, 0]), t([0.1, 0.1, 1.1, 0.1, 0.1, -0.1, 0.9, 0.3, 3, np.inf, 3, np.inf, 0, 0, np.inf, 2, -np.inf, 3, np.nan])"

QUOTIENTS = f"""
FloorDiv | A.FloorDiv()(x, y) | f16 f32 f64 bf16 | {_PARTS}
FloorMod | A.FloorMod()(x, y) | f16 f32 f64 | {_PARTS}
Mod | P.Mod()(x, y) | f16 f32 f64 | {_PARTS}
DivMod | A.DivMod()(x, y, 'floor') | f32 f64 | {_PARTS}
DivMod | A.DivMod()(x, y, 'trunc') | f32 | {_PARTS}
RemainderTensorTensor | A.RemainderTensorTensor()(x, y) | f32 f64 | {_PARTS}
"""

ROWS = TRUTH + SUMS + LABELS + QUOTIENTS
