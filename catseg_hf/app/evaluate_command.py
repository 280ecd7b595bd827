# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg evaluate`: its options, and which data set they name. What it needs further is imported when it runs."""

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from catseg_hf.app.evaluation_data import load_data_set
from catseg_hf.command_options import Compile, ViewsOption, WeightType


if TYPE_CHECKING:
    import torch

    from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
    from catseg_hf.datasets import SegmentationDataset
    from catseg_hf.evaluation import Evaluation, Segmenter


Model = Annotated[str, typer.Option(help="As for `catseg segment`.")]
DataSet = Annotated[
    str | None,
    typer.Option(
        help="ade20k_150, ade20k_847, coco_stuff_171, pascal_context_59, pascal_context_459, pascal_voc_20 or "
        "pascal_voc_20b, with --data-root; or a data set of the library `datasets`, with --vocabulary."
    ),
]
DataRoot = Annotated[Path | None, typer.Option(help="The folder that holds the benchmarks' folders.")]
Images = Annotated[Path | None, typer.Option(help="Instead of --dataset: a folder of images.")]
Annotations = Annotated[
    Path | None,
    typer.Option(
        help="Of --images: a folder of label files of the same names; or annotations: COCO's JSON, Label Studio's "
        "export as JSON, CVAT's XML 1.1, or a folder of YOLO's segmentation or of LabelMe."
    ),
]
VocabularyName = Annotated[
    str | None,
    typer.Option(
        help="Classes of other data: a text file, one a line, or a benchmark's name. Annotations and --label-map name "
        "theirs."
    ),
]
Split = Annotated[str | None, typer.Option(help="The part of --dataset [default: its validation part].")]
IgnoreIndex = Annotated[
    int | None, typer.Option(help="Of other data: the value of pixels that do not count [default: 255].")
]
ReduceLabels = Annotated[
    bool, typer.Option("--reduce-labels", help="Of other data: 0 does not count, and the first class is 1.")
]
BinaryMasks = Annotated[
    bool, typer.Option("--binary-masks", help="The label files of two classes are masks of 0 and 255.")
]
LabelMap = Annotated[
    Path | None,
    typer.Option(
        help="A file that names the colours or values of label files: class_dict.csv (name,r,g,b or name,id) or CVAT's "
        "labelmap.txt. The names are the classes, unless --vocabulary is given; ignore, void and unlabeled do not "
        "count."
    ),
]
Missing = Annotated[
    Literal["error", "skip"] | None,
    typer.Option(
        help="What becomes of images that annotations list and --images lacks, and of those without a label file: skip "
        "leaves them out, and says how many [default: error]."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(help="Folder for results, report and progress [default: results/MODEL/DATASET-PROTOCOL]."),
]
ProtocolName = Annotated[
    Literal["sliding_window", "mmseg_slide", "whole"] | None,
    typer.Option(help="How images are cut into views.", show_default="sliding_window"),
]
Augmented = Annotated[bool, typer.Option("--tta", help="Test-time augmentation: six scales, each mirrored too.")]
Edge = Annotated[int | None, typer.Option(help="Instead of the protocol's, in pixels.")]
Seen = Annotated[
    str | None, typer.Option(help="Classes that the model was trained on, as --vocabulary: reports unseen ones.")
]
Limit = Annotated[int | None, typer.Option(help="A trial on so many images.")]
BatchSize = Annotated[int, typer.Option(help="Images at a time.")]
NumWorkers = Annotated[int, typer.Option(help="Further processes that read images.")]
Device = Annotated[Literal["auto", "cpu"], typer.Option(help="A GPU if there is one, or the CPU.")]
Worst = Annotated[int, typer.Option(help="How many of the worst images to draw.")]
SkipUnreadable = Annotated[
    bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and say so.")
]
UpdateCard = Annotated[bool, typer.Option("--update-card", help="Write the mIoUs into the card in the model's folder.")]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Precision, recall and IoU of this class, if only it is named; can be given several times."),
]
Others = Annotated[
    str | None, typer.Option(help="Classes that compete with --only: a vocabulary, a file or own [default: own].")
]
DataSetRevision = Annotated[str | None, typer.Option(help="Version of the data set, for the card.")]


def evaluate(
    model: Model,
    dataset: DataSet = None,
    data_root: DataRoot = None,
    images: Images = None,
    annotations: Annotations = None,
    vocabulary: VocabularyName = None,
    split: Split = None,
    ignore_index: IgnoreIndex = None,
    reduce_labels: ReduceLabels = False,
    binary_masks: BinaryMasks = False,
    label_map: LabelMap = None,
    missing: Missing = None,
    output: Output = None,
    protocol: ProtocolName = None,
    views: ViewsOption = None,
    tta: Augmented = False,
    shortest_edge: Edge = None,
    longest_edge: Edge = None,
    seen: Seen = None,
    limit: Limit = None,
    batch_size: BatchSize = 1,
    num_workers: NumWorkers = 0,
    dtype: WeightType = "float32",
    compile: Compile = False,
    device: Device = "auto",
    worst: Worst = 5,
    skip_unreadable: SkipUnreadable = False,
    update_card: UpdateCard = False,
    dataset_revision: DataSetRevision = None,
    only: Only = None,
    others: Others = None,
) -> None:
    """Measure a model on a data set: both mIoU conventions, per class, with a report.

    An evaluation that was interrupted goes on where it was. With several GPUs, start it by
    `torchrun --nproc-per-node 4 -m catseg_hf.cli evaluate ...`.
    """
    import torch

    from catseg_hf import evaluation
    from catseg_hf.app.evaluate_only import check_only, evaluate_only

    if only:
        check_only(seen=seen, update_card=update_card)
    elif others is not None:
        raise ValueError(f"--others {others} competes with the classes of --only: give --only NAME too.")
    if views is not None and protocol is not None:
        raise ValueError(f"--protocol {protocol} says how images are cut into views: leave out --views {views}.")
    protocol = protocol or ("whole" if views == "one" else "sliding_window")
    accelerate = needed_accelerate()
    if update_card:
        check_card(model, limit)
    scales = evaluation.AUGMENTATION_SCALES if tta else (1.0,)
    chosen = evaluation.Protocol(protocol, scales, flip=tta, shortest_edge=shortest_edge, longest_edge=longest_edge)
    own_data = {"images": images, "annotations": annotations, "vocabulary": vocabulary, "ignore_index": ignore_index}
    own_data |= {"reduce_labels": reduce_labels or None, "binary_masks": binary_masks or None, "label_map": label_map}
    own_data["missing"] = missing
    data = load_data_set(dataset, data_root=data_root, split=split, **own_data)
    name = data.name.replace("/", "_")
    if only:
        data = evaluation.only_classes(data, only)
        name += f"-only-{'-'.join(only)}"

    state = accelerate.PartialState(cpu=device == "cpu" or not torch.accelerator.is_available())
    folder, network, processor = load_model(model, dtype, state.device, compile)
    if output is None:
        output = default_output(folder, f"{name}-{protocol}{'-tta' if tta else ''}")
    options = {"batch_size": batch_size, "num_workers": num_workers, "limit": limit, "seen": seen}
    options["skip_unreadable"] = skip_unreadable
    is_main = state.is_main_process
    try:
        if only:
            evaluate_only(network, processor, data, chosen, others or "own", output, is_main=is_main, **options)
        else:
            result = evaluation.evaluate(network, processor, data, chosen, output=output, **options)
        if is_main and not only:
            report(result, output, data, evaluation.Segmenter(network, processor, data.vocabulary, chosen), worst)
            if update_card:
                typer.echo(f"Updated {evaluation.update_card(folder, result.results, dataset_revision)}")
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. The same command goes on from what is in {output}.", err=True)
        raise typer.Exit(130) from None
    state.destroy_process_group()


def needed_accelerate() -> ModuleType:
    """The library accelerate.

    Returns:
        `ModuleType`: The library.

    Raises:
        ValueError: If it is not installed; says how to install it.
    """
    from catseg_hf.evaluation.processes import load_accelerate

    try:
        return load_accelerate()
    except ImportError as error:
        raise ValueError(str(error)) from error


def check_card(model: str, limit: int | None) -> None:
    """Refuses `--update-card` before hours of work where it cannot be done.

    Args:
        model (`str`): The option `--model`.
        limit (`int`, *optional*): The option `--limit`.

    Raises:
        ValueError: If the model is no folder with a card, or the evaluation is a trial.
    """
    if not Path(model, "README.md").is_file():
        raise ValueError(f"--update-card needs a model folder with a README.md, and --model {model} is none.")
    if limit is not None:
        raise ValueError("--update-card is for complete evaluations: leave out --limit.")


def load_model(
    name: str, dtype: str, device: "torch.device", compiles: bool
) -> "tuple[str, CatSegForSemanticSegmentation, CatSegProcessor]":
    """Loads what is evaluated.

    Args:
        name (`str`): As [`find_model`] takes it.
        dtype (`str`): As [`pick_dtype`] takes it.
        device (`torch.device`): Where to compute.
        compiles (`bool`): Whether to compile the model.

    Returns:
        `tuple[str, CatSegForSemanticSegmentation, CatSegProcessor]`: Folder or name on the Hub, model and processor.

    Raises:
        ValueError: If there is no such model.
    """
    from transformers.utils import logging

    from catseg_hf.hub import find_model, load_model_and_processor
    from catseg_hf.segmenting.devices import compile_model, pick_dtype

    logging.disable_progress_bar()
    folder = find_model(name)
    network, processor = load_model_and_processor(folder, pick_dtype(dtype, device))
    network = network.to(device)
    if compiles:
        compile_model(network)
    return folder, network, processor


def default_output(model: str, name: str) -> Path:
    """The folder of results where none is named.

    Args:
        model (`str`): Folder of the model, or its name on the Hub.
        name (`str`): What tells evaluations of the model apart.

    Returns:
        `Path`: In the current folder.
    """
    return Path("results", Path(model).resolve().name if Path(model).is_dir() else model, name)


def report(
    result: "Evaluation", output: Path, data: "SegmentationDataset", segmenter: "Segmenter", num_worst: int
) -> None:
    """Writes the report of an evaluation and prints its figures.

    Args:
        result ([`Evaluation`]): The evaluation.
        output (`Path`): The folder of results.
        data ([`SegmentationDataset`]): What was evaluated on.
        segmenter ([`Segmenter`]): What segmented it.
        num_worst (`int`): How many of the worst images to draw.
    """
    from catseg_hf.evaluation import results_table, write_report

    write_report(result, output, data, segmenter, num_worst)
    typer.echo(results_table(result.results))
    typer.echo(f"\nWrote {output}")


__all__ = ["evaluate"]
