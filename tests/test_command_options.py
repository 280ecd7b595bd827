# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Groups of options: one dataclass in Python and behind the command, whose help shows them in panels."""

import re
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from catseg_hf.cli import app
from catseg_hf.command_options import with_option_groups
from catseg_hf.formats import AnnotationOptions
from catseg_hf.option_groups import OptionGroup, option
from catseg_hf.sources.options import ClusterOptions, VideoOptions, WindowOptions


@dataclass(frozen=True)
class Paint(OptionGroup):
    """How a wall is painted."""

    panel: ClassVar[str] = "Paint"

    coats: int = option(2, min=1, help="How many coats.")
    colour: Literal["red", "blue"] = option("red", help="Which colour.")
    is_matt: bool = option(False, help="Without gloss.")
    note: str | None = option(None, help="What to remember.", show_default="nothing")


@pytest.fixture
def taken() -> list[tuple[str, Paint]]:
    return []


@pytest.fixture
def command(taken: list[tuple[str, Paint]]) -> typer.Typer:
    """A command with an option of its own and a group."""
    program = typer.Typer()

    @program.command()
    @with_option_groups
    def paint(*, wall: str = "north", how: Paint) -> None:
        taken.append((wall, how))

    return program


def test_a_group_is_handed_over_as_one_object(command: typer.Typer, taken: list[tuple[str, Paint]]) -> None:
    run = CliRunner().invoke
    assert run(command, []).exit_code == 0
    assert (
        run(command, ["--coats", "3", "--colour", "blue", "--is-matt", "--note", "x", "--wall", "south"]).exit_code == 0
    )
    assert taken == [("north", Paint()), ("south", Paint(3, "blue", True, "x"))]
    assert taken[0][1].given() == [] and taken[1][1].given() == ["coats", "colour", "is_matt", "note"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--coats", "0"], "Invalid value for '--coats'"),
        (["--colour", "green"], "Invalid value for '--colour'"),
        (["--no-is-matt"], "No such option"),
    ],
)
def test_what_a_field_does_not_allow_is_refused(arguments: list[str], message: str, command: typer.Typer) -> None:
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 2 and message in re.sub(r"\s+", " ", result.output)


def test_help_has_a_panel_for_each_group(command: typer.Typer) -> None:
    shown = CliRunner().invoke(command, ["--help"], env={"COLUMNS": "100", "NO_COLOR": "1"}).output
    before, panel = shown.split("─ Paint ─")
    assert "--wall" in before and "--coats" not in before
    assert all(text in panel for text in ("--coats", "[default: 2]", "--is-matt", "[default: (nothing)]"))


# ---- catseg segment -------------------------------------------------------------------------------------------------


def test_every_field_of_every_group_is_an_option_of_its_panel() -> None:
    parameters = {each.name: each for each in get_command(app).commands["segment"].params}
    panels = {}
    for group in (AnnotationOptions, WindowOptions, VideoOptions, ClusterOptions):
        for name, field in ((each.name, each) for each in fields(group)):
            panels.setdefault(parameters[name].rich_help_panel, set()).add(name)
            assert parameters[name].default == field.default and parameters[name].help == field.metadata["help"]
    assert panels == {
        "Annotations": {"min_area", "simplify", "fill_holes", "shapes", "each", "image_url"},
        "Large images": {"tile", "scale", "overlap", "bands", "value_range"},
        "Videos": {"every", "smooth"},
        "Cluster": {"address", "image_column"},
    }


def test_help_shows_panels_and_first_what_most_people_need() -> None:
    shown = CliRunner().invoke(app, ["segment", "--help"], env={"COLUMNS": "120", "NO_COLOR": "1"}).output
    panels = re.findall(r"╭─ ([\w ]+?) ─+╮", shown)
    assert panels == [
        *("Arguments", "Options", "What to look for", "Results", "Speed"),
        *("Annotations", "Large images", "Videos", "Cluster"),
    ]
    options = [each.opts[0] for each in get_command(app).commands["segment"].params]
    assert options[1:11] == [
        *("--labels", "--labels-file", "--model", "--others", "--threshold", "--background"),
        *("--output", "--format", "--skip-existing", "--device"),
    ]
    places = [shown.index(f"│ {option} ") for option in options[1:]]
    assert places == sorted(places)
