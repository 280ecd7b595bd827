# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""From photos to label maps by the protocols of the original code bases, with test-time augmentation or without.

A protocol is a set of arguments of the image processor. Sources: CAT-Seg's `cat_seg_model.py`, `train_net.py` and
`test_time_augmentation.py` with detectron2's `DatasetMapperTTA`; MMSegmentation's `EncoderDecoder` and `SegTTAModel`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from PIL import Image, ImageOps
from transformers.image_processing_utils import BatchFeature

from catseg_hf.image_processing_catseg import _read_image, _resized_size
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation, CatSegSemanticSegmenterOutput
from catseg_hf.processing_catseg import CatSegProcessor, Label


PROTOCOL_NAMES = ("sliding_window", "mmseg_slide", "whole")
# Of the shortest edge (original) or of the photo (MMSegmentation).
AUGMENTATION_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
# detectron2's `TEST.AUG.MAX_SIZE`, which CAT-Seg leaves as it is.
AUGMENTATION_LONGEST_EDGE = 4000
# Scores of so many classes times pixels are merged at a time (128 MB in float32).
CHUNK_ELEMENTS = 2**25


@dataclass(frozen=True)
class Protocol:
    """How a photo is cut into views and how their logits become a label map.

    - `"sliding_window"`: that of the published CAT-Seg figures. Shortest edge 640 (longest at most 2560), squashed to
      640 x 640, 2 x 2 windows of 384 with stride 256 and the whole image as the fifth view; sigmoids are averaged.
    - `"mmseg_slide"`: MMSegmentation's. Shortest edge 512 (longest at most 2048; for PASCAL Context its configuration
      has 520 and 520), windows of 384 side by side, the last ones shifted back; logits are averaged.
    - `"whole"`: one view. Shortest edge 640 (longest at most 2560), squashed to the size that CLIP sees.

    Test-time augmentation, with several scales or `flip`, segments each photo once for each scale, and again mirrored,
    and averages the scores at the photo's size before the best class is taken. For `"sliding_window"` and `"whole"` it
    goes as in detectron2, which the original uses: the photo is resized as without augmentation, and from that to each
    scale times the shortest edge (longest at most 4000); sigmoids are averaged. For `"mmseg_slide"` it goes as in
    MMSegmentation: the photo itself is resized to each scale; the softmax over classes is averaged.

    Args:
        name (`"sliding_window"`, `"mmseg_slide"` or `"whole"`, *optional*, defaults to `"sliding_window"`):
            Which of these.
        scales (`tuple[float, ...]`, *optional*, defaults to `(1.0,)`):
            Scales of test-time augmentation, greater than 0. Both code bases use [`AUGMENTATION_SCALES`].
        flip (`bool`, *optional*, defaults to `False`): Whether test-time augmentation mirrors as well.
        shortest_edge, longest_edge (`int`, *optional*): Instead of those of the protocol, in pixels.

    Raises:
        ValueError: If an argument has a value that is not allowed, or the edges would not be used.
    """

    name: Literal["sliding_window", "mmseg_slide", "whole"] = "sliding_window"
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    shortest_edge: int | None = None
    longest_edge: int | None = None

    def __post_init__(self) -> None:
        if self.name not in PROTOCOL_NAMES:
            raise ValueError(f"There is no protocol {self.name!r}: use one of {', '.join(PROTOCOL_NAMES)}.")
        if not self.scales or min(self.scales) <= 0:
            raise ValueError(f"`scales` must be numbers greater than 0, at least one, got {self.scales}.")
        edges = self.shortest_edge, self.longest_edge
        if self.name == "mmseg_slide" and self.is_augmented and edges != (None, None):
            raise ValueError(
                "`shortest_edge` and `longest_edge` have no effect on `mmseg_slide` with test-time augmentation, which "
                "resizes the photo itself to each scale: leave them out."
            )

    @property
    def is_augmented(self) -> bool:
        """Whether each photo is segmented several times."""
        return self.flip or self.scales != (1.0,)

    def image_arguments(self) -> dict[str, Any]:
        """The arguments of [`CatSegImageProcessor`] that the protocol stands for.

        Returns:
            `dict[str, Any]`: All that decide on geometry and scores; the size of the views, which belongs to the model,
            and the normalisation are not among them, and `"whole"` keeps the model's own `score_function`.
        """
        edges = (512, 2048) if self.name == "mmseg_slide" else (640, 2560)
        arguments = {
            "do_resize": True,
            "shortest_edge": edges[0] if self.shortest_edge is None else self.shortest_edge,
            "longest_edge": edges[1] if self.longest_edge is None else self.longest_edge,
            "pad_to_multiple": None,
            "do_sliding_window": self.name != "whole",
        }
        if self.name == "sliding_window":
            arguments |= {"do_squash": True, "size": {"height": 640, "width": 640}, "window": 384, "stride": 256}
            arguments |= {"global_view": True, "score_function": "sigmoid"}
        elif self.name == "mmseg_slide":
            arguments |= {"do_squash": False, "window": 384, "stride": 384}
            arguments |= {"global_view": False, "score_function": "softmax"}
        return arguments


class PreparedImages(NamedTuple):
    """Inputs of the model for some images, or for one image and one augmentation."""

    inputs: BatchFeature
    flipped: bool


class Segmenter:
    """A model with a vocabulary and a protocol: photos in, label maps out.

    The text embeddings are computed once, here.

    Args:
        model ([`CatSegForSemanticSegmentation`]): In evaluation mode, on the device to compute on.
        processor ([`CatSegProcessor`]): The model's.
        vocabulary (`Sequence[str | list[str]]`): Names of the classes, in class-id order.
        protocol ([`Protocol`], *optional*): The original's by default.

    Attributes:
        image_processor ([`CatSegImageProcessor`]): With the protocol's arguments.
        input_ids (`torch.LongTensor` of shape `(T, P, L)` or `(T, P, S, L)`): The prompts.
        text_embeds (`torch.FloatTensor` of shape `(T, P, D)`): Their embeddings.

    Raises:
        ValueError: If the model is in training mode, or a class name cannot be used.

    Example:

    ```python
    >>> segmenter = Segmenter(model, processor, ["cat", "grass"])
    >>> label_map = segmenter([photo], [(photo.height, photo.width)])[0]
    ```
    """

    def __init__(
        self,
        model: CatSegForSemanticSegmentation,
        processor: CatSegProcessor,
        vocabulary: Sequence[Label],
        protocol: Protocol | None = None,
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
            self.text_embeds = model.get_text_embeds(self.input_ids.to(model.device))

    def __call__(self, images: Sequence[Image.Image], sizes: Sequence[tuple[int, int]]) -> list[torch.Tensor]:
        """Segments photos.

        Args:
            images (`Sequence[PIL.Image.Image]`): The photos.
            sizes (`Sequence[tuple[int, int]]`): Height and width of each label map.

        Returns:
            `list[torch.LongTensor]` of shape `(height, width)` each: Class ids.
        """
        return self.segment(prepare_images(self.image_processor, self.protocol, images), sizes)

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
        return self.model(**moved, text_embeds=self.text_embeds)

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
        num_classes = len(self.text_embeds)
        chunk_size = max(1, CHUNK_ELEMENTS // (size[0] * size[1]))
        for first in range(0, num_classes, chunk_size):
            yield range(first, min(first + chunk_size, num_classes))


def prepare_images(
    image_processor: Any, protocol: Protocol, images: Sequence[Image.Image]
) -> list[list[PreparedImages]]:
    """Makes the model's inputs; needs no model, so that it can run in the processes of a data loader.

    Args:
        image_processor ([`CatSegImageProcessor`]): That of a [`Segmenter`], with the protocol's arguments.
        protocol ([`Protocol`]): The protocol.
        images (`Sequence[PIL.Image.Image]`): The photos.

    Returns:
        `list[list[PreparedImages]]`: Without test-time augmentation one entry with one batch of all images; with it one
        list for each image, of one entry for each augmentation.
    """
    if not protocol.is_augmented:
        return [[PreparedImages(image_processor(list(images), return_tensors="pt"), False)]]
    return [list(_augmentations(image_processor, protocol, image)) for image in images]


def _augmentations(image_processor: Any, protocol: Protocol, image: Image.Image) -> Iterator[PreparedImages]:
    image = Image.fromarray(_read_image(image, None, True, image_processor.max_pixels)[0])
    if protocol.name != "mmseg_slide":
        edges = image_processor.shortest_edge, image_processor.longest_edge
        height, width = _resized_size(image.height, image.width, *edges)
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
            yield PreparedImages(image_processor(picture, return_tensors="pt", **edges), flipped)


__all__ = ["AUGMENTATION_SCALES", "PROTOCOL_NAMES", "PreparedImages", "Protocol", "Segmenter", "prepare_images"]
