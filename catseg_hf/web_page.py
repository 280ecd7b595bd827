# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The web page of `catseg demo`: a photo and labels in, an overlay, scores and heat maps out."""

import html
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers.utils import logging

import catseg_hf
from catseg_hf.model_folders import find_model
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
from catseg_hf.photo_segmenter import pick_device
from catseg_hf.photos import MAX_BYTES, read_photo
from catseg_hf.processing_catseg import CatSegProcessor, Label, parse_labels
from catseg_hf.scenes import COLORS, GROUND, PATTERNS, SHAPES, draw_scene
from catseg_hf.segment_outputs import NO_CLASS, Segmentation
from catseg_hf.visualization import MIN_WIDTH, heat_map, overlay


try:
    import gradio as gr
except ImportError as error:
    raise ImportError('The web page needs Gradio: `pip install "catseg-hf[demo]"`.') from error


# Names in one request, synonyms counted, and letters of all of them.
MAX_NAMES, MAX_LETTERS = 64, 8000
# Longer side, in pixels, of the pictures on the page, and of the score maps that wait for a click.
SHOWN_SIZE, SCORES_SIZE = 1024, 256
# Visitors whose last photo is kept, at most 20 MB each, and requests that may wait.
MAX_SESSIONS, QUEUE_SIZE = 32, 32
# Uploads and pictures are deleted after an hour, and looked for every ten minutes.
DELETE_CACHE = (600, 3600)
EXAMPLE_SEEDS, EXAMPLE_SIZE = (1, 2, 3), 512

INTRODUCTION = """\
# Segment a photo in your own words

Type what to look for. Every pixel gets the best of your labels, so name what is around your subject as well. Commas
separate labels; with semicolons between labels, commas separate synonyms: `cat, kitten; grass, lawn`.
"""
TINY_INTRODUCTION = f"""
The small model that comes with the package knows drawn shapes only: *{", ".join(SHAPES)}*; *{", ".join(PATTERNS)}*;
*{", ".join(COLORS)}*; and *{GROUND}* for what is around them.
"""
CSS = """
#overlay img { cursor: crosshair; }
.unknown-words { border-left: 4px solid #d97706; padding: 0.5em 1em; }
"""


@dataclass(frozen=True, eq=False)
class SegmentedPhoto:
    """What toggles, threshold and clicks are answered from, without the network.

    Args:
        segmentation ([`Segmentation`]): Of the photo at the size that the page shows.
        class_scores (`np.ndarray` of shape `(T, height, width)`): Smaller score maps of all classes, float16.
        limits (`tuple[float, float]`, *optional*): What [`heat_map`] takes for them.
    """

    segmentation: Segmentation
    class_scores: np.ndarray
    limits: tuple[float, float] | None

    def draw(self, visible: Sequence[int], threshold: float) -> Image.Image:
        """The overlay of some of the classes.

        Args:
            visible (`Sequence[int]`): Ids of the classes to colour.
            threshold (`float`): Least score of a coloured pixel.

        Returns:
            `PIL.Image.Image`: The picture, with a legend.
        """
        found = self.segmentation
        is_visible = np.isin(found.class_ids, visible) & (found.scores >= threshold)
        ids = np.where(is_visible, found.class_ids, NO_CLASS)
        return overlay(found.picture, ids, found.labels, background_id=NO_CLASS)

    def draw_scores(self, class_id: int) -> Image.Image:
        """The heat map of a class.

        Args:
            class_id (`int`): Which one.

        Returns:
            `PIL.Image.Image`: The picture, with a colour scale.
        """
        scores = self.class_scores[class_id].astype(np.float32)
        return heat_map(self.segmentation.picture, scores, self.segmentation.labels[class_id], self.limits)

    def class_at(self, column: int, row: int) -> int | None:
        """The class at a place of the overlay.

        Args:
            column, row (`int`): In pixels of the picture that [`draw`] returns.

        Returns:
            `int`, *optional*: `None` beside the photo, as on the legend.
        """
        height, width = self.segmentation.class_ids.shape
        column -= (max(width, MIN_WIDTH) - width) // 2
        if not (0 <= column < width and 0 <= row < height):
            return None
        return int(self.segmentation.class_ids[row, column])


class PageModel:
    """A model as the page uses it: a photo and a line of labels at a time.

    Args:
        name (`str`): As [`find_model`] takes it.

    Raises:
        ValueError: If there is no such model.
    """

    def __init__(self, name: str) -> None:
        self.folder = find_model(name)
        self.device = pick_device("auto")
        logging.disable_progress_bar()
        self.processor = CatSegProcessor.from_pretrained(self.folder)
        self.network = CatSegForSemanticSegmentation.from_pretrained(self.folder).to(self.device).eval()

    @torch.inference_mode()
    def segment(self, path: str | None, labels: Sequence[Label]) -> SegmentedPhoto:
        """Segments a photo.

        Args:
            path (`str`, *optional*): Of its file.
            labels (`Sequence[str | list[str]]`): The classes.

        Returns:
            [`SegmentedPhoto`]

        Raises:
            ValueError: If there is no photo, it cannot be read, or a label is too long.
        """
        if path is None:
            raise ValueError("There is no photo: choose one.")
        try:
            photo = read_photo(path)
        except Exception as error:  # decoders raise errors of all kinds on damaged files
            raise ValueError(f"The photo cannot be read as a picture: {error or type(error).__name__}") from error
        outputs = self.network(**self.processor(images=photo, text=labels).to(self.device))

        picture = photo.resize(_fitted(photo.size, SHOWN_SIZE), Image.Resampling.LANCZOS)
        class_ids, scores = self.processor.post_process_best_classes(outputs, [(picture.height, picture.width)])[0]
        width, height = _fitted(photo.size, SCORES_SIZE)
        class_scores = self.processor.post_process_class_scores(outputs, [(height, width)])[0]
        segmentation = Segmentation(
            "photo", picture, labels, class_ids.cpu().numpy().astype(np.int16), scores.float().cpu().numpy()
        )
        # The raw scores of MMSegmentation's models have no limits.
        limits = None if self.processor.image_processor.score_function == "softmax" else (0.0, 1.0)
        return SegmentedPhoto(segmentation, class_scores.half().cpu().numpy(), limits)


def read_labels(text: str) -> list[Label]:
    """The labels that a visitor typed.

    Args:
        text (`str`): As [`parse_labels`] takes them.

    Returns:
        `list[str | list[str]]`

    Raises:
        ValueError: If there are none or too many, or some are empty or the same.
    """
    number = len(re.split("[,;]", text))
    if number > MAX_NAMES:
        raise ValueError(f"There are {number} names, and this page takes at most {MAX_NAMES}: leave some out.")
    if len(text) > MAX_LETTERS:
        raise ValueError(
            f"The labels have {len(text)} letters, and this page takes at most {MAX_LETTERS}: shorten them."
        )
    return parse_labels(text, "labels")


def build_page(model_name: str) -> gr.Blocks:
    """Makes the page for a model; [`start_page`] serves it.

    Args:
        model_name (`str`): As [`find_model`] takes it.

    Returns:
        `gr.Blocks`

    Raises:
        ValueError: If there is no such model.
    """
    model = PageModel(model_name)
    is_tiny = model.folder == catseg_hf.TINY

    def segment(path: str | None, text: str, threshold: float) -> tuple[Any, ...]:
        labels = read_labels(text)
        unknown = model.processor.unknown_words(labels)
        result = model.segment(path, labels)
        choices, found = _choices(result.segmentation)
        names = [(label, index) for index, label in enumerate(result.segmentation.names)]
        return (
            result,
            gr.HTML(_unknown_words_notice(unknown), visible=bool(unknown)),
            result.draw(found, threshold),
            gr.CheckboxGroup(choices, value=found, visible=True),
            gr.Dropdown(names, value=0, visible=True),
            result.draw_scores(0),
        )

    def draw(result: SegmentedPhoto | None, visible: list[int], threshold: float) -> Image.Image | None:
        return None if result is None else result.draw(visible, threshold)

    def choose_at(result: SegmentedPhoto | None, place: gr.SelectData) -> tuple[Any, Any]:
        class_id = None if result is None else result.class_at(*place.index)
        return (gr.skip(), gr.skip()) if class_id is None else (class_id, draw_scores(result, class_id))

    def draw_scores(result: SegmentedPhoto | None, class_id: int) -> Any:
        return gr.skip() if result is None else result.draw_scores(class_id)

    with gr.Blocks(analytics_enabled=False, title="CAT-Seg", delete_cache=DELETE_CACHE) as page:
        gr.Markdown(INTRODUCTION + (TINY_INTRODUCTION if is_tiny else f"\nModel: `{model_name}`"))
        result = gr.State()
        shown = {"format": "png", "interactive": False, "show_label": False, "buttons": ["download", "fullscreen"]}
        with gr.Row():
            with gr.Column(scale=1):
                photo = gr.Image(
                    type="filepath",
                    format="png",
                    sources=["upload", "clipboard"],
                    label="Photo",
                    height=320,
                    elem_id="photo",
                )
                # Gradio would open the file before, with errors of its own.
                photo.preprocess = lambda payload: None if payload is None else payload.path
                placeholder = f"striped red circle, something blue, {GROUND}" if is_tiny else "cat, grass, sky"
                labels = gr.Textbox(label="Labels", placeholder=placeholder, max_lines=4, max_length=MAX_LETTERS)
                button = gr.Button("Segment", variant="primary")
                examples = _add_examples(photo, labels) if is_tiny else None
            with gr.Column(scale=2):
                notice = gr.HTML(visible=False)
                with gr.Row():
                    with gr.Column(min_width=300):
                        picture = gr.Image(
                            **shown, label="Overlay", alt_text="The photo with its classes", elem_id="overlay"
                        )
                        toggles = gr.CheckboxGroup(
                            label="Show",
                            info="Labels, with the mean score of their pixels",
                            show_select_all=True,
                            visible=False,
                        )
                        threshold = gr.Slider(
                            0, 1, value=0, step=0.01, label="Threshold", info="Pixels that score less stay uncoloured"
                        )
                    with gr.Column(min_width=300):
                        scores = gr.Image(
                            **shown, label="Heat map", alt_text="Where a label scores high", elem_id="heat-map"
                        )
                        choice = gr.Dropdown(
                            label="Heat map", info="Choose a label, or click in the other picture", visible=False
                        )
        inputs, outputs = [photo, labels, threshold], [result, notice, picture, toggles, choice, scores]
        for event in (button.click, labels.submit, *([] if examples is None else [examples.success])):
            event(
                _shows_errors(segment),
                inputs,
                outputs,
                scroll_to_output=True,
                show_progress_on=picture,
                # One photo at a time, whichever way it is asked for.
                concurrency_id="network",
                concurrency_limit=1,
                api_visibility="private",
            )
        quick = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
        for event in (toggles.input, threshold.input):
            event(draw, [result, toggles, threshold], picture, **quick)
        picture.select(choose_at, result, [choice, scores], **quick)
        choice.input(draw_scores, [result, choice], scores, **quick)
    return page.queue(max_size=QUEUE_SIZE)


def _add_examples(photo: gr.Image, labels: gr.Textbox) -> Any:
    """Adds drawn scenes to the page, and returns the event of a click on one, which fills in photo and labels."""
    scenes = [draw_scene(seed, EXAMPLE_SIZE) for seed in EXAMPLE_SEEDS]
    gallery = gr.Dataset(
        components=[gr.Image(format="png", visible=False)],
        samples=[[scene.image] for scene in scenes],
        type="index",
        label="Examples",
        elem_id="examples",
    )

    def choose(index: int) -> tuple[Image.Image, str]:
        return scenes[index].image, ", ".join([*scenes[index].names, GROUND])

    return gallery.click(choose, gallery, [photo, labels], show_progress="hidden", api_visibility="private")


def start_page(page: gr.Blocks, host: str | None = None, port: int | None = None) -> str:
    """Serves a page, in threads of its own; `page.block_thread()` waits until Ctrl-C.

    Args:
        page (`gr.Blocks`): What [`build_page`] returned.
        host (`str`, *optional*):
            Where to serve it, such as `"0.0.0.0"` for other machines. By default what `GRADIO_SERVER_NAME` says, as in
            a Space, or this machine only.
        port (`int`, *optional*): By default what `GRADIO_SERVER_PORT` says, or the first free one from 7860.

    Returns:
        `str`: Address of the page.

    Raises:
        OSError: If the port is taken, or there is no such host.
    """
    try:
        # Gradio would try a hundred ports of a host that is not there.
        socket.create_server((host or "", port or 0)).close()
    except OSError as error:
        where = f"host {host}, port {port}" if port else f"host {host}"
        reason = error.strerror.partition(" (")[0]
        raise OSError(f"There can be no page at {where}: {reason}. Choose another.") from error
    _, address, _ = page.launch(
        server_name=host,
        server_port=port,
        prevent_thread_lock=True,
        quiet=True,
        share=False,
        css=CSS,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        state_session_capacity=MAX_SESSIONS,
        max_file_size=MAX_BYTES,
    )
    return address


def _shows_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose errors with a message for people appear on the page."""

    @wraps(function)
    def run(*args: Any) -> Any:
        try:
            return function(*args)
        except (OSError, TypeError, ValueError) as error:
            # Shown as HTML, and labels may look like some.
            raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from error

    return run


def _choices(segmentation: Segmentation) -> tuple[list[tuple[str, int]], list[int]]:
    """Texts and ids of all labels, and the ids of those in the photo; the largest first, as in the legend."""
    segments = sorted(segmentation.segments(), key=lambda segment: -segment["area"])
    found = [segment["id"] for segment in segments]
    choices = [(f"{segment['label']} · {segment['score']:.2f}", segment["id"]) for segment in segments]
    choices += [(f"{label} · nowhere", index) for index, label in enumerate(segmentation.names) if index not in found]
    return choices, found


def _unknown_words_notice(words: Sequence[str]) -> str:
    listed = ", ".join(f"“{html.escape(word)}”" for word in words)
    return (
        f'<div class="unknown-words" role="alert">The model does not know {listed}, and cannot find it. '
        "Try other words.</div>"
    )


def _fitted(size: tuple[int, int], longer_side: int) -> tuple[int, int]:
    scale = longer_side / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


__all__ = ["PageModel", "SegmentedPhoto", "build_page", "read_labels", "start_page"]
