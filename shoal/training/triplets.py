"""Triplets of animals from tracklets, and DLC's transformer trained on them (dlc_formats.md 6.8)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, Int64
from numpy import ndarray
from torch import Tensor
from torch.nn import functional as F

from shoal.models.checkpoint import write_torch_file
from shoal.models.reid_transformer import KeypointTransformer
from shoal.types import Tracks

log = logging.getLogger(__name__)

LEAST = 10
"""Frames of a tracklet that triplets are made of, as in DLC."""
BATCH, RATE, DECAY, MARGIN = 64, 3e-4, 5e-4, 1.0
REPORT = 10  # epochs
WARM_UP, FLAT, FIRST_RATE, LAST_RATE = 5, 200, 3e-6, 6e-7


def pick_triplets(
    tracklets: Tracks, usable: ndarray, n: int, *, seed: int = 0, fresh_since: int = 0
) -> Int64[ndarray, "n 3"]:
    """Rows of (anchor, positive, negative).

    The anchor's tracklet is drawn by its mean confidence; the positive is the same tracklet in another frame, the
    negative the animal next to the anchor in the same frame.

    Args:
        tracklets: rows in order of frames.
        usable: (M,) rows that have features.
        n: wanted; fewer come where the video has no more.
        seed: of the draws.
        fresh_since: anchors and negatives only of tracklets that begin at this frame or later.
    """
    rng, number, poses = np.random.default_rng(seed), tracklets.track, tracklets.poses
    lengths = np.bincount(number[number >= 0], minlength=tracklets.n_tracks)
    begin = np.full(tracklets.n_tracks, np.iinfo(np.int64).max)
    np.minimum.at(begin, number[number >= 0], poses.frame[number >= 0])
    fits = np.asarray(usable) & (number >= 0)
    fits[fits] &= (lengths[number[fits]] >= LEAST) & (begin[number[fits]] >= fresh_since)
    rows = np.flatnonzero(fits)
    seen = ~np.isnan(poses.xy[..., 0])
    at = np.where(seen[..., None], poses.xy, 0).sum(1) / np.maximum(seen.sum(1), 1)[:, None]
    of_frame = {int(f): part for f, part in _groups(poses.frame[rows], rows)}
    of_track = {int(t): part for t, part in _groups(number[rows], rows)}
    of_track = {t: part[[len(of_frame[int(poses.frame[r])]) > 1 for r in part]] for t, part in of_track.items()}
    of_track = {t: part for t, part in of_track.items() if len(part) > 1}
    if not of_track:
        return np.zeros((0, 3), np.int64)
    names = list(of_track)
    chance = np.array([float(np.nanmean(poses.confidence[of_track[t]])) for t in names]) + 1e-6
    drawn = []
    for track in rng.choice(len(names), n, p=chance / chance.sum()):
        anchor, positive = rng.choice(of_track[names[track]], 2, replace=False)
        others = of_frame[int(poses.frame[anchor])]
        others = others[number[others] != number[anchor]]
        if len(others):
            drawn.append((anchor, positive, others[np.linalg.norm(at[others] - at[anchor], axis=1).argmin()]))
    return np.array(drawn, np.int64).reshape(-1, 3)


def _groups(key: ndarray, rows: ndarray) -> list[tuple[Any, ndarray]]:
    if not len(rows):
        return []
    order = np.argsort(key, kind="stable")
    values, start = np.unique(key[order], return_index=True)
    return list(zip(values, np.split(rows[order], start[1:]), strict=True))


def train(
    triplets: ndarray, *, epochs: int, fraction: float, device: torch.device, folder: Path,
    on_epoch: Callable[[int], None] = lambda epoch: None, seed: int = 0,
) -> tuple[KeypointTransformer, dict[str, Any], Path]:  # fmt: skip
    """Train with the triplet loss; the split is random, as DLC's.

    Args:
        triplets: (n, 3, K, C), may be a memory map.
        epochs: passes.
        fraction: of triplets to learn from.
        device: to compute on.
        folder: of ``dlc_transreid_<epoch>.pth``.
        on_epoch: called after each.
        seed: of weights, order and split.

    Returns:
        The network in evaluation mode, {train_acc per epoch, test_acc every 10 epochs, epochs}, the last checkpoint.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(triplets))
    n_train = max(1, round(len(order) * fraction))
    train_rows, test_rows = order[:n_train], order[n_train:]
    net = KeypointTransformer(triplets.shape[2], triplets.shape[3]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=RATE, weight_decay=DECAY)
    train_acc: list[float] = []
    test_acc: list[float] = []
    path = folder / f"dlc_transreid_{epochs}.pth"
    for epoch in range(1, epochs + 1):
        net.train()
        optimizer.param_groups[0]["lr"] = _rate(epoch - 1)
        right = 0
        for batch in np.array_split(rng.permutation(train_rows), -(-len(train_rows) // BATCH)):
            anchor, positive, negative = _embedded(net, triplets, batch, device)
            loss = F.triplet_margin_loss(anchor, positive, negative, margin=MARGIN)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            right += _n_right(anchor, positive, negative)
        train_acc.append(right / len(train_rows))
        if epoch % REPORT == 0 or epoch == epochs:
            test_acc.append(accuracy(net, triplets, test_rows, device))
            log.info("Epoch %d, train acc: %.2f", epoch, train_acc[-1])
            log.info("Epoch %d, test acc %.2f", epoch, test_acc[-1])
            path = folder / f"dlc_transreid_{epoch}.pth"
            state = {key: value.detach().cpu().clone() for key, value in net.state_dict().items()}
            write_torch_file(
                path, {"state_dict": state, "num_kpts": net.n_keypoints, "feature_dim": net.n_features}
            )  # fmt: skip
        on_epoch(epoch)
    return net.eval(), {"train_acc": train_acc, "test_acc": test_acc, "epochs": epochs}, path


@torch.no_grad()
def accuracy(net: KeypointTransformer, triplets: ndarray, rows: ndarray, device: torch.device) -> float:
    """Share of triplets whose anchor is nearer to the positive than to the negative; NaN without any."""
    net.eval()
    if not len(rows):
        return float("nan")
    parts = np.array_split(rows, -(-len(rows) // BATCH))
    return sum(_n_right(*_embedded(net, triplets, part, device)) for part in parts) / len(rows)


@torch.inference_mode()
def embed(net: KeypointTransformer, features: ndarray, device: torch.device) -> Float32[ndarray, "N D"]:
    """Embeddings of (N, K, C) features."""
    return net(torch.from_numpy(features.astype(np.float32)).to(device)).cpu().numpy()


def _embedded(net: KeypointTransformer, triplets: ndarray, rows: ndarray, device: torch.device) -> tuple[Tensor, ...]:
    values = torch.from_numpy(np.asarray(triplets[np.sort(rows)], np.float32)).to(device)
    return net(values.flatten(0, 1)).view(len(rows), 3, -1).unbind(1)


def _n_right(anchor: Tensor, positive: Tensor, negative: Tensor) -> int:
    return int(((anchor - positive).norm(dim=1) < (anchor - negative).norm(dim=1)).sum())


def _rate(epoch: int) -> float:
    """DLC's: a warm-up, then a cosine."""
    if epoch < WARM_UP:
        return FIRST_RATE + (RATE - FIRST_RATE) * epoch / WARM_UP
    return LAST_RATE + (RATE - LAST_RATE) * (1 + float(np.cos(np.pi * min(epoch / FLAT, 1.0)))) / 2
