# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg evaluate --only`: single classes of a data set, alone and with others that compete."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer


if TYPE_CHECKING:
    from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
    from catseg_hf.datasets import SegmentationDataset
    from catseg_hf.evaluation import Protocol


REPORT = "report.md"


def check_only(**useless: Any) -> None:
    """Refuses options that have no effect with `--only`.

    Args:
        useless: Options of whole evaluations, by name; `None` or `False` where they were not given.

    Raises:
        ValueError: If one of them was given; names it.
    """
    given = [f"--{name.replace('_', '-')}" for name, value in useless.items() if value]
    if given:
        raise ValueError(f"--only measures single classes: leave out {', '.join(given)}.")


def evaluate_only(
    network: "CatSegForSemanticSegmentation",
    processor: "CatSegProcessor",
    data: "SegmentationDataset",
    protocol: "Protocol",
    others: str,
    output: Path,
    *,
    is_main: bool,
    **options: Any,
) -> None:
    """Measures classes alone and with others, and writes and prints a table.

    Args:
        network ([`CatSegForSemanticSegmentation`]): The model.
        processor ([`CatSegProcessor`]): Its processor.
        data ([`SegmentationDataset`]): As [`only_classes`] makes it.
        protocol ([`Protocol`]): How.
        others (`str`): As [`resolve_others`] takes them.
        output (`Path`): Folder of the results: `alone`, `with-others` and `report.md`.
        is_main (`bool`): Whether this process writes and prints.
        options: Of [`evaluate`].

    Raises:
        ValueError: If the others cannot be used, or as [`evaluate`].
    """
    from catseg_hf.evaluation import Segmenter, evaluate, only_table

    classes = Segmenter(network, processor, data.vocabulary, protocol, others).classes
    with_others = f"with others ({others}: {len(classes.others)})"
    evaluations = {
        "alone": evaluate(network, processor, data, protocol, output=output / "alone", **options),
        with_others: evaluate(
            network, processor, data, protocol, output=output / "with-others", others=others, **options
        ),
    }
    if not is_main:
        return
    table = only_table(evaluations)
    if classes.left_out:
        shown = ", ".join(f"{other} ({label})" for other, label in classes.left_out.items())
        table += f"\n\nLeft out of the others, as they mean the same: {shown}."
    (output / REPORT).write_text(table + "\n", encoding="utf-8")
    typer.echo(table)
    typer.echo(f"\nWrote {output}")


__all__ = ["check_only", "evaluate_only"]
