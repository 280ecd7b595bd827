# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Cost volume and aggregator (paper, sections 3.2 and 3.3): how similar each patch is to each class, made coherent."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn
from transformers.modeling_outputs import ModelOutput

from .chunking_catseg import joined, over_chunks, split
from .class_attention_catseg import CatSegClassBlock
from .configuration_catseg import CatSegConfig
from .layers_catseg import normalize
from .spatial_attention_catseg import AttentionWindows, CatSegSpatialBlock


# Of classes that were not kept.
TRUNCATED_CLASS_LOGIT = -100.0


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


def select_hidden_states(
    hidden_states: list[torch.Tensor], selection: bool | int | list[int]
) -> tuple[torch.Tensor | None, ...] | None:
    """All hidden states for `True`, none for `False`; for indices those, with `None` in the place of the others."""
    if isinstance(selection, bool):
        return tuple(hidden_states) if selection else None
    indices = {index % len(hidden_states) for index in ([selection] if isinstance(selection, int) else selection)}
    return tuple(state if index in indices else None for index, state in enumerate(hidden_states))


def compute_cost_volume(image_embeds: torch.Tensor, text_embeds: torch.Tensor) -> torch.Tensor:
    """Cosine similarity of each patch with each class, without CLIP's logit scale.

    Of synonyms (`config.synonyms` `"max"`) the most similar counts, at each place.

    Args:
        image_embeds (`torch.FloatTensor` of shape `(B, h, w, D)`): Dense CLIP embeddings, normalised.
        text_embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`): Text embeddings, normalised;
            all-zero ones stand for absent synonyms.

    Returns:
        `torch.FloatTensor` of shape `(B, T, P, h, w)`, from -1 to 1.
    """
    height, width = image_embeds.shape[1:3]
    image_embeds = image_embeds.flatten(1, 2).transpose(1, 2)  # B, D, h * w
    cost_volume = torch.matmul(text_embeds.flatten(0, -2), image_embeds)
    cost_volume = cost_volume.view(image_embeds.shape[0], *text_embeds.shape[:-1], height, width)
    if text_embeds.dim() == 4:
        absent = (text_embeds == 0).all(dim=-1)[..., None, None]  # T, P, S, 1, 1
        cost_volume = cost_volume.masked_fill(absent, -1.0).amax(dim=3)
    return cost_volume


def find_kept_classes(cost_volume: torch.Tensor, config: CatSegConfig, *, training: bool) -> torch.Tensor | None:
    """Which classes are aggregated: those with the highest similarities.

    Args:
        cost_volume (`torch.FloatTensor` of shape `(B, T, P, h, w)`): Of all classes.
        config (`CatSegConfig`): Its `class_padding_length`, `truncate_classes` and `early_rejection` decide.
        training (`bool`): Whether the model is in training mode.

    Returns:
        `torch.LongTensor` of shape `(B, K)`, *optional*: Their ids, in order; `None` if all are kept.
    """
    num_kept, limit = cost_volume.shape[1], config.class_padding_length
    truncates = config.truncate_classes and 0 < limit < num_kept
    rejects = config.early_rejection is not None and not training
    if not truncates and not rejects:
        return None
    if truncates:
        num_kept = limit
    best = cost_volume.flatten(2).amax(dim=-1)
    if rejects:
        # One number for all views, that of the view with the most.
        is_near = best >= best.amax(dim=-1, keepdim=True) - config.early_rejection
        num_kept = min(num_kept, int(is_near.sum(dim=-1).max()))
    return best.topk(num_kept, dim=-1).indices.sort(dim=-1).values


def class_embeddings(text_embeds: torch.Tensor) -> torch.Tensor:
    """One embedding `(T, D)` of each class, from normalised ones `(T, P, D)` or `(T, P, S, D)`: that of their mean."""
    text_embeds = text_embeds.flatten(1, -2)
    return text_embeds[:, 0] if text_embeds.shape[1] == 1 else normalize(text_embeds.sum(dim=1))


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
        windows: Sequence[AttentionWindows],
        chunk_size: int,
        output_attentions: bool = False,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            hidden_states (`torch.FloatTensor` of shape `(B, T, h, w, C)`): Cost maps.
            appearance_guidance (`torch.FloatTensor` of shape `(B, h, w, G)`): Projected appearance guidance.
            text_guidance (`torch.FloatTensor` of shape `(B, T, X)` or `(1, T, X)`): Projected text guidance.
            windows (`Sequence[AttentionWindows]`): Those of each spatial block.
            chunk_size (`int`): Number of classes at a time; all of them if attentions are wanted.
            output_attentions (`bool`): Whether to return the weights of the spatial blocks.

        Returns:
            The cost maps, shaped as before, and the weights of shape `(B, T, 2, heads, h * w, h * w)` or `None`.
        """
        appearance_guidance = self.guidance_norm(appearance_guidance)
        guidance_terms = [
            block.prepare(appearance_guidance, its_windows)
            for block, its_windows in zip(self.spatial_blocks, windows, strict=True)
        ]
        attentions: list[torch.Tensor] = []

        def aggregate_space(maps: torch.Tensor, *guidance_terms: torch.Tensor) -> torch.Tensor:
            for block, guidance_term, its_windows in zip(self.spatial_blocks, guidance_terms, windows, strict=True):
                maps, weights = block(maps, guidance_term, its_windows, output_attentions)
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
        text_embeds = normalize(text_embeds)
        cost_volume = compute_cost_volume(normalize(image_embeds), text_embeds)  # B, T, P, h, w
        text_guidance = F.relu(self.text_guidance_projection(class_embeddings(text_embeds)))[None]  # 1, T, X
        kept_classes = find_kept_classes(cost_volume, self.config, training=self.training)
        if kept_classes is not None:
            images = torch.arange(cost_volume.shape[0], device=cost_volume.device)[:, None]
            cost_volume, text_guidance = cost_volume[images, kept_classes], text_guidance[0, kept_classes]
        appearance_guidance = F.relu(self.guidance_projection(guidance)).permute(0, 2, 3, 1)

        chunk_size = max(1, chunk_size // cost_volume.shape[0])
        if output_attentions:
            chunk_size = cost_volume.shape[1]
        hidden_states = self._embed(cost_volume, chunk_size)
        # The same in all layers.
        height, width = hidden_states.shape[2:4]
        positions = torch.arange(height * width, device=hidden_states.device).view(height, width)
        windows = [block.windows(positions) for block in self.layers[0].spatial_blocks]
        all_hidden_states, all_attentions = [], []
        for layer in (None, *self.layers):
            if layer is not None:
                hidden_states, attentions = layer(
                    hidden_states, appearance_guidance, text_guidance, windows, chunk_size, output_attentions
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

    def _embed(self, cost_volume: torch.Tensor, chunk_size: int) -> torch.Tensor:
        # B, T, P, h, w -> B, T, h, w, C
        def embed(chunk: torch.Tensor) -> torch.Tensor:
            maps = self.cost_embedding(chunk.flatten(0, 1).contiguous(memory_format=torch.channels_last))
            return maps.permute(0, 2, 3, 1).unflatten(0, chunk.shape[:2]).contiguous()

        return joined(map(embed, split(cost_volume, chunk_size, dim=1)), cost_volume.shape[1], dim=1)
