"""Language, speech and vision models of transformers, in sizes that run in a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

Made = tuple[nn.Module, dict[str, Any]]

_SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
}
_VISION: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "image_size": 32,
    "patch_size": 8,
}


class Results(nn.Module):
    """Return only some of what a model returns: hidden states beside them could not shrink."""

    def __init__(self, model: nn.Module, *names: str) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, **inputs: Any) -> tuple[torch.Tensor, ...]:
        """Return the results of these names."""
        outputs = self.model(**inputs)
        return tuple(outputs[name] for name in self.names)


def _tokens() -> torch.Tensor:
    return torch.randint(3, 50, (2, 9), generator=torch.Generator().manual_seed(0))


def _texts(name: str, config: str, **options: Any) -> Callable[[Any], Made]:
    def build(library: Any) -> Made:
        settings = getattr(library, config)(**{**_SIZES, **options})
        return getattr(library, name)(settings), {"input_ids": _tokens()}

    return build


def _images(name: str, config: str, **options: Any) -> Callable[[Any], Made]:
    def build(library: Any) -> Made:
        settings = getattr(library, config)(**{**_VISION, **options})
        return getattr(library, name)(settings), {"pixel_values": torch.randn(2, 3, 32, 32)}

    return build


def _t5(library: Any) -> Made:
    sizes = {"vocab_size": 50, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_heads": 4}
    model = library.T5ForConditionalGeneration(library.T5Config(**sizes, num_layers=2))
    return Results(model, "logits"), {"input_ids": _tokens(), "decoder_input_ids": _tokens()}


def _gpt2(library: Any) -> Made:
    sizes = {"vocab_size": 50, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 32}
    return library.GPT2LMHeadModel(library.GPT2Config(**sizes)), {"input_ids": _tokens()}


def _bloom(library: Any) -> Made:
    sizes = {"vocab_size": 50, "hidden_size": 16, "n_layer": 2, "n_head": 4}
    return library.BloomForCausalLM(library.BloomConfig(**sizes)), {"input_ids": _tokens()}


def _mamba2(library: Any) -> Made:
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "state_size": 8}
    heads = {"num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 4}
    config = library.Mamba2Config(**sizes, **heads)
    return library.Mamba2ForCausalLM(config), {"input_ids": _tokens()}


def _whisper(library: Any) -> Made:
    parts = ("layers", "attention_heads", "ffn_dim")
    each = dict(zip(parts, (2, 4, 32), strict=True))
    sizes = {f"{side}_{part}": n for side in ("encoder", "decoder") for part, n in each.items()}
    lengths = {"num_mel_bins": 8, "max_source_positions": 20, "max_target_positions": 20}
    marks = {"pad_token_id": 0, "bos_token_id": 1, "decoder_start_token_id": 1, "eos_token_id": 2}
    config = library.WhisperConfig(vocab_size=50, d_model=16, **sizes, **lengths, **marks)
    speech = {"input_features": torch.randn(2, 8, 40), "decoder_input_ids": _tokens()}
    return library.WhisperForConditionalGeneration(config), speech


def _wav2vec2(library: Any) -> Made:
    convolutions = {"conv_dim": (16, 16), "conv_kernel": (4, 4), "conv_stride": (2, 2)}
    positions = {"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2}
    config = library.Wav2Vec2Config(
        **_SIZES, **convolutions, **positions, num_feat_extract_layers=2, num_labels=4
    )
    model = library.Wav2Vec2ForSequenceClassification(config)
    return model, {"input_values": torch.randn(2, 400)}


def _segformer(library: Any) -> Made:
    config = library.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        hidden_sizes=[16, 32],
        num_attention_heads=[2, 4],
        sr_ratios=[2, 1],
        patch_sizes=[7, 3],
        strides=[4, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
    )
    model = library.SegformerForSemanticSegmentation(config)
    return model, {"pixel_values": torch.randn(2, 3, 32, 32)}


def _swin(library: Any) -> Made:
    sizes = {"image_size": 32, "patch_size": 2, "embed_dim": 16, "window_size": 4}
    config = library.SwinConfig(**sizes, depths=[2, 2], num_heads=[2, 4])
    model = library.SwinForImageClassification(config)
    return model, {"pixel_values": torch.randn(2, 3, 32, 32)}


def _clip(library: Any) -> Made:
    config = library.CLIPConfig(
        text_config={**_SIZES, "max_position_embeddings": 16, "eos_token_id": 2},
        vision_config={**_VISION, "intermediate_size": 32},
        projection_dim=12,
    )
    inputs = {"input_ids": _tokens(), "pixel_values": torch.randn(2, 3, 32, 32)}
    return Results(library.CLIPModel(config), "logits_per_image", "logits_per_text"), inputs


def _detr(library: Any) -> Made:
    backbone = library.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], out_features=["stage2"]
    )
    parts = {"layers": 2, "attention_heads": 4, "ffn_dim": 32}
    sizes = {f"{side}_{part}": n for side in ("encoder", "decoder") for part, n in parts.items()}
    config = library.DetrConfig(
        backbone_config=backbone, use_timm_backbone=False, d_model=16, num_queries=6, **sizes
    )
    model = Results(library.DetrForObjectDetection(config), "logits", "pred_boxes")
    return model, {"pixel_values": torch.randn(1, 3, 64, 64)}


MODELS: dict[str, Callable[[Any], Made]] = {
    "BERT": _texts("BertForSequenceClassification", "BertConfig", max_position_embeddings=32),
    "RoFormer": _texts(
        "RoFormerForSequenceClassification", "RoFormerConfig", max_position_embeddings=32
    ),
    "DeBERTa": _texts(
        "DebertaV2ForSequenceClassification",
        "DebertaV2Config",
        max_position_embeddings=32,
        relative_attention=True,
        pos_att_type=["p2c", "c2p"],
        position_buckets=8,
    ),
    "GPT-2": _gpt2,
    "GPT-NeoX": _texts("GPTNeoXForCausalLM", "GPTNeoXConfig", max_position_embeddings=32),
    "BLOOM": _bloom,
    "OPT": _texts(
        "OPTForCausalLM",
        "OPTConfig",
        ffn_dim=32,
        max_position_embeddings=32,
        word_embed_proj_dim=16,
    ),
    "Llama": _texts("LlamaForCausalLM", "LlamaConfig", num_key_value_heads=2),
    "Qwen3": _texts("Qwen3ForCausalLM", "Qwen3Config", num_key_value_heads=2, head_dim=4),
    "Gemma 2": _texts("Gemma2ForCausalLM", "Gemma2Config", num_key_value_heads=2, head_dim=4),
    "Phi-3": _texts(
        "Phi3ForCausalLM",
        "Phi3Config",
        pad_token_id=0,
        max_position_embeddings=32,
        original_max_position_embeddings=32,
    ),
    "Falcon": _texts("FalconForCausalLM", "FalconConfig", multi_query=True),
    "Mixtral": _texts(
        "MixtralForCausalLM",
        "MixtralConfig",
        num_key_value_heads=2,
        num_local_experts=4,
        num_experts_per_tok=2,
    ),
    "Mamba-2": _mamba2,
    "T5": _t5,
    "Whisper": _whisper,
    "wav2vec 2": _wav2vec2,
    "ViT": _images("ViTForImageClassification", "ViTConfig", intermediate_size=32),
    "DINOv2": _images(
        "Dinov2ForImageClassification", "Dinov2Config", mlp_ratio=2, use_mask_token=False
    ),
    "BEiT": _images(
        "BeitForImageClassification",
        "BeitConfig",
        intermediate_size=32,
        use_relative_position_bias=True,
    ),
    "Swin": _swin,
    "SegFormer": _segformer,
    "CLIP": _clip,
    "DETR": _detr,
}
"""What takes the library and returns a model with its inputs, by name."""
