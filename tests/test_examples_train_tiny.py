# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from catseg_hf import CatSegForSemanticSegmentation, CatSegImageProcessorPil, CatSegProcessor
from catseg_hf.scenes import HELD_OUT_THINGS, SEEN_THINGS, Phrases, scene_tokenizer
from examples import train_tiny


ROOT = Path(__file__).parents[1]
SCRIPT = str(ROOT / "examples" / "train_tiny.py")


def run(*arguments: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
@pytest.mark.timeout(900)  # trains three times
def test_a_seed_gives_one_model_and_json_is_the_last_line(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run("--output", str(tmp_path / name), "--seed", "3", "--steps", "2")
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    assert one.keys() == two.keys() and all(torch.equal(tensor, two[name]) for name, tensor in one.items())

    run("--output", str(tmp_path / "control"), "--seed", "3", "--steps", "2", "--shuffled-texts")
    control = load_file(tmp_path / "control" / "model.safetensors")
    assert any(not torch.equal(tensor, one[name]) for name, tensor in control.items())

    output = run("--evaluate", "--model", str(tmp_path / "one"), "--seed", "5", "--num-scenes", "1", "--json")
    results = json.loads(output.splitlines()[-1])
    assert (results["seed"], results["num_scenes"]) == (5, 1)
    assert 0 <= results["miou_seen"] < 30 and 0 <= results["miou_unseen"] < 30  # it has learned nothing yet


def test_training_scenes_hold_seen_things_only_and_labels_fit_the_pictures() -> None:
    processor = train_tiny.tiny_processor(scene_tokenizer())
    scenes = train_tiny.TrainingScenes(processor, seed=1, view=128)
    pixel_values, labels = scenes[0]
    assert pixel_values.shape == (3, 128, 128) and labels.shape == (128, 128)
    assert train_tiny.GROUND_ID == len(SEEN_THINGS) == labels.max()
    assert len(labels.unique()) >= 4
    # White things are where the picture is bright, black ones where it is dark.
    bright = {"white": [], "black": []}
    for index in range(30):
        pixel_values, labels = scenes[index]
        for thing in labels.unique()[:-1]:
            color = SEEN_THINGS[thing].color
            if color in bright:
                bright[color].append(float(pixel_values[:, labels == thing].mean()))
    assert min(bright["white"]) > 0.3 > -0.8 > max(bright["black"])


def test_candidates_are_what_the_scene_shows_near_misses_and_the_ground() -> None:
    rng = np.random.default_rng(0)
    phrases = Phrases(rng)
    labels = torch.full((8, 8), train_tiny.GROUND_ID)
    labels[0], labels[1] = 3, 77
    numbers, left_out, without_ground = set(), 0, 0
    for _ in range(100):
        prompts, targets = train_tiny.choose_candidates(labels, train_tiny.SECOND_STAGE.candidates, rng, phrases)
        numbers.add(len(prompts))
        of_ground = [index for index, prompt in enumerate(prompts) if {*prompt.split()} & {"ground", "background"}]
        if targets[5, 5] == train_tiny.NO_CLASS:
            without_ground += 1
            assert not of_ground
        else:
            assert of_ground == [int(targets[5, 5])]
        for row, thing in ((0, SEEN_THINGS[3]), (1, SEEN_THINGS[77])):
            target = int(targets[row, 0])
            if target == train_tiny.NO_CLASS:
                left_out += 1
            else:
                said = {*prompts[target].split()}
                assert (
                    said & {thing.color, "violet"}
                    or said & {thing.shape, "disc", "box", "donut", "plus", "crescent"}
                    or (said & {"plain", "solid", "striped", "stripy", "stripes", "dotted", "spotted", "dots"})
                )
    assert {2, 4, 8, 12, 16, 24, 40} <= numbers
    assert 20 < left_out < 70
    assert 10 < without_ground < 40


def test_losses_are_least_where_all_is_right() -> None:
    torch.manual_seed(0)
    labels = torch.full((1, 16, 16), train_tiny.GROUND_ID)
    labels[0, :8] = 5
    texts = torch.nn.functional.normalize(torch.randn(len(train_tiny.GROUP_WORDS), 64), dim=-1)
    wrong = torch.randn(1, 2, 2, 64)
    right = wrong.clone()
    # The patch's direction is the mean of all texts that fit it.
    starts = np.cumsum([0, *(len(group) for group in train_tiny.GROUP_TEXTS)])[:-1]
    fitting = [start + int(target[5]) for start, target in zip(starts, train_tiny.GROUP_TARGETS, strict=True)]
    right[0, 0], right[0, 1] = texts[fitting].sum(dim=0), texts[-1]
    losses = [train_tiny.contrastive_loss(embeds, labels, texts) for embeds in (right, wrong)]
    assert len(losses[0]) == len(train_tiny.GROUPS)
    assert all(better < worse for better, worse in zip(*losses, strict=True))

    targets = torch.zeros(8, 8, dtype=torch.long)
    targets[4:] = 1
    targets[7] = train_tiny.NO_CLASS
    logits = torch.full((1, 3, 8, 8), -9.0)
    logits[0, 0, :4] = logits[0, 1, 4:7] = 9.0
    assert float(train_tiny.segmentation_loss(logits, targets)) < 0.01
    logits[0, 2, 7] = 9.0  # a candidate where none is right
    assert float(train_tiny.segmentation_loss(logits, targets)) > 0.5


def test_nothing_held_out_is_ever_named() -> None:
    said = {tuple(words.get(name) for name in ("pattern", "color", "shape")) for words in train_tiny.GROUP_WORDS}
    assert not said & {tuple(thing) for thing in HELD_OUT_THINGS}
    pairs = {(thing.color, thing.shape) for thing in SEEN_THINGS}
    assert {(color, shape) for pattern, color, shape in said if pattern is None and color and shape} == pairs


def test_units_that_add_nothing_are_what_is_left_out() -> None:
    model = CatSegForSemanticSegmentation(train_tiny.tiny_config(scene_tokenizer())).eval()
    train_tiny.begin_well(model)
    views = torch.randn(2, 3, 192, 192)
    with torch.no_grad():
        for index, layer in enumerate(model.model.clip.vision_model.encoder.layers):
            layer.mlp.fc2.weight[:, index : index + 768 - train_tiny.KEPT_UNITS] = 0.0
    smaller = train_tiny.narrowed(model, views)
    assert smaller.config.clip_config.vision_config.intermediate_size == train_tiny.KEPT_UNITS
    text_embeds = torch.nn.functional.normalize(torch.randn(3, 1, 128), dim=-1)
    with torch.no_grad():
        expected, logits = (each(views, text_embeds=text_embeds).logits for each in (model, smaller))
    assert torch.allclose(logits, expected, atol=1e-4)


def test_it_is_a_model_like_any_other(tmp_path: Path) -> None:
    tokenizer = scene_tokenizer()
    model = CatSegForSemanticSegmentation(train_tiny.tiny_config(tokenizer)).eval()
    train_tiny.begin_well(model)
    processor = train_tiny.tiny_processor(tokenizer)
    train_tiny.save(model, processor, tmp_path)
    loaded = CatSegForSemanticSegmentation.from_pretrained(tmp_path).eval()
    again = CatSegProcessor.from_pretrained(tmp_path)
    assert isinstance(again.image_processor, CatSegImageProcessorPil)
    pixel_values = torch.randn(1, 3, 192, 192)
    with torch.inference_mode():
        logits = [each(pixel_values, **again(text=["red", "ground"])).logits for each in (model, loaded)]
    assert torch.allclose(*logits, atol=0.05)  # the weights are stored in half precision
