"""Labels -> target maps and the losses against them, all on the device.

Animals are ragged: ``xy`` is (B, A, K, 2) in crop pixels, padded with NaN; NaN = not labelled or outside.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from shoal.models.pose import PoseMaps

OFF_LIMB_WEIGHT = 0.05
IDENTITY_WEIGHT = 0.2
"""Who an animal is is hard to see in one crop; at weight 1 that loss stays near chance and outweighs the others."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of a batch of crops, on the device.

    Attributes:
        xy: (B, A, K, 2) keypoints in crop px, NaN = missing.
        unique_xy: (B, U, 2) likewise.
        individual: (B, A) index of the named individual, -1 = unnamed or padding.
    """

    xy: Float[Tensor, "B A K 2"]
    unique_xy: Float[Tensor, "B U 2"]
    individual: Int64[Tensor, "B A"]

    def rows(self, rows: slice) -> Labels:
        """Some crops of the batch."""
        return Labels(self.xy[rows], self.unique_xy[rows], self.individual[rows])


@dataclass(frozen=True, eq=False)
class Targets:
    """Target maps and weights.

    Attributes:
        heat: (B, K, h, w) in 0-1.
        limbs: (B, 2E, h, w) unit vectors on the limb (light) or tapered ones (DLC).
        on_limb: (B, E, h, w) True where a limb lies.
        unique: (B, U, hu, wu) Gaussians.
        identity: (B, I, hu, wu) one-hot where ``named``.
        named: (B, hu, wu) True where a named individual's keypoint lies.
        locref: (B, 2K, h, w) and ``near`` (B, K, h, w): where it counts; DLC's shape only.
        unique_locref: likewise, with ``unique_near``.
        norm: what each loss is divided by, from the whole batch: a batch computed in pieces gives the same loss.
    """

    heat: Tensor
    limbs: Tensor
    on_limb: Tensor
    unique: Tensor
    identity: Tensor
    named: Tensor
    locref: Tensor | None = None
    near: Tensor | None = None
    unique_locref: Tensor | None = None
    unique_near: Tensor | None = None
    norm: dict[str, Tensor] = field(default_factory=dict)

    def rows(self, rows: slice) -> Targets:
        """Some images of the batch; the normalisers stay those of the whole batch."""
        cut = {f.name: getattr(self, f.name) for f in fields(self)}
        return Targets(**{n: v[rows] if isinstance(v, Tensor) else v for n, v in cut.items()})  # type: ignore[arg-type]


@dataclass(frozen=True)
class Grid:
    """Sizes of a network's maps for one input size.

    Attributes:
        size: (h, w) of heat and limbs.
        stride: input px per cell.
        side_size: (h, w) of unique and identity maps.
        side_stride: likewise.
        n_individuals: I.
    """

    size: tuple[int, int]
    stride: float
    side_size: tuple[int, int]
    side_stride: float
    n_individuals: int

    @staticmethod
    def of(maps: PoseMaps) -> Grid:
        """The grid of maps that a network gave."""
        h, w, side = *maps.heat.shape[2:], maps.identity.shape
        return Grid((h, w), maps.stride[0], (side[2], side[3]), maps.side_stride[0], side[1])


def cells(n: int, stride: float, device: torch.device) -> Float[Tensor, "n"]:
    """Centres of n cells."""
    return (torch.arange(n, device=device, dtype=torch.float32) + 0.5) * stride


def heatmaps(
    xy: Float[Tensor, "B A K 2"], size: tuple[int, int], *, stride: float, sigma: float
) -> Float[Tensor, "B K h w"]:
    """Gaussians of peak 1, largest over animals: exp(-d^2 / (2 sigma^2))."""
    gy, gx = cells(size[0], stride, xy.device), cells(size[1], stride, xy.device)
    ex = torch.exp(-((gx - xy[..., 0:1]) ** 2) / (2 * sigma**2)).nan_to_num(0.0)
    ey = torch.exp(-((gy - xy[..., 1:2]) ** 2) / (2 * sigma**2)).nan_to_num(0.0)
    out = xy.new_zeros(xy.shape[0], xy.shape[2], *size)
    for a in range(xy.shape[1]):  # animals one by one bounds the memory at B K h w
        out = torch.maximum(out, ey[:, a, :, :, None] * ex[:, a, :, None, :])
    return out


def limb_fields(
    xy: Float[Tensor, "B A K 2"], edges: Int64[Tensor, "E 2"], size: tuple[int, int], *, stride: float, width: float
) -> tuple[Float[Tensor, "B E2 h w"], Tensor]:
    """Unit vectors from an edge's first to its second keypoint, on cells within ``width`` of the segment.

    Where animals overlap the nearest limb wins (Cao et al. 2017, Part Affinity Fields, average there; a mean of two
    opposite vectors would say "no limb" exactly where animals cross).

    Returns:
        (fields (B, 2E, h, w), on_limb (B, E, h, w)).
    """
    gy, gx = cells(size[0], stride, xy.device)[:, None], cells(size[1], stride, xy.device)[None, :]
    n_images, n_edges = xy.shape[0], len(edges)
    nearest = xy.new_full((n_images, n_edges, *size), width)
    field = xy.new_zeros(n_images, n_edges, 2, *size)
    on_limb = torch.zeros(n_images, n_edges, *size, dtype=torch.bool, device=xy.device)
    for a in range(xy.shape[1]):
        start, end = xy[:, a, edges[:, 0]], xy[:, a, edges[:, 1]]
        vector = end - start
        length = vector.norm(dim=-1, keepdim=True).clamp(min=1e-6)
        unit = (vector / length)[..., None, None]
        px, py = gx - start[..., 0, None, None], gy - start[..., 1, None, None]
        along = (px * unit[:, :, 0] + py * unit[:, :, 1]).clamp(min=0).minimum(length[..., None])
        distance = torch.hypot(px - along * unit[:, :, 0], py - along * unit[:, :, 1])
        closer = distance < nearest  # False for NaN: a limb with a missing end leaves no trace
        nearest = torch.where(closer, distance, nearest)
        field = torch.where(closer[:, :, None], unit.nan_to_num(0.0), field)
        on_limb |= closer
    return field.flatten(1, 2), on_limb


def identity_maps(
    labels: Labels, size: tuple[int, int], *, stride: float, radius: float, n_individuals: int
) -> tuple[Tensor, Tensor]:
    """Discs around the keypoints of named individuals.

    Returns:
        (identity (B, I, h, w) 0 or 1, named (B, h, w) True where any disc lies).
    """
    gy, gx = cells(size[0], stride, labels.xy.device)[:, None], cells(size[1], stride, labels.xy.device)[None, :]
    out = labels.xy.new_zeros(labels.xy.shape[0], n_individuals, *size)
    for a in range(labels.xy.shape[1] if n_individuals else 0):  # without an identity head nothing is wanted
        xy = labels.xy[:, a, :, :, None, None]
        disc = ((gx - xy[:, :, 0]) ** 2 + (gy - xy[:, :, 1]) ** 2 <= radius**2).any(1)
        who = F.one_hot(labels.individual[:, a].clamp(min=0), n_individuals)
        who = who * (labels.individual[:, a] >= 0)[:, None]
        out = torch.maximum(out, disc[:, None] * who[:, :, None, None].float())
    return out, out.any(1)


def light_targets(
    labels: Labels, grid: Grid, edges: Int64[Tensor, "E 2"], *, sigma: float, limb_width: float
) -> Targets:
    """Targets of the light network (crop px)."""
    limbs, on_limb = limb_fields(labels.xy, edges, grid.size, stride=grid.stride, width=limb_width)
    identity, named = identity_maps(
        labels, grid.side_size, stride=grid.side_stride, radius=sigma, n_individuals=grid.n_individuals
    )
    heat = heatmaps(labels.xy, grid.size, stride=grid.stride, sigma=sigma)
    unique = heatmaps(labels.unique_xy[:, None], grid.side_size, stride=grid.side_stride, sigma=sigma)
    sums = {"heat": heat, "limb": on_limb, "unique": unique, "identity": named}
    # at least about one keypoint's worth, so that a batch of empty crops is not divided by nothing
    norm = {name: value.sum().float().clamp(min=10.0) for name, value in sums.items()}
    return Targets(heat, limbs, on_limb, unique, identity, named, norm=norm)


def light_loss(maps: PoseMaps, targets: Targets, *, limb_weight: float) -> dict[str, Tensor]:
    """Loss terms of the light network, by name; the loss is their sum.

    Heat: (h - t)^2 (1 + 4 t) over the sum of t ("mse_w" of recipe_spike.md: mAP 88 where plain MSE gave 48 and
    weighted BCE doubled the peaks). Limbs: smooth L1, weight 1 on the limb and 0.05 off it, over limb cells.
    """
    on = targets.on_limb.repeat_interleave(2, dim=1).float()
    limb = F.smooth_l1_loss(maps.limbs, targets.limbs, reduction="none") * (
        OFF_LIMB_WEIGHT + (1 - OFF_LIMB_WEIGHT) * on
    )
    sums = {"heat": _heat_error(maps.heat, targets.heat), "limb": limb_weight * limb.sum()}
    if maps.unique.shape[1]:
        sums["unique"] = _heat_error(maps.unique, targets.unique)
    if maps.identity.shape[1]:
        votes = targets.identity.sum(1, keepdim=True).clamp(min=1)  # overlapping discs share one vote
        sums["identity"] = -IDENTITY_WEIGHT * (F.log_softmax(maps.identity, dim=1) * targets.identity / votes).sum()
    return {name: total / targets.norm[name] for name, total in sums.items()}


def _heat_error(heat: Tensor, target: Tensor) -> Tensor:
    return ((heat - target) ** 2 * (1 + 4 * target)).sum()
