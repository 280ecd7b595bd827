# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""CAT-Seg for the Hugging Face ecosystem: segment an image into any set of named classes.

Importing the package makes Transformers' Auto classes and `pipeline("image-segmentation")` know the model, and imports
neither Transformers nor torch: public names are imported when they are asked for, and `registration` says when the
model is registered.
"""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .registration import register_with_transformers


if TYPE_CHECKING:
    from .configuration_catseg import CatSegConfig
    from .image_processing_catseg import CatSegImageProcessor, CatSegImageProcessorPil
    from .modeling_catseg import CatSegForSemanticSegmentation, CatSegModel
    from .pipeline_catseg import CatSegImageSegmentationPipeline
    from .processing_catseg import CatSegProcessor
    from .prompts_catseg import parse_labels
    from .segmenting import Segmentation, Segmenter
    from .vocabularies import load_vocabulary


__version__ = "0.1.0"

# Folder of `catseg-tiny`, a small model of drawn scenes that ships inside, for `from_pretrained` and `pipeline`.
TINY = str(Path(__file__).with_name("tiny"))

__all__ = [
    "TINY",
    "CatSegConfig",
    "CatSegForSemanticSegmentation",
    "CatSegImageProcessor",
    "CatSegImageProcessorPil",
    "CatSegImageSegmentationPipeline",
    "CatSegModel",
    "CatSegProcessor",
    "Segmentation",
    "Segmenter",
    "load_vocabulary",
    "parse_labels",
]

# Where the public names are, besides those above.
_MODULES = {
    "CatSegConfig": "configuration_catseg",
    "CatSegForSemanticSegmentation": "modeling_catseg",
    "CatSegImageProcessor": "image_processing_catseg",
    "CatSegImageProcessorPil": "image_processing_catseg",
    "CatSegImageSegmentationPipeline": "pipeline_catseg",
    "CatSegModel": "modeling_catseg",
    "CatSegProcessor": "processing_catseg",
    "Segmentation": "segmenting",
    "Segmenter": "segmenting",
    "load_vocabulary": "vocabularies",
    "parse_labels": "prompts_catseg",
}

if not TYPE_CHECKING:  # type checkers would take every name for one that is there

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return getattr(import_module(f".{_MODULES[name]}", __name__), name)
        if name in _MODULES.values():
            return import_module(f".{name}", __name__)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})


register_with_transformers()
