# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Evaluation of a model on a data set: the same counts on one process or several, interrupted or not."""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader
from tqdm.auto import tqdm

from catseg_hf.datasets import SegmentationDataset
from catseg_hf.datasets.checks import refuse_binary_masks
from catseg_hf.datasets.custom import Vocabulary
from catseg_hf.evaluation.batches import Batches, count_batch
from catseg_hf.evaluation.identity import check_identity, describe
from catseg_hf.evaluation.metrics import ConfusionMatrix
from catseg_hf.evaluation.processes import load_accelerate, peak_memory, start_processes
from catseg_hf.evaluation.progress import Progress
from catseg_hf.evaluation.protocols import Protocol
from catseg_hf.evaluation.results import (
    Effort,
    Evaluation,
    build_evaluation,
    load_evaluation,
    save_evaluation,
    seen_unseen,
)
from catseg_hf.evaluation.segmenter import ProtocolSegmenter
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import Labels


if TYPE_CHECKING:
    from accelerate import PartialState


PROGRESS_FOLDER = "progress"


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
    others: Labels | None = None,
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
        others (`str` or `Iterable[str | Iterable[str]]`, *optional*):
            Classes that compete with those of the data set, as [`resolve_others`] takes them. Their pixels go to the
            last class of the data set, which is one of [`only_classes`].

    Returns:
        [`Evaluation`]: In each process.

    Raises:
        ImportError: If accelerate is not installed.
        ValueError: If an argument has a value that is not allowed, an image cannot be read, or `output` holds another
            evaluation; the message names it.

    Example:

    ```python
    >>> from catseg_hf.evaluation import Protocol, evaluate

    >>> evaluation = evaluate(model, processor, dataset, Protocol("whole"), output="results")
    >>> evaluation.results["num_images"]
    5
    ```
    """
    for name, value, least in (("batch_size", batch_size, 1), ("limit", limit, 1), ("num_workers", num_workers, 0)):
        if value is not None and value < least:
            raise ValueError(f"`{name}` must be at least {least}, got {value}.")
    if limit is not None and limit >= len(dataset):
        limit = None
    state = start_processes(model.device)
    segmenter = ProtocolSegmenter(model, processor, dataset.vocabulary, protocol, others)
    identity = describe(segmenter, dataset, batch_size, limit, skip_unreadable)
    folder = None if output is None else Path(output)
    finished = None if folder is None else _finished_before(folder, dataset, identity, seen, state)
    if finished is not None:
        return finished

    matrix = ConfusionMatrix(dataset.num_classes, ignore_index=dataset.ignore_index, class_names=dataset.class_names)
    seen_unseen(matrix, dataset, seen)  # A mistake in `seen` shall show now, not after hours.
    refuse_binary_masks(dataset, limit)
    progress = Progress(matrix, identity, None if folder is None else folder / PROGRESS_FOLDER, state)
    own = _own_batches(len(dataset) if limit is None else limit, batch_size, progress)
    seconds = _count(Batches(dataset, own, segmenter, skip_unreadable), num_workers, segmenter, progress)

    counts = progress.collect()
    peaks = load_accelerate().utils.gather_object([peak_memory(model.device)])
    effort = Effort(
        num_images=sum(index not in progress.done_before for index in counts.image_scores),
        seconds=seconds,
        num_processes=state.num_processes,
        peak_bytes=max((peak for peak in peaks if peak is not None), default=None),
    )
    evaluation = build_evaluation(counts, segmenter, dataset, identity, effort, seen)
    if folder is not None and state.is_main_process:
        save_evaluation(evaluation, folder)
        shutil.rmtree(folder / PROGRESS_FOLDER)
    state.wait_for_everyone()
    return evaluation


def _finished_before(
    folder: Path, dataset: SegmentationDataset, identity: dict[str, Any], seen: Vocabulary | None, state: "PartialState"
) -> Evaluation | None:
    """What the folder holds, if this evaluation is finished there, with seen and unseen classes as asked for now."""
    finished = load_evaluation(folder)
    if finished is None:
        return None
    check_identity(identity, finished.results["identity"], folder)
    finished.results["seen_unseen"] = seen_unseen(finished.matrix, dataset, seen)
    if state.is_main_process:  # of a process that ended just before it removed them
        shutil.rmtree(folder / PROGRESS_FOLDER, ignore_errors=True)
    return finished


def _own_batches(num_images: int, batch_size: int, progress: Progress) -> list[range]:
    """Numbers of the images of each batch that is left for this process."""
    # The same batches for any number of processes: which images are computed together can change the last digits.
    batches = [range(first, min(first + batch_size, num_images)) for first in range(0, num_images, batch_size)]
    remaining = [batch for batch in batches if batch[0] not in progress.done_before]
    return remaining[progress.state.process_index :: progress.state.num_processes]


def _count(batches: Batches, num_workers: int, segmenter: ProtocolSegmenter, progress: Progress) -> float:
    """Segments and counts the batches of this process; the seconds until all processes had done that."""
    loader = DataLoader(batches, batch_size=None, shuffle=False, num_workers=num_workers)
    state, device = progress.state, segmenter.model.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    state.wait_for_everyone()
    start = time.perf_counter()
    # No bar where nobody looks: not on a terminal, or not the first process.
    hidden = None if state.is_main_process else True
    with tqdm(total=sum(map(len, batches.batches)), unit="image", disable=hidden) as bar:
        for batch in loader:
            count_batch(batch, segmenter, batches.dataset, progress)
            bar.update(len(batch.indices) + len(batch.unreadable))
    state.wait_for_everyone()
    return time.perf_counter() - start


__all__ = ["evaluate"]
