# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment` for videos, on real files."""

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf import TINY, CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.formats.overlay import FramePainter
from catseg_hf.scenes import draw_scene
from catseg_hf.segmenting import Segmenter
from catseg_hf.sources.video import FrameSegmenter
from catseg_hf.sources.video_reader import VideoReader
from tests.large_files import read_frames, write_video


av = pytest.importorskip("av")

LABELS = ["something red", "something yellow", "ground"]
OPTIONS = ("--labels", ",".join(LABELS), "--model", "tiny")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    model = CatSegForSemanticSegmentation.from_pretrained(TINY).eval()
    return Segmenter(model, CatSegProcessor.from_pretrained(TINY), LABELS)


def test_an_overlay_video_keeps_times_and_sound(catseg: Run, segmenter: Segmenter, tmp_path: Path) -> None:
    write_video(Path("clip.mp4"))
    code, printed, errors = catseg("segment", "clip.mp4", *OPTIONS)
    assert code == 0, errors
    assert printed == "Wrote overlay.mp4\n" and {path.name for path in tmp_path.iterdir()} == {
        "clip.mp4",
        "overlay.mp4",
    }
    times, frames, sound = read_frames(Path("clip.mp4"))
    drawn_times, drawn, drawn_sound = read_frames(Path("overlay.mp4"))
    assert drawn_times == times == [round(0.08 * number, 3) for number in range(12)]
    assert drawn_sound == sound and len(sound) > 10
    # The overlay of each frame with its own segmentation, but for what the encoder takes.
    paint, segment = FramePainter(LABELS, -1, (160, 128)), FrameSegmenter(segmenter)
    for number in (0, 5, 11):
        picture = Image.fromarray(frames[number])
        expected = np.asarray(paint(picture, segment(picture, "").class_ids), dtype=float)
        assert drawn[number].shape == expected.shape and expected.shape[0] > 128 + 3 * 12
        assert np.abs(drawn[number] - expected).mean() < 4


def test_words_are_embedded_once_and_every_nth_frame_is_segmented(
    catseg: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    counts = {"words": 0, "frames": 0}
    embed, segment = CatSegForSemanticSegmentation.get_text_embeds, FrameSegmenter.__call__

    def counted_embed(*args: object) -> torch.Tensor:
        counts["words"] += 1
        return embed(*args)

    def counted_segment(*args: object) -> object:
        counts["frames"] += 1
        return segment(*args)

    monkeypatch.setattr(CatSegForSemanticSegmentation, "get_text_embeds", counted_embed)
    monkeypatch.setattr(FrameSegmenter, "__call__", counted_segment)
    for name in ("a.mp4", "b.mp4"):
        write_video(Path(name), sound=None)
    kinds = ("--format", "label-map", "--format", "overlay")
    code, _, errors = catseg("segment", "a.mp4", "b.mp4", *OPTIONS, *kinds, "--every", 5, "--output", "out")
    assert code == 0, errors
    assert counts == {"words": 1, "frames": 6}
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("a.labels", "b.labels", "a.overlay.mp4", "b.overlay.mp4")
    }
    times, frames, sound = read_frames(tmp_path / "out" / "a.overlay.mp4")
    assert len(times) == 12 and not sound
    listed = json.loads((tmp_path / "out" / "a.labels" / "frames.json").read_text())
    assert listed["labels"] == LABELS
    assert listed["frames"] == [
        {"file": f"{number:06}.png", "frame": number, "seconds": pytest.approx(0.08 * number)} for number in (0, 5, 10)
    ]
    ids = np.asarray(Image.open(tmp_path / "out" / "a.labels" / "000005.png"))
    assert ids.shape == (128, 160) and set(np.unique(ids)) <= {0, 1, 2}


def test_times_that_vary_are_kept(catseg: Run) -> None:
    times = [0, 40, 200, 230, 500, 510, 900, 910, 1500, 1510, 1900, 2500]
    write_video(Path("clip.mkv"), times, sound=None)
    code, _, errors = catseg("segment", "clip.mkv", *OPTIONS, "--output", "out.mkv", "--every", 4)
    assert code == 0, errors
    assert read_frames(Path("out.mkv"))[0] == [time / 1000 for time in times]


def test_rotated_videos_are_shown_upright(catseg: Run) -> None:
    write_video(Path("clip.mp4"), size=(160, 96))
    content = bytearray(Path("clip.mp4").read_bytes())
    # The matrix of the track's header; phones write this one for a picture that is to be turned clockwise.
    place = content.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", content, place) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    struct.pack_into(">9i", content, place, 0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)
    Path("turned.mp4").write_bytes(content)
    pictures = []
    for name in ("clip.mp4", "turned.mp4"):
        with VideoReader(name) as reader:
            pictures.append(np.asarray(next(reader.frames()).picture))
    np.testing.assert_array_equal(pictures[1], np.rot90(pictures[0], -1))
    code, _, errors = catseg("segment", "turned.mp4", *OPTIONS, "--every", 12)
    assert code == 0, errors
    with av.open("overlay.mp4") as container:
        frame = next(container.decode(video=0))
        assert not frame.rotation and frame.width == 160 and frame.height > 160  # with the legend


@pytest.mark.slow
def test_smoothing_takes_flicker_away(segmenter: Segmenter, tmp_path: Path) -> None:
    frames = write_video(tmp_path / "clip.mp4", noise=60)

    def flicker(smooth: float) -> float:
        segment = FrameSegmenter(segmenter, smooth)
        maps = [segment(Image.fromarray(frame), "").class_ids for frame in frames]
        return np.mean([(first != second).mean() for first, second in zip(maps[2:], maps[3:], strict=False)])

    assert flicker(0.8) < 0.6 * flicker(0)


def test_smoothed_scores_are_the_exponential_average(segmenter: Segmenter, tmp_path: Path) -> None:
    frames = [Image.fromarray(frame) for frame in write_video(tmp_path / "clip.mp4", sound=None)[:3]]
    scores = []
    for frame in frames:
        with torch.inference_mode():
            inputs = segmenter.processor(images=frame)
            scores.append(segmenter.model(**inputs, text_embeds=segmenter.text_embeds).logits.sigmoid())
    segment = FrameSegmenter(segmenter, 0.7)
    for frame in frames:
        segment(frame, "")
    expected = 0.7 * (0.7 * scores[0] + 0.3 * scores[1]) + 0.3 * scores[2]
    torch.testing.assert_close(segment.average, expected, atol=1e-5, rtol=1e-4)
    # A picture that stands still keeps its classes.
    segment = FrameSegmenter(segmenter, 0.7)
    still = [segment(frames[0], "").class_ids for _ in range(3)]
    plain = FrameSegmenter(segmenter)(frames[0], "").class_ids
    assert (still[2] == plain).mean() > 0.999
    with pytest.raises(ValueError, match="`smooth` must be from 0"):
        FrameSegmenter(segmenter, 1)


def test_damaged_videos_are_named_and_what_can_be_read_is_written(catseg: Run, tmp_path: Path) -> None:
    write_video(Path("whole.mkv"), range(0, 5000, 250))
    content = Path("whole.mkv").read_bytes()
    Path("cut.mkv").write_bytes(content[: len(content) // 2])
    write_video(Path("whole.mp4"))
    Path("open.mp4").write_bytes(Path("whole.mp4").read_bytes()[:5000])  # without the index at its end
    Path("none.mp4").write_text("no video")
    with av.open("sound.mp4", "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    names = ("cut.mkv", "open.mp4", "none.mp4", "sound.mp4", "missing.mp4")
    code, printed, errors = catseg("segment", *names, *OPTIONS, "--every", 10, "--output", "out")
    assert code == 1
    for name, message in zip(
        names,
        (
            "it is cut off: it ends after",
            *["cannot be read as a video"] * 2,
            "no pictures in it",
            "there is no such file",
        ),
        strict=True,
    ):
        assert any(name in line and message in line for line in errors.splitlines()), (name, errors)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["cut.overlay.mp4"]
    assert 0 < len(read_frames(tmp_path / "out" / "cut.overlay.mp4")[0]) < 20
    code, _, errors = catseg("segment", "whole.mkv", *OPTIONS, "--every", 10)
    assert code == 0, errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("clip.mp4", "--native"), "--native is for large images, and clip.mp4 is a video"),
        (("clip.mp4", "--format", "masks"), "overlay and label-map can be written, not masks"),
        (("clip.mp4", "--batch-size", 2), "go one at a time"),
        (("clip.mp4", "--output", "out.gif"), "must end in .mkv, .mov, .mp4"),
        (("clip.mp4", "--output", "clip.mp4"), "would replace the video itself"),
        (("clip.mp4", "b.mp4", "--output", "out.mp4"), "must be a folder"),
        (("clip.mp4", "--tile", 256), "--tile goes with --native only"),
        (("clip.mp4", "photo.png", "--native", "--min-area", 2), "--min-area goes with annotations of photos only"),
    ],
)
def test_what_cannot_be_done_is_said_first(arguments: tuple, message: str, catseg: Run) -> None:
    write_video(Path("clip.mp4"), [0, 40], sound=None)
    draw_scene(1, 64).image.save("photo.png")
    code, _, errors = catseg("segment", *arguments, *OPTIONS)
    assert code == 1 and message in errors, errors


@pytest.mark.parametrize("sound", ["wavpack", "pcm_s16le"])
def test_sound_that_the_container_cannot_hold_is_named(sound: str, catseg: Run, tmp_path: Path) -> None:
    write_video(Path("clip.mkv"), sound=sound)
    code, _, errors = catseg("segment", "clip.mkv", *OPTIONS, "--every", 12)
    assert code == 1 and f".mp4 cannot hold its sound ({sound}): name an --output that ends in .mkv" in errors, errors
    assert [path.name for path in tmp_path.iterdir()] == ["clip.mkv"]
    code, _, errors = catseg("segment", "clip.mkv", *OPTIONS, "--every", 12, "--output", "out.mkv")
    assert code == 0, errors
    assert read_frames(Path("out.mkv"))[2] == read_frames(Path("clip.mkv"))[2]


@pytest.mark.parametrize("arguments", [("--output", "x.mp4"), ("--format", "label-map", "--output", "maps")])
def test_of_a_file_that_is_not_there_nothing_else_is_said(arguments: tuple, catseg: Run) -> None:
    code, _, errors = catseg("segment", "gone.mp4", *arguments, *OPTIONS)
    assert code == 1 and errors == "Error: gone.mp4: there is no such file or folder.\n"


def test_without_pyav_the_line_that_installs_it_is_said(catseg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(Path("clip.mp4"), [0, 40], sound=None)
    monkeypatch.setitem(sys.modules, "av", None)
    code, _, errors = catseg("segment", "clip.mp4", *OPTIONS)
    assert code == 1 and 'Videos need PyAV: `pip install "catseg-hf[video]"`.' in errors


def test_long_legends_are_cut() -> None:
    few, many = (FramePainter([f"class {index}" for index in range(number)], -1, (640, 360)) for number in (60, 800))
    assert many.canvas.height <= few.canvas.height


def test_what_is_there_is_skipped(catseg: Run, tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mp4")
    arguments = ("segment", "clip.mp4", *OPTIONS, "--format", "label-map", "--output", "maps", "--every", 6)
    assert catseg(*arguments)[0] == 0
    code, printed, errors = catseg(*arguments, "--skip-existing")
    assert (code, printed, errors) == (0, "The results of clip.mp4 were there already\n", "")
    code, _, errors = catseg(*arguments)
    assert code == 1 and "maps is there already: remove it, or name another --output" in errors
