# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""LabelMe's JSON: what LabelMe draws of it is the label map, and what comes back is the label map again."""

import base64
import json
import pickle
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from catseg_hf.datasets import load_folder
from tests.label_maps import MAPS, NAMES


pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')

from catseg_hf.formats import AnnotationOptions
from catseg_hf.formats.cvat import to_cvat
from catseg_hf.formats.labelme import to_labelme
from catseg_hf.formats.shapes import annotate


Run = Callable[..., tuple[int, str, str]]
KINDS = [("polygons", "part"), ("rle", "part"), ("rle", "class")]
SIZE = (20, 30)


def drawn(content: dict[str, Any], names: list[str]) -> np.ndarray:
    """A label map as LabelMe makes one: later shapes over earlier ones, outlines included."""
    size = content["imageHeight"], content["imageWidth"]
    ids = np.full(size, -1)
    for shape in content["shapes"]:
        points = [tuple(point) for point in shape["points"]]
        if shape["shape_type"] == "polygon":
            assert len(points) > 2
            canvas = Image.new("L", size[::-1])
            ImageDraw.Draw(canvas).polygon(points, outline=1, fill=1)
            mask = np.asarray(canvas) == 1
        else:
            (left, top), (right, bottom) = points
            mask = np.zeros(size, dtype=bool)
            part = np.asarray(Image.open(BytesIO(base64.b64decode(shape["mask"]))))
            mask[top : bottom + 1, left : right + 1] = part
        ids[mask] = names.index(shape["label"])
    return ids


@pytest.mark.parametrize("to_text", [to_labelme, to_cvat])
def test_a_mask_that_simplifying_leaves_nothing_of_is_left_out(to_text: Callable[..., Any]) -> None:
    ids = np.random.default_rng(0).integers(0, 3, (12, 12))  # parts of a few pixels
    options = AnnotationOptions(shapes="rle", simplify=1.5)
    photo = annotate("a.png", ids, NAMES[:3], options=options)
    empty = [each for each in photo.annotations if not each.mask(12, 12).any()]
    assert empty and len(empty) < len(photo.annotations)
    content = to_text(photo, "../a.png") if to_text is to_labelme else to_text(photo)
    number = len(content["shapes"]) if to_text is to_labelme else content.count("<mask ")
    assert number == len(photo.annotations) - len(empty)


# ---- out ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shapes", "each"), KINDS)
@pytest.mark.parametrize("name", MAPS)
def test_what_labelme_draws_is_the_label_map(name: str, shapes: str, each: str) -> None:
    ids = MAPS[name]
    photo = annotate("a.png", ids, NAMES, options=AnnotationOptions(shapes=shapes, each=each))
    content = json.loads(json.dumps(to_labelme(photo, "../a.png")))
    np.testing.assert_array_equal(drawn(content, NAMES), ids)
    assert content["imagePath"] == "../a.png" and content["imageData"] is None
    kinds = {shape["shape_type"] for shape in content["shapes"]}
    assert kinds <= {"polygon" if shapes == "polygons" else "mask"}
    if each == "class":
        assert len(content["shapes"]) == len(np.unique(ids[ids >= 0]))


def test_it_can_hold_no_polygons_of_classes() -> None:
    from catseg_hf.formats import find_format

    options = AnnotationOptions(each="class")
    with pytest.raises(ValueError, match="labelme holds polygons of each part or rle of each class or rle of each"):
        find_format("labelme").check_options(options)


def test_a_folder_of_photos_and_back(catseg: Run, tmp_path: Path) -> None:
    from catseg_hf.scenes import draw_scene

    for number in range(2):
        path = tmp_path / "photos" / "more" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_scene(number, 96).image.save(path)
    options = ["--labels", "star,ring,ground", "--model", "tiny", "--format", "labelme", "--format", "label-map"]
    code, _, errors = catseg("segment", "photos", *options, "--output", "out")
    assert code == 0, errors
    content = json.loads((tmp_path / "out" / "more" / "0.json").read_text())
    assert content["imagePath"] == "../../photos/more/0.png"
    dataset = load_folder(tmp_path / "photos", tmp_path / "out", ["star", "ring", "ground"])
    assert [sample.name for sample in dataset] == ["more__0", "more__1"] and dataset.warnings == []
    for number, sample in enumerate(dataset):
        expected = np.asarray(Image.open(tmp_path / "out" / "more" / f"{number}.labels.png"))
        np.testing.assert_array_equal(sample.labels, expected)


# ---- and back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shapes", "each"), KINDS)
@pytest.mark.parametrize("place", ["photos", "labels"])
def test_what_was_written_is_read_to_the_pixel(place: str, shapes: str, each: str, tmp_path: Path) -> None:
    for name, ids in {**MAPS, "not annotated": np.zeros((5, 5))}.items():
        image = tmp_path / "photos" / "more" / f"{name}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", ids.shape[::-1]).save(image)
        if name not in MAPS:
            continue
        photo = annotate(image.name, ids, NAMES, options=AnnotationOptions(shapes=shapes, each=each))
        path = tmp_path / place / "more" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        address = image.name if place == "photos" else f"..\\..\\photos\\more\\{image.name}"
        path.write_text(json.dumps(to_labelme(photo, address)))
    used = sorted({NAMES[index] for ids in MAPS.values() for index in np.unique(ids) if index >= 0})
    assert load_folder(tmp_path / "photos", tmp_path / place).vocabulary == used
    dataset = pickle.loads(pickle.dumps(load_folder(tmp_path / "photos", tmp_path / place, NAMES)))
    samples = {sample.name.removeprefix("more__"): sample for sample in dataset}
    assert samples.keys() == MAPS.keys() and dataset.warnings == []
    for name, sample in samples.items():
        np.testing.assert_array_equal(sample.labels, np.where(MAPS[name] < 0, 255, MAPS[name]))


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A folder with one image, a.png."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "photos" / "a.png")
    return tmp_path / "photos"


def write(folder: Path, *shapes: dict[str, Any], name: str = "a.json", **fields: Any) -> None:
    content = {"version": "5.5.0", "shapes": list(shapes), "imagePath": "a.png"}
    size = {"imageHeight": SIZE[0], "imageWidth": SIZE[1]}
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps({**content, **size, **fields}))


def shape(label: str, points: Any, kind: str | None = "polygon", **fields: Any) -> dict[str, Any]:
    return {"label": label, "points": points, "shape_type": kind, **fields}


SQUARE = [[3, 2], [12, 2], [12, 11], [3, 11]]
OTHER = [[9.7, 8.2], [28.9, 8.2], [28.9, 17.9], [9.7, 17.9]]


def picture(width: int, height: int, value: int = 255) -> str:
    file = BytesIO()
    Image.new("L", (width, height), value).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def test_later_shapes_cover_earlier_ones_and_pixels_that_corners_lie_in_are_inside(one: Path) -> None:
    expected = np.full(SIZE, 255)
    expected[2:12, 3:13] = 0
    expected[8:18, 9:29] = 1
    write(one, shape("sky", SQUARE, None, group_id=1), shape("tree", OTHER))
    np.testing.assert_array_equal(load_folder(one, one)[0].labels, expected)
    write(one, shape("sky", SQUARE), shape("tree", [[9, 8], [28, 17]], "mask", mask=picture(20, 10)))
    np.testing.assert_array_equal(load_folder(one, one, ["sky", "tree"])[0].labels, expected)
    # Masks and polygons that stick out are cut.
    write(
        one,
        shape("sky", [[-4, -4], [3, -4], [3, 3], [-4, 3]]),
        shape("sky", [[28, 18], [33, 22]], "mask", mask=picture(6, 5)),
    )
    expected = np.full(SIZE, 255)
    expected[:4, :4] = expected[18:, 28:] = 0
    np.testing.assert_array_equal(load_folder(one, one)[0].labels, expected)


def test_what_has_no_area_is_left_out_and_counted(one: Path, tmp_path: Path) -> None:
    lines = [shape("sky", SQUARE[:2], kind) for kind in ("line", "linestrip", "point", "points", "polygon")]
    empty = shape("sky", [[1, 1], [2, 2]], "mask", mask=picture(2, 2, 0))
    beside = shape("sky", [[31, 1], [33, 1], [33, 9]])
    labels = tmp_path / "labels"
    write(labels, shape("sky", SQUARE), *lines, empty, beside, shape("sky", []))
    (labels / "notes.json").write_text("[]")
    (labels / ".catseg").mkdir()
    (labels / ".catseg" / "coco.json").write_text("{")  # of this package itself
    assert load_folder(one, labels).warnings == [
        "labels: 8 shape(s) without area in the image left out, such as shape 2 of a.json.",
        "labels: 1 JSON file(s) that are not LabelMe's left out, such as notes.json.",
    ]
    write(labels, *lines)
    with pytest.raises(ValueError, match="labels.* has no annotation that can be a label: 5 shape"):
        load_folder(one, labels)


@pytest.mark.parametrize(
    ("shapes", "fields", "message"),
    [
        ([shape("sky", SQUARE[::2], "rectangle")], {}, "shape 1 of a.json is a rectangle, without an outline: draw a"),
        ([shape("sky", SQUARE[:2], "circle")], {}, "shape 1 of a.json is a circle, without an outline"),
        ([shape("sky", [[1, 2], [3]])], {}, "shape 1 of a.json has `points` that are no pairs"),
        ([shape("sky", [[1, 2], [float("nan"), 3], [4, 5]])], {}, "shape 1 of a.json has coordinates that are not fin"),
        ([shape("sky", [[100, 1], [120, 1], [110, 9]])], {}, "shape 1 of a.json lies far outside of its image"),
        ([shape("sky", SQUARE[:1], "mask", mask=picture(2, 2))], {}, "shape 1 of a.json is a mask with 1 `points`"),
        ([shape("sky", SQUARE[:2], "mask", mask=picture(2, 2))], {}, "shape 1 of a.json has a damaged mask: .*pixels"),
        ([shape("sky", SQUARE[:2], "mask", mask="AAAA")], {}, "shape 1 of a.json has a damaged mask: it is no picture"),
        ([shape("sky", SQUARE[:2], "mask", mask="?")], {}, "shape 1 of a.json has a damaged mask"),
        ([{"points": SQUARE}], {}, "a.json: lacks 'label', which LabelMe's format asks for"),
        ([3], {}, "a.json: is not built as LabelMe's format has it"),
        ([shape("sky", SQUARE)], {"imageHeight": None}, "a.json: is not built as LabelMe's format has it"),
        ([shape("sky", SQUARE)], {"imagePath": "b.png"}, "1 of the 1 images of .* are not in .*, such as b.png"),
    ],
)
def test_files_that_cannot_be_used_are_refused(
    shapes: list[Any], fields: dict[str, Any], message: str, one: Path, tmp_path: Path
) -> None:
    write(tmp_path / "labels", *shapes, **fields)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load_folder(one, tmp_path / "labels")


def test_files_that_were_cut_off_are_refused(one: Path) -> None:
    write(one, shape("sky", SQUARE))
    (one / "b.json").write_text('{"shapes": [')
    with pytest.raises(ValueError, match="b.json: "):
        load_folder(one, one)


def test_label_files_with_outlines_beside_them_stay_label_files(one: Path, tmp_path: Path) -> None:
    write(tmp_path / "labels", shape("sky", SQUARE))
    Image.new("L", SIZE[::-1], 1).save(tmp_path / "labels" / "a.png")
    (sample,) = load_folder(one, tmp_path / "labels", ["sky", "tree"])
    assert (sample.labels == 1).all()


def test_a_file_alone_says_what_to_give(one: Path) -> None:
    write(one, shape("sky", SQUARE))
    with pytest.raises(ValueError, match="a.json is LabelMe's file of one image: give the folder"):
        load_folder(one, one / "a.json")
