# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Measures on fresh scenes what a model knows of patterns, colours and shapes, and of combinations it never saw.

*Balanced hard*: half of the things in a scene are combinations that training saw, half are held out. The candidates are
the things of the scene, ten that are absent (five of either half, and half of them differ from a thing of the scene in
one attribute only), and the ground.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tqdm.auto import tqdm

from catseg_hf.evaluation.metrics import ConfusionMatrix
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.processing_catseg import CatSegProcessor

from .drawing import COLORS, NUM_THINGS, PATTERNS, SHAPES, THINGS, Scene, Thing, draw_scene
from .words import GROUND, HELD_OUT_THINGS, SEEN_THINGS, UNSEEN_TEMPLATE


NUM_ABSENT = 10
FIRED_SHARE = 0.1  # of a thing's pixels
ATTRIBUTES = ("pattern", "color", "shape")
GROUND_ID = len(THINGS)


@dataclass(frozen=True)
class HardScene:
    """A scene with candidates.

    Args:
        scene ([`Scene`]): The scene.
        absent (`list[Thing]`): Candidates that are not in it.
    """

    scene: Scene
    absent: list[Thing]

    @property
    def candidates(self) -> list[Thing]:
        """Those in the scene, then the absent ones; the ground is not among them."""
        return [*self.scene.things, *self.absent]

    @property
    def reference(self) -> np.ndarray:
        """Index into `THINGS` of each pixel, `GROUND_ID` on the ground; (height, width)."""
        return thing_ids(self.scene.things)[self.scene.label_map]


def thing_ids(things: Sequence[Thing]) -> np.ndarray:
    """Indices into `THINGS`, and that of the ground behind them (where index -1 finds it)."""
    return np.array([*(THINGS.index(thing) for thing in things), GROUND_ID])


def hard_scene(seed: int | Sequence[int], size: int = 256) -> HardScene:
    """Draws a scene of seen and held-out things and chooses its candidates.

    Args:
        seed (`int` or `Sequence[int]`): Of everything random in it.
        size (`int`, *optional*, defaults to 256): Height and width in pixels.

    Returns:
        [`HardScene`]
    """
    rng = np.random.default_rng(seed)
    number = int(rng.integers(NUM_THINGS[0], NUM_THINGS[1] + 1))
    num_seen = (number + int(rng.integers(2))) // 2
    halves = [list(rng.permutation(len(half))) for half in (SEEN_THINGS, HELD_OUT_THINGS)]
    things = [SEEN_THINGS[index] for index in halves[0][:num_seen]]
    things += [HELD_OUT_THINGS[index] for index in halves[1][: number - num_seen]]
    scene = draw_scene(rng.integers(2**31), size, [things[index] for index in rng.permutation(number)])

    absent: list[Thing] = []
    # The near misses differ in pattern, colour and shape about equally often.
    turns = itertools.cycle([ATTRIBUTES[index] for index in rng.permutation(len(ATTRIBUTES))])
    for half, num_near in ((SEEN_THINGS, NUM_ABSENT // 4), (HELD_OUT_THINGS, NUM_ABSENT // 2 - NUM_ABSENT // 4)):
        others = [half[index] for index in rng.permutation(len(half)) if half[index] not in scene.things]
        near: list[Thing] = []
        for attribute in itertools.islice(turns, num_near):
            left = [thing for thing in others if thing not in near and is_near(thing, scene.things)]
            near += ([thing for thing in left if is_near(thing, scene.things, attribute)] or left)[:1]
        far = [thing for thing in others if not is_near(thing, scene.things)]
        absent += near + far[: NUM_ABSENT // 2 - len(near)]
    return HardScene(scene, absent)


def is_near(thing: Thing, others: Sequence[Thing], attribute: str | None = None) -> bool:
    """Whether a thing differs from one of the others in a single attribute: the given one, or any."""
    differences = ([name for name in ATTRIBUTES if getattr(thing, name) != getattr(other, name)] for other in others)
    return any(len(names) == 1 and attribute in (None, *names) for names in differences)


def evaluate_on_scenes(
    model: CatSegForSemanticSegmentation, processor: CatSegProcessor, seed: int, num_scenes: int = 300
) -> dict[str, float]:
    """Measures a model on fresh scenes, in percent.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode.
        processor ([`CatSegProcessor`]): Its processor.
        seed (`int`): Of the scenes.
        num_scenes (`int`, *optional*, defaults to 300): Their number.

    Returns:
        `dict[str, float]`:
        - **miou_seen**, **miou_unseen**: Over the combinations that training saw, and over those it did not.
        - **miou_seen_unseen_template**, **miou_unseen_unseen_template**: The same with a sentence around the names that
          training never saw.
        - **miou_colors**, **miou_shapes**, **miou_patterns**: Where only that is asked for, and the ground.
        - **miou_all**: With all combinations as candidates, over all of them.
        - **near_misses_fired**: Share of the absent candidates differing in one attribute from a thing of the scene
          that took at least a tenth of such a thing's pixels.
        - **chance**, **blind_to_pattern**, **blind_to_color**, **blind_to_shape**: mIoU over all combinations of a
          guesser with perfect masks that chooses any candidate, or any of those that agree in the other two attributes.
    """
    names = [*(thing.name for thing in THINGS), GROUND]
    everything = text_embeds(model, processor, names)
    unseen_template = text_embeds(model, processor, [UNSEEN_TEMPLATE.replace("{}", name) for name in names])
    attributes = {"patterns": PATTERNS, "colors": tuple(COLORS), "shapes": SHAPES}
    attribute_embeds = {name: text_embeds(model, processor, [*words, GROUND]) for name, words in attributes.items()}

    hard, sentence, whole = (ConfusionMatrix(len(names), ignore_index=-1) for _ in range(3))
    by_attribute = {name: ConfusionMatrix(len(words) + 1, ignore_index=-1) for name, words in attributes.items()}
    guessers = {name: ConfusionMatrix(len(names), ignore_index=-1) for name in ("none", *ATTRIBUTES)}
    num_fired = num_near = 0
    rng = np.random.default_rng((seed, 1))
    for index in tqdm(range(num_scenes), unit="scene", disable=None):
        drawn = hard_scene((seed, 0, index))
        predict = predictor(model, processor, drawn.scene)
        reference, candidate_ids = drawn.reference, thing_ids(drawn.candidates)
        predicted = candidate_ids[predict(everything[candidate_ids])]
        hard.update(predicted, reference)
        sentence.update(candidate_ids[predict(unseen_template[candidate_ids])], reference)
        whole.update(predict(everything), reference)
        for name, words in attributes.items():
            ids = np.array([*(words.index(word) for word in values(drawn.scene.things, name)), len(words)])
            by_attribute[name].update(predict(attribute_embeds[name]), ids[drawn.scene.label_map])
        for missing, matrix in guessers.items():
            matrix.update(guess(drawn, missing, rng), reference)
        near = [thing for thing in drawn.absent if is_near(thing, drawn.scene.things)]
        num_near += len(near)
        num_fired += sum(fires(thing, drawn.scene.things, predicted, reference) for thing in near)

    results = {}
    for ending, matrix in (("", hard), ("_unseen_template", sentence)):
        results[f"miou_seen{ending}"] = mean_iou(matrix, SEEN_THINGS)
        results[f"miou_unseen{ending}"] = mean_iou(matrix, HELD_OUT_THINGS)
    for name, matrix in by_attribute.items():
        results[f"miou_{name}"] = mean_iou(matrix, range(len(attributes[name])))
    results["miou_all"] = mean_iou(whole, THINGS)
    results["near_misses_fired"] = 100 * num_fired / max(1, num_near)
    results["chance"] = mean_iou(guessers.pop("none"), THINGS)
    results |= {f"blind_to_{missing}": mean_iou(matrix, THINGS) for missing, matrix in guessers.items()}
    return results


def text_embeds(
    model: CatSegForSemanticSegmentation, processor: CatSegProcessor, labels: Sequence[str]
) -> torch.Tensor:
    """Text embeddings of labels, (T, P, D)."""
    with torch.inference_mode():
        return model.get_text_embeds(processor(text=list(labels))["input_ids"].to(model.device))


def predictor(
    model: CatSegForSemanticSegmentation, processor: CatSegProcessor, scene: Scene
) -> Callable[[torch.Tensor], np.ndarray]:
    """A function from text embeddings to the class ids of a scene's pixels, (height, width)."""
    inputs = processor(images=scene.image).to(model.device)
    size = (scene.image.height, scene.image.width)

    @torch.inference_mode()
    def predict(embeds: torch.Tensor) -> np.ndarray:
        outputs = model(**inputs, text_embeds=embeds)
        return processor.post_process_semantic_segmentation(outputs, target_sizes=[size])[0].cpu().numpy()

    return predict


def values(things: Sequence[Thing], attribute: str) -> Iterator[str]:
    """One attribute of each thing; `attribute` is in the plural."""
    return (getattr(thing, attribute.removesuffix("s")) for thing in things)


def guess(drawn: HardScene, missing: str, rng: np.random.Generator) -> np.ndarray:
    """What a guesser with perfect masks makes of a scene; see [`evaluate_on_scenes`]."""
    seen = [] if missing == "none" else [name for name in ATTRIBUTES if name != missing]
    guessed = []
    for thing in drawn.scene.things:
        fitting = [
            other for other in drawn.candidates if all(getattr(thing, name) == getattr(other, name) for name in seen)
        ]
        guessed.append(fitting[rng.integers(len(fitting))])
    return thing_ids(guessed)[drawn.scene.label_map]


def fires(absent: Thing, things: Sequence[Thing], predicted: np.ndarray, reference: np.ndarray) -> bool:
    """Whether an absent thing took at least a tenth of the pixels of one that it is like."""
    for thing in things:
        pixels = reference == THINGS.index(thing)
        if is_near(absent, [thing]) and (predicted[pixels] == THINGS.index(absent)).mean() >= FIRED_SHARE:
            return True
    return False


def mean_iou(matrix: ConfusionMatrix, classes: Sequence[Thing] | range) -> float:
    """Mean IoU, in percent, over those of some classes that occur in the reference."""
    ids = classes if isinstance(classes, range) else [THINGS.index(thing) for thing in classes]
    counts = matrix.matrix
    ious = [
        float(counts[index, index] / (counts[index].sum() + counts[:, index].sum() - counts[index, index]))
        for index in ids
        if counts[index].sum()
    ]
    return 100 * sum(ious) / len(ious) if ious else math.nan


__all__ = ["HardScene", "evaluate_on_scenes", "hard_scene"]
