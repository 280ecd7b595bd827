# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Folders of images with an annotation file: COCO's JSON, YOLO's segmentation folders, Label Studio's exports."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL.ImageOps

from catseg_hf.datasets.annotated import AnnotatedImage, AnnotationFile, ids_by_name, match_files
from catseg_hf.datasets.coco import read_coco
from catseg_hf.datasets.files import read_image
from catseg_hf.datasets.label_studio import read_label_studio
from catseg_hf.datasets.label_values import StoredIds
from catseg_hf.datasets.segmentation import Sample, SegmentationDataset, make_sample
from catseg_hf.datasets.yolo import read_yolo
from catseg_hf.prompts_catseg import Label, parse_labels


# Of pixels that no annotation holds.
NOTHING = 65535
YOLO_DATA = "data.yaml"


def annotation_file(labels: Path) -> Path | None:
    """The annotation file that a path stands for.

    Args:
        labels (`Path`): A file, or a folder.

    Returns:
        `Path`, *optional*: The file, or the `data.yaml` of a folder; `None` of another folder.

    Raises:
        ValueError: If it is a file of another kind.
    """
    if labels.is_dir():
        return labels / YOLO_DATA if (labels / YOLO_DATA).is_file() else None
    if labels.is_file() and labels.suffix.lower() not in (".json", ".yaml", ".yml"):
        raise ValueError(f"{labels} is no annotation file: COCO's and Label Studio's end in .json, YOLO's in .yaml.")
    return labels if labels.is_file() else None


def load_annotations(
    images: Path, files: Sequence[str], labels: Path, vocabulary: list[Label] | None, ignore_index: int
) -> SegmentationDataset:
    """Images with an annotation file.

    Args:
        images (`Path`): The folder of the images.
        files (`Sequence[str]`): The images in it, relative to it, with `/`.
        labels (`Path`): The annotation file.
        vocabulary (`list[str | list[str]]`, *optional*): The classes; by default those of the file.
        ignore_index (`int`): Id of pixels without annotation.

    Returns:
        [`SegmentationDataset`]: The images that the file names.

    Raises:
        ValueError: If the file cannot be used; says why.
        OSError: If an image is missing; names it.
        ImportError: If there are polygons and pycocotools is not installed.
    """
    found = _read(labels, images, files)
    entries, class_ids = _classes(found, vocabulary, labels)
    matches = match_files((image.file_name for image in found.images), files)
    missing = [image.file_name for image, file in zip(found.images, matches, strict=True) if file is None]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of the {len(matches)} images of {labels} are not in {images}, or there are several of "
            f"that name, such as {missing[0]}."
        )
    records: dict[str, tuple[str, str, AnnotatedImage]] = {}
    for file, image in zip(matches, found.images, strict=True):
        name = Path(file).with_suffix("").as_posix().replace("/", "__")
        if name in records:
            raise ValueError(f"{labels}: the images {records[name][1]} and {file} have the same name: rename one.")
        records[name] = (name, file, image)
    ids = StoredIds(range(len(entries)), ignore_index, (NOTHING,))
    read = ShapeReader(images, labels, class_ids, ids)
    ordered = [records[name] for name in sorted(records)]
    return SegmentationDataset(images.resolve().name, "all", entries, ordered, read, ignore_index=ignore_index)


def _read(labels: Path, images: Path, files: Sequence[str]) -> AnnotationFile:
    if labels.suffix.lower() != ".json":
        return read_yolo(labels, images, list(files))
    try:
        content = json.loads(labels.read_text(encoding="utf-8"))
        if isinstance(content, list):
            return read_label_studio(content)
        if isinstance(content, dict) and "annotations" in content:
            return read_coco(content)
    except ValueError as error:
        raise ValueError(f"{labels}: {error}") from error
    raise ValueError(f"{labels} is neither COCO's JSON nor an export of Label Studio.")


def _classes(found: AnnotationFile, vocabulary: list[Label] | None, labels: Path) -> tuple[list[Label], dict[str, int]]:
    """The classes, and the id of each name in the file."""
    if vocabulary is None:
        return parse_labels(list(found.class_names)), {name: index for index, name in enumerate(found.class_names)}
    known = ids_by_name(vocabulary)
    used = dict.fromkeys(name for image in found.images for name, _ in image.shapes)
    unknown = [name for name in used if name.casefold() not in known]
    if unknown:
        raise ValueError(
            f"{labels} has annotations of {', '.join(map(repr, unknown[:5]))}, which the vocabulary does not have, or "
            "has in several classes: add classes, or synonyms to them."
        )
    return vocabulary, {name: known[name.casefold()] for name in used}


@dataclass(frozen=True)
class ShapeReader:
    """Reads a sample from an image file and shapes.

    Args:
        image_folder (`Path`): Where the images are.
        annotation_file (`Path`): Where the shapes come from, for messages.
        class_ids (`dict[str, int]`): Id of each class.
        ids ([`StoredIds`]): What painted values stand for.
    """

    image_folder: Path
    annotation_file: Path
    class_ids: dict[str, int]
    ids: StoredIds

    def __call__(self, record: tuple[str, str, AnnotatedImage]) -> Sample:
        """The sample of a record.

        Args:
            record (`tuple[str, str, AnnotatedImage]`): Name, file of the image, and its annotations.

        Returns:
            [`Sample`]: Image and labels.
        """
        name, file, annotated = record
        path, place = self.image_folder / file, f"those of {file} in {self.annotation_file}"
        image = read_image(path)
        size = annotated.size or PIL.ImageOps.exif_transpose(image).size[::-1]
        values = np.full(size, NOTHING, dtype=np.int32)
        try:
            for class_name, shape in annotated.shapes:
                shape.paint(values, self.class_ids[class_name])
        except ValueError as error:
            raise ValueError(f"{self.annotation_file} {error} The image is {file}.") from error
        return make_sample(name, image, values, self.ids, path, place)


__all__ = ["annotation_file", "load_annotations"]
