# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Measures time, memory and arithmetic of CAT-Seg, alone or side by side with other code.

    python examples/benchmark.py --num-classes 5 --num-classes 150
    python examples/benchmark.py --model path/to/model --task sliding --image-size 768x1024 --clipseg
    python examples/benchmark.py --task crop --task sliding --against other_code.py --json speed.json
    python examples/benchmark.py --suite gpu --against other_code.py

Tasks:

    crop         one view: normalised pixels and text embeddings to logits
    views        five views of a photo: normalised pixels and text embeddings to logits
    sliding      photo to label map: image processor, model with five views, post-processing
    one-view     photo to label map, the whole photo as one view
    folder       JPEGs to label maps in files, as `catseg segment` does it
    text         prompts to text embeddings
    postprocess  logits of five views to label map
    train        one training step with the text tower: forward, loss, backward, clipping, AdamW

Every measurement runs in a process of its own, so that its memory peak is its own. Those of one row take turns (A B A B
...), so that a change in the machine's speed meets all of them; only one of them computes at a time. Images and prompts
are random, and so are the weights unless a model is given: neither time nor memory depends on them. On a GPU, other
code computes in half precision under autocast, and the profiler counts the kernels of a call and how long they ran.
"""

import importlib.util
import itertools
import os
import platform
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from json import dumps as dump_json
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
import typer
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from transformers import BatchFeature, CLIPSegConfig, CLIPSegForImageSegmentation

from catseg_hf import (
    CatSegConfig,
    CatSegForSemanticSegmentation,
    CatSegImageProcessor,
    CatSegProcessor,
    Segmenter,
)
from catseg_hf.formats import ResultFiles
from catseg_hf.formats.label_map import LabelMap
from catseg_hf.hub import find_model
from catseg_hf.modeling_catseg import CatSegSemanticSegmenterOutput
from catseg_hf.segmenting.devices import compile_model
from catseg_hf.sources.photo import segment_photos, write_results
from catseg_hf.sources.source import Task
from catseg_hf.vocabulary_catseg import end_token_id


TASKS = ("crop", "views", "sliding", "one-view", "folder", "text", "postprocess", "train")
DTYPES = ("float32", "bfloat16", "float16")
CONFIGS = ("base", "large")
CONTEXT_LENGTH = 77  # tokens that CLIP's text tower reads
OF_PHOTOS = ("views", "sliding", "one-view", "folder", "postprocess")
LONG_RUN_SECONDS = 30.0  # what takes longer is timed three times only
CLIPSEG_IMAGE_SIZE = 352  # of the released CLIPSeg models
FOLDER_BATCH_SIZE = 8
WARM_UP_RUNS = 3  # on a GPU, where libraries choose among kernels in the first ones
TRAINING_STEPS = 80_000  # of the original's training, with 4 images each
CLIPSEG_MAX_CLASSES = 150  # it reads one copy of the image per class, all of them at once


@dataclass
class Settings:
    """How everything is measured; the same for all rows.

    Args:
        model (`str`, *optional*): Folder or Hub name of a model; `None` for random weights of `config`.
        config (`str`): One of `CONFIGS`.
        num_templates (`int`): Number of prompt templates of a model with random weights.
        dtype (`str`): One of `DTYPES`: of the weights, or with `autocast` of the arithmetic.
        autocast (`bool`): Whether the weights stay in float32.
        int8 (`bool`): Whether CLIP computes in int8.
        device (`str`): Where to compute.
        compile (`bool`): Whether to compile the model.
        gradient_checkpointing (`bool`): Whether the training step trades time for memory.
        threads (`int`): Number of processor threads.
        repeats (`int`): Number of timed runs.
    """

    model: str | None
    config: str
    num_templates: int
    dtype: str
    autocast: bool
    int8: bool
    device: str
    compile: bool
    gradient_checkpointing: bool
    threads: int
    repeats: int


@dataclass
class Job:
    """What is measured in one row.

    Args:
        task (`str`): One of `TASKS`.
        num_classes (`int`): Size of the vocabulary.
        height, width (`int`): Size of the photo in pixels (not of `crop`, `text` and `train`).
        batch_size (`int`): Number of images at a time; of `folder` the number of photos.
    """

    task: str
    num_classes: int
    height: int
    width: int
    batch_size: int


@dataclass
class Contender:
    """Whose code is measured.

    Args:
        name (`str`): `"catseg_hf"`, `"CLIPSeg"` or the name of the other code's file.
        path (`str`, *optional*): The other code's file.
        build_name (`str`, *optional*): What its `build` is called with.
        environment (`dict[str, str]`): Further environment variables of its process.
    """

    name: str
    path: str | None
    build_name: str | None
    environment: dict[str, str]


# ------------------------------------------------------------------------------------------------ what is measured


def random_images(job: Job, height: int, width: int) -> torch.Tensor:
    """Photos of noise.

    Returns:
        `torch.ByteTensor` of shape `(batch_size, 3, height, width)`.
    """
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (job.batch_size, 3, height, width), generator=generator, dtype=torch.uint8)


def random_prompts(num_classes: int, config: CatSegConfig) -> torch.Tensor:
    """Prompts of random words: 9 to 14 tokens with start and end, as those of a class name in a template.

    Returns:
        `torch.LongTensor` of shape `(num_classes, P, 77)`, zero behind the end.
    """
    end = end_token_id(config)
    shape = (num_classes, len(config.prompt_templates), CONTEXT_LENGTH)
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(1, end - 1, shape, generator=generator)
    last = torch.randint(8, 14, (*shape[:2], 1), generator=generator)
    position = torch.arange(CONTEXT_LENGTH).expand(shape)
    input_ids[..., 0] = end - 1
    return input_ids.masked_fill(position == last, end).masked_fill(position > last, 0)


def random_labels(job: Job, height: int, width: int) -> torch.Tensor:
    """Random class ids of shape `(batch_size, height, width)`."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, job.num_classes, (job.batch_size, height, width), generator=generator)


def load_config(settings: Settings) -> CatSegConfig:
    """Configuration of the model that is measured."""
    if settings.model is not None:
        return CatSegConfig.from_pretrained(settings.model)
    templates = [f"photo {index} of a {{}}" for index in range(settings.num_templates)]
    constructor = CatSegConfig.vit_base if settings.config == "base" else CatSegConfig.vit_large
    return constructor(prompt_templates=templates)


def random_logits(num_views: int, num_classes: int, side: int) -> torch.Tensor:
    """Logits as smooth as those of a trained model, which change over about eight positions.

    Returns:
        `torch.FloatTensor` of shape `(num_views, num_classes, side, side)`.
    """
    coarse = torch.empty(num_views, num_classes, side // 8, side // 8)
    coarse.normal_(generator=torch.Generator().manual_seed(0))
    return F.interpolate(coarse, (side, side), mode="bilinear")


def make_view(image_processor: CatSegImageProcessor, images: torch.Tensor) -> BatchFeature:
    """Model inputs of images that have the size of a view already."""
    return image_processor(list(images), do_resize=False, do_sliding_window=False, return_tensors="pt")


def build_catseg(job: Job, settings: Settings) -> Callable[[], Any]:
    """This package's side: a call without arguments that does the job once."""
    torch.manual_seed(0)
    if settings.model is None:
        config = load_config(settings)
        model = CatSegForSemanticSegmentation(config)
        image_processor = CatSegImageProcessor(image_size=config.image_size)
    else:
        model = CatSegForSemanticSegmentation.from_pretrained(settings.model)
        image_processor = CatSegImageProcessor.from_pretrained(settings.model)
    image_processor.do_sliding_window &= job.task != "one-view"
    dtype = torch.float32 if settings.autocast else getattr(torch, settings.dtype)
    model.to(settings.device, dtype).eval()
    if settings.int8:
        # What `from_pretrained` does with `quantization_config=TorchAoConfig(...)`, for random weights too.
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        quantize_(model.model.clip, Int8DynamicActivationInt8WeightConfig())
    if settings.compile:
        compile_model(model)

    # The tokenizer fills up to the longest prompt, not to the length that CLIP can read.
    input_ids = random_prompts(job.num_classes, model.config)
    input_ids = input_ids[..., : int(input_ids.count_nonzero(dim=-1).max())].to(settings.device)
    photo_size, view_size = (job.height, job.width), (model.config.image_size, model.config.image_size)

    if job.task == "text":
        return lambda: model.get_text_embeds(input_ids)

    if job.task == "train":
        inputs = make_view(image_processor, random_images(job, *view_size)).to(settings.device, dtype)
        return build_training(
            model,
            {**inputs, "input_ids": input_ids, "labels": random_labels(job, *view_size).to(settings.device)},
            settings,
        )

    if job.task == "postprocess":
        inputs = image_processor(list(random_images(job, *photo_size)), return_tensors="pt")
        logits = random_logits(
            inputs["pixel_values"].shape[1], job.num_classes, 4 * model.config.image_size // model.config.patch_size
        )
        logits = logits.expand(job.batch_size, -1, -1, -1, -1).to(settings.device, dtype)
        outputs = CatSegSemanticSegmenterOutput(
            logits=logits, view_boxes=inputs["view_boxes"], resized_sizes=inputs["resized_sizes"]
        )
        sizes = [photo_size] * job.batch_size
        return lambda: image_processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)

    model.requires_grad_(False)  # the counter of operations needs it
    text_embeds = model.get_text_embeds(input_ids)
    if job.task == "crop":
        inputs = make_view(image_processor, random_images(job, *view_size)).to(settings.device, dtype)
        return lambda: model(**inputs, text_embeds=text_embeds).logits

    photos = list(random_images(job, *photo_size))

    def prepare(photos: list[Any]) -> BatchFeature:
        return image_processor(photos, return_tensors="pt", device=settings.device).to(dtype=dtype)

    def photos_to_label_maps() -> list[torch.Tensor]:
        outputs = model(**prepare(photos), text_embeds=text_embeds)
        return image_processor.post_process_semantic_segmentation(outputs, target_sizes=[photo_size] * len(photos))

    if job.task == "folder":
        return segment_folder(job, photos, model, image_processor, text_embeds, settings.threads)
    inputs = prepare(photos)
    if job.task == "views":
        return lambda: model(**inputs, text_embeds=text_embeds).logits
    return photos_to_label_maps


def build_training(
    model: CatSegForSemanticSegmentation, inputs: dict[str, torch.Tensor], settings: Settings
) -> Callable[[], torch.Tensor]:
    """A call that trains one step and returns its loss."""
    model.train()
    if settings.gradient_checkpointing:
        model.gradient_checkpointing_enable()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    on_gpu = settings.device.startswith("cuda")
    optimizer = torch.optim.AdamW(parameters, lr=2e-4, weight_decay=1e-4, fused=on_gpu)

    def train_step() -> torch.Tensor:
        loss = model(**inputs).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.01)
        optimizer.step()
        return loss.detach()

    return train_step


def segment_folder(
    job: Job,
    images: list[torch.Tensor],
    model: CatSegForSemanticSegmentation,
    image_processor: CatSegImageProcessor,
    text_embeds: torch.Tensor,
    num_workers: int,
) -> Callable[[], int]:
    """A call that segments a folder of JPEGs in batches of eight and writes label maps."""
    temporary = tempfile.TemporaryDirectory(prefix="benchmark-")
    folder = Path(temporary.name)
    names = [f"class {index}" for index in range(job.num_classes)]
    photos = []
    for index, image in enumerate(images):
        # Smooth, as photos are: noise takes several times as long to decode.
        small = image[:, : job.height // 16, : job.width // 16].permute(1, 2, 0).numpy()
        path = folder / f"{index}.jpg"
        Image.fromarray(small).resize((job.width, job.height), Image.Resampling.BICUBIC).save(path, quality=90)
        photos.append(Task(str(path), {LabelMap(): folder / f"{index}.png"}))
    processor = CatSegProcessor.from_pretrained(find_model("tiny"))  # its tokenizer has nothing to do
    processor.image_processor = image_processor
    segmenter = Segmenter(model, processor, names, need_scores=False, embed=lambda labels: text_embeds)

    def call() -> int:
        problems: dict[str, str] = {}
        segmented = segment_photos(photos, problems, lambda: segmenter, FOLDER_BATCH_SIZE, num_workers)
        written, _ = write_results(segmented, ResultFiles([LabelMap()]), num_workers)
        if problems:
            raise RuntimeError(f"Photos in {temporary.name} could not be read: {problems}")
        return written

    return call


def build_clipseg(job: Job, settings: Settings) -> Callable[[], Any]:
    """CLIPSeg's side, of the released size with random weights, used as documented: one copy of the image per label."""
    if job.task not in ("crop", "sliding") or job.num_classes > CLIPSEG_MAX_CLASSES:
        raise ValueError(f"CLIPSeg is measured for crop and sliding with up to {CLIPSEG_MAX_CLASSES} classes.")
    config = CLIPSegConfig(
        vision_config={"patch_size": 16}, extract_layers=[3, 6, 9], use_complex_transposed_convolution=True
    )
    dtype = torch.float32 if settings.autocast else getattr(torch, settings.dtype)
    model = CLIPSegForImageSegmentation(config).to(settings.device, dtype).eval()
    input_ids = random_prompts(job.num_classes, CatSegConfig())[:, 0]
    input_ids = input_ids[:, : int(input_ids.count_nonzero(dim=-1).max())].repeat(job.batch_size, 1).to(settings.device)
    photos = random_images(job, job.height, job.width)

    def segment_photos() -> torch.Tensor:
        images = F.interpolate(photos.to(settings.device, dtype), (CLIPSEG_IMAGE_SIZE, CLIPSEG_IMAGE_SIZE))
        pixel_values = (images / 127.5 - 1).repeat_interleave(job.num_classes, dim=0)
        logits = model(input_ids=input_ids, attention_mask=input_ids != 0, pixel_values=pixel_values).logits
        logits = logits.view(job.batch_size, job.num_classes, CLIPSEG_IMAGE_SIZE, CLIPSEG_IMAGE_SIZE)
        if job.task == "crop":
            return logits
        return F.interpolate(logits, (job.height, job.width), mode="bilinear").argmax(dim=1)

    return segment_photos


def build_other(job: Job, settings: Settings, contender: Contender) -> Callable[[], Any]:
    """The other code's side: `build(name) -> callable(image, token_ids)` in the file `contender.path`."""
    if job.task in ("views", "one-view", "folder"):
        raise ValueError(f"{job.task} is measured of catseg_hf alone.")
    spec = importlib.util.spec_from_file_location("other_code", contender.path)
    other_code = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(other_code)
    suffix = "" if job.task == "crop" else f"-{job.task}"
    function = other_code.build(f"{contender.build_name}{suffix}")
    config = load_config(settings)
    size = (job.height, job.width) if job.task in ("sliding", "postprocess") else (config.image_size,) * 2
    images = random_images(job, *size)
    token_ids = random_prompts(job.num_classes, config)
    if len(config.prompt_templates) == 1:
        token_ids = token_ids[:, 0]

    def call() -> Any:
        if job.task in ("sliding", "postprocess"):
            return [function(image, token_ids).argmax(dim=0) for image in images]
        if job.task == "crop":
            return torch.stack([function(image, token_ids) for image in images])
        return function(images[0], token_ids)

    return call


# ------------------------------------------------------------------------------------------------ how it is measured


def memory_in_use(device: str) -> int:
    """Bytes in use now: of the process, or of the GPU by it."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        return read_kilobytes(status, "VmRSS") * 1024
    return peak_memory(device)


def peak_memory(device: str) -> int:
    """Largest number of bytes in use since `reset_peak_memory`."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    status = Path("/proc/self/status")
    if status.exists():
        return read_kilobytes(status, "VmHWM") * 1024
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def read_kilobytes(path: Path, name: str) -> int:
    """The number in kB behind `name:` in a file of the Linux kernel."""
    return next(int(line.split()[1]) for line in path.read_text().splitlines() if line.startswith(f"{name}:"))


def reset_peak_memory(device: str) -> None:
    """Starts a new peak, where the system can; elsewhere the peak is that of the process."""
    if device.startswith("cuda"):
        torch.cuda.reset_peak_memory_stats(device)
    elif os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")


def measured_process(connection: Connection, job: Job, settings: Settings, contender: Contender) -> None:
    """What runs in the process of one contender: builds its call, then answers each `"run"` with its seconds.

    `"finish"` is answered with a dictionary of bytes, of floating-point operations and of the result.
    """
    torch.set_num_threads(settings.threads)
    torch.set_grad_enabled(job.task == "train")
    try:
        if contender.path is not None:
            call = build_other(job, settings, contender)
        elif contender.name == "CLIPSeg":
            call = build_clipseg(job, settings)
        else:
            call = build_catseg(job, settings)
    except ValueError as error:
        connection.send(str(error))
        return
    # Other code keeps its weights as they are.
    is_autocast = settings.autocast or (contender.path is not None and settings.dtype != "float32")
    autocast = torch.autocast(settings.device.split(":")[0], getattr(torch, settings.dtype), enabled=is_autocast)
    memory_before = memory_in_use(settings.device)
    reset_peak_memory(settings.device)
    connection.send(None)
    with autocast:
        while connection.recv() == "run":
            start = time.perf_counter()
            result = call()
            if settings.device.startswith("cuda"):
                torch.cuda.synchronize(settings.device)
            connection.send(time.perf_counter() - start)
        peak = peak_memory(settings.device)
        kernels = profile_kernels(call) if settings.device.startswith("cuda") else {}
        # Only the plain attention is made of operations that are counted on every device.
        counter = FlopCounterMode(display=False)
        with counter, sdpa_kernel(SDPBackend.MATH), torch.compiler.set_stance("force_eager"):
            call()
    result = torch.stack(result) if isinstance(result, list) else torch.as_tensor(result)
    result = result.float() if result.is_floating_point() else result
    connection.send(
        {
            "memory_before": memory_before,
            "peak_memory": peak,
            "flops": counter.get_total_flops(),
            "kernels": kernels,
            "result": result.cpu().numpy(),
        }
    )


def profile_kernels(call: Callable[[], Any]) -> dict[str, float]:
    """What a GPU does during a call: number of `launches`, and `busy_share` of the time (0 to 1) in which it works."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profiler:
        start = time.perf_counter()
        call()
        torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.device_time_total for event in kernels) / 1e6
    return {"launches": len(kernels), "busy_share": min(1.0, busy / seconds)}


def multiply_matrices(connection: Connection, settings: Settings) -> None:
    """Sends the machine's highest speed in a large matrix product, in floating-point operations per second."""
    torch.set_num_threads(settings.threads)
    size, seconds = 4096, []
    matrix = torch.randn(size, size, device=settings.device).to(getattr(torch, settings.dtype))
    for _ in range(10):
        start = time.perf_counter()
        matrix @ matrix
        if settings.device.startswith("cuda"):
            torch.cuda.synchronize(settings.device)
        seconds.append(time.perf_counter() - start)
    connection.send(2 * size**3 / min(seconds))


@contextmanager
def started_process(function: Callable[..., None], *args: Any, environment: dict[str, str]) -> Iterator[Connection]:
    """Runs a function in a fresh process, with a connection as its first argument; gives the other end."""
    context = get_context("spawn")
    connection, other_end = context.Pipe()
    process = context.Process(target=function, args=(other_end, *args), daemon=True)
    before = dict(os.environ)
    os.environ.update(environment)  # a new process inherits them when it starts
    process.start()
    os.environ.clear()
    os.environ.update(before)
    other_end.close()
    try:
        yield connection
    finally:
        connection.close()
        process.join(timeout=10)
        process.kill()


def measure(job: Job, settings: Settings, contenders: list[Contender], machine_flops: float) -> list[dict[str, Any]]:
    """Measures one job with all contenders, in turns.

    Args:
        job (`Job`): What to measure.
        settings (`Settings`): How.
        contenders (`list[Contender]`): Whose code; the first is what the others are compared with.
        machine_flops (`float`): The machine's highest speed in floating-point operations per second.

    Returns:
        `list[dict]`: One per contender: its name, the job, and either `skipped` (the reason) or the results: `seconds`
        (of each run), `median_seconds`, `images_per_second`, `peak_gb`, `gb_over_weights`, `gflop`,
        `share_of_machine_peak` (from 0 to 1), and on a GPU what [`profile_kernels`] finds; of this package also
        `first_seconds`, of the first run, in which a model is compiled. The others are also compared with the first:
        `time_ratio` (median of the ratios of runs that follow each other), `memory_ratio` (of the peaks), and
        `largest_difference` (of logits, embeddings or loss) or `different_pixels` (share of the label map), which mean
        something only where both have the same weights.
    """
    precision = {name: getattr(settings, name) for name in ("dtype", "autocast", "compile")}
    rows = [{**asdict(job), **precision, "code": contender.name} for contender in contenders]
    with ExitStack() as stack:
        connections = [
            stack.enter_context(started_process(measured_process, job, settings, each, environment=each.environment))
            for each in contenders
        ]

        def ask(index: int, message: str | None) -> Any:
            try:
                if message is not None:
                    connections[index].send(message)
                return connections[index].recv()
            except (EOFError, ConnectionError):
                rows[index]["skipped"] = "The process ended: for want of memory, or by the error that is printed above."

        for index, row in enumerate(rows):
            refusal = ask(index, None)
            if refusal is not None:
                row["skipped"] = refusal

        def run_all() -> list[float | None]:
            return [ask(index, "run") if "skipped" not in row else None for index, row in enumerate(rows)]

        first_runs = run_all()
        for _ in range(WARM_UP_RUNS - 1 if settings.device.startswith("cuda") else 0):
            run_all()
        is_long = max((run for run in first_runs if run is not None), default=0.0) > LONG_RUN_SECONDS
        runs = [run_all() for _ in range(min(3, settings.repeats) if is_long else settings.repeats)]
        answers = [ask(index, "finish") if "skipped" not in row else None for index, row in enumerate(rows)]

    rows[0]["first_seconds"] = first_runs[0]
    for row, seconds, answer in zip(rows, zip(*runs, strict=True), answers, strict=True):
        if answer is not None:
            row |= figures(job, list(seconds), answer, machine_flops)
    for row, answer in zip(rows[1:], answers[1:], strict=True):
        if answer is not None and answers[0] is not None:
            ratios = [other / ours for other, ours in zip(row["seconds"], rows[0]["seconds"], strict=True)]
            row |= {"time_ratio": statistics.median(ratios), **compare(answers[0], answer)}
    return rows


def figures(job: Job, seconds: list[float], answer: dict[str, Any], machine_flops: float) -> dict[str, Any]:
    """The results of one contender, by the names that `measure` lists."""
    median = statistics.median(seconds)
    return {
        "seconds": seconds,
        "median_seconds": median,
        "images_per_second": job.batch_size / median,
        "peak_gb": answer["peak_memory"] / 1e9,
        "gb_over_weights": (answer["peak_memory"] - answer["memory_before"]) / 1e9,
        "gflop": answer["flops"] / 1e9,
        "share_of_machine_peak": answer["flops"] / median / machine_flops,
        **answer["kernels"],
    }


def compare(ours: dict[str, Any], other: dict[str, Any]) -> dict[str, float]:
    """How far two answers are apart: `memory_ratio`, and of results of one shape `different_pixels` (label maps) or
    `largest_difference`.
    """
    ratio = {"memory_ratio": other["peak_memory"] / ours["peak_memory"]}
    ours, other = ours["result"], other["result"]
    if ours.shape != other.shape:
        return ratio
    if np.issubdtype(ours.dtype, np.integer):
        return {**ratio, "different_pixels": float((ours != other).mean())}
    return {**ratio, "largest_difference": float(np.abs(ours - other).max())}


def describe_machine(settings: Settings, machine_flops: float) -> dict[str, Any]:
    """What the numbers were measured on."""
    cpu_info = Path("/proc/cpuinfo")
    lines = cpu_info.read_text().splitlines() if cpu_info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory, 1),
        "gpu": torch.cuda.get_device_name(settings.device) if settings.device.startswith("cuda") else None,
        "gflops_of_a_large_matrix_product": round(machine_flops / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def describe_precision(row: dict[str, Any]) -> str:
    """Type of a row's weights or arithmetic, and whether the model was compiled."""
    how = " autocast" if row.get("autocast") else ""
    return f"{row.get('dtype', '')}{how}{', compiled' if row.get('compile') and row['code'] == 'catseg_hf' else ''}"


def markdown_table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table in Markdown; the ratios of a row are its time and memory over those of catseg_hf."""
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "task": lambda row: row["task"],
        "classes": lambda row: str(row["num_classes"]),
        "photo": lambda row: f"{row['width']}×{row['height']}" if row["task"] in OF_PHOTOS else "",
        "batch": lambda row: str(row["batch_size"]),
        "precision": describe_precision,
        "code": lambda row: row["code"],
        "seconds": lambda row: f"{row['median_seconds']:.3g}" if "median_seconds" in row else "not measured",
        "images/s": lambda row: f"{row['images_per_second']:.3g}" if "images_per_second" in row else "",
        "× time": lambda row: f"{row['time_ratio']:.2f}" if "time_ratio" in row else "",
        "peak GB": lambda row: f"{row['peak_gb']:.2f}" if "peak_gb" in row else "",
        "× memory": lambda row: f"{row['memory_ratio']:.2f}" if "memory_ratio" in row else "",
        "GB over weights": lambda row: f"{row['gb_over_weights']:.2f}" if "gb_over_weights" in row else "",
        "GFLOP": lambda row: f"{row['gflop']:.0f}" if "gflop" in row else "",
        "of machine's peak": lambda row: f"{row['share_of_machine_peak']:.0%}" if "gflop" in row else "",
        "launches": lambda row: str(row["launches"]) if "launches" in row else "",
        "GPU busy": lambda row: f"{row['busy_share']:.0%}" if "busy_share" in row else "",
    }
    columns = {name: show for name, show in columns.items() if any(map(show, rows))}
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    lines += [f"| {' | '.join(show(row) for show in columns.values())} |" for row in rows]
    return "\n".join(lines)


def footnotes(rows: list[dict[str, Any]]) -> Iterator[str]:
    """What the table does not say: how long a whole training takes, and the first call of a compiled model."""
    for row in rows:
        if row["code"] != "catseg_hf" or "median_seconds" not in row:
            continue
        if row["task"] == "train" and row["batch_size"] == 4:
            hours = row["median_seconds"] * TRAINING_STEPS / 3600
            yield f"{TRAINING_STEPS:,} training steps of 4 images, {describe_precision(row)}: {hours:.1f} hours\n"
        if row["compile"]:
            seconds = row["first_seconds"]
            yield f"First call of {row['task']} with {row['num_classes']} classes, compiled: {seconds:.0f} s\n"


def gpu_suite(settings: Settings) -> list[tuple[Job, Settings]]:
    """What a GPU is judged by: each job, and how it is measured."""
    full, half = replace(settings, dtype="float32"), replace(settings, dtype="bfloat16")
    photo = {"height": 768, "width": 1024}
    training = {"task": "train", "num_classes": 171, "height": 384, "width": 384}
    autocast = replace(half, autocast=True)
    jobs = [
        (Job("sliding", classes, **photo, batch_size=1), each) for each in (half, full) for classes in (5, 150, 847)
    ]
    jobs += [(Job(task, 5, **photo, batch_size=1), half) for task in ("crop", "one-view")]
    jobs += [(Job("postprocess", classes, **photo, batch_size=1), full) for classes in (5, 150, 847)]
    jobs += [(Job("postprocess", 847, 3000, 4000, 1), full)]
    jobs += [(Job("views", 20, **photo, batch_size=16), half), (Job("folder", 20, **photo, batch_size=128), half)]
    jobs += [(Job(**training, batch_size=1), each) for each in (full, autocast)]
    jobs += [(Job(**training, batch_size=4), autocast)]
    compiled = replace(half, compile=True)
    return [
        *jobs,
        (Job("crop", 5, **photo, batch_size=1), compiled),
        (Job("sliding", 150, **photo, batch_size=1), compiled),
    ]


def check_options(
    suite: str | None, task: list[str], dtype: str, config: str, image_size: str, against_environment: list[str]
) -> None:
    """Refuses options of `main` that cannot be meant.

    Raises:
        typer.BadParameter: Names the option and what it can be.
    """
    for name, values, allowed in (
        ("--task", task, TASKS),
        ("--dtype", [dtype], DTYPES),
        ("--config", [config], CONFIGS),
    ):
        if not set(values) <= set(allowed):
            raise typer.BadParameter(f"must be one of {', '.join(allowed)}, got {', '.join(values)}", param_hint=name)
    if not re.fullmatch(r"\d+x\d+", image_size):
        raise typer.BadParameter(f"must be like 768x1024, got {image_size!r}", param_hint="--image-size")
    if suite is not None and (suite != "gpu" or not torch.cuda.is_available()):
        here = "there is no CUDA GPU here" if suite == "gpu" else f"must be gpu, got {suite}"
        raise typer.BadParameter(here, param_hint="--suite")
    if not all("=" in variable for variable in against_environment):
        raise typer.BadParameter("must be like NAME=VALUE", param_hint="--against-environment")


def main(
    suite: Annotated[
        str | None, typer.Option(help="Instead of the next options: gpu, all jobs that a GPU is judged by.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Folder or Hub name of a model; random weights without.")] = None,
    config: Annotated[str, typer.Option(help=f"Size of a model with random weights: {', '.join(CONFIGS)}.")] = "base",
    num_templates: Annotated[int, typer.Option(help="Prompt templates of a model with random weights.")] = 1,
    task: Annotated[list[str], typer.Option(help=f"One or more of {', '.join(TASKS)}.")] = ["crop"],  # noqa: B006
    num_classes: Annotated[list[int], typer.Option(help="One or more sizes of the vocabulary.")] = [5],  # noqa: B006
    image_size: Annotated[str, typer.Option(help="Height x width of the photo (sliding, postprocess).")] = "768x1024",
    batch_size: Annotated[list[int], typer.Option(help="One or more numbers of images at a time.")] = [1],  # noqa: B006
    dtype: Annotated[str, typer.Option(help=f"Of the weights: {', '.join(DTYPES)}.")] = "float32",
    autocast: Annotated[bool, typer.Option(help="Keep the weights in float32 and compute in --dtype.")] = False,
    int8: Annotated[bool, typer.Option(help="Let CLIP compute in int8; needs torchao.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    compile: Annotated[bool, typer.Option(help="Compile the model with torch.compile.")] = False,
    gradient_checkpointing: Annotated[bool, typer.Option(help="Train with less memory and more time.")] = False,
    threads: Annotated[int, typer.Option(help="Processor threads.")] = torch.get_num_threads(),
    repeats: Annotated[int, typer.Option(help="Timed runs of each; of runs over 30 s three at most.")] = 5,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            dir_okay=False,
            help="Other code to measure in turns with this: a Python file with build(name) -> callable(image, "
            "token_ids). The image is uint8 (3, H, W), the token ids are int64 (T, 77), or (T, P, 77) for P > 1 "
            "templates. For crop, name is --against-name and the result logits (T, h, w). For the other tasks the name "
            "ends in -sliding or -postprocess (scores (T, H, W)), -text (embeddings (T, P, D)) or -train (loss of one "
            "step). A ValueError of build leaves the row out.",
        ),
    ] = None,
    against_name: Annotated[str | None, typer.Option(help="What build is called with; --config without.")] = None,
    against_environment: Annotated[
        list[str], typer.Option(help="NAME=VALUE, an environment variable of the other code's process.")
    ] = [],  # noqa: B006
    clipseg: Annotated[bool, typer.Option(help="Measure Transformers' CLIPSeg too.")] = False,
    json: Annotated[Path | None, typer.Option(help="File to write everything to.")] = None,
) -> None:
    """Measures CAT-Seg and prints a table in Markdown."""
    check_options(suite, task, dtype, config, image_size, against_environment)
    height, width = map(int, image_size.split("x"))
    settings = Settings(
        model=model,
        config=config,
        num_templates=num_templates,
        dtype=dtype,
        autocast=autocast,
        int8=int8,
        device="cuda" if suite == "gpu" and device == "cpu" else device,
        compile=compile,
        gradient_checkpointing=gradient_checkpointing,
        threads=threads,
        repeats=repeats,
    )
    load_config(settings)  # a model that cannot be found ends the run here
    contenders = [Contender(name="catseg_hf", path=None, build_name=None, environment={})]
    if against is not None:
        environment = dict(variable.split("=", 1) for variable in against_environment)
        contenders.append(Contender(against.stem, str(against), against_name or config, environment))
    if clipseg:
        contenders.append(Contender(name="CLIPSeg", path=None, build_name=None, environment={}))

    with started_process(multiply_matrices, settings, environment={}) as connection:
        machine_flops = connection.recv()
    machine = describe_machine(settings, machine_flops)
    print("\n".join(f"{name}: {value}" for name, value in machine.items() if value is not None), end="\n\n")
    jobs = [
        (Job(each_task, classes, height, width, size), settings)
        for each_task, classes, size in itertools.product(task, num_classes, batch_size)
    ]
    rows = []
    for job, its_settings in jobs if suite is None else gpu_suite(settings):
        print(f"measuring {job}, {describe_precision({**asdict(its_settings), 'code': 'catseg_hf'})}", file=sys.stderr)
        rows += measure(job, its_settings, contenders, machine_flops)
        for row in rows[-len(contenders) :]:
            if "skipped" in row:
                print(f"{row['code']}: {row['skipped']}", file=sys.stderr)
        if json is not None:  # after each row, so that a long run that is cut off leaves something
            json.write_text(
                dump_json({"machine": machine, "settings": asdict(settings), "rows": rows}, indent=1) + "\n"
            )
    print(markdown_table(rows))
    print("".join(f"\n{line}" for line in footnotes(rows)), end="")


if __name__ == "__main__":
    typer.run(main)
