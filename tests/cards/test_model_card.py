# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Model cards: made from the model, accepted by the Hub's rules, and their examples run as they stand."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import EvalResult, ModelCard, metadata_load
from PIL import Image

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor, load_vocabulary
from catseg_hf.cards import (
    create_model_card,
    evaluation_result,
    settle_pushed_card,
    update_model_card,
    write_model_card,
)
from catseg_hf.cards.model_card import METRICS
from catseg_hf.configuration_catseg import vocabulary_digest
from catseg_hf.evaluation import ConfusionMatrix
from tests.loopback_hub import metadata_errors
from tests.tiny_models import tiny_model


ROOT = Path(__file__).parents[2]
HAND_WRITTEN = """---
license: cc-by-nc-4.0
my_key: {a: 1}
tags: [plants]
metrics: accuracy
---

# Mine

---
| a | b |
"""


def model_of(*names: str) -> CatSegForSemanticSegmentation:
    """A model that has these classes as its own vocabulary, as far as a card asks."""
    model = tiny_model()
    model.config.id2label = dict(enumerate(names))
    model.config.vocabulary_digest = vocabulary_digest(names, model.config.prompt_templates)
    return model


def ade(value: float, **kwargs: Any) -> EvalResult:
    facts = {"dataset_name": "ADE20K-150", "dataset_type": "ade20k_150", "dataset_split": "validation"}
    return evaluation_result(value, **{**facts, **kwargs})


def test_metadata_is_valid_and_survives_saving(tmp_path: Path) -> None:
    card = create_model_card(
        tiny_model(),
        name="me/plants",
        license="mit",
        base_model="openai/clip-vit-base-patch16",
        datasets=["me/photos", "me/more"],
        results=[ade(0.31849, dataset_revision="2017"), ade(0.30001, metric="miou_present_in_either")],
    )
    assert metadata_errors(str(card)) == []
    card.save(tmp_path / "README.md")
    data = metadata_load(tmp_path / "README.md")
    assert data == card.data.to_dict() == ModelCard.load(tmp_path / "README.md").data.to_dict()
    task = {"name": "Open-vocabulary semantic segmentation", "type": "image-segmentation"}
    dataset = {"name": "ADE20K-150", "type": "ade20k_150", "split": "validation"}
    assert data == {
        "library_name": "transformers",
        "pipeline_tag": "image-segmentation",
        "license": "mit",
        "base_model": "openai/clip-vit-base-patch16",
        "datasets": ["me/photos", "me/more"],
        "metrics": ["mean_iou"],
        "tags": ["catseg", "catseg_hf", "open-vocabulary-segmentation"],
        "model-index": [
            {
                "name": "plants",
                "results": [
                    {
                        "task": task,
                        "dataset": {**dataset, "revision": "2017"},
                        "metrics": [
                            {
                                "type": "mean_iou",
                                "value": 31.85,
                                "name": "mIoU in percent, over the classes present in the ground truth",
                            }
                        ],
                    },
                    {
                        "task": task,
                        "dataset": dataset,
                        "metrics": [
                            {
                                "type": "mean_iou",
                                "value": 30.0,
                                "name": METRICS["miou_present_in_either"][1],
                            }
                        ],
                    },
                ],
            }
        ],
    }


def test_what_is_not_known_is_left_out() -> None:
    card = create_model_card(tiny_model())
    assert set(card.data.to_dict()) == {"library_name", "pipeline_tag", "metrics", "tags"}
    assert (
        "None" not in str(card) and "## Training" not in card.text and "{{" not in card.text and "{%" not in card.text
    )
    for part in ("no classes of its own", "mean over the classes that occur in the ground truth", "## Limits", "@misc"):
        assert part in card.text


def test_training_and_source_are_told() -> None:
    facts = {"source": "From *here*.", "training": "On two images.", "published_results": "They say 12.0."}
    text = create_model_card(tiny_model(), **facts).text
    assert "\n\nFrom *here*.\n" in text and "\n## Training\n\nOn two images.\n" in text
    assert "\n\nThey say 12.0.\n\n## Limits" in text


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "grass | <b>lawn</b>"], ["2 classes", "\n```text\ncat, grass | <b>lawn</b>\n```\n"]),
        (load_vocabulary("pascal_voc_20"), ["`pascal_voc_20`, 20 classes", "tvmonitor\n```"]),
        (["bag"] * 100, ["100 classes", "bag\n```\n\nand 60 more: `id2label` in `config.json` has them all."]),
    ],
)
def test_vocabulary(names: list, expected: list[str]) -> None:
    text = create_model_card(model_of(*names)).text
    assert all(part in text for part in expected)


def test_synonyms_of_a_known_vocabulary_are_recognised() -> None:
    names = [entry if isinstance(entry, str) else ", ".join(entry) for entry in load_vocabulary("ade20k_847")]
    assert "`ade20k_847`, 847 classes" in create_model_card(model_of(*names)).text


def test_an_existing_card_is_only_replaced_on_request(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("By hand")
    assert not write_model_card(tmp_path, tiny_model(), license="mit")
    assert (tmp_path / "README.md").read_text() == "By hand"
    assert write_model_card(tmp_path, tiny_model(), license="mit", overwrite=True)
    assert metadata_load(tmp_path / "README.md")["license"] == "mit"


def test_a_folder_with_code_says_so(tmp_path: Path) -> None:
    assert write_model_card(tmp_path, tiny_model())
    assert "trust_remote_code" not in (tmp_path / "README.md").read_text()
    (tmp_path / "modeling_catseg.py").touch()
    assert write_model_card(tmp_path, tiny_model(), overwrite=True)
    assert "trust_remote_code=True" in (tmp_path / "README.md").read_text()


def test_a_conversion_claims_no_results_of_its_own(tiny_model_folder: Path) -> None:
    data = metadata_load(tiny_model_folder / "README.md")
    assert metadata_errors((tiny_model_folder / "README.md").read_text()) == []
    assert "model-index" not in data and data["license"] == "other" and data["license_link"].startswith("https://")
    model = CatSegForSemanticSegmentation.from_pretrained(tiny_model_folder)
    processor = CatSegProcessor.from_pretrained(tiny_model_folder)
    text = create_model_card(model, processor).text
    assert "9 vision layers of width 64, patches of 16 pixels, views of 384 pixels" in text
    assert "sliding windows of 384 pixels, 256 apart, and the whole image" in text
    processor.image_processor.do_sliding_window = False
    assert "| Views of an image | the whole image, squashed |" in create_model_card(model, processor).text


# ---- results --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_break", ["\n", "\r\n"])
def test_update_adds_results_and_leaves_the_rest(line_break: str, tmp_path: Path) -> None:
    readme = tmp_path / "catseg-plants" / "README.md"
    readme.parent.mkdir()
    readme.write_text(HAND_WRITTEN, newline=line_break)
    body = readme.read_bytes().partition(b"accuracy" + line_break.encode() + b"---")[2]
    assert update_model_card(readme.parent, ade(0.3)) == readme
    update_model_card(readme, [ade(0.4), ade(0.5, dataset_split="test"), ade(0.6, metric="pixel_accuracy")])
    assert readme.read_bytes().endswith(body)
    data = metadata_load(readme)
    [index] = data.pop("model-index")
    assert data == {
        "license": "cc-by-nc-4.0",
        "my_key": {"a": 1},
        "tags": ["plants"],
        "metrics": ["accuracy", "mean_iou"],
    }
    assert list(data)[:3] == ["license", "my_key", "tags"]
    assert index["name"] == "catseg-plants"
    values = {
        (result["dataset"]["split"], metric["type"]): metric["value"]
        for result in index["results"]
        for metric in result["metrics"]
    }
    assert values == {("validation", "mean_iou"): 40.0, ("test", "mean_iou"): 50.0, ("validation", "accuracy"): 60.0}
    assert metadata_errors(readme.read_text()) == []


def test_update_of_what_is_no_card(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="write_model_card"):
        update_model_card(tmp_path, ade(0.3))
    readme = tmp_path / "README.md"
    for header in ("- a list", "model-index: [{name: a}]", "a: [", "model-index: text"):
        readme.write_text(f"---\n{header}\n---\nText")
        with pytest.raises(ValueError, match="no valid metadata, so nothing was written"):
            update_model_card(readme, ade(0.3))
        assert readme.read_text() == f"---\n{header}\n---\nText"
    with pytest.raises(TypeError, match="evaluation_result"):
        update_model_card(readme, [{"mean_iou": 0.3}])


def test_results_have_a_known_metric_and_a_fraction() -> None:
    assert set(METRICS) == set(ConfusionMatrix(1).compute()) - {"per_class"}
    with pytest.raises(ValueError, match="miou_present_in_either"):
        ade(0.3, metric="mIoU")
    for value in (31.8, -0.1, float("nan")):
        with pytest.raises(ValueError, match="fraction from 0 to 1"):
            ade(value)


def test_a_card_that_says_anything_is_no_empty_form(tmp_path: Path) -> None:
    """What Transformers puts into a folder to push gives way only while nobody has written anything in it."""
    sentence = "This model card has been automatically generated."
    for description, replaced in ((sentence, True), ("A model of plants.", False)):
        form = ModelCard.from_template(ModelCard("---\ntags: [a]\n---\n").data, model_description=description)
        form.save(tmp_path / "README.md")
        settle_pushed_card(tmp_path, "me/plants", tiny_model())
        card = ModelCard.load(tmp_path / "README.md")
        assert ("me/plants" in card.text) is replaced and "a" in card.data.tags
    form.text = form.text.replace("A model of plants.", sentence).replace("[More Information Needed]", "Me", 1)
    form.save(tmp_path / "README.md")
    settle_pushed_card(tmp_path, "me/plants", tiny_model())
    assert ModelCard.load(tmp_path / "README.md").text == form.text


# ---- examples -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_examples_run_as_they_stand(tiny_model_folder: Path, tmp_path: Path) -> None:
    for path in tiny_model_folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    Image.effect_noise((64, 48), 80).convert("RGB").save(tmp_path / "photo.jpg")
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    blocks = {
        language: re.findall(rf"^```{language}\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)
        for language in ("python", "bash")
    }
    assert [len(found) for found in blocks.values()] == [2, 1]
    command = tmp_path / "catseg"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m catseg_hf.cli "$@"\n')
    command.chmod(0o755)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for program in ([sys.executable, "-c", "\n".join(blocks["python"])], ["sh", "-c", *blocks["bash"]]):
        result = subprocess.run(program, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
    assert Image.open(tmp_path / "overlay.png").size[0] > 0
