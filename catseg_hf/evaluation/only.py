# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Single classes of a data set: how well a model finds what is named, and leaves the rest."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from catseg_hf.datasets import Sample, SegmentationDataset
from catseg_hf.evaluation.charts import percent
from catseg_hf.evaluation.results import Evaluation
from catseg_hf.prompts_catseg import parse_labels
from catseg_hf.same_names_catseg import SameNames
from catseg_hf.vocabularies import available_vocabularies, load_vocabulary


EVERYTHING_ELSE = "everything else"


class ReadOnly:
    """Reads samples with the ids of a few classes, and one more for all others.

    Args:
        dataset ([`SegmentationDataset`]): Where they come from.
        class_ids (`Sequence[int]`): The classes, in their new order.

    Attributes:
        ids: What the label files store, as of the data set itself.
    """

    def __init__(self, dataset: SegmentationDataset, class_ids: Sequence[int]) -> None:
        self.read, self.ids = dataset.read, getattr(dataset.read, "ids", None)
        self.ignore_index = dataset.ignore_index
        self.new_ids = np.full(dataset.num_classes, len(class_ids), dtype=np.int32)
        self.new_ids[list(class_ids)] = np.arange(len(class_ids))

    def __call__(self, record: Any) -> Sample:
        """Reads the sample of a record.

        Args:
            record: As the data set has it.

        Returns:
            [`Sample`]: With the new ids; pixels that are not scored stay so.
        """
        sample = self.read(record)
        is_scored = sample.labels != self.ignore_index
        labels = sample.labels.copy()
        labels[is_scored] = self.new_ids[sample.labels[is_scored]]
        return replace(sample, labels=labels)


def only_classes(dataset: SegmentationDataset, names: Sequence[str]) -> SegmentationDataset:
    """A data set of which only some classes are told apart; a last one has all other pixels.

    Args:
        dataset ([`SegmentationDataset`]): The whole data set.
        names (`Sequence[str]`):
            What a model is asked for. Each is a name of a class of the data set, or one that means the same, as "sofa"
            where the class is "couch": see [`SameNames`].

    Returns:
        [`SegmentationDataset`]: For [`evaluate`], with others or without.

    Raises:
        ValueError: If the data set has no such class, or two names are of the same.

    Example:

    ```python
    >>> from catseg_hf.evaluation import only_classes

    >>> len(only_classes(dataset, ["dog"]).class_names)
    2
    ```
    """
    labels = parse_labels(names, "only")
    synonyms = dataset.vocabulary if len(dataset.vocabulary) == dataset.num_classes else dataset.class_names
    vocabularies = [load_vocabulary(name) for name in available_vocabularies()]
    class_ids: list[int] = []
    for label in labels:
        # What is written in the same way comes before what means the same.
        for same in (SameNames([label]), SameNames([label], vocabularies)):
            found = [index for index, entry in enumerate(synonyms) if same.label_of(entry, kinds_too=False)]
            if found:
                break
        else:
            shown = ", ".join(dataset.class_names[:20]) + (", ..." if dataset.num_classes > 20 else "")
            raise ValueError(f"{dataset.name} has no class {label!r}: it has {shown}.")
        if found[0] in class_ids:
            raise ValueError(
                f"{label!r} is {dataset.class_names[found[0]]!r} of {dataset.name}, which was named twice."
            )
        class_ids.append(found[0])
    return SegmentationDataset(
        f"{dataset.name}, only {', '.join(map(str, labels))}",
        dataset.split,
        labels,
        dataset.records,
        ReadOnly(dataset, class_ids),
        class_names=[*map(str, labels), EVERYTHING_ELSE],
        ignore_index=dataset.ignore_index,
    )


def only_table(evaluations: Mapping[str, Evaluation]) -> str:
    """Precision, recall and IoU of the classes, by each way to find them.

    Args:
        evaluations (`Mapping[str, Evaluation]`): Of one data set of [`only_classes`], by what they are called.

    Returns:
        `str`: Markdown.

    Example:

    ```python
    >>> from catseg_hf.evaluation import Protocol, evaluate, only_classes, only_table

    >>> dogs = only_classes(dataset, ["sky"])
    >>> alone = evaluate(model, processor, dogs, Protocol("whole"))
    >>> "sky" in only_table({"alone": alone})
    True
    ```
    """
    results = next(iter(evaluations.values())).results
    lines = [
        f"# {results['dataset']['name']} ({results['dataset']['split']})",
        "",
        f"{results['num_images']:,} of {results['dataset']['num_images']:,} images, {results['protocol']['name']}.",
        "",
        "| class | labels | precision | recall | IoU |",
        "|---|---|---|---|---|",
    ]
    for index in range(len(results["per_class"]) - 1):
        for way, evaluation in evaluations.items():
            row, matrix = evaluation.results["per_class"][index], evaluation.matrix.matrix
            found, predicted = int(matrix[index, index]), row["predicted_pixels"]
            precision = found / predicted if predicted else None
            figures = " | ".join(map(percent, (precision, row["accuracy"], row["iou"])))
            lines.append(f"| {row['name']} | {way} | {figures} |")
    return "\n".join(lines)


__all__ = ["EVERYTHING_ELSE", "only_classes", "only_table"]
