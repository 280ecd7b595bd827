# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Files and folders that are there as a whole or not at all."""

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


# Full, over a quota or a limit, read-only, broken.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
# How libraries written in Rust tell of them (safetensors, tokenizers), and `torch.save`, which loses the reason.
RUST_ERROR = re.compile(r"\(os error (\d+)\)")
TORCH_ERRORS = ("PytorchStreamWriter failed writing", "unexpected pos")


def disk_problem(error: Exception) -> str | None:
    """Why a disk takes nothing more, from an error of any library that was writing.

    Args:
        error (`Exception`): The error.

    Returns:
        `str`, *optional*: The reason; `None` if the error is about something else.
    """
    if isinstance(error, OSError):
        number, reason = error.errno, error.strerror
    elif found := RUST_ERROR.search(str(error)):
        number, reason = int(found[1]), os.strerror(int(found[1]))
    elif isinstance(error, RuntimeError) and any(words in str(error) for words in TORCH_ERRORS):
        return "the file could not be written to its end"
    else:
        return None
    return reason if number in DISK_ERRORS else None


@contextmanager
def disk_errors_named(path: Path, advice: str) -> Iterator[None]:
    """Makes errors of a full or broken disk, from any library, say what was being written.

    Args:
        path (`Path`): The file or folder.
        advice (`str`): What is whole, and how to go on.

    Raises:
        OSError: Instead of such an error.
    """
    try:
        yield
    except Exception as error:
        problem = disk_problem(error)
        if problem is None:
            raise
        raise OSError(f"{path}: {problem}. {advice}") from error


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A path to write a file or a folder to, which becomes `path` at the end, so that nobody finds half of it.

    Args:
        path (`Path`): The file, which is replaced if it exists, or a folder that does not exist.

    Returns:
        A context with the `Path` to write to, of the same ending.

    Raises:
        OSError: If it cannot be written, as on a full disk; the message names `path`, where nothing has changed then.
    """
    unfinished = path.with_name(f".unfinished-{os.getpid()}-{path.name}")
    try:
        with disk_errors_named(path, "Nothing was changed there."):
            yield unfinished
            unfinished.replace(path)
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)


__all__ = ["disk_errors_named", "disk_problem", "written_whole"]
