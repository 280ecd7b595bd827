# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Data sets of one's own: folders of images and label files, and data sets of the library `datasets`."""

import functools
import logging
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import PIL.Image

from catseg_hf.datasets.annotations import annotation_file, load_annotations
from catseg_hf.datasets.files import FileReader, label_values, read_label_image
from catseg_hf.datasets.folders import (
    IMAGE_SUFFIXES,
    LABEL_SUFFIXES,
    FolderFiles,
    image_files,
    label_files,
    sample_names,
    stem_of,
)
from catseg_hf.datasets.label_map import read_label_map
from catseg_hf.datasets.label_values import LabelValues, StoredIds
from catseg_hf.datasets.segmentation import Sample, SegmentationDataset, make_sample
from catseg_hf.datasets.yolo import NAMES_FILES
from catseg_hf.prompts_catseg import parse_labels
from catseg_hf.vocabularies import load_vocabulary


logger = logging.getLogger(__name__)

Missing = Literal["error", "skip"]

if TYPE_CHECKING:
    import datasets

Vocabulary = str | os.PathLike[str] | Sequence[str | Sequence[str]]


def load_folder(
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str],
    vocabulary: Vocabulary | None = None,
    *,
    ignore_index: int = 255,
    reduce_labels: bool = False,
    binary_masks: bool = False,
    label_map: str | os.PathLike[str] | None = None,
    missing: Missing = "error",
) -> SegmentationDataset:
    """A folder of images with a folder of label files of the same names, or with annotations.

    Args:
        images (`str` or `os.PathLike`):
            Folder of the images: JPEG, PNG, BMP, TIFF or WebP. Folders in it are searched as well.
        labels (`str` or `os.PathLike`):
            Folder of the label files: PNG, BMP or TIFF with one channel of 8 or 16 bits, gray or with a palette, or in
            colours that `label_map` names; each of the size of its image. `a/b.jpg` belongs to `a/b.png`, or to
            `a/b.jpg.png` where there are images that differ only in their ending. Files without an image are not used.
            Or annotations: COCO's JSON with polygons or run lengths, an export of Label Studio as JSON with polygons or
            brush, CVAT's XML 1.1 for images with polygons or masks, or a YOLO segmentation folder, named by it or its
            `data.yaml` (`classes.txt`, `obj.names`, `obj.data`), or a folder of LabelMe's JSON files with polygons or
            masks, which can be that of the images. But for YOLO's, only the images in the file are used; an image of a
            YOLO folder that has no text file is background. Later annotations cover earlier ones, and pixels without
            any are not scored.
        vocabulary (`str`, `os.PathLike` or `Sequence[str | Sequence[str]]`):
            The classes in the order of their ids: a list as [`CatSegProcessor`] takes it, the path of a text file with
            one class a line (` | ` separates synonyms, `#` starts a comment), or the name of a shipped vocabulary.
            Classes of annotations and of `label_map` are found by any of their names; without a vocabulary, they are
            those of the file.
        ignore_index (`int`, *optional*, defaults to 255):
            Value of the pixels that are not scored, from 0 to 65535; with `label_map` only their id in the samples.
        reduce_labels (`bool`, *optional*, defaults to `False`):
            Whether 0 means "not scored", too, and the first class is 1; for label files.
        binary_masks (`bool`, *optional*, defaults to `False`):
            Whether label files are masks of 0 and 255, the first and the second of two classes, so that all pixels are
            scored.
        label_map (`str` or `os.PathLike`, *optional*):
            A file that names the colours or the values of label files: `class_dict.csv`, with the first line
            `name,r,g,b` or `name,id`, or CVAT's `labelmap.txt`. Several can have the same name. Pixels named `ignore`,
            `void` or `unlabeled` are not scored, unless the vocabulary has a class of that name; a colour or value that
            the file does not name is an error. Of label files with a palette, the file is about the colours or about
            the positions in it, as it has colours or ids.
        missing (`"error"` or `"skip"`, *optional*, defaults to `"error"`):
            What becomes of images that annotations list and the folder does not have, and of images without a label
            file: `"skip"` goes on without them, if any are left.

    Returns:
        [`SegmentationDataset`]: The data set, in the order of the names, named after the folder of the images. Its
        `warnings` say with figures what was left out: pictures and videos of other formats, shapes without area,
        annotations without a shape, and what is missing. They are logged as well.

    Raises:
        ValueError: If `vocabulary` is wrong or missing, `ignore_index` is out of range, or annotations or `label_map`
            cannot be used.
        OSError: If a folder is missing or has no images, or images have no labels; the message names them.

    Example:

    ```python
    >>> from catseg_hf.datasets import load_folder

    >>> dataset = load_folder("images", "labels", ["wall", "sky", ["tree", "shrub"], "traffic light", "dog"])
    >>> sample = dataset[0]
    >>> sample.image.size, sample.labels.shape
    ((80, 60), (60, 80))
    ```
    """
    if missing not in get_args(Missing):
        raise ValueError(f"`missing` must be one of {get_args(Missing)}, got {missing!r}.")
    image_folder, label_folder = Path(images).expanduser(), Path(labels).expanduser()
    annotations = annotation_file(label_folder)
    for argument, folder in (("images", image_folder), ("labels", label_folder)):
        if not folder.is_dir() and not (folder is label_folder and annotations):
            kind = "folder" if argument == "images" else "folder and no annotation file"
            raise FileNotFoundError(f"`{argument}` {str(folder)!r} is no {kind}.")
    found = image_files(image_folder)
    if not found.files:
        problem = f"`images` {str(image_folder)!r} holds no file that ends with {IMAGE_SUFFIXES}."
        raise FileNotFoundError(" ".join([problem, *found.remarks]))
    has_both = annotations == label_folder or (annotations is not None and annotations.name in NAMES_FILES)
    if has_both and label_folder.is_dir():
        # Label files with the names of their classes, or outlines, beside them are label files; images are none.
        labelled = label_files(label_folder)
        images_there = set(found.files) if label_folder.samefile(image_folder) else set()
        masks = (labelled.get(stem_of(image)) for image in found.files)
        annotations = None if all(mask is not None and mask not in images_there for mask in masks) else annotations
    if annotations is not None:
        if reduce_labels or binary_masks or label_map is not None:
            raise ValueError(
                "`reduce_labels`, `binary_masks` and `label_map` are for label files: annotations name their classes."
            )
        chosen = None if vocabulary is None else classes_and_ids(vocabulary, ignore_index, False)[0]
        dataset = load_annotations(image_folder, found, annotations, chosen, ignore_index, skip=missing == "skip")
    else:
        pairs, remarks = _pairs(image_folder, found, label_folder, missing)
        entries, ids = classes_and_ids(vocabulary, ignore_index, reduce_labels, binary_masks, label_map)
        names = sample_names([image for image, _ in pairs])
        records = [(name, *pair) for name, pair in zip(names, pairs, strict=True)]
        read_labels = functools.partial(read_label_image, by_color=ids.by_color)
        read = FileReader(image_folder, label_folder, read_labels, ids)
        name = image_folder.resolve().name
        dataset = SegmentationDataset(name, "all", entries, records, read, ignore_index=ignore_index, warnings=remarks)
    for warning in dataset.warnings:
        logger.warning("%s: %s", dataset.name, warning)
    return dataset


def _pairs(
    image_folder: Path, found: FolderFiles, label_folder: Path, missing: Missing
) -> tuple[list[tuple[str, str]], list[str]]:
    """Each image and its label file, relative to their folders, and what was left out."""
    by_stem, stems = label_files(label_folder), Counter(map(stem_of, found.files))
    pairs, unlabelled = [], []
    for image in sorted(found.files, key=stem_of):
        stem = stem_of(image)
        # Of images that differ only in their ending, label files can have that before their own.
        label = (by_stem.get(image) if stems[stem] > 1 else None) or by_stem.get(stem)
        if label is None:
            unlabelled.append(image)
        elif stems[stem] > 1 and (image_folder / image).samefile(label_folder / label):
            raise ValueError(
                f"{image_folder / image} is an image and, by its name, the label file of another one: keep label "
                "files in a folder of their own."
            )
        else:
            pairs.append((image, label))
    if not unlabelled:
        return pairs, found.remarks
    problem = (
        f"{len(unlabelled)} of {len(found.files)} images have no labels, such as {image_folder / unlabelled[0]}: "
        f"looked for {label_folder / stem_of(unlabelled[0])} with one of {LABEL_SUFFIXES}."
    )
    if missing == "error" or not pairs:
        advice = "" if missing == "skip" else ' To go on without them: `--missing skip`, in Python `missing="skip"`.'
        raise FileNotFoundError(" ".join([f"{problem}{advice}", *found.remarks]))
    return pairs, [*found.remarks, f"{problem} They are left out."]


def from_hub_dataset(
    dataset: "datasets.Dataset | str | os.PathLike[str]",
    vocabulary: Vocabulary | None = None,
    *,
    split: str = "validation",
    image_column: str = "image",
    label_column: str = "annotation",
    ignore_index: int = 255,
    reduce_labels: bool = False,
    binary_masks: bool = False,
    label_map: str | os.PathLike[str] | None = None,
) -> SegmentationDataset:
    """A data set of the library `datasets`, from the Hugging Face Hub or anywhere.

    Args:
        dataset (`datasets.Dataset`, `str` or `os.PathLike`):
            The data set, or a name or path for `datasets.load_dataset`.
        vocabulary (`str`, `os.PathLike` or `Sequence[str | Sequence[str]]`):
            The classes in the order of their ids; by default those of `label_map`. See [`load_folder`].
        split (`str`, *optional*, defaults to `"validation"`):
            The part that `load_dataset` loads; of a `Dataset` that is given, only the name of its part.
        image_column (`str`, *optional*, defaults to `"image"`):
            Column of the images, of the type `datasets.Image`.
        label_column (`str`, *optional*, defaults to `"annotation"`):
            Column of the labels: images with one channel, or two-dimensional arrays.
        ignore_index (`int`, *optional*, defaults to 255):
            Value of the pixels that are not scored, from 0 to 65535; see [`load_folder`].
        reduce_labels (`bool`, *optional*, defaults to `False`):
            Whether 0 means "not scored", too, and the first class is 1.
        binary_masks (`bool`, *optional*, defaults to `False`):
            Whether the labels are masks of 0 and 255; see [`load_folder`].
        label_map (`str` or `os.PathLike`, *optional*):
            A file that names the colours or the values of the labels; see [`load_folder`].

    Returns:
        [`SegmentationDataset`]: The data set.

    Raises:
        ValueError: If a column does not exist, `vocabulary` or `label_map` is wrong or `ignore_index` is out of range.
        TypeError: If `dataset` is something else, such as a stream.
        ImportError: If `datasets` is not installed.

    Example:

    ```python
    >>> from datasets import Dataset, Image
    >>> from catseg_hf.datasets import from_hub_dataset

    >>> rows = Dataset.from_dict({"image": ["images/0.png"], "annotation": ["labels/0.png"]})
    >>> rows = rows.cast_column("image", Image()).cast_column("annotation", Image())
    >>> from_hub_dataset(rows, "classes.txt")[0].labels.shape
    (60, 80)
    ```
    """
    try:
        from datasets import Dataset, load_dataset
    except ImportError as error:
        raise ImportError('This needs the library `datasets`: `pip install "catseg-hf[eval]"`.') from error
    if isinstance(dataset, str | os.PathLike):
        name = os.fspath(dataset)
        dataset = load_dataset(name, split=split)
    elif isinstance(dataset, Dataset):
        name = dataset.info.dataset_name or "dataset"
    else:
        raise TypeError(
            f"`dataset` is a {type(dataset).__name__}: a `datasets.Dataset` is needed. Choose a split of a "
            "`DatasetDict`; load without `streaming=True`, since images are divided and resumed by number."
        )
    for argument, column in (("image_column", image_column), ("label_column", label_column)):
        if column not in dataset.column_names:
            raise ValueError(f"`{argument}={column!r}` is no column of the data set: it has {dataset.column_names}.")
    entries, ids = classes_and_ids(vocabulary, ignore_index, reduce_labels, binary_masks, label_map)
    read = RowReader(dataset, image_column, label_column, ids)
    return SegmentationDataset(name, split, entries, range(len(dataset)), read, ignore_index=ignore_index)


@dataclass(frozen=True)
class RowReader:
    """Reads a sample from a row of a `datasets.Dataset`.

    Args:
        dataset (`datasets.Dataset`): The data set.
        image_column, label_column (`str`): Its columns.
        ids ([`LabelValues`]): What the values of the labels stand for.
    """

    dataset: "datasets.Dataset"
    image_column: str
    label_column: str
    ids: LabelValues

    def __call__(self, index: int) -> Sample:
        """The sample of a row.

        Args:
            index (`int`): Number of the row.

        Returns:
            [`Sample`]: Image and labels.
        """
        image_place, label_place = (
            f"column {column!r} of row {index}" for column in (self.image_column, self.label_column)
        )
        try:
            row = self.dataset[index]
        except Exception as error:  # damaged images raise many types
            raise OSError(f"Row {index} of the data set cannot be read: {error}") from error
        image, labels = row[self.image_column], row[self.label_column]
        if not isinstance(image, PIL.Image.Image):
            raise ValueError(
                f"{image_place} holds no image but a {type(image).__name__}: cast it with "
                f"`dataset.cast_column({self.image_column!r}, datasets.Image())`."
            )
        try:
            values = _values(labels, self.ids.by_color)
        except ValueError as error:
            raise ValueError(f"{label_place} {error}") from error
        return make_sample(f"{index:06d}", image, values, self.ids, image_place, label_place)


def _values(labels: Any, by_color: bool) -> np.ndarray:
    """Stored values of the labels in a row: an image, or an array."""
    if isinstance(labels, PIL.Image.Image):
        return label_values(labels, by_color)
    if by_color:
        raise ValueError(f"holds no image but a {type(labels).__name__}: a label map with colours needs images.")
    return np.asarray(labels)


def classes_and_ids(
    vocabulary: Vocabulary | None,
    ignore_index: int,
    reduce_labels: bool,
    binary_masks: bool = False,
    label_map: str | os.PathLike[str] | None = None,
) -> tuple[list[str | list[str]], LabelValues]:
    """The entries of a vocabulary, and what label values stand for."""
    if not 0 <= ignore_index <= 65535:
        raise ValueError(f"`ignore_index` must be from 0 to 65535, got {ignore_index}.")
    if isinstance(vocabulary, str | os.PathLike):
        vocabulary = load_vocabulary(vocabulary)
    entries = None if vocabulary is None else parse_labels(list(vocabulary))
    if label_map is not None:
        if reduce_labels or binary_masks:
            raise ValueError(
                "`label_map` says what all values stand for: leave out `reduce_labels` and `binary_masks`."
            )
        return read_label_map(label_map).classes_and_ids(entries, ignore_index)
    if entries is None:
        raise ValueError("Label files hold numbers: give the `vocabulary` that these stand for, or a `label_map`.")
    if binary_masks:
        if len(entries) != 2 or reduce_labels:
            raise ValueError(
                "`binary_masks` are of two classes, one for 0 and one for 255, and without `reduce_labels`; the "
                f"vocabulary has {len(entries)}."
            )
        return entries, StoredIds((0, 255), ignore_index, ())
    first = int(reduce_labels)
    ignored = {ignore_index, 0} if reduce_labels else {ignore_index}
    return entries, StoredIds(range(first, len(entries) + first), ignore_index, tuple(sorted(ignored)))
