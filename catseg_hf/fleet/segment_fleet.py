# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""`catseg segment --engine ray`: photos of a source go to the workers of a fleet, and what these report is kept."""

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pyarrow as pa
import ray
import typer
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError
from tqdm.auto import tqdm

from catseg_hf.fleet.sources import TAKEN, Files, Item, Names, ParquetFiles, find_source
from catseg_hf.fleet.worker import Worker
from catseg_hf.formats import ResultFiles
from catseg_hf.formats.parquet_rows import SCHEMA, ParquetRows
from catseg_hf.onnx import is_exported
from catseg_hf.ray_session import ray_session
from catseg_hf.segmenting import label_name
from catseg_hf.sources.job import DEFAULT_FOLDER, Job
from catseg_hf.sources.photo import SHOWN_ANIMATIONS, tell_of_animations
from catseg_hf.sources.places import check_endings, targets_of


ITEMS = pa.schema({name: pa.int64() if kind is int else pa.string() for name, kind in get_type_hints(Item).items()})
# Least and most photos that a worker gets at once: few, where there are few, so that all are busy to the end. Of rows
# of Parquet more, since what lies before them in their row group is read as well.
FILES_TOGETHER, ROWS_TOGETHER = (1, 64), (16, 256)
PORTIONS_PER_WORKER = 20
SHOWN_PROBLEMS = 20
PROBLEMS = "_problems.jsonl"  # readers of Parquet leave out what begins with an underscore
DEVICES = ("auto", "cpu", "cuda")


def segment_fleet(inputs: Sequence[str], job: Job) -> None:
    """Segments all photos of a source, as [`find_source`] takes it, and says what came of it.

    Raises `OSError` if results cannot be written, `ValueError` if an argument cannot be used or a photo could not be
    segmented, and `typer.Exit` if the user interrupts.
    """
    if job.device not in DEVICES:
        raise ValueError(f"--device {job.device}: with --engine ray, which shares out the GPUs, {', '.join(DEVICES)}.")
    data_set = next((format for format in job.formats if format.is_data_set), None)
    if data_set is not None and len(job.formats) > 1:
        raise ValueError(f"--format {data_set.name} is a data set of its own: leave out the other formats.")
    for group, what in ((job.windows, "--native"), (job.videos, "a video")):
        if given := group.given():
            raise ValueError(f"--{given[0].replace('_', '-')} goes with {what} only, and --engine ray is for photos.")
    # Workers may have another current folder.
    model = str(Path(job.model).absolute()) if Path(job.model).is_dir() else job.model
    job = replace(job, output=(job.output or DEFAULT_FOLDER).absolute(), model=model)
    source = find_source(list(inputs), job.output, job.cluster.image_column)
    lost = next((format for format in job.formats if getattr(format, "own_options", ())), None)
    if isinstance(source, ParquetFiles) and lost is not None and job.annotations.image_url is None:
        raise ValueError(f"{lost.title} finds photos by their addresses, which rows of Parquet have not: --image-url.")
    # What cannot be loaded is refused here, and not by processes that are started again and again.
    if is_exported(job.model):
        segmenter, job = job.load(), replace(job, device="cpu")
    else:
        segmenter = replace(job, device="cpu", compiles=False).load()
    names = [label_name(label) for label in segmenter.labels]
    files = results = None
    if data_set is None:
        files = ResultFiles(job.formats, job.annotations, job.output, job.skip_existing)
        check_endings(job.formats)
        files.begin(names)
    else:
        wanted = ("model", "dtype", "threshold", "background")
        made_with = {"labels": names, **{name: getattr(job, name) for name in wanted}}
        made_with |= {} if job.others is None else {"others": job.others}
        results = data_set.data_set(job.output, made_with, job.skip_existing)
    counts = _Counts(job.output / PROBLEMS)
    with ray_session(job.cluster.address):
        try:
            _run(source, job, results, counts)
        except KeyboardInterrupt:
            typer.echo(f"Interrupted after {_photos(counts.num_done)}. With --skip-existing it goes on.", err=True)
            raise typer.Exit(130) from None
    if files is not None:
        files.finish()
    skipped = f", {counts.num_skipped} were there already" if counts.num_skipped else ""
    tell_of_animations(counts.first_animations, counts.num_animations)
    typer.echo(f"Wrote the results of {_photos(counts.num_done)} to {job.output}{skipped}")
    counts.raise_problems()


class _Counts:
    """What became of the photos; problems go into a file, which is there only if there are some: of any number."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.num_done = self.num_skipped = self.num_problems = self.num_animations = 0
        self.first: list[str] = []
        self.first_animations: list[str] = []
        path.unlink(missing_ok=True)  # of an earlier run

    def add_problems(self, problems: dict[str, str]) -> None:
        if not problems:
            return
        self.num_problems += len(problems)
        lines = [f"{name}: {reason}" for name, reason in problems.items()]
        self.first += lines[: SHOWN_PROBLEMS - len(self.first)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            for name, reason in problems.items():
                file.write(json.dumps({"name": name, "problem": reason}) + "\n")

    def raise_problems(self) -> None:
        if self.num_problems:
            title = f"{_photos(self.num_problems)} could not be segmented, listed in {self.path}:"
            num_more = self.num_problems - len(self.first)
            more = [f"and {num_more} more"] if num_more else []
            raise ValueError("\n  ".join([title, *self.first, *more]))


def _photos(number: int) -> str:
    return f"{number:,} photo{'s'[: number != 1]}"


def _run(source: Files | ParquetFiles, job: Job, results: ParquetRows | None, counts: _Counts) -> None:
    """Lists the photos, hands them out, and takes the reports, in any order."""
    context = DataContext.get_current()
    context.enable_progress_bars = context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    has_gpu = job.device != "cpu" and ray.cluster_resources().get("GPU", 0) >= 1
    if job.device == "cuda" and not has_gpu:
        raise ValueError("--device cuda: Ray knows of no GPU.")
    num_workers = max(1, int(ray.cluster_resources().get("GPU" if has_gpu else "CPU", 1)))
    problems: dict[str, str] = {}
    left = _left(source, results, counts, problems) if results is not None else _with_own_files(source, job, problems)
    blocks, num_photos = [], 0
    for block in _blocks(left, num_workers, isinstance(source, ParquetFiles)):
        counts.add_problems(problems)
        problems.clear()
        num_photos += block.num_rows
        blocks.append(ray.put(block))
    counts.add_problems(problems)
    if not blocks and not counts.num_skipped and not counts.num_problems:
        raise ValueError(f"There are no photos in {source.path}.")
    if not blocks:
        return
    job = replace(job, device="cuda" if has_gpu else "cpu", num_workers=job.num_workers if has_gpu else 1)
    reports = ray.data.from_arrow_refs(blocks).map_batches(
        Worker,
        fn_constructor_args=(job,),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ActorPoolStrategy(size=min(num_workers, len(blocks))),
        num_cpus=1,
        num_gpus=1 if has_gpu else 0,
    )
    with tqdm(total=num_photos, unit="photo", disable=None) as bar, results or nullcontext():
        try:
            for report in reports.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                _take(report, results, counts)
                bar.update(report.num_rows)
        except RayError as error:
            cause = getattr(error, "cause", None)
            if isinstance(cause, OSError | ValueError):
                raise cause from error
            # Of a process's traceback, the error itself.
            lines = [line for line in str(error).splitlines() if "Error" in line]
            raise RuntimeError(f"A process failed. {lines[-1] if lines else error}") from error


def _take(report: pa.Table, results: ParquetRows | None, counts: _Counts) -> None:
    reasons = report["problem"].to_pylist()
    problems = {name: why for name, why in zip(report["name"].to_pylist(), reasons, strict=True) if why is not None}
    num_there = report["was_there"].to_pylist().count(True)
    if results is not None:
        results.add(report.filter(report["image_id"].is_valid()).select(SCHEMA.names))
    counts.add_problems(problems)
    animations = report.filter(report["is_animated"])["name"].to_pylist()
    counts.num_animations += len(animations)
    counts.first_animations += animations[: SHOWN_ANIMATIONS - len(counts.first_animations)]
    counts.num_skipped += num_there
    counts.num_done += report.num_rows - num_there - len(problems)


def _left(
    source: Files | ParquetFiles, results: ParquetRows, counts: _Counts, problems: dict[str, str]
) -> Iterator[Item]:
    """The photos that have no row among the results."""
    done = Names(results.earlier_ids())
    for item in source.items(True, problems):
        if item.image_id in done:
            counts.num_skipped += 1
        else:
            yield item


def _with_own_files(source: Files | ParquetFiles, job: Job, problems: dict[str, str]) -> Iterator[Item]:
    """The photos whose results have files of their own; of the others the reason is noted."""
    keep_endings = all(format.keeps_endings for format in job.formats)

    def targets(item: Item) -> list[str]:
        # Some file systems take capital and small letters for the same.
        return [str(path).casefold() for path in targets_of(Path(item.stem), job.output, job.formats).values()]

    shared = Names((target for item in source.items(keep_endings, {}) for target in targets(item)), repeated=True)
    owners = {str(path).casefold(): "all photos" for each in job.formats for path in each.folder_files(job.output)}
    of_all = Names(owners)
    for item in source.items(keep_endings, problems):
        places = targets(item)
        critical = [place for place in places if place in shared or place in of_all]
        owner = next((owners[place] for place in critical if place in owners), None)
        if owner is not None:
            problems[item.name] = TAKEN.format(owner)
            continue
        owners.update(dict.fromkeys(critical, item.name))
        yield item


def _blocks(items: Iterable[Item], num_workers: int, are_rows: bool) -> Iterator[pa.Table]:
    """Items as a worker gets them: small portions first, so that few photos keep all busy; of rows one row group."""
    smallest, largest = ROWS_TOGETHER if are_rows else FILES_TOGETHER
    block: list[Item] = []
    for num_before, item in enumerate(items):
        most = min(largest, smallest + num_before // (PORTIONS_PER_WORKER * num_workers))
        if block and (len(block) >= most or (item.file, item.group) != (block[0].file, block[0].group)):
            yield _table(block)
            block = []
        block.append(item)
    if block:
        yield _table(block)


def _table(items: list[Item]) -> pa.Table:
    return pa.Table.from_pylist([item._asdict() for item in items], ITEMS)
