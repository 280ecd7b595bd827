# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Options of commands: what several say of theirs, and groups of options as options of their own."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from functools import wraps
from typing import Annotated, Any, Literal, get_type_hints

import typer

from catseg_hf.option_groups import OptionGroup


MODEL_HELP = (
    "A published checkpoint (base, large, v1-base, v1-large, v1-huge, v1-giant, mmseg-base), which is downloaded and "
    "converted once, tiny (of drawn scenes, in this package), a folder written by `catseg convert`, or `owner/name` on "
    "the Hub."
)
SPEED = "Speed"
WeightType = Annotated[
    Literal["auto", "float32", "bfloat16", "float16"],
    typer.Option(
        help="Type of the weights; auto is bfloat16 on a GPU that has it, otherwise float32.", rich_help_panel=SPEED
    ),
]
ViewsOption = Annotated[
    Literal["one", "sliding"] | None,
    typer.Option(
        "--views",
        help="one: the whole photo at once, several times as fast. sliding: windows over it, as in the paper, which "
        "see more.",
        show_default="sliding, unless the model says otherwise",
        rich_help_panel=SPEED,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Compile the model first, which takes minutes and pays for many photos, on a GPU most.",
        rich_help_panel=SPEED,
    ),
]


def with_option_groups(command: Callable[..., None]) -> Callable[..., None]:
    """A command for typer, with an option for each field of the groups that a function takes.

    Args:
        command (`Callable`): Takes keywords only, some of them annotated with an [`OptionGroup`].

    Returns:
        `Callable`: Takes the fields instead, and hands over the groups.
    """
    signature = inspect.signature(command)
    groups: dict[str, type[OptionGroup]] = {}
    parameters = []
    for parameter in signature.parameters.values():
        if isinstance(parameter.annotation, type) and issubclass(parameter.annotation, OptionGroup):
            groups[parameter.name] = parameter.annotation
            parameters += _parameters(parameter.annotation)
        else:
            parameters.append(parameter)

    @wraps(command)
    def run(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{each.name: values.pop(each.name) for each in fields(group)})  # type: ignore[arg-type]
        command(**values)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _parameters(group: type[OptionGroup]) -> list[inspect.Parameter]:
    kinds, parameters = get_type_hints(group), []
    for field in fields(group):  # type: ignore[arg-type]
        assert field.default is not MISSING
        flag = "--" + field.name.replace("_", "-")
        # Without a name, typer would add one that switches it off.
        names = [flag] if kinds[field.name] is bool else []
        option = typer.Option(*names, rich_help_panel=group.panel, **field.metadata)
        parameters.append(
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=Annotated[kinds[field.name], option],
            )
        )
    return parameters


__all__ = ["MODEL_HELP", "SPEED", "Compile", "ViewsOption", "WeightType", "with_option_groups"]
