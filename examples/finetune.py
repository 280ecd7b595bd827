# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Trains CAT-Seg: copy it and change what you like.

The original's training, from CLIP on COCO-Stuff, on four GPUs:

    accelerate launch --num_processes 4 examples/finetune.py --data-root DATASETS --output runs/base

A model for photos of your own, with label PNGs of the same names and a text file with one class a line:

    accelerate launch examples/finetune.py --model runs/base/model --images photos --labels masks \\
        --vocabulary classes.txt --steps 2000 --output runs/mine

The same command with `--resume-from-checkpoint latest` goes on after an interruption, to the same result.
"""

import math
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DataLoaderConfiguration, DistributedType, set_seed
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import HfArgumentParser

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.datasets import from_hub_dataset, load_benchmark, load_folder
from catseg_hf.evaluation import Protocol, evaluate
from catseg_hf.training import (
    RECIPES,
    Checkpoints,
    Collator,
    LossLog,
    TrainingSamples,
    TrainingStream,
    add_lora,
    freeze_text,
    learning_rate_schedule,
    make_shardable,
    merged_state_dict,
    parameter_groups,
    replaced_whole,
    set_classes,
    start_model,
    stream_rows,
    text_inputs,
)


def option(default: Any, text: str) -> Any:
    """A field of the options with its help."""
    return field(default=default, metadata={"help": text})


@dataclass
class Options:
    """All that can be set at the command line."""

    output: str = field(metadata={"help": "folder for checkpoints, the loss log and the models"})
    model: str = option("openai/clip-vit-base-patch16", "CAT-Seg or CLIP model to start from, a folder or a Hub name")
    backbone: str | None = option(None, "ResNet or Swin for new models of v1 and mmseg, a folder or a Hub name")
    recipe: str = option("cvpr", "preset: cvpr, v1 or mmseg; the next ones replace its values")
    steps: int | None = option(None, "optimizer steps")
    batch_size: int | None = option(None, "images in each step, of all processes together")
    learning_rate: float | None = option(None, "at its highest")
    clip_multiplier: float | None = option(None, "factor on the learning rate of CLIP's weights")
    crop_size: int | None = option(None, "side of the training crops in pixels")
    clip_training: str | None = option(None, "CLIP's weights to train: attention, vision_attention, full or none")
    freeze_text: bool = option(False, "leave the text tower as it is, and compute text embeddings once")
    lora_rank: int | None = option(None, "train updates of this rank to CLIP's attention instead of its weights")
    mask_ignored_pixels: bool = option(False, "leave unlabelled pixels out of the loss, unlike the original")
    seed: int = option(0, "of the order of the images, their augmentation, and new weights")
    # A benchmark in --data-root, or photos in --images, or a data set of the library `datasets`
    data_root: str | None = option(None, "folder with the benchmarks")
    dataset: str = option("coco_stuff_171", "with --data-root a benchmark, else what datasets.load_dataset takes")
    images: str | None = option(None, "folder of photos")
    labels: str | None = option(
        None, "folder of their labels, COCO JSON, Label Studio export, CVAT XML, YOLO or LabelMe folder"
    )
    eval_images: str | None = option(None, "folder of photos to evaluate on")
    eval_labels: str | None = option(None, "their labels, as for training")
    missing: str = option("error", "with `skip`, goes on without photos that --labels lists and --images lacks")
    split: str = option("train", "of a data set of `datasets`")
    eval_split: str | None = option(None, "its split to evaluate on")
    image_column: str = option("image", "its column of images")
    label_column: str = option("annotation", "its column of labels")
    streaming: bool = option(False, "read it as a stream")
    vocabulary: str | None = option(
        None, "text file with one class a line, or a shipped vocabulary; annotations and --label-map name theirs"
    )
    ignore_index: int = option(255, "value of unlabelled pixels")
    reduce_labels: bool = option(False, "0 means unlabelled, too, and the first class is 1")
    binary_masks: bool = option(False, "labels are masks of 0 and 255, of two classes")
    label_map: str | None = option(None, "file that names colours or values: class_dict.csv or CVAT's labelmap.txt")
    on_bad_sample: str = option("refuse", "with `skip`, what cannot be used is left out, with a warning and a count")
    num_workers: int = option(4, "processes that read images, for each that trains")
    mixed_precision: str | None = option(
        None, "no, bf16 or fp16; else as accelerate is configured, and if that is no, bf16 on a GPU that has it"
    )
    compile: bool = option(False, "compile the model first, which takes minutes and pays for long trainings on a GPU")
    gradient_accumulation_steps: int = option(1, "parts that the images of a step are computed in")
    gradient_checkpointing: bool = option(False, "less memory for more time")
    eval_every: int = option(5000, "steps between evaluations")
    eval_limit: int | None = option(None, "number of images of an evaluation; all by default")
    eval_protocol: str = option("sliding_window", "sliding_window, mmseg_slide or whole")
    save_every: int = option(1000, "steps between checkpoints")
    keep_checkpoints: int = option(2, "how many stay")
    resume_from_checkpoint: str | None = option(None, "`latest`, or the folder of a checkpoint")
    log_every: int = option(20, "steps between updates of the loss log and the tracker")
    tracker: str | None = option(None, "tensorboard, trackio, or another that accelerate knows")
    push_to_hub: str | None = option(None, "Hub repository for the best model")


options: Options = HfArgumentParser(Options).parse_args_into_dataclasses()[0]
output = Path(options.output)
has_bfloat16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
configured = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")  # `accelerate launch` says it there
accelerator = Accelerator(
    mixed_precision=options.mixed_precision or ("bf16" if configured == "no" and has_bfloat16 else configured),
    dataloader_config=DataLoaderConfiguration(non_blocking=True),
    gradient_accumulation_steps=options.gradient_accumulation_steps,
    step_scheduler_with_optimizer=False,
    log_with=options.tracker,
    project_dir=output,
)
on_gpu = accelerator.device.type == "cuda"
if on_gpu:
    torch.set_float32_matmul_precision("high")  # as the original
set_seed(options.seed)

# ---- recipe and data ------------------------------------------------------------------------------------------------
replaceable = ("steps", "batch_size", "learning_rate", "clip_multiplier", "crop_size")
given = {name: value for name in replaceable if (value := getattr(options, name)) is not None}
recipe = replace(RECIPES[options.recipe](), **given)
num_parts = accelerator.num_processes * options.gradient_accumulation_steps
if recipe.batch_size % num_parts:
    raise SystemExit(f"--batch-size {recipe.batch_size} must be a multiple of {num_parts}: processes x accumulation.")

if not options.data_root and (
    bool(options.images) != bool(options.labels) or not (options.images or options.vocabulary or options.label_map)
):
    raise SystemExit(
        "Give --data-root for a benchmark; or --images and --labels; or --dataset with --vocabulary or --label-map."
    )
dataset = eval_dataset = stream = None
values = {name: getattr(options, name) for name in ("ignore_index", "reduce_labels", "binary_masks", "label_map")}
columns = {**values, "image_column": options.image_column, "label_column": options.label_column}
if options.data_root:
    dataset = load_benchmark(options.dataset, options.data_root, "train")
    eval_dataset = load_benchmark(options.dataset, options.data_root, "val")
elif options.images:
    values["missing"] = options.missing
    dataset = load_folder(options.images, options.labels, options.vocabulary, **values)
    if options.eval_images:
        classes = options.vocabulary or dataset.vocabulary
        eval_dataset = load_folder(options.eval_images, options.eval_labels, classes, **values)
else:
    if options.streaming:
        stream, reader, vocabulary = stream_rows(options.dataset, options.vocabulary, split=options.split, **columns)
    else:
        dataset = from_hub_dataset(options.dataset, options.vocabulary, split=options.split, **columns)
    if options.eval_split:
        eval_dataset = from_hub_dataset(options.dataset, options.vocabulary, split=options.eval_split, **columns)

# ---- model ----------------------------------------------------------------------------------------------------------
model, processor = start_model(options.model, kind=options.recipe, backbone=options.backbone)
ignore_index = set_classes(model, processor, dataset.vocabulary if stream is None else vocabulary)
model.config.clip_training = options.clip_training or model.config.clip_training
model.config.mask_ignored_pixels |= options.mask_ignored_pixels
model.freeze_parameters()
if options.freeze_text:
    freeze_text(model)
if options.lora_rank:
    add_lora(model, rank=options.lora_rank)
if options.gradient_checkpointing:
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
if on_gpu and accelerator.num_processes > 1 and not model.config.freeze_batch_norm:
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)  # as MMSegmentation; changes nothing without any
if accelerator.distributed_type == DistributedType.FSDP and eval_dataset is not None:
    raise SystemExit("FSDP leaves no process whole weights to evaluate with: leave the data out, evaluate later.")
if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
    make_shardable(model)
model.to(accelerator.device)
text = text_inputs(model)

# ---- from the beginning, or from a checkpoint -----------------------------------------------------------------------
identity = {
    "recipe": asdict(recipe),
    "seed": options.seed,
    "classes": model.config.vocabulary_digest,
    "images": None if stream is not None else len(dataset),
}
checkpoints = Checkpoints(output, accelerator, identity, keep=options.keep_checkpoints)
checkpoint, first_step, facts = None, 0, {"best_miou": None, "next_position": (0, 0)}
if options.resume_from_checkpoint:
    checkpoint = checkpoints.find(options.resume_from_checkpoint)
    if checkpoint is not None:
        first_step, facts = checkpoints.read(checkpoint)
    accelerator.print(f"Going on after step {first_step}: {checkpoint or 'no checkpoint yet'}.")
elif checkpoints.whole():
    raise SystemExit(f"{output} holds a training: add --resume-from-checkpoint latest, or give another --output.")
loss_log = LossLog(output / "loss.jsonl")
if accelerator.is_main_process:
    loss_log.cut(first_step)

# ---- optimizer and loader, and all of it handed to accelerate -------------------------------------------------------
sample_options = {"seed": options.seed, "ignore_index": ignore_index, "on_bad_sample": options.on_bad_sample}
if stream is None:
    samples = TrainingSamples(dataset, recipe, **sample_options)
    places, num_workers = range(first_step * recipe.batch_size, len(samples)), options.num_workers
else:
    samples = TrainingStream(stream, reader, recipe, start=tuple(facts["next_position"]), **sample_options)
    places, num_workers = None, min(1, options.num_workers)
loader = DataLoader(
    samples,
    sampler=places,
    batch_size=recipe.batch_size // num_parts,
    collate_fn=Collator(processor),
    num_workers=num_workers,
    pin_memory=on_gpu,
    drop_last=True,
)
optimizer = torch.optim.AdamW(parameter_groups(model, recipe), fused=on_gpu)
schedule = learning_rate_schedule(optimizer, recipe)
plain_model = model.train()
if options.compile:
    plain_model.compile()
model, optimizer, schedule, loader = accelerator.prepare(model, optimizer, schedule, loader)
if checkpoint is not None:
    accelerator.load_state(checkpoint)
if options.tracker:
    settings = {**asdict(options), "label_warnings": samples.label_warnings}
    accelerator.init_trackers("catseg", {name: str(value) for name, value in settings.items()})


def save_model(folder: Path) -> None:
    """Writes model and processor, for `from_pretrained`."""
    state_dict = merged_state_dict(plain_model, accelerator.get_state_dict(model))
    if accelerator.is_main_process:
        with replaced_whole(folder) as unfinished:
            plain_model.save_pretrained(unfinished, state_dict=state_dict)
            processor.save_pretrained(unfinished)
    accelerator.wait_for_everyone()


# ---- the loop -------------------------------------------------------------------------------------------------------
step, miou, part_losses, records = first_step, None, [], []
# Said when `samples` was made, and kept in the first line of the loss log.
remarks = {"warnings": samples.label_warnings} if samples.label_warnings and first_step == 0 else {}
bar = tqdm(
    total=recipe.steps * recipe.batch_size,
    initial=first_step * recipe.batch_size,
    unit="image",
    disable=None if accelerator.is_main_process else True,  # shown on terminals only
)
for batch in loader:
    if step == recipe.steps:  # of a stream, which has no end
        break
    if not part_losses:
        # What dropout draws depends on the step alone, whatever else drew numbers before.
        set_seed(options.seed + step * accelerator.num_processes, device_specific=True)
    position = batch.pop("position", None)
    with accelerator.accumulate(model):
        loss = model(**batch, **text).loss
        accelerator.backward(loss)
        if accelerator.sync_gradients and recipe.max_gradient_norm is not None:
            accelerator.clip_grad_norm_(model.parameters(), recipe.max_gradient_norm)
        learning_rate = max(schedule.get_last_lr())
        optimizer.step()
        if accelerator.sync_gradients:
            schedule.step()
        optimizer.zero_grad()
    part_losses.append(loss.detach())
    if not accelerator.sync_gradients:
        continue

    step += 1
    losses = torch.stack(part_losses)
    records.append({"step": step, "loss": losses.mean(), "learning_rate": learning_rate, **remarks})
    part_losses, remarks = [], {}
    bar.update(recipe.batch_size)
    is_last = step == recipe.steps
    saves = is_last or step % options.save_every == 0
    if saves or step % options.log_every == 0:
        losses = accelerator.reduce(torch.stack([record["loss"] for record in records]), "mean").tolist()
        if not all(map(math.isfinite, losses)):
            raise SystemExit(
                f"The loss was {losses} in the steps up to {step}: lower --learning-rate, or use --mixed-precision no."
            )
        records = [{**record, "loss": value} for record, value in zip(records, losses, strict=True)]
        if accelerator.is_main_process:
            loss_log.append(records)
        values = {name: records[-1][name] for name in ("loss", "learning_rate")}
        accelerator.log({**values, "skipped_samples": samples.num_skipped}, step=step)
        bar.set_postfix(step=step, loss=f"{losses[-1]:.4f}", miou=miou)
        records = []
    if eval_dataset is not None and (is_last or step % options.eval_every == 0):
        model.eval()
        evaluation = evaluate(
            plain_model,
            processor,
            eval_dataset,
            Protocol(options.eval_protocol),
            num_workers=options.num_workers,
            limit=options.eval_limit,
            skip_unreadable=options.on_bad_sample == "skip",
        )
        model.train()
        miou = evaluation.results["metrics"]["miou_present_in_ground_truth"]
        accelerator.log({"miou": miou}, step=step)
        accelerator.print(f"Step {step}: mIoU {miou:.4f}")
        if facts["best_miou"] is None or miou > facts["best_miou"]:
            facts["best_miou"] = miou
            save_model(output / "best")
    if saves:
        if position is not None:
            epoch, row = max(accelerator.gather(position).tolist())
            facts["next_position"] = (epoch, row + 1)
        checkpoints.save(step, facts)
bar.close()

# ---- the result -----------------------------------------------------------------------------------------------------
save_model(output / "model")
num_skipped = int(accelerator.reduce(torch.tensor(samples.num_skipped, device=accelerator.device), "sum"))
accelerator.print(f"Wrote {output / 'model'}; best mIoU {facts['best_miou']}; {num_skipped} samples were skipped.")
if options.push_to_hub and accelerator.is_main_process:
    best = output / ("best" if facts["best_miou"] is not None else "model")
    CatSegForSemanticSegmentation.from_pretrained(best).push_to_hub(options.push_to_hub)
    CatSegProcessor.from_pretrained(best).push_to_hub(options.push_to_hub)
accelerator.end_training()
