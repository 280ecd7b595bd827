# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Parquet: a data set with a row of COCO's run lengths for each photo, for any number of them."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .coco_results import coco_results
from .format import Format


if TYPE_CHECKING:
    from catseg_hf.segmenting.segmentation import Segmentation

    from .parquet_rows import ParquetRows


class Parquet(Format):
    """A data set of run lengths."""

    name = "parquet"
    title = "Parquet"
    help = "a data set of run lengths, with --engine ray"
    ending = ".parquet"
    default_output = "segmented"
    contents = "files of a data set"
    needs_scores = True
    is_data_set = True

    def row(self, result: "Segmentation") -> dict[str, Any]:
        """See [`Format.row`]; it is of the schema of [`ParquetRows`]."""
        annotations = [{name: entry[name] for name in entry if name != "image_id"} for entry in coco_results(result)]
        height, width = result.class_ids.shape
        return {"image_id": result.name, "height": height, "width": width, "annotations": annotations}

    def data_set(self, folder: Path, description: dict[str, Any], goes_on: bool) -> "ParquetRows":
        """See [`Format.data_set`]."""
        from .parquet_rows import ParquetRows

        return ParquetRows(folder, description, goes_on)
