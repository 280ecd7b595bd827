# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the model card of a converted checkpoint says of its origin."""

from typing import Any

from .. import __version__
from .plan import CODE_BASES, ConversionPlan


DATA_SETS = ("A-847", "PC-459", "A-150", "PC-59", "PAS-20", "PAS-20b")
# mIoU in percent that the original authors published, by code base and width of CLIP's vision tower. Their evaluation
# divides by the classes present in the ground truth.
PUBLISHED_MIOU = {
    ("cvpr", 768): ("12.0", "19.0", "31.8", "57.5", "94.6", "77.3"),
    ("cvpr", 1024): ("16.0", "23.8", "37.9", "63.3", "97.0", "82.5"),
    ("v1", 768): ("8.9", "16.6", "27.2", "57.5", "93.7", "78.3"),
    ("v1", 1024): ("11.4", "20.4", "31.5", "62.0", "96.6", "81.8"),
    ("v1", 1280): ("13.1", "20.1", "34.4", "61.2", "96.7", "80.2"),
    ("v1", 1664): ("14.1", "21.4", "36.2", "61.5", "97.1", "81.4"),
}
# The CLIP that all three code bases start from, by the width and depth of its vision tower. Which OpenCLIP weights the
# larger models started from leaves no trace in a checkpoint.
BASE_MODELS = {(768, 12): "openai/clip-vit-base-patch16", (1024, 24): "openai/clip-vit-large-patch14-336"}


def card_facts(plan: ConversionPlan, file_name: str) -> dict[str, Any]:
    """What a conversion knows of a model beyond the model itself.

    Args:
        plan (`ConversionPlan`): The conversion.
        file_name (`str`): Name of the checkpoint file.

    Returns:
        `dict[str, Any]`: Arguments of [`create_model_card`].
    """
    vision = plan.config.clip_config.vision_config
    return {
        "license": "other",
        "license_name": "as-the-original-checkpoint",
        "license_link": "https://github.com/cvlab-kaist/CAT-Seg",
        "base_model": BASE_MODELS.get((vision.hidden_size, vision.num_hidden_layers)),
        "source": f"Converted by `catseg_hf` {__version__} from `{file_name}`, a CAT-Seg checkpoint of {plan.title}.",
        "training": f"The released weights of this code are trained on {CODE_BASES[plan.code_base].TRAINED_ON}.",
        "published_results": _published_results(plan),
    }


def _published_results(plan: ConversionPlan) -> str | None:
    figures = PUBLISHED_MIOU.get((plan.code_base, plan.config.clip_config.vision_config.hidden_size))
    if figures is None:
        return None
    return (
        "mIoU in percent that the original authors published for their checkpoint of this architecture, with the "
        f"sliding window; not measured with this conversion:\n\n| {' | '.join(DATA_SETS)} |\n"
        f"|{'---|' * len(DATA_SETS)}\n| {' | '.join(figures)} |"
    )
