# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""COCO's result format (https://cocodataset.org/#format-results): the masks of a photo as run lengths, in JSON."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .format import Format, json_line


if TYPE_CHECKING:
    import numpy as np

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
    """The classes in a photo that has scores; of each the box is left, top, width and height."""
    entries = []
    for segment in result.segments():
        left, top, right, bottom = segment["box"]
        entries.append(
            {
                "image_id": result.name,
                "category_id": segment["id"],
                "category_name": segment["label"],
                "segmentation": run_lengths(result.class_ids == segment["id"]),
                "area": segment["area"],
                "bbox": [left, top, right - left, bottom - top],
                "score": segment["score"],
            }
        )
    return entries


def run_lengths(mask: "np.ndarray") -> dict[str, Any]:
    """A mask of shape `(height, width)` as `pycocotools.mask.decode` reads it, but with a string."""
    return {"size": list(mask.shape), "counts": encode_rle(mask)}


def encode_rle(mask: "np.ndarray") -> str:
    """A mask of shape `(height, width)` as COCO's compressed run lengths (`rleToString` in cocoapi's `maskApi.c`).

    These are, column by column, the lengths of runs, first of False, each from the third on as its difference to the
    one before the last, in groups of five bits.
    """
    import numpy as np

    pixels = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *([0] if pixels[:1].any() else []), *changes, pixels.size])
    runs[3:] -= runs[1:-2].copy()
    text = bytearray()
    for number in runs.tolist():
        more = True
        while more:
            bits, number = number & 31, number >> 5
            # The highest of the five bits is the sign of all that follows.
            more = number != (-1 if bits & 16 else 0)
            text.append(48 + bits + (32 if more else 0))
    return text.decode("ascii")
