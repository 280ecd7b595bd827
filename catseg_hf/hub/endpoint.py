# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a model's repository needs to be a Hugging Face Inference Endpoint: a handler, its requirements, its code."""

import re
from importlib.metadata import requires
from pathlib import Path

import torch
from transformers.dynamic_module_utils import custom_object_save

from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.pipeline_catseg import CatSegImageSegmentationPipeline
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.remote_code_catseg import include_code_of


HANDLER, REQUIREMENTS = "handler.py", "requirements.txt"
# Of what this package requires, what its code needs in a repository; ftfy cleans class names.
REQUIRED = ("ftfy", "pillow", "torch", "transformers")


def save_endpoint_files(config: CatSegConfig, processor: CatSegProcessor, folder: Path) -> None:
    """Writes what an endpoint needs beside weights and tokenizer.

    Args:
        config ([`CatSegConfig`]): Of the model.
        processor ([`CatSegProcessor`]): Its processor.
        folder (`Path`): Where to: `handler.py`, `requirements.txt`, the code, and the settings that name it.
    """
    with torch.device("meta"):
        model = CatSegForSemanticSegmentation(config)
    with include_code_of(model, processor, pipeline_class=CatSegImageSegmentationPipeline):
        model.config.save_pretrained(folder)
        custom_object_save(model, str(folder), config=model.config)
        processor.save_pretrained(folder)
    (folder / HANDLER).write_bytes(Path(__file__).with_name("endpoint_handler.py").read_bytes())
    (folder / REQUIREMENTS).write_text("".join(f"{line}\n" for line in endpoint_requirements()))


def endpoint_requirements() -> list[str]:
    """The lines of `requirements.txt`, with the versions that this package asks for.

    Returns:
        `list[str]`
    """
    lines = [line for line in requires("catseg-hf") or [] if "extra ==" not in line]
    return sorted(line for line in lines if re.match(r"[\w-]+", line)[0] in REQUIRED)


__all__ = ["HANDLER", "REQUIREMENTS", "endpoint_requirements", "save_endpoint_files"]
