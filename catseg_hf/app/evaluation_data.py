# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which data set the options of `catseg evaluate` name."""

from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from catseg_hf.datasets import SegmentationDataset


# What label files of other data than benchmarks need.
LABEL_OPTIONS = ("ignore_index", "reduce_labels", "binary_masks", "label_map")


def load_data_set(dataset: str | None, **options: Any) -> "SegmentationDataset":
    """The data set that the options of `catseg evaluate` name.

    Args:
        dataset (`str`, *optional*): A benchmark, or a data set of the library `datasets`; `None` for two folders.
        options: The further options, by name; `None` where they were not given.

    Returns:
        [`SegmentationDataset`]: The data set.

    Raises:
        ValueError: If an option is missing, or one has no effect; names them.
    """
    from catseg_hf.datasets import from_hub_dataset, load_benchmark, load_folder
    from catseg_hf.datasets.annotations import annotation_file
    from catseg_hf.vocabularies import available_vocabularies

    if dataset is None:
        names_classes = options["annotations"] is not None and annotation_file(options["annotations"]) is not None
        needed, allowed, kind = {"images", "annotations"}, {*LABEL_OPTIONS, "missing"}, ""
        (allowed if names_classes or options["label_map"] is not None else needed).add("vocabulary")
    elif dataset in available_vocabularies():
        needed, allowed, kind = {"data_root"}, {"split"}, "a benchmark"
    else:
        needed, allowed = set(), {"split", *LABEL_OPTIONS}
        (allowed if options["label_map"] is not None else needed).add("vocabulary")
        kind = f"a data set of the library `datasets`, not one of {', '.join(available_vocabularies())}"
    given = {name: value for name, value in options.items() if value is not None}
    start = "Without --dataset, " if dataset is None else f"With --dataset {dataset}, {kind}, "
    for names, advice in ((needed - given.keys(), "give"), (given.keys() - needed - allowed, "leave out")):
        if names:
            raise ValueError(f"{start}{advice} {', '.join('--' + name.replace('_', '-') for name in sorted(names))}.")
    if dataset is None:
        return load_folder(given.pop("images"), given.pop("annotations"), **given)
    return (load_benchmark if kind == "a benchmark" else from_hub_dataset)(dataset, **given)


__all__ = ["load_data_set"]
