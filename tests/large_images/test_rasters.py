# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""TIFF files of many kinds are read as they look, or refused by name."""

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from catseg_hf.large_images import RasterSource
from catseg_hf.large_images import rasters as module


rasterio = pytest.importorskip("rasterio")
from rasterio.enums import ColorInterp  # noqa: E402


PIXELS = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


def write(path: Path, bands: np.ndarray, colors: list[ColorInterp] | None = None, **options: Any) -> Path:
    """A TIFF file with bands of shape (bands, height, width)."""
    count, height, width = bands.shape
    options = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": bands.dtype, **options}
    options.setdefault("transform", rasterio.transform.from_origin(500, 900, 2, 2))
    with rasterio.open(path, "w", **options) as file:
        if colors is not None:
            file.colorinterp = colors
        file.write(bands)
    return path


def whole(path: Path, **options: Any) -> tuple[np.ndarray, np.ndarray | None]:
    with RasterSource(path, **options) as source:
        return source.read(0, 0, source.height, source.width)


def channels(pixels: np.ndarray) -> np.ndarray:
    return np.moveaxis(pixels, -1, 0)


def test_windows_and_the_overview_of_rgb(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", channels(PIXELS), crs="EPSG:32633")
    with RasterSource(path) as source:
        assert (source.height, source.width) == (60, 90)
        pixels, has_data = source.read(10, 20, 30, 40)
        np.testing.assert_array_equal(pixels, PIXELS[10:40, 20:60])
        assert has_data is None
        assert source.georeference.crs.to_epsg() == 32633 and source.georeference.transform.a == 2
        np.testing.assert_array_equal(source.overview(1000), PIXELS)
        reduced = np.asarray(source.overview(45), dtype=float)
        mean = PIXELS.reshape(30, 2, 45, 2, 3).mean((1, 3))
        assert reduced.shape == (30, 45, 3) and np.abs(reduced - mean).max() <= 1


def test_a_tiff_without_georeference_has_none(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.tif")
    with RasterSource(tmp_path / "a.tif") as source:
        assert source.georeference is None
        np.testing.assert_array_equal(source.read(0, 0, 60, 90)[0], PIXELS)


def test_gray_palette_and_transparency_are_read_as_a_photo_is(tmp_path: Path) -> None:
    pictures = {
        "gray": Image.fromarray(PIXELS).convert("L"),
        "palette": Image.fromarray(PIXELS).quantize(20),
        "black and white": Image.fromarray(PIXELS).convert("1"),
        "alpha": Image.fromarray(np.dstack([PIXELS, PIXELS[:, :, 0]])),
    }
    from catseg_hf.segmenting.photo_reading import read_photo

    for name, picture in pictures.items():
        path = tmp_path / f"{name}.tif"
        picture.save(path)
        pixels, has_data = whole(path)
        photo = np.asarray(read_photo(str(path)))
        # Older GDAL rounds the 16-bit colours of a palette down.
        assert np.abs(pixels.astype(int) - photo).max() <= (name == "palette"), name
        if name == "alpha":
            np.testing.assert_array_equal(has_data, PIXELS[:, :, 0] > 0)
        else:
            assert has_data is None


def test_bands_that_the_file_names_and_those_that_are_asked_for(tmp_path: Path) -> None:
    infrared = np.concatenate([channels(PIXELS)[::-1], channels(PIXELS)[:1] // 2])
    named = [ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined]
    np.testing.assert_array_equal(whole(write(tmp_path / "named.tif", infrared, named))[0], PIXELS)
    path = write(tmp_path / "not.tif", infrared, [ColorInterp.gray, *[ColorInterp.undefined] * 3])
    with pytest.raises(ValueError, match=r"4 bands \(gray, undefined, .*name them with --bands"):
        RasterSource(path)
    np.testing.assert_array_equal(whole(path, bands=(3, 2, 1))[0], PIXELS)
    np.testing.assert_array_equal(whole(path, bands=(4,))[0], np.repeat(PIXELS[:, :, :1] // 2, 3, axis=2))
    for bands in ((5, 1, 1), (0,), (1, 2)):
        with pytest.raises(ValueError, match="cannot be shown: name one band, or three"):
            RasterSource(path, bands=bands)


def test_values_of_more_than_8_bits_need_a_range(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tif", channels(PIXELS).astype(np.uint16) * 257)
    with pytest.raises(
        ValueError, match="type uint16, not of 8 bits: say which are black and white with --value-range"
    ):
        RasterSource(path)
    np.testing.assert_array_equal(whole(path, value_range=(0, 65535))[0], PIXELS)
    brighter = whole(path, value_range=(100 * 257, 200 * 257))[0]
    expected = ((PIXELS.astype(float) - 100) * 2.55).clip(0, 255)
    np.testing.assert_allclose(brighter, expected, atol=0.51)
    with pytest.raises(ValueError, match="the smaller one first"):
        RasterSource(path, value_range=(5, 5))
    bits = write(tmp_path / "bits.tif", channels(PIXELS)[:1] // 16, nbits=4)
    with pytest.raises(ValueError, match="uint8 of 4 bits"):
        RasterSource(bits)
    np.testing.assert_array_equal(whole(bits, value_range=(0, 15))[0][:, :, 0], PIXELS[:, :, 0] // 16 * 17)
    number = write(tmp_path / "complex.tif", channels(PIXELS).astype(np.complex64))
    with pytest.raises(ValueError, match="complex64, which cannot be shown"):
        RasterSource(number, value_range=(0, 1))


def test_pixels_without_data_are_white_and_marked(tmp_path: Path) -> None:
    values = channels(PIXELS).copy()
    values[:, :20], values[:, 20:, 30:] = 0, np.maximum(values[:, 20:, 30:], 1)
    values[:, 20:, :30] = np.maximum(values[:, 20:, :30], 1)
    values[0, 30, 30] = 0  # black in one band only is a colour
    pixels, has_data = whole(write(tmp_path / "a.tif", values, nodata=0))
    assert (pixels[:20] == 255).all() and not has_data[:20].any() and has_data[20:].all()
    np.testing.assert_array_equal(pixels[20:], np.moveaxis(values, 0, -1)[20:])
    floats = channels(PIXELS).astype(np.float32)
    floats[1, :10] = np.nan
    pixels, has_data = whole(write(tmp_path / "b.tif", floats), value_range=(0, 255))
    assert not has_data[:10].any() and has_data[10:].all() and (pixels[:10] == 255).all()
    np.testing.assert_array_equal(pixels[10:], PIXELS[10:])


def test_files_that_cannot_be_read_in_pieces_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(PIXELS).save(tmp_path / "turned.tif", exif=turned)
    with pytest.raises(ValueError, match="TIFF orientation 6"):
        RasterSource(tmp_path / "turned.tif")
    Image.fromarray(PIXELS).save(tmp_path / "photo.png")
    (tmp_path / "photo.png").rename(tmp_path / "photo.tif")
    with pytest.raises(OSError, match="no TIFF file"):
        RasterSource(tmp_path / "photo.tif")
    path = write(tmp_path / "strips.tif", channels(PIXELS), compress="deflate", blockysize=60)
    monkeypatch.setattr(module, "MAX_BLOCK_BYTES", 60 * 90)
    with pytest.raises(ValueError, match="compressed in blocks of .* `rio convert"):
        RasterSource(path)
    RasterSource(write(tmp_path / "tiles.tif", channels(PIXELS), compress="deflate", blockysize=10)).close()


def test_big_tiff(tmp_path: Path) -> None:
    np.testing.assert_array_equal(whole(write(tmp_path / "a.tif", channels(PIXELS), bigtiff="YES"))[0], PIXELS)


def test_without_rasterio_the_line_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.split(".")[0] == "rasterio":
            raise ModuleNotFoundError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"pip install \"catseg-hf\[geo\]\""):
        RasterSource(tmp_path / "a.tif")
