# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Training with Transformers' `Trainer`."""

import torch
import torch.nn.functional as F


def preprocess_logits_for_metrics(
    logits: torch.Tensor | tuple[torch.Tensor, ...], labels: torch.Tensor
) -> torch.Tensor:
    """Reduces logits to class ids, for the argument of that name of `Trainer`.

    `Trainer` keeps the outputs of a whole evaluation; label maps take 2 bytes a pixel, however many classes there are.
    As in the evaluation of semantic segmentation in general, logits are resized to the labels (bilinear) before the
    best class is taken.

    Args:
        logits (`torch.FloatTensor` of shape `(B, T, h, w)`, or a tuple that begins with it):
            Outputs of [`CatSegForSemanticSegmentation`] behind the loss.
        labels (`torch.LongTensor` of shape `(B, H, W)`):
            The labels of these images.

    Returns:
        `torch.ShortTensor` of shape `(B, H, W)`: Best class of each pixel; of equal ones the first. What
        `compute_metrics` gets as `predictions`.

    Example:

    ```python
    >>> from transformers import Trainer
    >>> from catseg_hf.training import preprocess_logits_for_metrics

    >>> trainer = Trainer(
    ...     model=model,
    ...     args=arguments,
    ...     eval_dataset=dataset,
    ...     compute_metrics=lambda result: {"accuracy": (result.predictions == result.label_ids).mean()},
    ...     preprocess_logits_for_metrics=preprocess_logits_for_metrics,
    ... )
    ```
    """
    logits = logits[0] if isinstance(logits, tuple) else logits
    # One image at a time, since all classes at the labels' size are large.
    maps = [
        F.interpolate(image[None].float(), size=labels.shape[-2:], mode="bilinear", align_corners=False).argmax(dim=1)
        for image in logits
    ]
    return torch.cat(maps).to(torch.int16)
