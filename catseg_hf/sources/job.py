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
    """A model, labels, and what is written of what is found.

    Args:
        model, device, dtype (`str`), compiles (`bool`): As [`Segmenter.from_pretrained`] takes them.
        labels (`list[str | list[str]]`, *optional*): The classes; by default the model's own.
        others (`str`, *optional*): As [`Segmenter`] takes it, or `"none"`; by default as [`others_by_default`] says.
        threshold (`float`, *optional*), background (`str`, *optional*), views (`str`, *optional*): As [`Segmenter`]
            takes them.
        formats (`tuple[Format, ...]`): What to write.
        output (`Path`, *optional*): Where to: the file or folder of the first format, or the folder of several inputs.
        skip_existing (`bool`, *optional*, defaults to `False`): Whether to leave out what has results already.
        batch_size (`int`, *optional*, defaults to 1): Photos, or windows of a large image, at a time.
        num_workers (`int`, *optional*, defaults to 4): Threads that read and write photos beside the computing.
        annotations ([`AnnotationOptions`]), windows ([`WindowOptions`]), videos ([`VideoOptions`]),
            cluster ([`ClusterOptions`]): What can be chosen about these.
    """

    model: str = "base"
    device: str = "auto"
    dtype: str = "auto"
    compiles: bool = False
    labels: "list[Label] | None" = None
    others: str | None = None
    threshold: float | None = None
    background: str | None = None
    views: "Views | None" = None
    formats: tuple[Format, ...] = (DEFAULT_FORMAT,)
    output: Path | None = None
    skip_existing: bool = False
    batch_size: int = 1
    num_workers: int = 4
    annotations: AnnotationOptions = AnnotationOptions()
    windows: WindowOptions = WindowOptions()
    videos: VideoOptions = VideoOptions()
    cluster: ClusterOptions = ClusterOptions()

    def load(self) -> "Segmenter":
        """Loads the model, for these labels.

        Returns:
            [`Segmenter`]

        Raises:
            ValueError: If there is no such model or device, or the labels cannot be used.
        """
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


__all__ = ["DEFAULT_FOLDER", "Job"]
