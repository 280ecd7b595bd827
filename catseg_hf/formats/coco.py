# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""COCO's object detection format (https://cocodataset.org/#format-data), of a photo or of many."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from .format import AnnotationFormat, json_line


if TYPE_CHECKING:
    import numpy as np

    from .shapes import AnnotatedPhoto, Annotation


def to_coco(photo: "AnnotatedPhoto") -> dict[str, Any]:
    """`images`, `annotations` and `categories`, whose ids are the class ids plus 1.

    Coordinates are those of pixel edges, which `pycocotools` draws exactly; holes are joined to the outline by cuts.
    """
    return {
        "images": [{"id": 1, "file_name": photo.file_name, "height": photo.height, "width": photo.width}],
        "annotations": [_entry(number, annotation, photo) for number, annotation in enumerate(photo.annotations, 1)],
        "categories": _categories(photo.names),
    }


def _categories(names: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": index, "name": name} for index, name in enumerate(names, 1)]


def _entry(number: int, annotation: "Annotation", photo: "AnnotatedPhoto") -> dict[str, Any]:
    left, top, right, bottom = (round(value, 2) for value in annotation.box)
    if photo.options.shapes == "rle":
        encoded = annotation.run_lengths(photo.height, photo.width)
        mask = {"size": [int(side) for side in encoded["size"]], "counts": encoded["counts"].decode("ascii")}
    else:
        mask = [_numbers(ring) for ring in annotation.rings()]
    entry = {
        "id": number,
        "image_id": 1,
        "category_id": annotation.class_id + 1,
        "segmentation": mask,
        "area": round(annotation.area, 2),
        "bbox": [left, top, round(right - left, 2), round(bottom - top, 2)],
        "iscrowd": 0,
    }
    return entry if annotation.score is None else {**entry, "score": round(annotation.score, 6)}


def _numbers(ring: "np.ndarray") -> list[float]:
    """Coordinates, whole where all are, as without simplification: that is a third less to write."""
    values = ring.round(2).ravel()
    return (values.astype(int) if (values == values.round()).all() else values).tolist()


def merge_coco(pieces: Iterable[Path], names: Sequence[str], file: TextIO) -> None:
    """Joins files of what [`to_coco`] returns; see [`AnnotationFormat.merge`]."""
    images: list[dict[str, Any]] = []
    annotation_id = 0
    file.write('{"annotations": [')
    for number, path in enumerate(pieces, 1):
        content = json.loads(path.read_text(encoding="utf-8"))
        images += [{**image, "id": number} for image in content["images"]]
        for entry in content["annotations"]:
            annotation_id += 1
            entry |= {"id": annotation_id, "image_id": number}
            file.write(f"{',' if annotation_id > 1 else ''}\n{json.dumps(entry, ensure_ascii=False)}")
    file.write('\n], "images": [')
    file.write(",".join(f"\n{json.dumps(image, ensure_ascii=False)}" for image in images))
    file.write(f'\n], "categories": {json.dumps(_categories(names), ensure_ascii=False)}}}\n')


class Coco(AnnotationFormat):
    """COCO's annotations."""

    name = "coco"
    title = "COCO"
    help = "COCO's annotations, as JSON"
    ending = ".coco.json"
    default_output = "annotations.json"
    needs_scores = True
    holds = frozenset({("polygons", "part"), ("polygons", "class"), ("rle", "part"), ("rle", "class")})
    folder_file = "annotations.json"
    merge = staticmethod(merge_coco)

    def text(self, photo: "AnnotatedPhoto", address: str) -> str:
        """See [`AnnotationFormat.text`]."""
        return json_line(to_coco(photo))
