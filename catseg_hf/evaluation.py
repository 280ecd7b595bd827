# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Evaluation of a model on a data set: the same counts on one process or several, interrupted or not."""

import hashlib
import json
import math
import os
import platform
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import transformers
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn
from torch.utils.data import DataLoader, Dataset
from tqdm.auto import tqdm

from catseg_hf import __version__
from catseg_hf.atomic_files import written_whole
from catseg_hf.datasets import SegmentationDataset
from catseg_hf.datasets.custom import Vocabulary, classes_and_ids
from catseg_hf.metrics import ConfusionMatrix
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor, Label
from catseg_hf.progress import Progress, check_identity
from catseg_hf.protocols import PreparedImages, Protocol, Segmenter, prepare_images


RESULTS_FILE = "results.json"
COUNTS_FILE = "counts.npz"
PROGRESS_FOLDER = "progress"
CONVENTIONS = {
    "miou_present_in_ground_truth": "mean over the classes that occur in the ground truth: detectron2 since 2022-07, "
    "and the figures that CAT-Seg's authors published",
    "miou_present_in_either": "mean over the classes that occur in the ground truth or in a prediction: detectron2 "
    "0.6, MMSegmentation, mean_iou of evaluate",
}
# Fields of a configuration that say nothing about what a model computes.
DESCRIPTIVE_FIELDS = ("id2label", "label2id", "_name_or_path", "transformers_version", "architectures", "dtype")


@dataclass
class Evaluation:
    """A finished evaluation.

    Args:
        results (`dict[str, Any]`):
            All that is known of it, as in `results.json`: `model`, `dataset`, `protocol`, `num_images`, `metrics`
            (fractions from 0 to 1, by convention), `per_class`, `seen_unseen`, `speed`, `memory`, `versions`.
        matrix ([`ConfusionMatrix`]): Pixels by class of the ground truth (rows) and of the prediction (columns).
        image_scores (`dict[int, float]`):
            For each image, by its number, the mean IoU over the classes in its ground truth, 0 to 1; nan where no pixel
            counts.
    """

    results: dict[str, Any]
    matrix: ConfusionMatrix
    image_scores: dict[int, float]


def evaluate(
    model: CatSegForSemanticSegmentation,
    processor: CatSegProcessor,
    dataset: SegmentationDataset,
    protocol: Protocol | None = None,
    *,
    output: str | Path | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    limit: int | None = None,
    seen: Vocabulary | None = None,
    skip_unreadable: bool = False,
) -> Evaluation:
    """Segments the images of a data set and counts which classes their pixels get.

    Started in several processes by `torchrun` or `accelerate launch`, each takes every so-many-th batch, and the sum of
    their matrices, in whole numbers, is exactly that of one process. With `output`, an evaluation that was ended, by
    whatever, goes on behind the last batch that it finished. All processes must see that folder.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode, on the device and of the type to compute with.
        processor ([`CatSegProcessor`]): The model's.
        dataset ([`SegmentationDataset`]): Images and labels.
        protocol ([`Protocol`], *optional*): The original's sliding window by default.
        output (`str` or `Path`, *optional*):
            Folder for `results.json` and `counts.npz`, and until they are written for what is done so far. An
            evaluation that is finished there is read, not repeated.
        batch_size (`int`, *optional*, defaults to 1):
            Number of images that the model gets at a time; one by one with test-time augmentation.
        num_workers (`int`, *optional*, defaults to 0): Number of further processes that read images.
        limit (`int`, *optional*): Number of images of a trial, from the first on. Where that is not all, the result
            says so.
        seen (`str`, `os.PathLike` or `Sequence[str | Sequence[str]]`, *optional*):
            The classes that the model was trained on: adds mean IoUs over seen and unseen classes. A list, the name of
            a shipped vocabulary, or the path of a text file with one class a line, as for [`load_folder`]. A class is
            seen if one of its names is among their names; capital letters make no difference.
        skip_unreadable (`bool`, *optional*, defaults to `False`):
            Whether to leave out images that cannot be read, and name them in the result, instead of refusing.

    Returns:
        [`Evaluation`]: In each process.

    Raises:
        ValueError: If an argument has a value that is not allowed, an image cannot be read, or `output` holds another
            evaluation; the message names it.
    """
    for name, value, least in (("batch_size", batch_size, 1), ("limit", limit, 1), ("num_workers", num_workers, 0)):
        if value is not None and value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    if limit is not None and limit >= len(dataset):
        limit = None
    state = start_processes(model.device)
    segmenter = Segmenter(model, processor, dataset.vocabulary, protocol)
    identity = describe(segmenter, dataset, batch_size, limit, skip_unreadable)
    folder = None if output is None else Path(output)
    finished = None if folder is None else load_evaluation(folder)
    if finished is not None:
        check_identity(identity, finished.results["identity"], folder)
        finished.results["seen_unseen"] = seen_unseen(finished.matrix, dataset, seen)
        if state.is_main_process:  # of a process that ended just before it removed them
            shutil.rmtree(folder / PROGRESS_FOLDER, ignore_errors=True)
        return finished

    matrix = ConfusionMatrix(dataset.num_classes, ignore_index=dataset.ignore_index, class_names=dataset.class_names)
    seen_unseen(matrix, dataset, seen)  # A mistake in `seen` shall show now, not after hours.
    progress = Progress(matrix, identity, None if folder is None else folder / PROGRESS_FOLDER, state)
    num_images = len(dataset) if limit is None else limit
    # The same batches for any number of processes: which images are computed together can change the last digits.
    batches = [range(first, min(first + batch_size, num_images)) for first in range(0, num_images, batch_size)]
    remaining = [batch for batch in batches if batch[0] not in progress.done_before]
    own = remaining[state.process_index :: state.num_processes]
    loader = DataLoader(
        _Batches(dataset, own, segmenter, skip_unreadable), batch_size=None, shuffle=False, num_workers=num_workers
    )
    if model.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(model.device)
    state.wait_for_everyone()
    start = time.perf_counter()
    # No bar where nobody looks: not on a terminal, or not the first process.
    with tqdm(total=sum(map(len, own)), unit="image", disable=None if state.is_main_process else True) as bar:
        for batch in loader:
            count_batch(batch, segmenter, dataset, progress)
            bar.update(len(batch.indices) + len(batch.unreadable))
    state.wait_for_everyone()
    seconds = time.perf_counter() - start

    counts = progress.collect()
    num_computed = sum(index not in progress.done_before for index in counts.image_scores)
    peaks = [peak for peak in gather_object([peak_memory(model.device)]) if peak is not None]
    metrics = counts.matrix.compute()
    per_class = metrics.pop("per_class")
    results = {
        "model": {
            "name": model.name_or_path,
            "weights_sha256": identity["weights_sha256"],
        },
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "num_images": len(dataset),
            "num_classes": dataset.num_classes,
        },
        "protocol": asdict(segmenter.protocol),
        "num_images": len(counts.image_scores),
        "limit": limit,
        "unreadable_images": counts.unreadable,
        "metrics": metrics,
        "conventions": CONVENTIONS,
        "seen_unseen": seen_unseen(counts.matrix, dataset, seen),
        "speed": {
            "images_per_second": num_computed / seconds,
            "num_images": num_computed,
            "seconds": seconds,
            "device": torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else str(model.device),
            "dtype": identity["dtype"],
            "batch_size": batch_size,
            "num_processes": state.num_processes,
            "num_threads": torch.get_num_threads(),
        },
        "memory": {
            "peak_bytes": max(peaks, default=None),
            "weights_bytes": sum(tensor.nbytes for tensor in model.state_dict().values()),
            "of": "tensors on the GPU" if model.device.type == "cuda" else "the whole process, the largest of them",
        },
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
    evaluation = Evaluation(_without_nan(results), counts.matrix, counts.image_scores)
    if folder is not None and state.is_main_process:
        save_evaluation(evaluation, folder)
        shutil.rmtree(folder / PROGRESS_FOLDER)
    state.wait_for_everyone()
    return evaluation


def describe(
    segmenter: Segmenter, dataset: SegmentationDataset, batch_size: int, limit: int | None, skip_unreadable: bool
) -> dict[str, Any]:
    """What decides on the counts: evaluations that agree in it have the same ones.

    Args:
        segmenter ([`Segmenter`]): Model, vocabulary and protocol.
        dataset, batch_size, limit, skip_unreadable: As for [`evaluate`].

    Returns:
        `dict[str, Any]`: Ready for JSON.
    """
    model = segmenter.model
    config = json.loads(
        model.config.to_json_string(use_diff=False),
        object_hook=lambda fields: {name: value for name, value in fields.items() if name not in DESCRIPTIVE_FIELDS},
    )
    # Of a file the name, of a row its number.
    images = [record[0] if isinstance(record, tuple) else record for record in dataset.records]
    return {
        "weights_sha256": weights_digest(model),
        "config_sha256": _digest(config),
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": model.device.type,
        "dataset": f"{dataset.name}, {dataset.split}, {len(dataset)} images",
        "images_sha256": _digest(images),
        "classes_sha256": _digest([segmenter.input_ids.tolist(), dataset.class_names]),
        "protocol": json.loads(json.dumps(asdict(segmenter.protocol))),
        "image_processor": json.loads(segmenter.image_processor.to_json_string()),
        "batch_size": batch_size,
        "limit": limit,
        "skip_unreadable": skip_unreadable,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers with their names.

    Args:
        model (`nn.Module`): The model.

    Returns:
        `str`: 64 hexadecimal digits.
    """
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


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


# ---- reading and counting -------------------------------------------------------------------------------------------


class _Batch(NamedTuple):
    """Images that go through the model together."""

    indices: list[int]
    labels: list[np.ndarray]
    prepared: list[list[PreparedImages]]
    unreadable: dict[int, str]  # further images of the batch, and why they cannot be read


class _Batches(Dataset):
    """Reads and prepares the images of batches, also in processes of a data loader."""

    def __init__(
        self, dataset: SegmentationDataset, batches: Sequence[range], segmenter: Segmenter, skip_unreadable: bool
    ) -> None:
        self.dataset = dataset
        self.batches = batches
        # Not the model, which processes that read images do not need.
        self.image_processor = segmenter.image_processor
        self.protocol = segmenter.protocol
        self.skip_unreadable = skip_unreadable

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> _Batch:
        samples, unreadable = {}, {}
        for index in self.batches[number]:
            try:
                samples[index] = self.dataset[index]
            except (OSError, ValueError) as error:
                if not self.skip_unreadable:
                    raise ValueError(
                        f"Image {index} of {self.dataset.name} ({self.dataset.split}) cannot be used: {error} Replace "
                        "it, or skip what is unreadable; then the result says so."
                    ) from error
                unreadable[index] = str(error)
        images = [sample.image for sample in samples.values()]
        prepared = prepare_images(self.image_processor, self.protocol, images) if images else []
        return _Batch(list(samples), [sample.labels for sample in samples.values()], prepared, unreadable)


def count_batch(batch: _Batch, segmenter: Segmenter, dataset: SegmentationDataset, progress: Progress) -> None:
    """Segments a batch, counts its pixels and saves the progress.

    Args:
        batch (`_Batch`): Images and labels.
        segmenter ([`Segmenter`]): What segments them.
        dataset ([`SegmentationDataset`]): Where they come from.
        progress ([`Progress`]): What counts them.
    """
    counts = progress.counts
    label_maps = segmenter.segment(batch.prepared, [labels.shape for labels in batch.labels]) if batch.labels else []
    for index, label_map, labels in zip(batch.indices, label_maps, batch.labels, strict=True):
        matrix = ConfusionMatrix(dataset.num_classes, ignore_index=dataset.ignore_index)
        matrix.update(dataset.map_predictions(label_map), labels)
        counts.matrix.merge(matrix)
        counts.image_scores[index] = matrix.compute()["miou_present_in_ground_truth"]
    counts.unreadable |= batch.unreadable
    progress.save()


def start_processes(device: torch.device) -> PartialState:
    """Joins the processes that `torchrun` or `accelerate launch` started, if they did.

    Args:
        device (`torch.device`): Where the model is.

    Returns:
        `PartialState`: The processes.

    Raises:
        ValueError: If there are several processes that cannot talk to each other; they would all do the same.
    """
    state = PartialState(cpu=device.type == "cpu")
    num_started = int(os.environ.get("WORLD_SIZE", "1"))
    if num_started > 1 and state.num_processes == 1:
        raise ValueError(
            f"{num_started} processes were started, but accelerate was set up for one: for models on the CPU make "
            "`accelerate.PartialState(cpu=True)` before anything else of accelerate."
        )
    return state


def peak_memory(device: torch.device) -> int | None:
    """Largest number of bytes in use so far: of tensors on a GPU, or of the whole process with Python and all.

    Args:
        device (`torch.device`): Where the model is.

    Returns:
        `int`, *optional*: `None` where the system does not tell.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


# ---- files ----------------------------------------------------------------------------------------------------------


def save_evaluation(evaluation: Evaluation, folder: str | Path) -> None:
    """Writes `results.json` and `counts.npz` (`matrix`, `class_names`, `image_indices`, `image_scores`).

    Args:
        evaluation ([`Evaluation`]): What to write.
        folder (`str` or `Path`): Where; it is made if it is missing.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / COUNTS_FILE) as unfinished:
        np.savez_compressed(
            unfinished,
            matrix=evaluation.matrix.matrix.numpy(),
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
    """
    folder = Path(folder)
    if not (folder / RESULTS_FILE).is_file():
        return None
    try:
        results = json.loads((folder / RESULTS_FILE).read_text(encoding="utf-8"))
        with np.load(folder / COUNTS_FILE, allow_pickle=False) as file:
            arrays = dict(file)
        matrix = ConfusionMatrix(len(arrays["matrix"]), class_names=arrays["class_names"].tolist())
        matrix.load_state_dict({"matrix": torch.from_numpy(arrays["matrix"])})
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


__all__ = ["Evaluation", "evaluate", "load_evaluation", "save_evaluation"]
