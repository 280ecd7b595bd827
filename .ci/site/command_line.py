# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The page of the command line, made of the commands themselves."""

import argparse
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from made_page import MadePage, table
from typer.main import get_command

from catseg_hf.cli import app
from catseg_hf.conversion.command import make_parser


KINDS = {str: "text", int: "whole number", float: "number", Path: "path"}
HEADS = ("name", "values", "default", "what it does")


def page() -> MadePage:
    """The page."""
    group = get_command(app)
    context = group.context_class(group, info_name="catseg")
    parts = ["# The command line", f"{group.help} `catseg COMMAND --help` shows the same at the command line."]
    parts.append(_options("`catseg`", group.params))
    for name, command in group.commands.items():
        parts.append(f"## catseg {name}")
        if name == "convert":
            parts += _conversion(make_parser())
            continue
        usage = " ".join(command.collect_usage_pieces(group.context_class(command, info_name=name, parent=context)))
        parts += [command.help or "", f"```text\ncatseg {name} {usage}\n```"]
        panels: dict[str, list[Any]] = {}
        for parameter in command.params:
            is_argument = parameter.param_type_name == "argument"
            title = "Arguments" if is_argument else getattr(parameter, "rich_help_panel", None) or "Options"
            panels.setdefault(title, []).append(parameter)
        parts += [_options(title, parameters) for title, parameters in panels.items()]
    return MadePage("reference/command_line.md", "Command line", "\n\n".join(parts) + "\n")


def _options(title: str, parameters: Iterable[Any]) -> str:
    rows = []
    for parameter in parameters:
        if getattr(parameter, "hidden", False):
            continue
        names = [*parameter.opts, *parameter.secondary_opts] if parameter.param_type_name == "option" else []
        shown = ", ".join(f"`{name}`" for name in names) or f"`{parameter.metavar or parameter.name.upper()}`"
        rows.append((shown, _values(parameter), _default(parameter), getattr(parameter, "help", None) or ""))
    return f"**{title}**\n\n{table(HEADS, rows)}"


def _values(parameter: Any) -> str:
    kind = parameter.type_descriptor.annotation
    kind = get_args(kind)[0] if get_origin(kind) is list else kind
    if get_origin(kind) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(kind))
    if issubclass(kind, Enum):
        return ", ".join(f"`{choice.value}`" for choice in kind)
    if kind is bool:
        return ""
    limits = {"from": parameter.min, "to": parameter.max}
    return " ".join([KINDS[kind], *(f"{word} {limit}" for word, limit in limits.items() if limit is not None)])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "needed"
    shown = getattr(parameter, "show_default", None)
    if isinstance(shown, str):
        return shown
    default = parameter.default
    return "" if default is None or default is False or default == () or callable(default) else f"`{default}`"


def _conversion(parser: argparse.ArgumentParser) -> list[str]:
    usage = parser.format_usage().removeprefix("usage: ").strip()
    parts = [parser.description or "", f"Also `python -m convert`.\n\n```text\n{usage}\n```"]
    for group in parser._action_groups:
        rows = []
        for action in group._group_actions:
            names = action.option_strings or [str(action.metavar or action.dest).upper()]
            choices = ", ".join(f"`{choice}`" for choice in action.choices or ())
            default = "" if action.default in (None, False, argparse.SUPPRESS) else f"`{action.default}`"
            rows.append((", ".join(f"`{name}`" for name in names), choices, default, action.help or ""))
        if rows:
            parts.append(table((group.title or "").capitalize(), rows))
    return parts
