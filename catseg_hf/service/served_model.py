# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The model of a service: requests that wait together go through it together."""

import hashlib
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import torch
from PIL import Image
from transformers.image_processing_utils import BatchFeature

from catseg_hf.hub import find_model
from catseg_hf.others_catseg import segment_with_others
from catseg_hf.prompts_catseg import Label
from catseg_hf.segmenting import Segmentation, Segmenter, load_model
from catseg_hf.segmenting.loading import embed_labels
from catseg_hf.segmenting.photo_reading import decode_photo
from catseg_hf.service.errors import ServiceError
from catseg_hf.service.segment_request import SegmentRequest
from catseg_hf.service.settings import ServiceSettings


logger = logging.getLogger(__name__)


class PreparedRequest(NamedTuple):
    """A request with its photo, and as the model's inputs."""

    request: SegmentRequest
    picture: Image.Image
    inputs: BatchFeature


class EmbeddingStore:
    """Text embeddings of the vocabularies that were asked for last; the one that was not used for longest goes first.

    A service owns its weights, which never change under it, so that embeddings may be kept here, and only here.
    """

    def __init__(self, compute: Callable[[list[Label] | None], torch.Tensor], size: int) -> None:
        self.compute, self.size = compute, size
        self._kept: OrderedDict[Hashable, torch.Tensor] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, labels: list[Label] | None) -> torch.Tensor:
        """Embeddings of labels, or of the model's own, kept or computed: (T, P, D) or (T, P, S, D)."""
        key = _vocabulary_key(labels)
        embeds = self._kept.pop(key, None)
        # At the end, where the last that were used are.
        self._kept[key] = self.compute(labels) if embeds is None else embeds
        if len(self._kept) > self.size:
            self._kept.popitem(last=False)
        return self._kept[key]


class ServedModel:
    """A model that answers requests: `prepare` may run in several threads, `segment` in one at a time."""

    def __init__(self, settings: ServiceSettings) -> None:
        self.settings = settings
        self.network, processor = load_model(settings.model, settings.device, settings.dtype)
        self.processor = processor.with_views(settings.views)
        self.embeddings = EmbeddingStore(
            lambda labels: embed_labels(self.network, self.processor, labels), settings.kept_vocabularies
        )

    @property
    def batch_size(self) -> int:
        """Photos that go through the model together."""
        return self.settings.batch_size or (1 if self.network.device.type == "cpu" else 16)

    def describe(self) -> dict[str, Any]:
        """Name, commit (on the Hub) or SHA-256 of the weights, and the classes that the model has itself."""
        config = self.network.config
        folder = Path(find_model(self.settings.model))
        commit = getattr(config, "_commit_hash", None)
        source = {"weights": _digest(folder)} if folder.is_dir() else {"commit": commit}
        has_vocabulary = config.vocabulary_digest is not None
        # A folder is a matter of this machine.
        name = folder.name if Path(self.settings.model).is_dir() else self.settings.model
        return {"name": name, **source, "vocabulary": list(config.id2label.values()) if has_vocabulary else []}

    def prepare(self, request: SegmentRequest) -> PreparedRequest:
        """Reads the photo of a request, and makes the model's inputs of it; a `ServiceError` if it is damaged."""
        try:
            picture = decode_photo(BytesIO(request.photo), self.settings.max_photo_pixels)
        except Exception as error:  # decoders raise errors of all kinds on damaged files
            raise ServiceError(422, f"`image` cannot be read as a picture: {error or type(error).__name__}") from error
        processor = self.processor.with_views(request.views)
        return PreparedRequest(request, picture, processor(images=picture, device=self.network.device))

    def segment(self, waiting: Sequence[PreparedRequest]) -> list[Segmentation | ServiceError]:
        """Segments the photos of several callers, with scores; or says why there is no result.

        All photos share the image towers; those with equal labels all that follows.
        """
        try:
            return self._segment_together(waiting)
        except Exception as error:
            if len(waiting) > 1:  # what is wrong with one is not for the others to suffer
                return [result for each in waiting for result in self.segment([each])]
            if isinstance(error, torch.OutOfMemoryError):
                return [ServiceError(413, "The photo and its labels need more memory than there is: send fewer.")]
            logger.exception("A request failed.")
            return [ServiceError(500, "The service failed at this request; its log says where.")]

    @torch.inference_mode()
    def _segment_together(self, waiting: Sequence[PreparedRequest]) -> list[Segmentation | ServiceError]:
        segmenters = [self._segmenter(each.request) for each in waiting]
        results = dict(enumerate(segmenters))
        sound = [index for index, segmenter in results.items() if isinstance(segmenter, Segmenter)]
        for alike in _grouped(sound, lambda index: waiting[index].inputs["pixel_values"].shape):
            each_input = [waiting[index].inputs for index in alike]
            inputs = {name: torch.cat([each[name] for each in each_input]) for name in each_input[0]}
            geometry = {name: inputs.pop(name) for name in ("view_boxes", "resized_sizes") if name in inputs}
            image_embeds = self.network.get_image_embeds(**inputs)
            places = dict(zip(alike, range(len(alike)), strict=True))
            for same in _grouped(alike, lambda index: _classes_key(waiting[index].request)):
                rows, segmenter = [places[index] for index in same], segmenters[same[0]]
                outputs = segment_with_others(
                    self.network,
                    segmenter.text_embeds,
                    segmenter.num_labels,
                    image_embeds=tuple(each[rows] for each in image_embeds),
                    **{name: each[rows] for name, each in geometry.items()},
                )
                pictures = [waiting[index].picture for index in same]
                sizes = [(picture.height, picture.width) for picture in pictures]
                best = self.processor.post_process_best_classes(outputs, sizes, num_labels=segmenter.num_labels)
                for index, picture, (class_ids, scores) in zip(same, pictures, best, strict=True):
                    results[index] = segmenters[index].segmentation("", picture, class_ids.cpu().numpy(), scores)
        return list(results.values())

    def _segmenter(self, request: SegmentRequest) -> Segmenter | ServiceError:
        if request.labels is None and self.network.config.vocabulary_digest is None:
            return ServiceError(422, "This model has no classes of its own: send `labels`.")
        try:
            return Segmenter(
                self.network,
                self.processor,
                request.labels,
                others=request.others,
                threshold=request.threshold,
                background=request.background,
                embed=self.embeddings.get,
            )
        except ValueError as error:
            return ServiceError(422, str(error))


def _vocabulary_key(labels: list[Label] | None) -> Hashable:
    """Equal for equal vocabularies only: a class with one synonym is not that of its name and a comma."""
    return None if labels is None else tuple(label if isinstance(label, str) else tuple(label) for label in labels)


def _classes_key(request: SegmentRequest) -> Hashable:
    others = request.others if isinstance(request.others, str) else _vocabulary_key(request.others)
    return _vocabulary_key(request.labels), others


def _grouped(indices: Iterable[int], key: Callable[[int], Hashable]) -> list[list[int]]:
    groups = defaultdict(list)
    for index in indices:
        groups[key(index)].append(index)
    return list(groups.values())


def _digest(folder: Path) -> str:
    # Of an exported model the graphs hold the weights.
    kinds = (".safetensors", ".onnx", ".onnx.data")
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.iterdir() if path.name.endswith(kinds)):
        with path.open("rb") as file:
            while part := file.read(2**20):
                digest.update(part)
    return digest.hexdigest()
