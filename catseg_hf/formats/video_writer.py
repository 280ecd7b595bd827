# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Videos, written frame by frame with PyAV: with the times and the sound of those that they are made of."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image


# Of H.264: hardly to be told from the original, and as fast as the model is slow.
ENCODING = {"crf": "20", "preset": "veryfast"}


def load_av() -> ModuleType:
    """PyAV, which reads and writes videos; an `ImportError` has the line that installs it."""
    try:
        import av
    except ImportError as error:
        raise ImportError('Videos need PyAV: `pip install "catseg-hf[video]"`.') from error
    return av


class VideoWriter:
    """Writes a video beside that of a [`VideoReader`]: with its times, and its sound as it is. Use it as a context.

    A `ValueError` says that the container, `.mp4`, `.mov` or `.mkv`, cannot hold the sound.
    """

    def __init__(self, path: Path, reader: Any) -> None:
        self._av = load_av()
        self._reader, self._ending = reader, path.suffix
        self._container = self._av.open(str(path), "w")
        self._video = None
        self._sound = None
        self._early_sound: list[Any] = []
        if reader.has_sound:
            with self._named_sound():
                self._sound = self._container.add_stream_from_template(reader.container.streams.audio[0])
            reader.on_sound = self._write_sound

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

    def _write_sound(self, packet: Any) -> None:
        if packet.dts is None:  # the end of the stream
            return
        if self._video is None:  # nothing is written before all streams are known
            self._early_sound.append(packet)
            return
        packet.stream = self._sound
        self._container.mux(packet)

    def write(self, picture: Image.Image, pts: int) -> None:
        """Writes a frame: RGB, all of one size of even numbers; its time is as that of [`Frame`]."""
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
            self._write_sound(packet)
