# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Videos, read frame by frame with PyAV, as they are shown."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from PIL import Image

from catseg_hf.formats.video_writer import load_av


# A video that ends so many seconds before its time is cut off.
MISSING_SECONDS = 1.0
# Pixels that are so many times as wide as high, or the other way round, are a mistake of the file.
MAX_PIXEL_RATIO = 8


class Frame(NamedTuple):
    """A frame as it is shown."""

    picture: Image.Image  # RGB, upright, with square pixels
    pts: int  # its time, in units of the video's time base
    seconds: float


class VideoReader:
    """Reads a video from its beginning to its end. Use it as a context; an `OSError` says why the file is no video."""

    def __init__(self, path: str) -> None:
        self._av = load_av()
        try:
            self.container = self._av.open(path)
        except self._av.error.FFmpegError as error:
            raise OSError(f"cannot be read as a video: {error.strerror}.") from error
        cover = self._av.stream.Disposition.attached_pic
        moving = [stream for stream in self.container.streams.video if cover not in stream.disposition]
        if not moving:
            self.container.close()
            raise OSError("there are no pictures in it.")
        self.stream = moving[0]
        self.stream.thread_type = "AUTO"
        self.damages: list[str] = []  # that were found so far
        self.on_sound: Callable[[Any], Any] = lambda packet: None  # gets the packets, as they are, between the frames
        self._pixel_ratio = self._width_of_pixels()
        self._end = 0.0  # of pictures and sound, in seconds
        duration, rate = self._duration(), self.stream.average_rate
        # As far as the file says it.
        self.num_frames = self.stream.frames or (round(duration * rate) if duration and rate else None)
        self._step = max(1, round(1 / ((rate or self.stream.guessed_rate or 25) * self.stream.time_base)))

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()

    def frames(self) -> Iterator[Frame]:
        """All frames, one after the other; an `OSError` if there are none.

        Frames that cannot be decoded are left out and counted in `damages`; those without a time, or whose time is not
        after the one before, follow that as frames do on average.
        """
        streams = [self.stream, *self.container.streams.audio[:1]]
        num_lost, last = 0, None
        for packet in self._packets(streams):
            if packet.stream.type == "audio":
                self.on_sound(packet)
                continue
            try:
                decoded = packet.decode()
            except self._av.error.FFmpegError:
                num_lost += 1
                continue
            for frame in decoded:
                if frame.is_corrupt:
                    num_lost += 1
                    continue
                # Decoders give frames as they are shown; AVI has the times of another order, and bare streams none.
                soonest = 0 if last is None else last + self._step
                is_after = frame.pts is not None and (last is None or frame.pts > last)
                last = frame.pts if is_after else soonest
                picture = frame.to_image()
                if self._pixel_ratio != 1:
                    # As players do, which keep the height.
                    size = max(1, round(picture.width * self._pixel_ratio)), picture.height
                    picture = picture.resize(size, Image.Resampling.BICUBIC)
                if frame.rotation:
                    picture = picture.rotate(frame.rotation, expand=True)
                yield Frame(picture, last, float(last * self.stream.time_base))
        if last is None:
            raise OSError("no frame of it can be decoded.")
        if num_lost:
            self.damages.append(f"{num_lost} frames are damaged and were left out.")
        self._check_end()

    @property
    def has_sound(self) -> bool:
        """Whether there is sound."""
        return bool(self.container.streams.audio)

    def _packets(self, streams: list[Any]) -> Iterator[Any]:
        try:
            for packet in self.container.demux(streams):
                if packet.pts is not None:
                    self._end = max(self._end, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                yield packet
        except self._av.error.FFmpegError as error:
            self.damages.append(f"it is damaged and ends early: {error.strerror}.")

    def _width_of_pixels(self) -> Fraction:
        """How many times as wide as high pixels are shown."""
        ratio = self.stream.sample_aspect_ratio or Fraction(1)
        if 1 / MAX_PIXEL_RATIO <= ratio <= MAX_PIXEL_RATIO:
            return ratio
        self.damages.append(f"its pixels are said to be {ratio} times as wide as high, and were taken for square.")
        return Fraction(1)

    def _duration(self) -> float | None:
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / self._av.time_base if self.container.duration else None

    def _check_end(self) -> None:
        length = self._end - float((self.stream.start_time or 0) * self.stream.time_base)
        duration = self._duration()
        if duration is not None and length < duration - MISSING_SECONDS and not self.damages:
            self.damages.append(f"it is cut off: it ends after {length:.1f} of {duration:.1f} seconds.")
