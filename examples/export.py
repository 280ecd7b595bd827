# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Exports a CAT-Seg model as graphs, for ONNX Runtime or for torch without this package, and checks them.

    python examples/export.py path/to/model exported
    python examples/export.py path/to/model exported --check
    python examples/export.py path/to/model exported --int8
    python examples/export.py path/to/model exported --format torch

The first writes a folder for ONNX Runtime, that `catseg segment --model` takes. `--check` prints a table of time and
memory beside torch, `--int8` quantises CLIP, which is not exact.

The ONNX folder holds configuration and processor as well. `Segmenter.from_pretrained("exported")`, the command line and
all that is built over them compute with ONNX Runtime then, and load no weights into torch. For other programs, with C
channels, P templates, N = h * w patches and any number T of classes, the graphs are (all float32 but `input_ids`):

    text        input_ids (T, P, L), int64                        -> text_embeds (T, P, D)
    image       pixel_values (B, 3, H, W)                         -> image_embeds (B, h, w, D), normalised,
                and backbone_pixel_values (B, 3, H', W')             guidance_0 ... (B, 2, N, 3C) for each layer,
                for models with an appearance backbone               upsampling_0 (B, c, 2h, 2w), upsampling_1
    spatial_0   costs (t, P, h, w), guidance_0 (2, N, 3C)         -> aggregated (t, N, C)
    classes_0   maps (n, T, C), class_embeds (T, D)               -> difference (n, T, C)
    spatial_1   maps (t, N, C), guidance_1 (2, N, 3C)             -> aggregated (t, N, C), and so on for each layer
    decoder     maps (t, N, C), upsampling_0, upsampling_1        -> logits (t, 4h, 4w)

What lies between them is one loop, `_segment` of catseg_hf/onnx/model.py: costs are the cosine similarities of text
embeddings and one image's patches; `spatial` and `decoder` take a few classes t at a time, in each thread others;
`classes` takes all classes at n positions, whose difference is added to the maps. Of more classes than
`config.class_padding_length` (256 in the models of CVPR 2024) the loop keeps the most similar ones.

The torch format is two graphs, the whole path of an image in one:

    text    input_ids (T, P, L), int64                                 -> text_embeds (T, P, D)
    image   pixel_values (B, 3, H, W), text_embeds (T, P, D), float32  -> logits (B, T, 4h, 4w)
            and backbone_pixel_values (B, 3, H', W') for models with an appearance backbone

`CatSegProcessor` makes the inputs. The views of a sliding window are images of one batch: `pixel_values.flatten(0, 1)`.
The graphs are compared with the model on sizes that they were not traced with.

Dynamic are the number of images, of classes and of tokens. Not dynamic are:

- the size of the images: CLIP's position embeddings and the attention windows are laid out for `config.image_size`;
- the number of templates: it is the number of input channels of the first convolution;
- in the torch format, whether there are more classes than `config.class_padding_length`. Below it padding tokens are
  added, above it only the most similar classes are kept. That is a different graph: `--many-classes`. Models without
  padding tokens (v1, MMSegmentation) have one graph for any number.

Synonyms are separate prompts to the text graph; merging their embeddings is left to the caller.
"""

import statistics
import time
from collections.abc import Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
import typer
from torch import nn
from torch.export import Dim

from catseg_hf import CatSegConfig, CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.evaluation.processes import peak_memory
from catseg_hf.onnx import OnnxCatSeg, is_exported
from catseg_hf.onnx.export import MAX_BATCH_SIZE, MAX_CLASSES, example_images, example_prompts, export_onnx
from catseg_hf.onnx.graphs import TextGraph


TOLERANCE = 1e-4
CHECKED_CLASSES = (5, 20, 150, 847)
REPEATS = 5


class WholeGraph(nn.Module):
    """Images and text embeddings to logits.

    Args:
        model (`CatSegForSemanticSegmentation`): The model that is exported.
    """

    def __init__(self, model: CatSegForSemanticSegmentation) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, pixel_values: torch.Tensor, text_embeds: torch.Tensor, backbone_pixel_values: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        Args:
            pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Normalised images or views.
            text_embeds (`torch.FloatTensor` of shape `(T, P, D)`): Result of the text graph.
            backbone_pixel_values (`torch.FloatTensor` of shape `(B, 3, H', W')`, *optional*): For models with an
                appearance backbone.

        Returns:
            `torch.FloatTensor` of shape `(B, T, 4h, 4w)`: Logits.
        """
        return self.model(
            pixel_values=pixel_values, text_embeds=text_embeds, backbone_pixel_values=backbone_pixel_values
        ).logits


def example_inputs(config: CatSegConfig, batch_size: int, num_classes: int) -> dict[str, torch.Tensor]:
    """Random images and text embeddings."""
    text_embeds = torch.randn(num_classes, len(config.prompt_templates), config.clip_config.projection_dim)
    images = example_images(config, batch_size)
    return {"pixel_values": images.pop("pixel_values"), "text_embeds": F.normalize(text_embeds, dim=-1), **images}


def class_range(config: CatSegConfig, many_classes: bool) -> tuple[int, int]:
    """Smallest and largest number of classes of an image graph of torch.

    Raises:
        ValueError: If `many_classes` is asked of a model that has no graph of its own for them.
    """
    if config.class_padding_length == 0:
        if many_classes:
            raise ValueError("This model has no padding tokens: its one graph takes any number of classes.")
        return 1, MAX_CLASSES
    if many_classes:
        return config.class_padding_length + 1, MAX_CLASSES
    return 1, config.class_padding_length - 1


def refuse_difference(what: Path, difference: float) -> None:
    """Raises a `RuntimeError` if a difference is above 1e-4."""
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{what} differs from the model by {difference:.1e}, more than {TOLERANCE}.")


@torch.no_grad()
def save_torch(
    graph: nn.Module,
    examples: Sequence[tuple[torch.Tensor, ...]],
    dynamic_shapes: Sequence[dict[int, Dim]],
    path: Path,
) -> float:
    """Exports a graph for torch and compares it with the module that it was made of.

    Args:
        graph (`nn.Module`): What to export.
        examples (`Sequence[tuple[torch.Tensor, ...]]`): Inputs: the first to trace with, the others to compare on.
        dynamic_shapes (`Sequence[dict[int, Dim]]`): For each input its dynamic dimensions.
        path (`Path`): File to write, whose name ends in `.pt2`.

    Returns:
        `float`: Largest absolute difference of the outputs.

    Raises:
        RuntimeError: If it is above 1e-4.
    """
    program = torch.export.export(graph, examples[0], dynamic_shapes=tuple(dynamic_shapes), strict=False)
    torch.export.save(program, path)
    loaded = torch.export.load(path).module()
    difference = max(float((loaded(*inputs) - graph(*inputs)).abs().max()) for inputs in examples[1:])
    refuse_difference(path, difference)
    return difference


def export_torch(model: CatSegForSemanticSegmentation, output: Path, many_classes: bool) -> None:
    """Writes the two graphs for torch.

    Args:
        model (`CatSegForSemanticSegmentation`): The model.
        output (`Path`): The folder.
        many_classes (`bool`): Whether the image graph is for more classes than `config.class_padding_length`.
    """
    config = model.config
    longest = config.clip_config.text_config.max_position_embeddings
    difference = save_torch(
        TextGraph(model),
        [(example_prompts(config, *sizes),) for sizes in ((3, 8), (1, 5), (7, longest))],
        [{0: Dim("classes", max=MAX_CLASSES), 2: Dim("tokens", max=longest)}],
        output / "text.pt2",
    )
    print(f"{output / 'text.pt2'}: largest difference {difference:.1e}")
    smallest, largest = class_range(config, many_classes)
    batch, classes = Dim("batch", max=MAX_BATCH_SIZE), Dim("classes", min=smallest, max=largest)
    sizes = ((2, smallest + 2), (1, smallest), (3, min(smallest + 6, largest)))
    examples = [example_inputs(config, *each) for each in sizes]
    path = output / f"{'image_many_classes' if many_classes else 'image'}.pt2"
    difference = save_torch(
        WholeGraph(model),
        [tuple(each.values()) for each in examples],
        [{0: classes if name == "text_embeds" else batch} for name in examples[0]],
        path,
    )
    print(f"{path}: {smallest} to {largest} classes, largest difference {difference:.1e}")


@torch.no_grad()
def largest_difference(model: CatSegForSemanticSegmentation, output: Path) -> float:
    """How far an exported folder is from the model, for numbers of images, classes and tokens that were not traced."""
    exported, config = OnnxCatSeg.from_pretrained(output), model.config
    longest = config.clip_config.text_config.max_position_embeddings
    differences = []
    for num_tokens in (5, longest):
        prompts = example_prompts(config, 7, num_tokens)
        differences.append(exported.get_text_embeds(prompts) - model.get_text_embeds(prompts))
    for sizes in ((1, 1), (3, 7), (1, config.class_padding_length + 2)):
        inputs = example_inputs(config, *sizes)
        differences.append(exported(**inputs).logits - model(**inputs).logits)
    return max(float(each.abs().max()) for each in differences)


def serve(connection: Connection, folder: str, num_classes: int) -> None:
    """A process that segments a crop whenever it is asked, and says how long it took; at the end its peak of memory.

    Args:
        connection (`Connection`): Where to answer: with the logits first.
        folder (`str`): A model, or an exported one.
        num_classes (`int`): Number of classes.
    """
    model = (
        OnnxCatSeg.from_pretrained(folder)
        if is_exported(folder)
        else CatSegForSemanticSegmentation.from_pretrained(folder).eval()
    )
    torch.manual_seed(0)
    inputs = example_inputs(model.config, 1, num_classes)
    with torch.inference_mode():
        connection.send(model(**inputs).logits.numpy())
        while connection.recv():
            start = time.perf_counter()
            model(**inputs)
            connection.send(time.perf_counter() - start)
    connection.send(peak_memory(torch.device("cpu")))


def compare(model: str, output: Path, num_classes: int) -> str:
    """A row of the table: one crop by torch and by ONNX Runtime, in turns, in a process of each.

    Args:
        model (`str`): The model.
        output (`Path`): The exported folder.
        num_classes (`int`): Number of classes.

    Returns:
        `str`.
    """
    context, connections, processes = get_context("spawn"), [], []
    for folder in (model, str(output)):
        connection, other = context.Pipe()
        processes.append(context.Process(target=serve, args=(other, folder, num_classes)))
        processes[-1].start()
        connections.append(connection)
    logits = [connection.recv() for connection in connections]
    seconds: list[list[float]] = [[], []]
    for _ in range(REPEATS):
        for times, connection in zip(seconds, connections, strict=True):
            connection.send(True)
            times.append(connection.recv())
    peaks = []
    for connection, process in zip(connections, processes, strict=True):
        connection.send(False)
        peaks.append(connection.recv() / 1e9)
        process.join()
    medians = [statistics.median(times) for times in seconds]
    ratio = statistics.median(other / one for one, other in zip(*seconds, strict=True))  # of pairs, near in time
    return (
        f"| {num_classes} | {medians[0]:.2f} s | {medians[1]:.2f} s | {ratio:.2f} | {peaks[0]:.2f} GB "
        f"| {peaks[1]:.2f} GB | {peaks[1] / peaks[0]:.2f} | {np.abs(logits[0] - logits[1]).max():.1e} |"
    )


def main(
    model: Annotated[str, typer.Argument(help="Folder or Hub name of a model.")],
    output: Annotated[Path, typer.Argument(help="Folder to write to; made if needed.")],
    format: Annotated[str, typer.Option(help="onnx or torch.")] = "onnx",
    many_classes: Annotated[
        bool, typer.Option(help="In the torch format: for more classes than the model's padding length.")
    ] = False,
    int8: Annotated[bool, typer.Option(help="CLIP's linear layers in int8, which is not exact.")] = False,
    check: Annotated[bool, typer.Option(help="Print time and memory beside torch, by number of classes.")] = False,
) -> None:
    """Exports a model and checks what was written."""
    if format not in ("onnx", "torch"):
        raise typer.BadParameter(f"must be onnx or torch, got {format!r}", param_hint="--format")
    if format == "torch" and (int8 or check):
        raise typer.BadParameter("is of --format onnx", param_hint="--int8" if int8 else "--check")
    if format == "onnx" and many_classes:
        raise typer.BadParameter("is of --format torch: ONNX takes any number", param_hint="--many-classes")
    torch.manual_seed(0)
    catseg = CatSegForSemanticSegmentation.from_pretrained(model).eval()
    output.mkdir(parents=True, exist_ok=True)
    if format == "torch":
        export_torch(catseg, output, many_classes)
        return
    for path in export_onnx(catseg, CatSegProcessor.from_pretrained(model), output, int8=int8):
        print(path)
    difference = largest_difference(catseg, output)
    print(f"{output}: largest difference {difference:.1e}")
    if not int8:
        refuse_difference(output, difference)
    if check:
        print("| classes | torch | ONNX Runtime | ratio | peak memory | ONNX Runtime | ratio | largest difference |")
        print("|---|---|---|---|---|---|---|---|")
        for num_classes in CHECKED_CLASSES:
            print(compare(model, output, num_classes), flush=True)


if __name__ == "__main__":
    typer.run(main)
