# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""The web page of `catseg demo`: a photo and labels in, an overlay, scores and heat maps out."""

import html
import socket
from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple

from PIL import Image

import catseg_hf
from catseg_hf.app.page_model import MAX_LETTERS, PageModel, SegmentedPhoto, read_labels, unknown_words_notice
from catseg_hf.formats import ANNOTATION_FORMATS, find_format
from catseg_hf.image_processing_catseg import Views
from catseg_hf.others_catseg import OWN
from catseg_hf.scenes import COLORS, GROUND, PATTERNS, SHAPES, draw_scene
from catseg_hf.segmenting.only_named import NONE, others_by_default
from catseg_hf.segmenting.photo_reading import MAX_BYTES


try:
    import gradio as gr
    from gradio.processing_utils import save_bytes_to_cache
    from gradio.utils import get_upload_folder
except ImportError as error:
    raise ImportError('The web page needs Gradio: `pip install "catseg-hf[demo]"`.') from error


# Visitors whose last photo is kept, at most 20 MB each, and requests that may wait.
MAX_SESSIONS, QUEUE_SIZE = 32, 32
# Uploads and pictures are deleted after an hour, and looked for every ten minutes.
DELETE_CACHE = (600, 3600)
EXAMPLE_SEEDS, EXAMPLE_SIZE = (1, 2, 3), 512
# Of components that show pictures.
SHOWN = {"format": "png", "interactive": False, "show_label": False, "buttons": ["download", "fullscreen"]}
# Of events that need no network.
QUICK = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}

INTRODUCTION = """\
# Segment a photo in your own words

Type what to look for. A single label gets what it names; of several, every pixel gets the best. Commas separate labels;
with semicolons between labels, commas separate synonyms: `cat, kitten; grass, lawn`.
"""
TINY_INTRODUCTION = f"""
The small model that comes with the package knows drawn shapes only: *{", ".join(SHAPES)}*; *{", ".join(PATTERNS)}*;
*{", ".join(COLORS)}*; and *{GROUND}* for what is around them.
"""
CSS = """
#overlay img { cursor: crosshair; }
.unknown-words { border-left: 4px solid #d97706; padding: 0.5em 1em; }
"""


class _Request(NamedTuple):
    """What a visitor fills in, and when it is to be answered."""

    photo: gr.Image
    labels: gr.Textbox
    only_these: gr.Checkbox
    is_chosen: gr.State  # whether the visitor has switched it
    events: list[Callable[..., Any]]


class _Answer(NamedTuple):
    """The components that show what was found."""

    notice: gr.HTML
    picture: gr.Image
    toggles: gr.CheckboxGroup
    threshold: gr.Slider
    scores: gr.Image
    choice: gr.Dropdown
    format: gr.Dropdown
    file: gr.DownloadButton


def build_page(model_name: str, views: Views | None = None) -> gr.Blocks:
    """Makes the page for a model; [`start_page`] serves it.

    Args:
        model_name (`str`): As [`find_model`] takes it.
        views (`"one"` or `"sliding"`, *optional*): As [`Segmenter`] takes it.

    Raises:
        ValueError: If there is no such model.
    """
    model = PageModel(model_name, views)
    is_tiny = model.network.name_or_path == catseg_hf.TINY
    with gr.Blocks(analytics_enabled=False, title="CAT-Seg", delete_cache=DELETE_CACHE) as page:
        gr.Markdown(INTRODUCTION + (TINY_INTRODUCTION if is_tiny else f"\nModel: `{model_name}`"))
        result = gr.State()
        with gr.Row():
            with gr.Column(scale=1):
                request = _add_request(is_tiny)
            with gr.Column(scale=2):
                answer = _add_answer()
        _answer_requests(model, request, answer, result)
        _answer_clicks(answer, result)
    return page.queue(max_size=QUEUE_SIZE)


def _add_request(is_tiny: bool) -> _Request:
    photo = gr.Image(
        type="filepath", format="png", sources=["upload", "clipboard"], label="Photo", height=320, elem_id="photo"
    )
    # Gradio would open the file before, with errors of its own.
    photo.preprocess = lambda payload: None if payload is None else payload.path
    placeholder = f"striped red circle, something blue, {GROUND}" if is_tiny else "cat, grass, sky"
    labels = gr.Textbox(label="Labels", placeholder=placeholder, max_lines=4, max_length=MAX_LETTERS)
    only_these = gr.Checkbox(
        label="Only these", info="What is none of the labels stays uncoloured; on by itself with a single label"
    )
    is_chosen = gr.State(False)
    only_these.input(lambda: True, None, is_chosen, **QUICK)
    button = gr.Button("Segment", variant="primary")
    events = [button.click, labels.submit]
    if is_tiny:
        events.append(_add_examples(photo, labels).success)
    return _Request(photo, labels, only_these, is_chosen, events)


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


def _add_answer() -> _Answer:
    notice = gr.HTML(visible=False)
    with gr.Row():
        with gr.Column(min_width=300):
            picture = gr.Image(**SHOWN, label="Overlay", alt_text="The photo with its classes", elem_id="overlay")
            toggles = gr.CheckboxGroup(
                label="Show", info="Labels, with the mean score of their pixels", show_select_all=True, visible=False
            )
            threshold = gr.Slider(
                0, 1, value=0, step=0.01, label="Threshold", info="Pixels that score less stay uncoloured"
            )
            formats = [(format.title, format.name) for format in ANNOTATION_FORMATS]
            format = gr.Dropdown(
                formats, label="Annotations", info="Outlines of what is coloured, for other tools", visible=False
            )
            file = gr.DownloadButton(visible=False)
        with gr.Column(min_width=300):
            scores = gr.Image(**SHOWN, label="Heat map", alt_text="Where a label scores high", elem_id="heat-map")
            choice = gr.Dropdown(label="Heat map", info="Choose a label, or click in the other picture", visible=False)
    return _Answer(notice, picture, toggles, threshold, scores, choice, format, file)


# ---- what happens ---------------------------------------------------------------------------------------------------


def _answer_requests(model: PageModel, request: _Request, answer: _Answer, result: gr.State) -> None:
    """Has the button, a return in the labels, and a chosen example segment the photo."""

    def segment(path: str | None, text: str, only: bool, is_chosen: bool, threshold: float) -> tuple[Any, ...]:
        labels = read_labels(text)
        others = others_by_default(labels, (OWN if only else NONE) if is_chosen else None)
        unknown = model.processor.unknown_words(labels)
        result = model.segment(path, labels, others)
        choices, found = result.choices()
        names = [(label, index) for index, label in enumerate(result.segmentation.names)]
        return (
            result,
            others == OWN,
            gr.HTML(unknown_words_notice(unknown), visible=bool(unknown)),
            result.draw(found, threshold),
            gr.CheckboxGroup(choices, value=found, visible=True),
            gr.Dropdown(names, value=0, visible=True),
            result.draw_scores(0),
            *_no_file(),
        )

    for event in request.events:
        event(
            _shows_errors(segment),
            [request.photo, request.labels, request.only_these, request.is_chosen, answer.threshold],
            [result, request.only_these, answer.notice, answer.picture, answer.toggles, answer.choice, answer.scores]
            + [answer.format, answer.file],
            scroll_to_output=True,
            show_progress_on=answer.picture,
            # One photo at a time, whichever way it is asked for.
            concurrency_id="network",
            concurrency_limit=1,
            api_visibility="private",
        )


def _answer_clicks(answer: _Answer, result: gr.State) -> None:
    """Has toggles, threshold, a click in the overlay, and the choice of a label or a format do what they are for."""
    shown = [result, answer.toggles, answer.threshold]
    for event in (answer.toggles.input, answer.threshold.input):
        event(_draw, shown, [answer.picture, answer.format, answer.file], **QUICK)
    answer.format.input(_shows_errors(_offer_file), [answer.format, *shown], answer.file, **QUICK)
    answer.picture.select(_choose_at, result, [answer.choice, answer.scores], **QUICK)
    answer.choice.input(_draw_scores, [result, answer.choice], answer.scores, **QUICK)


def _draw(result: SegmentedPhoto | None, visible: list[int], threshold: float) -> tuple[Any, ...]:
    return (gr.skip(),) * 3 if result is None else (result.draw(visible, threshold), *_no_file())


def _no_file() -> tuple[gr.Dropdown, gr.DownloadButton]:
    """No format is chosen: a file would be of what was shown before."""
    return gr.Dropdown(value=None, visible=True), gr.DownloadButton(visible=False)


def _offer_file(kind: str | None, result: SegmentedPhoto | None, visible: list[int], threshold: float) -> Any:
    if kind is None or result is None:
        return gr.DownloadButton(visible=False)
    name, content = result.annotations(find_format(kind), visible, threshold)
    # In Gradio's own folder, where it is deleted after an hour.
    path = save_bytes_to_cache(content, name, get_upload_folder())
    return gr.DownloadButton(f"Download {name}", value=path, visible=True)


def _choose_at(result: SegmentedPhoto | None, place: gr.SelectData) -> tuple[Any, Any]:
    class_id = None if result is None else result.class_at(*place.index)
    return (gr.skip(), gr.skip()) if class_id is None else (class_id, _draw_scores(result, class_id))


def _draw_scores(result: SegmentedPhoto | None, class_id: int) -> Any:
    return gr.skip() if result is None else result.draw_scores(class_id)


def _shows_errors(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose errors with a message for people appear on the page."""

    @wraps(function)
    def run(*args: Any) -> Any:
        try:
            return function(*args)
        except (ImportError, OSError, TypeError, ValueError) as error:
            # Shown as HTML, and labels may look like some.
            raise gr.Error(html.escape(str(error), quote=False), print_exception=False) from error

    return run


# ---- serving --------------------------------------------------------------------------------------------------------


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


__all__ = ["build_page", "start_page"]
