# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Exports a CAT-Seg model as two graphs, for ONNX Runtime or for torch without this package, and checks them.

    python examples/export.py path/to/model exported                    # exported/image.onnx and exported/text.onnx
    python examples/export.py path/to/model exported --format torch     # exported/image.pt2 and exported/text.pt2

The text graph runs once per vocabulary, the image graph once per image:

    text    input_ids (T, P, L), int64                                 -> text_embeds (T, P, D)
    image   pixel_values (B, 3, H, W), text_embeds (T, P, D), float32  -> logits (B, T, 4h, 4w)
            and backbone_pixel_values (B, 3, H', W') for models with an appearance backbone

`CatSegProcessor` makes the inputs. The views of a sliding window are images of one batch: `pixel_values.flatten(0, 1)`.
Each graph is compared with the model on sizes that it was not traced with.

Dynamic are the number of images, of classes and of tokens. Not dynamic are:

- the size of the images: CLIP's position embeddings and the attention windows are laid out for `config.image_size`;
- the number of templates: it is the number of input channels of the first convolution;
- whether there are more classes than `config.class_padding_length` (256 in the models of CVPR 2024). Below it padding
  tokens are added, above it only the most similar classes are kept. That is a different graph: `--many-classes`. Models
  without padding tokens (v1, MMSegmentation) have one graph for any number.

Synonyms are separate prompts to the text graph; merging their embeddings is left to the caller.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from torch import nn
from torch.export import Dim, ExportedProgram

from catseg_hf import CatSegConfig, CatSegForSemanticSegmentation
from catseg_hf.vocabulary_catseg import end_token_id


TOLERANCE = 1e-4
OPSET = 20  # of ONNX: the first with GELU as one operation
MAX_BATCH_SIZE = 4096
MAX_CLASSES = 65536


class TextGraph(nn.Module):
    """Prompts to normalised embeddings: what `get_text_embeds` does, without its search for equal prompts.

    Args:
        model (`CatSegForSemanticSegmentation`): The model whose text tower is exported.
    """

    def __init__(self, model: CatSegForSemanticSegmentation) -> None:
        super().__init__()
        self.clip = model.model.clip
        self.end_token_id = end_token_id(model.config)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        """
        Args:
            input_ids (`torch.LongTensor` of shape `(T, P, L)`): Prompts, each with its end token.

        Returns:
            `torch.FloatTensor` of shape `(T, P, D)`.
        """
        prompts = input_ids.flatten(0, 1)
        hidden_states = self.clip.text_model(input_ids=prompts).last_hidden_state
        ends = (prompts == self.end_token_id).int().argmax(dim=-1)
        pooled = hidden_states[torch.arange(prompts.shape[0]), ends]
        return F.normalize(self.clip.text_projection(pooled), dim=-1).unflatten(0, input_ids.shape[:2])


class ImageGraph(nn.Module):
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


def example_prompts(config: CatSegConfig, num_classes: int, num_tokens: int) -> tuple[torch.Tensor]:
    """Random inputs `(num_classes, P, num_tokens)` of the text graph; prompts of the last class have full length."""
    end = end_token_id(config)
    shape = (num_classes, len(config.prompt_templates), num_tokens)
    last = torch.randint(2, num_tokens, (*shape[:2], 1))
    last[-1] = num_tokens - 1
    position = torch.arange(num_tokens).expand(shape)
    return (torch.randint(1, end, shape).masked_fill(position == last, end).masked_fill(position > last, 0),)


def example_images(config: CatSegConfig, batch_size: int, num_classes: int) -> tuple[torch.Tensor, ...]:
    """Random inputs of the image graph, in the order of its arguments."""
    text_embeds = torch.randn(num_classes, len(config.prompt_templates), config.clip_config.projection_dim)
    inputs = (
        torch.randn(batch_size, 3, config.image_size, config.image_size),
        F.normalize(text_embeds, dim=-1),
    )
    if config.backbone_config is None:
        return inputs
    side = 16 * (config.image_size // config.patch_size)  # the backbone's maps have strides 4, 8 and 16
    return (*inputs, torch.randn(batch_size, 3, side, side))


def class_range(config: CatSegConfig, many_classes: bool) -> tuple[int, int]:
    """Smallest and largest number of classes of an image graph.

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


def save_and_check(
    graph: nn.Module,
    names: Sequence[str],
    examples: Sequence[tuple[torch.Tensor, ...]],
    dynamic_shapes: Sequence[dict[int, Dim]],
    path: Path,
) -> float:
    """Exports a graph and compares it with the module that it was made of.

    Args:
        graph (`nn.Module`): What to export.
        names (`Sequence[str]`): Names of the inputs, then of the output.
        examples (`Sequence[tuple[torch.Tensor, ...]]`): Inputs: the first to trace with, the others to compare on.
        dynamic_shapes (`Sequence[dict[int, Dim]]`): For each input its dynamic dimensions.
        path (`Path`): File to write, whose name ends in `.onnx` or `.pt2`. ONNX keeps large weights in a second file
            beside it.

    Returns:
        `float`: Largest absolute difference of the outputs.

    Raises:
        RuntimeError: If it is above 1e-4.
    """
    with torch.no_grad():
        program: ExportedProgram = torch.export.export(
            graph, examples[0], dynamic_shapes=tuple(dynamic_shapes), strict=False
        )
    if path.suffix == ".pt2":
        torch.export.save(program, path)
        loaded = torch.export.load(path).module()

        def run(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
            return loaded(*inputs)

    else:
        import onnxruntime  # only this format needs it

        torch.onnx.export(
            program,
            f=path,
            input_names=names[:-1],
            output_names=names[-1:],
            dynamic_shapes=tuple(dynamic_shapes),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

        def run(inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
            arrays = (tensor.numpy() for tensor in inputs)
            return torch.from_numpy(session.run(None, dict(zip(names, arrays, strict=False)))[0])

    difference = 0.0
    with torch.no_grad():
        for inputs in examples[1:]:
            difference = max(difference, float((run(inputs) - graph(*inputs)).abs().max()))
    if not difference <= TOLERANCE:
        raise RuntimeError(f"{path} differs from the model by {difference:.1e}, more than {TOLERANCE}.")
    return difference


def main(
    model: Annotated[str, typer.Argument(help="Folder or Hub name of a model.")],
    output: Annotated[Path, typer.Argument(help="Folder to write to; made if needed.")],
    format: Annotated[str, typer.Option(help="onnx or torch.")] = "onnx",
    many_classes: Annotated[bool, typer.Option(help="For more classes than the model's padding length.")] = False,
) -> None:
    """Exports a model and checks what was written."""
    if format not in ("onnx", "torch"):
        raise typer.BadParameter(f"must be onnx or torch, got {format!r}", param_hint="--format")
    torch.manual_seed(0)
    catseg = CatSegForSemanticSegmentation.from_pretrained(model).eval()
    config = catseg.config
    output.mkdir(parents=True, exist_ok=True)
    suffix = ".onnx" if format == "onnx" else ".pt2"

    longest = config.clip_config.text_config.max_position_embeddings
    text_path = output / f"text{suffix}"
    difference = save_and_check(
        TextGraph(catseg),
        ["input_ids", "text_embeds"],
        [example_prompts(config, *sizes) for sizes in ((3, 8), (1, 5), (7, longest))],
        [{0: Dim("classes", max=MAX_CLASSES), 2: Dim("tokens", max=longest)}],
        text_path,
    )
    print(f"{text_path}: largest difference {difference:.1e}")

    smallest, largest = class_range(config, many_classes)
    batch, classes = Dim("batch", max=MAX_BATCH_SIZE), Dim("classes", min=smallest, max=largest)
    inputs = ["pixel_values", "text_embeds", *([] if config.backbone_config is None else ["backbone_pixel_values"])]
    image_path = output / f"{'image_many_classes' if many_classes else 'image'}{suffix}"
    difference = save_and_check(
        ImageGraph(catseg),
        [*inputs, "logits"],
        [
            example_images(config, *sizes)
            for sizes in ((2, smallest + 2), (1, smallest), (3, min(smallest + 6, largest)))
        ],
        [{0: classes if name == "text_embeds" else batch} for name in inputs],
        image_path,
    )
    print(f"{image_path}: {smallest} to {largest} classes, largest difference {difference:.1e}")


if __name__ == "__main__":
    typer.run(main)
