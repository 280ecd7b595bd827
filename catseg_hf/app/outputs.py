# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What becomes of a segmentation: overlay, label map, masks, COCO RLE, JSON; each written whole or not at all."""

import json
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, PngImagePlugin

from catseg_hf.app.segmentation import NO_CLASS, Segmentation
from catseg_hf.atomic_files import written_whole
from catseg_hf.pictures import overlay


# The formats, and what follows the photo's own name in a folder of results.
ENDINGS = {"overlay": ".png", "label-map": ".labels.png", "masks": ".masks", "rle": ".rle.json", "json": ".json"}


def write_result(result: Segmentation, kind: str, path: Path) -> None:
    """Writes a segmentation in one format.

    - `overlay`: a picture with a legend, of the format that the ending of the path says.
    - `label-map`: a PNG of class ids, 8 bits with 255 for no class, or, for more than 255 classes, 16 bits with 65535;
      its text chunk `labels` holds the names as a JSON list.
    - `masks`: a folder of one black and white PNG for each class in the photo, `<id>_<label>.png`.
    - `rle`: COCO's result format, a JSON list; `category_id` is the number of the label, from 0.
    - `json`: labels, areas, boxes and scores.

    Args:
        result ([`Segmentation`]): What to write; for `rle` and `json` with scores.
        kind (`str`): The format.
        path (`Path`): The file, for `masks` the folder. Its parents are made; what is there is replaced.

    Raises:
        OSError: If it cannot be written; then nothing is left behind.
        ValueError: If the folder of `masks` holds anything else.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "masks":
        _clear_masks(path)
    with written_whole(path) as unfinished:
        if kind == "overlay":
            overlay(result.picture, result.class_ids, result.labels, background_id=NO_CLASS).save(unfinished)
        elif kind == "label-map":
            save_label_map(result, unfinished)
        elif kind == "masks":
            _write_masks(result, unfinished)
        else:
            is_rle = kind == "rle"
            content = coco_results(result) if is_rle else _summary(result)
            unfinished.write_text(
                json.dumps(content, ensure_ascii=False, indent=None if is_rle else 1) + "\n", encoding="utf-8"
            )


def save_label_map(result: Segmentation, file: Path | BinaryIO) -> None:
    """Saves class ids as a PNG; see `label-map` of [`write_result`].

    Args:
        result ([`Segmentation`]): The photo.
        file (`Path` or `BinaryIO`): Where to.
    """
    kind = np.uint8 if len(result.labels) <= 255 else np.uint16
    ids = np.where(result.class_ids == NO_CLASS, np.iinfo(kind).max, result.class_ids).astype(kind)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("labels", json.dumps(result.names, ensure_ascii=False))
    Image.fromarray(ids).save(file, format="PNG", pnginfo=text)


def _write_masks(result: Segmentation, folder: Path) -> None:
    folder.mkdir()
    names = result.names
    for index in np.flatnonzero(result.areas()).tolist():
        name = re.sub(r"[^\w \-]", "_", names[index])[:60].strip()
        Image.fromarray((result.class_ids == index).astype(np.uint8) * 255).save(folder / f"{index}_{name}.png")


def _clear_masks(folder: Path) -> None:
    """Removes the masks of an earlier run."""
    if not folder.exists():
        return
    paths = list(folder.iterdir())
    strange = next((path.name for path in paths if not re.fullmatch(r"\d+_.*\.png", path.name)), None)
    if strange is not None:
        raise ValueError(f"{folder} is for masks, but holds {strange!r}: name another --output.")
    for path in paths:
        path.unlink()
    folder.rmdir()


def _summary(result: Segmentation) -> dict[str, Any]:
    width, height = result.picture.size
    return {
        "image": result.name,
        "width": width,
        "height": height,
        "labels": result.names,
        "segments": result.segments(),
    }


def coco_results(result: Segmentation) -> list[dict[str, Any]]:
    """The classes of a photo in COCO's result format (https://cocodataset.org/#format-results).

    Args:
        result ([`Segmentation`]): The photo, with scores.

    Returns:
        `list[dict]`: Of each class in the photo `image_id` (the photo's name), `category_id`, `category_name`, `bbox`
        (left, top, width, height), `area`, `score`, and `segmentation` with `size` and `counts`, the compressed string
        that `pycocotools.mask.decode` reads.
    """
    entries = []
    for segment in result.segments():
        left, top, right, bottom = segment["box"]
        mask = result.class_ids == segment["id"]
        entries.append(
            {
                "image_id": result.name,
                "category_id": segment["id"],
                "category_name": segment["label"],
                "segmentation": {"size": list(mask.shape), "counts": encode_rle(mask)},
                "area": segment["area"],
                "bbox": [left, top, right - left, bottom - top],
                "score": segment["score"],
            }
        )
    return entries


def encode_rle(mask: np.ndarray) -> str:
    """A mask as COCO's compressed run lengths (format: `rleToString` in cocoapi's `maskApi.c`).

    Args:
        mask (`np.ndarray` of shape `(height, width)`): True or False for each pixel.

    Returns:
        `str`: ASCII; column by column the lengths of runs, first of False, each from the third on as its difference to
        the one before the last, in groups of five bits.
    """
    pixels = np.asarray(mask, dtype=bool).ravel(order="F")
    changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *([0] if pixels[:1].any() else []), *changes, pixels.size])
    runs[3:] -= runs[1:-2].copy()
    text = bytearray()
    for number in runs.tolist():
        more = True
        while more:
            bits, number = number & 31, number >> 5
            # The highest of the five bits is the sign of all that follows.
            more = number != (-1 if bits & 16 else 0)
            text.append(48 + bits + (32 if more else 0))
    return text.decode("ascii")


__all__ = ["ENDINGS", "coco_results", "encode_rle", "save_label_map", "write_result"]
