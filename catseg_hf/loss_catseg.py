# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The losses of the original code bases, on logits resized to the labels."""

import torch
import torch.nn.functional as F

from .configuration_catseg import CatSegConfig


def check_labels(labels: torch.Tensor, pixel_values: torch.Tensor, num_classes: int, ignore_index: int) -> None:
    """Refuses label maps that do not fit the images or the classes.

    Args:
        labels (`torch.LongTensor` of shape `(B, H, W)`): Class ids.
        pixel_values (`torch.FloatTensor` of shape `(B, 3, H', W')`): The images.
        num_classes (`int`): Number of classes.
        ignore_index (`int`): The id of pixels that do not count.

    Raises:
        ValueError: With what was given and what is needed. Ids are checked on a CPU only: a GPU would have to be asked
            for them in each step. There, [`semantic_segmentation_loss`] is NaN instead.
    """
    if pixel_values.dim() == 5:
        raise ValueError(
            f"`labels` cannot be used with views (`pixel_values` of shape {tuple(pixel_values.shape)}): train on "
            "single images of shape (B, 3, H, W), which the processor makes with `do_sliding_window=False`."
        )
    if labels.dim() != 3 or len(labels) != len(pixel_values):
        raise ValueError(f"`labels` must have shape ({len(pixel_values)}, height, width), got {tuple(labels.shape)}.")
    if labels.is_floating_point():
        raise ValueError(f"`labels` must be integers, got {labels.dtype}.")
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        used = labels[labels != ignore_index]
        if used.numel() and not 0 <= int(used.min()) <= int(used.max()) < num_classes:
            raise ValueError(
                f"`labels` has ids from {int(used.min())} to {int(used.max())}, but there are {num_classes} classes "
                f"(0 to {num_classes - 1}) and the ignored id is {ignore_index}."
            )


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, is_used: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy over classes of the pixels that are not ignored (MMSegmentation).

    Args:
        logits (`torch.FloatTensor` of shape `(B, T, h, w)`): Logits.
        labels (`torch.LongTensor` of shape `(B, H, W)`): Class ids.
        is_used (`torch.BoolTensor` of shape `(B, H, W)`): Which pixels count.

    Returns:
        `torch.FloatTensor` of shape `()`.
    """
    resized = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    targets = labels.masked_fill(~is_used, -100)
    return F.cross_entropy(resized, targets, ignore_index=-100, reduction="sum") / is_used.sum().clamp(min=1)


def binary_cross_entropy_sum(
    logits: torch.Tensor, labels: torch.Tensor, is_used: torch.Tensor, first_class: int, config: CatSegConfig
) -> torch.Tensor:
    """Sum over pixels and some classes of the binary cross-entropy (CVPR 2024, v1).

    Args:
        logits (`torch.FloatTensor` of shape `(B, t, h, w)`): Logits of the classes from `first_class` on.
        labels (`torch.LongTensor` of shape `(B, H, W)`), is_used (`torch.BoolTensor` of shape `(B, H, W)`):
            Class ids, and which pixels count. As in the original, the others count as pixels that belong to no class,
            unless `config.mask_ignored_pixels`.
        first_class (`int`): Id of the first class.
        config (`CatSegConfig`): Of the model.

    Returns:
        `torch.FloatTensor` of shape `()`.
    """
    resized = F.interpolate(logits.float(), size=labels.shape[-2:], mode="bilinear", align_corners=False)
    class_ids = torch.arange(first_class, first_class + logits.shape[1], device=logits.device)
    targets = ((labels[:, None] == class_ids[:, None, None]) & is_used[:, None]).to(resized.dtype)
    weight = is_used[:, None].to(resized.dtype) if config.mask_ignored_pixels else None
    return F.binary_cross_entropy_with_logits(resized, targets, weight=weight, reduction="sum")
