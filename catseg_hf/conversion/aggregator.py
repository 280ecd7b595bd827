# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Aggregator and decoder: what is common to the code bases, and the naming of the official code (CVPR 2024 and v1)."""

import math
from typing import Any

from ..configuration_catseg import CatSegConfig
from .moves import FLAT, Move, rename
from .shapes import Shapes


def common_config(shapes: Shapes, prefix: str, mlp: str) -> dict[str, Any]:
    """Fields of [`CatSegConfig`] that the tensors of any aggregator fix.

    Args:
        shapes (`Shapes`): Shapes of the checkpoint's tensors.
        prefix (`str`): What the keys of the aggregator begin with.
        mlp (`str`): Name of the first linear layer of an MLP, inside an aggregator layer.

    Returns:
        `dict[str, Any]`.
    """
    hidden_size = shapes.of(f"{prefix}conv1.weight", 4)[0]
    return {
        "hidden_size": hidden_size,
        "num_hidden_layers": shapes.count(f"{prefix}layers."),
        "appearance_guidance_size": shapes.of(f"{prefix}guidance_projection.0.weight", 4)[0],
        "text_guidance_size": shapes.of(f"{prefix}text_guidance_projection.0.weight", 2)[0],
        "mlp_ratio": shapes.of(f"{prefix}layers.0.{mlp}.weight", 2)[0] // hidden_size,
    }


def side_of_square(entries: int) -> int:
    """Side of a window of `entries` patches."""
    return math.isqrt(entries)


def spatial_attention_moves(source: str, target: str, hidden_size: int, guidance_size: int) -> list[Move]:
    """Moves of the windowed attention of a spatial block, from separate q, k and v.

    q and k see [hidden states, guidance], v the hidden states alone; ours keeps the columns of the two apart.
    """
    hidden, guidance = (0, hidden_size), (hidden_size, hidden_size + guidance_size)
    moves = rename(f"{source}.proj", f"{target}.output")
    for index, name in enumerate(("q", "k", "v")):
        rows = (index * hidden_size, (index + 1) * hidden_size)
        columns = (None, hidden) if name != "v" else ()
        moves.append(Move(f"{source}.{name}.weight", f"{target}.qkv.weight", columns, (rows, None)))
        moves.append(Move(f"{source}.{name}.bias", f"{target}.qkv.bias", (), (rows,)))
        if name != "v":
            moves.append(
                Move(f"{source}.{name}.weight", f"{target}.guidance_qk.weight", (None, guidance), (rows, None))
            )
    return moves


def class_attention_moves(source: str, target: str, hidden_size: int, guidance_size: int) -> list[Move]:
    """Moves of the attention between classes, whose q and k see [hidden states, text guidance]."""
    hidden, guidance = (None, (0, hidden_size)), (None, (hidden_size, hidden_size + guidance_size))
    key_rows, value_rows = (0, hidden_size), (hidden_size, 2 * hidden_size)
    return [
        Move(f"{source}.q.weight", f"{target}.query.weight", hidden),
        Move(f"{source}.q.weight", f"{target}.guidance_query.weight", guidance),
        Move(f"{source}.q.bias", f"{target}.query.bias"),
        Move(f"{source}.k.weight", f"{target}.key_value.weight", hidden, (key_rows, None)),
        Move(f"{source}.k.weight", f"{target}.guidance_key.weight", guidance),
        Move(f"{source}.k.bias", f"{target}.key_value.bias", (), (key_rows,)),
        Move(f"{source}.v.weight", f"{target}.key_value.weight", (), (value_rows, None)),
        Move(f"{source}.v.bias", f"{target}.key_value.bias", (), (value_rows,)),
    ]


def official_config(shapes: Shapes, prefix: str) -> dict[str, Any]:
    """Fields of [`CatSegConfig`] that the tensors of an official aggregator and decoder fix.

    Args:
        shapes (`Shapes`): Shapes of the checkpoint's tensors.
        prefix (`str`): What the keys of the aggregator begin with.

    Returns:
        `dict[str, Any]`.
    """
    config = {
        **common_config(shapes, prefix, "swin_block.block_1.mlp.fc1"),
        "decoder_hidden_sizes": [
            shapes.of(f"{prefix}decoder{stage}.conv.double_conv.0.weight", 4)[0] for stage in (1, 2)
        ],
        "decoder_guidance_sizes": [
            shapes.of(f"{prefix}decoder_guidance_projection.{stage}.0.weight", 4)[0] for stage in (0, 1)
        ],
    }
    mask = f"{prefix}layers.0.swin_block.block_2.attn_mask"
    if mask in shapes:
        config["window_size"] = side_of_square(shapes.of(mask, 3)[-1])
    return config


def official_moves(config: CatSegConfig, prefix: str) -> list[Move]:
    """Moves of an official aggregator and decoder.

    Args:
        config (`CatSegConfig`): The model.
        prefix (`str`): What the keys of the aggregator begin with.

    Returns:
        `list[Move]`.
    """
    aggregator = "model.aggregator."
    moves = [
        *rename(f"{prefix}conv1", f"{aggregator}cost_embedding"),
        *rename(f"{prefix}guidance_projection.0", f"{aggregator}guidance_projection"),
        *rename(f"{prefix}text_guidance_projection.0", f"{aggregator}text_guidance_projection"),
    ]
    for layer in range(config.num_hidden_layers):
        theirs, ours = f"{prefix}layers.{layer}.", f"{aggregator}layers.{layer}."
        moves += rename(f"{theirs}swin_block.guidance_norm", f"{ours}guidance_norm")
        for index in (0, 1):
            block, our_block = f"{theirs}swin_block.block_{index + 1}", f"{ours}spatial_blocks.{index}"
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                moves += rename(f"{block}.{name}", f"{our_block}.{name}")
            moves += spatial_attention_moves(
                f"{block}.attn", f"{our_block}.attention", config.hidden_size, config.appearance_guidance_size
            )
        block, our_block = f"{theirs}attention", f"{ours}class_block"
        moves += class_attention_moves(f"{block}.attention", our_block, config.hidden_size, config.text_guidance_size)
        for name, our_name in (("norm1", "norm1"), ("norm2", "norm2"), ("MLP.0", "mlp.fc1"), ("MLP.2", "mlp.fc2")):
            moves += rename(f"{block}.{name}", f"{our_block}.{our_name}")
        if config.class_padding_length > 0:
            moves.append(Move(f"{block}.padding_tokens", f"{our_block}.padding_token", layout=FLAT))
            moves.append(Move(f"{block}.padding_guidance", f"{our_block}.padding_guidance", layout=FLAT))
    for stage in (0, 1):
        moves += rename(f"{prefix}decoder_guidance_projection.{stage}.0", f"decoder.guidance_projections.{stage}")
        block, our_block = f"{prefix}decoder{stage + 1}.", f"decoder.stages.{stage}."
        moves += upsampling_moves(f"{block}up", f"{block}conv.double_conv.0", f"{our_block}upsampling")
        moves += rename(f"{block}conv.double_conv.1", f"{our_block}norm1")
        moves += rename(f"{block}conv.double_conv.3", f"{our_block}conv2", ["weight"])
        moves += rename(f"{block}conv.double_conv.4", f"{our_block}norm2")
    return [*moves, *rename(f"{prefix}head", "decoder.head")]


def upsampling_moves(transposed: str, convolution: str, target: str) -> list[Move]:
    """Moves of a decoder stage's transposed convolution and the convolution that follows it."""
    return [
        Move(f"{transposed}.weight", f"{target}.transposed_weight"),
        Move(f"{transposed}.bias", f"{target}.transposed_bias"),
        Move(f"{convolution}.weight", f"{target}.conv_weight"),
    ]
