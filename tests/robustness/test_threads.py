# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Threads that share one pipeline, each with a vocabulary of its own; of processes, see `test_forking_catseg.py`."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from tests.robustness.outcomes import Attempts


pytestmark = pytest.mark.slow


WORDS = ["cat", "dog", "sky", "grass", "men\u2019s room", "a red car", "water", "tree", "wall", "lamp"]
VOCABULARIES = [WORDS[: 2 + index] for index in range(8)]
ROUNDS = 3


def photos() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = [(50 + 7 * index, 90 - 5 * index) for index in range(8)]
    return [Image.fromarray(random.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in sizes]


def test_one_pipeline(attempts: Attempts, place: Path) -> None:
    """Eight threads with eight vocabularies, thresholds and photos on one pipeline, three times each"""
    segment = pipeline("image-segmentation", model=str(place / "model"))

    def answer(index: int) -> list[tuple[str, float, bytes]]:
        results = segment(photos()[index], candidate_labels=VOCABULARIES[index], threshold=0.1 * index)
        return [(result["label"], result["score"], result["mask"].tobytes()) for result in results]

    alone = [answer(index) for index in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(answer, [*range(8)] * ROUNDS))
    for number, found in enumerate(together):
        attempts.judge(f"thread {number % 8}", found == alone[number % 8], "another answer than alone")


def test_one_model(attempts: Attempts, place: Path) -> None:
    """Eight threads with eight vocabularies on one model and processor, three times each, logits bit by bit"""
    model = CatSegForSemanticSegmentation.from_pretrained(place / "model").eval()
    processor = CatSegProcessor.from_pretrained(place / "model")

    def answer(index: int) -> dict[str, Any]:
        with torch.inference_mode():
            outputs = model(**processor(images=photos()[index], text=VOCABULARIES[index]))
        label_map = processor.post_process_semantic_segmentation(outputs, [(64, 48)])[0]
        return {"logits": outputs.logits, "label map": label_map}

    alone = [answer(index) for index in range(8)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(answer, [*range(8)] * ROUNDS))
    for number, found in enumerate(together):
        is_same = all(torch.equal(found[name], alone[number % 8][name]) for name in found)
        attempts.judge(f"thread {number % 8}", is_same, "another answer than alone")
