# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The figures of semantic segmentation, all from one confusion matrix that grows with classes², never with images."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch


class ConfusionMatrix:
    """Counts pixels by reference class and predicted class.

    The counts are exact integers: any order of images, any division of them among processes and any interruption give
    the same matrix.

    Args:
        num_classes (`int`):
            Number of classes, at least 1.
        ignore_index (`int`, *optional*, defaults to 255):
            Pixels with this reference id are not counted, whatever their prediction.
        class_names (`Sequence[str]`, *optional*):
            A name for each class, for the table of [`compute`]. Class ids as strings by default.

    Attributes:
        matrix (`torch.LongTensor` of shape `(num_classes, num_classes)`): The counts, on the CPU; rows are reference
            classes, columns predicted ones.
        num_ignored (`torch.LongTensor` without dimensions): Number of pixels with `ignore_index`. To combine processes,
            add up both.

    Raises:
        ValueError: If `num_classes` is less than 1 or there are more or fewer `class_names`.

    Example:

    ```python
    >>> metric = ConfusionMatrix(2, class_names=["cat", "grass"])
    >>> metric.update(predictions=torch.tensor([[0, 1, 1]]), references=torch.tensor([[0, 0, 255]]))
    >>> metric.matrix.tolist()
    [[1, 1], [0, 0]]
    >>> metric.compute()["miou_present_in_ground_truth"]
    0.5
    ```
    """

    def __init__(self, num_classes: int, *, ignore_index: int = 255, class_names: Sequence[str] | None = None) -> None:
        if num_classes < 1:
            raise ValueError(f"`num_classes` must be at least 1, got {num_classes}.")
        if class_names is not None and len(class_names) != num_classes:
            raise ValueError(
                f"`class_names` must have one name for each of {num_classes} classes, got {len(class_names)}."
            )
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.class_names = [str(index) for index in range(num_classes)] if class_names is None else list(class_names)
        self.matrix = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self.num_ignored = torch.zeros((), dtype=torch.int64)

    def update(self, predictions: torch.Tensor | np.ndarray, references: torch.Tensor | np.ndarray) -> None:
        """Adds the pixels of an image, or of a batch of images of one size.

        Args:
            predictions (`torch.Tensor` or `np.ndarray` of shape `(height, width)` or `(batch, height, width)`):
                Predicted class ids, from 0 to `num_classes - 1`, of any integer type, on any device.
            references (`torch.Tensor` or `np.ndarray` of the same shape):
                Class ids of the data set, from 0 to `num_classes - 1`, or `ignore_index`; of any integer type.

        Raises:
            ValueError: If the shapes differ, or an id is out of range; the message names it. A prediction is checked
                only where the reference is counted, and `ignore_index` is no prediction: whatever a model cannot
                decide on needs a class of its own.
            TypeError: If the ids are not integers.
        """
        predictions, references = _as_ids(predictions, "predictions"), _as_ids(references, "references")
        if predictions.shape != references.shape:
            raise ValueError(
                f"`predictions` have shape {tuple(predictions.shape)} and `references` {tuple(references.shape)}: both "
                "must be the same. Resize predictions to the size of the labels before, never the labels."
            )
        references = references.to(predictions.device)
        counted = references != self.ignore_index
        self.num_ignored += (~counted).sum().cpu()
        predictions, references = predictions[counted], references[counted]
        self._check_range(predictions, "predictions")
        self._check_range(references, "references")
        counts = torch.bincount(references * self.num_classes + predictions, minlength=self.num_classes**2)
        self.matrix += counts.reshape(self.num_classes, self.num_classes).cpu()

    def _check_range(self, ids: torch.Tensor, argument: str) -> None:
        wrong = ids[(ids < 0) | (ids >= self.num_classes)]
        if len(wrong):
            allowed = f"0 to {self.num_classes - 1}"
            if argument == "references":
                allowed += f", and `ignore_index` {self.ignore_index} for pixels that are not counted"
            raise ValueError(
                f"`{argument}` contain the class ids {wrong.unique()[:5].tolist()}, which do not exist: allowed are "
                f"{allowed}."
            )

    def merge(self, other: "ConfusionMatrix") -> None:
        """Adds the counts of another matrix to this one.

        Args:
            other ([`ConfusionMatrix`]): Of the same number of classes and the same `ignore_index`.

        Raises:
            ValueError: If it is of other classes or another `ignore_index`.
        """
        if (other.num_classes, other.ignore_index) != (self.num_classes, self.ignore_index):
            raise ValueError(
                f"A matrix of {other.num_classes} classes with `ignore_index` {other.ignore_index} cannot be added to "
                f"one of {self.num_classes} with {self.ignore_index}."
            )
        self.matrix += other.matrix
        self.num_ignored += other.num_ignored

    def state_dict(self) -> dict[str, torch.Tensor]:
        """What [`load_state_dict`] continues from.

        Returns:
            `dict[str, torch.Tensor]`: `matrix` and `num_ignored`, copies.
        """
        return {"matrix": self.matrix.clone(), "num_ignored": self.num_ignored.clone()}

    def load_state_dict(self, state_dict: dict[str, torch.Tensor]) -> None:
        """Replaces the counts by those of a [`state_dict`].

        Args:
            state_dict (`dict[str, torch.Tensor]`): As [`state_dict`] returned it.

        Raises:
            ValueError: If it is of another number of classes, or its counts are not integers of at least 0.
        """
        matrix = state_dict["matrix"]
        if matrix.shape != self.matrix.shape or matrix.dtype != torch.int64 or (matrix < 0).any():
            raise ValueError(
                f"`state_dict['matrix']` must hold int64 counts of shape {tuple(self.matrix.shape)}, got "
                f"{matrix.dtype} of shape {tuple(matrix.shape)}: it is of other classes or damaged. Start anew."
            )
        self.matrix = matrix.clone().cpu()
        self.num_ignored = state_dict["num_ignored"].clone().cpu()

    def compute(self) -> dict[str, Any]:
        """The figures of all pixels so far.

        The IoU of a class is its pixels that were found, divided by all pixels that it has in the reference or in the
        prediction. The two mean IoUs differ in the classes that they average over, and a figure without its convention
        is not comparable.

        Returns:
            `dict[str, Any]`: Unrounded fractions from 0 to 1 (nan without any counted pixel):
            - **miou_present_in_ground_truth**: Mean IoU over the classes that occur in the reference: detectron2 since
              2022-07, and CAT-Seg's published figures.
            - **miou_present_in_either**: Mean IoU over the classes that occur in the reference or in the prediction:
              detectron2 0.6, MMSegmentation and `evaluate`'s `mean_iou`. A class that was only predicted counts as 0.
            - **pixel_accuracy**: Share of the counted pixels that were predicted right.
            - **mean_accuracy**: Mean over the classes that occur in the reference of the share of their pixels that was
              predicted right.
            - **frequency_weighted_iou**: Mean IoU weighted with the number of pixels of each class in the reference.
            - **per_class** (`list[dict]`): For each class its `name`, `iou` (nan where it occurs nowhere), `accuracy`
              (nan where it does not occur in the reference), `pixels` (in the reference) and `predicted_pixels`.
        """
        pixels, predicted, found = self.matrix.sum(dim=1), self.matrix.sum(dim=0), self.matrix.diagonal()
        # 0 / 0 is nan: a class that does not occur.
        iou = found.double() / (pixels + predicted - found).double()
        accuracy = found.double() / pixels.double()
        present = pixels > 0
        return {
            "miou_present_in_ground_truth": iou[present].mean().item(),
            "miou_present_in_either": iou.nanmean().item(),
            "pixel_accuracy": (found.sum().double() / pixels.sum().double()).item(),
            "mean_accuracy": accuracy[present].mean().item(),
            "frequency_weighted_iou": ((iou * pixels).nansum() / pixels.sum().double()).item(),
            "per_class": [
                {"name": name, "iou": iou_, "accuracy": accuracy_, "pixels": pixels_, "predicted_pixels": predicted_}
                for name, iou_, accuracy_, pixels_, predicted_ in zip(
                    self.class_names, iou.tolist(), accuracy.tolist(), pixels.tolist(), predicted.tolist(), strict=True
                )
            ],
        }


def _as_ids(ids: torch.Tensor | np.ndarray, argument: str) -> torch.Tensor:
    """Class ids of any integer type as int64."""
    ids = torch.as_tensor(ids)
    if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
        raise TypeError(f"`{argument}` must hold integer class ids, got {ids.dtype}: take the argmax of scores before.")
    return ids.long()


__all__ = ["ConfusionMatrix"]
