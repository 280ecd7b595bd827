# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CLIP's two towers as CAT-Seg uses them: an embedding for every patch, guidance maps, and batches of prompts."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPModel, CLIPVisionConfig
from transformers.models.clip.modeling_clip import CLIPVisionEmbeddings

from .configuration_catseg import CatSegConfig
from .layers_catseg import CatSegQuickGELU, normalize
from .vocabulary_catseg import end_token_id


TEXT_BATCH_SIZE = 256  # prompts that the text tower reads at a time


def build_clip(config: CatSegConfig) -> CLIPModel:
    """Transformers' CLIP with random weights, its parameters named as always.

    Args:
        config (`CatSegConfig`): With `clip_config` and `stem_channels`.

    Returns:
        `CLIPModel`: With [`CatSegVisionEmbeddings`], and with a faster form of the same activation.
    """
    clip = CLIPModel._from_config(config.clip_config)
    clip.vision_model.embeddings = CatSegVisionEmbeddings(config.clip_config.vision_config, config.stem_channels)
    for tower in (clip.vision_model, clip.text_model):
        if tower.config.hidden_act == "quick_gelu":
            for layer in tower.encoder.layers:
                layer.mlp.activation_fn = CatSegQuickGELU()
    return clip


# ---- images ---------------------------------------------------------------------------------------------------------


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


def check_view_size(pixel_values: torch.Tensor, patch_size: int) -> None:
    """Refuses images whose height or width is not a multiple of the patch size."""
    height, width = pixel_values.shape[-2:]
    if height % patch_size or width % patch_size or not height or not width:
        fits = [max(1, round(side / patch_size)) * patch_size for side in (height, width)]
        raise ValueError(
            f"`pixel_values` of height {height} and width {width} cannot be cut into patches of {patch_size} x "
            f"{patch_size} pixels: resize them to {fits[0]} x {fits[1]}, or let `CatSegImageProcessor` do it."
        )


def encode_patches(
    clip: CLIPModel, pixel_values: torch.Tensor, config: CatSegConfig
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Dense CLIP embeddings (paper, section 3.1).

    All CLIP layers but the last run as they are. The last one has no attention: each patch keeps its own value,
    `out(value(x))`, and adds it to `config.dense_residual`; everything behind it is applied to every patch.

    Args:
        clip (`CLIPModel`): What [`build_clip`] made.
        pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images.
        config (`CatSegConfig`): With `dense_residual` and `guidance_layers`.

    Returns:
        Embeddings of shape `(B, h, w, D)`, not normalised, and the maps of `config.guidance_layers`, of shape
        `(B, E, h, w)` each.
    """
    vision = clip.vision_model
    height, width = (side // config.patch_size for side in pixel_values.shape[-2:])
    hidden_states = vision.embeddings(pixel_values, interpolate_pos_encoding=True)
    hidden_states = vision.pre_layrnorm(hidden_states)  # B, 1 + h * w, E
    *layers, last = vision.encoder.layers
    kept = {}
    for index, layer in enumerate(layers):
        hidden_states = layer(hidden_states, None)
        if index in (config.guidance_layers or ()):
            kept[index] = hidden_states[:, 1:].transpose(1, 2).unflatten(-1, (height, width))
    patches = hidden_states[:, 1:]
    residual = hidden_states[:, :1] if config.dense_residual == "class_token" else patches
    hidden_states = residual + last.self_attn.out_proj(last.self_attn.v_proj(last.layer_norm1(patches)))
    hidden_states = hidden_states + last.mlp(last.layer_norm2(hidden_states))
    image_embeds = clip.visual_projection(vision.post_layernorm(hidden_states)).unflatten(1, (height, width))
    return image_embeds, [kept[index] for index in config.guidance_layers or ()]


def encode_appearance(backbone: nn.Module, pixel_values: torch.Tensor, size: tuple[int, int]) -> list[torch.Tensor]:
    """Guidance maps of an appearance backbone (v1, MMSegmentation).

    Args:
        backbone (`nn.Module`): A backbone of Transformers with three maps.
        pixel_values (`torch.FloatTensor` of shape `(B, 3, H', W')`): What it sees.
        size (`tuple[int, int]`): Height and width of CLIP's patch grid.

    Returns:
        `list[torch.FloatTensor]`: From coarse to fine, 1, 2 and 4 times as large as the patch grid.

    Raises:
        ValueError: If they are of other sizes.
    """
    guidance = list(reversed(backbone(pixel_values).feature_maps))
    height, width = size
    sizes = [tuple(maps.shape[-2:]) for maps in guidance]
    if sizes != [(factor * height, factor * width) for factor in (1, 2, 4)]:
        raise ValueError(
            f"The backbone's maps of {sizes} positions do not fit CLIP's {height} x {width} patches, which need 1, 2 "
            f"and 4 times that: `backbone_pixel_values` must be {16 * height} x {16 * width} pixels, got "
            f"{tuple(pixel_values.shape[-2:])}."
        )
    return guidance


# ---- text -----------------------------------------------------------------------------------------------------------


@torch.compiler.disable  # It reads the prompts, which no graph can, and would be compiled anew for each length of them.
def encode_prompts(clip: CLIPModel, input_ids: torch.Tensor, config: CatSegConfig) -> torch.Tensor:
    """Text embeddings of all classes.

    Args:
        clip (`CLIPModel`): What [`build_clip`] made.
        input_ids, config: As for [`embed_prompts`].

    Returns:
        `torch.FloatTensor`: As [`embed_prompts`] returns them.

    Raises:
        ValueError: As [`embed_prompts`].
    """
    device = clip.text_projection.weight.device

    def embed(prompts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        # On "meta" Accelerate brings weights when they are needed, and inputs to where they are then.
        prompts = prompts if device.type == "meta" else prompts.to(device, non_blocking=True)
        hidden_states = clip.text_model(input_ids=prompts).last_hidden_state
        last = ends.to(hidden_states.device, non_blocking=True)
        pooled = hidden_states[torch.arange(len(last), device=last.device), last]
        return normalize(clip.text_projection(pooled))

    return embed_prompts(embed, input_ids, config)


def embed_prompts(
    embed: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], input_ids: torch.Tensor, config: CatSegConfig
) -> torch.Tensor:
    """Text embeddings of all classes, by any text tower.

    What CLIP makes of a prompt does not depend on anything behind its end token, so the text tower runs on the longest
    prompt's length, and once for equal prompts.

    Args:
        embed (`Callable[[torch.LongTensor, torch.LongTensor], torch.FloatTensor]`):
            Embeds prompts `(N, L)`, given them and where each ends `(N,)`: normalised, of shape `(N, D)`.
        input_ids (`torch.LongTensor` of shape `(T, P, L)` or `(T, P, S, L)`):
            Prompts of the classes, for each template and synonym; all-zero ones stand for absent synonyms.
        config (`CatSegConfig`): With `synonyms`.

    Returns:
        `torch.FloatTensor` of shape `(T, P, D)`: Normalised embeddings, synonyms merged by `config.synonyms`; with
        `"max"` and several synonyms of shape `(T, P, S, D)`, absent ones zero.

    Raises:
        ValueError: If a prompt has no end token or one that CLIP does not know, or a class has no prompt.
    """
    input_ids = input_ids.cpu()  # What depends on values is decided here, where nothing has to wait for it.
    if input_ids.dim() == 4 and config.synonyms == "first":
        input_ids = input_ids[:, :, 0]
    shape = input_ids.shape[:-1]
    unique, where = torch.unique(input_ids.flatten(0, -2).long(), dim=0, return_inverse=True)
    check_tokens(unique, config.clip_config.text_config.vocab_size)
    present = (unique != 0).any(dim=-1)
    ends = end_positions(unique, present, end_token_id(config))
    # Prompts of about equal length together, so that each batch is as short as it can be.
    order = ends.argsort(stable=True)
    embeds = []
    for rows in order.split(TEXT_BATCH_SIZE if not torch.is_grad_enabled() else len(order)):
        length = int(ends[rows].max()) + 1
        embeds.append(embed(unique[rows, :length], ends[rows]))
    embeds = torch.cat(embeds)
    embeds = embeds[order.argsort()[where].to(embeds.device, non_blocking=True)].unflatten(0, shape)
    present = present[where].unflatten(0, shape)
    embeds = torch.where(present.to(embeds.device, non_blocking=True)[..., None], embeds, 0.0)
    return merge_synonyms(embeds, present, config.synonyms)


def check_tokens(prompts: torch.Tensor, vocab_size: int) -> None:
    """Refuses tokens that CLIP does not know.

    Args:
        prompts (`torch.LongTensor` of shape `(N, L)`): Token ids.
        vocab_size (`int`): How many tokens it knows.

    Raises:
        ValueError: If there is another.
    """
    is_unknown = (prompts < 0) | (prompts >= vocab_size)
    if bool(is_unknown.any()):
        row = int(is_unknown.any(dim=-1).nonzero()[0])
        raise ValueError(
            f"The prompt {prompts[row].tolist()} in `input_ids` has tokens that are not from 0 to {vocab_size - 1}: it "
            "was made by the tokenizer of another model. Use the processor that was saved with this one."
        )


def end_positions(prompts: torch.Tensor, present: torch.Tensor, end_token: int) -> torch.Tensor:
    """Where each prompt ends.

    Args:
        prompts (`torch.LongTensor` of shape `(N, L)`): Token ids.
        present (`torch.BoolTensor` of shape `(N,)`): Which of them are prompts, and not all zeros.
        end_token (`int`): The token that ends a prompt.

    Returns:
        `torch.LongTensor` of shape `(N,)`: The first end token; what follows is padding.

    Raises:
        ValueError: If a prompt has none.
    """
    is_end = prompts == end_token
    lacks_end = present & ~is_end.any(dim=-1)
    if bool(lacks_end.any()):
        row = int(lacks_end.nonzero()[0])
        raise ValueError(
            f"The prompt {prompts[row].tolist()} in `input_ids` has no end token ({end_token}): it was cut, or made by "
            "the tokenizer of another model. Use the processor that was saved with this one."
        )
    return is_end.int().argmax(dim=-1)


def merge_synonyms(embeds: torch.Tensor, present: torch.Tensor, how: str) -> torch.Tensor:
    """One embedding for each class and template, where synonyms are averaged.

    Args:
        embeds (`torch.FloatTensor` of shape `(T, P, D)` or `(T, P, S, D)`): Normalised; absent synonyms are zero.
        present (`torch.BoolTensor` of shape `(T, P)` or `(T, P, S)`): Which prompts there are.
        how (`str`): `config.synonyms`.

    Returns:
        `torch.FloatTensor` of shape `(T, P, D)`, or with `"max"` as `embeds`.

    Raises:
        ValueError: If a class has no prompt.
    """
    has_prompt = present.flatten(2).any(dim=-1) if present.dim() == 3 else present
    if not bool(has_prompt.all()):
        row = int((~has_prompt).nonzero()[0, 0])
        raise ValueError(f"Class {row} in `input_ids` has only zeros and so no prompt at all: give it a name.")
    if embeds.dim() == 3 or how == "max":
        return embeds
    # The mean's direction: absent synonyms are zero and so change only its length.
    return normalize(embeds.sum(dim=2))
