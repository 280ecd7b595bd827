# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Help and completion import neither torch nor Transformers, which knows the model in any order of imports."""

import ast
import importlib
import inspect
import json
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import catseg_hf
from catseg_hf.cli import app
from catseg_hf.registration import AfterImport


def run(code: str, *arguments: str, **environment: str) -> str:
    """What a fresh Python prints."""
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


HEAVY = """
import atexit, sys
atexit.register(lambda: print([name for name in ("torch", "transformers") if name in sys.modules]))
"""


def test_help_imports_neither_torch_nor_transformers() -> None:
    # `convert` hands its help to the conversion's own parser.
    names = {command.name or command.callback.__name__ for command in app.registered_commands} - {"convert"}
    assert {"segment", "evaluate", "serve"} <= names
    code = f"""{HEAVY}
import json
from catseg_hf.cli import app
for arguments in json.loads(sys.argv[1]):
    try:
        app(args=arguments)
    except SystemExit as end:
        assert end.code == 0, arguments
"""
    printed = run(code, json.dumps([["--help"], ["--version"], *([name, "--help"] for name in sorted(names))]))
    assert printed.count("Usage:") == len(names) + 1
    assert printed.splitlines()[-1] == "[]"


def test_completion_imports_neither_torch_nor_transformers() -> None:
    code = f"{HEAVY}\nsys.argv[0] = 'catseg'\nfrom catseg_hf.cli import main\nmain()"
    words = {"_CATSEG_COMPLETE": "complete_bash", "COMP_WORDS": "catseg segment --labels", "COMP_CWORD": "2"}
    assert run(code, **words).split() == ["--labels", "--labels-file", "[]"]


def test_labels_and_vocabularies_import_neither_torch_nor_transformers() -> None:
    code = "import catseg_hf as c\nprint(c.parse_labels('cat, sky'), len(c.load_vocabulary('ade20k_150')))"
    assert run(HEAVY + code).splitlines() == ["['cat', 'sky'] 150", "[]"]


def test_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(Path(catseg_hf.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == catseg_hf._MODULES
    assert sorted([*seen, "TINY"]) == sorted(catseg_hf.__all__)
    for name, module in seen.items():
        value = getattr(catseg_hf, name)
        assert value is getattr(importlib.import_module(f"catseg_hf.{module}"), name)
    assert {*catseg_hf.__all__, "__version__"} <= set(dir(catseg_hf))
    with pytest.raises(AttributeError, match="'catseg_hf' has no attribute 'CatSegModle'"):
        _ = catseg_hf.CatSegModle


KNOWN = """
import sys
from transformers import AutoModel, AutoProcessor, pipeline
made = pipeline("image-segmentation", model=sys.argv[1])
processor, inner = AutoProcessor.from_pretrained(sys.argv[1]), AutoModel.from_pretrained(sys.argv[1])
parts = (made, made.model, made.image_processor, processor, inner)
print(*(type(part).__module__.removesuffix("_catseg") for part in parts))
print([finder for finder in sys.meta_path if type(finder).__module__.startswith("catseg_hf")])
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "imports",
    [
        "import transformers; import catseg_hf",
        "import catseg_hf; from transformers import pipeline",
        "from catseg_hf.modeling_catseg import CatSegModel",
        "from catseg_hf import CatSegConfig",
        "import catseg_hf.cli; import torch",
        "import pickle; pickle.loads(bytes.fromhex(sys.argv[2]))",  # as in a process that was spawned
    ],
)
def test_transformers_knows_the_model_whatever_is_imported_first(imports: str) -> None:
    pickled = pickle.dumps(catseg_hf.CatSegProcessor).hex()
    known, finders = run(f"import sys\n{imports}\n{KNOWN}", catseg_hf.TINY, pickled).splitlines()
    modules = ("pipeline", "modeling", "image_processing", "processing", "modeling")
    assert known == " ".join(f"catseg_hf.{name}" for name in modules)
    assert finders == "[]"


@pytest.fixture
def make_watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AfterImport]]:
    """Makes modules `library` and `package`, with files of these names, and watches for them."""
    before = set(sys.modules)

    def make(call: Callable[[], None], **files: str) -> AfterImport:
        (tmp_path / "package").mkdir()
        (tmp_path / "library.py").write_text("whole = True\n")
        for name, text in {"__init__": "", **files}.items():
            (tmp_path / "package" / f"{name}.py").write_text(text)
        watch = AfterImport("library", "package", call)
        monkeypatch.setattr(sys, "meta_path", [watch, *sys.meta_path])
        monkeypatch.syspath_prepend(tmp_path)
        return watch

    yield make
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("library", "package"):
            del sys.modules[name]


def test_calls_when_the_library_is_there(make_watch: Callable[..., AfterImport]) -> None:
    calls = []
    watch = make_watch(lambda: calls.append(importlib.import_module("library").whole), light="", user="import library")
    importlib.import_module("package.light")
    assert not calls
    library = importlib.import_module("library")
    assert calls == [True] and watch not in sys.meta_path
    importlib.import_module("package.user")
    assert calls == [True]
    # Others find the loader that Python would have used.
    assert type(library.__loader__).__name__ == "SourceFileLoader" and library.__spec__.loader is library.__loader__
    assert inspect.getsource(library) == "whole = True\n"


def test_waits_until_no_module_of_the_package_is_half_done(make_watch: Callable[..., AfterImport]) -> None:
    calls = []

    def call() -> None:
        from package.inner import NAME as INNER
        from package.other import NAME as OTHER
        from package.outer import NAME as OUTER

        calls.append((INNER, OUTER, OTHER))

    make_watch(
        call,
        outer="import package.inner\nNAME = 'outer'",
        inner="import library\nNAME = 'inner'",
        other="NAME = 'other'",
    )
    importlib.import_module("package.outer")
    assert calls == [("inner", "outer", "other")]


def test_a_module_that_fails_calls_nothing(make_watch: Callable[..., AfterImport]) -> None:
    calls = []
    watch = make_watch(lambda: calls.append(1), broken="import library\n1 / 0", light="")
    with pytest.raises(ZeroDivisionError):
        importlib.import_module("package.broken")
    assert not calls and watch in sys.meta_path
    importlib.import_module("package.light")
    assert calls == [1] and watch not in sys.meta_path


def test_an_error_of_the_call_is_raised(make_watch: Callable[..., AfterImport]) -> None:
    watch = make_watch(lambda: importlib.import_module("package.absent"))
    with pytest.raises(ModuleNotFoundError, match=r"package\.absent"):
        importlib.import_module("library")
    assert watch in sys.meta_path and watch.num_running == 0


def test_waits_for_other_threads(make_watch: Callable[..., AfterImport], monkeypatch: pytest.MonkeyPatch) -> None:
    """The library is there, but another thread is in the midst of a module that the call needs."""
    calls, begun, go_on = [], threading.Event(), threading.Event()
    monkeypatch.setattr(sys, "begun", begun, raising=False)
    monkeypatch.setattr(sys, "go_on", go_on, raising=False)
    make_watch(
        lambda: calls.append(importlib.import_module("package.long").NAME),
        long="import sys\nsys.begun.set()\nsys.go_on.wait()\nNAME = 'long'",
    )
    thread = threading.Thread(target=importlib.import_module, args=["package.long"])
    thread.start()
    begun.wait()
    importlib.import_module("library")
    assert not calls
    go_on.set()
    thread.join()
    assert calls == ["long"]


def test_a_thread_that_comes_in_between_calls_itself(
    make_watch: Callable[..., AfterImport], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread has what the call needs half done, and waits for the library: neither waits for the other for ever."""
    calls, threads, begun = [], [], threading.Event()
    monkeypatch.setattr(sys, "begun", begun, raising=False)

    def call() -> None:
        if not threads:
            threads.append(threading.Thread(target=importlib.import_module, args=["package.user"]))
            threads[0].start()
            begun.wait()
            time.sleep(0.2)  # so that it waits already; if not, the test passes as well
        from package.user import NAME

        calls.append(NAME)

    watch = make_watch(call, user="import sys\nsys.begun.set()\nimport library\nNAME = 'user'")
    importlib.import_module("library")
    threads[0].join()
    assert calls == ["user"] and watch not in sys.meta_path
