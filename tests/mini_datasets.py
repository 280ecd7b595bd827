# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Small copies of the seven data sets with made-up images, in the folders and file formats of their archives."""

import json
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import PIL.Image
import scipy.io

from catseg_hf.vocabularies import load_vocabulary


LABEL_IDS = json.loads((files("catseg_hf.datasets") / "label_ids.json").read_text())
CONTEXT_VAL_IDS = (files("catseg_hf.datasets") / "pascal_context_val_ids.txt").read_text().split()


def write_mini_benchmark(
    name: str, root: Path, *, number: int = 3, split: str = "val", seed: int = 0
) -> dict[str, np.ndarray]:
    """Writes images and label files of a data set, beside some files that do not belong to the split.

    Args:
        name (`str`): Name of the data set, as `load_benchmark` takes it.
        root (`Path`): Where its folder is made. All seven can be made under the same.
        number (`int`, *optional*, defaults to 3): Number of images.
        split (`str`, *optional*, defaults to `"val"`): `"val"`, or `"train"` where the data set has it.
        seed (`int`, *optional*, defaults to 0): Of the images and labels.

    Returns:
        `dict[str, np.ndarray]`: For each image, by its name, the class ids that must be read, int64 of shape
        `(height, width)`; of a large image of the full ADE20K, of the resized one.
    """
    return _WRITERS[name](name, root, number, split, np.random.default_rng(seed))


def _class_ids(index: int, num_classes: int, ignore_index: int | None, rng: np.random.Generator) -> np.ndarray:
    """Class ids in rectangles, with a strip that is not scored; of a size of its own for each image."""
    height, width = 48 + 6 * (index % 3), 70 - 4 * (index % 4)
    cells = rng.integers(0, num_classes, (4, 5))
    cells[0, :2] = num_classes - 1, 0
    ids = np.repeat(np.repeat(cells, -(-height // 4), axis=0), -(-width // 5), axis=1)[:height, :width]
    if ignore_index is not None:
        ids[height // 2 : height // 2 + 5] = ignore_index
    return ids


def _write_image(path: Path, ids: np.ndarray, rng: np.random.Generator) -> None:
    """A JPEG image with a colour for each class, and noise."""
    colours = np.random.default_rng(0).integers(0, 256, (65536, 3))[ids % 65536]
    pixels = np.clip(colours + rng.integers(-20, 21, (*ids.shape, 3)), 0, 255).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels).save(path, quality=95)


def _write_png(path: Path, values: np.ndarray, palette: bytes | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PIL.Image.fromarray(values.astype(np.uint8))
    if palette is not None:
        image.putpalette(palette)
    image.save(path)


def _stored(ids: np.ndarray, values: list[int], ignore_index: int, ignored_value: int) -> np.ndarray:
    """What a label file stores for class ids."""
    table = np.full(65536, -1)
    table[: len(values)] = values
    table[ignore_index] = ignored_value
    return table[ids]


def _write_ade20k_150(
    name: str, root: Path, number: int, split: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """`images/validation/ADE_val_00000001.jpg`; gray PNGs with class + 1, and 0 for the rest."""
    folder, base = {"val": "validation", "train": "training"}[split], root / "ADEChallengeData2016"
    labels = {}
    for index in range(number):
        stem = f"ADE_{split}_{index + 1:08d}"
        labels[stem] = ids = _class_ids(index, 150, 255, rng)
        _write_image(base / "images" / folder / f"{stem}.jpg", ids, rng)
        _write_png(base / "annotations" / folder / f"{stem}.png", _stored(ids, list(range(1, 151)), 255, 0))
    (base / "objectInfo150.txt").write_text("Idx\tRatio\tTrain\tVal\tStuff\tName\n")
    return labels


def _write_ade20k_847(
    name: str, root: Path, number: int, split: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """RGB PNGs `_seg.png` in a folder for each kind of scene; the first image is large and must be halved."""
    base = root / "ADE20K_2021_17_01" / "images" / "ADE"
    other = max(LABEL_IDS[name]) + 1  # an object that is none of the 847 classes
    labels = {}
    for index in range(number):
        stem, scene = f"ADE_val_{index + 1:08d}", ("urban/street", "home_or_hotel/attic")[index % 2]
        labels[stem] = ids = _class_ids(index, 847, 65535, rng)
        if index == 0:
            labels[stem] = np.tile(ids, (11, 9))[:512, :530]
            ids = labels[stem].repeat(2, axis=0).repeat(2, axis=1)
        objects = _stored(ids, LABEL_IDS[name], 65535, 0)
        objects[-4:], labels[stem][-4 if index else -2 :] = other, 65535
        folder = base / "validation" / scene
        _write_image(folder / f"{stem}.jpg", ids, rng)
        # Blue tells the objects of a class apart.
        instances = rng.integers(0, 256, objects.shape)
        _write_png(folder / f"{stem}_seg.png", np.stack([objects // 256 * 10, objects % 256, instances], axis=2))
        _write_png(folder / f"{stem}_parts_1.png", np.zeros((*objects.shape, 3)))
        _write_png(folder / stem / f"instance_000_{stem}.png", np.zeros(objects.shape))
        (folder / f"{stem}.json").write_text("{}")
    # The split is in the name, whatever the folder.
    for suffix in (".jpg", "_seg.png"):
        shutil.copy(folder / f"{stem}{suffix}", folder / f"ADE_train_00000001{suffix}")
    return labels


def _write_coco_stuff_171(
    name: str, root: Path, number: int, split: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Gray PNGs of the 182 ids, 255 for the rest, in the folders of their archives."""
    labels = {}
    for index in range(number):
        stem = f"{139 + 146 * index:012d}"
        labels[stem] = ids = _class_ids(index, 171, 255, rng)
        values = _stored(ids, LABEL_IDS[name], 255, 255)
        values[-2:], labels[stem][-2:] = 11, 255  # an id that the data set left out
        _write_image(root / "coco" / f"{split}2017" / f"{stem}.jpg", ids, rng)
        _write_png(root / "coco" / "stuffthingmaps" / f"{split}2017" / f"{stem}.png", values)
    return labels


def _voc_palette() -> bytes:
    """The palette of VOC: the bits of a class id, three at a time, are the upper bits of red, green and blue."""
    bits = np.arange(256)[:, None, None] >> (3 * np.arange(8)[:, None] + np.arange(3)) & 1
    return (bits << 7 - np.arange(8)[:, None]).sum(axis=1).astype(np.uint8).tobytes()


def _write_pascal_voc(
    name: str, root: Path, number: int, split: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """PNGs with a palette: 0 is background, 1 to 20 the classes, 255 the border of objects."""
    base = root / "VOCdevkit" / "VOC2012"
    labels = {}
    for index in range(number):
        stem = f"2007_{33 + 9 * index:06d}"
        values = _class_ids(index, 21, 255, rng)
        _write_image(base / "JPEGImages" / f"{stem}.jpg", values, rng)
        _write_png(base / "SegmentationClassAug" / f"{stem}.png", values, _voc_palette())
        _write_png(base / "SegmentationClass" / f"{stem}.png", values, _voc_palette())
        background = 255 if name == "pascal_voc_20" else 20
        labels[stem] = np.where(values == 255, 255, np.where(values == 0, background, values - 1))
    lists = base / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "val.txt").write_text("".join(f"{stem}\n" for stem in labels))
    _write_image(base / "JPEGImages" / "2007_000027.jpg", values, rng)
    (lists / "train.txt").write_text("2007_000027\n")
    return labels


def compress_mask(mask: np.ndarray) -> str:
    """The `counts` of a mask in COCO's compressed run-length encoding."""
    flat = np.concatenate([[0], mask.T.ravel() != 0])
    counts = np.diff(np.flatnonzero(np.concatenate([[1], np.diff(flat), [1]]))).tolist()
    counts[0] -= 1  # the pixel that was put before
    text = ""
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            text += chr(bits + 32 * more + 48)
    return text


def _write_pascal_context_59(
    name: str, root: Path, number: int, split: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One JSON file with a mask, run-length encoded, for each class of an image; later masks cover earlier ones."""
    base = root / "VOCdevkit" / "VOC2010"
    images, annotations, labels = [], [], {}
    for index, stem in enumerate([*CONTEXT_VAL_IDS[:number], "2008_000015"]):
        ids = _class_ids(index, 59, 255, rng)
        _write_image(base / "JPEGImages" / f"{stem}.jpg", ids, rng)
        image_id, (height, width) = int(stem.replace("_", "")), ids.shape
        phase = "val" if index < number else "train"
        file_name = {"file_name": f"{stem}.jpg", "image_id": image_id, "phase": phase}
        images.append({**file_name, "height": height, "width": width, "date_captured": "31-Oct-2007"})
        values = _stored(ids, LABEL_IDS[name], 255, 1)  # 1 is a category that is none of the 59
        # The first mask is of the whole image, and all of it is covered.
        masks = [(LABEL_IDS[name][5], np.ones_like(values)), *((value, values == value) for value in np.unique(values))]
        for category, mask in masks:
            rows, columns = np.nonzero(mask)
            corner, far = (columns.min(), rows.min()), (columns.max(), rows.max())
            annotations.append(
                {
                    "segmentation": {"size": [height, width], "counts": compress_mask(mask)},
                    "area": float(np.sum(mask)),
                    "bbox": [float(x) for x in (*corner, far[0] - corner[0] + 1, far[1] - corner[1] + 1)],
                    "category_id": int(category),
                    "image_id": image_id,
                    "iscrowd": 0,
                    "parts": [],
                }
            )
        if phase == "val":
            labels[stem] = ids
    categories = [
        {"category_id": value, "name": class_name, "supercategory": "", "onlysemantic": 1, "parts": []}
        for value, class_name in zip(LABEL_IDS[name], load_vocabulary(name), strict=True)
    ]
    content = {"images": images, "annos_segmentation": annotations, "categories": categories}
    (base / "trainval_merged.json").write_text(json.dumps(content))
    return labels


def _write_pascal_context_459(
    name: str, root: Path, number: int, split: str, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """MATLAB files with the 16-bit array `LabelMap` of class + 1."""
    base = root / "VOCdevkit" / "VOC2010"
    (base / "trainval").mkdir(parents=True, exist_ok=True)
    labels = {}
    for index, stem in enumerate([*CONTEXT_VAL_IDS[:number], "2008_000015"]):
        ids = _class_ids(index, 459, None, rng)
        _write_image(base / "JPEGImages" / f"{stem}.jpg", ids, rng)
        content = {"LabelMap": (ids + 1).astype(np.uint16)}
        scipy.io.savemat(base / "trainval" / f"{stem}.mat", content, do_compression=True)
        if index < number:
            labels[stem] = ids
    return labels


_WRITERS: dict[str, Callable[..., dict[str, np.ndarray]]] = {
    "ade20k_150": _write_ade20k_150,
    "ade20k_847": _write_ade20k_847,
    "coco_stuff_171": _write_coco_stuff_171,
    "pascal_context_459": _write_pascal_context_459,
    "pascal_context_59": _write_pascal_context_59,
    "pascal_voc_20": _write_pascal_voc,
    "pascal_voc_20b": _write_pascal_voc,
}
