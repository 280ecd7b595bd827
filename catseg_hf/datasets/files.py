# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Readers of image and label files, each in the format in which a data set is distributed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from catseg_hf.datasets.label_values import LabelValues
from catseg_hf.datasets.segmentation import Sample, make_sample
from catseg_hf.file_kinds import kind_of
from catseg_hf.image_reading_catseg import open_picture


def read_image(path: Path) -> PIL.Image.Image:
    """An image file, completely read.

    Args:
        path (`Path`): Its path.

    Returns:
        `PIL.Image.Image`: The image, as stored.

    Raises:
        OSError: If there is none or it is damaged; the message names it.
    """
    try:
        with open_picture(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise
    except Exception as error:  # Pillow raises many types for damaged files
        kind = kind_of(path)
        if kind is not None and (kind.kind != "photo" or isinstance(error, ImportError)):
            raise OSError(f"{path} cannot be read as an image, since it is {kind.name}; {kind.advice}.") from error
        raise OSError(f"{path} cannot be read as an image, it may be damaged: {error}") from error


def label_values(image: PIL.Image.Image, by_color: bool = False) -> np.ndarray:
    """The values of a label image.

    Args:
        image (`PIL.Image.Image`): Gray or with a palette, of 1 to 16 bits, or of 32 bits; by colour also RGB.
        by_color (`bool`, *optional*, defaults to `False`): Whether colours are wanted, those of a palette too.

    Returns:
        `np.ndarray` of shape `(height, width)`: int32 values; of a palette the positions, by colour
        red + 256 * green + 65536 * blue.

    Raises:
        ValueError: If it has several channels; by colour, if it has more than 8 bits in one, or transparent pixels.
    """
    if by_color:
        return _colors(image)
    if len(image.getbands()) != 1 or image.mode == "F":
        raise ValueError(
            f"is an image of mode {image.mode!r}: labels need one channel of integers, such as a gray PNG or one with "
            "a palette. For colours, give a file that names them: `--label-map` at the command line, `label_map` in "
            "Python."
        )
    return np.asarray(image).astype(np.int32)


def _colors(image: PIL.Image.Image) -> np.ndarray:
    if image.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA"):
        raise ValueError(
            f"is an image of mode {image.mode!r}, which has no colours of red, green and blue from 0 to 255."
        )
    packed = np.asarray(image.convert("RGBA")).view("<u4")[..., 0]
    num_transparent = np.count_nonzero(packed >> 24 != 255)
    if num_transparent:
        raise ValueError(f"has {num_transparent:,} transparent pixels, which have no clear colour: save it as RGB.")
    return (packed & 0xFFFFFF).astype(np.int32)


def read_label_image(path: Path, by_color: bool = False) -> np.ndarray:
    """Labels from an image file, such as the PNGs of VOC, ADE20K-150 and COCO-Stuff.

    Args:
        path (`Path`): Its path.
        by_color (`bool`, *optional*, defaults to `False`): As for [`label_values`].

    Returns:
        `np.ndarray` of shape `(height, width)`: int32 stored values.

    Raises:
        OSError: If there is none or it is damaged; the message names it.
        ValueError: As [`label_values`]; the message names the file.
    """
    image = read_image(path)
    try:
        return label_values(image, by_color)
    except ValueError as error:
        raise ValueError(f"{path} {error}") from error


def read_context_mat(path: Path) -> np.ndarray:
    """Labels from a `.mat` file of PASCAL Context with 459 classes.

    Args:
        path (`Path`): Its path.

    Returns:
        `np.ndarray` of shape `(height, width)`: int32 stored values.

    Raises:
        OSError: If there is none, it is damaged, or has no `LabelMap`; the message names it.
        ImportError: If SciPy is not installed.
    """
    try:
        from scipy.io import loadmat
    except ImportError as error:
        raise ImportError('The .mat files of PASCAL Context need SciPy: `pip install "catseg-hf[eval]"`.') from error
    try:
        content = loadmat(path, variable_names=["LabelMap"])
    except FileNotFoundError:
        raise
    except Exception as error:  # SciPy raises many types for damaged files
        raise OSError(f"{path} cannot be read as a MATLAB file, it may be damaged: {error}") from error
    if "LabelMap" not in content:
        raise OSError(f"{path} has no variable `LabelMap`: it is no label file of PASCAL Context.")
    return content["LabelMap"].astype(np.int32)


def read_ade20k_seg(path: Path) -> np.ndarray:
    """Object ids from a `_seg.png` file of the full ADE20K: (red // 10) * 256 + green.

    Args:
        path (`Path`): Its path.

    Returns:
        `np.ndarray` of shape `(height, width)`: int32 object ids, 0 for none.

    Raises:
        OSError: If there is none or it is damaged; the message names it.
        ValueError: If it is not an RGB image.
    """
    image = read_image(path)
    if image.mode != "RGB":
        raise ValueError(f"{path} is an image of mode {image.mode!r}: the `_seg.png` files of ADE20K are RGB.")
    red, green, _ = np.moveaxis(np.asarray(image).astype(np.int32), 2, 0)
    return red // 10 * 256 + green


def paint_annotations(height: int, width: int, annotations: list[tuple[int, dict[str, Any]]]) -> np.ndarray:
    """Labels from annotations of `trainval_merged.json`, later ones over earlier ones.

    Args:
        height, width (`int`): Size of the image.
        annotations (`list[tuple[int, dict]]`): Category and mask of each, the mask as COCO's run-length encoding of
            that size: `size`, and `counts` as a compressed string or a list of numbers.

    Returns:
        `np.ndarray` of shape `(height, width)`: int32 categories, 0 for none.

    Raises:
        ValueError: If a mask is damaged or of another size.
    """
    values = np.zeros((height, width), dtype=np.int32)
    for category, encoded in annotations:
        values[decode_mask(height, width, encoded)] = category
    return values


def decode_mask(height: int, width: int, encoded: dict[str, Any]) -> np.ndarray:
    """A mask from COCO's run-length encoding.

    Args:
        height, width (`int`): Size of the image.
        encoded (`dict`): `size`, and `counts` as a compressed string or a list of numbers.

    Returns:
        `np.ndarray` of shape `(height, width)`: True inside.

    Raises:
        ValueError: If the mask is damaged, which `pycocotools` does not notice, or of another size.
    """
    if list(encoded["size"]) != [height, width]:
        raise ValueError(f"has a mask of size {encoded['size']} for an image of size {[height, width]}.")
    counts = encoded["counts"]
    if isinstance(counts, str):
        counts = _decompress_counts(counts)
    if not all(isinstance(count, int) and count >= 0 for count in counts) or sum(counts) != height * width:
        raise ValueError(
            f"has a damaged mask: its runs do not add up to {height} x {width} pixels, or are no whole numbers from 0."
        )
    # Column by column, runs of pixels that are off and on take turns.
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(width, height).T


def _decompress_counts(text: str) -> list[int]:
    """Lengths of the runs of a compressed mask.

    Five bits of a number are one character, lowest first, in two's complement; the sixth bit says that more follow.
    From the fourth number on, what is stored is the difference to the last but one.
    """
    counts: list[int] = []
    number = shift = 0
    for code in text.encode():
        bits = code - 48
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            counts.append(number + counts[-2] if len(counts) > 2 else number)
            number = shift = 0
    return counts


def shrink_ade20k(image: PIL.Image.Image, values: np.ndarray) -> tuple[PIL.Image.Image, np.ndarray]:
    """Resizes an image of the full ADE20K and its labels where both sides exceed 512 pixels: the shorter becomes 512.

    Source: the original's data preparation, which calls OpenCV: bilinear without antialiasing for the image, nearest
    for the labels. (It then saved the image as JPEG once more, which this does not do.)

    Args:
        image (`PIL.Image.Image`): The image, as stored; its EXIF orientation is not regarded.
        values (`np.ndarray` of shape `(height, width)`): Its labels.

    Returns:
        `tuple[PIL.Image.Image, np.ndarray]`: Both, resized or not; the image in RGB.
    """
    pixels = np.asarray(image.convert("RGB"))
    # Of different sizes, `make_sample` will say so.
    if min(image.size) > 512 and pixels.shape[:2] == values.shape:
        height, width = values.shape
        size = (round(height / width * 512), 512) if width < height else (512, round(width / height * 512))
        pixels, values = resize_bilinear(pixels, size), resize_nearest(values, size)
    return PIL.Image.fromarray(pixels), values


def resize_bilinear(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resize without antialiasing, as OpenCV's `INTER_LINEAR` up to rounding (one grey level).

    Args:
        pixels (`np.ndarray` of shape `(height, width, channels)`): uint8.
        size (`tuple[int, int]`): New height and width.

    Returns:
        `np.ndarray`: uint8 of the new size.
    """
    channels_first = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    resized = torch.nn.functional.interpolate(channels_first, size=size, mode="bilinear", align_corners=False)
    return resized[0].permute(1, 2, 0).round().to(torch.uint8).numpy()


def resize_nearest(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest-neighbour resize as OpenCV's `INTER_NEAREST`: pixel i is taken from floor(i * old size / new size).

    Args:
        values (`np.ndarray` of shape `(height, width)`): Of any type.
        size (`tuple[int, int]`): New height and width.

    Returns:
        `np.ndarray`: Of the new size and the same type.
    """
    rows, columns = (
        # OpenCV divides twice, which matters where the result is nearly an integer.
        np.minimum(np.floor(np.arange(new) * (1 / (new / old))).astype(int), old - 1)
        for new, old in zip(size, values.shape, strict=True)
    )
    return values[rows[:, None], columns]


@dataclass(frozen=True)
class FileReader:
    """Reads a sample from an image file and a label file.

    Args:
        image_folder, label_folder (`Path`): What the paths of a record are relative to.
        read_labels (`Callable[[Path], np.ndarray]`): Reads the values of a label file.
        ids ([`LabelValues`]): What the values stand for.
        prepare (`Callable`, *optional*): Changes image and values before anything else.
    """

    image_folder: Path
    label_folder: Path
    read_labels: Callable[[Path], np.ndarray]
    ids: LabelValues
    prepare: Callable[[PIL.Image.Image, np.ndarray], tuple[PIL.Image.Image, np.ndarray]] | None = None

    def __call__(self, record: tuple[str, str, str]) -> Sample:
        """The sample of a record.

        Args:
            record (`tuple[str, str, str]`): Name, path of the image and path of the labels.

        Returns:
            [`Sample`]: Image and labels.
        """
        name, image_path, label_path = record[0], self.image_folder / record[1], self.label_folder / record[2]
        image, values = read_image(image_path), self.read_labels(label_path)
        if self.prepare is not None:
            image, values = self.prepare(image, values)
        return make_sample(name, image, values, self.ids, image_path, label_path)


@dataclass(frozen=True)
class AnnotationReader:
    """Reads a sample from an image file and annotations of `trainval_merged.json`.

    Args:
        image_folder (`Path`): Where the images are.
        annotation_file (`Path`): The file that the annotations come from, for messages.
        ids ([`LabelValues`]): What the categories stand for.
    """

    image_folder: Path
    annotation_file: Path
    ids: LabelValues

    def __call__(self, record: tuple[str, int, int, list[tuple[int, dict[str, Any]]]]) -> Sample:
        """The sample of a record.

        Args:
            record (`tuple`): File name of the image, height, width and annotations; see [`paint_annotations`].

        Returns:
            [`Sample`]: Image and labels.
        """
        file_name, *annotations = record
        path, place = self.image_folder / file_name, f"those of {file_name} in {self.annotation_file}"
        try:
            values = paint_annotations(*annotations)
        except ValueError as error:
            raise ValueError(f"{self.annotation_file} {error} The image is {file_name}.") from error
        return make_sample(Path(file_name).stem, read_image(path), values, self.ids, path, place)
