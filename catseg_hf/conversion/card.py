# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the model card of a converted checkpoint says of its origin."""

from typing import Any

from .. import __version__
from .plan import CODE_BASES, ConversionPlan
from .released import ReleasedCheckpoint, published_table


# Names of the released checkpoints, by code base and width of CLIP's vision tower.
RELEASED_NAMES = {
    ("cvpr", 768): "base",
    ("cvpr", 1024): "large",
    ("v1", 768): "v1-base",
    ("v1", 1024): "v1-large",
    ("v1", 1280): "v1-huge",
    ("v1", 1664): "v1-giant",
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


def released_card_facts(plan: ConversionPlan, released: ReleasedCheckpoint, address: str) -> dict[str, Any]:
    """The same for a released checkpoint, whose logits were compared with those of its file.

    Args:
        plan (`ConversionPlan`): The conversion.
        released ([`ReleasedCheckpoint`]): Which one it is.
        address (`str`): Where the authors' file is.

    Returns:
        `dict[str, Any]`: Arguments of [`create_model_card`].
    """
    table = published_table(released.name)
    return {
        **card_facts(plan, released.file_name),
        "source": f"Converted by `catseg_hf` {released.catseg_hf} from [`{released.file_name}`]({address}), a "
        f"checkpoint of {plan.title} that its authors released (SHA-256 {released.file_sha256}). On a fixed input, "
        "file and conversion give the same logits. All rights are those of the file.",
        "training": f"By the authors of the checkpoint, on {CODE_BASES[plan.code_base].TRAINED_ON}.",
        "published_results": table and f"**Published by the authors, not measured with this conversion:**\n\n{table}",
    }


def _published_results(plan: ConversionPlan) -> str | None:
    name = RELEASED_NAMES.get((plan.code_base, plan.config.clip_config.vision_config.hidden_size))
    table = None if name is None else published_table(name)
    if table is None:
        return None
    return (
        "Published by the original authors for their checkpoint of this architecture, not measured with this one:\n\n"
        f"{table}"
    )
