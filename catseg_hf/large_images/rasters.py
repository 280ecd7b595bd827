# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""TIFF files of any size, read window by window with rasterio."""

import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, TiffImagePlugin

from .sources import Georeference, reduced_size


# GDAL keeps decoded blocks up to this size, so that windows that overlap do not decode them twice.
CACHE_MEGABYTES = 256
# A block is decoded whole: one larger than this would break the promise of bounded memory.
MAX_BLOCK_BYTES = 2**29
ORIENTATION_TAG = 274


def load_rasterio() -> ModuleType:
    """`rasterio`, with its parts `features`, `enums` and `windows`; the `ImportError` has the line that installs it."""
    try:
        import rasterio
        import rasterio.enums
        import rasterio.features
        import rasterio.windows
    except ImportError as error:
        advice = '`pip install "catseg-hf[geo]"`'
        raise ImportError(f"TIFF files in pieces, and georeferences, need rasterio: {advice}.") from error
    return rasterio


@contextmanager
def opened(path: str | Path, mode: str = "r", **options: Any) -> Iterator[Any]:
    """A file as rasterio has it, which may have no georeference, and of which little is kept in memory."""
    rasterio = load_rasterio()
    with rasterio.Env(GDAL_CACHEMAX=CACHE_MEGABYTES):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = rasterio.open(path, mode, **options)
        with file:
            yield file


class RasterSource:
    """A TIFF or GeoTIFF file, which is never read as a whole. Use it in a `with` block.

    Pixels that the file marks as missing (`nodata`, a mask, an alpha band) get no class; to the model they are white.

    Args:
        path (`str` or `Path`): The file.
        bands (`Sequence[int]`, *optional*):
            Numbers, from 1, of the bands that are shown as red, green and blue, or of a single one. By default those
            that the file names so, or all of one or three.
        value_range (`tuple[float, float]`, *optional*):
            Which values are black and white; what lies beyond is cut. Needed if values are not of 8 bits.

    Raises:
        ImportError: If rasterio is missing.
        OSError: If the file cannot be read.
        ValueError: If it is not clear how to show the file, or it cannot be read in pieces.

    Example:

    ```python
    >>> from catseg_hf.large_images import RasterSource

    >>> with RasterSource("big.tif") as source:
    ...     source.height, source.width
    (120, 160)
    ```
    """

    def __init__(
        self,
        path: str | Path,
        bands: Sequence[int] | None = None,
        value_range: tuple[float, float] | None = None,
    ) -> None:
        self._rasterio = load_rasterio()
        self.path, self.value_range = path, value_range
        _check_orientation(path)
        with ExitStack() as stack:
            self._file = stack.enter_context(opened(path))
            self.height, self.width = self._file.height, self._file.width
            self._palette = None
            self.bands = self._pick_bands(bands)
            self._check_values()
            self._check_blocks()
            self._opened = stack.pop_all()
        points = self._file.gcps
        transform = None if self._file.transform.is_identity else self._file.transform
        is_placed = transform is not None or points[0] or self._file.crs
        self.georeference = Georeference(self._file.crs, transform, points) if is_placed else None
        flags = {flag for band in self.bands for flag in self._file.mask_flag_enums[band - 1]}
        self._is_full = flags == {self._rasterio.enums.MaskFlags.all_valid}

    def close(self) -> None:
        """Closes the file."""
        self._opened.close()

    def __enter__(self) -> "RasterSource":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def read(self, top: int, left: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray | None]:
        """See [`ImageSource.read`]."""
        return self._read(self._rasterio.windows.Window(left, top, width, height), (height, width))

    def overview(self, longest_side: int) -> Image.Image:
        """See [`ImageSource.overview`]."""
        width, height = reduced_size(self.height, self.width, longest_side)
        return Image.fromarray(self._read(None, (height, width))[0])

    def _read(self, window: Any, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        # A mean of palette numbers would be another colour.
        method = "average" if window is None and self._palette is None else "nearest"
        resampling = self._rasterio.enums.Resampling[method]
        values = self._file.read(self.bands, window=window, out_shape=(len(self.bands), *size), resampling=resampling)
        opacity = None
        if not self._is_full:
            opacity = self._file.dataset_mask(window=window, out_shape=size, resampling=resampling)
        if np.issubdtype(values.dtype, np.floating):
            is_number = np.isfinite(values).all(axis=0)
            opacity = np.where(is_number, 255 if opacity is None else opacity, 0)
            values = np.where(is_number, values, 0)
        is_indexed = self._palette is not None
        pixels = self._palette[values[0]] if is_indexed else np.moveaxis(self._as_bytes(values), 0, -1)
        if pixels.shape[2] == 1:
            pixels = np.repeat(pixels, 3, axis=2)
        if opacity is None or opacity.min() == 255:
            return np.ascontiguousarray(pixels), None
        alpha = opacity[:, :, None].astype(np.float32) / 255
        return np.rint(pixels * alpha + 255 * (1 - alpha)).astype(np.uint8), opacity > 0

    def _as_bytes(self, values: np.ndarray) -> np.ndarray:
        if self.value_range is None:
            return values
        low, high = self.value_range
        return np.rint((values.astype(np.float32) - low).clip(0, high - low) * (255 / (high - low))).astype(np.uint8)

    def _pick_bands(self, bands: Sequence[int] | None) -> list[int]:
        kinds = [kind.name for kind in self._file.colorinterp]
        if bands is not None:
            wrong = [band for band in bands if not 1 <= band <= len(kinds)]
            if wrong or len(bands) not in (1, 3):
                raise ValueError(
                    f"The bands {','.join(map(str, bands))} cannot be shown: name one band, or three for red, green "
                    f"and blue, of the numbers 1 to {len(kinds)}."
                )
            return list(bands)
        if {"red", "green", "blue"} <= set(kinds):
            return [kinds.index(color) + 1 for color in ("red", "green", "blue")]
        visible = [number for number, kind in enumerate(kinds, 1) if kind != "alpha"]
        if len(visible) == 1 and kinds[visible[0] - 1] == "palette":
            colors = self._file.colormap(visible[0])
            self._palette = np.zeros((256 if self._file.dtypes[0] == "uint8" else 65536, 3), dtype=np.uint8)
            self._palette[list(colors)] = [color[:3] for color in colors.values()]
        is_known = all(kinds[number - 1] in ("gray", "grey", "undefined", "palette") for number in visible)
        if len(visible) not in (1, 3) or not is_known:
            raise ValueError(
                f"It has {len(kinds)} bands ({', '.join(kinds)}), and does not say which are red, green and blue: name "
                "them with --bands, such as --bands 3,2,1."
            )
        return visible

    def _check_values(self) -> None:
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise ValueError(f"The range of values {self.value_range} must be black and white, the smaller one first.")
        kinds = {self._file.dtypes[band - 1] for band in self.bands}
        bits = {self._file.tags(band, ns="IMAGE_STRUCTURE").get("NBITS", "8") for band in self.bands}
        if self.value_range is None and self._palette is None and (kinds != {"uint8"} or bits != {"8"}):
            what = f"{', '.join(sorted(kinds))}{'' if bits == {'8'} else f' of {min(bits)} bits'}"
            raise ValueError(
                f"Its values are of type {what}, not of 8 bits: say which are black and white with --value-range, such "
                "as --value-range 0,65535 for 16-bit photos or --value-range 0,3000 for satellite images."
            )
        if any(kind.startswith("complex") for kind in kinds):
            raise ValueError(f"Its values are of type {', '.join(sorted(kinds))}, which cannot be shown as a picture.")

    def _check_blocks(self) -> None:
        blocks = zip(self._file.block_shapes, self._file.dtypes, strict=True)
        block = max(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in blocks)
        block *= len(self.bands) if self._file.interleaving and self._file.interleaving.name == "pixel" else 1
        if block > MAX_BLOCK_BYTES and self._file.compression is not None:
            raise ValueError(
                f"It is compressed in blocks of {block / 2**30:.1f} GB, so that it cannot be read in pieces: convert "
                "it first, with `rio convert IN.tif OUT.tif --co TILED=YES`."
            )


def _check_orientation(path: str | Path) -> None:
    """Refuses TIFF files that are to be turned, which GDAL would not do."""
    with open(path, "rb") as file:
        header = file.read(8)
        if header[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            raise OSError("it is no TIFF file.")
        if header[2:3] == b"+" or header[3:4] == b"+":
            header += file.read(8)  # of BigTIFF
        directory = TiffImagePlugin.ImageFileDirectory_v2(header)
        file.seek(directory.next)
        directory.load(file)
    if directory.get(ORIENTATION_TAG, 1) != 1:
        raise ValueError(
            f"It is to be turned (TIFF orientation {directory[ORIENTATION_TAG]}), which is not done in pieces: save it "
            "upright first."
        )
