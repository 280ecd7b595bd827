# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Downloads of the web page, without a browser: every format can be read, in pixels of the photo."""

import json
import sys
import xml.etree.ElementTree as ElementTree
from io import BytesIO
from zipfile import ZipFile

import numpy as np
import pytest
from PIL import Image

from catseg_hf.app.page_model import SegmentedPhoto
from catseg_hf.formats import ANNOTATION_FORMATS, find_format
from catseg_hf.segmenting import Segmentation


@pytest.fixture
def photo() -> SegmentedPhoto:
    """Of 20 x 40 pixels, shown at twice that: a rectangle before another class, and a third that is nowhere."""
    ids = np.zeros((40, 80), dtype=np.int16)
    ids[10:30, 20:60] = 1
    scores = np.where(ids == 1, 0.75, 0.25).astype(np.float32)
    shown = Segmentation("my photo.jpg", Image.new("RGB", (80, 40)), ["a", ["b", "c"], "d"], ids, scores)
    return SegmentedPhoto(shown, np.zeros((3, 5, 10), dtype=np.float16), (0.0, 1.0), (20, 40))


def files(name: str, content: bytes) -> dict[str, str]:
    if not name.endswith(".zip"):
        return {name: content.decode()}
    with ZipFile(BytesIO(content)) as archive:
        return {each: archive.read(each).decode() for each in archive.namelist()}


def test_every_format_holds_the_rectangle_in_pixels_of_the_photo(photo: SegmentedPhoto) -> None:
    pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')
    found = {each.name: files(*photo.annotations(each, [1, 2], 0.5)) for each in ANNOTATION_FORMATS}
    assert {kind: [*content] for kind, content in found.items()} == {
        "coco": ["annotations.json"],
        "yolo": ["labels/my photo.txt", "data.yaml"],
        "label-studio": ["tasks.json", "tasks.xml"],
        "cvat": ["annotations.xml"],
        "labelme": ["labelme.json"],
        "geojson": ["segmentation.geojson"],
    }
    (entry,) = json.loads(found["coco"]["annotations.json"])["annotations"]
    assert (entry["bbox"], entry["area"], entry["category_id"], entry["score"]) == ([10, 5, 20, 10], 200, 2, 0.75)
    corners = np.array(found["yolo"]["labels/my photo.txt"].split()[1:], dtype=float).reshape(-1, 2) * (40, 20)
    assert {*map(tuple, corners.astype(int).tolist())} == {(10, 5), (29, 5), (29, 14), (10, 14)}
    (task,) = json.loads(found["label-studio"]["tasks.json"])
    assert sorted(task["predictions"][0]["result"][0]["value"]["points"]) == [[25, 25], [25, 75], [75, 25], [75, 75]]
    (polygon,) = ElementTree.fromstring(found["cvat"]["annotations.xml"]).find("image")
    assert {*polygon.get("points").split(";")} == {"10.00,5.00", "30.00,5.00", "30.00,15.00", "10.00,15.00"}
    (shape,) = json.loads(found["labelme"]["labelme.json"])["shapes"]
    assert sorted(shape["points"]) == [[10, 5], [10, 14], [29, 5], [29, 14]]
    (feature,) = json.loads(found["geojson"]["segmentation.geojson"])["features"]
    assert feature["properties"]["area"] == 200 and feature["properties"]["label"] == "b, c"


def test_without_the_libraries_the_error_says_what_to_install(
    photo: SegmentedPhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "catseg_hf.formats.shapes", raising=False)
    monkeypatch.setitem(sys.modules, "shapely", None)
    with pytest.raises(ImportError, match=r'pip install "catseg-hf\[annotate\]"'):
        photo.annotations(find_format("coco"), [0], 0)
