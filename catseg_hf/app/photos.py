# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Photos for `catseg segment`: which ones, and where their results go."""

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from PIL import Image

from catseg_hf.app import annotation_places
from catseg_hf.app.outputs import ENDINGS


STDIN = "-"
# Of a single photo, in the current folder.
DEFAULT_OUTPUTS = {
    "overlay": "overlay.png",
    "label-map": "label-map.png",
    "masks": "masks",
    "rle": "rle.json",
    "json": "segmentation.json",
    **annotation_places.DEFAULT_OUTPUTS,
}
# Files in folders with other endings are left alone.
PHOTO_ENDINGS = (".avif", ".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


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
            For a single photo a file, for several or a folder a folder, in which each photo gets its own name with the
            ending of the format, in the same subfolders. Photos that differ only in their ending keep it: results of
            `dup.jpg` and `dup.png` are `dup.jpg.png` and `dup.png.png`.
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
    # Some file systems take capital and small letters for the same.
    originals = {os.path.realpath(name).casefold() for name in inputs}
    named = list(_named_photos(inputs, output, problems))
    shared = Counter(str(stem).casefold() for _, stem in named)
    for name, stem in named:
        # But for YOLO, whose tools find labels by the stem alone.
        if shared[str(stem).casefold()] > 1 and not is_url(name) and "yolo" not in formats:
            stem = stem.with_name(
                Path(name).name
            )  # two photos of one name keep their endings: dup.jpg.png, dup.png.png
        targets = {kind: _target(output, stem, kind, endings) for kind in formats}
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
        stem = dict(_named_photos([name], output, {})).get(name, Path("photo"))
        targets["yolo"] = annotation_places.target_in_folder(targets["yolo"], stem, "yolo")
    if len(set(targets.values())) < len(targets):
        raise ValueError(f"--output {output} does not fit its formats {', '.join(formats)}: two would share a file.")
    if any(os.path.realpath(path) == os.path.realpath(name) for path in targets.values()):
        raise ValueError(f"--output {output} would replace the photo itself: name another file.")
    if not (name == STDIN or is_url(name) or os.path.isfile(name)):
        return [], {name: "there is no such file or folder."}, output
    return [Photo(name, targets)], {}, output


def _target(output: Path, stem: Path, kind: str, endings: Mapping[str, str]) -> Path:
    if kind in endings:
        return output / f"{stem}{endings[kind]}"
    return annotation_places.target_in_folder(output, stem, kind)


def _check_ending(output: Path, kind: str, map_ending: str) -> None:
    if kind not in ("overlay", "label-map"):
        return
    if kind == "label-map" and output.suffix.lower() != map_ending:
        raise ValueError(f"--output {output} must end in {map_ending}: other formats change class ids.")
    Image.init()
    known = Image.registered_extensions().get(output.suffix.lower())
    if known not in Image.SAVE:
        raise ValueError(f"--output {output} has no ending of a picture format: use .png, .jpg or .webp.")


def _named_photos(inputs: Sequence[str], output: Path, problems: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """Names of all photos, and where their results go below the output, without an ending."""
    for name in inputs:
        if name == STDIN:
            yield name, Path("stdin")
        elif is_url(name):
            address = urlsplit(name)
            stem = PurePosixPath(unquote(address.path)).stem or address.netloc
            yield name, Path(re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", stem)[:150])
        elif os.path.isfile(name):
            yield name, Path(Path(name).stem)
        elif os.path.isdir(name):
            found = False
            for path in _photos_in(Path(name), output):
                found = True
                yield str(path), path.relative_to(name).with_suffix("")
            if not found:
                problems[name] = f"there are no photos in this folder ({', '.join(PHOTO_ENDINGS)})."
        else:
            problems[name] = "there is no such file or folder."


def _photos_in(folder: Path, output: Path) -> Iterator[Path]:
    """Photos below a folder in alphabetical order, without hidden files and without earlier results."""
    results = os.path.realpath(output)
    for place, subfolders, files in os.walk(folder):
        subfolders[:] = sorted(
            name
            for name in subfolders
            if not name.startswith(".") and os.path.realpath(os.path.join(place, name)) != results
        )
        for name in sorted(files):
            if name.lower().endswith(PHOTO_ENDINGS) and not name.startswith("."):
                yield Path(place, name)


def is_one_photo(inputs: Sequence[str]) -> bool:
    """Whether a command names a single photo, and not several or a folder.

    Args:
        inputs (`Sequence[str]`): As for [`find_photos`].

    Returns:
        `bool`
    """
    return len(set(inputs)) == 1 and not os.path.isdir(inputs[0])


def is_url(name: str) -> bool:
    """Whether a photo comes from the web.

    Args:
        name (`str`): Its name.

    Returns:
        `bool`
    """
    return name.lower().startswith(("http://", "https://"))


__all__ = ["PHOTO_ENDINGS", "STDIN", "Photo", "find_photos", "is_one_photo", "is_url"]
