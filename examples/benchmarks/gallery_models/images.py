"""Backbones of timm, the networks of diffusers' pipelines, and segmentation-models-pytorch."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

Made = tuple[nn.Module, Any]

_BACKBONES = (
    "coat_lite_tiny convnext_atto cspresnet50 densenet121 dla34 edgenext_xx_small "
    "efficientnet_b0 efficientformerv2_s0 ghostnet_050 hrnet_w18_small inception_v4 "
    "levit_128s maxvit_rmlp_pico_rw_256 mixer_s32_224 mnasnet_050 mobilenetv3_small_050 "
    "mobilevit_xxs nfnet_l0 pit_ti_224 poolformer_s12 pvt_v2_b0 regnetx_002 regnety_002 "
    "repvgg_a0 res2net50_14w_8s resnet18 resnetv2_50 resnext50_32x4d rexnet_100 seresnet18 "
    "skresnet18 swin_tiny_patch4_window7_224 swinv2_cr_tiny_ns_224 tf_efficientnetv2_b0 "
    "twins_pcpvt_small vgg11_bn visformer_tiny vit_tiny_patch16_224 vovnet39a "
    "xcit_nano_12_p16_224 "
).split()


def _backbone(name: str, library: Any) -> Made:
    model = library.create_model(name, pretrained=False, num_classes=10)
    return model, torch.randn(1, *library.get_pretrained_cfg(name).input_size)


def _unet(library: Any) -> Made:
    model = library.UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=16,
        norm_num_groups=8,
    )
    inputs = {"sample": torch.randn(1, 4, 16, 16), "timestep": torch.tensor([3])}
    return model, inputs | {"encoder_hidden_states": torch.randn(1, 5, 16)}


def _autoencoder(library: Any) -> Made:
    model = library.AutoencoderKL(
        block_out_channels=(16, 32),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=8,
    )
    return model, {"sample": torch.randn(1, 3, 32, 32)}


def _dit(library: Any) -> Made:
    model = library.DiTTransformer2DModel(
        num_attention_heads=2,
        attention_head_dim=8,
        in_channels=4,
        num_layers=2,
        sample_size=8,
        num_embeds_ada_norm=10,
        norm_num_groups=4,
    )
    inputs = {"timestep": torch.tensor([3]), "class_labels": torch.tensor([1])}
    return model, {"hidden_states": torch.randn(1, 4, 8, 8)} | inputs


def _segmenter(name: str, library: Any) -> Made:
    # PSPNet runs three of the encoder's five stages unless it is told otherwise.
    model = getattr(library, name)("resnet18", encoder_weights=None, classes=3, encoder_depth=5)
    return model, torch.randn(1, 3, 64, 64)


BACKBONES: dict[str, Callable[[Any], Made]] = {n: partial(_backbone, n) for n in _BACKBONES}
PIPELINES: dict[str, Callable[[Any], Made]] = {
    "UNet2DCondition": _unet,
    "AutoencoderKL": _autoencoder,
    "DiT": _dit,
}
SEGMENTERS: dict[str, Callable[[Any], Made]] = {
    name: partial(_segmenter, name)
    for name in ("Unet", "UnetPlusPlus", "FPN", "PSPNet", "DeepLabV3Plus", "Linknet")
}
