# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""Files and folders that are there as a whole or not at all."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


# Full, over a quota or a limit, read-only, broken.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


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
        yield unfinished
        unfinished.replace(path)
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        raise OSError(f"{path}: {error.strerror or error}. Nothing was changed there.") from error
    finally:
        if unfinished.is_dir():
            shutil.rmtree(unfinished)
        unfinished.unlink(missing_ok=True)


__all__ = ["written_whole"]
