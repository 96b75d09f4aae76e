"""Whether a runtime gives the network's own answers: measured on real frames, stored, and judged."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from shoal.types import Detections

CONFIDENT = 0.6
FAR_PX = 6.0
"""A peak without a counterpart within this distance is missing (or extra)."""
LEAST = 50
"""Fewer confident keypoints than this say nothing."""
TOLERANCE_PX = {"float32": (0.01, 0.05), "bf16": (0.05, 0.25), "fp16": (0.05, 0.25), "int8": (0.15, 0.8)}
"""Median and 99th percentile of keypoint shifts."""
TOLERANCE_LOST = 0.005
"""Share of confident peaks that may lack a counterpart, in either direction."""


@dataclass(frozen=True)
class Parity:
    """Keypoints of a runtime against those of eager float32 on the same frames.

    Attributes:
        n: confident keypoints of the reference.
        median_px: of their shifts, frame px.
        p99_px: 99th percentile.
        missing: share of them without a counterpart.
        extra: confident keypoints of the runtime without a counterpart, as a share of ``n``.
        peaks: all peaks of the runtime as a share of the reference's.
    """

    n: int
    median_px: float
    p99_px: float
    missing: float
    extra: float
    peaks: float

    def problem(self, precision: str) -> str:
        """Why a runtime of this precision is refused, in words; empty = it is not."""
        median, far = TOLERANCE_PX[precision]
        found: list[str] = []
        if self.n < LEAST:
            return ""
        if not (self.median_px <= median and self.p99_px <= far):
            found.append(
                f"shifts of {self.median_px:.3f} px (median) and {self.p99_px:.3f} px (99 %), "
                f"allowed {median} and {far}"
            )
        if max(self.missing, self.extra) > TOLERANCE_LOST:
            found.append(f"{self.missing:.1%} of keypoints lost, {self.extra:.1%} new, allowed {TOLERANCE_LOST:.1%}")
        return "; ".join(found)


def compare(reference: Detections, other: Detections) -> Parity:
    """Peaks of one runtime against those of another on the same frames; each peak's nearest of its keypoint counts."""
    confident = reference.confidence >= CONFIDENT
    shift = _nearest(reference, other)[confident]
    lost = _nearest(other, reference)[other.confidence >= CONFIDENT + 0.05]  # not those that just crossed the line
    n = int(confident.sum())
    near = shift[shift <= FAR_PX]
    return Parity(
        n=n,
        median_px=float(np.median(near)) if len(near) else 0.0,
        p99_px=float(np.quantile(near, 0.99)) if len(near) else 0.0,
        missing=float((shift > FAR_PX).mean()) if n else 0.0,
        extra=float((lost > FAR_PX).sum() / n) if n else float(len(lost) > 0),
        peaks=len(other) / max(len(reference), 1),
    )


def save_parity(path: Path, parity: Parity) -> None:
    """Keep the figures beside the converted network."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(parity)))


def load_parity(path: Path) -> Parity | None:
    """Stored figures; None if there are none."""
    try:
        return Parity(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _nearest(a: Detections, b: Detections) -> np.ndarray:
    """Distance of each peak of ``a`` to the nearest of the same frame and keypoint in ``b``; inf = none."""
    found = np.full(len(a), np.inf)
    for frame in np.unique(a.frame):
        for keypoint in np.unique(a.keypoint):
            here = (a.frame == frame) & (a.keypoint == keypoint)
            there = (b.frame == frame) & (b.keypoint == keypoint)
            if here.any() and there.any():
                found[here] = np.linalg.norm(a.xy[here][:, None] - b.xy[there][None], axis=-1).min(1)
    return found
