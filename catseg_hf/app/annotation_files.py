# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Annotations as files: of a photo, and of all photos of a folder together, also over several runs."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from catseg_hf.app.annotation_places import FOLDER_FILES, PIECES, config_file, place_in_folder
from catseg_hf.app.photo_names import STDIN, is_url
from catseg_hf.app.segmentation import Segmentation
from catseg_hf.atomic_files import written_whole


if TYPE_CHECKING:
    from catseg_hf.annotations import AnnotatedPhoto, AnnotationOptions


# Below this address Label Studio serves files of its machine.
LOCAL_FILES = "/data/local-files/?d="


class AnnotationFiles:
    """Writes the annotations of photos, from several threads.

    Args:
        kinds (`Sequence[str]`): The formats.
        options ([`AnnotationOptions`]): How annotations are made.
        folder (`Path`, *optional*): The folder of results of several photos; `None` for a single photo.
        image_url (`str`, *optional*):
            For Label Studio: what the address of a photo starts with, before its path in its folder. By default
            photos are found by their paths on this machine, and those from the web by their URLs.
        goes_on (`bool`, *optional*, defaults to `False`):
            Whether the photos of earlier runs stay where these had other classes, which is an error then.

    Raises:
        ValueError: If a format cannot hold what the options ask for.
    """

    def __init__(
        self,
        kinds: Sequence[str],
        options: "AnnotationOptions",
        folder: Path | None,
        image_url: str | None = None,
        goes_on: bool = False,
    ) -> None:
        for kind in kinds:
            options.check(kind)
        self.kinds, self.options, self.folder = kinds, options, folder
        self.image_url, self.goes_on = image_url, goes_on
        self._has_begun, self._lock = False, Lock()

    def write(self, result: Segmentation, targets: dict[str, Path]) -> None:
        """Writes the annotations of a photo.

        Args:
            result ([`Segmentation`]): The photo.
            targets (`dict[str, Path]`): Where its results go, by format, others too.

        Raises:
            OSError: If it cannot be written; then nothing is left behind.
            ValueError: If the folder holds annotations of other classes.
        """
        with self._lock:
            if self.folder is not None and not self._has_begun:
                self.begin(result.names)
        first = self.kinds[0]
        photo = result.annotate(self.options, self._file_name(result.name, first, targets[first]))
        for kind in self.kinds:
            path = targets[kind]
            path.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(path) as unfinished:
                unfinished.write_text(self._text(photo, kind, result.name), encoding="utf-8")
            if self.folder is None:
                _write_classes(kind, photo.names, self.options.shapes, path.parent.parent if kind == "yolo" else path)

    def finish(self) -> None:
        """Writes the files of all photos together, those of earlier runs included.

        Raises:
            OSError: If one cannot be written; the one before stays.
        """
        for kind in self.kinds if self.folder is not None else ():
            if kind == "geojson" or not (record := self._record(kind)).is_file():
                continue
            names, shapes = json.loads(record.read_text(encoding="utf-8")).values()
            target = self.folder / FOLDER_FILES.get(kind, "")
            if kind in FOLDER_FILES:
                self._merge(kind, names, target)
            _write_classes(kind, names, shapes, target)

    def _merge(self, kind: str, names: Sequence[str], path: Path) -> None:
        """Writes the file of all photos together."""
        from catseg_hf import annotations

        pieces = _pieces(place_in_folder(self.folder, kind))
        with written_whole(path) as unfinished, open(unfinished, "w", encoding="utf-8") as file:
            if kind == "coco":
                annotations.merge_coco(pieces, names, file)
            elif kind == "cvat":
                annotations.merge_cvat(pieces, names, file)
            else:
                annotations.merge_label_studio(pieces, file)

    def begin(self, names: Sequence[str]) -> None:
        """Records classes and shapes; what was recorded before must be the same. The first photo does it otherwise.

        Args:
            names (`Sequence[str]`): What the classes are called.

        Raises:
            ValueError: If the folder holds annotations of other classes.
        """
        content = {"labels": list(names), "shapes": self.options.shapes}
        records = {kind: self._record(kind) for kind in self.kinds if kind != "geojson"}
        found = {kind: json.loads(path.read_text(encoding="utf-8")) for kind, path in records.items() if path.is_file()}
        others = {kind: old for kind, old in found.items() if old != content}
        for kind, old in others.items():
            if self.goes_on or kind == "yolo":
                listed = ", ".join([*old["labels"][:5], *["…"][: len(old["labels"]) > 5]])
                raise ValueError(
                    f"{self.folder} holds annotations in the format {kind} that do not go together with these: "
                    f"{old['shapes']} of {len(old['labels'])} classes ({listed}). Name another --output, or "
                    "remove that folder."
                )
        for kind, record in records.items():
            for piece in _pieces(place_in_folder(self.folder, kind)) if kind in others else ():
                piece.unlink()
            record.parent.mkdir(parents=True, exist_ok=True)
            with written_whole(record) as unfinished:
                unfinished.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        self._has_begun = True

    def _record(self, kind: str) -> Path:
        return self.folder / PIECES / f"{kind}.json"

    def _file_name(self, name: str, kind: str, path: Path) -> str:
        """Path of a photo relative to the folder that it was found in."""
        if name == STDIN:
            own_name = "stdin"
        else:
            own_name = PurePosixPath(unquote(urlsplit(name).path)).name if is_url(name) else Path(name).name
        if self.folder is None:
            return own_name
        return (path.parent.relative_to(place_in_folder(self.folder, kind)) / own_name).as_posix()

    def _text(self, photo: "AnnotatedPhoto", kind: str, name: str) -> str:
        from catseg_hf import annotations

        content: Any
        if kind == "yolo":
            return annotations.to_yolo(photo)
        if kind == "cvat":
            return annotations.to_cvat(photo)
        if kind == "label-studio":
            content = annotations.to_label_studio(photo, self._address(name, photo.file_name))
        else:
            content = (annotations.to_coco if kind == "coco" else annotations.to_geojson)(photo)
        return json.dumps(content, ensure_ascii=False) + "\n"

    def _address(self, name: str, file_name: str) -> str:
        if is_url(name):
            return name
        if self.image_url is not None:
            return self.image_url + quote(file_name)
        return LOCAL_FILES + quote(Path(name).resolve().as_posix().lstrip("/"))


def _pieces(folder: Path) -> Iterator[Path]:
    """The files of single photos, in alphabetical order, without what a killed process left unfinished."""
    for place, subfolders, names in os.walk(folder):
        subfolders.sort()
        whole = (name for name in sorted(names) if name.endswith(".piece") and not name.startswith(".unfinished-"))
        yield from (Path(place, name) for name in whole)


def _write_classes(kind: str, names: Sequence[str], shapes: str, path: Path) -> None:
    """Writes the file that describes the classes, where the format has one of its own."""
    from catseg_hf import annotations

    if kind == "yolo":
        path, text = path / "data.yaml", annotations.yolo_data(names)
    elif kind == "label-studio":
        path, text = config_file(path), annotations.label_studio_config(names, shapes)
    else:
        return
    with written_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


__all__ = ["AnnotationFiles"]
