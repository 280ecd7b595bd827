# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Image processor of CAT-Seg (https://arxiv.org/abs/2303.11797): from a photo to views.

The geometry is that of the originals at test time. The shortest edge is resized by Pillow, on 8-bit values; all that
follows is float32 interpolation in torch. So the two backends that Transformers knows give the same values, and the
class for torchvision differs from the one for Pillow only in its base class.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import PIL.Image
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
)
from transformers.processing_utils import ImagesKwargs, Unpack
from transformers.utils import TensorType, is_torchvision_available

from .forking_catseg import one_thread_if_forked
from .image_reading_catseg import MAX_PIXELS, flatten_images, open_image, read_image, read_segmentation_map
from .merging_catseg import best_classes, class_scores, merged_images, resize_bilinear


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


# ---- geometry -------------------------------------------------------------------------------------------------------


# How many views a photo is: one, or those of a sliding window.
Views = Literal["one", "sliding"]


def resized_size(height: int, width: int, shortest_edge: int, longest_edge: int) -> tuple[int, int]:
    """Height and width after the first resize, rounded as detectron2 rounds them."""
    scale = shortest_edge / min(height, width)
    # The shorter side is exact, so that rounding never makes it one pixel off.
    new_height = float(shortest_edge) if height < width else scale * height
    new_width = scale * width if height < width else float(shortest_edge)
    longest = max(new_height, new_width)
    if longest > longest_edge:
        new_height, new_width = new_height * (longest_edge / longest), new_width * (longest_edge / longest)
    return max(int(new_height + 0.5), 1), max(int(new_width + 0.5), 1)


def view_arguments(views: Views | None) -> dict[str, Any]:
    """The arguments of an image processor that stand for a number of views.

    Args:
        views (`"one"`, `"sliding"`, *optional*): The whole photo as one view, several times as fast; or the windows
            that the processor is made for, as in the paper. `None` leaves the choice to the processor.

    Returns:
        `dict[str, Any]`: Of [`CatSegImageProcessor`].

    Raises:
        ValueError: If `views` is something else.
    """
    arguments = {
        None: {},
        "one": {"do_sliding_window": False},
        "sliding": {"do_sliding_window": True, "pad_to_multiple": None},
    }
    if views not in arguments:
        raise ValueError(f'`views` must be "one" or "sliding", got {views!r}.')
    return arguments[views]


def _window_boxes(height: int, width: int, window: int, stride: int) -> list[tuple[int, int, int, int]]:
    """(top, left, bottom, right) of the windows over an image, row by row; the last ones end with the image."""

    def starts(length: int) -> list[int]:
        return [*range(0, length - window, stride), max(length - window, 0)]

    return [
        (top, left, min(top + window, height), min(left + window, width))
        for top in starts(height)
        for left in starts(width)
    ]


def _normalize(
    images: torch.Tensor, factor: float, mean: float | Sequence[float], std: float | Sequence[float]
) -> torch.Tensor:
    """`(images * factor - mean) / std`, for images of shape (N, 3, height, width)."""
    mean, std = (torch.tensor(value, dtype=torch.float64).view(-1, 1, 1) for value in (mean, std))
    scale, shift = (value.float().to(images.device, non_blocking=True) for value in (factor / std, -mean / std))
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
    squashed = resize_bilinear(image, (size.height, size.width)) if do_squash else image
    height, width = squashed.shape[-2:]
    boxes = _window_boxes(height, width, window, stride)
    views = [torch.cat([squashed[..., top:bottom, left:right] for top, left, bottom, right in boxes])]
    if global_view:
        # made of the image itself, not of the squashed one, as in the original
        views.append(resize_bilinear(image, (window, window)))
        boxes.append((0, 0, height, width))
    return views, boxes, (height, width)


def _resize_nearest(labels: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The label at the centre of each new pixel, in exact integer arithmetic."""
    rows = (2 * torch.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * torch.arange(width) + 1) * labels.shape[1] // (2 * width)
    return labels[rows][:, columns]


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
        for name in ("do_sliding_window", "do_squash", "global_view", "do_resize", "do_rescale", "do_normalize"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"`{name}` must be true or false, got {getattr(self, name)!r}.")
        self._validate_preprocess_kwargs(**{name: getattr(self, name) for name in self._valid_kwargs_names})

    @one_thread_if_forked()
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
                Attributes of the image processor, for this call; and `device` (`str` or `torch.device`), where all that
                follows the first resize is computed, and where views and labels are in the result. What post-processing
                reads (`view_boxes`, `resized_sizes`) stays on the CPU, so that no GPU has to be asked for it.

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
            if isinstance(kwargs[name], bool) or not isinstance(kwargs[name], int) or kwargs[name] < 1:
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
        if kwargs["score_function"] not in ("sigmoid", "softmax"):
            raise ValueError(f'`score_function` must be "sigmoid" or "softmax", got {kwargs["score_function"]!r}.')
        self._validate_geometry(**kwargs)
        self._validate_values(**kwargs)
        super()._validate_preprocess_kwargs(**kwargs)

    def _validate_values(self, **kwargs: Any) -> None:
        """Refuses what would make other numbers of pixels than those that the model was trained on, or none at all."""
        for name in ("image_mean", "image_std", "backbone_image_mean", "backbone_image_std"):
            if kwargs[name] is None:
                continue
            given = kwargs[name] if isinstance(kwargs[name], list | tuple) else [kwargs[name]]
            numbers = [v for v in given if isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v)]
            is_right = len(given) in (1, 3) and len(numbers) == len(given)
            if not is_right or (name.endswith("std") and min(given) <= 0):
                what = "positive numbers" if name.endswith("std") else "numbers"
                raise ValueError(f"`{name}` must be three {what}, or one for all channels, got {kwargs[name]!r}.")
        factor = kwargs["rescale_factor"]
        if isinstance(factor, bool) or not isinstance(factor, int | float) or not 0 < factor < math.inf:
            raise ValueError(f"`rescale_factor` must be a positive number, such as 1/255, got {factor!r}.")
        if isinstance(kwargs["resample"], bool):
            raise ValueError(f"`resample` must be one of Pillow's resampling filters, got {kwargs['resample']!r}.")

    def _validate_geometry(self, shortest_edge: int, longest_edge: int, size: SizeDict, **kwargs: Any) -> None:
        if shortest_edge > longest_edge:
            raise ValueError(f"`shortest_edge={shortest_edge}` must not exceed `longest_edge={longest_edge}`.")
        if kwargs["stride"] > kwargs["window"]:
            raise ValueError(
                f"`stride={kwargs['stride']}` must not exceed `window={kwargs['window']}`: there would be gaps between "
                "the windows."
            )
        if not size.height or not size.width or min(size.height, size.width) < 1:
            raise ValueError(
                f'`size` must be {{"height": ..., "width": ...}}, what the image is squashed to, got {dict(size)}. For '
                "the first resize give `shortest_edge` and `longest_edge`."
            )
        statistics = kwargs["backbone_image_mean"], kwargs["backbone_image_std"]
        if kwargs["backbone_size"] is not None and kwargs["do_normalize"] and None in statistics:
            raise ValueError(
                f"`backbone_size={kwargs['backbone_size']}` needs `backbone_image_mean` and `backbone_image_std` too."
            )

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
        for image in flatten_images(images, 3, "images"):
            image = open_image(image, max_pixels) if isinstance(image, str) else image
            image, is_unit = read_image(image, input_data_format, do_convert_rgb, max_pixels)
            pixels.append(image)
            from_unit_range.append(is_unit)
        labels = None
        if segmentation_maps is not None:
            labels = self._prepare_labels(segmentation_maps, [image.shape[:2] for image in pixels], **kwargs)
        data = self._preprocess(pixels, from_unit_range=from_unit_range, device=device, **kwargs)
        if labels is not None:
            data["labels"] = labels.to(device or "cpu")
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
                height, width = resized_size(*image.shape[:2], kwargs["shortest_edge"], kwargs["longest_edge"])
                image = np.asarray(PIL.Image.fromarray(image).resize((width, height), kwargs["resample"]))
            # Bytes go to the device, and become four times as many there.
            image = torch.tensor(image).to(device or "cpu", non_blocking=True)
            resized.append(image.permute(2, 0, 1).float().contiguous())

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
                        resize_bilinear(_pad(_normalize(image[None], factor, mean, std), padded_size), (size, size))
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
                    torch.cat([resize_bilinear(_normalize(crop, factor, mean, std), (size, size)) for crop in crops])
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
            read_segmentation_map(open_image(image, kwargs["max_pixels"]) if isinstance(image, str) else image)
            for image in flatten_images(segmentation_maps, 2, "segmentation_maps")
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
                maps = [_resize_nearest(labels, *resized_size(*labels.shape, *edges)) for labels in maps]
            padded_size = _padded_size([labels.shape for labels in maps], kwargs["pad_to_multiple"])
            maps = [_pad(labels, padded_size, kwargs["ignore_index"]) for labels in maps]
        return torch.stack([_resize_nearest(labels, kwargs["image_size"], kwargs["image_size"]) for labels in maps])

    @one_thread_if_forked()
    @torch.no_grad()
    def post_process_semantic_segmentation(
        self,
        outputs: Any,
        target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None" = None,
        threshold: float | None = None,
        background_id: int = -1,
        return_segmentation_scores: bool = False,
        search: bool | None = None,
        num_labels: int | None = None,
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
                What pixels below the threshold get, and those of classes that are not reported. The default is no
                class's number, and 255 in 8 bits.
            return_segmentation_scores (`bool`, *optional*, defaults to `False`):
                Whether to return the scores of all classes too.
            search (`bool`, *optional*):
                Whether to look, at each place, only at the classes that can win there, or at all of them. The results
                are the same, but for ties by rounding. By default the faster way: the search on a CPU, all on a GPU.
            num_labels (`int`, *optional*):
                How many classes are reported, from the first on; all by default. The others only compete: what goes to
                one of them gets `background_id`.

        Returns:
            `list[torch.LongTensor]` of shape `(height, width)` each, with class numbers; of classes with equal scores
            the first. With `return_segmentation_scores`, a list of [`SemanticSegmentationPostProcessorOutput`] with
            `segmentation` and `segmentation_scores` (`torch.FloatTensor` of shape `(T, height, width)`, the merged
            sigmoid or the softmax over classes; those of the classes that are reported).

        Raises:
            ValueError: If an argument does not fit the outputs; the message says which are allowed.
        """
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"`threshold` must be from 0 to 1, or None, got {threshold}.")
        use_softmax = self.score_function == "softmax"
        results = []
        images = merged_images(outputs, target_sizes, use_sigmoid=not use_softmax, num_labels=num_labels)
        for views, size in images:
            segmentation, scores = best_classes(
                views, size, need_scores=threshold is not None, use_softmax=use_softmax, search=search
            )
            if num_labels is not None:
                segmentation = segmentation.masked_fill_(segmentation >= num_labels, background_id)
            if threshold is not None:
                segmentation = segmentation.masked_fill_(scores < threshold, background_id)
            if return_segmentation_scores:
                all_scores = class_scores(views, size, use_softmax=use_softmax, search=search)[:num_labels]
                data = {"segmentation": segmentation, "segmentation_scores": all_scores}
                segmentation = SemanticSegmentationPostProcessorOutput(data=data)
            results.append(segmentation)
        return results

    @one_thread_if_forked()
    @torch.no_grad()
    def post_process_best_classes(
        self,
        outputs: Any,
        target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None" = None,
        search: bool | None = None,
        num_labels: int | None = None,
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        r"""The best class of each pixel and its score, with the memory of a label map.

        Args:
            outputs (`CatSegSemanticSegmenterOutput`), target_sizes, search, num_labels (*optional*):
                As for `post_process_semantic_segmentation`.

        Returns:
            `list[tuple[torch.LongTensor, torch.FloatTensor]]`: For each image class and score, from 0 to 1, both of
            shape `(height, width)`. Pixels of a class that is not reported have class -1, and its score.

        Raises:
            ValueError: If an argument does not fit the outputs.
        """
        use_softmax = self.score_function == "softmax"
        results = []
        images = merged_images(outputs, target_sizes, use_sigmoid=not use_softmax, num_labels=num_labels)
        for views, size in images:
            classes, scores = best_classes(views, size, need_scores=True, use_softmax=use_softmax, search=search)
            if num_labels is not None:
                classes = classes.masked_fill_(classes >= num_labels, -1)
            results.append((classes, scores))
        return results

    @one_thread_if_forked()
    @torch.no_grad()
    def post_process_class_scores(
        self,
        outputs: Any,
        target_sizes: "Sequence[tuple[int, int]] | torch.Tensor | None" = None,
        class_ids: Sequence[int] | None = None,
        search: bool | None = None,
    ) -> list[torch.Tensor]:
        r"""The merged score maps of classes, as for heat maps. They take memory for classes times pixels.

        Args:
            outputs (`CatSegSemanticSegmenterOutput`), target_sizes (*optional*):
                As for `post_process_semantic_segmentation`.
            class_ids (`Sequence[int]`, *optional*):
                Which classes, and in which order; all of them by default.
            search (`bool`, *optional*):
                As for `post_process_semantic_segmentation`: the scores are rounded as those that decide there.

        Returns:
            `list[torch.FloatTensor]` of shape `(classes, height, width)` each: merged sigmoids, from 0 to 1, or with
            `score_function="softmax"` the merged logits.

        Raises:
            ValueError: If an argument does not fit the outputs.
        """
        use_sigmoid = self.score_function == "sigmoid"
        return [
            class_scores(views, size, use_softmax=False, search=search)
            for views, size in merged_images(outputs, target_sizes, class_ids, use_sigmoid=use_sigmoid)
        ]


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


__all__ = ["CatSegImageProcessor", "CatSegImageProcessorPil", "view_arguments"]
