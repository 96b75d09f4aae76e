"""Parts of a video: folders of their own, the rows of the whole, and everything works on them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from shoal.errors import InputError
from shoal.io.artifacts import load_table
from shoal.io.dlc.results import read_tracks as read_dlc_tracks
from shoal.io.video import frame_at, probe
from shoal.run import batch
from shoal.run.folder import folders_of, open_folder, read_animals, read_spans, read_tracks
from shoal.run.render import render
from shoal.run.status import status
from shoal.run.steps import analyze, export, track
from shoal.types import Decisions, Detections, Poses


def part_of(blobs, video: Path, dest: Path, *settings: str, **more):
    config = blobs.config(*(f"predict.{setting}" for setting in settings))
    return analyze(video, blobs.engine(), config=config, dest=dest, **more)


def test_a_part_has_the_rows_of_the_whole(blobs, blob_video, blob_run, tmp_path):
    run_dir = part_of(blobs, blob_video, tmp_path, "start=90", "stop=6.8s", "chunk_frames=64")
    assert run_dir.name == "three.frames90-170.shoal"
    for name, kind in (("poses", Poses), ("detections", Detections)):
        part, whole = read_spans(run_dir, name, kind), read_spans(blob_run, name, kind)
        rows = (whole.frame >= 90) & (whole.frame < 170)
        assert part.span == (90, 170) and (part.xy == whole.xy[rows]).all() and (part.frame == whole.frame[rows]).all()
    assert read_tracks(run_dir).n_tracks == 3
    assert part_of(blobs, blob_video, tmp_path, "start=3.6s", "stop=170", "chunk_frames=64") == run_dir


def test_every_nth_frame_is_tracked_through(blobs, blob_video, tmp_path):
    """Frames that were not looked at ended every tracklet when gaps were counted in the video's frames."""
    run_dir = part_of(blobs, blob_video, tmp_path, "start=2", "every=5", "chunk_frames=64")
    tracks = read_tracks(run_dir)
    looked = np.arange(2, 300, 5)
    assert run_dir.name == "three.frames2-300.every5.shoal" and set(tracks.poses.frame.tolist()) == set(looked.tolist())
    assert tracks.n_tracks == 3 and len(tracks) == 3 * len(looked)
    truth = blobs.positions(300, 3)
    for number in range(3):
        rows = tracks.track == number
        distance = np.linalg.norm(truth[tracks.poses.frame[rows]] - tracks.poses.xy[rows][:, None], axis=-1).mean(2)
        assert len(set(distance.argmin(axis=1).tolist())) == 1
    assert open_folder(run_dir)["bad_frames"] == []
    decisions = load_table(run_dir / "decisions.npz", Decisions)
    assert decisions.span == (2, 300) and set(decisions.frame.tolist()) <= set(looked.tolist())


def test_chunks_and_batches_do_not_matter_to_a_part(blobs, blob_video, tmp_path):
    made = [
        part_of(blobs, blob_video, tmp_path / str(chunk), "every=7", f"chunk_frames={chunk}", f"batch_size={size}")
        for chunk, size in ((64, 8), (100, 1), (512, 5))
    ]
    tables = [(read_spans(run, "detections", Detections), read_tracks(run)) for run in made]
    for detections, tracks in tables[1:]:
        assert (detections.xy == tables[0][0].xy).all() and detections.span == tables[0][0].span
        assert (tracks.track == tables[0][1].track).all() and (tracks.poses.frame == tables[0][1].poses.frame).all()


def test_everything_works_on_parts_and_leaves_the_whole_alone(blobs, blob_video, tmp_path):
    whole = part_of(blobs, blob_video, tmp_path, "chunk_frames=64")
    before = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    run_dir = part_of(blobs, blob_video, tmp_path, "start=100", "stop=200", "every=10", "crop=[0,160,0,90]")
    assert run_dir.name == "three.frames100-200.every10.crop0-160-0-90.shoal"
    assert folders_of(probe(blob_video), tmp_path) == [whole, run_dir]
    rows = status([tmp_path])
    assert [(row["frames"], row["state"]) for row in rows] == [(10, "tracked"), (300, "tracked")]
    track(run_dir, blobs.config("predict.crop=[0,160,0,90]", "stitch.max_gap=7"))
    files = export(run_dir, dest=tmp_path / "out", pickles=True)
    assert {file.name[:43] for file in files} == {"three.frames100-200.every10.crop0-160-0-90" + c for c in "._"}
    exported, _ = read_dlc_tracks(next(f for f in files if f.name.endswith("_el.h5")), blobs.SKELETON)
    assert (exported.poses.frame == read_animals(run_dir).poses.frame).all() and exported.span[1] <= 200
    assert probe(render(run_dir, dest=tmp_path / "out")).n_frames == 10
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before
    part_of(blobs, blob_video, tmp_path, "every=10", overwrite=True)
    assert {path: path.read_bytes() for path in whole.rglob("*") if path.is_file()} == before


def test_the_whole_after_a_part(blobs, blob_video, blob_run, tmp_path):
    part_of(blobs, blob_video, tmp_path, "stop=50")
    run_dir = part_of(blobs, blob_video, tmp_path, "chunk_frames=64")
    assert run_dir.name == "three.shoal" and len(read_tracks(run_dir)) == len(read_tracks(blob_run))


@pytest.mark.parametrize("place", ["start=300", "start=12s", "stop=0", "start=20s"])
def test_a_part_that_is_not_there(blobs, blob_video, tmp_path, place):
    with pytest.raises(InputError, match="expected a part of frames 0-300"):
        part_of(blobs, blob_video, tmp_path, place)
    assert list(tmp_path.iterdir()) == []


def test_times_are_looked_up_in_the_timestamps(blob_video):
    info = probe(blob_video)
    assert [frame_at(info, place) for place in (7, "4s", "0:04", "4.01s", "0:00:08.0")] == [7, 100, 100, 101, 200]


@pytest.fixture
def app(blobs, monkeypatch):
    from shoal.cli.app import app

    monkeypatch.setattr(batch, "load_engine", lambda model, config: blobs.engine())
    monkeypatch.setattr(batch, "find_model", lambda model: model)
    settings = ["--set", "assemble.min_keypoints=2", "--set", "sample.feature_size=8"]
    return lambda *words: CliRunner().invoke(app, [*map(str, words), *settings], catch_exceptions=True)


def test_many_videos_by_command(app, blobs, tmp_path):
    for name, n in (("one/clip.mp4", 40), ("two/clip.mp4", 60)):
        blobs.make_video(tmp_path / "in" / name, n)
    (tmp_path / "in" / "two" / "broken.mp4").write_bytes(b"no video")
    found = app("analyze", "model", tmp_path / "in", "--recursive", "--dest", tmp_path / "out")
    assert getattr(found.exception, "failures", None) == [
        (str(tmp_path / "in" / "two" / "broken.mp4"), found.exception.failures[0][1])
    ]
    assert "video 1/3" in found.output and "video 3/3" in found.output and "2 of 3 videos analyzed" in found.output
    assert "frames/s" in found.output
    assert sorted(row["frames"] for row in status([tmp_path / "out"])) == [40, 60]


def test_a_part_by_command(app, blob_video, tmp_path):
    words = ["analyze", "model", blob_video, "--dest", tmp_path, "--start", "2s", "--stop", "0:04", "--every", "5"]
    assert app(*words, "--cropping", 0, 160, 0, 90).exit_code == 0
    assert app(*words, "--overwrite").exit_code == 0 and app(*words, "--fresh").exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "three.frames50-100.every5.crop0-160-0-90.shoal",
        "three.frames50-100.every5.shoal",
    ]
    assert "a time (90s, 1:30" in str(app("analyze", "model", blob_video, "--start", "soon").exception)
