# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Images with annotations: COCO's JSON, folders of YOLO and LabelMe, Label Studio's exports, CVAT's XML."""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
import PIL.ImageOps

from catseg_hf.datasets.annotated import AnnotatedImage, AnnotationFile, ids_by_name, match_files
from catseg_hf.datasets.coco import is_coco, read_coco
from catseg_hf.datasets.cvat import is_cvat, read_cvat, read_xml
from catseg_hf.datasets.files import read_image
from catseg_hf.datasets.folders import FolderFiles, sample_names
from catseg_hf.datasets.label_studio import is_label_studio, read_label_studio
from catseg_hf.datasets.label_values import StoredIds
from catseg_hf.datasets.labelme import is_labelme, is_labelme_folder, read_labelme
from catseg_hf.datasets.segmentation import Sample, SegmentationDataset, make_sample
from catseg_hf.datasets.yolo import is_yolo, read_yolo, yolo_data_file
from catseg_hf.prompts_catseg import Label, parse_labels
from catseg_hf.text_cleaning_catseg import clean_text


# Of pixels that no annotation holds.
NOTHING = 65535
KINDS = (
    "COCO's and Label Studio's end in .json, YOLO's in .yaml (or are classes.txt, obj.names, obj.data), CVAT's in "
    ".xml, and LabelMe's are a folder"
)


def annotation_file(labels: Path) -> Path | None:
    """The annotation file that a path stands for.

    Args:
        labels (`Path`): A file, or a folder.

    Returns:
        `Path`, *optional*: The file, or that of a YOLO folder which names its classes, or a folder of LabelMe; `None`
        of another folder.

    Raises:
        ValueError: If it is a file of another kind.
    """
    if labels.is_dir():
        return yolo_data_file(labels) or (labels if is_labelme_folder(labels) else None)
    if labels.is_file() and labels.suffix.lower() not in (".json", ".xml") and not is_yolo(labels):
        raise ValueError(f"{labels} is no annotation file: {KINDS}.")
    return labels if labels.is_file() else None


def load_annotations(
    images: Path, found: FolderFiles, labels: Path, vocabulary: list[Label] | None, ignore_index: int, *, skip: bool
) -> SegmentationDataset:
    """Images with an annotation file.

    Args:
        images (`Path`): The folder of the images.
        found ([`FolderFiles`]): The images in it, and what is left out there.
        labels (`Path`): The annotation file, or the folder of LabelMe's.
        vocabulary (`list[str | list[str]]`, *optional*): The classes; by default those of the file.
        ignore_index (`int`): Id of pixels without annotation.
        skip (`bool`): Whether to go on without images that the file lists and the folder lacks.

    Returns:
        [`SegmentationDataset`]: The images that the file names.

    Raises:
        ValueError: If the file cannot be used; says why.
        OSError: If an image is missing; names it.
        ImportError: If there are polygons and pycocotools is not installed.
    """
    content = _read(labels, images, found.files)
    entries, class_ids, merged = _classes(content, vocabulary, labels)
    matches = match_files((image.file_name for image in content.images), found.files)
    missing = [image.file_name for image, file in zip(content.images, matches, strict=True) if file is None]
    remarks = [*found.remarks, *merged, *(f"{labels.name}: {remark}" for remark in content.remarks)]
    if missing:
        problem = (
            f"{len(missing)} of the {len(matches)} images of {labels} are not in {images}, or there are several of "
            f"that name, such as {missing[0]}."
        )
        if not skip or len(missing) == len(matches):
            advice = "" if skip else ' To go on without them: `--missing skip`, in Python `missing="skip"`.'
            raise FileNotFoundError(" ".join([f"{problem}{advice}", *found.remarks]))
        remarks.append(f"{problem} They are left out.")
    pairs = [(file, image) for file, image in zip(matches, content.images, strict=True) if file is not None]
    names = sample_names([file for file, _ in pairs])
    records = sorted(
        ((name, *pair) for name, pair in zip(names, pairs, strict=True)), key=lambda record: (record[0], record[1])
    )
    ids = StoredIds(range(len(entries)), ignore_index, (NOTHING,))
    read = ShapeReader(images, labels, class_ids, ids)
    return SegmentationDataset(
        images.resolve().name, "all", entries, records, read, ignore_index=ignore_index, warnings=remarks
    )


def _read(labels: Path, images: Path, files: Sequence[str]) -> AnnotationFile:
    if is_yolo(labels):
        return read_yolo(labels, images, files)
    if labels.is_dir():
        return read_labelme(labels)
    try:
        return _read_content(read_xml(labels) if labels.suffix.lower() == ".xml" else json.loads(labels.read_bytes()))
    except ValueError as error:
        raise ValueError(f"{labels}{'' if isinstance(error, _UnknownFormat) else ':'} {error}") from error
    except (TypeError, AttributeError, IndexError, KeyError) as error:
        raise ValueError(f"{labels}: is not built as its format has it ({error!r}): export it anew.") from error


class _UnknownFormat(ValueError):
    """A file is of no known format."""


def _read_content(content: Any) -> AnnotationFile:
    if isinstance(content, Element):
        if is_cvat(content):
            return read_cvat(content)
        raise _UnknownFormat('is not CVAT\'s XML 1.1: export the task as "CVAT for images 1.1".')
    if is_label_studio(content):
        return read_label_studio(content)
    if is_coco(content):
        return read_coco(content)
    if is_labelme(content):
        raise _UnknownFormat("is LabelMe's file of one image: give the folder that holds those of all.")
    raise _UnknownFormat("is neither COCO's JSON nor an export of Label Studio.")


def _classes(
    found: AnnotationFile, vocabulary: list[Label] | None, labels: Path
) -> tuple[list[Label], dict[str, int], list[str]]:
    """The classes, the id of each name in the file, and which names of the file are one class."""
    spellings = defaultdict(list)
    for name in found.class_names:
        spellings[clean_text(name).lower()].append(name)
    merged = [
        f"{labels.name}: {len(names)} classes are called {' and '.join(map(repr, dict.fromkeys(names)))}, and are one."
        for names in spellings.values()
        if len(names) > 1
    ]
    if vocabulary is None:
        try:
            entries = parse_labels([names[0] for names in spellings.values()])
        except ValueError as error:
            raise ValueError(f"{labels}, its classes: {error}") from error
        return entries, {name: index for index, names in enumerate(spellings.values()) for name in names}, merged
    known = ids_by_name(vocabulary)
    used = dict.fromkeys(shape.class_name for image in found.images for shape in image.shapes)
    unknown = [name for name in used if name.casefold() not in known]
    if unknown:
        raise ValueError(
            f"{labels} has annotations of {', '.join(map(repr, unknown[:5]))}, which the vocabulary does not have, or "
            "has in several classes: add classes, or synonyms to them."
        )
    return vocabulary, {name: known[name.casefold()] for name in used}, merged


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
        for class_name, shape, which in annotated.shapes:
            try:
                shape.paint(values, self.class_ids[class_name])
            except ValueError as error:
                raise ValueError(f"{self.annotation_file} {error} It is {which}. The image is {file}.") from error
        return make_sample(name, image, values, self.ids, path, place)


__all__ = ["annotation_file", "load_annotations"]
