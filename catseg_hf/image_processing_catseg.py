# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Image processor of CAT-Seg (https://arxiv.org/abs/2303.11797): from a photo to views, from logits to a label map.

The geometry is that of the originals at test time. The shortest edge is resized by Pillow, on 8-bit values; all that
follows is float32 interpolation in torch. So the two backends that Transformers knows give the same values, and the
class for torchvision differs from the one for Pillow only in its base class.
"""

import copy
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch
import torch.nn.functional as F
from huggingface_hub.errors import StrictDataclassFieldValidationError
from transformers.image_processing_backends import PilBackend
from transformers.image_processing_outputs import SemanticSegmentationPostProcessorOutput
from transformers.image_processing_utils import BatchFeature
from transformers.image_utils import (
    OPENAI_CLIP_MEAN,
    OPENAI_CLIP_STD,
    ChannelDimension,
    ImageInput,
    PILImageResampling,
    SizeDict,
    load_image,
)
from transformers.processing_utils import ImagesKwargs, Unpack
from transformers.utils import TensorType, is_torchvision_available


# Post-processing works on bands of this many scores: large enough to keep the cores busy, small enough for the cache.
BAND_ELEMENTS = 2**21
# Looking at one class that can win in a cell takes as long as looking at so many without asking, measured on CPUs.
CANDIDATE_COST = 10
# The largest image that Pillow itself opens without suspecting a decompression bomb.
MAX_PIXELS = 178_956_970
# Below this logit the sigmoid leaves the range of normal float32 numbers, on which processors are very slow.
MIN_LOGIT = -80.0


class CatSegImageProcessorKwargs(ImagesKwargs, total=False):
    r"""
    shortest_edge (`int`, *optional*, defaults to 640):
        Length in pixels of the shorter side after the first resize (`do_resize`), which keeps the aspect ratio.
    longest_edge (`int`, *optional*, defaults to 2560):
        What the longer side must not exceed after the first resize; wins over `shortest_edge`.
    do_squash (`bool`, *optional*, defaults to `True`):
        Whether the sliding window moves over the image squashed to `size`, as in the original (CVPR 2024, v1), or over
        the image as the first resize left it (`False`, MMSegmentation).
    do_sliding_window (`bool`, *optional*, defaults to `True`):
        Whether to cut the image into several views. `False` is the plain mode: each image squashed to one view.
    window (`int`, *optional*, defaults to 384):
        Side of the sliding window, in pixels. An image that is smaller is one window.
    stride (`int`, *optional*, defaults to 256):
        Distance between windows, in pixels, at most `window`. The last window is shifted back to end with the image.
    global_view (`bool`, *optional*, defaults to `True`):
        Whether the whole image, squashed to `window`, is one more view, the last one.
    image_size (`int`, *optional*, defaults to 384):
        Side of the views in pixels, as the model sees them: 384 for CLIP ViT-B/16, 336 for the larger ones.
    pad_to_multiple (`int`, *optional*):
        If given, the plain mode as the original has it: after normalisation, each image is padded with zeros on the
        right and below, to the largest of the batch and up to a multiple of this number, and then squashed. The
        original uses 32, without the first resize (`do_resize=False`). There is no sliding window then.
    backbone_size (`int`, *optional*):
        Side in pixels of what an appearance backbone sees; only for models that have one.
    backbone_image_mean (`float` or `list[float]`, *optional*):
        Mean of the normalisation of what the backbone sees, one number for each of red, green and blue.
    backbone_image_std (`float` or `list[float]`, *optional*):
        Standard deviation of that normalisation.
    score_function (`"sigmoid"` or `"softmax"`, *optional*, defaults to `"sigmoid"`):
        How post-processing makes scores of logits: the sigmoid of each view before the views are merged (CVPR 2024,
        v1), or the softmax over classes at the very end, of the merged logits (MMSegmentation).
    ignore_index (`int`, *optional*, defaults to 255):
        Label of the pixels that `pad_to_multiple` adds to segmentation maps.
    max_pixels (`int`, *optional*, defaults to 178956970):
        Largest number of pixels of an image; larger ones are refused before they are decoded.
    """

    shortest_edge: int
    longest_edge: int
    do_squash: bool
    do_sliding_window: bool
    window: int
    stride: int
    global_view: bool
    image_size: int
    pad_to_multiple: int | None
    backbone_size: int | None
    backbone_image_mean: float | list[float] | tuple[float, ...] | None
    backbone_image_std: float | list[float] | tuple[float, ...] | None
    score_function: str
    ignore_index: int
    max_pixels: int


# ---- reading images -------------------------------------------------------------------------------------------------


def _open_image(source: str, max_pixels: int) -> PIL.Image.Image:
    if not os.path.isfile(source):
        return load_image(source)  # a URL or base64 text
    image = PIL.Image.open(source)
    _check_pixels(image.height, image.width, max_pixels)
    return image


def _check_pixels(height: int, width: int, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"`images` holds an empty image of {height} x {width} pixels: leave it out.")
    if height * width > max_pixels:
        raise ValueError(
            f"`images` holds an image of {height} x {width} = {height * width} pixels, but `max_pixels={max_pixels}`: "
            "make the image smaller, or raise `max_pixels` if you trust it."
        )


def _flatten_images(images: Any, dimensions: int, argument: str) -> list[Any]:
    """A flat list of single images, from one image, a list, a list of lists or an array with a batch dimension."""
    if isinstance(images, list | tuple):
        if not images:
            raise ValueError(f"`{argument}` is empty: give at least one image.")
        return [image for entry in images for image in _flatten_images(entry, dimensions, argument)]
    if isinstance(images, np.ndarray | torch.Tensor):
        if images.ndim == dimensions + 1:
            return list(images)
        if not 2 <= images.ndim <= dimensions:
            raise ValueError(
                f"`{argument}` holds an array of shape {tuple(images.shape)}: an array must have 2 to {dimensions} "
                f"dimensions, or {dimensions + 1} for a batch."
            )
        return [images]
    if isinstance(images, PIL.Image.Image | str):
        return [images]
    raise TypeError(
        f"`{argument}` must be a PIL image, a NumPy array, a torch tensor, a path, a URL, or a list of these, got "
        f"{type(images).__name__}."
    )


def _channels_last(array: np.ndarray, data_format: str | ChannelDimension | None) -> np.ndarray:
    """(height, width, channels) of an array of two or three dimensions."""
    if array.ndim == 2:
        return array[:, :, None]
    if data_format is None:
        known = (1, 3, 4)
        first, last = array.shape[0] in known, array.shape[2] in known
        if first and last and (array.shape[0] == 3) != (array.shape[2] == 3):
            first, last = array.shape[0] == 3, array.shape[2] == 3  # colour is likelier than a single row or column
        if first == last:
            raise ValueError(
                f"`images` holds an array of shape {array.shape}, which has "
                + ("two dimensions" if first else "no dimension")
                + " that can be the channels (1, 3 or 4): "
                + ('give `input_data_format="channels_first"` or `"channels_last"`.' if first else "convert it to RGB.")
            )
    else:
        first = ChannelDimension(data_format) == ChannelDimension.FIRST
    array = np.moveaxis(array, 0, -1) if first else array
    if array.shape[2] not in (1, 3, 4):
        raise ValueError(
            f"`images` holds an array with {array.shape[2]} channels: allowed are 1 (gray), 3 (RGB) and 4 (RGBA)."
        )
    return array


def _read_image(
    image: Any, data_format: str | ChannelDimension | None, do_convert_rgb: bool, max_pixels: int
) -> tuple[np.ndarray, bool]:
    """One image as 8-bit RGB.

    Args:
        image (`PIL.Image.Image`, `np.ndarray` or `torch.Tensor`): Gray, RGB or RGBA; a PIL image of any mode. Integers
            are 0 to 255, or 0 to 65535 if their type is uint16 or one of them exceeds 255. Floating point numbers are
            0 to 1, or 0 to 255 if one of them exceeds 1.
        data_format (`str` or `ChannelDimension`, *optional*): Where the channels of an array are.
        do_convert_rgb (`bool`): Whether gray and transparent images are converted, the latter on white.
        max_pixels (`int`): Largest number of pixels.

    Returns:
        `tuple[np.ndarray, bool]`: uint8 of shape (height, width, 3), and whether the values were given as 0 to 1.
    """
    if isinstance(image, PIL.Image.Image):
        _check_pixels(image.height, image.width, max_pixels)
        image = PIL.ImageOps.exif_transpose(image)
        if image.mode not in ("I", "F") and not image.mode.startswith("I;16"):
            transparent = image.getbands()[-1] in ("A", "a") or "transparency" in image.info
            try:
                image = image.convert("RGBA" if transparent else "RGB")
            except ValueError as error:
                raise ValueError(
                    f"`images` holds a PIL image of mode {image.mode!r}, which Pillow cannot convert to RGB: convert "
                    "it before."
                ) from error
        array, data_format = np.asarray(image), ChannelDimension.LAST
    else:
        if isinstance(image, torch.Tensor):
            image = image.detach().cpu()
            image = image.float() if image.dtype == torch.bfloat16 else image
        array = np.asarray(image)
    array = _channels_last(array, data_format)
    _check_pixels(*array.shape[:2], max_pixels)
    array, from_unit_range = _to_uint8(array)
    if array.shape[2] != 3 and not do_convert_rgb:
        raise ValueError(
            f"`images` holds an image with {array.shape[2]} channels, and `do_convert_rgb=False`: the model needs 3."
        )
    if array.shape[2] == 1:
        array = np.repeat(array, 3, axis=2)
    elif array.shape[2] == 4:
        alpha = array[:, :, 3:].astype(np.float32) / 255
        array = np.rint(array[:, :, :3] * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(array), from_unit_range


def _to_uint8(array: np.ndarray) -> tuple[np.ndarray, bool]:
    """8-bit values of an array of any numeric type, and whether it held floating point numbers from 0 to 1."""
    if array.dtype == np.uint8:
        return array, False
    if array.dtype == bool:
        return array.astype(np.uint8) * 255, False
    is_float = np.issubdtype(array.dtype, np.floating)
    if not is_float and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"`images` holds an array of type {array.dtype}: allowed are integers, floats and booleans.")
    low, high = float(array.min()), float(array.max())
    allowed = "0 to 1 or 0 to 255" if is_float else "0 to 255 or 0 to 65535"
    if not (low >= 0 and high <= (255 if is_float else 65535)):  # also refuses NaN
        raise ValueError(
            f"`images` holds values from {low} to {high} of type {array.dtype}: allowed are {allowed}. Give images "
            "before any normalisation."
        )
    from_unit_range = is_float and high <= 1
    if from_unit_range:
        array = array * 255.0
    elif array.dtype.str[1:] == "u2" or high > 255:  # of either byte order
        array = array / 257.0
    return np.rint(array).astype(np.uint8), from_unit_range


def _read_segmentation_map(image: Any) -> torch.Tensor:
    """One segmentation map as int64 of shape (height, width), its values as they are."""
    if isinstance(image, PIL.Image.Image):
        if len(image.getbands()) != 1:
            raise ValueError(
                f"`segmentation_maps` holds a PIL image of mode {image.mode!r}: a map has one channel of class ids; "
                "convert its colours to ids before."
            )
        array = np.asarray(PIL.ImageOps.exif_transpose(image))
    else:
        array = image.detach().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    ids = array.astype(np.int64)
    if not np.array_equal(ids, array):
        raise ValueError("`segmentation_maps` holds values that are not integers: give class ids.")
    return torch.from_numpy(ids)


# ---- geometry -------------------------------------------------------------------------------------------------------


def _resized_size(height: int, width: int, shortest_edge: int, longest_edge: int) -> tuple[int, int]:
    """Height and width after the first resize, rounded as detectron2 rounds them."""
    scale = shortest_edge / min(height, width)
    # The shorter side is exact, so that rounding never makes it one pixel off.
    new_height = float(shortest_edge) if height < width else scale * height
    new_width = scale * width if height < width else float(shortest_edge)
    longest = max(new_height, new_width)
    if longest > longest_edge:
        new_height, new_width = new_height * (longest_edge / longest), new_width * (longest_edge / longest)
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def _window_boxes(height: int, width: int, window: int, stride: int) -> list[tuple[int, int, int, int]]:
    """(top, left, bottom, right) of the windows over an image, row by row; the last ones end with the image."""

    def starts(length: int) -> list[int]:
        return [*range(0, length - window, stride), max(length - window, 0)]

    return [
        (top, left, min(top + window, height), min(left + window, width))
        for top in starts(height)
        for left in starts(width)
    ]


def _resize_bilinear(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    if images.shape[-2:] == (height, width):
        return images
    return F.interpolate(images, size=(height, width), mode="bilinear", align_corners=False)


def _normalize(
    images: torch.Tensor, factor: float, mean: float | Sequence[float], std: float | Sequence[float]
) -> torch.Tensor:
    """`(images * factor - mean) / std`, for images of shape (N, 3, height, width)."""
    mean, std = (torch.tensor(value, dtype=torch.float64).view(-1, 1, 1) for value in (mean, std))
    scale, shift = (value.to(images.device, torch.float32) for value in (factor / std, -mean / std))
    return torch.addcmul(shift, images, scale)


def _padded_size(sizes: Sequence[tuple[int, int]], multiple: int | None) -> tuple[int, int] | None:
    """The largest height and width, rounded up to a multiple; `None` if there is nothing to pad to."""
    if multiple is None:
        return None
    height, width = (math.ceil(max(lengths) / multiple) * multiple for lengths in zip(*sizes, strict=True))
    return height, width


def _pad(images: torch.Tensor, size: tuple[int, int] | None, value: int = 0) -> torch.Tensor:
    """Fills images up to a size, on the right and below."""
    if size is None:
        return images
    return F.pad(images, (0, size[1] - images.shape[-1], 0, size[0] - images.shape[-2]), value=value)


def _cut_views(
    image: torch.Tensor, do_squash: bool, size: SizeDict, window: int, stride: int, global_view: bool, **kwargs: Any
) -> tuple[list[torch.Tensor], list[tuple[int, int, int, int]], tuple[int, int]]:
    """Cuts the views of the sliding window.

    Args:
        image (`torch.FloatTensor` of shape `(3, height, width)`): The image after the first resize.
        do_squash, size, window, stride, global_view, **kwargs: As for `preprocess`.

    Returns:
        `tuple`: The views, as tensors of shape (N, 3, height, width) with views of equal size; the box of each view;
        height and width of the image that the boxes refer to.
    """
    image = image[None]
    squashed = _resize_bilinear(image, size.height, size.width) if do_squash else image
    height, width = squashed.shape[-2:]
    boxes = _window_boxes(height, width, window, stride)
    views = [torch.cat([squashed[..., top:bottom, left:right] for top, left, bottom, right in boxes])]
    if global_view:
        # made of the image itself, not of the squashed one, as in the original
        views.append(_resize_bilinear(image, window, window))
        boxes.append((0, 0, height, width))
    return views, boxes, (height, width)


def _resize_nearest(labels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The label at the centre of each new pixel, in exact integer arithmetic."""
    rows = (2 * torch.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * torch.arange(width) + 1) * labels.shape[1] // (2 * width)
    return labels[rows][:, columns]


# ---- merging views --------------------------------------------------------------------------------------------------


def _bilinear_source(source: int, target: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each of `target` pixels the two of `source` pixels between which it lies, and the weight of the second.

    As `F.interpolate(mode="bilinear", align_corners=False)` has it, in float32 too.
    """
    position = ((torch.arange(target, device=device, dtype=torch.float32) + 0.5) * (source / target) - 0.5).clamp(min=0)
    first = position.long().clamp(max=source - 1)
    return first, (first + 1).clamp(max=source - 1), position - first


def _resize_rows(
    maps: torch.Tensor, size: tuple[int, int], start: int, stop: int, first_row: int = 0, height: int | None = None
) -> torch.Tensor:
    """Rows `start` to `stop` of maps resized bilinearly to `size`.

    Args:
        maps (`torch.Tensor` of shape `(T, rows, width)`): Maps, or the rows of them from `first_row` on that matter.
        size (`tuple[int, int]`): Height and width of the resized maps.
        start, stop (`int`): Which rows of the resized maps.
        first_row (`int`, *optional*, defaults to 0): Number of the first row of `maps`.
        height (`int`, *optional*): Height of the whole maps, if `maps` are only rows of them.

    Returns:
        `torch.FloatTensor` of shape `(T, stop - start, size[1])`.
    """
    height = maps.shape[1] if height is None else height
    if height == size[0]:
        rows = maps[:, start - first_row : stop - first_row].float()
    else:
        first, second, weight = (values[start:stop] for values in _bilinear_source(height, size[0], maps.device))
        rows = torch.lerp(
            maps.index_select(1, first - first_row).float(),
            maps.index_select(1, second - first_row).float(),
            weight[:, None],
        )
    if rows.shape[2] == size[1]:
        return rows
    return F.interpolate(rows, size=size[1], mode="linear", align_corners=False)


class _Band(NamedTuple):
    """Rows `start` to `stop` of merged maps, and the rows `first` to `last` of the target that lie between them."""

    start: int
    stop: int
    maps: torch.Tensor  # (T, rows, width): one row more than the band, if there is one
    first: int
    last: int


class _Candidates(NamedTuple):
    """Which classes can win in some cells."""

    cells: torch.Tensor  # (cells,): the cells, by falling number of candidates
    count: torch.Tensor  # (cells,): number of candidates
    offset: torch.Tensor  # (cells,): position of the first candidate of each cell
    classes: torch.Tensor  # (candidates,): class of each candidate, ascending within a cell
    scores: torch.Tensor  # (candidates, 4): its scores at the four pixels


class _MergedScores:
    """The merged score maps of one image, on the resized image, of which a few rows are formed at a time.

    Args:
        logits (`torch.Tensor` of shape `(V, T, h, w)`): Logits of the views of one image.
        boxes (`list[tuple[int, int, int, int]]`, *optional*): Top, left, bottom and right of each view on the resized
            image. `None` in the plain mode.
        size (`tuple[int, int]`): Height and width of the resized image; those of the logits in the plain mode.
        use_sigmoid (`bool`): Whether views are merged after the sigmoid, or as they are.
    """

    def __init__(
        self,
        logits: torch.Tensor,
        boxes: list[tuple[int, int, int, int]] | None,
        size: tuple[int, int],
        use_sigmoid: bool,
    ) -> None:
        self.logits = logits
        self.boxes = boxes
        self.size = size
        self.use_sigmoid = use_sigmoid
        self.num_classes = logits.shape[1]
        self.global_logits = None
        if boxes is None:
            return
        # The last of several views is the global one if it covers everything: no window does beside others.
        if len(boxes) > 1 and boxes[-1] == (0, 0, *size):
            self.global_logits, self.logits, self.boxes = logits[-1], logits[:-1], boxes[:-1]
        self.coverage = torch.zeros(size, device=logits.device)
        for top, left, bottom, right in self.boxes:
            self.coverage[top:bottom, left:right] += 1
        self.coverage.clamp_(min=1)

    def distinct_classes(self) -> torch.Tensor | None:
        """Ids of the classes that can be the first of the best ones; `None` if those are all.

        The sigmoid of all logits up to the least one is the same. So classes that do not exceed it anywhere, such as
        those that the model kept in no view, have equal maps, and the first of them stands for all.
        """
        if not self.use_sigmoid:
            return None
        views = [*self.logits] if self.global_logits is None else [*self.logits, self.global_logits]
        highest = torch.stack([logits.flatten(1).amax(dim=1) for logits in views]).amax(dim=0)
        (least,) = (highest <= MIN_LOGIT).nonzero(as_tuple=True)
        if len(least) < 2:
            return None
        is_distinct = torch.ones(self.num_classes, dtype=torch.bool, device=highest.device)
        is_distinct[least[1:]] = False
        return is_distinct.nonzero()[:, 0]

    def of_classes(self, class_ids: torch.Tensor) -> "_MergedScores":
        """The maps of some classes."""
        some = copy.copy(self)
        some.logits, some.num_classes = self.logits[:, class_ids], len(class_ids)
        if self.global_logits is not None:
            some.global_logits = self.global_logits[class_ids]
        return some

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` of the merged maps, float32 of shape (T, stop - start, width)."""
        if self.boxes is None:
            return self._scores(self.logits[0, :, start:stop].float())
        merged = torch.zeros(self.num_classes, stop - start, self.size[1], device=self.logits.device)
        for logits, (top, left, bottom, right) in zip(self.logits, self.boxes, strict=True):
            first, last = max(start, top), min(stop, bottom)
            if first < last:
                maps = self._scores(_resize_rows(logits, (bottom - top, right - left), first - top, last - top))
                merged[:, first - start : last - start, left:right] += maps
        merged /= self.coverage[start:stop]
        if self.global_logits is not None:
            # The global view is resized to the window first, like all views, and then to the resized image.
            top, left, bottom, right = self.boxes[0]
            height = bottom - top
            above, below, _ = _bilinear_source(height, self.size[0], self.logits.device)
            first, last = int(above[start]), int(below[stop - 1]) + 1
            maps = self._scores(_resize_rows(self.global_logits, (height, right - left), first, last))
            merged += _resize_rows(maps, self.size, start, stop, first, height)
            merged /= 2
        return merged

    def _scores(self, logits: torch.Tensor) -> torch.Tensor:
        return logits.clamp(min=MIN_LOGIT).sigmoid_() if self.use_sigmoid else logits

    def bands(self, size: tuple[int, int]) -> Iterator[_Band]:
        """The maps in bands of bounded size, for a target of that size; bands without a target row are left out."""
        pixels_per_cell = math.ceil(size[0] / self.size[0]) * math.ceil(size[1] / self.size[1])
        num_rows = max(BAND_ELEMENTS // (self.size[1] * max(self.num_classes, pixels_per_cell)), 1)
        above = _bilinear_source(self.size[0], size[0], torch.device("cpu"))[0]
        for start in range(0, self.size[0], num_rows):
            stop = min(start + num_rows, self.size[0])
            first, last = torch.searchsorted(above, torch.tensor([start, stop])).tolist()
            if first < last:
                yield _Band(start, stop, self.rows(start, min(stop + 1, self.size[0])), first, last)

    def target_rows(self, band: _Band, size: tuple[int, int]) -> Iterator[tuple[int, int, torch.Tensor]]:
        """The target rows of a band for all classes, few at a time: first row, last row, (T, last - first, width)."""
        num_rows = max(BAND_ELEMENTS // (self.num_classes * size[1]), 1)
        for first in range(band.first, band.last, num_rows):
            last = min(first + num_rows, band.last)
            yield first, last, _resize_rows(band.maps, size, first, last, band.start, self.size[0])


class _CellAxis:
    """Where the target pixels of one axis lie, in cells that reach from one source pixel to the next.

    Args:
        source, target (`int`): Number of pixels of the source and of the target.
        start, stop (`int`): Which cells; a cell has the number of the source pixel that it begins with.
        device (`torch.device`): Where to compute.

    Attributes:
        weight (`torch.FloatTensor` of shape `(cells, slots)`): How far from the beginning of each cell its target
            pixels lie, from 0 to 1; filled up to the largest number of them in a cell.
        position (`torch.LongTensor` of shape `(target pixels,)`): Where each target pixel is in the flattened `weight`.
    """

    def __init__(self, source: int, target: int, start: int, stop: int, device: torch.device) -> None:
        cell, _, weight = _bilinear_source(source, target, device)
        here = (cell >= start) & (cell < stop)
        cell, weight = cell[here] - start, weight[here]
        count = cell.bincount(minlength=stop - start)
        slots = int(count.max())
        self.position = cell * slots + torch.arange(cell.shape[0], device=device) - (count.cumsum(0) - count)[cell]
        self.weight = torch.zeros((stop - start) * slots, device=device)
        self.weight[self.position] = weight
        self.weight = self.weight.view(-1, slots)


def _class_scores(scores: _MergedScores, size: tuple[int, int], use_softmax: bool) -> torch.Tensor:
    """Scores of all classes at the target size, float32 of shape (T, height, width)."""
    result = torch.empty(scores.num_classes, *size, device=scores.logits.device)
    for band in scores.bands(size):
        for first, last, rows in scores.target_rows(band, size):
            result[:, first:last] = rows.softmax(dim=0) if use_softmax else rows
    return result


def _best_classes(
    scores: _MergedScores, size: tuple[int, int], need_confidence: bool, use_softmax: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The best class of each target pixel, without forming all scores at the target size.

    A target pixel in a cell between four pixels of the merged maps gets, for every class, the same convex combination
    of its scores there. So where one class is the best at all four, it is the best in between. Elsewhere only those
    classes can win whose largest score of the four reaches the best of the smallest ones; usually two or three of them.
    This is exact.

    Args:
        scores (`_MergedScores`): Merged maps.
        size (`tuple[int, int]`): Height and width of the target.
        need_confidence (`bool`): Whether the score of the best class is wanted.
        use_softmax (`bool`): Whether this score is the softmax over classes.

    Returns:
        `tuple[torch.LongTensor, torch.FloatTensor | None]`: Class and score, of shape (height, width). Of classes with
        equal scores it is the first.
    """
    device = scores.logits.device
    labels = torch.empty(size, dtype=torch.int64, device=device)
    confidence = torch.empty(size, device=device) if need_confidence else None
    columns = _CellAxis(scores.size[1], size[1], 0, scores.size[1], device)
    # The softmax needs every class at every pixel.
    needs_all = need_confidence and use_softmax
    class_ids = None if needs_all else scores.distinct_classes()
    if class_ids is not None:
        scores = scores.of_classes(class_ids)
    for band in scores.bands(size):
        rows = _CellAxis(scores.size[0], size[0], band.start, band.stop, device)
        found = None if needs_all else _best_in_cells(band.maps, rows, columns, need_confidence)
        if found is None:
            for first, last, maps in scores.target_rows(band, size):
                best, labels[first:last] = maps.max(dim=0)
                if need_confidence:
                    confidence[first:last] = (maps - best).exp_().sum(dim=0).reciprocal_() if use_softmax else best
            continue
        labels[band.first : band.last] = found[0][rows.position][:, columns.position]
        if need_confidence:
            confidence[band.first : band.last] = found[1][rows.position][:, columns.position]
    return labels if class_ids is None else class_ids[labels], confidence


def _best_in_cells(
    maps: torch.Tensor, rows: _CellAxis, columns: _CellAxis, need_confidence: bool
) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Best class and score of the target pixels in each cell.

    Args:
        maps (`torch.Tensor` of shape `(T, height, width)`): Rows of the merged maps; at most one more than rows of
            cells.
        rows, columns (`_CellAxis`): Where the target pixels lie in the cells.
        need_confidence (`bool`): Whether the score is wanted.

    Returns:
        `tuple[torch.IntTensor, torch.FloatTensor | None]`, *optional*: Class and score, of shape (rows of cells x
        slots, columns of cells x slots). `None` if so many classes can win that looking at all of them is faster.
    """
    num_classes, num_rows, width = maps.shape
    height = rows.weight.shape[0]
    best, winner = maps.max(dim=0)
    winner = winner.int()
    # (4, cells): the four pixels of each cell, as positions in a flattened map; pixels at the edge are repeated
    row, column = torch.arange(height, device=maps.device)[:, None], torch.arange(width, device=maps.device)
    below, right = (row + 1).clamp(max=num_rows - 1), (column + 1).clamp(max=width - 1)
    corners = torch.stack([y * width + x for y in (row, below) for x in (column, right)]).flatten(1)

    # (cells, slots of the row, slots of the column), first as if every cell were decided
    shape = (corners.shape[1], rows.weight.shape[1], columns.weight.shape[1])
    row_weight, column_weight = rows.weight.repeat_interleave(width, 0), columns.weight.repeat(height, 1)
    labels = winner[:height].reshape(-1, 1, 1).expand(shape)
    confidence = None
    if need_confidence:
        confidence = _interpolate_cells(best.flatten()[corners].T, row_weight, column_weight)

    winners = winner.flatten()[corners]
    undecided = (winners != winners[0]).any(dim=0).nonzero()[:, 0]
    # With a target of the size of the maps, there is nothing in between.
    if undecided.numel() and (rows.weight.any() or columns.weight.any()):
        max_candidates = num_classes * corners.shape[1] // CANDIDATE_COST
        candidates = _find_candidates(maps.flatten(1), corners, undecided, max_candidates)
        if candidates is None:
            return None
        cells = candidates.cells
        best, label = _best_candidates(candidates, row_weight[cells], column_weight[cells])
        labels = labels.clone()
        labels[cells] = label
        if need_confidence:
            confidence[cells] = best

    def unfold(cells: torch.Tensor) -> torch.Tensor:
        return cells.view(height, width, *shape[1:]).transpose(1, 2).reshape(height * shape[1], width * shape[2])

    return unfold(labels), unfold(confidence) if need_confidence else None


def _find_candidates(
    maps: torch.Tensor, corners: torch.Tensor, cells: torch.Tensor, max_candidates: int
) -> _Candidates | None:
    """Finds which classes can win in cells.

    Args:
        maps (`torch.Tensor` of shape `(T, pixels)`): Merged maps.
        corners (`torch.LongTensor` of shape `(4, all cells)`): The four pixels of each cell.
        cells (`torch.LongTensor` of shape `(cells,)`): The cells to look at.
        max_candidates (`int`): How many candidates are worth it.

    Returns:
        `_Candidates`, *optional*: `None` if there are more.
    """
    highest = maps.index_select(1, corners[0, cells])
    lowest = highest.clone()
    for corner in corners[1:]:
        values = maps.index_select(1, corner[cells])
        torch.maximum(highest, values, out=highest)
        torch.minimum(lowest, values, out=lowest)
    can_win = highest >= lowest.amax(dim=0)
    count, order = can_win.sum(dim=0).sort(descending=True)
    if int(count.sum()) > max_candidates:
        return None
    cells = cells[order]
    cell, classes = can_win.T[order].nonzero(as_tuple=True)
    scores = torch.stack([maps[classes, corner[cells][cell]] for corner in corners], dim=1)
    return _Candidates(cells, count, count.cumsum(0) - count, classes.int(), scores)


def _best_candidates(
    candidates: _Candidates, row_weight: torch.Tensor, column_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Best score and class, of shape (cells, slots of the row, slots of the column), of the candidates of cells."""
    best = torch.full((*row_weight.shape, column_weight.shape[1]), -torch.inf, device=row_weight.device)
    label = torch.zeros_like(best, dtype=torch.int32)
    for rank in range(int(candidates.count.max())):
        # The cells that have this many candidates come first.
        num_cells = int((candidates.count > rank).sum())
        position = candidates.offset[:num_cells] + rank
        score = _interpolate_cells(candidates.scores[position], row_weight[:num_cells], column_weight[:num_cells])
        # Only a larger score wins, so that of equal ones the first class stays.
        better = score > best[:num_cells]
        label[:num_cells] = torch.where(better, candidates.classes[position, None, None], label[:num_cells])
        torch.maximum(best[:num_cells], score, out=best[:num_cells])
    return best, label


def _interpolate_cells(scores: torch.Tensor, row_weight: torch.Tensor, column_weight: torch.Tensor) -> torch.Tensor:
    """(cells, 4) scores at the corners of cells -> (cells, slots of the row, slots of the column) in between."""
    upper_left, upper_right, lower_left, lower_right = scores[:, :, None].unbind(dim=1)
    left = torch.lerp(upper_left, lower_left, row_weight)
    right = torch.lerp(upper_right, lower_right, row_weight)
    return torch.lerp(left[:, :, None], right[:, :, None], column_weight[:, None])


# ---- image processors -----------------------------------------------------------------------------------------------


class _CatSegImageProcessorMixin:
    """All that the image processors of the two backends share: everything but their base class."""

    valid_kwargs = CatSegImageProcessorKwargs
    model_input_names = ["pixel_values", "view_boxes", "resized_sizes"]

    do_convert_rgb = True
    do_resize = True
    shortest_edge = 640
    longest_edge = 2560
    resample = PILImageResampling.BILINEAR
    do_squash = True
    size = {"height": 640, "width": 640}
    default_to_square = True
    do_sliding_window = True
    window = 384
    stride = 256
    global_view = True
    image_size = 384
    pad_to_multiple = None
    do_rescale = True
    rescale_factor = 1 / 255
    do_normalize = True
    image_mean = OPENAI_CLIP_MEAN
    image_std = OPENAI_CLIP_STD
    backbone_size = None
    backbone_image_mean = None
    backbone_image_std = None
    score_function = "sigmoid"
    ignore_index = 255
    max_pixels = MAX_PIXELS

    def __init__(self, **kwargs: Unpack[CatSegImageProcessorKwargs]) -> None:
        if self._auto_class is None:
            kwargs.pop("auto_map", None)  # of a repository with its own copy of the code, which this class is not
        super().__init__(**kwargs)
        self._validate_preprocess_kwargs(**{name: getattr(self, name) for name in self._valid_kwargs_names})

    def preprocess(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None = None,
        **kwargs: Unpack[CatSegImageProcessorKwargs],
    ) -> BatchFeature:
        r"""Makes the model's inputs from images.

        Args:
            images (`ImageInput`):
                An image or a list of images: PIL images, NumPy arrays, torch tensors, paths or URLs. Gray, RGB, RGBA
                (laid on white), palette and CMYK images are taken, EXIF rotation is applied. Integer arrays are 0 to
                255, or 0 to 65535 if their type is uint16 or one of their values exceeds 255; floating point arrays are
                0 to 1, or 0 to 255 if one of their values exceeds 1. All are brought to 8 bits. With
                `do_rescale=False`, the values are normalised on the scale on which they were given.
            segmentation_maps (`ImageInput`, *optional*):
                One map of class ids for each image, of the image's height and width; only in the plain mode.
            **kwargs (`CatSegImageProcessorKwargs`, *optional*):
                Attributes of the image processor, for this call.

        Returns:
            `BatchFeature` with, for B images:
            - **pixel_values** (`torch.FloatTensor` of shape `(B, V, 3, image_size, image_size)`): The views; those that
              an image has fewer than others are zeros. In the plain mode of shape `(B, 3, image_size, image_size)`.
            - **view_boxes** (`torch.LongTensor` of shape `(B, V, 4)`): Top, left, bottom and right of each view, in
              pixels of the resized image; zeros for views that are missing. Not in the plain mode.
            - **resized_sizes** (`torch.LongTensor` of shape `(B, 2)`): Height and width of the resized images that the
              boxes refer to. Not in the plain mode.
            - **backbone_pixel_values** (`torch.FloatTensor` like `pixel_values`, of `backbone_size`): If
              `backbone_size` is set.
            - **labels** (`torch.LongTensor` of shape `(B, image_size, image_size)`): If `segmentation_maps` are given;
              resized to the nearest pixel, the ids as they are.

        Raises:
            ValueError: If an argument has a value that is not allowed; the message says which are.
            TypeError: If an image is of a type that is not known.
        """
        try:
            return super().preprocess(images, segmentation_maps, **kwargs)
        except StrictDataclassFieldValidationError as error:
            raise TypeError(f"An argument of the image processor is of a wrong type. {error}") from error

    def _standardize_kwargs(
        self,
        backbone_image_mean: float | Sequence[float] | None = None,
        backbone_image_std: float | Sequence[float] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        kwargs = super()._standardize_kwargs(**kwargs)
        for name, value in (("backbone_image_mean", backbone_image_mean), ("backbone_image_std", backbone_image_std)):
            kwargs[name] = tuple(value) if isinstance(value, list) else value
        return kwargs

    def _validate_preprocess_kwargs(self, **kwargs: Any) -> None:
        for name in ("shortest_edge", "longest_edge", "window", "stride", "image_size", "max_pixels"):
            if not isinstance(kwargs[name], int) or kwargs[name] < 1:
                raise ValueError(f"`{name}` must be a positive integer, got {kwargs[name]!r}.")
        for name in ("pad_to_multiple", "backbone_size"):
            if kwargs[name] is not None and (not isinstance(kwargs[name], int) or kwargs[name] < 1):
                raise ValueError(f"`{name}` must be a positive integer or None, got {kwargs[name]!r}.")
        for name in ("do_center_crop", "do_pad"):
            if kwargs.get(name):
                raise ValueError(f"`{name}` is not supported: cut or pad the images before, or see `pad_to_multiple`.")
        if kwargs.get("data_format") not in (None, ChannelDimension.FIRST, ChannelDimension.FIRST.value):
            raise ValueError(
                "`data_format` must be 'channels_first', the order that the model takes, got "
                f"{kwargs['data_format']!r}."
            )
        if kwargs["shortest_edge"] > kwargs["longest_edge"]:
            raise ValueError(
                f"`shortest_edge={kwargs['shortest_edge']}` must not exceed `longest_edge={kwargs['longest_edge']}`."
            )
        if kwargs["stride"] > kwargs["window"]:
            raise ValueError(
                f"`stride={kwargs['stride']}` must not exceed `window={kwargs['window']}`: there would be gaps between "
                "the windows."
            )
        size = kwargs["size"]
        if not size.height or not size.width or min(size.height, size.width) < 1:
            raise ValueError(
                f'`size` must be {{"height": ..., "width": ...}}, what the image is squashed to, got {dict(size)}. For '
                "the first resize give `shortest_edge` and `longest_edge`."
            )
        if kwargs["score_function"] not in ("sigmoid", "softmax"):
            raise ValueError(f'`score_function` must be "sigmoid" or "softmax", got {kwargs["score_function"]!r}.')
        if (
            kwargs["backbone_size"] is not None
            and kwargs["do_normalize"]
            and (kwargs["backbone_image_mean"] is None or kwargs["backbone_image_std"] is None)
        ):
            raise ValueError(
                f"`backbone_size={kwargs['backbone_size']}` needs `backbone_image_mean` and `backbone_image_std` too."
            )
        super()._validate_preprocess_kwargs(**kwargs)

    def _preprocess_image_like_inputs(
        self,
        images: ImageInput,
        segmentation_maps: ImageInput | None,
        do_convert_rgb: bool,
        input_data_format: str | ChannelDimension | None,
        return_tensors: str | TensorType | None,
        device: "str | torch.device | None" = None,
        **kwargs: Any,
    ) -> BatchFeature:
        pixels, from_unit_range = [], []
        max_pixels = kwargs["max_pixels"]
        for image in _flatten_images(images, 3, "images"):
            image = _open_image(image, max_pixels) if isinstance(image, str) else image
            image, is_unit = _read_image(image, input_data_format, do_convert_rgb, max_pixels)
            pixels.append(image)
            from_unit_range.append(is_unit)
        labels = None
        if segmentation_maps is not None:
            labels = self._prepare_labels(segmentation_maps, [image.shape[:2] for image in pixels], **kwargs)
        data = self._preprocess(pixels, from_unit_range=from_unit_range, device=device, **kwargs)
        if labels is not None:
            data["labels"] = labels
        if return_tensors is None:
            data = {name: list(values) for name, values in data.items()}
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _preprocess(
        self,
        images: list[np.ndarray],
        from_unit_range: list[bool],
        device: "str | torch.device | None",
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """From 8-bit RGB images to the model's inputs; all arguments are those of `preprocess`."""
        resized = []
        for image in images:
            if kwargs["do_resize"]:
                height, width = _resized_size(*image.shape[:2], kwargs["shortest_edge"], kwargs["longest_edge"])
                image = np.asarray(PIL.Image.fromarray(image).resize((width, height), kwargs["resample"]))
            resized.append(torch.tensor(image).permute(2, 0, 1).contiguous().to(device or "cpu", torch.float32))

        targets = [("pixel_values", kwargs["image_size"], kwargs["image_mean"], kwargs["image_std"])]
        if kwargs["backbone_size"] is not None:
            backbone = (kwargs[f"backbone_{name}"] for name in ("size", "image_mean", "image_std"))
            targets.append(("backbone_pixel_values", *backbone))
        factors = [
            kwargs["rescale_factor"] if kwargs["do_rescale"] else 1 / 255 if is_unit else 1.0
            for is_unit in from_unit_range
        ]
        if not kwargs["do_normalize"]:
            targets = [(name, size, 0.0, 1.0) for name, size, _, _ in targets]

        if kwargs["pad_to_multiple"] is not None or not kwargs["do_sliding_window"]:
            padded_size = _padded_size([image.shape[1:] for image in resized], kwargs["pad_to_multiple"])
            return {
                name: torch.cat(
                    [
                        _resize_bilinear(_pad(_normalize(image[None], factor, mean, std), padded_size), size, size)
                        for image, factor in zip(resized, factors, strict=True)
                    ]
                )
                for name, size, mean, std in targets
            }

        boxes, sizes = [], []
        views = {name: [] for name, *_ in targets}
        for image, factor in zip(resized, factors, strict=True):
            crops, image_boxes, image_size = _cut_views(image, **kwargs)
            boxes.append(torch.tensor(image_boxes))
            sizes.append(image_size)
            for name, size, mean, std in targets:
                # Normalised at the window's size and resized after that, the original's order.
                views[name].append(
                    torch.cat([_resize_bilinear(_normalize(crop, factor, mean, std), size, size) for crop in crops])
                )
        # Zeros fill up images with fewer views than others.
        data = {name: torch.nn.utils.rnn.pad_sequence(values, batch_first=True) for name, values in views.items()}
        data["view_boxes"] = torch.nn.utils.rnn.pad_sequence(boxes, batch_first=True)
        data["resized_sizes"] = torch.tensor(sizes)
        return data

    def _prepare_labels(
        self, segmentation_maps: ImageInput, sizes: list[tuple[int, int]], **kwargs: Any
    ) -> torch.Tensor:
        if kwargs["do_sliding_window"] and kwargs["pad_to_multiple"] is None:
            raise ValueError(
                "`segmentation_maps` are for the plain mode, in which an image is one view: give "
                "`do_sliding_window=False` too."
            )
        maps = [
            _read_segmentation_map(_open_image(image, kwargs["max_pixels"]) if isinstance(image, str) else image)
            for image in _flatten_images(segmentation_maps, 2, "segmentation_maps")
        ]
        if len(maps) != len(sizes):
            raise ValueError(f"`segmentation_maps` holds {len(maps)} maps for {len(sizes)} images: give one for each.")
        for index, (labels, size) in enumerate(zip(maps, sizes, strict=True)):
            if tuple(labels.shape) != tuple(size):
                raise ValueError(
                    f"`segmentation_maps[{index}]` has {labels.shape[0]} x {labels.shape[1]} pixels, its image "
                    f"{size[0]} x {size[1]}: they must be of one size."
                )
        if kwargs["pad_to_multiple"] is not None:
            if kwargs["do_resize"]:
                edges = kwargs["shortest_edge"], kwargs["longest_edge"]
                maps = [_resize_nearest(labels, *_resized_size(*labels.shape, *edges)) for labels in maps]
            padded_size = _padded_size([labels.shape for labels in maps], kwargs["pad_to_multiple"])
            maps = [_pad(labels, padded_size, kwargs["ignore_index"]) for labels in maps]
        return torch.stack([_resize_nearest(labels, kwargs["image_size"], kwargs["image_size"]) for labels in maps])

    @torch.no_grad()
    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None" = None,
        threshold: float | None = None,
        background_id: int = -1,
        return_segmentation_scores: bool = False,
    ) -> list[torch.Tensor] | list[SemanticSegmentationPostProcessorOutput]:
        r"""Makes label maps of the model's outputs: each pixel gets its best class.

        The order is that of the originals. Without views: sigmoid, then bilinear to the target size. With views:
        bilinear to the window's size, sigmoid, average where windows overlap, mean with the global view resized to the
        image, bilinear to the target size. With `score_function="softmax"` the logits themselves are merged. Logits of
        float16 or bfloat16 are processed as float32. Memory grows with the target, not with classes times pixels,
        unless `return_segmentation_scores` is set.

        Args:
            outputs (`CatSegSemanticSegmenterOutput`):
                Output of [`CatSegForSemanticSegmentation`], with its `view_boxes` and `resized_sizes`.
            target_sizes (`Sequence[tuple[int, int]]` or `torch.Tensor` of shape `(B, 2)`, *optional*):
                Height and width of each label map. Without them, those of the resized image with views, those of the
                logits otherwise.
            threshold (`float`, *optional*):
                Least score, from 0 to 1, that the best class of a pixel needs. `None`: every pixel gets its best class.
            background_id (`int`, *optional*, defaults to -1):
                What pixels below the threshold get. The default is no class's number, and 255 in 8 bits.
            return_segmentation_scores (`bool`, *optional*, defaults to `False`):
                Whether to return the scores of all classes too.

        Returns:
            `list[torch.LongTensor]` of shape `(height, width)` each, with class numbers; of classes with equal scores
            the first. With `return_segmentation_scores`, a list of [`SemanticSegmentationPostProcessorOutput`] with
            `segmentation` and `segmentation_scores` (`torch.FloatTensor` of shape `(T, height, width)`, the merged
            sigmoid or the softmax over classes).

        Raises:
            ValueError: If an argument does not fit the outputs; the message says which are allowed.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` must be from 0 to 1, or None, got {threshold}.")
        use_softmax = self.score_function == "softmax"
        results = []
        for scores, size in self._merged(outputs, target_sizes):
            segmentation, confidence = _best_classes(scores, size, threshold is not None, use_softmax)
            if threshold is not None:
                segmentation[confidence < threshold] = background_id
            if return_segmentation_scores:
                data = {
                    "segmentation": segmentation,
                    "segmentation_scores": _class_scores(scores, size, use_softmax),
                }
                segmentation = SemanticSegmentationPostProcessorOutput(data=data)
            results.append(segmentation)
        return results

    @torch.no_grad()
    def post_process_best_classes(
        self, outputs: Any, target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None" = None
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        r"""The best class of each pixel and its score, with the memory of a label map.

        Args:
            outputs (`CatSegSemanticSegmenterOutput`), target_sizes (*optional*):
                As for `post_process_semantic_segmentation`.

        Returns:
            `list[tuple[torch.LongTensor, torch.FloatTensor]]`: For each image class and score, from 0 to 1, both of
            shape `(height, width)`.

        Raises:
            ValueError: If an argument does not fit the outputs.
        """
        use_softmax = self.score_function == "softmax"
        return [_best_classes(scores, size, True, use_softmax) for scores, size in self._merged(outputs, target_sizes)]

    @torch.no_grad()
    def post_process_class_scores(
        self,
        outputs: Any,
        target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None" = None,
        class_ids: Sequence[int] | None = None,
    ) -> list[torch.Tensor]:
        r"""The merged score maps of classes, as for heat maps. They take memory for classes times pixels.

        Args:
            outputs (`CatSegSemanticSegmenterOutput`), target_sizes (*optional*):
                As for `post_process_semantic_segmentation`.
            class_ids (`Sequence[int]`, *optional*):
                Which classes, and in which order; all of them by default.

        Returns:
            `list[torch.FloatTensor]` of shape `(classes, height, width)` each: merged sigmoids, from 0 to 1, or with
            `score_function="softmax"` the merged logits.

        Raises:
            ValueError: If an argument does not fit the outputs.
        """
        return [_class_scores(scores, size, False) for scores, size in self._merged(outputs, target_sizes, class_ids)]

    def _merged(
        self,
        outputs: Any,
        target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None",
        class_ids: Sequence[int] | None = None,
    ) -> Iterator[tuple[_MergedScores, tuple[int, int]]]:
        """Merged maps and target size of each image, after a check of the arguments."""
        fields = outputs if isinstance(outputs, Mapping) else vars(outputs)
        logits, view_boxes, resized_sizes = (fields.get(name) for name in ("logits", "view_boxes", "resized_sizes"))
        if logits is None or logits.ndim not in (4, 5):
            raise ValueError(
                "`outputs` must have `logits` of shape (images, classes, height, width) or (images, views, classes, "
                f"height, width), got {None if logits is None else tuple(logits.shape)}."
            )
        if logits.ndim == 5 and (view_boxes is None or resized_sizes is None):
            raise ValueError(
                "`outputs` has logits of several views, but not the `view_boxes` and `resized_sizes` of the image "
                "processor: give these to the model, which hands them on."
            )
        num_images, num_classes = logits.shape[0], logits.shape[-3]
        if target_sizes is not None and len(target_sizes) != num_images:
            raise ValueError(
                f"`target_sizes` has {len(target_sizes)} entries for {num_images} images: give (height, width) of each."
            )
        if class_ids is not None:
            wrong = [class_id for class_id in class_ids if not 0 <= class_id < num_classes]
            if wrong:
                raise ValueError(f"`class_ids` has {wrong}: there are only the classes 0 to {num_classes - 1}.")
        for index in range(num_images):
            views, boxes = (logits[index], None) if logits.ndim == 5 else (logits[index, None], None)
            size = tuple(views.shape[-2:])
            if logits.ndim == 5:
                boxes = [tuple(box) for box in view_boxes[index].tolist()]
                present = [number for number, box in enumerate(boxes) if any(box)]
                views, boxes = views[present], [boxes[number] for number in present]
                size = tuple(resized_sizes[index].tolist())
            if class_ids is not None:
                views = views[:, list(class_ids)]
            scores = _MergedScores(views, boxes, size, self.score_function == "sigmoid")
            target_size = size if target_sizes is None else tuple(int(length) for length in target_sizes[index])
            if len(target_size) != 2 or min(target_size) < 1:
                raise ValueError(
                    f"`target_sizes[{index}]` must be (height, width), two positive integers, got {target_size}."
                )
            yield scores, target_size


class CatSegImageProcessorPil(_CatSegImageProcessorMixin, PilBackend):
    r"""Image processor of CAT-Seg that needs Pillow only.

    Its defaults are those of the released CVPR 2024 model with ViT-B/16: the shortest edge is resized to 640 pixels,
    the image squashed to 640 x 640, and cut into 2 x 2 windows of 384 with a stride of 256; the whole image is the
    fifth view. All of it are attributes, saved with the processor, that can also be given for a single call.

    - Larger CLIP models (ViT-L/14, ViT-H/14, ViT-bigG/14): `image_size=336`.
    - Models with an appearance backbone (v1, MMSegmentation): `backbone_size=384` with `backbone_image_mean` and
      `backbone_image_std`.
    - MMSegmentation: `shortest_edge=512, longest_edge=2048, do_squash=False, stride=384, global_view=False,
      score_function="softmax"`.
    - One view for each image: `do_sliding_window=False`. As the original without the sliding window:
      `do_resize=False, pad_to_multiple=32`.

    Args:
        do_convert_rgb (`bool`, *optional*, defaults to `True`):
            Whether gray images and images with transparency are converted to RGB.
        do_resize (`bool`, *optional*, defaults to `True`):
            Whether to resize the image first, to `shortest_edge` and `longest_edge`, with Pillow.
        resample (`PILImageResampling`, *optional*, defaults to `BILINEAR`):
            Filter of that resize.
        size (`dict[str, int]`, *optional*, defaults to `{"height": 640, "width": 640}`):
            What the image is squashed to under the sliding window (`do_squash`).
        do_rescale (`bool`, *optional*, defaults to `True`), rescale_factor (`float`, *optional*, defaults to 1/255):
            Whether to multiply the 8-bit values by the factor.
        do_normalize (`bool`, *optional*, defaults to `True`):
            Whether to normalise with mean and standard deviation.
        image_mean, image_std (`float` or `list[float]`, *optional*, default to those of CLIP):
            Mean and standard deviation, for red, green and blue.
        **kwargs ([`CatSegImageProcessorKwargs`], *optional*):
            The attributes that Transformers' image processors do not have.

    Raises:
        ValueError: If attributes contradict each other; the message says which and what to do.

    Example:

    ```python
    >>> from PIL import Image
    >>> from catseg_hf import CatSegImageProcessor

    >>> image_processor = CatSegImageProcessor()
    >>> image_processor(Image.new("RGB", (500, 375)), return_tensors="pt").pixel_values.shape
    torch.Size([1, 5, 3, 384, 384])
    ```
    """


if is_torchvision_available():
    from transformers.image_processing_backends import TorchvisionBackend

    class CatSegImageProcessor(_CatSegImageProcessorMixin, TorchvisionBackend):  # noqa: D101
        __doc__ = CatSegImageProcessorPil.__doc__.replace("that needs Pillow only", "for the torchvision backend")

else:
    CatSegImageProcessor = CatSegImageProcessorPil


__all__ = ["CatSegImageProcessor", "CatSegImageProcessorPil"]
