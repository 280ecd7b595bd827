# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""JSON: what was found in a photo, in a file without and in the answer of a service with masks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .format import Format
from .run_lengths import encode_rle


if TYPE_CHECKING:
    from catseg_hf.segmenting.segmentation import Segmentation


class Summary(Format):
    """Labels, areas, boxes and scores."""

    name = "json"
    title = "JSON"
    help = "labels, scores, areas and boxes"
    ending = ".json"
    default_output = "segmentation.json"
    needs_scores = True
    media_type = "application/json"

    def save(self, result: "Segmentation", path: Path) -> None:
        """See [`Format.save`]."""
        width, height = result.picture.size
        content = {
            "image": result.name,
            "width": width,
            "height": height,
            "labels": result.names,
            "segments": result.segments(),
        }
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    def answer(self, result: "Segmentation", model: str) -> bytes:
        """See [`Format.answer`]."""
        return json.dumps(describe(result, model), ensure_ascii=False).encode()


def describe(result: "Segmentation", model: str) -> dict[str, Any]:
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


__all__ = ["Summary", "describe"]
