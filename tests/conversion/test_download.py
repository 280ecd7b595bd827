# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Published checkpoints come over real HTTP from a loopback server, are converted once, and are found again."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from catseg_hf.conversion import PUBLISHED, ConversionError, load_original
from catseg_hf.conversion.command import main
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation


ROOT = Path(__file__).parents[2]
COMMIT = "a" * 40
FILE = "/spaces/hamacojr/CAT-Seg-weights/resolve/main/model_base.pth"


class Handler(BaseHTTPRequestHandler):
    """The Hub's address of one file in a Space, and a plain file."""

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        content = self.answer()
        if content:
            self.wfile.write(content)

    def answer(self) -> bytes:
        self.server.requests.append((self.command, self.path))
        content = self.server.files.get(self.path)
        self.send_response(404 if content is None else 200)
        self.send_header("Content-Length", str(len(content or b"")))
        if content is not None:
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        return content or b""

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def server(tiny_checkpoint: Path) -> Iterator[ThreadingHTTPServer]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    content = tiny_checkpoint.read_bytes()
    server.files = {
        FILE: content,
        "/plain/model.pth": content,
    }
    server.requests = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run(script: str, server: ThreadingHTTPServer | None, cache: Path, offline: str = "0") -> tuple[int, str, str]:
    address = "http://127.0.0.1:9" if server is None else f"http://127.0.0.1:{server.server_port}"
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HF_ENDPOINT": address,
        "HF_HUB_OFFLINE": offline,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HOME": str(cache / "home"),
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment, cwd=ROOT)
    return result.returncode, result.stdout, result.stderr


LOAD = """
from catseg_hf.conversion import load_original
from catseg_hf.modeling_catseg import CatSegForSemanticSegmentation
folder = load_original("base")
print(folder)
print(CatSegForSemanticSegmentation.from_pretrained(folder).config.num_labels)
"""


@pytest.mark.slow
def test_a_checkpoint_of_the_hub_is_downloaded_and_converted_once(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    code, output, error = run(LOAD, server, tmp_path)
    assert code == 0, error
    folder, num_labels = output.splitlines()
    assert Path(folder).is_relative_to(tmp_path / "home" / "catseg_hf" / "converted")
    assert num_labels == "171"
    assert server.requests.count(("GET", FILE)) == 1
    written = (Path(folder) / "model.safetensors").stat().st_mtime_ns

    # The second time without a network: nothing is downloaded or converted again.
    code, output, error = run(LOAD, None, tmp_path, offline="1")
    assert code == 0, error
    assert output.splitlines()[0] == folder
    assert (Path(folder) / "model.safetensors").stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_file_that_differs_from_the_hubs_is_refused(server: ThreadingHTTPServer, tmp_path: Path) -> None:
    fetch = "from catseg_hf.conversion.download import fetch_original\nprint(fetch_original('base'))"
    code, output, error = run(fetch, server, tmp_path)
    assert code == 0, error
    blob = Path(output.strip()).resolve()
    content = bytearray(blob.read_bytes())
    content[len(content) // 2] ^= 1
    blob.write_bytes(content)
    for script in (fetch, LOAD):
        code, _, error = run(script, server, tmp_path)
        assert code == 1 and "is damaged: its SHA-256" in error and str(blob) in error
    assert not list((tmp_path / "home" / "catseg_hf").glob("converted/*/config.json"))


PLAIN = """
from catseg_hf.conversion import download
from catseg_hf.conversion.errors import ConversionError
for prefix in ("00000000", {digest!r}):
    download.PUBLISHED["mmseg-base"] = download.PublishedFile("model.pth", url={address!r}, sha256_prefix=prefix)
    try:
        print(download.load_original("mmseg-base"))
    except ConversionError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_plain_address_is_checked_against_its_hash(
    server: ThreadingHTTPServer, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    address = f"http://127.0.0.1:{server.server_port}/plain/model.pth"
    digest = hashlib.sha256(tiny_checkpoint.read_bytes()).hexdigest()[:8]
    code, output, error = run(PLAIN.format(address=address, digest=digest), server, tmp_path)
    assert code == 0, error
    refused, folder = output.splitlines()
    assert "SHA-256" in refused
    assert (Path(folder) / "config.json").is_file()
    assert not list((tmp_path / "home" / "catseg_hf" / "downloads").glob("*.part"))


def test_offline_says_what_to_download_and_where_to_put_it(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError) as error:
        load_original("base", cache_dir=tmp_path)
    place = tmp_path / "originals" / "model_base.pth"
    assert "https://huggingface.co/spaces/hamacojr/CAT-Seg-weights/resolve/main/model_base.pth" in str(error.value)
    assert str(place) in str(error.value)
    place.parent.mkdir()
    place.symlink_to(tiny_checkpoint)
    folder = load_original("base", cache_dir=tmp_path)
    assert (folder / "config.json").is_file()
    model = CatSegForSemanticSegmentation.from_original("base", cache_dir=tmp_path)
    assert Path(model.config.name_or_path) == folder
    assert model.config.num_labels == 171


def test_the_command_takes_names_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "home"))
    assert main(["v1-large", str(tmp_path / "out")]) == 1
    assert (
        "Download https://huggingface.co/hamacojr/CAT-Seg/resolve/main/model_final_large.pth" in capsys.readouterr().err
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_checkpoint_has_an_address(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=f"Download https://.*/{PUBLISHED[name].file_name} where"):
        load_original(name, cache_dir=tmp_path)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="base, large, v1-base, v1-large, v1-huge, v1-giant, mmseg-base"):
        load_original("small", cache_dir=tmp_path)
