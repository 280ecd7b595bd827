# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Trains CAT-Seg with Transformers' `Trainer`, on the same pieces as `finetune.py`, which can do more.

    python examples/finetune_trainer.py MODEL IMAGES LABELS CLASSES OUTPUT [STEPS]

CLASSES is a text file with one class a line; every tenth image is kept for the evaluation at the end.
"""

import sys

import torch
from transformers import EvalPrediction, Trainer, TrainingArguments

from catseg_hf.datasets import load_folder
from catseg_hf.evaluation.mean_iou import MeanIoU
from catseg_hf.training import (
    Collator,
    Recipe,
    TrainingSamples,
    learning_rate_schedule,
    parameter_groups,
    preprocess_logits_for_metrics,
    set_classes,
    start_model,
)


model_name, images, labels, classes, output, *steps = sys.argv[1:]
recipe = Recipe.cvpr(steps=int(steps[0]) if steps else 2000)
dataset = load_folder(images, labels, classes)
model, processor = start_model(model_name)
ignore_index = set_classes(model, processor, dataset.vocabulary)

# Training samples: the images in random order, epoch after epoch. To evaluate: one crop of each image, not augmented.
records, held_out = dataset.records, dataset.records[::10]
dataset.records = [record for record in records if record not in held_out]
samples = TrainingSamples(dataset, recipe, ignore_index=ignore_index)
eval_recipe = Recipe(steps=len(held_out), batch_size=1, jitter_colors=False, flip=False)
eval_dataset = load_folder(images, labels, classes)
eval_dataset.records = held_out
eval_samples = TrainingSamples(eval_dataset, eval_recipe, ignore_index=ignore_index)
# Of the library `evaluate`, like those that other examples load from the Hub.
metric = MeanIoU()


def compute_metrics(result: EvalPrediction) -> dict[str, float]:
    """Both mean IoUs, and the IoU of each class."""
    figures = metric.compute(
        predictions=result.predictions,
        references=result.label_ids,
        num_labels=dataset.num_classes,
        ignore_index=ignore_index,
    )
    names = [f"iou_{name}" for name in dataset.class_names]
    return {
        "miou": figures["miou_present_in_ground_truth"],
        "mean_iou": figures["mean_iou"],
        **dict(zip(names, figures["per_category_iou"].tolist(), strict=True)),
    }


optimizer = torch.optim.AdamW(parameter_groups(model, recipe))
arguments = TrainingArguments(
    output,
    max_steps=recipe.steps,
    per_device_train_batch_size=recipe.batch_size,
    max_grad_norm=recipe.max_gradient_norm,
    remove_unused_columns=False,
    dataloader_num_workers=2,
    report_to="none",
)
trainer = Trainer(
    model=model,
    args=arguments,
    data_collator=Collator(processor),
    train_dataset=samples,
    eval_dataset=eval_samples,
    processing_class=processor,
    optimizers=(optimizer, learning_rate_schedule(optimizer, recipe)),
    compute_metrics=compute_metrics,
    preprocess_logits_for_metrics=preprocess_logits_for_metrics,
)
trainer.train()
print(trainer.evaluate())
trainer.save_model(output)
