# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment --native`, on real files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.formats import overlay
from catseg_hf.large_images import LargeImageSegmenter, PictureSource
from catseg_hf.segmenting import photo_reading
from tests.large_files import drawn_picture, read_label_map, write_geotiff


rasterio = pytest.importorskip("rasterio")

ROOT = Path(__file__).parents[2]
LABELS = ["something red", "something blue", "ground"]
OPTIONS = ("--labels", ",".join(LABELS), "--model", "tiny")
Run = Callable[..., tuple[int, str, str]]


def expected(pixels: np.ndarray, tile: int) -> np.ndarray:
    processor = CatSegProcessor.from_pretrained(TINY)
    model = CatSegForSemanticSegmentation.from_pretrained(TINY).eval()
    text_embeds = model.get_text_embeds(**processor(text=LABELS))
    segmenter = LargeImageSegmenter(model, processor, text_embeds, tile=tile)
    source = PictureSource(Image.fromarray(pixels))
    return np.concatenate([strip.class_ids for strip in segmenter.strips(source)])


def test_a_geotiff_gives_an_overview_a_geotiff_and_outlines(catseg: Run, tmp_path: Path) -> None:
    pixels = write_geotiff(Path("big.tif"), 300, 400)
    kinds = ["--format", "overlay", "--format", "label-map", "--format", "geojson"]
    code, printed, errors = catseg("segment", "big.tif", "--native", "--tile", 256, *OPTIONS, *kinds)
    assert code == 0, errors
    assert {path.name for path in tmp_path.iterdir()} == {
        *("big.tif", "overlay.png", "overlay.labels.tif", "overlay.geojson")
    }
    ids = expected(pixels, 256)
    assert len(np.unique(ids)) == 3
    with rasterio.open("overlay.labels.tif") as file, rasterio.open("big.tif") as image:
        np.testing.assert_array_equal(file.read(1), ids)
        assert file.crs == image.crs and file.transform == image.transform
        features = json.loads(Path("overlay.geojson").read_text())["features"]
        shapes = [(feature["geometry"], feature["properties"]["class_id"]) for feature in features]
        np.testing.assert_array_equal(rasterio.features.rasterize(shapes, ids.shape, transform=file.transform), ids)
    assert np.asarray(Image.open("overlay.png")).shape[1] == 400
    shares = {line.split("%  ")[1]: float(line.split("%  ")[0]) for line in printed.splitlines()[:3]}
    assert shares == {
        label: pytest.approx(100 * (ids == index).mean(), abs=0.051) for index, label in enumerate(LABELS)
    }
    assert printed.count("Wrote ") == 3


def test_an_image_of_one_window_gets_the_ordinary_result(catseg: Run) -> None:
    Image.fromarray(drawn_picture(192, 192)).save("photo.png")
    ordinary = catseg(
        "segment", "photo.png", *OPTIONS, "--output", "a.png", "--format", "overlay", "--format", "label-map"
    )
    native = catseg(
        *("segment", "photo.png", "--native", *OPTIONS, "--output", "b.png", "--format", "overlay"),
        *("--format", "label-map"),
    )
    assert ordinary[0] == native[0] == 0, native[2]
    assert ordinary[1].splitlines()[:3] == native[1].splitlines()[:3]
    np.testing.assert_array_equal(np.asarray(Image.open("a.png")), np.asarray(Image.open("b.png")))
    np.testing.assert_array_equal(np.asarray(Image.open("a.labels.png")), read_label_map(Path("b.labels.tif")))


@pytest.mark.slow
def test_small_things_are_found_that_the_ordinary_way_loses(catseg: Run) -> None:
    pixels = np.full((1536, 1536, 3), drawn_picture(8, 8).mean((0, 1)).astype(np.uint8))
    y, x = np.mgrid[:1536, :1536]
    truth = (x % 128 - 64) ** 2 + (y % 128 - 64) ** 2 < 12**2
    pixels[truth] = 205, 32, 38
    Image.fromarray(pixels).save("photo.png")
    found = {}
    for name, options in (("ordinary.png", ()), ("native.tif", ("--native", "--tile", 256))):
        code, _, errors = catseg(
            *("segment", "photo.png", *options, *OPTIONS, "--format", "label-map", "--output", name)
        )
        assert code == 0, errors
        is_red = np.asarray(Image.open(name)) == 0
        found[name] = (is_red & truth).sum() / (is_red | truth).sum()
    assert found["native.tif"] > 0.4 > 2 * found["ordinary.png"]


def test_thresholds_backgrounds_and_missing_data(catseg: Run) -> None:
    pixels = drawn_picture(200, 200).clip(1)
    pixels[:50] = 0
    with rasterio.open("a.tif", "w", driver="GTiff", height=200, width=200, count=3, dtype="uint8", nodata=0) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    maps = []
    for options in ([], ["--threshold", 0.6], ["--threshold", 0.6, "--background", "other"]):
        code, _, errors = catseg("segment", "a.tif", "--native", *OPTIONS, *options, "--format", "label-map")
        assert code == 0, errors
        maps.append(read_label_map(Path("label-map.tif")))
    plain, sure, other = maps
    assert all((found[:50] == 255).all() for found in maps)
    assert (plain[50:] < 3).all() and 0 < (sure[50:] == 255).mean() < 1
    np.testing.assert_array_equal(other[50:], np.where(sure[50:] == 255, 3, sure[50:]))


def test_folders_with_damaged_files_and_going_on(catseg: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    write_geotiff(tmp_path / "photos" / "a.tif", 64, 64)
    content = (tmp_path / "photos" / "a.tif").read_bytes()
    (tmp_path / "photos" / "b.tif").write_bytes(content[:3000])
    Image.fromarray(drawn_picture(64, 64)).save(tmp_path / "photos" / "c.png")
    arguments = ("segment", "photos", "--native", *OPTIONS, "--output", "results", "--format", "label-map")
    code, printed, errors = catseg(*arguments)
    assert code == 1 and f"photos{os.sep}b.tif: " in errors and "a.tif" not in errors
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"a.labels.tif", "c.labels.tif"}
    code, printed, _ = catseg(*arguments, "--skip-existing")
    assert code == 1 and "2 were there already" in printed


def test_large_overlays_are_overviews(catseg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "OVERVIEW_SIDE", 200)
    Image.fromarray(drawn_picture(300, 400)).save("photo.png")
    code, _, errors = catseg("segment", "photo.png", "--native", "--tile", 400, *OPTIONS)
    assert code == 0, errors
    assert Image.open("overlay.png").size[0] == 200


def test_more_pixels_than_can_be_decoded_as_a_whole(catseg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(drawn_picture(64, 64)).save("photo.png")
    write_geotiff(Path("photo.tif"), 64, 64)
    monkeypatch.setattr(photo_reading, "MAX_PIXELS", 4000)
    code, _, errors = catseg("segment", "photo.png", "--native", *OPTIONS)
    assert code == 1 and "decoded as a whole: convert it to TIFF, with `rio convert" in errors
    code, _, errors = catseg("segment", "photo.tif", "--native", *OPTIONS)
    assert code == 0, errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tile", 256), "--tile goes with --native only"),
        (("--scale", 0.5), "--scale goes with --native only"),
        (("--overlap", 0.5), "--overlap goes with --native only"),
        (("--bands", "1"), "--bands goes with --native only"),
        (("--every", 2), "--every goes with a video only"),
        (("--native", "--smooth", 0.5), "--smooth goes with a video only"),
        (("--native", "--simplify", 2), "--simplify goes with annotations of photos only"),
        (("--native", "--image-url", "http://a"), "--image-url goes with annotations of photos only"),
        (("--native", "--tile", 256, "--scale", 1), "give one of them"),
        (("--native", "--format", "masks"), "--native writes overlay, label-map, geojson, not masks"),
        (("--native", "--format", "label-map", "--output", "a.png"), "must end in .tif"),
        (("--native", "--bands", "1"), "--bands goes with TIFF files only"),
        (("--native", "--bands", "1,b"), "--bands 1,b must be one or three numbers"),
        (("--native", "--value-range", "1"), "--value-range 1 must be two numbers"),
    ],
)
def test_options_without_effect_are_refused(options: tuple, message: str, catseg: Run) -> None:
    Image.fromarray(drawn_picture(64, 64)).save("photo.png")
    code, _, errors = catseg("segment", "photo.png", *OPTIONS, *options)
    assert code == 1 and message in errors, errors


def test_errors_of_the_model_are_not_those_of_an_image(catseg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_geotiff(Path("a.tif"), 64, 64)
    code, _, errors = catseg("segment", "a.tif", "--native", "--labels", "cat", "--model", "no-such-model")
    assert code == 1 and "no-such-model" in errors and "a.tif" not in errors
    monkeypatch.setitem(sys.modules, "rasterio", None)
    code, _, errors = catseg("segment", "a.tif", "--native", *OPTIONS)
    assert code == 1 and "a.tif: TIFF files in pieces, and georeferences, need rasterio: `pip install" in errors


@pytest.mark.slow
def test_memory_does_not_grow_with_the_image(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from catseg_hf.cli import app; app(standalone_mode=False); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for side in (1000, 6000):
        write_geotiff(tmp_path / "a.tif", side, side)
        command = ["segment", "a.tif", "--native", "--tile", "1000", *OPTIONS, "--format", "label-map"]
        result = subprocess.run(
            [sys.executable, "-c", code, *command],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert result.returncode == 0, result.stderr
        peaks.append(int(result.stdout.split()[-1]) / 1024)
    # The scores of all pixels at once would take 432 MB, their classes 288 MB and the pixels 108 MB more.
    print(f"Peak memory: {peaks[0]:.0f} MB for 1000 x 1000 pixels, {peaks[1]:.0f} MB for 6000 x 6000")
    assert peaks[1] - peaks[0] < 400  # of which GDAL's cache takes 256
