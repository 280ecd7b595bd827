# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment` on real files: the right picture, or one clear message."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor, __version__
from catseg_hf.cli import main, write_picture
from catseg_hf.visualization import overlay


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A noisy picture of 60 × 90 pixels, its right half brighter."""
    values = np.random.default_rng(0).integers(0, 128, (60, 90, 3), dtype=np.uint8)
    values[:, 45:] += 127
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def catseg(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process; its exit code, what it printed, and its errors."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["catseg", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run


def test_segment_writes_the_overlay_of_the_models_segmentation(
    tiny_model_folder: Path, photo: Path, tmp_path: Path
) -> None:
    output = tmp_path / "new folder" / "overlay.png"
    arguments = ["segment", photo, "--labels", "cat,grass", "--model", tiny_model_folder, "--output", output]
    command = [sys.executable, "-m", "catseg_hf.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert not result.stderr

    image, labels = Image.open(photo), ["cat", "grass"]
    processor = CatSegProcessor.from_pretrained(tiny_model_folder)
    model = CatSegForSemanticSegmentation.from_pretrained(tiny_model_folder).eval()
    with torch.inference_mode():
        outputs = model(**processor(images=image, text=labels, return_tensors="pt"))
    segmentation = processor.post_process_semantic_segmentation(outputs, target_sizes=[(60, 90)])[0]
    np.testing.assert_array_equal(np.asarray(Image.open(output)), np.asarray(overlay(image, segmentation, labels)))

    lines = result.stdout.splitlines()
    shares = {line.split("%  ")[1]: float(line.split("%  ")[0]) for line in lines[:-1]}
    for index, label in enumerate(labels):
        assert shares[label] == pytest.approx(100 * (segmentation == index).float().mean().item(), abs=0.051)
    assert lines[-1] == f"Wrote {output}"
    assert [path.name for path in output.parent.iterdir()] == ["overlay.png"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [("cat", ["cat"]), ("cat, kitten; grass", ["cat, kitten", "grass"]), ("a b ,c", ["a b", "c"])],
)
def test_labels_by_commas_and_semicolons(
    labels: str,
    classes: list[str],
    catseg: Callable[..., tuple[int, str, str]],
    tiny_model_folder: Path,
    photo: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "out.jpg"
    code, printed, errors = catseg(
        "segment", photo, "--labels", labels, "--model", tiny_model_folder, "--output", output
    )
    assert code == 0, errors
    assert sorted(line.split("%  ")[1] for line in printed.splitlines()[:-1]) == sorted(classes)
    assert Image.open(output).format == "JPEG"


def test_photos_are_turned_upright(
    catseg: Callable[..., tuple[int, str, str]], tiny_model_folder: Path, photo: Path, tmp_path: Path
) -> None:
    lying = Image.open(photo)
    exif = lying.getexif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    lying.save(tmp_path / "lying.png", exif=exif)
    arguments = ["--labels", "a,b", "--model", tiny_model_folder, "--output", tmp_path / "out.png"]
    code, _, errors = catseg("segment", tmp_path / "lying.png", *arguments)
    assert code == 0, errors
    assert Image.open(tmp_path / "out.png").height > 90


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.png", "--labels", "a", "--model", "./absent"], "--model ./absent does not exist"),
        (["photo.png", "--labels", "a", "--model", "absent"], "--model absent does not exist"),
        (
            ["photo.png", "--labels", "a", "--model", "nobody/nothing"],
            "nobody/nothing is no folder here, and cannot be",
        ),
        (["photo.png", "--labels", "a", "--model", "empty"], "--model empty has no config.json"),
        (["photo.png", "--labels", " , ", "--model", "model"], "Label 1 of 2 is empty"),
        (["photo.png", "--labels", "b,a,a", "--model", "model"], "Labels 2 and 3 are the same: 'a'"),
        (["photo.png", "--labels", "a " * 80, "--model", "model"], "too long"),
        (["photo.png", "--labels", "a", "--model", "model", "--output", "empty"], "--output empty is a folder"),
        (["photo.png", "--labels", "a", "--model", "model", "--output", "o.txt"], "--output o.txt has no ending"),
        (["text.png", "--labels", "a", "--model", "model"], "text.png cannot be read as a picture"),
        (["cut.png", "--labels", "a", "--model", "model"], "cut.png cannot be read as a picture"),
    ],
)
def test_errors_are_one_message_and_nothing_is_written(
    arguments: list[str],
    message: str,
    catseg: Callable[..., tuple[int, str, str]],
    tiny_model_folder: Path,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "model").symlink_to(tiny_model_folder)
    (tmp_path / "photo.png").write_bytes(photo.read_bytes())
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no picture")
    before = sorted(tmp_path.iterdir())
    code, printed, errors = catseg("segment", *arguments)
    assert code == 1
    assert errors.startswith("Error: ") and message in errors
    assert not printed
    assert sorted(tmp_path.iterdir()) == before


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="cannot write mode F as PNG"):
        write_picture(Image.new("F", (3, 3)), tmp_path / "out.png")
    assert not list(tmp_path.iterdir())


def test_usage_errors_name_the_option(catseg: Callable[..., tuple[int, str, str]], photo: Path) -> None:
    code, _, errors = catseg("segment", photo, "--model", "model")
    assert code == 2 and "--labels" in errors
    code, _, errors = catseg("segment", "absent.png", "--labels", "a", "--model", "model")
    assert code == 2 and "absent.png" in errors


def test_help_and_version(catseg: Callable[..., tuple[int, str, str]]) -> None:
    assert catseg("--version") == (0, f"catseg {__version__}\n", "")
    assert "segment" in catseg("--help")[1]
    assert "--labels" in catseg("segment", "--help")[1]


def test_convert_writes_a_folder_that_segment_takes(
    tiny_checkpoint: Path, photo: Path, tmp_path: Path, catseg: Callable[..., tuple[int, str, str]]
) -> None:
    code, printed, _ = catseg("convert", tiny_checkpoint, tmp_path / "model", "--image-size", 96)
    assert code == 0 and "Wrote" in printed
    code, printed, _ = catseg(
        "segment", photo, "--labels", "cat", "--model", tmp_path / "model", "--output", tmp_path / "overlay.png"
    )
    assert code == 0 and "100.0%  cat" in printed


def test_convert_reports_one_error(tmp_path: Path, catseg: Callable[..., tuple[int, str, str]]) -> None:
    code, _, errors = catseg("convert", tmp_path / "missing.pth", tmp_path / "model")
    assert code == 1 and errors.count("\n") == 1 and "missing.pth" in errors
