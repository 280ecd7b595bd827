# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""JSON: what was found in a photo, in a file without and in the answer of a service with masks."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from .coco_results import run_lengths
from .format import Format


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
        """See [`Format.answer`]; masks are as COCO has them, and boxes left, top, right and bottom."""
        width, height = result.picture.size
        segments = [
            {name: segment[name] for name in ("label", "score", "area", "box")}
            | {"mask": run_lengths(result.class_ids == segment["id"])}
            for segment in result.segments()
        ]
        content = {"width": width, "height": height, "model": model, "segments": segments}
        return json.dumps(content, ensure_ascii=False).encode()
