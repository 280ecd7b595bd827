# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""How annotations are made: what options do, and outlines that are simplified."""

import numpy as np
import pytest

from tests.label_maps import MAPS, NAMES, blobs, nested


pytest.importorskip("shapely", reason='annotations need `pip install "catseg-hf[annotate]"`')

import shapely
from pycocotools import mask as coco_mask

from catseg_hf.formats import ANNOTATION_FORMATS, AnnotationOptions, find_format
from catseg_hf.formats.coco import to_coco
from catseg_hf.formats.rings import single_ring
from catseg_hf.formats.shapes import annotate
from catseg_hf.formats.yolo import to_yolo


def painted(ids: np.ndarray, **options: object) -> np.ndarray:
    """A label map of the annotations, one drawn over the other."""
    photo = annotate("a.png", ids, NAMES, options=AnnotationOptions(**options))
    result = np.full(ids.shape, -1)
    for annotation in photo.annotations:
        result[coco_mask.decode(annotation.run_lengths(*ids.shape)).astype(bool)] = annotation.class_id
    return result


@pytest.mark.parametrize("seed", range(40))
def test_small_maps_of_noise(seed: int) -> None:
    random = np.random.default_rng(seed)
    ids = random.integers(-1, 2, random.integers(1, 13, 2))
    np.testing.assert_array_equal(painted(ids), ids)
    np.testing.assert_array_equal(painted(ids, each="class"), ids)


def test_outlines_have_no_needless_corners() -> None:
    (background, square) = annotate("a", np.pad(np.ones((3, 4), dtype=int), 2), NAMES).annotations
    assert (background.class_id, square.class_id) == (0, 1)
    assert square.box == (2, 2, 6, 5) and len(square.rings()[0]) == 4
    assert len(background.polygons[0].interiors) == 1
    # Four corners, four of the hole, its first once more, and both ends of the cut.
    assert len(background.rings()[0]) == 4 + 5 + 2


def test_pixels_that_touch_at_corners_are_parts_of_their_own_and_the_largest_comes_first() -> None:
    annotations = annotate("a", nested(), NAMES).annotations
    areas = [annotation.area for annotation in annotations]
    assert areas == sorted(areas, reverse=True)
    assert sum(annotation.class_id == 3 for annotation in annotations) == 5
    assert len(annotate("a", nested(), NAMES, options=AnnotationOptions(each="class")).annotations) == 4


def test_small_parts_go_and_small_holes_are_filled() -> None:
    ids = np.zeros((20, 20), dtype=int)
    ids[3, 3:6] = 1
    ids[10:13, 10:13] = 1
    expected = ids.copy()
    expected[3, 3:6] = 0
    np.testing.assert_array_equal(painted(ids, min_area=4), expected)
    np.testing.assert_array_equal(painted(ids, min_area=3), ids)
    assert (painted(ids, min_area=1000) == -1).all()


def test_filled_holes_and_what_lies_in_them() -> None:
    expected = nested()
    expected[8, 8] = 1  # a hole without a class
    expected[3:9, 18:26] = 0
    np.testing.assert_array_equal(painted(nested(), fill_holes=True), expected)


@pytest.mark.parametrize("tolerance", [1.0, 2.0])
def test_simplified_neighbours_keep_one_border(tolerance: float) -> None:
    ids = blobs(200, 300, 6, cell=30)
    exact, simple = (
        annotate("a", ids, NAMES, options=AnnotationOptions(simplify=value)).annotations for value in (0, tolerance)
    )
    assert len(exact) == len(simple)
    polygons = [polygon for annotation in simple for polygon in annotation.polygons]
    assert shapely.coverage_is_valid(polygons) and all(polygon.is_valid for polygon in polygons)
    assert sum(map(shapely.get_num_coordinates, polygons)) < 0.7 * sum(
        shapely.get_num_coordinates(polygon) for annotation in exact for polygon in annotation.polygons
    )
    result = painted(ids, simplify=tolerance)
    assert (result == ids).mean() > 1 - 0.01 * tolerance


@pytest.mark.parametrize("name", MAPS)
def test_simplified_annotations_of_any_map_can_be_written(name: str) -> None:
    ids = MAPS[name]
    photo = annotate("a.png", ids, NAMES, options=AnnotationOptions(simplify=3))
    assert {annotation.class_id for annotation in photo.annotations} == {*ids[ids >= 0].tolist()}
    assert len(to_yolo(photo).splitlines()) == len(to_coco(photo)["annotations"]) == len(photo.annotations)
    assert all(len(line.split()) >= 7 for line in to_yolo(photo).splitlines())


def test_holes_of_slanted_polygons_are_cut_open_without_loss() -> None:
    random = np.random.default_rng(0)
    angles = np.sort(random.random(30)) * 2 * np.pi
    outline = 100 + np.stack([np.cos(angles), np.sin(angles)], axis=1) * random.uniform(70, 95, (30, 1))
    holes = [[(x, y), (x + 9, y + 3), (x + 4, y + 11)] for x in range(60, 140, 14) for y in range(60, 140, 16)]
    polygon = shapely.Polygon(outline, holes)
    assert polygon.is_valid
    ring = single_ring(polygon)
    following = np.roll(ring, -1, axis=0)
    assert abs((ring[:, 0] * following[:, 1] - ring[:, 1] * following[:, 0]).sum() / 2) == pytest.approx(polygon.area)
    rows, columns = np.indices((200, 200)) + 0.5
    expected = shapely.contains_xy(polygon, columns, rows)
    drawn = coco_mask.decode(coco_mask.frPyObjects([ring.ravel().tolist()], 200, 200))[:, :, 0]
    # pycocotools rounds slanted edges to a fifth of a pixel.
    assert (drawn != expected).sum() < 0.01 * expected.sum()


def test_another_size_scales_everything() -> None:
    ids = blobs(40, 60, 3)
    large = annotate("a", ids.repeat(3, axis=0).repeat(2, axis=1), NAMES)
    scaled = annotate("a", ids, NAMES, size=(120, 120))
    assert (scaled.height, scaled.width) == (large.height, large.width) == (120, 120)
    assert to_coco(scaled)["annotations"] == to_coco(large)["annotations"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_area": -1}, "`min_area` must be a number of pixels from 0, got -1"),
        ({"simplify": float("nan")}, "`simplify` must be a number of pixels from 0, got nan"),
        ({"shapes": "boxes"}, "`shapes` must be one of polygons, rle, got 'boxes'"),
        ({"each": "photo"}, "`each` must be one of part, class, got 'photo'"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AnnotationOptions(**options)


def test_maps_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="`class_ids` has the class 2, and there are 2 names from 0"):
        annotate("a", np.full((2, 2), 2), ["x", "y"])
    for wrong in (np.zeros((2, 2)), np.zeros((1, 2, 2), dtype=int)):
        with pytest.raises(ValueError, match="`class_ids` must be integers of shape"):
            annotate("a", wrong, ["x"])


def test_formats_refuse_what_they_cannot_hold() -> None:
    for format in ANNOTATION_FORMATS:
        format.check_options(AnnotationOptions())
    with pytest.raises(ValueError, match="The format yolo holds polygons of each part, but no rle of each part"):
        find_format("yolo").check_options(AnnotationOptions(shapes="rle"))
    with pytest.raises(ValueError, match="format cvat holds polygons of each part or rle of each class or rle of each"):
        find_format("cvat").check_options(AnnotationOptions(each="class"))
