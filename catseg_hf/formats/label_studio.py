# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Label Studio's tasks with predictions (https://labelstud.io/guide/predictions), and the labelling interface."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from .format import AnnotationFormat, is_url, json_line


if TYPE_CHECKING:
    import numpy as np

    from .shapes import AnnotatedPhoto, Annotation

# Below this address Label Studio serves files of its machine.
LOCAL_FILES = "/data/local-files/?d="
# Of each kind of shape the tag of the labelling interface, and what results call it.
TAGS = {"polygons": ("PolygonLabels", "polygonlabels"), "rle": ("BrushLabels", "brushlabels")}
# Of the brush's run lengths: bits of a value, and the four numbers of bits that a length can have.
WORD_BITS, LENGTH_BITS = 8, (3, 4, 8, 16)


@dataclass(frozen=True)
class ResultTags:
    """What the regions of a labelling interface are called, and belong to."""

    from_name: str = "label"  # name of the tag with the labels
    to_name: str = "image"  # name of the tag with the image
    names: Sequence[str] | None = None  # the labels in class-id order; by default what the classes are called


class LabelStudio(AnnotationFormat):
    """Label Studio's tasks."""

    name = "label-studio"
    title = "Label Studio"
    help = "tasks with predictions, and the labelling interface"
    ending = ".tasks.json"
    default_output = "tasks.json"
    needs_scores = True
    holds = frozenset({("polygons", "part"), ("rle", "part"), ("rle", "class")})
    folder_file = "tasks.json"
    own_options = ("image_url",)

    def address(self, name: str, file_name: str, target: Path, image_url: str | None) -> str:
        """Its URL, what it is below `image_url`, or its path on this machine; see [`AnnotationFormat.address`]."""
        if is_url(name):
            return name
        if image_url is not None:
            return image_url + quote(file_name)
        return LOCAL_FILES + quote(Path(name).resolve().as_posix().lstrip("/"))

    def folder_files(self, folder: Path) -> list[Path]:
        """See [`Output.folder_files`]."""
        tasks = folder / self.folder_file
        return [tasks, tasks.with_suffix(".xml")]

    def text(self, photo: "AnnotatedPhoto", address: str) -> str:
        """See [`AnnotationFormat.text`]."""
        return json_line(to_label_studio(photo, address))

    def merge(self, pieces: Iterable[Path], names: Sequence[str], file: TextIO) -> None:
        """See [`AnnotationFormat.merge`]."""
        merge_label_studio(pieces, file)

    def class_files(self, path: Path, names: Sequence[str], shapes: str) -> dict[Path, str]:
        """The labelling interface that belongs to tasks; see [`AnnotationFormat.class_files`]."""
        return {path.with_suffix(".xml"): label_studio_config(names, shapes)}


def to_label_studio(photo: "AnnotatedPhoto", image: str) -> list[dict[str, Any]]:
    """A task with a prediction, for projects with the interface of [`label_studio_config`]; `image` is a URL."""
    prediction: dict[str, Any] = {"model_version": "catseg-hf", "result": to_results(photo)}
    return [{"data": {"image": image}, "predictions": [prediction]}]


def to_results(photo: "AnnotatedPhoto", tags: ResultTags | None = None) -> list[dict[str, Any]]:
    """Regions of a prediction, for an interface with these tags; by default that of [`label_studio_config`]."""
    tags = tags or ResultTags()
    names = photo.names if tags.names is None else tags.names
    results: list[dict[str, Any]] = []
    for annotation in photo.annotations:
        for value in _values(annotation, photo, names[annotation.class_id]):
            result = {
                "id": f"part-{len(results) + 1}",
                "from_name": tags.from_name,
                "to_name": tags.to_name,
                "type": TAGS[photo.options.shapes][1],
                "original_width": photo.width,
                "original_height": photo.height,
                "image_rotation": 0,
                "value": value,
            }
            results.append(result if annotation.score is None else {**result, "score": round(annotation.score, 6)})
    return results


def _values(annotation: "Annotation", photo: "AnnotatedPhoto", name: str) -> list[dict[str, Any]]:
    import numpy as np

    labels = {TAGS[photo.options.shapes][1]: [name]}
    if photo.options.shapes == "rle":
        mask = annotation.mask(photo.height, photo.width)
        return [{"format": "rle", "rle": brush_run_lengths(mask), **labels}]
    scale = np.array([100 / photo.width, 100 / photo.height])
    return [{"points": (ring * scale).round(6).tolist(), "closed": True, **labels} for ring in annotation.rings()]


def brush_run_lengths(mask: "np.ndarray") -> list[int]:
    """A mask of shape `(height, width)` as bytes of Label Studio's brush.

    These are run lengths of the four channels of a picture, packed into bits as
    https://github.com/thi-ng/umbrella/tree/develop/packages/rle-pack does it.
    """
    import numpy as np

    pixels = mask.ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=~pixels[:1]))
    lengths = np.diff(starts, append=pixels.size) * 4
    head = f"{pixels.size * 4:032b}{WORD_BITS - 1:05b}" + "".join(f"{bits - 1:04b}" for bits in LENGTH_BITS)
    parts = [head]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        word = f"{255 * int(pixels[start]):0{WORD_BITS}b}"
        while length:
            block = min(length, 2 ** LENGTH_BITS[-1])
            which = next(index for index, bits in enumerate(LENGTH_BITS) if block <= 2**bits)
            parts.append(f"1{which:02b}{block - 1:0{LENGTH_BITS[which]}b}{word}")
            length -= block
    bits = "".join(parts)
    number = -(-len(bits) // 8)
    return list(int(bits.ljust(number * 8, "0"), 2).to_bytes(number, "big"))


def label_studio_config(names: Sequence[str], shapes: str) -> str:
    """The labelling interface of such tasks: XML, for "Labeling Interface" in the settings of a project."""
    from catseg_hf.pictures import label_colors

    tag = TAGS[shapes][0]
    colors = ("#{:02x}{:02x}{:02x}".format(*color) for color in label_colors(names).tolist())
    labels = [
        f'    <Label value={quoteattr(name)} background="{color}"/>' for name, color in zip(names, colors, strict=True)
    ]
    lines = ['  <Image name="image" value="$image" zoom="true"/>', f'  <{tag} name="label" toName="image">', *labels]
    return "\n".join(["<View>", *lines, f"  </{tag}>", "</View>", ""])


def merge_label_studio(pieces: Iterable[Path], file: TextIO) -> None:
    """Joins files of what [`to_label_studio`] returns; see [`AnnotationFormat.merge`]."""
    file.write("[")
    for number, path in enumerate(pieces):
        (task,) = json.loads(path.read_text(encoding="utf-8"))
        file.write(f"{',' if number else ''}\n{json.dumps(task, ensure_ascii=False)}")
    file.write("\n]\n")
