# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""One word finds what it names, and nothing else: in the command for photos, videos and large images."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers.utils import logging as transformers_logging

from catseg_hf import TINY, Segmenter
from catseg_hf.app.page_model import PageModel
from catseg_hf.scenes import GROUND, draw_scene
from catseg_hf.segmenting.only_named import others_by_default
from catseg_hf.sources.video import FrameSegmenter
from tests.large_files import read_frames, read_label_map, write_geotiff, write_video


Run = Callable[..., tuple[int, str, str]]
LABEL, REST = "star", ["moon", GROUND]
SWITCHED = "other classes compete with the label, and are not shown. With --others none, every pixel goes to it."


@pytest.fixture(scope="module")
def alone() -> Segmenter:
    return Segmenter.from_pretrained(TINY, [LABEL], device="cpu")


@pytest.fixture
def picture(tmp_path: Path) -> Image.Image:
    """Saved as `a.png`."""
    picture = draw_scene(7, 128).image
    picture.save(tmp_path / "a.png")
    return picture


def label_map(catseg: Run, *options: object, labels: str = LABEL) -> tuple[np.ndarray, str]:
    """What the command writes, and what it says."""
    arguments = ["--labels", labels, "--model", "tiny", "--format", "label-map", *options]
    code, _, errors = catseg("segment", "a.png", *arguments)
    assert code == 0, errors
    return np.asarray(Image.open("label-map.png")), errors


def where(ids: np.ndarray, none: int = 255) -> np.ndarray:
    """A label map of one class."""
    return np.where(ids == 0, 0, none)


def test_defaults() -> None:
    assert others_by_default(["star"]) == "own" and others_by_default([["star", "sun"]]) == "own"
    assert others_by_default(["star", "moon"]) is None and others_by_default(None) is None
    assert others_by_default(["star"], "none") is None and others_by_default(["star"], []) == []
    assert others_by_default(["star", "moon"], "own") == "own"


# ---- photos ---------------------------------------------------------------------------------------------------------


def test_one_label_gets_what_it_names_and_the_command_says_so(
    catseg: Run, picture: Image.Image, alone: Segmenter, caplog: pytest.LogCaptureFixture
) -> None:
    transformers_logging.enable_propagation()
    logging.Logger.warning_once.cache_clear()
    found, said = label_map(catseg)
    transformers_logging.disable_propagation()
    expected = alone.with_labels([LABEL], others="own")
    np.testing.assert_array_equal(found, where(expected(picture).class_ids))
    assert 0 < (found == 0).mean() < 0.3
    others = alone.with_labels([LABEL], others="own").others
    assert said == f"{len(others)} {SWITCHED}\n"
    assert "Left out of the others, as they mean the same as a label: 'red star' (star)" in caplog.text
    same, _ = label_map(catseg, "--others", "own")
    np.testing.assert_array_equal(same, found)


def test_none_gives_it_every_pixel(catseg: Run, picture: Image.Image) -> None:
    found, said = label_map(catseg, "--others", "none")
    assert (found == 0).all() and said == ""


def test_several_labels_share_the_photo(catseg: Run, picture: Image.Image, alone: Segmenter) -> None:
    found, said = label_map(catseg, labels=f"{LABEL},{GROUND}")
    np.testing.assert_array_equal(found, alone.with_labels([LABEL, GROUND])(picture).class_ids)
    assert said == "" and set(np.unique(found)) <= {0, 1}


def test_a_list_a_file_and_a_vocabulary(catseg: Run, picture: Image.Image, alone: Segmenter) -> None:
    all_three = alone.with_labels([LABEL, *REST])(picture)
    found, said = label_map(catseg, "--others", ", ".join(REST))
    np.testing.assert_array_equal(found, where(all_three.class_ids))
    assert said == ""
    Path("others.txt").write_text("\n".join(REST))
    np.testing.assert_array_equal(label_map(catseg, "--others", "others.txt")[0], found)
    by_name, _ = label_map(catseg, "--others", "pascal_voc_20")
    expected = alone.with_labels([LABEL], others="pascal_voc_20")(picture)
    np.testing.assert_array_equal(by_name, where(expected.class_ids))
    code, _, errors = catseg("segment", "a.png", "--labels", LABEL, "--model", "tiny", "--others", "no_such_list")
    assert code == 1 and "no vocabulary 'no_such_list'" in errors


def test_what_is_left_can_have_a_name(catseg: Run, picture: Image.Image) -> None:
    plain, _ = label_map(catseg)
    options = ("--others", "own", "--background", "rest", "--format", "json")
    named, _ = label_map(catseg, *options)
    np.testing.assert_array_equal(named, where(plain, none=1))
    found = json.loads(Path("label-map.json").read_text())
    assert [segment["label"] for segment in found["segments"]] == ["star", "rest"]
    # Of a single label there are others without a word.
    np.testing.assert_array_equal(label_map(catseg, "--background", "rest")[0], named)
    for options in (("--labels", LABEL, "--others", "none"), ("--labels", f"{LABEL},{GROUND}")):
        code, _, errors = catseg("segment", "a.png", *options, "--background", "rest", "--model", "tiny")
        assert code == 1 and "--background is the class of the pixels below --threshold or of --others" in errors


# ---- videos and large images ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("smooth", [0, 0.7])
def test_videos(smooth: float, catseg: Run, alone: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("av")
    write_video(Path("clip.mp4"), sound=None)
    options = ("--others", ", ".join(REST), "--smooth", smooth, "--every", 6, "--format", "label-map")
    code, _, errors = catseg("segment", "clip.mp4", "--labels", LABEL, "--model", "tiny", *options)
    assert code == 0, errors
    _, frames, _ = read_frames(Path("clip.mp4"))
    with torch.inference_mode():
        both = FrameSegmenter(alone.with_labels([LABEL, *REST]), smooth)
        for number in (0, 6):
            expected = both(Image.fromarray(frames[number]), "").class_ids
            found = np.asarray(Image.open(tmp_path / "labels" / f"{number:06}.png"))
            np.testing.assert_array_equal(found, where(expected))
            assert 0 < (found == 0).mean() < 1


def test_smoothed_frames_with_the_classes_of_the_model(alone: Segmenter, tmp_path: Path) -> None:
    pytest.importorskip("av")
    frames = [Image.fromarray(frame) for frame in write_video(tmp_path / "clip.mp4", sound=None)[:3]]
    segment = FrameSegmenter(alone.with_labels([LABEL], others="own"), 0.5)
    still = [segment(frames[0], "").class_ids for _ in range(3)]
    # A picture that stands still keeps its classes, and is that of a photo.
    photo = alone.with_labels([LABEL], others="own")(frames[0]).class_ids
    assert (still[0] == photo).mean() > 0.999 and (still[2] == photo).mean() > 0.999
    # Another picture has other competitors: both fade over.
    assert segment(frames[2], "").class_ids.shape == still[0].shape


def test_large_images(catseg: Run) -> None:
    pytest.importorskip("rasterio")
    write_geotiff(Path("big.tif"), 300, 400)
    maps = {}
    for labels, others in ((LABEL, ", ".join(REST)), (", ".join([LABEL, *REST]), "none"), (LABEL, "own")):
        options = ("--native", "--tile", 256, "--format", "label-map", "--others", others, "--model", "tiny")
        code, _, errors = catseg("segment", "big.tif", "--labels", labels, *options)
        assert code == 0, errors
        maps[labels, others] = read_label_map(Path("label-map.tif"))
    first, both, own = maps.values()
    np.testing.assert_array_equal(first, where(both))
    assert set(np.unique(own)) <= {0, 255} and (own == 255).mean() > 0.5


# ---- the page -------------------------------------------------------------------------------------------------------


def test_the_page_keeps_to_the_label(tmp_path: Path, alone: Segmenter) -> None:
    picture = draw_scene(7, 128).image.resize((1024, 1024), Image.Resampling.LANCZOS)
    picture.save(tmp_path / "a.png")
    model = PageModel("tiny")
    for others in (None, "own"):
        found = model.segment(str(tmp_path / "a.png"), [LABEL], others)
        expected = alone.with_labels([LABEL], others=others)(picture)
        np.testing.assert_array_equal(found.segmentation.class_ids, expected.class_ids)
        assert found.segmentation.names == [LABEL] and found.class_scores.shape[0] == 1
        assert np.isfinite(found.class_scores).all()
        row, column = np.argwhere(found.segmentation.class_ids == 0)[0].tolist()
        assert found.class_at(column, row) == 0
    row, column = np.argwhere(found.segmentation.class_ids == -1)[0].tolist()
    assert found.class_at(column, row) is None
    assert (found.shown_ids([0], 0.0) == found.segmentation.class_ids).all()
