# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Which room may import which: imports point one way, no file is part of a circle, and model files stand alone."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest


PACKAGE = Path(__file__).parents[1] / "catseg_hf"
# From the ground up: a room imports rooms of floors below its own, and those named beside it.
FLOORS = [
    {"configuration", "vocabularies", "atomic_files", "file_kinds", "option_groups", "ray_session"},
    {"model files"},
    {"cards", "pictures", "registration", "command_options", "onnx"},
    {"large_images", "datasets"},
    {"formats", "conversion", "scenes"},
    {"evaluation", "hub", "training"},
    {"segmenting"},
    {"sources"},
    {"fleet", "service"},
    {"app"},
    {"cli"},
]
# The scenes of catseg-tiny are measured with the confusion matrix.
SAME_OR_ABOVE = {("scenes", "evaluation")}
# Short methods of the classes that import inside: `from_original`, `from_clip_pretrained`, cards of pushed models.
# And the conversion's command, which also publishes.
UPWARD = {
    ("modeling_catseg", "conversion"),
    ("modeling_catseg", "cards"),
    ("processing_catseg", "cards"),
    ("conversion.command", "hub"),
}


def module_of(path: Path) -> str:
    name = path.relative_to(PACKAGE).with_suffix("").as_posix().replace("/", ".")
    return name.removesuffix(".__init__") if name != "__init__" else ""


MODULES = {module_of(path): path for path in PACKAGE.rglob("*.py")}


def resolve(name: str) -> str | None:
    """The module that a dotted name inside the package stands for, or is defined in."""
    while name not in MODULES and name:
        name = name.rpartition(".")[0]
    return name or None


def run_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only type checkers read."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            yield node
            yield from run_nodes(node)


def imports_of(module: str) -> set[str]:
    """Modules of the package that a module imports, wherever it does so; by `import_module` as well."""
    path, found = MODULES[module], set()
    for node in run_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom):
            start = node.module or ""
            if node.level:
                parts = path.relative_to(PACKAGE).parts[: -node.level]
                start = ".".join([*parts, *([start] if start else [])])
            elif start.split(".")[0] == "catseg_hf":
                start = start.partition(".")[2]
            else:
                continue
            names = [f"{start}.{alias.name}".lstrip(".") for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.partition(".")[2] for alias in node.names if alias.name.startswith("catseg_hf.")]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            names = [node.args[0].value.partition(".")[2]]
        found |= {target for name in names if (target := resolve(name)) and target != module}
    return found


def room_of(module: str) -> str:
    name = module.split(".")[0]
    if name == "configuration_catseg":
        return "configuration"
    return "model files" if name.endswith("_catseg") else name


IMPORTS = {module: imports_of(module) for module in MODULES if module}


def test_imports_are_found() -> None:
    assert "merging_catseg" in IMPORTS["image_processing_catseg"]
    assert "conversion" in IMPORTS["modeling_catseg"]
    assert "evaluation.metrics" in IMPORTS["scenes.protocol"]
    assert any(target.startswith("app.") for target in IMPORTS["cli"])


def test_every_module_is_in_a_room() -> None:
    rooms = set().union(*FLOORS)
    assert {room_of(module) for module in IMPORTS} == rooms


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_rooms_import_only_rooms_below(module: str) -> None:
    floor_of = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
    room = room_of(module)
    for target in IMPORTS[module]:
        other = room_of(target)
        is_allowed = other == room or (room, other) in SAME_OR_ABOVE or (module, target) in UPWARD
        assert is_allowed or floor_of[other] < floor_of[room], f"{module} imports {target}"


def test_no_file_is_part_of_a_circle() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module not in done:
            for target in sorted(IMPORTS[module]):
                if (module, target) not in UPWARD:
                    visit(target, (*path, module))
            done.add(module)

    for module in IMPORTS:
        visit(module, ())
