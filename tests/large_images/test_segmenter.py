# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Large images get the classes that their windows give, blended without seams."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.large_images import LargeImageSegmenter, PictureSource, Strip
from catseg_hf.large_images import segmenter as module
from catseg_hf.large_images.windows import WindowAxis
from catseg_hf.scenes import draw_scene
from tests.small_evaluations import save_small_model


LABELS = ["cat", "grass", "sky"]
Parts = tuple[CatSegForSemanticSegmentation, CatSegProcessor, torch.Tensor]


def load(folder: Path, labels: list[str], **settings: object) -> Parts:
    processor = CatSegProcessor.from_pretrained(folder)
    for name, value in settings.items():
        setattr(processor.image_processor, name, value)
    model = CatSegForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        return model, processor, model.get_text_embeds(**processor(text=labels))


@pytest.fixture(scope="module")
def folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_small_model(tmp_path_factory.mktemp("small") / "model", tiny_model_folder)


@pytest.fixture(scope="module")
def parts(folder: Path) -> Parts:
    """A model that takes a window as one small view: a few milliseconds."""
    return load(folder, LABELS, do_sliding_window=False, shortest_edge=64)


@pytest.fixture(scope="module")
def tiny() -> Parts:
    return load(TINY, ["something red", "something blue", "ground"])


def picture(height: int, width: int, seed: int = 0) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def joined(strips: list[Strip]) -> tuple[np.ndarray, np.ndarray]:
    tops = np.cumsum([0, *(len(strip.class_ids) for strip in strips)])
    assert [strip.top for strip in strips] == tops[:-1].tolist()
    return tuple(np.concatenate([getattr(strip, name) for strip in strips]) for name in ("class_ids", "scores"))


def segmented(parts: Parts, image: Image.Image, **options: object) -> tuple[np.ndarray, np.ndarray]:
    return joined(list(LargeImageSegmenter(*parts, **options).strips(PictureSource(image))))


@pytest.mark.parametrize("size", [(64, 64), (50, 64), (64, 31)])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"do_sliding_window": False},
        {"do_squash": False, "shortest_edge": 64, "global_view": False, "score_function": "softmax"},
    ],
)
def test_an_image_of_one_window_gets_what_an_ordinary_photo_gets(
    size: tuple[int, int], settings: dict[str, object], folder: Path
) -> None:
    parts = model, processor, text_embeds = load(folder, LABELS, **settings)
    image = picture(*size)
    class_ids, scores = segmented(parts, image, tile=64)
    with torch.inference_mode():
        outputs = model(**processor(images=image), text_embeds=text_embeds)
    expected = processor.post_process_best_classes(outputs, [size])[0]
    assert len(np.unique(class_ids)) > 1
    np.testing.assert_array_equal(class_ids, expected[0])
    np.testing.assert_allclose(scores, expected[1], atol=1e-6)


def plainly_blended(parts: Parts, image: Image.Image, tile: int, overlap: float) -> torch.Tensor:
    """All class scores of an image at once, by the definition."""
    model, processor, text_embeds = parts
    rows, columns = (WindowAxis(length, tile, overlap) for length in (image.height, image.width))
    total = torch.zeros(len(text_embeds), image.height, image.width)
    for top, row_weights in zip(rows.starts, rows.weights, strict=True):
        for left, column_weights in zip(columns.starts, columns.weights, strict=True):
            window = image.crop((left, top, left + columns.side, top + rows.side))
            with torch.inference_mode():
                outputs = model(**processor(images=window), text_embeds=text_embeds)
            scores = processor.post_process_class_scores(outputs, [(rows.side, columns.side)])[0]
            weights = row_weights[:, None] * column_weights
            total[:, top : top + rows.side, left : left + columns.side] += scores * weights
    return total


@pytest.mark.parametrize(
    ("size", "overlap"), [((150, 130), 0.25), ((40, 200), 0.25), ((130, 70), 0.7), ((128, 128), 0)]
)
def test_windows_are_blended_by_the_definition(size: tuple[int, int], overlap: float, parts: Parts) -> None:
    image = picture(*size)
    best, expected = plainly_blended(parts, image, 64, overlap).max(dim=0)
    class_ids, scores = segmented(parts, image, tile=64, overlap=overlap)
    np.testing.assert_allclose(scores, best, atol=1e-5)
    assert (class_ids == expected.numpy()).mean() > 0.9999  # but for ties by rounding
    assert len(np.unique(class_ids)) > 1


def test_batches_and_a_temporary_file_change_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture(150, 200)
    expected = segmented(parts, image, tile=64)
    monkeypatch.setattr(module, "CARRIED_BYTES", 0)
    for found, wanted in zip(segmented(parts, image, tile=64), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)
    for found, wanted in zip(segmented(parts, image, tile=64, batch_size=3), expected, strict=True):
        assert np.isclose(found, wanted, atol=1e-5).mean() > 0.999


def test_softmax_scores_are_those_of_the_blended_logits(folder: Path) -> None:
    parts = load(folder, LABELS, do_sliding_window=False, shortest_edge=64, score_function="softmax")
    image = picture(100, 150)
    expected = plainly_blended(parts, image, 64, 0.25).softmax(dim=0).amax(dim=0)
    np.testing.assert_allclose(segmented(parts, image, tile=64)[1], expected, atol=1e-5)


@pytest.mark.slow
def test_no_seams_where_windows_end(tiny: Parts) -> None:
    image = picture(64, 1000)

    def jumps(overlap: float) -> float:
        """How much more scores change where a window ends than elsewhere."""
        scores = segmented(tiny, image, tile=64, overlap=overlap)[1]
        axis = WindowAxis(1000, 64, overlap)
        borders = sorted({*axis.starts, *(start + 64 for start in axis.starts)} - {0, 1000})
        change = np.abs(np.diff(scores, axis=1)).mean(axis=0)
        return change[np.array(borders) - 1].mean() / np.median(change)

    assert jumps(0) > 8  # what a seam looks like
    assert jumps(0.25) < 2


def test_a_pattern_across_the_borders_of_windows_is_decided_as_without(tiny: Parts) -> None:
    ground = Image.fromarray(
        np.asarray(draw_scene(3, size=1024).image)[:8, :8].mean((0, 1)).astype(np.uint8)[None, None]
    )
    image = ground.resize((1024, 256))
    # Red and blue circles, some of them where windows of 256 overlap or end.
    truth = np.full((256, 1024), 2)
    pixels = np.asarray(image).copy()
    y, x = np.mgrid[:256, :1024]
    for index, center in enumerate((70, 192, 256, 384, 470, 576, 700, 768, 900)):
        inside = (x - center) ** 2 + (y - 128) ** 2 < 35**2
        pixels[inside] = [(205, 32, 38), (38, 84, 208)][index % 2]
        truth[inside] = index % 2
    image = Image.fromarray(pixels)
    found = segmented(tiny, image, tile=256)[0]
    whole_agreement = []
    for center in (192, 256, 384, 576, 768):
        left = center - 128
        alone = segmented(tiny, image.crop((left, 0, left + 256, 256)), tile=256)[0]
        here = np.s_[64:192, 64:192]
        whole_agreement.append((alone[here] == found[:, left : left + 256][here]).mean())
    assert min(whole_agreement) > 0.9
    is_circle = truth < 2
    assert (found[is_circle] == truth[is_circle]).mean() > 0.7


def test_scale_is_the_size_at_which_the_model_sees_the_image(tiny: Parts) -> None:
    assert LargeImageSegmenter(*tiny).side == 192
    assert LargeImageSegmenter(*tiny, scale=0.5).side == 384
    assert LargeImageSegmenter(*tiny, tile=300).side == 300


class HalfEmpty(PictureSource):
    """A picture whose left half holds no data."""

    num_read = 0

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        pixels, _ = super().read(top, left, height, width)
        return pixels, np.broadcast_to(np.arange(left, left + width) >= self.width // 2, (height, width))


def test_pixels_without_data_get_no_class_and_windows_without_any_no_model(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture(64, 400)
    segmenter = LargeImageSegmenter(*parts, tile=64)
    counted: list[int] = []
    score: Callable = segmenter._class_scores
    monkeypatch.setattr(segmenter, "_class_scores", lambda windows: counted.append(len(windows)) or score(windows))
    class_ids, _ = joined(list(segmenter.strips(HalfEmpty(image))))
    assert (class_ids[:, :200] == -1).all() and (class_ids[:, 200:] >= 0).all()
    np.testing.assert_array_equal(class_ids[:, 200:], segmented(parts, image, tile=64)[0][:, 200:])
    assert 0 < sum(counted) < len(WindowAxis(400, 64, 0.25))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tile": 64, "scale": 2}, "give one of them"),
        ({"scale": 0}, "`scale` must be from 0.01"),
        ({"tile": 8}, "`tile` must be at least 16"),
        ({"overlap": 0.95}, "`overlap` must be from 0 to 0.9"),
        ({"batch_size": 0}, "`batch_size` must be at least 1"),
    ],
)
def test_wrong_arguments_are_named(options: dict[str, float], message: str, parts: Parts) -> None:
    with pytest.raises(ValueError, match=message):
        LargeImageSegmenter(*parts, **options)


def test_a_model_without_vocabulary_needs_classes(parts: Parts) -> None:
    with pytest.raises(ValueError, match="give `text_embeds`"):
        LargeImageSegmenter(*parts[:2])
