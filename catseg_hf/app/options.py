# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What several subcommands say of their options."""

from typing import Annotated, Literal

import typer


MODEL_HELP = (
    "A published checkpoint (base, large, v1-base, v1-large, v1-huge, v1-giant, mmseg-base), which is downloaded and "
    "converted once, tiny (of drawn scenes, in this package), a folder written by `catseg convert`, or `owner/name` on "
    "the Hub."
)
WeightType = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(help="Type of the weights; auto is bfloat16 on a GPU that has it, otherwise float32."),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the model first, which takes minutes and pays for many photos, on a GPU most."
    ),
]


__all__ = ["MODEL_HELP", "Compile", "WeightType"]
