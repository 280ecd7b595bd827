# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Trains and measures catseg-tiny, the model that ships with the package: from nothing, on scenes drawn for it.

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 examples/train_tiny.py --output runs/tiny
    python examples/train_tiny.py --evaluate --seed 1000

The second command draws fresh scenes and measures the shipped model, or that of `--model`; on one core of a processor
that takes ten minutes. Both need `pip install ".[train]"`.
"""

import argparse
import copy
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset
from transformers import PreTrainedTokenizerBase, get_linear_schedule_with_warmup

from catseg_hf import TINY, CatSegConfig, CatSegForSemanticSegmentation, CatSegImageProcessorPil, CatSegProcessor
from catseg_hf.scenes import COLORS, GROUND, SEEN_THINGS, SHAPES, Phrases, draw_scene, scene_tokenizer
from catseg_hf.scenes.protocol import evaluate_on_scenes


# ---- recipe ---------------------------------------------------------------------------------------------------------
VIEW = 192  # side of what the model sees, in pixels


class Candidates(NamedTuple):
    """What is looked for in a scene of training.

    Args:
        kinds (`dict[tuple[str, ...], float]`): How often full names are asked for, and which parts of them.
        numbers (`dict[int, float]`): How often about so many texts are.
        left_out (`dict[float, float]`): How often which share of a scene's things are no candidates.
        ground_left_out (`float`): Share of the scenes in which the ground is none.
    """

    kinds: dict[tuple[str, ...], float]
    numbers: dict[int, float]
    left_out: dict[float, float]
    ground_left_out: float


class Stage(NamedTuple):
    """A part of training, in which the learning rate rises and falls once.

    Args:
        steps (`int`): Optimizer steps.
        phases (`tuple[tuple[float, int, int], ...]`): Share of the steps, side of the views, and scenes a step.
        first_scene (`int`): Number of its first scene: no two stages have one in common.
        alignment_share (`float`): Of the steps, at the beginning: the text tower is held, there is no aggregator.
        learning_rate (`float`): At its highest.
        warmup_steps (`int`): Until then.
        average_decay (`float`): Of the running mean of the weights, which is what is kept.
        candidates (`Candidates`): What is looked for.
    """

    steps: int
    phases: tuple[tuple[float, int, int], ...]
    first_scene: int
    alignment_share: float
    learning_rate: float
    warmup_steps: int
    average_decay: float
    candidates: Candidates


FIRST_STAGE = Stage(
    steps=3000,
    phases=((0.72, 128, 16), (0.28, VIEW, 8)),  # small views first, since they cost less
    first_scene=0,
    alignment_share=0.16,
    learning_rate=1e-3,
    warmup_steps=150,
    average_decay=0.998,
    candidates=Candidates(
        kinds={
            ("pattern", "color", "shape"): 0.64,
            ("color",): 0.12,
            ("shape",): 0.12,
            ("pattern",): 0.06,
            ("color", "shape"): 0.03,
            ("pattern", "shape"): 0.03,
        },
        numbers={8: 0.3, 12: 0.25, 16: 0.2, 24: 0.15, 40: 0.1},
        left_out={0.1: 1.0},
        ground_left_out=0.0,
    ),
)
# With parts of names more often, few words, and things and ground that nobody asks for. In a trial with all that from
# the start, shapes alone and the choice among all combinations were 3 and 4 points worse after 3,000 steps.
SECOND_STAGE = Stage(
    steps=2500,
    phases=((1.0, VIEW, 8),),
    first_scene=1_000_000,
    alignment_share=0.0,
    learning_rate=3e-4,
    warmup_steps=20,
    average_decay=0.99,
    candidates=Candidates(
        kinds={
            ("pattern", "color", "shape"): 0.44,
            ("shape",): 0.3,
            ("color",): 0.1,
            ("pattern",): 0.06,
            ("color", "shape"): 0.06,
            ("pattern", "shape"): 0.04,
        },
        numbers={2: 0.05, 4: 0.1, 8: 0.25, 12: 0.2, 16: 0.15, 24: 0.15, 40: 0.1},
        left_out={0.1: 0.75, 0.6: 0.25},
        ground_left_out=0.25,
    ),
)
AGGREGATED_SHARE = 4  # one scene of so many goes on through aggregator and decoder, which cost more than CLIP
MISSPELT = 0.1  # of the absent candidates, which get a word that the model does not know
WEIGHT_DECAY = 0.05
MAX_GRADIENT_NORM = 1.0
KEPT_UNITS = 704  # of the 768 of each MLP of the vision tower, so that the result is below 8 MB

SIMILARITY_SCALE = 16.0  # of cosines, in the contrastive loss
CELL_SHARE = 0.6  # of a patch's pixels that must be of one thing
GROUND_WEIGHT = 0.25  # of a patch of ground, of which there are many

# Groups of texts that each patch is told apart by in the contrastive loss
GROUPS = (("pattern", "color", "shape"), ("color", "shape"), ("pattern", "color"), ("pattern", "shape"))
GROUPS += (("color",), ("shape",), ("pattern",))
GROUND_ID = len(SEEN_THINGS)
NO_CLASS = 255


def tiny_config(tokenizer: PreTrainedTokenizerBase) -> CatSegConfig:
    """The architecture: 3.5 million weights, most of them in CLIP's vision tower."""
    text = {
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": tokenizer.model_max_length,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": 128,
    }
    vision = {
        "hidden_size": 192,
        "intermediate_size": 768,
        "num_hidden_layers": 6,
        "num_attention_heads": 3,
        "patch_size": 8,
        "image_size": VIEW,
        "projection_dim": 128,
    }
    return CatSegConfig(
        clip_config={"text_config": text, "vision_config": vision, "projection_dim": 128},
        image_size=VIEW,
        stem_channels=[32, 64, 128, 128, 128, 128],
        dense_residual="patch",
        guidance_layers=[1, 3],
        guidance_layer_channels=[64, 32],
        prompt_templates=["{}"],
        synonyms="mean",
        hidden_size=32,
        num_attention_heads=2,
        window_size=8,
        mlp_ratio=2,
        appearance_guidance_size=32,
        text_guidance_size=32,
        class_padding_length=0,
        train_pooling_size=[1, 1],
        decoder_hidden_sizes=[32, 16],
        decoder_guidance_sizes=[16, 8],
        clip_training="full",
    )


def begin_well(model: CatSegForSemanticSegmentation) -> None:
    """Changes the random weights so that learning from nothing is quick.

    The text tower begins as a bag of words: what the end token collects from the words is all that it has, so that no
    two texts are nearly the same. Until texts differ, pictures cannot learn to.

    The vision tower begins with position embeddings of waves, and with attention to what is alike, near by above all:
    shapes are seen by what is next to what. Queries like keys: Trockman and Kolter, https://arxiv.org/abs/2305.09828.
    """
    text, vision = model.model.clip.text_model, model.model.clip.vision_model
    positions = vision.embeddings.position_embedding.weight
    side, width = VIEW // model.config.patch_size, positions.shape[1]
    angles = torch.arange(side)[:, None] * 50.0 ** -(torch.arange(width // 4) / (width // 4))
    waves = torch.cat([angles.sin(), angles.cos()], dim=1)  # side, width / 2
    rows, columns = waves[:, None].expand(-1, side, -1), waves[None].expand(side, -1, -1)
    with torch.no_grad():
        words = text.embeddings.token_embedding.weight.normal_()
        words[model.config.clip_config.text_config.eos_token_id] = 0.0
        positions[1:] = 0.4 * torch.cat([rows, columns], dim=-1).flatten(0, 1)
        for layer in vision.encoder.layers:
            layer.self_attn.q_proj.weight.mul_(2.5)
            layer.self_attn.k_proj.weight.copy_(layer.self_attn.q_proj.weight)


def tiny_processor(tokenizer: PreTrainedTokenizerBase) -> CatSegProcessor:
    """Squashes each image to one view; a prompt is the label itself."""
    image_processor = CatSegImageProcessorPil(
        image_size=VIEW, do_sliding_window=False, image_mean=[0.5] * 3, image_std=[0.25] * 3
    )
    return CatSegProcessor(image_processor, tokenizer, prompt_templates=["{}"], synonyms="mean")


class TrainingScenes(Dataset):
    """Scenes of seen things: pixel values (3, H, W), and for each pixel its index into `SEEN_THINGS` or `GROUND_ID`."""

    def __init__(self, processor: CatSegProcessor, seed: int, view: int) -> None:
        self.processor, self.seed, self.view = processor, seed, view

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        rng = np.random.default_rng((self.seed, 0, index))
        chosen = rng.choice(len(SEEN_THINGS), rng.integers(3, 8), replace=False)
        scene = draw_scene((self.seed, 1, index), things=[SEEN_THINGS[index] for index in chosen])
        ids = torch.tensor([*(SEEN_THINGS.index(thing) for thing in scene.things), GROUND_ID])
        labels = ids[torch.from_numpy(scene.label_map)]
        labels = F.interpolate(labels[None, None].float(), size=(self.view, self.view), mode="nearest-exact")
        pixel_values = self.processor(images=scene.image, image_size=self.view)["pixel_values"]
        return pixel_values[0], labels[0, 0].long()


def part_of_name(index: int, attributes: tuple[str, ...]) -> tuple[str, ...]:
    """Some of the attributes of a seen thing."""
    return tuple(getattr(SEEN_THINGS[index], attribute) for attribute in attributes)


# For each group of texts: its different ones, and which of them each seen thing has; behind all comes the ground.
GROUP_TEXTS = [list(dict.fromkeys(part_of_name(index, group) for index in range(GROUND_ID))) for group in GROUPS]
GROUP_TARGETS = [
    torch.tensor([texts.index(part_of_name(index, group)) for index in range(GROUND_ID)] + [len(texts)])
    for group, texts in zip(GROUPS, GROUP_TEXTS, strict=True)
]
GROUP_WORDS = [
    dict(zip(group, part, strict=True)) for group, texts in zip(GROUPS, GROUP_TEXTS, strict=True) for part in texts
]
GROUP_WORDS.append({})  # the ground


def contrastive_loss(image_embeds: torch.Tensor, labels: torch.Tensor, text_embeds: torch.Tensor) -> list[torch.Tensor]:
    """Cross-entropy of each patch over the texts of each group and the ground, on the cosines of the cost volume.

    Args:
        image_embeds (`torch.FloatTensor` of shape `(B, h, w, D)`): Dense embeddings of CLIP.
        labels (`torch.LongTensor` of shape `(B, H, W)`): Thing of each pixel.
        text_embeds (`torch.FloatTensor` of shape `(N, D)`): Embeddings of all groups' texts, and the ground's.

    Returns:
        `list[torch.FloatTensor]`: The loss of each group.
    """
    patch = labels.shape[1] // image_embeds.shape[1]
    pixels = labels.unfold(1, patch, patch).unfold(2, patch, patch).flatten(3)  # B, h, w, pixels of a patch
    things = pixels.mode(dim=-1).values
    is_clear = (pixels == things[..., None]).float().mean(dim=-1) >= CELL_SHARE
    things = things[is_clear]
    weights = torch.where(things == GROUND_ID, GROUND_WEIGHT, 1.0)
    weights = weights / weights.sum()
    similarity = SIMILARITY_SCALE * F.normalize(image_embeds[is_clear].float(), dim=-1) @ text_embeds.float().T
    losses, start = [], 0
    for texts, targets in zip(GROUP_TEXTS, GROUP_TARGETS, strict=True):
        scores = torch.cat([similarity[:, start : start + len(texts)], similarity[:, -1:]], dim=1)
        losses.append((weights * F.cross_entropy(scores, targets[things], reduction="none")).sum())
        start += len(texts)
    return losses


def choose_candidates(
    labels: torch.Tensor, choice: Candidates, rng: np.random.Generator, phrases: Phrases
) -> tuple[list[str], torch.Tensor]:
    """Texts to look for in a scene, and which of them each pixel is; `NO_CLASS` where it is none of them."""
    attributes = list(choice.kinds)[rng.choice(len(choice.kinds), p=list(choice.kinds.values()))]
    number, left_out = (
        rng.choice(list(shares), p=list(shares.values())) for shares in (choice.numbers, choice.left_out)
    )
    present = {int(index): part_of_name(int(index), attributes) for index in labels.unique() if index != GROUND_ID}
    shown = list(dict.fromkeys(present.values()))
    shuffled = [shown[index] for index in rng.permutation(len(shown))]
    asked = ([part for part in shuffled if rng.random() >= left_out] or shuffled)[:number]
    texts = GROUP_TEXTS[GROUPS.index(attributes)]
    absent = [texts[index] for index in rng.permutation(len(texts)) if texts[index] not in shown]
    # Half of the others differ from a thing of the scene in one attribute only.
    near = [
        part for part in absent if any(sum(a != b for a, b in zip(part, other, strict=True)) == 1 for other in shown)
    ]
    ground = [] if rng.random() < choice.ground_left_out else [None]
    num_absent = max(0, number - len(ground) - len(asked))
    absent = list(dict.fromkeys([*near[: num_absent // 2], *absent]))[:num_absent]
    candidates = [*asked, *absent, *ground]
    order = [candidates[index] for index in rng.permutation(len(candidates))]
    prompts = []
    for candidate in order:
        said = {} if candidate is None else dict(zip(attributes, candidate, strict=True))
        if candidate in absent and rng.random() < MISSPELT:
            said[attributes[rng.integers(len(attributes))]] = "unknown"
        prompts.append(phrases(**said))
    targets = torch.full((GROUND_ID + 1,), NO_CLASS)
    if ground:
        targets[GROUND_ID] = order.index(None)
    for index, part in present.items():
        if part in asked:
            targets[index] = order.index(part)
    return prompts, targets[labels]


def segmentation_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each candidate, added up, and cross-entropy over them where the pixel is one of them.

    Args:
        logits (`torch.FloatTensor` of shape `(1, T, h, w)`): Logits.
        labels (`torch.LongTensor` of shape `(H, W)`): Candidate of each pixel, or `NO_CLASS`.

    Returns:
        `torch.FloatTensor` of shape `()`.
    """
    logits = F.interpolate(logits.float(), size=labels.shape, mode="bilinear", align_corners=False)
    targets = (labels == torch.arange(logits.shape[1])[:, None, None]).to(logits.dtype)[None]
    binary = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / labels.numel()
    return binary + F.cross_entropy(logits, labels[None], ignore_index=NO_CLASS)


def train(
    output: Path, seed: int, steps: int, with_contrastive_loss: bool, with_shuffled_texts: bool, only_second: bool
) -> None:
    """Trains a model from random weights and writes it with its processor.

    Args:
        output (`Path`): Folder for the result; between the stages, for that of the first.
        seed (`int`): Of weights, scenes and texts.
        steps (`int`): Optimizer steps of the first stage; the second is shorter in proportion.
        with_contrastive_loss (`bool`): Without it, the segmentation loss alone trains everything, from the first step.
        with_shuffled_texts (`bool`):
            In each step, give every text to another's pixels. Nothing can be learnt of words then: a control that
            scores come from them.
        only_second (`bool`): Whether to go on from the first stage's result in `output`.
    """
    accelerator = Accelerator(cpu=True)
    torch.manual_seed(seed)
    tokenizer = scene_tokenizer()
    processor = tiny_processor(tokenizer)

    def run(model: CatSegForSemanticSegmentation, stage: Stage, number: int) -> CatSegForSemanticSegmentation:
        stage = stage._replace(steps=round(stage.steps * steps / FIRST_STAGE.steps))
        rng = np.random.default_rng((seed, 1 + number, accelerator.process_index))
        return train_stage(model, processor, stage, seed, rng, accelerator, with_contrastive_loss, with_shuffled_texts)

    if not only_second:
        model = CatSegForSemanticSegmentation(tiny_config(tokenizer))
        begin_well(model)
        average = run(model, FIRST_STAGE, 1)
        if accelerator.is_main_process:
            scenes = TrainingScenes(processor, seed, VIEW)
            save(narrowed(average, torch.stack([scenes[index][0] for index in range(16)])), processor, output)
        accelerator.wait_for_everyone()
    average = run(CatSegForSemanticSegmentation.from_pretrained(output), SECOND_STAGE, 2)
    if accelerator.is_main_process:
        save(average, processor, output)


def train_stage(
    model: CatSegForSemanticSegmentation,
    processor: CatSegProcessor,
    stage: Stage,
    seed: int,
    rng: np.random.Generator,
    accelerator: Accelerator,
    with_contrastive_loss: bool,
    with_shuffled_texts: bool,
) -> CatSegForSemanticSegmentation:
    """Trains a model through one stage and returns the running mean of its weights; arguments as for [`train`]."""
    rank, num_ranks = accelerator.process_index, accelerator.num_processes
    tokenizer, phrases, steps = processor.tokenizer, Phrases(rng), stage.steps
    model.train().set_attn_implementation("eager")
    average = copy.deepcopy(model).eval()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups = [
        {"params": [weight for weight in weights if weight.dim() > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [weight for weight in weights if weight.dim() <= 1], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=stage.learning_rate, betas=(0.9, 0.98))
    schedule = get_linear_schedule_with_warmup(optimizer, stage.warmup_steps, steps)

    def embed(prompts: list[str]) -> torch.Tensor:
        return model.get_text_embeds(tokenizer(prompts, padding=True, return_tensors="pt")["input_ids"])

    with torch.no_grad():
        plain_text_embeds = embed([" ".join(words.values()) or GROUND for words in GROUP_WORDS])[:, 0]
    step, first_scene, begin, records = 0, stage.first_scene, time.perf_counter(), []
    ends = np.round(np.cumsum([share for share, _, _ in stage.phases]) * steps).astype(int).tolist()
    for num_steps, (_, view, num_scenes) in zip(np.diff([0, *ends]).tolist(), stage.phases, strict=True):
        places = range(first_scene + rank, first_scene + num_steps * num_scenes, num_ranks)
        first_scene += num_steps * num_scenes
        scenes = TrainingScenes(processor, seed, view)
        # On a CPU, plain attention trains faster than the fused one, but for the many patches of a large view.
        model.model.clip.vision_model.set_attn_implementation("sdpa" if view == VIEW else "eager")
        for pixel_values, labels in DataLoader(scenes, num_scenes // num_ranks, sampler=places):
            contrastive, segmentation = [], []
            with torch.autocast("cpu", dtype=torch.bfloat16):
                image_embeds, guidance = model.model.encode_images(pixel_values)
                if with_contrastive_loss:
                    if step < stage.alignment_share * steps:
                        # Texts that pictures do not follow yet would become all alike, and then lead them nowhere.
                        text_embeds = plain_text_embeds
                    else:
                        text_embeds = embed([phrases(**words) for words in GROUP_WORDS])[:, 0]
                    if with_shuffled_texts:
                        text_embeds = text_embeds[torch.from_numpy(rng.permutation(len(text_embeds)))]
                    contrastive = contrastive_loss(image_embeds, labels, text_embeds)
                if step >= stage.alignment_share * steps or not with_contrastive_loss:
                    asked = [
                        choose_candidates(scene, stage.candidates, rng, phrases)
                        for scene in labels[: len(labels) // AGGREGATED_SHARE]
                    ]
                    if with_shuffled_texts:
                        asked = [(rng.permutation(prompts).tolist(), targets) for prompts, targets in asked]
                    text_embeds = embed([prompt for prompts, _ in asked for prompt in prompts])
                    parts = text_embeds.split([len(prompts) for prompts, _ in asked])
                    for index, (texts, (_, targets)) in enumerate(zip(parts, asked, strict=True)):
                        embeds, *maps = (tensor[index : index + 1] for tensor in (image_embeds, *guidance))
                        aggregated = model.model.aggregator(embeds, texts, maps[0], len(texts)).last_hidden_state
                        logits = model.decoder(aggregated, maps[1:], len(texts))
                        segmentation.append(segmentation_loss(logits, targets))
                loss = sum(sum(losses) / len(losses) for losses in (contrastive, segmentation) if losses)
            loss.backward()
            average_gradients(weights, accelerator)
            torch.nn.utils.clip_grad_norm_(weights, MAX_GRADIENT_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            with torch.no_grad():
                decay = min(stage.average_decay, step / (step + 10))
                torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
            records.append(
                [sum(losses).item() / len(losses) if losses else 0.0 for losses in (contrastive, segmentation)]
            )
            if step % 20 == 0:
                means = " ".join(f"{value:.3f}" for value in np.mean(records, axis=0))
                accelerator.print(f"step {step} losses {means} after {time.perf_counter() - begin:.0f} s", flush=True)
                records = []
    return average


def average_gradients(weights: list[torch.Tensor], accelerator: Accelerator) -> None:
    """Makes the gradients of all processes their mean: DDP would do so, but for a single `forward` of one module."""
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    means = accelerator.reduce(torch.cat([gradient.flatten() for gradient in gradients]), "mean")
    for gradient, mean in zip(gradients, means.split([gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


@torch.no_grad()
def narrowed(model: CatSegForSemanticSegmentation, pixel_values: torch.Tensor) -> CatSegForSemanticSegmentation:
    """Leaves out the units of the vision tower's MLPs that change its output least, on some views.

    What a unit adds on average goes into the bias; what is lost is its variation, some 0.1 % of all.

    Args:
        model ([`CatSegForSemanticSegmentation`]): The model; it stays as it is.
        pixel_values (`torch.FloatTensor` of shape `(B, 3, H, W)`): Views.

    Returns:
        [`CatSegForSemanticSegmentation`]: In evaluation mode.
    """
    state, vision = model.state_dict(), model.model.clip.vision_model
    hidden_states = vision.pre_layrnorm(vision.embeddings(pixel_values, interpolate_pos_encoding=True))
    for index, layer in enumerate(vision.encoder.layers):
        attended, mlp = layer.layer_norm1(hidden_states), layer.mlp
        if index + 1 < len(vision.encoder.layers):
            attended = hidden_states + layer.self_attn(attended)[0]
        else:  # has no attention, see `CatSegModel.encode_images`
            attended = hidden_states + layer.self_attn.out_proj(layer.self_attn.v_proj(attended))
        units = mlp.activation_fn(mlp.fc1(layer.layer_norm2(attended))).flatten(0, 1)  # positions, units
        kept = (units.std(dim=0) * mlp.fc2.weight.norm(dim=0)).topk(KEPT_UNITS).indices.sort().values
        left_out = torch.ones(units.shape[1], dtype=torch.bool).index_fill(0, kept, False)
        name = f"model.clip.vision_model.encoder.layers.{index}.mlp"
        state[f"{name}.fc2.bias"] = mlp.fc2.bias + mlp.fc2.weight[:, left_out] @ units[:, left_out].mean(dim=0)
        state[f"{name}.fc2.weight"] = mlp.fc2.weight[:, kept]
        state[f"{name}.fc1.weight"], state[f"{name}.fc1.bias"] = mlp.fc1.weight[kept], mlp.fc1.bias[kept]
        hidden_states = layer(hidden_states, None)
    config = copy.deepcopy(model.config)
    config.clip_config.vision_config.intermediate_size = KEPT_UNITS
    smaller = CatSegForSemanticSegmentation(config).eval()
    smaller.load_state_dict(state)
    return smaller


def save(model: CatSegForSemanticSegmentation, processor: CatSegProcessor, output: Path) -> None:
    """Writes a model in half precision, which is read as float32, and with the pairs of colour and shape as classes."""
    labels = [*(f"{color} {shape}" for color in COLORS for shape in SHAPES), GROUND]
    model.set_vocabulary(labels, processor(text=labels)["input_ids"])
    weights = {name: value.half() if value.is_floating_point() else value for name, value in model.state_dict().items()}
    model.save_pretrained(output, state_dict=weights)
    processor.save_pretrained(output)


def evaluate(folder: str, seed: int, num_scenes: int, as_json: bool) -> None:
    """Measures a model on fresh scenes and prints the figures, in percent."""
    model = CatSegForSemanticSegmentation.from_pretrained(folder).eval()
    processor = CatSegProcessor.from_pretrained(folder)
    results = evaluate_on_scenes(model, processor, seed, num_scenes)
    if as_json:
        print(json.dumps({"seed": seed, "num_scenes": num_scenes, **results}))
    else:
        for name, value in results.items():
            print(f"{name:<28}{value:6.1f}")


def main() -> None:
    """Reads the command line, then trains or evaluates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="folder for the trained model")
    parser.add_argument("--seed", type=int, default=0, help="of weights and scenes")
    parser.add_argument("--steps", type=int, default=FIRST_STAGE.steps, help="optimizer steps of the first stage")
    parser.add_argument(
        "--only-second-stage", action="store_true", help="go on from the first stage's result in --output"
    )
    parser.add_argument("--without-contrastive-loss", action="store_true", help="the ablation of the model's card")
    parser.add_argument("--shuffled-texts", action="store_true", help="the control: a text is of any thing, by chance")
    parser.add_argument("--evaluate", action="store_true", help="measure a model instead")
    parser.add_argument("--model", default=TINY, help="its folder; by default the shipped one")
    parser.add_argument("--num-scenes", type=int, default=300, help="fresh scenes to measure it on")
    parser.add_argument("--json", action="store_true", help="print the figures as one JSON object, on the last line")
    options = parser.parse_args()
    if options.evaluate:
        evaluate(options.model, options.seed, options.num_scenes, options.json)
    elif options.output is None:
        sys.exit("Give --output for the trained model, or --evaluate to measure one.")
    else:
        train(
            options.output,
            options.seed,
            options.steps,
            not options.without_contrastive_loss,
            options.shuffled_texts,
            options.only_second_stage,
        )


if __name__ == "__main__":
    main()
