# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Results as a Parquet data set: a row for each photo, in files that are there as a whole or not at all."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from catseg_hf.atomic_files import written_whole


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


class ParquetRows:
    """A folder of files `part-00000.parquet`, to which rows are added.

    As a context, it writes at its end what waits, after an error too. `description` says what the rows were made with
    (labels, model and so on), and is kept in the schema of each file. If `goes_on`, files of earlier runs stay, and
    their photos are finished; otherwise, or if they were made with something else, they are a `ValueError`.
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
        """Adds rows of [`SCHEMA`], and writes a file when enough wait; if that fails, those before are whole."""
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
        """The `image_id` of the photos that have a row of an earlier run."""
        for part in self._earlier_parts:
            with pq.ParquetFile(part) as file:
                for batch in file.iter_batches(columns=["image_id"]):
                    yield from batch.column("image_id").to_pylist()

    def __enter__(self) -> "ParquetRows":
        return self

    def __exit__(self, *error: object) -> None:
        self.write()
