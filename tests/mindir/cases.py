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
sharded          | Sharded()                                                 | f(2, 4), f(4, 3)
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

#: Single expressions, of which a network returns several; the inputs are MORE_INPUTS.
MORE = """
mint.add(x, y, alpha=2)
mint.sub(x, y, alpha=2)
mint.add(x, 2, alpha=3)
ops.addn((x, y, z))
ops.addcmul(x, y, z, 0.5)
ops.addcdiv(x, y, z, 0.5)
ops.addmm(x, y, b[0].T @ b[1])
ops.addbmm(x[:, :3], b, b.swapaxes(1, 2))
ops.addmv(x[:, 0], y, z[0])
ops.baddbmm(b[:, :, :3], b, b.swapaxes(1, 2))
mint.any(x > 0), mint.any(x > 0, 1), mint.all(x > 0, 1)
mint.bmm(b, b.swapaxes(1, 2))
ops.bitwise_and(i, 3)
mint.chunk(x, 2, 1)
mint.clamp(x, -0.5, 0.5)
mint.clamp(x, y, y + 1)
mint.clamp(x, 0.5)
ops.diag(x[0])
ops.diagonal(x, 1)
ops.div(x, y, rounding_mode='trunc')
ops.DivNoNan()(x, y), ops.MulNoNan()(x, y), ops.Xdivy()(x, y)
x.expand_as(b)
mint.eye(3, 4)
ops.fftshift(x), ops.ifftshift(x, 1)
ops.fftn(x).abs(), ops.hfft(x), ops.ihfft(x).abs(), ops.ifft2(x).abs(), ops.rfft2(x).abs(), ops.rfftn(x).abs(), ops.irfftn(ops.rfftn(x)), ops.irfft2(ops.rfft2(x))
mint.flatten(b, 1)
mint.flip(x, (1,))
ops.floor_mod(x, y), ops.fmod(x, y), ops.remainder(x, y), mint.remainder(x, y), mint.remainder(x, 2.0), mint.fmod(x, 2.0)
ops.floor_mod(j, i + 1), ops.TruncateMod()(j - 5, i + 1), ops.TruncateDiv()(j - 5, i + 1), ops.Mod()(j - 5, i + 1)
ops.ones_like(x), ops.zeros_like(i)
mint.gather(x, 1, i)
ops.gcd(i, j), ops.lcm(i, j)
ops.ger(x[0], y[0])
mint.greater(x, 0.5), mint.ge(x, y), x >= 0.5, x <= 0.5, x > 0.5, x != 0.5
ops.heaviside(x, y)
ops.fmax(x, y)
ops.index_select(x, 1, i[0])
ops.index_fill(x, 0, i[0, :1], 5.0)
mint.isclose(x, y), ops.isclose(x, x)
ops.L2Loss()(x), ops.SquareSumAll()(x, y)
mint.lerp(x, y, 0.3), mint.lerp(x, y, z)
ops.vector_norm(x, 3, axis=1)
ops.logit(z), ops.logit(z, 0.1)
mint.max(x), mint.max(x, 1), mint.min(x, 0, True)
mint.mean(x), mint.mean(x, 1), mint.mean(x, (0, 1), True)
mint.sum(i), mint.sum(x, 1), mint.prod(x, 1), mint.prod(x)
ops.mvlgamma(z + 3, 2)
mint.nan_to_num(ops.log(x))
ops.nan_to_num(ops.log(x), 1.0, 2.0, 3.0)
ops.nansum(ops.log(x), 1)
mint.narrow(x, 1, 1, 2), ops.narrow(x, 1, 1, 2)
x.new_ones((2, 3)), x.new_zeros((2, 3))
ops.Pad(((1, 2), (0, 1)))(x)
ops.polar(z, y).abs()
ops.polygamma(ms.Tensor(1), z), ops.zeta(z + 2, z + 1)
ops.pow(2.0, x), ops.pow(x, 2), mint.pow(z, 1.5), mint.pow(2, x)
ops.rank(x), ops.size(x)
ops.ReduceStd(1)(x)
mint.reshape(x, (2, 6)), x.view(2, 6), x.view_as(y)
ops.ResizeNearestNeighbor((5, 7))(b[None])
ops.reverse_sequence(x, i[:, 0] + 1, 1)
ops.scatter(x, 1, i, y)
ops.searchsorted(ops.sort(x, 1)[0], y)
mint.select(x, 1, 2)
ops.SigmoidCrossEntropyWithLogits()(x, z)
ops.sinc(x)
mint.nn.functional.softplus(x), mint.nn.functional.softplus(x, 2, 1)
ops.Softplus()(x), ops.softplus(x)
mint.split(x, 2, 1), mint.split(x, [1, 3], 1)
mint.squeeze(x[None], 0), mint.unsqueeze(x, 1)
ops.std(x, 1), ops.std_mean(x, 1), ops.var_mean(x, 1)
ops.stop_gradient(x)
ops.tensor_scatter_div(x, ops.stack((i, i), -1)[0], y[0]), ops.tensor_scatter_mul(x, ops.stack((i, i), -1)[0], y[0]), ops.tensor_scatter_min(x, ops.stack((i, i), -1)[0], y[0])
ops.TensorShape()(x)
mint.transpose(x, 0, 1), mint.permute(b, (2, 0, 1)), mint.t(x), x.T
ops.unsorted_segment_sum(x, i[:, 0], 3), ops.unsorted_segment_max(x, i[:, 0], 3), ops.unsorted_segment_min(x, i[:, 0], 3), ops.unsorted_segment_prod(x, i[:, 0], 3)
mint.where(x > 0, x, y), mint.where(x > 0, x, 0.0)
mint.nn.functional.interpolate(b[None, None], (5, 6, 7), mode='nearest')
mint.nn.functional.binary_cross_entropy(z, z)
ops.meshgrid(x[0], y[1])
ops.cdist(x, y)
ops.cross(x[:, :3], y[:, :3])
ops.range(1, 9, 2)
ops.qr(x[:, :3])[1].abs()
ops.deepcopy(x)
ops.floor_divide(x, y), x // 2
"""
MORE_INPUTS = "f(3, 4), f(3, 4), p(3, 4), i(3, 3, 4), i(9, 3, 4), f(2, 3, 4)"

#: Operators without CPU kernels: what is exported, and an expression that has its numbers.
EXPRESSION_PAIRS = """
extremes_ext   | mint.argmax(x), mint.argmin(x, 0), mint.argsort(x, 1, True) | x.reshape(-1).argmax(), x.argmin(0), ops.argsort(x, 1, True)
unary_ext      | mint.asin(z), mint.acos(z), mint.atan(x), mint.asinh(x), mint.acosh(z + 1), mint.atan2(x, y), mint.log2(z), mint.frac(x), mint.clone(x), mint.exp2(x) | ops.asin(z), ops.acos(z), ops.atan(x), ops.asinh(x), ops.acosh(z + 1), ops.atan2(x, y), ops.log(z) / 0.69314718, x - ops.trunc(x), x, ops.pow(2.0, x)
bits_ext       | mint.bitwise_or(i, 3), mint.bitwise_not(i) | ops.bitwise_or(i, ms.Tensor(3, ms.int32)), -i - 1
sums_ext       | mint.cumsum(x, 1), mint.cummin(x, 1), mint.logsumexp(x, 1), mint.norm(x, 3.0, 1), mint.dot(x[0], y[0]), mint.trace(x[:, :3]) | ops.cumsum(x, 1), ops.cummin(x, 1), ops.logsumexp(x, 1), ops.norm(x, 3.0, 1), (x[0] * y[0]).sum(), x[0, 0] + x[1, 1] + x[2, 2]
quotients_ext  | mint.div(x, y, rounding_mode='floor'), mint.div(x, y, rounding_mode='trunc'), mint.div(x, 2, rounding_mode='trunc') | ops.floor(x / y), ops.trunc(x / y), ops.trunc(x / 2)
making_ext     | mint.arange(2, 9, 2), mint.linspace(0, 1, 5), mint.full((2, 3), 1.5), mint.full_like(x, 2.0), mint.ones((2,)), mint.zeros_like(x) | ops.range(2, 9, 2), ops.linspace(0, 1, 5), ops.ones((2, 3)) * 1.5, x * 0 + 2, ops.ones((2,)), x * 0
moving_ext     | mint.index_select(x, 1, i[0]), mint.nn.functional.one_hot(i, 5), mint.repeat_interleave(x, 2, 1), mint.roll(x, 1, 1), mint.stack((x, y), 1), mint.tril(x, 1) | ops.gather(x, i[0], 1), ops.one_hot(i, 5).astype(ms.int64), ops.repeat_elements(x, 2, 1), ops.cat((x[:, 3:], x[:, :3]), 1), ops.stack((x, y), 1), ops.tril(x, 1)
scatters_ext   | mint.scatter_add(x, 1, i, y), mint.sort(x, dim=1, descending=True), mint.topk(x, 2, 1) | ops.tensor_scatter_elements(x, i, y, 1, 'add'), ops.sort(x, 1, True), ops.topk(x, 2, 1)
matrices_ext   | mint.mm(x, y.T), mint.mv(x, y[0]), mint.inverse(x[:, :3]) | ops.matmul(x, y.T), ops.matmul(x, y[0]), ops.inverse(x[:, :3])
spread_ext     | mint.std(x, 1), mint.var(x, 1), mint.var_mean(x, 1), mint.std_mean(x, 0, correction=0) | ops.std(x, 1, ddof=1), ops.var(x, 1, ddof=1), ops.var_mean(x, 1, ddof=1), ops.std_mean(x, 0, ddof=0)
resizing_ext   | mint.nn.functional.interpolate(b[None], (5, 7), mode='bilinear'), mint.nn.functional.interpolate(b[None], (5, 7), mode='bilinear', align_corners=True), mint.nn.functional.interpolate(b, 7, mode='linear'), mint.nn.functional.interpolate(b, 7, mode='nearest') | ops.interpolate(b[None], (5, 7), mode='bilinear'), ops.interpolate(b[None], (5, 7), mode='bilinear', align_corners=True), ops.interpolate(b, 7, mode='linear'), ops.interpolate(b, 7, mode='nearest')
paddings_ext   | mint.nn.functional.pad(x, (1, 2)), mint.nn.functional.pad(b, (1, 2), mode='reflect'), mint.nn.functional.pad(b, (1, 2), mode='replicate') | ops.pad(x, (1, 2)), ops.pad(b, (1, 2), mode='reflect'), ops.pad(b, (1, 2), mode='replicate')
windows_ext    | mint.nn.functional.avg_pool1d(b, 2), mint.nn.functional.adaptive_avg_pool1d(b, 2), mint.nn.functional.unfold(b[None], 2) | ops.avg_pool1d(b, 2, 2), ops.adaptive_avg_pool1d(b, 2), ops.unfold(b[None], 2)
leaky_ext      | mint.nn.functional.leaky_relu(x, 0.2) | ops.leaky_relu(x, 0.2)
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
while_scalars    | ScalarLoop()                                              | f(5, 3), ms.mutable(3), ms.mutable(4)
while_list       | ListInLoop()                                              | f(3), ms.Tensor(4, ms.int32)
scalar_mix       | ScalarMix()                                               | f(3, 4), i(9, 5), i(9, 5, dtype=np.int64) + 1, ms.mutable(2), ms.mutable(1.5)
set_by_element   | SetByElement()                                            | f(4, 5), ms.Tensor([2, 0], ms.int32)
raising          | Raising()                                                 | f(2, 3)
for_unrolled     | Unrolled()                                                | f(2, 4)
"""


#: Layers without CPU kernels: they are exported, the numbers come from a layer that has them.
PAIRS = """
mint_conv2d      | mint.nn.Conv2d(4, 6, 3, 2, 1, groups=2)  | nn.Conv2d(4, 6, 3, 2, 'pad', 1, 1, 2, True) | f(2, 4, 9, 8)
mint_conv3d      | mint.nn.Conv3d(4, 6, 3)                  | nn.Conv3d(4, 6, 3, pad_mode='valid', has_bias=True) | f(2, 4, 5, 6, 7)
mint_conv2d_t    | mint.nn.ConvTranspose2d(4, 6, 3, 2, 1)   | nn.Conv2dTranspose(4, 6, 3, 2, 'pad', 1, has_bias=True) | f(2, 4, 9, 8)
mint_batchnorm2d | mint.nn.BatchNorm2d(4)                   | nn.BatchNorm2d(4)             | f(2, 4, 9, 8)
mint_layernorm   | mint.nn.LayerNorm(8)                     | nn.LayerNorm((8,), epsilon=1e-5) | f(2, 4, 8)
mint_gelu        | mint.nn.GELU()                           | nn.GELU(False)                | f(3, 4)
mint_mish        | mint.nn.Mish()                           | nn.Mish()                     | f(3, 4)
mint_elu         | mint.nn.ELU()                            | nn.ELU()                      | f(3, 4)
mint_selu        | mint.nn.SELU()                           | nn.SeLU()                     | f(3, 4)
mint_log_softmax | mint.nn.LogSoftmax(-1)                   | nn.LogSoftmax(-1)             | f(3, 4)
mint_log_sigmoid | mint.nn.LogSigmoid()                     | nn.LogSigmoid()               | f(3, 4)
mint_relu6       | mint.nn.ReLU6()                          | nn.ReLU6()                    | f(3, 4) * 6
mint_hardtanh    | mint.nn.Hardtanh(-2, 1)                  | nn.Hardtanh(-2, 1)            | f(3, 4)
mint_threshold   | mint.nn.Threshold(0.1, 20.0)             | nn.Threshold(0.1, 20.0)       | f(3, 4)
mint_avgpool2d   | mint.nn.AvgPool2d(3, 2, 1, True, False)  | nn.AvgPool2d(3, 2, 'pad', 1, True, False) | f(2, 4, 9, 8)
mint_maxpool2d   | mint.nn.MaxPool2d(3, 2, 1)               | nn.MaxPool2d(3, 2, 'pad', 1)  | f(2, 4, 9, 8)
mint_adaptive    | mint.nn.AdaptiveAvgPool2d((4, 3))        | nn.AdaptiveAvgPool2d((4, 3))  | f(2, 4, 9, 8)
mint_zero_pad    | mint.nn.ZeroPad2d((1, 2, 0, 1))          | nn.ZeroPad2d((1, 2, 0, 1))    | f(2, 4, 9, 8)
mint_reflect     | mint.nn.ReflectionPad2d((1, 2, 0, 1))    | nn.ReflectionPad2d((1, 2, 0, 1)) | f(2, 4, 9, 8)
mint_replicate   | mint.nn.ReplicationPad2d((1, 2, 0, 1))   | nn.ReplicationPad2d((1, 2, 0, 1)) | f(2, 4, 9, 8)
mint_embedding   | mint.nn.Embedding(10, 5)                 | nn.Embedding(10, 5)           | i(10, 3, 4)
mint_mse         | mint.nn.MSELoss()                        | nn.MSELoss()                  | f(3, 4), f(3, 4)
mint_l1          | mint.nn.L1Loss('sum')                    | nn.L1Loss('sum')              | f(3, 4), f(3, 4)
mint_kl_div      | mint.nn.KLDivLoss(reduction='sum')       | nn.KLDivLoss('sum')           | f(3, 4), p(3, 4)
mint_ce          | mint.nn.CrossEntropyLoss()               | nn.CrossEntropyLoss()         | f(3, 5), i(5, 3)
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


def rows(table: str) -> dict[str, tuple[str, ...]]:
    """Name to network and inputs."""
    found = {}
    for line in table.strip().splitlines():
        name, *row = (part.strip() for part in line.split(" | "))
        assert name not in found, name
        found[name] = tuple(row)
    return found


CASES = (
    rows(LAYERS)
    | {re.sub(r"\W+", "_", n).strip("_"): (f"nn.{n}", "f(2, 4, 9, 8)") for n in ACTIVATIONS.split()}
    | {f"loss_{name}": row for name, row in rows(LOSSES).items()}
    | rows(MINT)
    | rows(CONTROL_FLOW)
)
_MORE = MORE.strip().splitlines()
EXPRESSION_CASES = rows(EXPRESSIONS) | {
    f"more_{k}": (", ".join(f"({line})" for line in _MORE[k : k + 6]), MORE_INPUTS)
    for k in range(0, len(_MORE), 6)
}
EXPRESSION_PAIR_CASES = rows(EXPRESSION_PAIRS)
PAIR_CASES = rows(PAIRS)
