# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Annotation files as labels: what tools and this package write is read to the pixel, and the rest is refused."""

import json
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catseg_hf.datasets import SegmentationDataset, load_folder
from catseg_hf.datasets.annotated import match_files
from tests.label_maps import MAPS, NAMES


pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')

from pycocotools import mask as coco_mask

from catseg_hf import annotations
from catseg_hf.formats import AnnotationOptions
from catseg_hf.formats.shapes import AnnotatedPhoto, annotate


SIZE = (20, 30)
# Two rectangles, the second over the first.
LATER_OVER_EARLIER = np.full(SIZE, 255)
LATER_OVER_EARLIER[2:12, 3:13] = 0
LATER_OVER_EARLIER[8:18, 9:29] = 1


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with an image for each map, and one without annotations."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name, ids in {**MAPS, "further": np.zeros((5, 5))}.items():
        Image.new("RGB", ids.shape[::-1]).save(folder / "more" / f"{name}.png")
    return folder


def photo(name: str, **options: str) -> AnnotatedPhoto:
    return annotate(f"more/{name}.png", MAPS[name], NAMES, options=AnnotationOptions(**options))


def check(dataset: SegmentationDataset) -> None:
    """All maps, pixel by pixel."""
    assert dataset.name == "photos" and dataset.num_classes == len(NAMES)
    samples = {sample.name.removeprefix("more__"): sample for sample in dataset}
    assert samples.keys() == MAPS.keys()
    for name, sample in samples.items():
        np.testing.assert_array_equal(sample.labels, np.where(MAPS[name] < 0, dataset.ignore_index, MAPS[name]))


# ---- what this package writes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shapes", "each"), [("polygons", "part"), ("polygons", "class"), ("rle", "part"), ("rle", "class")]
)
def test_coco_that_was_exported(shapes: str, each: str, images: Path, tmp_path: Path) -> None:
    for name in MAPS:
        (tmp_path / name).write_text(json.dumps(annotations.to_coco(photo(name, shapes=shapes, each=each))))
    with open(tmp_path / "annotations.json", "w") as file:
        annotations.merge_coco([tmp_path / name for name in MAPS], NAMES, file)
    dataset = load_folder(images, tmp_path / "annotations.json")
    assert dataset.vocabulary == NAMES
    check(pickle.loads(pickle.dumps(dataset)))
    check(load_folder(images, tmp_path / "annotations.json", [[name.upper(), "x"] for name in NAMES], ignore_index=99))


@pytest.mark.parametrize("place", ["yolo", "yolo/data.yaml"])
def test_yolo_that_was_exported(place: str, images: Path, tmp_path: Path) -> None:
    (images / "more" / "further.png").unlink()
    (tmp_path / "yolo" / "labels" / "more").mkdir(parents=True)
    (tmp_path / "yolo" / "data.yaml").write_text(annotations.yolo_data(NAMES))
    for name in MAPS:
        (tmp_path / "yolo" / "labels" / "more" / f"{name}.txt").write_text(annotations.to_yolo(photo(name)))
    check(load_folder(images, tmp_path / place))


@pytest.mark.parametrize(("shapes", "each"), [("polygons", "part"), ("rle", "part"), ("rle", "class")])
def test_label_studio_that_was_exported_and_submitted(shapes: str, each: str, images: Path, tmp_path: Path) -> None:
    tasks = []
    for number, name in enumerate(MAPS):
        address = f"/data/local-files/?d=home/photos/more/{name.replace(' ', '%20')}.png"
        (task,) = annotations.to_label_studio(photo(name, shapes=shapes, each=each), address)
        result = task["predictions"][0]["result"]
        tasks.append({"id": number, "data": task["data"], "annotations": [{"result": [], "was_cancelled": True}]})
        tasks[-1]["annotations"] += [{"result": [], "ground_truth": False}, {"result": result}]
    # One that nobody looked at.
    tasks.append({"id": 99, "data": {"image": "further.png"}, "annotations": [], "predictions": task["predictions"]})
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    check(load_folder(images, tmp_path / "export.json", NAMES))
    used = sorted({NAMES[index] for ids in MAPS.values() for index in np.unique(ids) if index >= 0})
    assert load_folder(images, tmp_path / "export.json").vocabulary == used


# ---- what other tools write -----------------------------------------------------------------------------------------


def rectangle(left: int, top: int, right: int, bottom: int) -> list[int]:
    return [left, top, right, top, right, bottom, left, bottom]


def coco(first: Any, second: Any) -> dict[str, Any]:
    """A file of two annotations of the classes `sky` and `tree`, whose ids are neither from 0 nor in order."""
    shapes = [(70, first), (5, second)]
    return {
        "categories": [{"id": 70, "name": "sky"}, {"id": 5, "name": "tree"}],
        "images": [{"id": 3, "file_name": "a.png", "height": SIZE[0], "width": SIZE[1]}],
        "annotations": [
            {"id": number, "image_id": 3, "category_id": category, "segmentation": shape}
            for number, (category, shape) in enumerate(shapes)
        ],
    }


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A folder with one image."""
    (tmp_path / "one").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "one" / "a.png")
    return tmp_path / "one"


def written(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_shapes_of_coco_and_the_order_of_its_classes(one: Path, tmp_path: Path) -> None:
    first, second = rectangle(3, 2, 13, 12), rectangle(9, 8, 29, 18)
    mask = np.zeros(SIZE, dtype=np.uint8, order="F")
    mask[8:18, 9:29] = 1
    compressed = coco_mask.encode(mask)
    compressed["counts"] = compressed["counts"].decode()
    runs = np.diff(np.flatnonzero(np.diff(mask.ravel(order="F"), prepend=0)), prepend=0, append=mask.size)
    halves = [rectangle(9, 8, 20, 18), rectangle(20, 8, 29, 18)]
    for shape in ([second], halves, compressed, {"size": list(SIZE), "counts": runs.tolist()}):
        file = written(tmp_path / "a.json", coco([first], shape))
        assert load_folder(one, file).vocabulary == ["tree", "sky"]
        (sample,) = load_folder(one, file, ["Sky", ["shrub", "TREE"]])
        np.testing.assert_array_equal(sample.labels, LATER_OVER_EARLIER)


def test_outlines_of_opencv_as_ultralytics_writes_them(tmp_path: Path) -> None:
    cv2 = pytest.importorskip("cv2")
    (images := tmp_path / "data" / "images" / "val").mkdir(parents=True)
    (labels := tmp_path / "data" / "labels" / "val").mkdir(parents=True)
    (tmp_path / "data" / "data.yaml").write_text("path: ../datasets\nval: images/val\nnames: [sky, tree]\n")
    mask = np.zeros((60, 80), dtype=np.uint8)
    cv2.circle(mask, (40, 30), 20, 1, -1)
    mask[5, 70] = mask[10:12, 3:9] = 1
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    lines = []
    for contour in contours:
        points = (contour[:, 0] / (80, 60)).repeat(3 if len(contour) == 1 else 1, axis=0)
        lines.append(" ".join(["1", *(str(round(value, 6)) for value in points.ravel().tolist())]) + "\n")
    (labels / "a.txt").write_text("".join(lines))
    Image.new("RGB", (80, 60)).save(images / "a.png")
    (sample,) = load_folder(images, tmp_path / "data")
    np.testing.assert_array_equal(sample.labels, np.where(mask, 1, 255))


def test_uploads_of_label_studio_and_synonyms(one: Path, tmp_path: Path) -> None:
    value = {"points": [[10, 10], [43.333333, 10], [43.333333, 60], [10, 60]], "polygonlabels": ["sky, heaven"]}
    size = {"original_height": SIZE[0], "original_width": SIZE[1], "image_rotation": 0}
    results = [{"type": "polygonlabels", "value": value, **size}, {"type": "choices", "value": {"choices": ["good"]}}]
    task = {"id": 1, "data": {"image": "/data/upload/7/0123abcd-a.png"}, "annotations": [{"result": results}]}
    file = written(tmp_path / "export.json", [task])
    (sample,) = load_folder(one, file, ["tree", ["sky", "heaven"]])
    assert (sample.labels == 1).sum() == 100 and (sample.labels[2:12, 3:13] == 1).all()
    assert load_folder(one, file).vocabulary == ["sky, heaven"]


def test_images_that_lie_sideways(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    image = Image.new("RGB", (20, 30))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "photos" / "a.jpg", exif=exif)
    ids = np.zeros((20, 30), dtype=int)
    ids[3, 4] = 1
    photo = annotate("a.jpg", ids, ["x", "y"])
    file = written(tmp_path / "a.json", annotations.to_coco(photo))
    written(tmp_path / "yolo" / "labels" / "a.txt", annotations.to_yolo(photo))
    written(tmp_path / "yolo" / "data.yaml", annotations.yolo_data(["x", "y"]))
    for labels in (file, tmp_path / "yolo"):
        (sample,) = load_folder(tmp_path / "photos", labels)
        np.testing.assert_array_equal(sample.labels, ids)
        assert sample.image.size == (30, 20)


def test_files_are_found_by_the_longest_end_of_their_path() -> None:
    files = ["a.png", "x/a.png", "y/a.png", "x/b.png", "c.png"]
    names = ["a.png", "data/x/a.png", "/some/y/a.png", "b.png", "z/c.png", "z/a.png", "d.png"]
    assert match_files(names, files) == ["a.png", "x/a.png", "y/a.png", "x/b.png", "c.png", None, None]


# ---- what cannot be used --------------------------------------------------------------------------------------------


def polygon_task(**changes: Any) -> list[dict[str, Any]]:
    value = {"points": [[0, 0], [50, 0], [50, 50]], "polygonlabels": ["sky"]}
    result = {"type": "polygonlabels", "value": value, "original_height": SIZE[0], "original_width": SIZE[1]}
    return [{"id": 7, "data": {"image": "a.png"}, "annotations": [{"result": [{**result, **changes}]}]}]


SQUARE = [rectangle(0, 0, 5, 5)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "a.json: Expecting property name"),
        ("{}", "a.json is neither COCO's JSON nor an export of Label Studio"),
        ({**coco(SQUARE, SQUARE), "images": []}, "annotation 0 has the `image_id` 3, which the file does not define"),
        ({"annotations": []}, "lacks 'categories', which COCO's format asks for"),
        (coco(SQUARE, []), "annotation 1 has no `segmentation`, such as one with a box alone"),
        (coco(SQUARE, [[1, 2, 3, 4]]), "annotation 1 has a polygon that is no list of at least three pairs"),
        ([{"image": "a.png", "label": []}], "has no `data` in its task 1: export it from Label Studio as JSON, not"),
        ([{"data": {"image": "a.png"}, "predictions": []}], "has no submitted annotation. Predictions do not count"),
        (polygon_task(type="rectanglelabels"), "task 7 has a region of the type rectanglelabels: use polygons"),
        (polygon_task(image_rotation=90), "task 7 has a rotated image"),
        (
            polygon_task(value={"points": [[1, 1]], "polygonlabels": ["sky"]}),
            "task 7 has a polygon of fewer than",
        ),
        (polygon_task(value={"points": [], "polygonlabels": ["sky", "tree"]}), "task 7 has a region with 2 labels"),
        ([{"id": 1, "data": {"x": "a", "y": "b"}, "annotations": [{"result": []}]}], r"no `image` .* but \['x', 'y'\]"),
    ],
)
def test_files_that_cannot_be_used_are_refused(content: Any, message: str, one: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_folder(one, written(tmp_path / "a.json", content))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0.5 0.5 0.1 0.1", r"a.txt, line 2: 4 numbers are no polygon; boxes cannot be labels"),
        ("2 0 0 0 1 1 1", r"a.txt, line 2: needs a class from 0 to 1, and coordinates from 0 to 1"),
        ("0 0 0 0 1 1 1.02", r"a.txt, line 2: needs a class from 0 to 1, and coordinates from 0 to 1"),
        ("0 0 0 0 1 1 x", r"a.txt, line 2: could not convert string to float"),
    ],
)
def test_lines_of_yolo_that_cannot_be_used_are_refused(line: str, message: str, one: Path, tmp_path: Path) -> None:
    written(tmp_path / "yolo" / "labels" / "a.txt", f"\n{line}\n")
    for names, expected in (("names: [x, y]", message), ("names: {1: x}", "data.yaml has no `names` of the classes 0")):
        written(tmp_path / "yolo" / "data.yaml", names)
        with pytest.raises(ValueError, match=expected):
            load_folder(one, tmp_path / "yolo")


def test_masks_and_images_of_other_sizes_are_refused(one: Path, tmp_path: Path) -> None:
    for mask, message in (
        ({"size": [30, 20], "counts": [600]}, r"a.json has a mask of size \[30, 20\] for an image of size \[20, 30\]"),
        ({"size": [20, 30], "counts": [599]}, r"a.json has a damaged mask: .* The image is a.png"),
        ({"size": [20, 30], "counts": "52203"}, r"a.json has a damaged mask: .* The image is a.png"),
        ({"size": [20, 30], "counts": ""}, r"a.json has a damaged mask: .* The image is a.png"),
    ):
        dataset = load_folder(one, written(tmp_path / "a.json", coco(SQUARE, mask)))
        with pytest.raises(ValueError, match=message):
            dataset[0]
    content = coco(SQUARE, SQUARE)
    content["images"][0]["width"] = 31
    dataset = load_folder(one, written(tmp_path / "a.json", content))
    with pytest.raises(ValueError, match="has 30 x 20 pixels, and its labels, those of a.png in .* have 31 x 20"):
        dataset[0]
    value = {"format": "rle", "rle": [0, 0, 1], "brushlabels": ["sky"]}
    dataset = load_folder(one, written(tmp_path / "a.json", polygon_task(type="brushlabels", value=value)))
    with pytest.raises(ValueError, match="has a damaged mask: its run lengths cannot be read"):
        dataset[0]


def test_classes_and_images_that_are_missing_are_named(one: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", coco(SQUARE, SQUARE))
    with pytest.raises(ValueError, match=r"a.json has annotations of 'tree', which the vocabulary does not have"):
        load_folder(one, file, ["sky", "grass"])
    with pytest.raises(ValueError, match="`reduce_labels`, `binary_masks` and `label_map` are for label files"):
        load_folder(one, file, reduce_labels=True)
    (one / "a.png").rename(one / "b.png")
    with pytest.raises(FileNotFoundError, match=r"1 of the 1 images of .*a.json are not in .*one.* such as a.png"):
        load_folder(one, file)
    written(tmp_path / "yolo" / "data.yaml", "names: [x]")
    with pytest.raises(FileNotFoundError, match=r"1 of 1 images have no labels, such as .*b.png: looked for .*b.txt"):
        load_folder(one, tmp_path / "yolo")
    with pytest.raises(ValueError, match="Label files hold numbers: give the `vocabulary`"):
        load_folder(one, one)
    with pytest.raises(ValueError, match=r"labels.txt is no annotation file: COCO's and Label Studio's end in .json"):
        load_folder(one, written(tmp_path / "labels.txt", "x"))


def test_without_pycocotools_the_error_says_what_to_install(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match=r'Polygons need pycocotools: `pip install "catseg-hf\[annotate\]"`'):
        load_folder(one, written(tmp_path / "a.json", coco(SQUARE, SQUARE)))
