# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The image processors that reproduce the input path of each code base at test time."""

from typing import Any

from ..configuration_catseg import CatSegConfig


# What an appearance backbone sees, in all released models: views of 384 pixels, normalised as for ImageNet.
BACKBONE_OPTIONS = {
    "backbone_size": 384,
    "backbone_image_mean": [123.675 / 255, 116.28 / 255, 103.53 / 255],
    "backbone_image_std": [58.395 / 255, 57.12 / 255, 57.375 / 255],
}
# The image keeps its aspect ratio; windows without overlap but for the last of each row and column; raw logits merged.
MMSEG_OPTIONS = {
    "shortest_edge": 512,
    "longest_edge": 2048,
    "do_squash": False,
    "stride": 384,
    "global_view": False,
    "score_function": "softmax",
}


def image_processor_options(code_base: str, config: CatSegConfig) -> dict[str, Any]:
    """Arguments of [`CatSegImageProcessor`] for a converted model; what is left out has the value of CVPR 2024.

    Args:
        code_base (`str`): `"cvpr"`, `"v1"` or `"mmseg"`.
        config (`CatSegConfig`): The model.

    Returns:
        `dict[str, Any]`.
    """
    options: dict[str, Any] = {"image_size": config.image_size}
    if config.backbone_config is not None:
        options |= BACKBONE_OPTIONS
    if code_base == "mmseg":
        options |= MMSEG_OPTIONS
    return options
