# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The data sets that open-vocabulary segmentation is measured on, read from their files as distributed.

Nothing is written: class ids are made while reading. Layouts, ids and rules are those of the original repository's data
preparation (https://github.com/cvlab-kaist/CAT-Seg).
"""

import json
import logging
import os
from collections.abc import Callable, Iterable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from catseg_hf.datasets.files import (
    AnnotationReader,
    FileReader,
    read_ade20k_seg,
    read_context_mat,
    read_label_image,
    shrink_ade20k,
)
from catseg_hf.datasets.label_values import StoredIds
from catseg_hf.datasets.segmentation import SegmentationDataset
from catseg_hf.vocabularies import load_vocabulary


logger = logging.getLogger(__name__)

# Where each archive comes from, for messages.
ADE20K_150_SOURCE = "ADEChallengeData2016.zip from http://sceneparsing.csail.mit.edu"
ADE20K_847_SOURCE = (
    "ADE20K_2021_17_01.zip, after registration, from https://groups.csail.mit.edu/vision/datasets/ADE20K/request_data/"
)
COCO_IMAGES_SOURCE = "{split}2017.zip from https://cocodataset.org/#download"
COCO_LABELS_SOURCE = "stuffthingmaps_trainval2017.zip from https://github.com/nightrome/cocostuff"
VOC2012_SOURCE = (
    "VOCtrainval_11-May-2012.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (and SegmentationClassAug.zip, "
    "which CAT-Seg's README links)"
)
VOC2010_SOURCE = "VOCtrainval_03-May-2010.tar from http://host.robots.ox.ac.uk/pascal/VOC/voc2010/"
CONTEXT_59_SOURCE = "https://codalabuser.blob.core.windows.net/public/trainval_merged.json"
CONTEXT_459_SOURCE = "trainval.tar.gz from https://www.cs.stanford.edu/~roozbeh/pascal-context/"


def load_benchmark(name: str, data_root: str | os.PathLike[str], split: str = "val") -> SegmentationDataset:
    """One of the data sets of CAT-Seg's published tables, from its files as distributed.

    | name | scored classes | images | folders under `data_root` |
    |---|---|---|---|
    | `"ade20k_150"` | 150 | 2,000 (train: 20,210) | `ADEChallengeData2016` |
    | `"ade20k_847"` | 847 | 2,000 | `ADE20K_2021_17_01` |
    | `"coco_stuff_171"` | 171 | 5,000 (train: 118,287) | `coco` or `coco-stuff` |
    | `"pascal_context_59"` | 59 | 5,104 | `VOCdevkit/VOC2010`, with `trainval_merged.json` |
    | `"pascal_context_459"` | 459 | 5,104 | `VOCdevkit/VOC2010`, with `trainval/*.mat` |
    | `"pascal_voc_20"` | 20 | 1,449 | `VOCdevkit/VOC2012` |
    | `"pascal_voc_20b"` | 21 | 1,449 | `VOCdevkit/VOC2012` |

    Where there are fewer images than that, a warning says so, since figures are then not comparable. The published
    figures of VOC used `SegmentationClassAug`; without that folder, `SegmentationClass` is read.

    Args:
        name (`str`):
            One of the table, which are also the names of the vocabularies.
        data_root (`str` or `os.PathLike`):
            The folder that contains the folder in the table, or that folder itself.
        split (`str`, *optional*, defaults to `"val"`):
            `"val"`; for `"ade20k_150"` and `"coco_stuff_171"` also `"train"`.

    Returns:
        [`SegmentationDataset`]: The data set. Its vocabulary is that of [`load_vocabulary`] of the same name.

    Raises:
        ValueError: If there is no benchmark or split of that name.
        OSError: If a folder or file is missing or damaged; the message says what was looked for where, and where the
            original comes from.

    Example:

    ```python
    >>> from catseg_hf.datasets import load_benchmark

    >>> dataset = load_benchmark("pascal_voc_20", "data")
    >>> dataset[0].image.mode, dataset[0].labels.dtype
    ('RGB', dtype('int32'))
    ```
    """
    if name not in _BENCHMARKS:
        raise ValueError(f"There is no benchmark {name!r}: use one of {', '.join(sorted(_BENCHMARKS))}.")
    build, sizes = _BENCHMARKS[name]
    if split not in sizes:
        raise ValueError(f"{name} has no split {split!r}: use one of {', '.join(sizes)}.")
    root = Path(data_root).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"`data_root` {str(root)!r} is no folder: give the one that holds the data sets.")
    dataset = build(name, root, split)
    if len(dataset) != sizes[split]:
        logger.warning(
            "%s has %d %s images in %s, and the complete data set has %d: its figures are not comparable.",
            name,
            len(dataset),
            split,
            root,
            sizes[split],
        )
    return dataset


def complete_size(name: str, split: str) -> int | None:
    """Number of images of a complete benchmark.

    Args:
        name, split (`str`): As for [`load_benchmark`].

    Returns:
        `int`, *optional*: `None` where there is no such benchmark or split.
    """
    return _BENCHMARKS[name][1].get(split) if name in _BENCHMARKS else None


def _ade20k_150(name: str, root: Path, split: str) -> SegmentationDataset:
    folder = {"val": "validation", "train": "training"}[split]
    prefixes = ("ADEChallengeData2016/", "")
    images = _find(root, prefixes, [f"images/{folder}/*.jpg"], name, ADE20K_150_SOURCE)
    labels = _find(root, prefixes, [f"annotations/{folder}/*.png"], name, ADE20K_150_SOURCE)
    ids = StoredIds(range(1, 151), ignore_index=255, ignored=(0,))
    return _paired(name, split, images, labels, ids, sorted(_stems(images, ".jpg")), ADE20K_150_SOURCE)


def _ade20k_847(name: str, root: Path, split: str) -> SegmentationDataset:
    pattern = "images/ADE/validation/**/*_seg.png"
    folder = _find(root, ("ADE20K_2021_17_01/", ""), [pattern], name, ADE20K_847_SOURCE)
    # The split is the second part of a file's name, such as ADE_val_00000001.jpg. Folders of such a name hold the masks
    # of single objects, which are many.
    paths = []
    for parent, subfolders, file_names in os.walk(folder):
        subfolders[:] = [subfolder for subfolder in subfolders if not subfolder.startswith("ADE_")]
        present = set(file_names)
        for file_name in file_names:
            stem = file_name.removesuffix(".jpg")
            if file_name.endswith(".jpg") and stem.split("_")[1:2] == [split]:
                if f"{stem}_seg.png" not in present:
                    raise _incomplete(name, [Path(parent, f"{stem}_seg.png")], ADE20K_847_SOURCE)
                paths.append(Path(parent, stem).relative_to(folder))
    records = [(path.name, f"{path}.jpg", f"{path}_seg.png") for path in sorted(paths, key=lambda path: path.name)]
    ids = StoredIds(_label_ids(name), ignore_index=65535)
    read = FileReader(folder, folder, read_ade20k_seg, ids, prepare=shrink_ade20k)
    return SegmentationDataset(name, split, load_vocabulary(name), records, read, ignore_index=ids.ignore_index)


def _coco_stuff_171(name: str, root: Path, split: str) -> SegmentationDataset:
    prefixes, folder = ("coco/", "coco-stuff/", ""), f"{split}2017"
    images = _find(
        root, prefixes, [f"images/{folder}/*.jpg", f"{folder}/*.jpg"], name, COCO_IMAGES_SOURCE.format(split=split)
    )
    # The archive of the labels has no folder of its own, so they may lie among the images.
    parents = ("annotations/", "stuffthingmaps/", "stuffthingmaps_trainval2017/", "")
    labels = _find(root, prefixes, [f"{parent}{folder}/*.png" for parent in parents], name, COCO_LABELS_SOURCE)
    ids = StoredIds(_label_ids(name), ignore_index=255)
    return _paired(name, split, images, labels, ids, sorted(_stems(images, ".jpg")), COCO_LABELS_SOURCE)


def _pascal_voc_20(name: str, root: Path, split: str) -> SegmentationDataset:
    prefixes = ("VOCdevkit/VOC2012/", "VOC2012/", "")
    images = _find(root, prefixes, ["JPEGImages/*.jpg"], name, VOC2012_SOURCE)
    labels = _find(root, prefixes, ["SegmentationClassAug/*.png", "SegmentationClass/*.png"], name, VOC2012_SOURCE)
    listed = _find(root, prefixes, [f"ImageSets/Segmentation/{split}.txt"], name, VOC2012_SOURCE)
    stems = listed.read_text(encoding="utf-8").split()
    if name == "pascal_voc_20":
        ids = StoredIds(range(1, 21), ignore_index=255, ignored=(0, 255))
        return _paired(name, split, images, labels, ids, stems, VOC2012_SOURCE)
    # The background comes last. A model is asked for 59 names, and all but the 20 of VOC mean background.
    ids = StoredIds((*range(1, 21), 0), ignore_index=255, ignored=(255,))
    class_names = [*load_vocabulary("pascal_voc_20"), "background"]
    return _paired(name, split, images, labels, ids, stems, VOC2012_SOURCE, class_names=class_names)


def _pascal_context_459(name: str, root: Path, split: str) -> SegmentationDataset:
    prefixes = ("VOCdevkit/VOC2010/", "VOC2010/", "")
    images = _find(root, prefixes, ["JPEGImages/*.jpg"], name, VOC2010_SOURCE)
    labels = _find(root, prefixes, ["trainval/*.mat"], name, CONTEXT_459_SOURCE)
    listed = (files("catseg_hf.datasets") / "pascal_context_val_ids.txt").read_text(encoding="utf-8").split()
    ids = StoredIds(range(1, 460), ignore_index=459, ignored=())
    return _paired(
        name, split, images, labels, ids, listed, CONTEXT_459_SOURCE, read_labels=read_context_mat, label_suffix=".mat"
    )


def _pascal_context_59(name: str, root: Path, split: str) -> SegmentationDataset:
    prefixes = ("VOCdevkit/VOC2010/", "VOC2010/", "")
    images = _find(root, prefixes, ["JPEGImages/*.jpg"], name, VOC2010_SOURCE)
    path = _find(root, prefixes, ["trainval_merged.json"], name, CONTEXT_59_SOURCE)
    try:
        content = json.loads(path.read_bytes())
        listed = {image["image_id"]: image for image in content["images"] if image["phase"] == split}
        annotations: dict[Any, list[tuple[int, dict[str, Any]]]] = {image_id: [] for image_id in listed}
        for annotation in content["annos_segmentation"]:
            if annotation["image_id"] in annotations:
                category_and_mask = (annotation["category_id"], annotation["segmentation"])
                annotations[annotation["image_id"]].append(category_and_mask)
        records = [
            (image["file_name"], image["height"], image["width"], annotations[image_id])
            for image_id, image in listed.items()
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise OSError(f"{path} is damaged or no annotation file of PASCAL Context: {error!r}.") from error
    empty = [file_name for file_name, *_, masks in records if not masks]
    if empty:
        raise OSError(f"{path} has no annotations of {_some(empty)}: it is damaged. It comes from {CONTEXT_59_SOURCE}.")
    present = _stems(images, ".jpg")
    missing = [images / record[0] for record in records if record[0].removesuffix(".jpg") not in present]
    if missing:
        raise _incomplete(name, missing, VOC2010_SOURCE)
    read = AnnotationReader(images, path, StoredIds(_label_ids(name), ignore_index=255))
    return SegmentationDataset(name, split, load_vocabulary(name), sorted(records), read)


def _paired(
    name: str,
    split: str,
    images: Path,
    labels: Path,
    ids: StoredIds,
    stems: Iterable[str],
    source: str,
    *,
    class_names: Sequence[str] | None = None,
    read_labels: Callable[[Path], np.ndarray] = read_label_image,
    label_suffix: str = ".png",
) -> SegmentationDataset:
    """A data set of a folder of JPEG images and one of label files of the same names."""
    present, labelled = _stems(images, ".jpg"), _stems(labels, label_suffix)
    # What has neither is left out: a part of a data set is good for a trial.
    stems = [stem for stem in stems if stem in present or stem in labelled]
    missing = [images / f"{stem}.jpg" for stem in stems if stem not in present]
    missing += [labels / f"{stem}{label_suffix}" for stem in stems if stem not in labelled]
    if missing:
        raise _incomplete(name, missing, source)
    if not stems:
        raise FileNotFoundError(f"{name}: none of the {split} images is in {images}. It comes from {source}.")
    records = [(stem, f"{stem}.jpg", f"{stem}{label_suffix}") for stem in stems]
    read = FileReader(images, labels, read_labels, ids)
    return SegmentationDataset(
        name, split, load_vocabulary(name), records, read, class_names=class_names, ignore_index=ids.ignore_index
    )


def _find(root: Path, prefixes: Sequence[str], patterns: Sequence[str], name: str, source: str) -> Path:
    """The first file that exists, or the first folder with a file that matches."""
    for pattern in (prefix + pattern for pattern in patterns for prefix in prefixes):
        if next(root.glob(pattern), None) is not None:
            return root / pattern.split("/*")[0]
    tried = "\n".join(f"  {root / (prefix + pattern)}" for pattern in patterns for prefix in prefixes)
    raise FileNotFoundError(f"{name} is not complete in {str(root)!r}. Looked for:\n{tried}\nIt comes from {source}.")


def _stems(folder: Path, suffix: str) -> set[str]:
    """Names, without the suffix, of the files of a folder that end with it."""
    return {name.removesuffix(suffix) for name in os.listdir(folder) if name.endswith(suffix)}


def _label_ids(name: str) -> tuple[int, ...]:
    """The value that each class has in the label files of a data set."""
    return tuple(json.loads((files("catseg_hf.datasets") / "label_ids.json").read_text(encoding="utf-8"))[name])


def _incomplete(name: str, missing: Sequence[Path], source: str) -> FileNotFoundError:
    return FileNotFoundError(f"{name}: missing {_some(missing)}. Unpack the archive again: {source}.")


def _some(items: Sequence[object]) -> str:
    return ", ".join(map(str, items[:3])) + (f" (and {len(items) - 3} more)" if len(items) > 3 else "")


# Name: how it is built, and the number of images of each of its splits when complete.
_BENCHMARKS = {
    "ade20k_150": (_ade20k_150, {"val": 2000, "train": 20210}),
    "ade20k_847": (_ade20k_847, {"val": 2000}),
    "coco_stuff_171": (_coco_stuff_171, {"val": 5000, "train": 118287}),
    "pascal_context_459": (_pascal_context_459, {"val": 5104}),
    "pascal_context_59": (_pascal_context_59, {"val": 5104}),
    "pascal_voc_20": (_pascal_voc_20, {"val": 1449}),
    "pascal_voc_20b": (_pascal_voc_20, {"val": 1449}),
}
