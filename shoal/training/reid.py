"""Learning to tell the animals of a video apart, from its own tracklets, without names.

Crops of one tracklet are one animal, tracklets that are seen at the same time are different ones; of all other pairs
nothing is known and they do not count. The loss is the contrastive one over the known pairs (InfoNCE with several
positives: Khosla et al., NeurIPS 2020, eq. 2, with the denominator over known negatives).
"""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from shoal.config.reid import ReidConfig
from shoal.models.reid import CropEncoder, prepared, usual_colour
from shoal.types import OnProgress, no_progress

log = logging.getLogger(__name__)

TRACKLETS, CROPS = 20, 6  # of a batch; crops of each tracklet
MIN_CROPS = 4  # of a tracklet that is learned from
RATE, DECAY, WARM_UP = 2e-3, 0.05, 0.1
TEMPERATURE = 0.15
LEARNED, SMOOTH = 0.05, 0.9  # training ends when the running mean of the loss falls below
TURN, SHIFT, STRETCH, GAIN = 0.08, 0.07, 0.04, 0.15  # spread of what crops are changed by: radians, half sizes, share
LIGHT = 0.25  # likewise, in units of the spread of colours


def learn_encoder(
    image: UInt8[ndarray, "N h w 3"],
    tracklet: Int64[ndarray, "N"],
    first: Int64[ndarray, "T"],
    last: Int64[ndarray, "T"],
    config: ReidConfig,
    device: torch.device,
    *,
    on_progress: OnProgress = no_progress,
) -> tuple[CropEncoder, Tensor]:
    """Train an encoder on the crops of one video.

    Args:
        image: crops, from ``io.crops``.
        tracklet: of each crop.
        first: first frame of each tracklet.
        last: last frames: tracklets that share a frame are two animals.
        config: steps, size, seed.
        device: where to train.
        on_progress: called with ("reid", steps done, steps).

    Returns:
        The network in evaluation mode, and the usual colour that ``models.reid.encode`` needs.

    Raises:
        ValueError: no two tracklets with crops were seen at the same time: there is nothing to learn from.
    """
    rng = np.random.default_rng(config.seed)
    torch.manual_seed(config.seed)
    count = np.bincount(tracklet, minlength=len(first))
    useful = _have_company(count >= MIN_CROPS, first, last)
    if not useful.any():
        raise ValueError("learn_encoder: expected tracklets that are seen at the same time, got none")
    order = np.argsort(tracklet, kind="stable")
    begin = np.r_[0, np.cumsum(count)]
    crops = torch.from_numpy(image)
    colour = usual_colour(crops)
    net = CropEncoder(config.size).to(device).to(memory_format=torch.channels_last).train()
    rates = np.array([_rate(step / config.steps) for step in range(config.steps)])
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=DECAY)
    running = math.nan
    for step in range(config.steps):
        picked = _pick(rng, count, useful, first, last)
        rows = np.concatenate([_some(rng, order[begin[t] : begin[t + 1]]) for t in picked])
        optimizer.param_groups[0]["lr"] = rates[step]
        batch = _varied(prepared(crops[rows].to(device), colour.to(device)), rng)
        together = _share_frames(first[picked], last[picked])
        loss = _loss(net(batch), rows, np.repeat(np.arange(len(picked)), CROPS), together)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = float(loss.detach())
        running = value if math.isnan(running) else SMOOTH * running + (1 - SMOOTH) * value
        on_progress("reid", step + 1, config.steps)
        if running < LEARNED:
            on_progress("reid", config.steps, config.steps)
            log.info("appearance learned after %d of %d steps (loss %.2f)", step + 1, config.steps, running)
            break
    else:
        log.info("appearance: loss %.2f after %d steps", running, config.steps)
    return net.eval(), colour


def _some(rng: np.random.Generator, rows: Int64[ndarray, "n"]) -> Int64[ndarray, "CROPS"]:
    """Rows drawn for a batch, twice only where there are too few."""
    return rng.choice(rows, CROPS, replace=len(rows) < CROPS)


def _rate(share: float) -> float:
    """Learning rate: linear warm-up, then a cosine."""
    if share < WARM_UP:
        return RATE * (0.1 + 0.9 * share / WARM_UP)
    return RATE * 0.5 * (1 + math.cos(math.pi * (share - WARM_UP) / (1 - WARM_UP)))


def _have_company(
    known: Bool[ndarray, "T"], first: Int64[ndarray, "T"], last: Int64[ndarray, "T"]
) -> Bool[ndarray, "T"]:
    """Which of the known tracklets share a frame with another known one: by counting, of very many tracklets too."""
    begun = np.searchsorted(np.sort(first[known]), last, side="right")
    over = np.searchsorted(np.sort(last[known]), first, side="left")
    return known & (begun - over > 1)  # itself is one


def _share_frames(first: Int64[ndarray, "n"], last: Int64[ndarray, "n"]) -> Bool[ndarray, "n n"]:
    """Which tracklets are seen at the same time."""
    return (first[:, None] <= last) & (first <= last[:, None]) & ~np.eye(len(first), dtype=bool)


def _pick(
    rng: np.random.Generator,
    count: Int64[ndarray, "T"],
    useful: Bool[ndarray, "T"],
    first: Int64[ndarray, "T"],
    last: Int64[ndarray, "T"],
) -> Int64[ndarray, "n"]:
    """Tracklets of one batch: some by the root of their size, each with others that are seen at the same time."""
    share = np.sqrt(count) * useful
    picked: list[int] = []
    while len(picked) < min(TRACKLETS, int(useful.sum())):
        centre = int(rng.choice(len(share), p=share / share.sum()))
        others = np.flatnonzero(useful & (first <= last[centre]) & (last >= first[centre]))
        others = rng.permutation(others[others != centre])[: TRACKLETS // 2]
        picked += [t for t in (centre, *others.tolist()) if t not in picked]
    return np.array(picked[:TRACKLETS])


def _varied(crops: Tensor, rng: np.random.Generator) -> Tensor:
    """Crops in other light, turned, moved and stretched a little."""
    n, device = len(crops), crops.device

    def spread(*shape: int) -> Tensor:
        return torch.from_numpy(rng.standard_normal(shape).astype(np.float32)).to(device)

    shown = (crops != 0).any(dim=1, keepdim=True)
    crops = crops * (1 + GAIN * spread(n, 3, 1, 1)) + shown * LIGHT * spread(n, 1, 1, 1)
    turn = torch.zeros(n, 2, 3, device=device)
    turn[:, 0, 0], turn[:, 1, 1] = 1 + STRETCH * spread(n), 1 + STRETCH * spread(n)
    turn[:, 0, 1], turn[:, 1, 0] = TURN * spread(n), TURN * spread(n)
    turn[:, :, 2] = SHIFT * spread(n, 2)
    grid = F.affine_grid(turn, list(crops.shape), align_corners=False)
    return F.grid_sample(crops, grid, align_corners=False).contiguous(memory_format=torch.channels_last)


def _loss(
    vectors: Tensor, rows: Int64[ndarray, "B"], tracklet: Int64[ndarray, "B"], together: Bool[ndarray, "n n"]
) -> Tensor:
    """Mean over pairs of one tracklet: log of how little they stand out among pairs of different animals."""
    alike = vectors @ vectors.T / TEMPERATURE
    same = (tracklet[:, None] == tracklet) & (rows[:, None] != rows)
    other = together[tracklet[:, None], tracklet]
    positive = torch.from_numpy(same & other.any(axis=1, keepdims=True)).to(vectors.device)
    negative = torch.from_numpy(other).to(vectors.device)
    rest = torch.logsumexp(alike.masked_fill(~negative, -torch.inf), dim=1, keepdim=True)
    terms = F.softplus(torch.where(positive, rest - alike, torch.zeros_like(alike)))
    return (terms * positive).sum() / positive.sum().clamp(min=1)
