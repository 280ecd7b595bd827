# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos and videos that other tools could not read, or read wrongly, after reports in their trackers.

Each is built after its report, and read. `examples/robustness.md` lists them.
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from catseg_hf import TINY, CatSegProcessor
from catseg_hf.file_kinds import kind_of
from catseg_hf.scenes import draw_scene
from catseg_hf.segmenting.photo_reading import read_photo
from catseg_hf.sources.video_reader import Frame, VideoReader


RIGHT_TURN = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)  # an entry of EXIF: the orientation of most upright photos


@pytest.fixture(scope="module")
def scene() -> PIL.Image.Image:
    return draw_scene(1, 96).image.crop((0, 0, 96, 64))


def is_like(picture: PIL.Image.Image, expected: PIL.Image.Image, difference: float = 6) -> bool:
    return picture.size == expected.size and np.abs(np.subtract(picture, expected, dtype=float)).mean() < difference


def exif(entry: bytes, content: bytes) -> bytes:
    """The orientation and another entry, which points at the content behind them."""
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + RIGHT_TURN + entry + bytes(4) + content


NO_PLACE = struct.pack("<H", 1) + struct.pack("<HHII", 2, 5, 3, 38 + 18) + bytes(4 + 24)


@pytest.mark.parametrize(
    "data",
    [
        b"Exif\0\0" + exif(struct.pack("<HHII", 0x011A, 5, 1, 38), struct.pack("<2I", 72, 1)),
        exif(struct.pack("<HHII", 0x8825, 4, 1, 38), NO_PLACE),
        exif(struct.pack("<HHII", 0x011A, 5, 2, 38), struct.pack("<4I", 72, 1, 72, 1)),
    ],
    ids=["Pillow 8348", "Pillow 8548", "Pillow 4665"],
)
@pytest.mark.filterwarnings("ignore:Metadata Warning")
def test_photos_are_upright_whatever_else_their_exif_data_say(
    data: bytes, scene: PIL.Image.Image, tmp_path: Path
) -> None:
    scene.save(tmp_path / "a.jpg", exif=data, quality=95)
    assert is_like(read_photo(str(tmp_path / "a.jpg")), scene.transpose(PIL.Image.Transpose.ROTATE_270))


@pytest.mark.parametrize("ending", ["jpg", "heic"])
def test_exif_data_that_cannot_be_read_are_ignored(ending: str, scene: PIL.Image.Image, tmp_path: Path) -> None:
    """pillow-heif 48."""
    data, path = b"Exif\0\0nonsense", tmp_path / f"a.{ending}"
    if ending == "heic":
        pytest.importorskip("pillow_heif").from_pillow(scene).save(path, quality=95, exif=data)
    else:
        scene.save(path, exif=data, quality=95)
    assert is_like(read_photo(str(path)), scene)
    assert CatSegProcessor.from_pretrained(TINY)(images=str(path))["pixel_values"].isfinite().all()


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    """Pillow 2574, 3011."""
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16
    PIL.Image.fromarray(ramp).save(tmp_path / "a.png")
    expected = np.repeat(np.rint(ramp / 257).astype(np.uint8)[..., None], 3, axis=2)
    np.testing.assert_array_equal(read_photo(str(tmp_path / "a.png")), expected)


def test_of_photos_with_a_preview_the_photo_is_read(scene: PIL.Image.Image, tmp_path: Path) -> None:
    """Pillow 1138, 8977."""
    scene.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[scene.resize((48, 32))], quality=95)
    assert is_like(read_photo(str(tmp_path / "a.jpg")), scene)


def test_heic_of_one_channel_of_ten_bits_and_of_several_pictures(scene: PIL.Image.Image, tmp_path: Path) -> None:
    """pillow-heif 215, 329."""
    pillow_heif = pytest.importorskip("pillow_heif")
    gray = scene.convert("L")
    pillow_heif.from_pillow(gray).save(tmp_path / "gray.heic", quality=95)
    assert is_like(read_photo(str(tmp_path / "gray.heic")), gray.convert("RGB"))
    wide = np.asarray(scene).astype(np.uint16) * 257
    pillow_heif.encode("RGB;16", scene.size, wide.tobytes(), tmp_path / "ten.heic", quality=95)
    assert is_like(read_photo(str(tmp_path / "ten.heic")), scene)
    several = pillow_heif.from_pillow(PIL.Image.new("RGB", (50, 40)))
    several.add_from_pillow(scene)
    several.save(tmp_path / "several.heic", quality=95, primary_index=1)
    assert is_like(read_photo(str(tmp_path / "several.heic")), scene)


def write(
    path: Path,
    scene: PIL.Image.Image,
    container: str | None = None,
    codec: str = "libx264",
    cover: bool = False,
    full_range: bool = False,
) -> None:
    """Six frames, with others between them in the stream; before them the picture of a cover."""
    av = pytest.importorskip("av")
    with av.open(str(path), "w", format=container) as file:
        video = file.add_stream(codec, rate=25, options={"bf": "2", "crf": "10"} if codec == "libx264" else {})
        video.width, video.height = scene.size
        video.pix_fmt = "yuv444p" if full_range else "yuv420p"
        if full_range:
            video.codec_context.color_range = 2
        if cover:
            still = file.add_stream("mjpeg", rate=25)
            still.width, still.height, still.pix_fmt = 64, 64, "yuvj420p"
            still.disposition = av.stream.Disposition.attached_pic
        for number in range(6):
            frame = av.VideoFrame.from_image(scene.rotate(3 * number))
            frame = frame.reformat(format="yuv444p", dst_color_range=2) if full_range else frame
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
        if cover:
            picture = av.VideoFrame.from_image(PIL.Image.new("RGB", (64, 64), "red"))
            picture.pts, picture.time_base = 0, Fraction(1, 25)
            for packet in (*still.encode(picture), *still.encode(None)):
                file.mux(packet)


def frames_of(path: Path, scene: PIL.Image.Image) -> list[Frame]:
    """All frames, which are the right ones, in the right order."""
    assert kind_of(path).kind == "video"
    with VideoReader(str(path)) as reader:
        frames = list(reader.frames())
        assert reader.damages == []
    assert [is_like(frame.picture, scene.rotate(3 * number), 8) for number, frame in enumerate(frames)] == [True] * 6
    return frames


def boxes(content: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        size = int.from_bytes(content[start : start + 4], "big")
        yield content[start : start + size]
        start += size


def test_the_picture_of_a_cover_is_no_video(scene: PIL.Image.Image, tmp_path: Path) -> None:
    """mutagen 661: tools for tags write the cover before the video."""
    path = tmp_path / "a.mp4"
    write(path, scene, cover=True)
    content = b""
    for box in boxes(path.read_bytes()):
        if box[4:8] == b"moov":
            box = box[:8] + b"".join(sorted(boxes(box[8:]), key=lambda inner: inner[4:8] == b"trak"))
        content += box
    path.write_bytes(content)
    with VideoReader(str(path)) as reader:
        assert [stream.codec_context.name for stream in reader.container.streams] == ["mjpeg", "h264"]
    frames_of(path, scene)


@pytest.mark.parametrize(("name", "container"), [("a.h264", "h264"), ("dvr.dat", "h264")])
def test_streams_of_recorders_have_no_times(name: str, container: str, scene: PIL.Image.Image, tmp_path: Path) -> None:
    """PyAV 1105."""
    write(tmp_path / name, scene, container)
    frames = frames_of(tmp_path / name, scene)
    assert [frame.seconds for frame in frames] == pytest.approx([number / 25 for number in range(6)])


def test_all_frames_of_avi_are_there(scene: PIL.Image.Image, tmp_path: Path) -> None:
    """PyAV 526: AVI has no times, and FFmpeg makes some up, in the order of the stream."""
    write(tmp_path / "a.avi", scene)
    times = [frame.pts for frame in frames_of(tmp_path / "a.avi", scene)]
    assert times == sorted(set(times))


def test_colours_of_the_full_range_are_right(scene: PIL.Image.Image, tmp_path: Path) -> None:
    """PyAV 1431."""
    write(tmp_path / "a.mp4", scene, full_range=True)
    first = frames_of(tmp_path / "a.mp4", scene)[0].picture
    assert np.abs(np.mean(np.subtract(first, scene, dtype=float), axis=(0, 1))).max() < 2.5
