# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""COCO's result format (https://cocodataset.org/#format-results): the masks of a photo as run lengths, in JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .format import Format, json_line
from .run_lengths import encode_rle


if TYPE_CHECKING:
    from catseg_hf.segmenting.segmentation import Segmentation


class CocoResults(Format):
    """A JSON list of classes with their masks; `category_id` is the number of the label, from 0."""

    name = "rle"
    title = "Run lengths"
    help = "COCO's results, as JSON"
    ending = ".rle.json"
    default_output = "rle.json"
    needs_scores = True

    def save(self, result: "Segmentation", path: Path) -> None:
        """See [`Format.save`]."""
        path.write_text(json_line(coco_results(result)), encoding="utf-8")


def coco_results(result: "Segmentation") -> list[dict[str, Any]]:
    """The classes of a photo in COCO's result format.

    Args:
        result ([`Segmentation`]): The photo, with scores.

    Returns:
        `list[dict]`: Of each class in the photo `image_id` (the photo's name), `category_id`, `category_name`, `bbox`
        (left, top, width, height), `area`, `score`, and `segmentation` with `size` and `counts`, the compressed string
        that `pycocotools.mask.decode` reads.
    """
    entries = []
    for segment in result.segments():
        left, top, right, bottom = segment["box"]
        mask = result.class_ids == segment["id"]
        entries.append(
            {
                "image_id": result.name,
                "category_id": segment["id"],
                "category_name": segment["label"],
                "segmentation": {"size": list(mask.shape), "counts": encode_rle(mask)},
                "area": segment["area"],
                "bbox": [left, top, right - left, bottom - top],
                "score": segment["score"],
            }
        )
    return entries


__all__ = ["CocoResults", "coco_results"]
