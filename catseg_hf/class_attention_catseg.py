# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Attention between the classes at each position, guided by text (paper, section 3.3: class aggregation)."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from .chunking_catseg import joined, over_chunks, run, split
from .configuration_catseg import CatSegConfig
from .layers_catseg import CatSegMlp


LINEAR_ATTENTION_EPSILON = 1e-6


def pool(maps: torch.Tensor, pooling_size: tuple[int, int]) -> torch.Tensor:
    """Maps `(B, T, h, w, C)` at fewer positions, `(B, T, L, C)`: means of as many, high and wide, as `pooling_size`."""
    if pooling_size != (1, 1):
        batch_size = maps.shape[0]
        maps = F.avg_pool2d(maps.flatten(0, 1).permute(0, 3, 1, 2), pooling_size)
        maps = maps.permute(0, 2, 3, 1).unflatten(0, (batch_size, -1))
    return maps.flatten(2, 3)


def unpool(maps: torch.Tensor, pooling_size: tuple[int, int], height: int, width: int) -> torch.Tensor:
    """Maps `(B, T, L, C)` that `pool` made of those of `height` and `width`, as large as before, `(B, T, h, w, C)`."""
    batch_size = maps.shape[0]
    maps = maps.unflatten(2, (height // pooling_size[0], width // pooling_size[1]))
    if pooling_size != (1, 1):
        maps = maps.flatten(0, 1).permute(0, 3, 1, 2)
        maps = F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=True)
        maps = maps.permute(0, 2, 3, 1).unflatten(0, (batch_size, -1))
    return maps


class CatSegClassBlock(nn.Module):
    """Attention between the classes at each position, guided by text.

    Positions do not see each other here, so it works on all classes of a few positions at a time.

    Linear attention, with f(x) = elu(x) + 1 and S keys, is f(q)' A / (f(q)' b + eps / S) with the two sums
    A = sum_s f(k_s) v_s' / S and b = sum_s f(k_s) / S, whose size does not depend on S.

    Padding tokens (CVPR 2024) fill the classes up to a fixed number. They are all equal and what comes out of them is
    thrown away, so n of them are the key and value of one, counted n times: n times its term in both sums, or one key
    with log(n) added to its score.
    """

    gradient_checkpointing = False

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.config = config
        hidden_size, guidance_size = config.hidden_size, config.text_guidance_size
        self.heads = (config.num_attention_heads, config.hidden_size // config.num_attention_heads)
        self.norm1 = nn.LayerNorm(hidden_size)
        self.query = nn.Linear(hidden_size, hidden_size)
        self.guidance_query = nn.Linear(guidance_size, hidden_size, bias=False)
        self.key_value = nn.Linear(hidden_size, 2 * hidden_size)
        self.guidance_key = nn.Linear(guidance_size, hidden_size, bias=False)
        self.norm2 = nn.LayerNorm(hidden_size)
        self.mlp = CatSegMlp(hidden_size=hidden_size, mlp_ratio=config.mlp_ratio, activation=nn.ReLU(inplace=True))
        if config.class_padding_length > 0:
            self.padding_token = nn.Parameter(torch.zeros(hidden_size))
            self.padding_guidance = nn.Parameter(torch.zeros(guidance_size))

    def forward(self, hidden_states: torch.Tensor, guidance: torch.Tensor, chunk_size: int) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h, w, C)`): Cost maps of all classes.
            guidance (`torch.FloatTensor` of shape `(B, T, X)` or `(1, T, X)`): Projected text guidance.
            chunk_size (`int`): Number of maps at a time: of all classes, as many positions as these maps have in all.

        Returns:
            `torch.FloatTensor` of shape `(B, T, h, w, C)`.
        """
        num_classes, height, width = hidden_states.shape[1:4]
        maps = pool(hidden_states, self._pooling_size)  # B, T, L, C
        num_positions = maps.shape[2]
        if num_classes > chunk_size:
            num_positions = max(1, chunk_size * height * width // num_classes)
        terms = (
            self.guidance_query(guidance)[:, :, None],
            self.guidance_key(guidance)[:, :, None],
            *self._padding_key_value(num_classes),
        )
        if self._pooling_size == (1, 1):
            maps = over_chunks(self, self._add_attended, maps, shared=terms, dim=2, chunk_size=num_positions)
            return maps.view(hidden_states.shape)
        blocks = (run(self, self._attend, block, *terms) for block in split(maps, num_positions, dim=2))
        maps = joined(blocks, maps.shape[2], dim=2)
        return over_chunks(self, self._add_unpooled, hidden_states, maps, shared=(), dim=1, chunk_size=chunk_size)

    def _padding_key_value(self, num_classes: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        # Of one padding token, (heads, 1, d) each; None if there is none.
        if num_classes >= self.config.class_padding_length:
            return None, None
        token, guidance = self.padding_token, self.padding_guidance
        if not torch.is_grad_enabled():  # torch's FlopCounterMode cannot follow parameters then
            token, guidance = token.detach(), guidance.detach()
        token, guidance = token[None], guidance[None]
        key, value = self.key_value(self.norm1(token)).chunk(2, dim=-1)
        key = key + self.guidance_key(guidance)
        return key.view(*self.heads).unsqueeze(1), value.view(*self.heads).unsqueeze(1)

    def _add_attended(self, maps: torch.Tensor, *terms: torch.Tensor | None) -> torch.Tensor:
        return maps + self._attend(maps, *terms)

    def _attend(
        self,
        maps: torch.Tensor,
        query_term: torch.Tensor,
        key_term: torch.Tensor,
        padding_key: torch.Tensor | None,
        padding_value: torch.Tensor | None,
    ) -> torch.Tensor:
        # maps and result B, T, l, C for l positions; terms of the text guidance B or 1, T, 1, C
        normalized = self.norm1(maps)
        query = self.query(normalized)
        query += query_term
        key, value = self.key_value(normalized).chunk(2, dim=-1)
        key = key + key_term
        query, key, value = (
            tensor.unflatten(-1, self.heads).permute(0, 2, 3, 1, 4).flatten(0, 1) for tensor in (query, key, value)
        )  # B * l, heads, T, d: copied only for B > 1
        if self.config.class_attention == "linear":
            attended, divisor = self._linear_attention(query, key, value, padding_key, padding_value)
        else:
            attended, divisor = self._softmax_attention(query, key, value, padding_key, padding_value), None

        def by_map(tensor: torch.Tensor) -> torch.Tensor:
            return tensor.unflatten(0, (maps.shape[0], -1)).permute(0, 3, 1, 2, 4)  # B, T, l, heads, d or 1

        maps_by_head, attended = maps.unflatten(-1, self.heads), by_map(attended)
        if divisor is None:
            maps = (maps_by_head + attended).flatten(-2)
        else:
            maps = torch.addcdiv(maps_by_head, attended, by_map(divisor)).flatten(-2)
        normalized = self.norm2(maps)
        maps = maps + self.mlp(normalized)
        return maps + normalized if self.config.class_mlp_inner_residual else maps

    def _linear_attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        padding_key: torch.Tensor | None,
        padding_value: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        # B * l, heads, T, d -> numerator, and denominator with d = 1
        num_classes = key.shape[-2]
        num_keys = max(num_classes, self.config.class_padding_length)
        query = F.elu(query).add_(1)
        key = F.elu(key).add_(1).mul_(1 / num_keys)
        key_value_sum = key.transpose(-1, -2) @ value  # B * l, heads, d, d: A
        key_sum = key.sum(dim=-2).unsqueeze(-1)  # B * l, heads, d, 1: b
        if padding_key is not None:
            padding_key = (F.elu(padding_key) + 1) * ((num_keys - num_classes) / num_keys)
            key_value_sum = key_value_sum + padding_key.transpose(-1, -2) @ padding_value
            key_sum = key_sum + padding_key.transpose(-1, -2)
        return query @ key_value_sum, query @ key_sum + LINEAR_ATTENTION_EPSILON / num_keys

    def _softmax_attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        padding_key: torch.Tensor | None,
        padding_value: torch.Tensor | None,
    ) -> torch.Tensor:
        bias = None
        if padding_key is not None:
            num_classes = key.shape[-2]
            key = torch.cat([key, padding_key.expand(key.shape[0], -1, -1, -1)], dim=-2)
            value = torch.cat([value, padding_value.expand(value.shape[0], -1, -1, -1)], dim=-2)
            bias = query.new_zeros(1, num_classes + 1)
            bias[0, -1] = math.log(self.config.class_padding_length - num_classes)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    def _add_unpooled(self, hidden_states: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return hidden_states + unpool(maps, self._pooling_size, *hidden_states.shape[2:4])

    @property
    def _pooling_size(self) -> tuple[int, int]:
        return tuple(self.config.train_pooling_size if self.training else self.config.inference_pooling_size)
