from __future__ import annotations

import json

import numpy as np
import pytest

from shoal.config.run import load_config
from shoal.errors import InputError
from shoal.io.artifacts import load_table, read_entry, save_table, write_json
from shoal.io.dlc.results import read_tracks
from shoal.run.dlc_files import write_dlc_files
from shoal.run.folder import (
    ModelCard,
    TrackColumn,
    each_span,
    read_animals,
    read_info,
    table_path,
    write_card,
    write_config,
)
from shoal.run.kinds import classify_run, stitch_kinds, track_prints
from shoal.run.steps import export
from shoal.stages.classify import ANIMAL, REFLECTION
from shoal.stages.smooth import Smoothed
from shoal.stages.stitch import relabel, solve
from shoal.types import Skeleton

SKELETON = Skeleton(("nose", "left", "right", "spine", "tail"), mirror=np.array([0, 2, 1, 3, 4]))


@pytest.fixture
def make_run(glass, tmp_path):
    """A run of three fish and their images, tracked; tracklets are whole."""
    fish = glass.swimmers(n=3)
    tracks = glass.as_tracks(fish, glass.near_wall(glass.mirrored(fish, 0.0, 420.0), fish, reach=900))
    span = tracks.span
    (tmp_path / "manifest").mkdir()
    for kind in ("poses", "tracklets", "tracks"):
        (tmp_path / kind).mkdir()
    write_json(tmp_path / "video.json", {"fps": "30", "path": "fish.mp4", "n_frames": span[1]})
    write_json(tmp_path / "plan.json", {"n_frames": span[1], "chunk_frames": 4096})
    write_card(tmp_path, ModelCard("pose", "", SKELETON, np.zeros((0, 2)), ("ann", "bob", "cid", "dan", "eve")))
    save_table(table_path(tmp_path, "poses", span), tracks.poses)
    save_table(table_path(tmp_path, "tracklets", span), TrackColumn(tracks.track, span))

    def run(*overrides):
        config = load_config(overrides=overrides)
        write_config(tmp_path, config)
        linked, known, *_ = track_prints(config, "assembled")
        classify_run(tmp_path, config, known, linked)
        number, _ = stitch_kinds(
            tmp_path, config, lambda: each_span(tmp_path, kind="tracklets"), lambda p, c: solve(p, None, c)
        )
        save_table(table_path(tmp_path, "tracks", span), TrackColumn(relabel(tracks, number).track, span))
        return tmp_path, tracks.track >= 3

    return run


def test_marked_reflections_are_tracked_but_have_no_name(make_run):
    run_dir, image = make_run("classify.reflections=mark")
    named = read_animals(run_dir)
    assert (named.track[~image] >= 0).all() and (named.track[image] < 0).all() and named.n_tracks == 3
    info = read_info(run_dir)
    assert info.kind.tolist() == [ANIMAL] * 3 + [REFLECTION] * 3
    entry = read_entry(run_dir, "classify")
    assert entry is not None and entry["counts"]["mirrors"] == 1 and entry["counts"]["reflection"] == image.sum()
    (wall,) = json.loads((run_dir / "mirrors.json").read_text())
    assert abs(wall["offset"] - 420) < 3 and wall["normal"][0] > 0.99


def test_kept_reflections_are_named_and_dropped_ones_in_no_track(make_run):
    run_dir, image = make_run("classify.reflections=keep")
    assert read_animals(run_dir).n_tracks == 6
    run_dir, image = make_run("classify.reflections=drop")
    assert (read_animals(run_dir).track[image] < 0).all() and len(read_info(run_dir).kind) == 3


def test_a_count_that_includes_reflections_does_not_cut_fish_to_pieces(make_run):
    run_dir, _ = make_run("stitch.n_animals=6", "stitch.count=exact")
    assert read_animals(run_dir).n_tracks == 3  # a fish each, not six


@pytest.mark.parametrize(("asked", "columns"), [(0, 6), (3, 3), (5, 5)])
def test_dlc_files_have_the_count_asked_for_and_say_which_are_reflections(make_run, asked, columns, tmp_path):
    run_dir, _ = make_run(*([f"stitch.n_animals={asked}", "stitch.count=at-most"] if asked else []))
    files = {path.name: path for path in write_dlc_files(run_dir, what=("tracks",), dest=tmp_path / "out", csv=True)}
    tracks, names = read_tracks(files["fish_el.h5"])
    assert len(np.unique(tracks.track)) == columns
    if columns == 3:
        assert set(files) == {"fish_el.h5", "fish_el.csv"}  # nothing but animals in it
        return
    kinds = json.loads(files["fish_el_kinds.json"].read_text())
    assert [kinds[name]["kind"] for name in names[:columns]] == ["animal"] * 3 + ["reflection"] * (columns - 3)
    assert kinds["dan"]["probability"] > 0.9
    dropped = write_dlc_files(run_dir, what=("tracks",), dest=tmp_path / "less", reflections="drop")
    assert len(np.unique(read_tracks(dropped[0])[0].track)) == 3 and len(dropped) == 1
    assert len(write_dlc_files(run_dir, what=("tracks",), dest=tmp_path / "all", reflections="keep")) == 1


def test_smoothed_tracks_are_a_file_of_their_own(make_run, tmp_path):
    run_dir, image = make_run()
    files = export(run_dir, dest=tmp_path / "out", smooth=True)
    (file,) = (path for path in files if path.name.endswith("_el_smoothed.h5"))
    smoothed, raw = read_tracks(file)[0], read_animals(run_dir)
    assert len(np.unique(smoothed.track)) == 3 and len(smoothed) == (~image).sum()  # animals only
    off = np.linalg.norm(smoothed.poses.xy - raw.poses.xy[raw.track >= 0], axis=-1)
    assert 0 < np.nanmedian(off) < 5
    found = load_table(table_path(run_dir, "smooth", raw.span), Smoothed)
    assert found.sd.shape == smoothed.poses.xy.shape[:2] and np.isfinite(found.sd).all()


def test_export_refuses_a_fourth_way(make_run):
    with pytest.raises(InputError, match="keep, mark, drop, got 'hide'"):
        export(make_run()[0], reflections="hide")
