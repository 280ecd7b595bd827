# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A configuration small enough for tests, and models of it with random weights everywhere."""

from pathlib import Path
from typing import Any

import torch
from transformers import ResNetConfig, SwinConfig

from catseg_hf import TINY, CatSegProcessor
from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.conversion import original_state_dict
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation


VOCAB_SIZE = 60
START, END = VOCAB_SIZE - 2, VOCAB_SIZE - 1


def tiny_config(**kwargs: Any) -> CatSegConfig:
    """A CAT-Seg of some ten thousand weights; `kwargs` replace single fields."""
    clip_config = {
        "text_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": VOCAB_SIZE,
            "max_position_embeddings": 16,
            "bos_token_id": START,
            "eos_token_id": END,
            "pad_token_id": END,
            "projection_dim": 24,
        },
        "vision_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 3,
            "num_attention_heads": 2,
            "patch_size": 8,
            "image_size": 32,
            "projection_dim": 24,
        },
        "projection_dim": 24,
    }
    fields = {
        "clip_config": clip_config,
        "image_size": 64,
        "guidance_layers": [0, 1],
        "guidance_layer_channels": [12, 8],
        "hidden_size": 16,
        "num_attention_heads": 2,
        "window_size": 4,
        "appearance_guidance_size": 8,
        "text_guidance_size": 8,
        "class_padding_length": 6,
        "decoder_hidden_sizes": [32, 16],
        "decoder_guidance_sizes": [4, 4],
    }
    return CatSegConfig(**{**fields, **kwargs})


def tiny_backbone_config(kind: str) -> ResNetConfig | SwinConfig:
    """A small ResNet or Swin with three outputs of strides 4, 8 and 16."""
    if kind == "resnet":
        return ResNetConfig(
            embedding_size=8,
            hidden_sizes=[16, 24, 32],
            depths=[1, 1, 1],
            out_features=["stage1", "stage2", "stage3"],
        )
    return SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 2, 2],
        window_size=4,
        drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3"],
    )


def backbone_fields(kind: str) -> dict[str, Any]:
    """Fields of `tiny_config` for a model with an appearance backbone."""
    return {
        "backbone_config": tiny_backbone_config(kind),
        "guidance_layers": None,
        "guidance_layer_channels": None,
        "dense_residual": "patch",
        "class_padding_length": 0,
        "clip_training": "vision_attention",
    }


def tiny_model(seed: int = 0, **kwargs: Any) -> CatSegForSemanticSegmentation:
    """A model in evaluation mode whose every weight is random: nothing is hidden by zeros and ones."""
    model = CatSegForSemanticSegmentation(tiny_config(**kwargs)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif parameter.dim() > 1:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.3 * noise)
    return model


def random_checkpoint(config: CatSegConfig, seed: int = 0) -> dict[str, torch.Tensor]:
    """Random weights under the names of the official CVPR 2024 code."""
    torch.manual_seed(seed)
    model = CatSegForSemanticSegmentation(config)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                # Larger than for training, so that not all pixels are of one class.
                weight.normal_(std=weight[0].numel() ** -0.5)
    return original_state_dict(model)


def random_images(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normal values of the given shape."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_input_ids(*shape: int, seed: int = 0) -> torch.Tensor:
    """Prompts of different lengths: a start, some tokens, an end, zeros. The last dimension is at least 4."""
    generator = torch.Generator().manual_seed(seed)
    length = shape[-1]
    input_ids = torch.randint(1, START, shape, generator=generator)
    ends = torch.randint(2, length, shape[:-1], generator=generator)
    positions = torch.arange(length)
    input_ids = input_ids.masked_fill(positions > ends[..., None], 0)
    input_ids = input_ids.masked_fill(positions == ends[..., None], END)
    input_ids[..., 0] = START
    return input_ids


def save_short_catseg_tiny(folder: Path) -> None:
    """Saves catseg-tiny with few of its layers, which segments badly and is exported fast."""
    config = CatSegConfig.from_pretrained(TINY)
    config.clip_config.vision_config.num_hidden_layers, config.clip_config.text_config.num_hidden_layers = 2, 1
    config.guidance_layers, config.num_hidden_layers = [0, 0], 1
    CatSegForSemanticSegmentation.from_pretrained(TINY, config=config).save_pretrained(folder)
    CatSegProcessor.from_pretrained(TINY).save_pretrained(folder)
