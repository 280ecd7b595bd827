# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Overlays: the classes drawn over a photo, over the frames of a video, or over an overview of a large image."""

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .format import AddFrame, AddRows, Format, LargeImageOutput, Output, VideoOutput


if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

    from catseg_hf.segmenting.segmentation import Segmentation

# Most pixels of the longer side of the overview of a large image.
OVERVIEW_SIDE = 4096
# Class of pixels without one.
NO_CLASS = -1
# More classes than this are not all named in the legend of a video.
LEGEND_CLASSES = 60


class PictureOutput(Output):
    """A picture of any format that Pillow writes."""

    name = "overlay"
    ending = ".png"
    default_output = "overlay.png"

    def check_output(self, output: Path) -> None:
        """See [`Output.check_output`]."""
        from PIL import Image

        super().check_output(output)
        Image.init()
        if Image.registered_extensions().get(output.suffix.lower()) not in Image.SAVE:
            raise ValueError(f"--output {output} has no ending of a picture format: use .png, .jpg or .webp.")


class OverlayVideo(VideoOutput):
    """A video of all frames, with their times, their sound and a legend that stays where it is.

    Frames that are not segmented have the classes of the last one that was.
    """

    name = "overlay"
    ending = ".overlay.mp4"
    default_output = "overlay.mp4"
    output_endings = (".mkv", ".mov", ".mp4")  # containers that hold H.264, and the sound of almost all videos
    output_reason = "a video becomes a video"

    @contextmanager
    def open(self, path: Path, reader: Any, labels: Sequence[str | list[str]]) -> Iterator[AddFrame]:
        """See [`VideoOutput.open`]."""
        from .video_writer import VideoWriter

        painter_of = functools.cache(functools.partial(FramePainter, labels, NO_CLASS))

        def add(number: int, frame: Any, result: "Segmentation", is_segmented: bool) -> None:
            paint = painter_of(frame.picture.size)
            writer.write(paint(frame.picture, result.class_ids), frame.pts)

        with VideoWriter(path, reader) as writer:
            yield add


class FramePainter:
    """Draws overlays of one size (width and height), with a legend of all classes that stays where it is.

    `background_id` is a class that is left uncoloured.
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
        """The frame with colours and legend, RGB, of even width and height."""
        from catseg_hf.pictures import overlay

        drawn = overlay(picture, class_ids, self.labels, legend=False, background_id=self.background_id)
        canvas = self.canvas.copy()
        canvas.paste(drawn, self.place)
        return canvas


class Overview(PictureOutput, LargeImageOutput):
    """A picture of a large image, reduced to at most [`OVERVIEW_SIDE`] pixels."""

    @contextmanager
    def open(self, path: Path, source: Any, labels: Sequence[str | list[str]], image_name: str) -> Iterator[AddRows]:
        """See [`LargeImageOutput.open`]; of each pixel of the overview, the one in the middle counts."""
        import numpy as np

        from catseg_hf.pictures import overlay

        picture = source.overview(OVERVIEW_SIDE)
        width, height = picture.size
        ids_of_overview = np.full((height, width), NO_CLASS, dtype=np.int32)
        rows = (2 * np.arange(height) + 1) * source.height // (2 * height)
        columns = (2 * np.arange(width) + 1) * source.width // (2 * width)

        def add(top: int, class_ids: np.ndarray) -> None:
            first, last = rows.searchsorted((top, top + len(class_ids)))
            ids_of_overview[first:last] = class_ids[rows[first:last] - top][:, columns]

        yield add
        # Broad edges would hide what is small in an overview.
        edge_width = 1 if width < source.width else None
        drawn = overlay(picture, ids_of_overview, labels, background_id=NO_CLASS, edge_width=edge_width)
        drawn.save(path)


class Overlay(PictureOutput, Format):
    """A picture with a legend, of the format that the ending of its file says."""

    title = "Overlay"
    help = "a picture with a legend"
    file_endings = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif")
    media_type = "image/png"
    video = OverlayVideo()
    large_image = Overview()

    def save(self, result: "Segmentation", path: Path) -> None:
        """See [`Format.save`]."""
        result.overlay().save(path)

    def answer(self, result: "Segmentation", model: str) -> bytes:
        """See [`Format.answer`]."""
        file = BytesIO()
        result.overlay().save(file, format="PNG")
        return file.getvalue()
