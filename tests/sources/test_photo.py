# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A folder of photos: a GPU is given the next ones while the results of some are brought."""

from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf.segmenting import Segmentation
from catseg_hf.segmenting.batches import PreparedPhotos
from catseg_hf.sources.photo import segment_photos
from catseg_hf.sources.source import Task


class SlowSegmenter:
    """Stands in for a model on a device: brings the result of a photo only when the next ones were given to it."""

    def __init__(self, device: str, num_photos: int) -> None:
        self.model = SimpleNamespace(device=torch.device(device))
        self.given = [Event() for _ in range(num_photos + 1)]
        self.brought: list[bool] = []

    def prepare(self, photos: list[tuple[Task, Image.Image]]) -> PreparedPhotos:
        return PreparedPhotos(photos, {})

    def decide(self, prepared: PreparedPhotos) -> int:
        number = int(Path(prepared.photos[0][0].name).stem)
        self.given[number].set()
        if number == len(self.given) - 2:  # the last: nothing follows
            self.given[-1].set()
        return number

    def segmentations(self, prepared: PreparedPhotos, number: int) -> list[Segmentation]:
        waits = self.model.device.type != "cpu"
        self.brought.append(self.given[number + 1].wait(timeout=20) if waits else not self.given[number + 1].is_set())
        photo, picture = prepared.photos[0]
        return [Segmentation(photo.name, picture, ["sky"], np.full((4, 4), number))]


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # only its name is looked at
def test_the_next_photos_are_given_before_results_are_there(device: str, tmp_path: Path) -> None:
    photos = []
    for number in range(6):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number}.png")
        photos.append(Task(str(tmp_path / f"{number}.png"), {}))
    segmenter: Any = SlowSegmenter(device, len(photos))
    results = list(segment_photos(photos, {}, lambda: segmenter, num_workers=3))
    assert [photo for photo, _ in results] == photos
    assert [int(result.class_ids[0, 0]) for _, result in results] == list(range(6))
    assert len(segmenter.brought) == 6 and all(segmenter.brought[:-1])


def test_errors_of_the_device_end_the_command(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "0.png")
    segmenter: Any = SlowSegmenter("cuda", 1)

    def fail(*args: Any) -> None:
        raise torch.OutOfMemoryError("no memory")

    segmenter.segmentations = fail
    with pytest.raises(torch.OutOfMemoryError, match="no memory"):
        list(segment_photos([Task(str(tmp_path / "0.png"), {})], {}, lambda: segmenter, num_workers=3))
