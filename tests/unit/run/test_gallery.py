"""Animals known by name from video to video."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from shoal.cli.app import app
from shoal.config.run import load_config
from shoal.errors import ArtifactError, InputError
from shoal.io.artifacts import save_table, write_entry, write_json
from shoal.io.video import probe
from shoal.run.edits import read_names
from shoal.run.enrolment import enroll
from shoal.run.folder import ModelCard, TrackColumn, table_path, write_card, write_config, write_video
from shoal.run.gallery import ABOUT, forget, list_gallery
from shoal.run.names import describe_names, name_run, names_print, names_table, read_track_names
from shoal.synthetic.dataset import make_video
from shoal.synthetic.scenes import KEYPOINTS, SCENES
from shoal.synthetic.truth import truth_of, visible_tracks
from shoal.types import Skeleton, Tracks, select

N = 72
NAMES = ("ann", "bob", "eve")


def film(folder: Path, day: int) -> Path:
    """Three fish on some day."""
    demo = SCENES["demo"]
    scene = replace(
        demo, name="tank", width=320, height=240, n_fish=3, margins=(8.0,) * 4, mirrors=(), shelter=None, megabit_s=1.5,
        skin=replace(demo.skin, body_px=(56.0, 64.0), contrast=1.0),
    )  # fmt: skip
    video = folder / f"day{day}.mp4"
    make_video(scene, video, seed=5, n_frames=N, day=day)
    return video


@pytest.fixture(scope="module")
def days(tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("days")
    return [film(folder, day) for day in (0, 9)]


def make_run(folder: Path, video: Path, order=(0, 1, 2), spans=((0, 40), (40, N)), names=NAMES) -> Path:
    """A tracked run; track ``order[a]`` is fish ``a``."""
    truth = visible_tracks(truth_of(video))
    tracks = Tracks(truth.poses, np.array(order)[truth.track])
    folder.mkdir()
    write_video(folder, probe(video), [])
    write_json(folder / "plan.json", {"n_frames": N, "chunk_frames": 64, "ends": [b for _, b in spans]})
    for kind in ("poses", "tracklets", "tracks", "manifest", "crops"):
        (folder / kind).mkdir()
    for span in spans:
        part = select(tracks, (tracks.poses.frame >= span[0]) & (tracks.poses.frame < span[1]))
        save_table(table_path(folder, "poses", span), replace(part.poses, span=span))
        for kind in ("tracks", "tracklets"):
            save_table(table_path(folder, kind, span), TrackColumn(part.track, span))
    write_entry(folder, "stitch", fingerprint="joined", outputs=[])
    write_card(folder, ModelCard("net", "0" * 64, Skeleton(KEYPOINTS, [[0, 3]]), np.array([[0, 3]]), names, "cpu"))
    write_config(folder, load_config())
    return folder


def name(folder: Path, gallery: Path, *overrides: str):
    config = load_config(overrides=[f"reid.gallery={gallery}", *overrides])
    write_config(folder, config)
    return name_run(folder, config, names_print(config, "joined"))


@pytest.fixture(scope="module")
def gallery(days, tmp_path_factory) -> Path:
    """The three fish of the first day; tests must not change it."""
    folder = tmp_path_factory.mktemp("gallery")
    enroll(make_run(folder / "a.shoal", days[0]), folder / "g", names={"ann": "Otto"})
    return folder / "g"


def test_fish_are_known_again_on_another_day(gallery, days, tmp_path):
    run = make_run(tmp_path / "b.shoal", days[1], order=(2, 0, 1))
    found = name(run, gallery)
    assert found.names == ("Otto", "bob", "eve")
    assert found.probability.argmax(axis=1).tolist() == [1, 2, 0]
    assert found.probability.max(axis=1).min() > 0.5
    np.testing.assert_allclose(found.piece_probability.sum(axis=1), 1)
    assert read_names(run) == ("bob", "eve", "Otto") and len(describe_names(run)) == 3
    lines = names_table(run, {0: "bob", 2: "Otto"}).decode().splitlines()
    assert lines[0] == "individual,what,first_frame,last_frame,crops,Otto,bob,eve,unknown"
    assert [line.split(",")[:2] for line in lines[1:]] == [
        ["bob", "track"], ["bob", "piece"], ["Otto", "track"], ["Otto", "piece"],
    ]  # fmt: skip


def test_chunks_do_not_matter_to_names(gallery, days, tmp_path):
    found = [
        name(make_run(tmp_path / f"{i}.shoal", days[1], spans=spans), gallery)
        for i, spans in enumerate([((0, N),), ((0, 11), (11, 40), (40, N))])
    ]
    np.testing.assert_allclose(found[0].probability, found[1].probability, atol=1e-5)
    np.testing.assert_array_equal(found[0].piece_crops, found[1].piece_crops)


def test_a_stranger_is_unknown(days, tmp_path):
    enroll(make_run(tmp_path / "a.shoal", days[0]), tmp_path / "g")
    forget(tmp_path / "g", "eve")
    run = make_run(tmp_path / "b.shoal", days[1])
    found = name(run, tmp_path / "g", "reid.known=0.5")
    assert found.names == ("ann", "bob") and found.probability[2].argmax() == 2
    assert "unknown1" in read_names(run)


def test_names_of_tracks_that_have_changed_since_are_not_used(gallery, days, tmp_path):
    run = make_run(tmp_path / "b.shoal", days[1], order=(2, 0, 1))
    name(run, gallery)
    assert read_track_names(run) is not None
    write_entry(run, "stitch", fingerprint="joined again", outputs=[])
    assert read_track_names(run) is None and read_names(run) == NAMES and names_table(run, {0: "ann"}) == b""


def test_a_video_is_enrolled_once_and_more_days_are_learned_from(days, tmp_path):
    runs = [make_run(tmp_path / f"{i}.shoal", video) for i, video in enumerate(days)]
    for run in (runs[0], runs[1], runs[0]):
        about = enroll(run, tmp_path / "g")
    assert [e["video"] for e in about["enrolments"]] == ["day9.mp4", "day0.mp4"] and about["names"] == list(NAMES)
    assert sorted(path.name for path in (tmp_path / "g").glob("day*.npz")) == sorted(
        e["file"] for e in about["enrolments"]
    )


def test_animals_beyond_the_names_of_the_project_are_enrolled_too(days, tmp_path):
    """Eight fish were tracked with a network of a project of six: two of them could not be enrolled."""
    run = make_run(tmp_path / "a.shoal", days[0], names=("ann",))
    write_entry(run, "stitch", fingerprint="joined", outputs=[], counts={"tracks": 3})
    assert enroll(run, tmp_path / "g")["names"] == ["ann", "individual2", "individual3"]


def test_what_cannot_be_enrolled_is_said(gallery, days, tmp_path):
    run = make_run(tmp_path / "a.shoal", days[0])
    with pytest.raises(InputError, match="expected animals of the run"):
        enroll(run, tmp_path / "g", names={"nobody": "Otto"})
    with pytest.raises(InputError, match="a name of its own"):
        enroll(run, tmp_path / "g", names={"ann": "bob"})
    alone = make_run(tmp_path / "one.shoal", days[0], order=(0, -1, -1))
    with pytest.raises(InputError, match="more like themselves"):
        enroll(alone, tmp_path / "g")
    with pytest.raises(InputError, match="expected one of Otto"):
        forget(gallery, "nobody")
    with pytest.raises(InputError, match="expected a gallery"):
        list_gallery(tmp_path)
    (tmp_path / ABOUT).write_text('{"format": 99}')
    with pytest.raises(ArtifactError, match="format"):
        list_gallery(tmp_path)
    other = make_run(tmp_path / "other.shoal", days[0])
    skeleton = Skeleton((*KEYPOINTS[:-1], "beak"), [[0, 3]])
    write_card(other, ModelCard("net", "0" * 64, skeleton, np.array([[0, 3]]), NAMES, "cpu"))
    for work in (lambda: enroll(other, gallery), lambda: name(other, gallery)):
        with pytest.raises(InputError, match="expected the gallery's keypoints"):
            work()


def test_the_command_enrolls_lists_and_forgets(days, tmp_path):
    run, gallery = make_run(tmp_path / "a.shoal", days[0]), str(tmp_path / "g")
    call = CliRunner().invoke
    done = call(app, ["reid", "enroll", str(run), "--gallery", gallery, "--name", "ann=Otto", "-q"])
    assert done.exit_code == 0 and "3 animals: Otto, bob, eve" in done.output
    assert "Otto 3" in call(app, ["reid", "list", "--gallery", gallery]).output
    done = call(app, ["reid", "forget", "Otto", "--gallery", gallery, "-q"])
    assert done.exit_code == 0 and "2 animals: bob, eve" in done.output
