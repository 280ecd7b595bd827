# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Compares models of one configuration by the logits that they give on a small input."""

import torch

from ..modeling_catseg import CatSegForSemanticSegmentation
from .errors import ConversionError


COMPARED_CLASSES = 2


def fixed_input(model: CatSegForSemanticSegmentation) -> dict[str, torch.Tensor]:
    """A small input that is always the same, to compare models of one configuration.

    Args:
        model (`CatSegForSemanticSegmentation`): The model.

    Returns:
        `dict[str, torch.Tensor]`: Arguments of its `forward`.
    """
    config = model.config
    generator = torch.Generator().manual_seed(0)
    dtype = model.dtype
    inputs = {
        "pixel_values": torch.randn(1, 3, config.image_size, config.image_size, generator=generator).to(dtype),
        "input_ids": model.model.vocabulary.input_ids[:COMPARED_CLASSES].long(),
    }
    if config.backbone_config is not None:
        # As many patches of the backbone's coarsest map as CLIP has: 16 pixels for each.
        side = config.image_size // config.patch_size * 16
        inputs["backbone_pixel_values"] = torch.randn(1, 3, side, side, generator=generator).to(dtype)
    return inputs


@torch.no_grad()
def fixed_logits(model: CatSegForSemanticSegmentation, inputs: dict[str, torch.Tensor] | None = None) -> torch.Tensor:
    """What a model makes of an input.

    Args:
        model (`CatSegForSemanticSegmentation`): The model.
        inputs (`dict[str, torch.Tensor]`, *optional*): By default its [`fixed_input`].

    Returns:
        `torch.FloatTensor`: Its logits.
    """
    return model.eval()(**(fixed_input(model) if inputs is None else inputs)).logits.float()


def checked_difference(before: torch.Tensor, after: torch.Tensor) -> float:
    """How much the logits of a converted folder differ from those of its checkpoint.

    Args:
        before (`torch.Tensor`): Those of the checkpoint.
        after (`torch.Tensor`): Those of the folder.

    Returns:
        `float`: The largest difference.

    Raises:
        ConversionError: If it is more than rounding.
    """
    difference = (after - before).abs().max().item()
    if not difference <= 1e-5 * max(1.0, before.abs().max().item()):
        raise ConversionError(
            f"The written model gives other logits than the checkpoint (by {difference:.1e}): the weights are not "
            "finite, or the disk or the memory of this machine is unreliable."
        )
    return difference
