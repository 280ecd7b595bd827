# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CAT-Seg: open-vocabulary segmentation by cost aggregation (Cho et al., CVPR 2024, https://arxiv.org/abs/2303.11797).

The path of an image, and where to find it:

    CLIP's two towers             towers_catseg.py        patch embeddings, guidance maps, text embeddings
    cost volume and aggregator    aggregation_catseg.py   cosine similarities, refined over space and classes
      over space                  spatial_attention_catseg.py
      over classes                class_attention_catseg.py
    decoder                       decoder_catseg.py       two guided upsamplings to logits
    loss                          loss_catseg.py
    memory                        chunking_catseg.py      few classes, and few views, at a time

The original computes with tensors of size classes x everything. Most of that is the same for all classes, or for all
padding tokens, and is computed once here; the identity is written down where it is used. All of them are exact.
"""

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import AutoBackbone, CLIPModel, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import SemanticSegmenterOutput
from transformers.utils.generic import can_return_tuple

from .aggregation_catseg import TRUNCATED_CLASS_LOGIT, CatSegAggregator, CatSegModelOutput
from .chunking_catseg import aggregated_views, class_chunk_size, joined, run, split, views_at_a_time, with_less_memory
from .class_attention_catseg import CatSegClassBlock
from .configuration_catseg import CatSegConfig, vocabulary_digest
from .decoder_catseg import CatSegDecoder, CatSegGuidedUpsampling
from .loss_catseg import binary_cross_entropy_sum, check_labels, cross_entropy
from .remote_code_catseg import include_code_of
from .text_cleaning_catseg import clean_text
from .towers_catseg import build_clip, check_view_size, encode_appearance, encode_patches, encode_prompts
from .vocabulary_catseg import (
    CatSegVocabulary,
    check_names,
    check_own_vocabulary,
    check_text_embeds,
    placeholder_input_ids,
)


Model = TypeVar("Model", bound="CatSegPreTrainedModel")


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
    def from_pretrained(cls: type[Model], *args: Any, **kwargs: Any) -> Model:
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
        with self._with_code() if include_code else nullcontext():
            super().save_pretrained(*args, **kwargs)

    def push_to_hub(self, *args: Any, include_code: bool = False, **kwargs: Any) -> str:
        """As [`PreTrainedModel.push_to_hub`]; `include_code` as for [`save_pretrained`]."""
        with self._with_code() if include_code else nullcontext():
            return super().push_to_hub(*args, **kwargs)

    def _with_code(self) -> AbstractContextManager[None]:
        # Imported here, so that Transformers copies that file, and what it imports, with this one.
        from .pipeline_catseg import CatSegImageSegmentationPipeline

        return include_code_of(self, pipeline_class=CatSegImageSegmentationPipeline)

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


def restore_views(value: Any, views: torch.Size) -> Any:
    """Gives a tensor, or each of a tuple, the leading dimensions (B, V) back; with (B,) alone nothing is to be done."""
    if value is None or len(views) == 1:
        return value
    return (
        tuple(restore_views(each, views) for each in value) if isinstance(value, tuple) else value.unflatten(0, views)
    )


class CatSegModel(CatSegPreTrainedModel):
    """CLIP's two towers, the optional appearance backbone, and the aggregator: everything before the decoder.

    Args:
        config (`CatSegConfig`): Its sizes and variants.

    Example:

    ```python
    >>> from catseg_hf import TINY, CatSegModel

    >>> CatSegModel.from_pretrained(TINY).clip.config.model_type
    'clip'
    ```
    """

    # Loaded from a folder of the whole model, this part does without the rest and need not report it.
    _keys_to_ignore_on_load_unexpected = [r"^decoder\."]

    def __init__(self, config: CatSegConfig) -> None:
        super().__init__(config)
        self.clip = build_clip(config)
        if config.backbone_config is None:
            self.backbone = None
            # From coarse to fine, as everywhere: CLIP's final embeddings, then its earlier layers.
            self.guidance_channels = [config.clip_config.projection_dim, *config.guidance_layer_channels]
        else:
            self.backbone = AutoBackbone.from_config(config.backbone_config)
            self.guidance_channels = list(reversed(self.backbone.channels))
        self.aggregator = CatSegAggregator(config, guidance_channels=self.guidance_channels[0])
        self.vocabulary = CatSegVocabulary(config)
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
            class_chunk_size(self.config, *image_embeds.shape[1:3], image_embeds.device),
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

        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images.
            backbone_pixel_values (`torch.FloatTensor` of shape `(B, 3, H', W')`, *optional*): For the backbone.

        Returns:
            Embeddings of shape `(B, h, w, D)`, not normalised, and three guidance maps, from coarse to fine.
        """
        image_embeds, layer_maps = encode_patches(self.clip, pixel_values, self.config)
        if self.backbone is None:
            return image_embeds, [image_embeds.permute(0, 3, 1, 2), *layer_maps]
        appearance = backbone_pixel_values.to(image_embeds.dtype)
        return image_embeds, encode_appearance(self.backbone, appearance, tuple(image_embeds.shape[1:3]))

    def get_text_embeds(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """Text embeddings of prompts, with gradient where it is recorded.

        Nothing is kept: who segments many images with the same words computes them once, and gives them to `forward`.

        Args:
            input_ids (`torch.LongTensor` of shape `(T, L)`, `(T, P, L)` or `(T, P, S, L)`):
                Prompts of the classes, for each template and synonym; all-zero ones stand for absent synonyms. Best on
                the CPU, where they are read, wherever the model is.
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
        return encode_prompts(self.clip, input_ids, self.config)

    def train(self, mode: bool = True) -> "CatSegModel":
        """Sets the mode: that of training, or of evaluation where `mode` is `False`.

        With `config.freeze_batch_norm` the backbone's batch norms stay in evaluation mode.
        """
        super().train(mode)
        if self.backbone is not None and self.config.freeze_batch_norm:
            for module in self.backbone.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def resolve_text_embeds(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_embeds: torch.Tensor | None = None,
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
                check_own_vocabulary(self.config)
                input_ids = self.vocabulary.input_ids
            return self.get_text_embeds(input_ids, attention_mask)
        if input_ids is not None:
            raise ValueError("Both `input_ids` and `text_embeds` were given: leave one of them out.")
        check_text_embeds(text_embeds, self.config)
        return text_embeds.to(self.clip.text_projection.weight.device)

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
        synonyms = [[clean_text(name) for name in names] for names in synonyms]
        if input_ids.dim() == 2:
            input_ids = input_ids[:, None]
        names = check_names(synonyms, input_ids)
        with torch.no_grad():
            encode_prompts(self.clip, input_ids[:1], self.config)
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
        pixel_values: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        backbone_pixel_values: torch.FloatTensor | None = None,
        view_boxes: torch.LongTensor | None = None,
        resized_sizes: torch.LongTensor | None = None,
        image_embeds: tuple[torch.FloatTensor, ...] | None = None,
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
            image_embeds (`tuple[torch.FloatTensor, ...]`, *optional*):
                Result of [`~CatSegForSemanticSegmentation.get_image_embeds`], instead of `pixel_values`: for images
                that are segmented several times, with other classes.

        Returns:
            [`CatSegSemanticSegmenterOutput`]

        Raises:
            ValueError: If the inputs do not fit the model or each other.
        """
        encodes = image_embeds is None
        if encodes:
            self.model.check_inputs(pixel_values, backbone_pixel_values)
            inputs = [pixel_values] if backbone_pixel_values is None else [pixel_values, backbone_pixel_values]
            grid = [side // self.config.patch_size for side in pixel_values.shape[-2:]]
        else:
            self._check_image_embeds(image_embeds, [pixel_values, backbone_pixel_values, labels])
            inputs, grid = image_embeds, image_embeds[0].shape[-3:-1]
        text_embeds = self.model.resolve_text_embeds(input_ids, attention_mask, text_embeds)
        if labels is not None:
            check_labels(labels, pixel_values, text_embeds.shape[0], self.config.semantic_loss_ignore_index)
        requested = self.model.requested_outputs(output_hidden_states, output_attentions)
        views = inputs[0].shape[:-3]
        images = [each.flatten(0, -4) for each in inputs]
        needs_all = requested != (False, False)
        num_views, num_classes = images[0].shape[0], text_embeds.shape[0]
        if needs_all and num_views > 1 and self.config.early_rejection is not None and not self.training:
            raise ValueError(
                f"`output_hidden_states` and `output_attentions` are of all {num_views} views together, but with "
                f"`config.early_rejection={self.config.early_rejection}` views go through the model one by one: set it "
                "to None, or give one view."
            )
        group_size = views_at_a_time(images[0].device, needs_all=needs_all)

        def forward_groups(chunk_size: int, group_size: int = group_size) -> tuple[Any, ...]:
            groups = zip(*(split(each, group_size, dim=0) for each in images), strict=True)
            outputs = (
                output
                for group in groups
                for output in self._forward_views(group, encodes, text_embeds, chunk_size, *requested)
            )
            first, *others = next(outputs)  # of the others there is anything only where all views go together
            all_logits = itertools.chain([first], (logits for logits, *_ in outputs))
            return joined(all_logits, num_views, dim=0), *others

        sizes = {"class maps": (class_chunk_size(self.config, *grid, images[0].device), num_views * num_classes)}
        if not needs_all:
            sizes["views"] = (group_size, num_views)
        outputs = with_less_memory(forward_groups, sizes)
        logits, hidden_states, attentions = (restore_views(value, views) for value in outputs)
        return CatSegSemanticSegmenterOutput(
            loss=None if labels is None else self.semantic_segmentation_loss(logits, labels),
            logits=logits,
            hidden_states=hidden_states,
            attentions=attentions,
            view_boxes=view_boxes,
            resized_sizes=resized_sizes,
        )

    def _forward_views(
        self,
        images: Sequence[torch.Tensor],
        encodes: bool,
        text_embeds: torch.Tensor,
        chunk_size: int,
        output_hidden_states: bool | int | list[int],
        output_attentions: bool,
    ) -> Iterator[tuple[torch.Tensor, tuple[torch.Tensor, ...] | None, tuple[torch.Tensor, ...] | None]]:
        # B·V, h, w, D, and maps of the same grid or finer ones
        image_embeds, guidance = self.model.encode_images(*images) if encodes else (images[0], images[1:])
        requested = output_hidden_states, output_attentions
        group_size = aggregated_views(
            self.config, text_embeds.shape[0], chunk_size, training=self.training, needs_all=requested != (False, False)
        )
        for group in zip(*(split(each, group_size, dim=0) for each in (image_embeds, *guidance)), strict=True):
            yield self._aggregate_and_decode(group, text_embeds, chunk_size, *requested)

    def _aggregate_and_decode(
        self,
        encoded: Sequence[torch.Tensor],
        text_embeds: torch.Tensor,
        chunk_size: int,
        output_hidden_states: bool | int | list[int],
        output_attentions: bool,
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...] | None, tuple[torch.Tensor, ...] | None]:
        image_embeds, *guidance = encoded
        aggregated = self.model.aggregator(
            image_embeds, text_embeds, guidance[0], chunk_size, output_hidden_states, output_attentions
        )
        logits = self.decoder(aggregated.last_hidden_state, guidance[1:], chunk_size)
        if aggregated.kept_classes is not None:
            size = (logits.shape[0], text_embeds.shape[0], *logits.shape[-2:])
            index = aggregated.kept_classes[..., None, None].expand_as(logits)
            logits = logits.new_full(size, TRUNCATED_CLASS_LOGIT).scatter(1, index, logits)
        return logits, aggregated.hidden_states, aggregated.attentions

    def get_image_embeds(
        self, pixel_values: torch.FloatTensor, backbone_pixel_values: torch.FloatTensor | None = None
    ) -> tuple[torch.FloatTensor, ...]:
        """What the model sees of images before it knows the classes: most of its work where there are few of them.

        Args:
            pixel_values, backbone_pixel_values: As for [`CatSegModel.forward`].

        Returns:
            `tuple[torch.FloatTensor, ...]`: For `image_embeds` of [`~CatSegForSemanticSegmentation.forward`]: dense
            embeddings of shape `(B, h, w, D)` or `(B, V, h, w, D)`, and three guidance maps, from coarse to fine, whose
            first dimensions are the same. Images of one size can be joined, or taken apart, along the first.

        Raises:
            ValueError: If the inputs do not fit the model or each other.
        """
        self.model.check_inputs(pixel_values, backbone_pixel_values)
        inputs = [pixel_values] if backbone_pixel_values is None else [pixel_values, backbone_pixel_values]
        image_embeds, guidance = self.model.encode_images(*(each.flatten(0, -4) for each in inputs))
        return restore_views((image_embeds, *guidance), pixel_values.shape[:-3])

    def _check_image_embeds(self, image_embeds: Sequence[torch.Tensor], others: Sequence[torch.Tensor | None]) -> None:
        if any(each is not None for each in others):
            raise ValueError(
                "`image_embeds` take the place of `pixel_values` and `backbone_pixel_values`, and have no `labels`: "
                "leave those out."
            )
        shapes = [tuple(each.shape) for each in image_embeds]
        if (
            len(shapes) != 1 + len(self.model.guidance_channels)
            or len(shapes[0]) not in (4, 5)
            or shapes[0][-1] != self.config.clip_config.projection_dim
            or any(len(shape) != len(shapes[0]) or shape[:-3] != shapes[0][:-3] for shape in shapes)
        ):
            raise ValueError(
                f"`image_embeds` must be what `get_image_embeds` of this model returns, got tensors of shape {shapes}."
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
            `torch.FloatTensor` of shape `()`; NaN, with gradients of zero, if an id is neither that of a class nor the
            ignored one.
        """
        labels = labels.long()
        num_classes = logits.shape[1]
        is_used = labels != self.config.semantic_loss_ignore_index
        is_class = (labels >= 0) & (labels < num_classes)
        loss = self._loss_of_classes(logits, labels, is_used & is_class)
        # Not an error, for which a GPU would have to be asked in each step.
        return torch.where((is_used & ~is_class).any(), torch.nan, loss)

    def _loss_of_classes(self, logits: torch.Tensor, labels: torch.Tensor, is_used: torch.Tensor) -> torch.Tensor:
        num_classes = logits.shape[1]
        if self.config.semantic_loss == "cross_entropy":
            return cross_entropy(logits, labels, is_used)
        chunk_size = num_classes
        if self.gradient_checkpointing:
            chunk_size = class_chunk_size(self.config, *logits.shape[-2:], logits.device)
        total = sum(
            run(self, binary_cross_entropy_sum, chunk, labels, is_used, first, self.config)
            for chunk, first in zip(split(logits, chunk_size, dim=1), range(0, num_classes, chunk_size), strict=True)
        )
        num_pixels = is_used.sum().clamp(min=1) if self.config.mask_ignored_pixels else labels.numel()
        return total / (num_pixels * num_classes)

    def get_text_embeds(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """See [`CatSegModel.get_text_embeds`]."""
        return self.model.get_text_embeds(input_ids, attention_mask)

    def resolve_text_embeds(
        self, input_ids: torch.Tensor | None = None, text_embeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`CatSegModel.resolve_text_embeds`]."""
        return self.model.resolve_text_embeds(input_ids, text_embeds=text_embeds)

    def set_vocabulary(self, labels: Sequence[str | Sequence[str]], input_ids: torch.Tensor) -> None:
        """See [`CatSegModel.set_vocabulary`]."""
        self.model.set_vocabulary(labels, input_ids)

    def _upload_modified_files(self, working_dir: str | os.PathLike, repo_id: str, *args: Any, **kwargs: Any) -> Any:
        # `push_to_hub` and `save_pretrained(push_to_hub=True)` come by here, with Transformers' card in the folder.
        try:
            from catseg_hf.cards import settle_pushed_card
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
