"""DeepLabCut itself works on shoal's pickles and tracks, and shoal reads what DeepLabCut makes of them.

Runs where ``SHOAL_DLC_PYTHON`` names a Python with deeplabcut 3.0.2; skipped elsewhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from shoal.io.dlc.detections import write_full
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.meta import Meta, write_meta
from shoal.io.dlc.project import write_config
from shoal.io.dlc.results import write_tracks
from shoal.io.dlc.tracklets import write_assemblies, write_tracklets
from shoal.run.check import check_path
from shoal.run.dlc_files import read_dlc_files
from shoal.stages.filter import filter_tracks
from shoal.types import Poses, Skeleton, Tracks

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SCORER = "DLC_Resnet50_projNov22shuffle1_snapshot_200"
INDIVIDUALS = ("a", "b")
SKELETON = Skeleton(("nose", "leftear", "rightear", "tail"), [[0, 1], [0, 2], [0, 3]], unique=("corner",))
N_FRAMES, N_RESTLESS = 40, 200
ARIMA = Path(__file__).parents[1] / "golden" / "filter_arima.npz"
SCRIPT = """
import os, sys
os.environ["DLClight"] = "True"
import deeplabcut
config, video, train, base = sys.argv[1:]
deeplabcut.create_multianimaltraining_dataset(config, net_type="resnet_50")
open(os.path.join(train, "snapshot-200.pt"), "wb").close()  # only its name is looked at below
more = dict(shuffle=1, track_method="ellipse")
deeplabcut.stitch_tracklets(config, [video], n_tracks=2, save_as_csv=True, **more)
deeplabcut.filterpredictions(config, [video], **more)
deeplabcut.filterpredictions(config, [video.replace("vidA", "vidB")], filtertype="arima", **more)
deeplabcut.create_video_with_all_detections(config, [video], shuffle=1)
look = dict(color_by="individual", draw_skeleton=True, max_workers=1)
done = deeplabcut.create_labeled_video(config, [video], **look, **more)
assert done == [True], done
os.rename(base + "_el.pickle", base + "_shoal.pickle")
deeplabcut.convert_detections2tracklets(config, [video], overwrite=True, **more)
"""


def write_project(root: Path) -> Path:
    rng = np.random.default_rng(0)
    folder = root / "labeled-data" / "vidA"
    folder.mkdir(parents=True)
    images = [f"img{i:03d}.png" for i in range(10)]
    for image in images:
        cv2.imwrite(str(folder / image), rng.integers(0, 255, (96, 128, 3)).astype(np.uint8))
    xy, once = rng.uniform(5, 90, (10, 2, 4, 2)), rng.uniform(5, 90, (10, 1, 2))
    write_labels(folder, scorer="me", skeleton=SKELETON, individuals=INDIVIDUALS, images=images, xy=xy, unique_xy=once)
    video = root / "videos" / "vidA.mp4"
    video.parent.mkdir()
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"mp4v"), 30, (128, 96))
    for _ in range(N_FRAMES):
        writer.write(np.full((96, 128, 3), 90, np.uint8))
    writer.release()
    write_config(
        root / "config.yaml", task="proj", scorer="me", date="Nov22", skeleton=SKELETON, individuals=INDIVIDUALS,
        videos={video: (128, 96)}, identity=False,
    )  # fmt: skip
    return video


def swimmers() -> Tracks:
    """Two animals that pass each other far apart; the second is away for three frames."""
    t = np.arange(N_FRAMES)
    body = np.array([[6, 0], [2, -4], [2, 4], [-8, 0]], float)
    a = np.stack([20 + 2 * t, 20 + 5 * np.sin(t / 5)], 1)[:, None] + body
    b = np.stack([105 - 2 * t, 75 + 5 * np.cos(t / 6)], 1)[:, None] - body
    frame, track = np.repeat(t, 2), np.tile([0, 1], N_FRAMES)
    keep = ~((track == 1) & (frame >= 20) & (frame < 23))
    frame, track = frame[keep], track[keep]
    xy = np.where((track == 0)[:, None, None], a[frame], b[frame])
    m = len(frame)
    confidence = np.random.default_rng(1).uniform(0.7, 1, (m, 4))
    item = np.where((track == 1) & ~((frame >= 20) & (frame < 23)), 1, 0)
    return Tracks(Poses(frame, item, xy, confidence, np.ones(m), (0, N_FRAMES)), track)


def restless() -> Tracks:
    """One animal, measured with an error of 1.5 px; a lost keypoint lies anywhere and says that it does."""
    rng, t = np.random.default_rng(0), np.arange(N_RESTLESS)
    path = np.stack([60 + 40 * np.sin(t / 25), 48 + 30 * np.cos(t / 19)], 1)[:, None]
    xy = path + np.array([[6, 0], [2, -4], [2, 4], [-8, 0]], float) + rng.normal(0, 1.5, (N_RESTLESS, 4, 2))
    confidence = rng.uniform(0.7, 1, (N_RESTLESS, 4))
    lost = rng.random((N_RESTLESS, 4)) < 0.03
    xy[lost] += rng.normal(0, 25, (int(lost.sum()), 2))
    confidence[lost] = 0.0005
    return Tracks(Poses(t, np.zeros(len(t)), xy, confidence, np.ones(len(t)), (0, len(t))), np.zeros(len(t)))


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    python = os.environ.get("SHOAL_DLC_PYTHON")
    if not python:
        pytest.skip("SHOAL_DLC_PYTHON is not set")
    root = tmp_path_factory.mktemp("proj-me-2024-11-22")
    video, tracks = write_project(root), swimmers()
    base = video.with_name(f"vidA{SCORER}")
    once = Poses(np.arange(N_FRAMES), np.zeros(N_FRAMES), np.full((N_FRAMES, 1, 2), 9.0), np.ones((N_FRAMES, 1)),
                 np.ones(N_FRAMES), (0, N_FRAMES))  # fmt: skip
    names = {"keypoints": SKELETON.keypoints, "unique": once, "unique_names": SKELETON.unique, "n_frames": N_FRAMES}
    write_full(Path(f"{base}_full.pickle"), tracks.poses, n_individuals=2, **names)
    write_meta(Path(f"{base}_meta.pickle"), Meta(
        SCORER, N_FRAMES, 30.0, (128, 96), INDIVIDUALS, SKELETON.keypoints, SKELETON.unique))  # fmt: skip
    write_assemblies(Path(f"{base}_assemblies.pickle"), tracks.poses, n_frames=N_FRAMES, unique=once)
    # DeepLabCut cuts tracklets at gaps itself
    write_tracklets(Path(f"{base}_el.pickle"), tracks, scorer=SCORER, **names)
    shutil.copy(video, video.with_name("vidB.mp4"))
    noisy = video.with_name(f"vidB{SCORER}_el.h5")
    write_tracks(noisy, restless(), skeleton=SKELETON, names=INDIVIDUALS[:1], scorer=SCORER, unique=once)
    train = root / "dlc-models-pytorch" / "iteration-0" / "projNov22-trainset95shuffle1" / "train"
    words = [python, "-c", SCRIPT, root / "config.yaml", video, train, base]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-3000:]
    return base


def rows_of(tracks: Tracks) -> list[tuple[int, bytes]]:
    return sorted((int(f), xy.tobytes()) for f, xy, t in zip(
        tracks.poses.frame, tracks.poses.xy, tracks.track, strict=True) if t >= 0)  # fmt: skip


def test_deeplabcut_stitches_shoals_tracklets(base):
    found = read_dlc_files(base, "tracks")
    assert found.names == INDIVIDUALS and found.skeleton.unique == ("corner",)
    assert rows_of(found.table) == rows_of(swimmers())
    for number in range(2):
        mine = found.table.poses.frame[found.table.track == number]
        assert len(mine) in (N_FRAMES, N_FRAMES - 3)
    assert len(found.unique) == N_FRAMES


def test_deeplabcuts_median_is_shoals(base):
    filtered = read_dlc_files(base, "tracks", filtered=True)
    mine = filter_tracks(read_dlc_files(base, "tracks").table, method="median", window=5)
    whole = int(np.bincount(mine.track).argmax())  # the track without a gap
    rows, other = mine.track == whole, filtered.table.track == whole
    assert np.array_equal(mine.poses.frame[rows], filtered.table.poses.frame[other])
    assert np.allclose(mine.poses.xy[rows], filtered.table.poses.xy[other], atol=1e-4)


def test_deeplabcuts_arima_is_shoals(base):
    """The same model, fitted by two optimizers that stop a little apart (tests/unit/stages/test_filter.py)."""
    theirs = read_dlc_files(base.with_name(f"vidB{SCORER}"), "tracks", filtered=True).table.poses.xy
    given = read_dlc_files(base.with_name(f"vidB{SCORER}"), "tracks").table
    mine = filter_tracks(given, method="arima").poses.xy
    assert np.median(np.abs(mine - theirs)) < 0.05
    if os.environ.get("SHOAL_STORE_PEER"):
        poses = given.poses
        np.savez_compressed(ARIMA, xy=poses.xy, confidence=poses.confidence.astype(np.float32), filtered=theirs)


def test_deeplabcut_draws_shoals_files(base):
    for name in ("_full.mp4", "_el_id_p60_labeled.mp4"):
        capture = cv2.VideoCapture(f"{base}{name}")
        assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == N_FRAMES
        capture.set(cv2.CAP_PROP_POS_FRAMES, 5)
        _, image = capture.read()
        assert image.std() > 8, "nothing is drawn"


def test_shoal_reads_the_tracklets_that_deeplabcut_makes_of_shoals_animals(base):
    found = read_dlc_files(base, "tracklets")
    assert found.skeleton.keypoints == SKELETON.keypoints and found.skeleton.unique == SKELETON.unique
    assert set(rows_of(found.table)) <= set(rows_of(swimmers()))
    assert len(found.table) > 0.9 * len(swimmers())
    kinds = {check_path(path)["kind"] for path in base.parent.glob(f"{base.name}*") if path.suffix != ".pickle"}
    assert kinds == {"tracks of a video", "filtered tracks of a video", "video"}
