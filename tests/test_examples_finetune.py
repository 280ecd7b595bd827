# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The training script as users run it: killed and resumed, in two processes, with every option."""

import io
import json
import os
import runpy
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, redirect_stdout
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState, GradientState
from PIL import Image

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.datasets import load_folder
from catseg_hf.evaluation import Protocol, evaluate
from tests.loopback_hub import TOKEN, serve
from tests.small_evaluations import save_small_data_set, save_small_model


ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "examples" / "finetune.py"
STEPS = 8

# Kills its own process when something happens for the so-many-th time, then runs the script.
KILLED_AT = """
import os, runpy, signal, sys
event, part, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
def watch(name, arguments):
    global count
    if name == event and part in str(arguments[0]):
        count -= 1
        if not count:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(watch)
sys.argv = sys.argv[4:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    # `datasets` waits 5 seconds at the end of a stream.
    monkeypatch.setattr(datasets.config, "SLEEP_TIME_ON_THREADS_SHUTDOWN", 0)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("project")
    save_small_model(folder / "model", tiny_model_folder)
    # Dropout makes the result depend on the random generator's state, too.
    config = json.loads((folder / "model" / "config.json").read_text())
    (folder / "model" / "config.json").write_text(json.dumps({**config, "decoder_dropout": 0.3}))
    save_small_data_set(folder)
    return folder


def arguments(project: Path, output: Path, *more: str) -> list[str]:
    data = {"images": "images", "labels": "labels", "vocabulary": "classes.txt", "model": "model"}
    options = {name: str(project / path) for name, path in data.items()}
    options |= {"output": str(output), "steps": str(STEPS), "batch-size": "2", "crop-size": "64"}
    options |= {"save-every": "2", "log-every": "3", "num-workers": "0", "learning-rate": "0.01"}
    return [*(part for name, value in options.items() for part in (f"--{name}", value)), *more]


def environment() -> dict[str, str]:
    # The same number of threads, since it can change the last digits.
    threads = str(torch.get_num_threads())
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": threads, "ACCELERATE_USE_CPU": "true"}


def run_here(script: Path, *arguments: str) -> tuple[str, dict]:
    """Runs a script in this process, which spares the imports; returns what it printed and its variables."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("ACCELERATE_USE_CPU", "true")
        patch.setattr(sys, "argv", [str(script), *arguments])
        variables = runpy.run_path(str(script), run_name="__main__")
    return printed.getvalue(), variables


def train(*arguments: str) -> tuple[str, dict]:
    return run_here(SCRIPT, *arguments)


def loss_curve(output: Path) -> list[dict]:
    return [json.loads(line) for line in (output / "loss.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def uninterrupted(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("runs") / "whole"
    train(*arguments(project, output))
    return output


@pytest.mark.slow
def test_killed_in_a_step_and_in_a_save_it_goes_on_to_the_same_losses(
    project: Path, uninterrupted: Path, tmp_path: Path
) -> None:
    output = tmp_path / "run"

    def train_and_kill(event: str, part: str, count: int) -> None:
        command = [sys.executable, "-c", KILLED_AT, event, part, str(count), str(SCRIPT)]
        command += [*arguments(project, output), "--resume-from-checkpoint", "latest"]
        result = subprocess.run(command, env=environment(), capture_output=True, text=True)
        assert result.returncode == -9, result.stderr

    # Each image is opened twice, for its kind and for its pixels. Reading the 11th, after all five for a look at their
    # labels: in step 6, after the checkpoint of step 4, the loss of step 6 not yet written.
    train_and_kill("open", str(project / "images") + os.sep, 32)
    assert sorted(path.name for path in output.glob("checkpoint-*")) == ["checkpoint-000002", "checkpoint-000004"]
    # After the losses of step 6 were written, in the middle of its checkpoint.
    train_and_kill("open", ".unfinished-checkpoint-000006" + os.sep + "catseg_state.json", 1)
    assert (output / ".unfinished-checkpoint-000006").is_dir() and not (output / "checkpoint-000006").exists()
    assert loss_curve(output)[-1]["step"] == 6

    printed, _ = train(*arguments(project, output, "--resume-from-checkpoint", "latest"))
    assert "Going on after step 4" in printed
    assert not list(output.glob(".unfinished-*"))
    assert loss_curve(output) == loss_curve(uninterrupted)
    assert [record["step"] for record in loss_curve(output)] == list(range(1, STEPS + 1))
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (output, uninterrupted)]
    assert weights[0] == weights[1]

    with pytest.raises(SystemExit, match="holds a training"):
        train(*arguments(project, output))
    with pytest.raises(ValueError, match="another training.*seed"):
        train(*arguments(project, output, "--resume-from-checkpoint", "latest", "--seed", "1"))


@pytest.mark.slow
def test_two_processes_do_what_one_does(project: Path, tmp_path: Path) -> None:
    data = ("--eval-images", str(project / "images"), "--eval-labels", str(project / "labels"))
    options = (*data, "--eval-every", "4", "--eval-protocol", "whole", "--recipe", "cvpr")
    config = json.loads((project / "model" / "config.json").read_text())
    model = tmp_path / "model"  # without dropout, which differs between processes
    shutil.copytree(project / "model", model)
    (model / "config.json").write_text(json.dumps({**config, "decoder_dropout": 0.0}))
    one, two, parts = (tmp_path / name for name in ("one", "two", "parts"))
    train(*arguments(project, one, *options, "--model", str(model)))
    # Nor does it matter whether the images of a step are computed in parts.
    train(*arguments(project, parts, "--model", str(model), "--gradient-accumulation-steps", "2"))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29611"]
    command = [*launcher, str(SCRIPT), *arguments(project, two, *options, "--model", str(model))]
    result = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for other in (two, parts):
        for left, right in zip(loss_curve(one), loss_curve(other), strict=True):
            assert left == {**right, "loss": pytest.approx(right["loss"], rel=1e-4)}
    states = [json.loads((run / "checkpoint-000008" / "catseg_state.json").read_text()) for run in (one, two)]
    assert states[0]["facts"]["best_miou"] == pytest.approx(states[1]["facts"]["best_miou"], abs=1e-3)
    assert states[0]["identity"] == states[1]["identity"]


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 2])
def test_evaluation_best_model_and_accumulation(
    project: Path, uninterrupted: Path, tmp_path: Path, accumulation: int
) -> None:
    data = ("--eval-images", str(project / "images"), "--eval-labels", str(project / "labels"))
    options = (*data, "--eval-every", "3", "--eval-protocol", "whole", "--steps", "6", "--freeze-text")
    options += ("--gradient-accumulation-steps", str(accumulation), "--gradient-checkpointing")
    printed, variables = train(*arguments(project, tmp_path / "run", *options))
    # The best model is that of the best of two evaluations, and scores so when it is evaluated by itself.
    best = variables["facts"]["best_miou"]
    scores = [float(line.split()[-1]) for line in printed.splitlines() if line.startswith("Step ")]
    assert len(scores) == 2 and max(scores) == pytest.approx(best, abs=1e-4)
    folder = tmp_path / "run" / "best"
    model, processor = CatSegForSemanticSegmentation.from_pretrained(folder), CatSegProcessor.from_pretrained(folder)
    dataset = load_folder(project / "images", project / "labels", project / "classes.txt")
    results = evaluate(model.eval(), processor, dataset, Protocol("whole")).results
    assert results["metrics"]["miou_present_in_ground_truth"] == pytest.approx(best, abs=1e-6)
    # Frozen text is not changed, the rest is.
    before = CatSegForSemanticSegmentation.from_pretrained(project / "model").state_dict()
    after = CatSegForSemanticSegmentation.from_pretrained(tmp_path / "run" / "model").state_dict()
    changed = {name for name in before if "vocabulary" not in name and not torch.equal(before[name], after[name])}
    assert not any("text_model" in name for name in changed)
    assert any("vision_model" in name for name in changed) and any("decoder" in name for name in changed)
    assert [record["step"] for record in loss_curve(tmp_path / "run")] == list(range(1, 7))
    # The gradients of all weights together were cut to 0.01, so their running mean is not longer.
    states = variables["optimizer"].optimizer.state.values()
    norm = torch.stack([state["exp_avg"].norm() for state in states]).norm().item()
    assert 0.001 < norm <= 0.01
    assert variables["loader"].total_batch_size == 2 // accumulation


def test_labels_are_read_by_a_label_map_and_unusual_ones_are_logged(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    colors = np.random.default_rng(1).integers(0, 256, (256, 3), dtype=np.uint8)
    for path in (project / "labels").iterdir():
        Image.fromarray(colors[np.asarray(Image.open(path))]).save(masks / path.name)
    file = tmp_path / "labelmap.txt"
    names = ["wall", "sky", "tree", "traffic light", "dog", "void"]
    lines = (f"{name}:{','.join(map(str, colors[ids]))}::\n" for name, ids in zip(names, [*range(5), 255], strict=True))
    file.write_text("# label:color_rgb:parts:actions\n" + "".join(lines))
    given = arguments(project, tmp_path / "run", "--steps", "2", "--log-every", "1", "--labels", str(masks))
    train(*given, "--label-map", str(file))
    records = loss_curve(tmp_path / "run")
    said = [record.getMessage() for record in caplog.records if record.name == "catseg_hf.training.data"]
    assert "images (all), 5 of 5 label maps: 1 of 5 classes never occur in the labels: dog." in said
    assert records[0]["warnings"] == said and len(said) == 2 and "warnings" not in records[1]
    # The same labels as the numbers give.
    train(*arguments(project, tmp_path / "plain", "--steps", "2", "--log-every", "1"))
    assert loss_curve(tmp_path / "plain") == records


def test_a_stream_of_binary_masks_is_refused_or_read(project: Path, tmp_path: Path) -> None:
    mask = Image.fromarray(np.array([[0, 255], [0, 0]], np.uint8)).resize((40, 40), Image.Resampling.NEAREST)
    columns = {"image": [Image.new("RGB", mask.size)] * 9, "annotation": [mask] * 9}
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    (tmp_path / "rows").mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(tmp_path / "rows" / "train.parquet")
    (tmp_path / "two.txt").write_text("ground\nsky\n")
    given = arguments(project, tmp_path / "run", "--dataset", str(tmp_path / "rows"), "--streaming", "--steps", "2")
    given = given[: given.index("--images")] + given[given.index("--model") :]
    given += ["--vocabulary", str(tmp_path / "two.txt")]
    with pytest.raises(ValueError, match=r"No pixel of .* is 'sky', and 25.0% .*--binary-masks"):
        train(*given)
    assert not loss_curve(tmp_path / "run") and not list((tmp_path / "run").glob("checkpoint-*"))
    train(*given, "--binary-masks")
    assert len(loss_curve(tmp_path / "run")) == 2


def test_bad_samples(project: Path, tmp_path: Path) -> None:
    images, labels, _ = save_small_data_set(tmp_path / "data")
    (images / "3.png").write_bytes(b"no image")
    more = ("--images", str(images), "--labels", str(labels), "--steps", "3")
    with pytest.raises(ValueError, match=r"images.3\.png cannot be read"):
        train(*arguments(project, tmp_path / "run", *more))
    printed, _ = train(*arguments(project, tmp_path / "run", *more, "--on-bad-sample", "skip"))
    assert "1 samples were skipped" in printed


def test_photos_without_labels_are_skipped_on_request(project: Path, tmp_path: Path) -> None:
    images, labels, _ = save_small_data_set(tmp_path / "data")
    (labels / "3.png").unlink()
    more = ("--images", str(images), "--labels", str(labels), "--steps", "1")
    with pytest.raises(FileNotFoundError, match="1 of 5 images have no labels, such as .*`--missing skip`"):
        train(*arguments(project, tmp_path / "run", *more))
    train(*arguments(project, tmp_path / "run", *more, "--missing", "skip"))
    assert loss_curve(tmp_path / "run")[0]["warnings"][0].startswith("images (all): 1 of 5 images have no labels")


@pytest.mark.slow
def test_stream_and_lora_resume(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    dataset = load_folder(project / "images", project / "labels", project / "classes.txt")
    rows = [dataset[index] for index in range(len(dataset))] * 4  # an epoch is longer than the run
    columns = {
        "image": [row.image for row in rows],
        "annotation": [Image.fromarray(row.labels.astype(np.uint8)) for row in rows],
    }
    features = datasets.Features({"image": datasets.Image(), "annotation": datasets.Image()})
    folder = tmp_path / "rows"
    folder.mkdir()
    datasets.Dataset.from_dict(columns, features=features).to_parquet(folder / "train.parquet")
    source = ("--dataset", str(folder), "--streaming", "--lora-rank", "2")
    output = tmp_path / "run"
    given = arguments(project, output, *source, "--keep-checkpoints", "9", "--resume-from-checkpoint", "latest")
    given = given[: given.index("--images")] + given[given.index("--vocabulary") :]
    train(*given)
    whole = loss_curve(output)
    assert len(whole) == STEPS
    for step in (6, 8):  # as if it had been ended before
        shutil.rmtree(output / f"checkpoint-00000{step}")
    printed, _ = train(*given)
    assert "Going on after step 4" in printed and loss_curve(output) == whole
    merged = CatSegForSemanticSegmentation.from_pretrained(output / "model")
    assert not any("lora" in name for name in merged.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("tracker", ["tensorboard", "trackio"])
def test_tracker_and_push_to_hub(project: Path, tmp_path: Path, tracker: str) -> None:
    pytest.importorskip(tracker)
    more = ("--steps", "2", "--log-every", "1", "--tracker", tracker, "--push-to-hub", "me/tuned")
    with serve() as hub:
        settings = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
        settings |= {"HF_HOME": str(tmp_path / "home"), "TRACKIO_DIR": str(tmp_path / "trackio")}
        command = [sys.executable, str(SCRIPT), *arguments(project, tmp_path / "run", *more)]
        subprocess.run(command, env=environment() | settings, check=True, capture_output=True)
        pushed = hub.repositories["me/tuned"].files()
    assert pushed["model.safetensors"] == (tmp_path / "run" / "model" / "model.safetensors").read_bytes()
    assert {"config.json", "processor_config.json", "tokenizer.json", "README.md"} <= pushed.keys()

    losses = [record["loss"] for record in loss_curve(tmp_path / "run")]
    if tracker == "trackio":
        (database,) = (tmp_path / "trackio").glob("catseg*.db")
        with closing(sqlite3.connect(database)) as connection:
            rows = [json.loads(row) for (row,) in connection.execute("SELECT metrics FROM metrics ORDER BY step")]
        logged = [row["loss"] for row in rows]
    else:
        reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
        events = reader.EventAccumulator(str(tmp_path / "run" / "catseg")).Reload()
        logged = [event.value for event in events.Scalars("loss")]
    assert logged == pytest.approx(losses, rel=1e-6)


@pytest.mark.slow
def test_trainer_example(project: Path, tmp_path: Path) -> None:
    pytest.importorskip("evaluate")
    given = [str(project / name) for name in ("model", "images", "labels", "classes.txt")]
    printed, variables = run_here(ROOT / "examples" / "finetune_trainer.py", *given, str(tmp_path / "run"), "2")
    assert "'eval_miou'" in printed and "'eval_mean_iou'" in printed and "'eval_iou_traffic light'" in printed
    assert len(variables["dataset"].records) == 4 and len(variables["eval_samples"]) == 1
    model = CatSegForSemanticSegmentation.from_pretrained(tmp_path / "run")
    assert list(model.config.id2label.values())[0] == "wall"
    CatSegProcessor.from_pretrained(tmp_path / "run")


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "deepspeed_zero2"])
def test_accelerate_configurations_are_known_to_accelerate(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    path = ROOT / "examples" / "accelerate" / f"{name}.yaml"
    config = load_config_from_file(str(path))
    assert config.num_processes == 8
    assert config.distributed_type.value == {"ddp": "MULTI_GPU", "fsdp2": "FSDP", "deepspeed_zero2": "DEEPSPEED"}[name]
    content = yaml.safe_load(path.read_text())
    if name == "deepspeed_zero2":
        assert content["deepspeed_config"]["gradient_clipping"] == 0.01
