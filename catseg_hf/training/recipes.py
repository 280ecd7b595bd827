# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The training recipes of the three original code bases: all numbers, the parameter groups and the learning rates."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import nn


NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.SyncBatchNorm)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that one training recipe fixes, from the optimizer to the augmentation.

    The defaults are those of CVPR 2024, for COCO-Stuff. What belongs to the model, such as the loss, which CLIP weights
    are trained and the pooling of class attention, is in [`CatSegConfig`].

    Sources: CAT-Seg's `train_net.py`, `configs/*.yaml` and `mask_former_semantic_dataset_mapper.py`, with detectron2;
    MMSegmentation's `projects/CAT-Seg/configs`.

    Args:
        steps (`int`, *optional*, defaults to 80,000): Optimizer steps.
        batch_size (`int`, *optional*, defaults to 4): Images in each step, over all processes.
        learning_rate (`float`, *optional*, defaults to 2e-4): Of AdamW, at its highest.
        weight_decay (`float`, *optional*, defaults to 1e-4): Of AdamW.
        clip_multiplier (`float`, *optional*, defaults to 0.01): Factor on the learning rate of CLIP's own weights.
        backbone_multiplier (`float`, *optional*, defaults to 0.01): Factor on that of an appearance backbone.
        decay_all (`bool`, *optional*, defaults to `False`):
            Whether weight decay also pulls on norm layers, token embeddings and relative position biases.
        max_gradient_norm (`float`, *optional*, defaults to 0.01):
            Largest L2 norm of the gradient of all weights together; longer ones are shortened. `None`: no limit.
        warmup_steps (`int`, *optional*, defaults to 0): Steps in which the learning rate rises.
        warmup_factor (`float`, *optional*, defaults to 0.01): What part of it the first of them has.
        crop_size (`int`, *optional*, defaults to 384): Side in pixels of the square crops, a multiple of 32.
        resize (`"shortest_edge"`, `"random_scale"` or `"none"`, *optional*, defaults to `"shortest_edge"`):
            What comes before the crop. The shortest edge becomes `crop_size`, the longest at most 1333 pixels; or the
            image fits into 2048 x 512 pixels (in either orientation) times a random number from 0.5 to 2; or nothing.
        max_class_share (`float`, *optional*, defaults to 1.0):
            Crops of which one class has this share or more of the labelled pixels are drawn anew, ten times at most.
            1.0: never.
        jitter_colors (`bool`, *optional*, defaults to `True`): Whether colours are changed at random.
        flip (`bool`, *optional*, defaults to `True`): Whether every other image is mirrored.
        image_padding (`int`, *optional*, defaults to 128):
            Value, 0 to 255, of the pixels right and below where the image is smaller than the crop.

    Raises:
        ValueError: If a number is out of its range.

    Example:

    ```python
    >>> from catseg_hf.training import Recipe

    >>> recipe = Recipe.cvpr(steps=20_000)
    ```
    """

    steps: int = 80_000
    batch_size: int = 4
    learning_rate: float = 2e-4
    weight_decay: float = 1e-4
    clip_multiplier: float = 0.01
    backbone_multiplier: float = 0.01
    decay_all: bool = False
    max_gradient_norm: float | None = 0.01
    warmup_steps: int = 0
    warmup_factor: float = 0.01
    crop_size: int = 384
    resize: Literal["shortest_edge", "random_scale", "none"] = "shortest_edge"
    max_class_share: float = 1.0
    jitter_colors: bool = True
    flip: bool = True
    image_padding: int = 128

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "crop_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be at least 1, got {getattr(self, name)}.")
        for name in ("learning_rate", "clip_multiplier", "backbone_multiplier", "max_class_share"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"`{name}` must be greater than 0, got {getattr(self, name)}. To leave weights untrained, use "
                    "`clip_training` and `backbone_training` of the model's configuration."
                )
        if self.max_gradient_norm is not None and not self.max_gradient_norm > 0:
            raise ValueError(
                f"`max_gradient_norm` must be greater than 0, or None for no limit, got {self.max_gradient_norm}."
            )
        if self.crop_size % 32:
            raise ValueError(f"`crop_size` must be a multiple of 32, got {self.crop_size}.")
        if not 0 <= self.warmup_steps < self.steps:
            raise ValueError(f"`warmup_steps` must be from 0 to `steps` - 1, got {self.warmup_steps} of {self.steps}.")
        if self.resize not in ("shortest_edge", "random_scale", "none"):
            raise ValueError(f'`resize` must be "shortest_edge", "random_scale" or "none", got {self.resize!r}.')

    @classmethod
    def cvpr(cls, **kwargs: Any) -> "Recipe":
        """That of CVPR 2024, on COCO-Stuff; `kwargs` replace single fields."""
        return cls(**kwargs)

    @classmethod
    def v1(cls, **kwargs: Any) -> "Recipe":
        """That of v1: the same numbers. Its models differ, and their Swin backbones are frozen."""
        return cls(**kwargs)

    @classmethod
    def mmseg(cls, **kwargs: Any) -> "Recipe":
        """That of MMSegmentation on ADE20K: 2 images on each of 4 GPUs; on COCO-Stuff, also `resize="none"`.

        Its images are resized by Pillow here, with antialiasing, instead of by OpenCV without.
        """
        fields = {
            "batch_size": 8,
            "decay_all": True,
            "max_gradient_norm": None,
            "warmup_steps": 500,
            "resize": "random_scale",
            "max_class_share": 0.75,
            "image_padding": 0,
        }
        return cls(**{**fields, **kwargs})


# What makes the recipe of each code base, by its name.
RECIPES = {"cvpr": Recipe.cvpr, "v1": Recipe.v1, "mmseg": Recipe.mmseg}


def parameter_groups(model: nn.Module, recipe: Recipe) -> list[dict[str, Any]]:
    """The trainable weights, with the learning rate and weight decay that the recipe gives them, for an optimizer.

    CLIP's and the backbone's weights get a factor on the learning rate; LoRA's, which start at zero, do not. No decay
    on norm layers, token embeddings and relative position biases, unless `recipe.decay_all`. CLIP's position embeddings
    do decay: they are plain parameters in the originals, though an `nn.Embedding` in Transformers.

    Args:
        model (`nn.Module`): A [`CatSegForSemanticSegmentation`].
        recipe ([`Recipe`]): The recipe.

    Returns:
        `list[dict]`: With `params`, `lr` and `weight_decay`, one for each pair of the two numbers.

    Raises:
        ValueError: If no weight is trainable.

    Example:

    ```python
    >>> optimizer = torch.optim.AdamW(parameter_groups(model, recipe))
    ```
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for module_name, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                key = _learning_rate(module_name, recipe), _weight_decay(module_name, module, name, recipe)
                groups.setdefault(key, []).append(parameter)
    if not groups:
        raise ValueError("No weight of the model is trainable: see `clip_training` of its configuration.")
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()]


def _learning_rate(module_name: str, recipe: Recipe) -> float:
    parts = module_name.split(".")
    if "lora_A" in parts or "lora_B" in parts:
        return recipe.learning_rate
    if "clip" in parts:
        return recipe.learning_rate * recipe.clip_multiplier
    if "backbone" in parts:
        return recipe.learning_rate * recipe.backbone_multiplier
    return recipe.learning_rate


def _weight_decay(module_name: str, module: nn.Module, name: str, recipe: Recipe) -> float:
    if recipe.decay_all:
        return recipe.weight_decay
    is_embedding = isinstance(module, nn.Embedding) and not module_name.endswith("position_embedding")
    is_exempt = isinstance(module, NORMS) or is_embedding or name == "relative_position_bias_table"
    return 0.0 if is_exempt else recipe.weight_decay


def learning_rate_factor(step: int, recipe: Recipe) -> float:
    """What part of the recipe's learning rate a step has: a linear rise, then half a cosine down to 0.

    Args:
        step (`int`): Number of the step, from 0.
        recipe ([`Recipe`]): The recipe.

    Returns:
        `float`: From 0 to 1.

    Example:

    ```python
    >>> from catseg_hf.training import Recipe, learning_rate_factor

    >>> learning_rate_factor(100, Recipe(steps=100))
    0.0
    ```
    """
    if step < recipe.warmup_steps:
        # As in mmengine, the last step of the rise has the full rate.
        risen = step / max(1, recipe.warmup_steps - 1)
        return recipe.warmup_factor + (1 - recipe.warmup_factor) * risen
    done = min(1.0, (step - recipe.warmup_steps) / (recipe.steps - recipe.warmup_steps))
    return 0.5 * (1 + math.cos(math.pi * done))


def learning_rate_schedule(optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.lr_scheduler.LambdaLR:
    """The schedule of [`learning_rate_factor`]; step it once after each step of the optimizer.

    Args:
        optimizer (`torch.optim.Optimizer`): The optimizer.
        recipe ([`Recipe`]): The recipe.

    Returns:
        `torch.optim.lr_scheduler.LambdaLR`.

    Example:

    ```python
    >>> from catseg_hf.training import learning_rate_schedule, parameter_groups

    >>> optimizer = torch.optim.AdamW(parameter_groups(model, recipe))
    >>> schedule = learning_rate_schedule(optimizer, recipe)
    ```
    """
    return torch.optim.lr_scheduler.LambdaLR(optimizer, partial(learning_rate_factor, recipe=recipe))


__all__ = ["RECIPES", "Recipe", "learning_rate_factor", "learning_rate_schedule", "parameter_groups"]
