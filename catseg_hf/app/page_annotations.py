# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What visitors of the web page download: the annotations of what they see, in pixels of their photo."""

import json
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

from catseg_hf.app.annotation_places import DEFAULT_OUTPUTS, config_file
from catseg_hf.app.page_model import SegmentedPhoto


# What the page calls the formats.
FORMAT_NAMES = {
    "coco": "COCO",
    "yolo": "YOLO",
    "label-studio": "Label Studio",
    "cvat": "CVAT",
    "geojson": "GeoJSON",
}


def annotation_download(
    photo: SegmentedPhoto, kind: str, visible: Sequence[int], threshold: float
) -> tuple[str, bytes]:
    """Makes the file that a visitor asks for.

    Args:
        photo ([`SegmentedPhoto`]): The photo.
        kind (`str`): Key of [`FORMAT_NAMES`].
        visible (`Sequence[int]`): Ids of the classes that are shown.
        threshold (`float`): Least score of a pixel that is shown.

    Returns:
        `tuple[str, bytes]`: Name and content; a ZIP where the format has several files.

    Raises:
        ValueError: If libraries are missing; says how to install them.
    """
    try:
        from catseg_hf import annotations
    except ImportError as error:
        raise ValueError(str(error)) from error
    shown = photo.segmentation
    ids = photo.shown_ids(visible, threshold)
    annotated = annotations.annotate(shown.name, ids, shown.names, shown.scores, size=photo.size)
    if kind == "yolo":
        label_file = f"labels/{annotated.stem}.txt"
        files = {label_file: annotations.to_yolo(annotated), "data.yaml": annotations.yolo_data(shown.names)}
        return "yolo.zip", _zipped(files)
    name = DEFAULT_OUTPUTS[kind]
    if kind == "cvat":
        return name, annotations.to_cvat(annotated).encode()
    if kind == "label-studio":
        tasks = json.dumps(annotations.to_label_studio(annotated, shown.name), ensure_ascii=False)
        interface = annotations.label_studio_config(shown.names, annotated.options.shapes)
        return "tasks.zip", _zipped({name: tasks, config_file(Path(name)).name: interface})
    content = (annotations.to_coco if kind == "coco" else annotations.to_geojson)(annotated)
    return name, json.dumps(content, ensure_ascii=False).encode()


def _zipped(files: dict[str, str]) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w", ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


__all__ = ["FORMAT_NAMES", "annotation_download"]
