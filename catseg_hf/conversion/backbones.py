# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Appearance backbones: ResNet and Swin of detectron2 and MMSegmentation, as Transformers' backbones."""

import math
from typing import Any

from transformers import ResNetConfig, SwinConfig

from .errors import ConversionError
from .moves import PATCH_MERGING, Move, rename
from .shapes import Shapes


BACKBONE_VIEW_SIZE = 384
TARGET = "model.backbone."
OUT_FEATURES = ["stage1", "stage2", "stage3"]
BATCH_NORM = ("weight", "bias", "running_mean", "running_var")


def _resnet_config(stem: int, hidden_sizes: list[int], depths: list[int]) -> ResNetConfig:
    return ResNetConfig(
        embedding_size=stem,
        hidden_sizes=hidden_sizes,
        depths=depths,
        layer_type="bottleneck",
        out_features=OUT_FEATURES,
    )


def _has_shortcut(config: ResNetConfig, stage: int, layer: int) -> bool:
    # The first block of a stage changes the resolution or, in the first stage, usually the number of channels.
    return layer == 0 and (stage > 0 or config.embedding_size != config.hidden_sizes[0])


def detectron2_resnet_config(shapes: Shapes, prefix: str) -> ResNetConfig:
    """Configuration of detectron2's ResNet, stages res2 to res4, stride in the 3x3 convolutions."""
    stages = [f"{prefix}res{stage}." for stage in (2, 3, 4)]
    return _resnet_config(
        shapes.of(f"{prefix}stem.conv1.weight", 4)[0],
        [shapes.of(f"{stage}0.conv3.weight", 4)[0] for stage in stages],
        [shapes.count(stage) for stage in stages],
    )


def detectron2_resnet_moves(config: ResNetConfig, prefix: str) -> list[Move]:
    """Moves of detectron2's ResNet, where a norm is a part of its convolution (`res2.0.conv1.norm`)."""

    def convolution(source: str, target: str) -> list[Move]:
        return [
            *rename(source, f"{target}.convolution", ["weight"]),
            *rename(f"{source}.norm", f"{target}.normalization", BATCH_NORM),
        ]

    moves = convolution(f"{prefix}stem.conv1", f"{TARGET}embedder.embedder")
    for stage in range(3):
        for layer in range(config.depths[stage]):
            block, ours = f"{prefix}res{stage + 2}.{layer}.", f"{TARGET}encoder.stages.{stage}.layers.{layer}."
            if _has_shortcut(config, stage, layer):
                moves += convolution(f"{block}shortcut", f"{ours}shortcut")
            for index in range(3):
                moves += convolution(f"{block}conv{index + 1}", f"{ours}layer.{index}")
    return moves


def mmseg_resnet_config(shapes: Shapes, prefix: str) -> ResNetConfig:
    """Configuration of MMSegmentation's ResNet, three stages, stride in the 3x3 convolutions."""
    stages = [f"{prefix}layer{stage}." for stage in (1, 2, 3)]
    return _resnet_config(
        shapes.of(f"{prefix}conv1.weight", 4)[0],
        [shapes.of(f"{stage}0.conv3.weight", 4)[0] for stage in stages],
        [shapes.count(stage) for stage in stages],
    )


def mmseg_resnet_moves(config: ResNetConfig, prefix: str) -> list[Move]:
    """Moves of MMSegmentation's ResNet, whose names are torchvision's."""
    batch_norm = (*BATCH_NORM, "num_batches_tracked")

    def convolution(source: str, norm: str, target: str) -> list[Move]:
        return [
            *rename(source, f"{target}.convolution", ["weight"]),
            *rename(norm, f"{target}.normalization", batch_norm),
        ]

    moves = convolution(f"{prefix}conv1", f"{prefix}bn1", f"{TARGET}embedder.embedder")
    for stage in range(3):
        for layer in range(config.depths[stage]):
            block, ours = f"{prefix}layer{stage + 1}.{layer}.", f"{TARGET}encoder.stages.{stage}.layers.{layer}."
            if _has_shortcut(config, stage, layer):
                moves += convolution(f"{block}downsample.0", f"{block}downsample.1", f"{ours}shortcut")
            for index in range(3):
                moves += convolution(f"{block}conv{index + 1}", f"{block}bn{index + 1}", f"{ours}layer.{index}")
    return moves


def _swin_config(
    shapes: Shapes, projection: str, stages: str, attention: str, mlp: str, drop_path_rate: float
) -> SwinConfig:
    embed_dim, _, patch_size, _ = shapes.of(projection, 4)
    num_stages = shapes.count(stages)
    if num_stages != 3:
        raise ConversionError(f"The Swin backbone has {num_stages} stages, but 3 are needed.")
    tables = [
        shapes.of(f"{stages}{stage}.blocks.0.{attention}relative_position_bias_table", 2) for stage in range(num_stages)
    ]
    options: dict[str, Any] = {
        "image_size": BACKBONE_VIEW_SIZE,
        "patch_size": patch_size,
        "embed_dim": embed_dim,
        "depths": [shapes.count(f"{stages}{stage}.blocks.") for stage in range(num_stages)],
        "num_heads": [heads for _, heads in tables],
        # The table has one row for each offset between two places of a window: (2 * window - 1) squared.
        "window_size": (math.isqrt(tables[0][0]) + 1) // 2,
        "mlp_ratio": shapes.of(f"{stages}0.blocks.0.{mlp}.weight", 2)[0] / embed_dim,
        "drop_path_rate": drop_path_rate,
    }
    return SwinConfig(**options, out_features=OUT_FEATURES)


def _swin_moves(
    config: SwinConfig,
    prefix: str,
    projection: str,
    stages: str,
    attention: str,
    mlp: tuple[str, str],
    channel_major_merging: bool,
) -> list[Move]:
    moves = [
        *rename(f"{prefix}{projection}", f"{TARGET}swin.embeddings.patch_embeddings.projection"),
        *rename(f"{prefix}patch_embed.norm", f"{TARGET}swin.embeddings.norm"),
    ]
    for stage in range(3):
        theirs, ours = f"{prefix}{stages}.{stage}.", f"{TARGET}swin.encoder.layers.{stage}."
        width = config.embed_dim * 2**stage
        for layer in range(config.depths[stage]):
            block, our_block = f"{theirs}blocks.{layer}.", f"{ours}blocks.{layer}."
            moves += rename(f"{block}norm1", f"{our_block}layernorm_before")
            moves += rename(f"{block}norm2", f"{our_block}layernorm_after")
            moves += rename(f"{block}{mlp[0]}", f"{our_block}mlp.fc1")
            moves += rename(f"{block}{mlp[1]}", f"{our_block}mlp.fc2")
            moves += rename(f"{block}{attention}proj", f"{our_block}attention.o_proj")
            moves += rename(
                f"{block}{attention.removesuffix('.')}",
                f"{our_block}attention.relative_position_bias",
                ["relative_position_bias_table"],
            )
            for index, name in enumerate(("q", "k", "v")):
                rows = ((index * width, (index + 1) * width),)
                for kind in ("weight", "bias"):
                    source, target = f"{block}{attention}qkv.{kind}", f"{our_block}attention.{name}_proj.{kind}"
                    moves.append(Move(source, target, source_part=rows))
        if stage < 2:
            for name in ("norm.weight", "norm.bias", "reduction.weight"):
                source, target = f"{theirs}downsample.{name}", f"{ours}downsample.{name}"
                moves.append(
                    Move(source, target, layout=PATCH_MERGING) if channel_major_merging else Move(source, target)
                )
        moves += rename(f"{prefix}norm{stage}", f"{TARGET}hidden_states_norms.stage{stage + 1}")
    return moves


def detectron2_swin_config(shapes: Shapes, prefix: str, drop_path_rate: float) -> SwinConfig:
    """Configuration of the Swin port for detectron2."""
    return _swin_config(
        shapes, f"{prefix}patch_embed.proj.weight", f"{prefix}layers.", "attn.", "mlp.fc1", drop_path_rate
    )


def detectron2_swin_moves(config: SwinConfig, prefix: str) -> list[Move]:
    """Moves of the Swin port for detectron2, whose patch merging reads the neighbours in Transformers' order."""
    return _swin_moves(config, prefix, "patch_embed.proj", "layers", "attn.", ("mlp.fc1", "mlp.fc2"), False)


def mmseg_swin_config(shapes: Shapes, prefix: str, drop_path_rate: float) -> SwinConfig:
    """Configuration of MMSegmentation's Swin."""
    projection = f"{prefix}patch_embed.projection.weight"
    return _swin_config(shapes, projection, f"{prefix}stages.", "attn.w_msa.", "ffn.layers.0.0", drop_path_rate)


def mmseg_swin_moves(config: SwinConfig, prefix: str) -> list[Move]:
    """Moves of MMSegmentation's Swin, whose patch merging reads the neighbours channel by channel."""
    mlp = ("ffn.layers.0.0", "ffn.layers.1")
    return _swin_moves(config, prefix, "patch_embed.projection", "stages", "attn.w_msa.", mlp, True)
