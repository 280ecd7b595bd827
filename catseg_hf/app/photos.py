# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos for `catseg segment`: which ones, and where their results go."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from catseg_hf.app import annotation_places
from catseg_hf.app.outputs import ENDINGS, write_result
from catseg_hf.app.photo_names import PHOTO_ENDINGS, STDIN, is_url, named_photos
from catseg_hf.app.segmentation import Segmentation


if TYPE_CHECKING:
    from catseg_hf.app.annotation_files import AnnotationFiles


# Of a single photo, in the current folder.
DEFAULT_OUTPUTS = {
    "overlay": "overlay.png",
    "label-map": "label-map.png",
    "masks": "masks",
    "rle": "rle.json",
    "json": "segmentation.json",
    **annotation_places.DEFAULT_OUTPUTS,
}


@dataclass(frozen=True)
class Photo:
    """A photo to segment.

    Args:
        name (`str`): Its path or URL, or `"-"` for standard input.
        targets (`dict[str, Path]`): Where its results go, by format.
    """

    name: str
    targets: dict[str, Path]

    @property
    def is_done(self) -> bool:
        """Whether all results are there."""
        return all(path.exists() for path in self.targets.values())


def find_photos(
    inputs: Sequence[str], output: Path | None, formats: Sequence[str], endings: Mapping[str, str] = ENDINGS
) -> tuple[list[Photo], dict[str, str], Path]:
    """Finds all photos and decides where their results go; no two results ever share a file.

    Args:
        inputs (`Sequence[str]`): Files, folders (with all that is in them), `http(s)` URLs, or `"-"`.
        output (`Path`, *optional*):
            For a single photo a file, for several or a folder a folder, in which each photo gets its own name, as
            [`named_photos`] has it, with the ending of the format: results of `dup.jpg` and `dup.png` are
            `dup.jpg.png` and `dup.png.png`, those of `a/x.jpg` and `b/x.jpg` are `a/x.png` and `b/x.png`.
        formats (`Sequence[str]`): What to write.
        endings (`Mapping[str, str]`, *optional*, defaults to [`ENDINGS`]): What follows a photo's name in its results.

    Returns:
        `tuple[list[Photo], dict[str, str], Path]`: The photos, the reason for each that cannot be segmented by its
        name, and `output`, with its default.

    Raises:
        ValueError: If `output` cannot be used.
    """
    inputs = list(dict.fromkeys(inputs))
    if is_one_photo(inputs):
        return _single_photo(inputs[0], output, formats, endings)

    output = Path("segmented") if output is None else output
    if output.is_file() or output.suffix.lower() in (*PHOTO_ENDINGS, ".json"):
        raise ValueError(f"--output {output} must be a folder, as there are several photos: name one.")
    folders = {os.path.realpath(name) for name in inputs if os.path.isdir(name)}
    if os.path.realpath(output) in folders:
        raise ValueError(f"--output {output} is the folder of the photos: name another one.")
    photos: list[Photo] = []
    problems: dict[str, str] = {}
    owners = {str(path).casefold(): "all photos" for path in annotation_places.folder_files(output, formats)}
    # Tools of YOLO find labels by the photo's name without its ending.
    named = named_photos(inputs, output, problems, keep_endings="yolo" not in formats)
    # Some file systems take capital and small letters for the same.
    originals = {os.path.realpath(name).casefold() for name, _ in named}
    for name, stem in named:
        targets = targets_of(stem, output, formats, endings)
        owner = next((owners[key] for path in targets.values() if (key := str(path).casefold()) in owners), None)
        if owner is not None:
            problems[name] = f"its results would replace those of {owner}: segment it alone, or rename it."
        elif any(os.path.realpath(path).casefold() in originals for path in targets.values()):
            problems[name] = "its results would replace a photo: name another --output."
        else:
            owners.update((str(path).casefold(), name) for path in targets.values())
            photos.append(Photo(name, targets))
    return photos, problems, output


def _single_photo(
    name: str, output: Path | None, formats: Sequence[str], endings: Mapping[str, str]
) -> tuple[list[Photo], dict[str, str], Path]:
    first = formats[0]
    map_ending = Path(endings["label-map"]).suffix
    if output is None:
        output = Path(DEFAULT_OUTPUTS[first])
        output = output.with_suffix(map_ending) if first == "label-map" else output
    if first in ("masks", "yolo"):
        if output.is_file():
            what = "masks" if first == "masks" else "labels of YOLO"
            raise ValueError(f"--output {output} is a file: {what} go into a folder.")
    elif output.is_dir():
        raise ValueError(f"--output {output} is a folder: name a file in it, such as {output / 'overlay.png'}.")
    else:
        _check_ending(output, first, map_ending)
    endings = {**annotation_places.ENDINGS, **endings}
    targets = {first: output, **{kind: output.with_name(f"{output.stem}{endings[kind]}") for kind in formats[1:]}}
    if "yolo" in targets:
        stem = dict(named_photos([name], output, {})).get(name, Path("photo"))
        targets["yolo"] = annotation_places.target_in_folder(targets["yolo"], stem, "yolo")
    if len(set(targets.values())) < len(targets):
        raise ValueError(f"--output {output} does not fit its formats {', '.join(formats)}: two would share a file.")
    if any(os.path.realpath(path) == os.path.realpath(name) for path in targets.values()):
        raise ValueError(f"--output {output} would replace the photo itself: name another file.")
    if not (name == STDIN or is_url(name) or os.path.isfile(name)):
        return [], {name: "there is no such file or folder."}, output
    return [Photo(name, targets)], {}, output


def targets_of(
    stem: Path, output: Path, formats: Sequence[str], endings: Mapping[str, str] = ENDINGS
) -> dict[str, Path]:
    """Where the results of one of several photos go.

    Args:
        stem (`Path`): Of the photo, relative to the folder of results, without an ending.
        output (`Path`): That folder.
        formats (`Sequence[str]`): What to write.
        endings (`Mapping[str, str]`, *optional*, defaults to [`ENDINGS`]): What follows a photo's name in its results.

    Returns:
        `dict[str, Path]`: By format.
    """
    return {
        kind: output / f"{stem}{endings[kind]}"
        if kind in endings
        else annotation_places.target_in_folder(output, stem, kind)
        for kind in formats
    }


def _check_ending(output: Path, kind: str, map_ending: str) -> None:
    if kind not in ("overlay", "label-map"):
        return
    if kind == "label-map" and output.suffix.lower() != map_ending:
        raise ValueError(f"--output {output} must end in {map_ending}: other formats change class ids.")
    Image.init()
    known = Image.registered_extensions().get(output.suffix.lower())
    if known not in Image.SAVE:
        raise ValueError(f"--output {output} has no ending of a picture format: use .png, .jpg or .webp.")


def write_photo(photo: Photo, result: Segmentation, files: "AnnotationFiles | None" = None) -> None:
    """Writes all results of a photo.

    Args:
        photo ([`Photo`]): The photo, with its targets.
        result ([`Segmentation`]): Its segmentation.
        files ([`AnnotationFiles`], *optional*): What writes the formats that hold annotations.

    Raises:
        OSError: If one cannot be written; those before are whole.
    """
    if files is not None:
        files.write(result, photo.targets)
    for kind, path in photo.targets.items():
        if files is None or kind not in files.kinds:
            write_result(result, kind, path)


def is_one_photo(inputs: Sequence[str]) -> bool:
    """Whether a command names a single photo, and not several or a folder.

    Args:
        inputs (`Sequence[str]`): As for [`find_photos`].

    Returns:
        `bool`
    """
    return len(set(inputs)) == 1 and not os.path.isdir(inputs[0])


__all__ = ["Photo", "find_photos", "is_one_photo", "targets_of", "write_photo"]
