# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Overlays: the classes drawn over a photo, over the frames of a video, or over an overview of a large image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .format import Format, FrameResults, LargeImageOutput, StripResults, VideoOutput


if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from catseg_hf.segmenting.segmentation import Segmentation

    from .video_writer import VideoWriter

# Containers that hold H.264, and the sound of almost all videos.
VIDEO_ENDINGS = (".mkv", ".mov", ".mp4")
# Most pixels of the longer side of the overview of a large image.
OVERVIEW_SIDE = 4096
# Class of pixels without one.
NO_CLASS = -1
# More classes than this are not all named in the legend of a video.
LEGEND_CLASSES = 60


def check_picture(output: Path) -> None:
    """Refuses files that Pillow cannot write.

    Args:
        output (`Path`): The file.

    Raises:
        ValueError: If its ending is of no picture format.
    """
    from PIL import Image

    Image.init()
    if Image.registered_extensions().get(output.suffix.lower()) not in Image.SAVE:
        raise ValueError(f"--output {output} has no ending of a picture format: use .png, .jpg or .webp.")


class OverlayVideo(VideoOutput):
    """A video of all frames, with their times, their sound and a legend that stays where it is."""

    name = "overlay"
    ending = ".overlay.mp4"
    default_output = "overlay.mp4"

    def check_output(self, output: Path) -> None:
        """See [`Output.check_output`]."""
        super().check_output(output)
        if output.suffix.lower() not in VIDEO_ENDINGS:
            raise ValueError(f"--output {output} must end in {', '.join(VIDEO_ENDINGS)}: a video becomes a video.")

    @contextmanager
    def open(self, path: Path, reader: Any, labels: Sequence[str | list[str]]) -> Iterator["OverlayFrames"]:
        """See [`VideoOutput.open`]."""
        from .video_writer import VideoWriter

        with VideoWriter(path, reader) as writer:
            yield OverlayFrames(writer, labels)


class OverlayFrames(FrameResults):
    """Draws frames. Those that are not segmented have the classes of the last one that was.

    Args:
        writer ([`VideoWriter`]): What they are written with.
        labels (`Sequence[str | list[str]]`): The classes.
    """

    def __init__(self, writer: "VideoWriter", labels: Sequence[str | list[str]]) -> None:
        self.sound = self.writer = writer
        self.labels = labels
        self.painter: FramePainter | None = None

    def add(self, number: int, frame: Any, result: "Segmentation", is_segmented: bool) -> None:
        """See [`FrameResults.add`]."""
        self.painter = self.painter or FramePainter(self.labels, NO_CLASS, frame.picture.size)
        self.writer.write(self.painter(frame.picture, result.class_ids), frame.pts)


class FramePainter:
    """Draws overlays of one size, with a legend of all classes that stays where it is.

    Args:
        labels (`Sequence[str | list[str]]`): The classes.
        background_id (`int`): Class id that is left uncoloured.
        size (`tuple[int, int]`): Width and height of the frames.
    """

    def __init__(self, labels: Sequence[str | list[str]], background_id: int, size: tuple[int, int]) -> None:
        from PIL import Image

        from catseg_hf.pictures import label_colors
        from catseg_hf.pictures.text import with_legend

        self.labels, self.background_id = labels, background_id
        entries = [
            (label if isinstance(label, str) else ", ".join(label), "", tuple(color))
            for label, color in zip(labels, label_colors(labels).tolist(), strict=True)
        ]
        if len(entries) > LEGEND_CLASSES:
            more = len(entries) - LEGEND_CLASSES + 1
            entries = [*entries[: LEGEND_CLASSES - 1], (f"and {more} more", "", (255, 255, 255))]
        sheet = with_legend(Image.new("RGB", size, "white"), entries, None)
        # H.264 takes even sizes only.
        self.canvas = Image.new("RGB", (sheet.width + sheet.width % 2, sheet.height + sheet.height % 2), "white")
        self.canvas.paste(sheet)
        self.place = (sheet.width - size[0]) // 2, 0

    def __call__(self, picture: "Image.Image", class_ids: "np.ndarray") -> "Image.Image":
        """Draws a segmentation over a frame.

        Args:
            picture (`PIL.Image.Image`): The frame.
            class_ids (`np.ndarray` of shape `(height, width)`): Class of each of its pixels.

        Returns:
            `PIL.Image.Image`: The frame with colours and legend, RGB, of even width and height.
        """
        from catseg_hf.pictures import overlay

        drawn = overlay(picture, class_ids, self.labels, legend=False, background_id=self.background_id)
        canvas = self.canvas.copy()
        canvas.paste(drawn, self.place)
        return canvas


class Overview(LargeImageOutput):
    """A picture of a large image, reduced to at most [`OVERVIEW_SIDE`] pixels."""

    name = "overlay"
    ending = ".png"
    default_output = "overlay.png"

    def check_output(self, output: Path) -> None:
        """See [`Output.check_output`]."""
        super().check_output(output)
        check_picture(output)

    @contextmanager
    def open(
        self, path: Path, source: Any, labels: Sequence[str | list[str]], image_name: str
    ) -> Iterator["OverviewRows"]:
        """See [`LargeImageOutput.open`]."""
        from catseg_hf.pictures import overlay

        rows = OverviewRows(source)
        yield rows
        # Broad edges would hide what is small in an overview.
        edge_width = 1 if rows.picture.width < source.width else None
        drawn = overlay(rows.picture, rows.class_ids, labels, background_id=NO_CLASS, edge_width=edge_width)
        drawn.save(path)


class OverviewRows(StripResults):
    """Takes of all rows the pixels in the middle of those of an overview.

    Args:
        source ([`ImageSource`]): The image.
    """

    def __init__(self, source: Any) -> None:
        import numpy as np

        self.picture = source.overview(OVERVIEW_SIDE)
        width, height = self.picture.size
        self.class_ids = np.full((height, width), NO_CLASS, dtype=np.int32)
        self.rows = (2 * np.arange(height) + 1) * source.height // (2 * height)
        self.columns = (2 * np.arange(width) + 1) * source.width // (2 * width)

    def add(self, top: int, class_ids: "np.ndarray") -> None:
        """See [`StripResults.add`]."""
        first, last = self.rows.searchsorted((top, top + len(class_ids)))
        self.class_ids[first:last] = class_ids[self.rows[first:last] - top][:, self.columns]


class Overlay(Format):
    """A picture with a legend, of the format that the ending of its file says."""

    name = "overlay"
    title = "Overlay"
    help = "a picture with a legend"
    ending = ".png"
    default_output = "overlay.png"
    file_endings = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
    media_type = "image/png"
    video = OverlayVideo()
    large_image = Overview()

    def check_output(self, output: Path) -> None:
        """See [`Output.check_output`]."""
        super().check_output(output)
        check_picture(output)

    def save(self, result: "Segmentation", path: Path) -> None:
        """See [`Format.save`]."""
        result.overlay().save(path)

    def answer(self, result: "Segmentation", model: str) -> bytes:
        """See [`Format.answer`]."""
        file = BytesIO()
        result.overlay().save(file, format="PNG")
        return file.getvalue()


__all__ = ["FramePainter", "Overlay"]
