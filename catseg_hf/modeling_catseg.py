# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CAT-Seg: open-vocabulary segmentation by cost aggregation (Cho et al., CVPR 2024, https://arxiv.org/abs/2303.11797).

The path of an image, and where to find it:

    CLIP's vision tower, dense    CatSegModel.encode_images     patch embeddings and guidance maps
    CLIP's text tower             CatSegModel.get_text_embeds   one embedding per class and template
    cost volume and aggregator    CatSegAggregator              cosine similarities, refined over space and classes
    decoder                       CatSegDecoder                 two guided upsamplings to logits

The original computes with tensors of size classes x everything. Most of that is the same for all classes, or for all
padding tokens, and is computed once here; the identity is written down where it is used. All of them are exact.
"""

import math
import os
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoBackbone, CLIPModel, CLIPVisionConfig, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import ModelOutput, SemanticSegmenterOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings
from transformers.utils.generic import can_return_tuple

from .configuration_catseg import CatSegConfig, vocabulary_digest


TRUNCATED_CLASS_LOGIT = -100.0
LINEAR_ATTENTION_EPSILON = 1e-6
TEXT_BATCH_SIZE = 256  # prompts that the text tower reads at a time
TEXT_CACHE_SIZE = 8  # vocabularies whose embeddings are kept
CPU_CHUNK_BYTES = 2_500_000  # size of the class maps worked on at a time: what stays in the cache is fastest
CPU_VIEWS_AT_A_TIME = 8
CPU_CLASS_MAPS_AT_A_TIME = 320
CPU_CONVOLVED_POSITIONS = 1000  # from so many on, a linear layer was measured to be faster as a convolution


@dataclass
class CatSegModelOutput(ModelOutput):
    """Output of [`CatSegModel`]. The leading dimensions are (B,) or (B, V), as those of `pixel_values`.

    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(..., T, h, w, C)`):
            Aggregated cost volume; of more classes than `config.class_padding_length` only those in `kept_classes`.
        cost_volume (`torch.FloatTensor` of shape `(..., T, P, h, w)`):
            Cosine similarity of each patch with each class and template, of the same classes.
        kept_classes (`torch.LongTensor` of shape `(..., K)`, *optional*):
            Ids of the K classes that were kept, where there were more than `config.class_padding_length`.
        image_embeds (`torch.FloatTensor` of shape `(..., h, w, D)`):
            Dense CLIP embeddings, not normalised.
        text_embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`):
            Normalised text embeddings of all classes.
        guidance (`tuple[torch.FloatTensor]`):
            Three guidance maps, from coarse (for the aggregator) to fine (for the decoder).
        hidden_states (`tuple[torch.FloatTensor]` of shape `(..., T, h * w, C)`, *optional*):
            The embedded cost volume and the output of each aggregator layer, with `output_hidden_states=True`.
        attentions (`tuple[torch.FloatTensor]` of shape `(..., T, 2, heads, h * w, h * w)`, *optional*):
            For each aggregator layer the weights of its two spatial blocks, 0 between different windows, with
            `output_attentions=True`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    cost_volume: torch.FloatTensor | None = None
    kept_classes: torch.LongTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    guidance: tuple[torch.FloatTensor, ...] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None


@dataclass
class CatSegSemanticSegmenterOutput(SemanticSegmenterOutput):
    """Output of [`CatSegForSemanticSegmentation`].

    Args:
        loss (`torch.FloatTensor` of shape `()`, *optional*):
            Returned with `labels`.
        logits (`torch.FloatTensor` of shape `(B, T, 4h, 4w)` or `(B, V, T, 4h, 4w)`):
            One map per class, before the sigmoid (or softmax) of post-processing.
        hidden_states, attentions (*optional*):
            Those of [`CatSegModelOutput`].
        view_boxes (`torch.LongTensor` of shape `(B, V, 4)`, *optional*):
            Where on the resized image each view lies, as given; post-processing needs it.
        resized_sizes (`torch.LongTensor` of shape `(B, 2)`, *optional*):
            Height and width of the resized images, as given.
    """

    view_boxes: torch.LongTensor | None = None
    resized_sizes: torch.LongTensor | None = None


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


def run(module: nn.Module, function: Callable[..., Any], *args: Any) -> Any:
    """Calls `function(*args)`, with gradient checkpointing where it is enabled for `module`."""
    if module.gradient_checkpointing and module.training:
        return module._gradient_checkpointing_func(function, *args)
    return function(*args)


def split(tensor: torch.Tensor, size: int, dim: int) -> Sequence[torch.Tensor]:
    """Pieces of a tensor; nothing to do where one piece is enough: no exported graph has more."""
    return [tensor] if tensor.shape[dim] <= size else tensor.split(size, dim=dim)


def over_chunks(
    module: nn.Module,
    function: Callable[..., torch.Tensor],
    hidden_states: torch.Tensor,
    *cut_alike: torch.Tensor,
    shared: Sequence[torch.Tensor | None],
    dim: int,
    chunk_size: int,
) -> torch.Tensor:
    """Applies a function that treats every class (or every position) by itself to a few of them at a time.

    Args:
        module (`nn.Module`): The module whose gradient checkpointing applies.
        function (`Callable`):
            Takes a part of the maps and returns as much. Where no gradient is recorded, it changes it in place.
        hidden_states (`torch.FloatTensor` of shape `(B, T, ...)`): Maps of all classes.
        cut_alike (`torch.Tensor` of shape `(B, T, ...)`): Further arguments, cut in the same way.
        shared (`Sequence[torch.Tensor | None]`): Further arguments that are the same for all parts.
        dim (`int`): The dimension that is cut: 1 for classes, 2 for positions.
        chunk_size (`int`): Size of a part along it.

    Returns:
        `torch.FloatTensor` of shape `(B, T, ...)`.
    """
    if hidden_states.shape[dim] <= chunk_size:
        return run(module, function, hidden_states, *cut_alike, *shared)
    chunks = zip(*(tensor.split(chunk_size, dim=dim) for tensor in (hidden_states, *cut_alike)), strict=True)
    if torch.is_grad_enabled():
        return torch.cat([run(module, function, *chunk, *shared) for chunk in chunks], dim=dim)
    for chunk in chunks:
        function(*chunk, *shared)
    return hidden_states


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


def attention_windows(
    height: int, width: int, window_size: int, *, shifted: bool, device: torch.device
) -> AttentionWindows:
    """Cuts a map into attention windows.

    Swin's shifted windows roll the map and then mask whatever was not adjacent before. What remains is attention inside
    rectangles: with shift s the sides are cut at s, s + window, s + 2 window, ... So no map is rolled and no mask is
    added, and windows at the border are simply smaller (which is the same as padded and masked).

    Args:
        height, width (`int`): Size of the map.
        window_size (`int`): Side of a window. On a map that is not larger there is one window and no shift.
        shifted (`bool`): Whether the windows are shifted by half their side.
        device (`torch.device`): Where the positions are wanted.

    Returns:
        [`AttentionWindows`]
    """
    shift = window_size // 2 if shifted and min(height, width) > window_size else 0
    window_size = min(window_size, height, width)
    positions = torch.arange(height * width).view(height, width)
    by_length: dict[int, list[torch.Tensor]] = {}
    for top, bottom in window_segments(height, window_size, shift):
        for left, right in window_segments(width, window_size, shift):
            window = positions[top:bottom, left:right].flatten()
            by_length.setdefault(len(window), []).append(window)
    order = torch.cat([window for windows in by_length.values() for window in windows])
    groups = [(len(windows), length) for length, windows in by_length.items()]
    return AttentionWindows(order.to(device), order.argsort().to(device), groups)


def add(hidden_states: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
    """Residual connection, in place where no gradient is recorded: a fresh tensor costs as much as the sum itself.

    Reentrant checkpoints switch recording off and come back later for the input, which still requires a gradient.
    """
    if torch.is_grad_enabled() or hidden_states.requires_grad:
        return hidden_states + update
    return hidden_states.add_(update)


def select_hidden_states(
    hidden_states: list[torch.Tensor], selection: bool | int | list[int]
) -> tuple[torch.Tensor | None, ...] | None:
    """All hidden states for `True`, none for `False`; for indices those, with `None` in the place of the others."""
    if isinstance(selection, bool):
        return tuple(hidden_states) if selection else None
    indices = {index % len(hidden_states) for index in ([selection] if isinstance(selection, int) else selection)}
    return tuple(state if index in indices else None for index, state in enumerate(hidden_states))


class CatSegLinear(nn.Linear):
    """A linear layer, over many positions on a CPU computed as the 1 x 1 convolution that it also is.

    Where PyTorch has MKL for matrix products and oneDNN for convolutions, the latter is the faster one and adds the
    bias on its way. But it rearranges the weight at every call, which few positions do not pay for.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_compiling() or not self._is_convolved(hidden_states):
            return super().forward(hidden_states)
        maps = hidden_states.reshape(1, -1, 1, self.in_features).permute(0, 3, 1, 2)  # 1, in, positions, 1
        maps = F.conv2d(maps, self.weight[:, :, None, None], self.bias)
        return maps.permute(0, 2, 3, 1).reshape(*hidden_states.shape[:-1], self.out_features)

    def _is_convolved(self, hidden_states: torch.Tensor) -> bool:
        is_quantized = type(self.weight) is not nn.Parameter
        is_large = hidden_states.numel() >= CPU_CONVOLVED_POSITIONS * self.in_features
        has_both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
        return is_large and has_both and not is_quantized and hidden_states.device.type == "cpu"


class CatSegGELU(nn.Module):
    """The exact GELU, in place where no gradient is recorded: of all tensors its input is the largest."""

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return F.gelu(hidden_states)
        return torch.ops.aten.gelu_(hidden_states)


class CatSegMlp(nn.Module):
    """Two linear layers with an activation between them."""

    def __init__(self, *, hidden_size: int, mlp_ratio: int, activation: nn.Module) -> None:
        super().__init__()
        self.fc1 = CatSegLinear(hidden_size, hidden_size * mlp_ratio)
        self.activation = activation
        self.fc2 = CatSegLinear(hidden_size * mlp_ratio, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


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
        self.qkv = CatSegLinear(config.hidden_size, 3 * config.hidden_size)
        self.guidance_qk = nn.Linear(config.appearance_guidance_size, 2 * config.hidden_size, bias=False)
        self.output = CatSegLinear(config.hidden_size, config.hidden_size)

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
            qkv[..., : 2 * channels] += group_guidance_term
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
        self.mlp = CatSegMlp(hidden_size=config.hidden_size, mlp_ratio=config.mlp_ratio, activation=CatSegGELU())

    def prepare(self, guidance: torch.Tensor) -> tuple[torch.Tensor, AttentionWindows]:
        """What is the same for all classes.

        Args:
            guidance (`torch.FloatTensor` of shape `(B, h, w, G)`): Normalised appearance guidance.

        Returns:
            What it adds to queries and keys, of shape `(B, 1, h * w, 2 C)` and in the order of the windows, and these.
        """
        windows = attention_windows(
            *guidance.shape[1:3], self.config.window_size, shifted=self.shifted, device=guidance.device
        )
        return self.attention.guidance_qk(guidance.flatten(1, 2)[:, windows.order])[:, None], windows

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
            guidance_term, windows: Result of `prepare`.
            output_attentions (`bool`): Whether to return the attention weights.

        Returns:
            The cost maps, shaped as before, and the weights of shape `(B, T, heads, h * w, h * w)` or `None`.
        """
        maps = hidden_states.flatten(2, 3)  # B, T, h * w, C
        attention, weights = self.attention(self.norm1(maps), guidance_term, windows, output_attentions)
        maps = add(maps, attention)
        maps = add(maps, self.mlp(self.norm2(maps)))
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
        self.query = CatSegLinear(hidden_size, hidden_size)
        self.guidance_query = nn.Linear(guidance_size, hidden_size, bias=False)
        self.key_value = CatSegLinear(hidden_size, 2 * hidden_size)
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
            guidance (`torch.FloatTensor` of shape `(B, T, X)`): Projected text guidance.
            chunk_size (`int`): Number of maps at a time: of all classes, as many positions as these maps have in all.

        Returns:
            `torch.FloatTensor` of shape `(B, T, h, w, C)`.
        """
        num_classes, height, width = hidden_states.shape[1:4]
        maps = self._pool(hidden_states)  # B, T, L, C
        num_positions = maps.shape[2]
        if num_classes > chunk_size:
            num_positions = max(1, chunk_size * height * width // num_classes)
        terms = (
            self.guidance_query(guidance)[:, :, None],
            self.guidance_key(guidance)[:, :, None],
            *self._padding_key_value(num_classes),
        )
        if self._pooling_size == (1, 1):
            # Here `maps` is a view of `hidden_states`, which is changed in place where no gradient is recorded.
            maps = over_chunks(self, self._add_attended, maps, shared=terms, dim=2, chunk_size=num_positions)
            return maps.view(hidden_states.shape)
        blocks = [run(self, self._attend, block, *terms) for block in split(maps, num_positions, dim=2)]
        maps = blocks[0] if len(blocks) == 1 else torch.cat(blocks, dim=2)
        return over_chunks(self, self._add_unpooled, hidden_states, maps, shared=(), dim=1, chunk_size=chunk_size)

    def _padding_key_value(self, num_classes: int) -> tuple[torch.Tensor | None, torch.Tensor | None]:
        # Of one padding token, (heads, 1, d) each; None if there is none.
        if num_classes >= self.config.class_padding_length:
            return None, None
        # Copies, since torch's FlopCounterMode cannot follow a parameter that is itself the input of a module.
        key, value = self.key_value(self.norm1(self.padding_token.clone())).chunk(2, dim=-1)
        key = key + self.guidance_key(self.padding_guidance.clone())
        return key.view(*self.heads).unsqueeze(1), value.view(*self.heads).unsqueeze(1)

    def _add_attended(self, maps: torch.Tensor, *terms: torch.Tensor | None) -> torch.Tensor:
        return add(maps, self._attend(maps, *terms))

    def _attend(
        self,
        maps: torch.Tensor,
        query_term: torch.Tensor,
        key_term: torch.Tensor,
        padding_key: torch.Tensor | None,
        padding_value: torch.Tensor | None,
    ) -> torch.Tensor:
        # maps and result B, T, l, C for l positions; terms of the text guidance B, T, 1, C
        normalized = self.norm1(maps)
        query = self.query(normalized)
        query += query_term
        key, value = self.key_value(normalized).chunk(2, dim=-1)
        key = key + key_term
        query, key, value = (
            tensor.unflatten(-1, self.heads).permute(0, 2, 3, 1, 4) for tensor in (query, key, value)
        )  # B, l, heads, T, d
        attention = self._linear_attention if self.config.class_attention == "linear" else self._softmax_attention
        attended = attention(query, key, value, padding_key, padding_value).permute(0, 3, 1, 2, 4)  # B, T, l, heads, d
        maps = (maps.unflatten(-1, self.heads) + attended).flatten(-2)
        normalized = self.norm2(maps)
        maps = add(maps, self.mlp(normalized))
        return maps + normalized if self.config.class_mlp_inner_residual else maps

    def _linear_attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        padding_key: torch.Tensor | None,
        padding_value: torch.Tensor | None,
    ) -> torch.Tensor:
        num_classes = key.shape[-2]
        num_keys = max(num_classes, self.config.class_padding_length)
        query = F.elu(query).add_(1)
        key = F.elu(key).add_(1).mul_(1 / num_keys)
        key_value_sum = key.transpose(-1, -2) @ value  # B, l, heads, d, d: A
        key_sum = key.sum(dim=-2).unsqueeze(-1)  # B, l, heads, d, 1: b
        if padding_key is not None:
            padding_key = (F.elu(padding_key) + 1) * ((num_keys - num_classes) / num_keys)
            key_value_sum = add(key_value_sum, padding_key.transpose(-1, -2) @ padding_value)
            key_sum = add(key_sum, padding_key.transpose(-1, -2))
        return query @ key_value_sum / (query @ key_sum + LINEAR_ATTENTION_EPSILON / num_keys)

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
            key = torch.cat([key, padding_key.expand(*key.shape[:3], -1, -1)], dim=-2)
            value = torch.cat([value, padding_value.expand(*value.shape[:3], -1, -1)], dim=-2)
            bias = query.new_zeros(num_classes + 1)
            bias[-1] = math.log(self.config.class_padding_length - num_classes)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    def _add_unpooled(self, hidden_states: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        return add(hidden_states, self._unpool(maps, *hidden_states.shape[2:4]))

    @property
    def _pooling_size(self) -> tuple[int, int]:
        return tuple(self.config.train_pooling_size if self.training else self.config.inference_pooling_size)

    def _pool(self, maps: torch.Tensor) -> torch.Tensor:
        # B, t, h, w, C -> B, t, L, C
        if self._pooling_size != (1, 1):
            batch_size = maps.shape[0]
            maps = F.avg_pool2d(maps.flatten(0, 1).permute(0, 3, 1, 2), self._pooling_size)
            maps = maps.permute(0, 2, 3, 1).unflatten(0, (batch_size, -1))
        return maps.flatten(2, 3)

    def _unpool(self, maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
        # B, t, L, C -> B, t, h, w, C
        batch_size = maps.shape[0]
        maps = maps.unflatten(2, (height // self._pooling_size[0], width // self._pooling_size[1]))
        if self._pooling_size != (1, 1):
            maps = maps.flatten(0, 1).permute(0, 3, 1, 2)
            maps = F.interpolate(maps, size=(height, width), mode="bilinear", align_corners=True)
            maps = maps.permute(0, 2, 3, 1).unflatten(0, (batch_size, -1))
        return maps


class CatSegAggregatorLayer(nn.Module):
    """Two spatial blocks, the second with shifted windows, and a class block."""

    gradient_checkpointing = False

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.guidance_norm = nn.LayerNorm(config.appearance_guidance_size)
        self.spatial_blocks = nn.ModuleList(
            [CatSegSpatialBlock(config, shifted=False), CatSegSpatialBlock(config, shifted=True)]
        )
        self.class_block = CatSegClassBlock(config)

    def forward(
        self,
        hidden_states: torch.Tensor,
        appearance_guidance: torch.Tensor,
        text_guidance: torch.Tensor,
        chunk_size: int,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h, w, C)`): Cost maps.
            appearance_guidance (`torch.FloatTensor` of shape `(B, h, w, G)`): Projected appearance guidance.
            text_guidance (`torch.FloatTensor` of shape `(B, T, X)`): Projected text guidance.
            chunk_size (`int`): Number of classes at a time; all of them if attentions are wanted.
            output_attentions (`bool`): Whether to return the weights of the spatial blocks.

        Returns:
            The cost maps, shaped as before, and the weights of shape `(B, T, 2, heads, h * w, h * w)` or `None`.
        """
        appearance_guidance = self.guidance_norm(appearance_guidance)
        prepared = [block.prepare(appearance_guidance) for block in self.spatial_blocks]
        guidance_terms, all_windows = zip(*prepared, strict=True)
        attentions: list[torch.Tensor] = []

        def aggregate_space(maps: torch.Tensor, *guidance_terms: torch.Tensor) -> torch.Tensor:
            for block, guidance_term, windows in zip(self.spatial_blocks, guidance_terms, all_windows, strict=True):
                maps, weights = block(maps, guidance_term, windows, output_attentions)
                if weights is not None:
                    attentions.append(weights)
            return maps

        hidden_states = over_chunks(
            self, aggregate_space, hidden_states, shared=guidance_terms, dim=1, chunk_size=chunk_size
        )
        hidden_states = self.class_block(hidden_states, text_guidance, chunk_size)
        return hidden_states, torch.stack(attentions[:2], dim=2) if attentions else None


class CatSegAggregator(nn.Module):
    """Cost volume, its embedding, and its aggregation over space and classes (paper, sections 3.2 and 3.3)."""

    def __init__(self, config: CatSegConfig, *, guidance_channels: int) -> None:
        super().__init__()
        self.config = config
        embedding_size = config.clip_config.projection_dim
        self.cost_embedding = nn.Conv2d(len(config.prompt_templates), config.hidden_size, kernel_size=7, padding=3)
        self.guidance_projection = nn.Conv2d(
            guidance_channels, config.appearance_guidance_size, kernel_size=3, padding=1
        )
        self.text_guidance_projection = nn.Linear(embedding_size, config.text_guidance_size)
        self.layers = nn.ModuleList([CatSegAggregatorLayer(config) for _ in range(config.num_hidden_layers)])

    def forward(
        self,
        image_embeds: torch.Tensor,
        text_embeds: torch.Tensor,
        guidance: torch.Tensor,
        chunk_size: int,
        output_hidden_states: bool | int | list[int] = False,
        output_attentions: bool = False,
    ) -> CatSegModelOutput:
        """
        Args:
            image_embeds (`torch.FloatTensor` of shape `(B, h, w, D)`): Dense CLIP embeddings.
            text_embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`): Text embeddings of all classes.
            guidance (`torch.FloatTensor` of shape `(B, g, h, w)`): Coarsest guidance map.
            chunk_size (`int`): Number of class maps at a time.
            output_hidden_states (`bool`, `int` or `list[int]`): Whether to return hidden states, or which of them.
            output_attentions (`bool`): Whether to return the weights of spatial attention.

        Returns:
            [`CatSegModelOutput`] with `last_hidden_state`, `cost_volume`, `kept_classes` and what was asked for.
        """
        cost_volume = self.cost_volume(image_embeds, text_embeds)  # B, T, P, h, w
        texts = self._class_embeddings(text_embeds).expand(image_embeds.shape[0], -1, -1)  # B, T, D
        kept_classes = self._kept_classes(cost_volume)
        if kept_classes is not None:
            images = torch.arange(cost_volume.shape[0], device=cost_volume.device)[:, None]
            cost_volume, texts = cost_volume[images, kept_classes], texts[images, kept_classes]
        text_guidance = F.relu(self.text_guidance_projection(texts))
        appearance_guidance = F.relu(self.guidance_projection(guidance)).permute(0, 2, 3, 1)

        chunk_size = max(1, chunk_size // cost_volume.shape[0])
        if output_attentions:
            chunk_size = cost_volume.shape[1]
        hidden_states = self._embed(cost_volume, chunk_size)
        all_hidden_states, all_attentions = [], []
        for layer in (None, *self.layers):
            if layer is not None:
                hidden_states, attentions = layer(
                    hidden_states, appearance_guidance, text_guidance, chunk_size, output_attentions
                )
                all_attentions.append(attentions)
            if output_hidden_states is not False:
                all_hidden_states.append(hidden_states.flatten(2, 3))
                # The next layer continues from what is returned, so that gradients reach it, or else from a copy.
                maps = all_hidden_states[-1] if torch.is_grad_enabled() else all_hidden_states[-1].clone()
                hidden_states = maps.view(hidden_states.shape)
        return CatSegModelOutput(
            last_hidden_state=hidden_states,
            cost_volume=cost_volume,
            kept_classes=kept_classes,
            hidden_states=select_hidden_states(all_hidden_states, output_hidden_states),
            attentions=tuple(all_attentions) if output_attentions else None,
        )

    def _kept_classes(self, cost_volume: torch.Tensor) -> torch.Tensor | None:
        # B, T, P, h, w -> B, kept: ids of the classes with the highest similarities, in order; None if all are kept
        num_kept, limit = cost_volume.shape[1], self.config.class_padding_length
        truncates = self.config.truncate_classes and 0 < limit < num_kept
        rejects = self.config.early_rejection is not None and not self.training
        if not truncates and not rejects:
            return None
        if truncates:
            num_kept = limit
        best = cost_volume.flatten(2).amax(dim=-1)
        if rejects:
            # One number for all views, that of the view with the most.
            is_near = best >= best.amax(dim=-1, keepdim=True) - self.config.early_rejection
            num_kept = min(num_kept, int(is_near.sum(dim=-1).max()))
        return best.topk(num_kept, dim=-1).indices.sort(dim=-1).values

    def cost_volume(self, image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
        """Cosine similarity of each patch with each class, without CLIP's logit scale.

        Of synonyms (`config.synonyms` `"max"`) the most similar counts, at each place.

        Args:
            image_embeds (`torch.FloatTensor` of shape `(B, h, w, D)`): Dense CLIP embeddings.
            text_embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`): Text embeddings; all-zero ones
                stand for absent synonyms.

        Returns:
            `torch.FloatTensor` of shape `(B, T, P, h, w)`, from -1 to 1.
        """
        height, width = image_embeds.shape[1:3]
        image_embeds = F.normalize(image_embeds, dim=-1).flatten(1, 2).transpose(1, 2)  # B, D, h * w
        texts = F.normalize(text_embeds, dim=-1)
        cost_volume = torch.matmul(texts.flatten(0, -2), image_embeds)
        cost_volume = cost_volume.view(image_embeds.shape[0], *texts.shape[:-1], height, width)
        if text_embeds.dim() == 4:
            absent = (text_embeds == 0).all(dim=-1)[..., None, None]  # T, P, S, 1, 1
            cost_volume = cost_volume.masked_fill(absent, -1.0).amax(dim=3)
        return cost_volume

    @staticmethod
    def _class_embeddings(text_embeds: torch.Tensor) -> torch.Tensor:
        # (T, P, D) or (T, P, S, D) -> T, D: the direction of the mean over templates and synonyms
        texts = F.normalize(text_embeds, dim=-1)
        return F.normalize(texts.flatten(1, -2).sum(dim=1), dim=-1)

    def _embed(self, cost_volume: torch.Tensor, chunk_size: int) -> torch.Tensor:
        # B, T, P, h, w -> B, T, h, w, C
        chunks = []
        for chunk in split(cost_volume, chunk_size, dim=1):
            maps = chunk.flatten(0, 1).contiguous(memory_format=torch.channels_last)
            maps = self.cost_embedding(maps).permute(0, 2, 3, 1)
            chunks.append(maps.unflatten(0, chunk.shape[:2]))
        return chunks[0].contiguous() if len(chunks) == 1 else torch.cat(chunks, dim=1)


class CatSegGuidedUpsampling(nn.Module):
    """Prepares a transposed convolution (2 x 2, stride 2) and the 3 x 3 convolution behind it as one small convolution.

    The original computes `conv(cat([transposed(x), guidance]))`. Of a 2i + a row of the result (a = 0 or 1), the 3 x 3
    kernel sees rows 2i + a - 1 ... 2i + a + 1 of the upsampled map, which come from rows i - 1 + a and i + a of `x`.
    So each of the four positions (a, b) in a 2 x 2 block is a 2 x 2 convolution of `x`, and the four together are one
    with four times the channels. What comes from the guidance and from the bias of the transposed convolution (whose
    sum differs at the border, where the 3 x 3 kernel sees zeros) is the same for all classes: a map added at the end.
    """

    def __init__(self, *, in_channels: int, out_channels: int, guidance_channels: int) -> None:
        super().__init__()
        middle_channels = in_channels - guidance_channels
        self.transposed_weight = nn.Parameter(torch.empty(in_channels, middle_channels, 2, 2))
        self.transposed_bias = nn.Parameter(torch.empty(middle_channels))
        self.conv_weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))

    def forward(self, guidance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            guidance (`torch.FloatTensor` of shape `(B, g, 2h, 2w)`): Projected guidance.

        Returns:
            The kernel of shape `(4 out, in, 2, 2)` and the class-independent map of shape `(B, 1, 2h, 2w, out)`.
        """
        middle_channels = len(self.transposed_bias)
        # taps[a, r, y, s]: for result row 2i + a, kernel row y falls on row s of the block made of row i - 1 + a + r
        taps = self.conv_weight.new_zeros(2, 2, 3, 2)
        for a in range(2):
            for y in range(3):
                taps[a, (a + y + 1) // 2 - a, y, (a + y + 1) % 2] = 1
        upsampled_weight = self.conv_weight[:, :middle_channels]
        kernel = torch.einsum(
            "arys,btxz,omyx,imsz->aboirt", taps, taps, upsampled_weight, self.transposed_weight.to(taps.dtype)
        )
        kernel = kernel.flatten(0, 2).contiguous(memory_format=torch.channels_last)
        bias = self.transposed_bias.view(1, -1, 1, 1).expand(guidance.shape[0], -1, *guidance.shape[-2:])
        class_independent = F.conv2d(torch.cat([bias, guidance.to(bias.dtype)], dim=1), self.conv_weight, padding=1)
        return kernel, class_independent.permute(0, 2, 3, 1)[:, None].contiguous()


class CatSegDecoderStage(nn.Module):
    """Upsamples by 2: transposed convolution, concatenated guidance, two convolutions with group norm and ReLU."""

    def __init__(self, *, in_channels: int, out_channels: int, guidance_channels: int) -> None:
        super().__init__()
        self.upsampling = CatSegGuidedUpsampling(
            in_channels=in_channels, out_channels=out_channels, guidance_channels=guidance_channels
        )
        self.norm1 = nn.GroupNorm(out_channels // 16, out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.norm2 = nn.GroupNorm(out_channels // 16, out_channels)

    def forward(
        self, hidden_states: torch.Tensor, kernel: torch.Tensor, class_independent: torch.Tensor
    ) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h, w, in)`): Maps of some classes.
            kernel, class_independent (`torch.FloatTensor`): Result of `upsampling`.

        Returns:
            `torch.FloatTensor` of shape `(B, T, 2h, 2w, out)`.
        """
        batch_size, num_classes, height, width, _ = hidden_states.shape
        maps = hidden_states.flatten(0, 1).permute(0, 3, 1, 2)
        maps = F.conv2d(maps, kernel, padding=1).permute(0, 2, 3, 1)  # B * T, h + 1, w + 1, 4 out
        maps = maps.unflatten(-1, (2, 2, -1))
        upsampled = class_independent.repeat(1, num_classes, 1, 1, 1).flatten(0, 1)
        blocks = upsampled.view(-1, height, 2, width, 2, maps.shape[-1])
        for a in range(2):
            for b in range(2):
                # Position (a, b) of each 2 x 2 block starts at row a and column b of the padded convolution.
                blocks[:, :, a, :, b] += maps[:, a : a + height, b : b + width, a, b]
        maps = upsampled.permute(0, 3, 1, 2)  # B * T, out, 2h, 2w, channels last
        maps = F.relu(self.norm1(maps), inplace=True)
        maps = F.relu(self.norm2(self.conv2(maps)), inplace=True)
        return maps.permute(0, 2, 3, 1).unflatten(0, (batch_size, num_classes))


class CatSegHead(nn.Conv2d):
    """A 3 x 3 convolution to one channel, in float32 on a CPU computed as a matrix product and a sum of shifted maps.

    A processor's convolutions work on some 16 output channels at once, so one costs as much as all of them. The
    product instead gives the 9 terms that each position adds to its neighbours' sums.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 1, kernel_size=3, padding=1)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """
        Args:
            maps (`torch.FloatTensor` of shape `(N, C, h, w)`): Decoded maps, channels last.

        Returns:
            `torch.FloatTensor` of shape `(N, 1, h, w)`: Logits.
        """
        # In half precision each of the 9 terms would be rounded, and only then added up.
        is_half = maps.dtype.itemsize < 4 or torch.is_autocast_enabled(maps.device.type)
        if is_half or torch.compiler.is_compiling() or maps.device.type != "cpu":
            return super().forward(maps)
        # The sum at y takes tap k of position y + k - 1, so position x gives it to the sum at x - k + 1: flipped.
        taps = self.weight[0].flip(1, 2).flatten(1).T  # 9, C
        terms = torch.matmul(taps, maps.flatten(2))  # N, 9, h * w
        return F.fold(terms, maps.shape[-2:], kernel_size=3, padding=1) + self.bias[:, None, None]


class CatSegDecoder(nn.Module):
    """Two guided upsamplings of the aggregated cost volume and a last convolution to logits (paper, section 3.4)."""

    gradient_checkpointing = False

    def __init__(self, config: CatSegConfig, *, guidance_channels: Sequence[int]) -> None:
        super().__init__()
        if config.backbone_config is None:
            # CLIP's maps all have the size of its patch grid: 2 and 4 times as large they fit the two stages.
            width = config.clip_config.vision_config.hidden_size
            self.guidance_upsamplings = nn.ModuleList(
                [
                    nn.ConvTranspose2d(width, channels, kernel_size=factor, stride=factor)
                    for channels, factor in zip(guidance_channels, (2, 4), strict=True)
                ]
            )
        else:
            self.guidance_upsamplings = None
        self.guidance_projections = nn.ModuleList(
            [
                nn.Conv2d(channels, projected, kernel_size=3, padding=1)
                for channels, projected in zip(guidance_channels, config.decoder_guidance_sizes, strict=True)
            ]
        )
        sizes = [config.hidden_size, *config.decoder_hidden_sizes]
        self.stages = nn.ModuleList(
            [
                CatSegDecoderStage(in_channels=sizes[i], out_channels=sizes[i + 1], guidance_channels=projected)
                for i, projected in enumerate(config.decoder_guidance_sizes)
            ]
        )
        self.dropout = nn.Dropout2d(config.decoder_dropout)
        self.head = CatSegHead(sizes[-1])

    def forward(self, hidden_states: torch.Tensor, guidance: Sequence[torch.Tensor], chunk_size: int) -> torch.Tensor:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h, w, C)`): Aggregated cost volume.
            guidance (`Sequence[torch.FloatTensor]`): The two finer guidance maps.
            chunk_size (`int`): Number of class maps at a time.

        Returns:
            `torch.FloatTensor` of shape `(B, T, 4h, 4w)`: Logits.
        """
        prepared = []
        for i, stage in enumerate(self.stages):
            maps = guidance[i] if self.guidance_upsamplings is None else self.guidance_upsamplings[i](guidance[i])
            prepared += stage.upsampling(F.relu(self.guidance_projections[i](maps)))
        chunks = [
            run(self, self._decode, chunk, *prepared)
            for chunk in split(hidden_states, max(1, chunk_size // hidden_states.shape[0]), dim=1)
        ]
        return chunks[0] if len(chunks) == 1 else torch.cat(chunks, dim=1)

    def _decode(self, hidden_states: torch.Tensor, *prepared: torch.Tensor) -> torch.Tensor:
        for i, stage in enumerate(self.stages):
            hidden_states = stage(hidden_states, prepared[2 * i], prepared[2 * i + 1])
        maps = self.dropout(hidden_states.flatten(0, 1).permute(0, 3, 1, 2))
        return self.head(maps).squeeze(1).unflatten(0, hidden_states.shape[:2])


class CatSegPreTrainedModel(PreTrainedModel):
    """What all CAT-Seg models share: initialisation, freezing, loading."""

    config: CatSegConfig
    config_class = CatSegConfig
    base_model_prefix = "model"
    main_input_name = "pixel_values"
    input_modalities = ("image", "text")
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _no_split_modules = ["CLIPEncoderLayer", "CLIPTextEmbeddings", "CatSegVisionEmbeddings", "CatSegAggregatorLayer"]
    # Trainer would otherwise scale the loss as if it were a sum over the items of a batch.
    accepts_loss_kwargs = False

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, CatSegClassBlock) and self.config.class_padding_length > 0:
            init.zeros_(module.padding_token)
            init.zeros_(module.padding_guidance)
        elif isinstance(module, CatSegGuidedUpsampling):
            init.normal_(module.transposed_weight, std=self.config.initializer_range)
            init.zeros_(module.transposed_bias)
            init.normal_(module.conv_weight, std=self.config.initializer_range)
        elif isinstance(module, CatSegVocabulary):
            init.copy_(module.input_ids, placeholder_input_ids(self.config))

    @property
    def _catseg_model(self) -> "CatSegModel":
        return self if isinstance(self, CatSegModel) else self.model

    def get_input_embeddings(self) -> nn.Module:
        """The token embeddings of CLIP's text tower."""
        return self._catseg_model.clip.text_model.embeddings.token_embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replaces the token embeddings of CLIP's text tower by `value`."""
        self._catseg_model.clip.text_model.embeddings.token_embedding = value

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """As [`PreTrainedModel.from_pretrained`]; freezes parameters by `config.clip_training` again afterwards.

        Loading makes new parameters, all of them trainable.
        """
        loaded = super().from_pretrained(*args, **kwargs)
        model = loaded[0] if isinstance(loaded, tuple) else loaded
        model.freeze_parameters()
        return loaded

    def save_pretrained(self, *args: Any, include_code: bool = False, **kwargs: Any) -> None:
        """As [`PreTrainedModel.save_pretrained`].

        Args:
            args, kwargs: As there: the folder, `max_shard_size`, `push_to_hub`, ...
            include_code (`bool`, *optional*, defaults to `False`):
                Whether to add this package's code, for machines that have only Transformers and load the folder with
                `trust_remote_code=True`.
        """
        from .pipeline_catseg import include_code_of  # here, so that Transformers copies all files with this one

        with include_code_of(self) if include_code else nullcontext():
            super().save_pretrained(*args, **kwargs)

    def push_to_hub(self, *args: Any, include_code: bool = False, **kwargs: Any) -> str:
        """As [`PreTrainedModel.push_to_hub`]; `include_code` as for [`save_pretrained`]."""
        from .pipeline_catseg import include_code_of

        with include_code_of(self) if include_code else nullcontext():
            return super().push_to_hub(*args, **kwargs)

    def freeze_parameters(self) -> None:
        """Sets `requires_grad` of every parameter by `config.clip_training` and `config.backbone_training`.

        Called when a model is built or loaded; call it again after changing one of these fields.
        """
        model = self._catseg_model
        self.requires_grad_(True)
        for name, parameter in model.clip.named_parameters():
            parameter.requires_grad_(self._is_trained(name))
        if model.backbone is not None:
            model.backbone.requires_grad_(self.config.backbone_training)
            # A Swin backbone's last norm is not used, and the originals leave the norm of its finest map untrained.
            untrained = ("swin.layernorm.", f"hidden_states_norms.{model.backbone.out_features[0]}.")
            for name, parameter in model.backbone.named_parameters():
                if name.startswith(untrained):
                    parameter.requires_grad_(False)
            for module in model.backbone.modules():
                if self.config.freeze_batch_norm and isinstance(module, nn.BatchNorm2d):
                    module.requires_grad_(False)

    def _is_trained(self, name: str) -> bool:
        # The dense path needs neither the attention of the last vision layer nor the logit scale.
        last_layer = f"vision_model.encoder.layers.{self.config.clip_config.vision_config.num_hidden_layers - 1}."
        if name == "logit_scale" or name.startswith((f"{last_layer}self_attn.q_proj", f"{last_layer}self_attn.k_proj")):
            return False
        if self.config.clip_training == "attention":
            return name.endswith(("self_attn.q_proj.weight", "self_attn.v_proj.weight"))
        if self.config.clip_training == "vision_attention":
            return name.startswith("vision_model.") and ("self_attn" in name or "position_embedding" in name)
        return self.config.clip_training == "full"


def placeholder_input_ids(config: CatSegConfig) -> torch.Tensor:
    """Token ids of a model without a vocabulary of its own: a start, one arbitrary token and an end per prompt.

    Args:
        config (`CatSegConfig`): With `vocabulary_shape` where token ids will be loaded, else `num_labels` counts.

    Returns:
        `torch.IntTensor` of shape `config.vocabulary_shape` or `(num_labels, P, 3)`.
    """
    shape = tuple(config.vocabulary_shape or (config.num_labels, len(config.prompt_templates), 3))
    text_config = config.clip_config.text_config
    last = text_config.vocab_size - 1
    input_ids = torch.zeros(shape, dtype=torch.int32)
    input_ids[..., 0] = min(text_config.bos_token_id or 0, last)
    prompts = torch.arange(math.prod(shape[:-1]), dtype=torch.int32).view(shape[:-1])
    input_ids[..., 1] = prompts % max(1, last - 1)
    input_ids[..., 2:] = min(end_token_id(config), last)
    return input_ids


def end_token_id(config: CatSegConfig) -> int:
    """The token whose embedding stands for the whole prompt."""
    end = config.clip_config.text_config.eos_token_id
    end = end[0] if isinstance(end, (list, tuple)) else end
    # Transformers writes 2 for OpenAI's first conversions, where it means the highest id; so does an id out of range.
    vocab_size = config.clip_config.text_config.vocab_size
    return vocab_size - 1 if end is None or end == 2 or end >= vocab_size else end


def restore_views(value: Any, views: torch.Size) -> Any:
    """Gives a tensor, or each of a tuple, the leading dimensions (B, V) back; with (B,) alone nothing is to be done."""
    if value is None or len(views) == 1:
        return value
    return (
        tuple(restore_views(each, views) for each in value) if isinstance(value, tuple) else value.unflatten(0, views)
    )


def check_view_size(pixel_values: torch.Tensor, patch_size: int) -> None:
    """Refuses images whose height or width is not a multiple of the patch size."""
    height, width = pixel_values.shape[-2:]
    if height % patch_size or width % patch_size or not height or not width:
        fits = [max(1, round(side / patch_size)) * patch_size for side in (height, width)]
        raise ValueError(
            f"`pixel_values` of height {height} and width {width} cannot be cut into patches of {patch_size} x "
            f"{patch_size} pixels: resize them to {fits[0]} x {fits[1]}, or let `CatSegImageProcessor` do it."
        )


class CatSegStemmedPatchEmbedding(nn.Conv2d):
    """Convolutions that shrink a patch to one position and look around it, in place of the projection of its pixels.

    A small model that is trained from nothing learns shapes much sooner with it (https://arxiv.org/abs/2106.14881).
    """

    def __init__(self, *, stem_channels: Sequence[int], embed_dim: int, patch_size: int) -> None:
        super().__init__(stem_channels[-1], embed_dim, kernel_size=1, bias=False)
        layers: list[nn.Module] = []
        for index, (in_channels, out_channels) in enumerate(zip((3, *stem_channels), stem_channels, strict=False)):
            stride = 2 if 2**index < patch_size else 1
            layers.append(nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False))
            layers.append(nn.GroupNorm(out_channels // 8, out_channels))
            layers.append(nn.ReLU(inplace=True))
        self.stem = nn.Sequential(*layers)

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Embeddings of shape (B, E, h, w) of pixel values of shape (B, 3, H, W)."""
        return super().forward(self.stem(pixel_values))


class CatSegVisionEmbeddings(CLIPVisionEmbeddings):
    """CLIP's own, but the position embeddings are looked up by calling their module, and a stem can stand before them.

    Accelerate loads weights that it keeps on disk when their module is called; CLIP takes this weight without a call.
    """

    def __init__(self, config: CLIPVisionConfig, stem_channels: Sequence[int] | None = None) -> None:
        super().__init__(config)
        if stem_channels is not None:
            self.patch_embedding = CatSegStemmedPatchEmbedding(
                stem_channels=stem_channels, embed_dim=config.hidden_size, patch_size=config.patch_size
            )

    def interpolate_pos_encoding(self, embeddings: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """Position embeddings for an image.

        Args:
            embeddings (`torch.FloatTensor` of shape `(B, 1 + h * w, E)`): Those of class token and patches.
            height, width (`int`): Of the image, in pixels.

        Returns:
            `torch.FloatTensor` of shape `(1, 1 + h * w, E)`.
        """
        positions = self.position_embedding(self.position_ids)
        if height == width == self.image_size:
            return positions
        side = self.image_size // self.patch_size
        maps = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        size = (height // self.patch_size, width // self.patch_size)
        maps = F.interpolate(maps, size=size, mode="bicubic", align_corners=False)
        return torch.cat([positions[:, :1], maps.flatten(2).transpose(1, 2)], dim=1)


class CatSegQuickGELU(nn.Module):
    """CLIP's activation x sigmoid(1.702 x), as silu(1.702 x) / 1.702.

    That is one fresh tensor instead of three, each as costly as its arithmetic, and one kept for the backward pass
    instead of two.
    """

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        scaled = 1.702 * hidden_states
        return F.silu(scaled, inplace=not torch.is_grad_enabled()).mul_(1 / 1.702)


class CatSegVocabulary(nn.Module):
    """Token ids of the model's own classes; a module, since `device_map="auto"` forgets buffers of larger modules.

    Args:
        config (`CatSegConfig`): With `vocabulary_shape`, or `num_labels` for a placeholder.
    """

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__()
        self.register_buffer("input_ids", placeholder_input_ids(config))


class CatSegModel(CatSegPreTrainedModel):
    """CLIP's two towers, the optional appearance backbone, and the aggregator: everything before the decoder.

    Args:
        config (`CatSegConfig`): Its sizes and variants.
    """

    # Loaded from a folder of the whole model, this part does without the rest and need not report it.
    _keys_to_ignore_on_load_unexpected = [r"^decoder\."]

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__(config)
        self.clip = CLIPModel._from_config(config.clip_config)
        self.clip.vision_model.embeddings = CatSegVisionEmbeddings(
            config.clip_config.vision_config, config.stem_channels
        )
        # They keep their weights and names, and over several views at once are computed as convolutions too.
        for module in self.clip.modules():
            if type(module) is nn.Linear:
                module.__class__ = CatSegLinear
        for tower in (self.clip.vision_model, self.clip.text_model):
            if tower.config.hidden_act == "quick_gelu":
                for layer in tower.encoder.layers:
                    layer.mlp.activation_fn = CatSegQuickGELU()
        if config.backbone_config is None:
            self.backbone = None
            # From coarse to fine, as everywhere: CLIP's final embeddings, then its earlier layers.
            self.guidance_channels = [config.clip_config.projection_dim, *config.guidance_layer_channels]
        else:
            self.backbone = AutoBackbone.from_config(config.backbone_config)
            self.guidance_channels = list(reversed(self.backbone.channels))
        self.aggregator = CatSegAggregator(config, guidance_channels=self.guidance_channels[0])
        self.vocabulary = CatSegVocabulary(config)
        self._text_cache: dict[tuple[Any, ...], torch.Tensor] = {}
        self.post_init()
        self.freeze_parameters()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_embeds: torch.FloatTensor | None = None,
        backbone_pixel_values: torch.FloatTensor | None = None,
        view_boxes: torch.LongTensor | None = None,
        resized_sizes: torch.LongTensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        output_attentions: bool | None = None,
    ) -> CatSegModelOutput:
        r"""
        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)` or `(B, V, 3, H, W)`):
                Normalised images or views; H and W are multiples of the patch size.
            input_ids (`torch.LongTensor` of shape `(T, L)`, `(T, P, L)` or `(T, P, S, L)`, *optional*):
                Prompts of the classes, for each template and synonym; absent synonyms are all zero. Without them and
                without `text_embeds` the model's own vocabulary is used.
            attention_mask (`torch.Tensor`, *optional*):
                Shaped as `input_ids`. It changes nothing, since attention is causal and padding comes last.
            text_embeds (`torch.FloatTensor` of shape `(T, P, D)`, *optional*):
                Result of [`~CatSegModel.get_text_embeds`], instead of `input_ids`.
            backbone_pixel_values (`torch.FloatTensor` of shape `(B, 3, H', W')` or `(B, V, 3, H', W')`, *optional*):
                What the appearance backbone sees; needed exactly where the model has one.
            view_boxes, resized_sizes (`torch.LongTensor`, *optional*):
                What the processor says of the views, for post-processing; not used here.
            output_hidden_states (`bool`, `int` or `list[int]`, *optional*):
                Whether to return the aggregator's hidden states, or which of them; defaults to the configuration's.
            output_attentions (`bool`, *optional*):
                Whether to return the weights of its spatial attention; defaults to the configuration's.

        Returns:
            [`CatSegModelOutput`]
        """
        self.check_inputs(pixel_values, backbone_pixel_values)
        views = pixel_values.shape[:-3]
        text_embeds = self.resolve_text_embeds(input_ids, attention_mask, text_embeds)
        image_embeds, guidance = self.encode_images(
            pixel_values.flatten(0, -4),
            None if backbone_pixel_values is None else backbone_pixel_values.flatten(0, -4),
        )
        outputs = self.aggregator(
            image_embeds,
            text_embeds,
            guidance[0],
            self.class_chunk_size(*image_embeds.shape[1:3]),
            *self.requested_outputs(output_hidden_states, output_attentions),
        )
        outputs.image_embeds = image_embeds
        outputs.guidance = tuple(guidance)
        outputs = {name: restore_views(value, views) for name, value in outputs.items()}
        return CatSegModelOutput(**outputs, text_embeds=text_embeds)

    def check_inputs(self, pixel_values: torch.Tensor, backbone_pixel_values: torch.Tensor | None) -> None:
        """Refuses image tensors that do not fit the model or each other.

        Args:
            pixel_values, backbone_pixel_values: As for [`CatSegModel.forward`].

        Raises:
            ValueError: With the shape that was given and the one that is needed.
        """
        if pixel_values.dim() not in (4, 5):
            raise ValueError(
                f"`pixel_values` must have shape (B, 3, H, W), or (B, V, 3, H, W) with V views of each image, got "
                f"{tuple(pixel_values.shape)}."
            )
        check_view_size(pixel_values, self.config.patch_size)
        if self.backbone is None and backbone_pixel_values is not None:
            raise ValueError(
                "`backbone_pixel_values` were given, but this model takes its guidance from CLIP and has no appearance "
                "backbone: leave them out, and use the processor that was saved with the model."
            )
        if self.backbone is not None and backbone_pixel_values is None:
            raise ValueError(
                "This model has an appearance backbone and needs `backbone_pixel_values`: use the processor that was "
                "saved with the model, which makes them."
            )
        if backbone_pixel_values is not None and backbone_pixel_values.shape[:-2] != pixel_values.shape[:-2]:
            raise ValueError(
                f"`backbone_pixel_values` of shape {tuple(backbone_pixel_values.shape)} must have the same batch and "
                f"views as `pixel_values` of shape {tuple(pixel_values.shape)}."
            )

    def class_chunk_size(self, height: int, width: int) -> int:
        """Number of class maps that the aggregator works on at a time.

        Args:
            height, width (`int`): Size of the patch grid.

        Returns:
            `int`: `config.class_chunk_size`, or where that is `None` as many as stay in a processor's cache, or fill a
            tenth of a GPU's free memory. All of them while a graph is captured, whose size must not depend on it.
        """
        if self.config.class_chunk_size is not None:
            return self.config.class_chunk_size
        if torch.compiler.is_compiling():
            return torch.iinfo(torch.int32).max
        bytes_per_class = height * width * self.config.hidden_size * 4
        if self.device.type == "cuda":
            free = torch.cuda.mem_get_info(self.device)[0]
            # About a dozen tensors of a class's size, four times as wide inside the MLP, exist at a time.
            return max(1, free // 10 // (16 * bytes_per_class))
        return max(1, CPU_CHUNK_BYTES // bytes_per_class)

    def requested_outputs(
        self, output_hidden_states: bool | int | list[int] | None, output_attentions: bool | None
    ) -> tuple[bool | int | list[int], bool]:
        """`output_hidden_states` and `output_attentions`, or the configuration's defaults for them."""
        if output_hidden_states is None:
            output_hidden_states = self.config.output_hidden_states
        if output_attentions is None:
            output_attentions = self.config.output_attentions
        return output_hidden_states, bool(output_attentions)

    def encode_images(
        self, pixel_values: torch.Tensor, backbone_pixel_values: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Dense CLIP embeddings and guidance maps of images (paper, section 3.1).

        All CLIP layers but the last run as they are. The last one has no attention: each patch keeps its own value,
        `out(value(x))`, and adds it to `config.dense_residual`; everything behind it is applied to every patch.

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images.
            backbone_pixel_values (`torch.FloatTensor` of shape `(B, 3, H', W')`, *optional*): For the backbone.

        Returns:
            Embeddings of shape `(B, h, w, D)`, not normalised, and three guidance maps, from coarse to fine.
        """
        vision = self.clip.vision_model
        height, width = (side // self.config.patch_size for side in pixel_values.shape[-2:])
        hidden_states = vision.embeddings(pixel_values, interpolate_pos_encoding=True)
        hidden_states = vision.pre_layrnorm(hidden_states)  # B, 1 + h * w, E
        layers = vision.encoder.layers
        kept = {}
        for index, layer in enumerate(layers[:-1]):
            hidden_states = layer(hidden_states, None)
            if self.backbone is None and index in self.config.guidance_layers:
                kept[index] = hidden_states[:, 1:].transpose(1, 2).unflatten(-1, (height, width))
        last, patches = layers[-1], hidden_states[:, 1:]
        residual = hidden_states[:, :1] if self.config.dense_residual == "class_token" else patches
        values = last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(patches)))
        hidden_states = residual + values
        hidden_states = hidden_states + last.mlp(last.layer_norm2(hidden_states))
        image_embeds = self.clip.visual_projection(vision.post_layernorm(hidden_states)).unflatten(1, (height, width))
        if self.backbone is None:
            guidance = [image_embeds.permute(0, 3, 1, 2), *(kept[index] for index in self.config.guidance_layers)]
        else:
            dtype = image_embeds.dtype
            guidance = list(reversed(self.backbone(backbone_pixel_values.to(dtype)).feature_maps))
            sizes = [tuple(maps.shape[-2:]) for maps in guidance]
            if sizes != [(factor * height, factor * width) for factor in (1, 2, 4)]:
                raise ValueError(
                    f"The backbone's maps of {sizes} positions do not fit CLIP's {height} x {width} patches, which "
                    f"need 1, 2 and 4 times that: `backbone_pixel_values` must be {16 * height} x {16 * width} pixels, "
                    f"got {tuple(backbone_pixel_values.shape[-2:])}."
                )
        return image_embeds, guidance

    def get_text_embeds(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Text embeddings of prompts, with gradient where it is recorded.

        What CLIP makes of a prompt does not depend on anything behind its end token, so the text tower runs on the
        longest prompt's length, and once for equal prompts. In evaluation mode without gradient the result is kept for
        the next call with the same token ids, until a weight of the text tower changes.

        Args:
            input_ids (`torch.LongTensor` of shape `(T, L)`, `(T, P, L)` or `(T, P, S, L)`):
                Prompts of the classes, for each template and synonym; all-zero ones stand for absent synonyms.
            attention_mask (`torch.Tensor`, *optional*): Shaped as `input_ids`; it changes nothing.

        Returns:
            `torch.FloatTensor` of shape `(T, P, D)`: Normalised embeddings, synonyms merged by `config.synonyms`; with
            `"max"` and several synonyms of shape `(T, P, S, D)`, absent ones zero.

        Raises:
            ValueError: If the shape is wrong, a prompt has no end token, or a class has no prompt.
        """
        if input_ids.dim() == 2:
            input_ids = input_ids[:, None]
        num_templates = len(self.config.prompt_templates)
        if input_ids.dim() not in (3, 4) or input_ids.shape[1] != num_templates or not input_ids.numel():
            raise ValueError(
                f"`input_ids` must have shape (T, L), (T, {num_templates}, L) or (T, {num_templates}, S, L) for the "
                f"{num_templates} prompt template(s) of this model, got {tuple(input_ids.shape)}."
            )
        if input_ids.dim() == 4 and self.config.synonyms == "first":
            input_ids = input_ids[:, :, 0]
        if self.training or torch.is_grad_enabled() or torch.compiler.is_compiling():
            return self._merge_synonyms(*self._encode_prompts(input_ids))
        key = self._text_cache_key(input_ids)
        if key not in self._text_cache:
            if len(self._text_cache) >= TEXT_CACHE_SIZE:
                self._text_cache.pop(next(iter(self._text_cache)))
            self._text_cache[key] = self._merge_synonyms(*self._encode_prompts(input_ids))
        return self._text_cache[key]

    def _encode_prompts(self, input_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        # (T, P, L) or (T, P, S, L) -> normalised embeddings (..., D) and which prompts are present (...)
        prompts = input_ids.flatten(0, -2).long()
        unique, where = torch.unique(prompts, dim=0, return_inverse=True)
        present = (unique != 0).any(dim=-1)
        is_end = unique == end_token_id(self.config)
        if not bool((is_end.any(dim=-1) | ~present).all()):
            row = int((~is_end.any(dim=-1) & present).nonzero()[0])
            raise ValueError(
                f"The prompt {unique[row].tolist()} in `input_ids` has no end token ({end_token_id(self.config)}): it "
                "was cut, or made by the tokenizer of another model. Use the processor that was saved with this one."
            )
        ends = is_end.int().argmax(dim=-1)  # the first end token; what follows is padding
        # Prompts of about equal length together, so that each batch is as short as it can be.
        order = ends.argsort(stable=True)
        embeds = []
        for rows in order.split(TEXT_BATCH_SIZE if not torch.is_grad_enabled() else len(order)):
            length = int(ends[rows].max()) + 1
            hidden_states = self.clip.text_model(input_ids=unique[rows, :length]).last_hidden_state
            pooled = hidden_states[torch.arange(len(rows), device=rows.device), ends[rows]]
            embeds.append(F.normalize(self.clip.text_projection(pooled), dim=-1))
        embeds = torch.cat(embeds)[order.argsort()]
        embeds = torch.where(present[:, None], embeds, 0.0)[where]
        return embeds.unflatten(0, input_ids.shape[:-1]), present[where].unflatten(0, input_ids.shape[:-1])

    def _merge_synonyms(self, embeds: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
        has_prompt = present.flatten(2).any(dim=-1) if present.dim() == 3 else present
        if not bool(has_prompt.all()):
            row = int((~has_prompt).nonzero()[0, 0])
            raise ValueError(f"Class {row} in `input_ids` has only zeros and so no prompt at all: give it a name.")
        if embeds.dim() == 3 or self.config.synonyms == "max":
            return embeds
        # The mean's direction: absent synonyms are zero and so change only its length.
        return F.normalize(embeds.sum(dim=2), dim=-1)

    def _text_cache_key(self, input_ids: torch.Tensor) -> tuple[Any, ...]:
        weights = (*self.clip.text_model.parameters(), *self.clip.text_projection.parameters())
        versions = tuple((id(weight), 0 if weight.is_inference() else weight._version) for weight in weights)
        device = input_ids.device  # of the model itself it is "meta" where weights are offloaded
        autocast = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)
        tokens = input_ids.to("cpu", torch.int32).contiguous().numpy().tobytes()
        return tokens, tuple(input_ids.shape), self.config.synonyms, autocast, weights[0].dtype, device, versions

    def clear_text_cache(self) -> None:
        """Forgets all text embeddings; needed after writing to weights through `.data`, which nothing can notice."""
        self._text_cache.clear()

    def train(self, mode: bool = True) -> "CatSegModel":
        """Sets the mode: that of training, or of evaluation where `mode` is `False`.

        With `config.freeze_batch_norm` the backbone's batch norms stay in evaluation mode.
        """
        self.clear_text_cache()
        super().train(mode)
        if self.backbone is not None and self.config.freeze_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def _apply(self, *args: Any, **kwargs: Any) -> "CatSegModel":
        self.clear_text_cache()
        return super()._apply(*args, **kwargs)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.clear_text_cache()
        super()._load_from_state_dict(*args, **kwargs)

    def resolve_text_embeds(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor | None,
        text_embeds: torch.Tensor | None,
    ) -> torch.Tensor:
        """Text embeddings from what `forward` was given, or from the model's own vocabulary.

        Args:
            input_ids, attention_mask, text_embeds: As for [`CatSegModel.forward`].

        Returns:
            `torch.FloatTensor`: Shaped as [`CatSegModel.get_text_embeds`] returns them.

        Raises:
            ValueError: If both were given, `text_embeds` do not fit, or the own vocabulary is not that of `id2label`.
        """
        if text_embeds is None:
            if input_ids is None:
                self._check_vocabulary()
                input_ids = self.vocabulary.input_ids
            return self.get_text_embeds(input_ids, attention_mask)
        if input_ids is not None:
            raise ValueError("Both `input_ids` and `text_embeds` were given: leave one of them out.")
        expected = (len(self.config.prompt_templates), self.config.clip_config.projection_dim)
        if text_embeds.dim() not in (3, 4) or (text_embeds.shape[1], text_embeds.shape[-1]) != expected:
            raise ValueError(
                f"`text_embeds` must have shape (T, {expected[0]}, {expected[1]}) for this model's prompt templates "
                f"and embedding size, got {tuple(text_embeds.shape)}."
            )
        if text_embeds.dim() == 4 and self.config.synonyms != "max":
            raise ValueError(
                f"`text_embeds` with a dimension for synonyms, {tuple(text_embeds.shape)}, need a model with "
                f'`config.synonyms="max"`; this one has "{self.config.synonyms}": merge the synonyms first.'
            )
        if text_embeds.shape[0] == 0:
            raise ValueError("`text_embeds` has no classes: give at least one.")
        return text_embeds.to(self.clip.text_projection.weight.device)

    def _check_vocabulary(self) -> None:
        names = list(self.config.id2label.values())
        if self.config.vocabulary_digest is None:
            fits = names == [f"LABEL_{index}" for index in range(len(names))]
        else:
            fits = self.config.vocabulary_digest == vocabulary_digest(names, self.config.prompt_templates)
        if not fits:
            shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
            raise ValueError(
                f"The model has no token ids for the classes of `config.id2label` ({shown}) with `config."
                "prompt_templates`. Call `model.set_vocabulary(labels, input_ids)` with the `input_ids` that the "
                "processor makes of these labels, or give `input_ids` or `text_embeds` to `forward`."
            )

    def set_vocabulary(self, labels: Sequence[str | Sequence[str]], input_ids: torch.Tensor) -> None:
        """Makes a vocabulary the model's own: what `forward` segments without text, and what is saved with the model.

        Args:
            labels (`Sequence[str | Sequence[str]]`): Class names in order; a list is a class with synonyms.
            input_ids (`torch.LongTensor` of shape `(T, P, L)`, `(T, L)` or `(T, P, S, L)`):
                Their prompts, as `CatSegProcessor` makes them with `config.prompt_templates`.

        Raises:
            ValueError: If there are no labels, two are equal, or their number is not that of `input_ids`.
        """
        synonyms = [[label] if isinstance(label, str) else list(label) for label in labels]
        names = [", ".join(label) for label in synonyms]
        if input_ids.dim() == 2:
            input_ids = input_ids[:, None]
        if not names or any(not name.strip() for name in names):
            raise ValueError(f"`labels` must be class names, at least one and none of them empty, got {labels!r}.")
        if len(set(names)) != len(names):
            repeated = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"`labels` names {repeated!r} twice: every class needs a name of its own.")
        if len(input_ids) != len(names):
            raise ValueError(
                f"{len(names)} `labels` but `input_ids` of {len(input_ids)} classes (shape {tuple(input_ids.shape)}): "
                "make the token ids from these labels."
            )
        with torch.no_grad():
            self._encode_prompts(input_ids[:1].to(self.vocabulary.input_ids.device))
        used = int((input_ids != 0).flatten(0, -2).any(dim=0).nonzero().max()) + 1
        self.vocabulary.input_ids = input_ids[..., :used].to(self.vocabulary.input_ids.device, torch.int32)
        self.config.id2label = dict(enumerate(names))
        self.config.label2id = {name: index for index, name in enumerate(names)}
        self.config.vocabulary_shape = list(self.vocabulary.input_ids.shape)
        self.config.vocabulary_synonym_counts = [len(label) for label in synonyms]
        self.config.vocabulary_digest = vocabulary_digest(names, self.config.prompt_templates)


class CatSegForSemanticSegmentation(CatSegPreTrainedModel):
    """CAT-Seg with its decoder: segments images into any set of named classes.

    Args:
        config (`CatSegConfig`): Its sizes and variants.

    Example:

    ```python
    >>> from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor

    >>> model = CatSegForSemanticSegmentation.from_pretrained("path/to/model").eval()
    >>> processor = CatSegProcessor.from_pretrained("path/to/model")
    >>> inputs = processor(images=image, text=["cat", "grass"], return_tensors="pt")
    >>> outputs = model(**inputs)
    >>> label_map = processor.post_process_semantic_segmentation(outputs, target_sizes=[(480, 640)])[0]
    ```
    """

    gradient_checkpointing = False

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__(config)
        self.model = CatSegModel(config)
        self.decoder = CatSegDecoder(config, guidance_channels=self.model.guidance_channels[1:])
        self.post_init()
        self.freeze_parameters()

    @can_return_tuple
    def forward(
        self,
        pixel_values: torch.FloatTensor,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        backbone_pixel_values: torch.FloatTensor | None = None,
        view_boxes: torch.LongTensor | None = None,
        resized_sizes: torch.LongTensor | None = None,
        output_hidden_states: bool | int | list[int] | None = None,
        output_attentions: bool | None = None,
    ) -> CatSegSemanticSegmenterOutput:
        r"""
        Args:
            pixel_values, input_ids, attention_mask, text_embeds, backbone_pixel_values, output_hidden_states,
            output_attentions: As for [`CatSegModel.forward`].
            labels (`torch.LongTensor` of shape `(B, H', W')`, *optional*):
                Class of each pixel, `config.semantic_loss_ignore_index` where it is ignored; not with views.
            view_boxes (`torch.LongTensor` of shape `(B, V, 4)`, *optional*):
                Where the views lie (top, left, bottom, right); handed through to post-processing.
            resized_sizes (`torch.LongTensor` of shape `(B, 2)`, *optional*):
                Size of the images that the views were cut from; handed through to post-processing.

        Returns:
            [`CatSegSemanticSegmenterOutput`]

        Raises:
            ValueError: If the inputs do not fit the model or each other.
        """
        self.model.check_inputs(pixel_values, backbone_pixel_values)
        text_embeds = self.model.resolve_text_embeds(input_ids, attention_mask, text_embeds)
        if labels is not None:
            self._check_labels(labels, pixel_values, text_embeds.shape[0])
        requested = self.model.requested_outputs(output_hidden_states, output_attentions)
        views = pixel_values.shape[:-3]
        images = pixel_values.flatten(0, -4)
        appearance = None if backbone_pixel_values is None else backbone_pixel_values.flatten(0, -4)
        # Without gradient, views go through one small group after the other, so that memory does not grow with them.
        group_size = self._views_at_a_time(text_embeds.shape[0], requested != (False, False))
        groups = split(images, group_size, dim=0)
        appearances = [None] * len(groups) if appearance is None else split(appearance, group_size, dim=0)
        outputs = [
            self._forward_views(group, text_embeds, group_appearance, *requested)
            for group, group_appearance in zip(groups, appearances, strict=True)
        ]
        logits = outputs[0][0] if len(outputs) == 1 else torch.cat([output[0] for output in outputs])
        logits, hidden_states, attentions = (restore_views(value, views) for value in (logits, *outputs[0][1:]))
        return CatSegSemanticSegmenterOutput(
            loss=None if labels is None else self.semantic_segmentation_loss(logits, labels),
            logits=logits,
            hidden_states=hidden_states,
            attentions=attentions,
            view_boxes=view_boxes,
            resized_sizes=resized_sizes,
        )

    def _views_at_a_time(self, num_classes: int, needs_all: bool) -> int:
        if self.config.early_rejection is not None and not self.training:
            return 1  # or what is rejected in one view would depend on the others
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or needs_all or self.device.type != "cpu":
            return torch.iinfo(torch.int32).max
        return max(1, min(CPU_VIEWS_AT_A_TIME, CPU_CLASS_MAPS_AT_A_TIME // num_classes))

    def _forward_views(
        self,
        images: torch.Tensor,
        text_embeds: torch.Tensor,
        appearance: torch.Tensor | None,
        output_hidden_states: bool | int | list[int],
        output_attentions: bool,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None, tuple[torch.Tensor, ...] | None]:
        image_embeds, guidance = self.model.encode_images(images, appearance)
        chunk_size = self.model.class_chunk_size(*image_embeds.shape[1:3])
        while True:
            try:
                aggregated = self.model.aggregator(
                    image_embeds, text_embeds, guidance[0], chunk_size, output_hidden_states, output_attentions
                )
                logits = self.decoder(aggregated.last_hidden_state, guidance[1:], max(1, chunk_size // 2))
                break
            except torch.OutOfMemoryError:
                if chunk_size == 1 or torch.is_grad_enabled():
                    raise
                chunk_size = max(1, min(chunk_size, text_embeds.shape[0]) // 2)
        if aggregated.kept_classes is not None:
            size = (logits.shape[0], text_embeds.shape[0], *logits.shape[-2:])
            index = aggregated.kept_classes[..., None, None].expand_as(logits)
            logits = logits.new_full(size, TRUNCATED_CLASS_LOGIT).scatter(1, index, logits)
        return logits, aggregated.hidden_states, aggregated.attentions

    def _check_labels(self, labels: torch.Tensor, pixel_values: torch.Tensor, num_classes: int) -> None:
        if pixel_values.dim() == 5:
            raise ValueError(
                f"`labels` cannot be used with views (`pixel_values` of shape {tuple(pixel_values.shape)}): train on "
                "single images of shape (B, 3, H, W), which the processor makes with `do_sliding_window=False`."
            )
        if labels.dim() != 3 or len(labels) != len(pixel_values):
            raise ValueError(
                f"`labels` must have shape ({len(pixel_values)}, height, width), got {tuple(labels.shape)}."
            )
        if labels.is_floating_point():
            raise ValueError(f"`labels` must be integers, got {labels.dtype}.")
        if not torch.compiler.is_compiling():
            used = labels[labels != self.config.semantic_loss_ignore_index]
            if used.numel() and not 0 <= int(used.min()) <= int(used.max()) < num_classes:
                raise ValueError(
                    f"`labels` has ids from {int(used.min())} to {int(used.max())}, but there are {num_classes} "
                    f"classes (0 to {num_classes - 1}) and the ignored id is {self.config.semantic_loss_ignore_index}."
                )

    def semantic_segmentation_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of the original code base, on logits resized to the labels.

        `"bce"` is the mean over all pixels and classes of the binary cross-entropy. As in the original, ignored pixels
        count as pixels that belong to no class, unless `config.mask_ignored_pixels`. `"cross_entropy"` is the mean
        over the pixels that are not ignored.

        Args:
            logits (`torch.FloatTensor` of shape `(B, T, h, w)`): Logits.
            labels (`torch.LongTensor` of shape `(B, H, W)`): Class ids.

        Returns:
            `torch.FloatTensor` of shape `()`.
        """
        labels = labels.long()
        is_used = labels != self.config.semantic_loss_ignore_index
        if self.config.semantic_loss == "cross_entropy":
            resized = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
            targets = labels.masked_fill(~is_used, -100)
            return F.cross_entropy(resized, targets, ignore_index=-100, reduction="sum") / is_used.sum().clamp(min=1)
        num_classes = logits.shape[1]
        chunk_size = self.model.class_chunk_size(*logits.shape[-2:]) if self.gradient_checkpointing else num_classes
        total = sum(
            run(self, self._binary_cross_entropy_sum, chunk, labels, is_used, first)
            for chunk, first in zip(split(logits, chunk_size, dim=1), range(0, num_classes, chunk_size), strict=True)
        )
        num_pixels = is_used.sum().clamp(min=1) if self.config.mask_ignored_pixels else labels.numel()
        return total / (num_pixels * num_classes)

    def _binary_cross_entropy_sum(
        self, logits: torch.Tensor, labels: torch.Tensor, is_used: torch.Tensor, first_class: int
    ) -> torch.Tensor:
        resized = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
        class_ids = torch.arange(first_class, first_class + logits.shape[1], device=logits.device)
        targets = ((labels[:, None] == class_ids[:, None, None]) & is_used[:, None]).to(resized.dtype)
        weight = is_used[:, None].to(resized.dtype) if self.config.mask_ignored_pixels else None
        return F.binary_cross_entropy_with_logits(resized, targets, weight=weight, reduction="sum")

    def get_text_embeds(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """See [`CatSegModel.get_text_embeds`]."""
        return self.model.get_text_embeds(input_ids, attention_mask)

    def set_vocabulary(self, labels: Sequence[str | Sequence[str]], input_ids: torch.Tensor) -> None:
        """See [`CatSegModel.set_vocabulary`]."""
        self.model.set_vocabulary(labels, input_ids)

    def clear_text_cache(self) -> None:
        """See [`CatSegModel.clear_text_cache`]."""
        self.model.clear_text_cache()

    def _upload_modified_files(self, working_dir: str | os.PathLike, repo_id: str, *args: Any, **kwargs: Any) -> Any:
        # `push_to_hub` and `save_pretrained(push_to_hub=True)` come by here, with Transformers' card in the folder.
        try:
            from catseg_hf.model_card import settle_pushed_card
        except ImportError:  # remote code, on a machine without the package
            pass
        else:
            revision, token = kwargs.get("revision"), kwargs.get("token")
            settle_pushed_card(working_dir, repo_id, self, revision=revision, token=token)
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    @classmethod
    def from_clip_pretrained(
        cls, pretrained_model_name_or_path: str | os.PathLike, *, revision: str | None = None, **config_kwargs: Any
    ) -> "CatSegForSemanticSegmentation":
        """Starts a new model from a CLIP checkpoint; everything behind CLIP has random weights.

        Args:
            pretrained_model_name_or_path (`str` or `os.PathLike`):
                A CLIP model of Transformers on the Hub or in a folder, or a folder with OpenCLIP's weights
                (`open_clip_pytorch_model.bin` or `open_clip_model.safetensors`).
            revision (`str`, *optional*): Branch, tag or commit of a Hub repository.
            config_kwargs: Fields of [`CatSegConfig`]. `image_size` defaults to 24 patches but at most 384 pixels,
                `guidance_layers` to those after a third and two thirds of CLIP's vision layers.

        Returns:
            `CatSegForSemanticSegmentation`, without a vocabulary: call `set_vocabulary`.

        Example:

        ```python
        >>> model = CatSegForSemanticSegmentation.from_clip_pretrained("openai/clip-vit-base-patch16")
        ```
        """
        folder = Path(pretrained_model_name_or_path)
        if folder.is_dir() and not (folder / "config.json").is_file():
            clip = conversion_module().load_open_clip(folder, image_size=config_kwargs.get("image_size"))
        else:
            clip = CLIPModel.from_pretrained(pretrained_model_name_or_path, revision=revision)
        vision = clip.config.vision_config
        patch_size = vision.patch_size
        config_kwargs.setdefault("image_size", min(24 * patch_size, 384 // patch_size * patch_size))
        if config_kwargs.get("backbone_config") is None:
            depth = vision.num_hidden_layers
            config_kwargs.setdefault("guidance_layers", [max(0, depth // 3 - 1), max(0, 2 * depth // 3 - 1)])
        model = cls(CatSegConfig(clip_config=clip.config.to_dict(), **config_kwargs))
        model.model.clip.load_state_dict(clip.state_dict())
        return model.eval()

    @classmethod
    def from_original(
        cls, name: str, *, cache_dir: str | os.PathLike | None = None, **kwargs: Any
    ) -> "CatSegForSemanticSegmentation":
        """Loads a checkpoint that the original authors published: downloaded and converted once, then kept.

        The processor is in the same folder: `CatSegProcessor.from_pretrained(model.config.name_or_path)`.

        Args:
            name (`str`): `"base"` or `"large"` (CVPR 2024), `"v1-base"`, `"v1-large"`, `"v1-huge"`, `"v1-giant"`, or
                `"mmseg-base"`.
            cache_dir (`str` or `os.PathLike`, *optional*): Defaults to `catseg_hf` in `HF_HOME`.
            kwargs: For `from_pretrained`, such as `dtype` or `device_map`.

        Returns:
            `CatSegForSemanticSegmentation`.

        Raises:
            ImportError: Without the package `catseg_hf`, where this file is a repository's remote code.
            ValueError: If there is no such checkpoint, or it can be neither downloaded nor converted.
        """
        return cls.from_pretrained(conversion_module().load_original(name, cache_dir=cache_dir), **kwargs)


def conversion_module() -> ModuleType:
    """`catseg_hf.conversion`, which is not copied along when this file becomes a Hub repository's remote code."""
    try:
        return import_module("catseg_hf.conversion")
    except ModuleNotFoundError as error:
        if error.name not in ("catseg_hf", "catseg_hf.conversion"):
            raise
        raise ImportError("Converting checkpoints needs the package itself: `pip install catseg-hf`.") from error


__all__ = ["CatSegForSemanticSegmentation", "CatSegModel", "CatSegPreTrainedModel"]
