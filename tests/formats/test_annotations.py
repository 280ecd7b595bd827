# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the tools' own libraries read of annotations is the label map they were made of, pixel by pixel."""

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.label_maps import MAPS, NAMES


pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')

import shapely
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from catseg_hf.formats import AnnotationOptions
from catseg_hf.formats.coco import merge_coco, to_coco
from catseg_hf.formats.cvat import merge_cvat, to_cvat
from catseg_hf.formats.geojson import to_geojson
from catseg_hf.formats.label_studio import label_studio_config, merge_label_studio, to_label_studio
from catseg_hf.formats.shapes import annotate
from catseg_hf.formats.yolo import to_yolo, yolo_data


KINDS = [("polygons", "part"), ("rle", "part"), ("rle", "class")]


def paint(ids: np.ndarray, masks: list[tuple[int, np.ndarray]], is_apart: bool = True) -> np.ndarray:
    """A label map of masks, which must not overlap where `is_apart`."""
    painted = np.full(ids.shape, -1)
    for class_id, mask in masks:
        assert not is_apart or (painted[mask] == -1).all()
        painted[mask] = class_id
    return painted


def polygon_mask(points: np.ndarray, ids: np.ndarray) -> np.ndarray:
    return coco_mask.decode(coco_mask.frPyObjects([points.ravel().tolist()], *ids.shape))[:, :, 0].astype(bool)


# ---- COCO, read by pycocotools --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shapes", "each"), [*KINDS, ("polygons", "class")])
def test_coco(shapes: str, each: str, tmp_path: Path) -> None:
    pieces = []
    for name, ids in MAPS.items():
        scores = np.random.default_rng(0).random(ids.shape)
        photo = annotate(f"{name}.png", ids, NAMES, scores, AnnotationOptions(shapes=shapes, each=each))
        pieces.append(tmp_path / name)
        pieces[-1].write_text(json.dumps(to_coco(photo)))
    with open(tmp_path / "annotations.json", "w") as file:
        merge_coco(pieces, NAMES, file)

    coco = COCO(tmp_path / "annotations.json")
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == NAMES
    assert len(coco.anns) == len(json.loads((tmp_path / "annotations.json").read_text())["annotations"])
    for image in coco.loadImgs(coco.getImgIds()):
        ids = MAPS[Path(image["file_name"]).stem]
        assert (image["height"], image["width"]) == ids.shape
        annotations = coco.loadAnns(coco.getAnnIds(image["id"]))
        masks = [(each["category_id"] - 1, coco.annToMask(each).astype(bool)) for each in annotations]
        np.testing.assert_array_equal(paint(ids, masks), ids)
        scores = np.random.default_rng(0).random(ids.shape)
        for annotation, (_, mask) in zip(annotations, masks, strict=True):
            assert annotation["area"] == mask.sum()
            assert annotation["bbox"] == coco_mask.toBbox(coco_mask.encode(np.asfortranarray(mask, np.uint8))).tolist()
            assert annotation["score"] == pytest.approx(scores[mask].mean(), abs=1e-6)
        if each == "class":
            assert len(annotations) == len(np.unique(ids[ids >= 0]))


def test_files_of_many_photos_are_made_of_one_at_a_time(tmp_path: Path) -> None:
    photo = annotate("a.png", MAPS["nested"], NAMES)
    task = json.dumps(to_label_studio(photo, "a.png"))
    for merge, content, *names in (
        (merge_coco, json.dumps(to_coco(photo)), NAMES),
        (merge_cvat, to_cvat(photo), NAMES),
        (merge_label_studio, task),
    ):
        path = tmp_path / "piece"

        def pieces(path: Path = path, content: str = content) -> Iterator[Path]:
            for _ in range(3):
                path.write_text(content)
                yield path
                path.unlink()

        with open(tmp_path / "all", "w") as file:
            merge(pieces(), *names, file)
        assert (tmp_path / "all").read_text().count("a.png") == 3


# ---- YOLO, drawn by supervision, and as Ultralytics does ------------------------------------------------------------


def test_yolo(tmp_path: Path) -> None:
    supervision = pytest.importorskip("supervision")
    for part in ("images", "labels"):
        (tmp_path / part).mkdir()
    (tmp_path / "data.yaml").write_text(yolo_data(NAMES))
    for name, ids in MAPS.items():
        Image.new("RGB", ids.shape[::-1]).save(tmp_path / "images" / f"{name}.png")
        (tmp_path / "labels" / f"{name}.txt").write_text(to_yolo(annotate(f"{name}.png", ids, NAMES)))
    data = supervision.DetectionDataset.from_yolo(
        str(tmp_path / "images"), str(tmp_path / "labels"), str(tmp_path / "data.yaml"), force_masks=True
    )
    assert data.classes == NAMES and len(data) == len(MAPS)
    for path, _, found in data:
        ids = MAPS[Path(path).stem]
        masks = [] if found.mask is None else zip(found.class_id.tolist(), np.asarray(found.mask), strict=True)
        np.testing.assert_array_equal(paint(ids, list(masks)), ids)


def test_yolo_as_ultralytics_draws_it() -> None:
    cv2 = pytest.importorskip("cv2")
    for name, ids in MAPS.items():
        masks = []
        for line in to_yolo(annotate(f"{name}.png", ids, NAMES)).splitlines():
            class_id, *values = line.split()
            points = np.array(values, dtype=np.float32).reshape(-1, 2)  # as its `verify_image_label`
            assert len(values) > 5 and points.min() >= 0 and points.max() <= 1
            mask = np.zeros(ids.shape, dtype=np.uint8)  # from here as its `polygon2mask`
            cv2.fillPoly(mask, (points * np.float32(ids.shape[::-1])).astype(np.int32)[None], color=1)
            masks.append((int(class_id), mask.astype(bool)))
        np.testing.assert_array_equal(paint(ids, masks), ids)


def test_yolo_with_large_photos_and_difficult_names() -> None:
    ids = np.full((3, 12_000), -1)
    ids[1, ::3] = 0
    columns = sorted(float(line.split()[1]) * 12_000 for line in to_yolo(annotate("a", ids, ["x"])).splitlines())
    assert [int(column) for column in columns] == [round(column) for column in columns] == list(range(0, 12_000, 3))
    names = ["no", "a: b", "ü, ö", "1", "x" * 200]
    assert yaml.safe_load(yolo_data(names))["names"] == dict(enumerate(names))


# ---- Label Studio, read by its SDK ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("shapes", "each"), KINDS)
def test_label_studio(shapes: str, each: str, tmp_path: Path) -> None:
    pytest.importorskip("label_studio_sdk")
    from label_studio_sdk.converter.brush import decode_rle
    from label_studio_sdk.label_interface import LabelInterface

    names = ['a <b> & "c"', *NAMES[1:]]
    options = AnnotationOptions(shapes=shapes, each=each)
    for name, ids in MAPS.items():
        photo = annotate(f"{name}.png", ids, names, np.full(ids.shape, 0.5), options)
        (tmp_path / name).write_text(json.dumps(to_label_studio(photo, f"/data/{name}.png")))
    with open(tmp_path / "tasks.json", "w") as file:
        merge_label_studio([tmp_path / name for name in MAPS], file)

    interface = LabelInterface(label_studio_config(names, shapes))
    assert list(interface.get_control("label").labels) == names
    for (name, ids), task in zip(MAPS.items(), json.loads((tmp_path / "tasks.json").read_text()), strict=True):
        assert task["data"] == {"image": f"/data/{name}.png"}
        assert interface.validate_task({"data": task["data"]})
        (prediction,) = task["predictions"]
        assert interface.validate_prediction(prediction, return_errors=True) == []
        masks = []
        for result in prediction["result"]:
            value = result["value"]
            assert (result["original_height"], result["original_width"]) == ids.shape and result["score"] == 0.5
            if shapes == "rle":
                channels = decode_rle(value["rle"]).reshape(*ids.shape, 4)
                assert (channels == channels[:, :, :1]).all()
                mask, label = channels[:, :, 3] > 0, value["brushlabels"]
            else:
                points = np.array(value["points"]) / 100 * ids.shape[::-1]
                mask, label = polygon_mask(points, ids), value["polygonlabels"]
            masks.append((names.index(*label), mask))
        np.testing.assert_array_equal(paint(ids, masks), ids)


# ---- CVAT, as its documents say -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shapes", "each"), KINDS)
def test_cvat(shapes: str, each: str, tmp_path: Path) -> None:
    names = ['a <b> & "c"', *NAMES[1:]]
    for name, ids in MAPS.items():
        photo = annotate(f"{name}.png", ids, names, options=AnnotationOptions(shapes=shapes, each=each))
        (tmp_path / name).write_text(to_cvat(photo))
    with open(tmp_path / "annotations.xml", "w") as file:
        merge_cvat([tmp_path / name for name in MAPS], names, file)

    root = ElementTree.parse(tmp_path / "annotations.xml").getroot()
    assert root.tag == "annotations" and root.findtext("version") == "1.1"
    assert [label.text for label in root.findall("meta/task/labels/label/name")] == names
    images = root.findall("image")
    assert [image.get("id") for image in images] == [str(number) for number in range(len(MAPS))]
    for image, (name, ids) in zip(images, MAPS.items(), strict=True):
        assert image.get("name") == f"{name}.png"
        assert (int(image.get("height")), int(image.get("width"))) == ids.shape
        masks = [(names.index(shape.get("label")), cvat_mask(shape, ids)) for shape in image]
        np.testing.assert_array_equal(paint(ids, masks), ids)


def cvat_mask(shape: ElementTree.Element, ids: np.ndarray) -> np.ndarray:
    assert shape.get("occluded") == shape.get("z_order") == "0"
    if shape.tag == "polygon":
        points = [pair.split(",") for pair in shape.get("points").split(";")]
        return polygon_mask(np.array(points, dtype=float), ids)
    left, top, width, height = (int(shape.get(name)) for name in ("left", "top", "width", "height"))
    runs = [int(run) for run in shape.get("rle").split(",")]
    mask = np.zeros(ids.shape, dtype=bool)
    inside = np.repeat(np.arange(len(runs)) % 2, runs).reshape(height, width)
    assert inside.any(axis=0)[[0, -1]].all() and inside.any(axis=1)[[0, -1]].all()
    mask[top : top + height, left : left + width] = inside
    return mask


# ---- GeoJSON, read by shapely ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("each", ["part", "class"])
def test_geojson(each: str) -> None:
    for name, ids in MAPS.items():
        photo = annotate(f"{name}.png", ids, NAMES, options=AnnotationOptions(each=each))
        collection = json.loads(json.dumps(to_geojson(photo)))
        assert collection["type"] == "FeatureCollection"
        rows, columns = np.indices(ids.shape) + 0.5
        masks = []
        for feature in collection["features"]:
            shape, about = shapely.from_geojson(json.dumps(feature["geometry"])), feature["properties"]
            assert shape.is_valid and about["area"] == shape.area and about["label"] == NAMES[about["class_id"]]
            assert all(ring_directions(feature["geometry"]))
            masks.append((about["class_id"], shapely.contains_xy(shape, columns, rows)))
        np.testing.assert_array_equal(paint(ids, masks), ids)


def ring_directions(geometry: dict[str, Any]) -> list[bool]:
    """Whether outlines turn left and holes turn right, as RFC 7946 asks."""
    polygons = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
    return [
        shapely.is_ccw(shapely.linearrings(ring)) == (index == 0)
        for polygon in polygons
        for index, ring in enumerate(polygon)
    ]
