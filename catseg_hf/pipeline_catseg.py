# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`pipeline("image-segmentation")` with classes in one's own words, in one call or many."""

import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import get_worker_info
from transformers import AutoImageProcessor, ImageSegmentationPipeline
from transformers.image_utils import load_image

from .image_processing_catseg import CatSegImageProcessor, Views, view_arguments
from .image_reading_catseg import open_picture, orientation_of
from .others_catseg import (
    LabelsWithOthers,
    Others,
    own_labels,
    resolve_others,
    segment_with_others,
    tell_of_others,
    with_others,
)
from .processing_catseg import CatSegProcessor
from .prompts_catseg import Label, parse_labels
from .remote_code_catseg import include_code_of
from .text_cleaning_catseg import clean_text


# EXIF orientations that turn an image by a quarter.
QUARTER_TURNS = (5, 6, 7, 8)


class CatSegImageSegmentationPipeline(ImageSegmentationPipeline):
    """Segments images into classes named in one's own words; made by `pipeline("image-segmentation", model=...)`.

    For a model of another kind, the result is Transformers' own `ImageSegmentationPipeline`.

    Args:
        model (`CatSegForSemanticSegmentation`): The model; it is set to evaluation mode.
        tokenizer (`CLIPTokenizer`, *optional*), image_processor ([`CatSegImageProcessor`], *optional*):
            Given both, they form the processor, with the model's own prompt templates.
        processor ([`CatSegProcessor`], *optional*):
            Wins over these two. Without any, the processor saved with the model is loaded, of a model object from the
            Hub that of the main branch: a model does not know its revision.
        kwargs: `device`, `batch_size`, `num_workers`, as for every pipeline, and the arguments of a call, which then
            hold for all calls.

    Raises:
        ValueError: If there is no processor, or the model has no decoder.
        TypeError: If an argument is unknown.

    Example:

    ```python
    >>> from transformers import pipeline
    >>> import catseg_hf

    >>> segment = pipeline("image-segmentation", model="path/to/model")
    >>> segment("photo.jpg", candidate_labels=["cat", ["grass", "lawn"]])
    [{'score': 0..., 'label': 'cat', 'mask': <PIL.Image.Image image mode=L size=640x480 at ...>}, ...]
    ```
    """

    # `pipeline` asks for the image processor as it loads, but a model object may come alone.
    _load_image_processor = None

    def __new__(cls, model: Any = None, *args: Any, **kwargs: Any) -> ImageSegmentationPipeline:
        """For models other than CAT-Seg, a pipeline of Transformers' own class."""
        if model is None or model.config.model_type == "catseg":  # `None` where a pipeline is copied
            return super().__new__(cls)
        if kwargs.get("image_processor") is None and kwargs.get("feature_extractor") is None:
            # The class of Transformers needs one, and `pipeline` would have said why it has none.
            if model.name_or_path:
                AutoImageProcessor.from_pretrained(model.name_or_path)
            raise Exception(
                "Impossible to guess which image processor to use. Please provide a PreTrainedImageProcessor class or "
                "a path/identifier to a pretrained image processor."
            )
        return ImageSegmentationPipeline(model, *args, **kwargs)

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        image_processor: CatSegImageProcessor | None = None,
        processor: CatSegProcessor | None = None,
        **kwargs: Any,
    ) -> None:
        if not hasattr(model, "decoder"):
            raise ValueError(
                f"Segmentation needs a `CatSegForSemanticSegmentation`, got a `{type(model).__name__}`, which has no "
                "decoder: load it with `AutoModelForSemanticSegmentation`."
            )
        if isinstance(processor, str):
            processor = CatSegProcessor.from_pretrained(processor)
        elif processor is None:
            processor = _find_processor(model, image_processor, tokenizer)
        if not hasattr(processor.image_processor, "post_process_best_classes"):
            raise TypeError(
                f"The processor is a `{type(processor).__name__}` with a `{type(processor.image_processor).__name__}`, "
                "but the model needs a `CatSegProcessor` with a `CatSegImageProcessor`."
            )
        kwargs.pop("feature_extractor", None)
        kwargs.pop("local_files_only", None)  # `pipeline` hands this on after loading
        model.eval()
        super().__init__(
            model=model,
            tokenizer=processor.tokenizer,
            image_processor=processor.image_processor,
            processor=processor,
            **kwargs,
        )

    def check_model_type(self, supported_models: Any) -> None:
        """Does nothing: `__init__` has checked the model, which is in none of Transformers' `supported_models`."""

    def _sanitize_parameters(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        allowed = ("candidate_labels", "others", "threshold", "background_label", "views", "subtask", "timeout")
        unknown = sorted(set(kwargs) - set(allowed))
        if unknown:
            misspelt = sorted({*unknown} & {"labels", "label", "text", "texts", "candidate_label", "classes"})
            advice = f"Class names are given as `candidate_labels`, not `{misspelt[0]}`. " if misspelt else ""
            raise TypeError(f"{advice}Unknown arguments {unknown}: allowed are {sorted([*allowed, 'batch_size'])}.")
        if kwargs.get("subtask") not in (None, "semantic"):
            raise ValueError(
                f"`subtask={kwargs['subtask']!r}` is not possible: CAT-Seg tells classes apart, not objects. Leave it "
                'out or give "semantic".'
            )
        view_arguments(kwargs.get("views"))  # refuses what is unknown before any image is read
        preprocess = {name: kwargs[name] for name in ("timeout", "views") if name in kwargs}
        forward: dict[str, Any] = {}
        postprocess = {name: kwargs[name] for name in ("threshold", "background_label") if name in kwargs}
        if "candidate_labels" in kwargs:
            forward["labels"] = postprocess["class_names"] = None
            if kwargs["candidate_labels"] is not None:
                labels = parse_labels(kwargs["candidate_labels"], "candidate_labels")
                forward["labels"] = labels, self.processor(text=labels)["input_ids"]
                names = [label if isinstance(label, str) else ", ".join(label) for label in labels]
                postprocess["class_names"] = names
        if "others" in kwargs:
            others = resolve_others(kwargs["others"], self.model.config)
            forward["others"] = others, self.processor(text=others.labels)["input_ids"] if others.labels else None
        if isinstance(postprocess.get("background_label"), str):
            postprocess["background_label"] = clean_text(postprocess["background_label"])
        if postprocess.keys() & {"threshold", "background_label"}:
            others, _ = {**getattr(self, "_forward_params", {}), **forward}.get("others", (None, None))
            background = {**getattr(self, "_postprocess_params", {}), **postprocess}
            _check_threshold(**background, has_others=bool(others and others.labels))
        if "threshold" in postprocess:
            forward["threshold"] = postprocess["threshold"]
        return preprocess, forward, postprocess

    def __call__(self, inputs: Any = None, **kwargs: Any) -> Any:
        """Segments one image or many.

        Args:
            inputs (`str`, `os.PathLike`, `PIL.Image.Image`, or a list, generator or data set of these):
                Paths, `http(s)` URLs, base64 strings or images. As in Transformers' own pipeline, they can also be
                given as `images`.
            candidate_labels (`str` or `Iterable[str | Iterable[str]]`, *optional*):
                The classes, as [`parse_labels`] takes them: `["cat", "grass"]`, `["cat", ["grass", "lawn"]]` with
                synonyms, or `"cat, grass"`. Defaults to the model's own vocabulary.
            others (`str`, `os.PathLike` or `Iterable[str | Iterable[str]]`, *optional*):
                Classes that compete and are not in the output: what goes to them is background. `"own"`, the model's
                own vocabulary; the name of a shipped vocabulary; a text file with one class a line; or a list. None by
                default. What means the same as a label is left out, which is logged; see [`resolve_others`].
            threshold (`float`, *optional*):
                Least score, from 0 to 1, that the best class of a pixel needs; other pixels are background, which is
                not in the output. By default every pixel goes to its best class.
            background_label (`str`, *optional*):
                Puts the background into the output under this name, last; or, if it is one of the labels, gives those
                pixels to that class. Needs `threshold` or `others`. Of a pixel below the threshold, one minus the best
                class's score counts, of another the score of the class that it went to.
            views (`"one"` or `"sliding"`, *optional*):
                The whole image as one view, several times as fast, or the windows of the paper. By default what the
                model's image processor says, which is windows for the released models.
            subtask (`str`, *optional*): `"semantic"`, the only one.
            timeout (`float`, *optional*): Seconds to wait for an image from the web.
            batch_size (`int`, *optional*, defaults to 1): Images that go through the model together.

        Returns:
            `list[dict]`: For each class that is in the image, in the order of the labels: `label` (`str`; of synonyms
            all, joined by commas), `score` (`float`, mean probability over the mask, from 0 to 1) and `mask`
            (`PIL.Image.Image` of mode "L" and the image's size, 255 where the class is, 0 elsewhere). For a list of
            images a list of such lists, for a generator or a data set an iterator over them.

        Raises:
            TypeError: If an argument is unknown or of a wrong type.
            ValueError: If an argument has a value that is not allowed; the message says which are.
        """
        if "images" in kwargs:
            if inputs is not None:
                raise TypeError("Give the images once, as the first argument or as `images`.")
            inputs = kwargs.pop("images")
        if inputs is None:
            raise TypeError("Give an image, or several, as the first argument.")
        if isinstance(inputs, Sequence) and not isinstance(inputs, str | list):
            inputs = (image for image in inputs)  # a column of `datasets`, which is read image by image
        return super().__call__(inputs, **kwargs)

    def run_single(
        self,
        inputs: Any,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> list[dict[str, Any]]:
        """Segments one image; called by `__call__`.

        Args:
            inputs (`str`, `os.PathLike` or `PIL.Image.Image`): The image.
            preprocess_params, forward_params, postprocess_params (`dict`): What `_sanitize_parameters` made of the
                arguments.

        Returns:
            `list[dict]`: As a call.
        """
        forward_params = self._embed_text(**forward_params)
        return super().run_single(inputs, preprocess_params, forward_params, postprocess_params)

    def get_iterator(
        self,
        inputs: Any,
        num_workers: int,
        batch_size: int,
        preprocess_params: dict[str, Any],
        forward_params: dict[str, Any],
        postprocess_params: dict[str, Any],
    ) -> Iterator[list[dict[str, Any]]]:
        """Segments many images; called by `__call__`.

        Args:
            inputs (`list`, generator or data set): The images.
            num_workers, batch_size (`int`): As for a call.
            preprocess_params, forward_params, postprocess_params (`dict`): As for `run_single`.

        Returns:
            An iterator over what a call returns for each image.
        """
        forward_params = self._embed_text(**forward_params)
        return super().get_iterator(
            inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params
        )

    def _embed_text(
        self,
        labels: tuple[list[Label], torch.Tensor] | None = None,
        others: tuple[Others, torch.Tensor | None] = (Others([], written=True), None),
        threshold: float | None = None,
    ) -> dict[str, LabelsWithOthers]:
        """What `_forward` gets: embeddings of the words by the weights of now, once for all images of a call."""
        with self.device_placement(), self.get_inference_context()():
            names, input_ids = (own_labels(self.model.config), None) if labels is None else labels
            label_embeds = self.model.model.resolve_text_embeds(input_ids)
            other_embeds = None if others[1] is None else self.model.model.resolve_text_embeds(others[1])
            classes = with_others(names, label_embeds, others[0], other_embeds)
        tell_of_others(classes, threshold)
        return {"classes": classes}

    def preprocess(self, image: Any, timeout: float | None = None, views: Views | None = None) -> dict[str, Any]:
        """Loads an image and makes its views.

        Args:
            image (`str`, `os.PathLike` or `PIL.Image.Image`): As for a call.
            timeout (`float`, *optional*): Seconds to wait for an image from the web.
            views (`"one"` or `"sliding"`, *optional*): As for a call.

        Returns:
            `dict` with `inputs`: the processor's tensors and `target_size`, height and width of the upright image.
        """
        image = os.fspath(image) if isinstance(image, os.PathLike) else image
        if isinstance(image, str) and os.path.isfile(image):
            image = open_picture(image)  # decoded by the image processor, which also knows transparency and 16 bits
        elif not isinstance(image, Image.Image):
            image = load_image(image, timeout=timeout)
        height, width = image.height, image.width
        if orientation_of(image) in QUARTER_TURNS:
            height, width = width, height
        # A process of a data loader has no GPU.
        device = self.device if get_worker_info() is None else "cpu"
        inputs = self.image_processor(images=image, return_tensors="pt", device=device, **view_arguments(views))
        inputs = inputs.to(self.dtype)
        # Numbers, which `pipeline` does not move to the device, from which post-processing would have to fetch them.
        numbers = {name: inputs.pop(name).tolist() for name in ("view_boxes", "resized_sizes") if name in inputs}
        # One entry, so that `pipeline` batches images with different numbers of views without touching them.
        return {"inputs": {**inputs, **numbers, "target_size": (height, width)}}

    def _forward(self, model_inputs: dict[str, Any], classes: LabelsWithOthers) -> dict[str, Any]:
        images = model_inputs["inputs"]
        images = [images] if isinstance(images, dict) else images
        target_sizes = [image.pop("target_size") for image in images]
        batch = {
            name: pad_sequence([torch.as_tensor(image[name][0]) for image in images], batch_first=True)
            for name in images[0]
        }
        outputs = segment_with_others(self.model, classes.text_embeds, classes.num_labels, **batch)
        results = self.processor.post_process_best_classes(outputs, target_sizes, num_labels=classes.num_labels)
        return {"segmentation": [best for best, _ in results], "scores": [scores for _, scores in results]}

    def postprocess(
        self,
        model_outputs: dict[str, Any],
        class_names: list[str] | None = None,
        threshold: float | None = None,
        background_label: str | None = None,
    ) -> list[dict[str, Any]]:
        """Makes the list of classes of one image.

        Args:
            model_outputs (`dict`): `segmentation`, best class of each pixel, -1 where that is one of the others, and
                `scores`, its probability.
            class_names (`list[str]`, *optional*): Names of the classes; those of the model's vocabulary by default.
            threshold, background_label (*optional*): As for a call.

        Returns:
            `list[dict]`: As a call.
        """
        names = list(self.model.config.id2label.values()) if class_names is None else class_names
        segmentation, scores = model_outputs["segmentation"][0].numpy(), model_outputs["scores"][0].numpy()
        if threshold is not None:
            is_unsure = scores < threshold
            segmentation = np.where(is_unsure, -1, segmentation)
            scores = np.where(is_unsure, 1 - scores, scores)
        if background_label is not None:
            names = names if background_label in names else [*names, background_label]
            segmentation = np.where(segmentation < 0, names.index(background_label), segmentation)
        results = []
        for class_id in np.unique(segmentation):
            if class_id >= 0:
                is_class = segmentation == class_id
                score = float(scores[is_class].mean(dtype=np.float64))
                mask = Image.fromarray(is_class.astype(np.uint8) * 255)
                results.append({"score": score, "label": names[class_id], "mask": mask})
        return results

    def save_pretrained(
        self,
        save_directory: str | os.PathLike,
        *,
        include_code: bool = False,
        max_shard_size: int | str = "50GB",
        **kwargs: Any,
    ) -> None:
        """Saves model, processor and tokenizer, for `pipeline("image-segmentation", model=save_directory)`.

        Args:
            save_directory (`str` or `os.PathLike`): Where to; made if it does not exist.
            include_code (`bool`, *optional*, defaults to `False`):
                Whether to add this package's code, for machines that have only Transformers and load the folder with
                `trust_remote_code=True`. Code that was itself loaded in that way is always added.
            max_shard_size (`int` or `str`, *optional*, defaults to `"50GB"`): Largest size of a file of weights.
            kwargs: `push_to_hub`, `repo_id`, `commit_message` and `token`, as in Transformers.
        """
        save_directory = os.fspath(save_directory)
        include_code = include_code or self.model.is_remote_code()
        self.model.save_pretrained(save_directory, include_code=include_code, max_shard_size=max_shard_size, **kwargs)
        self.processor.save_pretrained(save_directory, include_code=include_code, **kwargs)

    def push_to_hub(self, *args: Any, include_code: bool = False, **kwargs: Any) -> str:
        """Uploads model, processor and tokenizer, in one commit.

        Args:
            args, kwargs: As in Transformers: the repository's name, `private`, `revision`, `commit_message`, ...
            include_code (`bool`, *optional*, defaults to `False`): As for [`save_pretrained`].

        Returns:
            Address of the commit.
        """
        with self._with_code() if include_code else nullcontext():
            return super().push_to_hub(*args, **kwargs)

    def _with_code(self) -> AbstractContextManager[None]:
        return include_code_of(self.model, self.processor, pipeline_class=type(self))

    def _upload_modified_files(self, *args: Any, **kwargs: Any) -> Any:
        # The model's, which also puts its card in the place of Transformers' empty form.
        return self.model._upload_modified_files(*args, **kwargs)


def _find_processor(model: Any, image_processor: CatSegImageProcessor | None, tokenizer: Any) -> CatSegProcessor:
    config = model.config
    if image_processor is None or tokenizer is None:
        try:
            if not config.name_or_path:
                raise OSError("It was not loaded from a folder or repository.")
            saved = CatSegProcessor.from_pretrained(config.name_or_path)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"This model has no processor, neither given nor saved with it ({config.name_or_path!r}): give "
                f"`processor=CatSegProcessor.from_pretrained(...)`, or save one beside the model. {error}"
            ) from error
        image_processor = saved.image_processor if image_processor is None else image_processor
        tokenizer = saved.tokenizer if tokenizer is None else tokenizer
    # With the templates that the model was made for
    return CatSegProcessor(image_processor, tokenizer, list(config.prompt_templates), config.synonyms)


def _check_threshold(
    threshold: float | None = None,
    background_label: str | None = None,
    class_names: list[str] | None = None,
    *,
    has_others: bool,
) -> None:
    if threshold is not None and not (isinstance(threshold, int | float) and 0 <= threshold <= 1):
        raise ValueError(f"`threshold` must be a number from 0 to 1, or None, got {threshold!r}.")
    if background_label is not None and not (isinstance(background_label, str) and background_label.strip()):
        raise ValueError(f"`background_label` must be a name, or None, got {background_label!r}.")
    if background_label is not None and threshold is None and not has_others:
        raise ValueError(
            f"`background_label={background_label!r}` names the pixels whose best score is below `threshold`, and "
            "those of `others`: give `threshold` or `others` too."
        )


__all__ = ["CatSegImageSegmentationPipeline"]
