# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Push and pull over real HTTP: a process of its own, and a Hub on 127.0.0.1 (`loopback_hub.py`)."""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import ModelCard
from loopback_hub import TOKEN, LoopbackHub, Repository, StoredFile, serve
from packaging.version import Version
from PIL import Image
from safetensors.torch import load
from tiny_models import tiny_model


# ---- what runs in the other processes -------------------------------------------------------------------------------


def push(folder: Path, repo_id: str, parts: str = "model", changed: bool = False, **kwargs: Any) -> str:
    """Pushes the parts of a saved model and returns the hash of the last commit."""
    from catseg_hf import CatSegForSemanticSegmentation, CatSegProcessor

    for part in parts.split():
        if part == "processor":
            commit = CatSegProcessor.from_pretrained(folder).push_to_hub(repo_id, **kwargs)
        else:
            model = CatSegForSemanticSegmentation.from_pretrained(folder)
            if changed:
                model.decoder.head.bias.data += 1
            commit = model.push_to_hub(repo_id, **kwargs)
    return commit.oid


def pull(source: str | Path, **kwargs: Any) -> str:
    """Digest of the weights that `from_pretrained` gets."""
    from transformers import AutoModelForSemanticSegmentation

    import catseg_hf  # noqa: F401  makes the Auto classes know the model

    model = AutoModelForSemanticSegmentation.from_pretrained(source, **kwargs)
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(name.encode() + tensor.numpy().tobytes())
    return digest.hexdigest()


def segment(source: str | Path) -> bytes:
    """What a model makes of an image with its own processor, both from one place."""
    import torch
    from PIL import Image
    from transformers import AutoModelForSemanticSegmentation, AutoProcessor

    import catseg_hf  # noqa: F401

    image = Image.new("RGB", (64, 48))
    image.putdata([(x % 256, 3 * x % 256, 7 * x % 256) for x in range(64 * 48)])
    inputs = AutoProcessor.from_pretrained(source)(images=image, text=["cat", "grass"], return_tensors="pt")
    with torch.inference_mode():
        return AutoModelForSemanticSegmentation.from_pretrained(source).eval()(**inputs).logits.numpy().tobytes()


def save(folder: Path, target: Path, **kwargs: Any) -> None:
    """Saves a model again."""
    from catseg_hf import CatSegForSemanticSegmentation

    CatSegForSemanticSegmentation.from_pretrained(folder).save_pretrained(target, **kwargs)


def validate(card: str) -> None:
    """Asks the Hub."""
    ModelCard(card).validate()


def run_in(folder: Path, code: str) -> str:
    """What a piece of code prints, run in a folder as it stands."""
    printed = io.StringIO()
    os.chdir(folder)
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})
    return printed.getvalue()


def message_of(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """The error that a call raises, with the chain of its causes."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        messages = []
        while error is not None:
            messages.append(f"{type(error).__name__}: {error}")
            error = error.__cause__ or error.__context__
        return "\n".join(messages)
    return ""


def logged_out(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A call without a token."""
    token = os.environ.pop("HF_TOKEN")
    try:
        return function(*args, **kwargs)
    finally:
        os.environ["HF_TOKEN"] = token


# ---- the tests ------------------------------------------------------------------------------------------------------


class Machine:
    """Another process, with its own cache, that uses the loopback Hub; one for all tests, as it starts slowly."""

    def __init__(self, hub: LoopbackHub, home: Path) -> None:
        environment = {
            "HF_ENDPOINT": hub.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": TOKEN,
        }
        self.pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            self.run(os.getpid)  # starts it

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.pool.submit(function, *args, **kwargs).result()


@pytest.fixture(scope="module")
def hub() -> Iterator[LoopbackHub]:
    with serve() as hub:
        yield hub


@pytest.fixture(scope="module")
def machine(hub: LoopbackHub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    machine = Machine(hub, tmp_path_factory.mktemp("machine"))
    yield machine
    machine.pool.shutdown()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model so small that its way to the Hub takes no time."""
    folder = tmp_path_factory.mktemp("small")
    tiny_model().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shared(hub: LoopbackHub, machine: Machine, tiny_model_folder: Path) -> Repository:
    """A model with everything, pushed as a user does: `model.push_to_hub(...)`, `processor.push_to_hub(...)`."""
    machine.run(push, tiny_model_folder, "me/catseg", parts="model processor")
    return hub.repositories["me/catseg"]


@pytest.mark.slow
def test_model_processor_tokenizer_and_card_arrive(
    shared: Repository, machine: Machine, tiny_model_folder: Path
) -> None:
    assert set(shared.files()) == {
        "README.md",
        "config.json",
        "model.safetensors",
        "processor_config.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert not shared.private
    assert shared.history() == ["initial commit", "Upload CatSegForSemanticSegmentation", "Upload processor"]
    commit = shared.commits[shared.branches["main"]]
    assert [path for path, file in commit.files.items() if file.is_lfs] == ["model.safetensors"]
    assert machine.run(segment, "me/catseg") == machine.run(segment, tiny_model_folder)


@pytest.mark.slow
def test_the_pushed_card_is_made_from_the_model_and_its_python_runs(
    shared: Repository, machine: Machine, tmp_path: Path
) -> None:
    card = shared.files()["README.md"].decode()
    assert "coco_stuff_171" in card and "More Information Needed" not in card
    blocks = re.findall(r"^```python\n(.*?)^```", card, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2 and all('"me/catseg"' in block for block in blocks)
    Image.effect_noise((64, 48), 80).convert("RGB").save(tmp_path / "photo.jpg")
    for block in blocks:
        machine.run(run_in, tmp_path, block)


def test_a_second_push_updates_and_a_commit_pins(hub: LoopbackHub, machine: Machine, folder: Path) -> None:
    first = machine.run(push, folder, "me/updated")
    second = machine.run(push, folder, "me/updated", changed=True, commit_message="Train for longer")
    repository = hub.repositories["me/updated"]
    assert repository.branches["main"] == second and repository.history()[-1] == "Train for longer"
    before, after = repository.files(first), repository.files(second)
    assert {path for path, content in before.items() if after[path] != content} == {"model.safetensors"}
    assert machine.run(pull, "me/updated") != machine.run(pull, folder)
    assert machine.run(pull, "me/updated", revision=first) == machine.run(pull, folder)


@pytest.mark.parametrize("parts", ["processor model", "model processor"])
def test_a_branch_leaves_main_alone(parts: str, hub: LoopbackHub, machine: Machine, tiny_model_folder: Path) -> None:
    machine.run(push, tiny_model_folder, "me/branched", parts=parts, revision="v1")
    repository = hub.repositories["me/branched"]
    assert repository.files("main") == {}
    assert 'model="me/branched"' in repository.files("v1")["README.md"].decode()
    assert machine.run(pull, "me/branched", revision="v1") == machine.run(pull, tiny_model_folder)


def test_a_private_repository_needs_a_token(hub: LoopbackHub, machine: Machine, folder: Path) -> None:
    machine.run(push, folder, "me/secret", private=True)
    assert hub.repositories["me/secret"].private
    message = machine.run(logged_out, message_of, pull, "me/secret")
    assert "me/secret is not a" in message and "hf auth login" in message
    assert machine.run(pull, "me/secret") == machine.run(pull, folder)


def test_without_a_token_a_push_says_so_and_makes_nothing(hub: LoopbackHub, machine: Machine, folder: Path) -> None:
    message = machine.run(logged_out, message_of, push, folder, "me/anonymous")
    assert "401 Unauthorized" in message and "Invalid username or password" in message
    assert "me/anonymous" not in hub.repositories


def test_shards(hub: LoopbackHub, machine: Machine, folder: Path) -> None:
    machine.run(push, folder, "me/shards", max_shard_size="100KB")
    files = hub.repositories["me/shards"].files()
    index = json.loads(files["model.safetensors.index.json"])
    shards = set(index["weight_map"].values())
    assert len(shards) > 2
    assert set(files) == {"README.md", "config.json", "model.safetensors.index.json", *shards}
    assert sum(len(load(files[shard])) for shard in shards) == len(index["weight_map"])
    assert machine.run(pull, "me/shards") == machine.run(pull, folder)


@pytest.mark.parametrize("branch", ["main", "v2"])
def test_an_existing_card_stays(branch: str, hub: LoopbackHub, machine: Machine, folder: Path) -> None:
    repository = hub.repositories[f"me/kept-{branch}"] = Repository(private=False)
    for name, text in (("main", b"Main"), (branch, b"By hand")):
        card = StoredFile(b"---\nlicense: mit\n---\n" + text, is_lfs=False)
        repository.add_commit(name, f"Describe {name}", {"README.md": card})
    machine.run(push, folder, f"me/kept-{branch}", revision=branch)
    card = ModelCard(repository.files(branch)["README.md"].decode())
    assert card.text.strip() == "By hand" and card.data.license == "mit"
    assert "model.safetensors" in repository.files(branch)


def test_save_pretrained_with_push_to_hub_makes_the_card_too(
    hub: LoopbackHub, machine: Machine, folder: Path, tmp_path: Path
) -> None:
    machine.run(save, folder, tmp_path / "saved", push_to_hub=True, repo_id="me/saved")
    card = hub.repositories["me/saved"].files()["README.md"]
    assert b'model="me/saved"' in card
    assert (tmp_path / "saved" / "README.md").read_bytes() == card


@pytest.mark.skipif(Version(huggingface_hub.__version__) < Version("2"), reason="validates at huggingface.co only")
def test_the_hub_accepts_the_card_of_a_conversion(machine: Machine, tiny_model_folder: Path) -> None:
    card = (tiny_model_folder / "README.md").read_text(encoding="utf-8")
    assert machine.run(message_of, validate, card) == ""
    message = machine.run(message_of, validate, card.replace("license: other", "license: my-own"))
    assert '"license" must be one of' in message


# ---- broken connections ---------------------------------------------------------------------------------------------


def test_an_upload_that_breaks_is_sent_again(hub: LoopbackHub, machine: Machine, folder: Path) -> None:
    hub.objects.clear()
    hub.break_off("PUT", "/lfs/", after=10_000)
    hub.requests.clear()
    machine.run(push, folder, "me/upload")
    assert sum(request.startswith("PUT /lfs/") for request in hub.requests) == 2
    assert hub.repositories["me/upload"].files()["model.safetensors"] == (folder / "model.safetensors").read_bytes()


def test_a_push_that_breaks_at_the_commit_changes_nothing_and_can_be_repeated(
    hub: LoopbackHub, machine: Machine, folder: Path
) -> None:
    hub.objects.clear()
    hub.break_off("POST", "/commit/main", after=1000)
    message = machine.run(message_of, push, folder, "me/halved")
    assert message.startswith("RemoteProtocolError: Server disconnected")
    repository = hub.repositories["me/halved"]
    assert repository.files() == {} and repository.history() == ["initial commit"]
    hub.requests.clear()
    machine.run(push, folder, "me/halved")
    assert "model.safetensors" in repository.files()
    assert not [request for request in hub.requests if request.startswith("PUT")]  # the weights had arrived


@pytest.mark.slow
def test_a_download_that_breaks_goes_on_where_it_was(
    hub: LoopbackHub, shared: Repository, machine: Machine, tiny_model_folder: Path, tmp_path: Path
) -> None:
    hub.break_off("GET", "model.safetensors", after=len(shared.files()["model.safetensors"]) // 2)
    hub.requests.clear()
    assert machine.run(pull, "me/catseg", cache_dir=tmp_path) == machine.run(pull, tiny_model_folder)
    gets = [request for request in hub.requests if re.match(r"GET .*/model\.safetensors", request)]
    assert len(gets) == 2 and re.search(r"bytes=[1-9]\d*-$", gets[1])


@pytest.mark.slow
def test_a_download_that_fails_leaves_no_half_file_and_can_be_repeated(
    hub: LoopbackHub, shared: Repository, machine: Machine, tiny_model_folder: Path, tmp_path: Path
) -> None:
    hub.break_off("GET", "model.safetensors", after=len(shared.files()["model.safetensors"]) // 2)
    hub.break_off("GET", "model.safetensors", times=100)
    message = machine.run(message_of, pull, "me/catseg", cache_dir=tmp_path)
    hub.faults.clear()
    assert message.startswith("OSError: Can't load the model for 'me/catseg'")
    assert list(tmp_path.rglob("config.json")) and not list(tmp_path.rglob("model.safetensors"))
    assert machine.run(pull, "me/catseg", cache_dir=tmp_path) == machine.run(pull, tiny_model_folder)
