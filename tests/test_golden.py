# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The golden cases of all three code bases, from a trimmed copy, and that the comparison can fail."""

import json
import shutil
from pathlib import Path

import pytest
from golden import code_base_of, find_cases, main, run_case
from safetensors.torch import load_file, save_file


ROOT = Path(__file__).parent / "fixtures" / "golden"
CASES = find_cases(ROOT)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.name}-{case.name}" for case in CASES])
def test_case(case: Path) -> None:
    result = run_case(case, ROOT)
    assert result.passed, str(result)


def test_every_code_base_has_cases() -> None:
    assert {code_base_of(case) for case in CASES} == {"cvpr", "v1", "mmseg"}


def copy_of(case: str, root: Path) -> Path:
    folder = root / case
    shutil.copytree(ROOT / case, folder)
    for weights in (ROOT / case).parent.glob("weights_*"):
        (folder.parent / weights.name).symlink_to(weights)
    index = [entry for entry in json.loads((ROOT / "index.json").read_text()) if entry["path"] == case]
    (root / "index.json").write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize("name", ["logits", "final", "layer0_out"])
def test_a_wrong_tensor_fails(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy_of("cvpr/c03_eval_pool2", tmp_path)
    tensors = load_file(folder / "outputs.safetensors")
    tensors[name].view(-1)[-1] += 0.01
    save_file(tensors, folder / "outputs.safetensors")
    assert main([str(tmp_path)]) == 1
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("FAIL cvpr/c03_eval_pool2")
    assert f"{name} 1.0e-02 ABOVE" in line


@pytest.mark.parametrize("change", ["loss", "gradient", "trainable"])
def test_a_wrong_training_step_fails(change: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy_of("v1/o02_train_openclip", tmp_path)
    case = json.loads((folder / "case.json").read_text())
    if change == "loss":
        case["loss"] += 1e-4
    elif change == "gradient":
        case["grad_l2_norms"]["sem_seg_head.predictor.transformer.head.weight"] *= 1.01
    else:
        case["trainable"].remove("sem_seg_head.predictor.transformer.head.weight")
    (folder / "case.json").write_text(json.dumps(case))
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().out.startswith("FAIL v1/o02_train_openclip")


def test_a_case_that_cannot_be_run_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy_of("cvpr/c03_eval_pool2", tmp_path)
    (folder / "inputs.safetensors").unlink()
    assert main([str(tmp_path)]) == 1
    assert "cannot be run" in capsys.readouterr().out


def test_a_root_without_cases_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert "No cases" in capsys.readouterr().err
    (tmp_path / "index.json").write_text("[]")
    assert main([str(tmp_path)]) == 1


def test_a_code_base_without_cases_fails(tmp_path: Path) -> None:
    copy_of("cvpr/c03_eval_pool2", tmp_path)
    assert main([str(tmp_path), "--codebase", "mmseg"]) == 1
    assert main([str(tmp_path), "--codebase", "cvpr"]) == 0
