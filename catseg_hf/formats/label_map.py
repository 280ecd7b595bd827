# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label maps: class ids as a PNG, of the frames of a video as a folder of these, of a large image as a TIFF."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .format import Format, FrameResults, LargeImageOutput, StripResults, VideoOutput


if TYPE_CHECKING:
    import numpy as np

    from catseg_hf.segmenting.segmentation import Segmentation


class VideoLabelMaps(VideoOutput):
    """A folder with a PNG for each segmented frame, `000000.png` and so on by the number of the frame.

    Its `frames.json` has the labels, and the time of each frame.
    """

    name = "label-map"
    ending = ".labels"
    default_output = "labels"
    contents = "label maps of frames"

    @contextmanager
    def open(self, path: Path, reader: Any, labels: Sequence[str | list[str]]) -> Iterator["FrameLabelMaps"]:
        """See [`VideoOutput.open`]."""
        path.mkdir()
        maps = FrameLabelMaps(path)
        yield maps
        content = json.dumps({"labels": maps.names, "frames": maps.frames}, ensure_ascii=False, indent=1)
        (path / "frames.json").write_text(content + "\n", encoding="utf-8")


class FrameLabelMaps(FrameResults):
    """Writes label maps of frames.

    Args:
        folder (`Path`): Where to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self.frames: list[dict[str, Any]] = []

    def add(self, number: int, frame: Any, result: "Segmentation", is_segmented: bool) -> None:
        """See [`FrameResults.add`]."""
        if is_segmented:
            name = f"{number:06}.png"
            save_label_map(result, self.folder / name)
            self.names = result.names
            self.frames.append({"file": name, "frame": number, "seconds": round(frame.seconds, 6)})


class LargeLabelMap(LargeImageOutput):
    """A TIFF with colours, with the georeference of the image."""

    name = "label-map"
    ending = ".labels.tif"
    default_output = "label-map.tif"
    needs_rasterio = True

    def check_output(self, output: Path) -> None:
        """See [`Output.check_output`]."""
        super().check_output(output)
        _check_ending(output, ".tif")

    @contextmanager
    def open(self, path: Path, source: Any, labels: Sequence[str | list[str]], image_name: str) -> Iterator["TiffRows"]:
        """See [`LargeImageOutput.open`]."""
        with TiffRows(path, source, labels) as rows:
            yield rows


class TiffRows(StripResults):
    """Writes the rows of a label map. Use it in a `with` block.

    Args:
        path (`Path`): Where to.
        source ([`ImageSource`]): The image.
        labels (`Sequence[str | list[str]]`): The classes.
    """

    def __init__(self, path: Path, source: Any, labels: Sequence[str | list[str]]) -> None:
        from catseg_hf.large_images import LabelMapWriter

        self.writer = LabelMapWriter(path, source.height, source.width, labels, source.georeference)

    def __enter__(self) -> "TiffRows":
        return self

    def __exit__(self, *error: object) -> None:
        self.writer.__exit__(*error)

    def add(self, top: int, class_ids: "np.ndarray") -> None:
        """See [`StripResults.add`]."""
        self.writer.write(class_ids)


class LabelMap(Format):
    """A PNG of class ids: of 8 bits with 255 for no class or, for more than 255 classes, of 16 bits with 65535.

    Its text chunk `labels` holds the names as a JSON list.
    """

    name = "label-map"
    title = "Label map"
    help = "a PNG of class numbers, 255 for none"
    ending = ".labels.png"
    default_output = "label-map.png"
    media_type = "image/png"
    video = VideoLabelMaps()
    large_image = LargeLabelMap()

    def check_output(self, output: Path) -> None:
        """See [`Output.check_output`]."""
        super().check_output(output)
        _check_ending(output, ".png")

    def save(self, result: "Segmentation", path: Path) -> None:
        """See [`Format.save`]."""
        save_label_map(result, path)

    def answer(self, result: "Segmentation", model: str) -> bytes:
        """See [`Format.answer`]."""
        file = BytesIO()
        save_label_map(result, file)
        return file.getvalue()


def save_label_map(result: "Segmentation", file: Path | BinaryIO) -> None:
    """Saves class ids as a PNG; see [`LabelMap`].

    Args:
        result ([`Segmentation`]): The photo.
        file (`Path` or `BinaryIO`): Where to.
    """
    import numpy as np
    from PIL import Image, PngImagePlugin

    kind = np.uint8 if len(result.labels) <= 255 else np.uint16
    ids = np.where(result.class_ids < 0, np.iinfo(kind).max, result.class_ids).astype(kind)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("labels", json.dumps(result.names, ensure_ascii=False))
    Image.fromarray(ids).save(file, format="PNG", pnginfo=text)


def _check_ending(output: Path, ending: str) -> None:
    if output.suffix.lower() != ending:
        raise ValueError(f"--output {output} must end in {ending}: other formats change class ids.")


__all__ = ["LabelMap", "TiffRows", "save_label_map"]
