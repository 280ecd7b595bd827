# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos, videos and folders with both in one command: content decides what a file is, and nothing is left out."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from catseg_hf.file_kinds import kind_of
from catseg_hf.scenes import draw_scene
from catseg_hf.sources.found import find_inputs
from catseg_hf.sources.video_reader import VideoReader
from tests.large_files import read_frames, write_video


av = pytest.importorskip("av")

OPTIONS = ("--labels", "something red,something yellow,ground", "--model", "tiny")
CONTAINERS = {
    "a.ts": ("mpegts", "libx264"),
    "a.mts": ("mpegts", "mpeg2video"),
    "a.m2ts": ("mpegts", "libx264"),
    "a.3gp": ("3gp", "mpeg4"),
    "a.wmv": ("asf", "wmv2"),
    "a.flv": ("flv", "flv1"),
    "a.ogv": ("ogg", "libvpx"),
    "a.m2v": ("mpeg2video", "mpeg2video"),
    "a.webm": ("webm", "libvpx"),
    "a.avi": ("avi", "mpeg4"),
}
Run = Callable[..., tuple[int, str, str]]


def write_clip(
    path: Path, container: str, codec: str, num_frames: int = 4, pixel_ratio: Fraction | None = None
) -> np.ndarray:
    """A silent clip of a scene that stands still. Returns its frame."""
    pixels = np.asarray(draw_scene(3, size=128).image)[:96]
    with av.open(str(path), "w", format=container) as file:
        video = file.add_stream(codec, rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuv420p"
        if pixel_ratio is not None:
            video.codec_context.sample_aspect_ratio = pixel_ratio
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            file.mux(video.encode(frame))
        file.mux(video.encode(None))
    return pixels


@pytest.mark.parametrize("name", CONTAINERS)
def test_videos_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    for path in (tmp_path / name, tmp_path / "clip.dat"):
        pixels = write_clip(path, *CONTAINERS[name])
        assert kind_of(path).kind == "video"
        with VideoReader(str(path)) as reader:
            frames = list(reader.frames())
        assert len(frames) == 4 and reader.damages == []
        assert np.abs(np.subtract(frames[0].picture, pixels, dtype=int)).mean() < 12


def test_photos_clips_and_folders_in_one_command(catseg: Run, tmp_path: Path) -> None:
    Path("mixed/deep").mkdir(parents=True)
    draw_scene(1, 64).image.save("photo.png")
    draw_scene(2, 64).image.save("mixed/a.jpg")
    for name in ("clip.ts", "mixed/deep/b.3gp"):
        write_clip(Path(name), *CONTAINERS[f"a{Path(name).suffix}"])
    Path("mixed/code.ts").write_text("export const GREETING = 1;\n" * 200)
    arguments = ("segment", "photo.png", "clip.ts", "mixed", *OPTIONS, "--output", "out", "--every", 4)
    code, printed, errors = catseg(*arguments, "--format", "overlay", "--format", "label-map")
    assert code == 0, errors
    found = {path.relative_to("out").as_posix() for path in Path("out").rglob("*") if path.parent.suffix != ".labels"}
    assert found == {
        *("a.png", "a.labels.png", "photo.png", "photo.labels.png", "clip.overlay.mp4", "clip.labels"),
        *("deep", "deep/b.overlay.mp4", "deep/b.labels"),
    }
    assert "Wrote the results of 2 photos to out" in printed and f"Wrote {Path('out/clip.overlay.mp4')}" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--every", 2), "--every goes with a video only"),
        (("--smooth", 0.5), "--smooth goes with a video only"),
        (("--tile", 64), "--tile goes with --native only"),
    ],
)
def test_options_that_fit_none_of_the_inputs_are_refused(options: tuple, message: str, catseg: Run) -> None:
    Path("photos").mkdir()
    draw_scene(1, 64).image.save("photos/a.png")
    code, _, errors = catseg("segment", "photos", "photos/a.png", *OPTIONS, *options)
    assert code == 1 and message in errors, errors


def test_a_broken_clip_does_not_stop_the_others(catseg: Run) -> None:
    write_clip(Path("good.mkv"), "matroska", "libx264")
    for name in ("broken.mp4", "empty.mov"):
        Path(name).write_bytes(b"\0\0\0\x18ftypisom" + bytes(300) if name == "broken.mp4" else b"")
    draw_scene(1, 64).image.save("photo.png")
    code, printed, errors = catseg("segment", "broken.mp4", "empty.mov", "good.mkv", "photo.png", *OPTIONS)
    assert code == 1
    assert f"Wrote {Path('segmented/good.overlay.mp4')}" in printed and "Wrote the results of 1 photo" in printed
    assert "2 files could not be segmented:" in errors
    assert errors.count("cannot be read as a video") == 2 and "broken.mp4" in errors and "empty.mov" in errors


@pytest.mark.parametrize(("ratio", "width"), [(Fraction(2), 256), (Fraction(8, 9), 114), (Fraction(64, 45), 182)])
def test_pixels_that_are_not_square_are_shown_as_players_do(ratio: Fraction, width: int, catseg: Run) -> None:
    pixels = write_clip(Path("clip.mp4"), "mp4", "libx264", pixel_ratio=ratio)
    arguments = ("segment", "clip.mp4", *OPTIONS, "--every", 4, "--format", "label-map", "--format", "overlay")
    code, _, errors = catseg(*arguments, "--output", "maps")
    assert code == 0, errors
    (class_map,) = Path("maps").glob("*.png")
    assert Image.open(class_map).size == (width, 96)
    with VideoReader("clip.mp4") as reader:
        shown = next(reader.frames()).picture
    expected = Image.fromarray(pixels).resize((width, 96), Image.Resampling.BICUBIC)
    assert shown.size == (width, 96) and np.abs(np.subtract(shown, expected, dtype=int)).mean() < 8
    with av.open("maps.overlay.mp4") as file:
        stream = file.streams.video[0]
        assert stream.sample_aspect_ratio in (None, 0, 1) and width <= stream.width
    drawn = read_frames(Path("maps.overlay.mp4"))[1][0]
    assert drawn.shape[1] >= width and drawn.shape[0] > 96  # with the legend


def test_pixels_are_upright_and_square_in_turned_clips(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", "mp4", "libx264", pixel_ratio=Fraction(2))
    content = bytearray((tmp_path / "clip.mp4").read_bytes())
    place = content.index(b"tkhd") + 44
    matrix = [int.from_bytes(content[place + 4 * i : place + 4 * i + 4], "big", signed=True) for i in range(9)]
    turned = [0, matrix[0], 0, -matrix[4], 0, 0, 0, 0, matrix[8]]
    content[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    (tmp_path / "turned.mp4").write_bytes(content)
    with VideoReader(str(tmp_path / "turned.mp4")) as reader:
        assert next(reader.frames()).picture.size == (96, 256)


def test_impossible_pixels_are_taken_for_square_and_named(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", "mp4", "mpeg4", pixel_ratio=Fraction(20))
    with VideoReader(str(tmp_path / "clip.mp4")) as reader:
        assert next(reader.frames()).picture.size == (128, 96)
    assert reader.damages == ["its pixels are said to be 20 times as wide as high, and were taken for square."]


def test_of_animations_the_first_frame_is_segmented_and_it_is_said(catseg: Run) -> None:
    frames = [draw_scene(number, 64).image for number in range(3)]
    names = ("a.gif", "b.png", "c.webp", "d.gif")
    Path("photos").mkdir()
    for name in names:
        frames[0].save(f"photos/{name}", save_all=True, append_images=frames[1:], lossless=True)
    # No animations: a photo with a preview, and a single frame.
    frames[0].save("photos/e.jpg", "MPO", save_all=True, append_images=frames[1:])
    frames[0].save("photos/f.gif")
    code, printed, errors = catseg("segment", "photos", *OPTIONS, "--format", "label-map", "--output", "out")
    assert code == 0 and "Wrote the results of 6 photos to out" in printed, errors
    line = next(line for line in errors.splitlines() if "animated" in line)
    shown = ", ".join(str(Path("photos", name)) for name in names[:3])
    assert line == f"Of 4 animated picture(s) only the first frame was segmented: {shown}, ..."
    frames[0].save("still.png")
    assert catseg("segment", "still.png", *OPTIONS, "--format", "label-map", "--output", "still.labels.png")[0] == 0
    expected = np.asarray(Image.open("still.labels.png"))
    np.testing.assert_array_equal(np.asarray(Image.open("out/b.labels.png")), expected)


LEFT_OUT = {
    "dng.dng": "is a raw photo (DNG), which cannot be read: develop it, and save it as JPEG, PNG or TIFF.",
    "canon.cr2": "is a raw photo (Canon raw), which cannot be read: develop it, and save it as JPEG, PNG or TIFF.",
    "deep/nikon.NEF": "is a raw photo (Nikon raw), which cannot be read: develop it, and save it as JPEG, PNG or TIFF.",
    "new.jxl": "is a picture (JPEG XL), which cannot be read: save it as JPEG or PNG.",
    "named.jpg": "is a picture (GIMP), which cannot be read: save it as JPEG or PNG.",
}
UNMENTIONED = ("notes.txt", "a.json", "Thumbs.db", ".DS_Store", "._photo.jpg", "deep/code.ts", "song.m4a")


@pytest.fixture
def camera(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one photo that can be read, and all that may lie beside it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "camera" / "deep").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save("camera/photo.jpg")
    for name in (*LEFT_OUT, *UNMENTIONED):
        (tmp_path / "camera" / name).write_bytes(b"gimp xcf v011" if name == "named.jpg" else b"\0\5\x16\7")
    Image.new("RGB", (8, 8)).save("camera/dng.dng", "TIFF")
    return tmp_path / "camera"


def test_a_folder_leaves_no_picture_out_in_silence(camera: Path, catseg: Run) -> None:
    problems: dict[str, str] = {}
    found = find_inputs(["camera"], Path("out"), problems)
    assert [each.name for each in found] == [str(Path("camera/photo.jpg"))]
    assert problems == {str(Path("camera", name)): reason for name, reason in LEFT_OUT.items()}
    # Named alone, it is the same.
    problems.clear()
    assert find_inputs(["camera/new.jxl"], Path("out"), problems) == []
    assert problems == {"camera/new.jxl": LEFT_OUT["new.jxl"]}


def test_the_command_names_them_at_the_end(camera: Path, catseg: Run) -> None:
    code, printed, errors = catseg("segment", "camera", *OPTIONS)
    assert code == 1 and "Wrote the results of 1 photo to segmented" in printed
    assert "5 photos could not be segmented:" in errors
    assert all(f"{Path('camera', name)}: {reason}" in errors for name, reason in LEFT_OUT.items())
    assert not any(Path(name).name in errors for name in UNMENTIONED)


def test_a_fleet_names_them_and_videos(camera: Path) -> None:
    pytest.importorskip("pyarrow")
    from catseg_hf.fleet.sources import Files

    write_video(camera / "clip.mp4", [0], sound=None)
    problems: dict[str, str] = {}
    assert [item.stem for item in Files(Path("camera"), Path("out")).items(True, problems)] == ["photo"]
    assert problems == {
        **{str(Path("camera", name)): reason for name, reason in LEFT_OUT.items()},
        str(Path("camera/clip.mp4")): "is a video: give it to a command without --engine ray.",
    }
