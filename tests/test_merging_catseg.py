# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Merging views: both ways to the best class against the plain definition."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.modeling_outputs import SemanticSegmenterOutput
from view_settings import MMSEG, SMALL

from catseg_hf import merging_catseg
from catseg_hf.image_processing_catseg import CatSegImageProcessor


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return 2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def merge_naively(
    logits: torch.Tensor,
    boxes: list[list[int]],
    size: tuple[int, int],
    target: tuple[int, int],
    global_view: bool = True,
    sigmoid: bool = True,
) -> torch.Tensor:
    """The originals' merging as they describe it, all maps at once: (V, T, h, w) logits to (T, height, width)."""

    def resize(maps: torch.Tensor, height: int, width: int) -> torch.Tensor:
        return F.interpolate(maps[None], size=(height, width), mode="bilinear", align_corners=False)[0]

    windows = len(boxes) - 1 if global_view else len(boxes)
    total, coverage = torch.zeros(logits.shape[1], *size), torch.zeros(size)
    for view, (top, left, bottom, right) in zip(logits[:windows].float(), boxes[:windows], strict=True):
        maps = resize(view, bottom - top, right - left)
        total[:, top:bottom, left:right] += maps.sigmoid() if sigmoid else maps
        coverage[top:bottom, left:right] += 1
    merged = total / coverage
    if global_view:
        maps = resize(logits[-1].float(), boxes[0][2] - boxes[0][0], boxes[0][3] - boxes[0][1])
        merged = (merged + resize(maps.sigmoid() if sigmoid else maps, *size)) / 2
    return resize(merged, *target)


def view_outputs(processor: CatSegImageProcessor, image_size: tuple[int, int], classes: int = 7, **kwargs: Any) -> dict:
    inputs = processor(Image.new("RGB", image_size[::-1]), return_tensors="pt")
    logits = random_logits(1, inputs.view_boxes.shape[1], classes, 12, 12, **kwargs)
    return {"logits": logits, "view_boxes": inputs.view_boxes, "resized_sizes": inputs.resized_sizes}


TARGETS = [(40, 40), (97, 131), (150, 33), (17, 60), (3, 5), (1, 1)]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("band", [2**21, 500])
def test_merging_of_windows_and_global_view(
    target: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the plain definition, whatever the size of the bands that are worked on."""
    monkeypatch.setattr(merging_catseg, "BAND_ELEMENTS", band)
    processor = CatSegImageProcessor(**SMALL)
    outputs = view_outputs(processor, (60, 80))
    expected = merge_naively(outputs["logits"][0], outputs["view_boxes"][0].tolist(), (40, 40), target)
    for search in (True, False):
        scores = processor.post_process_class_scores(outputs, [target], search=search)[0]
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    for search in (None, True, False):
        segmentation = processor.post_process_semantic_segmentation(outputs, [target], search=search)[0]
        assert segmentation.dtype == torch.int64 and segmentation.shape == target
        assert torch.equal(segmentation, expected.argmax(dim=0))
        ((best_class, confidence),) = processor.post_process_best_classes(outputs, [target], search=search)
        assert torch.equal(best_class, segmentation)
        torch.testing.assert_close(confidence, expected.amax(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("size", [(60, 100), (20, 70), (20, 20)])
@pytest.mark.parametrize("band", [2**21, 500])
def test_merging_of_raw_logits(
    target: tuple[int, int], size: tuple[int, int], band: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MMSegmentation: no global view, images smaller than a window too, softmax at the very end."""
    monkeypatch.setattr(merging_catseg, "BAND_ELEMENTS", band)
    processor = CatSegImageProcessor(**{**MMSEG, "window": 24, "stride": 24, "image_size": 24}, do_resize=False)
    outputs = view_outputs(processor, size)
    boxes = outputs["view_boxes"][0].tolist()
    expected = merge_naively(outputs["logits"][0], boxes, size, target, global_view=False, sigmoid=False)
    scores = processor.post_process_class_scores(outputs, [target])[0]
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)
    (result,) = processor.post_process_semantic_segmentation(outputs, [target], return_segmentation_scores=True)
    assert torch.equal(result.segmentation, expected.argmax(dim=0))
    torch.testing.assert_close(result.segmentation_scores, expected.softmax(dim=0), atol=1e-5, rtol=0)
    ((best_class, confidence),) = processor.post_process_best_classes(outputs, [target])
    assert torch.equal(best_class, result.segmentation)
    torch.testing.assert_close(confidence, expected.softmax(dim=0).amax(dim=0), atol=1e-5, rtol=0)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("classes", [1, 2, 40])
@pytest.mark.parametrize("band", [2**21, 500])
def test_plain_mode(target: tuple[int, int], classes: int, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sigmoid before the resize. Logits without any smoothness and many classes take the path over all classes too."""
    monkeypatch.setattr(merging_catseg, "BAND_ELEMENTS", band)
    logits = random_logits(2, classes, 12, 10)
    outputs = SemanticSegmenterOutput(logits=logits)
    processor = CatSegImageProcessor(do_sliding_window=False)
    expected = F.interpolate(logits.sigmoid(), size=target, mode="bilinear")
    results = processor.post_process_semantic_segmentation(outputs, [target] * 2, return_segmentation_scores=True)
    for result, scores in zip(results, expected, strict=True):
        torch.testing.assert_close(result.segmentation_scores, scores, atol=1e-5, rtol=0)
        assert torch.equal(result.segmentation, scores.argmax(dim=0))
    for search in (True, False):
        alone = processor.post_process_semantic_segmentation(outputs, [target] * 2, search=search)
        assert all(torch.equal(one, other.segmentation) for one, other in zip(alone, results, strict=True))


@pytest.mark.parametrize("options", [SMALL, {**MMSEG, "window": 24, "stride": 24, "image_size": 24}])
@pytest.mark.parametrize("classes", [1, 9])
def test_chunks_of_classes_change_nothing(
    options: dict[str, Any], classes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor = CatSegImageProcessor(**options)
    outputs = view_outputs(processor, (60, 80), classes)
    results = []
    for chunk_bytes in (1, 200_000, 2**26):  # a class at a time, a few, all
        monkeypatch.setattr(merging_catseg, "CPU_CHUNK_BYTES", chunk_bytes)
        best_class, confidence = processor.post_process_best_classes(outputs, [(97, 131)], search=False)[0]
        scores = processor.post_process_class_scores(outputs, [(97, 131)], search=False)[0]
        results.append((best_class, confidence, scores))
    for best_class, confidence, scores in results[1:]:
        assert torch.equal(best_class, results[0][0])
        # Vectorised loops round their last elements otherwise, and the softmax's sum is added up in parts.
        torch.testing.assert_close(scores, results[0][2], rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(confidence, results[0][1], rtol=1e-6, atol=1e-6)


def test_both_ways_to_the_best_class_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Smooth maps have few candidates in each cell, noise has many; both ways are exact."""
    found = []
    original = merging_catseg._find_candidates

    def spy(*args: Any) -> Any:
        found.append(original(*args))
        return found[-1]

    monkeypatch.setattr(merging_catseg, "_find_candidates", spy)
    processor = CatSegImageProcessor(do_sliding_window=False)
    noise = random_logits(1, 40, 12, 12)
    smooth = F.interpolate(random_logits(1, 40, 4, 4), size=(48, 48), mode="bicubic")
    for logits, is_dense in ((noise, True), (smooth, False)):
        segmentation = processor.post_process_semantic_segmentation({"logits": logits}, [(200, 130)])[0]
        expected = F.interpolate(logits.sigmoid(), size=(200, 130), mode="bilinear")[0].argmax(dim=0)
        assert (found[-1] is None) == is_dense
        assert (segmentation == expected).float().mean() > 0.9999


@pytest.mark.parametrize("band", [2**21, 500])
@pytest.mark.parametrize("threshold", [None, 0.0])
def test_classes_that_are_kept_in_no_view(threshold: float | None, band: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One stands for all of them; those kept in some views go their own way."""
    monkeypatch.setattr(merging_catseg, "BAND_ELEMENTS", band)
    processor = CatSegImageProcessor(**SMALL)
    outputs = view_outputs(processor, (60, 80))
    logits = random_logits(outputs["logits"].shape[1], 9, *outputs["logits"].shape[-2:])
    logits[:, [0, 1, 2, 5, 8]] = -100
    logits[0, 3], logits[-1, 6] = -100, -100  # kept in other views
    logits[:, :, :6] = -100  # where no class is kept, the first is the best
    outputs["logits"] = logits[None]
    expected = merge_naively(logits.clamp(min=-80), outputs["view_boxes"][0].tolist(), (40, 40), (50, 70))
    expected[expected < 1e-30] = 0.0  # all of these are equal but for rounding
    for search in (True, False):
        found = processor.post_process_semantic_segmentation(outputs, [(50, 70)], threshold, search=search)[0]
        decided = expected.amax(dim=0) > 0
        assert torch.equal(found[decided], expected.argmax(dim=0)[decided])
        assert set(found[decided].unique().tolist()) == {3, 4, 6, 7}
        # Without the search, rounding decides between classes of next to no score.
        assert not search or not found[~decided].any()


def test_default_size_is_that_of_the_resized_image() -> None:
    processor = CatSegImageProcessor(**SMALL)
    assert processor.post_process_semantic_segmentation(view_outputs(processor, (60, 80)))[0].shape == (40, 40)
    assert processor.post_process_semantic_segmentation({"logits": random_logits(1, 3, 12, 10)})[0].shape == (12, 10)


def test_missing_views_do_not_count() -> None:
    processor = CatSegImageProcessor(**{**SMALL, "do_squash": False}, do_resize=False)
    inputs = processor([Image.new("RGB", (40, 60)), Image.new("RGB", (24, 30))], return_tensors="pt")
    assert not inputs.view_boxes[1, -1].any()
    logits = random_logits(2, inputs.view_boxes.shape[1], 5, 12, 12)
    outputs = {"logits": logits, "view_boxes": inputs.view_boxes, "resized_sizes": inputs.resized_sizes}
    scores = processor.post_process_class_scores(outputs, [(50, 50)] * 2)
    for index in range(2):
        present = inputs.view_boxes[index].any(dim=1)
        expected = merge_naively(
            logits[index, present],
            inputs.view_boxes[index, present].tolist(),
            tuple(inputs.resized_sizes[index].tolist()),
            (50, 50),
        )
        torch.testing.assert_close(scores[index], expected, atol=1e-5, rtol=0)


def test_first_of_equal_classes_wins() -> None:
    logits = random_logits(1, 4, 12, 12)
    logits = torch.cat([logits, logits], dim=1)
    processor = CatSegImageProcessor(do_sliding_window=False)
    for search in (True, False):
        for values in (logits, logits.bool().float(), torch.zeros(1, 3, 12, 12)):
            outputs = {"logits": values}
            segmentation = processor.post_process_semantic_segmentation(outputs, [(50, 70)], search=search)[0]
            assert segmentation.max() < 4
        assert not segmentation.any()


def test_truncated_classes_never_win() -> None:
    """Classes over the model's padding length have the logit -100, of which the sigmoid is next to nothing."""
    logits = random_logits(1, 6, 12, 12)
    logits[:, 2] = -100
    processor = CatSegImageProcessor(do_sliding_window=False)
    (result,) = processor.post_process_semantic_segmentation(
        {"logits": logits}, [(31, 47)], return_segmentation_scores=True
    )
    assert not (result.segmentation == 2).any()
    assert result.segmentation_scores[2].max() < 1e-30


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_logits_are_processed_in_float32(dtype: torch.dtype) -> None:
    processor = CatSegImageProcessor(**SMALL)
    outputs = view_outputs(processor, (60, 80))
    half = {**outputs, "logits": outputs["logits"].to(dtype)}
    rounded = {**outputs, "logits": half["logits"].float()}
    assert torch.equal(
        processor.post_process_class_scores(half, [(50, 60)])[0],
        processor.post_process_class_scores(rounded, [(50, 60)])[0],
    )
    assert torch.equal(
        processor.post_process_semantic_segmentation(half, [(50, 60)])[0],
        processor.post_process_semantic_segmentation(rounded, [(50, 60)])[0],
    )


@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
def test_threshold(score_function: str) -> None:
    logits = random_logits(1, 5, 12, 12)
    processor = CatSegImageProcessor(do_sliding_window=False, score_function=score_function)
    ((best_class, confidence),) = processor.post_process_best_classes({"logits": logits}, [(50, 70)])
    threshold = confidence.median().item()
    for options, background in (({}, -1), ({"background_id": 255}, 255)):
        segmentation = processor.post_process_semantic_segmentation(
            {"logits": logits}, [(50, 70)], threshold=threshold, **options
        )[0]
        assert torch.equal(segmentation, best_class.where(confidence >= threshold, background))
        assert 0.3 < (segmentation == background).float().mean() < 0.7


def test_class_ids_choose_maps() -> None:
    processor = CatSegImageProcessor(**SMALL)
    outputs = view_outputs(processor, (60, 80))
    scores = processor.post_process_class_scores(outputs, [(50, 60)])[0]
    assert torch.equal(processor.post_process_class_scores(outputs, [(50, 60)], class_ids=[4, 1])[0], scores[[4, 1]])


def test_outputs_are_left_as_they_are() -> None:
    processor = CatSegImageProcessor(**SMALL)
    outputs = view_outputs(processor, (60, 80))
    outputs["logits"].requires_grad_()
    before = outputs["logits"].detach().clone()
    segmentation = processor.post_process_semantic_segmentation(outputs, torch.tensor([[50, 60]]), threshold=0.5)[0]
    assert torch.equal(outputs["logits"].detach(), before) and not segmentation.requires_grad
    plain = {"logits": torch.full((1, 2, 8, 8), -100.0)}
    processor.post_process_class_scores(plain, [(9, 9)])
    assert (plain["logits"] == -100).all()


def test_bad_outputs_are_refused() -> None:
    processor = CatSegImageProcessor(**SMALL)
    outputs = view_outputs(processor, (60, 80))
    with pytest.raises(ValueError, match="view_boxes"):
        processor.post_process_semantic_segmentation({"logits": outputs["logits"]})
    with pytest.raises(ValueError, match="`logits`"):
        processor.post_process_semantic_segmentation({"logits": torch.zeros(3, 4)})
    with pytest.raises(ValueError, match="2 entries for 1 images"):
        processor.post_process_semantic_segmentation(outputs, [(9, 9)] * 2)
    with pytest.raises(ValueError, match="positive integers"):
        processor.post_process_semantic_segmentation(outputs, [(9, 0)])
    with pytest.raises(ValueError, match="`threshold`"):
        processor.post_process_semantic_segmentation(outputs, threshold=1.5)
    with pytest.raises(ValueError, match=r"\[7, -1\].*0 to 6"):
        processor.post_process_class_scores(outputs, class_ids=[0, 7, -1])


@pytest.mark.parametrize("search", [True, False])
def test_without_a_least_score_tiny_ones_decide(search: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    processor = CatSegImageProcessor()
    inputs = processor(torch.zeros(3, 50, 70), return_tensors="pt")
    levels = torch.tensor([-100.0, -84.0, -82.0, -100.0])  # all below the least that a processor distinguishes
    outputs = {**inputs, "logits": levels.view(1, 1, 4, 1, 1).expand(1, 5, 4, 24, 24)}
    (clamped,) = processor.post_process_semantic_segmentation(outputs, [(50, 70)], search=search)
    assert (clamped == 0).all()  # of equal ones the first
    monkeypatch.setattr(merging_catseg.MergedViews, "has_least_score", False)  # as on a GPU
    (found,) = processor.post_process_semantic_segmentation(outputs, [(50, 70)], search=search)
    assert (found == 2).all()


@pytest.mark.parametrize("search", [True, False])
@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
def test_classes_that_are_not_reported_only_compete(score_function: str, search: bool) -> None:
    outputs = {"logits": random_logits(1, 7, 12, 12)}
    processor = CatSegImageProcessor(do_sliding_window=False, score_function=score_function)
    sizes = [(50, 70)]
    ((best_class, confidence),) = processor.post_process_best_classes(outputs, sizes, search=search)
    ((reported, scores),) = processor.post_process_best_classes(outputs, sizes, search=search, num_labels=3)
    assert torch.equal(reported, best_class.where(best_class < 3, -1)) and torch.equal(scores, confidence)
    assert 0.2 < (reported == -1).float().mean() < 0.9
    threshold = confidence.median().item()
    (segmentation,) = processor.post_process_semantic_segmentation(
        outputs, sizes, threshold=threshold, background_id=255, search=search, num_labels=3
    )
    assert torch.equal(segmentation, reported.where((reported >= 0) & (confidence >= threshold), 255))
    (with_scores,) = processor.post_process_semantic_segmentation(
        outputs, sizes, return_segmentation_scores=True, search=search, num_labels=3
    )
    assert torch.equal(with_scores["segmentation"], reported)
    (all_scores,) = processor.post_process_semantic_segmentation(
        outputs, sizes, return_segmentation_scores=True, search=search
    )
    assert torch.equal(with_scores["segmentation_scores"], all_scores["segmentation_scores"][:3])


@pytest.mark.parametrize("num_labels", [0, 8])
def test_a_wrong_number_of_labels_is_refused(num_labels: int) -> None:
    processor = CatSegImageProcessor(do_sliding_window=False)
    for post_process in (processor.post_process_best_classes, processor.post_process_semantic_segmentation):
        with pytest.raises(ValueError, match=f"num_labels={num_labels}.* 7 classes"):
            post_process({"logits": random_logits(1, 7, 12, 12)}, num_labels=num_labels)
