# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Loading a model of whose folder nobody knows whether it is whole."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.onnx import OnnxCatSeg, is_exported
from catseg_hf.processing_catseg import CatSegProcessor


def load_model_and_processor(
    folder: str, dtype: torch.dtype | None = None
) -> tuple[CatSegForSemanticSegmentation, CatSegProcessor]:
    """Loads a model with its processor, or says what is wrong with its files.

    `from_pretrained` fills weights that are missing with random numbers and warns; here that is an error.

    Args:
        folder (`str`): The model's folder.
        dtype (`torch.dtype`, *optional*): Of the weights; by default as they are stored.

    Returns:
        `tuple[CatSegForSemanticSegmentation, CatSegProcessor]`: The model in evaluation mode, on the CPU.

    Raises:
        OSError: If a file is missing.
        ValueError: If a file is damaged, the weights are not those of the model that `config.json` describes, or it is
            an exported model.

    Example:

    ```python
    >>> from catseg_hf import TINY
    >>> from catseg_hf.hub import load_model_and_processor

    >>> model, processor = load_model_and_processor(TINY)
    ```
    """
    if is_exported(folder):
        raise ValueError(
            f"{folder} is an exported model, which ONNX Runtime computes, and has no weights: give the model that was "
            "exported."
        )
    with _named_errors(folder):
        processor = _load_processor(folder)
        model, report = CatSegForSemanticSegmentation.from_pretrained(folder, dtype=dtype, output_loading_info=True)
    for kind, what in (("missing_keys", "missing"), ("unexpected_keys", "not of that model")):
        if names := sorted(report[kind]):
            raise ValueError(
                f"The weights in {folder} are not those of the model in its config.json: {len(names)} are {what}, "
                f"such as {names[0]!r}. Convert or download it again."
            )
    return model.eval(), processor


def load_exported(folder: str) -> tuple[OnnxCatSeg, CatSegProcessor]:
    """Loads an exported model with its processor, or says what is wrong with its files.

    Args:
        folder (`str`): What [`export_onnx`] wrote.

    Returns:
        `tuple[OnnxCatSeg, CatSegProcessor]`.

    Raises:
        ImportError: If ONNX Runtime is not installed.
        OSError: If a file is missing.
        ValueError: If a file is damaged.
    """
    with _named_errors(folder):
        processor = _load_processor(folder)
        return OnnxCatSeg.from_pretrained(folder), processor


def _load_processor(folder: str) -> CatSegProcessor:
    processor = CatSegProcessor.from_pretrained(folder)
    processor.tokenizer("a")  # damaged ones can be loaded, and fail here
    return processor


@contextmanager
def _named_errors(folder: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, OSError, ValueError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # damaged files make libraries fail in all ways, those in Rust in their own
        raise ValueError(
            f"{folder} holds no whole model of catseg_hf: convert or download it again. {type(error).__name__}: "
            f"{error or 'no reason given'}"
        ) from error


__all__ = ["load_exported", "load_model_and_processor"]
