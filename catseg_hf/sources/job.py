# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What `catseg segment` does with all that it is given."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from catseg_hf.formats import DEFAULT_FORMAT, AnnotationOptions, Format

from .options import ClusterOptions, VideoOptions, WindowOptions


if TYPE_CHECKING:
    from catseg_hf.image_processing_catseg import Views
    from catseg_hf.prompts_catseg import Label
    from catseg_hf.segmenting import Segmenter

# Where results of several inputs go.
DEFAULT_FOLDER = Path("segmented")


@dataclass(frozen=True)
class Job:
    """A model and labels, as [`Segmenter.from_pretrained`] takes them, and what is written of what is found."""

    model: str = "base"
    device: str = "auto"
    dtype: str = "auto"
    compiles: bool = False
    labels: "list[Label] | None" = None
    others: str | None = None  # or `"none"`; by default as `others_by_default` says
    threshold: float | None = None
    background: str | None = None
    views: "Views | None" = None
    formats: tuple[Format, ...] = (DEFAULT_FORMAT,)
    output: Path | None = None  # the file or folder of the first format, or the folder of several inputs
    skip_existing: bool = False  # whether to leave out what has results already
    batch_size: int = 1  # photos, or windows of a large image, at a time
    num_workers: int = 4  # threads that read and write photos beside the computing
    annotations: AnnotationOptions = AnnotationOptions()
    windows: WindowOptions = WindowOptions()
    videos: VideoOptions = VideoOptions()
    cluster: ClusterOptions = ClusterOptions()

    def load(self) -> "Segmenter":
        """Loads the model, for these labels; a `ValueError` says what of them cannot be used."""
        from catseg_hf.segmenting import Segmenter
        from catseg_hf.segmenting.only_named import NONE, others_by_default

        segmenter = Segmenter.from_pretrained(
            self.model,
            self.labels,
            device=self.device,
            dtype=self.dtype,
            compiles=self.compiles,
            others=others_by_default(self.labels, self.others),
            threshold=self.threshold,
            background=self.background,
            views=self.views,
            need_scores=any(format.needs_scores for format in self.formats),
        )
        if self.others is None and segmenter.others:
            typer.echo(
                f"{len(segmenter.others)} other classes compete with the label, and are not shown. With --others none, "
                "every pixel goes to it.",
                err=True,
            )
        if self.others != NONE:
            segmenter.tell()
        return segmenter
