# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What callers get of a segmented photo."""

import json
from io import BytesIO

from catseg_hf.app.outputs import encode_rle, save_label_map
from catseg_hf.app.segmentation import NO_CLASS, Segmentation
from catseg_hf.pictures import overlay


MEDIA_TYPES = {"json": "application/json", "overlay": "image/png", "label-map": "image/png"}


def make_answer(result: Segmentation, kind: str, model: str) -> bytes:
    """The body of an answer.

    Args:
        result ([`Segmentation`]): The photo, with scores.
        kind (`str`): `"json"`, `"overlay"` or `"label-map"`.
        model (`str`): What the model is called.

    Returns:
        `bytes`: JSON or a PNG.
    """
    if kind == "json":
        return json.dumps(describe(result, model), ensure_ascii=False).encode()
    file = BytesIO()
    if kind == "label-map":
        save_label_map(result, file)
    else:
        overlay(result.picture, result.class_ids, result.labels, background_id=NO_CLASS).save(file, format="PNG")
    return file.getvalue()


def describe(result: Segmentation, model: str) -> dict[str, object]:
    """The classes in a photo, in the order of the labels.

    Args:
        result ([`Segmentation`]): The photo, with scores.
        model (`str`): What the model is called.

    Returns:
        `dict`: `width`, `height`, `model`, and `segments`, each with `label`, `score` (mean over its pixels, 0 to 1),
        `area` in pixels, `box` (left, top, right, bottom; right and bottom are outside) and `mask`, COCO's `size` and
        `counts`.
    """
    segments = []
    for segment in result.segments():
        mask = result.class_ids == segment["id"]
        found = {name: segment[name] for name in ("label", "score", "area", "box")}
        segments.append({**found, "mask": {"size": list(mask.shape), "counts": encode_rle(mask)}})
    width, height = result.picture.size
    return {"width": width, "height": height, "model": model, "segments": segments}


__all__ = ["MEDIA_TYPES", "describe", "make_answer"]
