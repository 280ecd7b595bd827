# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CAT-Seg for the Hugging Face ecosystem: segment an image into any set of named classes.

Importing the package makes Transformers' Auto classes and `pipeline("image-segmentation")` know the model.
"""

from pathlib import Path

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForSemanticSegmentation, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from .configuration_catseg import CatSegConfig
from .image_processing_catseg import CatSegImageProcessor, CatSegImageProcessorPil
from .modeling_catseg import CatSegForSemanticSegmentation, CatSegModel
from .pipeline_catseg import CatSegImageSegmentationPipeline
from .processing_catseg import CatSegProcessor
from .prompts_catseg import parse_labels
from .vocabularies import load_vocabulary


__version__ = "0.1.0"

# Folder of `catseg-tiny`, a small model of drawn scenes that ships inside, for `from_pretrained` and `pipeline`.
TINY = str(Path(__file__).with_name("tiny"))

AutoConfig.register(CatSegConfig.model_type, CatSegConfig, exist_ok=True)
AutoModel.register(CatSegConfig, CatSegModel, exist_ok=True)
AutoModelForSemanticSegmentation.register(CatSegConfig, CatSegForSemanticSegmentation, exist_ok=True)
AutoImageProcessor.register(
    CatSegConfig,
    image_processor_classes={"pil": CatSegImageProcessorPil, "torchvision": CatSegImageProcessor},
    exist_ok=True,
)
AutoProcessor.register(CatSegConfig, CatSegProcessor, exist_ok=True)
# Not by `register_pipeline`, which warns, and with which every saved pipeline would ask for trust.
PIPELINE_REGISTRY.supported_tasks["image-segmentation"]["impl"] = CatSegImageSegmentationPipeline

__all__ = [
    "TINY",
    "CatSegConfig",
    "CatSegForSemanticSegmentation",
    "CatSegImageProcessor",
    "CatSegImageProcessorPil",
    "CatSegImageSegmentationPipeline",
    "CatSegModel",
    "CatSegProcessor",
    "load_vocabulary",
    "parse_labels",
]
