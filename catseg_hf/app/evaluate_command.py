# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg evaluate`: its options, and what it does. What it needs further is imported when it runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from catseg_hf.app.evaluation_data import DataSetOptions
from catseg_hf.command_options import Compile, ViewsOption, WeightType


if TYPE_CHECKING:
    import torch

    from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
    from catseg_hf.datasets import SegmentationDataset
    from catseg_hf.evaluation import Protocol


ONLY_REPORT = "report.md"

Edge = Annotated[int | None, typer.Option(help="Instead of the protocol's, in pixels.")]


def evaluate(
    *,
    model: Annotated[str, typer.Option(help="As for `catseg segment`.")],
    data: DataSetOptions,
    output: Annotated[
        Path | None,
        typer.Option(help="Folder for results, report and progress [default: results/MODEL/DATASET-PROTOCOL]."),
    ] = None,
    protocol: Annotated[
        Literal["sliding_window", "mmseg_slide", "whole"] | None,
        typer.Option(help="How images are cut into views.", show_default="sliding_window"),
    ] = None,
    views: ViewsOption = None,
    tta: Annotated[bool, typer.Option("--tta", help="Test-time augmentation: six scales, each mirrored too.")] = False,
    shortest_edge: Edge = None,
    longest_edge: Edge = None,
    seen: Annotated[
        str | None, typer.Option(help="Classes that the model was trained on, as --vocabulary: reports unseen ones.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="A trial on so many images.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images at a time.")] = 1,
    num_workers: Annotated[int, typer.Option(help="Further processes that read images.")] = 0,
    dtype: WeightType = "float32",
    compile: Compile = False,
    device: Annotated[Literal["auto", "cpu"], typer.Option(help="A GPU if there is one, or the CPU.")] = "auto",
    worst: Annotated[int, typer.Option(help="How many of the worst images to draw.")] = 5,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out images that cannot be read, and say so.")
    ] = False,
    update_card: Annotated[
        bool, typer.Option("--update-card", help="Write the mIoUs into the card in the model's folder.")
    ] = False,
    dataset_revision: Annotated[str | None, typer.Option(help="Version of the data set, for the card.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Precision, recall and IoU of this class, if only it is named; can be given several times."),
    ] = None,
    others: Annotated[
        str | None, typer.Option(help="Classes that compete with --only: a vocabulary, a file or own [default: own].")
    ] = None,
) -> None:
    """Measure a model on a data set: both mIoU conventions, per class, with a report.

    An evaluation that was interrupted goes on where it was. With several GPUs, start it by
    `torchrun --nproc-per-node 4 -m catseg_hf.cli evaluate ...`.
    """
    import torch

    from catseg_hf import evaluation
    from catseg_hf.evaluation.processes import load_accelerate

    if only:
        _check_only(seen=seen, update_card=update_card)
    elif others is not None:
        raise ValueError(f"--others {others} competes with the classes of --only: give --only NAME too.")
    if views is not None and protocol is not None:
        raise ValueError(f"--protocol {protocol} says how images are cut into views: leave out --views {views}.")
    protocol = protocol or ("whole" if views == "one" else "sliding_window")
    accelerate = load_accelerate()
    if update_card:
        _check_card(model, limit)
    scales = evaluation.AUGMENTATION_SCALES if tta else (1.0,)
    chosen = evaluation.Protocol(protocol, scales, flip=tta, shortest_edge=shortest_edge, longest_edge=longest_edge)
    data_set = data.load()
    name = data_set.name.replace("/", "_")
    if only:
        data_set = evaluation.only_classes(data_set, only)
        name += f"-only-{'-'.join(only)}"

    state = accelerate.PartialState(cpu=device == "cpu" or not torch.accelerator.is_available())
    folder, network, processor = _load(model, dtype, state.device, compile)
    if output is None:
        model_name = Path(folder).resolve().name if Path(folder).is_dir() else folder
        output = Path("results", model_name, f"{name}-{protocol}{'-tta' if tta else ''}")
    options = {"batch_size": batch_size, "num_workers": num_workers, "limit": limit, "seen": seen}
    options["skip_unreadable"] = skip_unreadable
    try:
        if only:
            table = _evaluate_only(network, processor, data_set, chosen, others or "own", output, **options)
            if state.is_main_process:
                (output / ONLY_REPORT).write_text(table + "\n", encoding="utf-8")
                typer.echo(f"{table}\n\nWrote {output}")
        else:
            result = evaluation.evaluate(network, processor, data_set, chosen, output=output, **options)
            if state.is_main_process:
                segmenter = evaluation.ProtocolSegmenter(network, processor, data_set.vocabulary, chosen)
                evaluation.write_report(result, output, data_set, segmenter, worst)
                typer.echo(f"{evaluation.results_table(result.results)}\n\nWrote {output}")
                if update_card:
                    typer.echo(f"Updated {evaluation.update_card(folder, result.results, dataset_revision)}")
    except KeyboardInterrupt:
        typer.echo(f"Interrupted. The same command goes on from what is in {output}.", err=True)
        raise typer.Exit(130) from None
    state.destroy_process_group()


def _check_only(**useless: Any) -> None:
    """Refuses options of whole evaluations, by name, which have no effect with `--only`."""
    if given := [f"--{name.replace('_', '-')}" for name, value in useless.items() if value]:
        raise ValueError(f"--only measures single classes: leave out {', '.join(given)}.")


def _check_card(model: str, limit: int | None) -> None:
    """Refuses `--update-card` before hours of work where it cannot be done."""
    if not Path(model, "README.md").is_file():
        raise ValueError(f"--update-card needs a model folder with a README.md, and --model {model} is none.")
    if limit is not None:
        raise ValueError("--update-card is for complete evaluations: leave out --limit.")


def _load(
    name: str, dtype: str, device: "torch.device", compiles: bool
) -> "tuple[str, CatSegForSemanticSegmentation, CatSegProcessor]":
    """The model's folder or name on the Hub, the model and its processor."""
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


def _evaluate_only(
    network: "CatSegForSemanticSegmentation",
    processor: "CatSegProcessor",
    data_set: "SegmentationDataset",
    protocol: "Protocol",
    others: str,
    output: Path,
    **options: Any,
) -> str:
    """Measures classes alone and with others, in the folders `alone` and `with-others`; a table of both."""
    from catseg_hf.evaluation import ProtocolSegmenter, evaluate, only_table

    classes = ProtocolSegmenter(network, processor, data_set.vocabulary, protocol, others).classes
    parts = (network, processor, data_set, protocol)
    evaluations = {
        "alone": evaluate(*parts, output=output / "alone", **options),
        f"with others ({others}: {len(classes.others)})": evaluate(
            *parts, output=output / "with-others", others=others, **options
        ),
    }
    table = only_table(evaluations)
    if classes.left_out:
        shown = ", ".join(f"{other} ({label})" for other, label in classes.left_out.items())
        table += f"\n\nLeft out of the others, as they mean the same: {shown}."
    return table
