# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The balanced hard protocol, on scenes small enough to count by hand."""

import numpy as np
import pytest

from catseg_hf.evaluation import ConfusionMatrix
from catseg_hf.scenes import HELD_OUT_THINGS, SEEN_THINGS, THINGS, Scene, Thing, draw_scene
from catseg_hf.scenes.protocol import (
    GROUND_ID,
    HardScene,
    fires,
    guess,
    hard_scene,
    is_near,
    mean_iou,
)


STAR = Thing("plain", "red", "star")
BLUE_STAR = Thing("plain", "blue", "star")
RING = Thing("striped", "green", "ring")


def test_hard_scenes_are_balanced() -> None:
    num_seen = num_things = 0
    for seed in range(40):
        drawn = hard_scene((1, seed), size=64)
        assert len(drawn.candidates) == len(set(drawn.candidates)) == len(drawn.scene.things) + 10
        assert sum(thing in SEEN_THINGS for thing in drawn.absent) == 5
        assert sum(is_near(thing, drawn.scene.things) for thing in drawn.absent) == 5
        num_things += len(drawn.scene.things)
        num_seen += sum(thing in SEEN_THINGS for thing in drawn.scene.things)
        reference = drawn.reference
        assert set(np.unique(reference)) == {GROUND_ID, *(THINGS.index(thing) for thing in drawn.scene.things)}
    assert 0.4 < num_seen / num_things < 0.6


def test_near_means_one_difference() -> None:
    assert is_near(BLUE_STAR, [RING, STAR]) and is_near(BLUE_STAR, [STAR], "color")
    assert not is_near(BLUE_STAR, [STAR], "shape")
    assert not is_near(STAR, [STAR]) and not is_near(RING, [STAR])


def two_things() -> HardScene:
    label_map = np.full((4, 10), -1)
    label_map[0], label_map[1] = 0, 1
    scene = Scene(draw_scene(0, 64).image, [STAR, RING], label_map)
    return HardScene(scene, [BLUE_STAR, Thing("dotted", "green", "ring"), Thing("dotted", "blue", "moon")])


def test_guessers_know_all_but_what_they_are_blind_to() -> None:
    drawn = two_things()
    rng = np.random.default_rng(0)
    guesses = {name: {guess(drawn, name, rng)[0, 0] for _ in range(60)} for name in ("none", "color", "pattern")}
    everything = {THINGS.index(thing) for thing in drawn.candidates}
    assert guesses["none"] == everything
    assert guesses["color"] == {THINGS.index(STAR), THINGS.index(BLUE_STAR)}
    assert guesses["pattern"] == {THINGS.index(STAR)}
    # Their masks are perfect.
    assert (guess(drawn, "none", rng)[2:] == GROUND_ID).all()


def test_a_near_miss_fires_from_a_tenth_of_a_thing_on() -> None:
    drawn = two_things()
    predicted = drawn.reference.copy()
    assert not fires(BLUE_STAR, drawn.scene.things, predicted, drawn.reference)
    predicted[3, :5] = predicted[1, :5] = THINGS.index(BLUE_STAR)  # on the ground, and on what it is not like
    assert not fires(BLUE_STAR, drawn.scene.things, predicted, drawn.reference)
    predicted[0, 0] = THINGS.index(BLUE_STAR)
    assert fires(BLUE_STAR, drawn.scene.things, predicted, drawn.reference)


def test_mean_iou_is_over_the_classes_that_occur() -> None:
    drawn = two_things()
    matrix = ConfusionMatrix(GROUND_ID + 1)
    predicted = drawn.reference.copy()
    predicted[0, :4] = THINGS.index(HELD_OUT_THINGS[0])
    matrix.update(predicted, drawn.reference)
    assert mean_iou(matrix, [STAR]) == pytest.approx(60)
    assert mean_iou(matrix, THINGS) == pytest.approx(80)
