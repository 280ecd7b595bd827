# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The figures of [`ConfusionMatrix`] as a metric of the library `evaluate`; imported by itself, for that library."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from catseg_hf.evaluation.metrics import ConfusionMatrix


try:
    import datasets
    import evaluate
except ImportError as error:
    raise ImportError('`MeanIoU` needs the library evaluate: `pip install "catseg-hf[eval]"`.') from error


DESCRIPTION = "Mean IoU of label maps by both conventions, over one confusion matrix of exact counts."
INPUTS = """
Label maps, one for each image, of any sizes: arrays, tensors or images of integer class ids, (height, width).
Arguments of `compute`: `num_labels`, and optionally `ignore_index` (255) and `reduce_labels` (False).
"""


class MeanIoU(evaluate.Metric):
    """Mean IoU by both conventions, with the arguments and keys of `evaluate`'s own `mean_iou`, and without a download.

    Where that metric is defined, the figures are equal. What it leaves out of its counts without a word is refused:
    class ids of counted pixels that do not exist, and maps of different sizes.

    As with each metric of `evaluate`, `add_batch` takes images piece by piece, `compute` gives the figures of all, and
    several processes share an `experiment_id`. In between the maps lie, compressed, in a file of the cache.

    Args:
        kwargs: As for `evaluate.Metric`: `num_process`, `process_id`, `experiment_id`, `cache_dir`, ...

    Raises:
        ImportError: When its module is imported, if `evaluate` is not installed.

    Example:

    ```python
    >>> import numpy as np
    >>> from catseg_hf.evaluation.mean_iou import MeanIoU

    >>> metric = MeanIoU()
    >>> metric.add_batch(predictions=[np.array([[0, 1, 1]])], references=[np.array([[0, 0, 255]])])
    >>> figures = metric.compute(num_labels=3)
    >>> figures["mean_iou"], figures["miou_present_in_ground_truth"]
    (0.25, 0.5)
    ```
    """

    def _info(self) -> "evaluate.MetricInfo":
        maps = {name: datasets.Value("binary") for name in ("predictions", "references")}
        return evaluate.MetricInfo(
            description=DESCRIPTION, citation="", inputs_description=INPUTS, features=datasets.Features(maps)
        )

    def add_batch(self, *, predictions: Any = None, references: Any = None, **kwargs: Any) -> None:
        """Adds images.

        Args:
            predictions (`Sequence` of label maps): Class ids of any integer type, each of shape `(height, width)`.
            references (`Sequence` of label maps): As many, each of the size of its prediction.
            kwargs: None.

        Raises:
            TypeError: If the ids are not integers.
            ValueError: If there are more of one than of the other, or two that belong together differ in size.
        """
        pairs = _packed_pairs(predictions, references)
        super().add_batch(predictions=[pair[0] for pair in pairs], references=[pair[1] for pair in pairs], **kwargs)

    def add(self, *, prediction: Any = None, reference: Any = None, **kwargs: Any) -> None:
        """Adds one image.

        Args:
            prediction, reference (label map): As one of [`add_batch`].
            kwargs: None.

        Raises:
            TypeError, ValueError: As [`add_batch`].
        """
        ((prediction, reference),) = _packed_pairs([prediction], [reference])
        super().add(prediction=prediction, reference=reference, **kwargs)

    def _compute(
        self,
        predictions: Sequence[bytes],
        references: Sequence[bytes],
        *,
        num_labels: int,
        ignore_index: int = 255,
        reduce_labels: bool = False,
    ) -> dict[str, Any]:
        """The figures of all images, for [`compute`].

        Args:
            predictions, references (`Sequence[bytes]`): Packed label maps.
            num_labels (`int`): Number of classes.
            ignore_index (`int`, *optional*, defaults to 255): Pixels with this reference id are not counted.
            reduce_labels (`bool`, *optional*, defaults to `False`):
                Whether the references, not the predictions, have 0 for pixels that are not counted and 1 for the first
                class. `ignore_index` then stays as it is, and must not be a class.

        Returns:
            `dict[str, Any]`: `miou_present_in_ground_truth`, `miou_present_in_either`, and, with the names of
            `evaluate`, `mean_iou` (the latter), `mean_accuracy`, `overall_accuracy`, and `per_category_iou` and
            `per_category_accuracy`, arrays with nan where a class does not occur.
        """
        if reduce_labels and 0 <= ignore_index < num_labels:
            raise ValueError(
                f"With `reduce_labels`, 0 is not counted anyway, and `ignore_index={ignore_index}` would be a class: "
                f"use 255, or another number that is none of 0 to {num_labels - 1}."
            )
        matrix = ConfusionMatrix(num_labels, ignore_index=ignore_index)
        for prediction, reference in zip(predictions, references, strict=True):
            ids = _unpack(reference)
            if reduce_labels:
                ids = np.where((ids == 0) | (ids == ignore_index), ignore_index, ids - 1)
            matrix.update(_unpack(prediction), ids)
        figures = matrix.compute()
        table = figures["per_class"]
        return {
            "miou_present_in_ground_truth": figures["miou_present_in_ground_truth"],
            "miou_present_in_either": figures["miou_present_in_either"],
            "mean_iou": figures["miou_present_in_either"],
            "mean_accuracy": figures["mean_accuracy"],
            "overall_accuracy": figures["pixel_accuracy"],
            "per_category_iou": np.array([row["iou"] for row in table]),
            "per_category_accuracy": np.array([row["accuracy"] for row in table]),
        }


def _packed_pairs(predictions: Any, references: Any) -> list[tuple[bytes, bytes]]:
    """Label maps that belong together, checked and compressed."""
    if len(predictions) != len(references):
        raise ValueError(f"There are {len(predictions)} `predictions`, but {len(references)} `references`.")
    pairs = []
    for prediction, reference in zip(predictions, references, strict=True):
        maps = _as_map(prediction, "predictions"), _as_map(reference, "references")
        if maps[0].shape != maps[1].shape:
            raise ValueError(
                f"A label map of `predictions` has the size {maps[0].shape} and its one of `references` "
                f"{maps[1].shape}: resize predictions to the size of the labels before, never the labels."
            )
        pairs.append((_pack(maps[0]), _pack(maps[1])))
    return pairs


def _as_map(ids: Any, argument: str) -> np.ndarray:
    ids = np.asarray(ids.detach().cpu() if isinstance(ids, torch.Tensor) else ids)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"`{argument}` must hold integer class ids, got {ids.dtype}: take the argmax of scores before.")
    if ids.ndim != 2:
        raise ValueError(f"`{argument}` must be label maps of shape (height, width), got one of shape {ids.shape}.")
    return ids


def _pack(ids: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, ids=ids)
    return file.getvalue()


def _unpack(packed: bytes) -> np.ndarray:
    with np.load(io.BytesIO(packed), allow_pickle=False) as file:
        return file["ids"].astype(np.int64)


__all__ = ["MeanIoU"]
