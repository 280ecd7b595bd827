# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment` and the command itself, on real files: the right results, or one clear message."""

import io
import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor, __version__, load_vocabulary
from catseg_hf.pictures import overlay
from catseg_hf.segmenting.photo_reading import MAX_BYTES
from tests.child_processes import interrupt, started
from tests.small_evaluations import save_small_model


ROOT = Path(__file__).parents[2]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that takes a photo as one small view: a few milliseconds."""
    folder = save_small_model(tmp_path_factory.mktemp("small") / "model", tiny_model_folder)
    processor = CatSegProcessor.from_pretrained(folder)
    processor.image_processor.do_sliding_window = False
    processor.image_processor.shortest_edge = 64
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A noisy picture of 60 × 90 pixels, its right half brighter."""
    values = np.random.default_rng(0).integers(0, 128, (60, 90, 3), dtype=np.uint8)
    values[:, 45:] += 127
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def folder(photo: Path, tmp_path: Path) -> Path:
    """`photos` with two photos, one in a subfolder, a damaged one, a hidden file and a text."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    content = photo.read_bytes()
    for name, part in (("a.png", content), ("b.png", content[:2000]), ("more/a.png", content), (".c.png", content)):
        (folder / name).write_bytes(part)
    (folder / "notes.txt").write_text("no photo")
    return folder


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def segmentation(folder: Path, image: Image.Image, labels: list) -> tuple[torch.Tensor, torch.Tensor]:
    """Class ids and scores, by the package's own Python."""
    processor = CatSegProcessor.from_pretrained(folder)
    model = CatSegForSemanticSegmentation.from_pretrained(folder).eval()
    with torch.inference_mode():
        outputs = model(**processor(images=image, text=labels, return_tensors="pt"))
    return processor.post_process_best_classes(outputs, [(image.height, image.width)])[0]


# ---- one photo ------------------------------------------------------------------------------------------------------


def test_segment_writes_the_overlay_of_the_models_segmentation(model: Path, photo: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "overlay.png"
    arguments = ["segment", photo, "--labels", "cat,grass", "--model", model, "--output", output]
    command = [sys.executable, "-m", "catseg_hf.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    assert not result.stderr

    image, labels = Image.open(photo), ["cat", "grass"]
    class_ids, _ = segmentation(model, image, labels)
    np.testing.assert_array_equal(np.asarray(Image.open(output)), np.asarray(overlay(image, class_ids, labels)))

    lines = result.stdout.splitlines()
    shares = {line.split("%  ")[1]: float(line.split("%  ")[0]) for line in lines[:-1]}
    for index, label in enumerate(labels):
        expected = 100 * (class_ids == index).float().mean().item()
        assert shares.get(label, 0) == pytest.approx(expected, abs=0.051)
    assert lines[-1] == f"Wrote {output}"
    assert [path.name for path in output.parent.iterdir()] == ["overlay.png"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [("cat", {"cat"}), ("cat, kitten; grass", {"cat, kitten", "grass"}), ("a b ,c", {"a b", "c"})],
)
def test_labels_by_commas_and_semicolons(
    labels: str, classes: set[str], catseg: Run, model: Path, photo: Path, tmp_path: Path
) -> None:
    code, printed, errors = catseg("segment", photo, "--labels", labels, "--model", model, "--output", "out.jpg")
    assert code == 0, errors
    assert {line.split("%  ")[1] for line in printed.splitlines()[:-1]} <= classes
    assert Image.open(tmp_path / "out.jpg").format == "JPEG"


def test_labels_of_a_file_a_shipped_vocabulary_and_the_model(
    catseg: Run, model: Path, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text('# mine\ncat | kitten\n"trees, far away"\n')
    expected = {
        "labels.txt": ["cat, kitten", "trees, far away"],
        "pascal_voc_20": load_vocabulary("pascal_voc_20"),
    }
    for name, labels in expected.items():
        code, _, errors = catseg("segment", photo, "--labels-file", name, "--model", model, "--format", "json")
        assert code == 0, errors
        assert json.loads((tmp_path / "segmentation.json").read_text())["labels"] == labels
    code, _, errors = catseg("segment", photo, "--model", model)
    assert code == 1 and "The model has no vocabulary of its own: give labels" in errors
    network = CatSegForSemanticSegmentation.from_pretrained(model)
    processor = CatSegProcessor.from_pretrained(model)
    labels = ["cat", ["grass", "lawn"]]
    network.set_vocabulary(labels, processor(text=labels)["input_ids"])
    for part in (network, processor):
        part.save_pretrained(tmp_path / "own")
    code, _, errors = catseg("segment", photo, "--model", "own", "--format", "json")
    assert code == 0, errors
    assert json.loads((tmp_path / "segmentation.json").read_text())["labels"] == ["cat", "grass, lawn"]


def test_all_formats_of_one_photo_lie_side_by_side(catseg: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    kinds = [part for kind in ("overlay", "label-map", "masks", "rle", "json") for part in ("--format", kind)]
    code, printed, errors = catseg("segment", photo, "--labels", "cat,grass", "--model", model, *kinds)
    assert code == 0, errors
    files = files_in(tmp_path)
    assert {"overlay.png", "overlay.labels.png", "overlay.rle.json", "overlay.json"} < files
    assert printed.count("Wrote ") == 5
    class_ids, scores = segmentation(model, Image.open(photo), ["cat", "grass"])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "overlay.labels.png")), class_ids)
    for found in json.loads((tmp_path / "overlay.json").read_text())["segments"]:
        is_class = class_ids == found["id"]
        assert found["area"] == is_class.sum() and found["label"] == ["cat", "grass"][found["id"]]
        assert found["score"] == pytest.approx(scores[is_class].mean().item(), abs=2e-6)
        mask = np.asarray(Image.open(tmp_path / "overlay.masks" / f"{found['id']}_{found['label']}.png"))
        np.testing.assert_array_equal(mask, is_class.numpy() * 255)


@pytest.mark.parametrize(
    ("background", "names"),
    [(None, ["cat", "grass"]), ("grass", ["cat", "grass"]), ("other", ["cat", "grass", "other"])],
)
def test_threshold_and_background(
    background: str | None, names: list[str], catseg: Run, model: Path, photo: Path, tmp_path: Path
) -> None:
    class_ids, scores = segmentation(model, Image.open(photo), ["cat", "grass"])
    threshold = scores.median().item()
    arguments = ["--format", "label-map", "--format", "json", "--threshold", threshold]
    arguments += [] if background is None else ["--background", background]
    code, _, errors = catseg("segment", photo, "--labels", "cat,grass", "--model", model, *arguments)
    assert code == 0, errors
    none = 255 if background is None else names.index(background)
    expected = torch.where(scores < threshold, none, class_ids)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "label-map.png")), expected)
    summary = json.loads((tmp_path / "label-map.json").read_text())
    assert summary["labels"] == names
    assert {found["id"]: found["area"] for found in summary["segments"]} == {
        index: (expected == index).sum() for index in range(len(names)) if (expected == index).any()
    }


def test_bfloat16(catseg: Run, model: Path, photo: Path) -> None:
    arguments = ["--labels", "cat,grass", "--model", model, "--dtype", "bfloat16", "--device", "cpu"]
    code, _, errors = catseg("segment", photo, *arguments)
    assert code == 0, errors


def test_compile(catseg: Run, model: Path, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[object] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **options: compiled.append(self))
    arguments = ["--labels", "cat,grass", "--model", model]
    for number in (0, 1):
        code, _, errors = catseg("segment", photo, *arguments, *["--compile"][:number])
        assert code == 0, errors
        assert len(compiled) == number
    assert isinstance(compiled[0], CatSegForSemanticSegmentation)


@pytest.mark.parametrize("num_workers", [0, 3])
def test_any_number_of_workers_gives_the_same_files(num_workers: int, catseg: Run, model: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(7):
        values = generator.integers(0, 256, (30 + number, 40, 3), dtype=np.uint8)
        Image.fromarray(values).save(tmp_path / "photos" / f"{number}.png")
    arguments = ("photos", "--labels", "cat,grass,sky", "--model", model, "--format", "label-map")
    assert catseg("segment", *arguments, "--output", "one", "--num-workers", "0")[0] == 0
    options = ("--num-workers", num_workers, "--batch-size", "2")
    code, printed, errors = catseg("segment", *arguments, "--output", "many", *options)
    assert code == 0 and printed == "Wrote the results of 7 photos to many\n", errors
    assert files_in(tmp_path / "one") == files_in(tmp_path / "many") and len(files_in(tmp_path / "one")) == 7
    for name in files_in(tmp_path / "one"):
        one, many = (np.asarray(Image.open(tmp_path / folder / name)) for folder in ("one", "many"))
        assert one.shape == many.shape and (one != many).mean() < 1e-3


def test_photos_are_turned_upright(catseg: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    lying = Image.open(photo)
    exif = lying.getexif()
    exif[0x0112] = 6  # to be shown turned by a quarter
    lying.save(tmp_path / "lying.png", exif=exif)
    code, _, errors = catseg("segment", "lying.png", "--labels", "a,b", "--model", model, "--format", "label-map")
    assert code == 0, errors
    assert Image.open(tmp_path / "label-map.png").size == (60, 90)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["photo.png", "--labels", "a", "--model", "./absent"], "--model ./absent does not exist"),
        (["photo.png", "--labels", "a", "--model", "absent"], "--model absent does not exist: use one of base,"),
        (["photo.png", "--labels", "a", "--model", "nobody/nothing"], "cannot be had from the Hub while HF_HUB_OFF"),
        (["photo.png", "--labels", "a", "--model", "empty"], "--model empty has no config.json"),
        (["photo.png", "--labels", "a", "--model", "other"], "--model other is no CAT-Seg, but a 'clip'"),
        (["photo.png", "--labels", " , "], "Label 1 of 2 is empty"),
        (["photo.png", "--labels", "b,a,a"], "Labels 2 and 3 are the same: 'a'"),
        (["photo.png", "--labels", "a " * 80], "too long"),
        (["photo.png", "--labels", "a", "--labels-file", "b"], "Give either --labels or --labels-file"),
        (["photo.png", "--labels-file", "b"], "There is no vocabulary 'b', nor a file of that name"),
        (["photo.png", "--labels", "a,c", "--background", "b"], "--background is the class of the pixels below"),
        (["photo.png", "--labels", "a", "--device", "gpu"], "There is no device 'gpu' here: use auto or one of cpu"),
        (["photo.png", "--labels", "a", "--output", "empty"], "--output empty is a folder"),
        (["photo.png", "--labels", "a", "--output", "o.txt"], "--output o.txt has no ending of a picture"),
        (["photo.png", "--labels", "a", "--output", "photo.png"], "would replace the photo itself"),
        (["photo.png", "--labels", "a", "--output", "o.jpg", "--format", "label-map"], "must end in .png"),
        (["photo.png", "--labels", "a", "--output", "empty", "--format", "json"], "--output empty is a folder"),
        (["photo.png", "--labels", "a", "--output", "cut.png", "--format", "masks"], "masks go into a folder"),
        (["photo.png", "photo.png", "text.png", "--labels", "a", "--output", "o.png"], "must be a folder"),
        (["empty", "--labels", "a", "--output", "empty"], "is the folder of the photos"),
        (["absent.png", "--labels", "a"], "absent.png: there is no such file or folder"),
        (["text.png", "--labels", "a"], "text.png: cannot be read as a picture: it is none, or of a format"),
        (["cut.png", "--labels", "a"], "cut.png: cannot be read as a picture: "),
        (["bomb.png", "--labels", "a"], "bomb.png: cannot be read as a picture: it has more than 178,956,970 pixels"),
        (["http://127.0.0.1:9/a.jpg", "--labels", "a"], "http://127.0.0.1:9/a.jpg: cannot be read as a picture: "),
    ],
)
def test_errors_are_one_message_and_nothing_is_written(
    arguments: list[str], message: str, catseg: Run, model: Path, photo: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text('{"model_type": "clip"}')
    (tmp_path / "photo.png").write_bytes(photo.read_bytes())
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:2000])
    (tmp_path / "text.png").write_text("no picture")
    # The size stands in the first chunk of a PNG, with a checksum.
    header = io.BytesIO()
    Image.new("1", (1, 1)).save(header, "PNG")
    old = header.getvalue()
    chunk = old[12:16] + 2 * (20000).to_bytes(4, "big") + old[24:29]
    (tmp_path / "bomb.png").write_bytes(old[:12] + chunk + zlib.crc32(chunk).to_bytes(4, "big") + old[33:])
    before = sorted(tmp_path.rglob("*"))
    code, printed, errors = catseg("segment", *arguments, *(() if "--model" in arguments else ("--model", model)))
    assert code == 1
    assert errors.startswith("Error: ") and message in errors and "Traceback" not in errors
    assert not printed
    assert sorted(tmp_path.rglob("*")) == before


def test_a_published_checkpoint_is_the_default_and_offline_the_error_says_how_to_go_on(
    catseg: Run, photo: Path
) -> None:
    code, _, errors = catseg("segment", photo, "--labels", "a")
    assert code == 1
    assert "--model base: model_base.pth cannot be downloaded" in errors
    assert "put the file at" in errors and "give a folder written by `catseg convert`" in errors


# ---- many photos ----------------------------------------------------------------------------------------------------


def test_a_folder_becomes_a_folder_and_bad_photos_are_named_at_the_end(
    catseg: Run, model: Path, folder: Path, tmp_path: Path
) -> None:
    arguments = ("--labels", "cat,grass", "--model", model, "--output", "out", "--batch-size", 2)
    code, printed, errors = catseg("segment", "photos", *arguments)
    assert code == 1
    assert errors.startswith("Error: photos/b.png: cannot be read as a picture: ")
    assert printed == "Wrote the results of 2 photos to out\n"
    assert files_in(tmp_path / "out") == {"a.png", "more/a.png"}
    expected = overlay(
        Image.open(folder / "a.png"),
        segmentation(model, Image.open(folder / "a.png"), ["cat", "grass"])[0],
        ["cat", "grass"],
    )
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")), np.asarray(expected))


def test_existing_results_are_skipped(catseg: Run, model: Path, folder: Path, tmp_path: Path) -> None:
    (folder / "b.png").unlink()
    arguments = ("segment", "photos", "--labels", "cat,grass", "--output", "photos/results", "--skip-existing")
    assert catseg(*arguments, "--model", model)[0] == 0
    done = folder / "results" / "a.png"
    done.write_bytes(b"mine")
    (folder / "results" / "more" / "a.png").unlink()
    # The results below the photos are no photos, and what is there stays.
    code, printed, errors = catseg(*arguments, "--model", model)
    assert code == 0, errors
    assert printed == "Wrote the results of 1 photo to photos/results, 1 were there already\n"
    assert done.read_bytes() == b"mine"
    # Where nothing is left to do, no model is needed.
    assert catseg(*arguments, "--model", "absent")[:2] == (
        0,
        "Wrote the results of 0 photos to photos/results, 2 were there already\n",
    )
    # A photo is done when all of its formats are there.
    assert catseg(*arguments, "--model", model, "--format", "overlay", "--format", "json")[0] == 0
    assert (folder / "results" / "a.json").is_file() and done.read_bytes() != b"mine"


def test_no_result_replaces_another_or_a_photo(catseg: Run, model: Path, photo: Path, tmp_path: Path) -> None:
    for name in ("x/a.png", "y/a.png", "x/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(photo.read_bytes())
    Image.open(photo).save(tmp_path / "x" / "A.jpg")
    content = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    names = ("x/a.png", "x/A.jpg", "x/b.png", "absent.png", "x/b.png", "./x/b.png")
    code, printed, errors = catseg("segment", *names, "--labels", "cat", "--model", model, "--output", "out")
    # Photos that differ only in their ending keep it, and a photo that is named twice is one.
    assert code == 1 and printed == "Wrote the results of 3 photos to out\n"
    assert files_in(tmp_path / "out") == {"a.png.png", "A.jpg.png", "b.png"}
    told, error = errors.splitlines()
    assert told.startswith("170 other classes compete with the label") and "--others none" in told
    assert error == "Error: absent.png: there is no such file or folder."
    code, _, errors = catseg("segment", *names[:3], "y/a.png", "--labels", "cat", "--model", model, "--output", "both")
    assert code == 0, errors
    assert files_in(tmp_path / "both") == {"x/a.png.png", "x/A.jpg.png", "x/b.png", "y/a.png"}
    # Tools of YOLO know no endings.
    options = ("--labels", "cat", "--model", model, "--format", "yolo", "--output", "yolo")
    code, _, errors = catseg("segment", *names[:2], *options)
    assert code == 1 and "x/A.jpg: its results would replace those of x/a.png" in errors

    code, _, errors = catseg("segment", "x/a.png", "x/b.png", "--labels", "cat", "--model", model, "--output", "x")
    assert code == 1 and errors.count("would replace a photo") == 2
    # Nor where the name of a folder would lead there.
    code, _, errors = catseg("segment", "x", "y", "--labels", "cat", "--model", model, "--output", ".")
    assert code == 1 and "y/a.png: its results would replace a photo" in errors
    assert all((tmp_path / name).read_bytes() == old for name, old in content.items())


@pytest.mark.slow
def test_memory_does_not_grow_with_the_number_of_photos(catseg: Run, model: Path, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    Image.fromarray(values).resize((600, 400)).save(tmp_path / "photo.jpg", quality=50)
    many = tmp_path / "many"
    many.mkdir()
    for number in range(200):
        (many / f"{number:03d}.jpg").symlink_to(tmp_path / "photo.jpg")
    (many / "150b.jpg").write_bytes(b"no picture")
    arguments = ("--labels", "cat,grass", "--model", model, "--output", "out", "--format", "label-map")

    resident: list[int] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            resident.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))

    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        code, printed, errors = catseg("segment", "many", *arguments)
    finally:
        done.set()
        watcher.join()
    assert code == 1 and "many/150b.jpg: cannot be read" in errors and errors.count("\n") == 1
    assert printed == "Wrote the results of 200 photos to out\n"
    # 200 photos with their class ids would be 500 MB. The model is loaded well before the middle.
    middle = len(resident) // 2
    assert max(resident[middle:]) < max(resident[:middle]) + 50e6


@pytest.mark.slow
def test_interrupted_it_leaves_whole_files_and_goes_on(model: Path, photo: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.open(photo).resize((900, 600)).save(folder / "0.png")
    for number in range(1, 400):
        (folder / f"{number}.png").symlink_to(folder / "0.png")
    command = [sys.executable, "-m", "catseg_hf.cli", "segment", "photos", "--labels", "a,b", "--model", str(model)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with started(command, cwd=tmp_path, env=environment) as process:
        while process.poll() is None and len(list(tmp_path.glob("segmented/[!.]*.png"))) < 3:
            time.sleep(0.01)
        _, errors = interrupt(process)
    assert process.returncode == 130, errors
    assert "--skip-existing" in errors and "Traceback" not in errors
    written = list((tmp_path / "segmented").iterdir())
    assert 3 <= len(written) < 400
    for path in written:
        Image.open(path).load()  # none of them unfinished, by name or content


# ---- photos from elsewhere ------------------------------------------------------------------------------------------


class PhotoServer(BaseHTTPRequestHandler):
    """Serves `content` by path; `endless` without an end."""

    content: dict[str, bytes] = {}

    def do_GET(self) -> None:
        if self.path == "/endless.png":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"\0" * 2**20)
            except OSError:  # the client has had enough
                return
        found = self.content.get(self.path)
        self.send_response(404 if found is None else 200)
        self.end_headers()
        self.wfile.write(found or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def server(photo: Path) -> Iterator[str]:
    PhotoServer.content = {"/a%20b.png?size=1": photo.read_bytes(), "/text.png": b"no picture"}
    server = ThreadingHTTPServer(("127.0.0.1", 0), PhotoServer)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_photos_from_the_web(catseg: Run, model: Path, server: str, tmp_path: Path) -> None:
    names = [f"{server}/{name}" for name in ("a%20b.png?size=1", "gone.png", "text.png", "endless.png")]
    code, _, errors = catseg("segment", *names, "--labels", "cat,grass", "--model", model, "--output", "out")
    assert code == 1 and files_in(tmp_path / "out") == {"a b.png"}
    _, gone, text, endless = errors.splitlines()
    assert "gone.png: cannot be read as a picture: HTTP Error 404" in gone
    assert "text.png: cannot be read as a picture: it is none" in text
    assert f"endless.png: cannot be read as a picture: The file has more than {MAX_BYTES // 2**20} MiB" in endless


def test_a_photo_from_standard_input(
    catseg: Run, model: Path, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(photo.read_bytes())))
    code, _, errors = catseg("segment", "-", "--labels", "cat,grass", "--model", model, "--format", "label-map")
    assert code == 0, errors
    assert Image.open(tmp_path / "label-map.png").size == (90, 60)


# ---- the command itself ---------------------------------------------------------------------------------------------


def test_usage_errors_name_the_option(catseg: Run, photo: Path) -> None:
    for arguments, option in (
        (["segment"], "PHOTOS"),
        (["segment", photo, "--format", "gif"], "--format"),
        (["segment", photo, "--threshold", "2"], "--threshold"),
        (["segment", photo, "--batch-size", "0"], "--batch-size"),
    ):
        code, _, errors = catseg(*arguments)
        assert code == 2 and option in errors


def test_help_version_and_completion(catseg: Run) -> None:
    assert catseg("--version") == (0, f"catseg {__version__}\n", "")
    printed = catseg("--help")[1]
    for command in ("segment", "convert", "evaluate", "demo", "push", "info", "--debug", "--install-completion"):
        assert command in printed
    assert "--labels-file" in catseg("segment", "--help")[1]


@pytest.mark.parametrize("place", [0, 1, 4])
def test_tracebacks_are_for_debugging(place: int, catseg: Run, photo: Path) -> None:
    arguments = ["segment", photo, "--model", "absent"]
    arguments.insert(place, "--debug")
    code, _, errors = catseg(*arguments)
    assert code == 1 and "Traceback" in errors and errors.splitlines()[-1].startswith("Error: --model absent")


def test_convert_writes_a_folder_that_segment_takes(
    tiny_checkpoint: Path, photo: Path, tmp_path: Path, catseg: Run
) -> None:
    code, printed, _ = catseg("convert", tiny_checkpoint, tmp_path / "model", "--image-size", 96)
    assert code == 0 and "Wrote" in printed
    code, printed, _ = catseg("segment", photo, "--labels", "cat", "--others", "none", "--model", tmp_path / "model")
    assert code == 0 and "100.0%  cat" in printed and (tmp_path / "overlay.png").is_file()


def test_convert_reports_one_error(tmp_path: Path, catseg: Run) -> None:
    code, _, errors = catseg("convert", tmp_path / "missing.pth", tmp_path / "model")
    assert code == 1 and errors.count("\n") == 1 and "missing.pth" in errors


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Limits the size of files that are written, as a full disk does, until the test ends."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named_and_the_command_goes_on(
    catseg: Run, model: Path, photo: Path, tmp_path: Path, small_disk: Callable[[int], None]
) -> None:
    (tmp_path / "photos").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "photos" / name).write_bytes(photo.read_bytes())
    arguments = ("segment", "photos", "--labels", "cat, dog", "--model", model, "--output", "out")
    arguments += ("--format", "json", "--format", "overlay")
    small_disk(1000)  # enough for the JSON file, but not for the overlay
    code, _, errors = catseg(*arguments)
    assert code == 1
    assert "The results of photos/a.png cannot be written: out/a.png: File too large. Nothing was changed" in errors
    assert "The results of 0 photos before are whole; with --skip-existing the command goes on" in errors
    # Nothing half-written, and no photo counts as done for its first format.
    assert files_in(tmp_path / "out") <= {"a.json", "b.json"}
    small_disk(10**9)
    code, printed, _ = catseg(*arguments, "--skip-existing")
    assert code == 0 and printed.startswith("Wrote the results of 2 photos to out")
    assert files_in(tmp_path / "out") == {"a.json", "a.png", "b.json", "b.png"}
