# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Configuration of CAT-Seg models (https://arxiv.org/abs/2303.11797).

One class expresses every released model: each difference between the three original code bases (the official code of
CVPR 2024, its first version "v1", the port in MMSegmentation) is one field below.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, CLIPConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec


CVPR_PROMPT_TEMPLATE = "A photo of a {} in the scene"


def vocabulary_digest(class_names: Sequence[str], prompt_templates: Sequence[str]) -> str:
    """Fingerprint of an ordered vocabulary and its templates, which ties stored token ids to the names they stand for.

    Args:
        class_names (`Sequence[str]`): Names of the classes, in class-id order.
        prompt_templates (`Sequence[str]`): Sentences with one `{}` each.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    content = json.dumps([list(class_names), list(prompt_templates)], ensure_ascii=False)
    return hashlib.sha256(content.encode("utf-8")).hexdigest()


@strict
class CatSegConfig(PreTrainedConfig):
    r"""Configuration of [`CatSegModel`] and [`CatSegForSemanticSegmentation`].

    The defaults are the ViT-B/16 model of CVPR 2024. [`CatSegConfig.vit_base`] and [`CatSegConfig.vit_large`] build the
    two released models of that version.

    Args:
        clip_config (`CLIPConfig` or `dict`, *optional*):
            Configuration of the CLIP model inside. Defaults to OpenAI's ViT-B/16.
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Configuration of an appearance backbone (`ResNetConfig` or `SwinConfig`, three output features from fine to
            coarse), which then gives the guidance instead of CLIP's own layers (v1 and MMSegmentation).
        image_size (`int`, *optional*, defaults to 384):
            Side in pixels of the views that CLIP sees: 384 for ViT-B/16, 336 for all other released models.
        stem_channels (`list[int]`, *optional*):
            Channels, multiples of 8, of 3 x 3 convolutions before CLIP's patch embedding, for small models that are
            trained from nothing: the first ones halve the map until one position is left of a patch, the others keep
            its size. No released model has any.
        dense_residual (`"class_token"` or `"patch"`, *optional*, defaults to `"class_token"`):
            What the last CLIP layer adds its values to: the class token's input, for all patches (CVPR 2024), or each
            patch's own input (v1 and MMSegmentation).
        guidance_layers (`list[int]`, *optional*, defaults to `[3, 7]`):
            The two CLIP vision layers, counted from 0, whose outputs guide the decoder: the first its first upsampling,
            the second its second. The last layer has no ordinary output and cannot be named. `None` with a backbone.
        guidance_layer_channels (`list[int]`, *optional*, defaults to `[256, 128]`):
            Channels of these two outputs after their transposed convolutions. `None` with a backbone.
        prompt_templates (`list[str]`, *optional*, defaults to `["A photo of a {} in the scene"]`):
            Sentences with one `{}` each. Their number is the number of channels of the cost volume.
        synonyms (`"first"`, `"mean"` or `"max"`, *optional*, defaults to `"first"`):
            What makes one class of several names: the first name alone (CVPR 2024); the mean of their normalised
            embeddings, template by template (v1, MMSegmentation); the highest similarity at each place.
        hidden_size (`int`, *optional*, defaults to 128):
            Channels of the aggregated cost volume.
        num_hidden_layers (`int`, *optional*, defaults to 2):
            Number of aggregator layers, each with two spatial blocks and a class block.
        num_attention_heads (`int`, *optional*, defaults to 4):
            Heads of the aggregator's spatial and class attention.
        window_size (`int`, *optional*, defaults to 12):
            Side, in patches, of the windows of spatial attention.
        mlp_ratio (`int`, *optional*, defaults to 4):
            Inner width of the aggregator's MLPs over `hidden_size`.
        appearance_guidance_size (`int`, *optional*, defaults to 128):
            Channels of the projected appearance guidance of the aggregator.
        text_guidance_size (`int`, *optional*, defaults to 128):
            Channels of the projected text guidance of the aggregator.
        class_attention (`"linear"` or `"softmax"`, *optional*, defaults to `"linear"`):
            Kind of the attention between classes. All released models use `"linear"`.
        class_padding_length (`int`, *optional*, defaults to 256):
            Number of classes that class attention always sees (CVPR 2024): fewer are filled up with a learned padding
            token. 0 for none (v1, MMSegmentation).
        truncate_classes (`bool`, *optional*, defaults to `True`):
            Whether, of more than `class_padding_length` classes, only that many with the highest similarity to the
            view are kept, the others getting the logit -100, as the original does. `False` keeps them all.
        class_mlp_inner_residual (`bool`, *optional*, defaults to `False`):
            Whether the class MLP adds its own normalised input to its output (MMSegmentation).
        train_pooling_size (`list[int]`, *optional*, defaults to `[2, 2]`):
            Average pooling (height, width) before class attention, in training mode.
        inference_pooling_size (`list[int]`, *optional*, defaults to `[1, 1]`):
            The same in evaluation mode.
        decoder_hidden_sizes (`list[int]`, *optional*, defaults to `[64, 32]`):
            Channels after the first and the second upsampling; multiples of 16.
        decoder_guidance_sizes (`list[int]`, *optional*, defaults to `[32, 16]`):
            Channels of the projected guidance of the two upsamplings.
        decoder_dropout (`float`, *optional*, defaults to 0.0):
            Probability of dropping a whole channel before the last convolution, in training (MMSegmentation: 0.1).
        semantic_loss (`"bce"` or `"cross_entropy"`, *optional*, defaults to `"bce"`):
            Binary cross-entropy per class (CVPR 2024, v1) or cross-entropy over classes (MMSegmentation).
        mask_ignored_pixels (`bool`, *optional*, defaults to `False`):
            Whether `"bce"` leaves ignored pixels out. The original does not: there they count as pixels without any
            class. `"cross_entropy"` always leaves them out.
        semantic_loss_ignore_index (`int`, *optional*, defaults to 255):
            Label of ignored pixels.
        clip_training (`"attention"`, `"vision_attention"`, `"full"`, `"none"`, *optional*, defaults to `"attention"`):
            Which CLIP weights are trained: the query and value weights of both towers (CVPR 2024); the vision tower's
            attention and position embeddings (v1, MMSegmentation); all; none. Weights that cannot get a gradient (the
            last vision layer's query and key, the logit scale) are never trained.
        backbone_training (`bool`, *optional*, defaults to `True`):
            Whether the appearance backbone is trained.
        freeze_batch_norm (`bool`, *optional*, defaults to `False`):
            Whether the backbone's batch norms keep their statistics and weights in training (v1).
        initializer_range (`float`, *optional*, defaults to 0.02):
            Standard deviation of freshly initialised weights.
        class_chunk_size (`int`, *optional*):
            How many class maps the aggregator and the decoder work on at a time. Chosen by the model if `None`. It
            changes time and memory, never the result.
        early_rejection (`float`, *optional*):
            Not exact, and not of the original: where it is set, classes whose highest similarity anywhere in a view is
            more than this below that of the best class are left out before the aggregation, as SED does inside its
            decoder, and get the logit -100. It saves time where a large vocabulary meets an image of few classes.
            Similarities are cosines, from -1 to 1. Not in training.
        vocabulary_shape (`list[int]`, *optional*):
            Shape of the token ids of the model's own vocabulary: classes, templates, synonyms if there are any, and
            tokens of the longest prompt. Written by `set_vocabulary`.
        vocabulary_synonym_counts (`list[int]`, *optional*):
            Number of names of each class of that vocabulary. Written by `set_vocabulary`.
        vocabulary_digest (`str`, *optional*):
            [`vocabulary_digest`] of the names and templates that the token ids stand for. Written by `set_vocabulary`.

    Raises:
        ValueError: If the fields contradict each other; the message says which and what to do.

    Example:

    ```python
    >>> from catseg_hf import CatSegConfig, CatSegForSemanticSegmentation

    >>> config = CatSegConfig.vit_base()
    >>> model = CatSegForSemanticSegmentation(config)  # random weights
    ```
    """

    model_type = "catseg"
    sub_configs_defaults = {
        "clip_config": SubConfigSpec(
            config_class=CLIPConfig, init_kwargs={"vision_config": {"patch_size": 16}, "projection_dim": 512}
        ),
        "backbone_config": SubConfigSpec(config_class=AutoConfig, model_type="resnet", optional=True),
    }

    clip_config: dict | PreTrainedConfig | None = None
    backbone_config: dict | PreTrainedConfig | None = None
    image_size: int = 384
    stem_channels: list[int] | tuple[int, ...] | None = None
    dense_residual: Literal["class_token", "patch"] = "class_token"
    guidance_layers: list[int] | tuple[int, ...] | None = (3, 7)
    guidance_layer_channels: list[int] | tuple[int, ...] | None = (256, 128)
    prompt_templates: list[str] | tuple[str, ...] = (CVPR_PROMPT_TEMPLATE,)
    synonyms: Literal["first", "mean", "max"] = "first"
    hidden_size: int = 128
    num_hidden_layers: int = 2
    num_attention_heads: int = 4
    window_size: int = 12
    mlp_ratio: int = 4
    appearance_guidance_size: int = 128
    text_guidance_size: int = 128
    class_attention: Literal["linear", "softmax"] = "linear"
    class_padding_length: int = 256
    truncate_classes: bool = True
    class_mlp_inner_residual: bool = False
    train_pooling_size: list[int] | tuple[int, ...] = (2, 2)
    inference_pooling_size: list[int] | tuple[int, ...] = (1, 1)
    decoder_hidden_sizes: list[int] | tuple[int, ...] = (64, 32)
    decoder_guidance_sizes: list[int] | tuple[int, ...] = (32, 16)
    decoder_dropout: float | int = 0.0
    semantic_loss: Literal["bce", "cross_entropy"] = "bce"
    mask_ignored_pixels: bool = False
    semantic_loss_ignore_index: int = 255
    clip_training: Literal["attention", "vision_attention", "full", "none"] = "attention"
    backbone_training: bool = True
    freeze_batch_norm: bool = False
    initializer_range: float | int = 0.02
    class_chunk_size: int | None = None
    early_rejection: float | int | None = None
    vocabulary_shape: list[int] | tuple[int, ...] | None = None
    vocabulary_synonym_counts: list[int] | tuple[int, ...] | None = None
    vocabulary_digest: str | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        if self._auto_class is None:
            # This class is not remote code: a repository's own copy of the code is not needed, nor trust in it.
            for name in ("auto_map", "custom_pipelines"):
                kwargs.pop(name, None)
        super().__post_init__(**kwargs)
        if self.backbone_config is not None:
            # The defaults name CLIP layers; with a backbone these fields have no meaning.
            if self.guidance_layers is not None and tuple(self.guidance_layers) == (3, 7):
                self.guidance_layers = None
            if self.guidance_layer_channels is not None and tuple(self.guidance_layer_channels) == (256, 128):
                self.guidance_layer_channels = None
        if self.label2id is None and self.id2label is not None:
            self.label2id = {name: index for index, name in self.id2label.items()}

    @property
    def patch_size(self) -> int:
        """Side in pixels of a patch of CLIP's vision tower."""
        return self.clip_config.vision_config.patch_size

    @classmethod
    def vit_base(cls, **kwargs: Any) -> "CatSegConfig":
        """The released CVPR 2024 model on CLIP ViT-B/16; `kwargs` replace single fields."""
        return cls(**kwargs)

    @classmethod
    def vit_large(cls, **kwargs: Any) -> "CatSegConfig":
        """The released CVPR 2024 model on CLIP ViT-L/14 at 336 pixels; `kwargs` replace single fields."""
        clip_config = CLIPConfig(
            text_config={
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_attention_heads": 12,
                "projection_dim": 768,
            },
            vision_config={
                "hidden_size": 1024,
                "intermediate_size": 4096,
                "num_hidden_layers": 24,
                "num_attention_heads": 16,
                "image_size": 336,
                "patch_size": 14,
                "projection_dim": 768,
            },
            projection_dim=768,
        )
        return cls(**{"clip_config": clip_config, "image_size": 336, "guidance_layers": [7, 15], **kwargs})

    def validate_architecture(self) -> None:
        """Refuses impossible combinations of fields, with the reason (called by the strict dataclass)."""
        super().validate_architecture()
        self._validate_patches()
        self._validate_clip()
        self._validate_guidance()
        self._validate_aggregator()
        self._validate_decoder()
        self._validate_vocabulary()
        if not self.prompt_templates:
            raise ValueError('`prompt_templates` is empty: give at least one sentence, such as "a photo of a {}.".')
        for template in self.prompt_templates:
            if template.count("{}") != 1:
                raise ValueError(f"The prompt template {template!r} must contain {{}} exactly once.")

    def _validate_patches(self) -> None:
        vision = self.clip_config.vision_config
        patch_size = vision.patch_size
        if not isinstance(patch_size, int) or not isinstance(vision.image_size, int):
            raise ValueError(
                f"CAT-Seg needs a CLIP with square images and patches, got `image_size={vision.image_size}` and "
                f"`patch_size={patch_size}` in `clip_config.vision_config`: give one integer for each."
            )
        if min(self.image_size, vision.image_size, patch_size) < 1:
            raise ValueError(
                f"`image_size={self.image_size}`, and in `clip_config.vision_config` `image_size={vision.image_size}` "
                f"and `patch_size={patch_size}`, must be positive."
            )
        if self.image_size % patch_size:
            raise ValueError(
                f"`image_size={self.image_size}` is not a multiple of CLIP's patch size {patch_size}: use "
                f"{self.image_size // patch_size * patch_size} or {(self.image_size // patch_size + 1) * patch_size}."
            )
        channels = self.stem_channels
        if channels is None:
            return
        if patch_size & (patch_size - 1) or 2 ** len(channels) < patch_size:
            raise ValueError(
                f"`stem_channels={list(channels)}` cannot shrink patches of {patch_size} x {patch_size} pixels to "
                "one position: the patch size must be a power of two, with a convolution for each halving."
            )
        if any(size < 8 or size % 8 for size in channels):
            raise ValueError(
                f"`stem_channels={list(channels)}` must be multiples of 8: its group norms have 8 channels a group."
            )

    def _validate_clip(self) -> None:
        sizes = ("hidden_size", "intermediate_size", "num_attention_heads", "num_hidden_layers", "projection_dim")
        towers = {
            "text_config": (*sizes, "max_position_embeddings", "vocab_size"),
            "vision_config": (*sizes, "num_channels"),
        }
        places = {"clip_config": (self.clip_config, ("projection_dim",))}
        places |= {f"clip_config.{tower}": (getattr(self.clip_config, tower), names) for tower, names in towers.items()}
        for place, (config, names) in places.items():
            for name in names:
                value = getattr(config, name)
                if not isinstance(value, int) or value < 1:
                    raise ValueError(f"`{name}` in `{place}` must be a positive integer, got {value!r}.")
        for tower in towers:
            config = getattr(self.clip_config, tower)
            if not isinstance(config.layer_norm_eps, float) or config.layer_norm_eps <= 0:
                raise ValueError(
                    f"`layer_norm_eps` in `clip_config.{tower}` must be a positive number, got "
                    f"{config.layer_norm_eps!r}."
                )
            if not isinstance(config.output_hidden_states, bool):
                raise ValueError(
                    f"`output_hidden_states` in `clip_config.{tower}` must be true or false, got "
                    f"{config.output_hidden_states!r}."
                )
        end = self.clip_config.text_config.eos_token_id
        if not isinstance(end, int) or end < 0:
            raise ValueError(f"`eos_token_id` in `clip_config.text_config` must be a token's id, got {end!r}.")

    def _validate_vocabulary(self) -> None:
        for name in ("vocabulary_shape", "vocabulary_synonym_counts"):
            value = getattr(self, name)
            if value is not None and (not value or min(value) < 1):
                raise ValueError(f"`{name}` must be positive integers, got {list(value)}.")
        if self.vocabulary_shape is not None and len(self.vocabulary_shape) not in (3, 4):
            raise ValueError(f"`vocabulary_shape` must be three or four integers, got {list(self.vocabulary_shape)}.")

    def _validate_aggregator(self) -> None:
        for name in ("hidden_size", "num_hidden_layers", "num_attention_heads", "window_size", "mlp_ratio"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("appearance_guidance_size", "text_guidance_size"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be 0 or more, got {getattr(self, name)}.")
        for name in ("train_pooling_size", "inference_pooling_size"):
            self._validate_pair(name)
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"`hidden_size={self.hidden_size}` must be a multiple of `num_attention_heads="
                f"{self.num_attention_heads}`."
            )
        if self.class_padding_length < 0:
            raise ValueError(f"`class_padding_length` must be 0 or more, got {self.class_padding_length}.")
        if self.early_rejection is not None and self.early_rejection < 0:
            raise ValueError(f"`early_rejection` must be at least 0, or None, got {self.early_rejection}.")
        if self.class_chunk_size is not None and self.class_chunk_size < 1:
            raise ValueError(f"`class_chunk_size` must be at least 1, or None, got {self.class_chunk_size}.")

    def _validate_decoder(self) -> None:
        for name in ("decoder_hidden_sizes", "decoder_guidance_sizes"):
            self._validate_pair(name)
        if any(size % 16 for size in self.decoder_hidden_sizes):
            raise ValueError(
                f"`decoder_hidden_sizes={list(self.decoder_hidden_sizes)}` must be multiples of 16: the group "
                "norms of the decoder have 16 channels a group."
            )
        joined = (self.hidden_size, self.decoder_hidden_sizes[0])
        if any(guidance >= size for size, guidance in zip(joined, self.decoder_guidance_sizes, strict=True)):
            raise ValueError(
                f"`decoder_guidance_sizes={list(self.decoder_guidance_sizes)}` must be smaller than the channels "
                f"they are joined with, `hidden_size={self.hidden_size}` and the first of `decoder_hidden_sizes="
                f"{list(self.decoder_hidden_sizes)}`."
            )
        if not 0.0 <= self.decoder_dropout < 1.0:
            raise ValueError(f"`decoder_dropout` must be in [0, 1), got {self.decoder_dropout}.")

    def _validate_pair(self, name: str) -> None:
        value = getattr(self, name)
        if len(value) != 2 or min(value) < 1:
            raise ValueError(f"`{name}` must be two positive integers, got {value}.")

    def _validate_guidance(self) -> None:
        if self.backbone_config is not None:
            if self.guidance_layers is not None or self.guidance_layer_channels is not None:
                raise ValueError(
                    f"`guidance_layers={self.guidance_layers}` and `guidance_layer_channels="
                    f"{self.guidance_layer_channels}` name CLIP layers, but a `backbone_config` is given, which "
                    "replaces them: leave both out, or leave out `backbone_config`."
                )
            features = getattr(self.backbone_config, "out_features", None)
            if features is None or len(features) != 3:
                raise ValueError(
                    f"`backbone_config` must have three `out_features`, from fine to coarse (strides 4, 8 and 16), got "
                    f"{features}: for example `out_features=['stage1', 'stage2', 'stage3']`."
                )
            return
        num_layers = self.clip_config.vision_config.num_hidden_layers
        if self.guidance_layers is None or self.guidance_layer_channels is None:
            raise ValueError(
                "Without a `backbone_config`, `guidance_layers` and `guidance_layer_channels` are needed: two CLIP "
                "vision layers and their channels, such as [3, 7] and [256, 128]."
            )
        if len(self.guidance_layers) != 2 or len(self.guidance_layer_channels) != 2:
            raise ValueError(
                f"`guidance_layers={list(self.guidance_layers)}` and `guidance_layer_channels="
                f"{list(self.guidance_layer_channels)}` must have two entries each, one for each upsampling."
            )
        self._validate_pair("guidance_layer_channels")
        if not all(0 <= layer < num_layers - 1 for layer in self.guidance_layers):
            raise ValueError(
                f"`guidance_layers={list(self.guidance_layers)}` must be between 0 and {num_layers - 2}: this CLIP has "
                f"{num_layers} vision layers, and the last one has no ordinary output."
            )


__all__ = ["CatSegConfig", "vocabulary_digest"]
