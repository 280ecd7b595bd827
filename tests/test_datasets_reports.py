# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Annotation files that other tools could not read, or read wrongly, after reports in their trackers.

Each is built after its report, and read, read with a warning, or refused by name. `examples/robustness.md` lists them.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catseg_hf.datasets import SegmentationDataset, load_folder


pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')

from catseg_hf.formats import AnnotationOptions
from catseg_hf.formats.label_studio import to_label_studio
from catseg_hf.formats.shapes import annotate


HEIGHT, WIDTH = 20, 30
SQUARE = [3, 2, 13, 2, 13, 12, 3, 12]
OTHER = [20, 5, 25, 5, 25, 15, 20, 15]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder with one photo."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def squares(*corners: list[int]) -> np.ndarray:
    """A label map of squares of class 0."""
    labels = np.full((HEIGHT, WIDTH), 255)
    for points in corners:
        left, top, right, bottom = points[0], points[1], points[2], points[5]
        labels[top:bottom, left:right] = 0
    return labels


def coco(*annotations: dict[str, Any], **image: Any) -> dict[str, Any]:
    """A file of one class, `cat`, whose id is 0, without all that nobody needs."""
    return {
        "categories": [{"id": 0, "name": "cat"}],
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH, **image}],
        "annotations": [{"id": 7 + number, "image_id": 1, **entry} for number, entry in enumerate(annotations)],
    }


def cat(segmentation: Any, **more: Any) -> dict[str, Any]:
    return {"category_id": 0, "segmentation": segmentation, **more}


def read_json(photos: Path, content: Any) -> SegmentationDataset:
    path = photos.parent / "a.json"
    path.write_text(json.dumps(content))
    return load_folder(photos, path)


RUNS = [2 * HEIGHT, HEIGHT, (WIDTH - 3) * HEIGHT]  # the third column
COLUMN = {"size": [HEIGHT, WIDTH], "counts": RUNS}
NO_SHAPE = "a.json: 1 annotation(s) without a shape left out, such as annotation 8"
NO_AREA = "a.json: 1 shape(s) without area in the image left out, such as annotation 8 of the image a.png."


@pytest.mark.parametrize(
    ("content", "expected", "warning"),
    [
        # CVAT #6392, supervision #205: the corners are not in a list of their own.
        (coco(cat(SQUARE)), squares(SQUARE), None),
        # CVAT #9406, JSON2YOLO #83: no licences, boxes, areas or `iscrowd`. CVAT #4750, FiftyOne #1939: ids from 0.
        (coco(cat([SQUARE])), squares(SQUARE), None),
        # FiftyOne #1200: full paths.
        (coco(cat([SQUARE]), file_name="/data/of/mine/a.png"), squares(SQUARE), None),
        # COCO Annotator #249, X-AnyLabeling #1032: crowds are run lengths among polygons.
        (coco(cat([SQUARE]), cat(COLUMN, iscrowd=1)), squares(SQUARE, [2, 0, 3, 0, 3, HEIGHT]), None),
        # FiftyOne #1523, COCO Annotator #452: boxes, as CVAT writes them.
        (coco(cat([SQUARE]), cat([], bbox=[1, 2, 3, 4])), squares(SQUARE), f"{NO_SHAPE} of the image a.png."),
        # labelme #606: polygons of two points.
        (coco(cat([SQUARE, OTHER]), cat([[1, 1, 5, 5]])), squares(SQUARE, OTHER), NO_AREA),
        # pycocotools #218: captions in the same file.
        (coco(cat([SQUARE]), {"caption": "a cat"}), squares(SQUARE), f"{NO_SHAPE}."),
    ],
)
def test_reports_of_coco_that_are_read(
    content: dict[str, Any], expected: np.ndarray, warning: str | None, photos: Path
) -> None:
    dataset = read_json(photos, content)
    assert dataset.warnings == ([] if warning is None else [warning])
    np.testing.assert_array_equal(dataset[0].labels, expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # CVAT #9460: more pixels in the runs than in the image.
        (
            coco(cat({**COLUMN, "counts": [*RUNS, 1]})),
            r"a.json has a damaged mask: .* It is annotation 7. The image",
        ),
        # FiftyOne #1523 where there is nothing else.
        (coco(cat([], bbox=[1, 2, 3, 4])), r"a.json: has no annotation that can be a label: 1 annotation.s. without"),
        # datumaro #775, MMDetection #4139: images without a size.
        (coco(cat([SQUARE]), height=0, width=0), r"a.json: has 0 x 0 pixels for the image a.png: give its `width`"),
        (
            {**coco(cat([SQUARE])), "images": [{"id": 1, "file_name": "a.png"}]},
            r"a.json: lacks 'height', which COCO's format asks for",
        ),
        # make-sense #144: no class.
        (
            coco(cat([SQUARE]), {"segmentation": [SQUARE]}),
            r"a.json: annotation 8 lacks `category_id`: add it",
        ),
        # Label Studio #8707: captions alone, without classes.
        ({"annotations": [{"id": 1, "image_id": 1, "caption": "a"}], "images": []}, r"a.json: lacks 'categories'"),
        # pycocotools #299: an id is a string here and a number there.
        (coco(cat([SQUARE]), id="1"), r"a.json: annotation 7 has the `image_id` 1, which the file does not define"),
        # labelme's own format, a file of it.
        ({"version": "5.5.0", "shapes": [], "imagePath": "a.png"}, r"a.json is LabelMe's file of one image: give the"),
        ({"images": []}, r"a.json is neither COCO's JSON nor an export of"),
    ],
)
def test_reports_of_coco_that_are_refused(content: dict[str, Any], message: str, photos: Path) -> None:
    with pytest.raises(ValueError, match=message):
        read_json(photos, content)[0]


def test_photos_of_phones_that_lie_sideways(tmp_path: Path) -> None:
    """CVAT #733, Label Studio #6608."""
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "photos" / "a.jpg", exif=exif)
    upright = coco(cat([SQUARE]), file_name="a.jpg")
    assert read_json(tmp_path / "photos", upright)[0].image.size == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(read_json(tmp_path / "photos", upright)[0].labels, squares(SQUARE))
    # With the sides of the photo as it is stored, corners are taken to be of that, too.
    stored = coco(cat([SQUARE]), file_name="a.jpg", height=WIDTH, width=HEIGHT)
    sample = read_json(tmp_path / "photos", stored)[0]
    assert sample.image.size == (HEIGHT, WIDTH) and (sample.labels[2:12, 3:13] == 0).all()


def yolo(photos: Path, lines: str, name: str = "labels/a.txt", names: str = "data.yaml") -> SegmentationDataset:
    folder = photos.parent / "yolo"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / names).write_text("names: [cat]" if names == "data.yaml" else "cat\n")
    (folder / name).write_text(lines)
    return load_folder(photos, folder)


ALL = "0 0 0 1 0 1 1 0 1\n"


def test_reports_of_yolo(photos: Path) -> None:
    # YOLOv5 #10632: a corner a little outside; Ultralytics #13924: one that is farther out.
    assert (yolo(photos, ALL.replace("1 1", "1.0021 1"))[0].labels == 0).all()
    with pytest.raises(ValueError, match=r"a.txt, line 1: needs a class from 0 to 0, and coordinates from 0 to 1"):
        yolo(photos, ALL.replace("1 1", "1.0371 1"))
    # Ultralytics #1008: boxes among polygons, for which it leaves out all polygons.
    with pytest.raises(ValueError, match=r"a.txt, line 2: 4 numbers are no polygon; boxes cannot be labels"):
        yolo(photos, f"{ALL}0 0.5 0.5 0.1 0.1\n")
    # X-AnyLabeling #34: a name with dots.
    (photos / "a.png").rename(photos / "a.b.png")
    assert (yolo(photos, ALL, "labels/a.b.txt")[0].labels == 0).all()


def test_labels_beside_images_in_a_folder_images(tmp_path: Path) -> None:
    """Ultralytics #21224, which leaves out such labels without a word."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name in "ab":
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(ALL)
    (folder / "data.yaml").write_text("names: [cat]")
    with pytest.raises(FileNotFoundError, match=r"2 of 2 images have no labels, .* looked for .*labels.a.txt"):
        load_folder(folder, folder)
    (folder / "data.yaml").rename(folder / "classes.txt")
    (folder / "classes.txt").write_text("cat\n")
    assert all((sample.labels == 0).all() for sample in load_folder(folder, folder / "classes.txt"))
    # Where there is a folder of labels, too, it counts what is not in it.
    (tmp_path / "labels").mkdir()
    (folder / "a.txt").rename(tmp_path / "labels" / "a.txt")
    (folder / "classes.txt").write_text("names: [cat]")
    (folder / "classes.txt").rename(folder / "data.yaml")
    (warning,) = load_folder(folder, folder / "data.yaml").warnings
    assert re.match(r"data.yaml: 1 of 2 images have no file of labels .* such as b.png\.$", warning)


def cvat(photos: Path, *masks: str) -> SegmentationDataset:
    image = f'<image id="0" name="a.png" width="{WIDTH}" height="{HEIGHT}">{"".join(masks)}</image>'
    path = photos.parent / "a.xml"
    path.write_text(f"<annotations><version>1.1</version>{image}</annotations>")
    return load_folder(photos, path)


def mask(rle: str, left: int, top: int, width: int, height: int) -> str:
    return f'<mask label="cat" rle="{rle}" left="{left}" top="{top}" width="{width}" height="{height}" z_order="0"/>'


def test_masks_of_cvat_beside_the_image_and_empty_ones(photos: Path) -> None:
    """CVAT #10451; CVAT #5828: an odd number of run lengths, in a box of their own."""
    dataset = cvat(photos, mask("0, 70", -2, -3, 10, 7), mask("1, 18, 1", 28, 18, 4, 5), mask("0", 0, 0, 1, 1))
    expected = np.full((HEIGHT, WIDTH), 255)
    expected[:4, :8] = expected[18:, 28:] = 0
    expected[18, 28] = 255
    np.testing.assert_array_equal(dataset[0].labels, expected)
    assert dataset.warnings == [
        "a.xml: 1 shape(s) without area in the image left out, such as mask 3 of the image a.png."
    ]
    with pytest.raises(ValueError, match=r"a.xml has a mask in the box \(30, 2, 2, 2\), outside of an image"):
        cvat(photos, mask("0, 4", 30, 2, 2, 2))[0]


def test_brush_and_polygon_of_one_task(photos: Path) -> None:
    """Label Studio #4923, whose own export to COCO failed."""
    results = []
    for label, shapes in ((0, "rle"), (1, "polygons")):
        ids = np.where(squares(SQUARE if label == 0 else OTHER) == 0, label, -1)
        photo = annotate("a.png", ids, ["cat", "dog"], options=AnnotationOptions(shapes=shapes))
        (task,) = to_label_studio(photo, "a.png")
        results += task["predictions"][0]["result"]
    (sample,) = read_json(photos, [{"id": 1, "data": task["data"], "annotations": [{"result": results}]}])
    np.testing.assert_array_equal(sample.labels, np.where(squares(OTHER) == 0, 1, squares(SQUARE)))
