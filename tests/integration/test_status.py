"""shoal status: done, running, missing, and how long the rest takes."""

from __future__ import annotations

import json
import os
import shutil
import sys

import pytest

from shoal.cli import app
from shoal.io.artifacts import entry_path, read_json, write_json
from shoal.run.running import working
from shoal.run.status import status, total
from shoal.run.steps import track


@pytest.fixture
def run(blob_run, tmp_path):
    return shutil.copytree(blob_run, tmp_path / blob_run.name)


def lose(run_dir, *spans):
    for span in spans:
        entry_path(run_dir, "assemble", span).unlink()
        entry_path(run_dir, "predict", span).unlink()


def timed(run_dir, seconds):
    """As if every chunk had taken so long."""
    for path in (run_dir / "manifest").glob("predict-*"):
        write_json(path, read_json(path) | {"seconds": seconds})


def test_a_run_with_parts_missing(run):
    lose(run, (64, 128), (250, 300))
    timed(run, 6.4)
    (row,) = status([run])
    assert (row["state"], row["chunks"], row["chunks_done"]) == ("unfinished", 5, 3)
    assert (row["frames_done"], row["missing"]) == (186, [[64, 128], [250, 300]])
    assert row["seconds_left"] == pytest.approx(11.8) and "tracks" not in row
    assert row["running"] == [] and row["died"] == 0


def test_who_works_on_it(run):
    with working(run, "analyze"):
        (row,) = status([run])
    assert [(w["stage"], w["pid"]) for w in row["running"]] == [("analyze", os.getpid())]
    write_json(run / "running" / "x.json", {"stage": "analyze", "host": "y", "pid": 1, "began": 0})
    os.utime(run / "running" / "x.json", (0, 0))
    (row,) = status([run])
    assert (row["running"], row["died"]) == ([], 1)


def test_tracks_of_other_settings_count_as_missing(run, blobs):
    assert status([run])[0]["state"] == "tracked"
    entry_path(run, "stitch").unlink()
    assert status([run])[0]["state"] == "analyzed"
    track(run)
    path = run / "run.yaml"
    path.write_text(path.read_text().replace("max_age: 3", "max_age: 4"))
    assert status([run])[0]["state"] == "analyzed"


def test_several_runs_and_their_sum(run, tmp_path, monkeypatch, capsys):
    half = shutil.copytree(run, tmp_path / "deep" / "er" / "half.shoal")
    fresh = shutil.copytree(run, tmp_path / "fresh.shoal")
    broken = shutil.copytree(run, tmp_path / "broken.shoal")
    (broken / "plan.json").unlink()
    for run_dir in (run, half):
        timed(run_dir, 6.0)
    lose(half, (0, 64))
    lose(fresh, (0, 64), (64, 128), (128, 192), (192, 250), (250, 300))
    rows = {row["run"]: row for row in status([tmp_path, run])}
    assert [rows[str(r)]["state"] for r in (run, half, fresh, broken)] == ["tracked", *["unfinished"] * 2, "damaged"]
    assert rows[str(fresh)]["seconds_left"] is None
    whole = [rows[str(r)] for r in (run, half, fresh)]
    sums = total(whole)
    assert (sums["runs"], sums["frames"], sums["frames_done"], sums["chunks_done"]) == (3, 900, 536, 9)
    pace = (30.0 + 24.0) / (300 + 236)
    assert sums["seconds_left"] == pytest.approx(64 * 24 / 236 + 300 * pace, abs=0.2)
    assert total([rows[str(fresh)]])["seconds_left"] is None

    monkeypatch.setattr(sys, "argv", ["shoal", "status", str(tmp_path)])
    with pytest.raises(SystemExit, match="0"):
        app.main()
    text = capsys.readouterr().out
    assert "missing: frames 0-64" in text and "damaged: expected a file of a run folder" in text
    assert "4 runs: " in text and "2 unfinished" in text and "536/1200" in text
    monkeypatch.setattr(sys, "argv", ["shoal", "status", str(tmp_path), "--json"])
    with pytest.raises(SystemExit, match="0"):
        app.main()
    assert json.loads(capsys.readouterr().out)["total"]["states"] == {"damaged": 1, "unfinished": 2, "tracked": 1}


def test_videos_that_nobody_has_begun(blobs, run, tmp_path, monkeypatch, capsys):
    """Runs say nothing of the videos beside them, and those were not listed."""
    project, elsewhere = tmp_path / "project", tmp_path / "elsewhere"
    (project / "videos").mkdir(parents=True)
    elsewhere.mkdir()
    analyzed, waiting = project / "videos" / "three.mp4", elsewhere / "waiting.mp4"
    write_json(run / "video.json", read_json(run / "video.json") | {"path": str(analyzed)})
    run.rename(project / "videos" / run.name)
    blobs.make_video(analyzed, 4)
    blobs.make_video(waiting, 100)
    (project / "videos" / "broken.mp4").write_bytes(b"no video")
    sets = "".join(f"  {video}:\n    crop: 0, 9, 0, 9\n" for video in (analyzed, waiting, "/gone/lost.mp4"))
    (project / "config.yaml").write_text(f"Task: t\nscorer: s\nbodyparts: [a]\nvideo_sets:\n{sets}")
    rows = {row["run"].rpartition("/")[2]: row for row in status([project])}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {
        "three.shoal": "tracked", "waiting.mp4": "not begun", "broken.mp4": "damaged", "lost.mp4": "no file"
    }  # fmt: skip
    assert (rows["waiting.mp4"]["frames"], rows["waiting.mp4"]["seconds_left"]) == (100, None)
    timed(project / "videos" / "three.shoal", 6.0)
    assert total(status([project / "config.yaml"]))["seconds_left"] == pytest.approx(100 * 30 / 300)
    assert [row["state"] for row in status([waiting])] == ["not begun"]
    folder = status([project / "videos", elsewhere])
    assert [row["state"] for row in folder] == ["tracked", "damaged", "not begun"]
    monkeypatch.setattr(sys, "argv", ["shoal", "status", str(project)])
    with pytest.raises(SystemExit, match="0"):
        app.main()
    text = capsys.readouterr().out
    assert "0/100" in text and "1 not begun" in text and "0:10" in text
