# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What an evaluation has counted so far, in files that survive any end of its processes."""

import copy
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from catseg_hf.atomic_files import written_whole
from catseg_hf.evaluation.identity import check_identity
from catseg_hf.evaluation.metrics import ConfusionMatrix
from catseg_hf.evaluation.processes import load_accelerate


if TYPE_CHECKING:
    from accelerate import PartialState


@dataclass
class Counts:
    """What was counted of some images.

    Args:
        matrix ([`ConfusionMatrix`]): Their pixels.
        image_scores (`dict[int, float]`): A score of each image, by its number.
        unreadable (`dict[int, str]`): Why images could not be read, by their numbers.
    """

    matrix: ConfusionMatrix
    image_scores: dict[int, float] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)

    def merge(self, other: "Counts") -> None:
        """Adds those of other images.

        Args:
            other ([`Counts`]): Of the same classes.
        """
        self.matrix.merge(other.matrix)
        self.image_scores |= other.image_scores
        self.unreadable |= other.unreadable


class Progress:
    """Counts of this process, kept in one file that is replaced as a whole after each batch.

    Args:
        matrix ([`ConfusionMatrix`]): An empty one, of the data set's classes.
        identity (`dict[str, Any]`): All that decides on the result, ready for JSON.
        folder (`Path`, *optional*): Where the files of all processes are; `None` to keep nothing.
        state (`PartialState`): The processes.

    Attributes:
        counts ([`Counts`]): What this process counted, in this run and in earlier ones.
        done_before (`frozenset[int]`): Numbers of the images that were done when this run began, in any process.

    Raises:
        ValueError: If a file there is of another evaluation, or damaged.
    """

    def __init__(
        self, matrix: ConfusionMatrix, identity: dict[str, Any], folder: Path | None, state: "PartialState"
    ) -> None:
        self.identity = identity
        self.path = None if folder is None else folder / f"process-{state.process_index}.safetensors"
        self.state = state
        self.counts = Counts(matrix)
        # Counts of processes that earlier runs had and this one has not; the first process adds them at the end.
        self._inherited = Counts(copy.deepcopy(matrix))
        done: set[int] = set()
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.glob("process-*.safetensors")):
                counts = self._read(path)
                done |= {*counts.image_scores, *counts.unreadable}
                number = int(path.stem.split("-")[1])
                if number == state.process_index:
                    self.counts = counts
                elif number >= state.num_processes and state.is_main_process:
                    self._inherited.merge(counts)
            # No process may write before all have read.
            state.wait_for_everyone()
        self.done_before = frozenset(done)

    def _read(self, path: Path) -> Counts:
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata()
                state = {name: file.get_tensor(name) for name in self._inherited.matrix.state_dict()}
                indices, scores = (file.get_tensor(name) for name in ("indices", "scores"))
            identity, unreadable = (json.loads(metadata[name]) for name in ("identity", "unreadable"))
        except Exception as error:  # safetensors raises a type of its own
            raise ValueError(f"{path} is damaged: delete {path.parent} to begin anew. ({error})") from error
        check_identity(self.identity, identity, path.parent)
        counts = Counts(copy.deepcopy(self._inherited.matrix))
        counts.matrix.load_state_dict(state)
        counts.image_scores = dict(zip(indices.tolist(), scores.tolist(), strict=True))
        counts.unreadable = {int(index): message for index, message in unreadable.items()}
        return counts

    def save(self) -> None:
        """Writes the file, if there is a folder for it."""
        if self.path is None:
            return
        tensors = {
            **self.counts.matrix.state_dict(),
            "indices": torch.tensor(list(self.counts.image_scores), dtype=torch.int64),
            "scores": torch.tensor(list(self.counts.image_scores.values()), dtype=torch.float64),
        }
        metadata = {"identity": json.dumps(self.identity), "unreadable": json.dumps(self.counts.unreadable)}
        with written_whole(self.path) as unfinished:
            save_file(tensors, unfinished, metadata)

    def collect(self) -> Counts:
        """The sum of all processes, in each of them.

        Returns:
            [`Counts`]: With the images in rising order.
        """
        accelerate_utils = load_accelerate().utils
        total = copy.deepcopy(self._inherited)
        total.merge(self.counts)
        state = {name: tensor.to(self.state.device) for name, tensor in total.matrix.state_dict().items()}
        total.matrix.load_state_dict(accelerate_utils.reduce(state, reduction="sum"))
        for image_scores, unreadable in accelerate_utils.gather_object([(total.image_scores, total.unreadable)]):
            total.image_scores |= image_scores
            total.unreadable |= unreadable
        total.image_scores = dict(sorted(total.image_scores.items()))
        total.unreadable = dict(sorted(total.unreadable.items()))
        return total


__all__ = ["Counts", "Progress"]
