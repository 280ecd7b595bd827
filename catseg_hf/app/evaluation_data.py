# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which data set `catseg evaluate` measures on."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from catseg_hf.option_groups import OptionGroup, option


if TYPE_CHECKING:
    from catseg_hf.datasets import SegmentationDataset


# What label files of other data than benchmarks need.
LABEL_OPTIONS = ("ignore_index", "reduce_labels", "binary_masks", "label_map")


@dataclass(frozen=True)
class DataSetOptions(OptionGroup):
    """A benchmark, a data set of the library `datasets`, or images with label files or annotations."""

    panel: ClassVar[None] = None

    dataset: str | None = option(
        None,
        help="ade20k_150, ade20k_847, coco_stuff_171, pascal_context_59, pascal_context_459, pascal_voc_20 or "
        "pascal_voc_20b, with --data-root; or a data set of the library `datasets`, with --vocabulary.",
    )
    data_root: Path | None = option(None, help="The folder that holds the benchmarks' folders.")
    images: Path | None = option(None, help="Instead of --dataset: a folder of images.")
    annotations: Path | None = option(
        None,
        help="Of --images: a folder of label files of the same names; or annotations: COCO's JSON, Label Studio's "
        "export as JSON, CVAT's XML 1.1, or a folder of YOLO's segmentation or of LabelMe.",
    )
    vocabulary: str | None = option(
        None,
        help="Classes of other data: a text file, one a line, or a benchmark's name. Annotations and --label-map name "
        "theirs.",
    )
    split: str | None = option(None, help="The part of --dataset [default: its validation part].")
    ignore_index: int | None = option(None, help="Of other data: the value of pixels that do not count [default: 255].")
    reduce_labels: bool = option(False, help="Of other data: 0 does not count, and the first class is 1.")
    binary_masks: bool = option(False, help="The label files of two classes are masks of 0 and 255.")
    label_map: Path | None = option(
        None,
        help="A file that names the colours or values of label files: class_dict.csv (name,r,g,b or name,id) or CVAT's "
        "labelmap.txt. The names are the classes, unless --vocabulary is given; ignore, void and unlabeled do not "
        "count.",
    )
    missing: Literal["error", "skip"] | None = option(
        None,
        help="What becomes of images that annotations list and --images lacks, and of those without a label file: skip "
        "leaves them out, and says how many [default: error].",
    )

    def load(self) -> "SegmentationDataset":
        """The data set; `ValueError` names the options that are missing, or have no effect."""
        from catseg_hf.datasets import from_hub_dataset, load_benchmark, load_folder
        from catseg_hf.datasets.annotations import annotation_file
        from catseg_hf.vocabularies import available_vocabularies

        if self.dataset is None:
            names_classes = self.annotations is not None and annotation_file(self.annotations) is not None
            needed, allowed, kind = {"images", "annotations"}, {*LABEL_OPTIONS, "missing"}, ""
            (allowed if names_classes or self.label_map is not None else needed).add("vocabulary")
        elif self.dataset in available_vocabularies():
            needed, allowed, kind = {"data_root"}, {"split"}, "a benchmark"
        else:
            needed, allowed = set(), {"split", *LABEL_OPTIONS}
            (allowed if self.label_map is not None else needed).add("vocabulary")
            kind = f"a data set of the library `datasets`, not one of {', '.join(available_vocabularies())}"
        given = {name: getattr(self, name) for name in self.given() if name != "dataset"}
        start = "Without --dataset, " if self.dataset is None else f"With --dataset {self.dataset}, {kind}, "
        for names, advice in ((needed - given.keys(), "give"), (given.keys() - needed - allowed, "leave out")):
            if names:
                flags = ", ".join("--" + name.replace("_", "-") for name in sorted(names))
                raise ValueError(f"{start}{advice} {flags}.")
        if self.dataset is None:
            return load_folder(given.pop("images"), given.pop("annotations"), **given)
        return (load_benchmark if kind == "a benchmark" else from_hub_dataset)(self.dataset, **given)
