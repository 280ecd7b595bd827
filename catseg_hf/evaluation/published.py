# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The figure that the authors published, beside the one that was measured, where both are of the same."""

import math
from typing import Any

from catseg_hf.conversion.released import FIGURES, published_figure, read_released
from catseg_hf.datasets import SegmentationDataset
from catseg_hf.datasets.benchmarks import complete_size
from catseg_hf.evaluation.protocols import Protocol


CONVENTION = "miou_present_in_ground_truth"


def beside_published(
    model: str,
    dataset: SegmentationDataset,
    protocol: Protocol,
    identity: dict[str, Any],
    num_images: int,
    metrics: dict[str, float],
) -> dict[str, Any] | None:
    """The published figure of a released checkpoint, and by how much the measured one differs.

    Args:
        model (`str`): Folder of the model or its name on the Hub, where it says that it is a released checkpoint.
        dataset ([`SegmentationDataset`]): What was evaluated on.
        protocol ([`Protocol`]): How.
        identity (`dict[str, Any]`): What [`describe`] says of the evaluation, with the digest of the weights.
        num_images (`int`): Number of images that were counted.
        metrics (`dict[str, float]`): The measured figures.

    Returns:
        `dict[str, Any]`, *optional*: `checkpoint`, `source`, `convention`, and as fractions `published`, `measured` and
        `difference`. `None` where nothing was published, or something else: of other weights (a fine-tuned model, or
        weights that were rounded), another protocol, not all images.
    """
    size = complete_size(dataset.name, dataset.split)
    if dataset.split != "val" or size is None or {len(dataset), num_images} != {size} or protocol != Protocol():
        return None
    released = read_released(model)
    if released is None or released.weights_sha256 != identity["weights_sha256"]:
        return None
    published, measured = published_figure(released.name, dataset.name), metrics[CONVENTION]
    if published is None or math.isnan(measured):
        return None
    return {
        "checkpoint": released.name,
        "source": FIGURES["checkpoints"][released.name]["source"],
        "convention": CONVENTION,
        "published": published / 100,
        "measured": measured,
        "difference": measured - published / 100,
    }


__all__ = ["beside_published"]
