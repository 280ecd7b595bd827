# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What people look at after an evaluation: tables, pictures, and the figures in the model's card."""

from pathlib import Path
from typing import Any

from catseg_hf.atomic_files import written_whole
from catseg_hf.cards import evaluation_result, update_model_card
from catseg_hf.datasets import SegmentationDataset
from catseg_hf.evaluation.charts import draw_class_bars, draw_confusions, draw_worst_images, percent
from catseg_hf.evaluation.results import Evaluation
from catseg_hf.evaluation.segmenter import ProtocolSegmenter


METRIC_TITLES = {
    "miou_present_in_ground_truth": "mIoU, classes in the ground truth",
    "miou_present_in_either": "mIoU, classes in ground truth or prediction",
    "pixel_accuracy": "Pixel accuracy",
    "mean_accuracy": "Mean accuracy",
    "frequency_weighted_iou": "Frequency-weighted IoU",
}
MIOU_CONVENTIONS = ("miou_present_in_ground_truth", "miou_present_in_either")


def write_report(
    evaluation: Evaluation,
    folder: str | Path,
    dataset: SegmentationDataset,
    segmenter: ProtocolSegmenter,
    num_worst: int = 5,
) -> None:
    """Writes `report.md`, `class_iou.png`, `confusions.png`, and the worst images into `worst_images`.

    Args:
        evaluation ([`Evaluation`]): What is shown.
        folder (`str` or `Path`): Where; it is made if it is missing.
        dataset ([`SegmentationDataset`]): The data set that was evaluated.
        segmenter ([`ProtocolSegmenter`]): What segmented it: the worst images are segmented again.
        num_worst (`int`, *optional*, defaults to 5): How many images to draw; none for 0.

    Example:

    ```python
    >>> from catseg_hf.evaluation import Protocol, ProtocolSegmenter, write_report

    >>> segmenter = ProtocolSegmenter(model, processor, dataset.vocabulary, Protocol("whole"))
    >>> write_report(evaluation, "report", dataset, segmenter, num_worst=1)
    ```
    """
    folder = Path(folder)
    (folder / "worst_images").mkdir(parents=True, exist_ok=True)
    pictures = {
        "class_iou.png": draw_class_bars(evaluation.results),
        "confusions.png": draw_confusions(evaluation.matrix),
    }
    for name, picture in pictures.items():
        with written_whole(folder / name) as unfinished:
            picture.save(unfinished)
    lines = [results_table(evaluation.results), class_table(evaluation.results)]
    lines += ["## Pictures", *(f"![{name}]({name})" for name in pictures)]
    worst = draw_worst_images(evaluation, dataset, segmenter, num_worst)
    for number, (sample, score, picture) in enumerate(worst, start=1):
        name = f"worst_images/{number:02d}_{sample.name}.png"
        with written_whole(folder / name) as unfinished:
            picture.save(unfinished)
        lines.append(f"{sample.name}, mIoU {percent(score)}:\n\n![{sample.name}]({name.replace(' ', '%20')})")
    with written_whole(folder / "report.md") as unfinished:
        unfinished.write_text("\n\n".join(lines) + "\n", encoding="utf-8")


def update_card(folder: str | Path, results: dict[str, Any], dataset_revision: str | None = None) -> Path:
    """Writes both mIoUs, with data set, split, convention and protocol, into the `model-index` of a model's card.

    Args:
        folder (`str` or `Path`): Folder of the model.
        results (`dict[str, Any]`): [`Evaluation.results`].
        dataset_revision (`str`, *optional*): Version of the data set.

    Returns:
        `Path`: The card.

    Raises:
        ValueError: If the evaluation is not of all images, or no pixel counted.
        FileNotFoundError: If there is no card.

    Example:

    ```python
    >>> from catseg_hf.cards import write_model_card
    >>> from catseg_hf.evaluation import update_card

    >>> model.save_pretrained("evaluated")
    >>> written = write_model_card("evaluated", model)
    >>> update_card("evaluated", evaluation.results).name
    'README.md'
    ```
    """
    dataset, protocol = results["dataset"], results["protocol"]
    if results["num_images"] < dataset["num_images"]:
        raise ValueError(
            f"The evaluation is of {results['num_images']} of {dataset['num_images']} images of {dataset['name']}: no "
            "such figure belongs in a model card."
        )
    entries = []
    for metric in MIOU_CONVENTIONS:
        if results["metrics"][metric] is None:
            raise ValueError(f"No pixel of {dataset['name']} counts, so there is no figure for the model card.")
        entry = evaluation_result(
            results["metrics"][metric],
            dataset_name=dataset["name"],
            dataset_type=dataset["name"],
            dataset_split=dataset["split"],
            dataset_revision=dataset_revision,
            metric=metric,
        )
        entry.metric_args = {name: value for name, value in protocol.items() if value is not None}
        entries.append(entry)
    return update_model_card(folder, entries)


# ---- tables ---------------------------------------------------------------------------------------------------------


def results_table(results: dict[str, Any]) -> str:
    """The figures of an evaluation and how they came about, for a terminal or a Markdown page.

    Args:
        results (`dict[str, Any]`): [`Evaluation.results`].

    Returns:
        `str`: Markdown.

    Example:

    ```python
    >>> from catseg_hf.evaluation import results_table

    >>> "mIoU" in results_table(evaluation.results)
    True
    ```
    """
    model, dataset = results["model"], results["dataset"]
    speed, memory = results["speed"], results["memory"]
    rows = [(METRIC_TITLES[name], percent(value)) for name, value in results["metrics"].items()]
    rows += [
        *_published_rows(results.get("published")),  # not in files of the first versions
        *_seen_unseen_rows(results["seen_unseen"]),
        *_protocol_rows(results["protocol"]),
        ("Images", f"{results['num_images']:,} of {dataset['num_images']:,}"),
        ("Model", model["name"]),
        ("Weights (SHA-256)", model["weights_sha256"][:16]),
        ("Speed", f"{speed['images_per_second']:.3g} images a second, {_device(speed)}"),
        ("Peak memory", f"{_gigabytes(memory['peak_bytes'])} (weights: {_gigabytes(memory['weights_bytes'])})"),
        ("Versions", ", ".join(f"{name} {version}" for name, version in results["versions"].items())),
    ]
    title = f"# {_escape(Path(model['name']).name or 'model')} on {_escape(dataset['name'])} ({dataset['split']})"
    warnings = []
    if results["limit"] is not None:
        warnings.append(f"**A trial on the first {results['limit']} images only: not comparable with anything.**")
    if results["unreadable_images"]:
        number = len(results["unreadable_images"])
        warnings.append(f"**{number} unreadable image(s) left out: not comparable with complete evaluations.**")
    warnings += [f"**{_escape(warning)}**" for warning in results.get("warnings", [])]
    width = max(len(name) for name, _ in rows)
    table = [f"| {name:{width}} | {_escape(value)} |" for name, value in rows]
    return "\n".join([title, "", *[f"{line}\n" for line in warnings], f"| {'':{width}} | |", "|---|---|", *table])


def _published_rows(beside: dict[str, Any] | None) -> list[tuple[str, str]]:
    if beside is None:
        return []
    # With the one decimal that the authors give.
    values = f"published {100 * beside['published']:.1f} %, measured {percent(beside['measured'])}, "
    values += f"difference {100 * beside['difference']:+.2f} points ({beside['source']})"
    return [(f"{METRIC_TITLES[beside['convention']]}, of `{beside['checkpoint']}`", values)]


def _seen_unseen_rows(split: dict[str, Any] | None) -> list[tuple[str, str]]:
    if split is None:
        return []
    counts = f"{len(split['seen_class_ids'])} seen, {len(split['unseen_class_ids'])} unseen classes"
    rows = [(f"Trained on {split['seen_vocabulary']}", counts)]
    for convention in MIOU_CONVENTIONS:
        values = split[convention]
        shown = f"seen {percent(values['seen'])}, unseen {percent(values['unseen'])}, harmonic mean "
        rows.append((METRIC_TITLES[convention], shown + percent(values["harmonic_mean"])))
    return rows


def _protocol_rows(protocol: dict[str, Any]) -> list[tuple[str, str]]:
    edges = [
        f"{name.replace('_', ' ')} {protocol[name]}" for name in ("shortest_edge", "longest_edge") if protocol[name]
    ]
    is_augmented = protocol["flip"] or list(protocol["scales"]) != [1.0]
    augmentation = f"scales {', '.join(map(str, protocol['scales']))}{' and mirrored' if protocol['flip'] else ''}"
    return [
        ("Protocol", ", ".join([protocol["name"].replace("_", " "), *edges])),
        ("Test-time augmentation", augmentation if is_augmented else "none"),
    ]


def class_table(results: dict[str, Any]) -> str:
    """The figures of each class, in the order of their ids.

    Args:
        results (`dict[str, Any]`): [`Evaluation.results`].

    Returns:
        `str`: Markdown.

    Example:

    ```python
    >>> from catseg_hf.evaluation import class_table

    >>> "traffic light" in class_table(evaluation.results)
    True
    ```
    """
    lines = [
        "## Classes",
        "",
        "| id | class | IoU | accuracy | pixels | predicted pixels |",
        "|---|---|---|---|---|---|",
    ]
    for index, row in enumerate(results["per_class"]):
        lines.append(
            f"| {index} | {_escape(row['name'])} | {percent(row['iou'])} | {percent(row['accuracy'])} | "
            f"{row['pixels']:,} | {row['predicted_pixels']:,} |"
        )
    return "\n".join(lines)


def _gigabytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e9:.2f} GB"


def _device(speed: dict[str, Any]) -> str:
    threads = f" with {speed['num_threads']} thread(s)" if speed["device"] == "cpu" else ""
    return f"{speed['num_processes']} × {speed['device']}{threads}, {speed['dtype']}, batches of {speed['batch_size']}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


__all__ = ["class_table", "results_table", "update_card", "write_report"]
