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
        check_annotation_options(formats, self.options)
        if self.annotations:
            from . import shapes  # noqa: F401, so that its absence is told before anything is segmented
        self._has_begun, self._lock = False, Lock()

    def write(self, result: "Segmentation", targets: Mapping[Output, Path]) -> None:
        """Writes the results of a photo.

        Args:
            result ([`Segmentation`]): The photo.
            targets (`Mapping[Output, Path]`): Where they go, by format.

        Raises:
            OSError: If one cannot be written; then nothing of it is left behind, and those before are whole.
            ValueError: If the folder holds annotations of other classes.
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
            address = format.address(result.name, file_name, path, self.options.image_url)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_text(path, format.text(photo, address))
            if self.folder is None:
                _write_texts(format.class_files(format.home(path), photo.names, self.options.shapes))

    def begin(self, names: Sequence[str]) -> None:
        """Records classes and shapes; what was recorded before must be the same. The first photo does it otherwise.

        Args:
            names (`Sequence[str]`): What the classes are called.

        Raises:
            ValueError: If the folder holds annotations of other classes.
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
            record.parent.mkdir(parents=True, exist_ok=True)
            _write_text(record, json.dumps(content, ensure_ascii=False))
        self._has_begun = True

    def finish(self) -> None:
        """Writes the files of all photos together, those of earlier runs included.

        Raises:
            OSError: If one cannot be written; the one before stays.
        """
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


def check_annotation_options(formats: Sequence[Format], options: AnnotationOptions) -> None:
    """Refuses options of annotations without effect.

    Args:
        formats (`Sequence[Format]`): All formats.
        options ([`AnnotationOptions`]): How annotations are made.

    Raises:
        ValueError: If there are no annotations for an option, or a format cannot hold what they ask for.
    """
    annotations = [format for format in formats if isinstance(format, AnnotationFormat)]
    given = options.given()
    for name in given:
        owners = [format for format in FORMATS if name in getattr(format, "own_options", ())]
        if owners and not any(format in formats for format in owners):
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag} is for --format {' or '.join(each.name for each in owners)}: give that too.")
    if given and not annotations:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        listed = ", ".join(format.name for format in formats)
        raise ValueError(f"{flags}: without effect on {listed}; give a --format of annotations too.")
    for format in annotations:
        format.check_options(options)


def _pieces(folder: Path) -> Iterator[Path]:
    """The files of single photos, in alphabetical order, without what a killed process left unfinished."""
    for place, subfolders, names in os.walk(folder):
        subfolders.sort()
        whole = (name for name in sorted(names) if name.endswith(".piece") and not name.startswith(".unfinished-"))
        yield from (Path(place, name) for name in whole)


def _write_texts(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        _write_text(path, text)


def _write_text(path: Path, text: str) -> None:
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


__all__ = ["STDIN", "ResultFiles", "check_annotation_options"]
