# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The model card of a converted checkpoint."""

from importlib.metadata import PackageNotFoundError, version
from string import Template

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
CARD = Template(
    """---
library_name: transformers
pipeline_tag: image-segmentation
tags:
- open-vocabulary-segmentation
- catseg
---

# CAT-Seg: segment an image into any classes you name

Converted by `catseg_hf` $package_version from `$file_name`, a checkpoint of $title.

```python
import torch
from PIL import Image
from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor

folder = "."  # this folder, or its name on the Hub
model = CatSegForSemanticSegmentation.from_pretrained(folder).eval()
processor = CatSegProcessor.from_pretrained(folder)

image = Image.open("photo.jpg")
inputs = processor(images=image, text=["cat", "grass"], return_tensors="pt")
with torch.inference_mode():
    outputs = model(**inputs)
label_map = processor.post_process_semantic_segmentation(outputs, target_sizes=[(image.height, image.width)])[0]
```

| | |
|---|---|
| CLIP | $clip |
| Appearance guidance | $guidance |
| Prompt templates | $templates |
| The released weights are trained on | $data |
| Vocabulary of its own, used without `text` | $vocabulary |

$results## Limits

The model assigns every pixel to one of the classes it is given, even where none fits: name a class for the rest, or use
a threshold. What it knows of words and their pictures comes from CLIP, with the biases of its training data.

## Source

CAT-Seg: Cost Aggregation for Open-Vocabulary Semantic Segmentation, Cho et al., CVPR 2024,
https://arxiv.org/abs/2303.11797. The license of the weights is that of their origin.
"""
)


def model_card(plan: ConversionPlan, file_name: str, vocabulary: str | None, num_labels: int) -> str:
    """Text of the `README.md` of a converted model.

    Args:
        plan (`ConversionPlan`): The conversion.
        file_name (`str`): Name of the checkpoint file.
        vocabulary (`str` or `None`): Name of the model's own vocabulary.
        num_labels (`int`): Its number of classes.

    Returns:
        `str`: Markdown with a header for the Hub.
    """
    config = plan.config
    vision = config.clip_config.vision_config
    backbone = config.backbone_config
    num_templates = len(config.prompt_templates)
    try:
        package_version = version("catseg-hf")
    except PackageNotFoundError:  # A source tree that is not installed.
        package_version = "(source tree)"
    return CARD.substitute(
        package_version=package_version,
        file_name=file_name,
        title=plan.title,
        clip=f"{vision.num_hidden_layers} vision layers of width {vision.hidden_size}, patches of {vision.patch_size} "
        f"pixels, views of {config.image_size} pixels",
        guidance="layers of CLIP" if backbone is None else {"resnet": "ResNet", "swin": "Swin"}[backbone.model_type],
        templates=repr(config.prompt_templates[0]) if num_templates == 1 else f"{num_templates}",
        data=CODE_BASES[plan.code_base].TRAINED_ON,
        vocabulary=f"{vocabulary}, {num_labels} classes" if vocabulary else "none",
        results=_results(plan),
    )


def _results(plan: ConversionPlan) -> str:
    figures = PUBLISHED_MIOU.get((plan.code_base, plan.config.clip_config.vision_config.hidden_size))
    if figures is None:
        return ""
    return (
        "## Published results\n\nmIoU in percent that the original authors published for their checkpoint of this "
        "architecture (sliding window; classes absent from the ground truth do not count):\n\n"
        f"| {' | '.join(DATA_SETS)} |\n|{'---|' * len(DATA_SETS)}\n| {' | '.join(figures)} |\n\n"
    )
