# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The command line of the conversion: `python -m convert`."""

import argparse
import json
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from transformers.utils import logging

from ..prompts_catseg import check_templates, parse_labels
from ..vocabularies import available_vocabularies, load_vocabulary
from ..vocabularies.text_files import read_lines
from .convert import DTYPES, convert_checkpoint
from .download import PUBLISHED, fetch_original
from .errors import ConversionError
from .options import ConversionOptions
from .original import write_original
from .plan import ConversionPlan, plan_conversion


DESCRIPTION = """\
Converts checkpoints of CAT-Seg (the official code of CVPR 2024, its first version v1, and MMSegmentation) into a folder
that from_pretrained loads. The code base is recognised, and all sizes are read from the file."""
EXAMPLES = """\
examples:
  python -m convert model_base.pth catseg-base
  python -m convert --check-keys keys.json
  python -m convert --to-original catseg-finetuned model_finetuned.pth
  python -m convert --publish my-organisation --dry-run"""
PUBLISHING_OPTIONS = ("publish", "dry_run", "private")


def make_parser() -> argparse.ArgumentParser:
    """The options of the command, as `argparse` reads them."""
    parser = argparse.ArgumentParser(
        prog="python -m convert",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "checkpoint",
        nargs="?",
        type=Path,
        help=f"the file, .pth or .safetensors (nothing in it is run), or one of {', '.join(PUBLISHED)} to download it",
    )
    parser.add_argument("output", nargs="?", type=Path, help="the folder to make")
    parser.add_argument(
        "--vocabulary",
        help=f"the model's own classes: one of {', '.join(available_vocabularies())}, a text file with one class a "
        "line (' | ' separates synonyms), or 'none'",
    )
    parser.add_argument("--tokenizer", help="folder or Hub name of the tokenizer, or 'none' (default: CLIP's)")
    parser.add_argument("--dtype", choices=list(DTYPES), default="float32", help="of the weights (default: float32)")
    other = parser.add_argument_group("other modes")
    other.add_argument(
        "--check-keys",
        nargs="+",
        type=Path,
        metavar="INVENTORY",
        help="check the mapping of JSON files {key: shape}, without weights",
    )
    other.add_argument(
        "--to-original",
        nargs=2,
        type=Path,
        metavar=("FOLDER", "OUTPUT"),
        help="write a folder as a checkpoint of the official code of CVPR 2024",
    )
    other.add_argument(
        "--publish",
        nargs="+",
        metavar=("OWNER", "NAME"),
        help="push the released checkpoints, all or those of these names, to the Hub as OWNER/catseg-NAME: fetched, "
        "converted, compared with their files; what is there already stays (log in with `hf auth login`)",
    )
    other.add_argument("--dry-run", action="store_true", help="of --publish: do all but write to the Hub")
    other.add_argument("--private", action="store_true", help="of --publish: make private what is made")
    group = parser.add_argument_group("what a checkpoint does not tell (defaults: as in the released models)")
    pair = {"nargs": 2, "type": int, "metavar": ("A", "B")}
    for name, options in {
        "vision_heads": {"type": int, "help": "heads of CLIP's vision tower"},
        "text_heads": {"type": int, "help": "heads of CLIP's text tower"},
        "hidden_act": {"choices": ["quick_gelu", "gelu"], "help": "CLIP's activation"},
        "image_size": {"type": int, "help": "side in pixels of the views that CLIP sees"},
        "num_attention_heads": {"type": int, "help": "heads of the aggregator"},
        "guidance_layers": {**pair, "help": "CLIP layers that guide the decoder, counted from 0"},
        "class_padding_length": {"type": int, "help": "classes that class attention always sees"},
        "class_attention": {"choices": ["linear", "softmax"], "help": "kind of class attention"},
        "window_size": {"type": int, "help": "side of the aggregator's windows, where no mask is stored"},
        "train_pooling_size": {**pair, "help": "pooling before class attention in training"},
        "inference_pooling_size": {**pair, "help": "the same at inference"},
        "prompt_templates": {"type": Path, "metavar": "FILE", "help": "text file, one sentence with {} a line"},
        "synonyms": {"choices": ["first", "mean", "max"], "help": "what makes one class of several names"},
        "drop_path_rate": {"type": float, "help": "stochastic depth of a Swin backbone in training"},
        "decoder_dropout": {"type": float, "help": "dropout before the last convolution in training"},
        "backbone_training": {
            "action": argparse.BooleanOptionalAction,
            "default": None,
            "help": "whether training goes on for the backbone",
        },
    }.items():
        group.add_argument(f"--{name.replace('_', '-')}", **options)
    return parser


def _options(arguments: argparse.Namespace) -> ConversionOptions:
    values: dict[str, Any] = {field.name: getattr(arguments, field.name) for field in fields(ConversionOptions)}
    if values["prompt_templates"] is not None:
        try:
            values["prompt_templates"] = check_templates(read_lines(values["prompt_templates"]))
        except (OSError, ValueError) as error:
            raise ConversionError(f"--prompt-templates {values['prompt_templates']}: {error}") from error
    return ConversionOptions(
        **{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    )


def _vocabulary(value: str | None) -> str | list[str | list[str]] | bool | None:
    if value is None or value in available_vocabularies():
        return value
    if value == "none":
        return False
    if not Path(value).is_file():
        raise ConversionError(
            f"--vocabulary {value} is neither a file nor one of {', '.join(available_vocabularies())}, none."
        )
    try:
        return parse_labels(load_vocabulary(value), "--vocabulary")
    except ValueError as error:
        raise ConversionError(str(error)) from error


def _describe_plan(path: Path, plan: ConversionPlan) -> str:
    num_mapped = len({move.source for move in plan.moves})
    return (
        f"{path}: {plan.title}; {num_mapped} tensors mapped, {len(plan.dropped)} dropped, "
        f"{len(plan.added)} added, nothing missing, all shapes equal"
    )


def _check_keys(path: Path, options: ConversionOptions) -> str:
    try:
        shapes = json.loads(path.read_text(encoding="utf-8"))
        shapes = {key: tuple(int(length) for length in shape) for key, shape in shapes.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ConversionError(f"{path} is not a JSON file of the form {{key: shape}}: {error}") from error
    try:
        return _describe_plan(path, plan_conversion(shapes, options))
    except ConversionError as error:
        raise ConversionError(f"{path}: {error}") from error


def _publish(arguments: argparse.Namespace) -> None:
    # The one thing here that needs the room above.
    from ..hub import publish_released

    owner, *names = arguments.publish
    plain = vars(make_parser().parse_args([])) | {name: getattr(arguments, name) for name in PUBLISHING_OPTIONS}
    if vars(arguments) != plain:
        changed = [name for name, value in plain.items() if getattr(arguments, name) != value]
        raise ConversionError(f"--publish converts as released: leave out {', '.join(changed)}.")
    for line in publish_released(owner, names, private=arguments.private, dry_run=arguments.dry_run):
        print(line, flush=True)


def _run(arguments: argparse.Namespace) -> None:
    options = _options(arguments)
    if (arguments.dry_run or arguments.private) and not arguments.publish:
        raise ConversionError("--dry-run and --private are options of --publish: give that, or leave them out.")
    if arguments.check_keys:
        for path in arguments.check_keys:
            print(_check_keys(path, options), flush=True)
    elif arguments.to_original:
        folder, output = arguments.to_original
        write_original(folder, output)
        print(f"Wrote {output}")
    elif arguments.publish:
        _publish(arguments)
    elif arguments.checkpoint is None or arguments.output is None:
        raise ConversionError("Give a checkpoint and a folder to make: python -m convert CHECKPOINT OUTPUT")
    else:
        checkpoint, released = arguments.checkpoint, None
        if str(checkpoint) in PUBLISHED and not checkpoint.exists():
            # With other options it is another model.
            released = str(checkpoint) if options == ConversionOptions() else None
            checkpoint = fetch_original(str(checkpoint))
        report = convert_checkpoint(
            checkpoint,
            arguments.output,
            options=options,
            vocabulary=_vocabulary(arguments.vocabulary),
            tokenizer=False if arguments.tokenizer == "none" else arguments.tokenizer,
            dtype=arguments.dtype,
            released=released,
        )
        print(report)
        print(f"Wrote {arguments.output}")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command.

    Args:
        arguments (`list[str]`, *optional*): The command line's words; by default those of the process.

    Returns:
        `int`: Exit code: 0, or 1 after an error, whose message is on standard error.
    """
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        _run(make_parser().parse_args(arguments))
    except (ConversionError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0
