"""Networks of MindSpore's own layers, as text that the MindSpore process evaluates.

A row is a name, the network, its inputs. ``f`` makes floats, ``p`` floats in (0, 1), ``i(n, ...)``
ints below n. Classes of networks are in networks.py.
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
)
