# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label maps: class ids as a PNG, of the frames of a video as a folder of these, of a large image as a TIFF."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .format import AddFrame, AddRows, Format, LargeImageOutput, VideoOutput


if TYPE_CHECKING:
    from catseg_hf.segmenting.segmentation import Segmentation

WHY_ENDING = "other formats change class ids"


def save_label_map(result: "Segmentation", file: Path | BinaryIO) -> None:
    """Saves class ids as a PNG; see [`LabelMap`]."""
    import numpy as np
    from PIL import Image, PngImagePlugin

    kind = np.uint8 if len(result.labels) <= 255 else np.uint16
    ids = np.where(result.class_ids < 0, np.iinfo(kind).max, result.class_ids).astype(kind)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("labels", json.dumps(result.names, ensure_ascii=False))
    Image.fromarray(ids).save(file, format="PNG", pnginfo=text)


class VideoLabelMaps(VideoOutput):
    """A folder with a PNG for each segmented frame, `000000.png` and so on by the number of the frame.

    Its `frames.json` has the labels, and the time of each frame.
    """

    name = "label-map"
    ending = ".labels"
    default_output = "labels"
    contents = "label maps of frames"

    @contextmanager
    def open(self, path: Path, reader: Any, labels: Sequence[str | list[str]]) -> Iterator[AddFrame]:
        """See [`VideoOutput.open`]."""
        content: dict[str, Any] = {"labels": [], "frames": []}

        def add(number: int, frame: Any, result: "Segmentation", is_segmented: bool) -> None:
            if is_segmented:
                name = f"{number:06}.png"
                save_label_map(result, path / name)
                content["labels"] = result.names
                content["frames"].append({"file": name, "frame": number, "seconds": round(frame.seconds, 6)})

        path.mkdir()
        yield add
        (path / "frames.json").write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


class LargeLabelMap(LargeImageOutput):
    """A TIFF with colours, with the georeference of the image."""

    name = "label-map"
    ending = ".labels.tif"
    default_output = "label-map.tif"
    output_endings, output_reason = (".tif",), WHY_ENDING
    needs_rasterio = True

    @contextmanager
    def open(self, path: Path, source: Any, labels: Sequence[str | list[str]], image_name: str) -> Iterator[AddRows]:
        """See [`LargeImageOutput.open`]."""
        from catseg_hf.large_images import LabelMapWriter

        with LabelMapWriter(path, source.height, source.width, labels, source.georeference) as writer:
            yield lambda top, class_ids: writer.write(class_ids)


class LabelMap(Format):
    """A PNG of class ids: of 8 bits with 255 for no class or, for more than 255 classes, of 16 bits with 65535.

    Its text chunk `labels` holds the names as a JSON list.
    """

    name = "label-map"
    title = "Label map"
    help = "a PNG of class numbers, 255 for none"
    ending = ".labels.png"
    default_output = "label-map.png"
    output_endings, output_reason = (".png",), WHY_ENDING
    media_type = "image/png"
    video = VideoLabelMaps()
    large_image = LargeLabelMap()
    save = staticmethod(save_label_map)

    def answer(self, result: "Segmentation", model: str) -> bytes:
        """See [`Format.answer`]."""
        file = BytesIO()
        save_label_map(result, file)
        return file.getvalue()
