# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Segments a photo, step by step: copy it and change what you like.

    python examples/segment.py PHOTO MODEL OUTPUT LABEL [LABEL ...]
    python examples/segment.py photo.jpg path/to/model overlay.png cat grass "traffic light"

MODEL is a folder written by `python -m convert`. Every pixel goes to the best of the labels, so name what is around
your subject as well.
"""

import sys

import torch
from transformers.image_utils import load_image

from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor
from catseg_hf.pictures import overlay


photo_path, model_path, output_path, *labels = sys.argv[1:]

processor = CatSegProcessor.from_pretrained(model_path)
model = CatSegForSemanticSegmentation.from_pretrained(model_path).eval()

# The photo as RGB, upright by its EXIF orientation.
image = load_image(photo_path)

# pixel_values: five views of the photo. input_ids: one prompt for each label.
inputs = processor(images=image, text=labels, return_tensors="pt")
with torch.inference_mode():
    outputs = model(**inputs)

# One map of class ids for each photo, of the photo's own height and width.
segmentation = processor.post_process_semantic_segmentation(outputs, target_sizes=[(image.height, image.width)])[0]

for class_id, label in enumerate(labels):
    print(f"{(segmentation == class_id).float().mean():6.1%}  {label}")
overlay(image, segmentation, labels).save(output_path)
print(f"Wrote {output_path}")
