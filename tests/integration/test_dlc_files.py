"""From a run folder to DLC's files and back, and from files that only DLC made to tracks and videos."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from shoal.config.stitch import StitchConfig
from shoal.errors import InputError, ProjectError
from shoal.io.dlc.meta import read_meta, write_meta
from shoal.io.dlc.results import write_tracks
from shoal.io.video import probe, read_images
from shoal.run.check import check_path
from shoal.run.dlc_files import dlc_file, is_ours, read_dlc_files, write_dlc_files
from shoal.run.dlc_render import Shown, dlc_look, labeled_name, render_dlc
from shoal.run.dlc_tracks import associate_dlc_files, stitch_dlc_files
from shoal.run.folder import read_animals, read_spans, read_tracks
from shoal.run.plots import plot_trajectories
from shoal.run.steps import analyze
from shoal.stages.filter import filter_tracks
from shoal.types import Poses, Tracks

BASE = "threeDLC_Blobs_shuffle1_snapshot_200"
EVERYTHING = ("full", "meta", "assemblies", "poses", "tracklets", "tracks")


@pytest.fixture(scope="module")
def run(blob_run, tmp_path_factory) -> Path:
    return shutil.copytree(blob_run, tmp_path_factory.mktemp("run") / blob_run.name)


@pytest.fixture(scope="module")
def base(run, tmp_path_factory) -> Path:
    """All files of the run; tests must not change them."""
    folder = tmp_path_factory.mktemp("files")
    files = write_dlc_files(run, base=BASE, scorer="DLC_x", dest=folder, what=EVERYTHING, csv=True)
    names = ["_full.pickle", "_meta.pickle", "_assemblies.pickle", ".h5", "_el.pickle", "_el.h5", ".csv", "_el.csv"]
    assert [file.name for file in files] == [BASE + name for name in names]
    return folder / BASE


@pytest.fixture
def own(base, tmp_path) -> Path:
    """A copy of the files that a test may change, without the run folder."""
    for file in base.parent.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path / BASE


def sorted_rows(tracks: Tracks) -> list[tuple[int, int, bytes]]:
    rows = zip(tracks.poses.frame, tracks.track, tracks.poses.xy, strict=True)
    return sorted((int(f), int(t), xy.tobytes()) for f, t, xy in rows if t >= 0)


def test_all_files_say_what_the_run_says(run, base):
    poses = read_dlc_files(base, "poses")
    expected = read_spans(run, "poses", Poses)
    assert np.array_equal(poses.table.xy, expected.xy, equal_nan=True) and poses.table.span == (0, 300)
    assert poses.skeleton.keypoints == ("head", "tail") and poses.names == ("a", "b", "c") and poses.scorer == "DLC_x"
    assert poses.unique.frame.tolist() == read_spans(run, "unique", Poses).frame.tolist()
    tracklets = read_dlc_files(base, "tracklets").table
    assert sorted_rows(tracklets) == sorted_rows(read_tracks(run, kind="tracklets"))
    tracks = read_dlc_files(base, "tracks")
    assert sorted_rows(tracks.table) == sorted_rows(read_animals(run)) and tracks.names == ("a", "b", "c")
    assert tracks.unique.frame.tolist() == poses.unique.frame.tolist()


@pytest.mark.parametrize("missing", ["_assemblies.pickle", "_full.pickle"])
def test_animals_are_found_in_whatever_file_is_left(run, own, missing):
    Path(f"{own}_assemblies.pickle").unlink()
    Path(f"{own}{missing}").unlink(missing_ok=True)
    found = read_dlc_files(own, "poses")
    assert np.array_equal(found.table.xy, read_spans(run, "poses", Poses).xy, equal_nan=True)
    assert found.path.name == f"{BASE}{'_full.pickle' if missing == '_assemblies.pickle' else '.h5'}"


def test_association_and_stitching_need_only_dlcs_files(blobs, run, own):
    for name in ("_full.pickle", ".h5", ".csv", "_el.pickle", "_el.h5", "_el.csv"):
        Path(f"{own}{name}").unlink()
    config = blobs.config()
    assert associate_dlc_files(own, config=config.associate).name == f"{BASE}_el.pickle"
    tracks = stitch_dlc_files(own, config=config.stitch, names=("x", "y"), csv=True)
    assert tracks.name == f"{BASE}_el.h5" and tracks.with_suffix(".csv").is_file()
    found = read_dlc_files(own, "tracks")
    assert sorted_rows(found.table) == sorted_rows(read_animals(run)) and found.names == ("x", "y", "individual3")
    assert found.skeleton.unique == ("lamp",) and len(found.unique) == 150


def test_a_changed_file_is_taken_as_it_is(run, base, own, caplog):
    caplog.set_level("INFO")
    path = dlc_file(base, "tracks")
    assert is_ours(run, path)
    unchanged = read_dlc_files(base, "tracks", run_dir=run)
    assert np.array_equal(unchanged.table.poses.item, read_animals(run).poses.item) and not caplog.messages
    found = read_dlc_files(own, "tracks")
    some = Tracks(found.table.poses, np.where(found.table.poses.frame < 100, found.table.track, -1))
    path = dlc_file(own, "tracks")
    write_tracks(path, some, skeleton=found.skeleton, names=("a", "b", "c"), scorer="somebody")
    changed = read_dlc_files(own, "tracks", run_dir=run)
    assert changed.scorer == "somebody" and changed.table.poses.frame.max() == 99
    assert caplog.messages == [f"{path.name} was written or changed by somebody else: taken as it is"]


def test_replacing_what_somebody_changed_is_said(blob_run, tmp_path, caplog):
    run = shutil.copytree(blob_run, tmp_path / blob_run.name)
    (path,) = write_dlc_files(run, dest=tmp_path, what=("tracks",))
    write_dlc_files(run, dest=tmp_path, what=("tracks",))
    assert not caplog.messages
    path.write_bytes(b"mine")
    write_dlc_files(run, dest=tmp_path, what=("tracks",))
    assert len(caplog.messages) == 1 and "somebody changed" in caplog.text and is_ours(run, path)


def test_positions_in_a_cropped_video_count_from_the_frames_corner(blobs, own):
    meta = read_meta(dlc_file(own, "meta"))
    before = {what: read_dlc_files(own, what) for what in ("poses", "tracklets", "tracks")}
    values = vars(meta) | {"cropping": (10, 170, 20, 116)}
    write_meta(dlc_file(own, "meta"), type(meta)(**values))
    for what, found in before.items():
        moved = read_dlc_files(own, what)
        a, b = (t.poses if isinstance(t, Tracks) else t for t in (found.table, moved.table))
        assert np.allclose(b.xy - a.xy, (10, 20)) and np.allclose(moved.unique.xy - found.unique.xy, (10, 20))
    tracks = Path(f"{own}_el.h5")
    tracks.unlink()
    stitch_dlc_files(own, config=blobs.config().stitch)
    assert np.allclose(read_dlc_files(own, "tracks").table.poses.xy.mean(), moved.table.poses.xy.mean(), atol=0.01)


def test_a_missing_step_is_named(tmp_path):
    with pytest.raises(ProjectError, match=r"v_el\.pickle") as error:
        read_dlc_files(tmp_path / "v", "tracklets")
    assert "convert_detections2tracklets" in error.value.hint
    with pytest.raises(InputError, match="ellipse, box, skeleton"):
        dlc_file(tmp_path / "v", "tracks", method="magic")


def color_at(video: Path, frame: int, xy) -> np.ndarray:
    image = next(image for number, image in read_images(probe(video), start=frame) if number == frame)
    x, y = (int(v) for v in xy)
    return image[y - 1 : y + 2, x - 1 : x + 2].mean(axis=(0, 1))


def test_labelled_videos_show_keypoints_in_dlcs_colours(blob_video, own):
    found = read_dlc_files(own, "tracks").table
    row = int(np.flatnonzero((found.poses.frame == 60) & (found.track == 1))[0])
    settings = {"pcutoff": 0.6, "dotsize": 4, "colormap": "rainbow", "alphavalue": 1, "skeleton": [["head", "tail"]]}
    config, pairs = dlc_look(settings, skeleton=True, trail=5)
    video = render_dlc(blob_video, own, config=config, shown=Shown(pairs=pairs, individuals=["b"]))
    assert video.name == f"{BASE}_el_bp_p60_labeled.mp4" and probe(video).n_frames == 300
    violet, red = color_at(video, 60, found.poses.xy[row, 0]), color_at(video, 60, found.poses.xy[row, 1])
    assert violet[2] > 150 > violet[1] and red[0] > 170 > red[1]  # keypoints: the two ends of the map
    other = int(np.flatnonzero((found.poses.frame == 60) & (found.track == 0))[0])
    assert color_at(video, 60, found.poses.xy[other, 1])[1] > 150  # not asked for: the green tail of the animal itself
    config, _ = dlc_look(settings | {"pcutoff": 0.4}, color_by="individual")
    short = render_dlc(blob_video, own, config=config, shown=Shown(only=[60, 3, 500], background=False))
    assert short.name == f"{BASE}_el_id_p40_labeled.mp4" and probe(short).n_frames == 2
    assert np.abs(color_at(short, 1, (3, 90))).max() < 20  # black where nothing is drawn
    middle = color_at(short, 1, found.poses.xy[row, 0])
    assert middle[1] > 150  # the second of three individuals: the middle of the map
    config, _ = dlc_look(settings | {"pcutoff": 0.95}, what="detections")
    empty = render_dlc(blob_video, own, config=config)
    assert empty.name == f"{BASE}_full.mp4"
    assert color_at(empty, 60, found.poses.xy[row, 1])[1] > 150  # below pcutoff: the green tail itself
    config, _ = dlc_look(settings, what="detections")
    assert render_dlc(blob_video, own, config=config) == empty
    assert color_at(empty, 60, found.poses.xy[row, 1])[1] > 150  # there already, so not made again
    render_dlc(blob_video, own, config=config, overwrite=True)
    assert color_at(empty, 60, found.poses.xy[row, 1])[0] > 170
    with pytest.raises(InputError, match="head, tail"):
        render_dlc(blob_video, own, config=config, shown=Shown(keypoints=["fin"]), overwrite=True)


def test_filtered_tracks_have_their_own_files(blob_video, own):
    found = read_dlc_files(own, "tracks")
    smooth = filter_tracks(found.table, method="median", window=5)
    path = dlc_file(own, "tracks", filtered=True)
    write_tracks(
        path, smooth, skeleton=found.skeleton, names=found.names, scorer=found.scorer, unique=found.unique,
        key="df_with_missing",
    )  # fmt: skip
    assert path.name == f"{BASE}_el_filtered.h5" and check_path(path)["kind"] == "filtered tracks of a video"
    assert len(read_dlc_files(own, "tracks", filtered=True).table) == len(found.table)
    name = labeled_name(own, color_by="keypoint", pcutoff=0.6, filtered=True).name
    assert name == f"{BASE}_el_filtered_bp_p60_labeled.mp4"
    pictures = plot_trajectories(path, own.parent / "plot-poses" / "three", suffix="_filtered", individuals=["a"])
    assert [p.name for p in pictures] == [
        f"{k}_filtereda.png" for k in ("trajectory", "plot", "plot-likelihood", "hist")
    ]
    for picture in pictures:
        assert cv2.imread(str(picture)).std() > 5


def test_check_says_what_every_file_is(run, base, blob_video):
    kinds = {path.name.removeprefix(BASE): check_path(path)["kind"] for path in base.parent.iterdir()}
    assert kinds == {
        "_full.pickle": "detections (_full)", "_meta.pickle": "analysis description (_meta)",
        "_assemblies.pickle": "assembled animals (_assemblies)", "_el.pickle": "tracklets (_el, _bx, _sk)",
        ".h5": "poses of a video, not tracked", ".csv": "poses of a video, not tracked",
        "_el.h5": "tracks of a video", "_el.csv": "tracks of a video",
    }  # fmt: skip
    assert check_path(dlc_file(base, "full"))["assembled"]
    assert check_path(run)["kind"] == "run folder" and check_path(blob_video)["frames"] == 300
    table = next((run / "poses").iterdir())
    assert check_path(table)["kind"] == "table Poses of a run folder"


def test_a_dlc_snapshot_keeps_its_scorer_when_its_own_tables_are_read(blobs, blob_video, tmp_path):
    engine = blobs.engine()
    scorer = "DLC_Resnet50_projNov22shuffle1_snapshot_200"
    named = replace(engine, card=replace(engine.card, name=scorer))
    run_dir = analyze(blob_video, named, config=blobs.config(), dest=tmp_path)
    write_dlc_files(run_dir, base=f"three{scorer}", dest=tmp_path)
    assert read_dlc_files(tmp_path / f"three{scorer}", run_dir=run_dir).scorer == scorer
    assert read_dlc_files(tmp_path / f"three{scorer}").scorer == scorer


def test_long_videos_get_a_hint_about_pickles(run, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("shoal.run.dlc_files.PICKLE_FRAMES", 299)
    write_dlc_files(run, base=BASE, dest=tmp_path, what=("poses", "tracks", "meta"))
    assert "pickles" not in caplog.text
    write_dlc_files(run, base=BASE, dest=tmp_path, what=("tracklets",))
    assert "pickles of 300 frames are made in memory as a whole" in caplog.text


def test_what_killed_exports_left_is_removed(run, tmp_path):
    left, other = tmp_path / f".{BASE}_el.77.partial.h5", tmp_path / ".another_el.77.partial.h5"
    for path in (left, other):
        path.touch()
    write_dlc_files(run, base=BASE, dest=tmp_path, what=("tracks",))
    assert not left.exists() and other.exists()


def test_meta_is_read_once_however_many_tables_are_moved(own, monkeypatch):
    meta = Path(f"{own}_meta.pickle")
    write_meta(meta, replace(read_meta(meta), cropping=(10, 160, 20, 96)))
    read: list[Path] = []
    monkeypatch.setattr("shoal.run.dlc_files.read_meta", lambda path: (read.append(path), read_meta(path))[1])
    before = read_dlc_files(own, "tracklets").table
    assert isinstance(before, Tracks)
    read.clear()
    stitch_dlc_files(own, config=StitchConfig(n_animals=3, count="exact"))
    assert read == [meta]
    after = read_dlc_files(own, "tracks").table
    assert isinstance(after, Tracks)
    assert sorted(xy.tobytes() for xy in after.poses.xy) == sorted(xy.tobytes() for xy in before.poses.xy)
