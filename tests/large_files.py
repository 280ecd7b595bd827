# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""GeoTIFF files and videos for tests, written and read back with rasterio and PyAV alone."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from catseg_hf.scenes import draw_scene


SAMPLE_RATE = 16000


def drawn_picture(height: int, width: int) -> np.ndarray:
    """Scenes of 256 pixels side by side, 8-bit RGB."""
    columns = -(-width // 256)
    rows = [[np.asarray(draw_scene(columns * y + x).image) for x in range(columns)] for y in range(-(-height // 256))]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])[:height, :width]


def write_geotiff(path: Path, height: int, width: int, **options: Any) -> np.ndarray:
    """A tiled RGB GeoTIFF in UTM zone 33, half a metre a pixel; `options` are rasterio's. Returns its pixels."""
    import rasterio

    pixels = drawn_picture(height, width)
    place = {"crs": "EPSG:32633", "transform": rasterio.Affine(0.5, 0, 500000, 0, -0.5, 5000000)}
    place |= {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"}
    size = {"driver": "GTiff", "height": height, "width": width, "count": 3, "dtype": "uint8"}
    with rasterio.open(path, "w", **{**size, **place, **options}) as file:
        file.write(np.moveaxis(pixels, -1, 0))
    return pixels


def read_label_map(path: Path) -> np.ndarray:
    """Its values."""
    import rasterio

    with rasterio.open(path) as file:
        return file.read(1)


def write_video(
    path: Path,
    times: Sequence[int] = range(0, 12 * 80, 80),
    size: tuple[int, int] = (160, 128),
    sound: str | None = "aac",
    noise: int = 0,
) -> list[np.ndarray]:
    """A video of a moving scene, with a tone. Returns its frames.

    Args:
        path (`Path`): The file.
        times (`Sequence[int]`): Of the frames, in milliseconds.
        size (`tuple[int, int]`): Width and height.
        sound (`str`, *optional*): Codec of a tone of a second; `None` for a silent video.
        noise (`int`): Strength of what flickers.
    """
    import av

    scene = np.asarray(draw_scene(7, size=320).image)
    random = np.random.default_rng(0)
    width, height = size
    frames = []
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=12, options={"crf": "10", "g": "4"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        milliseconds = Fraction(1, 1000)  # the container may choose another unit for itself
        video.time_base = video.codec_context.time_base = milliseconds
        audio = container.add_stream(sound, rate=SAMPLE_RATE) if sound is not None else None
        for number, time in enumerate(times):
            shift = 0 if noise else 4 * number
            pixels = scene[shift : shift + height, shift : shift + width].astype(int)
            pixels = (pixels + random.integers(-noise, noise + 1, pixels.shape)).clip(0, 255).astype(np.uint8)
            frames.append(pixels)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = time, milliseconds
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if audio is not None:
            tone = np.sin(np.arange(SAMPLE_RATE) / 10).astype(np.float32)[None]
            for start in range(0, SAMPLE_RATE - 1024, 1024):
                part = av.AudioFrame.from_ndarray(tone[:, start : start + 1024], format="fltp", layout="mono")
                part.sample_rate, part.pts, part.time_base = SAMPLE_RATE, start, Fraction(1, SAMPLE_RATE)
                container.mux(audio.encode(part))
            container.mux(audio.encode(None))
    return frames


def read_frames(path: Path) -> tuple[list[float], list[np.ndarray], list[bytes]]:
    """The times of its frames in seconds, the frames, and the packets of its sound."""
    import av

    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        times = [round(float(frame.pts * frame.time_base), 3) for frame in frames]
        pictures = [frame.to_ndarray(format="rgb24") for frame in frames]
    with av.open(str(path)) as container:
        sound = []
        if container.streams.audio:
            sound = [bytes(packet) for packet in container.demux(audio=0) if packet.dts is not None]
    return times, pictures, sound
