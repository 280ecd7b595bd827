# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What is written of a segmentation can be read back, and a failed write leaves nothing."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseg_hf.atomic_files import written_whole
from catseg_hf.formats import FORMATS, AnnotationFormat, Format
from catseg_hf.formats.coco_results import coco_results, encode_rle
from catseg_hf.segmenting import Segmentation


ROOT = Path(__file__).parents[2]


def result(num_labels: int = 3, height: int = 20, width: int = 30) -> Segmentation:
    random = np.random.default_rng(0)
    ids = random.integers(-1, num_labels, (height // 5, width // 5)).repeat(5, axis=0).repeat(5, axis=1)
    picture = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    scores = random.random(ids.shape, dtype=np.float32)
    return Segmentation("photo.jpg", picture, [f"label {index}/x" for index in range(num_labels)], ids, scores)


def test_run_lengths_are_those_of_pycocotools() -> None:
    cases = json.loads((ROOT / "tests" / "fixtures" / "coco_masks.json").read_text())
    assert len(cases) > 3
    for case in cases:
        values = np.arange(len(case["counts"])) % 2
        mask = np.repeat(values, case["counts"]).reshape(case["size"], order="F")
        assert encode_rle(mask) == case["compressed"]


def test_a_class_with_synonyms_has_the_color_of_its_first_name_and_all_its_names(tmp_path: Path) -> None:
    one = result(2)
    for labels, file in ((["sea", "meadow"], "one.png"), (["sea", ["meadow", "lawn"]], "two.png")):
        Segmentation(one.name, one.picture, labels, one.class_ids).save(tmp_path / file)
    first, second = (np.asarray(Image.open(tmp_path / file))[: one.picture.height] for file in ("one.png", "two.png"))
    assert np.array_equal(first, second)
    assert Segmentation(one.name, one.picture, labels, one.class_ids).segments()[1]["label"] == "meadow, lawn"


def test_segments_describe_the_classes_in_the_photo() -> None:
    ids = np.full((20, 30), -1)
    ids[4:9, 10:12] = 2
    ids[15, 20] = ids[0, 0] = 0
    scores = np.where(ids == 2, 0.25, 0.5).astype(np.float32)
    found = Segmentation("a", Image.new("RGB", (30, 20)), ["x", "y", "z"], ids, scores).segments()
    assert found == [
        {"id": 0, "label": "x", "area": 2, "share": 0.003333, "box": [0, 0, 21, 16], "score": 0.5},
        {"id": 2, "label": "z", "area": 10, "share": 0.016667, "box": [10, 4, 12, 9], "score": 0.25},
    ]


def test_coco_results_agree_with_the_segments() -> None:
    segmented = result()
    for entry, segment in zip(coco_results(segmented), segmented.segments(), strict=True):
        left, top, width, height = entry["bbox"]
        assert [left, top, left + width, top + height] == segment["box"]
        assert (entry["category_id"], entry["area"], entry["score"]) == tuple(
            segment[name] for name in ("id", "area", "score")
        )
        assert entry["segmentation"] == {
            "size": [20, 30],
            "counts": encode_rle(segmented.class_ids == entry["category_id"]),
        }


@pytest.mark.parametrize(("num_labels", "dtype", "none"), [(255, np.uint8, 255), (256, np.uint16, 65535)])
def test_label_maps_have_8_or_16_bits_and_names(num_labels: int, dtype: type, none: int, tmp_path: Path) -> None:
    segmented = result(num_labels, 100, 100)
    segmented.save(tmp_path / "map.png", "label-map")
    picture = Image.open(tmp_path / "map.png")
    ids = np.asarray(picture)
    assert ids.dtype == dtype
    np.testing.assert_array_equal(ids, np.where(segmented.class_ids < 0, none, segmented.class_ids))
    assert json.loads(picture.text["labels"]) == segmented.labels


def test_masks_of_an_earlier_run_go_and_other_files_are_never_removed(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "masks"
    result(5).save(folder, "masks")
    result(2).save(folder, "masks")
    assert {path.name for path in folder.iterdir()} == {"0_label 0_x.png", "1_label 1_x.png"}
    mask = np.asarray(Image.open(folder / "1_label 1_x.png"))
    np.testing.assert_array_equal(mask, (result(2).class_ids == 1) * 255)
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="is for masks, but holds 'notes.txt'"):
        result(2).save(folder, "masks")
    assert len(list(folder.iterdir())) == 3


PLAIN = [each for each in FORMATS if not isinstance(each, AnnotationFormat) and not each.is_data_set]


@pytest.mark.parametrize("format", PLAIN, ids=lambda each: each.name)
def test_a_failed_write_leaves_what_was_there(format: Format, tmp_path: Path) -> None:
    good = result()
    # Class ids that no label has: each format fails at another place, some in the middle of the file.
    bad = Segmentation(good.name, good.picture, [*good.labels[:2], object()], good.class_ids, good.scores)  # type: ignore[list-item]
    path = tmp_path / f"a{format.ending}"
    if format.contents is None:
        path.write_bytes(b"old")
    with pytest.raises((TypeError, AttributeError)):
        format.write(bad, path)
    assert [file.name for file in tmp_path.iterdir()] == ([] if format.contents else [path.name])
    assert format.contents or path.read_bytes() == b"old"


@pytest.mark.parametrize("ending", [OSError, KeyboardInterrupt])
def test_what_is_unfinished_goes(ending: type[BaseException], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(ending), written_whole(tmp_path / "a.txt") as unfinished:
        unfinished.write_text("half")
        raise ending
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"
    with pytest.raises(ending), written_whole(tmp_path / "masks") as unfinished:
        unfinished.mkdir()
        (unfinished / "0_a.png").write_text("half")
        raise ending
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
