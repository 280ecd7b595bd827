# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The result of an evaluation: what it says, how it is made of the counts, and the files that keep it."""

import json
import math
import platform
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn

from catseg_hf import __version__
from catseg_hf.atomic_files import written_whole
from catseg_hf.datasets import SegmentationDataset
from catseg_hf.datasets.checks import label_warnings
from catseg_hf.datasets.custom import Vocabulary, classes_and_ids
from catseg_hf.evaluation.metrics import ConfusionMatrix
from catseg_hf.evaluation.progress import Counts
from catseg_hf.evaluation.published import beside_published
from catseg_hf.evaluation.segmenter import ProtocolSegmenter
from catseg_hf.prompts_catseg import Label


RESULTS_FILE = "results.json"
COUNTS_FILE = "counts.npz"
CONVENTIONS = {
    "miou_present_in_ground_truth": "mean over the classes that occur in the ground truth: detectron2 since 2022-07, "
    "and the figures that CAT-Seg's authors published",
    "miou_present_in_either": "mean over the classes that occur in the ground truth or in a prediction: detectron2 "
    "0.6, MMSegmentation, mean_iou of evaluate",
}


@dataclass
class Evaluation:
    """A finished evaluation.

    Args:
        results (`dict[str, Any]`):
            All that is known of it, as in `results.json`: `model`, `dataset`, `protocol`, `num_images`, `metrics`
            (fractions from 0 to 1, by convention), `published` (of a released checkpoint), `per_class`, `seen_unseen`,
            `speed`, `memory`, `versions`.
        matrix ([`ConfusionMatrix`]): Pixels by class of the ground truth (rows) and of the prediction (columns).
        image_scores (`dict[int, float]`):
            For each image, by its number, the mean IoU over the classes in its ground truth, 0 to 1; nan where no pixel
            counts.

    Example:

    ```python
    >>> 0 <= evaluation.results["metrics"]["miou_present_in_ground_truth"] <= 1
    True
    >>> evaluation.results["per_class"][0]["name"]
    'wall'
    ```
    """

    results: dict[str, Any]
    matrix: ConfusionMatrix
    image_scores: dict[int, float]


@dataclass(frozen=True)
class Effort:
    """What an evaluation took, in the run that finished it.

    Args:
        num_images (`int`): Number of images that all processes segmented.
        seconds (`float`): How long that took.
        num_processes (`int`): Number of processes.
        peak_bytes (`int`, *optional*): Most memory of one of them; `None` where the system does not tell.
    """

    num_images: int
    seconds: float
    num_processes: int
    peak_bytes: int | None


def build_evaluation(
    counts: Counts,
    segmenter: ProtocolSegmenter,
    dataset: SegmentationDataset,
    identity: dict[str, Any],
    effort: Effort,
    seen: Vocabulary | None,
) -> Evaluation:
    """Makes the result of what was counted.

    Args:
        counts ([`Counts`]): Those of all processes.
        segmenter ([`ProtocolSegmenter`]): What segmented the images.
        dataset ([`SegmentationDataset`]): Where they come from.
        identity (`dict[str, Any]`): What [`describe`] says of the evaluation.
        effort ([`Effort`]): What it took.
        seen (`str`, `os.PathLike` or `Sequence[str | Sequence[str]]`, *optional*): As for [`evaluate`].

    Returns:
        [`Evaluation`]

    Raises:
        ValueError: If no pixel counts at all.
    """
    metrics = counts.matrix.compute()
    per_class = metrics.pop("per_class")
    model, protocol, num_images = segmenter.model.name_or_path, segmenter.protocol, len(counts.image_scores)
    results = {
        "model": {
            "name": model,
            "weights_sha256": identity["weights_sha256"],
        },
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "num_images": len(dataset),
            "num_classes": dataset.num_classes,
        },
        "protocol": asdict(protocol),
        "num_images": num_images,
        "limit": identity["limit"],
        "unreadable_images": counts.unreadable,
        "warnings": [*dataset.warnings, *_label_warnings(counts.matrix)],
        "metrics": metrics,
        "conventions": CONVENTIONS,
        "published": beside_published(model, dataset, protocol, identity, num_images, metrics),
        "seen_unseen": seen_unseen(counts.matrix, dataset, seen),
        "speed": _speed(segmenter.model.device, identity, effort),
        "memory": _memory(segmenter.model, effort),
        "versions": {
            "catseg_hf": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "python": platform.python_version(),
        },
        "counts": COUNTS_FILE,
        "per_class": per_class,
        "identity": identity,
    }
    return Evaluation(_without_nan(results), counts.matrix, counts.image_scores)


def _label_warnings(matrix: ConfusionMatrix) -> list[str]:
    pixels, ignored = matrix.matrix.sum(dim=1).tolist(), int(matrix.num_ignored)
    if not sum(pixels) and ignored:
        raise ValueError(
            f"None of {ignored:,} pixels counts: all labels have the value {matrix.ignore_index} of pixels that are "
            "not scored. Give the right ignore_index, or check that these are the labels of the images."
        )
    return label_warnings(matrix.class_names, pixels, ignored, matrix.ignore_index)


def _speed(device: torch.device, identity: dict[str, Any], effort: Effort) -> dict[str, Any]:
    return {
        "images_per_second": effort.num_images / effort.seconds,
        "num_images": effort.num_images,
        "seconds": effort.seconds,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "dtype": identity["dtype"],
        "batch_size": identity["batch_size"],
        "num_processes": effort.num_processes,
        "num_threads": torch.get_num_threads(),
    }


def _memory(model: nn.Module, effort: Effort) -> dict[str, Any]:
    return {
        "peak_bytes": effort.peak_bytes,
        "weights_bytes": sum(tensor.nbytes for tensor in model.state_dict().values()),
        "of": "tensors on the GPU" if model.device.type == "cuda" else "the whole process, the largest of them",
    }


def seen_unseen(
    matrix: ConfusionMatrix, dataset: SegmentationDataset, seen: Vocabulary | None
) -> dict[str, Any] | None:
    """Mean IoU over the classes that the model was trained on, and over the others.

    Args:
        matrix ([`ConfusionMatrix`]): The counts.
        dataset ([`SegmentationDataset`]): The data set that they are of.
        seen (`str`, `os.PathLike` or `Sequence[str | Sequence[str]]`, *optional*): As for [`evaluate`].

    Returns:
        `dict[str, Any]`, *optional*: `seen_class_ids` and `unseen_class_ids`, and for both conventions the mean IoU of
        either and their harmonic mean; `None` where no such class occurs. `None` without `seen`.

    Example:

    ```python
    >>> from catseg_hf.evaluation import seen_unseen

    >>> seen_unseen(evaluation.matrix, dataset, ["wall", "sky"])["seen_class_ids"]
    [0, 1]
    ```
    """
    if seen is None:
        return None
    labels = classes_and_ids(seen, ignore_index=255, reduce_labels=False)[0]
    known = {_spelled(name) for label in labels for name in _names(label)}
    synonyms = [_names(name) for name in dataset.class_names]
    if len(dataset.vocabulary) == len(synonyms):  # otherwise the last class stands for many names
        synonyms = [_names(label) for label in dataset.vocabulary]
    is_seen = torch.tensor([any(_spelled(name) in known for name in names) for names in synonyms])
    table = matrix.compute()["per_class"]
    iou = torch.tensor([row["iou"] for row in table], dtype=torch.float64)
    occurs = torch.tensor([row["pixels"] > 0 for row in table])
    result: dict[str, Any] = {
        "seen_vocabulary": f"{len(seen)} given classes" if isinstance(seen, list | tuple) else str(seen),
        "seen_class_ids": is_seen.nonzero()[:, 0].tolist(),
        "unseen_class_ids": (~is_seen).nonzero()[:, 0].tolist(),
    }
    for convention, counted in (("miou_present_in_ground_truth", occurs), ("miou_present_in_either", ~iou.isnan())):
        means = [iou[counted & group].mean().item() for group in (is_seen, ~is_seen)]
        harmonic_mean = 2 * math.prod(means) / sum(means) if sum(means) else 0.0
        result[convention] = {"seen": means[0], "unseen": means[1], "harmonic_mean": harmonic_mean}
    return _without_nan(result)


def _names(label: Label) -> list[str]:
    return [label] if isinstance(label, str) else label


def _spelled(name: str) -> str:
    return " ".join(name.lower().split())


def save_evaluation(evaluation: Evaluation, folder: str | Path) -> None:
    """Writes `results.json` and `counts.npz` (`matrix`, `class_names`, `image_indices`, `image_scores`).

    Args:
        evaluation ([`Evaluation`]): What to write.
        folder (`str` or `Path`): Where; it is made if it is missing.

    Example:

    ```python
    >>> from catseg_hf.evaluation import load_evaluation, save_evaluation

    >>> save_evaluation(evaluation, "kept")
    >>> load_evaluation("kept").results == evaluation.results
    True
    ```
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / COUNTS_FILE) as unfinished:
        np.savez_compressed(
            unfinished,
            matrix=evaluation.matrix.matrix.numpy(),
            num_ignored=evaluation.matrix.num_ignored.numpy(),
            class_names=evaluation.matrix.class_names,
            image_indices=list(evaluation.image_scores),
            image_scores=list(evaluation.image_scores.values()),
        )
    # Last, since it says that all is there.
    with written_whole(folder / RESULTS_FILE) as unfinished:
        unfinished.write_text(json.dumps(evaluation.results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def load_evaluation(folder: str | Path) -> Evaluation | None:
    """Reads what [`save_evaluation`] wrote.

    Args:
        folder (`str` or `Path`): Where.

    Returns:
        [`Evaluation`], *optional*: `None` if there is no `results.json`.

    Raises:
        ValueError: If the files are damaged or one is missing.

    Example:

    ```python
    >>> from catseg_hf.evaluation import load_evaluation

    >>> load_evaluation("no-such-folder") is None
    True
    ```
    """
    folder = Path(folder)
    if not (folder / RESULTS_FILE).is_file():
        return None
    try:
        results = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
        with np.load(folder / COUNTS_FILE, allow_pickle=False) as file:
            arrays = dict(file)
        matrix = ConfusionMatrix(len(arrays["matrix"]), class_names=arrays["class_names"].tolist())
        # Counts of the first versions do not tell how many pixels were ignored.
        num_ignored = torch.as_tensor(arrays.get("num_ignored", 0))
        matrix.load_state_dict({"matrix": torch.from_numpy(arrays["matrix"]), "num_ignored": num_ignored})
        image_scores = dict(zip(arrays["image_indices"].tolist(), arrays["image_scores"].tolist(), strict=True))
    except Exception as error:  # of a zip file, of NumPy, of JSON
        raise ValueError(f"{folder} holds a damaged evaluation: delete that folder. ({error})") from error
    return Evaluation(results, matrix, image_scores)


def _without_nan(value: Any) -> Any:
    """The same with `None` for nan, which JSON does not have, and lists for tuples."""
    if isinstance(value, dict):
        return {str(name): _without_nan(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(entry) for entry in value]
    return None if isinstance(value, float) and math.isnan(value) else value


__all__ = ["Effort", "Evaluation", "build_evaluation", "load_evaluation", "save_evaluation", "seen_unseen"]
