# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The first version ("v1") of the official code, with an appearance backbone: its keys and its settings."""

from ..configuration_catseg import CatSegConfig
from ..prompts_catseg import IMAGENET_TEMPLATES
from .aggregator import official_config, official_moves
from .backbones import (
    detectron2_resnet_config,
    detectron2_resnet_moves,
    detectron2_swin_config,
    detectron2_swin_moves,
)
from .clip import clip_config, clip_moves
from .cvpr import AGGREGATOR, ATTENTION_MASK, CLIP, PATCHES_PER_SIDE
from .moves import Move
from .options import ConversionOptions
from .shapes import Shapes


TITLE = "v1 (first version of the official code)"
BACKBONE = "backbone."
DROP_PATH_RATE = 0.3
VOCABULARY = "coco_stuff_171"
TRAINED_ON = "COCO-Stuff 164k"
DROPPED = {
    ATTENTION_MASK: "the mask of shifted windows is computed from the image size",
    r"backbone\.layers\.\d+\.blocks\.\d+\.attn\.relative_position_index": "computed from the window size",
    r"(clip_)?pixel_(mean|std)": "the image processor normalises",
}


def matches(shapes: Shapes) -> bool:
    """Whether a checkpoint with these keys is one of this code base."""
    has_backbone = f"{BACKBONE}stem.conv1.weight" in shapes or f"{BACKBONE}patch_embed.proj.weight" in shapes
    return f"{AGGREGATOR}conv1.weight" in shapes and has_backbone


def model_config(shapes: Shapes, options: ConversionOptions) -> CatSegConfig:
    """Configuration of the model in a checkpoint.

    Args:
        shapes (`Shapes`): Shapes of the checkpoint's tensors.
        options (`ConversionOptions`): What they do not tell.

    Returns:
        `CatSegConfig`.
    """
    clip = clip_config(shapes, CLIP, options.vision_heads, options.text_heads, options.hidden_act)
    has_resnet = f"{BACKBONE}stem.conv1.weight" in shapes
    if has_resnet:
        backbone = detectron2_resnet_config(shapes, BACKBONE)
    else:
        drop_path_rate = DROP_PATH_RATE if options.drop_path_rate is None else options.drop_path_rate
        backbone = detectron2_swin_config(shapes, BACKBONE, drop_path_rate)
    fields = {
        "image_size": PATCHES_PER_SIDE * clip.vision_config.patch_size,
        "guidance_layers": None,
        "guidance_layer_channels": None,
        "dense_residual": "patch",
        "prompt_templates": list(IMAGENET_TEMPLATES),
        "synonyms": "mean",
        "class_padding_length": 0,
        "truncate_classes": False,
        "clip_training": "vision_attention",
        "backbone_training": has_resnet,
        "freeze_batch_norm": has_resnet,
        **official_config(shapes, AGGREGATOR),
    }
    return CatSegConfig(clip_config=clip, backbone_config=backbone, **{**fields, **options.config_fields()})


def moves(config: CatSegConfig) -> list[Move]:
    """The mapping of a checkpoint.

    Args:
        config (`CatSegConfig`): The model in it.

    Returns:
        `list[Move]`.
    """
    backbone = config.backbone_config
    backbone_moves = detectron2_resnet_moves if backbone.model_type == "resnet" else detectron2_swin_moves
    return [
        *clip_moves(config.clip_config, CLIP),
        *backbone_moves(backbone, BACKBONE),
        *official_moves(config, AGGREGATOR),
    ]
