# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Models to train: from a trained one or from CLIP, with their classes, with frozen text, with LoRA."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoBackbone, AutoConfig

from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.conversion import clip_tokenizer
from catseg_hf.conversion.processors import image_processor_options
from catseg_hf.image_processing_catseg import CatSegImageProcessor
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import IMAGENET_TEMPLATES, Label


# What the models of v1 and MMSegmentation differ in from those of CVPR 2024, which are the defaults.
V1_FIELDS = {
    "dense_residual": "patch",
    "guidance_layers": None,
    "guidance_layer_channels": None,
    "prompt_templates": list(IMAGENET_TEMPLATES),
    "synonyms": "mean",
    "class_padding_length": 0,
    "truncate_classes": False,
    "clip_training": "vision_attention",
}
MMSEG_FIELDS = {
    **V1_FIELDS,
    "class_mlp_inner_residual": True,
    "decoder_dropout": 0.1,
    "semantic_loss": "cross_entropy",
    "train_pooling_size": [1, 1],
}
MODEL_FIELDS: dict[str, dict[str, Any]] = {"cvpr": {}, "v1": V1_FIELDS, "mmseg": MMSEG_FIELDS}
BACKBONE_STAGES = ["stage1", "stage2", "stage3"]


def start_model(
    name: str | os.PathLike[str], *, kind: str = "cvpr", backbone: str | os.PathLike[str] | None = None
) -> tuple[CatSegForSemanticSegmentation, CatSegProcessor]:
    """A model to train, with float32 weights, and its processor.

    Args:
        name (`str` or `os.PathLike`):
            A CAT-Seg model, from the Hub or a folder, to go on from; or a CLIP model, as
            [`CatSegForSemanticSegmentation.from_clip_pretrained`] takes it, to begin from.
        kind (`"cvpr"`, `"v1"` or `"mmseg"`, *optional*, defaults to `"cvpr"`):
            The code base whose model is built around CLIP; without meaning for a CAT-Seg model.
        backbone (`str` or `os.PathLike`, *optional*):
            A ResNet or Swin of Transformers with its weights, for `"v1"` and `"mmseg"`, which need one.

    Returns:
        `tuple[CatSegForSemanticSegmentation, CatSegProcessor]`.

    Raises:
        ValueError: If `backbone` is missing or out of place.

    Example:

    ```python
    >>> from catseg_hf.training import start_model

    >>> model, processor = start_model("path/to/model")  # or a CLIP model: "openai/clip-vit-base-patch16"
    ```
    """
    if kind not in MODEL_FIELDS:
        raise ValueError(f"`kind` must be one of {', '.join(MODEL_FIELDS)}, got {kind!r}.")
    folder = Path(name)
    is_open_clip = folder.is_dir() and not (folder / "config.json").is_file()
    if not is_open_clip and AutoConfig.from_pretrained(name).model_type == CatSegConfig.model_type:
        if backbone is not None:
            raise ValueError(f"`backbone={str(backbone)!r}` is for a model that starts from CLIP; {name} is complete.")
        model = CatSegForSemanticSegmentation.from_pretrained(name, dtype=torch.float32)
        return model, CatSegProcessor.from_pretrained(name)
    if (backbone is None) != (kind == "cvpr"):
        raise ValueError(
            f"A {kind!r} model that starts from CLIP needs {'no' if kind == 'cvpr' else 'an appearance'} `backbone`, "
            f"got {backbone!r}: CVPR 2024 has none, v1 and MMSegmentation have a ResNet-101 or a Swin-B."
        )
    fields = dict(MODEL_FIELDS[kind])
    if backbone is not None:
        backbone_config = AutoConfig.from_pretrained(backbone, out_features=BACKBONE_STAGES)
        with torch.device("meta"):  # only for its class: `AutoBackbone.from_pretrained` does not take folders
            backbone_class = type(AutoBackbone.from_config(backbone_config))
        appearance = backbone_class.from_pretrained(backbone, config=backbone_config, dtype=torch.float32)
        is_resnet = backbone_config.model_type == "resnet"
        fields["backbone_config"] = backbone_config
        # v1 freezes a Swin as a whole, and of a ResNet the batch norms.
        fields["backbone_training"] = is_resnet or kind == "mmseg"
        fields["freeze_batch_norm"] = is_resnet and kind == "v1"
    model = CatSegForSemanticSegmentation.from_clip_pretrained(name, **fields)
    if backbone is not None:
        model.model.backbone.load_state_dict(appearance.state_dict())
    options = image_processor_options(kind, model.config)
    processor = CatSegProcessor(
        CatSegImageProcessor(**options),
        clip_tokenizer(),
        prompt_templates=list(model.config.prompt_templates),
        synonyms=model.config.synonyms,
    )
    return model, processor


def set_classes(model: CatSegForSemanticSegmentation, processor: CatSegProcessor, vocabulary: Sequence[Label]) -> int:
    """Makes classes the model's own, and chooses the label of pixels that are not trained on.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model, which is changed.
        processor ([`CatSegProcessor`]): Its processor, which is changed.
        vocabulary (`Sequence[str | list[str]]`): The classes.

    Returns:
        `int`: That label: 255, or 65535 where 255 is a class.

    Example:

    ```python
    >>> from catseg_hf.training import set_classes

    >>> set_classes(model, processor, ["wall", "sky"])
    255
    >>> model.config.id2label
    {0: 'wall', 1: 'sky'}
    ```
    """
    model.set_vocabulary(vocabulary, processor(text=list(vocabulary), return_tensors="pt").input_ids)
    ignore_index = 255 if len(vocabulary) <= 255 else 65535
    model.config.semantic_loss_ignore_index = ignore_index
    processor.image_processor.ignore_index = ignore_index
    return ignore_index


def freeze_text(model: CatSegForSemanticSegmentation) -> None:
    """Leaves CLIP's text tower as it is, whatever `config.clip_training` says.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model, which is changed.

    Example:

    ```python
    >>> from catseg_hf.training import freeze_text

    >>> freeze_text(model)
    >>> any(weight.requires_grad for weight in model.model.clip.text_model.parameters())
    False
    ```
    """
    for module in (model.model.clip.text_model, model.model.clip.text_projection):
        module.requires_grad_(False)


def text_inputs(model: CatSegForSemanticSegmentation) -> dict[str, torch.Tensor]:
    """What to give the model for its classes in each step.

    Args:
        model ([`CatSegForSemanticSegmentation`]): On the device to train on, before it is wrapped for distribution.

    Returns:
        `dict[str, torch.Tensor]`: The `text_embeds` of the model's classes, computed once, where no weight of the text
        tower is trained; otherwise their `input_ids`.

    Example:

    ```python
    >>> from catseg_hf.training import freeze_text, text_inputs

    >>> list(text_inputs(model))
    ['input_ids']
    >>> freeze_text(model)
    >>> list(text_inputs(model))
    ['text_embeds']
    ```
    """
    clip = model.model.clip
    text_parameters = (*clip.text_model.parameters(), *clip.text_projection.parameters())
    input_ids = model.model.vocabulary.input_ids.cpu()  # where the model reads them, without a wait in each step
    if any(parameter.requires_grad for parameter in text_parameters):
        return {"input_ids": input_ids}
    with torch.no_grad():
        return {"text_embeds": model.get_text_embeds(input_ids)}


def make_shardable(model: CatSegForSemanticSegmentation) -> None:
    """Prepares a model for FSDP2 and DeepSpeed, which take no scalars: CLIP's logit scale, not used here, gets an axis.

    [`merged_state_dict`] takes it away again.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model, which is changed.
    """
    clip = model.model.clip
    clip.logit_scale = torch.nn.Parameter(clip.logit_scale.detach().reshape(1), requires_grad=False)


# ---- LoRA -----------------------------------------------------------------------------------------------------------


def add_lora(model: CatSegForSemanticSegmentation, *, rank: int, alpha: float | None = None) -> None:
    """Freezes CLIP and adds low-rank updates (LoRA, through `peft`) to the projections of its attention.

    Query, key, value and output projections of all layers of both towers; not the query and key of the last vision
    layer, which the dense path does not use. If the text tower is frozen already, only those of the vision tower.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model, which is changed.
        rank (`int`): Rank of the updates.
        alpha (`float`, *optional*): The updates are scaled by `alpha / rank`; defaults to `rank`.

    Raises:
        ImportError: If `peft` is not installed.

    Example:

    ```python
    >>> from catseg_hf.training import add_lora, merged_state_dict

    >>> keys = model.state_dict().keys()
    >>> add_lora(model, rank=4)
    >>> merged_state_dict(model).keys() == keys
    True
    ```
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise ImportError('LoRA needs peft: `pip install "catseg-hf[train]"`.') from error
    clip = model.model.clip
    with_text = any(parameter.requires_grad for parameter in clip.text_model.parameters())
    clip.requires_grad_(False)
    is_trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    towers = {"vision_model": clip.vision_model, **({"text_model": clip.text_model} if with_text else {})}
    targets = [
        f"model.clip.{tower}.encoder.layers.{index}.self_attn.{projection}"
        for tower, module in towers.items()
        for index in range(len(module.encoder.layers))
        for projection in ("q_proj", "k_proj", "v_proj", "out_proj")
        if not (module is clip.vision_model and index == len(module.encoder.layers) - 1 and projection[0] in "qk")
    ]
    alpha = float(rank if alpha is None else alpha)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets), model)
    # peft freezes everything but its own weights.
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in is_trained or ".lora_" in name)


def merged_state_dict(
    model: CatSegForSemanticSegmentation, state_dict: dict[str, torch.Tensor] | None = None
) -> dict[str, torch.Tensor]:
    """The model's weights as they are saved, with the updates of LoRA added to those that they belong to.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model; it is not changed.
        state_dict (`dict[str, torch.Tensor]`, *optional*): Its weights, where they are distributed and were gathered.

    Returns:
        `dict[str, torch.Tensor]`: With the keys that the model has without LoRA.
    """
    state_dict = dict(model.state_dict() if state_dict is None else state_dict)
    if "model.clip.logit_scale" in state_dict:  # other processes than the first have nothing where it was gathered
        state_dict["model.clip.logit_scale"] = state_dict["model.clip.logit_scale"].reshape(())
    for name, module in model.named_modules():
        if f"{name}.base_layer.weight" not in state_dict:
            continue
        down, up = (state_dict.pop(f"{name}.lora_{part}.default.weight") for part in "AB")
        weight = state_dict.pop(f"{name}.base_layer.weight")
        state_dict[f"{name}.weight"] = weight + module.scaling["default"] * (up.float() @ down.float()).to(weight)
        state_dict[f"{name}.bias"] = state_dict.pop(f"{name}.base_layer.bias")
    return state_dict


__all__ = [
    "MODEL_FIELDS",
    "add_lora",
    "freeze_text",
    "make_shardable",
    "merged_state_dict",
    "set_classes",
    "start_model",
    "text_inputs",
]
