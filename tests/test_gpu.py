# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""On a CUDA GPU: the golden cases, what a CPU gives, the merge, training, capture, and a memory that is too small."""

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import find_cases, run_case
from PIL import Image
from tiny_models import random_images, random_input_ids, tiny_model
from transformers import pipeline

from catseg_hf import CatSegImageProcessor, Segmenter
from catseg_hf.hub import find_model
from catseg_hf.scenes import GROUND, draw_scene
from catseg_hf.sources.photo import segment_photos
from catseg_hf.sources.source import Task


pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
ROOT = Path(__file__).parent / "fixtures" / "golden"
CASES = find_cases(ROOT)


@pytest.fixture(autouse=True)
def float32_throughout() -> Iterator[None]:
    """Without TF32, which torch lets cuDNN convolve in by default."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.parametrize("case", CASES, ids=[f"{case.parent.name}-{case.name}" for case in CASES])
def test_golden_case(case: Path) -> None:
    result = run_case(case, ROOT, "cuda")
    assert result.passed, str(result)


@pytest.mark.parametrize("tf32", [False, True])
@pytest.mark.parametrize("num_classes", [1, 5, 40])
def test_logits_are_those_of_a_cpu(num_classes: int, tf32: bool) -> None:
    torch.backends.cudnn.allow_tf32 = tf32
    model = tiny_model()
    pixel_values, text_embeds = random_images(2, 5, 3, 64, 64), random_images(num_classes, 1, 24)
    with torch.no_grad():
        expected = model(pixel_values, text_embeds=text_embeds).logits
        logits = model.cuda()(pixel_values.cuda(), text_embeds=text_embeds).logits.cpu()
    torch.testing.assert_close(logits, expected, rtol=0, atol=(1e-3 if tf32 else 1e-4) * expected.abs().max().item())


@pytest.mark.parametrize("score_function", ["sigmoid", "softmax"])
@pytest.mark.parametrize("search", [None, True, False])
def test_merge_is_that_of_a_cpu(score_function: str, search: bool | None) -> None:
    processor = CatSegImageProcessor(score_function=score_function)
    inputs = processor(torch.zeros(3, 300, 400), return_tensors="pt")
    outputs = {**inputs, "logits": random_images(1, 5, 30, 24, 24)}
    on_gpu = {**outputs, "logits": outputs["logits"].cuda()}
    (expected,) = processor.post_process_semantic_segmentation(outputs, [(300, 400)])
    (label_map,) = processor.post_process_semantic_segmentation(on_gpu, [(300, 400)], search=search)
    assert (label_map.cpu() != expected).float().mean() < 1e-3
    (scores,) = processor.post_process_class_scores(outputs, [(300, 400)])
    (gpu_scores,) = processor.post_process_class_scores(on_gpu, [(300, 400)], search=search)
    torch.testing.assert_close(gpu_scores.cpu(), scores, rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_pipeline_of_catseg_tiny_decides_as_on_a_cpu(dtype: torch.dtype) -> None:
    folder = find_model("tiny")
    scene = draw_scene(0)
    names = [*scene.names, GROUND]
    maps = []
    for device, kind in (("cpu", torch.float32), ("cuda", dtype)):
        pipe = pipeline("image-segmentation", model=folder, device=device, dtype=kind)
        label_map = np.full(scene.image.size[::-1], -1)
        for result in pipe(scene.image, candidate_labels=names):
            label_map[np.asarray(result["mask"]) > 0] = names.index(result["label"])
        maps.append(label_map)
    assert (maps[0] == maps[1]).mean() >= (0.9999 if dtype == torch.float32 else 0.995)


@pytest.mark.parametrize("need_scores", [False, True])
def test_a_folder_of_photos_is_segmented_as_on_a_cpu(need_scores: bool, tmp_path: Path) -> None:
    photos = []
    for index in range(7):
        draw_scene(index).image.resize((200 + 40 * index, 240)).save(tmp_path / f"{index}.png")
        photos.append(Task(str(tmp_path / f"{index}.png"), {}))
    found = {}
    for device in ("cpu", "cuda"):

        def load(device: str = device) -> Segmenter:
            names = draw_scene(0).names
            return Segmenter.from_pretrained("tiny", names, device=device, dtype="float32", need_scores=need_scores)

        problems: dict[str, str] = {}
        found[device] = list(segment_photos(photos, problems, load, batch_size=2, num_workers=3))
        assert not problems
    for (photo, expected), (gpu_photo, result) in zip(found["cpu"], found["cuda"], strict=True):
        assert gpu_photo == photo and result.class_ids.shape == expected.class_ids.shape
        assert (result.class_ids == expected.class_ids).mean() > 0.999
        if need_scores:
            np.testing.assert_allclose(result.scores, expected.scores, atol=1e-3)


@pytest.mark.parametrize("autocast", [False, True])
def test_training_steps_go_down(autocast: bool) -> None:
    model = tiny_model().train().cuda()
    inputs = {"pixel_values": random_images(2, 3, 64, 64).cuda(), "input_ids": random_input_ids(3, 1, 8)}
    labels = torch.randint(0, 3, (2, 64, 64), generator=torch.Generator().manual_seed(0)).cuda()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3, fused=True)
    losses = []
    for _ in range(10):
        with torch.autocast("cuda", dtype=torch.bfloat16, enabled=autocast):
            loss = model(**inputs, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    losses = torch.stack(losses).tolist()
    assert losses[-1] < 0.9 * losses[0]


def test_a_training_step_waits_for_nothing() -> None:
    model = tiny_model().train().cuda()
    inputs = {"pixel_values": random_images(2, 3, 64, 64).cuda(), "input_ids": random_input_ids(3, 1, 8)}
    labels = torch.zeros(2, 64, 64, dtype=torch.int64, device="cuda")
    model(**inputs, labels=labels).loss.backward()
    torch.cuda.set_sync_debug_mode("error")
    try:
        model(**inputs, labels=labels).loss.backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_forward_and_merge_wait_for_nothing() -> None:
    model = tiny_model().cuda()
    processor = CatSegImageProcessor(image_size=64)
    inputs = processor(torch.zeros(3, 300, 400), return_tensors="pt", device="cuda")
    text_embeds = random_images(7, 1, 24).cuda()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.no_grad():
            outputs = model(**inputs, text_embeds=text_embeds)
            processor.post_process_semantic_segmentation(outputs, [(300, 400)])
            processor.post_process_best_classes(outputs, [(300, 400)])
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_cuda_graph_captures_forward() -> None:
    model = tiny_model().cuda()
    pixel_values, text_embeds = random_images(1, 5, 3, 64, 64).cuda(), random_images(7, 1, 24).cuda()
    with torch.no_grad():
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            model(pixel_values, text_embeds=text_embeds)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            logits = model(pixel_values, text_embeds=text_embeds).logits
        pixel_values.copy_(random_images(1, 5, 3, 64, 64, seed=1))
        graph.replay()
        expected = model(pixel_values, text_embeds=text_embeds).logits
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_compiled(mode: str) -> None:
    model = tiny_model().cuda()
    plain = deepcopy(model)
    model.compile(mode=mode)
    for num_classes in (4, 8, 9):
        inputs = {"pixel_values": random_images(1, 5, 3, 64, 64).cuda()}
        inputs["text_embeds"] = random_images(num_classes, 1, 24).cuda()
        with torch.no_grad():
            expected = plain(**inputs).logits
            for _ in range(3):
                torch.testing.assert_close(model(**inputs).logits, expected, rtol=0, atol=1e-3)


def test_too_little_memory_is_said_and_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(image_size=256).cuda()
    inputs: dict[str, Any] = {"pixel_values": random_images(1, 5, 3, 256, 256).cuda()}
    inputs["text_embeds"] = random_images(400, 1, 24).cuda()
    with torch.no_grad():
        expected = model(**inputs).logits
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        total = torch.cuda.get_device_properties(0).total_memory
        allowed = torch.cuda.memory_reserved() + 2 * expected.nbytes + 100 * 2**20
        torch.cuda.set_per_process_memory_fraction(allowed / total)
        try:
            logits = model(**inputs).logits
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-4)


def test_photos_are_prepared_on_the_device() -> None:
    processor = CatSegImageProcessor()
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8))
    expected = processor(photo, return_tensors="pt")
    inputs = processor(photo, return_tensors="pt", device="cuda")
    assert inputs["pixel_values"].device.type == "cuda" and inputs["view_boxes"].device.type == "cpu"
    torch.testing.assert_close(inputs["pixel_values"].cpu(), expected["pixel_values"], rtol=0, atol=1e-5)
