"""Two processes that look for a folder at the same moment."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np

from shoal.io.video import VideoWriter, probe
from shoal.run.folder import claim_folder, find_folder, open_folder


def make_video(path: Path, n_frames: int) -> Path:
    path.parent.mkdir(parents=True)
    with VideoWriter(path, fps=10, preset="ultrafast") as writer:
        for i in range(n_frames):
            writer.write(np.full((16, 16, 3), 10 * i, np.uint8))
    return path


def claim(video: Path, dest: Path, start) -> str:
    start.wait()
    return claim_folder(probe(video), dest).name


def test_processes_that_look_for_one_folder_at_once_do_not_share_it(tmp_path):
    videos = [make_video(tmp_path / name / "clip.mp4", n) for name, n in (("a", 3), ("b", 5))]
    names = {"clip.shoal", *(f"clip-{probe(video).identity[:8]}.shoal" for video in videos)}
    spawn = multiprocessing.get_context("spawn")
    with spawn.Manager() as manager, spawn.Pool(3) as pool:
        for i in range(10):
            start, dest = manager.Barrier(3), tmp_path / str(i)
            jobs = [pool.apply_async(claim, (video, dest, start)) for video in (*videos, videos[0])]
            got = [job.get(60) for job in jobs]
            assert got[0] == got[2] != got[1] and set(got) < names and "clip.shoal" in got
            assert [open_folder(dest / name)["identity"] for name in got[:2]] == [probe(v).identity for v in videos]
            assert not list(dest.rglob(".*"))


def test_a_damaged_description_is_written_again(tmp_path):
    info = probe(make_video(tmp_path / "a" / "clip.mp4", 3))
    folder = find_folder(info, tmp_path)
    folder.mkdir()
    (folder / "video.json").write_text("{")
    assert claim_folder(info, tmp_path) == folder and open_folder(folder)["identity"] == info.identity


def test_file_systems_without_links_do_too(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError

    info = probe(make_video(tmp_path / "a" / "clip.mp4", 3))
    monkeypatch.setattr("shoal.io.artifacts.os.link", refuse)
    folder = claim_folder(info, tmp_path)
    assert open_folder(folder)["identity"] == info.identity and [p.name for p in folder.iterdir()] == ["video.json"]
