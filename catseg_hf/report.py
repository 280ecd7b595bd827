# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What people look at after an evaluation: a table, bars and confusions of classes, and the worst images."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from catseg_hf.atomic_files import written_whole
from catseg_hf.datasets import Sample, SegmentationDataset
from catseg_hf.evaluation import Evaluation
from catseg_hf.metrics import ConfusionMatrix
from catseg_hf.model_card import evaluation_result, update_model_card
from catseg_hf.protocols import Segmenter
from catseg_hf.visualization import _as_rgb, _best_face, _shortened, overlay


METRIC_TITLES = {
    "miou_present_in_ground_truth": "mIoU, classes in the ground truth",
    "miou_present_in_either": "mIoU, classes in ground truth or prediction",
    "pixel_accuracy": "Pixel accuracy",
    "mean_accuracy": "Mean accuracy",
    "frequency_weighted_iou": "Frequency-weighted IoU",
}
MIOU_CONVENTIONS = ("miou_present_in_ground_truth", "miou_present_in_either")
INK, FAINT_INK, TRACK = "#1a1a1a", "#666666", "#e4e4e4"
BLUE, ORANGE, GRAY = (0, 114, 178), (213, 94, 0), (140, 140, 140)
FONT_SIZE, ROW_HEIGHT, GAP = 14, 20, 12
# The worst images are drawn with their longer side at most so long.
PANEL_SIZE = 640


def write_report(
    evaluation: Evaluation, folder: str | Path, dataset: SegmentationDataset, segmenter: Segmenter, num_worst: int = 5
) -> None:
    """Writes `report.md`, `class_iou.png`, `confusions.png`, and the worst images into `worst_images`.

    Args:
        evaluation ([`Evaluation`]): What is shown.
        folder (`str` or `Path`): Where; it is made if it is missing.
        dataset ([`SegmentationDataset`]): The data set that was evaluated.
        segmenter ([`Segmenter`]): What segmented it: the worst images are segmented again.
        num_worst (`int`, *optional*, defaults to 5): How many images to draw; none for 0.
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
        lines.append(f"{sample.name}, mIoU {_percent(score)}:\n\n![{sample.name}]({name.replace(' ', '%20')})")
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
    """
    model, dataset, protocol = results["model"], results["dataset"], results["protocol"]
    speed, memory = results["speed"], results["memory"]
    scales = protocol["flip"] or list(protocol["scales"]) != [1.0]
    augmentation = f"scales {', '.join(map(str, protocol['scales']))}{' and mirrored' if protocol['flip'] else ''}"
    edges = [
        f"{name.replace('_', ' ')} {protocol[name]}" for name in ("shortest_edge", "longest_edge") if protocol[name]
    ]
    rows = [(METRIC_TITLES[name], _percent(value)) for name, value in results["metrics"].items()]
    if results["seen_unseen"] is not None:
        split = results["seen_unseen"]
        counts = f"{len(split['seen_class_ids'])} seen, {len(split['unseen_class_ids'])} unseen classes"
        rows.append((f"Trained on {split['seen_vocabulary']}", counts))
        for convention in MIOU_CONVENTIONS:
            values = split[convention]
            shown = f"seen {_percent(values['seen'])}, unseen {_percent(values['unseen'])}, harmonic mean "
            rows.append((METRIC_TITLES[convention], shown + _percent(values["harmonic_mean"])))
    rows += [
        ("Protocol", ", ".join([protocol["name"].replace("_", " "), *edges])),
        ("Test-time augmentation", augmentation if scales else "none"),
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
    width = max(len(name) for name, _ in rows)
    table = [f"| {name:{width}} | {_escape(value)} |" for name, value in rows]
    return "\n".join([title, "", *[f"{line}\n" for line in warnings], f"| {'':{width}} | |", "|---|---|", *table])


def class_table(results: dict[str, Any]) -> str:
    """The figures of each class, in the order of their ids.

    Args:
        results (`dict[str, Any]`): [`Evaluation.results`].

    Returns:
        `str`: Markdown.
    """
    lines = [
        "## Classes",
        "",
        "| id | class | IoU | accuracy | pixels | predicted pixels |",
        "|---|---|---|---|---|---|",
    ]
    for index, row in enumerate(results["per_class"]):
        lines.append(
            f"| {index} | {_escape(row['name'])} | {_percent(row['iou'])} | {_percent(row['accuracy'])} | "
            f"{row['pixels']:,} | {row['predicted_pixels']:,} |"
        )
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "–" if value is None or math.isnan(value) else f"{100 * value:.2f} %"


def _gigabytes(value: int | None) -> str:
    return "unknown" if value is None else f"{value / 1e9:.2f} GB"


def _device(speed: dict[str, Any]) -> str:
    threads = f" with {speed['num_threads']} thread(s)" if speed["device"] == "cpu" else ""
    return f"{speed['num_processes']} × {speed['device']}{threads}, {speed['dtype']}, batches of {speed['batch_size']}"


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


# ---- pictures -------------------------------------------------------------------------------------------------------


def draw_class_bars(results: dict[str, Any]) -> Image.Image:
    """A bar for the IoU of each class that occurs in the ground truth, the best first, in columns.

    Where seen classes are known, unseen ones are orange.

    Args:
        results (`dict[str, Any]`): [`Evaluation.results`].

    Returns:
        `PIL.Image.Image`: The picture, RGB.
    """
    unseen = set() if results["seen_unseen"] is None else set(results["seen_unseen"]["unseen_class_ids"])
    rows = [{**row, "is_unseen": index in unseen} for index, row in enumerate(results["per_class"]) if row["pixels"]]
    rows.sort(key=lambda row: -row["iou"])
    letters = _letters([row["name"] for row in rows])
    name_width = min(max((letters.getlength(row["name"]) for row in rows), default=0), 200)
    bar_width, value_width = 200, letters.getlength("100.0")
    column_width = round(name_width + bar_width + value_width) + 4 * GAP
    # A third wider than high.
    per_column = max(25, math.ceil(math.sqrt(len(rows) * column_width / ROW_HEIGHT / 1.33)))
    per_column = math.ceil(len(rows) / max(1, math.ceil(len(rows) / per_column)))
    num_columns = math.ceil(len(rows) / max(1, per_column))

    title = f"IoU in percent of the {len(rows)} classes that occur in {results['dataset']['name']}"
    legend = [("seen", BLUE), ("unseen", ORANGE)] if unseen else []
    legend_width = sum(letters.getlength(name) + ROW_HEIGHT + 2 * GAP for name, _ in legend)
    width = max(num_columns * column_width, round(letters.getlength(title) + legend_width) + 3 * GAP)
    picture = Image.new("RGB", (width, per_column * ROW_HEIGHT + 2 * GAP + 2 * ROW_HEIGHT), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, ROW_HEIGHT), title, INK, letters, "lm")
    left = GAP + letters.getlength(title) + 2 * GAP
    for name, color in legend:
        draw.rectangle((left, ROW_HEIGHT - 6, left + 12, ROW_HEIGHT + 6), fill=color)
        draw.text((left + ROW_HEIGHT, ROW_HEIGHT), name, INK, letters, "lm")
        left += letters.getlength(name) + ROW_HEIGHT + 2 * GAP
    for index, row in enumerate(rows):
        column, line = divmod(index, per_column)
        left, middle = column * column_width + GAP, 2 * ROW_HEIGHT + GAP + line * ROW_HEIGHT + ROW_HEIGHT // 2
        start = left + name_width + GAP
        draw.text((start - GAP / 2, middle), _shortened(row["name"], letters, name_width), INK, letters, "rm")
        draw.rectangle((start, middle - 7, start + bar_width, middle + 6), fill=TRACK)
        if row["iou"] > 0:
            end = start + max(1, round(row["iou"] * bar_width))
            draw.rectangle((start, middle - 7, end, middle + 6), fill=ORANGE if row["is_unseen"] else BLUE)
        value_right = start + bar_width + GAP / 2 + value_width
        draw.text((value_right, middle), f"{100 * row['iou']:.1f}", FAINT_INK, letters, "rm")
    return picture


def draw_confusions(matrix: ConfusionMatrix, num_classes: int = 20, num_columns: int = 24) -> Image.Image:
    """What the pixels of the worst classes were taken for, in percent.

    Each row is a class of the ground truth and adds up to 100: how many of its pixels were found, which classes took
    most of the others, and the rest.

    Args:
        matrix ([`ConfusionMatrix`]): The counts.
        num_classes (`int`, *optional*, defaults to 20): How many classes of the lowest IoU to show.
        num_columns (`int`, *optional*, defaults to 24): How many classes that they are taken for to show, at most.

    Returns:
        `PIL.Image.Image`: The picture, RGB.
    """
    table = matrix.compute()["per_class"]
    occurring = [index for index, row in enumerate(table) if row["pixels"]]
    # Of equally bad ones those of most pixels.
    worst = sorted(occurring, key=lambda index: (table[index]["iou"], -table[index]["pixels"]))[:num_classes]
    shares = matrix.matrix[worst].double() / matrix.matrix[worst].sum(dim=1, keepdim=True)
    found = shares[torch.arange(len(worst)), worst]
    wrong = shares.clone()
    wrong[torch.arange(len(worst)), worst] = 0
    taken = wrong.sum(dim=0)
    columns = taken.argsort(descending=True, stable=True)[:num_columns]
    columns = columns[taken[columns] > 0].tolist()
    others = wrong.sum(dim=1) - wrong[:, columns].sum(dim=1)
    cells = torch.cat([found[:, None], wrong[:, columns], others[:, None].clamp(min=0)], dim=1)
    headings = ["found", *(table[index]["name"] for index in columns), "other classes"]
    names = [table[index]["name"] for index in worst]

    letters = _letters([*names, *headings])
    title = f"Where the pixels of the {len(worst)} worst classes went, in percent"
    name_width = min(max((letters.getlength(name) for name in names), default=0), 220)
    heading_height = round(min(max(letters.getlength(heading) for heading in headings), 220))
    cell_width, cell_height = round(letters.getlength("100")) + GAP, ROW_HEIGHT + 4
    left, top = round(name_width) + 2 * GAP, heading_height + 2 * GAP + ROW_HEIGHT
    width = max(left + len(headings) * cell_width + GAP, round(letters.getlength(title)) + 2 * GAP)
    picture = Image.new("RGB", (width, top + len(worst) * cell_height + GAP), "white")
    draw = ImageDraw.Draw(picture)
    draw.text((GAP, ROW_HEIGHT // 2 + GAP // 2), title, INK, letters, "lm")
    for column, heading in enumerate(headings):
        strip = Image.new("RGB", (heading_height, cell_height), "white")
        text = _shortened(heading, letters, heading_height)
        ImageDraw.Draw(strip).text((0, cell_height // 2), text, INK, letters, "lm")
        picture.paste(
            strip.rotate(90, expand=True),
            (left + column * cell_width + (cell_width - cell_height) // 2, top - heading_height - 4),
        )
    for row, name in enumerate(names):
        middle = top + row * cell_height + cell_height // 2
        draw.text((left - GAP / 2, middle), _shortened(name, letters, name_width), INK, letters, "rm")
        for column, share in enumerate(cells[row].tolist()):
            strong = BLUE if column == 0 else GRAY if column == len(headings) - 1 else ORANGE
            fill = tuple(round(255 + (value - 255) * share**0.7) for value in strong)
            x, y = left + column * cell_width, top + row * cell_height
            draw.rectangle((x, y, x + cell_width - 2, y + cell_height - 2), fill=fill if share else "#f6f6f6")
            if share >= 0.005:
                color = "white" if share > 0.55 else INK
                draw.text((x + cell_width // 2 - 1, middle - 1), f"{100 * share:.0f}", color, letters, "mm")
    return picture


def draw_worst_images(
    evaluation: Evaluation, dataset: SegmentationDataset, segmenter: Segmenter, number: int
) -> Iterator[tuple[Sample, float, Image.Image]]:
    """The images of the lowest mean IoU, each beside its labels and its prediction.

    Args:
        evaluation ([`Evaluation`]): Has the scores.
        dataset ([`SegmentationDataset`]): Has the images.
        segmenter ([`Segmenter`]): Segments them again.
        number (`int`): How many.

    Yields:
        `tuple[Sample, float, PIL.Image.Image]`: Sample, its mean IoU over the classes in its ground truth (0 to 1), and
        the picture, RGB.
    """
    scores = [(score, index) for index, score in evaluation.image_scores.items() if not math.isnan(score)]
    for score, index in sorted(scores)[:number]:
        sample = dataset[index]
        label_map = segmenter([sample.image], [sample.labels.shape])[0]
        prediction = dataset.map_predictions(label_map).cpu().numpy()
        title = f"Prediction, mIoU {_percent(score)}"
        yield sample, score, _draw_sample(sample, prediction, dataset.class_names, dataset.ignore_index, title)


def _draw_sample(
    sample: Sample, prediction: np.ndarray, class_names: Sequence[str], ignore_index: int, title: str
) -> Image.Image:
    """Photo, labels and prediction side by side, with colours of their own for the classes of this image."""
    scale = min(1.0, PANEL_SIZE / max(sample.image.size))
    size = tuple(max(1, round(length * scale)) for length in sample.image.size)
    photo = _as_rgb(sample.image).resize(size)
    areas = np.bincount(np.concatenate([sample.labels.flatten(), prediction.flatten()]), minlength=len(class_names))
    present = [index for index in np.argsort(-areas[: len(class_names)], kind="stable").tolist() if areas[index]]
    # What is not scored gets the number after the last class.
    place = np.full(max(len(areas), ignore_index + 1), len(present), dtype=np.int32)
    place[present] = np.arange(len(present))
    names = [class_names[index] for index in present]

    panels = [("Photo", photo)]
    for heading, ids in (("Ground truth", sample.labels), (title, prediction)):
        small = np.asarray(Image.fromarray(place[ids]).resize(size, Image.Resampling.NEAREST))
        panels.append((heading, overlay(photo, small, names, background_id=len(present))))
    letters = _letters([sample.name, title])
    column_width = max(*(panel.width for _, panel in panels), round(letters.getlength(title))) + GAP
    heading_height = ROW_HEIGHT + GAP
    height = heading_height + max(panel.height for _, panel in panels) + GAP
    picture = Image.new("RGB", (3 * column_width + GAP, height), "white")
    draw = ImageDraw.Draw(picture)
    for column, (heading, panel) in enumerate(panels):
        left = GAP + column * column_width
        text = _shortened(f"{heading}: {sample.name}" if column == 0 else heading, letters, column_width - GAP)
        draw.text((left, heading_height // 2), text, INK, letters, "lm")
        picture.paste(panel, (left, heading_height))
    return picture


def _letters(texts: Sequence[str]) -> ImageFont.FreeTypeFont:
    face = _best_face("".join(texts))
    return ImageFont.load_default(FONT_SIZE) if face is None else ImageFont.truetype(face, FONT_SIZE)


__all__ = [
    "class_table",
    "draw_class_bars",
    "draw_confusions",
    "draw_worst_images",
    "results_table",
    "update_card",
    "write_report",
]
