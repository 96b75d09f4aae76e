"""Appearance of a run folder."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shoal.config.run import load_config
from shoal.io.artifacts import is_done, read_entry, save_table, write_json
from shoal.io.video import probe
from shoal.run.crops import each_crops, joined_crops
from shoal.run.folder import TrackColumn, table_path, write_config, write_video
from shoal.run.reid import read_evidence, reid_print, reid_run
from shoal.stages.evidence import log_odds
from shoal.synthetic.dataset import make_video
from shoal.synthetic.scenes import SCENES
from shoal.synthetic.truth import truth_of, visible_tracks
from shoal.types import Crops, Poses, Tracks, select

N_FRAMES = 72
CONFIG = (
    "reid.use=true",
    "stitch.n_animals=3",
    "stitch.count=exact",
    "reid.height=20",
    "reid.width=40",
    "compute.threads=1",
)


@pytest.fixture(scope="module")
def swimmers(tmp_path_factory):
    """A video of three fish and their true poses; each fish's tracklet is cut in two."""
    demo = SCENES["demo"]
    scene = replace(
        demo, name="tank", width=320, height=240, n_fish=3, margins=(8.0,) * 4, mirrors=(), shelter=None, megabit_s=1.0,
        skin=replace(demo.skin, body_px=(48.0, 60.0)),
    )  # fmt: skip
    video = tmp_path_factory.mktemp("tank") / "fish.mp4"
    make_video(scene, video, seed=5, n_frames=N_FRAMES)
    tracks = visible_tracks(truth_of(video))
    return video, Tracks(tracks.poses, tracks.track + 3 * (tracks.poses.frame >= 40))


def make_run(folder: Path, swimmers, spans, *overrides):
    video, tracklets = swimmers
    folder.mkdir()
    write_video(folder, probe(video), [])
    write_json(folder / "plan.json", {"n_frames": N_FRAMES, "chunk_frames": 64, "ends": [b for _, b in spans]})
    for kind in ("poses", "tracklets", "manifest", "crops"):
        (folder / kind).mkdir()
    for span in spans:
        part = select(tracklets, (tracklets.poses.frame >= span[0]) & (tracklets.poses.frame < span[1]))
        save_table(table_path(folder, "poses", span), replace(part.poses, span=span))
        save_table(table_path(folder, "tracklets", span), TrackColumn(part.track, span))
    config = load_config(overrides=[*CONFIG, *overrides])
    write_config(folder, config)
    reid_run(folder, config, reid_print(config, "linked"), "linked")
    return folder, config


def all_crops(folder: Path) -> Crops:
    return joined_crops(list(each_crops(folder)), (0, N_FRAMES))


def test_a_run_has_crops_and_evidence(swimmers, tmp_path):
    folder, config = make_run(tmp_path / "a", swimmers, [(0, N_FRAMES)])
    assert is_done(folder, "reid", reid_print(config, "linked"))
    crops = all_crops(folder)
    assert (crops.frame % config.reid.every == 0).all() and 40 < len(crops) <= 3 * N_FRAMES / 2
    assert 0.2 < (crops.image > 0).mean() < 0.8
    evidence = read_evidence(folder, config)
    assert evidence is not None and (evidence.weight[:6] > 0).all()
    assert (log_odds(evidence, np.arange(3), np.arange(3, 6)) > 3).all(), "the second half of each fish's track"
    entry = read_entry(folder, "reid")
    assert entry is not None and entry["counts"]["crops"] == len(crops)
    assert read_evidence(folder, load_config()) is None, "not used"


def test_chunks_make_no_difference(swimmers, tmp_path):
    whole, _ = make_run(tmp_path / "whole", swimmers, [(0, N_FRAMES)])
    parts, _ = make_run(tmp_path / "parts", swimmers, [(0, 20), (20, 64), (64, N_FRAMES)])
    np.testing.assert_array_equal(all_crops(whole).image, all_crops(parts).image)
    assert (whole / "evidence.npz").read_bytes() == (parts / "evidence.npz").read_bytes()


def test_crops_are_limited_and_every_tracklet_keeps_some(swimmers, tmp_path):
    folder, config = make_run(tmp_path / "few", swimmers, [(0, N_FRAMES)], "reid.max_crops=54")
    evidence, entry = read_evidence(folder, config), read_entry(folder, "reid")
    assert (
        entry is not None
        and 40 < entry["counts"]["crops"] <= 54
        and evidence is not None
        and (evidence.weight[:6] > 0).all()
    )


def test_a_run_without_animals_has_no_evidence(swimmers, tmp_path):
    video, _ = swimmers
    empty = Tracks(Poses.empty((0, N_FRAMES), 9), np.zeros(0))
    folder, config = make_run(tmp_path / "empty", (video, empty), [(0, N_FRAMES)])
    assert read_evidence(folder, config) is None and is_done(folder, "reid", reid_print(config, "linked"))


def test_one_animal_has_no_evidence(swimmers, tmp_path):
    video, tracklets = swimmers
    alone = select(tracklets, tracklets.track % 3 == 0)
    folder, config = make_run(tmp_path / "one", (video, alone), [(0, N_FRAMES)])
    assert read_evidence(folder, config) is None
