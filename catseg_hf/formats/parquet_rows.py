# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Results as a Parquet data set: a row for each photo, in files that are there as a whole or not at all."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from catseg_hf.atomic_files import written_whole

from .coco_results import coco_results


if TYPE_CHECKING:
    from catseg_hf.segmenting.segmentation import Segmentation


# Names and meanings of COCO's result format.
ANNOTATION = pa.struct(
    [
        ("category_id", pa.int32()),
        ("category_name", pa.string()),
        ("segmentation", pa.struct([("size", pa.list_(pa.int32(), 2)), ("counts", pa.string())])),
        ("area", pa.int64()),
        ("bbox", pa.list_(pa.int32(), 4)),
        ("score", pa.float64()),
    ]
)
SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("annotations", pa.list_(ANNOTATION)),
    ]
)
# A file is written when so many rows or bytes wait, or the first waits so long: what a kill can cost.
FILE_ROWS, FILE_BYTES, FILE_SECONDS = 10_000, 64 * 2**20, 60.0
METADATA = b"catseg"


def result_row(result: "Segmentation") -> dict[str, Any]:
    """A photo as a row of [`SCHEMA`].

    Args:
        result ([`Segmentation`]): The photo, with scores.

    Returns:
        `dict`: `image_id` (the photo's name), `height`, `width`, and `annotations`, as [`coco_results`] has them.
    """
    annotations = [{name: entry[name] for name in entry if name != "image_id"} for entry in coco_results(result)]
    height, width = result.class_ids.shape
    return {"image_id": result.name, "height": height, "width": width, "annotations": annotations}


class ParquetRows:
    """A folder of files `part-00000.parquet`, to which rows are added.

    As a context, it writes at its end what waits, after an error too.

    Args:
        folder (`Path`): The folder.
        description (`dict`):
            What the rows were made with, kept in the schema of each file: labels, model and so on.
        goes_on (`bool`): Whether files of earlier runs stay, and their photos are finished.

    Raises:
        ValueError: If there are such files, and `goes_on` is not set or they were made with something else.
    """

    def __init__(self, folder: Path, description: dict[str, Any], goes_on: bool) -> None:
        self.folder = folder
        text = json.dumps(description, ensure_ascii=False)
        self.schema = SCHEMA.with_metadata({METADATA: text.encode()})
        parts = sorted(folder.glob("part-*.parquet"))
        if parts and not goes_on:
            raise ValueError(f"{folder} holds results already: go on with --skip-existing, or name another --output.")
        for part in parts:
            found = (pq.read_schema(part).metadata or {}).get(METADATA, b"").decode()
            if found != text:
                raise ValueError(
                    f"{part} was made with {found or 'something else'}, and not with {text}: name another --output."
                )
        self._earlier_parts = parts
        self._next = 1 + max((int(part.stem.rpartition("-")[2]) for part in parts), default=-1)
        self._waiting: list[pa.Table] = []
        self._since = 0.0

    def add(self, rows: pa.Table) -> None:
        """Adds rows, and writes a file when enough wait.

        Args:
            rows (`pa.Table`): Rows of [`SCHEMA`].

        Raises:
            OSError: If a file cannot be written; those before are whole.
        """
        if not rows.num_rows:
            return
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(rows)
        num_bytes = sum(table.nbytes for table in self._waiting)
        num_rows = sum(table.num_rows for table in self._waiting)
        if num_rows >= FILE_ROWS or num_bytes >= FILE_BYTES or time.monotonic() - self._since > FILE_SECONDS:
            self.write()

    def write(self) -> None:
        """Writes what waits."""
        if not self._waiting:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with written_whole(self.folder / f"part-{self._next:05}.parquet") as unfinished:
            pq.write_table(pa.concat_tables(self._waiting).cast(self.schema), unfinished, compression="zstd")
        self._next += 1
        self._waiting = []

    def earlier_ids(self) -> Iterator[str]:
        """The photos that have a row of an earlier run.

        Returns:
            An iterator over their `image_id`.
        """
        for part in self._earlier_parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(columns=["image_id"]):
                    yield from batch.column("image_id").to_pylist()

    def __enter__(self) -> "ParquetRows":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write()


__all__ = ["SCHEMA", "ParquetRows", "result_row"]
