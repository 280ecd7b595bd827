# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""One view or those of a sliding window: the same choice in Python, in the pipeline and in all commands."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from catseg_hf import TINY, CatSegImageProcessor, CatSegProcessor, Segmenter
from catseg_hf.app.page_model import PageModel
from catseg_hf.image_processing_catseg import view_arguments
from catseg_hf.large_images.windows import model_side
from catseg_hf.scenes import draw_scene


LABELS = ["star", "moon", "ground"]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained(TINY, LABELS, device="cpu", views="sliding")  # by itself it takes one


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return draw_scene(3, 160).image


@pytest.fixture(scope="module")
def by_hand(segmenter: Segmenter, picture: Image.Image) -> np.ndarray:
    """Class ids of a single view, made of the model's and the processor's own arguments."""
    inputs = segmenter.processor(images=picture, text=LABELS, do_sliding_window=False)
    assert inputs["pixel_values"].dim() == 4
    with torch.inference_mode():
        outputs = segmenter.model(**inputs)
    sizes = [(picture.height, picture.width)]
    return segmenter.processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)[0].numpy()


def test_one_view(segmenter: Segmenter, picture: Image.Image, by_hand: np.ndarray) -> None:
    sliding = segmenter(picture)
    one = Segmenter(segmenter.model, segmenter.processor, LABELS, views="one")
    assert np.array_equal(one(picture).class_ids, by_hand)
    assert not np.array_equal(sliding.class_ids, by_hand)
    # Kept where only the labels are others, and changed where that is asked.
    assert np.array_equal(one.with_labels(LABELS)(picture).class_ids, by_hand)
    again = one.with_labels(LABELS, views="sliding")(picture)
    assert np.array_equal(again.class_ids, sliding.class_ids)
    # Nothing of what was given has changed.
    assert segmenter.processor.image_processor.do_sliding_window
    # Large images are then cut into windows of one view each.
    image_processor = segmenter.processor.image_processor
    assert model_side(one.processor.image_processor) == image_processor.image_size < model_side(image_processor)


def test_a_processor_decides_where_nothing_is_said(segmenter: Segmenter, picture: Image.Image) -> None:
    plain = segmenter.processor.with_views("one")
    padded = CatSegProcessor(CatSegImageProcessor.from_pretrained(TINY, pad_to_multiple=32), plain.tokenizer)
    for processor, views, dims in ((plain, None, 4), (plain, "sliding", 5), (padded, None, 4), (padded, "sliding", 5)):
        assert processor.with_views(views)(images=picture)["pixel_values"].dim() == dims
    for wrong in ("five", 1, True):
        with pytest.raises(ValueError, match=re.escape(f'`views` must be "one" or "sliding", got {wrong!r}.')):
            view_arguments(wrong)


def test_the_pipeline(segmenter: Segmenter, picture: Image.Image, by_hand: np.ndarray) -> None:
    segment = pipeline("image-segmentation", model=segmenter.model, processor=segmenter.processor)
    for results in (
        segment(picture, candidate_labels=LABELS, views="one"),
        segment([picture, picture], candidate_labels=LABELS, views="one", batch_size=2)[1],
    ):
        for result in results:
            assert np.array_equal(np.asarray(result["mask"]) > 0, by_hand == LABELS.index(result["label"]))
    always = pipeline("image-segmentation", model=TINY, views="one")
    scores = [each["score"] for each in results]
    assert [each["score"] for each in always(picture, candidate_labels=LABELS)] == pytest.approx(scores, rel=1e-4)
    with pytest.raises(ValueError, match="`views` must be"):
        segment(picture, candidate_labels=LABELS, views="five")


def test_the_page(picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "scene.png")
    for views in ("one", "sliding"):
        found = PageModel("tiny", views).segment(str(tmp_path / "scene.png"), LABELS).segmentation
        shown = Segmenter.from_pretrained(TINY, LABELS, views=views)(found.picture)
        assert (found.class_ids == shown.class_ids).mean() > 0.99  # the page enlarges the photo


def test_the_commands(catseg: Run, picture: Image.Image, by_hand: np.ndarray, tmp_path: Path) -> None:
    picture.save(tmp_path / "scene.png")
    arguments = ("scene.png", "--labels", ",".join(LABELS), "--model", "tiny", "--format", "label-map")
    code, _, errors = catseg("segment", *arguments, "--views", "one", "--output", "one.png")
    assert code == 0, errors
    assert np.array_equal(np.asarray(Image.open(tmp_path / "one.png")), by_hand)

    (tmp_path / "labels").mkdir()
    Image.fromarray(by_hand.astype(np.uint8)).save(tmp_path / "labels" / "scene.png")
    (tmp_path / "classes.txt").write_text("\n".join(LABELS))
    (tmp_path / "images").mkdir()
    picture.save(tmp_path / "images" / "scene.png")
    data = ("--images", "images", "--annotations", "labels", "--vocabulary", "classes.txt", "--worst", 0)
    evaluate = ("evaluate", "--model", "tiny", *data, "--views", "one", "--device", "cpu")
    code, _, errors = catseg(*evaluate)
    assert code == 0, errors
    results = json.loads(next(tmp_path.glob("results/*/images-whole/results.json")).read_text())
    assert results["protocol"]["name"] == "whole"
    code, _, errors = catseg(*evaluate, "--protocol", "mmseg_slide")
    assert code == 1 and "--protocol mmseg_slide says how images are cut into views: leave out --views one." in errors
