from __future__ import annotations

import numpy as np
import pytest

from shoal.errors import ArtifactError
from shoal.io.artifacts import save_table, write_json
from shoal.io.dlc.results import write_tracks
from shoal.run.evaluation import evaluate_tracks, format_scores
from shoal.run.folder import ModelCard, TrackColumn, table_path, write_card
from shoal.types import Poses, Skeleton, Tracks

SKELETON = Skeleton(("nose", "tail"))


def two_animals(n: int) -> Tracks:
    frame = np.repeat(np.arange(n), 2)
    x, y = 10.0 * frame, np.tile([20.0, 90.0], n)
    xy = np.stack([np.stack([x, y], -1), np.stack([x + 20, y], -1)], 1)
    return Tracks(Poses(frame, np.tile([0, 1], n), xy, np.ones((2 * n, 2)), np.ones(2 * n), (0, n)), np.tile([0, 1], n))


@pytest.fixture
def run_dir(tmp_path):
    """Ten frames; the two animals change their tracks at frame 5."""
    tracks, span = two_animals(10), (0, 10)
    write_json(tmp_path / "video.json", {"fps": "10"})
    write_json(tmp_path / "plan.json", {"n_frames": 10, "chunk_frames": 64})
    write_card(tmp_path, ModelCard("pose", "", SKELETON, np.zeros((0, 2)), ("a", "b")))
    swapped = np.where(tracks.poses.frame < 5, tracks.track, 1 - tracks.track)
    save_table(table_path(tmp_path, "poses", span), tracks.poses)
    save_table(table_path(tmp_path, "tracks", span), TrackColumn(swapped, span))
    return tmp_path


def test_one_swap_is_two_switches(run_dir):
    truth = run_dir / "truth.h5"
    write_tracks(truth, two_animals(10), skeleton=SKELETON, names=("a", "b"), scorer="me")
    found = evaluate_tracks(run_dir, truth)
    assert found["tracking"]["switches"] == 2 and found["tracking"]["IDF1"] == 0.5
    assert found["tracking"]["recall"] == found["tracking"]["precision"] == 1
    assert found["tracking"]["first_swap_s"] == 0.5 and found["tracking"]["switches_elsewhere"] == 2
    assert [(row["name"], row["tracks"], row["swaps"]) for row in found["animals"]] == [("a", 2, 1), ("b", 2, 1)]
    assert found["switches"][0] == {
        "frame": 5, "seconds": 0.5, "lost": 4, "animal": "a", "before": "a", "after": "b", "is_crossing": False,
        "is_swap": True,
    }  # fmt: skip
    (picture,) = evaluate_tracks(run_dir, truth, plot=True)["files"]
    assert picture.endswith("identities.png")
    text = format_scores(found)
    assert "first after: 0.5 s" in text and any(
        line.split()[:4] == ["a", "100.0%", "2", "1"] for line in text.splitlines()
    )
    assert "switches                 2" in text and "2 tracks for 2 animals" in text


def test_truth_of_another_video_is_refused(run_dir):
    truth = run_dir / "truth.h5"
    write_tracks(truth, two_animals(11), skeleton=SKELETON, names=("a", "b"), scorer="me")
    with pytest.raises(ArtifactError, match="at most 10 frames, got 11"):
        evaluate_tracks(run_dir, truth)


def test_pose_figures_as_a_table():
    figures = {"rmse": 3.0, "mAP": 80.0}
    found = {
        "test": figures, "train": {"rmse": 1.5, "mAP": 90.0}, "test_images": 4, "train_images": 9,
        "keypoints": {"nose": 2.5}, "text": "Good.",
    }  # fmt: skip
    lines = format_scores(found).splitlines()
    assert lines[1].split() == ["images", "4", "9"] and lines[2].split() == ["rmse", "3", "1.5"]
    assert lines[-1] == "Good." and any(line.split() == ["nose", "2.50"] for line in lines)
    assert "nan" in format_scores({**found, "test_images": 0}).splitlines()[2]
