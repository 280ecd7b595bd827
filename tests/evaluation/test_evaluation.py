# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Evaluation counts what a plain loop counts: by each protocol, on several processes, and after it was killed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import PartialState
from PIL import Image, ImageOps

from catseg_hf import CatSegForSemanticSegmentation, CatSegImageProcessor, CatSegProcessor
from catseg_hf.datasets import Sample, SegmentationDataset, load_benchmark
from catseg_hf.evaluation import (
    AUGMENTATION_SCALES,
    ConfusionMatrix,
    Evaluation,
    Protocol,
    ProtocolSegmenter,
    evaluate,
    load_evaluation,
    seen_unseen,
    segmenter,
)
from tests.mini_datasets import write_mini_benchmark
from tests.small_evaluations import NAMES, Trap, save_small_data_set, save_small_model, small_data_set


ROOT = Path(__file__).parents[2]
BENCHMARKS = {
    "ade20k_150": 150,
    "ade20k_847": 847,
    "coco_stuff_171": 171,
    "pascal_context_59": 59,
    "pascal_context_459": 459,
    "pascal_voc_20": 20,
    "pascal_voc_20b": 21,
}
# What the three protocols are, in numbers, as the image processor takes them.
ARGUMENTS = {
    "sliding_window": {"score_function": "sigmoid"},
    "mmseg_slide": {
        "shortest_edge": 512,
        "longest_edge": 2048,
        "do_squash": False,
        "stride": 384,
        "global_view": False,
        "score_function": "softmax",
    },
    "whole": {"do_sliding_window": False},
}


@pytest.fixture(scope="module")
def folder(tiny_model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`model`, `other_model` and `data`."""
    folder = tmp_path_factory.mktemp("evaluation")
    save_small_model(folder / "model", tiny_model_folder)
    save_small_model(folder / "other_model", tiny_model_folder, seed=1)
    save_small_data_set(folder / "data")
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> CatSegForSemanticSegmentation:
    return CatSegForSemanticSegmentation.from_pretrained(folder / "model").eval()


@pytest.fixture(scope="module")
def processor(folder: Path) -> CatSegProcessor:
    return CatSegProcessor.from_pretrained(folder / "model")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> SegmentationDataset:
    return small_data_set(folder / "data")


@pytest.fixture(scope="module")
def run(
    model: CatSegForSemanticSegmentation, processor: CatSegProcessor, dataset: SegmentationDataset
) -> Callable[..., Evaluation]:
    """`evaluate` on these, fast: one view."""

    def run(protocol: Protocol | None = None, data: SegmentationDataset = dataset, **kwargs: Any) -> Evaluation:
        return evaluate(model, processor, data, protocol or Protocol("whole"), **kwargs)

    return run


@pytest.fixture(scope="module")
def whole(run: Callable[..., Evaluation]) -> Evaluation:
    """What an evaluation in one go counts."""
    return run()


@pytest.fixture(scope="module")
def plain_scores(
    folder: Path, model: CatSegForSemanticSegmentation, processor: CatSegProcessor
) -> Callable[..., torch.Tensor]:
    """Scores of all classes, by the model and an image processor with these arguments."""
    input_ids = processor(text=NAMES, return_tensors="pt").input_ids

    def plain_scores(image: Image.Image, size: tuple[int, int], **arguments: Any) -> torch.Tensor:
        image_processor = CatSegImageProcessor.from_pretrained(folder / "model", **arguments)
        with torch.inference_mode():
            outputs = model(**image_processor(image, return_tensors="pt"), input_ids=input_ids)
        result = image_processor.post_process_semantic_segmentation(outputs, [size], return_segmentation_scores=True)
        return result[0]["segmentation_scores"]

    return plain_scores


def plain_matrix(dataset: SegmentationDataset, predict: Callable[[Sample], torch.Tensor]) -> np.ndarray:
    matrix = np.zeros((5, 5), dtype=np.int64)
    for number in range(len(dataset)):
        sample = dataset[number]
        counted = sample.labels != 255
        prediction = predict(sample).numpy()
        np.add.at(matrix, (sample.labels[counted], prediction[counted]), 1)
    return matrix


@pytest.mark.slow
@pytest.mark.parametrize("name", ARGUMENTS)
def test_counts_are_those_of_a_plain_loop(
    name: str,
    dataset: SegmentationDataset,
    plain_scores: Callable[..., torch.Tensor],
    run: Callable[..., Evaluation],
) -> None:
    evaluation = run(Protocol(name))
    matrix = plain_matrix(
        dataset,
        lambda sample: plain_scores(sample.image, sample.labels.shape, **ARGUMENTS[name]).argmax(dim=0),
    )
    assert np.array_equal(evaluation.matrix.matrix.numpy(), matrix)
    assert matrix.sum() > 5000 and (matrix.sum(axis=0) > 0).sum() > 2
    assert evaluation.results["metrics"]["pixel_accuracy"] == pytest.approx(np.trace(matrix) / matrix.sum())


def test_augmentation_averages_scores_as_the_original_does(
    dataset: SegmentationDataset,
    plain_scores: Callable[..., torch.Tensor],
    run: Callable[..., Evaluation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two classes at a time.
    monkeypatch.setattr(segmenter, "CHUNK_ELEMENTS", 2 * 90 * 50)

    def predict(sample: Sample) -> torch.Tensor:
        photo, size = sample.image.convert("RGB"), sample.labels.shape
        factor = 640 / min(photo.size)
        photo = photo.resize(tuple(int(side * factor + 0.5) for side in photo.size), Image.Resampling.BILINEAR)
        total = torch.zeros(5, *size)
        for edge in (320, 800):
            total += plain_scores(photo, size, shortest_edge=edge)
            total += plain_scores(ImageOps.mirror(photo), size, shortest_edge=edge).flip(-1)
        return total.argmax(dim=0)

    evaluation = run(Protocol(scales=(0.5, 1.25), flip=True), limit=2)
    matrix = plain_matrix(first_images(dataset, 2), predict)
    assert_nearly_equal(evaluation.matrix.matrix.numpy(), matrix)


def test_augmentation_averages_probabilities_as_mmsegmentation_does(
    dataset: SegmentationDataset,
    plain_scores: Callable[..., torch.Tensor],
    run: Callable[..., Evaluation],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(segmenter, "CHUNK_ELEMENTS", 2 * 90 * 50)

    def predict(sample: Sample) -> torch.Tensor:
        photo, size = sample.image.convert("RGB"), sample.labels.shape
        total = torch.zeros(5, *size)
        for scale in (0.5, 8.0):
            arguments = {**ARGUMENTS["mmseg_slide"], "shortest_edge": round(min(photo.size) * scale)}
            total += plain_scores(photo, size, **arguments)
            total += plain_scores(ImageOps.mirror(photo), size, **arguments).flip(-1)
        return total.argmax(dim=0)

    evaluation = run(Protocol("mmseg_slide", scales=(0.5, 8.0), flip=True), limit=2)
    assert_nearly_equal(evaluation.matrix.matrix.numpy(), plain_matrix(first_images(dataset, 2), predict))


def first_images(dataset: SegmentationDataset, number: int) -> SegmentationDataset:
    return SegmentationDataset(dataset.name, dataset.split, dataset.vocabulary, dataset.records[:number], dataset.read)


def assert_nearly_equal(matrix: np.ndarray, expected: np.ndarray) -> None:
    """Sums in another order may decide otherwise where two classes are as good as equal."""
    assert np.array_equal(matrix.sum(axis=1), expected.sum(axis=1))
    assert np.abs(matrix - expected).sum() <= 4
    assert expected.sum() > 5000 and (expected.sum(axis=0) > 0).sum() > 2


@pytest.mark.parametrize("name", ["sliding_window", "mmseg_slide", "whole"])
def test_augmentation_without_a_change_changes_nothing(
    name: str, model: CatSegForSemanticSegmentation, processor: CatSegProcessor, dataset: SegmentationDataset
) -> None:
    image = dataset[0].image.resize((640, 640))
    plain = ProtocolSegmenter(model, processor, NAMES, Protocol(name, shortest_edge=640))([image], [(640, 640)])[0]
    augmented = ProtocolSegmenter(model, processor, NAMES, Protocol(name, scales=(1.0, 1.0)))([image], [(640, 640)])[0]
    assert (plain == augmented).float().mean() > 0.9999 and len(plain.unique()) > 2


def test_protocols_refuse_what_makes_no_sense() -> None:
    with pytest.raises(ValueError, match="no protocol 'slide': use one of sliding_window, mmseg_slide, whole"):
        Protocol("slide")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="`scales` must be numbers greater than 0"):
        Protocol(scales=(0.0,))
    with pytest.raises(ValueError, match="have no effect on `mmseg_slide` with test-time augmentation"):
        Protocol("mmseg_slide", AUGMENTATION_SCALES, shortest_edge=520)
    arguments = Protocol("mmseg_slide", shortest_edge=520, longest_edge=520).image_arguments()
    assert (arguments["shortest_edge"], arguments["longest_edge"]) == (520, 520)


def test_a_model_in_training_is_refused(folder: Path, processor: CatSegProcessor, dataset: SegmentationDataset) -> None:
    model = CatSegForSemanticSegmentation.from_pretrained(folder / "model").train()
    with pytest.raises(ValueError, match=r"call `model.eval\(\)` first"):
        evaluate(model, processor, dataset)


# ---- interruptions and processes ------------------------------------------------------------------------------------


# Ends itself, as by `kill -9`, when the image of that number is read.
SCRIPT = """
import os, signal, sys
from pathlib import Path
from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.evaluation import Protocol, evaluate
from tests.small_evaluations import Trap, small_data_set

folder, output, index = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
data = Trap(small_data_set(folder / "data"), index, lambda: os.kill(os.getpid(), signal.SIGKILL))
model = CatSegForSemanticSegmentation.from_pretrained(folder / "model").eval()
processor = CatSegProcessor.from_pretrained(folder / "model")
evaluation = evaluate(model, processor, data, Protocol("whole"), output=output)
print(evaluation.matrix.matrix.tolist())
"""


def start(folder: Path, output: Path, index: int, *launcher: str) -> subprocess.CompletedProcess[str]:
    script = folder / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script), str(folder), str(output), str(index)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.mark.slow
def test_killed_and_resumed_it_counts_the_same(
    folder: Path,
    dataset: SegmentationDataset,
    run: Callable[..., Evaluation],
    whole: Evaluation,
    tmp_path: Path,
) -> None:
    assert start(folder, tmp_path / "out", 3).returncode == -signal.SIGKILL
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["progress"]

    def stop() -> None:
        raise AssertionError("read again")

    resumed = run(data=Trap(dataset, 2, stop), output=tmp_path / "out")
    assert torch.equal(resumed.matrix.matrix, whole.matrix.matrix)
    assert resumed.image_scores == whole.image_scores and list(resumed.image_scores) == [0, 1, 2, 3, 4]
    assert resumed.results["speed"]["num_images"] == 2
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["counts.npz", "results.json"]


@pytest.mark.slow
def test_two_processes_count_the_same_also_when_one_is_killed(
    folder: Path, run: Callable[..., Evaluation], whole: Evaluation, tmp_path: Path
) -> None:
    launcher = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone")
    result = start(folder, tmp_path / "both", -1, *launcher)
    assert result.returncode == 0, result.stderr
    # Both print it, at times on one line.
    assert result.stdout.count(str(whole.matrix.matrix.tolist())) == 2
    results = load_evaluation(tmp_path / "both").results
    assert results["speed"]["num_processes"] == 2 and results["num_images"] == 5
    assert results["metrics"] == whole.results["metrics"]

    # The second process reads the images 1 and 3.
    assert start(folder, tmp_path / "killed", 3, *launcher).returncode != 0
    files = sorted(path.name for path in (tmp_path / "killed" / "progress").glob("process-*"))
    assert files == ["process-0.safetensors", "process-1.safetensors"]
    resumed = run(output=tmp_path / "killed")
    assert torch.equal(resumed.matrix.matrix, whole.matrix.matrix)
    assert resumed.image_scores == whole.image_scores


def test_interrupted_from_the_keyboard_it_goes_on(
    dataset: SegmentationDataset, run: Callable[..., Evaluation], whole: Evaluation, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    for index in (1, 4):
        with pytest.raises(KeyboardInterrupt):
            run(data=Trap(dataset, index, interrupt), output=tmp_path)
    resumed = run(output=tmp_path)
    assert torch.equal(resumed.matrix.matrix, whole.matrix.matrix)
    assert resumed.results["speed"]["num_images"] == 1


def test_what_another_process_did_is_counted_once(
    dataset: SegmentationDataset, run: Callable[..., Evaluation], whole: Evaluation, tmp_path: Path
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data=Trap(dataset, 2, interrupt), output=tmp_path)
    # As if a second process, which is gone, had done it.
    (tmp_path / "progress" / "process-0.safetensors").rename(tmp_path / "progress" / "process-1.safetensors")
    for index in (3, 4):
        with pytest.raises(KeyboardInterrupt):
            run(data=Trap(dataset, index, interrupt), output=tmp_path)
    assert torch.equal(run(output=tmp_path).matrix.matrix, whole.matrix.matrix)


def test_processes_that_do_not_know_of_each_other_are_refused(
    run: Callable[..., Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert PartialState(cpu=True).num_processes == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="2 processes were started, but accelerate was set up for one"):
        run()


@pytest.mark.slow
def test_without_accelerate_all_but_the_evaluation_itself_works(
    run: Callable[..., Evaluation], monkeypatch: pytest.MonkeyPatch
) -> None:
    # As after `pip install catseg-hf`, without the extra.
    code = "import sys; sys.modules['accelerate'] = None; import catseg_hf.evaluation, catseg_hf.scenes.protocol"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(ImportError, match=r'needs more libraries: `pip install "catseg-hf\[eval\]"`'):
        run()


def test_other_evaluations_are_never_mixed(
    folder: Path,
    dataset: SegmentationDataset,
    processor: CatSegProcessor,
    run: Callable[..., Evaluation],
    tmp_path: Path,
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(data=Trap(dataset, 2, interrupt), output=tmp_path / "unfinished")
    run(output=tmp_path / "finished")
    other_model = CatSegForSemanticSegmentation.from_pretrained(folder / "other_model").eval()
    renamed = [["x.png", *record[1:]] for record in dataset.records]
    other_data = SegmentationDataset(
        dataset.name, dataset.split, dataset.vocabulary, [tuple(record) for record in renamed], dataset.read
    )
    for name in ("unfinished", "finished"):
        for message, other in (
            (
                "differs in: weights_sha256",
                lambda output: evaluate(other_model, processor, dataset, Protocol("whole"), output=output),
            ),
            ("differs in: images_sha256", lambda output: run(data=other_data, output=output)),
            ("differs in: protocol, image_processor", lambda output: run(Protocol("mmseg_slide"), output=output)),
            (r"batch_size \(1 there, 2 now\)", lambda output: run(output=output, batch_size=2)),
            (r"limit \(None there, 2 now\)", lambda output: run(output=output, limit=2)),
        ):
            before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
            with pytest.raises(ValueError, match=f"{name}.* holds another evaluation, which .*{message}"):
                other(tmp_path / name)
            assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_damaged_files_are_named(dataset: SegmentationDataset, run: Callable[..., Evaluation], tmp_path: Path) -> None:
    (tmp_path / "progress").mkdir()
    (tmp_path / "progress" / "process-0.safetensors").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"process-0.safetensors is damaged: delete .*progress to begin anew"):
        run(output=tmp_path)
    run(output=tmp_path / "finished")
    (tmp_path / "finished" / "counts.npz").unlink()
    with pytest.raises(ValueError, match="finished holds a damaged evaluation: delete that folder"):
        run(output=tmp_path / "finished")


def test_a_finished_evaluation_is_read_and_not_repeated(
    dataset: SegmentationDataset, run: Callable[..., Evaluation], tmp_path: Path
) -> None:
    def stop() -> None:
        raise AssertionError("read again")

    first = run(output=tmp_path)
    again = run(data=Trap(dataset, 0, stop), output=tmp_path, seen=["sky"])
    assert torch.equal(again.matrix.matrix, first.matrix.matrix) and again.image_scores == first.image_scores
    assert {**again.results, "seen_unseen": None} == first.results
    assert again.results["seen_unseen"]["seen_class_ids"] == [1]


# ---- results --------------------------------------------------------------------------------------------------------


def test_batches_workers_and_types(
    folder: Path,
    dataset: SegmentationDataset,
    processor: CatSegProcessor,
    run: Callable[..., Evaluation],
    whole: Evaluation,
) -> None:
    batches = run(batch_size=2, num_workers=1)
    assert torch.equal(batches.matrix.matrix.sum(dim=1), whole.matrix.matrix.sum(dim=1))
    assert (batches.matrix.matrix - whole.matrix.matrix).abs().sum() < 20
    model = CatSegForSemanticSegmentation.from_pretrained(folder / "model", dtype=torch.bfloat16).eval()
    half = evaluate(model, processor, dataset, Protocol("whole"))
    assert half.results["speed"]["dtype"] == "bfloat16"
    assert (half.matrix.matrix - whole.matrix.matrix).abs().sum() < 0.2 * whole.matrix.matrix.sum()


def test_a_trial_says_so(run: Callable[..., Evaluation], whole: Evaluation) -> None:
    trial = run(limit=2)
    assert trial.results["limit"] == trial.results["num_images"] == 2
    assert trial.results["dataset"]["num_images"] == 5
    assert trial.image_scores == {index: whole.image_scores[index] for index in (0, 1)}
    assert run(limit=7).results["limit"] is None
    for name in ("limit", "batch_size"):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1, got 0"):
            run(**{name: 0})


def test_an_unreadable_image_is_named_and_refused_or_left_out(
    folder: Path, run: Callable[..., Evaluation], whole: Evaluation, tmp_path: Path
) -> None:
    save_small_data_set(tmp_path)
    broken = tmp_path / "images" / "2.png"
    broken.write_bytes(broken.read_bytes()[:500])
    data = small_data_set(tmp_path)
    with pytest.raises(ValueError, match=r"Image 2 of images \(all\) cannot be used: .*2\.png"):
        run(data=data)
    evaluation = run(data=data, skip_unreadable=True, output=tmp_path / "out")
    assert list(evaluation.image_scores) == [0, 1, 3, 4] and evaluation.results["num_images"] == 4
    written = json.loads((tmp_path / "out" / "results.json").read_text())["unreadable_images"]
    assert list(written) == ["2"] and "2.png" in written["2"]


def test_seen_and_unseen_classes(dataset: SegmentationDataset) -> None:
    matrix = ConfusionMatrix(5)
    # IoU: wall 1/2, sky 1/4, tree 0 (only predicted), traffic light 2/4, dog nowhere
    matrix.matrix = torch.tensor([[2, 0, 0, 0, 0], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0], [1, 0, 0, 2, 0], [0] * 5])
    report = seen_unseen(matrix, dataset, ["Wall", "traffic  light", "Shrub", "horse"])
    assert report["seen_class_ids"] == [0, 2, 3] and report["unseen_class_ids"] == [1, 4]
    truth, either = report["miou_present_in_ground_truth"], report["miou_present_in_either"]
    assert truth == pytest.approx({"seen": 0.5, "unseen": 0.25, "harmonic_mean": 1 / 3})
    assert either == pytest.approx({"seen": 1 / 3, "unseen": 0.25, "harmonic_mean": 2 / 7})
    nothing = seen_unseen(matrix, dataset, ["horse"])
    assert nothing["miou_present_in_ground_truth"]["seen"] is None
    assert nothing["miou_present_in_ground_truth"]["harmonic_mean"] is None


def test_all_is_in_the_result(run: Callable[..., Evaluation], whole: Evaluation, tmp_path: Path) -> None:
    evaluation = run(output=tmp_path, seen="pascal_voc_20")
    read = load_evaluation(tmp_path)
    assert read.results == evaluation.results and torch.equal(read.matrix.matrix, evaluation.matrix.matrix)
    assert read.image_scores == evaluation.image_scores
    results = json.loads((tmp_path / "results.json").read_text(), parse_constant=pytest.fail)
    assert results["protocol"]["name"] == "whole"
    assert set(results["conventions"]) < set(results["metrics"])
    assert [row["name"] for row in results["per_class"]] == ["wall", "sky", "tree", "traffic light", "dog"]
    assert results["model"]["name"].endswith("model") and results["speed"]["images_per_second"] > 0
    assert results["memory"]["peak_bytes"] > results["memory"]["weights_bytes"] > 1e6
    assert results["versions"]["torch"] == torch.__version__
    assert results["seen_unseen"]["seen_class_ids"] == [4]


@pytest.mark.parametrize("name", BENCHMARKS)
def test_all_benchmarks_run(name: str, run: Callable[..., Evaluation], tmp_path: Path) -> None:
    labels = write_mini_benchmark(name, tmp_path, number=2)
    dataset = load_benchmark(name, tmp_path)
    evaluation = run(data=dataset, output=tmp_path / "out", seen="coco_stuff_171")
    expected = np.zeros(BENCHMARKS[name], dtype=np.int64)
    for ids in labels.values():
        expected += np.bincount(ids[ids < BENCHMARKS[name]], minlength=BENCHMARKS[name])
    assert np.array_equal(evaluation.matrix.matrix.sum(dim=1).numpy(), expected)
    assert evaluation.results["num_images"] == 2
    assert 0 <= evaluation.results["metrics"]["miou_present_in_ground_truth"] <= 1
    seen = evaluation.results["seen_unseen"]
    assert sorted(seen["seen_class_ids"] + seen["unseen_class_ids"]) == list(range(BENCHMARKS[name]))
    if name == "pascal_voc_20b":
        # Most of the 59 names stand for the background.
        assert evaluation.matrix.matrix[:, 20].sum() > 0 and 20 in seen["unseen_class_ids"]


MEMORY_SCRIPT = """
import sys
import torch
from catseg_hf import CatSegConfig, CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.datasets import load_benchmark
from catseg_hf.evaluation import evaluate

torch.set_num_threads(1)
model = CatSegForSemanticSegmentation(CatSegConfig.vit_base()).eval()
evaluation = evaluate(model, CatSegProcessor.from_pretrained(sys.argv[1]), load_benchmark("ade20k_847", sys.argv[2]))
memory = evaluation.results["memory"]
print(memory["peak_bytes"] - memory["weights_bytes"])
"""


@pytest.mark.slow
def test_847_classes_need_less_than_4_gb_beside_the_weights(tiny_model_folder: Path, tmp_path: Path) -> None:
    write_mini_benchmark("ade20k_847", tmp_path, number=1)
    command = [sys.executable, "-c", MEMORY_SCRIPT, str(tiny_model_folder), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 0.3e9 < int(result.stdout) < 4e9


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux")
def test_the_memory_of_the_program_that_started_a_process_is_not_counted() -> None:
    ballast = np.ones(2**27)  # 1 GB
    code = (
        "import torch\nfrom catseg_hf.evaluation.processes import peak_memory\nprint(peak_memory(torch.device('cpu')))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert 1e8 < int(result.stdout) < ballast.nbytes
