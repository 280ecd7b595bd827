# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Models by their names, and embeddings of labels."""

from collections.abc import Sequence

import torch
from transformers.utils import logging

from catseg_hf.hub import find_model, load_exported, load_model_and_processor
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.onnx import OnnxCatSeg, is_exported
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import Label

from .devices import compile_model, pick_device, pick_dtype


def load_model(
    name: str, device: str, dtype: str, *, compiles: bool = False
) -> tuple[CatSegForSemanticSegmentation | OnnxCatSeg, CatSegProcessor]:
    """Loads a model by its name at the command line; from an exported folder without its weights.

    Args:
        name (`str`): As [`find_model`] takes it.
        device (`str`): As [`pick_device`] takes it.
        dtype (`str`): As [`pick_dtype`] takes it.
        compiles (`bool`, *optional*, defaults to `False`): Whether to compile the model.

    Returns:
        `tuple[CatSegForSemanticSegmentation | OnnxCatSeg, CatSegProcessor]`: The model, in evaluation mode, on its
        device.

    Raises:
        ValueError: If there is no such model or device, or an exported model is to compute otherwise than it can.

    Example:

    ```python
    >>> from catseg_hf.segmenting import load_model

    >>> model, processor = load_model("tiny", "cpu", "float32")
    ```
    """
    target = pick_device(device)
    folder = find_model(name)
    if is_exported(folder):
        if device not in ("auto", "cpu") or dtype not in ("auto", "float32") or compiles:
            raise ValueError(
                f"{folder} is an exported model, which ONNX Runtime computes on the CPU as it was exported: leave out "
                "device, dtype and compiling, or give the model that was exported."
            )
        return load_exported(folder)
    logging.disable_progress_bar()
    model, processor = load_model_and_processor(folder, pick_dtype(dtype, target))
    model = model.to(target)
    if compiles:
        compile_model(model)
    return model, processor


@torch.inference_mode()
def embed_labels(
    model: CatSegForSemanticSegmentation | OnnxCatSeg, processor: CatSegProcessor, labels: Sequence[Label] | None
) -> torch.Tensor:
    """Text embeddings of labels, by default of the model's own vocabulary."""
    if labels is None:
        return model.resolve_text_embeds()
    return model.get_text_embeds(processor(text=labels)["input_ids"])
