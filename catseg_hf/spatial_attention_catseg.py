# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Swin blocks over the cost map of each class, guided by appearance (paper, section 3.3: spatial aggregation)."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from .configuration_catseg import CatSegConfig
from .layers_catseg import CatSegMlp


def window_segments(length: int, window_size: int, shift: int) -> list[tuple[int, int]]:
    """Start and end of the windows along one side of length `length`, the first of them `shift` long if not 0."""
    starts = [0, *range(shift or window_size, length, window_size)]
    return list(zip(starts, [*starts[1:], length], strict=True))


class AttentionWindows(NamedTuple):
    """Attention windows of a map, those of equal size together.

    Args:
        order (`torch.LongTensor` of shape `(h * w,)`): Flat positions of the map, window after window.
        inverse (`torch.LongTensor` of shape `(h * w,)`): Where in `order` each position of the map stands.
        groups (`list[tuple[int, int]]`): Number of windows and of positions in each, for each size of window.
    """

    order: torch.Tensor
    inverse: torch.Tensor
    groups: list[tuple[int, int]]


def attention_windows(positions: torch.Tensor, window_size: int, *, shifted: bool) -> AttentionWindows:
    """Cuts a map into attention windows.

    Swin's shifted windows roll the map and then mask whatever was not adjacent before. What remains is attention inside
    rectangles: with shift s the sides are cut at s, s + window, s + 2 window, ... So no map is rolled and no mask is
    added, and windows at the border are simply smaller (which is the same as padded and masked).

    Args:
        positions (`torch.LongTensor` of shape `(h, w)`):
            The flat positions of the map, from 0 to h * w - 1, made on the device: nothing is copied from the host.
        window_size (`int`): Side of a window. On a map that is not larger there is one window and no shift.
        shifted (`bool`): Whether the windows are shifted by half their side.

    Returns:
        [`AttentionWindows`]
    """
    height, width = positions.shape
    shift = window_size // 2 if shifted and min(height, width) > window_size else 0
    window_size = min(window_size, height, width)
    by_shape: dict[tuple[int, int], list[torch.Tensor]] = {}
    for top, bottom in window_segments(height, window_size, shift):
        for left, right in window_segments(width, window_size, shift):
            by_shape.setdefault((bottom - top, right - left), []).append(positions[top:bottom, left:right])
    # Attention asks for equal lengths, not for equal shapes.
    shapes = sorted(by_shape, key=lambda shape: shape[0] * shape[1])
    orders = [torch.stack(by_shape[shape]).flatten() for shape in shapes]
    order = orders[0] if len(orders) == 1 else torch.cat(orders)
    counts: dict[int, int] = {}
    for rows, columns in shapes:
        counts[rows * columns] = counts.get(rows * columns, 0) + len(by_shape[rows, columns])
    groups = [(number, length) for length, number in counts.items()]
    return AttentionWindows(order, order.argsort(), groups)


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain softmax attention, which also returns its weights.

    Shapes: query, key, value (B, heads, L, d); output (B, L, heads, d), weights (B, heads, L, L).
    """
    weights = torch.matmul(query, key.transpose(-1, -2)) * scaling
    weights = F.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    return torch.matmul(weights, value).transpose(1, 2).contiguous(), weights


class CatSegWindowAttention(nn.Module):
    """Attention inside windows; queries and keys also see the appearance guidance.

    The original projects concatenations: W [x, g] = W_x x + W_g g. The second term is the same for all classes and is
    computed once per image.
    """

    is_causal = False

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.config = config
        self.num_heads = config.num_attention_heads
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.guidance_qk = nn.Linear(config.appearance_guidance_size, 2 * config.hidden_size, bias=False)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(
        self,
        hidden_states: torch.Tensor,
        guidance_term: torch.Tensor,
        windows: AttentionWindows,
        output_attentions: bool,
    ) -> tuple[torch.Tensor, list[torch.Tensor | None]]:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h * w, C)`): Normalised cost maps.
            guidance_term (`torch.FloatTensor` of shape `(B, 1, h * w, 2 C)`):
                `guidance_qk` of the guidance, in the order of the windows.
            windows (`AttentionWindows`): The windows.
            output_attentions (`bool`): Whether to return the weights, which takes the eager implementation.

        Returns:
            The output, shaped as `hidden_states`, and the attention weights of each group of windows or `None`.
        """
        batch_size, num_classes, _, channels = hidden_states.shape
        implementation = "eager" if output_attentions else self.config._attn_implementation
        attention_function = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        outputs, weights = [], []
        sizes = [number * length for number, length in windows.groups]
        groups = zip(windows.order.split(sizes), guidance_term.split(sizes, dim=2), windows.groups, strict=True)
        for positions, group_guidance_term, (_, length) in groups:
            # Each group by itself, so that none has to be cut out of a larger tensor, which is a copy.
            qkv = self.qkv(hidden_states.index_select(2, positions))
            qkv[..., : 2 * channels].add_(group_guidance_term)  # `+=` on a part would copy it once more
            # B, T, n * l, 3 C -> q, k and v of shape (B * T * n, heads, l, d)
            query, key, value = qkv.view(-1, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4)
            output, weight = attention_function(
                self, query, key, value, None, scaling=self.head_dim**-0.5, dropout=0.0, is_causal=False
            )
            outputs.append(output.reshape(batch_size, num_classes, -1, channels))
            weights.append(weight)
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=2)
        return self.output(output).index_select(2, windows.inverse), weights


class CatSegSpatialBlock(nn.Module):
    """A Swin block over the cost map of each class, guided by appearance."""

    def __init__(self, config: CatSegConfig, *, shifted: bool) -> None:
        super().__init__()
        self.config = config
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(config.hidden_size)
        self.attention = CatSegWindowAttention(config)
        self.norm2 = nn.LayerNorm(config.hidden_size)
        self.mlp = CatSegMlp(hidden_size=config.hidden_size, mlp_ratio=config.mlp_ratio, activation=nn.GELU())

    def windows(self, positions: torch.Tensor) -> AttentionWindows:
        """The windows of this block; for the positions see [`attention_windows`]."""
        return attention_windows(positions, self.config.window_size, shifted=self.shifted)

    def prepare(self, guidance: torch.Tensor, windows: AttentionWindows) -> torch.Tensor:
        """What is the same for all classes.

        Args:
            guidance (`torch.FloatTensor` of shape `(B, h, w, G)`): Normalised appearance guidance.
            windows (`AttentionWindows`): Result of `windows`.

        Returns:
            `torch.FloatTensor` of shape `(B, 1, h * w, 2 C)`: What it adds to queries and keys, in the order of the
            windows.
        """
        return self.attention.guidance_qk(guidance.flatten(1, 2)[:, windows.order])[:, None]

    def forward(
        self,
        hidden_states: torch.Tensor,
        guidance_term: torch.Tensor,
        windows: AttentionWindows,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h, w, C)`): Cost maps.
            guidance_term, windows: Results of `prepare` and `windows`.
            output_attentions (`bool`): Whether to return the attention weights.

        Returns:
            The cost maps, shaped as before, and the weights of shape `(B, T, heads, h * w, h * w)` or `None`.
        """
        maps = hidden_states.flatten(2, 3)  # B, T, h * w, C
        attention, weights = self.attention(self.norm1(maps), guidance_term, windows, output_attentions)
        maps = maps + attention
        maps = maps + self.mlp(self.norm2(maps))
        attentions = self._dense_attentions(weights, windows, maps.shape) if output_attentions else None
        return maps.view(hidden_states.shape), attentions

    def _dense_attentions(
        self, weights: list[torch.Tensor], windows: AttentionWindows, shape: torch.Size
    ) -> torch.Tensor:
        batch_size, num_classes, num_positions, _ = shape
        dense = weights[0].new_zeros(batch_size, num_classes, self.attention.num_heads, num_positions, num_positions)
        groups = windows.order.split([number * length for number, length in windows.groups])
        for group, (number, length), weight in zip(groups, windows.groups, weights, strict=True):
            weight = weight.view(batch_size, num_classes, number, *weight.shape[1:])
            for index, window in enumerate(group.view(number, length)):
                dense[:, :, :, window[:, None], window] = weight[:, :, index]
        return dense
