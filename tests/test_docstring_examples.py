# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Every `>>>` example in a docstring of the package runs, and prints what it says."""

import ast
import doctest
import importlib
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import CLIPModel, TrainingArguments

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.training import Collator, Recipe, TrainingSamples
from tests.mini_datasets import write_mini_benchmark
from tests.small_evaluations import NAMES, save_small_data_set, save_small_model, small_data_set
from tests.tiny_models import tiny_config


PACKAGE = Path(__file__).parents[1] / "catseg_hf"
FENCE = re.compile(r"^```python\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)


def docstring_examples() -> dict[str, tuple[str, str]]:
    """Module and code of each example, by file and line of what it is an example of."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
                docstring = ast.get_docstring(node) or ""
                blocks = [block for block in FENCE.findall(docstring) if ">>>" in block]
                # An example outside of a fence would not be found.
                assert sum(block.count(">>>") for block in blocks) == docstring.count(">>>"), f"{path}: {docstring}"
                for block in blocks:
                    found[f"{path.relative_to(PACKAGE)} {getattr(node, 'name', '')}"] = (module, block)
    return found


EXAMPLES = docstring_examples()


@pytest.fixture(scope="module")
def place(tiny_model_folder: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the examples take for granted, all small."""
    folder = tmp_path_factory.mktemp("examples")
    save_small_model(folder / "path" / "to" / "model", tiny_model_folder)
    CLIPModel(tiny_config().clip_config).save_pretrained(folder / "openai" / "clip-vit-base-patch16")
    shutil.copy(tiny_checkpoint, folder / "model_base.pth")
    Image.effect_noise((640, 480), 80).convert("RGB").save(folder / "photo.jpg")
    write_mini_benchmark("pascal_voc_20", folder / "data", number=2)
    save_small_data_set(folder)
    return folder


@pytest.fixture
def names(place: Path) -> dict[str, Any]:
    """What examples call `model`, `image` and so on without saying where it comes from."""
    model = CatSegForSemanticSegmentation.from_pretrained(place / "path" / "to" / "model").eval()
    processor = CatSegProcessor.from_pretrained(place / "path" / "to" / "model")
    image, recipe = Image.open(place / "photo.jpg"), Recipe(crop_size=64)
    with torch.inference_mode():
        outputs = model(**processor(images=image, text=["cat", "grass"]))
    dataset = small_data_set(place)
    model.set_vocabulary(NAMES, processor(text=NAMES)["input_ids"])
    return {
        "Collator": Collator,
        "DataLoader": DataLoader,
        "arguments": TrainingArguments(str(place / "trained"), use_cpu=True, report_to="none"),
        "dataset": dataset,
        "image": image,
        "model": model,
        "np": np,
        "outputs": outputs,
        "photo": image,
        "processor": processor,
        "recipe": recipe,
        "samples": TrainingSamples(dataset, recipe),
    }


def run_example(module: str, code: str, names: dict[str, Any]) -> str:
    """What `doctest` complains of."""
    known = {**vars(importlib.import_module(module)), **names}
    test = doctest.DocTestParser().get_doctest(code, known, module, None, 0)
    complaints: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.FAIL_FAST).run(test, out=complaints.append)
    return "".join(complaints)


def test_examples_are_found_and_wrong_ones_fail() -> None:
    assert {"prompts_catseg.py parse_labels", "vocabularies/__init__.py load_vocabulary"} <= EXAMPLES.keys()
    assert "Expected:\n    3" in run_example("catseg_hf", ">>> 1 + 1\n3\n", {})
    assert "NameError" in run_example("catseg_hf", ">>> no_such_name\n", {})


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_example_runs(example: str, names: dict[str, Any], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    module, code = EXAMPLES[example]
    assert "+SKIP" not in code
    if module == "catseg_hf.evaluation.mean_iou":
        pytest.importorskip("evaluate")
    assert run_example(module, code, names) == ""
