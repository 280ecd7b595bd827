# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""A model whose computing ONNX Runtime does, from the graphs of an exported folder."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from catseg_hf.aggregation_catseg import (
    TRUNCATED_CLASS_LOGIT,
    class_embeddings,
    compute_cost_volume,
    find_kept_classes,
)
from catseg_hf.chunking_catseg import class_chunk_size, joined, views_at_a_time
from catseg_hf.class_attention_catseg import pool, unpool
from catseg_hf.configuration_catseg import CatSegConfig
from catseg_hf.layers_catseg import normalize
from catseg_hf.modeling_catseg import CatSegSemanticSegmenterOutput, restore_views
from catseg_hf.towers_catseg import embed_prompts
from catseg_hf.vocabulary_catseg import check_own_vocabulary, check_text_embeds


if TYPE_CHECKING:
    from onnxruntime import InferenceSession

VOCABULARY_FILE = "vocabulary.safetensors"
WITH_CLIP = ("text", "image")  # graphs whose weights are large


def is_exported(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder is one that [`export_onnx`] wrote.

    Args:
        folder (`str` or `os.PathLike`): Any folder.

    Returns:
        `bool`.

    Example:

    ```python
    >>> from catseg_hf import TINY
    >>> from catseg_hf.onnx import is_exported

    >>> is_exported(TINY)
    False
    ```
    """
    return all(Path(folder, name).is_file() for name in ("config.json", "decoder.onnx"))


def graph_names(config: CatSegConfig) -> list[str]:
    """Names of a model's graphs, in the order in which they are written."""
    layers = [f"{part}_{i}" for i in range(config.num_hidden_layers) for part in ("spatial", "classes")]
    return ["text", "image", *layers, "decoder"]


class Graph:
    """A graph in ONNX Runtime, from tensors to tensors.

    Args:
        path (`Path`): Its file.
        num_threads (`int`): That one run of it uses.

    Raises:
        ImportError: If ONNX Runtime is not installed.
        ValueError: If the file cannot be loaded.
    """

    def __init__(self, path: Path, num_threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError('An exported model needs ONNX Runtime: `pip install "catseg-hf[onnx]"`.') from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        # Threads of a graph that is done must not take time from those of the next one.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        try:
            self.session: InferenceSession = onnxruntime.InferenceSession(
                path, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no class in common but this
            raise ValueError(f"{path} cannot be loaded by ONNX Runtime: export it again. {error}") from error
        self.input_names = [each.name for each in self.session.get_inputs()]

    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Runs the graph on inputs in its order."""
        # Copied by NumPy where it must be: torch would start threads of its own in each of ours.
        arrays = (np.ascontiguousarray(each.detach().numpy()) for each in inputs)
        outputs = self.session.run(None, dict(zip(self.input_names, arrays, strict=True)))
        return [torch.from_numpy(each) for each in outputs]


class OnnxCatSeg:
    """Stands for a [`CatSegForSemanticSegmentation`] in a [`Segmenter`], without its weights.

    Several threads can use one.

    Args:
        config ([`CatSegConfig`]): The configuration of the model that was exported.
        graphs (`Mapping[str, Callable]`): By their names what computes them, from tensors to tensors.
        vocabulary (`torch.Tensor`): Token ids of the model's own vocabulary.
        name_or_path (`str`, *optional*, defaults to `""`): Where it came from.

    Attributes:
        device (`torch.device`): The CPU.
    """

    device, dtype = torch.device("cpu"), torch.float32

    def __init__(
        self,
        config: CatSegConfig,
        graphs: Mapping[str, Callable[..., Sequence[torch.Tensor]]],
        vocabulary: torch.Tensor,
        name_or_path: str = "",
    ) -> None:
        self.config, self.graphs, self.vocabulary, self.name_or_path = config, graphs, vocabulary, name_or_path

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> "OnnxCatSeg":
        """Loads what [`export_onnx`] wrote.

        Args:
            folder (`str` or `os.PathLike`): The folder.

        Returns:
            [`OnnxCatSeg`]

        Raises:
            ImportError: If ONNX Runtime is not installed.
            OSError: If a file is missing.
            ValueError: If a file is damaged.
        """
        config = CatSegConfig.from_pretrained(folder)
        files = {name: Path(folder, f"{name}.onnx") for name in graph_names(config)}
        if missing := [path.name for path in files.values() if not path.is_file()]:
            raise FileNotFoundError(f"The exported model in {folder} lacks {', '.join(missing)}: export it again.")
        # Of the others, several chunks are computed at a time, which is faster than one chunk in several threads.
        num_threads = dict.fromkeys(WITH_CLIP, torch.get_num_threads())
        graphs = {name: Graph(path, num_threads.get(name, 1)) for name, path in files.items()}
        return cls(config, graphs, load_file(Path(folder, VOCABULARY_FILE))["input_ids"], str(folder))

    @torch.inference_mode()
    def get_text_embeds(
        self, input_ids: torch.LongTensor, attention_mask: torch.Tensor | None = None
    ) -> torch.FloatTensor:
        """See [`CatSegModel.get_text_embeds`]."""
        input_ids = input_ids[:, None] if input_ids.dim() == 2 else input_ids
        return embed_prompts(self._embed_prompts, input_ids, self.config)

    def _embed_prompts(self, prompts: torch.Tensor, ends: torch.Tensor) -> torch.Tensor:
        # The graph takes as many prompts of a class as there are templates: any prompts fill these places.
        num_templates = len(self.config.prompt_templates)
        filled = F.pad(prompts, (0, 0, 0, -len(prompts) % num_templates))  # N, L
        embeds = self.graphs["text"](filled.unflatten(0, (-1, num_templates)))[0]
        return embeds.flatten(0, 1)[: len(prompts)]  # N, D

    def resolve_text_embeds(
        self, input_ids: torch.Tensor | None = None, text_embeds: torch.Tensor | None = None
    ) -> torch.Tensor:
        """See [`CatSegModel.resolve_text_embeds`]."""
        if text_embeds is None:
            if input_ids is None:
                check_own_vocabulary(self.config)
                input_ids = self.vocabulary
            return self.get_text_embeds(input_ids)
        check_text_embeds(text_embeds, self.config)
        return text_embeds

    @torch.inference_mode()
    def get_image_embeds(
        self, pixel_values: torch.FloatTensor, backbone_pixel_values: torch.FloatTensor | None = None
    ) -> tuple[torch.FloatTensor, ...]:
        """What the model sees of images before it knows the classes.

        Args:
            pixel_values, backbone_pixel_values: As for [`CatSegModel.forward`].

        Returns:
            `tuple[torch.FloatTensor, ...]`: For `image_embeds`: normalised embeddings of shape `(B, h, w, D)` or
            `(B, V, h, w, D)`, and the other outputs of the image graph.

        Raises:
            ValueError: If the inputs are not those that the graph was laid out for.
        """
        inputs = [pixel_values] if backbone_pixel_values is None else [pixel_values, backbone_pixel_values]
        side = self.config.image_size // self.config.patch_size
        sides = [self.config.image_size] if self.config.backbone_config is None else [self.config.image_size, 16 * side]
        shapes = [tuple(each.shape) for each in inputs]
        if [shape[-3:] for shape in shapes] != [(3, each, each) for each in sides] or len(shapes[0]) not in (4, 5):
            raise ValueError(
                f"This exported model takes {' and '.join(f'(B, 3, {each}, {each})' for each in sides)}, or the same "
                f"with views, got {shapes}: use the processor in its folder."
            )
        group_size = views_at_a_time(self.device, needs_all=False)
        groups = zip(*(each.flatten(0, -4).split(group_size) for each in inputs), strict=True)
        outputs = zip(*(self.graphs["image"](*group) for group in groups), strict=True)
        return restore_views(tuple(torch.cat(each) for each in outputs), pixel_values.shape[:-3])

    @torch.inference_mode()
    def __call__(
        self,
        pixel_values: torch.FloatTensor | None = None,
        input_ids: torch.LongTensor | None = None,
        text_embeds: torch.FloatTensor | None = None,
        backbone_pixel_values: torch.FloatTensor | None = None,
        image_embeds: Sequence[torch.FloatTensor] | None = None,
        **geometry: Any,
    ) -> CatSegSemanticSegmenterOutput:
        """
        Args:
            pixel_values, input_ids, text_embeds, backbone_pixel_values, image_embeds:
                As for [`~CatSegForSemanticSegmentation.forward`].
            geometry: `view_boxes` and `resized_sizes`, handed through to post-processing.

        Returns:
            [`CatSegSemanticSegmenterOutput`]

        Raises:
            ValueError: If the inputs do not fit the model or each other.
        """
        text_embeds = normalize(self.resolve_text_embeds(input_ids, text_embeds))
        if image_embeds is None:
            image_embeds = self.get_image_embeds(pixel_values, backbone_pixel_values)
        views = image_embeds[0].shape[:-3]
        each_view = zip(*(each.flatten(0, len(views) - 1) for each in image_embeds), strict=True)
        logits = joined((self._segment(text_embeds, *view)[None] for view in each_view), views.numel(), dim=0)
        return CatSegSemanticSegmenterOutput(logits=restore_views(logits, views), **geometry)

    def _segment(self, text_embeds: torch.Tensor, image_embeds: torch.Tensor, *terms: torch.Tensor) -> torch.Tensor:
        # Of one view, T, 4h, 4w: the loop over chunks of classes, and of positions, that the graphs leave to a caller.
        costs = compute_cost_volume(image_embeds[None], text_embeds)  # 1, T, P, h, w
        class_embeds = class_embeddings(text_embeds)
        kept = find_kept_classes(costs, self.config, training=False)
        if kept is not None:
            costs, class_embeds = costs[:, kept[0]], class_embeds[kept[0]]
        num_classes, (height, width) = costs.shape[1], costs.shape[-2:]
        chunk_size = self._chunk_size(height, width)
        maps = costs.new_empty(num_classes, height * width, self.config.hidden_size)
        for i in range(self.config.num_hidden_layers):
            self._over_chunks(f"spatial_{i}", maps if i else costs[0], maps, chunk_size, terms[i])
            maps += self._attend(i, maps, class_embeds, (height, width))
        logits = costs.new_empty(num_classes, 4 * height, 4 * width)
        self._over_chunks("decoder", maps, logits, chunk_size, *terms[-2:])
        if kept is None:
            return logits
        every = logits.new_full((len(text_embeds), *logits.shape[1:]), TRUNCATED_CLASS_LOGIT)
        return every.index_copy_(0, kept[0], logits)

    def _over_chunks(
        self, name: str, inputs: torch.Tensor, results: torch.Tensor, chunk_size: int, *shared: torch.Tensor
    ) -> None:
        # Each thread computes a chunk. All copies are NumPy's: torch's threads would go on waiting beside these.
        def compute(chunk: torch.Tensor, place: torch.Tensor) -> None:
            place.numpy()[:] = self.graphs[name](chunk, *shared)[0].numpy()

        num_threads = torch.get_num_threads()
        chunk_size = min(chunk_size, math.ceil(len(inputs) / num_threads))
        with ThreadPoolExecutor(num_threads) as pool:
            for _ in pool.map(compute, inputs.split(chunk_size), results.split(chunk_size)):
                pass  # or raise what a thread raised

    def _chunk_size(self, height: int, width: int) -> int:
        # Fewer class maps than in torch: each thread has its own, and each graph keeps what it needed for them.
        return max(1, class_chunk_size(self.config, height, width, self.device) // 8)

    def _attend(
        self, layer: int, maps: torch.Tensor, class_embeds: torch.Tensor, size: tuple[int, int]
    ) -> torch.Tensor:
        # T, h * w, C -> T, h * w, C: all classes at a few positions at a time
        pooling_size = tuple(self.config.inference_pooling_size)
        maps = pool(maps.unflatten(1, size)[None], pooling_size)[0]  # T, L, C
        attended = torch.empty_like(maps)
        positions = max(1, self._chunk_size(*size) * size[0] * size[1] // len(maps))
        by_position = (each.transpose(0, 1) for each in (maps, attended))
        self._over_chunks(f"classes_{layer}", *by_position, positions, class_embeds)
        return unpool(attended[None], pooling_size, *size)[0].flatten(1, 2)


__all__ = ["OnnxCatSeg", "is_exported"]
