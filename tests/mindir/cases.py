"""Networks of MindSpore's own layers, as text that the MindSpore process evaluates.

A row is a name, the network, its inputs. ``f`` makes floats, ``p`` floats in (0, 1), ``i(n, ...)``
ints below n, ``c`` complex numbers. Classes of networks are in networks.py.
"""

from __future__ import annotations

import re

LAYERS = """
dense            | nn.Dense(4, 5, activation='tanh')                          | f(2, 3, 4)
dense_chain      | nn.SequentialCell(nn.Dense(4, 5), nn.ReLU(), nn.Dense(5, 3, has_bias=False)) | f(2, 4)
bilinear         | nn.BiDense(4, 5, 3)                                        | f(2, 4), f(2, 5)
flatten          | nn.Flatten()                                               | f(2, 3, 4)
unflatten        | nn.Unflatten(1, (2, 2))                                    | f(2, 4, 3)
embedding        | nn.Embedding(10, 5, padding_idx=0)                         | i(10, 3, 4)
embedding_1hot   | nn.Embedding(10, 5, use_one_hot=True)                      | i(10, 3, 4)
dropout          | nn.Dropout(p=0.5)                                          | f(2, 4)
conv1d           | nn.Conv1d(4, 6, 3, stride=2, has_bias=True)                | f(2, 4, 9)
conv2d_same      | nn.Conv2d(4, 6, 3)                                         | f(2, 4, 9, 8)
conv2d_same_2    | nn.Conv2d(4, 6, 3, stride=2)                               | f(2, 4, 9, 8)
conv2d_valid     | nn.Conv2d(4, 6, (3, 2), pad_mode='valid', has_bias=True)   | f(2, 4, 9, 8)
conv2d_pad       | nn.Conv2d(4, 6, 3, 2, 'pad', (1, 2, 0, 1), 2, 2, True)     | f(2, 4, 9, 8)
conv2d_depthwise | nn.Conv2d(4, 8, 3, group=4)                                | f(2, 4, 9, 8)
conv3d           | nn.Conv3d(4, 6, 3, stride=2, has_bias=True)                | f(2, 4, 5, 6, 7)
conv1d_t         | nn.Conv1dTranspose(4, 6, 3, stride=2)                      | f(2, 4, 9)
conv2d_t         | nn.Conv2dTranspose(4, 6, 3, stride=2, has_bias=True)       | f(2, 4, 9, 8)
conv2d_t_pad     | nn.Conv2dTranspose(4, 6, 3, 2, 'pad', 1, has_bias=True)    | f(2, 4, 9, 8)
conv2d_t_valid   | nn.Conv2dTranspose(4, 6, 3, stride=3, pad_mode='valid')    | f(2, 4, 9, 8)
conv2d_t_group   | nn.Conv2dTranspose(4, 6, 3, stride=2, group=2)             | f(2, 4, 9, 8)
conv3d_t         | nn.Conv3dTranspose(4, 6, 3, stride=2)                      | f(2, 4, 5, 6, 7)
batchnorm1d      | nn.BatchNorm1d(4)                                          | f(2, 4)
batchnorm2d      | nn.BatchNorm2d(4, gamma_init='uniform', moving_var_init=p(4)) | f(2, 4, 5, 6)
batchnorm3d      | nn.BatchNorm3d(4)                                          | f(2, 4, 5, 6, 3)
layernorm        | nn.LayerNorm((8,))                                         | f(2, 4, 9, 8)
layernorm_2      | nn.LayerNorm((9, 8), 2, 2)                                 | f(2, 4, 9, 8)
groupnorm        | nn.GroupNorm(2, 4)                                         | f(2, 4, 9, 8)
lrn              | nn.LRN()                                                   | f(2, 4, 9, 8)
maxpool1d        | nn.MaxPool1d(3, 2)                                         | f(2, 4, 9)
maxpool2d        | nn.MaxPool2d(3, 2)                                         | f(2, 4, 9, 8)
maxpool2d_same   | nn.MaxPool2d(3, 2, pad_mode='same')                        | f(2, 4, 9, 8)
maxpool2d_ceil   | nn.MaxPool2d(3, 2, 'pad', padding=1, ceil_mode=True)       | f(2, 4, 9, 8)
maxpool2d_index  | nn.MaxPool2d(3, 2, 'pad', 1, 2, return_indices=True)       | f(2, 4, 9, 8)
maxpool3d        | nn.MaxPool3d(2, 2)                                         | f(2, 4, 5, 6, 7)
maxpool3d_pad    | nn.MaxPool3d(3, 2, 'pad', padding=1)                       | f(2, 4, 5, 6, 7)
avgpool1d        | nn.AvgPool1d(3, 2)                                         | f(2, 4, 9)
avgpool2d        | nn.AvgPool2d(3, 2)                                         | f(2, 4, 9, 8)
avgpool2d_same   | nn.AvgPool2d(3, 2, pad_mode='same')                        | f(2, 4, 9, 8)
avgpool2d_ceil   | nn.AvgPool2d(3, 2, 'pad', 1, True, False)                  | f(2, 4, 9, 8)
avgpool3d        | nn.AvgPool3d(2, 2)                                         | f(2, 4, 5, 6, 7)
avgpool3d_pad    | nn.AvgPool3d(3, 2, 'pad', 1, count_include_pad=True)       | f(2, 4, 5, 6, 7)
adaptive_avg1d   | nn.AdaptiveAvgPool1d(3)                                    | f(2, 4, 9)
adaptive_avg2d   | nn.AdaptiveAvgPool2d((3, 2))                               | f(2, 4, 9, 8)
adaptive_avg2d_u | nn.AdaptiveAvgPool2d((4, 3))                               | f(2, 4, 9, 8)
adaptive_avg3d   | nn.AdaptiveAvgPool3d((3, 2, 2))                            | f(2, 4, 5, 6, 7)
adaptive_max1d   | nn.AdaptiveMaxPool1d(3)                                    | f(2, 4, 9)
adaptive_max2d   | nn.AdaptiveMaxPool2d((4, 3))                               | f(2, 4, 9, 8)
lppool2d         | nn.LPPool2d(2, 3, 2)                                       | f(2, 4, 9, 8)
pad_reflect      | nn.Pad(((0, 0), (0, 0), (1, 2), (2, 1)), mode='REFLECT')   | f(2, 4, 9, 8)
pad_symmetric    | nn.Pad(((0, 0), (1, 2)), mode='SYMMETRIC')                 | f(3, 4)
pad_constant     | nn.ConstantPad2d((1, 2, 0, 3), 0.5)                        | f(2, 4, 9, 8)
pad_negative     | nn.ConstantPad2d((1, -2, 0, -3), 0.5)                      | f(2, 4, 9, 8)
pad_reflect2d    | nn.ReflectionPad2d((1, 2, 0, 3))                           | f(2, 4, 9, 8)
pad_replicate2d  | nn.ReplicationPad2d((1, 2, 0, 3))                          | f(2, 4, 9, 8)
pad_zero2d       | nn.ZeroPad2d((1, 2, 0, 3))                                 | f(2, 4, 9, 8)
up_nearest       | nn.Upsample(size=(12, 15), mode='nearest')                 | f(2, 4, 9, 8)
up_bilinear      | nn.Upsample(size=(12, 15), mode='bilinear')                | f(2, 4, 9, 8)
up_bilinear_a    | nn.Upsample(size=(12, 15), mode='bilinear', align_corners=True) | f(2, 4, 9, 8)
up_bicubic       | nn.Upsample(size=(12, 15), mode='bicubic')                 | f(2, 4, 9, 8)
up_bicubic_a     | nn.Upsample(size=(12, 15), mode='bicubic', align_corners=True) | f(2, 4, 9, 8)
up_area          | nn.Upsample(size=(12, 15), mode='area')                    | f(2, 4, 9, 8)
up_linear        | nn.Upsample(size=12, mode='linear')                        | f(2, 4, 9)
up_trilinear     | nn.Upsample(size=(12, 5, 6), mode='trilinear', align_corners=True) | f(2, 4, 5, 6, 7)
pixel_shuffle    | nn.PixelShuffle(2)                                         | f(2, 4, 9, 8)
pixel_unshuffle  | nn.PixelUnshuffle(2)                                       | f(2, 4, 8, 8)
channel_shuffle  | nn.ChannelShuffle(2)                                       | f(2, 4, 9, 8)
attention        | nn.MultiheadAttention(8, 2)                                | f(3, 2, 8), f(4, 2, 8), f(4, 2, 8)
attention_bias   | nn.MultiheadAttention(8, 2, batch_first=True, add_bias_kv=True, add_zero_attn=True) | f(2, 3, 8), f(2, 4, 8), f(2, 4, 8)
encoder_layer    | nn.TransformerEncoderLayer(8, 2, 16)                       | f(3, 2, 8)
encoder          | nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, activation='gelu', norm_first=True, batch_first=True), 2, norm=nn.LayerNorm((8,))) | f(2, 3, 8)
decoder_layer    | nn.TransformerDecoderLayer(8, 2, 16)                       | f(3, 2, 8), f(4, 2, 8)
transformer      | nn.Transformer(8, 2, 1, 1, 16)                             | f(4, 2, 8), f(3, 2, 8)
lstm             | nn.LSTM(4, 5, num_layers=2, bidirectional=True)            | f(3, 2, 4)
lstm_batch_first | nn.LSTM(4, 5, batch_first=True, has_bias=False)            | f(3, 2, 4)
gru              | nn.GRU(4, 5, num_layers=2, bidirectional=True)             | f(3, 2, 4)
rnn              | nn.RNN(4, 5, num_layers=2)                                 | f(3, 2, 4)
gru_cell         | nn.GRUCell(4, 5)                                           | f(2, 4), f(2, 5)
rnn_cell         | nn.RNNCell(4, 5)                                           | f(2, 4), f(2, 5)
"""

ACTIVATIONS = """
ReLU() ReLU6() GELU() GELU(False) Sigmoid() Tanh() ELU() CELU() SiLU() Softsign() HSigmoid()
HSwish() Mish() LogSigmoid() LogSoftmax() Softmax() Softmin() Softmax2d() Tanhshrink()
Threshold(0.1,20.0) HShrink() SoftShrink() Hardtanh() PReLU() GLU() FastGelu()
"""

LOSSES = """
l1               | nn.L1Loss()                             | f(3, 4), f(3, 4)
mse              | nn.MSELoss('sum')                       | f(3, 4), f(3, 4)
smooth_l1        | nn.SmoothL1Loss(beta=0.5)               | f(3, 4), f(3, 4)
huber            | nn.HuberLoss()                          | f(3, 4), f(3, 4)
kl_div           | nn.KLDivLoss()                          | f(3, 4), p(3, 4)
poisson_nll      | nn.PoissonNLLLoss()                     | f(3, 4), f(3, 4)
bce              | nn.BCELoss(reduction='mean')            | p(3, 4), p(3, 4)
bce_logits       | nn.BCEWithLogitsLoss()                  | f(3, 4), p(3, 4)
cross_entropy    | nn.CrossEntropyLoss(label_smoothing=0.1) | f(3, 5), i(5, 3)
nll              | nn.NLLLoss()                            | f(3, 5), i(5, 3)
sparse_ce        | nn.SoftmaxCrossEntropyWithLogits(sparse=True, reduction='mean') | f(3, 5), i(5, 3)
dense_ce         | nn.SoftmaxCrossEntropyWithLogits()      | f(3, 5), p(3, 5)
cosine           | nn.CosineEmbeddingLoss()                | f(3, 5), f(3, 5), i(2, 3) * 2 - 1
margin_ranking   | nn.MarginRankingLoss()                  | f(3), f(3), f(3).sign()
hinge            | nn.HingeEmbeddingLoss()                 | f(3, 5), f(3, 5).sign()
multi_label      | nn.MultiLabelSoftMarginLoss()           | f(3, 5), i(2, 3, 5)
gaussian_nll     | nn.GaussianNLLLoss()                    | f(3, 5), f(3, 5), p(3, 5)
dice             | nn.DiceLoss()                           | f(3, 5), p(3, 5)
rmse             | nn.RMSELoss()                           | f(3, 5), f(3, 5)
"""

MINT = """
mint_linear      | mint.nn.Linear(4, 5)                    | f(2, 3, 4)
mint_groupnorm   | mint.nn.GroupNorm(2, 4)                 | f(2, 4, 9, 8)
mint_relu        | mint.nn.ReLU()                          | f(2, 4)
mint_silu        | mint.nn.SiLU()                          | f(2, 4)
mint_softmax     | mint.nn.Softmax(-1)                     | f(2, 4)
mint_hardswish   | mint.nn.Hardswish()                     | f(2, 4)
mint_prelu       | mint.nn.PReLU()                         | f(2, 4)
mint_softshrink  | mint.nn.Softshrink()                    | f(2, 4)
mint_glu         | mint.nn.GLU()                           | f(2, 4)
mint_upsample    | mint.nn.Upsample(None, 2.0, 'nearest')  | f(2, 4, 9, 8)
mint_shuffle     | mint.nn.PixelShuffle(2)                 | f(2, 4, 9, 8)
mint_smooth_l1   | mint.nn.SmoothL1Loss()                  | f(3, 4), f(3, 4)
mint_nll         | mint.nn.NLLLoss()                       | f(3, 5), i(5, 3, dtype=np.int64)
mint_bce         | mint.nn.BCEWithLogitsLoss()             | f(3, 5), p(3, 5)
"""


#: The expression that ``construct(self, x, y, z)`` returns, and the inputs.
EXPRESSIONS = """
arithmetic       | x + y, x - y, x * y, x / y, x // y, x % y, x ** 2, -x | f(3, 4), f(3, 4)
int_arithmetic   | x + y, x * y, x / y, x // y, x % y                | i(9, 3, 4) - 4, i(4, 3, 4) + 1
mixed            | x + y, x * 2.5, y * 2, y / 2, y + 1.5             | f(3, 4), i(9, 3, 4)
half             | x + y, ops.exp(x), ops.softmax(x, -1), x @ y.T, ops.relu(x) | f(3, 4, dtype=np.float16), f(3, 4, dtype=np.float16)
compare          | x < y, x <= y, x > 0.5, x >= y, x == y, x != y    | f(3, 4), f(3, 4)
logic            | (x > 0).logical_and(y > 0), ops.logical_not(x > 0), ops.logical_xor(x > 0, y > 0) | f(3, 4), f(3, 4)
bits             | ops.bitwise_and(x, y), ops.bitwise_or(x, y), ops.bitwise_xor(x, y), ops.bitwise_left_shift(x, ms.Tensor(2, ms.int32)), ops.bitwise_right_shift(x, ms.Tensor(1, ms.int32)) | i(99, 3, 4), i(99, 3, 4)
unary            | ops.exp(x), ops.log(ops.abs(x) + 1), ops.sqrt(ops.abs(x)), ops.rsqrt(ops.abs(x) + 1), ops.erf(x), ops.floor(x), ops.ceil(x), ops.round(x), ops.sign(x), ops.trunc(x) | f(3, 4)
trigonometry     | ops.sin(x), ops.cos(x), ops.tan(x), ops.asin(y), ops.acos(y), ops.atan(x), ops.sinh(x), ops.cosh(x), ops.atan2(x, y) | f(3, 4), p(3, 4)
select           | ops.where(x > 0, x, y), ops.select(x > 0, x, y), ops.masked_fill(x, y > 0, 7.0), ops.clamp(x, -1, 1) | f(3, 4), f(3, 4)
casts            | x.astype(ms.int32), x.astype(ms.float16), (x > 0).astype(ms.float32), x.int().astype(ms.int64) | f(3, 4)
sums             | x.sum(), x.sum(0), x.sum((0, 2), keepdims=True), x.mean(-1), ops.reduce_max(x, 1), x.min(), x.prod(1) | f(3, 4, 2)
statistics       | x.std(1), x.var(0), ops.norm(x, dim=1), ops.logsumexp(x, 1), ops.all(x > -9), ops.any(x > 9, 1) | f(3, 4)
extremes         | x.argmax(1), x.argmin(0), x.max(1, return_indices=True), ops.max(x, 0), ops.min(x, 1) | f(3, 4)
cumulative       | x.cumsum(1), ops.cumprod(x, 0), ops.cummax(x, 1), ops.cummin(x, 0) | f(3, 4)
sorting          | ops.sort(x, 1), ops.sort(x, 0, True), ops.topk(x, 2), ops.argsort(x, 1) | f(3, 4)
products         | x @ y, ops.matmul(x, y), ops.bmm(z, z.swapaxes(1, 2)), ops.tensor_dot(x, y, 1), ops.addmm(x @ y, x, y) | f(3, 4), f(4, 3), f(2, 3, 4)
product_shapes   | x @ y, ops.matmul(y, y.swapaxes(-1, -2)), ops.outer(z, z), ops.inner(z, z) | f(4), f(2, 4, 3), f(3)
products_grouped | ops.BatchMatMul(True, False)(x, y), ops.BatchMatMul(False, True)(x, x) | f(2, 4, 3), f(2, 4, 5)
views            | x.reshape(4, 6), x.view(2, -1), x.transpose(2, 0, 1), x.swapaxes(0, 1), x.flatten(), ops.expand_dims(x, 1), x[None] | f(2, 3, 4)
squeezes         | x.squeeze(), x.squeeze(0), ops.unsqueeze(x, -1), ops.flatten(x, start_dim=1) | f(1, 3, 1, 4)
broadcasting     | ops.broadcast_to(x, (2, 3, 4)), ops.tile(x, (2, 2)), x.expand_as(y), ops.repeat_interleave(x, 2, 0) | f(3, 4), f(2, 3, 4)
joining          | ops.cat((x, y), 1), ops.stack((x, y)), ops.stack((x, y), -1), ops.hstack((x, y)) | f(3, 4), f(3, 4)
parting          | ops.split(x, 2, 1), ops.split(x, [1, 3], 1), ops.unbind(x), ops.chunk(x, 3, 1) | f(3, 4)
slices           | x[1:, :2], x[:, ::2], x[..., -1], x[1], x[None, :, 1:3], x[::-1], x[0, 1:, 2] | f(3, 4, 5)
flips            | ops.flip(x, (0,)), ops.tril(x), ops.triu(x, 1), x.diagonal() | f(4, 4)
gathers          | ops.gather(x, y, 0), ops.gather(x, y, 1), ops.gather_nd(x, z), ops.gather_elements(x, 1, y), x[y] | f(3, 4), i(3, 3, 2), i(3, 5, 2)
scatters         | ops.tensor_scatter_add(x, y, z), ops.tensor_scatter_max(x, y, z), ops.scatter_nd(y, z, (3, 4)), ops.tensor_scatter_sub(x, y, z) | f(3, 4), i(3, 5, 2), f(5)
scatter_elements | ops.tensor_scatter_elements(x, y, z, 1), ops.tensor_scatter_elements(x, y, z, 0, 'add') | f(3, 4), i(3, 2, 3), f(2, 3)
one_hot          | ops.one_hot(x, 5), ops.one_hot(x, 5, ms.Tensor(2.0), ms.Tensor(-1.0), 0) | i(5, 3, 2)
making           | ops.zeros((2, 3)), ops.ones((2,)), ops.zeros_like(x), ops.full((2, 2), 3.0), ops.arange(5), ops.eye(3), ops.linspace(0, 1, 5), x + ops.fill(ms.float32, (3, 4), 2) | f(3, 4)
grids            | ops.meshgrid(x, y, indexing='ij'), ops.cross(z, z + 1) | f(3), f(4), f(2, 3)
paddings         | ops.pad(x, (1, 2)), ops.pad(x, (1, 1, 2, 0), value=3.0), ops.pad(x[None], (1, 1), 'reflect') | f(3, 4)
spaces           | ops.SpaceToDepth(2)(x), ops.DepthToSpace(2)(x), ops.BatchToSpaceND([2, 2], [[0, 0], [0, 1]])(x), ops.SpaceToBatchND([2, 2], [[0, 0], [0, 0]])(x) | f(4, 4, 6, 8)
interpolation    | ops.interpolate(x, (5, 7), mode='nearest'), ops.interpolate(x, (12, 9), mode='bilinear', align_corners=True) | f(2, 3, 6, 8)
complex          | ops.real(z), ops.imag(z), ops.angle(z), ops.conj(z).real() | f(2), f(2), c(3, 4)
special          | ops.lgamma(y), ops.digamma(y), ops.igamma(y, y + 1), ops.i0(x), ops.erfinv(y), ops.xlogy(y, y), ops.lerp(x, y, 0.3), ops.hypot(x, y) | f(3, 4), p(3, 4)
linear_algebra   | ops.cholesky(x @ x.T + 3 * ops.eye(4)), ops.inverse(x), ops.det(x), ops.svd(x, compute_uv=False), ops.slogdet(x) | f(4, 4)
fourier          | ops.fft(x).abs(), ops.rfft(x).abs(), ops.irfft(ops.rfft(x)), ops.fft2(x).abs() | f(4, 8)
windows          | ops.max_pool2d(x, 3, 2), ops.avg_pool2d(x, 2), ops.adaptive_avg_pool2d(x, 2), ops.unfold(x, 3), ops.lrn(x) | f(2, 3, 6, 8)
tuples           | (x, (y, None), [x + 1, (y,)])                             | f(3), i(3, 2)
constants        | (x, 3, 2.5, True)                                         | f(3)
dynamic_views    | x.reshape(x.shape[0] * 2, -1), ops.zeros(x.shape), x.view(-1, x.shape[1] // 2), ops.broadcast_to(x[:1], x.shape), x[: x.shape[0] - 1] | f(4, 6)
normalizing      | ops.group_norm(x, 3), ops.L2Normalize(1)(x) | f(2, 3, 4)
"""

#: Classes of networks.py.
CONTROL_FLOW = """
if_else          | Branch()                                                  | f(2, 4)
if_else_other    | Branch()                                                  | ops.ones((2, 4)) * -3
early_return     | EarlyReturn()                                             | f(2, 4)
elif_chain       | Chain()                                                   | f(2, 4), i(3)
while            | Loop()                                                    | f(2, 4), ms.Tensor(3, ms.int32)
while_0_times    | Loop()                                                    | f(2, 4), ms.Tensor(0, ms.int32)
while_break      | Break()                                                   | f(2, 4), ms.Tensor(5, ms.int32)
while_return     | ReturnInLoop()                                            | f(2, 4), ms.Tensor(5, ms.int32)
while_continue   | Continue()                                                | f(2, 4), ms.Tensor(5, ms.int32)
while_nested     | Nested()                                                  | f(2, 4), ms.Tensor(3, ms.int32)
while_twice      | Twice()                                                   | f(2, 4), ms.Tensor(3, ms.int32)
while_in_if      | LoopInBranch()                                            | f(2, 4), ms.Tensor(3, ms.int32)
for_unrolled     | Unrolled()                                                | f(2, 4)
"""


#: How a case is exported differently: dynamic axes of inputs, encrypted, split at a low limit.
VARIANTS: dict[str, tuple[str, dict]] = {
    "dense_batch": ("dense_chain", {"dynamic": [(0, 0)]}),
    "conv_batch": ("conv2d_pad", {"dynamic": [(0, 0)]}),
    "conv_sizes": ("conv2d_same", {"dynamic": [(0, 0), (0, 2), (0, 3)]}),
    "encoder_batch": ("encoder", {"dynamic": [(0, 0)]}),
    "views_batch": ("dynamic_views", {"dynamic": [(0, 0), (0, 1)]}),
    "flatten_batch": ("flatten", {"dynamic": [(0, 0)]}),
    "if_batch": ("if_else", {"dynamic": [(0, 0)]}),
    "while_batch": ("while", {"dynamic": [(0, 0)]}),
    "split": ("conv2d_pad", {"split": True}),
    "gcm": ("dense_chain", {"enc_key": bytes(range(32)), "enc_mode": "AES-GCM"}),
    "cbc": ("dense_chain", {"enc_key": bytes(range(24)), "enc_mode": "AES-CBC"}),
    "sm4": ("dense_chain", {"enc_key": bytes(range(16)), "enc_mode": "SM4-CBC"}),
    "split_gcm": ("encoder", {"split": True, "enc_key": bytes(16), "enc_mode": "AES-GCM"}),
}


def rows(table: str) -> dict[str, tuple[str, str]]:
    """Name to network and inputs."""
    found = {}
    for line in table.strip().splitlines():
        name, network, inputs = (part.strip() for part in line.split(" | "))
        assert name not in found, name
        found[name] = (network, inputs)
    return found


CASES = (
    rows(LAYERS)
    | {re.sub(r"\W+", "_", n).strip("_"): (f"nn.{n}", "f(2, 4, 9, 8)") for n in ACTIVATIONS.split()}
    | rows(LOSSES)
    | rows(MINT)
    | rows(CONTROL_FLOW)
)
EXPRESSION_CASES = rows(EXPRESSIONS)
