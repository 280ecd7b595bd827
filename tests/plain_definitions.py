# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The parts of CAT-Seg by their plain definitions, to compare the model's faster algebra with.

Everything here is written for clarity: padding tokens are built, guidance is repeated and concatenated, maps are rolled
and masked, convolutions are applied one after the other. Weights are taken from the model's own modules.
"""

import torch
import torch.nn.functional as F

from catseg_hf.class_attention_catseg import CatSegClassBlock
from catseg_hf.decoder_catseg import CatSegDecoderStage
from catseg_hf.spatial_attention_catseg import CatSegSpatialBlock


def quick_gelu(values: torch.Tensor) -> torch.Tensor:
    """CLIP's activation, of any shape."""
    return values * torch.sigmoid(1.702 * values)


def spatial_block(block: CatSegSpatialBlock, hidden_states: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
    """Swin block with concatenated guidance, cyclic shift and an attention mask. (B, T, h, w, C), (B, h, w, G)."""
    batch_size, num_classes, height, width, channels = hidden_states.shape
    window, shift = block.config.window_size, block.config.window_size // 2 if block.shifted else 0
    if min(height, width) <= window:
        window, shift = min(height, width), 0
    assert height % window == 0 and width % window == 0
    attention = block.attention
    query_weight, key_weight, value_weight = attention.qkv.weight.chunk(3)
    query_bias, key_bias, value_bias = attention.qkv.bias.chunk(3)
    guidance_query, guidance_key = attention.guidance_qk.weight.chunk(2)

    x = block.norm1(hidden_states)
    both = torch.cat([x, guidance[:, None].expand(-1, num_classes, -1, -1, -1)], dim=-1)
    query = F.linear(both, torch.cat([query_weight, guidance_query], dim=1), query_bias)
    key = F.linear(both, torch.cat([key_weight, guidance_key], dim=1), key_bias)
    value = F.linear(x, value_weight, value_bias)

    regions = torch.zeros(height, width)
    if shift:
        cuts = (slice(0, -window), slice(-window, -shift), slice(-shift, None))
        for row, rows in enumerate(cuts):
            for column, columns in enumerate(cuts):
                regions[rows, columns] = 3 * row + column

    def windows(maps: torch.Tensor) -> torch.Tensor:
        # ..., h, w, c -> ..., windows, positions, c
        *lead, _, _, size = maps.shape
        maps = maps.reshape(*lead, height // window, window, width // window, window, size)
        return maps.transpose(-3, -4).reshape(*lead, -1, window * window, size)

    def heads(maps: torch.Tensor) -> torch.Tensor:
        maps = windows(torch.roll(maps, (-shift, -shift), (2, 3)))
        return maps.unflatten(-1, (attention.num_heads, -1)).transpose(-2, -3)

    region_of = windows(regions[..., None])[..., 0]
    mask = (region_of[:, None] != region_of[:, :, None]) * -100.0  # windows, positions, positions
    scores = heads(query) @ heads(key).transpose(-1, -2) / attention.head_dim**0.5 + mask[:, None]
    output = (scores.softmax(dim=-1) @ heads(value)).transpose(-2, -3).flatten(-2)
    output = output.reshape(batch_size, num_classes, height // window, width // window, window, window, channels)
    output = output.transpose(3, 4).reshape(batch_size, num_classes, height, width, channels)
    output = torch.roll(output, (shift, shift), (2, 3))
    x = hidden_states + attention.output(output)
    return x + block.mlp(block.norm2(x))


def class_block(block: CatSegClassBlock, hidden_states: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
    """Class attention over real padding tokens. (B, T, h, w, C), (B, T, X)."""
    config = block.config
    batch_size, num_classes, height, width, channels = hidden_states.shape
    pooling = tuple(config.train_pooling_size if block.training else config.inference_pooling_size)
    pooled = F.avg_pool2d(hidden_states.flatten(0, 1).permute(0, 3, 1, 2), pooling)
    pooled_size = pooled.shape[-2:]
    # B, h', w', T, C
    tokens = pooled.unflatten(0, (batch_size, num_classes)).permute(0, 3, 4, 1, 2)
    if num_classes < config.class_padding_length:
        missing = config.class_padding_length - num_classes
        padding = block.padding_token.expand(batch_size, *pooled_size, missing, channels)
        tokens = torch.cat([tokens, padding], dim=3)
        guidance = torch.cat([guidance, block.padding_guidance.expand(batch_size, missing, -1)], dim=1)
    guidance = guidance[:, None, None].expand(-1, *pooled_size, -1, -1)

    x = block.norm1(tokens)
    key_weight, value_weight = block.key_value.weight.chunk(2)
    key_bias, value_bias = block.key_value.bias.chunk(2)
    both = torch.cat([x, guidance], dim=-1)
    query = F.linear(both, torch.cat([block.query.weight, block.guidance_query.weight], dim=1), block.query.bias)
    key = F.linear(both, torch.cat([key_weight, block.guidance_key.weight], dim=1), key_bias)
    value = F.linear(x, value_weight, value_bias)
    query, key, value = (maps.unflatten(-1, block.heads).transpose(-2, -3) for maps in (query, key, value))
    if config.class_attention == "linear":
        query, key = F.elu(query) + 1, F.elu(key) + 1
        total = query @ key.sum(dim=-2)[..., None] + 1e-6
        output = query @ (key.transpose(-1, -2) @ value) / total
    else:
        output = (query @ key.transpose(-1, -2) / key.shape[-1] ** 0.5).softmax(dim=-1) @ value
    tokens = tokens + output.transpose(-2, -3).flatten(-2)
    normalized = block.norm2(tokens)
    tokens = tokens + block.mlp(normalized)
    if config.class_mlp_inner_residual:
        tokens = tokens + normalized
    maps = tokens[..., :num_classes, :].permute(0, 3, 4, 1, 2).flatten(0, 1)
    maps = F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=True)
    return hidden_states + maps.permute(0, 2, 3, 1).unflatten(0, (batch_size, num_classes))


def decoder_stage(stage: CatSegDecoderStage, hidden_states: torch.Tensor, guidance: torch.Tensor) -> torch.Tensor:
    """Transposed convolution, repeated guidance, two convolutions. (B, T, h, w, in), (B, g, 2h, 2w)."""
    batch_size, num_classes = hidden_states.shape[:2]
    upsampling = stage.upsampling
    maps = hidden_states.flatten(0, 1).permute(0, 3, 1, 2)
    maps = F.conv_transpose2d(maps, upsampling.transposed_weight, upsampling.transposed_bias, stride=2)
    maps = torch.cat([maps, guidance.repeat_interleave(num_classes, dim=0)], dim=1)
    maps = F.relu(stage.norm1(F.conv2d(maps, upsampling.conv_weight, padding=1)))
    maps = F.relu(stage.norm2(stage.conv2(maps)))
    return maps.permute(0, 2, 3, 1).unflatten(0, (batch_size, num_classes))
