"""Maps -> peaks and limb candidates, all on the device; only short lists leave it.

Everything is ragged and sorted, so results have one order whatever the device, and nothing grows with the square of
what an untrained network emits: peaks are capped per keypoint before pairs are made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from shoal.config.predict import PredictConfig
from shoal.models import loops
from shoal.models.features import read_at
from shoal.models.loops import MAX_AFFINITY, N_SAMPLES
from shoal.models.pose import LOCREF_PX, PoseMaps

MAX_PAIRS = 1 << 18
"""Limb candidates scored at once: bounds the memory at about 100 MB."""
DLC_RADIUS = 2


@dataclass(frozen=True, eq=False)
class Peaks:
    """Peaks of B images, sorted by (image, keypoint, position in the map).

    Attributes:
        image: (P,) index in the batch.
        keypoint: (P,) keypoint.
        number: (P,) number within the image, from 0.
        cell: (P, 2) x, y in the map.
        xy: (P, 2) frame px.
        confidence: (P,) height, 0-1.
        identity: (P, I) score of each named individual.
        n_dropped: peaks that the cap left out.
    """

    image: Int64[Tensor, "P"]
    keypoint: Int64[Tensor, "P"]
    number: Int64[Tensor, "P"]
    cell: Int64[Tensor, "P 2"]
    xy: Float[Tensor, "P 2"]
    confidence: Float[Tensor, "P"]
    identity: Float[Tensor, "P I"]
    n_dropped: int


@dataclass(frozen=True, eq=False)
class Limbs:
    """Limb candidates of B images, sorted by (image, edge, source, target).

    Attributes:
        image: (L,) index in the batch.
        edge: (L,) edge.
        source: (L,) peak number within the image.
        target: (L,) likewise.
        affinity: (L,) strength.
    """

    image: Int64[Tensor, "L"]
    edge: Int64[Tensor, "L"]
    source: Int64[Tensor, "L"]
    target: Int64[Tensor, "L"]
    affinity: Float[Tensor, "L"]


@torch.no_grad()
def decode(
    maps: PoseMaps, edges: Int64[Tensor, "E 2"], *, config: PredictConfig, n_animals: int
) -> tuple[Peaks, Limbs, Float[Tensor, "B U 3"]]:
    """Peaks, limb candidates and unique keypoints of a batch; never raises on odd maps.

    Returns:
        (peaks, limbs, unique keypoints as x, y, confidence with NaN where there is none).
    """
    peaks = find_peaks(maps, min_confidence=config.min_confidence, cap=peak_cap(config, n_animals, maps.heat.shape[1]))
    limbs = score_limbs(maps, peaks, edges, config=config)
    return peaks, limbs, find_unique(maps, min_confidence=config.min_confidence)


def peak_cap(config: PredictConfig, n_animals: int, n_keypoints: int) -> int:
    """Peaks kept per keypoint and image; peak numbers must fit int16."""
    return min(config.max_peaks or 3 * n_animals + 10, 32_000 // max(n_keypoints, 1))


def find_peaks(maps: PoseMaps, *, min_confidence: float, cap: int) -> Peaks:
    """Local maxima above ``min_confidence``, at most ``cap`` per keypoint, best first; ties go to the first cell."""
    heat = _confidence(maps)
    radius = DLC_RADIUS if maps.is_dlc or maps.stride[0] <= 4 * maps.pixels[0] else 1
    found = local_maxima(heat, radius, max(min_confidence, 1e-6))
    confidence = _at(heat, *found.unbind(1)).nan_to_num(0.0, 0.0, 0.0)
    group = found[:, 0] * heat.shape[1] + found[:, 1]
    keep = (_rank(group, confidence) < cap).nonzero()[:, 0]
    n_dropped = len(found) - len(keep)
    if n_dropped:
        found, confidence = found[keep], confidence[keep]
    image, keypoint, y, x = found.unbind(1)
    xy = _refined(maps, heat, found)
    return Peaks(
        image=image,
        keypoint=keypoint,
        number=_number(image),
        cell=torch.stack([x, y], 1),
        xy=xy,
        confidence=confidence.clamp(0, 1),
        identity=_identity_at(maps, image, xy if maps.is_dlc else _centres(found, maps.stride)),
        n_dropped=n_dropped,
    )


def score_limbs(maps: PoseMaps, peaks: Peaks, edges: Int64[Tensor, "E 2"], *, config: PredictConfig) -> Limbs:
    """All pairs of all edges scored; the best ``max_limbs`` per source peak and edge are kept."""
    n_images, n_keypoints = maps.heat.shape[:2]
    slot = peaks.image * n_keypoints + peaks.keypoint
    count = torch.bincount(slot, minlength=n_images * n_keypoints).view(n_images, n_keypoints)
    end = count.flatten().cumsum(0).view(n_images, n_keypoints)
    first = end - count
    if maps.limbs.device.type == "cpu" and not maps.is_dlc:
        bounds = torch.cat([first, end[:, -1:]], 1).numpy()
        stride = np.array(maps.stride, np.float32)
        rows, affinity = loops.score_limbs(
            maps.limbs.float().numpy(), peaks.xy.numpy(), bounds, edges.numpy(), stride, config.min_affinity,
            config.max_limbs,
        )  # fmt: skip
        image, edge, source, target = torch.from_numpy(rows).unbind(1)
        return Limbs(image, edge, peaks.number[source], peaks.number[target], torch.from_numpy(affinity))
    return limbs_anywhere(maps, peaks, edges, config=config, bounds=(first, count))


def limbs_anywhere(
    maps: PoseMaps, peaks: Peaks, edges: Int64[Tensor, "E 2"], *, config: PredictConfig, bounds: tuple[Tensor, Tensor]
) -> Limbs:
    """The same on any device, in one gather; ``bounds`` are first row and number of peaks per image and keypoint."""
    first, count = bounds
    n_pairs = (count[:, edges[:, 0]] * count[:, edges[:, 1]]).flatten()  # (B * E,)
    kept: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []
    total = int(n_pairs.sum())
    ends = n_pairs.cumsum(0)
    for start in range(0, total, MAX_PAIRS):
        pair = torch.arange(start, min(start + MAX_PAIRS, total), device=n_pairs.device)
        group = torch.searchsorted(ends, pair, right=True)
        image, edge = group // len(edges), group % len(edges)
        local = pair - (ends - n_pairs)[group]
        n_targets = count[image, edges[edge, 1]]
        source = first[image, edges[edge, 0]] + local // n_targets
        target = first[image, edges[edge, 1]] + local % n_targets
        along = _dlc_affinity if maps.is_dlc else _affinity
        affinity = along(maps, peaks, image, edge, source, target).clamp(max=MAX_AFFINITY)
        strong = (affinity > config.min_affinity).nonzero()[:, 0]
        kept.append((group[strong], source[strong], target[strong], affinity[strong]))
    if not kept:
        none = torch.zeros(0, dtype=torch.int64, device=peaks.xy.device)
        return Limbs(none, none, none, none, peaks.xy.new_zeros(0))
    group, source, target, affinity = (torch.cat(column) for column in zip(*kept, strict=True))
    best = _rank(group * max(len(peaks.number), 1) + source, affinity) < config.max_limbs
    group, source, target, affinity = group[best], source[best], target[best], affinity[best]
    number = peaks.number
    return Limbs(group // len(edges), group % len(edges), number[source], number[target], affinity)


def find_unique(maps: PoseMaps, *, min_confidence: float) -> Float[Tensor, "B U 3"]:
    """The best cell of each unique keypoint's map: x, y (NaN below ``min_confidence``), confidence."""
    heat = maps.unique.float()
    n_images, n_unique, _, width = heat.shape
    if not n_unique:
        return heat.new_zeros(n_images, 0, 3)
    confidence, cell = heat.flatten(2).max(2)
    index = torch.cartesian_prod(
        torch.arange(n_images, device=heat.device), torch.arange(n_unique, device=heat.device)
    ).view(-1, 2)
    found = torch.cat([index, (cell.view(-1, 1) // width), (cell.view(-1, 1) % width)], 1)
    if maps.unique_locref is None:
        xy = _log_quadratic(heat, found, maps.side_stride)
    else:
        xy = _with_locref(maps.unique_locref, found, maps.side_stride, maps.pixels)
    confidence = confidence.clamp(0, 1)
    missing = ~(confidence >= min_confidence)  # NaN counts as missing
    xy = torch.where(missing.view(-1, 1), torch.nan, xy)
    confidence = torch.where(missing, 0.0, confidence)
    return torch.cat([xy.view(n_images, n_unique, 2), confidence[..., None]], 2)


def _confidence(maps: PoseMaps) -> Float[Tensor, "B K h w"]:
    """Heatmaps as float32, linear (with whatever a broken network gave) or in 0-1."""
    heat = maps.heat.float()
    if not maps.is_dlc:
        return heat
    heat = heat.nan_to_num(0.0, 0.0, 0.0).sigmoid()
    t = torch.arange(-5, 6, device=heat.device, dtype=torch.float32)
    kernel = torch.softmax(-(t**2) / 2, 0).expand(heat.shape[1], 1, 1, 11)
    heat = F.conv2d(heat, kernel, padding=(0, 5), groups=heat.shape[1])
    return F.conv2d(heat, kernel.transpose(2, 3), padding=(5, 0), groups=heat.shape[1])


def _at(grid: Shaped[Tensor, "B C h w"], image: Tensor, channel: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """Values of a map, whatever lies how in memory: one flat gather takes half the time of an index per dimension."""
    step = grid.stride()
    span = 1 + sum((n - 1) * s for n, s in zip(grid.shape, step, strict=True)) if grid.numel() else 0
    return _taken(grid.as_strided((span,), (1,)), image * step[0] + channel * step[1] + y * step[2] + x * step[3])


def _taken(flat: Shaped[Tensor, "N"], at: Int64[Tensor, "..."]) -> Tensor:
    return flat.index_select(0, at.flatten()).view(at.shape)


def local_maxima(heat: Float[Tensor, "B K h w"], radius: int, lowest: float) -> Int64[Tensor, "P 4"]:
    """Cells (image, keypoint, y, x) above all others of their window; of equal ones the first in reading order.

    Plain "equals the maximum of its window" doubles peaks where neighbours are equal, which bf16 maps and plateaus
    bring about (recipe_spike.md, section 4). On the CPU a loop of our own takes a third of torch's time.
    """
    if heat.device.type == "cpu":
        return torch.from_numpy(loops.local_maxima(heat.numpy(), radius, lowest))
    return maxima_anywhere(heat, radius, lowest)


def maxima_anywhere(heat: Float[Tensor, "B K h w"], radius: int, lowest: float) -> Int64[Tensor, "P 4"]:
    """The same on any device. Only cells above ``lowest`` are looked at, and each comparison thins them out.

    Eight cells at a time are found to be above ``lowest`` or not.
    """
    r = radius
    n_images, n_keypoints, height, width = heat.shape
    padded = heat.new_zeros(n_images, n_keypoints, height + 2 * r, -(-(width + 2 * r) // 8) * 8)
    padded[:, :, r : r + height, r : r + width] = heat
    width = padded.shape[3]
    flat = padded.nan_to_num_(0.0, 0.0, 0.0).flatten()
    above = flat >= lowest
    eight = above.view(torch.int64).nonzero()
    cell = (8 * eight + torch.arange(8, device=heat.device)).flatten()
    cell = cell.masked_select(_taken(above, cell))
    offsets = [dy * width + dx for dy in range(-r, r + 1) for dx in range(-r, r + 1) if (dy, dx) != (0, 0)]
    offsets.sort(key=abs)
    for offset in offsets[:4]:  # the nearest first: they rule out most
        here, there = _taken(flat, cell), _taken(flat, cell + offset)
        cell = cell.masked_select(here > there if offset < 0 else here >= there)
    rest = torch.tensor(offsets[4:], device=heat.device)
    here, there = _taken(flat, cell)[:, None], _taken(flat, cell[:, None] + rest)
    cell = cell.masked_select(torch.where(rest < 0, here > there, here >= there).all(1))
    row, plane = cell // width, cell // (padded.shape[2] * width)
    return torch.stack([plane // n_keypoints, plane % n_keypoints, row % padded.shape[2] - r, cell % width - r], 1)


def _rank(group: Int64[Tensor, "N"], value: Float[Tensor, "N"]) -> Int64[Tensor, "N"]:
    """Rank of each entry within its group by falling value; equal values keep their order."""
    order = torch.argsort(value, descending=True, stable=True)
    order = order[torch.argsort(group[order], stable=True)]
    rank = torch.empty_like(group)
    rank[order] = _number(group[order])
    return rank


def _number(group: Int64[Tensor, "N"]) -> Int64[Tensor, "N"]:
    """0, 1, 2, ... within each run of a sorted column."""
    position = torch.arange(len(group), device=group.device)
    return position - torch.searchsorted(group.contiguous(), group.contiguous())


def _centres(found: Int64[Tensor, "P 4"], stride: tuple[float, float]) -> Float[Tensor, "P 2"]:
    """Cell centres in frame px, of rows (image, channel, y, x)."""
    return (found[:, 2:].flip(1) + 0.5) * torch.tensor(stride, device=found.device, dtype=torch.float32)


def _refined(maps: PoseMaps, heat: Tensor, found: Int64[Tensor, "P 4"]) -> Float[Tensor, "P 2"]:
    if maps.locref is not None:
        return _with_locref(maps.locref, found, maps.stride, maps.pixels)
    return _log_quadratic(heat, found, maps.stride)


def _with_locref(locref: Tensor, found: Tensor, stride: tuple[float, float], pixels: tuple[float, float]) -> Tensor:
    image, channel, y, x = found.T
    offset = torch.stack([_at(locref, image, 2 * channel + axis, y, x) for axis in (0, 1)], 1).float()
    unit = torch.tensor(pixels, device=offset.device) * LOCREF_PX
    return _centres(found, stride) + offset.nan_to_num(0.0, 0.0, 0.0) * unit


def _log_quadratic(heat: Tensor, found: Int64[Tensor, "P 4"], stride: tuple[float, float]) -> Float[Tensor, "P 2"]:
    """Parabola through the logarithm of three cells, exact for a Gaussian; at most half a cell from the centre."""
    image, channel, y, x = (column[:, None] for column in found.unbind(1))
    height, width = heat.shape[2:]
    cross = torch.tensor([[-1, 1, 0, 0, 0], [0, 0, 0, -1, 1]], device=heat.device)  # left, right, here, above, below
    xx, yy = (x + cross[0]).clamp(0, width - 1), (y + cross[1]).clamp(0, height - 1)
    value = _at(heat, image, channel, yy, xx).nan_to_num(0.0, 0.0, 0.0).clamp(min=1e-4).log()
    before, middle, after = value[:, 0::3], value[:, 2:3], value[:, 1::3]  # of (x, y)
    bend = before - 2 * middle + after
    moved = (0.5 * (before - after) / bend.clamp(max=-1e-6)).clamp(-0.5, 0.5)
    x, y = found[:, 3], found[:, 2]
    inside = torch.stack([(x > 0) & (x < width - 1), (y > 0) & (y < height - 1)], 1)
    moved = torch.where(inside, moved, 0.0)
    return _centres(found, stride) + moved * torch.tensor(stride, device=heat.device)


def _identity_at(maps: PoseMaps, image: Tensor, xy: Float[Tensor, "P 2"]) -> Float[Tensor, "P I"]:
    """Identity scores at positions: of the cell that holds them; DLC's shape: between cells, at whole pixels."""
    logits = maps.identity
    if not logits.shape[1]:
        return xy.new_zeros(len(xy), 0)
    height, width = logits.shape[2:]
    stride = torch.tensor(maps.side_stride, device=xy.device)
    if maps.is_dlc:  # DLC enlarges the logits to the frame's size and reads the nearest pixel (dlc_formats.md 6.2)
        last = torch.tensor([width, height], device=xy.device) * stride - 1
        pixel = xy.round().clamp(min=torch.zeros_like(last), max=last)
        return read_at(logits, image, pixel + 0.5, maps.side_stride).sigmoid()
    x, y = (xy / stride).long().unbind(1)
    return logits[image, :, y.clamp(0, height - 1), x.clamp(0, width - 1)].float().softmax(1)


def _affinity(maps: PoseMaps, peaks: Peaks, image: Tensor, edge: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Mean of the limb field along each candidate: its component in the limb's direction."""
    stride = torch.tensor(maps.stride, device=peaks.xy.device)
    height, width = maps.limbs.shape[2:]
    vector = peaks.xy[target] - peaks.xy[source]
    share = torch.linspace(0, 1, N_SAMPLES, device=vector.device)
    points = (peaks.xy[source][:, None] + vector[:, None] * share[:, None]) / stride  # (N, 10, 2) in cells
    x, y = points[..., 0].long().clamp(0, width - 1), points[..., 1].long().clamp(0, height - 1)
    vx, vy = _field_at(maps, image, edge, x, y)
    unit = vector / vector.norm(dim=1, keepdim=True).clamp(min=1e-6)
    affinity = vx.mean(1) * unit[:, 0] + vy.mean(1) * unit[:, 1]
    return affinity.nan_to_num(0.0, 0.0, 0.0)


def _dlc_affinity(maps: PoseMaps, peaks: Peaks, image: Tensor, edge: Tensor, source: Tensor, target: Tensor) -> Tensor:
    """Length of the integral of each component along its own axis, per cell, as DLC reads limbs (dlc_formats.md 6.2).

    Ten cells from peak to peak, truncated; trapezoid rule; rounded to thousandths. The direction along the limb is
    lost, which DLC's training makes no use of either.
    """
    start, way = peaks.cell[source], peaks.cell[target] - peaks.cell[source]
    step = torch.arange(N_SAMPLES, device=way.device)
    cells = (start[:, None] * (N_SAMPLES - 1) + way[:, None] * step[:, None]) // (N_SAMPLES - 1)  # (N, 10, 2)
    field = torch.stack(_field_at(maps, image, edge, cells[..., 0], cells[..., 1]), 2)
    integral = (cells.diff(dim=1) * (field[:, 1:] + field[:, :-1]) / 2).sum(1)
    affinity = integral.norm(dim=1) / way.float().norm(dim=1).clamp(min=1e-6)
    return affinity.nan_to_num(0.0, 0.0, 0.0).round(decimals=3)


def _field_at(maps: PoseMaps, image: Tensor, edge: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Components of limb fields at cells (N, 10)."""
    row, channel = image[:, None], 2 * edge[:, None]
    return _at(maps.limbs, row, channel, y, x).float(), _at(maps.limbs, row, channel + 1, y, x).float()
