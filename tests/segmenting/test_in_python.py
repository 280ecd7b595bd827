# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a person in Python holds: photos of every kind in, results in every form out."""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import pipeline

from catseg_hf import TINY, Segmentation, Segmenter
from catseg_hf.formats import FORMATS, AnnotationFormat, AnnotationOptions
from catseg_hf.pictures import contours, overlay
from catseg_hf.scenes import GROUND, draw_scene


LABELS = ["something red", ["star", "sun"], GROUND]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.from_pretrained(TINY, LABELS, device="cpu")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    return draw_scene(7, 128).image


@pytest.fixture(scope="module")
def result(segmenter: Segmenter, picture: Image.Image) -> Segmentation:
    return segmenter(picture)


@pytest.fixture
def path(picture: Image.Image, tmp_path: Path) -> Path:
    picture.save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def check_same(found: Segmentation, expected: Segmentation) -> None:
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)


# ---- photos in ------------------------------------------------------------------------------------------------------


def test_photos_of_every_kind(segmenter: Segmenter, result: Segmentation, picture: Image.Image, path: Path) -> None:
    array = np.asarray(picture)
    tensor = torch.from_numpy(array.copy()).movedim(-1, 0)
    photos = {str(path): path, "image-0": picture, "image-1": array, "image-2": tensor, "image-3": tensor / 255}
    for photo in (str(path), *photos.values()):
        found = segmenter(photo)
        check_same(found, result)
        assert found.name == (str(path) if isinstance(photo, str | Path) else "image-0")
        assert found.labels == LABELS and found.picture.size == picture.size
    together = list(segmenter(list(photos.values())[1:]))
    assert [found.name for found in together] == list(photos)[1:]
    for found in (*together, *segmenter(np.stack([array, array]))):
        check_same(found, result)
    assert [found.name for found in segmenter(torch.stack([tensor, tensor]))] == ["image-0", "image-1"]
    with Image.open(path) as opened:
        assert segmenter(opened).name == str(path)


def test_a_photo_from_the_web(segmenter: Segmenter, result: Segmentation, path: Path) -> None:
    content = path.read_bytes()

    class Site(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/scene.png" else 404)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        found = segmenter(f"{address}/scene.png")
        with pytest.raises(OSError, match=f"{address}/none.png cannot be read as a picture: .*404"):
            segmenter(f"{address}/none.png")
        server.shutdown()
    check_same(found, result)
    assert found.name == f"{address}/scene.png"


def test_any_iterable_gives_an_iterator_with_few_photos_ahead(segmenter: Segmenter, picture: Image.Image) -> None:
    taken = []

    def photos() -> Iterator[Image.Image]:
        for number in range(10):
            taken.append(number)
            yield picture.crop((0, 0, 64, 64))

    for num_workers, batch_size in ((0, 1), (0, 4), (3, 1), (2, 4)):
        taken.clear()
        results = segmenter(photos(), batch_size=batch_size, num_workers=num_workers)
        assert isinstance(results, Iterator) and not taken
        for number, _ in enumerate(results, 1):
            assert len(taken) <= number + batch_size + num_workers
        assert number == len(taken) == 10
    assert list(segmenter([])) == []


def test_batches_are_as_photos_one_by_one(segmenter: Segmenter) -> None:
    photos = [draw_scene(seed, 96).image for seed in range(5)]
    for found, expected in zip(segmenter(photos, batch_size=3), map(segmenter, photos), strict=True):
        check_same(found, expected)


def test_threads_can_share_one(segmenter: Segmenter) -> None:
    photos = [draw_scene(seed, 96).image for seed in range(4)]
    alone = list(segmenter(photos))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(segmenter, photos * 3))
    for number, found in enumerate(together):
        check_same(found, alone[number % 4])


# ---- labels and what goes to none of them ---------------------------------------------------------------------------


def test_other_labels_for_the_same_weights(segmenter: Segmenter, picture: Image.Image) -> None:
    options = {"threshold": 0.6, "background": "rest", "others": ["moon"], "need_scores": True}
    first = Segmenter(segmenter.model, segmenter.processor, LABELS, **options)
    other = first.with_labels(["moon", GROUND], others=None)
    assert other.model is segmenter.model and other.processor is segmenter.processor
    assert other.labels == ["moon", GROUND, "rest"] and first.labels == [*LABELS, "rest"]
    assert other.others == [] and first.others == ["moon"] and other.threshold == 0.6
    check_same(
        other(picture), Segmenter.from_pretrained(TINY, "moon; ground", threshold=0.6, background="rest")(picture)
    )
    own = segmenter.with_labels()
    assert own.labels == list(segmenter.model.config.id2label.values())


def test_thresholds_and_backgrounds(segmenter: Segmenter, result: Segmentation, picture: Image.Image) -> None:
    threshold = float(np.median(result.scores))
    unsure = result.scores < threshold
    assert unsure.any() and not unsure.all()
    sure = segmenter.with_labels(LABELS, threshold=threshold)(picture)
    np.testing.assert_array_equal(sure.class_ids, np.where(unsure, -1, result.class_ids))
    named = segmenter.with_labels(LABELS, threshold=threshold, background="rest")(picture)
    np.testing.assert_array_equal(named.class_ids, np.where(unsure, 3, result.class_ids))
    np.testing.assert_allclose(named.scores, np.where(unsure, 1 - result.scores, result.scores), atol=1e-6)
    assert named.names == ["something red", "star, sun", GROUND, "rest"]


def test_others_take_part_and_are_not_reported(segmenter: Segmenter, picture: Image.Image) -> None:
    both = segmenter.with_labels(["star", "moon", GROUND])(picture)
    one = segmenter.with_labels(["star"], others=["moon", GROUND, "star"])(picture)
    np.testing.assert_array_equal(one.class_ids, np.where(both.class_ids == 0, 0, -1))
    assert one.names == ["star"] and one.others == ["moon", GROUND] and one.left_out == {"star": "star"}
    rest = segmenter.with_labels(["star"], others=["moon", GROUND], background="rest")(picture)
    np.testing.assert_array_equal(rest.class_ids, np.where(one.class_ids == 0, 0, 1))
    assert rest.names == ["star", "rest"]
    own = segmenter.with_labels(["star"], others="own")
    vocabulary = list(segmenter.model.config.id2label.values())
    assert {*own.others, *own.left_out} == {*vocabulary}
    assert "star" in own.left_out.values() and GROUND in own.others
    alone = segmenter.with_labels(["star"])(picture)
    assert (alone.class_ids == 0).all()


@pytest.mark.parametrize("options", [{}, {"threshold": 0.6}, {"others": "own"}])
def test_results_are_those_of_a_pipeline(options: dict[str, Any], segmenter: Segmenter, picture: Image.Image) -> None:
    found = segmenter.with_labels(LABELS, **options)(picture)
    expected = pipeline("image-segmentation", model=TINY, device="cpu")(picture, candidate_labels=LABELS, **options)
    assert {each["label"]: each["score"] for each in expected} == {
        segment["label"]: pytest.approx(segment["score"], abs=2e-6) for segment in found.segments()
    }
    assert len(expected) > 1
    for each in expected:
        np.testing.assert_array_equal(np.asarray(each["mask"]), np.asarray(found.mask(each["label"])))


# ---- what cannot be done --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("photo", "error", "message"),
    [
        ("none.png", OSError, "none.png cannot be read as a picture: .*No such file"),
        (["none.png"], OSError, "none.png cannot be read as a picture: .*No such file"),
        (3, TypeError, "must be a path, a URL, a picture, or several, got int"),
        (None, TypeError, "must be a path, a URL, a picture, or several, got NoneType"),
        ([None], TypeError, "image-0 is a NoneType: give a path, a URL or a picture"),
        (b"bytes", TypeError, "image-0 is a int: give a path, a URL or a picture"),
        (np.zeros(7), TypeError, r"image-0 is of shape \(7,\): give a path, a URL or a picture"),
        (np.zeros((8, 8, 3), dtype=complex), TypeError, "complex"),
    ],
)
def test_what_is_no_photo_is_named(photo: Any, error: type[Exception], message: str, segmenter: Segmenter) -> None:
    with pytest.raises(error, match=message):
        found = segmenter(photo)
        if isinstance(found, Iterator):
            next(found)


def test_a_photo_that_cannot_be_read_comes_after_those_before_it(segmenter: Segmenter, path: Path) -> None:
    results = segmenter([path, "none.png", path])
    assert next(results).name == str(path)
    with pytest.raises(OSError, match="none.png"):
        next(results)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "warp"}, "no device 'warp' here: use auto or one of cpu"),
        ({"labels": []}, "labels"),
        ({"labels": ["star", "Star"]}, "Labels 1 and 2 are the same"),
        ({"threshold": 2}, "threshold"),
        ({"background": "rest"}, "`threshold`, and those of `others`: give one of these too"),
        ({"others": "no_such_list"}, "no vocabulary 'no_such_list'"),
    ],
)
def test_what_cannot_be_used_is_refused_before_any_photo(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Segmenter.from_pretrained(TINY, **{"labels": LABELS, **options})


def test_models_that_are_not_there_and_numbers_that_cannot_be(segmenter: Segmenter, picture: Image.Image) -> None:
    with pytest.raises(ValueError, match="no-such-model"):
        Segmenter.from_pretrained("no-such-model", LABELS)
    for options in ({"batch_size": 0}, {"num_workers": -1}):
        with pytest.raises(ValueError, match="must be at least 1"):
            segmenter([picture], **options)


# ---- results out ----------------------------------------------------------------------------------------------------


def test_masks_by_name_and_by_number(result: Segmentation) -> None:
    assert result.names == ["something red", "star, sun", GROUND]
    for class_id, name in enumerate(result.names):
        for mask in (result.mask(name), result.mask(class_id)):
            assert mask.mode == "L"
            np.testing.assert_array_equal(np.asarray(mask), (result.class_ids == class_id) * 255)
    assert [segment["label"] for segment in result.segments()] == result.names
    for label in ("star", -1, 3):
        with pytest.raises(ValueError, match=f"no class {label!r}: the labels are 'something red', 'star, sun', 'gro"):
            result.mask(label)


def test_pictures(result: Segmentation) -> None:
    drawn = overlay(result.picture, result.class_ids, LABELS, background_id=-1)
    np.testing.assert_array_equal(np.asarray(result.overlay()), np.asarray(drawn))
    assert result.overlay(legend=False).size == result.picture.size
    lines = contours(result.picture, result.class_ids, LABELS, background_id=-1)
    np.testing.assert_array_equal(np.asarray(result.contours()), np.asarray(lines))
    assert result._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize("format", [each for each in FORMATS if not each.is_data_set], ids=lambda each: each.name)
def test_every_format_by_its_name_and_by_its_ending(format: Any, result: Segmentation, tmp_path: Path) -> None:
    if isinstance(format, AnnotationFormat):
        pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')

    def files(folder: Path) -> dict[str, bytes]:
        found = [each for each in folder.rglob("*") if each.is_file()]
        return {str(each.relative_to(folder)).replace("by-name", "by-ending"): each.read_bytes() for each in found}

    (tmp_path / "name").mkdir()
    (tmp_path / "ending").mkdir()
    result.save(tmp_path / "name" / f"by-name{format.ending}", format.name)
    if format.ending == ".json":  # of which there are several
        with pytest.raises(ValueError, match="does not say its format"):
            result.save(tmp_path / "ending" / "by-ending.json")
        return
    result.save(str(tmp_path / "ending" / f"by-ending{format.ending}"))
    assert files(tmp_path / "name") == files(tmp_path / "ending") != {}


def test_endings_that_several_formats_have_are_refused_with_what_is_possible(
    result: Segmentation, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"ending of .*a\.json does not say .* `format=`, one of rle, json, coco, lab"):
        result.save(tmp_path / "a.json")
    with pytest.raises(ValueError, match=r"a\.txt does not say its format: give `format=`, one of overlay, label-map,"):
        result.save(tmp_path / "a.txt")
    with pytest.raises(ValueError, match="no format 'gif': choose one of overlay, label-map"):
        result.save(tmp_path / "a.gif", "gif")
    with pytest.raises(ValueError, match="`format='parquet'` is of any number of photos"):
        result.save(tmp_path / "a", "parquet")
    with pytest.raises(ValueError, match="no ending of a picture format"):
        result.save(tmp_path / "a.txt", "overlay")
    assert list(tmp_path.iterdir()) == []


def test_formats_that_say_scores_need_them(segmenter: Segmenter, picture: Image.Image, tmp_path: Path) -> None:
    found = segmenter.with_labels(LABELS, need_scores=False)(picture)
    assert found.scores is None and "score" not in found.segments()[0]
    found.save(tmp_path / "a.jpg")
    with pytest.raises(ValueError, match="json says how sure the model is, and this segmentation has no scores"):
        found.save(tmp_path / "a.json", "json")


def test_annotations_in_one_call(result: Segmentation, tmp_path: Path) -> None:
    pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')
    options = AnnotationOptions(min_area=4)
    result.save(tmp_path / "coco.json", "coco", options)
    assert json.loads((tmp_path / "coco.json").read_text()) == json.loads(json.dumps(result.to_coco(options)))
    result.save(tmp_path / "a.xml", options=options)
    assert (tmp_path / "a.xml").read_text() == result.to_cvat(options)
    assert json.loads(json.dumps(result.to_labelme()))["imagePath"] == "image-0"
    assert result.to_geojson()["features"] and result.to_yolo().count("\n") == len(result.annotate().annotations)
    (task,) = result.to_label_studio("https://example.org/a.png")
    assert task["data"] == {"image": "https://example.org/a.png"} and task["predictions"][0]["result"]


def test_detections_of_supervision(result: Segmentation, segmenter: Segmenter, picture: Image.Image) -> None:
    supervision = pytest.importorskip("supervision")
    pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')
    for options in (None, AnnotationOptions(each="class")):
        found = result.to_detections(options)
        painted = np.full_like(result.class_ids, -1)
        for class_id, mask in zip(found.class_id, found.mask, strict=True):
            assert (painted[mask] == -1).all()
            painted[mask] = class_id
        np.testing.assert_array_equal(painted, result.class_ids)
        assert found["class_name"].tolist() == [result.names[class_id] for class_id in found.class_id]
        np.testing.assert_array_equal(found.xyxy[0], [0, 0, 128, 128])  # the ground
    by_label = {segment["label"]: segment["score"] for segment in result.segments()}
    for name, score in zip(found["class_name"], found.confidence, strict=True):
        assert score == pytest.approx(by_label[name], abs=1e-5)
    assert segmenter.with_labels(LABELS, need_scores=False)(picture).to_detections().confidence is None
    nothing = Segmentation("a", picture, LABELS, np.full((128, 128), -1))
    assert nothing.to_detections() == supervision.Detections.empty()
