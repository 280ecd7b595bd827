# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The official code of CVPR 2024 (https://github.com/cvlab-kaist/CAT-Seg): its keys and its settings."""

import torch

from ..configuration_catseg import CVPR_PROMPT_TEMPLATE, CatSegConfig
from .aggregator import official_config, official_moves
from .clip import clip_config, clip_moves
from .moves import Move, rename
from .options import ConversionOptions
from .shapes import Shapes


TITLE = "CVPR 2024 (official code)"
CLIP = "sem_seg_head.predictor.clip_model."
AGGREGATOR = "sem_seg_head.predictor.transformer."
PATCHES_PER_SIDE = 24
VOCABULARY = "coco_stuff_171"
TRAINED_ON = "COCO-Stuff 164k"
ATTENTION_MASK = r"sem_seg_head\.predictor\.transformer\.layers\.\d+\.swin_block\.block_2\.attn_mask"
# Patterns of keys that have no counterpart, with the reason.
DROPPED = {
    ATTENTION_MASK: "the mask of shifted windows is computed from the image size",
    r"(clip_)?pixel_(mean|std)": "the image processor normalises",
}


def matches(shapes: Shapes) -> bool:
    """Whether a checkpoint with these keys is one of this code base."""
    return f"{AGGREGATOR}conv1.weight" in shapes and "upsample1.weight" in shapes


def model_config(shapes: Shapes, options: ConversionOptions) -> CatSegConfig:
    """Configuration of the model in a checkpoint.

    Args:
        shapes (`Shapes`): Shapes of the checkpoint's tensors.
        options (`ConversionOptions`): What they do not tell.

    Returns:
        `CatSegConfig`.
    """
    clip = clip_config(shapes, CLIP, options.vision_heads, options.text_heads, options.hidden_act)
    has_padding = f"{AGGREGATOR}layers.0.attention.padding_tokens" in shapes
    fields = {
        "image_size": PATCHES_PER_SIDE * clip.vision_config.patch_size,
        "guidance_layers": [3, 7] if clip.vision_config.patch_size == 16 else [7, 15],
        "guidance_layer_channels": [shapes.of(f"upsample{stage}.weight", 4)[1] for stage in (1, 2)],
        "class_padding_length": 256 if has_padding else 0,
        "truncate_classes": has_padding,
        "prompt_templates": [CVPR_PROMPT_TEMPLATE],
        **official_config(shapes, AGGREGATOR),
    }
    return CatSegConfig(clip_config=clip, **{**fields, **options.config_fields()})


def moves(config: CatSegConfig) -> list[Move]:
    """The mapping of a checkpoint.

    Args:
        config (`CatSegConfig`): The model in it.

    Returns:
        `list[Move]`.
    """
    return [
        *clip_moves(config.clip_config, CLIP, split_projections=True),
        *official_moves(config, AGGREGATOR),
        *rename("upsample1", "decoder.guidance_upsamplings.0"),
        *rename("upsample2", "decoder.guidance_upsamplings.1"),
    ]


def shifted_window_mask(side: int, window_size: int) -> torch.Tensor:
    """The buffer `attn_mask` of the official code.

    Args:
        side (`int`): Patches along each side of the image.
        window_size (`int`): Patches along each side of a window.

    Returns:
        `torch.FloatTensor` of shape `(windows, window_size ** 2, window_size ** 2)`: 0 between patches that were
        neighbours before the shift, -100 between others.
    """
    place = torch.arange(side)
    shift = window_size // 2
    # Along each side, a shifted map has three regions: untouched, before the seam, and wrapped around.
    region = (place >= side - window_size).int() + (place >= side - shift).int()
    regions = region[:, None] * 3 + region
    windows = regions.unflatten(1, (-1, window_size)).unflatten(0, (-1, window_size)).transpose(1, 2).flatten(0, 1)
    windows = windows.flatten(1)
    return torch.where(windows[:, None] != windows[:, :, None], -100.0, 0.0)
