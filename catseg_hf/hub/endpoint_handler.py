# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a Hugging Face Inference Endpoint runs of a model's repository, there as `handler.py`; it stands alone."""

import base64
import binascii
from io import BytesIO
from typing import Any

import torch
from PIL import Image
from transformers import pipeline


PARAMETERS = ("candidate_labels", "others", "threshold", "background_label")


class EndpointHandler:
    """Answers requests as the pipeline does, in JSON.

    Args:
        path (`str`, *optional*, defaults to `"."`): The folder of the model, with its code.
    """

    def __init__(self, path: str = ".") -> None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self.pipeline = pipeline("image-segmentation", model=path, trust_remote_code=True, device=device)

    def __call__(self, data: dict[str, Any]) -> list[Any]:
        """Segments an image, or several.

        Args:
            data (`dict`):
                `inputs`: an image as the bytes of its file, these in base64, or a `PIL.Image.Image`; or a list of
                them. `parameters`, *optional*: `candidate_labels`, `others`, `threshold` and `background_label`, as the
                pipeline takes them, but no files.

        Returns:
            `list[dict]`: For each class in the image `label`, `score` and `mask`, a PNG in base64, which is 255 where
            the class is; for a list of images a list of such lists.

        Raises:
            ValueError: If an image cannot be read, or a parameter is unknown or has a value that is not allowed.
        """
        parameters = data.get("parameters") or {}
        unknown = [name for name in parameters if name not in PARAMETERS]
        if unknown:
            raise ValueError(f"There is no parameter {unknown[0]!r}: there are {', '.join(PARAMETERS)}.")
        if isinstance(parameters.get("others"), str) and parameters["others"] != "own":
            raise ValueError('`others` must be "own" or a list of classes.')
        given = data.get("inputs")
        if isinstance(given, list):
            return [self._segment(each, parameters) for each in given]
        return self._segment(given, parameters)

    def _segment(self, given: Any, parameters: dict[str, Any]) -> list[dict[str, Any]]:
        return [{**each, "mask": _base64_png(each["mask"])} for each in self.pipeline(_image(given), **parameters)]


def _image(given: Any) -> Image.Image:
    if isinstance(given, Image.Image):
        return given
    if isinstance(given, str):
        # Neither addresses nor paths: this machine fetches and opens nothing for its callers.
        try:
            given = base64.b64decode(given.partition(";base64,")[2] or given, validate=True)
        except (binascii.Error, ValueError) as error:
            raise ValueError("`inputs` is no base64: encode the bytes of the image's file.") from error
    if not isinstance(given, bytes):
        raise ValueError(f"`inputs` must be an image's bytes, or these in base64, got {type(given).__name__}.")
    try:
        image = Image.open(BytesIO(given))
        image.load()
    except Exception as error:  # decoders raise errors of all kinds on damaged files
        raise ValueError("`inputs` is no picture, or damaged: send JPEG or PNG.") from error
    return image


def _base64_png(mask: Image.Image) -> str:
    file = BytesIO()
    mask.save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


__all__ = ["EndpointHandler"]
