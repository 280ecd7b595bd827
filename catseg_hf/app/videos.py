# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment` for videos: an overlay video, label maps of the frames, or both."""

import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import typer
from tqdm.auto import tqdm

from catseg_hf.app.outputs import write_result
from catseg_hf.app.photo_segmenter import PhotoSegmenter
from catseg_hf.app.photos import Photo
from catseg_hf.app.segmentation import NO_CLASS
from catseg_hf.app.video_files import OUTPUT_ENDINGS, VideoReader, VideoWriter, load_av
from catseg_hf.app.video_segmenter import FramePainter, FrameSegmenter
from catseg_hf.atomic_files import written_whole


# The formats, and what follows the video's own name in a folder of results.
VIDEO_FORMATS = {"overlay": ".overlay.mp4", "label-map": ".labels"}
DEFAULT_OUTPUTS = {"overlay": "overlay.mp4", "label-map": "labels"}


def segment_videos(
    inputs: Sequence[str],
    output: Path | None,
    formats: Sequence[str],
    load: Callable[[], PhotoSegmenter],
    options: dict[str, Any],
    batch_size: int,
    skip_existing: bool,
) -> None:
    """Segments videos one by one and says what became of them.

    Args:
        inputs (`Sequence[str]`): Files.
        output (`Path`, *optional*): For one video the file or folder of the first format, for several a folder.
        formats (`Sequence[str]`): `"overlay"`, `"label-map"` or both.
        load (`Callable[[], PhotoSegmenter]`): Called once, when the first video was opened; embeds the words.
        options (`dict`): `every` and `smooth` of [`write_video`].
        batch_size (`int`): Must be 1.
        skip_existing (`bool`): Whether to leave out videos whose results are there.

    Raises:
        ValueError: If an option cannot be used, or a video is damaged; after all others were segmented.
    """
    strange = [kind for kind in formats if kind not in VIDEO_FORMATS]
    if strange:
        raise ValueError(f"Of a video, {' and '.join(VIDEO_FORMATS)} can be written, not {strange[0]}.")
    if batch_size != 1:
        raise ValueError(f"--batch-size {batch_size}: the frames of a video go one at a time; leave it out.")
    try:
        load_av()
    except ImportError as error:
        raise ValueError(str(error)) from error
    problems, segmenter = {}, None
    for video in find_videos(inputs, output, formats):
        if skip_existing and video.is_done:
            typer.echo(f"The results of {video.name} were there already")
            continue
        if "label-map" in video.targets and video.targets["label-map"].exists():
            problems[video.name] = (
                f"{video.targets['label-map']} is there already: remove it, or name another --output."
            )
            continue
        try:
            reader = VideoReader(video.name)
        except OSError as error:
            problems[video.name] = str(error)
            continue
        with reader:
            segmenter = segmenter or load()
            try:
                write_video(segmenter, reader, video.targets, **options)
            except (OSError, ValueError) as error:
                problems[video.name] = str(error)
                continue
        for path in video.targets.values():
            typer.echo(f"Wrote {path}")
        if reader.damages:
            problems[video.name] = " ".join(reader.damages)
    if problems:
        raise ValueError("\n  ".join(f"{name}: {reason}" for name, reason in problems.items()))


def find_videos(inputs: Sequence[str], output: Path | None, formats: Sequence[str]) -> list[Photo]:
    """Decides where the results of videos go.

    Args:
        inputs (`Sequence[str]`), output (`Path`, *optional*), formats (`Sequence[str]`): As for [`segment_videos`].

    Returns:
        `list[Photo]`: The videos, with a target for each format.

    Raises:
        ValueError: If `output` cannot be used, or a result would replace a video or another result.
    """
    inputs, first = list(dict.fromkeys(inputs)), formats[0]
    if len(inputs) == 1:
        output = Path(DEFAULT_OUTPUTS[first]) if output is None else output
        if first == "overlay" and output.suffix.lower() not in OUTPUT_ENDINGS:
            raise ValueError(f"--output {output} must end in {', '.join(OUTPUT_ENDINGS)}: a video becomes a video.")
        others = {kind: output.with_name(f"{output.stem}{VIDEO_FORMATS[kind]}") for kind in formats[1:]}
        videos = [Photo(inputs[0], {first: output, **others})]
    else:
        folder = Path("segmented") if output is None else output
        if folder.is_file() or folder.suffix.lower() in OUTPUT_ENDINGS:
            raise ValueError(f"--output {folder} must be a folder, as there are several videos: name one.")
        videos = [
            Photo(name, {kind: folder / f"{Path(name).stem}{VIDEO_FORMATS[kind]}" for kind in formats})
            for name in inputs
        ]
    owners = {os.path.realpath(name).casefold(): name for name in inputs}
    for video in videos:
        for kind, path in video.targets.items():
            owner = owners.setdefault(os.path.realpath(path).casefold(), f"the results of {video.name}")
            if owner != f"the results of {video.name}":
                raise ValueError(f"{path} would replace {owner}: name another --output, or segment it alone.")
            if kind == "overlay" and path.is_dir():
                raise ValueError(f"{path} is there already: remove it, or name another --output.")
    return videos


def write_video(
    segmenter: PhotoSegmenter, reader: VideoReader, targets: dict[str, Path], every: int = 1, smooth: float = 0.0
) -> None:
    """Segments a video and writes its results, each whole or not at all, with the memory of a few frames.

    - `overlay`: a video of all frames, with their times, their sound and a legend. Frames that are not segmented have
      the classes of the last one that was.
    - `label-map`: a folder with a PNG of class ids for each segmented frame, `000000.png` and so on by the number of
      the frame, and `frames.json`, which has the labels and the time of each.

    Args:
        segmenter ([`PhotoSegmenter`]): Model, labels and threshold.
        reader ([`VideoReader`]): The video.
        targets (`dict[str, Path]`): Where the results go, by format.
        every (`int`, *optional*, defaults to 1): Every which frame is segmented.
        smooth (`float`, *optional*, defaults to 0): As [`FrameSegmenter`] takes it.

    Raises:
        OSError: If nothing can be read.
        ValueError: If the size changes within the video, or the sound cannot be kept.
    """
    segment_frame = FrameSegmenter(segmenter, smooth)
    size = painter = result = None
    times = []
    with ExitStack() as stack:
        for path in targets.values():
            path.parent.mkdir(parents=True, exist_ok=True)
        files = {kind: stack.enter_context(written_whole(path)) for kind, path in targets.items()}
        writer = stack.enter_context(VideoWriter(files["overlay"], reader)) if "overlay" in files else None
        if "label-map" in files:
            files["label-map"].mkdir()
        # With the time that is left, where somebody looks.
        bar = stack.enter_context(tqdm(total=reader.num_frames, unit="frame", disable=None))
        for number, frame in enumerate(reader.frames(writer)):
            if size not in (None, frame.picture.size):
                raise ValueError(f"its pictures change from {size} to {frame.picture.size} pixels: cut it there.")
            size = frame.picture.size
            if number % every == 0:
                result = segment_frame(frame.picture, f"frame {number}")
                if "label-map" in files:
                    name = f"{number:06}.png"
                    write_result(result, "label-map", files["label-map"] / name)
                    times.append({"file": name, "frame": number, "seconds": round(frame.seconds, 6)})
            if writer is not None:
                painter = painter or FramePainter(segmenter.labels, NO_CLASS, size)
                writer.write(painter(frame.picture, result), frame.pts)
            bar.update()
        if "label-map" in files:
            content = json.dumps({"labels": result.names, "frames": times}, ensure_ascii=False, indent=1)
            (files["label-map"] / "frames.json").write_text(content + "\n", encoding="utf-8")


__all__ = ["find_videos", "segment_videos", "write_video"]
