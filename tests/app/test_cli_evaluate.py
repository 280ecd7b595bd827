# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg evaluate` and `examples/evaluate.py` on real files: results and report, or one clear message."""

import json
import os
import runpy
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
from datasets import Dataset, Features, Image
from huggingface_hub import ModelCard

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.cli import main
from catseg_hf.evaluation import Protocol, evaluate, load_evaluation
from tests.child_processes import interrupt, started
from tests.mini_datasets import write_mini_benchmark
from tests.small_evaluations import save_small_data_set, save_small_model, small_data_set


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, and of a data set `images`, `labels` and `classes.txt`."""
    folder = tmp_path_factory.mktemp("evaluate")
    save_small_model(folder / "model", tiny_model_folder)
    save_small_data_set(folder)
    return folder


@pytest.fixture
def catseg(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    """Runs `catseg evaluate` in this process and in the folder; its exit code, what it printed, and its errors."""
    monkeypatch.chdir(folder)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["catseg", "evaluate", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        return end.value.code, printed.out, printed.err

    return run


OWN_DATA = ("--images", "images", "--annotations", "labels", "--vocabulary", "classes.txt")


def matrix(folder: Path) -> torch.Tensor:
    return load_evaluation(folder).matrix.matrix


def test_a_folder_is_evaluated_and_reported(catseg: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    arguments = ("--model", "model", *OWN_DATA, "--protocol", "whole", "--seen", "pascal_voc_20", "--worst", 2)
    code, printed, errors = catseg(*arguments)
    assert code == 0, errors
    output = folder / "results" / "model" / "images-whole"
    files = {str(path.relative_to(output)) for path in output.rglob("*") if path.is_file()}
    assert {"results.json", "counts.npz", "report.md", "class_iou.png", "confusions.png"} < files
    assert sum(name.startswith("worst_images/") for name in files) == 2 and len(files) == 7

    model = CatSegForSemanticSegmentation.from_pretrained(folder / "model").eval()
    processor = CatSegProcessor.from_pretrained(folder / "model")
    expected = evaluate(model, processor, small_data_set(folder), Protocol("whole"))
    assert torch.equal(matrix(output), expected.matrix.matrix)
    share = expected.results["metrics"]["miou_present_in_ground_truth"]
    assert f"| {100 * share:.2f} % |" in printed and "1 seen, 4 unseen classes" in printed
    assert printed.splitlines()[-1] == f"Wrote {output.relative_to(folder)}"

    # Again: nothing is computed, the result is the same.
    assert catseg(*arguments)[1] == printed


def test_options_reach_the_evaluation(catseg: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    code, printed, errors = catseg(
        *("--model", "model", *OWN_DATA, "--output", "out", "--protocol", "mmseg_slide", "--tta", "--limit", 1),
        *("--dtype", "bfloat16", "--device", "cpu", "--batch-size", 2, "--num-workers", 1, "--worst", 0),
    )
    assert code == 0, errors
    results = json.loads((folder / "out" / "results.json").read_text())
    assert results["protocol"]["scales"] == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75] and results["protocol"]["flip"]
    assert results["speed"]["dtype"] == "bfloat16" and results["speed"]["batch_size"] == 2
    assert results["limit"] == 1 and "A trial on the first 1 images only" in printed


def test_a_benchmark_goes_into_the_model_card(
    catseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    write_mini_benchmark("pascal_voc_20b", tmp_path, number=2)
    shutil.copytree(folder / "model", tmp_path / "model")
    arguments = ("--dataset", "pascal_voc_20b", "--data-root", tmp_path, "--protocol", "whole", "--worst", 0)
    arguments += ("--model", tmp_path / "model", "--output", tmp_path / "out", "--update-card")
    code, _, errors = catseg(*arguments)
    assert code == 1 and "--update-card needs a model folder with a README.md" in errors
    assert not (tmp_path / "out").exists()
    (tmp_path / "model" / "README.md").write_text("# My model\n")
    code, printed, errors = catseg(*arguments, "--dataset-revision", "2012")
    assert code == 0, errors
    assert f"Updated {tmp_path / 'model' / 'README.md'}" in printed
    results = ModelCard.load(tmp_path / "model" / "README.md").data.eval_results
    assert [(result.dataset_type, result.dataset_revision) for result in results] == 2 * [("pascal_voc_20b", "2012")]


def test_single_classes_are_measured_alone_and_with_others(
    catseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    arguments = ("--model", "model", *OWN_DATA, "--protocol", "whole", "--only", "trees", "--only", "dog")
    code, printed, errors = catseg(*arguments, "--others", "classes.txt", "--output", tmp_path)
    assert code == 0, errors
    report = (tmp_path / "report.md").read_text()
    assert printed == f"{report}\nWrote {tmp_path}\n"
    assert [line.split(" | ")[:2] for line in report.splitlines() if line.startswith(("| trees", "| dog"))] == [
        ["| trees", "alone"],
        ["| trees", "with others (classes.txt: 3)"],
        ["| dog", "alone"],
        ["| dog", "with others (classes.txt: 3)"],
    ]
    assert "Left out of the others, as they mean the same: tree, shrub (trees), dog (dog)." in report
    assert not matrix(tmp_path / "alone")[:, 2].any() and matrix(tmp_path / "with-others")[:, 2].any()
    # By default the model's own classes, or COCO-Stuff's where it has none; in a folder of its own.
    code, printed, errors = catseg(*arguments, "--limit", 1)
    assert code == 0, errors
    assert "with others (own: 168)" in printed
    assert (folder / "results" / "model" / "images-only-trees-dog-whole" / "report.md").is_file()


def test_a_data_set_of_the_library_is_evaluated(
    catseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path
) -> None:
    paths = {name: sorted(map(str, (folder / kind).iterdir())) for name, kind in COLUMNS.items()}
    rows = Dataset.from_dict(paths, features=Features(dict.fromkeys(COLUMNS, Image())))
    (tmp_path / "pairs").mkdir()
    rows.to_parquet(tmp_path / "pairs" / "validation-00000-of-00001.parquet")
    arguments = ("--model", "model", "--protocol", "whole", "--worst", 0, "--vocabulary", "classes.txt")
    code, _, errors = catseg(*arguments, "--dataset", tmp_path / "pairs", "--output", tmp_path / "hub")
    assert code == 0, errors
    code, _, errors = catseg(
        "--model", "model", "--protocol", "whole", "--worst", 0, *OWN_DATA, "--output", tmp_path / "own"
    )
    assert code == 0, errors
    assert torch.equal(matrix(tmp_path / "hub"), matrix(tmp_path / "own"))


COLUMNS = {"image": "images", "annotation": "labels"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Without --dataset, give --annotations, --images, --vocabulary."),
        (("--others", "own"), "--others own competes with the classes of --only: give --only NAME too."),
        (("--only", "cat", "--update-card"), "--only measures single classes: leave out --update-card."),
        ((*OWN_DATA, "--only", "cat"), "images has no class 'cat': it has wall, sky, tree, traffic light, dog."),
        (("--images", "images"), "Without --dataset, give --annotations, --vocabulary."),
        (
            ("--dataset", "ade20k_150", "--data-root", ".", "--label-map", "map.csv"),
            "a benchmark, leave out --label-map.",
        ),
        ((*OWN_DATA, "--label-map", "absent.csv"), "absent.csv"),
        ((*OWN_DATA, "--label-map", "classes.txt"), "classes.txt, line 1: 'wall' is no header of a label map."),
        ((*OWN_DATA, "--split", "val"), "Without --dataset, leave out --split."),
        (("--dataset", "ade20k_150", "--data-root", ".", "--missing", "skip"), "a benchmark, leave out --missing."),
        (("--dataset", "ade20k_150"), "With --dataset ade20k_150, a benchmark, give --data-root."),
        (("--dataset", "ade20k_150", "--data-root", ".", "--reduce-labels"), "a benchmark, leave out --reduce-labels."),
        (("--dataset", "someone/pairs", *OWN_DATA), "leave out --annotations, --images."),
        (("--dataset", "ade20k_150", "--data-root", "."), "ADEChallengeData2016"),
        (("--dataset", "ade20k_15"), "of the library `datasets`, not one of ade20k_150, "),
        ((*OWN_DATA, "--vocabulary", "missing.txt"), "missing.txt"),
        ((*OWN_DATA, "--seen", "missing.txt", "--output", "seen"), "missing.txt"),
        ((*OWN_DATA, "--limit", "0", "--output", "limit"), "`limit` must be at least 1, got 0"),
        ((*OWN_DATA, "--update-card", "--limit", "1"), "--update-card needs a model folder"),
        ((*OWN_DATA, "--protocol", "mmseg_slide", "--tta", "--longest-edge", "520"), "leave them out"),
        ((*OWN_DATA, "--model", "absent"), "--model absent does not exist"),
    ],
)
def test_errors_are_one_message_and_nothing_is_written(
    arguments: tuple[str, ...], message: str, catseg: Callable[..., tuple[int, str, str]], folder: Path
) -> None:
    before = sorted(folder.rglob("*"))
    code, printed, errors = catseg("--model", "model", *arguments)
    assert code == 1 and not printed
    assert errors.startswith("Error: ") and message in errors
    assert sorted(folder.rglob("*")) == before


@pytest.fixture(scope="module")
def binary_folder(folder: Path) -> Path:
    """Beside the data set, masks of 0 and 255, of two classes, and masks of 255 alone."""
    for name, values in (("masks", (0, 255)), ("white", (255, 255))):
        (folder / name).mkdir()
        for path in (folder / "images").iterdir():
            width, height = PIL.Image.open(path).size
            mask = np.full((height, width), values[0], dtype=np.uint8)
            mask[: height // 2] = values[1]
            PIL.Image.fromarray(mask).save(folder / name / path.name)
    (folder / "two.txt").write_text("ground\nsky\n")
    return folder


def test_binary_masks_are_refused_or_read(catseg: Callable[..., tuple[int, str, str]], binary_folder: Path) -> None:
    options = ["--model", "model", "--images", "images", "--annotations", "masks", "--vocabulary", "two.txt"]
    code, _, errors = catseg(*options, "--output", "refused")
    assert code == 1 and "No pixel of images is 'sky'" in errors and "--binary-masks" in errors
    assert not Path("refused/results.json").exists()
    code, printed, errors = catseg(*options, "--output", "read", "--binary-masks")
    assert code == 0, errors
    results = json.loads(Path("read/results.json").read_text())
    pixels = [row["pixels"] for row in results["per_class"]]
    assert min(pixels) > 0 and results["warnings"] == [] and "do not count" not in printed
    code, _, errors = catseg(*options[:-1], "classes.txt", "--output", "five", "--binary-masks")
    assert code == 1 and "two classes" in errors


def test_binary_masks_of_the_library_datasets(
    catseg: Callable[..., tuple[int, str, str]], binary_folder: Path, tmp_path: Path
) -> None:
    columns = {name: [str(path) for path in sorted((binary_folder / name).iterdir())] for name in ("images", "masks")}
    features = Features({"image": Image(), "annotation": Image()})
    rows = {"image": columns["images"], "annotation": columns["masks"]}
    Dataset.from_dict(rows, features).to_parquet(tmp_path / "data" / "validation.parquet")
    options = ["--model", "model", "--dataset", tmp_path / "data", "--vocabulary", "two.txt"]
    code, _, errors = catseg(*options, "--output", "columns-refused")
    assert code == 1 and "--binary-masks" in errors
    code, _, errors = catseg(*options, "--output", "columns", "--binary-masks")
    assert code == 0, errors
    assert min(row["pixels"] for row in json.loads(Path("columns/results.json").read_text())["per_class"]) > 0


@pytest.mark.slow
@pytest.mark.parametrize("stored", ["colours", "ids"])
def test_labels_are_read_by_a_label_map(
    catseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path, stored: str
) -> None:
    names = [line.split(" | ")[0] for line in Path(folder, "classes.txt").read_text().splitlines()]
    colors = {**{index: (40 * index, 7, 200) for index in range(len(names))}, 255: (0, 0, 0)}
    (tmp_path / "masks").mkdir()
    for path in Path(folder, "labels").iterdir():
        ids = np.asarray(PIL.Image.open(path))
        pixels = np.zeros((*ids.shape, 3), dtype=np.uint8)
        for index, color in colors.items():
            pixels[ids == index] = color
        PIL.Image.fromarray(pixels if stored == "colours" else ids).save(tmp_path / "masks" / path.name)
    rows = {name: colors[index] if stored == "colours" else (index,) for index, name in enumerate(names)}
    rows["void"] = colors[255] if stored == "colours" else (255,)
    lines = [",".join(map(str, (name, *values))) for name, values in rows.items()]
    header = "name,r,g,b" if stored == "colours" else "name,id"
    file = tmp_path / "class_dict.csv"
    file.write_text("\n".join([header, *lines]))
    options = ["--model", "model", "--images", "images", "--protocol", "whole", "--worst", 0]
    options += ["--annotations", tmp_path / "masks", "--label-map", file]
    code, _, errors = catseg(*options, "--vocabulary", "classes.txt", "--output", tmp_path / "given")
    assert code == 0, errors
    code, _, errors = catseg("--model", "model", *OWN_DATA, "--protocol", "whole", "--output", tmp_path / "own")
    assert code == 0, errors
    assert torch.equal(matrix(tmp_path / "given"), matrix(tmp_path / "own"))
    # The classes of the file, and what it does not name.
    code, _, errors = catseg(*options, "--output", tmp_path / "named")
    assert code == 0, errors
    assert load_evaluation(tmp_path / "named").matrix.class_names == names
    file.write_text("\n".join([header, *lines[:-1]]))
    code, _, errors = catseg(*options, "--output", tmp_path / "missing")
    assert code == 1 and "class_dict.csv does not name" in errors and " pixels)" in errors
    # Other meanings of labels are another evaluation.
    file.write_text("\n".join([header, *lines[:-1], lines[-1].replace("void", names[0])]))
    code, _, errors = catseg(*options, "--output", tmp_path / "named")
    assert code == 1 and "another evaluation, which differs in: label_values_sha256" in errors
    code, _, errors = catseg(*options, "--binary-masks", "--output", tmp_path / "both")
    assert code == 1 and "leave out `reduce_labels` and `binary_masks`" in errors


def test_labels_without_a_counted_pixel_are_an_error(
    catseg: Callable[..., tuple[int, str, str]], binary_folder: Path
) -> None:
    options = ["--model", "model", "--images", "images", "--annotations", "white", "--vocabulary", "classes.txt"]
    code, _, errors = catseg(*options, "--output", "nothing")
    assert code == 1 and "pixels counts: all labels have the value 255" in errors
    assert not Path("nothing/results.json").exists()


def test_unusual_labels_are_named_with_figures(catseg: Callable[..., tuple[int, str, str]], folder: Path) -> None:
    options = ["--model", "model", "--images", "images", "--annotations", "labels", "--vocabulary", "classes.txt"]
    code, printed, _ = catseg(*options, "--output", "unusual")
    assert code == 0
    results = json.loads(Path("unusual/results.json").read_text())
    labels = [np.asarray(PIL.Image.open(path)) for path in Path("labels").iterdir()]
    share = sum((map_ == 255).sum() for map_ in labels) / sum(map_.size for map_ in labels)
    absent = [row["name"] for row in results["per_class"] if not row["pixels"]]
    assert share > 0.1 and absent == [results["per_class"][4]["name"]]
    assert results["warnings"] == [
        f"1 of 5 classes never occur in the labels: {absent[0]}.",
        f"{share:.1%} of the pixels do not count: their label is 255.",
    ]
    assert all(warning in printed for warning in results["warnings"])


def test_what_was_left_out_is_named_with_figures(
    catseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # which takes HEIC
    images, labels, vocabulary = save_small_data_set(tmp_path)
    (labels / "3.png").unlink()
    (images / "phone.heic").write_bytes(b"")
    arguments = ("--images", images, "--annotations", labels, "--vocabulary", vocabulary, "--model", "model")
    arguments += ("--protocol", "whole", "--output", tmp_path / "out", "--worst", 0)
    code, _, errors = catseg(*arguments)
    assert code == 1 and "1 of 5 images have no labels" in errors and "`--missing skip`" in errors
    code, printed, errors = catseg(*arguments, "--missing", "skip")
    assert code == 0, errors
    warnings = json.loads((tmp_path / "out" / "results.json").read_text())["warnings"]
    assert warnings[0].startswith("1 photo(s) left out, HEIC: phone.heic; ")
    assert warnings[1].startswith("1 of 5 images have no labels, such as ")
    assert all(f"**{warning}**" in printed for warning in warnings)


def test_without_accelerate_it_says_what_to_install(
    catseg: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    code, printed, errors = catseg("--model", "model", *OWN_DATA)
    assert code == 1 and not printed
    assert errors == 'Error: `catseg evaluate` needs more libraries: `pip install "catseg-hf[eval]"`.\n'


def test_a_corrupt_image_is_named(catseg: Callable[..., tuple[int, str, str]], folder: Path, tmp_path: Path) -> None:
    images, labels, vocabulary = save_small_data_set(tmp_path)
    (images / "3.png").write_bytes(b"no picture")
    arguments = ("--images", images, "--annotations", labels, "--vocabulary", vocabulary, "--model", "model")
    arguments += ("--protocol", "whole", "--output", tmp_path / "out", "--worst", 0)
    code, _, errors = catseg(*arguments)
    assert code == 1 and "3.png" in errors
    code, printed, errors = catseg(*arguments, "--skip-unreadable")
    assert code == 1 and "holds another evaluation, which differs in: skip_unreadable" in errors
    shutil.rmtree(tmp_path / "out")
    code, printed, errors = catseg(*arguments, "--skip-unreadable")
    assert code == 0, errors
    assert "1 unreadable image(s) left out" in printed and "4 of 5" in printed


@pytest.mark.slow
def test_interrupted_it_says_how_to_go_on(
    folder: Path, catseg: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    arguments = ["--model", "model", *OWN_DATA, "--worst", "0", "--output", str(tmp_path)]
    command = [sys.executable, "-m", "catseg_hf.cli", "evaluate", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with started(command, cwd=folder, env=environment) as process:
        while process.poll() is None and not list(tmp_path.glob("progress/process-0.safetensors")):
            time.sleep(0.01)
        _, errors = interrupt(process)
    assert process.returncode == 130, errors
    assert errors.splitlines()[-1] == f"Interrupted. The same command goes on from what is in {tmp_path}."
    code, _, errors = catseg(*arguments)
    assert code == 0, errors
    assert load_evaluation(tmp_path).results["speed"]["num_images"] < 5
    assert int(matrix(tmp_path).sum()) == sum(int((sample.labels != 255).sum()) for sample in small_data_set(folder))


def test_the_example_runs(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = write_mini_benchmark("ade20k_150", tmp_path, number=1)
    monkeypatch.setattr(sys, "argv", ["evaluate.py", str(folder / "model"), str(tmp_path), str(tmp_path / "out")])
    runpy.run_path(str(ROOT / "examples" / "evaluate.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1] == f"Wrote {tmp_path / 'out'}/report.md"
    assert (tmp_path / "out" / "report.md").is_file()
    counted = sum(int(np.sum(ids != 255)) for ids in labels.values())
    assert int(matrix(tmp_path / "out").sum()) == counted
