# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""One process of a fleet: reads photos, segments them, and writes the results or sends them back."""

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from catseg_hf.fleet.sources import Item
from catseg_hf.formats import ResultFiles
from catseg_hf.formats.parquet_rows import SCHEMA
from catseg_hf.image_reading_catseg import MAX_PIXELS
from catseg_hf.segmenting import Segmentation
from catseg_hf.segmenting.background import in_order
from catseg_hf.segmenting.batches import segment_pictures
from catseg_hf.segmenting.photo_reading import decode_photo, picture_or_reason, read_photo
from catseg_hf.sources.job import Job
from catseg_hf.sources.places import targets_of
from catseg_hf.sources.source import Task


# What a worker says of each photo: that its results were there, or why there are none, and whether it has more frames.
REPORTS = pa.schema(
    [("name", pa.string()), ("was_there", pa.bool_()), ("problem", pa.string()), ("is_animated", pa.bool_()), *SCHEMA]
)


class Worker:
    """Segments the photos that it gets."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.segmenter = job.load()
        # A processor's core is busy with the model anyway.
        self.num_threads = 0 if self.segmenter.model.device.type == "cpu" else job.num_workers
        self.data_set = job.formats[0] if job.formats[0].is_data_set else None
        # The command has recorded the classes before.
        self.files = None if self.data_set else ResultFiles(job.formats, job.annotations, job.output, goes_on=True)

    def __call__(self, items: pa.Table) -> pa.Table:
        """What became of items, of which rows of Parquet are of one row group, in its order; see `REPORTS`."""
        reports: list[dict[str, Any]] = []
        left: list[Item] = []
        for row in items.to_pylist():
            item = Item(**row)
            if self.files is not None and self.job.skip_existing and self._photo(item).is_done:
                reports.append({"name": item.name, "was_there": True})
            else:
                left.append(item)
        pictures = self._pictures(left, reports)
        segmented = segment_pictures(self.segmenter, pictures, self.job.batch_size, self.job.num_workers)
        reports.extend(in_order(self._finish, segmented, self.num_threads, finish=True))
        return pa.Table.from_pylist(reports, REPORTS)

    def _photo(self, item: Item) -> Task:
        if self.files is None:
            return Task(item.image_id, {})
        return Task(item.name, targets_of(Path(item.stem), self.job.output, self.job.formats))

    def _finish(self, photo_and_result: tuple[Task, Segmentation]) -> dict[str, Any]:
        photo, result = photo_and_result
        report = {"name": photo.name, "was_there": False, "is_animated": "is_animated" in result.picture.info}
        if self.data_set is not None:
            return report | self.data_set.row(result)
        try:
            self.files.write(result, photo.targets)
        except OSError as error:
            advice = "Those before are whole; with --skip-existing the command goes on."
            raise OSError(f"The results of {photo.name} cannot be written: {error} {advice}") from error
        return report

    def _pictures(self, items: list[Item], reports: list[dict[str, Any]]) -> Iterator[tuple[Task, Image.Image]]:
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
        wanted, last = {item.row for item in items}, items[-1].row
        with pq.ParquetFile(items[0].file) as file:
            # Few at a time: a row group may be larger than memory.
            batches = file.iter_batches(16, row_groups=[items[0].group], columns=[self.job.cluster.image_column])
            places = ((batch.column(0), index) for batch in batches for index in range(batch.num_rows))
            for row, (values, index) in enumerate(places):
                if row in wanted:
                    content = values[index].as_py()
                    yield content["bytes"] if isinstance(content, dict) else content
                if row == last:
                    return
