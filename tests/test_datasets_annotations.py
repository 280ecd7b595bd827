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

from catseg_hf.formats import AnnotationOptions
from catseg_hf.formats.coco import merge_coco, to_coco
from catseg_hf.formats.cvat import merge_cvat, to_cvat
from catseg_hf.formats.label_studio import to_label_studio
from catseg_hf.formats.shapes import AnnotatedPhoto, annotate
from catseg_hf.formats.yolo import to_yolo, yolo_data


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
        (tmp_path / name).write_text(json.dumps(to_coco(photo(name, shapes=shapes, each=each))))
    with open(tmp_path / "annotations.json", "w") as file:
        merge_coco([tmp_path / name for name in MAPS], NAMES, file)
    dataset = load_folder(images, tmp_path / "annotations.json")
    assert dataset.vocabulary == NAMES
    check(pickle.loads(pickle.dumps(dataset)))
    check(load_folder(images, tmp_path / "annotations.json", [[name.upper(), "x"] for name in NAMES], ignore_index=99))


@pytest.mark.parametrize("place", ["yolo", "yolo/data.yaml"])
def test_yolo_that_was_exported(place: str, images: Path, tmp_path: Path) -> None:
    (images / "more" / "further.png").unlink()
    (tmp_path / "yolo" / "labels" / "more").mkdir(parents=True)
    (tmp_path / "yolo" / "data.yaml").write_text(yolo_data(NAMES))
    for name in MAPS:
        (tmp_path / "yolo" / "labels" / "more" / f"{name}.txt").write_text(to_yolo(photo(name)))
    check(load_folder(images, tmp_path / place))


@pytest.mark.parametrize(("shapes", "each"), [("polygons", "part"), ("rle", "part"), ("rle", "class")])
def test_label_studio_that_was_exported_and_submitted(shapes: str, each: str, images: Path, tmp_path: Path) -> None:
    tasks = []
    for number, name in enumerate(MAPS):
        address = f"/data/local-files/?d=home/photos/more/{name.replace(' ', '%20')}.png"
        (task,) = to_label_studio(photo(name, shapes=shapes, each=each), address)
        result = task["predictions"][0]["result"]
        tasks.append({"id": number, "data": task["data"], "annotations": [{"result": [], "was_cancelled": True}]})
        tasks[-1]["annotations"] += [{"result": [], "ground_truth": False}, {"result": result}]
    # One that nobody looked at.
    tasks.append({"id": 99, "data": {"image": "further.png"}, "annotations": [], "predictions": task["predictions"]})
    (tmp_path / "export.json").write_text(json.dumps(tasks))
    check(load_folder(images, tmp_path / "export.json", NAMES))
    used = sorted({NAMES[index] for ids in MAPS.values() for index in np.unique(ids) if index >= 0})
    assert load_folder(images, tmp_path / "export.json").vocabulary == used


@pytest.mark.parametrize(
    ("shapes", "each"), [("polygons", "part"), ("polygons", "class"), ("rle", "part"), ("rle", "class")]
)
def test_cvat_that_was_exported(shapes: str, each: str, images: Path, tmp_path: Path) -> None:
    for name in MAPS:
        (tmp_path / name).write_text(to_cvat(photo(name, shapes=shapes, each=each)), encoding="utf-8")
    with open(tmp_path / "annotations.xml", "w", encoding="utf-8") as file:
        merge_cvat([tmp_path / name for name in MAPS], NAMES, file)
    dataset = load_folder(images, tmp_path / "annotations.xml")
    assert dataset.vocabulary == NAMES and dataset.warnings == []
    check(pickle.loads(pickle.dumps(dataset)))
    check(load_folder(images, tmp_path / "annotations.xml", [[name.upper(), "x"] for name in NAMES], ignore_index=99))


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
    file = written(tmp_path / "a.json", to_coco(photo))
    written(tmp_path / "yolo" / "labels" / "a.txt", to_yolo(photo))
    written(tmp_path / "yolo" / "data.yaml", yolo_data(["x", "y"]))
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
        (coco([], []), "a.json: has no annotation that can be a label: 2 annotation.* annotation 0 of the image a.png"),
        (coco([[1, 2, 3, 4]], []), "a.json: has no annotation that can be a label: 1 shape.* 1 annotation"),
        (
            {**coco(SQUARE, SQUARE), "annotations": [{"id": 5, "image_id": 3, "category_id": 5, "bbox": [1, 2, 3, 4]}]},
            "a.json: annotation 5 of the image a.png is a box without a `segmentation`: it cannot be a label",
        ),
        (coco(SQUARE, [[1, 2, 3, 4, 5]]), "annotation 1 of the image a.png has a polygon that is no list of pairs"),
        (coco(SQUARE, [{"x": 1}]), "annotation 1 of the image a.png has a polygon that is no list of pairs"),
        ({"annotations": [1], "categories": [], "images": []}, "a.json: is not built as its format has it"),
        ([1], "a.json: has no `data` in its task 1"),
        ([{"image": "a.png", "label": []}], "has no `data` in its task 1: export it from Label Studio as JSON, not"),
        ([{"data": {"image": "a.png"}, "predictions": []}], "has no submitted annotation. Predictions do not count"),
        (polygon_task(type="rectanglelabels"), "task 7 has a region of the type rectanglelabels: use polygons"),
        (polygon_task(image_rotation=90), "task 7 has a rotated image"),
        (
            polygon_task(value={"points": [[1, 1]], "polygonlabels": ["sky"]}),
            "has no annotation that can be a label: 1 shape.s. without area in the image .* region None of task 7",
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
    for names, expected in (
        ("names: [x, y]", message),
        ("names: {-1: x}", "data.yaml has no `names` of the classes 0"),
    ):
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


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), None])
def test_coordinates_that_are_not_finite_are_refused(value: float | None, one: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", coco(SQUARE, [[1, 1, 9, 1, 9, value]]))
    with pytest.raises(ValueError, match=r"a.json: annotation 1 of the image a.png has coordinates that are not"):
        load_folder(one, file)
    task = polygon_task(value={"points": [[0, 0], [50, 0], [50, value]], "polygonlabels": ["sky"]}, id="r")
    with pytest.raises(ValueError, match=r"a.json: region r of task 7 has coordinates that are not finite"):
        load_folder(one, written(tmp_path / "a.json", task))
    written(tmp_path / "yolo" / "labels" / "a.txt", f"0 0 0 1 0 1 {value or 'nan'}\n")
    written(tmp_path / "yolo" / "data.yaml", "names: [x, y]")
    with pytest.raises(ValueError, match=r"a.txt, line 1: .* coordinates from 0 to 1"):
        load_folder(one, tmp_path / "yolo")


@pytest.mark.parametrize(
    ("corners", "is_far"),
    [
        ((-3, -2, 40, 30), False),  # drawn over the border
        ((-29, 0, 5, 5), False),
        ((31, 0, 35, 5), False),  # a little beside it
        ((5, -9, 9, -2), False),
        ((-41, 0, 5, 5), True),  # farther than the image is wide
        ((0, 0, 71, 5), True),
        ((0, 0, 5, 51), True),
        ((45, 0, 50, 5), True),  # beside it
        ((0, 31, 5, 35), True),
        ((-25, -5, -15, 5), True),
        ((1e300, 0, 2e300, 5), True),
    ],
)
def test_shapes_far_outside_are_refused_and_others_cut(
    corners: tuple[int, int, int, int], is_far: bool, one: Path, tmp_path: Path
) -> None:
    file = written(tmp_path / "a.json", coco(SQUARE, [rectangle(*corners)]))
    if is_far:
        with pytest.raises(ValueError, match=r"a.json: annotation 1 of the image a.png lies far outside of its image"):
            load_folder(one, file)
        return
    (sample,) = load_folder(one, file)
    left, top, right, bottom = np.clip(corners, 0, None)
    expected = np.full(SIZE, 255)
    expected[:5, :5] = 1
    expected[top:bottom, left:right] = 0
    np.testing.assert_array_equal(sample.labels, expected)


def test_what_has_no_area_or_no_shape_is_left_out_and_counted(
    one: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = coco(SQUARE, [[1, 2, 3, 4]])
    empty = np.zeros(SIZE, dtype=np.uint8, order="F")
    compressed = coco_mask.encode(empty)
    shapes = [[], None, [[]], [[1, 1, 2, 2], rectangle(9, 8, 29, 18)], [[5, 5, 5, 6, 5, 7]], [[30.1, 0, 31, 0, 31, 1]]]
    shapes += [{"size": list(SIZE), "counts": [600]}, {"size": list(SIZE), "counts": compressed["counts"].decode()}]
    content["annotations"] += [
        {"id": number, "image_id": 3, "category_id": 5, "segmentation": shape} for number, shape in enumerate(shapes, 2)
    ]
    content["annotations"][2]["bbox"] = [3, 4, 5, 6]
    dataset = load_folder(one, written(tmp_path / "a.json", content))
    assert dataset.warnings == [
        "a.json: 7 shape(s) without area in the image left out, such as annotation 1 of the image a.png.",
        "a.json: 2 annotation(s) without a shape left out, such as annotation 2 of the image a.png.",
    ]
    assert [record.getMessage() for record in caplog.records] == [f"one: {warning}" for warning in dataset.warnings]
    (sample,) = dataset
    expected = np.full(SIZE, 255)
    expected[:5, :5] = 1
    expected[8:18, 9:29] = 0
    np.testing.assert_array_equal(sample.labels, expected)


def test_what_has_no_area_in_label_studio_and_yolo(one: Path, tmp_path: Path) -> None:
    (task,) = polygon_task()
    (region,) = task["annotations"][0]["result"]
    points = {"points": [[0, 0], [50, 50]], "polygonlabels": ["sky"]}
    task["annotations"][0]["result"] += [
        {**region, "value": points, "id": "r"},
        {"type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["sky"]}},
        {"type": "polygon", "value": {"points": points["points"]}},
    ]
    assert load_folder(one, written(tmp_path / "a.json", [task])).warnings == [
        "a.json: 2 shape(s) without area in the image left out, such as region r of task 7.",
        "a.json: 1 region(s) without a label left out, such as task 7.",
    ]
    written(tmp_path / "yolo" / "data.yaml", "names: [x, y]")
    written(tmp_path / "yolo" / "labels" / "a.txt", "1\n0 0.5 0.5\n1 0 0 1 0 1 1\n")
    assert load_folder(one, tmp_path / "yolo").warnings == [
        "data.yaml: 2 shape(s) without area in the image left out, such as line 1 of a.txt."
    ]
    written(tmp_path / "yolo" / "labels" / "a.txt", "1\n")
    with pytest.raises(ValueError, match=r"data.yaml: has no annotation that can be a label: 1 shape"):
        load_folder(one, tmp_path / "yolo")


@pytest.mark.parametrize("counts", [[-5, 605], [5, -1, 596], [300.5, 299.5], ["600"], [None, 600]])
def test_run_lengths_that_are_no_lengths_are_refused(counts: list[Any], one: Path, tmp_path: Path) -> None:
    file = written(tmp_path / "a.json", coco(SQUARE, {"size": list(SIZE), "counts": counts}))
    with pytest.raises(ValueError, match=r"a.json has a damaged mask: .* It is annotation 1. The image is a.png"):
        load_folder(one, file)[0]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("images\\a.png", "a.png"),  # Label Studio and X-AnyLabeling on Windows
        ("C:\\data\\x\\a.png", "x/a.png"),
        ("https://host/x/a.png?token=1&b=2", "x/a.png"),
        ("https://host/my%20photo.png", "my photo.png"),
        ("s3://bucket/x/a.png", "x/a.png"),
        ("/data/local-files/?d=home%5Cx%5Ca.png", "x/a.png"),
        ("/data/upload/1/cb0618f6-a.png", "a.png"),
        ("cb0618f6-a.png", "a.png"),
        ("images\\cb0618f6-a.png", "a.png"),
        ("a.png", "cb0618f6-a.png"),
        ("x/a.png", "x/cb0618f6-a.png"),
        ("a\\b.png", "a\\b.png"),  # a file of that name, where there can be one
        ("http://[::1/a.png", "a.png"),
    ],
)
def test_names_that_are_written_in_another_way_are_found(name: str, file: str) -> None:
    assert match_files([name], [file, "further.png"]) == [file]


@pytest.mark.parametrize(
    ("names", "files", "found"),
    [
        (["a.png"], ["cb0618f6-a.png", "0618f6cb-a.png"], [None]),
        (["cb0618f6-a.png", "0618f6cb-a.png"], ["a.png"], [None, None]),
        (["cb0618f6-a.png"], ["0618f6cb-a.png"], [None]),
        (["cb0618f6-a.png"], ["x/a.png", "y/a.png"], [None]),
        (["a.png", "cb0618f6-a.png"], ["a.png", "cb0618f6-a.png"], ["a.png", "cb0618f6-a.png"]),
        (["x/a.png", "y/a.png"], ["a.png"], [None, None]),
        (["a.png", "y/a.png"], ["a.png"], ["a.png", None]),
        (["y/a.png", "y/a.png"], ["a.png"], ["a.png", "a.png"]),
        (["CB0618F6-a.png", "cb0618f-a.png", "cb0618f6-"], ["a.png"], [None, None, None]),
        (["https://h/a.png?v=1", "https://h/a.png?v=2"], ["a.png"], [None, None]),
    ],
)
def test_names_of_several_files_are_not_guessed(names: list[str], files: list[str], found: list[str | None]) -> None:
    assert match_files(names, files) == found


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(encoding: str, one: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(coco(SQUARE, SQUARE)), encoding=encoding)
    assert load_folder(one, tmp_path / "a.json").vocabulary == ["tree", "sky"]
    (tmp_path / "yolo" / "labels").mkdir(parents=True)
    (tmp_path / "yolo" / "data.yaml").write_text("names: [sky, tree]", encoding=encoding)
    (tmp_path / "yolo" / "labels" / "a.txt").write_text("1 0 0 1 0 1 1", encoding=encoding)
    assert load_folder(one, tmp_path / "yolo")[0].labels.tolist()[0] == [1] * SIZE[1]
    (tmp_path / "a.xml").write_text(cvat(""), encoding=encoding)
    assert load_folder(one, tmp_path / "a.xml", ["sky", "tree"]).warnings == []


def test_categories_of_one_name_are_one_class(one: Path, tmp_path: Path) -> None:
    content = coco(SQUARE, [rectangle(10, 10, 15, 15)])
    content["categories"] = [{"id": 5, "name": "Sky"}, {"id": 70, "name": "sky"}, {"id": 71, "name": "tree"}]
    file = written(tmp_path / "a.json", content)
    dataset = load_folder(one, file)
    assert dataset.vocabulary == ["Sky", "tree"]
    assert dataset.warnings == ["a.json: 2 classes are called 'Sky' and 'sky', and are one."]
    assert (dataset[0].labels == 0).sum() == 50 and (dataset[0].labels == 255).sum() == 550
    assert np.array_equal(load_folder(one, file, ["tree", "sky"])[0].labels == 1, dataset[0].labels == 0)
    content["categories"][2]["name"] = " "
    with pytest.raises(ValueError, match=r"a.json, its classes: Label 2 of 2"):
        load_folder(one, written(tmp_path / "a.json", content))
    content["categories"][2]["id"] = 70
    with pytest.raises(ValueError, match=r"a.json: has two category entries of the id 70, sky and  "):
        load_folder(one, written(tmp_path / "a.json", content))


def test_images_that_are_missing_are_skipped_on_request(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    content = coco(SQUARE, SQUARE)
    content["images"].append({"id": 4, "file_name": "b.png", "height": 5, "width": 5})
    file = written(tmp_path / "a.json", content)
    (one / "b.heic").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"1 of the 2 images of .*such as b.png. .*`missing=.*HEIC: b.heic"):
        load_folder(one, file)
    dataset = load_folder(one, file, missing="skip")
    assert [sample.name for sample in dataset] == ["a"]
    assert dataset.warnings[0].startswith("1 photo(s) left out, HEIC: b.heic")
    assert dataset.warnings[1].startswith("1 of the 2 images of") and dataset.warnings[1].endswith("They are left out.")
    (one / "a.png").rename(one / "c.png")
    with pytest.raises(FileNotFoundError, match=r"2 of the 2 images"):
        load_folder(one, file, missing="skip")


def test_an_image_that_is_listed_twice_has_two_names(one: Path, tmp_path: Path) -> None:
    Image.new("RGB", SIZE[::-1]).save(one / "a.jpg")
    content = coco(SQUARE, [rectangle(10, 10, 15, 15)])
    content["images"] += [{**content["images"][0], "id": 4}, {**content["images"][0], "id": 5, "file_name": "a.jpg"}]
    content["annotations"][1]["image_id"] = 4
    samples = list(load_folder(one, written(tmp_path / "a.json", content)))
    assert [sample.name for sample in samples] == ["a.jpg", "a.png-1", "a.png-2"]
    assert [np.unique(sample.labels).tolist() for sample in samples] == [[255], [1, 255], [0, 255]]
    content["images"][1]["id"] = 3
    content["images"][1]["file_name"] = "b.png"
    with pytest.raises(ValueError, match=r"a.json: has two image entries of the id 3, .*a.png.* and .*b.png"):
        load_folder(one, written(tmp_path / "a.json", content))


# ---- YOLO -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "line", "classes"),
    [
        ("names: {0: cat, 2: dog}", "2 ", ["cat", "dog"]),
        ("names: {2: dog, 0: cat}", "2.0 ", ["cat", "dog"]),
        ("names: [no, yes]", "1.0 ", ["no", "yes"]),
        ("names:\n  0: off\n  1: 1.50\n", "1 ", ["off", "1.50"]),
        ("names: {'0': cat, '1': dog}", "1e0 ", ["cat", "dog"]),
        ("nc: 2\nnames: ['null', ~]", "1 ", ["null", "~"]),
    ],
)
def test_classes_of_yolo(names: str, line: str, classes: list[str], one: Path, tmp_path: Path) -> None:
    written(tmp_path / "yolo" / "data.yaml", names)
    written(tmp_path / "yolo" / "labels" / "a.txt", f"{line}0 0 1 0 1 1 0 1\n")
    (sample,) = dataset = load_folder(one, tmp_path / "yolo")
    assert dataset.vocabulary == classes
    assert (sample.labels == 1).all()


@pytest.mark.parametrize(
    ("names", "line", "message"),
    [
        ("names: {0: cat, 2: dog}", "1", r"a.txt, line 1: needs a class of 0, 2, and"),
        ("names: [cat, dog]", "0.5", r"a.txt, line 1: needs a class from 0 to 1"),
        ("names: [cat, dog]", "nan", r"a.txt, line 1: needs a class from 0 to 1"),
        ("names: cat", "0", r"data.yaml has no `names`"),
        ("names: [[cat]]", "0", r"data.yaml has no `names`"),
        ("names: {a: cat}", "0", r"data.yaml has no `names`"),
        ("names:", "0", r"data.yaml has no `names`"),
    ],
)
def test_classes_of_yolo_that_are_none(names: str, line: str, message: str, one: Path, tmp_path: Path) -> None:
    written(tmp_path / "yolo" / "data.yaml", names)
    written(tmp_path / "yolo" / "labels" / "a.txt", f"{line} 0 0 1 0 1 1 0 1\n")
    with pytest.raises(ValueError, match=message):
        load_folder(one, tmp_path / "yolo")


def test_images_of_yolo_without_a_text_file_are_background(one: Path, tmp_path: Path) -> None:
    Image.new("RGB", SIZE[::-1]).save(one / "b.png")
    written(tmp_path / "yolo" / "data.yaml", "names: [x]")
    written(tmp_path / "yolo" / "labels" / "a.txt", "0 0 0 1 0 1 1 0 1\n")
    dataset = load_folder(one, tmp_path / "yolo")
    assert [np.unique(sample.labels).tolist() for sample in dataset] == [[0], [255]]
    assert dataset.warnings == [
        "data.yaml: 1 of 2 images have no file of labels and are taken for background, none of whose pixels counts, "
        "such as b.png."
    ]


@pytest.mark.parametrize(
    ("files", "labels", "given"),
    [
        ({"classes.txt": "cat\ndog\n", "notes.json": "{}"}, "labels", ""),  # Label Studio
        ({"classes.txt": "cat\r\ndog\r\n"}, ".", "classes.txt"),  # labelImg and others
        ({"obj.names": "cat\ndog\n", "obj.data": "x", "train.txt": "data/a.png\n"}, "obj_train_data", ""),  # CVAT
        ({"obj.data": "classes = 2\nnames = data/my.names\n", "my.names": "cat\ndog"}, "obj_train_data", ""),
        ({"obj.data": "classes = 2\nnames = my.names\n", "my.names": "cat\ndog"}, "obj_valid_data", "obj.data"),
    ],
)
def test_folders_of_yolo_without_data_yaml(
    files: dict[str, str], labels: str, given: str, one: Path, tmp_path: Path
) -> None:
    for name, content in files.items():
        written(tmp_path / "yolo" / name, content)
    written(tmp_path / "yolo" / labels / "a.txt", "1 0 0 1 0 1 1 0 1\n")
    (sample,) = dataset = load_folder(one, tmp_path / "yolo" / given)
    assert dataset.vocabulary == ["cat", "dog"] and (sample.labels == 1).all()


def test_photos_in_the_folder_that_cvat_exports(tmp_path: Path) -> None:
    written(tmp_path / "obj.names", "cat\ndog\n")
    written(tmp_path / "obj_train_data" / "x" / "a.txt", "1 0 0 1 0 1 1 0 1\n")
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "obj_train_data" / "x" / "a.jpg")
    for images in (tmp_path, tmp_path / "obj_train_data"):
        (sample,) = load_folder(images, tmp_path)
        assert (sample.labels == 1).all()


def test_keys_of_uploads_in_yolo(one: Path, tmp_path: Path) -> None:
    written(tmp_path / "yolo" / "classes.txt", "cat\ndog\n")
    written(tmp_path / "yolo" / "labels" / "cb0618f6-a.txt", "1 0 0 1 0 1 1 0 1\n")
    Image.new("RGB", SIZE[::-1]).save(one / "0618f6cb-b.png")
    written(tmp_path / "yolo" / "labels" / "b.txt", "0 0 0 1 0 1 1 0 1\n")
    dataset = load_folder(one, tmp_path / "yolo")
    assert [(sample.name, sample.labels[0, 0]) for sample in dataset] == [("0618f6cb-b", 0), ("a", 1)]
    # Of two that could be meant, none is.
    written(tmp_path / "yolo" / "labels" / "0618f6cb-a.txt", "0 0 0 1 0 1 1 0 1\n")
    assert [sample.labels[0, 0] for sample in load_folder(one, tmp_path / "yolo")] == [0, 255]


def test_label_files_beside_names_of_classes_stay_label_files(one: Path, tmp_path: Path) -> None:
    written(tmp_path / "masks" / "classes.txt", "cat\ndog\n")
    written(tmp_path / "masks" / "a.txt", "1 0 0 1 0 1 1 0 1\n")
    Image.new("L", SIZE[::-1]).save(tmp_path / "masks" / "a.png")
    (sample,) = load_folder(one, tmp_path / "masks", tmp_path / "masks" / "classes.txt")
    assert (sample.labels == 0).all()
    # Without text files of labels it is no YOLO folder.
    (tmp_path / "masks" / "a.txt").rename(tmp_path / "masks" / "a.md")
    (tmp_path / "masks" / "a.png").unlink()
    written(tmp_path / "masks" / "readme.txt", "Masks of cats")
    with pytest.raises(FileNotFoundError, match="1 of 1 images have no labels, such as .* with one of"):
        load_folder(one, tmp_path / "masks", ["cat", "dog"])


# ---- CVAT -----------------------------------------------------------------------------------------------------------


def cvat(shapes: str, head: str = "") -> str:
    """A file with one image, and two labels, one of which has a further attribute."""
    labels = "<label><name>sky</name><attributes><attribute><name>far</name></attribute></attributes></label>"
    labels += "<label><name>tree</name></label>"
    return (
        f"{head}<annotations><version>1.1</version><meta><job><labels>{labels}</labels></job></meta>"
        f'<image id="0" name="a.png" width="{SIZE[1]}" height="{SIZE[0]}">{shapes}</image></annotations>'
    )


def polygon(label: str, corners: list[int], more: str = "") -> str:
    points = ";".join(f"{x},{y}" for x, y in zip(corners[::2], corners[1::2], strict=True))
    return f'<polygon label="{label}" points="{points}" {more}><attribute name="far">yes</attribute></polygon>'


FIRST, SECOND = rectangle(3, 2, 13, 12), rectangle(9, 8, 29, 18)
# The second one, row by row in a box that is larger by a column.
RUNS = f"1, {', '.join(['20, 1'] * 9)}, 20"
MASK = f'<mask label="tree" rle="{RUNS}" left="8" top="8" width="21" height="10" z_order="1"/>'


@pytest.mark.parametrize(
    "shapes",
    [
        polygon("sky", FIRST) + polygon("tree", SECOND),
        polygon("tree", SECOND, 'z_order="1"') + polygon("sky", FIRST, 'z_order="0" occluded="1"'),
        polygon("tree", SECOND, 'z_order="-1"') + polygon("sky", FIRST, 'z_order="-2"'),
        MASK + polygon("sky", FIRST) + polygon("sky", SECOND, 'outside="1" z_order="9"') + '<tag label="sky"/>',
    ],
)
def test_shapes_of_cvat_and_their_order(shapes: str, one: Path, tmp_path: Path) -> None:
    dataset = load_folder(one, written(tmp_path / "a.xml", cvat(shapes)))
    assert dataset.vocabulary == ["sky", "tree"] and dataset.warnings == []
    np.testing.assert_array_equal(dataset[0].labels, LATER_OVER_EARLIER)


def test_what_has_no_area_in_cvat(one: Path, tmp_path: Path) -> None:
    shapes = polygon("sky", FIRST) + polygon("sky", [1, 1, 2, 2]) + '<polygon label="sky" points=""/>'
    shapes += '<polyline label="sky" points="1,1;5,5"/><points label="sky" points="1,1"/><skeleton label="sky"/>'
    assert load_folder(one, written(tmp_path / "a.xml", cvat(shapes))).warnings == [
        "a.xml: 4 shape(s) without area in the image left out, such as polygon 2 of the image a.png.",
        "a.xml: 1 annotation(s) without a shape left out, such as polygon 3 of the image a.png.",
    ]


ENTITIES = '<!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;&x;">]>'
TRACK = '<annotations><track id="0" label="sky"><polygon frame="0" points="1,1;2,2;3,1"/></track></annotations>'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (cvat("", ENTITIES), r"a.xml: has a DOCTYPE \(a\), which CVAT does not write: it is not read"),
        (cvat("").replace("</annotations>", ""), r"a.xml: is no XML, or was cut off"),
        ("<annotation/>", r"a.xml is not CVAT's XML 1.1: export"),
        (TRACK, r"a.xml: is CVAT's format for videos: export the task as"),
        ("<annotations/>", r"a.xml: has no image: export the task as"),
        (cvat("").replace("height", "heigth"), r"a.xml: lacks 'height', which CVAT's format asks for"),
        (cvat('<box label="sky" xtl="1" ytl="1" xbr="5" ybr="5"/>'), r"a.xml: box 1 of the image a.png has no outline"),
        (cvat('<polygon label="sky" points="1,2;3;4,5"/>'), r"a.xml: polygon 1 of the image a.png has `points` that"),
        (cvat('<polygon label="sky" points="1,2,3;4,5,6"/>'), r"a.xml: polygon 1 of the image a.png has `points` that"),
        (cvat(polygon("sky", [100, 1, 120, 1, 110, 9])), r"a.xml: polygon 1 of the image a.png lies far outside"),
        (cvat('<polygon label="sky" points="1,2;nan,3;4,5"/>'), r"a.xml: polygon 1 of the image a.png .*not finite"),
        (cvat(MASK.replace("20, 1", "20, x")), r"a.xml: mask 1 of the image a.png has ' x' where a whole number"),
        (cvat(polygon("sky", FIRST, 'z_order="top"')), r"a.xml: polygon 1 of the image a.png has 'top' where a whole"),
        (cvat(polygon("sea", FIRST)), r"a.xml: has shapes of 'sea', which is none of the labels that it describes"),
        (cvat('<points label="sky" points="1,1"/>'), r"a.xml: has no annotation that can be a label: 1 shape"),
    ],
)
def test_files_of_cvat_that_cannot_be_used_are_refused(content: str, message: str, one: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        load_folder(one, written(tmp_path / "a.xml", content))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('rle="1,', 'rle="2,', "has a damaged mask: its runs do not add up to 21 x 10"),
        ('rle="1, 20, 1', 'rle="1, 23, -2', "has a damaged mask: its runs do not add up to 21 x 10"),
        ('left="8"', 'left="30"', r"has a mask in the box \(30, 8, 21, 10\), outside of an image of \[20, 30\] pixels"),
        ('top="8"', 'top="-10"', r"has a mask in the box \(8, -10, 21, 10\), outside of an image of"),
    ],
)
def test_damaged_masks_of_cvat_are_refused(old: str, new: str, message: str, one: Path, tmp_path: Path) -> None:
    assert old in MASK
    dataset = load_folder(one, written(tmp_path / "a.xml", cvat(MASK.replace(old, new))))
    with pytest.raises(ValueError, match=rf"a.xml {message}.* It is mask 1. The image is a.png"):
        dataset[0]


def test_without_pycocotools_the_error_says_what_to_install(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools", None)
    with pytest.raises(ImportError, match=r'Polygons need pycocotools: `pip install "catseg-hf\[annotate\]"`'):
        load_folder(one, written(tmp_path / "a.json", coco(SQUARE, SQUARE)))
