# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CLIP in the naming of OpenAI, which OpenCLIP and all three CAT-Seg code bases share."""

import math
from typing import Any

from transformers import CLIPConfig, CLIPTextConfig, CLIPVisionConfig

from .moves import TRANSPOSED, Move, rename
from .shapes import Shapes


# Vision widths of OpenCLIP's ViT-H and ViT-bigG: 16 heads of 80 and 104 channels, and the exact GELU.
OPEN_CLIP_VISION_HEADS = {1280: 16, 1664: 16}


def clip_config(
    shapes: Shapes,
    prefix: str,
    vision_heads: int | None = None,
    text_heads: int | None = None,
    hidden_act: str | None = None,
) -> CLIPConfig:
    """Configuration of the CLIP model whose tensors are below `prefix`.

    Args:
        shapes (`Shapes`): Shapes of the checkpoint's tensors.
        prefix (`str`): What its keys begin with, such as `"backbone.clip_model."`.
        vision_heads (`int`, *optional*): Heads of the vision tower; one per 64 channels by default, 16 for the widths
            of OpenCLIP's ViT-H and ViT-bigG.
        text_heads (`int`, *optional*): Heads of the text tower; one per 64 channels by default.
        hidden_act (`str`, *optional*): `"quick_gelu"` (OpenAI) or `"gelu"` (OpenCLIP); by default by the width.

    Returns:
        `CLIPConfig`.
    """
    vision_width, _, patch_size, _ = shapes.of(f"{prefix}visual.conv1.weight", 4)
    text_width, embed_dim = shapes.of(f"{prefix}text_projection", 2)
    vocab_size, _ = shapes.of(f"{prefix}token_embedding.weight", 2)
    context_length, _ = shapes.of(f"{prefix}positional_embedding", 2)
    positions, _ = shapes.of(f"{prefix}visual.positional_embedding", 2)
    is_open_clip = vision_width in OPEN_CLIP_VISION_HEADS
    if hidden_act is None:
        hidden_act = "gelu" if is_open_clip else "quick_gelu"
    common: dict[str, Any] = {"hidden_act": hidden_act, "projection_dim": embed_dim}
    return CLIPConfig(
        text_config={
            **common,
            "vocab_size": vocab_size,
            "hidden_size": text_width,
            "intermediate_size": shapes.of(f"{prefix}transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
            "num_hidden_layers": shapes.count(f"{prefix}transformer.resblocks."),
            "num_attention_heads": text_heads or max(text_width // 64, 1),
            "max_position_embeddings": context_length,
            # CLIP's start and end tokens are the last two of its vocabulary.
            "bos_token_id": vocab_size - 2,
            "eos_token_id": vocab_size - 1,
        },
        vision_config={
            **common,
            "hidden_size": vision_width,
            "intermediate_size": shapes.of(f"{prefix}visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0],
            "num_hidden_layers": shapes.count(f"{prefix}visual.transformer.resblocks."),
            "num_attention_heads": vision_heads or OPEN_CLIP_VISION_HEADS.get(vision_width, max(vision_width // 64, 1)),
            "image_size": math.isqrt(positions - 1) * patch_size,
            "patch_size": patch_size,
        },
        projection_dim=embed_dim,
    )


def _tower_moves(
    source: str, target: str, config: CLIPTextConfig | CLIPVisionConfig, split_projections: bool
) -> list[Move]:
    moves = []
    width = config.hidden_size
    for layer in range(config.num_hidden_layers):
        block, ours = f"{source}resblocks.{layer}.", f"{target}encoder.layers.{layer}."
        moves += rename(f"{block}ln_1", f"{ours}layer_norm1")
        moves += rename(f"{block}ln_2", f"{ours}layer_norm2")
        moves += rename(f"{block}mlp.c_fc", f"{ours}mlp.fc1")
        moves += rename(f"{block}mlp.c_proj", f"{ours}mlp.fc2")
        moves += rename(f"{block}attn.out_proj", f"{ours}self_attn.out_proj")
        for index, name in enumerate(("q", "k", "v")):
            rows = ((index * width, (index + 1) * width),)
            projection = f"{ours}self_attn.{name}_proj"
            if split_projections:
                moves.append(Move(f"{block}attn.{name}_proj_weight", f"{projection}.weight"))
            else:
                moves.append(Move(f"{block}attn.in_proj_weight", f"{projection}.weight", source_part=rows))
            moves.append(Move(f"{block}attn.in_proj_bias", f"{projection}.bias", source_part=rows))
    return moves


def clip_moves(
    config: CLIPConfig, prefix: str, target: str = "model.clip.", split_projections: bool = False
) -> list[Move]:
    """Moves of a CLIP model into Transformers' `CLIPModel`.

    Args:
        config (`CLIPConfig`): The CLIP model.
        prefix (`str`): What the original keys of CLIP begin with.
        target (`str`, *optional*): The same in this package.
        split_projections (`bool`, *optional*, defaults to `False`):
            Whether the weights of the query, key and value projections are apart, beside their one bias: so does the
            official code of CVPR 2024. Elsewhere they are the rows of one weight.

    Returns:
        `list[Move]`.
    """
    vision, text = f"{target}vision_model.", f"{target}text_model."
    return [
        Move(f"{prefix}logit_scale", f"{target}logit_scale"),
        Move(f"{prefix}visual.class_embedding", f"{vision}embeddings.class_embedding"),
        Move(f"{prefix}visual.positional_embedding", f"{vision}embeddings.position_embedding.weight"),
        Move(f"{prefix}visual.conv1.weight", f"{vision}embeddings.patch_embedding.weight"),
        *rename(f"{prefix}visual.ln_pre", f"{vision}pre_layrnorm"),
        *_tower_moves(f"{prefix}visual.transformer.", vision, config.vision_config, split_projections),
        *rename(f"{prefix}visual.ln_post", f"{vision}post_layernorm"),
        Move(f"{prefix}visual.proj", f"{target}visual_projection.weight", layout=TRANSPOSED),
        Move(f"{prefix}token_embedding.weight", f"{text}embeddings.token_embedding.weight"),
        Move(f"{prefix}positional_embedding", f"{text}embeddings.position_embedding.weight"),
        *_tower_moves(f"{prefix}transformer.", text, config.text_config, split_projections),
        *rename(f"{prefix}ln_final", f"{text}final_layer_norm"),
        Move(f"{prefix}text_projection", f"{target}text_projection.weight", layout=TRANSPOSED),
    ]
