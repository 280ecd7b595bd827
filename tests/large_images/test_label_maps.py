# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label maps and outlines say the same when they are read back."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseg_hf.large_images import Georeference, LabelMapWriter, write_geojson
from catseg_hf.pictures import label_colors


rasterio = pytest.importorskip("rasterio")
from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.crs import CRS  # noqa: E402
from rasterio.features import rasterize  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402


LABELS = ["cat", ["grass", "lawn"], "Größe"]
TRANSFORM = from_origin(500000.5, 5000000.25, 0.5, 0.25)


def write(path: Path, ids: np.ndarray, labels: list, georeference: Georeference | None, rows: int = 7) -> Path:
    with LabelMapWriter(path, *ids.shape, labels, georeference) as writer:
        for top in range(0, len(ids), rows):
            writer.write(ids[top : top + rows])
    return path


@pytest.fixture
def ids() -> np.ndarray:
    """Regions with holes, single pixels, and places without a class."""
    small = np.random.default_rng(0).integers(-1, 3, (12, 9))
    ids = np.kron(small, np.ones((6, 8), dtype=int))
    ids[3, 3], ids[20:30, 20:40], ids[24:27, 25:30] = 2, 1, 0
    return ids


@pytest.mark.parametrize("rows", [7, 512, 600])
def test_label_maps_are_geotiffs_with_colours_and_names(rows: int, ids: np.ndarray, tmp_path: Path) -> None:
    ids = np.tile(ids, (20, 1))  # more than a row of blocks
    path = write(tmp_path / "a.tif", ids, LABELS, Georeference(CRS.from_epsg(32633), TRANSFORM, ([], None)), rows)
    with rasterio.open(path) as file:
        assert file.crs.to_epsg() == 32633 and file.transform == TRANSFORM
        assert file.dtypes == ("uint8",) and file.nodata == 255 and file.profile["tiled"]
        np.testing.assert_array_equal(file.read(1), np.where(ids < 0, 255, ids))
        colors = file.colormap(1)
        assert [colors[index][:3] for index in range(3)] == [tuple(color) for color in label_colors(LABELS).tolist()]
        assert json.loads(file.tags()["labels"]) == ["cat", "grass, lawn", "Größe"]
    np.testing.assert_array_equal(np.asarray(Image.open(path)), np.where(ids < 0, 255, ids))


def test_more_than_255_classes_take_16_bits(tmp_path: Path) -> None:
    ids = np.arange(-1, 299).reshape(15, 20)
    for number, kind, none in ((255, "uint8", 255), (299, "uint16", 65535)):
        labels, some = [f"class {index}" for index in range(number)], np.minimum(ids, number - 1)
        with rasterio.open(write(tmp_path / f"{number}.tif", some, labels, None)) as file:
            assert file.dtypes == (kind,) and file.nodata == none
            np.testing.assert_array_equal(file.read(1), np.where(some < 0, none, some))


def drawn(features: list[dict], shape: tuple[int, int], transform: object) -> np.ndarray:
    shapes = [(feature["geometry"], feature["properties"]["class_id"]) for feature in features]
    return rasterize(shapes, shape, fill=-1, transform=transform, dtype="int32")


@pytest.mark.parametrize("is_placed", [True, False])
def test_outlines_drawn_again_are_the_label_map(is_placed: bool, ids: np.ndarray, tmp_path: Path) -> None:
    georeference = Georeference(CRS.from_epsg(32633), TRANSFORM, ([], None)) if is_placed else None
    write_geojson(write(tmp_path / "a.tif", ids, LABELS, georeference), tmp_path / "a.geojson", "photo.tif")
    content = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
    transform = TRANSFORM if is_placed else rasterio.Affine.identity()
    np.testing.assert_array_equal(drawn(content["features"], ids.shape, transform), ids)
    names = {0: "cat", 1: "grass, lawn", 2: "Größe"}
    areas = dict.fromkeys(names, 0)
    for feature in content["features"]:
        found = feature["properties"]
        assert found["image"] == "photo.tif" and found["label"] == names[found["class_id"]]
        areas[found["class_id"]] += found["area"]
    assert areas == {index: (ids == index).sum() for index in names}
    assert any(len(feature["geometry"]["coordinates"]) > 1 for feature in content["features"])  # holes
    if is_placed:
        assert content["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32633"
        assert content["features"][0]["geometry"]["coordinates"][0][0][0] >= 500000
    else:
        assert "crs" not in content


def test_outlines_of_nothing_are_an_empty_collection(tmp_path: Path) -> None:
    write_geojson(write(tmp_path / "a.tif", np.full((9, 9), -1), LABELS, None), tmp_path / "a.geojson", "a")
    assert json.loads((tmp_path / "a.geojson").read_text())["features"] == []


def test_longitude_and_latitude_keep_the_order_of_geojson(ids: np.ndarray, tmp_path: Path) -> None:
    place = Georeference(CRS.from_epsg(4326), from_origin(13, 52, 0.001, 0.001), ([], None))
    write_geojson(write(tmp_path / "a.tif", ids, LABELS, place), tmp_path / "a.geojson", "a")
    content = json.loads((tmp_path / "a.geojson").read_text())
    assert content["crs"]["properties"]["name"].endswith("CRS84")
    x, y = content["features"][0]["geometry"]["coordinates"][0][0]
    assert 13 <= x < 14 and 51 < y <= 52


def test_control_points_are_kept_but_give_no_coordinates(ids: np.ndarray, tmp_path: Path) -> None:
    points = [GroundControlPoint(row, column, 10 + column, 50 - row) for row, column in ((0, 0), (0, 70), (70, 0))]
    path = write(tmp_path / "a.tif", ids, LABELS, Georeference(None, None, (points, CRS.from_epsg(4326))))
    with rasterio.open(path) as file:
        kept, crs = file.gcps
        assert [(point.row, point.x) for point in kept] == [(point.row, point.x) for point in points]
        assert crs.to_epsg() == 4326
    with pytest.raises(ValueError, match="ground control points"):
        write_geojson(path, tmp_path / "a.geojson", "a")
