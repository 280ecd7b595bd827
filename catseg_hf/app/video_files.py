# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Videos, read and written frame by frame with PyAV: times, sound and rotation are kept."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from PIL import Image


# Containers that hold H.264, and the sound of almost all videos.
OUTPUT_ENDINGS = (".mkv", ".mov", ".mp4")
# Of H.264: hardly to be told from the original, and as fast as the model is slow.
ENCODING = {"crf": "20", "preset": "veryfast"}
# A video that ends so many seconds before its time is cut off.
MISSING_SECONDS = 1.0


class Frame(NamedTuple):
    """A frame as it is shown."""

    picture: Image.Image  # RGB, upright
    pts: int  # its time, in units of the video's time base
    seconds: float


def load_av() -> ModuleType:
    """The library that reads and writes videos.

    Returns:
        `av`, which is PyAV.

    Raises:
        ImportError: If it is not installed; the message has the line that does it.
    """
    try:
        import av
    except ImportError as error:
        raise ImportError('Videos need PyAV: `pip install "catseg-hf[video]"`.') from error
    return av


class VideoReader:
    """Reads a video from its beginning to its end. Use it in a `with` block.

    Args:
        path (`str`): The file.

    Attributes:
        num_frames (`int`, *optional*): How many frames there are, as far as the file says it.
        damages (`list[str]`): What was found to be damaged so far.

    Raises:
        ImportError: If PyAV is missing.
        OSError: If the file is no video.
    """

    def __init__(self, path: str) -> None:
        self._av = load_av()
        try:
            self.container = self._av.open(path)
        except self._av.error.FFmpegError as error:
            raise OSError(f"cannot be read as a video: {error.strerror}.") from error
        if not self.container.streams.video:
            self.container.close()
            raise OSError("there are no pictures in it.")
        self.stream = self.container.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.damages: list[str] = []
        self._end = 0.0  # of pictures and sound, in seconds
        duration, rate = self._duration(), self.stream.average_rate
        self.num_frames = self.stream.frames or (round(duration * rate) if duration and rate else None)

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()

    def frames(self, sound: "VideoWriter | None" = None) -> Iterator[Frame]:
        """All frames, one after the other.

        Args:
            sound ([`VideoWriter`], *optional*): Gets the sound, as it is, between the frames.

        Returns:
            An iterator over [`Frame`]. Frames that cannot be decoded, or whose time is not after the one before, are
            left out and counted in `damages`.

        Raises:
            OSError: If there is no frame at all.
        """
        streams = [self.stream, *self.container.streams.audio[:1]]
        num_lost, last = 0, None
        for packet in self._packets(streams):
            if packet.stream.type == "audio":
                if sound is not None:
                    sound.write_sound(packet)
                continue
            try:
                decoded = packet.decode()
            except self._av.error.FFmpegError:
                num_lost += 1
                continue
            for frame in decoded:
                if frame.is_corrupt or frame.pts is None or (last is not None and frame.pts <= last):
                    num_lost += 1
                    continue
                last = frame.pts
                picture = frame.to_image()
                if frame.rotation:
                    picture = picture.rotate(frame.rotation, expand=True)
                yield Frame(picture, frame.pts, float(frame.pts * self.stream.time_base))
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

    def _duration(self) -> float | None:
        if self.stream.duration:
            return float(self.stream.duration * self.stream.time_base)
        return self.container.duration / self._av.time_base if self.container.duration else None

    def _check_end(self) -> None:
        length = self._end - float((self.stream.start_time or 0) * self.stream.time_base)
        duration = self._duration()
        if duration is not None and length < duration - MISSING_SECONDS and not self.damages:
            self.damages.append(f"it is cut off: it ends after {length:.1f} of {duration:.1f} seconds.")


class VideoWriter:
    """Writes a video beside one that is read: with its times, and its sound as it is. Use it in a `with` block.

    Args:
        path (`Path`): The file, `.mp4`, `.mov` or `.mkv`.
        reader ([`VideoReader`]): The video that it goes with.

    Raises:
        ValueError: If the container cannot hold the sound.
    """

    def __init__(self, path: Path, reader: VideoReader) -> None:
        self._av = load_av()
        self._reader, self._ending = reader, path.suffix
        self._container = self._av.open(str(path), "w")
        self._video = None
        self._sound = None
        self._early_sound: list[Any] = []
        if reader.has_sound:
            with self._named_sound():
                self._sound = self._container.add_stream_from_template(reader.container.streams.audio[0])

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: type | None, *error: object) -> None:
        if kind is not None:
            # That such a file cannot be completed says nothing new.
            with suppress(self._av.error.FFmpegError):
                self._container.close()
            return
        if self._video is not None:
            self._container.mux(self._video.encode(None))
        # Some codecs are refused at the beginning of a file, others at its end, where the index is written.
        with self._named_sound():
            self._container.close()

    @contextmanager
    def _named_sound(self) -> Iterator[None]:
        """Blames the sound for arguments that FFmpeg refuses."""
        try:
            yield
        except ValueError as error:
            if not self._reader.has_sound:
                raise
            sound = self._reader.container.streams.audio[0].codec_context.name
            raise ValueError(
                f"{self._ending} cannot hold its sound ({sound}): name an --output that ends in .mkv."
            ) from error

    def write_sound(self, packet: Any) -> None:
        """Writes sound.

        Args:
            packet (`av.Packet`): Of the reader's sound.
        """
        if packet.dts is None:  # the end of the stream
            return
        if self._video is None:  # nothing is written before all streams are known
            self._early_sound.append(packet)
            return
        packet.stream = self._sound
        self._container.mux(packet)

    def write(self, picture: Image.Image, pts: int) -> None:
        """Writes a frame.

        Args:
            picture (`PIL.Image.Image`): RGB, all of one size of even numbers.
            pts (`int`): Its time, as that of [`Frame`].

        Raises:
            ValueError: If the container cannot hold the sound.
        """
        if self._video is None:
            self._start(picture)
        frame = self._av.VideoFrame.from_image(picture).reformat(
            format="yuv420p", dst_colorspace="ITU709", dst_color_range="MPEG"
        )
        frame.pts, frame.time_base = pts, self._reader.stream.time_base
        self._container.mux(self._video.encode(frame))

    def _start(self, picture: Image.Image) -> None:
        source = self._reader.stream
        rate = source.average_rate or source.guessed_rate or Fraction(25)
        self._video = self._container.add_stream("libx264", rate=rate, options=ENCODING)
        self._video.width, self._video.height = picture.size
        self._video.pix_fmt = "yuv420p"
        context = self._video.codec_context
        # The times of the frames are kept, also where their distances vary.
        self._video.time_base = context.time_base = source.time_base
        context.colorspace = context.color_primaries = context.color_trc = 1  # BT.709
        with self._named_sound():
            self._container.start_encoding()
        early, self._early_sound = self._early_sound, []
        for packet in early:
            self.write_sound(packet)


__all__ = ["OUTPUT_ENDINGS", "Frame", "VideoReader", "VideoWriter", "load_av"]
