# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Labels, sizes, thresholds and vocabularies that nobody thinks of, against plain definitions.

What text becomes is in `test_text_cleaning_catseg.py`, the merging of chosen sizes in `test_merging_catseg.py`.
"""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import pipeline

from catseg_hf import CatSegImageProcessor, load_vocabulary, parse_labels
from catseg_hf.text_cleaning_catseg import clean_text
from tests.robustness.outcomes import Attempts
from tests.test_merging_catseg import merge_naively, view_outputs
from tests.tiny_models import random_images, random_input_ids, tiny_model
from tests.view_settings import SMALL


pytestmark = pytest.mark.slow


# `attempts` counts all inputs of a test together.
few, many = (
    settings(max_examples=number, suppress_health_check=[HealthCheck.function_scoped_fixture]) for number in (40, 200)
)
names = st.text(min_size=1, max_size=12) | st.sampled_from(
    ["cat", "Cat", "trees, far away", "men\u2019s room", "a; b", "ca\u200bt"]
)
sides = st.integers(1, 150)


@many
@given(labels=st.lists(names | st.lists(names, min_size=1, max_size=3), max_size=5))
def test_lists_of_labels(attempts: Attempts, labels: list) -> None:
    """Lists of any labels and synonyms: cleaned and in their order, or refused"""

    def is_right(found: list) -> bool:
        expected = [[clean_text(name) for name in ([label] if isinstance(label, str) else label)] for label in labels]
        spelled = [tuple(name.lower() for name in group) for group in expected]
        distinct = len(set(spelled)) == len(spelled) and all(len(set(group)) == len(group) for group in spelled)
        plain = [[entry] if isinstance(entry, str) else entry for entry in found]
        return plain == expected and distinct and all(all(group) and group for group in expected)

    shown = [repr(name) for label in labels for name in ([label] if isinstance(label, str) else label)]
    attempts.attempt(labels, lambda: parse_labels(labels), is_right, [*shown, "empty", *map(clean_text, shown)])


@many
@given(entries=st.lists(names, min_size=1, max_size=5), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
def test_vocabulary_files(attempts: Attempts, tmp_path: Path, entries: list[str], encoding: str) -> None:
    """Files of quoted names, in three encodings and with the ends of lines of Windows: the same names, or refused"""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([name] for name in entries)
    path = tmp_path / "classes.txt"
    path.write_bytes(text.getvalue().encode(encoding, "surrogatepass"))
    expected = [name.strip().split(" | ") for name in entries]

    def is_right(found: list) -> bool:
        return [[entry] if isinstance(entry, str) else entry for entry in found] == expected

    attempts.attempt(entries, lambda: load_vocabulary(path), is_right, [path])


@many
@given(size=st.tuples(sides, sides), target=st.tuples(sides, sides), classes=st.integers(1, 9), seed=st.integers(0, 99))
def test_sizes(attempts: Attempts, size: tuple[int, int], target: tuple[int, int], classes: int, seed: int) -> None:
    """Photos and targets of 1 to 150 pixels a side: scores and label maps of the plain definition"""
    processor = CatSegImageProcessor(**SMALL)
    outputs = view_outputs(processor, size, classes, seed=seed)
    expected = merge_naively(outputs["logits"][0], outputs["view_boxes"][0].tolist(), (40, 40), target)
    ((found, scores),) = processor.post_process_best_classes(outputs, [target])
    best = expected.gather(0, found[None])[0]
    is_right = (
        found.shape == target and (expected.amax(dim=0) - best).max() < 1e-5 and (scores - best).abs().max() < 1e-5
    )
    attempts.judge((size, target, classes, seed), bool(is_right), "other scores than by the plain definition")


@many
@given(
    threshold=st.floats(-0.5, 1.5) | st.sampled_from([float("nan"), float("inf"), 0.0, 1.0]),
    background=st.integers(-3, 300),
)
def test_thresholds(attempts: Attempts, threshold: float, background: int) -> None:
    """Thresholds and background ids: pixels below get the background and others their class, or refused"""
    processor = CatSegImageProcessor(**SMALL)
    outputs = view_outputs(processor, (60, 80))
    ((classes, scores),) = processor.post_process_best_classes(outputs, [(30, 50)])
    expected = torch.where(scores < threshold, background, classes)
    attempts.attempt(
        threshold,
        lambda: processor.post_process_semantic_segmentation(
            outputs, [(30, 50)], threshold=threshold, background_id=background
        )[0],
        lambda found: 0 <= threshold <= 1 and torch.equal(found, expected),
        [f"`threshold` must be from 0 to 1, or None, got {threshold}"],
    )


@few
@given(order=st.permutations(range(6)), number=st.integers(1, 6), seed=st.integers(0, 99))
def test_order_of_the_vocabulary(attempts: Attempts, order: list[int], number: int, seed: int) -> None:
    """Vocabularies in another order: the same logits in that order"""
    model = tiny_model(seed=0)
    images, input_ids = random_images(1, 3, 64, 64, seed=seed), random_input_ids(number, 1, 8, seed=seed)
    order = [index for index in order if index < number]
    with torch.inference_mode():
        before, after = (model(images, input_ids=ids).logits for ids in (input_ids, input_ids[order]))
    is_right = torch.allclose(before[:, order], after, atol=1e-4, rtol=1e-4)
    attempts.judge((order, seed), is_right, "other logits")


def test_photos_and_labels(attempts: Attempts, place: Path) -> None:
    """Any photo with any labels through the pipeline: masks that share out all pixels, or refused"""
    segment = pipeline("image-segmentation", model=str(place / "model"))

    @few
    @given(labels=st.lists(names, min_size=1, max_size=4), size=st.tuples(sides, sides))
    def attempt(labels: list[str], size: tuple[int, int]) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)

        def is_right(results: list) -> bool:
            cleaned = [clean_text(label) for label in labels]
            covered = sum(np.asarray(result["mask"]).astype(int) for result in results)
            is_known = all(result["label"] in cleaned and 0 <= result["score"] <= 1 for result in results)
            return is_known and covered.shape == size and bool((covered == 255).all())

        attempts.attempt(
            (labels, size),
            lambda: segment(Image.fromarray(pixels), candidate_labels=labels),
            is_right,
            ["Label", "label"],
        )

    attempt()
