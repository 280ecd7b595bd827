# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Processor of CAT-Seg: images to views, labels and prompt templates to token ids."""

import html
import os
import textwrap
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import ImageInput
from transformers.processing_utils import ImagesKwargs, ProcessingKwargs, ProcessorMixin, TextKwargs, Unpack
from transformers.utils import logging


logger = logging.get_logger(__name__)

# Every CLIP model reads at most so many tokens.
CONTEXT_LENGTH = 77

# The sentence of CVPR 2024.
CVPR_TEMPLATES = ("A photo of a {} in the scene",)
# The 80 sentences that CLIP was evaluated with on ImageNet, used by v1 and MMSegmentation.
IMAGENET_TEMPLATES = (
    "a bad photo of a {}.",
    "a photo of many {}.",
    "a sculpture of a {}.",
    "a photo of the hard to see {}.",
    "a low resolution photo of the {}.",
    "a rendering of a {}.",
    "graffiti of a {}.",
    "a bad photo of the {}.",
    "a cropped photo of the {}.",
    "a tattoo of a {}.",
    "the embroidered {}.",
    "a photo of a hard to see {}.",
    "a bright photo of a {}.",
    "a photo of a clean {}.",
    "a photo of a dirty {}.",
    "a dark photo of the {}.",
    "a drawing of a {}.",
    "a photo of my {}.",
    "the plastic {}.",
    "a photo of the cool {}.",
    "a close-up photo of a {}.",
    "a black and white photo of the {}.",
    "a painting of the {}.",
    "a painting of a {}.",
    "a pixelated photo of the {}.",
    "a sculpture of the {}.",
    "a bright photo of the {}.",
    "a cropped photo of a {}.",
    "a plastic {}.",
    "a photo of the dirty {}.",
    "a jpeg corrupted photo of a {}.",
    "a blurry photo of the {}.",
    "a photo of the {}.",
    "a good photo of the {}.",
    "a rendering of the {}.",
    "a {} in a video game.",
    "a photo of one {}.",
    "a doodle of a {}.",
    "a close-up photo of the {}.",
    "a photo of a {}.",
    "the origami {}.",
    "the {} in a video game.",
    "a sketch of a {}.",
    "a doodle of the {}.",
    "a origami {}.",
    "a low resolution photo of a {}.",
    "the toy {}.",
    "a rendition of the {}.",
    "a photo of the clean {}.",
    "a photo of a large {}.",
    "a rendition of a {}.",
    "a photo of a nice {}.",
    "a photo of a weird {}.",
    "a blurry photo of a {}.",
    "a cartoon {}.",
    "art of a {}.",
    "a sketch of the {}.",
    "a embroidered {}.",
    "a pixelated photo of a {}.",
    "itap of the {}.",
    "a jpeg corrupted photo of the {}.",
    "a good photo of a {}.",
    "a plushie {}.",
    "a photo of the nice {}.",
    "a photo of the small {}.",
    "a photo of the weird {}.",
    "the cartoon {}.",
    "art of the {}.",
    "a drawing of the {}.",
    "a photo of the large {}.",
    "a black and white photo of a {}.",
    "the plushie {}.",
    "a dark photo of a {}.",
    "itap of a {}.",
    "graffiti of the {}.",
    "a toy {}.",
    "itap of my {}.",
    "a photo of a cool {}.",
    "a photo of a small {}.",
    "a tattoo of the {}.",
)
# The eight sentences that the original's code offers as "imagenet_select".
IMAGENET_SELECT_TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
    "A photo of a {} in the scene",
)
TEMPLATE_SETS = {
    "cvpr": CVPR_TEMPLATES,
    "imagenet": IMAGENET_TEMPLATES,
    "imagenet_select": IMAGENET_SELECT_TEMPLATES,
}

Label = str | list[str]


def parse_labels(labels: str | Sequence[str | Sequence[str]], argument: str = "text") -> list[Label]:
    """Brings labels, as users write them, into one form.

    Args:
        labels (`str` or `Sequence[str | Sequence[str]]`):
            In a list, each string is one class exactly as written, commas included, and a list of strings is one class
            with synonyms. In one string, `,` separates classes; if it contains `;`, then `;` separates classes and `,`
            synonyms. Spaces around the parts of a string are dropped.
        argument (`str`, *optional*, defaults to `"text"`):
            What error messages call `labels`.

    Returns:
        `list[str | list[str]]`: One entry for each class, a list where it has several names.

    Raises:
        ValueError: If there are no labels, or empty or duplicate ones; the message names them. Capital letters and
            spaces make no difference, since the tokenizer ignores them.
        TypeError: If an entry is neither a string nor a list of strings.

    Example:

    ```python
    >>> parse_labels("cat, grass")
    ['cat', 'grass']
    >>> parse_labels("cat, kitten; grass")
    [['cat', 'kitten'], 'grass']
    >>> parse_labels(["trees, far away", ["cat", "kitten"]])
    ['trees, far away', ['cat', 'kitten']]
    ```
    """
    if isinstance(labels, str):
        if not labels.strip():
            raise ValueError(f'`{argument}` is empty: give labels, such as "cat, grass".')
        if ";" in labels:
            classes = [[name.strip() for name in entry.split(",")] for entry in labels.split(";")]
        else:
            classes = [[entry.strip()] for entry in labels.split(",")]
    elif isinstance(labels, list | tuple):
        if not labels:
            raise ValueError(f'`{argument}` is an empty list: give at least one label, such as ["cat", "grass"].')
        classes = []
        for index, entry in enumerate(labels):
            names = [entry] if isinstance(entry, str) else entry
            if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
                raise TypeError(
                    f"`{argument}[{index}]` must be a string or a list of strings (synonyms), got {entry!r}."
                )
            classes.append(list(names))
    else:
        raise TypeError(f"`{argument}` must be a string or a list of labels, got {type(labels).__name__}.")

    seen: dict[tuple[str, ...], int] = {}
    for index, names in enumerate(classes):
        if not names or not all(name.strip() for name in names):
            raise ValueError(f"Label {index + 1} of {len(classes)} is empty: {_spell(names)}. Leave it out.")
        spelled = tuple(" ".join(name.lower().split()) for name in names)
        if len(set(spelled)) < len(spelled):
            raise ValueError(f"Label {index + 1} has the same synonym twice: {_spell(names)}. Leave one out.")
        if spelled in seen:
            raise ValueError(
                f"Labels {seen[spelled] + 1} and {index + 1} are the same: {_spell(names)}. Leave one out."
            )
        seen[spelled] = index
    return [names[0] if len(names) == 1 else names for names in classes]


def _spell(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else repr(names)


def _check_templates(prompt_templates: str | Sequence[str]) -> list[str]:
    """The sentences of a set of templates, given by its name or as a list."""
    if isinstance(prompt_templates, str):
        if prompt_templates not in TEMPLATE_SETS:
            raise ValueError(
                f"`prompt_templates={prompt_templates!r}` is no set of templates: use one of "
                f"{sorted(TEMPLATE_SETS)}, or "
                'a list of sentences with one {} each, such as ["a photo of a {}."].'
            )
        return list(TEMPLATE_SETS[prompt_templates])
    if not isinstance(prompt_templates, list | tuple):
        raise TypeError(
            f"`prompt_templates` must be the name of a set or a list, got {type(prompt_templates).__name__}."
        )
    if not prompt_templates:
        raise ValueError('`prompt_templates` is empty: give at least one sentence, such as "a photo of a {}.".')
    for template in prompt_templates:
        if not isinstance(template, str) or template.count("{}") != 1:
            raise ValueError(f"The prompt template {template!r} must be a string that contains {{}} exactly once.")
    return list(prompt_templates)


class CatSegTextKwargs(TextKwargs, total=False):
    r"""
    prompt_templates (`str` or `list[str]`, *optional*, defaults to `self.prompt_templates`):
        Sentences with one `{}` each, or the name of a set of them.
    """

    prompt_templates: str | list[str] | tuple[str, ...]


class CatSegProcessorKwargs(ProcessingKwargs, total=False):
    text_kwargs: CatSegTextKwargs
    _defaults = {"text_kwargs": {"padding": "longest"}, "common_kwargs": {"return_tensors": "pt"}}


class CatSegProcessor(ProcessorMixin):
    r"""Processor of CAT-Seg: an image processor, a CLIP tokenizer and prompt templates.

    Args:
        image_processor ([`CatSegImageProcessor`]):
            Makes views of images.
        tokenizer ([`CLIPTokenizer`]):
            Makes token ids of prompts.
        prompt_templates (`str` or `list[str]`, *optional*, defaults to `"cvpr"`):
            Sentences with one `{}` each, as the model was trained with; or the name of a set of them: `"cvpr"` (one, of
            CVPR 2024), `"imagenet"` (80, of v1 and MMSegmentation), `"imagenet_select"` (8). Saved with the processor.
        synonyms (`"first"`, `"mean"` or `"max"`, *optional*):
            What the model makes of several names of a class (`config.synonyms`). With `"first"` the others are not even
            tokenized. `None` leaves the choice to the model.

    Raises:
        ValueError: If an argument has a value that is not allowed; the message says which are.
        TypeError: If an argument is of a wrong type.

    Example:

    ```python
    >>> from catseg_hf import CatSegProcessor

    >>> processor = CatSegProcessor.from_pretrained("path/to/model")
    >>> inputs = processor(images=image, text=["cat", ["grass", "lawn"]])
    ```
    """

    valid_processor_kwargs = CatSegProcessorKwargs

    def __init__(
        self,
        image_processor: Any = None,
        tokenizer: Any = None,
        prompt_templates: str | Sequence[str] = "cvpr",
        synonyms: Literal["first", "mean", "max"] | None = None,
    ) -> None:
        if synonyms not in ("first", "mean", "max", None):
            raise ValueError(f'`synonyms` must be "first", "mean", "max" or None, got {synonyms!r}.')
        self.prompt_templates = _check_templates(prompt_templates)
        self.synonyms = synonyms
        super().__init__(image_processor, tokenizer)

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | Sequence[str | Sequence[str]] | None = None,
        segmentation_maps: ImageInput | None = None,
        **kwargs: Unpack[CatSegProcessorKwargs],
    ) -> BatchFeature:
        r"""Makes the model's inputs from images, from labels, or from both.

        The labels are the vocabulary of the whole call, shared by all images.

        Args:
            images (`ImageInput`, *optional*):
                An image or a list of images; see [`CatSegImageProcessor.preprocess`].
            text (`str` or `Sequence[str | Sequence[str]]`, *optional*):
                Labels, as [`parse_labels`] takes them: `["cat", "grass"]`, `["cat", ["grass", "lawn"]]` with synonyms,
                or `"cat, grass"`.
            segmentation_maps (`ImageInput`, *optional*):
                One map of class ids for each image; see [`CatSegImageProcessor.preprocess`].
            **kwargs ([`CatSegProcessorKwargs`], *optional*):
                Attributes of the image processor; `prompt_templates` for this call, instead of those of the processor;
                `return_tensors` (`"pt"` by default); `padding`: `"longest"` (the default, as long as the longest prompt
                of the call) or `"max_length"`, with `max_length` (77).

        Returns:
            `BatchFeature`: What the image processor returns, and with T labels, P templates and prompts of L tokens:
            - **input_ids** (`torch.LongTensor` of shape `(T, P, L)`): Padded with the tokenizer's padding token. With
              synonyms, at most S of a label, `(T, P, S, L)`; those that a label has fewer are all zeros.
            - **attention_mask** (`torch.LongTensor` like `input_ids`): 1 for tokens, 0 for padding.

        Raises:
            ValueError: If labels are empty, duplicate or too long, or another argument has a value that is not allowed;
                the message names them.
            TypeError: If an argument is unknown or of a wrong type.
        """
        if images is None and text is None:
            raise ValueError("Give `images`, `text` or both.")
        if images is None and segmentation_maps is not None:
            raise ValueError("`segmentation_maps` need `images`.")
        self._check_names(kwargs)
        merged = self._merge_kwargs(CatSegProcessorKwargs, tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        data: dict[str, Any] = {}
        if text is not None:
            data.update(self._tokenize(parse_labels(text), **merged["text_kwargs"]))
        if images is not None:
            if segmentation_maps is not None:
                merged["images_kwargs"]["segmentation_maps"] = segmentation_maps
            data.update(self.image_processor(images, **merged["images_kwargs"]))
        return_tensors = merged["text_kwargs"]["return_tensors"]
        if return_tensors is None:
            data = {name: values.tolist() if torch.is_tensor(values) else values for name, values in data.items()}
        return BatchFeature(data, tensor_type=return_tensors)

    def _check_names(self, kwargs: dict[str, Any]) -> None:
        # Transformers only warns of arguments that it does not know, and then ignores them.
        known = {
            *TextKwargs.__annotations__,
            *CatSegTextKwargs.__annotations__,
            *ImagesKwargs.__annotations__,
            *CatSegProcessorKwargs.__annotations__,
        }
        known |= {*self.image_processor.valid_kwargs.__annotations__, "common_kwargs"}
        unknown = sorted(set(kwargs) - known)
        if unknown:
            raise TypeError(
                f"Unknown arguments {unknown}: beside `images`, `text`, `segmentation_maps` and `prompt_templates`, "
                f"the image processor's are allowed: {sorted(self.image_processor.valid_kwargs.__annotations__)}."
            )

    def _tokenize(
        self,
        labels: list[Label],
        prompt_templates: str | Sequence[str] | None = None,
        padding: bool | str | None = "longest",
        max_length: int | None = None,
        **kwargs: Any,
    ) -> dict[str, torch.Tensor]:
        """Token ids and attention mask of all prompts; see `__call__`."""
        if padding not in (True, None, "longest", "max_length"):
            raise ValueError(f'`padding` must be "longest" or "max_length", got {padding!r}: prompts form one tensor.')
        templates = self.prompt_templates if prompt_templates is None else _check_templates(prompt_templates)
        classes = [[label] if isinstance(label, str) else label for label in labels]
        if self.synonyms == "first":
            classes = [names[:1] for names in classes]
        # Which label, template and synonym each prompt is of
        places = [
            (label, template, synonym)
            for label, names in enumerate(classes)
            for template in range(len(templates))
            for synonym in range(len(names))
        ]
        prompts = [templates[template].replace("{}", classes[label][synonym]) for label, template, synonym in places]
        # As the original's tokenizer: web data spells "&" as "&amp;", at times twice.
        prompts = [html.unescape(html.unescape(prompt)) for prompt in prompts]
        tokens = self.tokenizer(prompts, padding=False, truncation=False, verbose=False)["input_ids"]

        limit = min(self.tokenizer.model_max_length, CONTEXT_LENGTH)
        for (label, template, synonym), ids in zip(places, tokens, strict=True):
            name = classes[label][synonym]
            if len(ids) > limit:
                raise ValueError(
                    f"Label {label + 1}, {textwrap.shorten(name, 80)!r}, is too long: with the template "
                    f"{templates[template]!r} it has {len(ids)} tokens, and the model reads at most {limit}. Shorten "
                    "it."
                )
            if self.tokenizer.eos_token_id in ids[:-1]:
                raise ValueError(
                    f"Label {label + 1}, {name!r}, contains {self.tokenizer.eos_token!r}, the mark of a prompt's end. "
                    "Leave it out."
                )
        unknown = self.unknown_words(labels)
        if unknown:
            logger.warning("This model does not know the words %s: it cannot find what they name.", ", ".join(unknown))
        length = max(len(ids) for ids in tokens)
        if padding == "max_length":
            length = max(length, max_length or limit)

        num_synonyms = max(len(names) for names in classes)
        shape = (len(classes), len(templates), num_synonyms, length)
        input_ids = torch.zeros(shape, dtype=torch.int64)
        attention_mask = torch.zeros(shape, dtype=torch.int64)
        pad_id = self.tokenizer.pad_token_id or 0
        padded = torch.tensor([ids + [pad_id] * (length - len(ids)) for ids in tokens])
        lengths = torch.tensor([len(ids) for ids in tokens])
        index = torch.tensor(places).unbind(dim=1)
        input_ids[index] = padded
        attention_mask[index] = (torch.arange(length) < lengths[:, None]).long()
        if num_synonyms == 1:
            input_ids, attention_mask = input_ids[:, :, 0], attention_mask[:, :, 0]
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def unknown_words(self, labels: str | Sequence[str | Sequence[str]]) -> list[str]:
        """The words that the tokenizer has no token for; a call with such labels warns of them.

        CLIP's tokenizer spells words that it does not know, so this is always empty for released models. `catseg-tiny`
        has a token for each of its few words, and one for all others.

        Args:
            labels (`str` or `Sequence[str | Sequence[str]]`): Labels, as [`parse_labels`] takes them.

        Returns:
            `list[str]`: The words, each once.

        Raises:
            ValueError: If there are no labels, or empty or duplicate ones.
            TypeError: If a label is neither a string nor a list of strings.
        """
        unknown_id = self.tokenizer.unk_token_id
        if unknown_id is None or unknown_id == self.tokenizer.eos_token_id:
            return []
        names = [name for label in parse_labels(labels) for name in ([label] if isinstance(label, str) else label)]
        words = dict.fromkeys(word for name in names for word in name.split())
        return [word for word in words if unknown_id in self.tokenizer(word, add_special_tokens=False)["input_ids"]]

    def save_pretrained(self, *args: Any, include_code: bool = False, **kwargs: Any) -> Any:
        """As in Transformers.

        Args:
            args, kwargs: As in Transformers: the folder, `push_to_hub`, ...
            include_code (`bool`, *optional*, defaults to `False`):
                Whether to add this package's code, for machines that have only Transformers and load the folder with
                `trust_remote_code=True`.
        """
        from .pipeline_catseg import include_code_of  # here, since that file imports this one

        with include_code_of(self) if include_code else nullcontext():
            return super().save_pretrained(*args, **kwargs)

    def push_to_hub(self, *args: Any, include_code: bool = False, **kwargs: Any) -> str:
        """As in Transformers; `include_code` as for [`save_pretrained`]."""
        from .pipeline_catseg import include_code_of

        with include_code_of(self) if include_code else nullcontext():
            return super().push_to_hub(*args, **kwargs)

    def _upload_modified_files(self, working_dir: str | os.PathLike, repo_id: str, *args: Any, **kwargs: Any) -> Any:
        # Transformers puts the card of the main branch into the folder; one that the pushed branch has already stays.
        try:
            from catseg_hf.model_card import settle_pushed_card
        except ImportError:  # remote code, on a machine without the package
            pass
        else:
            settle_pushed_card(working_dir, repo_id, revision=kwargs.get("revision"), token=kwargs.get("token"))
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def post_process_semantic_segmentation(self, *args: Any, **kwargs: Any) -> Any:
        """Label maps of the model's outputs; see [`CatSegImageProcessor.post_process_semantic_segmentation`]."""
        return self.image_processor.post_process_semantic_segmentation(*args, **kwargs)

    def post_process_best_classes(self, *args: Any, **kwargs: Any) -> Any:
        """Best class and score of each pixel; see [`CatSegImageProcessor.post_process_best_classes`]."""
        return self.image_processor.post_process_best_classes(*args, **kwargs)

    def post_process_class_scores(self, *args: Any, **kwargs: Any) -> Any:
        """Score maps of classes; see [`CatSegImageProcessor.post_process_class_scores`]."""
        return self.image_processor.post_process_class_scores(*args, **kwargs)


__all__ = ["CatSegProcessor", "parse_labels"]
