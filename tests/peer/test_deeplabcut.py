"""DeepLabCut itself opens what shoal writes, and shoal reads back what DeepLabCut makes of it.

Runs where ``SHOAL_DLC_PYTHON`` names a Python with deeplabcut 3.0.2; skipped elsewhere.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import read_project, write_config
from shoal.io.dlc.results import read_tracks, write_poses, write_tracks
from shoal.io.dlc.training_set import next_shuffle, read_shuffles, shuffle_split
from shoal.types import Poses, Skeleton, Tracks

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SCORER = "DLC_Resnet50_projNov22shuffle1_snapshot_200"
INDIVIDUALS = ("a", "b", "c")
SCRIPT = """
import os
import sys
os.environ["DLClight"] = "True"
import deeplabcut
config, video, train = sys.argv[1:]
before = open(config).read()
deeplabcut.create_multianimaltraining_dataset(config, net_type="resnet_50")
assert open(config).read() == before, "DeepLabCut had to correct config.yaml"
open(os.path.join(train, "snapshot-200.pt"), "wb").close()  # only its name is looked at below
deeplabcut.analyze_videos_converth5_to_csv(os.path.dirname(video), ".mp4")
deeplabcut.filterpredictions(config, [video], shuffle=1, track_method="ellipse")
deeplabcut.plot_trajectories(config, [video], shuffle=1, track_method="ellipse")
"""


@pytest.fixture(scope="module", params=[(), ("corner",)], ids=["plain", "unique"])
def project(request, tmp_path_factory):
    """A project written by shoal after DeepLabCut worked on it, and the tracks that were written."""
    python = os.environ.get("SHOAL_DLC_PYTHON")
    if not python:
        pytest.skip("SHOAL_DLC_PYTHON is not set")
    root = tmp_path_factory.mktemp("proj-me-2024-11-22")
    skeleton = Skeleton(("nose", "leftear", "rightear", "tail"), edges=[[0, 1], [0, 2], [0, 3]], unique=request.param)
    video = root / "videos" / "vidA.mp4"
    _write_project(root, skeleton)
    _write_video(video)
    tracks = _write_results(video, skeleton)
    train = root / "dlc-models-pytorch" / "iteration-0" / "projNov22-trainset95shuffle1" / "train"
    words = [python, "-c", SCRIPT, root / "config.yaml", video, train]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-2000:]
    return root, skeleton, tracks


def _write_project(root, skeleton):
    rng = np.random.default_rng(0)
    for name in ("vidB", "vidA", "007"):
        folder = root / "labeled-data" / name
        folder.mkdir(parents=True)
        images = [f"img{i:03d}.png" for i in (5, 1, 30, 12, 7, 8, 9)]
        for image in images:
            cv2.imwrite(str(folder / image), rng.integers(0, 255, (96, 128, 3)).astype(np.uint8))
        xy = rng.uniform(5, 90, (7, 3, 4, 2))
        xy[2], xy[3, 1] = np.nan, np.nan
        unique_xy = rng.uniform(5, 90, (7, 1, 2)) if skeleton.unique else None
        write_labels(
            folder, scorer="me", skeleton=skeleton, individuals=INDIVIDUALS, images=images, xy=xy, unique_xy=unique_xy
        )
    videos = {root / "videos" / f"{name}.mp4": (128, 96) for name in ("vidB", "vidA", "007")}
    write_config(
        root / "config.yaml", task="proj", scorer="me", date="Nov22", skeleton=skeleton,
        individuals=INDIVIDUALS, videos=videos, identity=False,
    )  # fmt: skip


def _write_video(path):
    path.parent.mkdir()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 30, (128, 96))
    for _ in range(30):
        writer.write(np.zeros((96, 128, 3), np.uint8))
    writer.release()


def _write_results(video, skeleton):
    rng = np.random.default_rng(1)
    frame, item = np.repeat(np.arange(30), 2), np.tile([0, 1], 30)
    poses = Poses(frame, item, rng.uniform(0, 90, (60, 4, 2)), rng.uniform(0, 1, (60, 4)), np.ones(60), (0, 30))
    unique = None
    if skeleton.unique:
        corner = rng.uniform(0, 90, (30, 1, 2))
        unique = Poses(np.arange(30), np.zeros(30), corner, np.ones((30, 1)), np.ones(30), (0, 30))
    tracks = Tracks(poses, item)
    base = video.with_name(f"{video.stem}{SCORER}")
    names = INDIVIDUALS
    write_tracks(Path(f"{base}_el.h5"), tracks, skeleton=skeleton, names=names, scorer=SCORER, unique=unique)
    write_poses(Path(f"{base}.h5"), poses, skeleton=skeleton, individuals=names, scorer=SCORER, unique=unique)
    return tracks


def test_deeplabcuts_merged_table_has_the_rows_that_shoal_says(project):
    root, _, _ = project
    labels = read_project(root).labels
    (shuffle,) = read_shuffles(root)
    assert shuffle.images == tuple((label.video, label.image.name) for label in labels)
    assert [label.row for label in labels] == list(range(21))


def test_the_shuffle_is_understood(project):
    root, _, _ = project
    (shuffle,) = read_shuffles(root)
    assert (shuffle.index, shuffle.fraction, shuffle.engine, shuffle.notes) == (1, 0.95, "pytorch", ())
    assert [snapshot.epoch for snapshot in shuffle.snapshots] == [200]
    assert (len(shuffle.train), len(shuffle.test)) == (19, 2)
    train, _ = shuffle_split(read_project(root), shuffle)
    assert train.tolist() == sorted(shuffle.train)
    assert next_shuffle(root) == 2


@pytest.mark.parametrize("suffix", ["_el.csv", ".csv"])
def test_deeplabcut_converts_the_results(project, suffix):
    root, skeleton, tracks = project
    read, names = read_tracks(root / "videos" / f"vidA{SCORER}{suffix}", skeleton)
    assert names == INDIVIDUALS
    assert np.array_equal(read.poses.xy, tracks.poses.xy)
    assert np.array_equal(read.poses.confidence, tracks.poses.confidence)


def test_deeplabcut_filters_and_plots_the_tracks(project):
    root, skeleton, _ = project
    read, names = read_tracks(root / "videos" / f"vidA{SCORER}_el_filtered.h5", skeleton)
    assert names == INDIVIDUALS
    assert read.span == (0, 30)
    assert len(list((root / "videos" / "plot-poses" / "vidA").glob("trajectory*.png"))) == 3 + len(skeleton.unique)
