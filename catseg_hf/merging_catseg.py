# Copyright 2026 The catseg_hf authors. Licensed under the Apache License, Version 2.0.
"""From the logits of views to scores on the photo, and to the best class of each pixel.

The plain definition is [`MergedViews.whole`], resized to the target, and its maximum over classes ([`_best_of_all`]): a
chunk of classes at a time, whole maps, no question to the device. That is the way on a GPU. On a CPU,
[`_best_by_search`] gives the same with a fraction of the arithmetic: it looks only at classes that can win somewhere.
"""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from .chunking_catseg import with_less_memory


# The search works on bands of this many scores: large enough to keep the cores busy, small enough for the cache.
BAND_ELEMENTS = 2**21
# Without the search, maps of so many bytes are formed at a time: what a processor's memory feeds well, or what fills a
# GPU with few launches.
CPU_CHUNK_BYTES, GPU_CHUNK_BYTES = 2**26, 2**30
# Looking at one class that can win in a cell takes as long as looking at so many without asking, measured on CPUs.
CANDIDATE_COST = 10
# Below this logit the sigmoid leaves the range of normal float32 numbers, on which processors are very slow.
MIN_LOGIT = -80.0

Box = tuple[int, int, int, int]


def resize_bilinear(maps: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Maps of shape (N, C, height, width) resized to a height and width."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


class MergedViews:
    """The merged score maps of one image, on the resized image: the whole of some classes, or a few rows of all.

    Args:
        logits (`torch.Tensor` of shape `(V, T, h, w)`): Logits of the views of one image.
        boxes (`list[tuple[int, int, int, int]]`, *optional*): Top, left, bottom and right of each view on the resized
            image. `None` in the plain mode.
        size (`tuple[int, int]`): Height and width of the resized image; those of the logits in the plain mode.
        use_sigmoid (`bool`): Whether views are merged after the sigmoid, or as they are.
    """

    def __init__(
        self, logits: torch.Tensor, boxes: list[Box] | None, size: tuple[int, int], *, use_sigmoid: bool
    ) -> None:
        self.logits = logits
        self.boxes = boxes
        self.size = size
        self.use_sigmoid = use_sigmoid
        self.num_classes = logits.shape[1]
        self.device = logits.device
        self.has_global_view = False
        if boxes is None:
            return
        # The last of several views is the global one if it covers everything: no window does beside others.
        self.has_global_view = len(boxes) > 1 and boxes[-1] == (0, 0, *size)
        self.window_boxes = boxes[:-1] if self.has_global_view else boxes
        top, left, bottom, right = boxes[0]
        self.window_size = (bottom - top, right - left)
        # How many scores make the mean at each place; the global view counts as much as all windows together.
        self.divisor = torch.zeros(size, device=self.device)
        for top, left, bottom, right in self.window_boxes:
            self.divisor[top:bottom, left:right].add_(2 if self.has_global_view else 1)
        self.divisor.clamp_(min=1)

    def of_classes(self, class_ids: torch.Tensor | slice) -> "MergedViews":
        """The maps of some classes."""
        some = copy.copy(self)
        some.logits = self.logits[:, class_ids]
        some.num_classes = some.logits.shape[1]
        return some

    def whole(self) -> torch.Tensor:
        """The merged maps by their plain definition, float32 of shape (T, height, width)."""
        if self.boxes is None:
            return self._scores(self.logits[0].float())
        logits = self.logits.float()
        merged = torch.zeros(1, self.num_classes, *self.size, device=self.device)
        for view, (top, left, bottom, right) in zip(logits.split(1), self.window_boxes, strict=False):
            scores = self._scores(resize_bilinear(view, (bottom - top, right - left)))
            merged[..., top:bottom, left:right].add_(scores)
        merged /= self.divisor
        if self.has_global_view:
            # The global view is resized to the window first, like all views, and then to the resized image.
            scores = self._scores(resize_bilinear(logits[-1:], self.window_size))
            merged.add_(resize_bilinear(scores, self.size), alpha=0.5)
        return merged[0]

    def rows(self, start: int, stop: int) -> torch.Tensor:
        """Rows `start` to `stop` of the merged maps, float32 of shape (T, stop - start, width)."""
        if self.boxes is None:
            return self._scores(self.logits[0, :, start:stop].float())
        merged = torch.zeros(self.num_classes, stop - start, self.size[1], device=self.device)
        for logits, (top, left, bottom, right) in zip(self.logits, self.window_boxes, strict=False):
            first, last = max(start, top), min(stop, bottom)
            if first < last:
                maps = self._scores(_resize_rows(logits, (bottom - top, right - left), first - top, last - top))
                merged[:, first - start : last - start, left:right].add_(maps)
        merged /= self.divisor[start:stop]
        if self.has_global_view:
            height = self.window_size[0]
            above, below, _ = _bilinear_source(height, self.size[0], self.device)
            first, last = int(above[start]), int(below[stop - 1]) + 1
            maps = self._scores(_resize_rows(self.logits[-1], self.window_size, first, last))
            merged.add_(_resize_rows(maps, self.size, start, stop, first, height), alpha=0.5)
        return merged

    @property
    def has_least_score(self) -> bool:
        """Whether all logits up to `MIN_LOGIT` have the same score: a GPU, not slow on tiny numbers, is spared that."""
        return self.use_sigmoid and self.device.type == "cpu"

    def _scores(self, logits: torch.Tensor) -> torch.Tensor:
        if self.has_least_score:
            return logits.clamp(min=MIN_LOGIT).sigmoid_()
        return logits.sigmoid() if self.use_sigmoid else logits


def merged_images(
    outputs: Any,
    target_sizes: Sequence[tuple[int, int]] | torch.Tensor | None,
    class_ids: Sequence[int] | None = None,
    *,
    use_sigmoid: bool,
    num_labels: int | None = None,
) -> Iterator[tuple[MergedViews, tuple[int, int]]]:
    """The views of each image of a model's output, after a check of the arguments.

    Args:
        outputs (`CatSegSemanticSegmenterOutput`): With `logits`, and of several views `view_boxes` and `resized_sizes`.
        target_sizes (`Sequence[tuple[int, int]]` or `torch.Tensor` of shape `(B, 2)`, *optional*):
            Height and width of each result; by default those of the resized image.
        class_ids (`Sequence[int]`, *optional*): Which classes, and in which order; all of them by default.
        use_sigmoid (`bool`): Whether views are merged after the sigmoid.
        num_labels (`int`, *optional*): How many of the classes will be reported; only checked here.

    Returns:
        An iterator over [`MergedViews`] and target size of each image.

    Raises:
        ValueError: If an argument does not fit the outputs; the message says which are allowed.
    """
    fields = outputs if isinstance(outputs, Mapping) else vars(outputs)
    logits, view_boxes, resized_sizes = (fields.get(name) for name in ("logits", "view_boxes", "resized_sizes"))
    _check_outputs(logits, view_boxes, resized_sizes)
    _check_requests(logits, target_sizes, class_ids)
    if num_labels is not None and not 1 <= num_labels <= logits.shape[-3]:
        raise ValueError(
            f"`num_labels={num_labels}` of the outputs' {logits.shape[-3]} classes cannot be reported: give the number "
            "of labels, without the others."
        )
    for index in range(len(logits)):
        if logits.ndim == 4:
            views, boxes, size = logits[index, None], None, tuple(logits.shape[-2:])
        else:
            boxes = [tuple(box) for box in view_boxes[index].tolist()]
            present = [number for number, box in enumerate(boxes) if any(box)]
            views = logits[index] if len(present) == len(boxes) else logits[index, present]
            boxes, size = [boxes[number] for number in present], tuple(resized_sizes[index].tolist())
        if class_ids is not None:
            views = views[:, list(class_ids)]
        target_size = size if target_sizes is None else tuple(int(length) for length in target_sizes[index])
        if len(target_size) != 2 or min(target_size) < 1:
            raise ValueError(
                f"`target_sizes[{index}]` must be (height, width), two positive integers, got {target_size}."
            )
        yield MergedViews(views, boxes, size, use_sigmoid=use_sigmoid), target_size


def _check_outputs(
    logits: torch.Tensor | None, view_boxes: torch.Tensor | None, resized_sizes: torch.Tensor | None
) -> None:
    if logits is None or logits.ndim not in (4, 5):
        raise ValueError(
            "`outputs` must have `logits` of shape (images, classes, height, width) or (images, views, classes, "
            f"height, width), got {None if logits is None else tuple(logits.shape)}."
        )
    if logits.ndim == 5 and (view_boxes is None or resized_sizes is None):
        raise ValueError(
            "`outputs` has logits of several views, but not the `view_boxes` and `resized_sizes` of the image "
            "processor: give these to the model, which hands them on."
        )


def _check_requests(
    logits: torch.Tensor,
    target_sizes: Sequence[tuple[int, int]] | torch.Tensor | None,
    class_ids: Sequence[int] | None,
) -> None:
    num_images, num_classes = logits.shape[0], logits.shape[-3]
    if target_sizes is not None and len(target_sizes) != num_images:
        raise ValueError(
            f"`target_sizes` has {len(target_sizes)} entries for {num_images} images: give (height, width) of each."
        )
    wrong = [class_id for class_id in class_ids or () if not 0 <= class_id < num_classes]
    if wrong:
        raise ValueError(f"`class_ids` has {wrong}: there are only the classes 0 to {num_classes - 1}.")


def best_classes(
    views: MergedViews, size: tuple[int, int], *, need_scores: bool, use_softmax: bool, search: bool | None = None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The best class of each target pixel, without forming all scores at the target size.

    Args:
        views ([`MergedViews`]): The maps.
        size (`tuple[int, int]`): Height and width of the target.
        need_scores (`bool`): Whether the score of the best class is wanted.
        use_softmax (`bool`): Whether this score is the softmax over classes.
        search (`bool`, *optional*):
            Whether to look only at the classes that can win. By default on a CPU: what the search asks of the maps
            would make a GPU wait for each answer.

    Returns:
        `tuple[torch.LongTensor, torch.FloatTensor | None]`: Class and score, of shape (height, width). Of classes with
        equal scores it is the first.
    """
    if _is_searched(views, search):
        return _best_by_search(views, size, need_scores, use_softmax)

    def best_of_all(chunk_size: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        return _best_of_all(_class_chunks(views, size, chunk_size), need_scores, use_softmax)

    return with_less_memory(best_of_all, {"classes": (_class_chunk_size(views, size), views.num_classes)})


def class_scores(
    views: MergedViews, size: tuple[int, int], *, use_softmax: bool, search: bool | None = None
) -> torch.Tensor:
    """Scores of all classes at the target size.

    Args:
        views, size: As for [`best_classes`].
        use_softmax (`bool`): Whether these are the softmax over classes.
        search (`bool`, *optional*): As for [`best_classes`]: the scores are rounded as those that decide there.

    Returns:
        `torch.FloatTensor` of shape `(T, height, width)`.
    """
    result = torch.empty(views.num_classes, *size, device=views.device)
    if _is_searched(views, search):
        for band in _bands(views, size):
            for first, last, rows in _target_rows(band, size, views.size[0]):
                result[:, first:last] = rows
    else:

        def fill(chunk_size: int) -> None:
            for classes, maps in _class_chunks(views, size, chunk_size):
                result[classes] = maps

        with_less_memory(fill, {"classes": (_class_chunk_size(views, size), views.num_classes)})
    return result.softmax(dim=0) if use_softmax else result


def _is_searched(views: MergedViews, search: bool | None) -> bool:
    return views.device.type == "cpu" if search is None else search


# ---- all classes ----------------------------------------------------------------------------------------------------


def _class_chunk_size(views: MergedViews, size: tuple[int, int]) -> int:
    # Of each class: its views at the window's size, the merged map, and the target, each with a copy on the way.
    elements = math.prod(size) + math.prod(views.size)
    if views.boxes is not None:
        elements += len(views.boxes) * math.prod(views.window_size)
    chunk_bytes = CPU_CHUNK_BYTES if views.device.type == "cpu" else GPU_CHUNK_BYTES
    return max(1, chunk_bytes // (2 * 4 * elements))


def _class_chunks(views: MergedViews, size: tuple[int, int], chunk_size: int) -> Iterator[tuple[slice, torch.Tensor]]:
    """Scores at the target size of a few classes at a time: which ones, and (t, height, width)."""
    for first in range(0, views.num_classes, chunk_size):
        classes = slice(first, min(first + chunk_size, views.num_classes))
        yield classes, resize_bilinear(views.of_classes(classes).whole()[None], size)[0]


def _best_of_all(
    chunks: Iterator[tuple[slice, torch.Tensor]], need_scores: bool, use_softmax: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Best class and score by a running maximum over [`_class_chunks`]; for arguments see [`best_classes`]."""
    best = labels = total = None
    for classes, maps in chunks:
        score, label = maps.max(dim=0)
        label += classes.start
        if best is None:
            new_best, labels = score, label
        else:
            labels = torch.where(score > best, label, labels)  # of equal scores the first class stays
            new_best = torch.maximum(best, score)
        if need_scores and use_softmax:
            # The softmax's sum so far, relative to the best logit so far.
            rescaled = 0 if total is None else total * (best - new_best).exp_()
            total = (maps - new_best).exp_().sum(dim=0) + rescaled
        best = new_best
    if not need_scores:
        return labels, None
    return labels, total.reciprocal_() if use_softmax else best


# ---- only classes that can win --------------------------------------------------------------------------------------


class _Band(NamedTuple):
    """Rows `start` to `stop` of merged maps, and the rows `first` to `last` of the target that lie between them."""

    start: int
    stop: int
    maps: torch.Tensor  # (T, rows, width): one row more than the band, if there is one
    first: int
    last: int


class _Candidates(NamedTuple):
    """Which classes can win in some cells."""

    cells: torch.Tensor  # (cells,): the cells, by falling number of candidates
    count: torch.Tensor  # (cells,): number of candidates
    offset: torch.Tensor  # (cells,): position of the first candidate of each cell
    classes: torch.Tensor  # (candidates,): class of each candidate, ascending within a cell
    scores: torch.Tensor  # (candidates, 4): its scores at the four pixels


class _CellAxis:
    """Where the target pixels of one axis lie, in cells that reach from one source pixel to the next.

    Args:
        source, target (`int`): Number of pixels of the source and of the target.
        start, stop (`int`): Which cells; a cell has the number of the source pixel that it begins with.
        device (`torch.device`): Where to compute.

    Attributes:
        weight (`torch.FloatTensor` of shape `(cells, slots)`): How far from the beginning of each cell its target
            pixels lie, from 0 to 1; filled up to the largest number of them in a cell.
        position (`torch.LongTensor` of shape `(target pixels,)`): Where each target pixel is in the flattened `weight`.
    """

    def __init__(self, source: int, target: int, start: int, stop: int, device: torch.device) -> None:
        cell, _, weight = _bilinear_source(source, target, device)
        here = (cell >= start) & (cell < stop)
        cell, weight = cell[here] - start, weight[here]
        count = cell.bincount(minlength=stop - start)
        slots = int(count.max())
        self.position = cell * slots + torch.arange(cell.shape[0], device=device) - (count.cumsum(0) - count)[cell]
        self.weight = torch.zeros((stop - start) * slots, device=device)
        self.weight[self.position] = weight
        self.weight = self.weight.view(-1, slots)


def _best_by_search(
    views: MergedViews, size: tuple[int, int], need_scores: bool, use_softmax: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Best class and score, looking only at classes that can win; for arguments see [`best_classes`].

    A target pixel in a cell between four pixels of the merged maps gets, for every class, the same convex combination
    of its scores there. So where one class is the best at all four, it is the best in between. Elsewhere only those
    classes can win whose largest score of the four reaches the best of the smallest ones; usually two or three of them.
    This is exact.
    """
    labels = torch.empty(size, dtype=torch.int64, device=views.device)
    scores = torch.empty(size, device=views.device) if need_scores else None
    columns = _CellAxis(views.size[1], size[1], 0, views.size[1], views.device)
    needs_all = need_scores and use_softmax  # every class at every pixel
    class_ids = None if needs_all else _distinct_classes(views)
    if class_ids is not None:
        views = views.of_classes(class_ids)
    for band in _bands(views, size):
        rows = _CellAxis(views.size[0], size[0], band.start, band.stop, views.device)
        found = None if needs_all else _best_in_cells(band.maps, rows, columns, need_scores)
        if found is None:
            for first, last, maps in _target_rows(band, size, views.size[0]):
                best, labels[first:last] = maps.max(dim=0)
                if need_scores:
                    scores[first:last] = (maps - best).exp_().sum(dim=0).reciprocal_() if use_softmax else best
            continue
        labels[band.first : band.last] = found[0][rows.position][:, columns.position]
        if need_scores:
            scores[band.first : band.last] = found[1][rows.position][:, columns.position]
    return labels if class_ids is None else class_ids[labels], scores


def _distinct_classes(views: MergedViews) -> torch.Tensor | None:
    """Ids of the classes that can be the first of the best ones; `None` if those are all.

    The sigmoid of all logits up to the least one is the same. So classes that do not exceed it anywhere, such as those
    that the model kept in no view, have equal maps, and the first of them stands for all.
    """
    if not views.has_least_score:
        return None
    highest = torch.stack([logits.flatten(1).amax(dim=1) for logits in views.logits]).amax(dim=0)
    (least,) = (highest <= MIN_LOGIT).nonzero(as_tuple=True)
    if len(least) < 2:
        return None
    is_distinct = torch.ones(views.num_classes, dtype=torch.bool, device=views.device)
    is_distinct[least[1:]] = False
    return is_distinct.nonzero()[:, 0]


def _bands(views: MergedViews, size: tuple[int, int]) -> Iterator[_Band]:
    """The maps in bands of bounded size, for a target of that size; bands without a target row are left out."""
    height, width = views.size
    pixels_per_cell = math.ceil(size[0] / height) * math.ceil(size[1] / width)
    num_rows = max(BAND_ELEMENTS // (width * max(views.num_classes, pixels_per_cell)), 1)
    above = _bilinear_source(height, size[0], torch.device("cpu"))[0]
    for start in range(0, height, num_rows):
        stop = min(start + num_rows, height)
        first, last = torch.searchsorted(above, torch.tensor([start, stop])).tolist()
        if first < last:
            yield _Band(start, stop, views.rows(start, min(stop + 1, height)), first, last)


def _target_rows(band: _Band, size: tuple[int, int], height: int) -> Iterator[tuple[int, int, torch.Tensor]]:
    """The target rows of a band for all classes, few at a time: first row, last row, (T, last - first, width)."""
    num_rows = max(BAND_ELEMENTS // (len(band.maps) * size[1]), 1)
    for first in range(band.first, band.last, num_rows):
        last = min(first + num_rows, band.last)
        yield first, last, _resize_rows(band.maps, size, first, last, band.start, height)


def _best_in_cells(
    maps: torch.Tensor, rows: _CellAxis, columns: _CellAxis, need_scores: bool
) -> tuple[torch.Tensor, torch.Tensor | None] | None:
    """Best class and score of the target pixels in each cell.

    Args:
        maps (`torch.Tensor` of shape `(T, height, width)`): Rows of the merged maps; at most one more than rows of
            cells.
        rows, columns (`_CellAxis`): Where the target pixels lie in the cells.
        need_scores (`bool`): Whether the score is wanted.

    Returns:
        `tuple[torch.IntTensor, torch.FloatTensor | None]`, *optional*: Class and score, of shape (rows of cells x
        slots, columns of cells x slots). `None` if so many classes can win that looking at all of them is faster.
    """
    num_classes, num_rows, width = maps.shape
    height = rows.weight.shape[0]
    best, winner = maps.max(dim=0)
    winner = winner.int()
    # (4, cells): the four pixels of each cell, as positions in a flattened map; pixels at the edge are repeated
    row, column = torch.arange(height, device=maps.device)[:, None], torch.arange(width, device=maps.device)
    below, right = (row + 1).clamp(max=num_rows - 1), (column + 1).clamp(max=width - 1)
    corners = torch.stack([y * width + x for y in (row, below) for x in (column, right)]).flatten(1)

    # (cells, slots of the row, slots of the column), first as if every cell were decided
    shape = (corners.shape[1], rows.weight.shape[1], columns.weight.shape[1])
    row_weight, column_weight = rows.weight.repeat_interleave(width, 0), columns.weight.repeat(height, 1)
    labels = winner[:height].reshape(-1, 1, 1).expand(shape)
    scores = None
    if need_scores:
        scores = _interpolate_cells(best.flatten()[corners].T, row_weight, column_weight)

    winners = winner.flatten()[corners]
    undecided = (winners != winners[0]).any(dim=0).nonzero()[:, 0]
    # With a target of the size of the maps, there is nothing in between.
    if undecided.numel() and (rows.weight.any() or columns.weight.any()):
        max_candidates = num_classes * corners.shape[1] // CANDIDATE_COST
        candidates = _find_candidates(maps.flatten(1), corners, undecided, max_candidates)
        if candidates is None:
            return None
        cells = candidates.cells
        best, label = _best_candidates(candidates, row_weight[cells], column_weight[cells])
        labels = labels.clone()
        labels[cells] = label
        if need_scores:
            scores[cells] = best

    def unfold(cells: torch.Tensor) -> torch.Tensor:
        return cells.view(height, width, *shape[1:]).transpose(1, 2).reshape(height * shape[1], width * shape[2])

    return unfold(labels), unfold(scores) if need_scores else None


def _find_candidates(
    maps: torch.Tensor, corners: torch.Tensor, cells: torch.Tensor, max_candidates: int
) -> _Candidates | None:
    """Finds which classes can win in cells.

    Args:
        maps (`torch.Tensor` of shape `(T, pixels)`): Merged maps.
        corners (`torch.LongTensor` of shape `(4, all cells)`): The four pixels of each cell.
        cells (`torch.LongTensor` of shape `(cells,)`): The cells to look at.
        max_candidates (`int`): How many candidates are worth it.

    Returns:
        `_Candidates`, *optional*: `None` if there are more.
    """
    highest = maps.index_select(1, corners[0, cells])
    lowest = highest.clone()
    for corner in corners[1:]:
        values = maps.index_select(1, corner[cells])
        torch.maximum(highest, values, out=highest)
        torch.minimum(lowest, values, out=lowest)
    can_win = highest >= lowest.amax(dim=0)
    count, order = can_win.sum(dim=0).sort(descending=True)
    if int(count.sum()) > max_candidates:
        return None
    cells = cells[order]
    cell, classes = can_win.T[order].nonzero(as_tuple=True)
    scores = torch.stack([maps[classes, corner[cells][cell]] for corner in corners], dim=1)
    return _Candidates(cells, count, count.cumsum(0) - count, classes.int(), scores)


def _best_candidates(
    candidates: _Candidates, row_weight: torch.Tensor, column_weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Best score and class, of shape (cells, slots of the row, slots of the column), of the candidates of cells."""
    best = torch.full((*row_weight.shape, column_weight.shape[1]), -torch.inf, device=row_weight.device)
    label = torch.zeros_like(best, dtype=torch.int32)
    for rank in range(int(candidates.count.max())):
        # The cells that have this many candidates come first.
        num_cells = int((candidates.count > rank).sum())
        position = candidates.offset[:num_cells] + rank
        score = _interpolate_cells(candidates.scores[position], row_weight[:num_cells], column_weight[:num_cells])
        # Only a larger score wins, so that of equal ones the first class stays.
        better = score > best[:num_cells]
        label[:num_cells] = torch.where(better, candidates.classes[position, None, None], label[:num_cells])
        torch.maximum(best[:num_cells], score, out=best[:num_cells])
    return best, label


def _interpolate_cells(scores: torch.Tensor, row_weight: torch.Tensor, column_weight: torch.Tensor) -> torch.Tensor:
    """(cells, 4) scores at the corners of cells -> (cells, slots of the row, slots of the column) in between."""
    upper_left, upper_right, lower_left, lower_right = scores[:, :, None].unbind(dim=1)
    left = torch.lerp(upper_left, lower_left, row_weight)
    right = torch.lerp(upper_right, lower_right, row_weight)
    return torch.lerp(left[:, :, None], right[:, :, None], column_weight[:, None])


# ---- rows of resized maps -------------------------------------------------------------------------------------------


def _bilinear_source(source: int, target: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For each of `target` pixels the two of `source` pixels between which it lies, and the weight of the second.

    As `F.interpolate(mode="bilinear", align_corners=False)` has it, in float32 too.
    """
    position = ((torch.arange(target, device=device, dtype=torch.float32) + 0.5) * (source / target) - 0.5).clamp(min=0)
    first = position.long().clamp(max=source - 1)
    return first, (first + 1).clamp(max=source - 1), position - first


def _resize_rows(
    maps: torch.Tensor, size: tuple[int, int], start: int, stop: int, first_row: int = 0, height: int | None = None
) -> torch.Tensor:
    """Rows `start` to `stop` of maps resized bilinearly to `size`.

    Args:
        maps (`torch.Tensor` of shape `(T, rows, width)`): Maps, or the rows of them from `first_row` on that matter.
        size (`tuple[int, int]`): Height and width of the resized maps.
        start, stop (`int`): Which rows of the resized maps.
        first_row (`int`, *optional*, defaults to 0): Number of the first row of `maps`.
        height (`int`, *optional*): Height of the whole maps, if `maps` are only rows of them.

    Returns:
        `torch.FloatTensor` of shape `(T, stop - start, size[1])`.
    """
    height = maps.shape[1] if height is None else height
    if height == size[0]:
        rows = maps[:, start - first_row : stop - first_row].float()
    else:
        first, second, weight = (values[start:stop] for values in _bilinear_source(height, size[0], maps.device))
        rows = torch.lerp(
            maps.index_select(1, first - first_row).float(),
            maps.index_select(1, second - first_row).float(),
            weight[:, None],
        )
    if rows.shape[2] == size[1]:
        return rows
    return F.interpolate(rows, size=size[1], mode="linear", align_corners=False)
