"""Frames of the aquarium's scene `zebra` beside frames of the real fish, as one picture to look at.

    python bench/beside.py --out beside.jpg [--real DATA/zebrafish8_a] [--seed 1]

The real frames are third-party material: the picture is for looking at, not for committing.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import cv2
import numpy as np
from numpy import ndarray

from shoal.io.dlc.results import read_tracks
from shoal.io.video import read_frames
from shoal.synthetic.dataset import make_video
from shoal.synthetic.scenes import SCENES

FRAME = 120
SIDE, ZOOM = 90, 3


def column(image: ndarray, centres: ndarray) -> ndarray:
    """A frame and, below it, its first four fish enlarged."""
    padded = cv2.copyMakeBorder(image, SIDE, SIDE, SIDE, SIDE, cv2.BORDER_REPLICATE)
    tiles = []
    for x, y in centres[np.isfinite(centres).all(1)][:4].astype(int):
        tile = padded[y + SIDE // 2 : y + SIDE // 2 + SIDE, x + SIDE // 2 : x + SIDE // 2 + SIDE]
        tiles.append(cv2.resize(tile, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_CUBIC))
    row = np.hstack(tiles)
    width = row.shape[1]
    frame = cv2.resize(image, (width, image.shape[0] * width // image.shape[1]), interpolation=cv2.INTER_AREA)
    return np.vstack([frame, row])


def frame_of(video: Path) -> ndarray:
    return next(iter(read_frames(video, start=FRAME, stop=FRAME + 1))).images[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=Path, default=Path("../shared/data/zebrafish8_a"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    tracks, _ = read_tracks(args.real / "pseudo_tracks.h5")
    real = column(frame_of(args.real / "test_A.avi"), tracks.poses.xy[tracks.poses.frame == FRAME].mean(1))
    with tempfile.TemporaryDirectory() as folder:
        video = Path(folder) / "zebra.mp4"
        truth = make_video(SCENES["zebra"], video, seed=args.seed, n_frames=FRAME + 1)
        rendered = column(frame_of(video), truth.full_xy[truth.tracks.poses.frame == FRAME].mean(1))
    gap = np.full((real.shape[0], 12, 3), 255, np.uint8)
    cv2.imwrite(str(args.out), np.hstack([real, gap, rendered])[..., ::-1])


if __name__ == "__main__":
    main()
