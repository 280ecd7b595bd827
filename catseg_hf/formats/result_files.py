# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The results of photos as files: of each photo, and of all photos of a folder together, also over several runs."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from catseg_hf.atomic_files import written_whole

from .all_formats import FORMATS
from .format import PIECES, AnnotationFormat, Format, Output, is_url
from .options import AnnotationOptions


if TYPE_CHECKING:
    from catseg_hf.segmenting.segmentation import Segmentation

# The name of a photo that comes from standard input.
STDIN = "-"


class ResultFiles:
    """Writes the results of photos in several formats, from several threads.

    Args:
        formats (`Sequence[Format]`): The formats.
        options ([`AnnotationOptions`], *optional*): How annotations are made.
        folder (`Path`, *optional*): The folder of results of several photos; `None` for a single photo.
        goes_on (`bool`, *optional*, defaults to `False`):
            Whether the photos of earlier runs stay where these had other classes, which is an error then.

    Raises:
        ValueError: If an option has no effect on the formats, or a format cannot hold what they ask for.
        ImportError: If a format of annotations is among them, and the libraries for these are not installed.

    Example:

    ```python
    >>> from pathlib import Path

    >>> from catseg_hf import TINY, Segmenter
    >>> from catseg_hf.formats import ResultFiles, find_format

    >>> segmenter = Segmenter.from_pretrained(TINY, labels=["something red", "ground"], device="cpu")
    >>> files = ResultFiles([find_format("label-map")], folder=Path("results"))
    ```
    """

    def __init__(
        self,
        formats: Sequence[Format],
        options: AnnotationOptions | None = None,
        folder: Path | None = None,
        goes_on: bool = False,
    ) -> None:
        self.formats, self.options = formats, options or AnnotationOptions()
        self.folder, self.goes_on = folder, goes_on
        self.annotations = [format for format in formats if isinstance(format, AnnotationFormat)]
        self._check_options()
        if self.annotations:
            from . import shapes  # noqa: F401, so that its absence is told before anything is segmented
        self._has_begun, self._lock = False, Lock()

    def _check_options(self) -> None:
        """Refuses options without effect on any format, and those that a format cannot hold."""
        given = self.options.given()
        for name in given:
            owners = [format for format in FORMATS if name in getattr(format, "own_options", ())]
            if owners and not any(format in self.formats for format in owners):
                flag = "--" + name.replace("_", "-")
                raise ValueError(f"{flag} is for --format {' or '.join(each.name for each in owners)}: give that too.")
        if given and not self.annotations:
            flags = ", ".join("--" + name.replace("_", "-") for name in given)
            listed = ", ".join(format.name for format in self.formats)
            raise ValueError(f"{flags}: without effect on {listed}; give a --format of annotations too.")
        for format in self.annotations:
            format.check_options(self.options)

    def write(self, result: "Segmentation", targets: Mapping[Output, Path]) -> None:
        """Writes the results of a photo, `result`, to their `targets`, by format.

        If one cannot be written, nothing of it is left behind, and those before are whole.
        """
        if self.annotations:
            self._write_annotations(result, targets)
        for format in self.formats:
            if not isinstance(format, AnnotationFormat):
                format.write(result, targets[format])

    def _write_annotations(self, result: "Segmentation", targets: Mapping[Output, Path]) -> None:
        with self._lock:
            if self.folder is not None and not self._has_begun:
                self.begin(result.names)
        first = self.annotations[0]
        file_name = self._file_name(result.name, first, targets[first])
        photo = result.annotate(self.options, file_name)
        for format in self.annotations:
            path = targets[format]
            texts = {path: format.text(photo, format.address(result.name, file_name, path, self.options.image_url))}
            if self.folder is None:
                home = path if format.contents is None else path.parent.parent
                texts |= format.class_files(home, photo.names, self.options.shapes)
            _write_texts(texts)

    def begin(self, names: Sequence[str]) -> None:
        """Records the shapes, and `names` of the classes, which the first photo does otherwise.

        What was recorded before must be the same: a `ValueError` says what the folder holds.
        """
        content = {"labels": list(names), "shapes": self.options.shapes}
        records = {format: self._record(format) for format in self.annotations if format.records_classes}
        found = {each: json.loads(path.read_text(encoding="utf-8")) for each, path in records.items() if path.is_file()}
        others = {format: old for format, old in found.items() if old != content}
        for format, old in others.items():
            # Files that lie open may have been corrected by hand, and are never removed.
            if self.goes_on or format.folder_file is None:
                listed = ", ".join([*old["labels"][:5], *["…"][: len(old["labels"]) > 5]])
                raise ValueError(
                    f"{self.folder} holds annotations in the format {format.name} that do not go together with these: "
                    f"{old['shapes']} of {len(old['labels'])} classes ({listed}). Name another --output, or "
                    "remove that folder."
                )
        for format, record in records.items():
            for piece in _pieces(format.place(self.folder)) if format in others else ():
                piece.unlink()
            _write_texts({record: json.dumps(content, ensure_ascii=False)})
        self._has_begun = True

    def finish(self) -> None:
        """Writes the files of all photos together, those of earlier runs included, each whole or not at all."""
        for format in self.annotations if self.folder is not None else ():
            if not format.records_classes or not (record := self._record(format)).is_file():
                continue
            names, shapes = json.loads(record.read_text(encoding="utf-8")).values()
            home = self.folder / (format.folder_file or "")
            if format.folder_file is not None:
                pieces = _pieces(format.place(self.folder))
                with written_whole(home) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
                    format.merge(pieces, names, file)
            _write_texts(format.class_files(home, names, shapes))

    def _record(self, format: AnnotationFormat) -> Path:
        return self.folder / PIECES / f"{format.name}.json"

    def _file_name(self, name: str, format: AnnotationFormat, path: Path) -> str:
        """Path of a photo relative to the folder that it was found in."""
        if name == STDIN:
            own_name = "stdin"
        else:
            own_name = PurePosixPath(unquote(urlsplit(name).path)).name if is_url(name) else Path(name).name
        if self.folder is None:
            return own_name
        return (path.parent.relative_to(format.place(self.folder)) / own_name).as_posix()


def _pieces(folder: Path) -> Iterator[Path]:
    """The files of single photos, in alphabetical order, without what a killed process left unfinished."""
    for place, subfolders, names in os.walk(folder):
        subfolders.sort()
        whole = (name for name in sorted(names) if name.endswith(".piece") and not name.startswith(".unfinished-"))
        yield from (Path(place, name) for name in whole)


def _write_texts(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
