# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Processor of CAT-Seg: images to views, labels and prompt templates to token ids."""

import os
import textwrap
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from transformers.feature_extraction_utils import BatchFeature
from transformers.image_utils import ImageInput
from transformers.processing_utils import ImagesKwargs, ProcessingKwargs, ProcessorMixin, TextKwargs
from transformers.utils import logging

from .image_processing_catseg import Views, view_arguments
from .prompts_catseg import Label, Labels, Prompt, check_templates, make_prompts, parse_labels
from .remote_code_catseg import include_code_of


logger = logging.get_logger(__name__)

# Every CLIP model reads at most so many tokens.
CONTEXT_LENGTH = 77
# Of those that a model does not know, in a warning.
SHOWN_WORDS = 20


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
        self.prompt_templates = check_templates(prompt_templates)
        self.synonyms = synonyms
        super().__init__(image_processor, tokenizer)

    def __call__(
        self,
        images: ImageInput | None = None,
        text: Labels | None = None,
        segmentation_maps: ImageInput | None = None,
        **kwargs: Any,
    ) -> BatchFeature:
        r"""Makes the model's inputs from images, from labels, or from both.

        The labels are the vocabulary of the whole call, shared by all images.

        Args:
            images (`ImageInput`, *optional*):
                An image or a list of images; see [`CatSegImageProcessor.preprocess`].
            text (`str` or `Iterable[str | Iterable[str]]`, *optional*):
                Labels, as [`parse_labels`] takes them: `["cat", "grass"]`, `["cat", ["grass", "lawn"]]` with synonyms,
                or `"cat, grass"`.
            segmentation_maps (`ImageInput`, *optional*):
                One map of class ids for each image; see [`CatSegImageProcessor.preprocess`].
            **kwargs ([`CatSegProcessorKwargs`], *optional*):
                Attributes of the image processor, and its `device`; `prompt_templates` for this call, instead of those
                of the processor;
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

    def with_views(self, views: Views | None) -> "CatSegProcessor":
        """The same processor, which cuts photos into another number of views.

        Args:
            views (`"one"` or `"sliding"`, *optional*): As [`view_arguments`] takes them; `None` changes nothing.

        Returns:
            [`CatSegProcessor`]

        Raises:
            ValueError: If `views` is something else.
        """
        arguments = view_arguments(views)
        if not arguments:
            return self
        image_processor = type(self.image_processor).from_dict({**self.image_processor.to_dict(), **arguments})
        return type(self)(image_processor, self.tokenizer, self.prompt_templates, self.synonyms)

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
            misspelt = sorted({*unknown} & {"labels", "label", "texts", "candidate_labels", "classes", "prompts"})
            advice = f"Class names are given as `text`, not `{misspelt[0]}`. " if misspelt else ""
            raise TypeError(
                f"{advice}Unknown arguments {unknown}: beside `images`, `text`, `segmentation_maps` and "
                "`prompt_templates`, the image processor's are allowed: "
                f"{sorted(self.image_processor.valid_kwargs.__annotations__)}."
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
        templates = self.prompt_templates if prompt_templates is None else check_templates(prompt_templates)
        classes = [[label] if isinstance(label, str) else label for label in labels]
        if self.synonyms == "first":
            classes = [names[:1] for names in classes]
        prompts = make_prompts(classes, templates)
        tokens = self.tokenizer([prompt.text for prompt in prompts], padding=False, truncation=False, verbose=False)
        tokens = tokens["input_ids"]
        limit = min(self.tokenizer.model_max_length, CONTEXT_LENGTH)
        for prompt, ids in zip(prompts, tokens, strict=True):
            self._check_prompt(prompt, ids, classes[prompt.label][prompt.synonym], templates[prompt.template], limit)
        unknown = self.unknown_words(labels)
        if unknown:
            more = [f"{len(unknown) - SHOWN_WORDS} more"] if len(unknown) > SHOWN_WORDS else []
            listed = ", ".join([*unknown[:SHOWN_WORDS], *more])
            logger.warning("This model does not know the words %s: it cannot find what they name.", listed)
        length = max(len(ids) for ids in tokens)
        if padding == "max_length":
            length = max(length, max_length or limit)

        num_synonyms = max(len(names) for names in classes)
        shape = (len(classes), len(templates), num_synonyms, length)
        input_ids = torch.zeros(shape, dtype=torch.int64)
        attention_mask = torch.zeros(shape, dtype=torch.int64)
        pad_id = self.tokenizer.pad_token_id or 0
        lengths = torch.tensor([len(ids) for ids in tokens])
        places = torch.tensor([prompt[:3] for prompt in prompts]).unbind(dim=1)  # label, template, synonym of each
        input_ids[places] = torch.tensor([ids + [pad_id] * (length - len(ids)) for ids in tokens])
        attention_mask[places] = (torch.arange(length) < lengths[:, None]).long()
        if num_synonyms == 1:
            input_ids, attention_mask = input_ids[:, :, 0], attention_mask[:, :, 0]
        return {"input_ids": input_ids, "attention_mask": attention_mask}

    def _check_prompt(self, prompt: Prompt, token_ids: list[int], name: str, template: str, limit: int) -> None:
        if len(token_ids) > limit:
            raise ValueError(
                f"Label {prompt.label + 1}, {textwrap.shorten(name, 80)!r}, is too long: with the template "
                f"{template!r} it has {len(token_ids)} tokens, and the model reads at most {limit}. Shorten it."
            )
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        if token_ids[-1:] != [end] or (start is not None and token_ids[0] != start):
            raise ValueError(
                f"The tokenizer makes {token_ids} of {prompt.text!r}, without the marks of a prompt's start and end "
                f"({start} and {end}): its files are damaged, or of another model."
            )
        for mark, inside, what in ((start, token_ids[1:], "start"), (end, token_ids[:-1], "end")):
            if mark is not None and mark in inside:
                raise ValueError(
                    f"Label {prompt.label + 1}, {name!r}, contains {self.tokenizer.decode(mark)!r}, the mark of a "
                    f"prompt's {what}. Leave it out."
                )
        if len(token_ids) <= 1 + (start is not None):
            raise ValueError(
                f"Label {prompt.label + 1}, {name!r}, is nothing to the tokenizer of this model: use letters and words."
            )

    def unknown_words(self, labels: Labels) -> list[str]:
        """The words that the tokenizer has no token for; a call with such labels warns of them.

        CLIP's tokenizer spells words that it does not know, so this is always empty for released models. `catseg-tiny`
        has a token for each of its few words, and one for all others.

        Args:
            labels (`str` or `Iterable[str | Iterable[str]]`): Labels, as [`parse_labels`] takes them.

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
        with include_code_of(self) if include_code else nullcontext():
            return super().save_pretrained(*args, **kwargs)

    def push_to_hub(self, *args: Any, include_code: bool = False, **kwargs: Any) -> str:
        """As in Transformers; `include_code` as for [`save_pretrained`]."""
        with include_code_of(self) if include_code else nullcontext():
            return super().push_to_hub(*args, **kwargs)

    def _upload_modified_files(self, working_dir: str | os.PathLike, repo_id: str, *args: Any, **kwargs: Any) -> Any:
        # Transformers puts the card of the main branch into the folder; one that the pushed branch has already stays.
        try:
            from catseg_hf.cards import settle_pushed_card
        except ImportError:  # remote code, on a machine without the package
            pass
        else:
            settle_pushed_card(working_dir, repo_id, revision=kwargs.get("revision"), token=kwargs.get("token"))
        return super()._upload_modified_files(working_dir, repo_id, *args, **kwargs)

    def post_process_semantic_segmentation(self, *args: Any, **kwargs: Any) -> Any:
        """Label maps of the model's outputs; see [`CatSegImageProcessor.post_process_semantic_segmentation`]."""
        return self.image_processor.post_process_semantic_segmentation(*args, **kwargs)

    def post_process_best_classes(self, *args: Any, **kwargs: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Best class and score of each pixel; see [`CatSegImageProcessor.post_process_best_classes`]."""
        return self.image_processor.post_process_best_classes(*args, **kwargs)

    def post_process_class_scores(self, *args: Any, **kwargs: Any) -> list[torch.Tensor]:
        """Score maps of classes; see [`CatSegImageProcessor.post_process_class_scores`]."""
        return self.image_processor.post_process_class_scores(*args, **kwargs)


__all__ = ["CatSegProcessor"]
