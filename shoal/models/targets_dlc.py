"""Targets and losses of DLC's PyTorch pose heads (dlc_formats.md 4.4), vectorised on the device.

Where animals overlap the nearest keypoint or limb wins; in DLC the one that comes last does.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from shoal.models.pose import LOCREF_PX, PoseMaps
from shoal.models.targets import Grid, Labels, Targets, cells, heatmaps, identity_maps

PLATEAU_PX = 17.0
LIMB_PX = 20.0


def dlc_targets(labels: Labels, grid: Grid, edges: Int64[Tensor, "E 2"], *, sigma: float = 0.0) -> Targets:
    """DLC's plateau, locref and limb targets, in crop px.

    Args:
        labels: animals of each crop.
        grid: of the network's maps.
        edges: limbs learned.
        sigma: of Gaussian heatmaps in place of plateaus, px; 0 = DLC's plateaus. At stride 1 (HRNet) a plateau is
            34 cells wide and noise on it makes many peaks, a Gaussian makes one.
    """
    near, locref = _plateau(labels.xy, grid.size, stride=grid.stride)
    heat = heatmaps(labels.xy, grid.size, stride=grid.stride, sigma=sigma) if sigma else near.float()
    _, unique_locref = _plateau(labels.unique_xy[:, None], grid.side_size, stride=grid.side_stride)
    limbs, on_limb = _dlc_limbs(labels.xy, edges, grid.size, stride=grid.stride)
    identity, named = identity_maps(
        labels, grid.side_size, stride=grid.side_stride, radius=PLATEAU_PX, n_individuals=grid.n_individuals
    )
    unique = heatmaps(labels.unique_xy[:, None], grid.side_size, stride=grid.side_stride, sigma=2 * PLATEAU_PX / 3)
    unique_near = unique_locref.isfinite().all(2)
    norm = {
        "heat": _count(heat), "limb": _count(limbs), "unique": _count(unique), "identity": _count(identity),
        "locref": 2 * near.sum().clamp(min=1), "unique_locref": 2 * unique_near.sum().clamp(min=1),
    }  # fmt: skip
    return Targets(
        heat=heat,
        limbs=limbs,
        on_limb=on_limb,
        unique=unique,
        identity=identity,
        named=named,
        locref=locref.nan_to_num(0.0).flatten(1, 2),
        near=near,
        unique_locref=unique_locref.nan_to_num(0.0).flatten(1, 2),
        unique_near=unique_near,
        norm=norm,
    )


def dlc_loss(maps: PoseMaps, targets: Targets) -> dict[str, Tensor]:
    """DLC's loss terms by name; their sum is DLC's total: the mean over heads of the mean over a head's terms."""
    n_unique, n_individuals = maps.unique.shape[1], maps.identity.shape[1]
    heads = 1 + bool(n_unique) + bool(n_individuals)
    sums = {
        "heat": (1 / 3, F.binary_cross_entropy_with_logits(maps.heat, targets.heat, reduction="sum")),
        "locref": (0.05 / 3, _locref_error(maps.locref, targets.locref, targets.near)),
        "limb": (0.1 / 3, F.huber_loss(maps.limbs, targets.limbs, reduction="sum")),
    }
    if n_unique:
        sums["unique"] = (1 / 2, ((maps.unique - targets.unique) ** 2).sum())
        locref = _locref_error(maps.unique_locref, targets.unique_locref, targets.unique_near)
        sums["unique_locref"] = (0.05 / 2, locref)
    if n_individuals:
        named = F.binary_cross_entropy_with_logits(maps.identity, targets.identity, reduction="sum")
        sums["identity"] = (1.0, named)
    return {name: weight / heads * total / targets.norm[name] for name, (weight, total) in sums.items()}


def _locref_error(locref: Tensor | None, target: Tensor | None, near: Tensor | None) -> Tensor:
    assert locref is not None, "DLC's loss needs locref maps"
    assert target is not None, "DLC's loss needs locref targets"
    assert near is not None, "DLC's loss needs locref targets"
    return (F.huber_loss(locref, target, reduction="none") * near.repeat_interleave(2, dim=1)).sum()


def _plateau(xy: Float[Tensor, "B A K 2"], size: tuple[int, int], *, stride: float) -> tuple[Tensor, Tensor]:
    """(within 17 px of a keypoint (B, K, h, w), offset to the nearest one / 7.2801 (B, K, 2, h, w), NaN elsewhere)."""
    gy, gx = cells(size[0], stride, xy.device)[:, None], cells(size[1], stride, xy.device)[None, :]
    n_images, _, k, _ = xy.shape
    nearest = xy.new_full((n_images, k, *size), PLATEAU_PX**2 + 1e-3)
    offset = xy.new_full((n_images, k, 2, *size), torch.nan)
    for a in range(xy.shape[1]):
        dx, dy = xy[:, a, :, 0, None, None] - gx, xy[:, a, :, 1, None, None] - gy
        squared = dx**2 + dy**2
        closer = squared < nearest
        nearest = torch.where(closer, squared, nearest)
        offset = torch.where(closer[:, :, None], torch.stack(torch.broadcast_tensors(dx, dy), 2) / LOCREF_PX, offset)
    return offset[:, :, 0].isfinite(), offset


def _dlc_limbs(
    xy: Float[Tensor, "B A K 2"], edges: Int64[Tensor, "E 2"], size: tuple[int, int], *, stride: float
) -> tuple[Tensor, Tensor]:
    """Vectors tapering with the distance from the limb, v (1 - d / 20), between its two ends only."""
    gy, gx = cells(size[0], stride, xy.device)[:, None], cells(size[1], stride, xy.device)[None, :]
    nearest = xy.new_full((xy.shape[0], len(edges), *size), LIMB_PX)
    field = xy.new_zeros(xy.shape[0], len(edges), 2, *size)
    for a in range(xy.shape[1]):
        start, end = xy[:, a, edges[:, 0]], xy[:, a, edges[:, 1]]
        length = (end - start).norm(dim=-1).clamp(min=1e-6)[..., None, None]
        unit = (end - start)[..., None, None] / length[:, :, None]
        px, py = gx - start[..., 0, None, None], gy - start[..., 1, None, None]
        along = px * unit[:, :, 0] + py * unit[:, :, 1]
        distance = (px * unit[:, :, 1] - py * unit[:, :, 0]).abs()
        closer = (along >= 0) & (along <= length) & (distance < nearest)
        nearest = torch.where(closer, distance, nearest)
        value = unit.nan_to_num(0.0) * (1 - distance.nan_to_num(LIMB_PX) / LIMB_PX)[:, :, None]
        field = torch.where(closer[:, :, None], value, field)
    return field.flatten(1, 2), nearest < LIMB_PX


def _count(maps: Tensor) -> Tensor:
    return torch.tensor(float(max(maps.numel(), 1)), device=maps.device)
