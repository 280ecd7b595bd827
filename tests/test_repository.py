# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the README shows runs as it stands, and the repository is consistent with itself."""

import argparse
import ast
import inspect
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomllib
import torch
from accelerate.commands.launch import launch_command_parser
from accelerate.state import AcceleratorState, GradientState
from huggingface_hub.cli.hf import app as hf_app
from PIL import Image
from torch.distributed.run import get_args_parser as torchrun_parser
from typer.main import get_command

import catseg_hf
from catseg_hf import CatSegConfig
from catseg_hf.cli import app as catseg_app
from catseg_hf.conversion import command as convert_command
from catseg_hf.conversion.download import PUBLISHED
from catseg_hf.formats.coco import merge_coco, to_coco
from catseg_hf.formats.label_studio import to_label_studio
from catseg_hf.formats.shapes import annotate
from examples import benchmark, demo, draw_pictures
from tests import loopback_hub as hub
from tests.large_files import read_frames, read_label_map, write_geotiff, write_video
from tests.mini_datasets import write_mini_benchmark
from tests.small_evaluations import NAMES, save_small_data_set, save_small_model
from tests.tiny_models import random_checkpoint


ROOT = Path(__file__).parents[1]
PAGES = [
    f"examples/{name}.md"
    for name in (
        "segmenting",
        "browser",
        "evaluation",
        "training",
        "sharing",
        "speed",
        "annotations",
        "large_images",
        "video",
        "fleet",
        "serving",
        "label_studio",
        "robustness",
        "reference",
        "errors",
    )
]
# Of these, `tests/test_tutorials.py` runs everything.
TUTORIALS = [page.relative_to(ROOT).as_posix() for page in draw_pictures.PAGES]
DOCUMENTS = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        "README.md",
        "examples/README.md",
        *PAGES,
        *TUTORIALS,
        "convert/README.md",
        "catseg_hf/README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
    )
}
README = DOCUMENTS["README.md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Commands that need the network, take hours, do not end or would run these tests again; further below, as much of them
# as can be is tested.
NOT_RUN = (
    "pip install ",
    "accelerate launch ",
    "make ",
    "catseg demo",
    "catseg serve",
    "docker ",
    "curl ",
    "ML_BLOCK_",
)
PROGRAMS = ("accelerate", "catseg", "hf", "make", "pip", "python", "torchrun")
# What `...` in a command stands for.
ELLIPSES = {"accelerate": "--output runs/base", "torchrun": "--model catseg-base"}


def code_blocks(language: str, document: str = "README.md") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", DOCUMENTS[document], flags=re.MULTILINE | re.DOTALL)


def shell_commands() -> list[str]:
    documents = [document for document in DOCUMENTS if document not in TUTORIALS]
    blocks = [block for document in documents for block in code_blocks("bash", document)]
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def inline_code(document: str) -> list[str]:
    text = re.sub(r"^```.*?^```", "", DOCUMENTS[document], flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`([^`]+)`", text)


def documented_commands() -> list[str]:
    """All commands that the documents name, in blocks and in sentences."""
    found = []
    for document in DOCUMENTS:
        lines = [line for block in code_blocks(r"\w*", document) for line in block.splitlines()]
        found += [line for line in [*lines, *inline_code(document)] if line.split(" ")[0] in PROGRAMS and " " in line]
    return list(dict.fromkeys(found))


@pytest.fixture(scope="module")
def reader(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with what the README takes for granted, and an environment with the commands of this package."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "CHECKPOINT").symlink_to(tiny_checkpoint)
    (folder / "examples").symlink_to(ROOT / "examples")
    Image.effect_noise((90, 60), 80).convert("RGB").save(folder / "photo.jpg")
    for name in ("photos", "masks"):
        (folder / name).mkdir()
    for name in ("one", "two"):
        Image.effect_noise((60, 90), 60).convert("RGB").save(folder / "photos" / f"{name}.jpg")
        Image.new("RGB", (60, 90), (128, 64, 128)).save(folder / "masks" / f"{name}.png")
    (folder / "rows").mkdir()  # of a fleet
    (folder / "class_dict.csv").write_text("name,r,g,b\nroad,128,64,128\ntree,128,128,0\n")
    write_mini_benchmark("pascal_voc_20", folder / "data", number=2)
    write_geotiff(folder / "big.tif", height=700, width=900)
    write_video(folder / "clip.mp4")
    commands = folder / "bin"
    commands.mkdir()
    for name, module in (("python", ""), ("catseg", "-m catseg_hf.cli"), ("hf", "-m huggingface_hub.cli.hf")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (commands / name).chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{commands}:{os.environ['PATH']}"}
    return folder, {**environment, "HF_HOME": str(folder / "cache")}


def run(command: list[str], reader: tuple[Path, dict[str, str]]) -> str:
    folder, environment = reader
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # some thirty commands and pages, each a process
def test_commands_and_python_of_the_documents_run_in_order(reader: tuple[Path, dict[str, str]]) -> None:
    folder, environment = reader
    commands = [command for command in dict.fromkeys(shell_commands()) if not command.startswith(NOT_RUN)]
    # Those take all cores, and are among the tests of the fleet.
    commands = [command for command in commands if "--engine ray" not in command]
    assert [command.split()[:2] for command in commands] == [
        ["hf", "download"],
        ["python", "-m"],
        ["catseg", "segment"],
        ["catseg", "segment"],
        ["catseg", "evaluate"],
        ["catseg", "evaluate"],
        ["catseg", "evaluate"],
        ["python", "examples/export.py"],
        ["catseg", "segment"],
        ["catseg", "segment"],
        ["catseg", "segment"],
        ["catseg", "evaluate"],
        ["catseg", "segment"],
        ["catseg", "segment"],
    ]
    with hub.serve() as loopback_hub:
        published = hub.StoredFile((folder / "CHECKPOINT").read_bytes(), is_lfs=True)
        loopback_hub.repositories[PUBLISHED["base"].repository] = space = hub.Repository(private=False)
        space.add_commit("main", "The checkpoint", {PUBLISHED["base"].file_name: published})
        connected = {"HF_ENDPOINT": loopback_hub.endpoint, "HF_TOKEN": hub.TOKEN, "HF_HUB_DISABLE_XET": "1"}
        connected |= {"HF_HUB_OFFLINE": "0"}
        for command in commands:
            online = connected if command.startswith("hf ") else {}
            run(["sh", "-c", command], (folder, {**environment, **online}))
        assert Image.open(folder / "overlay.png").size[0] == 160
        (folder / "overlay.png").unlink()
        assert read_label_map(folder / "overview.labels.tif").shape == (700, 900)
        assert json.loads((folder / "overview.geojson").read_text())["features"]
        assert len(read_frames(folder / "overlay.mp4")[0]) == 12
        metrics = json.loads((folder / "results" / "results.json").read_text())["metrics"]
        assert 0 < metrics["miou_present_in_either"] < 1
        colours = json.loads((folder / "results-colours" / "results.json").read_text())
        assert [row["pixels"] for row in colours["per_class"]] == [2 * 60 * 90, 0]
        # A model agrees with itself, as far as evaluation and segmentation cut photos into the same views.
        mine = json.loads((folder / "results-mine" / "results.json").read_text())["metrics"]
        assert mine["miou_present_in_either"] > 0.95

        # The blocks of a page build on each other.
        blocks, output = [], ""
        for document in ("README.md", *PAGES):
            blocks += (found := code_blocks("python", document))
            output += run([sys.executable, "-c", "\n".join(found)], (folder, {**environment, **connected}))
        assert loopback_hub.repositories["user/catseg-plants"].private
    assert Image.open(folder / "overlay.png").size[0] == 160
    for name in ("load_vocabulary", "dataset.vocabulary"):
        (shown,) = [block.split("# ")[-1].strip() for block in blocks if name in block]
        assert shown in output
    assert (folder / "my-catseg" / "modeling_catseg.py").is_file()


def test_segment_example_runs(
    tiny_model_folder: Path,
    reader: tuple[Path, dict[str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(reader[0])
    monkeypatch.setattr(sys, "argv", ["segment.py", "photo.jpg", str(tiny_model_folder), "out.png", "cat", "sky, dark"])
    runpy.run_path(str(ROOT / "examples" / "segment.py"), run_name="__main__")
    assert "sky, dark" in capsys.readouterr().out and Image.open("out.png").size[0] == 160


def test_demo_segments_a_drawn_scene_with_the_words_it_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    labels = "something red, a star, something yellow, ground"
    monkeypatch.setattr(sys, "argv", ["demo.py", labels, str(tmp_path)])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    demo.main()
    output = capfd.readouterr().out
    found = re.findall(r"^ *[\d.]+%  (.+)$", output, re.MULTILINE)
    assert sorted(found) == sorted(labels.split(", "))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["overlay.png", "scene.png"]
    width, height = Image.open(tmp_path / "overlay.png").size
    assert width == 384 < height  # the legend is below the picture


@pytest.mark.slow
def test_a_checkpoint_of_full_size_converts_and_segments_a_photo(
    tmp_path: Path, reader: tuple[Path, dict[str, str]]
) -> None:
    checkpoint, model, output = tmp_path / "model_base.pth", tmp_path / "model", tmp_path / "overlay.png"
    tensors = random_checkpoint(CatSegConfig.vit_base())
    released = json.loads((ROOT / "tests" / "fixtures" / "keys" / "cvpr_vitb16.json").read_text())
    assert {name: list(tensor.shape) for name, tensor in tensors.items()} == released
    torch.save({"model": tensors}, checkpoint)
    run([sys.executable, "-m", "convert", str(checkpoint), str(model)], reader)
    command = ["segment", "photo.jpg", "--labels", "cat, grass", "--model", str(model), "--output", str(output)]
    run([sys.executable, "-m", "catseg_hf.cli", *command], reader)
    assert Image.open(output).size[0] == 160  # widened from 90 for the legend


class ArgumentsRead(Exception):
    """Ends a script as soon as it has read its arguments."""

    def __init__(self, parser: ArgumentParser, options: Namespace) -> None:
        super().__init__(parser, options)
        self.parser, self.options = parser, options


def read_by_script(words: list[str]) -> ArgumentsRead:
    """Has a script, or a module after `-m`, read its arguments, and nothing more."""
    read = ArgumentParser.parse_known_args

    def read_and_end(parser: ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        options, unknown = read(parser, args, namespace)
        if unknown:
            parser.error(f"unrecognized arguments: {unknown}")
        raise ArgumentsRead(parser, options)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(ArgumentsRead) as end:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", read_and_end)
        if words[0] == "-m":
            patch.setattr(sys, "argv", words[1:])
            runpy.run_module(words[1], run_name="__main__")
        else:
            patch.setattr(sys, "argv", words)
            runpy.run_path(str(ROOT / words[0]), run_name="__main__")
    return end.value


def read_command(command: str) -> None:
    """Checks a command as far as that is possible without doing what it says.

    Raises:
        SystemExit: If its options are wrong; other errors in other cases.
    """
    program, *words = shlex.split(command)
    if words[-1] == "...":
        words[-1:] = ELLIPSES[program].split()
    if program == "accelerate":
        assert words.pop(0) == "launch"
        launched = launch_command_parser().parse_args(words)
        read_command(shlex.join(["python", launched.training_script, *launched.training_script_args]))
    elif program == "torchrun":
        launched = torchrun_parser().parse_args(words)
        assert launched.module == (launched.training_script == "catseg_hf.cli")
        started = ["catseg"] if launched.module else ["python", launched.training_script]
        read_command(shlex.join([*started, *launched.training_script_args]))
    elif program in ("catseg", "hf"):
        group = get_command(catseg_app) if program == "catseg" else hf_app
        if words[0].startswith("-"):  # not parsed, since that would do it
            assert words[0] in option_names(group)
            return
        context = group.context_class(group)
        while hasattr(group, "resolve_command"):
            name, group, words = group.resolve_command(context, words)
        if words and name == "convert":
            read_by_script(["-m", "convert", *words])
        elif words:
            group.make_context(name, words)
    elif program == "python":
        words = [word for word in words if word != "--help"]
        script = (ROOT / words[0]).read_text(encoding="utf-8") if words[0] != "-m" else "ArgumentParser"
        if "ArgumentParser" not in script:
            usage = re.search(rf"python {words[0]} (.*)", ast.get_docstring(ast.parse(script)))[1]
            assert len(words) > len(re.sub(r"\[.*?\]", "", usage).split())
        elif len(words) > 1 + (words[0] == "-m"):
            read_by_script(words)
    elif program == "make":
        variables = [word.partition("=")[0] for word in words if "=" in word]
        assert {word for word in words if "=" not in word} <= make_targets()
        assert all(f"$({variable})" in (ROOT / "Makefile").read_text() for variable in variables)
    else:
        assert program == "pip" and words[0] == "install"
        assert set(re.findall(r"\[([\w-]+)\]", command)) <= set(PROJECT["optional-dependencies"])


def option_names(command: Any) -> set[str]:
    """All options of a command and its subcommands."""
    names = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return names.union(*(option_names(each) for each in getattr(command, "commands", {}).values()), ["--help"])


def make_targets() -> set[str]:
    return set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the folders that commands take for granted."""
    monkeypatch.chdir(tmp_path)
    for name in ("catseg-base", "FOLDER", "my-model", "empty"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.mark.parametrize("command", documented_commands())
def test_documented_commands_have_the_options_that_programs_take(command: str, place: Path) -> None:
    read_command(command)


@pytest.mark.parametrize(
    "command",
    [
        "accelerate launch examples/finetune.py --data-root DATASETS --output runs/base --number 2000",
        "accelerate launch examples/finetune.py --data-root DATASETS",
        "catseg segment photo.jpg --label cat",
        "catseg --no-such-option",
        "catseg no-such-command",
        "hf download hamacojr/CAT-Seg-weights --to .",
        "make no-such-target",
        'pip install ".[no-such-extra]"',
        "python -m convert CHECKPOINT OUTPUT --no-such-option",
        "python examples/refine_with_sam.py photo.jpg catseg-base",
        "python examples/no_such_script.py photo.jpg",
        "torchrun --nproc-per-node 4 -m catseg_hf.cli evaluate --data-root data",
        "torchrun --nproc-per-node 4 examples/finetune.py --data-root DATASETS",
    ],
)
def test_wrong_commands_are_found(command: str, place: Path) -> None:
    with pytest.raises((Exception, SystemExit)):
        read_command(command)


@pytest.fixture(scope="module")
def trainer(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the training commands take for granted, the model and the images small."""
    folder = tmp_path_factory.mktemp("trainer")
    save_small_model(folder / "catseg-base", tiny_model_folder)
    images, labels, _ = save_small_data_set(folder)
    images.rename(folder / "photos")
    labels.rename(folder / "masks")
    write_coco(folder)
    write_label_studio(folder)
    for split in ("train", "val"):
        write_mini_benchmark("coco_stuff_171", folder / "DATASETS", split=split)
    return folder


def write_coco(folder: Path) -> None:
    """The labels of the photos as COCO's JSON as well."""
    names = [label if isinstance(label, str) else ", ".join(label) for label in NAMES]
    pieces = []
    for mask in sorted((folder / "masks").glob("*.png")):
        ids = np.asarray(Image.open(mask)).astype(int)
        pieces.append(mask.with_suffix(".json"))
        pieces[-1].write_text(json.dumps(to_coco(annotate(mask.name, np.where(ids == 255, -1, ids), names))))
    (folder / "dataset").mkdir()
    with open(folder / "dataset" / "annotations.json", "w") as file:
        merge_coco(pieces, names, file)


def write_label_studio(folder: Path) -> None:
    """The labels of the photos as an export of Label Studio as well."""
    names = [label if isinstance(label, str) else label[0] for label in NAMES]
    tasks = []
    for number, mask in enumerate(sorted((folder / "masks").glob("*.png"))):
        ids = np.asarray(Image.open(mask)).astype(int)
        photo = annotate(mask.name, np.where(ids == 255, -1, ids), names)
        (task,) = to_label_studio(photo, f"/data/upload/1/0123abcd-{mask.name}")
        tasks.append({"id": number, "data": task["data"], "annotations": task["predictions"]})
    (folder / "corrected.json").write_text(json.dumps(tasks))


TRAINING_COMMANDS = [command for command in documented_commands() if command.startswith("accelerate launch ")]


@pytest.mark.parametrize("command", [command for command in TRAINING_COMMANDS if not command.endswith("...")])
def test_training_commands_run_with_fewer_steps(command: str, trainer: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trainer)
    words = shlex.split(command)
    output = Path(words[words.index("--output") + 1])
    shutil.rmtree(output, ignore_errors=True)
    assert words[:3] == ["accelerate", "launch", "examples/finetune.py"]
    # Of two values for an option, the last counts.
    words += shlex.split("--steps 2 --batch-size 1 --crop-size 64 --num-workers 0 --model catseg-base")
    words += ["--eval-protocol", "whole"]
    for state in (AcceleratorState, GradientState):
        state._reset_state()
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    monkeypatch.setattr(sys, "argv", words[2:])
    runpy.run_path(str(ROOT / words[2]), run_name="__main__")
    assert [json.loads(line)["step"] for line in (output / "loss.jsonl").read_text().splitlines()] == [1, 2]
    assert (output / "best").is_dir() == ("--data-root" in words)
    names = json.loads((output / "model" / "config.json").read_text())["id2label"]
    assert names["0"] == ("person" if "--data-root" in words else "wall")


def test_blocks_of_the_conversion_run_in_order(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("CHECKPOINT", "model_base.pth"):
        Path(name).symlink_to(tiny_checkpoint)
    Path("FOLDER").symlink_to("OUTPUT")
    shutil.copy(ROOT / "tests" / "fixtures" / "keys" / "cvpr_vitb16.json", "keys.json")
    commands = [line.strip() for block in code_blocks("", "convert/README.md") for line in block.splitlines()]
    assert all(command.startswith("python -m convert ") for command in commands)
    for command in commands:
        assert convert_command.main(shlex.split(command)[3:]) == 0
    printed = capsys.readouterr().out
    assert "nothing missing, all shapes equal" in printed and "Wrote OUTPUT.pth" in printed
    assert Path("OUTPUT.pth").is_file()
    (block,) = code_blocks("python", "convert/README.md")
    exec(block, {})
    assert json.loads(Path("catseg-base/config.json").read_text())["inference_pooling_size"] == [2, 2]


def test_all_blocks_are_of_a_kind_that_is_tested() -> None:
    kinds = {name: set(re.findall(r"^```(.*)\n(?:.*\n)*?```$", text, re.MULTILINE)) for name, text in DOCUMENTS.items()}
    assert kinds["README.md"] <= {"bash", "python", "bibtex"}
    kinds["examples/serving.md"].remove("json")  # tests/service/test_api.py compares this answer with a service's
    assert all(kinds[document] <= {"bash", "python"} for document in PAGES)
    assert kinds["CONTRIBUTING.md"] == {"bash"}
    assert not any(kinds[document] for document in ("examples/README.md", "catseg_hf/README.md", "SECURITY.md"))
    assert kinds["convert/README.md"] <= {"python", ""}  # without a kind: commands that are tested further above
    assert {command.split(" ")[0] for command in documented_commands()} == set(PROGRAMS)


def test_options_in_sentences_exist() -> None:
    scripts = (
        ["-m", "convert"],
        ["examples/finetune.py", "--output", "runs"],
        ["examples/train_tiny.py"],
        ["tests/golden.py", "FOLDER"],
    )
    known = option_names(get_command(catseg_app)) | {
        f"--{name.replace('_', '-')}" for name in inspect.signature(benchmark.main).parameters
    }
    known |= {name for words in scripts for name in read_by_script(words).parser._option_string_actions}
    for document in DOCUMENTS:
        code = [part for part in inline_code(document) if part.split(" ")[0] not in PROGRAMS]
        assert {option for part in code for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", part)} <= known, document


def test_commands_that_are_not_run_exist() -> None:
    code = "\n".join(shell_commands() + re.findall(r"`.*?`", "".join(DOCUMENTS.values())))
    named = set(re.findall(r"\bmake ([\w-]+)", code))
    tests = {"test", "test-slow", "test-floor", "test-torchvision", "test-label-studio"}
    assert named == {"demo", *tests, "quality", "style", "package", "docs", "pictures"} <= make_targets()


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_files_that_documents_name_exist(document: str) -> None:
    text, folder = DOCUMENTS[document], (ROOT / document).parent
    for target in re.findall(r"\]\(([^)]*)\)", text):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = (folder / name).resolve() if name else ROOT / document
        assert file.is_file() and (not anchor or anchor in anchors(file)), target
    for name in re.findall(r"(?<!/)\b(?:tests|examples|catseg_hf|convert)/[\w./]*\w", text):
        assert (ROOT / name).exists() or (folder / name).exists(), name


def anchors(file: Path) -> set[str]:
    """What links to the headings of a page say after `#`."""
    headings = [line.strip("# ") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("#")]
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_documents_name_the_versions_extras_and_files_of_the_package() -> None:
    floors = dict(re.match(r"([\w-]+)>=([\d.]+)", dependency).groups() for dependency in PROJECT["dependencies"])
    python = PROJECT["requires-python"].removeprefix(">=")
    needed = (
        f"Python {python} or newer, torch {floors['torch']} or newer, Transformers {floors['transformers']} or newer"
    )
    assert needed in README
    messages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "catseg_hf").rglob("*.py"))
    extras = re.findall(r'pip install \\?"(?:\.|catseg-hf)\[([\w-]+)\]', "".join(DOCUMENTS.values()) + messages)
    assert {"eval", "train"} <= set(extras) <= set(PROJECT["optional-dependencies"])
    for name, file in PUBLISHED.items():
        shown = re.sub("(?<=r101_).*(?=pth)", "…", file.file_name)
        assert f"\n| `{name}` | `{shown}` |" in README
        link = file.address.replace("/resolve/", "/blob/")
        assert re.search(rf"\({re.escape(link)}\) .*`{name}` \|$", DOCUMENTS["convert/README.md"], re.MULTILINE), name


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def test_no_file_names_a_private_path_or_is_large() -> None:
    # Absolute paths and addresses of single machines have no place here; nor have secrets.
    leaks = re.compile(
        rb"/(?:home|root|work|Users)/\w|\b(?:\d{1,3}\.){3}\d{1,3}:\d+|hf_[A-Za-z0-9]{30,}|BEGIN [A-Z ]*PRIVATE KEY"
    )
    allowed = re.compile(rb"127\.0\.0\.1:\d+")
    for path in tracked_files():
        content = path.read_bytes()
        assert len(content) < 16 * 2**20, path
        if b"\0" not in content[:1024]:
            found = leaks.search(allowed.sub(b"", content))
            assert found is None, f"{path.relative_to(ROOT)}: {found.group()!r}"


def test_every_python_file_has_the_licence_header_and_those_of_the_package_a_docstring() -> None:
    for path in tracked_files():
        if path.suffix == ".py" and path.stat().st_size:
            text = path.read_text(encoding="utf-8")
            assert text.startswith("# Copyright 2026 The catseg_hf authors. Licensed under the Apache License"), path
            assert path.parent.name == "tests" or ast.get_docstring(ast.parse(text)), path


TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in (ROOT / "catseg_hf").rglob("*.py")}


def names_of(tree: ast.AST) -> set[str]:
    """What a file itself defines, also where it depends on a library."""
    names = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {
                each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
            }
        elif isinstance(node, ast.If | ast.Try | ast.ExceptHandler):
            names |= names_of(node)
    return names


def definition(path: Path, name: str) -> tuple[Path, str]:
    """The file that defines what a file has under a name, and its name there: imports are followed to their end."""
    if name in names_of(TREES[path]):
        return path, name
    for node in ast.walk(TREES[path]):
        imported = isinstance(node, ast.ImportFrom) and {each.asname or each.name: each.name for each in node.names}
        if imported and name in imported:
            start = path.parents[node.level - 1] if node.level else ROOT
            module = start.joinpath(*(node.module or "").split("."))
            source = next(each for each in (module.with_suffix(".py"), module / "__init__.py") if each in TREES)
            return definition(source, imported[name])
    raise AssertionError(f"{path} has no {name}")


def public_names() -> set[tuple[Path, str]]:
    """Where all that an `__all__` lists is defined, and under which name."""
    return {
        definition(path, name)
        for path, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
        for name in ast.literal_eval(node.value)
    }


def functions_with_docstrings() -> Iterator[tuple[str, bool, list[str], str]]:
    """Place, whether public, arguments and docstring of the package's functions; of `__init__` that of its class."""
    public = public_names()
    for path, tree in TREES.items():
        if path.name.endswith(("cli.py", "_command.py")):  # there the help texts of options say what arguments are
            continue
        classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
        for owner in (tree, *classes):
            for node in owner.body:
                if not isinstance(node, ast.FunctionDef):
                    continue
                is_init = node.name == "__init__"
                is_public = (path, getattr(owner, "name", node.name)) in public and (
                    is_init or not node.name.startswith("_")
                )
                # Not `*args` and `**kwargs`, which stand for arguments that are explained by their own names.
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                names = [argument.arg for argument in arguments if argument.arg not in ("self", "cls")]
                docstring = ast.get_docstring(owner if is_init else node) or ""
                yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", is_public, names, docstring


def test_docstrings_name_all_arguments() -> None:
    # Rule D417 of pydocstyle does not know `height, width (`int`): ...`, nor does it ask for a section "Args".
    num_sections = 0
    for place, is_public, arguments, docstring in functions_with_docstrings():
        section = re.search(r"^Args:\n((?:(?: .*)?\n?)*)", docstring, flags=re.MULTILINE)
        if section is not None:
            num_sections += 1
            heads = [line.partition(":")[0] for line in re.findall(r"^ {4}(\S.*)", section[1], flags=re.MULTILINE)]
            named = set(re.findall(r"\w+", re.sub(r"\(.*?\)", "", ",".join(heads))))
            assert set(arguments) <= named, f"{place} leaves out {set(arguments) - named}"
        elif is_public and "[`" not in docstring:  # which refers to another docstring
            assert all(f"`{name}`" in docstring for name in arguments), f"{place} has no section for {arguments}"
    assert num_sections > 200


def test_modules_for_remote_code_import_only_each_other() -> None:
    names = {path.stem for path in (ROOT / "catseg_hf").glob("*_catseg.py")}
    assert len(names) >= 4
    for name in names:
        for node in ast.walk(ast.parse((ROOT / "catseg_hf" / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and node.module in names, f"{name}: from .{node.module}"
    # At module level, none of them imports the package by its name.
    for name in names:
        for node in ast.parse((ROOT / "catseg_hf" / f"{name}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not any(module.split(".")[0] == "catseg_hf" for module in modules), name


def test_importing_the_package_warns_of_nothing() -> None:
    code = "import catseg_hf.cli; print(catseg_hf.__version__)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.stdout.strip() == catseg_hf.__version__
    assert not result.stderr
