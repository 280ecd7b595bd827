# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""One process of a fleet: reads photos, segments them, and writes the results or sends them back."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from catseg_hf.app.annotation_options import annotation_files
from catseg_hf.app.background import in_order
from catseg_hf.app.photo_reading import decode_photo, picture_or_reason, read_photo
from catseg_hf.app.photo_segmenter import load_segmenter, segment_pictures
from catseg_hf.app.photos import Photo, targets_of, write_photo
from catseg_hf.app.segmentation import Segmentation
from catseg_hf.fleet.parquet_results import SCHEMA, result_row
from catseg_hf.fleet.sources import Item
from catseg_hf.image_reading_catseg import MAX_PIXELS
from catseg_hf.prompts_catseg import Label


# What a worker gets, and what it says of each photo: that its results were there, or why there are none.
ITEMS = pa.schema(
    [
        ("name", pa.string()),
        ("image_id", pa.string()),
        ("stem", pa.string()),
        ("file", pa.string()),
        ("group", pa.int32()),
        ("row", pa.int64()),
    ]
)
REPORTS = pa.schema([("name", pa.string()), ("was_there", pa.bool_()), ("problem", pa.string()), *SCHEMA])


@dataclass(frozen=True)
class Job:
    """What all workers of a fleet do.

    Args:
        model, device, dtype (`str`): As [`load_segmenter`] takes them.
        labels (`list[str | list[str]]`, *optional*): The classes.
        kinds (`list[str]`): The formats; `["parquet"]` sends the results back.
        output (`Path`): The folder of results.
        options (`dict`): The other options of [`load_segmenter`].
        annotation_options (`dict`): As [`annotation_files`] takes them.
        image_url (`str`, *optional*): As [`annotation_files`] takes it.
        image_column (`str`): Of Parquet files, the one with the photos.
        batch_size (`int`): Photos at a time.
        num_workers (`int`): Threads that read photos.
        skips_existing (`bool`): Whether photos whose results are there are left out.
    """

    model: str
    device: str
    dtype: str
    labels: list[Label] | None
    kinds: list[str]
    output: Path
    options: dict[str, Any] = field(default_factory=dict)
    annotation_options: dict[str, Any] = field(default_factory=dict)
    image_url: str | None = None
    image_column: str = "image"
    batch_size: int = 1
    num_workers: int = 1
    skips_existing: bool = False


class Worker:
    """Segments the photos that it gets.

    Args:
        job ([`Job`]): What to do.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.segmenter = load_segmenter(job.model, job.device, job.dtype, job.labels, **job.options)
        # A processor's core is busy with the model anyway.
        self.num_threads = 0 if self.segmenter.model.device.type == "cpu" else job.num_workers
        self.writes = job.kinds != ["parquet"]
        # The command has recorded the classes before.
        self.files = (
            annotation_files(job.kinds, job.annotation_options, job.output, job.image_url, True)
            if self.writes
            else None
        )

    def __call__(self, items: pa.Table) -> pa.Table:
        """Segments photos.

        Args:
            items (`pa.Table`): Of the schema [`ITEMS`]; rows of Parquet are of one row group, in its order.

        Returns:
            `pa.Table`: What became of each, of the schema [`REPORTS`].

        Raises:
            OSError: If results cannot be written.
        """
        reports: list[dict[str, Any]] = []
        left: list[Item] = []
        for row in items.to_pylist():
            item = Item(**row)
            if self.writes and self.job.skips_existing and self._photo(item).is_done:
                reports.append({"name": item.name, "was_there": True})
            else:
                left.append(item)
        pictures = self._pictures(left, reports)
        segmented = segment_pictures(self.segmenter, pictures, self.job.batch_size, self.job.num_workers)
        reports.extend(in_order(self._finish, segmented, self.num_threads, finish=True))
        return pa.Table.from_pylist(reports, REPORTS)

    def _photo(self, item: Item) -> Photo:
        if not self.writes:
            return Photo(item.image_id, {})
        return Photo(item.name, targets_of(Path(item.stem), self.job.output, self.job.kinds))

    def _finish(self, photo_and_result: tuple[Photo, Segmentation]) -> dict[str, Any]:
        photo, result = photo_and_result
        report = {"name": photo.name, "was_there": False}
        if not self.writes:
            return report | result_row(result)
        try:
            write_photo(photo, result, self.files)
        except OSError as error:
            advice = "Those before are whole; with --skip-existing the command goes on."
            raise OSError(f"The results of {photo.name} cannot be written: {error} {advice}") from error
        return report

    def _pictures(self, items: list[Item], reports: list[dict[str, Any]]) -> Iterator[tuple[Photo, Image.Image]]:
        read = in_order(self._read, self._contents(items), self.job.num_workers)
        for item, picture in zip(items, read, strict=True):
            if isinstance(picture, str):
                reports.append({"name": item.name, "was_there": False, "problem": picture})
            else:
                yield self._photo(item), picture

    def _read(self, content: str | bytes | None) -> Image.Image | str:
        if content is None:
            return "there is no picture in its row."
        if isinstance(content, str):
            return picture_or_reason(read_photo, content)
        return picture_or_reason(decode_photo, BytesIO(content), MAX_PIXELS)

    def _contents(self, items: list[Item]) -> Iterator[str | bytes | None]:
        """Names of files, or the bytes of rows."""
        if not items or items[0].file is None:
            yield from (item.name for item in items)
            return
        rows, first = iter([item.row for item in items]), 0
        wanted = next(rows)
        column = self.job.image_column
        with pq.ParquetFile(items[0].file) as file:
            for batch in file.iter_batches(16, row_groups=[items[0].group], columns=[column]):
                while wanted is not None and wanted < first + batch.num_rows:
                    value = batch.column(0)[wanted - first].as_py()
                    yield value["bytes"] if isinstance(value, dict) else value
                    wanted = next(rows, None)
                if wanted is None:
                    return
                first += batch.num_rows


__all__ = ["ITEMS", "REPORTS", "Job", "Worker"]
