# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What a format is: how its results are called, where they lie, and how they are written."""

import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TextIO

from catseg_hf.atomic_files import written_whole

from .options import AnnotationOptions


if TYPE_CHECKING:
    import numpy as np

    from catseg_hf.segmenting.segmentation import Segmentation

    from .shapes import AnnotatedPhoto

# Of a folder of results: what is known of each photo lies here, so that an interrupted run goes on.
PIECES = ".catseg"
# Takes the next frame of a video: its number from 0, the [`Frame`], its segmentation, or that of one shortly before,
# and whether it is its own.
AddFrame = Callable[[int, Any, "Segmentation", bool], None]
# Takes the next rows of a large label map: the number of the first, and class ids, -1 for none.
AddRows = Callable[[int, "np.ndarray"], None]


class Output:
    """Results of one kind: how they are called and where they lie."""

    name: ClassVar[str]  # what `--format` calls it
    ending: ClassVar[str]  # what follows a photo's own name in a folder of results
    default_output: ClassVar[str]  # of a single photo, in the current folder
    contents: ClassVar[str | None] = None  # of results that are a folder, what it holds
    keeps_endings: ClassVar[bool] = True  # whether results of photos that differ only in their endings can keep these
    output_endings: ClassVar[tuple[str, ...]] = ()  # that a file can have; any, where there are none
    output_reason: ClassVar[str]  # why only these

    def check_output(self, output: Path) -> None:
        """Refuses, with a `ValueError`, a place that `--output` names for a single photo and that cannot be written."""
        if self.contents is not None:
            if output.is_file():
                raise ValueError(f"--output {output} is a file: {self.contents} go into a folder.")
        elif output.is_dir():
            raise ValueError(f"--output {output} is a folder: name a file in it, such as {output / 'overlay.png'}.")
        if self.output_endings and output.suffix.lower() not in self.output_endings:
            raise ValueError(f"--output {output} must end in {', '.join(self.output_endings)}: {self.output_reason}.")

    def target(self, folder: Path, stem: Path) -> Path:
        """Where the results of one of several photos lie, of which `stem` is the path without its ending."""
        return folder / f"{stem}{self.ending}"

    def single_target(self, output: Path, stem: Path) -> Path:
        """Where the results of a single photo lie: at the place that was named for them, or in it."""
        return output

    def folder_files(self, folder: Path) -> list[Path]:
        """The files of all photos of a folder of results together."""
        return []

    def shown_target(self, path: Path) -> Path:
        """The file in which a user finds the results of the photo whose target this is."""
        return path


class VideoOutput(Output):
    """Results of videos in one format."""

    def open(self, path: Path, reader: Any, labels: Sequence[str | list[str]]) -> AbstractContextManager[AddFrame]:
        """Begins the results of the video of a [`VideoReader`]; they are complete at the end of the context."""
        raise NotImplementedError


class LargeImageOutput(Output):
    """Results of large images in one format."""

    needs_rasterio: ClassVar[bool] = False

    def open(
        self, path: Path, source: Any, labels: Sequence[str | list[str]], image_name: str
    ) -> AbstractContextManager[AddRows]:
        """Begins the results of an image ([`ImageSource`]); they are complete at the end of the context."""
        raise NotImplementedError


class Format(Output):
    """A format of results of photos.

    Attributes:
        title (`str`): What people call it.
        help (`str`): What it is, for those who choose one.
        file_endings (`tuple[str, ...]`): Endings that mean this format where several have them.
        needs_scores (`bool`): Whether it says how sure the model is.
        is_data_set (`bool`): Whether it is a data set with a row for each photo, which only a fleet writes.
        video ([`VideoOutput`], *optional*), large_image ([`LargeImageOutput`], *optional*):
            How it is written of videos and of large images, if it can be.
        media_type (`str`, *optional*): Of the answer of a service, where that can be of this format.
    """

    title: ClassVar[str]
    help: ClassVar[str]
    file_endings: ClassVar[tuple[str, ...]] = ()
    needs_scores: ClassVar[bool] = False
    is_data_set: ClassVar[bool] = False
    video: ClassVar[VideoOutput | None] = None
    large_image: ClassVar[LargeImageOutput | None] = None
    media_type: ClassVar[str | None] = None

    # Formats have no state: those that a process of a fleet was sent are those of its own list.
    def __eq__(self, other: object) -> bool:
        return type(self) is type(other)

    def __hash__(self) -> int:
        return hash(type(self))

    def write(self, result: "Segmentation", path: Path) -> None:
        """Writes `result` to `path`, whole or not at all; parents are made, and what is there is replaced."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_whole(path) as unfinished:
            self.save(result, unfinished)

    def save(self, result: "Segmentation", path: Path) -> None:
        """Writes `result` to `path`, where nothing is."""
        raise NotImplementedError

    def answer(self, result: "Segmentation", model: str) -> bytes:
        """`result` as the answer of a service whose model is called `model`, of the format's media type."""
        raise NotImplementedError

    def row(self, result: "Segmentation") -> dict[str, Any]:
        """`result` as a row of a data set."""
        raise NotImplementedError

    def data_set(self, folder: Path, description: dict[str, Any], goes_on: bool) -> Any:
        """A data set ([`ParquetRows`]) that takes rows made with what is described, and can add to earlier ones."""
        raise NotImplementedError


class AnnotationFormat(Format):
    """A format of an annotation tool: made of outlines or masks of the parts of a photo.

    Attributes:
        holds (`frozenset[tuple[str, str]]`): The combinations of `shapes` and `each` that it can hold.
        folder_file (`str`, *optional*): The file of all photos of a folder.
        subfolder (`str`): Of the files of the photos, in a folder of results.
        photo_ending (`str`, *optional*): Of these files, where it is not `ending`.
        records_classes (`bool`): Whether a folder of results is of one list of classes.
        own_options (`tuple[str, ...]`): Options of [`AnnotationOptions`] that only formats that name them have.
    """

    holds: ClassVar[frozenset[tuple[str, str]]]
    folder_file: ClassVar[str | None] = None
    subfolder: ClassVar[str] = ""
    photo_ending: ClassVar[str | None] = None
    records_classes: ClassVar[bool] = True
    own_options: ClassVar[tuple[str, ...]] = ()

    def check_options(self, options: AnnotationOptions) -> None:
        """Refuses, with a `ValueError`, `options` that ask for what the format cannot hold."""
        if (options.shapes, options.each) not in self.holds:
            possible = " or ".join(f"{shapes} of each {each}" for shapes, each in sorted(self.holds))
            raise ValueError(
                f"The format {self.name} holds {possible}, but no {options.shapes} of each {options.each}."
            )

    def place(self, folder: Path) -> Path:
        """The folder, in the `folder` of results, that has a file for each photo."""
        return folder / self.subfolder if self.folder_file is None else folder / PIECES / self.name

    def target(self, folder: Path, stem: Path) -> Path:
        """See [`Output.target`]."""
        ending = (self.photo_ending or self.ending) if self.folder_file is None else ".piece"
        return self.place(folder) / f"{stem}{ending}"

    def single_target(self, output: Path, stem: Path) -> Path:
        """See [`Output.single_target`]."""
        return output if self.contents is None else self.target(output, stem)

    def folder_files(self, folder: Path) -> list[Path]:
        """See [`Output.folder_files`]."""
        return [] if self.folder_file is None else [folder / self.folder_file]

    def shown_target(self, path: Path) -> Path:
        """See [`Output.shown_target`]."""
        folder = next((parent.parent for parent in path.parents if parent.name == PIECES), None)
        return path if folder is None or self.folder_file is None else folder / self.folder_file

    def address(self, name: str, file_name: str, target: Path, image_url: str | None) -> str:
        """Where a tool finds a photo, by `name` in the command, `file_name` in its folder, `target`, or `image_url`."""
        return file_name

    def text(self, photo: "AnnotatedPhoto", address: str) -> str:
        """`photo` as text, with `address`, the result of the method of that name."""
        raise NotImplementedError

    def merge(self, pieces: Iterable[Path], names: Sequence[str], file: TextIO) -> None:
        """Writes `pieces`, files of what `text` returns for classes called `names`, as one `file`; one at a time."""
        raise NotImplementedError

    def class_files(self, path: Path, names: Sequence[str], shapes: str) -> dict[Path, str]:
        """Files beside or in `path`, by their paths, that describe classes called `names` for `shapes`."""
        return {}

    def files(self, photo: "AnnotatedPhoto", address: str) -> dict[Path, str]:
        """All files of `photo`, a single one, by their paths; see `text` for `address`."""
        output = Path(self.default_output if self.contents is None else "")
        described = self.class_files(output, photo.names, photo.options.shapes)
        return {self.single_target(output, Path(photo.stem)): self.text(photo, address), **described}


def is_url(name: str) -> bool:
    """Whether a photo of that name comes from the web."""
    return name.lower().startswith(("http://", "https://"))


def json_line(content: Any) -> str:
    """Content as one line of JSON, with a line break at its end."""
    return json.dumps(content, ensure_ascii=False) + "\n"
