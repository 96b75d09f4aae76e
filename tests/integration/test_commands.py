"""Every command, in a user's order, on a project of blobs and a network that has hardly learned."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from shoal.cli import app
from shoal.config.run import load_config
from shoal.io.dlc.config_file import write_config
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.results import read_tracks
from shoal.io.video import probe, read_frames

QUICK = [
    "train.epochs=1", "train.crops_per_image=1", "train.batch_size=2", "train.crop_px=64", "model.neck=16",
    "compute.threads=1", "predict.chunk_frames=64", "assemble.min_keypoints=1", "render.preset=ultrafast",
]  # fmt: skip
SETTINGS = [word for setting in QUICK for word in ("--set", setting)]


def make_project(blobs, folder: Path, video: Path) -> Path:
    """Six labelled frames of the blob video, as a DLC project."""
    frames, where = list(range(0, 60, 10)), blobs.positions(300, 3)
    names = [f"img{frame:03d}.png" for frame in frames]
    images = folder / "labeled-data" / video.stem
    images.mkdir(parents=True)
    (folder / "videos").mkdir()
    (folder / "videos" / video.name).symlink_to(video)
    for frame, name in zip(frames, names, strict=True):
        picture = next(read_frames(video, start=frame, batch=1)).images[0]
        cv2.imwrite(str(images / name), picture[..., ::-1])
    individuals = ("a", "b", "c")
    skeleton = blobs.Skeleton(blobs.SKELETON.keypoints, blobs.SKELETON.edges)
    write_labels(
        images,
        scorer="me",
        skeleton=skeleton,
        individuals=individuals,
        images=names,
        xy=where[frames].astype(np.float32),
    )
    write_config(
        folder / "config.yaml", task="blobs", scorer="me", date="Jan1", skeleton=skeleton, individuals=individuals,
        videos={Path("videos") / video.name: (160, 96)}, identity=False,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def project(blobs, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    video = blobs.make_video(folder / "clip.mp4", 80)
    return make_project(blobs, folder / "project", video)


def shoal(monkeypatch, capsys, *words: object) -> dict:
    """What a command prints as JSON."""
    monkeypatch.setattr(sys, "argv", ["shoal", *map(str, words), "--json"])
    try:
        app.main()
    except SystemExit as stop:
        assert not stop.code, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def test_a_project_goes_all_the_way(monkeypatch, capsys, project, tmp_path):
    config_before = (project / "config.yaml").read_bytes()
    estimate = shoal(monkeypatch, capsys, "train", project, "--try", *SETTINGS)
    assert estimate["images_per_s"] > 0 and estimate["hours"] > 0 and estimate["memory_mb"] > 0
    assert not (project / "shoal").exists(), "a trial leaves nothing behind"
    trained = shoal(monkeypatch, capsys, "train", project, *SETTINGS)
    model = Path(trained["model"])
    assert model == project / "shoal" / "models" / "pose" and trained["epoch"] == 1
    assert all(Path(file).is_file() for file in trained["files"])
    judged = shoal(monkeypatch, capsys, "evaluate", project, "--plot")
    assert judged["test_images"] == 2 and judged["train_images"] == 4
    assert sum(file.endswith(".png") for file in judged["files"]) == 2
    video = project / "videos" / "clip.mp4"
    run_dir = Path(shoal(monkeypatch, capsys, "analyze", project, video, "--dest", tmp_path, *SETTINGS)["runs"][0])
    again = shoal(monkeypatch, capsys, "track", run_dir, "--animals", 3)
    assert again["runs"] == [str(run_dir)]
    exported = shoal(monkeypatch, capsys, "export", run_dir, "--csv")
    _, names = read_tracks(Path(exported["files"][1]))
    assert names[:3] == ("a", "b", "c")
    drawn = shoal(monkeypatch, capsys, "render", run_dir, "--plots", "--stop", 20)
    assert probe(Path(drawn["files"][0])).n_frames == 20 and len(drawn["files"]) == 3
    assert shoal(monkeypatch, capsys, "render", run_dir, "--detections")["files"][0].endswith("clip_full.mp4")
    rows = shoal(monkeypatch, capsys, "status", tmp_path)["status"]
    assert [row["state"] for row in rows] == ["tracked"]
    scores = shoal(monkeypatch, capsys, "evaluate", run_dir, "--tracks", exported["files"][1])
    assert set(scores["tracking"]) >= {"HOTA", "IDF1", "switches"}
    assert (project / "config.yaml").read_bytes() == config_before


def test_run_does_everything_and_lists_what_fails(monkeypatch, capsys, blobs, project, tmp_path):
    good, bad = blobs.make_video(tmp_path / "good.mp4", 5), tmp_path / "bad.mp4"
    bad.write_text("no video")
    arguments = ["shoal", "run", str(project), str(good), str(bad), "--json", *SETTINGS]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit) as stop:
        app.main()
    output = capsys.readouterr()
    found = json.loads(output.out)
    assert stop.value.code == 5 and "1 of 2 failed" in output.err and "Traceback" not in output.err
    assert found["runs"] == [str(tmp_path / "good.shoal")]
    assert (tmp_path / "good.shoal" / "export" / "good_labeled.mp4").is_file()
    assert (tmp_path / "good.shoal" / "export" / "good_el.h5").is_file()


def test_demo_gives_one_table(monkeypatch, capsys, tmp_path):
    from shoal.run import demo

    monkeypatch.setattr(demo, "LABELLED_FRAMES", 6)
    monkeypatch.setattr(demo, "PROJECT_VIDEOS", 1)
    monkeypatch.setattr(demo, "TEST_FRAMES", 6)
    found = shoal(monkeypatch, capsys, "demo", "--dest", tmp_path / "out", *SETTINGS)
    assert [row["step"] for row in found["steps"]] == [
        "render project", "render test video", "train", "evaluate", "analyze", "export", "render",
    ]  # fmt: skip
    assert all(Path(file).is_file() for file in found["files"])
    text = demo.format_demo({**found, "pose": {**found["pose"], "rmse": 1.0}})
    assert "HOTA" in text and "identity switches" in text


@pytest.fixture(scope="module")
def model(project) -> Path:
    """Trained for one epoch: it sees hardly anything, or far too much."""
    from shoal.run.models import train

    return Path(train(project, name="one-epoch", config=load_config(overrides=QUICK))["model"])


@pytest.mark.parametrize("name", ["no animals", "one frame", "one animal", "crowd"])
def test_odd_videos_pass_through_every_command(monkeypatch, capsys, blobs, project, model, tmp_path, name):
    n_frames, n_animals = {"no animals": (70, 0), "one frame": (1, 2), "one animal": (70, 1), "crowd": (70, 8)}[name]
    video = blobs.make_video(tmp_path / "odd.mp4", n_frames, n_animals)
    run_dir = Path(shoal(monkeypatch, capsys, "analyze", model, video, *SETTINGS)["runs"][0])
    shoal(monkeypatch, capsys, "track", run_dir, "--animals", 3)
    exported = shoal(monkeypatch, capsys, "export", run_dir, "--csv")["files"]
    assert len(read_tracks(Path(exported[1]))[1]) >= 3
    for what in ([], ["--detections"], ["--plots"]):
        files = shoal(monkeypatch, capsys, "render", run_dir, *what)["files"]
        assert probe(Path(files[0])).n_frames == n_frames
    assert shoal(monkeypatch, capsys, "status", tmp_path)["status"][0]["state"] == "tracked"
    scores = shoal(monkeypatch, capsys, "evaluate", run_dir, "--tracks", exported[1])
    assert set(scores["tracking"]) >= {"HOTA", "IDF1", "switches"}
    done = shoal(
        monkeypatch, capsys, "run", project, video, "--name", model.name, "--dest", tmp_path / "all", *SETTINGS
    )
    assert len(done["runs"]) == 1


def test_an_empty_video_is_listed_and_the_rest_goes_on(monkeypatch, capsys, blobs, model, tmp_path):
    whole, empty, hollow = (tmp_path / name for name in ("whole.mp4", "empty.mp4", "hollow.avi"))
    blobs.make_video(whole, 3)
    empty.touch()
    with av.open(str(hollow), "w") as container:  # a header and no frame
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height = 160, 96
        container.start_encoding()
    words = ["shoal", "analyze", str(model), *map(str, (empty, hollow, whole)), "--json", *SETTINGS]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        app.main()
    output = capsys.readouterr()
    assert stop.value.code == 5 and "Traceback" not in output.err
    assert "empty.mp4" in output.err and "hollow.avi" in output.err
    assert json.loads(output.out)["runs"] == [str(tmp_path / "whole.shoal")]
