# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""YOLO's segmentation folders (https://docs.ultralytics.com/datasets/segment/), with `data.yaml` or older files."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from catseg_hf.datasets.annotated import (
    NO_AREA,
    AnnotatedImage,
    AnnotationFile,
    LabeledShape,
    LeftOut,
    without_upload_key,
)
from catseg_hf.datasets.shapes import PixelPolygon
from catseg_hf.vocabularies.text_files import read_text


# How far outside the image a corner may lie, as Ultralytics has it.
TOLERANCE = 0.01
YOLO_DATA = "data.yaml"
# What Darknet had before it, and Label Studio and CVAT export.
NAMES_FILES = ("obj.names", "classes.txt", "obj.data")
_LINE_END = re.compile(r"\r\n|\r|\n")


def is_yolo(path: Path) -> bool:
    """Whether a file is one that names the classes of a YOLO folder.

    Args:
        path (`Path`): The file.

    Returns:
        `bool`
    """
    return path.suffix.lower() in (".yaml", ".yml", ".names", ".data") or path.name == "classes.txt"


def yolo_data_file(folder: Path) -> Path | None:
    """The file that names the classes of a YOLO folder.

    Args:
        folder (`Path`): A folder.

    Returns:
        `Path`, *optional*: `data.yaml`; or `obj.names`, `classes.txt` or `obj.data`, if there are text files of labels,
        too. `None` of another folder.
    """
    if (folder / YOLO_DATA).is_file():
        return folder / YOLO_DATA
    found = next((folder / name for name in NAMES_FILES if (folder / name).is_file()), None)
    return found if found is not None and any(map(_holds_labels, folder.rglob("*.txt"))) else None


def _holds_labels(path: Path) -> bool:
    """Whether a text file begins with numbers, or is empty."""
    if path.name in NAMES_FILES:
        return False
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        return re.fullmatch(r"[-+.0-9eE\s]*", file.readline(1000)) is not None


def read_yolo(data: Path, images: Path, files: Sequence[str]) -> AnnotationFile:
    """The annotations of a folder.

    Args:
        data (`Path`): Its `data.yaml`; or its `classes.txt`, `obj.names` or `obj.data`.
        images (`Path`):
            The folder of the images. Where a folder of its path is called `images`, the labels are in `labels` instead,
            as in Ultralytics' folders; else they are in `labels` beside `data.yaml`. Without that file, they can also
            be in `obj_train_data` beside the other file, or right beside it.
        files (`Sequence[str]`): The images, relative to their folder.

    Returns:
        [`AnnotationFile`]: An image without a file of labels is background, without any shape.

    Raises:
        OSError: If no image has a file of labels.
        ValueError: If a file cannot be used; names it.
    """
    names = _class_names(data)
    folders = _label_folders(data, images)
    places = _label_files(folders, files)
    missing = [file for file in files if file not in places]
    if len(missing) == len(files):
        raise FileNotFoundError(
            f"{len(missing)} of {len(files)} images have no labels, such as {images / missing[0]}: looked for "
            f"{folders[0] / Path(missing[0]).with_suffix('.txt')}. At least one image needs such a file."
        )
    left_out = LeftOut()
    found = [
        AnnotatedImage(file, None, _shapes(places[file], names, left_out) if file in places else []) for file in files
    ]
    remarks = left_out.remarks(found, f"{data}: ")
    if missing:
        remarks.append(
            f"{len(missing):,} of {len(files):,} images have no file of labels and are taken for background, none of "
            f"whose pixels counts, such as {missing[0]}."
        )
    return AnnotationFile(list(names.values()), found, remarks)


def _class_names(data: Path) -> dict[int, str]:
    """The name of each class id, in ascending order."""
    if data.suffix.lower() == ".data":
        data = _names_file(data)
    if data.suffix.lower() not in (".yaml", ".yml"):
        return dict(enumerate(line.strip() for line in _LINE_END.split(read_text(data).rstrip())))
    try:
        # Names as they are written: YAML makes booleans of `no` and `yes`.
        content = yaml.load(read_text(data), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        raise ValueError(f"{data} is no YAML: {error}") from error
    names = content.get("names") if isinstance(content, dict) else None
    pairs = list(names.items()) if isinstance(names, dict) else list(enumerate(names or []))
    try:
        ids = {int(key): name for key, name in pairs}
    except ValueError:
        ids = {}
    if not ids or min(ids) < 0 or not all(isinstance(name, str) for name in ids.values()) or isinstance(names, str):
        raise ValueError(f"{data} has no `names` of the classes 0, 1, 2, …: a list, or names by their numbers.")
    return dict(sorted(ids.items()))


def _names_file(data: Path) -> Path:
    """What `obj.data` names, which may have been written for another folder."""
    found = re.search(r"^\s*names\s*=\s*(.+?)\s*$", read_text(data), flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"{data} has no line `names = ...` that says where the names of the classes are.")
    path = data.parent / found[1].replace("\\", "/")
    return path if path.is_file() else data.parent / path.name


def _label_folders(data: Path, images: Path) -> list[Path]:
    parts = images.resolve().parts
    beside = data.parent / "labels"
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        folder = Path(*parts[:last], "labels", *parts[last + 1 :])
        beside = folder if folder.is_dir() else beside
    if data.suffix.lower() in (".yaml", ".yml"):
        return [beside]
    return [beside, *sorted(data.parent.glob("obj_*_data")), data.parent]


def _label_files(folders: Sequence[Path], files: Sequence[str]) -> dict[str, Path]:
    """The text file of each image that has one: of its path, else of that with or without the key of an upload."""
    found = {}
    for file in files:
        own = (folder / Path(file).with_suffix(".txt") for folder in folders)
        place = next((path for path in own if path.name not in NAMES_FILES and path.is_file()), None)
        if place is not None:
            found[file] = place
    left = [file for file in files if file not in found]
    if not left:
        return found
    whole, keyless = defaultdict(set), defaultdict(set)
    for folder in folders:
        for path in set(folder.rglob("*.txt")) - set(found.values()):
            name = path.relative_to(folder).as_posix()
            whole[name].add(path)
            if without_upload_key(name) != name:
                keyless[without_upload_key(name)].add(path)
    claims = defaultdict(list)
    for file in left:
        name = Path(file).with_suffix(".txt").as_posix()
        for path in keyless.get(name, set()) | whole.get(without_upload_key(name), set()):
            claims[path].append(file)
    for path, claimants in claims.items():
        if len(claimants) == 1 and sum(claimants[0] in others for others in claims.values()) == 1:
            found[claimants[0]] = path
    return found


def _shapes(place: Path, names: dict[int, str], left_out: LeftOut) -> list[LabeledShape]:
    shapes: list[LabeledShape] = []
    for number, line in enumerate(read_text(place).splitlines(), 1):
        if not line.strip():
            continue
        try:
            points, index = np.array(line.split()[1:], dtype=float), float(line.split()[0])
        except ValueError as error:
            raise ValueError(f"{place}, line {number}: {error}.") from error
        if points.size in (0, 2):
            left_out.add(NO_AREA, f"line {number} of {place.name}")
            continue
        if points.size < 6 or points.size % 2:
            raise ValueError(f"{place}, line {number}: {points.size} numbers are no polygon; boxes cannot be labels.")
        if not (index in names and (points >= -TOLERANCE).all() and (points <= 1 + TOLERANCE).all()):
            is_gapless = max(names) == len(names) - 1
            known = f"from 0 to {max(names)}" if is_gapless else f"of {', '.join(map(str, names))}"
            raise ValueError(f"{place}, line {number}: needs a class {known}, and coordinates from 0 to 1.")
        shapes.append(LabeledShape(names[int(index)], PixelPolygon(points.reshape(-1, 2)), f"line {number}"))
    return shapes


__all__ = ["NAMES_FILES", "is_yolo", "read_yolo", "yolo_data_file"]
