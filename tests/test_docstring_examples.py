# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Every `>>>` example in a docstring of the package runs, and prints what it says."""

import ast
import doctest
import importlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from transformers import CLIPModel, TrainingArguments

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.evaluation import Evaluation, Protocol, evaluate
from catseg_hf.training import Collator, Recipe, TrainingSamples
from tests.large_files import write_geotiff
from tests.mini_datasets import write_mini_benchmark
from tests.small_evaluations import NAMES, save_small_data_set, save_small_model, small_data_set
from tests.tiny_models import tiny_config


PACKAGE = Path(__file__).parents[1] / "catseg_hf"
# Public names that have no example in a docstring of their own, and why not.
WITHOUT_EXAMPLE = {
    **dict.fromkeys(("fetch_original", "load_original", "publish_released", "push_folder"), "needs the network"),
    **dict.fromkeys(("find_open_clip", "load_open_clip", "convert_open_clip_state_dict"), "needs a file of OpenCLIP"),
    **dict.fromkeys(("Format", "AnnotationFormat"), "is for those who add a format, as catseg_hf/README.md says"),
    **dict.fromkeys(("Sample", "Scene", "Strip", "Georeference", "ConversionReport"), "is what others return"),
    **dict.fromkeys(("Move", "apply_moves", "invert_moves", "ConversionPlan", "convert_tensors"), "for new variants"),
    **dict.fromkeys(("PreparedImages", "prepare_images", "ImageSource"), "is a part of what others do"),
    **dict.fromkeys(("Checkpoints", "make_shardable", "replaced_whole"), "for training scripts: examples/finetune.py"),
    **dict.fromkeys(("OnnxCatSeg", "load_exported"), "needs an exported folder, which takes a minute to write"),
    "TrainingStream": "is in the example of stream_rows",
    "merged_state_dict": "is in the example of add_lora",
    "write_geojson": "is in the example of LabelMapWriter",
    "settle_pushed_card": "is called by push_to_hub",
    "perceived_colors": "is what colours are chosen by",
}
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
    write_geotiff(folder / "big.tif", height=120, width=160)
    return folder


@pytest.fixture(scope="module")
def evaluation(place: Path) -> Evaluation:
    model = CatSegForSemanticSegmentation.from_pretrained(place / "path" / "to" / "model").eval()
    processor = CatSegProcessor.from_pretrained(place / "path" / "to" / "model")
    return evaluate(model, processor, small_data_set(place), Protocol("whole"))


@pytest.fixture(scope="module")
def read_only(place: Path) -> dict[str, Any]:
    """What examples call by these names and do not change; what a model makes of a photo takes a second."""
    processor = CatSegProcessor.from_pretrained(place / "path" / "to" / "model")
    image, recipe, dataset = Image.open(place / "photo.jpg"), Recipe(crop_size=64), small_data_set(place)
    model = CatSegForSemanticSegmentation.from_pretrained(place / "path" / "to" / "model").eval()
    with torch.inference_mode():
        outputs = model(**processor(images=image, text=["cat", "grass"]))
    return {
        "Collator": Collator,
        "DataLoader": DataLoader,
        "arguments": TrainingArguments(str(place / "trained"), use_cpu=True, report_to="none"),
        "dataset": dataset,
        "image": image,
        "np": np,
        "outputs": outputs,
        "photo": image,
        "processor": processor,
        "recipe": recipe,
        "torch": torch,
        "samples": TrainingSamples(dataset, recipe),
    }


@pytest.fixture
def names(example: str, place: Path, read_only: dict[str, Any], request: pytest.FixtureRequest) -> dict[str, Any]:
    """What an example uses without saying where it comes from; a model is loaded anew, since examples change it."""
    used = set(re.findall(r"\w+", EXAMPLES[example][1]))
    found = dict(read_only)
    if "evaluation" in used:
        found["evaluation"] = request.getfixturevalue("evaluation")
    if "model" in used:
        found["model"] = CatSegForSemanticSegmentation.from_pretrained(place / "path" / "to" / "model").eval()
        found["model"].set_vocabulary(NAMES, found["processor"](text=NAMES)["input_ids"])
    return found


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


def exported_names() -> Iterator[tuple[str, Any]]:
    """What the package and its rooms export, and people call."""
    for path in sorted(PACKAGE.rglob("__init__.py")):
        room = importlib.import_module(".".join(path.parent.relative_to(PACKAGE.parent).parts))
        for name in getattr(room, "__all__", ()):
            if callable(getattr(room, name)):
                yield name, getattr(room, name)


def test_public_names_have_an_example_or_a_reason() -> None:
    exported = dict(exported_names())
    missing = {name for name, value in exported.items() if ">>>" not in (value.__doc__ or "")}
    assert missing == WITHOUT_EXAMPLE.keys()
    for name, reason in WITHOUT_EXAMPLE.items():
        shown = re.match(r"is in the example of (\w+)", reason)
        assert shown is None or name in exported[shown[1]].__doc__, name
