# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment --engine ray` itself: the results of one process, whatever is killed on the way."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest


pytest.importorskip("ray", reason='needs the extra "serve"')
import psutil
import pyarrow.parquet as pq
from datasets import Dataset, Features, Value, load_dataset
from datasets import Image as ImageFeature
from pycocotools import mask as coco_masks

from catseg_hf.hub import load_model_and_processor
from catseg_hf.scenes import draw_scene
from tests.ray_processes import listening
from tests.tiny_models import save_short_catseg_tiny


# Each starts several Rays, which takes a slow machine minutes.
pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

ROOT = Path(__file__).parents[2]
WORDS = ("--labels", "star, circle, ground", "--model", "tiny")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 40 photos in subfolders, two of one name, and two that are none."""
    folder = tmp_path_factory.mktemp("data") / "photos"
    for index in range(40):
        path = folder / f"{index % 2}" / f"{index:02}.{'png' if index < 4 else 'jpg'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_scene(index, 128).image.save(path)
    draw_scene(40, 128).image.save(folder / "0" / "00.jpg")
    (folder / "empty.jpg").touch()
    (folder / "none.png").write_bytes(b"no picture")
    return folder


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "catseg_hf.cli", "segment", *map(str, words)]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(place: Path, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=place, env=environment(), capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model for ONNX Runtime."""
    for library in ("onnx", "onnxruntime", "onnxscript"):
        pytest.importorskip(library, reason="needs the extra `export`")
    from catseg_hf.onnx.export import export_onnx

    folder = tmp_path_factory.mktemp("models")
    save_short_catseg_tiny(folder / "small")
    export_onnx(*load_model_and_processor(str(folder / "small")), folder / "exported")
    return folder / "exported"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Processes of the fleet, which Ray names after what they do."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            title = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::MapWorker") or title.startswith("ray::MapBatches"):
            found.append(child)
    return found


def test_exported_models_give_the_files_of_one_process(photos: Path, exported: Path) -> None:
    words = ("photos/1", "--labels", "star, ground", "--model", exported, "--format", "label-map")
    for name, engine in (("of-one", ()), ("of-many", ("--engine", "ray"))):
        result = run(photos.parent, *words, "--output", name, *engine)
        assert result.returncode == 0, result.stderr
    one, many = contents(photos.parent / "of-one"), contents(photos.parent / "of-many")
    assert one == many and len(one) == 20
    result = run(photos.parent, *words, "--output", "compiled", "--engine", "ray", "--compile")
    assert result.returncode == 1 and "leave out device, dtype and compiling" in result.stderr


def test_of_animations_it_is_said_that_only_the_first_frame_was_segmented(tmp_path: Path) -> None:
    frames = [draw_scene(number, 64).image for number in range(3)]
    (tmp_path / "photos").mkdir()
    frames[0].save(tmp_path / "photos" / "still.png")
    frames[0].save(tmp_path / "photos" / "moving.gif", save_all=True, append_images=frames[1:])
    result = run(tmp_path, "photos", *WORDS, "--engine", "ray", "--output", "out")
    assert result.returncode == 0, result.stderr
    assert "Of 1 animated picture(s) only the first frame was segmented: photos/moving.gif" in result.stderr


def test_a_folder_gives_the_files_of_one_process_also_when_a_worker_is_killed(photos: Path) -> None:
    place = photos.parent
    formats = [word for kind in ("json", "label-map", "coco", "yolo") for word in ("--format", kind)]
    alone = run(place, "photos", *WORDS, *formats, "--output", "alone")
    log = place / "log.txt"
    with log.open("w") as file:
        words = ("photos", *WORDS, *formats, "--output", "fleet", "--engine", "ray")
        process = subprocess.Popen(command(*words), cwd=place, env=environment(), stdout=file, stderr=file, text=True)
        while len(contents(place / "fleet")) < 20 and process.poll() is None:
            time.sleep(0.05)
        assert {address.ip for _, address in listening(process.pid)} == {"127.0.0.1"}
        victim = workers(process)[0]
        victim.kill()
        assert process.wait(600) == 1, log.read_text()
    expected, found = contents(place / "alone"), contents(place / "fleet")
    problems = [json.loads(line) for line in found.pop("_problems.jsonl").decode().splitlines()]
    assert found == expected and len(found) > 80
    said = log.read_text()
    assert "Traceback" not in said and "core_worker" not in said
    named = {problem["name"]: problem["problem"] for problem in problems}
    assert named.keys() == {"photos/empty.jpg", "photos/none.png", "photos/0/00.png"}
    for name, reason in named.items():
        assert f"{name}: {reason}" in said and f"{name}: {reason}" in alone.stderr
    assert "Wrote the results of 40 photos" in said and "3 photos could not be segmented, listed in" in said


def test_killed_and_interrupted_it_goes_on_to_a_whole_data_set_of_run_lengths(photos: Path) -> None:
    place = photos.parent
    words = ("photos", *WORDS, "--format", "parquet", "--output", "rows", "--engine", "ray", "--skip-existing")
    reference = run(place, "photos", *WORDS, "--format", "rle", "--output", "rle")
    expected = {
        entries[0]["image_id"].removeprefix("photos/"): entries
        for path in (place / "rle").rglob("*.json")
        if (entries := json.loads(path.read_text()))
    }
    assert len(expected) == 41, reference.stderr
    script = (
        "import catseg_hf.formats.parquet_rows as results; results.FILE_ROWS = 5; results.FILE_SECONDS = 0.5\n"
        "from catseg_hf.cli import main; main()"
    )
    patched = [sys.executable, "-c", script, "segment", *map(str, words)]
    for number in (signal.SIGKILL, signal.SIGINT):
        before = len(list((place / "rows").glob("part-*")))
        process = subprocess.Popen(patched, cwd=place, env=environment(), stderr=subprocess.PIPE, text=True)
        while len(list((place / "rows").glob("part-*"))) < before + 2 and process.poll() is None:
            time.sleep(0.05)
        assert process.poll() is None
        family = workers(process)
        assert family
        process.send_signal(number)
        _, errors = process.communicate(timeout=120)
        if number == signal.SIGINT:
            assert process.returncode == 130 and re.search(r"Interrupted after \d+ photos", errors)
        # Those with the models end with it; Ray's own helpers find out after a minute.
        assert not psutil.wait_procs(family, timeout=60)[1]
    last = run(place, *words)
    assert last.returncode == 1 and "were there already" in last.stdout
    table = pq.read_table(place / "rows")
    names = table["image_id"].to_pylist()
    assert sorted(names) == sorted(expected)
    for row in table.to_pylist():
        entries = [{"image_id": f"photos/{row['image_id']}", **entry} for entry in row["annotations"]]
        assert entries == expected[row["image_id"]]
    # As the page about it reads it.
    (block,) = re.findall(r"^```python\n(.*?)^```$", (ROOT / "examples" / "fleet.md").read_text(), re.M | re.S)
    shown = subprocess.run([sys.executable, "-c", block], cwd=place, capture_output=True, text=True).stdout
    assert len(shown.splitlines()) == 41 and "0/04.jpg {" in shown
    # And as others do.
    loaded = load_dataset("parquet", data_files=str(place / "rows" / "*.parquet"), split="train", cache_dir=place)
    row = loaded[0]
    masks = [coco_masks.decode(entry["segmentation"]) for entry in row["annotations"]]
    assert np.sum(masks, axis=0).tolist() == np.ones((row["height"], row["width"])).tolist()


def test_rows_of_parquet(photos: Path, tmp_path: Path) -> None:
    files = sorted((photos / "1").iterdir())[:9]
    features = Features({"image": ImageFeature(), "id": Value("int64")})
    values = [{"bytes": path.read_bytes(), "path": None} for path in files]
    values[4] = {"bytes": b"nothing", "path": None}
    values[5] = None
    Dataset.from_dict({"image": values, "id": list(range(9))}, features).to_parquet(tmp_path / "data.parquet", 4)
    result = run(tmp_path, "data.parquet", *WORDS, "--engine", "ray", "--format", "label-map")
    assert result.returncode == 1
    assert "data/4: cannot be read as a picture: it is none" in result.stderr
    assert "data/5: there is no picture in its row" in result.stderr
    run(photos.parent, *files, *WORDS, "--format", "label-map", "--output", tmp_path / "alone")
    for index in (0, 1, 2, 3, 6, 7, 8):
        expected = (tmp_path / "alone" / f"{files[index].stem}.labels.png").read_bytes()
        assert (tmp_path / "segmented" / "data" / f"{index}.labels.png").read_bytes() == expected
    assert len(list((tmp_path / "segmented" / "data").iterdir())) == 7


def test_what_cannot_be_used_is_refused_before_anything_starts(
    photos: Path, catseg: Callable[..., tuple[int, str, str]]
) -> None:
    for options, message in [
        (("--format", "parquet", "--format", "json"), "--format parquet is a data set of its own"),
        (("--device", "cuda:1"), "--device cuda:1: with --engine ray, which shares out the GPUs"),
        (("--native",), "--engine ray is for photos"),
        (("--model", "none"), "none"),
        (("--threshold", "0.5", "--background", " "), "background"),
        (("--address", "127.0.0.1:1"), "There is no Ray at --address"),
    ]:
        code, _, errors = catseg("segment", photos, *WORDS, "--engine", "ray", *options)
        assert code == 1 and message in errors, errors
    for options, message in [
        (("--format", "parquet"), "--format parquet goes with --engine ray only"),
        (("--address", "auto"), "--address goes with --engine ray only"),
        (("--image-column", "photo"), "--image-column goes with --engine ray only"),
    ]:
        code, _, errors = catseg("segment", photos, *WORDS, *options)
        assert code == 1 and message in errors, errors


def test_nothing_to_segment_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("\n")
    result = run(tmp_path, "list.txt", *WORDS, "--engine", "ray")
    assert result.returncode == 1 and "There are no photos in list.txt" in result.stderr


def test_a_failure_to_write_says_so(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "0").touch()  # where a folder belongs
    result = run(tmp_path, photos, *WORDS, "--engine", "ray", "--format", "json", "--output", "out")
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert "The results of" in result.stderr and "cannot be written" in result.stderr
    assert "with --skip-existing the command goes on" in result.stderr
