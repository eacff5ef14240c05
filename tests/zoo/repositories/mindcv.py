"""mindcv: image classifiers, of each family the sizes that build in little memory."""

from __future__ import annotations

from tests.zoo.repositories import Network, Repository

#: By the side of the image: the smallest that a family takes.
_BY_SIZE = {
    64: """
        convnext_tiny convnextv2_atto convnextv2_femto convnextv2_nano convnextv2_pico
        densenet121 densenet169 dpn92 edgenext_xx_small edgenext_x_small edgenext_small
        efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_v2_s
        ghostnet_050 ghostnet_100 ghostnet_130 googlenet hrnet_w32 mixnet_s mixnet_m mixnet_l
        mnasnet_050 mnasnet_075 mnasnet_100 mnasnet_130 mnasnet_140
        mobilenet_v1_025 mobilenet_v1_050 mobilenet_v1_075 mobilenet_v1_100
        mobilenet_v2_035_224 mobilenet_v2_050_224 mobilenet_v2_075 mobilenet_v2_100
        mobilenet_v2_140 mobilenet_v3_small_075 mobilenet_v3_small_100
        mobilenet_v3_large_075 mobilenet_v3_large_100
        poolformer_s12 poolformer_s24 regnet_x_200mf regnet_x_400mf regnet_x_600mf
        regnet_x_800mf regnet_y_200mf regnet_y_400mf regnet_y_600mf regnet_y_800mf
        repvgg_a0 repvgg_a1 repvgg_b0 res2net50 resnest14 resnest26 resnest50
        resnet18 resnet34 resnet50 resnet101 resnetv2_50 resnext50_32x4d BiT_resnet50
        rexnet_09 rexnet_10 rexnet_13 seresnet18 seresnet34 seresnet50 seresnext26_32x4d
        shufflenet_v1_g3_05 shufflenet_v1_g3_10 shufflenet_v1_g8_05 shufflenet_v1_g8_10
        shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 shufflenet_v2_x2_0
        skresnet18 skresnet34 skresnet50 squeezenet1_0 squeezenet1_1
    """,
    96: "inception_v3 inception_v4 xception nasnet_a_4x1056 pnasnet",
    128: "mobilevit_xx_small mobilevit_x_small mobilevit_small halonet_50t",
    160: "cmt_tiny",
    192: "cmt_xsmall",
    224: """
        cait_xxs24_224 coat_lite_tiny coat_lite_mini coat_tiny convit_tiny convit_small
        mae_b_16_224_finetune mlp_mixer_s_p32 mlp_mixer_s_p16 pit_ti pit_xs pit_s
        pvt_tiny pvt_small pvt_v2_b0 pvt_v2_b1 pvt_v2_b2 repmlp_t224 swin_tiny
        vgg11 visformer_tiny visformer_tiny_v2 visformer_small vit_b_32_224 volo_d1
        xcit_tiny_12_p16_224
    """,
    240: "crossvit_9 crossvit_15",
    256: "swinv2_tiny_window8",
}
_GRADIENTS = frozenset((
    "resnet18", "mobilenet_v3_small_075", "convnextv2_atto", "squeezenet1_0", "pvt_v2_b0", "pit_ti",
    "shufflenet_v2_x0_5", "regnet_y_200mf", "poolformer_s12", "convit_tiny",
))  # fmt: skip
#: The first casts to float16, in which what goes through it would be infinite; the others magnify
#: the rounding of float32, MindSpore's and ours, to 2 % and more with larger weights.
_GAIN = {
    "hrnet_w32": 0.7, "efficientnet_v2_s": 0.9, "visformer_tiny": 0.6, "xcit_tiny_12_p16_224": 0.6,
    "visformer_tiny_v2": 0.6, "visformer_small": 0.6,
}  # fmt: skip

REPOSITORY = Repository(
    ("mindcv==0.3.0",),
    {
        name: Network(
            f"models.{name}()",
            f"f(1, 3, {size}, {size})",
            name in _GRADIENTS,
            _GAIN.get(name, 1.2),
        )
        for size, names in _BY_SIZE.items()
        for name in names.split()
    },
    {
        "the larger sizes of a family": "they have the operators of the smaller ones",
    },
)
