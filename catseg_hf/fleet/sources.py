# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Where a fleet finds its photos: a folder, Parquet files or a list; named one after the other, never all at a time."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from catseg_hf.file_kinds import ENDINGS, kind_of
from catseg_hf.formats.format import is_url
from catseg_hf.sources.found import files_in, reason_against


TAKEN = "its results would replace those of {}: segment it alone, or rename it."


class Item(NamedTuple):
    """A photo that is to be segmented."""

    name: str  # its path or URL; of a row of Parquet, that of its results
    image_id: str  # in a data set of results: its path in its folder, or its line of a list
    stem: str  # path of its results in their folder, without an ending
    file: str | None = None  # the Parquet file that holds it
    group: int = 0  # its row group there
    row: int = 0  # in its row group


class Names:
    """A set of any number of names, or, if `repeated`, of those that occur more than once.

    Of each stays a hash of 64 bits. Two different names share one by chance in a set of ten million with a probability
    of 3e-6.
    """

    def __init__(self, names: Iterable[str], *, repeated: bool = False) -> None:
        unique, counts = np.unique(np.fromiter(map(_hash, names), np.uint64), return_counts=True)
        self._hashes = unique[counts > 1] if repeated else unique

    def __contains__(self, name: str) -> bool:
        value = _hash(name)
        place = np.searchsorted(self._hashes, value)
        return place < len(self._hashes) and self._hashes[place] == value


def _hash(name: str) -> np.uint64:
    digest = hashlib.blake2b(os.fsencode(name), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "big"))


@dataclass(frozen=True)
class Files:
    """Photos of a folder, with all that is in it, or of a text file with a path or URL in each line."""

    path: Path
    output: Path  # is not searched

    def items(self, keep_endings: bool, problems: dict[str, str]) -> Iterator[Item]:
        """Names all photos, each once.

        A result is called after its photo, without the ending, in the same subfolders: of the folder, or, in a list,
        of the last folder that all its photos share. Photos that differ only in their ending keep it; if endings are
        not kept, only the first of them is segmented. `problems` gets the reason, by name, for each that cannot be.
        """
        self._name_left_out(problems)
        # Some file systems take capital and small letters for the same.
        shared = Names((str(_stem(path)).casefold() for _, path in self._paths()), repeated=True)
        seen: dict[Path, str] = {}
        output, is_folder = Path(os.path.abspath(self.output)), self.path.is_dir()
        for name, path in self._paths():
            if not is_url(name) and output in Path(_full(name)).parents:
                problems[name] = "it lies in the folder of results: name another --output."
                continue
            if not _is_text(name):
                problems[name] = "its name is not UTF-8: rename it."
                continue
            stem = _stem(path)
            if str(stem).casefold() in shared:
                key = path if keep_endings else Path(str(stem).casefold())
                if key in seen:
                    if _full(seen[key]) != _full(name):
                        problems[name] = TAKEN.format(seen[key])
                    continue
                seen[key] = name
                stem = path if keep_endings else stem
            yield Item(name, path.as_posix() if is_folder else name, str(stem))

    def _paths(self) -> Iterator[tuple[str, Path]]:
        """Each photo, and where its results go but for their endings."""
        if self.path.is_dir():
            for path in files_in(self.path, self.output):
                if _is_photo(path):
                    yield str(path), path.relative_to(self.path)
            return
        shared = self._shared_folder()
        for name in self._lines():
            yield name, _place(name).relative_to(shared)

    def _name_left_out(self, problems: dict[str, str]) -> None:
        """Pictures and videos that a fleet does not take are named, and not left out in silence."""
        for path in files_in(self.path, self.output) if self.path.is_dir() else ():
            kind = kind_of(path)
            if kind is not None and kind.kind != "photo":
                problems[str(path)] = reason_against(kind) or "is a video: give it to a command without --engine ray."

    def _shared_folder(self) -> str:
        shared: str | None = None
        for name in self._lines():
            folder = str(_place(name).parent)
            shared = folder if shared is None else os.path.commonpath([shared, folder])
        return shared or "/"

    def _lines(self) -> Iterator[str]:
        # File names need not be UTF-8.
        with self.path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            yield from (line.strip() for line in file if line.strip())


@dataclass(frozen=True)
class ParquetFiles:
    """Photos in a column of Parquet files, as bytes or as the `Image` of `datasets`: of one, or of all in a folder."""

    path: Path
    output: Path  # is not searched
    column: str

    def items(self, keep_endings: bool, problems: dict[str, str]) -> Iterator[Item]:
        """Names all rows: `train-00000/17` is row 17, from 0, of `train-00000.parquet`.

        `problems` gets the reason, by name, for each file that is not Parquet; one without photos raises `ValueError`.
        """
        folder = self.path if self.path.is_dir() else self.path.parent
        for path in _parquet_in(self.path, self.output):
            try:
                file = pq.ParquetFile(path)
            except (OSError, pa.ArrowInvalid) as error:
                problems[str(path)] = f"cannot be read as Parquet: {error}"
                continue
            with file:
                self._check_column(path, file.schema_arrow)
                stem = path.relative_to(folder).with_suffix("")
                digits, number = len(str(max(0, file.metadata.num_rows - 1))), 0
                for group in range(file.metadata.num_row_groups):
                    for row in range(file.metadata.row_group(group).num_rows):
                        name = f"{stem}/{number:0{digits}}"
                        yield Item(name, name, name, str(path.resolve()), group, row)
                        number += 1

    def _check_column(self, path: Path, schema: pa.Schema) -> None:
        if self.column not in schema.names:
            advice = f"name one of {', '.join(schema.names)} with --image-column"
            raise ValueError(f"{path} has no column {self.column!r}: {advice}.")
        kind = schema.field(self.column).type
        if pa.types.is_struct(kind):  # the `Image` of `datasets`, beside a path
            kind = kind.field("bytes").type if kind.get_field_index("bytes") >= 0 else kind
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            what = f"{kind} in its column {self.column!r}, where the bytes of photos belong"
            raise ValueError(f"{path} has {what}: name another --image-column.")


def find_source(inputs: list[str], output: Path, column: str) -> Files | ParquetFiles:
    """The folder of photos or Parquet files, the Parquet file or the list (`.txt`) that a command line names."""
    wanted = "--engine ray works on one folder of photos or Parquet files, one Parquet file, or one .txt list of photos"
    if len(inputs) > 1:
        raise ValueError(f"{wanted}, and there are {len(inputs)}: write the paths of all photos into a list.")
    path = Path(inputs[0])
    if not path.exists():
        raise ValueError(f"{path}: there is no such file or folder. {wanted}.")
    if output.is_file() or output.suffix.lower() in (*ENDINGS, ".json", ".parquet"):
        raise ValueError(f"--output {output} must be a folder, as there are several photos: name one.")
    if path.is_dir() and (output.resolve() == path.resolve() or output.resolve() in path.resolve().parents):
        raise ValueError(f"--output {output} holds the photos themselves: name another folder.")
    if path.is_dir():
        has_photos = any(_is_photo(file) for file in files_in(path, output))
        has_parquet = next(_parquet_in(path, output), None) is not None
        if has_photos and has_parquet:
            raise ValueError(f"{path} holds both photos and Parquet files: name a folder with one of them.")
        return ParquetFiles(path, output, column) if has_parquet else Files(path, output)
    if path.suffix.lower() == ".parquet":
        return ParquetFiles(path, output, column)
    if path.suffix.lower() == ".txt":
        return Files(path, output)
    raise ValueError(f"{wanted}, not {path}: leave out --engine ray, or give its folder.")


def _parquet_in(path: Path, output: Path) -> Iterator[Path]:
    return iter([path]) if path.is_file() else files_in(path, output, lambda name: name.lower().endswith(".parquet"))


def _is_photo(path: Path) -> bool:
    kind = kind_of(path)
    return kind is not None and kind.kind == "photo"


def _place(name: str) -> Path:
    """Where a line of a list lies: files by their paths, what is on the web below its server."""
    if not is_url(name):
        return Path(_full(name))
    address = urlsplit(name)
    parts = [address.netloc, *PurePosixPath(unquote(address.path)).parts]
    safe = (re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", part)[:150] for part in parts if part not in ("/", ".", ".."))
    return Path("/", *safe)


def _stem(path: Path) -> Path:
    with suppress(ValueError):  # a server without a path
        return path.with_suffix("")
    return path


def _is_text(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def _full(name: str) -> str:
    return name if is_url(name) else os.path.abspath(name)
