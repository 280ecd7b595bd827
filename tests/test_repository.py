# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""What the README shows runs as it stands, and the repository is consistent with itself."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import catseg_hf
from catseg_hf import CatSegConfig
from examples.demo import random_checkpoint
from tests import hub
from tests.mini_datasets import write_mini_benchmark


ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# Commands that need the network, take hours (tests/test_examples_finetune.py runs that script) or would run these tests
# again.
NOT_RUN = ("pip install ", "hf download ", "accelerate launch ", "make ")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


def shell_commands() -> list[str]:
    return [line for block in code_blocks("bash") for line in block.splitlines() if line.strip()]


@pytest.fixture(scope="module")
def reader(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with what the README takes for granted, and an environment with the commands of this package."""
    folder = tmp_path_factory.mktemp("reader")
    (folder / "model_base.pth").symlink_to(tiny_checkpoint)
    Image.effect_noise((90, 60), 80).convert("RGB").save(folder / "photo.jpg")
    (folder / "photos").mkdir()
    for name in ("one", "two"):
        Image.effect_noise((60, 90), 60).convert("RGB").save(folder / "photos" / f"{name}.jpg")
    write_mini_benchmark("pascal_voc_20", folder / "data", number=2)
    commands = folder / "bin"
    commands.mkdir()
    for name, module in (("python", ""), ("catseg", "-m catseg_hf.cli")):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
        (commands / name).chmod(0o755)
    return folder, {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{commands}:{os.environ['PATH']}"}


def run(command: list[str], reader: tuple[Path, dict[str, str]]) -> str:
    folder, environment = reader
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_readme_commands_and_python_run_in_order(reader: tuple[Path, dict[str, str]]) -> None:
    folder, environment = reader
    commands = [command for command in dict.fromkeys(shell_commands()) if not command.startswith(NOT_RUN)]
    assert [command.split()[:2] for command in commands] == [
        ["python", "-m"],
        ["catseg", "segment"],
        ["catseg", "evaluate"],
    ]
    for command in commands:
        run(["sh", "-c", command], reader)
    assert Image.open(folder / "overlay.png").size[0] == 160
    (folder / "overlay.png").unlink()

    assert 0 < json.loads((folder / "results" / "results.json").read_text())["metrics"]["miou_present_in_either"] < 1

    # The blocks build on each other.
    blocks = code_blocks("python")
    with hub.serve() as loopback_hub:
        connected = {"HF_ENDPOINT": loopback_hub.endpoint, "HF_TOKEN": hub.TOKEN, "HF_HUB_DISABLE_XET": "1"}
        connected |= {"HF_HUB_OFFLINE": "0", "HF_HOME": str(folder / "cache")}
        output = run([sys.executable, "-c", "\n".join(blocks)], (folder, {**environment, **connected}))
        assert loopback_hub.repositories["user/catseg-plants"].private
    assert Image.open(folder / "overlay.png").size[0] == 160
    (shown,) = [block.split("# ")[-1].strip() for block in blocks if "load_vocabulary" in block]
    assert shown in output
    assert (folder / "my-catseg" / "modeling_catseg.py").is_file()


def test_segment_example_runs(tiny_model_folder: Path, reader: tuple[Path, dict[str, str]]) -> None:
    script = ROOT / "examples" / "segment.py"
    output = run(
        [sys.executable, str(script), "photo.jpg", str(tiny_model_folder), "out.png", "cat", "sky, dark"], reader
    )
    assert "sky, dark" in output and Image.open(reader[0] / "out.png").size[0] == 160


@pytest.mark.slow
def test_demo_runs_at_full_size_and_says_that_its_weights_are_random(
    tmp_path: Path, reader: tuple[Path, dict[str, str]]
) -> None:
    output = run([sys.executable, str(ROOT / "examples" / "demo.py"), str(tmp_path)], reader)
    assert "weights are RANDOM" in output
    # The sample photo has 451 x 300 pixels; the legend is below it.
    width, height = Image.open(tmp_path / "overlay.png").size
    assert width == 451 and height > 300
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "overlay.png"]


def test_commands_that_are_not_run_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    code = "\n".join(code_blocks("bash") + re.findall(r"`.*?`", README))
    named = set(re.findall(r"\bmake ([\w-]+)", code))
    assert named == {"demo", "test", "quality", "style", "test-floor", "test-torchvision"} <= set(targets)


def test_links_and_files_that_the_readme_names_exist() -> None:
    for target in re.findall(r"\]\(([^)#][^)]*)\)", README):
        assert target.startswith("https://") or (ROOT / target).is_file(), target
    headings = {
        re.sub(r"[^\w\- ]", "", line.strip("# ")).lower().replace(" ", "-")
        for line in README.splitlines()
        if line.startswith("#")
    }
    assert set(re.findall(r"\]\(#([^)]*)\)", README)) <= headings
    for name in re.findall(r"\b(?:tests|examples|catseg_hf|convert)/[\w./]*\w", README):
        assert (ROOT / name).exists(), name


def test_the_demo_checkpoint_has_the_names_and_sizes_of_the_released_one() -> None:
    released = json.loads((ROOT / "tests" / "fixtures" / "keys" / "cvpr_vitb16.json").read_text())
    checkpoint = random_checkpoint(CatSegConfig.vit_base())
    assert {name: list(tensor.shape) for name, tensor in checkpoint.items()} == released


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
