# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""From photos to label maps by a protocol, with test-time augmentation or without."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from PIL import Image, ImageOps
from transformers.image_processing_utils import BatchFeature

from catseg_hf.evaluation.protocols import Protocol
from catseg_hf.image_processing_catseg import resized_size
from catseg_hf.image_reading_catseg import read_image
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation, CatSegSemanticSegmenterOutput
from catseg_hf.others_catseg import resolve_others, segment_with_others, with_others
from catseg_hf.processing_catseg import CatSegProcessor
from catseg_hf.prompts_catseg import Label, Labels


# detectron2's `TEST.AUG.MAX_SIZE`, which CAT-Seg leaves as it is.
AUGMENTATION_LONGEST_EDGE = 4000
# Scores of so many classes times pixels are merged at a time (128 MB in float32).
CHUNK_ELEMENTS = 2**25


class PreparedImages(NamedTuple):
    """Inputs of the model for some images, or for one image and one augmentation."""

    inputs: BatchFeature
    flipped: bool


class ProtocolSegmenter:
    """A model with a vocabulary and a protocol: photos in, label maps out.

    The text embeddings are computed once, here.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode, on the device to compute on.
        processor ([`CatSegProcessor`]): The model's.
        vocabulary (`Sequence[str | list[str]]`): Names of the classes, in class-id order.
        protocol ([`Protocol`], *optional*): The original's by default.
        others (`str` or `Iterable[str | Iterable[str]]`, *optional*):
            Classes that compete, as [`resolve_others`] takes them. What goes to them has an id behind the vocabulary's.

    Attributes:
        image_processor ([`CatSegImageProcessor`]): With the protocol's arguments.
        input_ids (`torch.LongTensor` of shape `(T, P, L)` or `(T, P, S, L)`): The prompts.
        classes ([`LabelsWithOthers`]): Their embeddings, and which others there are.

    Raises:
        ValueError: If the model is in training mode, or a class name cannot be used.

    Example:

    ```python
    >>> segmenter = ProtocolSegmenter(model, processor, ["cat", "grass"])
    >>> label_map = segmenter([photo], [(photo.height, photo.width)])[0]
    ```
    """

    def __init__(
        self,
        model: CatSegForSemanticSegmentation,
        processor: CatSegProcessor,
        vocabulary: Sequence[Label],
        protocol: Protocol | None = None,
        others: Labels | None = None,
    ) -> None:
        if model.training:
            raise ValueError("The model is in training mode: call `model.eval()` first.")
        self.model = model
        self.protocol = Protocol() if protocol is None else protocol
        image_processor = processor.image_processor
        settings = {**image_processor.to_dict(), **self.protocol.image_arguments()}
        self.image_processor = type(image_processor).from_dict(settings)
        with torch.inference_mode():
            self.input_ids = processor(text=list(vocabulary), return_tensors="pt").input_ids
            text_embeds, competing = model.get_text_embeds(self.input_ids), resolve_others(others, model.config)
            other_embeds = None
            if competing.labels:
                other_embeds = model.get_text_embeds(processor(text=competing.labels, return_tensors="pt").input_ids)
            self.classes = with_others(vocabulary, text_embeds, competing, other_embeds)

    def __call__(self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        """Segments photos.

        Args:
            images (`Sequence[PIL.Image.Image]`): The photos.
            sizes (`Sequence[tuple[int, int]]`): Height and width of each label map.

        Returns:
            `list[torch.LongTensor]` of shape `(height, width)` each: Class ids.
        """
        return self.segment(prepare_images(self.image_processor, self.protocol, images, self.model.device), sizes)

    @torch.inference_mode()
    def segment(self, prepared: list[list[PreparedImages]], sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        """Segments what [`prepare_images`] made of photos.

        With test-time augmentation the logits of all augmentations of one image are kept, and scores are merged for a
        few classes at a time: with A augmentations of V views, A x V x 37 kB a class, for 847 classes and the sliding
        window with all scales and `flip` 1.9 GB. It takes A times as long as without.

        Args:
            prepared (`list[list[PreparedImages]]`): As [`prepare_images`] returns it.
            sizes (`Sequence[tuple[int, int]]`): Height and width of each label map.

        Returns:
            `list[torch.LongTensor]` of shape `(height, width)` each: Class ids.
        """
        if not self.protocol.is_augmented:
            outputs = self._forward(prepared[0][0].inputs)
            return self.image_processor.post_process_semantic_segmentation(outputs, target_sizes=list(sizes))
        label_maps = []
        for augmentations, size in zip(prepared, sizes, strict=True):
            outputs = [self._forward(augmentation.inputs) for augmentation in augmentations]
            label_maps.append(self._merge(outputs, [augmentation.flipped for augmentation in augmentations], size))
        return label_maps

    def _forward(self, inputs: BatchFeature) -> CatSegSemanticSegmenterOutput:
        # Boxes and sizes are for post-processing, which reads them on the CPU.
        moved = {
            name: values.to(self.model.device) if name.endswith("pixel_values") else values
            for name, values in inputs.items()
        }
        # Augmentations of an image are compared class by class.
        classes, keep_rows = self.classes, self.protocol.is_augmented
        return segment_with_others(self.model, classes.text_embeds, classes.num_labels, keep_rows=keep_rows, **moved)

    def _merge(
        self, outputs: list[CatSegSemanticSegmenterOutput], flipped: list[bool], size: tuple[int, int]
    ) -> torch.Tensor:
        """The best class of each pixel by the mean score of all augmentations; of equal ones the first."""
        device = self.model.device
        use_softmax = self.image_processor.score_function == "softmax"
        normalizers = [self._log_sum(output, size) if use_softmax else None for output in outputs]
        best = torch.full(size, -torch.inf, device=device)
        label_map = torch.zeros(size, dtype=torch.int64, device=device)
        for class_ids in self._class_chunks(size):
            merged = torch.zeros(len(class_ids), *size, device=device)
            for output, normalizer, is_flipped in zip(outputs, normalizers, flipped, strict=True):
                scores = self._scores(output, size, class_ids)
                if use_softmax:
                    scores = scores.sub_(normalizer).exp_()
                merged += scores.flip(-1) if is_flipped else scores
            score, label = merged.max(dim=0)
            better = score > best
            label_map[better] = label[better] + class_ids[0]
            best = torch.where(better, score, best)
        return label_map

    def _log_sum(self, output: CatSegSemanticSegmenterOutput, size: tuple[int, int]) -> torch.Tensor:
        """Logarithm of the sum over classes of the exponentials of merged logits: what the softmax divides by."""
        total = torch.full(size, -torch.inf, device=self.model.device)
        for class_ids in self._class_chunks(size):
            total = torch.logaddexp(total, self._scores(output, size, class_ids).logsumexp(dim=0))
        return total

    def _scores(self, output: CatSegSemanticSegmenterOutput, size: tuple[int, int], class_ids: range) -> torch.Tensor:
        return self.image_processor.post_process_class_scores(output, [size], class_ids)[0]

    def _class_chunks(self, size: tuple[int, int]) -> Iterator[range]:
        num_classes = len(self.classes.text_embeds)
        chunk_size = max(1, CHUNK_ELEMENTS // (size[0] * size[1]))
        for first in range(0, num_classes, chunk_size):
            yield range(first, min(first + chunk_size, num_classes))


def prepare_images(
    image_processor: Any, protocol: Protocol, images: Sequence[Image.Image], device: str | torch.device = "cpu"
) -> list[list[PreparedImages]]:
    """Makes the model's inputs; needs no model, so that it can run in the processes of a data loader.

    Args:
        image_processor ([`CatSegImageProcessor`]): That of a [`ProtocolSegmenter`], with the protocol's arguments.
        protocol ([`Protocol`]): The protocol.
        images (`Sequence[PIL.Image.Image]`): The photos.
        device (`str` or `torch.device`, *optional*, defaults to `"cpu"`): As for the image processor.

    Returns:
        `list[list[PreparedImages]]`: Without test-time augmentation one entry with one batch of all images; with it one
        list for each image, of one entry for each augmentation.
    """
    if not protocol.is_augmented:
        return [[PreparedImages(image_processor(list(images), return_tensors="pt", device=device), False)]]
    return [list(_augmentations(image_processor, protocol, image, device)) for image in images]


def _augmentations(
    image_processor: Any, protocol: Protocol, image: Image.Image, device: str | torch.device
) -> Iterator[PreparedImages]:
    image = Image.fromarray(read_image(image, None, True, image_processor.max_pixels)[0])
    if protocol.name != "mmseg_slide":
        edges = image_processor.shortest_edge, image_processor.longest_edge
        height, width = resized_size(image.height, image.width, *edges)
        image = image.resize((width, height), image_processor.resample)
    for scale in protocol.scales:
        if protocol.name == "mmseg_slide":
            edges = {
                "shortest_edge": int(min(image.size) * scale + 0.5),
                "longest_edge": int(max(image.size) * scale + 0.5),
            }
        else:
            shortest_edge = int(image_processor.shortest_edge * scale + 0.5)
            edges = {
                "shortest_edge": shortest_edge,
                "longest_edge": max(shortest_edge, AUGMENTATION_LONGEST_EDGE),
            }
        for flipped in (False, True) if protocol.flip else (False,):
            picture = ImageOps.mirror(image) if flipped else image
            yield PreparedImages(image_processor(picture, return_tensors="pt", device=device, **edges), flipped)


__all__ = ["PreparedImages", "ProtocolSegmenter", "prepare_images"]
