# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Data sets of one's own: folders of images and label files, and data sets of the library `datasets`."""

import functools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from catseg_hf.datasets.annotations import annotation_file, load_annotations
from catseg_hf.datasets.files import FileReader, label_values, read_label_image
from catseg_hf.datasets.label_map import read_label_map
from catseg_hf.datasets.label_values import LabelValues, StoredIds
from catseg_hf.datasets.segmentation import Sample, SegmentationDataset, make_sample
from catseg_hf.prompts_catseg import parse_labels
from catseg_hf.vocabularies import load_vocabulary


IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
# Without JPEG, which changes class ids.
LABEL_SUFFIXES = (".png", ".bmp", ".tif", ".tiff")

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
) -> SegmentationDataset:
    """A folder of images with a folder of label files of the same names, or with annotations.

    Args:
        images (`str` or `os.PathLike`):
            Folder of the images: JPEG, PNG, BMP, TIFF or WebP. Folders in it are searched as well.
        labels (`str` or `os.PathLike`):
            Folder of the label files: PNG, BMP or TIFF with one channel of 8 or 16 bits, gray or with a palette, or in
            colours that `label_map` names; each of the size of its image. `a/b.jpg` belongs to `a/b.png`. Files without
            an image are not used.
            Or annotations: COCO's JSON with polygons or run lengths, an export of Label Studio as JSON with polygons or
            brush, or a YOLO segmentation folder, named by it or its `data.yaml`. Of COCO's and Label Studio's, only the
            images in the file are used. Later annotations cover earlier ones, and pixels without any are not scored.
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

    Returns:
        [`SegmentationDataset`]: The data set, in the order of the names, named after the folder of the images.

    Raises:
        ValueError: If `vocabulary` is wrong or missing, `ignore_index` is out of range, or annotations or `label_map`
            cannot be used.
        OSError: If a folder is missing or has no images, or images have no labels; the message names them.
    """
    image_folder, label_folder = Path(images).expanduser(), Path(labels).expanduser()
    annotations = annotation_file(label_folder)
    for argument, folder in (("images", image_folder), ("labels", label_folder)):
        if not folder.is_dir() and not (folder is label_folder and annotations):
            kind = "folder" if argument == "images" else "folder and no annotation file"
            raise FileNotFoundError(f"`{argument}` {str(folder)!r} is no {kind}.")
    image_files = _files_by_stem(image_folder, IMAGE_SUFFIXES)
    if not image_files:
        raise FileNotFoundError(f"`images` {str(image_folder)!r} holds no file that ends with {IMAGE_SUFFIXES}.")
    if annotations is not None:
        if reduce_labels or binary_masks or label_map is not None:
            raise ValueError(
                "`reduce_labels`, `binary_masks` and `label_map` are for label files: annotations name their classes."
            )
        chosen = None if vocabulary is None else classes_and_ids(vocabulary, ignore_index, False)[0]
        files = [Path(file).as_posix() for file in image_files.values()]
        return load_annotations(image_folder, sorted(files), annotations, chosen, ignore_index)
    label_files = _files_by_stem(label_folder, LABEL_SUFFIXES)
    missing = [stem for stem in image_files if stem not in label_files]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(image_files)} images have no labels, such as "
            f"{image_folder / image_files[missing[0]]}: looked for "
            f"{label_folder / missing[0]} with one of {LABEL_SUFFIXES}."
        )
    entries, ids = classes_and_ids(vocabulary, ignore_index, reduce_labels, binary_masks, label_map)
    records = [(stem.replace("/", "__"), image_files[stem], label_files[stem]) for stem in sorted(image_files)]
    read_labels = functools.partial(read_label_image, by_color=ids.by_color)
    read = FileReader(image_folder, label_folder, read_labels, ids)
    return SegmentationDataset(image_folder.resolve().name, "all", entries, records, read, ignore_index=ignore_index)


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


def _files_by_stem(folder: Path, suffixes: Sequence[str]) -> dict[str, str]:
    """Paths, relative to a folder, of the files in it and below; by their paths without suffix, with `/`."""
    found: dict[str, str] = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            if name.lower().endswith(tuple(suffixes)):
                path = Path(parent, name).relative_to(folder)
                stem = path.with_suffix("").as_posix()
                if stem in found:
                    raise ValueError(f"{folder / found[stem]} and {folder / path} have the same name: remove one.")
                found[stem] = str(path)
    return found
