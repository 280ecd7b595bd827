# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A checkpoint becomes a folder that works alone, or an error and nothing at all; and it comes back bit by bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from catseg_hf.configuration_catseg import CVPR_PROMPT_TEMPLATE
from catseg_hf.conversion import (
    ConversionError,
    ConversionOptions,
    convert_checkpoint,
    original_state_dict,
    write_original,
)
from catseg_hf.conversion.card import card_facts
from catseg_hf.conversion.command import main
from catseg_hf.conversion.plan import plan_conversion
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.vocabularies import load_vocabulary


ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "fixtures" / "golden"
CVPR_WEIGHTS = GOLDEN / "cvpr" / "weights_b.safetensors"
CVPR_OPTIONS = ConversionOptions(vision_heads=1, text_heads=1, num_attention_heads=3, guidance_layers=(1, 3))
CVPR_ARGUMENTS = ["--vision-heads=1", "--text-heads=1", "--num-attention-heads=3", "--guidance-layers", "1", "3"]


@pytest.fixture(scope="module")
def cvpr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("converted") / "cvpr"
    convert_checkpoint(CVPR_WEIGHTS, folder, options=CVPR_OPTIONS, tokenizer=False)
    return folder


def test_the_folder_works_alone(tiny_model_folder: Path) -> None:
    processor = CatSegProcessor.from_pretrained(tiny_model_folder)
    model = CatSegForSemanticSegmentation.from_pretrained(tiny_model_folder).eval()
    image = Image.effect_noise((64, 48), 80).convert("RGB")
    inputs = processor(images=image, text=["cat", "grass", "sky"], return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    assert outputs.logits.shape == (1, 5, 3, 96, 96)
    assert processor.post_process_semantic_segmentation(outputs, target_sizes=[(48, 64)])[0].shape == (48, 64)


def test_the_default_vocabulary_is_that_of_training(tiny_model_folder: Path) -> None:
    processor = CatSegProcessor.from_pretrained(tiny_model_folder)
    model = CatSegForSemanticSegmentation.from_pretrained(tiny_model_folder).eval()
    names = load_vocabulary("coco_stuff_171")
    assert list(model.config.id2label.values()) == names
    pixel_values = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        alone = model(pixel_values=pixel_values).logits
        named = model(pixel_values=pixel_values, input_ids=processor(text=names)["input_ids"]).logits
    torch.testing.assert_close(alone, named)


def test_the_tokenizer_is_the_real_one(tiny_model_folder: Path) -> None:
    processor = CatSegProcessor.from_pretrained(tiny_model_folder)
    input_ids = processor(text=["cat"])["input_ids"]
    prompt = CVPR_PROMPT_TEMPLATE.format("cat")
    assert prompt == "A photo of a cat in the scene"
    assert input_ids[0, 0, :10].tolist() == [49406, 320, 1125, 539, 320, 2368, 530, 518, 3562, 49407]


def test_the_folder_has_a_card_that_says_where_it_comes_from(tiny_model_folder: Path) -> None:
    card = (tiny_model_folder / "README.md").read_text(encoding="utf-8")
    assert "from `model_base.pth`, a CAT-Seg checkpoint of CVPR 2024" in card
    assert "trained on COCO-Stuff 164k" in card


def test_the_card_of_a_released_model_has_the_published_figures_as_text() -> None:
    shapes = json.loads((ROOT / "tests" / "fixtures" / "keys" / "cvpr_vitb16.json").read_text())
    plan = plan_conversion({key: tuple(shape) for key, shape in shapes.items()}, ConversionOptions())
    facts = card_facts(plan, "model_base.pth")
    assert "| 12.0 | 19.0 | 31.8 | 57.5 | 94.6 | 77.3 |" in facts["published_results"]
    assert "results" not in facts  # they were not measured here
    assert facts["base_model"] == "openai/clip-vit-base-patch16"


@pytest.mark.parametrize(
    ("vocabulary", "names"),
    [(["cat", ["tv", "television"]], {0: "cat", 1: "tv, television"}), ("pascal_voc_20", None), (False, None)],
)
def test_vocabularies(vocabulary: list | str | bool, names: dict | None, tiny_checkpoint: Path, tmp_path: Path) -> None:
    report = convert_checkpoint(tiny_checkpoint, tmp_path / "model", vocabulary=vocabulary)
    config = CatSegForSemanticSegmentation.from_pretrained(tmp_path / "model").config
    if names is not None:
        assert config.id2label == names
    elif vocabulary:
        assert list(config.id2label.values()) == load_vocabulary(vocabulary)
    else:
        assert report.vocabulary is None
        assert config.vocabulary_digest is None


def test_names_of_the_training_data_in_the_checkpoint_are_used(tiny_checkpoint: Path, tmp_path: Path) -> None:
    tensors = torch.load(tiny_checkpoint, weights_only=True)["model"]
    torch.save({"state_dict": tensors, "meta": {"dataset_meta": {"classes": ("a", "b")}}}, tmp_path / "model.pth")
    convert_checkpoint(tmp_path / "model.pth", tmp_path / "model")
    assert CatSegForSemanticSegmentation.from_pretrained(tmp_path / "model").config.id2label == {0: "a", 1: "b"}


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtype(dtype: str, tmp_path: Path) -> None:
    convert_checkpoint(CVPR_WEIGHTS, tmp_path / "model", options=CVPR_OPTIONS, tokenizer=False, dtype=dtype)
    tensors = load_file(tmp_path / "model" / "model.safetensors")
    assert {tensor.dtype for tensor in tensors.values() if tensor.is_floating_point()} == {getattr(torch, dtype)}


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="float32, float16, bfloat16"):
        convert_checkpoint(CVPR_WEIGHTS, tmp_path / "model", dtype="int8")
    with pytest.raises(ConversionError, match="49408 tokens, but the checkpoint 300"):
        convert_checkpoint(CVPR_WEIGHTS, tmp_path / "model", options=CVPR_OPTIONS)
    with pytest.raises(ConversionError, match="no vocabulary 'coco'"):
        convert_checkpoint(CVPR_WEIGHTS, tmp_path / "model", options=CVPR_OPTIONS, vocabulary="coco")
    with pytest.raises(ConversionError, match="cannot be loaded"):
        convert_checkpoint(CVPR_WEIGHTS, tmp_path / "model", options=CVPR_OPTIONS, tokenizer=tmp_path / "none")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_content_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "precious.txt").write_text("mine")
    with pytest.raises(ConversionError, match="exists already"):
        convert_checkpoint(CVPR_WEIGHTS, tmp_path / "model", options=CVPR_OPTIONS, tokenizer=False)
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "precious.txt"]


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    tensors = load_file(CVPR_WEIGHTS)
    tensors["sem_seg_head.predictor.transformer.head.weight"][0, 0, 0, 0] = torch.nan
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConversionError, match="not finite"):
        convert_checkpoint(tmp_path / "model.safetensors", tmp_path / "out", options=CVPR_OPTIONS, tokenizer=False)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(("value", "dtype"), [(-torch.inf, "float32"), (1e5, "float16")])
def test_an_infinite_bias_that_leaves_the_logits_finite_is_refused(value: float, dtype: str, tmp_path: Path) -> None:
    tensors = load_file(CVPR_WEIGHTS)
    name = "sem_seg_head.predictor.transformer.layers.0.attention.attention.k.bias"
    tensors[name][0] = value  # ELU makes 0 of minus infinity
    save_file(tensors, tmp_path / "model.safetensors")
    with pytest.raises(ConversionError, match=f"{name}' holds numbers that are not finite in {dtype}"):
        convert_checkpoint(
            tmp_path / "model.safetensors", tmp_path / "out", options=CVPR_OPTIONS, tokenizer=False, dtype=dtype
        )


# ---- back to the original -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [("b", CVPR_OPTIONS), ("a", ConversionOptions(vision_heads=2, text_heads=2, guidance_layers=(0, 1)))],
)
def test_round_trip_is_bit_exact(name: str, options: ConversionOptions, tmp_path: Path) -> None:
    original = {
        key: tensor.float() if tensor.is_floating_point() else tensor
        for key, tensor in load_file(GOLDEN / "cvpr" / f"weights_{name}.safetensors").items()
    }
    torch.save({"model": original}, tmp_path / "model.pth")
    convert_checkpoint(tmp_path / "model.pth", tmp_path / "model", options=options, tokenizer=False)
    write_original(tmp_path / "model", tmp_path / "back.pth")
    assert (tmp_path / "back.pth").stat().st_size <= 1.01 * (tmp_path / "model.pth").stat().st_size
    back = torch.load(tmp_path / "back.pth", weights_only=True)["model"]
    assert back.keys() == original.keys()
    for key, tensor in original.items():
        assert back[key].dtype == tensor.dtype, key
        assert torch.equal(back[key], tensor), key


def test_a_trained_model_comes_back_changed(cvpr_folder: Path) -> None:
    model = CatSegForSemanticSegmentation.from_pretrained(cvpr_folder)
    with torch.no_grad():
        model.decoder.head.bias.fill_(3.0)
    assert original_state_dict(model)["sem_seg_head.predictor.transformer.head.bias"].item() == 3.0


def test_models_that_the_official_code_cannot_run_are_refused(tmp_path: Path) -> None:
    options = ConversionOptions(vision_heads=3, text_heads=4, hidden_act="gelu")
    convert_checkpoint(GOLDEN / "v1" / "weights_o.safetensors", tmp_path / "v1", options=options, tokenizer=False)
    with pytest.raises(ConversionError, match="no appearance backbone"):
        write_original(tmp_path / "v1", tmp_path / "back.pth")
    with pytest.raises(ConversionError, match=r"no config\.json"):
        write_original(tmp_path / "none", tmp_path / "back.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["v1"]


# ---- the command ----------------------------------------------------------------------------------------------------


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [CVPR_WEIGHTS, tmp_path / "model", *CVPR_ARGUMENTS, "--tokenizer", "none"]
    assert main([str(argument) for argument in arguments]) == 0
    printed = capsys.readouterr().out
    assert "Found: CVPR 2024" in printed
    assert "Dropped: 1 (the mask of shifted windows" in printed
    assert "Reloaded: logits differ by at most 0.0e+00" in printed
    assert (tmp_path / "model" / "config.json").is_file()


class Payload:
    """Runs a command when it is unpickled without care."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.trace}",)


@pytest.mark.slow
def test_command_on_a_payload(tmp_path: Path) -> None:
    torch.save({"model": load_file(CVPR_WEIGHTS), "extra": Payload(tmp_path / "trace")}, tmp_path / "model.pth")
    arguments = [tmp_path / "model.pth", tmp_path / "out", *CVPR_ARGUMENTS, "--tokenizer", "none"]
    command = [sys.executable, "-m", "convert", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def html(path: Path) -> None:
    path.write_text("<!DOCTYPE html>\n<html>404</html>")


def truncated(path: Path) -> None:
    torch.save({"model": load_file(CVPR_WEIGHTS)}, path)
    path.write_bytes(path.read_bytes()[:-2000])


def missing_key(path: Path) -> None:
    tensors = load_file(CVPR_WEIGHTS)
    del tensors["sem_seg_head.predictor.transformer.conv1.bias"]
    torch.save({"model": tensors}, path)


def wrong_shape(path: Path) -> None:
    tensors = load_file(CVPR_WEIGHTS)
    tensors["sem_seg_head.predictor.transformer.conv1.bias"] = torch.zeros(5)
    torch.save({"model": tensors}, path)


def another_model(path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 3)}, path)


@pytest.mark.parametrize("make", [html, truncated, missing_key, wrong_shape, another_model])
def test_command_on_wrong_files(make: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "model.pth")
    arguments = [tmp_path / "model.pth", tmp_path / "out", *CVPR_ARGUMENTS, "--tokenizer", "none"]
    assert main([str(argument) for argument in arguments]) == 1
    output = capsys.readouterr()
    assert output.err.startswith("error: ")
    assert len(output.err.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["model.pth"]


def test_command_checks_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys = ROOT / "tests" / "fixtures" / "keys"
    inventories = sorted(str(path) for path in keys.glob("*.json"))
    assert main(["--check-keys", *inventories]) == 0
    assert capsys.readouterr().out.count("nothing missing, all shapes equal") == len(inventories)
    shapes = json.loads((keys / "v1_swinb_vith.json").read_text())
    del shapes["backbone.norm1.bias"]
    for content in (json.dumps(shapes), "[]", "not json", '{"a": "b"}'):
        (tmp_path / "keys.json").write_text(content)
        assert main(["--check-keys", str(tmp_path / "keys.json")]) == 1
        assert capsys.readouterr().err.startswith("error: ")


def test_command_writes_the_original(cvpr_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--to-original", str(cvpr_folder), str(tmp_path / "model.pth")]) == 0
    assert "model" in torch.load(tmp_path / "model.pth", weights_only=True)
    assert main(["--to-original", str(cvpr_folder), str(tmp_path / "model.pth")]) == 1
    assert "exists already" in capsys.readouterr().err


def test_command_reads_classes_and_templates_from_files(tiny_checkpoint: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("cat\r\ntv | television\r\n\r\n", encoding="utf-16")
    (tmp_path / "templates.txt").write_text("a drawing of a {}\n")
    arguments = ["--vocabulary", tmp_path / "classes.txt", "--prompt-templates", tmp_path / "templates.txt"]
    assert main([str(argument) for argument in [tiny_checkpoint, tmp_path / "model", *arguments]]) == 0
    config = CatSegForSemanticSegmentation.from_pretrained(tmp_path / "model").config
    assert config.id2label == {0: "cat", 1: "tv, television"}
    assert list(config.prompt_templates) == ["a drawing of a {}"]


def test_command_without_arguments_says_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "CHECKPOINT OUTPUT" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", [torch.complex64, torch.int64, torch.bool])
def test_weights_that_are_not_of_floating_point_are_refused(
    dtype: torch.dtype, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    content = torch.load(tiny_checkpoint, weights_only=True)
    key = next(key for key in content["model"] if key.endswith("decoder_guidance_projection.0.0.weight"))
    content["model"][key] = content["model"][key].to(dtype)
    torch.save(content, tmp_path / "model.pth")
    with pytest.raises(ConversionError, match=f"{key}.* where weights of floating point belong"):
        convert_checkpoint(tmp_path / "model.pth", tmp_path / "model")
    assert not (tmp_path / "model").exists()
