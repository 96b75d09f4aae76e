"""The stream from video to tracks: resumable, and the same whatever the chunks, batches and kills."""

from __future__ import annotations

import dataclasses
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from shoal.errors import ArtifactError, InputError, Stopped
from shoal.io import decoding
from shoal.io.artifacts import load_table, read_entry, save_table
from shoal.io.dlc.results import read_tracks as read_dlc_tracks
from shoal.io.video import VideoWriter, probe
from shoal.run import dlc_files
from shoal.run.folder import open_folder, read_animals, read_spans, read_tracks
from shoal.run.render import render
from shoal.run.status import status
from shoal.run.steps import analyze, export, track
from shoal.types import Appearance, Decisions, Detections, Poses

TABLES = {"detections": Detections, "poses": Poses, "unique": Poses, "appearance": Appearance}


def whole_tables(run_dir: Path, into: Path) -> dict[str, bytes]:
    """Every table of a run, concatenated and saved: comparable between chunk sizes."""
    tables = {name: read_spans(run_dir, name, kind) for name, kind in TABLES.items()}
    tables |= {"tracks": read_tracks(run_dir), "tracklets": read_tracks(run_dir, kind="tracklets")}
    tables["decisions"] = load_table(run_dir / "decisions.npz", Decisions)
    found = {}
    for name, table in tables.items():
        save_table(into / f"{name}.npz", table)
        found[name] = (into / f"{name}.npz").read_bytes()
    return found


def files_of(run_dir: Path) -> dict[str, bytes]:
    """All files but the manifest, which tells the time taken."""
    return {
        str(path.relative_to(run_dir)): path.read_bytes()
        for path in sorted(run_dir.rglob("*"))
        if path.is_file() and path.parent.name != "manifest"
    }


def without_seconds(run_dir: Path) -> dict[str, dict]:
    entries = {}
    for path in sorted((run_dir / "manifest").iterdir()):
        name = path.stem.split("-")
        entry = read_entry(run_dir, name[0], (int(name[1]), int(name[2])) if len(name) > 1 else None)
        assert entry is not None
        entries[path.name] = {key: value for key, value in entry.items() if key != "seconds"}
    return entries


def test_tracks_are_the_truth(blobs, blob_run):
    tracks = read_tracks(blob_run)
    assert tracks.span == (0, 300) and tracks.n_tracks == 3
    truth = blobs.positions(300, 3)
    for number in range(3):
        rows = tracks.track == number
        assert rows.sum() >= 295
        frames = tracks.poses.frame[rows]
        distance = np.linalg.norm(truth[frames] - tracks.poses.xy[rows][:, None], axis=-1).mean(axis=2)
        owner = distance.argmin(axis=1)
        assert (owner == owner[0]).all() and distance.min(axis=1).max() < 2
    lamp = read_spans(blob_run, "unique", Poses)
    assert lamp.frame.tolist() == [f for f in range(300) if f // 50 % 2 == 0]


@pytest.mark.parametrize(("chunk", "batch"), [(64, 1), (128, 3), (4096, 8), (128, 7)])
def test_chunks_and_batches_do_not_matter(blobs, blob_video, blob_run, tmp_path, chunk, batch):
    config = blobs.config(f"predict.chunk_frames={chunk}", f"predict.batch_size={batch}")
    run_dir = analyze(blob_video, blobs.engine(), config=config, dest=tmp_path / "dest")
    assert len(list((run_dir / "poses").iterdir())) == -(-300 // chunk)
    assert whole_tables(run_dir, tmp_path / "a") == whole_tables(blob_run, tmp_path / "b")


def test_nothing_matters_to_the_tables_of_a_damaged_video(blobs, tmp_path, monkeypatch):
    """A decoder's guess at damaged data depended on its threads and on where it began."""
    film = runpy.run_path(str(Path(__file__).parents[1] / "unit" / "io" / "numbered.py"))
    video = film["damage"](blobs.make_video(tmp_path / "bad.mp4", 300), (40, 120, 250, 270))

    def tables(name: str, *settings: str, threads: int = 1) -> dict[str, bytes]:
        monkeypatch.setattr(decoding, "DECODE_THREADS", threads)
        run_dir = analyze(video, blobs.engine(), config=blobs.config(*settings), dest=tmp_path / name)
        (tmp_path / f"{name}-tables").mkdir()
        return whole_tables(run_dir, tmp_path / f"{name}-tables")

    plain = tables("plain", "predict.chunk_frames=512")
    assert tables("a", "predict.chunk_frames=64", "predict.batch_size=3", "compute.decode_workers=2") == plain
    assert tables("b", "predict.chunk_frames=128", "predict.batch_size=1", threads=4) == plain
    run_dir = tmp_path / "a" / "bad.shoal"
    lost = list(run_dir.glob("manifest/*-000000192-*.json"))  # so that it goes on in the middle
    assert len(lost) == 2
    for path in lost:
        path.unlink()
    shutil.rmtree(tmp_path / "a-tables")
    assert tables("a", "predict.batch_size=5", threads=2) == plain


def test_kill_and_resume_give_identical_files(blobs, blob_video, blob_run, tmp_path):
    command = [sys.executable, blobs.__file__, str(blob_video), str(tmp_path), "64"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    run_dir = tmp_path / "three.shoal"
    for wanted in (1, 2):
        process = subprocess.Popen([*command, "0.004"], env=environment)
        deadline = time.monotonic() + 60
        while len(list(run_dir.glob("manifest/assemble-*"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.13)  # somewhere in the next chunk
        process.kill()
        process.wait()
        done = len(list(run_dir.glob("manifest/assemble-*")))
        assert wanted <= done < 5, "killed too late to prove anything"
    (run_dir / "poses" / ".000000128.1.partial.npz").touch()  # as a kill in mid-write leaves it
    analyze(blob_video, blobs.engine(), config=blobs.config("predict.chunk_frames=64"), dest=tmp_path)
    assert files_of(run_dir) == files_of(blob_run)
    assert without_seconds(run_dir) == without_seconds(blob_run)


def test_stop_signal_finishes_the_chunk(blobs, blob_video, blob_run, tmp_path):
    seen = []
    stub = blobs.engine()

    def stopping(batch):
        seen.append(int(batch.frame[0]))
        if seen[-1] == 80:
            os.kill(os.getpid(), signal.SIGUSR1)
        return stub.detect(batch)

    config = blobs.config("predict.chunk_frames=64")
    with pytest.raises(Stopped, match="2 of 5 chunks") as stopped:
        analyze(blob_video, dataclasses.replace(stub, detect=stopping), config=config, dest=tmp_path)
    assert stopped.value.exit_code == 4 and stopped.value.signal_name == "SIGUSR1"
    assert max(seen) < 128 + 2 * 8  # what was under way by then
    assert status([tmp_path])[0]["state"] == "unfinished"
    with pytest.raises(ArtifactError, match="3 are missing"):
        track(tmp_path / "three.shoal")
    run_dir = analyze(blob_video, stub, config=config, dest=tmp_path)
    assert files_of(run_dir) == files_of(blob_run)


def test_nothing_is_done_twice(blobs, blob_video, blob_run, tmp_path):
    run_dir = tmp_path / blob_run.name
    shutil.copytree(blob_run, run_dir)

    def refuse(batch):
        raise AssertionError("the network ran again")

    before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.npz")}
    engine = dataclasses.replace(blobs.engine(), detect=refuse)
    analyze(blob_video, engine, config=blobs.config("predict.chunk_frames=64"), dest=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.npz")} == before


def test_only_what_a_setting_touches_runs_again(blobs, blob_run, tmp_path):
    run_dir = tmp_path / blob_run.name
    shutil.copytree(blob_run, run_dir)

    def changed_by(*overrides: str) -> set[str]:
        before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.npz")}
        track(run_dir, blobs.config("predict.chunk_frames=64", *overrides))
        after = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*.npz")}
        return {path.parent.name for path in after if after[path] != before.get(path)}

    assert changed_by() == set()
    assert changed_by("stitch.max_gap=7") == {"tracks", run_dir.name}
    assert changed_by("stitch.max_gap=7", "associate.max_age=2") == {"tracks", "tracklets", run_dir.name}
    assert "poses" in changed_by("assemble.min_affinity=0.3") and not list((run_dir / "appearance").iterdir())


def test_another_network_makes_everything_again(blobs, blob_video, blob_run, tmp_path, caplog):
    run_dir = tmp_path / blob_run.name
    shutil.copytree(blob_run, run_dir)
    stub, batches = blobs.engine(), []

    def counting(batch):
        batches.append(len(batch.frame))
        return stub.detect(batch)

    engine = dataclasses.replace(stub, card=dataclasses.replace(stub.card, sha="1" * 64), detect=counting)
    analyze(blob_video, engine, config=blobs.config("predict.chunk_frames=64"), dest=tmp_path)
    assert sum(batches) == 300 and "5 chunks are of another network" in caplog.text
    assert (run_dir / "tracks" / "000000000-000000064.npz").read_bytes() == (
        blob_run / "tracks" / "000000000-000000064.npz"
    ).read_bytes()


def test_results_show_as_many_animals_as_there_are(blobs, blob_video, tmp_path, monkeypatch):
    config = blobs.config("stitch.n_animals=2", "stitch.count=exact")
    run_dir = analyze(blob_video, blobs.engine(), config=config, dest=tmp_path)
    assert read_tracks(run_dir).n_tracks > 2
    assert read_animals(run_dir).n_tracks == 2 and len(read_animals(run_dir)) == len(read_tracks(run_dir))
    exported, _ = read_dlc_tracks(export(run_dir)[1], blobs.SKELETON)
    assert exported.n_tracks == 2


def test_more_tracks_than_memory_holds_are_left_out(blobs, blob_run, monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(dlc_files, "EXPORT_BYTES", 300 * 2 * 3 * 8 * 2.5)
    run_dir = shutil.copytree(blob_run, tmp_path / blob_run.name)
    exported, _ = read_dlc_tracks(export(run_dir, dest=tmp_path)[1], blobs.SKELETON)
    assert exported.n_tracks == 2 and "2 longest are exported" in caplog.text


def test_another_video_of_the_same_name_gets_its_own_folder(blobs, blob_video, blob_run, tmp_path):
    config = blobs.config("predict.chunk_frames=64")
    first = analyze(blobs.make_video(tmp_path / "a" / "clip.mp4", 20), blobs.engine(), config=config, dest=tmp_path)
    other = blobs.make_video(tmp_path / "b" / "clip.mp4", 30)
    second = analyze(other, blobs.engine(), config=config, dest=tmp_path)
    assert first.name == "clip.shoal"
    assert second.name == f"clip-{probe(other).identity[:8]}.shoal"
    assert analyze(other, blobs.engine(), config=config, dest=tmp_path) == second


def edge_case(blobs, folder: Path, name: str) -> Path:
    n_frames, n_animals = {"no animals": (70, 0), "one frame": (1, 2), "one animal": (70, 1), "crowd": (70, 5)}[name]
    return blobs.make_video(folder / "case.mp4", n_frames, n_animals)


@pytest.mark.parametrize("name", ["no animals", "one frame", "one animal", "crowd"])
def test_edge_cases_pass_through_everything(blobs, tmp_path, name):
    video = edge_case(blobs, tmp_path, name)
    run_dir = analyze(video, blobs.engine(), config=blobs.config(), dest=tmp_path)
    tracks = read_tracks(run_dir)
    assert (
        tracks.n_tracks == {"no animals": 0, "one frame": 0, "one animal": 1, "crowd": 5}[name] or name == "one frame"
    )
    files = export(run_dir, csv=True)
    assert [f.name for f in files] == ["case.h5", "case_el.h5", "case.csv", "case_el.csv"]
    again, names = read_dlc_tracks(run_dir / "export" / "case_el.h5", blobs.SKELETON)
    assert names[:3] == ("a", "b", "c") and len(again) == (tracks.track >= 0).sum()
    for what in ("tracks", "detections"):
        config = blobs.config(f"render.what={what}", "render.preset=ultrafast").render
        movie = render(run_dir, config=config)
        assert probe(movie).n_frames == probe(video).n_frames
    assert status([run_dir])[0]["state"] == "tracked"


def test_unreadable_frames_stay_empty(blobs, tmp_path, monkeypatch):
    video = blobs.make_video(tmp_path / "gaps.mp4", 150)
    from shoal.io import video as reading

    decode = reading.decode

    def with_gaps(info, *, start=0, stop=None, threads=0):
        for number, frame in decode(info, start=start, stop=stop, threads=threads):
            if number not in (5, *range(60, 130), 149):
                yield number, frame

    monkeypatch.setattr(reading, "decode", with_gaps)
    monkeypatch.setattr("shoal.run.render.decode", with_gaps)
    run_dir = analyze(video, blobs.engine(), config=blobs.config("predict.chunk_frames=64"), dest=tmp_path)
    assert open_folder(run_dir)["bad_frames"] == [5, *range(60, 130), 149]
    poses = read_spans(run_dir, "poses", Poses)
    assert poses.span == (0, 150)
    assert set(poses.frame.tolist()) == set(range(150)) - {5, *range(60, 130), 149}
    assert probe(render(run_dir)).n_frames == 150 - 72


def test_render_a_part(blob_run, tmp_path):
    movie = render(blob_run, frames=(100, 130), dest=tmp_path)
    assert movie.name == "three_labeled.mp4" and probe(movie).n_frames == 30
    with pytest.raises(InputError, match="expected frames within 0-300"):
        render(blob_run, frames=(300, 310), dest=tmp_path)


def test_a_moved_video_is_found_beside_its_run(blobs, tmp_path):
    video = blobs.make_video(tmp_path / "old" / "clip.mp4", 12)
    analyze(video, blobs.engine(), config=blobs.config())
    (tmp_path / "old").rename(tmp_path / "new")
    assert render(tmp_path / "new" / "clip.shoal").is_file()


def test_a_place_that_cannot_be_written_to_is_one_clear_error(blobs, blob_video, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="can be written to") as error:
        analyze(blob_video, blobs.engine(), config=blobs.config(), dest=tmp_path / "file")
    assert "--dest" in error.value.hint


def test_grey_video(blobs, tmp_path):
    with VideoWriter(tmp_path / "grey.mp4", fps=5) as writer:
        for _ in range(3):
            writer.write(np.full((64, 64, 3), 100, np.uint8))
    run_dir = analyze(tmp_path / "grey.mp4", blobs.engine(), config=blobs.config())
    assert len(read_tracks(run_dir)) == 0
