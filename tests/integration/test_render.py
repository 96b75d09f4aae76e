"""Labelled videos and clips of a run, with a stand-in for the network."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from shoal.errors import InputError
from shoal.io.artifacts import load_table, save_table
from shoal.io.overlay import PALETTE
from shoal.io.video import VideoInfo, VideoWriter, probe, read_images
from shoal.run import dlc_render
from shoal.run import render as rendering
from shoal.run.clips import Clips, render_clips
from shoal.run.dlc_files import write_dlc_files
from shoal.run.folder import read_config, read_tracks
from shoal.types import DECISION_KINDS, Decisions


@pytest.fixture
def doubtful(blob_run, tmp_path) -> Path:
    """The run with three decisions: a close one, one that is clear, and one of the same moment as the first."""
    run_dir = shutil.copytree(blob_run, tmp_path / blob_run.name)
    kind = [DECISION_KINDS.index(k) for k in ("join", "cut", "cut")]
    table = Decisions(
        kind, [60, 150, 155], [0, 1, 1], [0, 1, 1], [3, 0, 0], [1, 1, 1], [0.9, 0.02, 0.01], [np.nan] * 3,
        [4, 3, 3], (0, 300),
    )  # fmt: skip
    save_table(run_dir / "decisions.npz", table)
    return run_dir


def images(video: Path) -> list[np.ndarray]:
    return [image for _, image in read_images(probe(video))]


def test_clips_are_named_by_their_frames(blob_run, tmp_path):
    seen = []
    files = render_clips(
        blob_run, Clips("100, 8s,0:00:00", around_s=0.4), dest=tmp_path, on_progress=lambda *got: seen.append(got)
    )
    assert [f.name for f in files] == [f"three_{a:03}-{b:03}_labeled.mp4" for a, b in ((90, 110), (190, 210), (0, 10))]
    assert [probe(f).n_frames for f in files] == [21, 21, 11]
    assert seen[-1] == ("render", 53, 53) and [done for _, done, _ in seen] == list(range(1, 54))
    clock = images(files[0])[0][4:24, 4:120].astype(int)
    assert (clock.min(axis=2) > 200).sum() > 50, "frame number and time are burned in"


def test_worst_moments_show_why_and_where(doubtful, tmp_path):
    assert load_table(doubtful / "decisions.npz", Decisions).frame.tolist() == [60, 150, 155]
    files = render_clips(doubtful, Clips("worst:5", around_s=0.2), dest=tmp_path)
    assert [f.name for f in files] == ["three_150-160_labeled.mp4", "three_055-065_labeled.mp4"]
    plain = render_clips(doubtful, Clips("155", around_s=0.2), dest=tmp_path / "plain")
    marked, bare = (images(f)[5].astype(int) for f in (files[0], *plain))
    tracklets = read_tracks(doubtful, kind="tracklets", start=155, stop=156)
    row = np.flatnonzero((tracklets.poses.frame == 155) & (tracklets.track == 1))[0]
    x, y = tracklets.poses.xy[row].mean(axis=0).astype(int)
    yy, xx = np.mgrid[:96, :160]
    near = np.hypot(xx - x, yy - y) < 30
    changed = np.abs(marked - bare).max(axis=2) > 40
    assert (changed & near).sum() > 40, "a ring around the animal in question"
    assert changed[:40, :100].any(), "what was decided"
    assert not changed[(yy > 55) & ~near].any()


def test_joined_clips_are_one_file_in_order_of_time(doubtful, tmp_path):
    (file,) = render_clips(doubtful, Clips("worst,157", around_s=0.2, is_joined=True), dest=tmp_path)
    assert file.name == "three_clips_labeled.mp4" and probe(file).n_frames == 11 + 13


@pytest.mark.parametrize("at", ["soon", "1:2:3:4", "300", "12s", "0:00:12", "worst:0", "worst:x", " , ", "-3"])
def test_moments_that_are_none_are_refused(blob_run, tmp_path, at):
    with pytest.raises(InputError, match="expected"):
        render_clips(blob_run, Clips(at), dest=tmp_path)
    assert not list(tmp_path.iterdir())


def test_clips_far_apart_do_not_decode_what_lies_between(blob_run, tmp_path, monkeypatch):
    asked = []

    def decode(info: VideoInfo, *, start: int = 0, stop: int | None = None):
        asked.append((start, stop))
        yield from original(info, start=start, stop=stop)

    original = rendering.decode
    monkeypatch.setattr(rendering, "decode", decode)
    monkeypatch.setattr(rendering, "JUMP", 50)
    (file,) = render_clips(blob_run, Clips("20,200,230", around_s=0.2, is_joined=True), dest=tmp_path)
    assert asked == [(15, 26), (195, 236)] and probe(file).n_frames == 33


def test_windows_and_blocks_do_not_change_the_picture(blob_run, blob_video, tmp_path, monkeypatch):
    look = read_config(blob_run).render.model_copy(update={"preset": "ultrafast", "crf": 0})
    files = write_dlc_files(blob_run, dest=tmp_path, what=("meta", "tracks"))
    base = files[0].with_name(files[0].name.removesuffix("_meta.pickle"))
    shown = dlc_render.Shown(only=range(90, 210))
    whole = rendering.render(blob_run, config=look, dest=tmp_path / "whole", frames=(40, 110))
    table = dlc_render.render_dlc(blob_video, base, config=look, shown=shown).rename(tmp_path / "table.mp4")
    reads = []

    def read(*args, **keywords):
        reads.append(keywords["frames"])
        return original(*args, **keywords)

    original = dlc_render.read_dlc_files
    monkeypatch.setattr(dlc_render, "read_dlc_files", read)
    monkeypatch.setattr(dlc_render, "BLOCK", 100)
    monkeypatch.setattr(rendering, "WINDOW", 50)
    parted = rendering.render(blob_run, config=look, dest=tmp_path / "parts", frames=(40, 110))
    table_parts = dlc_render.render_dlc(blob_video, base, config=look, shown=shown)
    assert parted.read_bytes() == whole.read_bytes()
    assert table_parts.read_bytes() == table.read_bytes()
    assert reads == [(0, 100), (100 - look.trail, 200), (200 - look.trail, 300)]
    colors = np.array(PALETTE[:3])
    frame = images(whole)[35].astype(int)
    assert all((np.abs(frame - color).max(axis=2) < 45).any() for color in colors)


def test_windows_are_made_when_they_are_needed():
    made = []

    def make(span):
        made.append(span)
        return [lambda canvas, frame: None]

    draw = rendering.by_windows(make)
    for frame in (0, 5, 255, 256, 300, 3, 700):
        draw(None, frame)
    assert made == [(0, 256), (256, 512), (0, 256), (512, 768)], "one is held at a time"


def test_videos_of_odd_size_are_drawn(blobs, tmp_path):
    from shoal.run.steps import analyze

    with VideoWriter(tmp_path / "odd.mp4", fps=25, crf=10) as writer:
        for image in images(blobs.make_video(tmp_path / "even.mp4", 12)):
            writer.write(image[:95, :159])
    run_dir = analyze(tmp_path / "odd.mp4", blobs.engine(), config=blobs.config())
    assert probe(rendering.render(run_dir)).n_frames == 12
