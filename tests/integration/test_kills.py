"""kill -9 at random moments, a full disk, a lost drive: the same command goes on, and the results are the same."""

from __future__ import annotations

import dataclasses
import errno
import importlib
import os
import resource
import shutil
import sys
from pathlib import Path

import av
import pytest

from shoal.cli import app
from shoal.errors import ResourceError
from shoal.io import artifacts, decoding, packets
from shoal.io.artifacts import is_done, read_entry
from shoal.io.video import probe
from shoal.run import predict, steps
from shoal.run.folder import open_folder
from shoal.run.render import render
from shoal.run.steps import analyze, change_config, export, track

ROOT = Path(__file__).parents[2]


def files_of(run_dir: Path) -> dict[str, bytes]:
    """All files but the manifest, which tells the time taken."""
    paths = [p for p in run_dir.rglob("*") if p.is_file() and p.parent.name != "manifest"]
    return {str(path.relative_to(run_dir)): path.read_bytes() for path in paths}


def test_six_kills_cost_two_chunks_each_at_most_and_change_nothing(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "bench")
    found = importlib.import_module("kills").kill_and_resume(tmp_path, frames=750, chunk=128, kills=6)
    assert found["exit"] == [0, 0] and found["n_kills"] == 6
    assert found["in_write"] >= 2 and found["kills"]["stitch"] + found["kills"]["export"] >= 2
    # most chunks end at keyframes, so that little is decoded before them (a keyframe every 250 frames here)
    assert found["frames_detected"] < found["frames_decoded"] <= found["allowed"]
    assert found["different"] == []


@pytest.fixture
def full_disk(monkeypatch):
    """Writes fail from the n-th file on, until told otherwise; as ``error`` says."""
    left = [-1]

    def fail_after(n: int, error: int = errno.ENOSPC) -> None:
        left[0] = n
        write = artifacts.write_atomic

        def write_bytes(path: Path, content: bytes) -> int:
            left[0] -= 1
            if left[0] < 0:
                with path.open("wb") as file:
                    file.write(content[: len(content) // 2])
                raise OSError(error, os.strerror(error), str(path))
            return real(path, content)

        assert write is artifacts.write_atomic
        monkeypatch.setattr(Path, "write_bytes", write_bytes)

    real = Path.write_bytes
    return fail_after


@pytest.mark.parametrize("n", [0, 11])
def test_a_full_disk_is_one_clear_error_and_the_same_command_goes_on(
    blobs, blob_video, blob_run, tmp_path, full_disk, monkeypatch, n
):
    config, run_dir = blobs.config("predict.chunk_frames=64"), tmp_path / blob_run.name
    with monkeypatch.context():
        full_disk(n)
        with pytest.raises(ResourceError, match="the disk is full") as stopped:
            analyze(blob_video, blobs.engine(), config=config, dest=tmp_path)
        assert stopped.value.exit_code == 4
        assert str(run_dir) in stopped.value.message and "MB are free in" in stopped.value.hint
        assert not list(run_dir.rglob("*.partial*"))
    monkeypatch.undo()
    analyze(blob_video, blobs.engine(), config=config, dest=tmp_path)
    assert files_of(run_dir) == files_of(blob_run)


PLACES = (
    "video", "model", "run.", "plan", "running", "detections", "unique", "poses", "appearance",
    "manifest/assemble", "manifest/predict", "tracklets", "cuts", "manifest/associate", "tracks", "decisions",
    "manifest/stitch",
)  # fmt: skip


def test_a_disk_that_is_full_at_every_place_in_turn(blobs, blob_video, blob_run, tmp_path, monkeypatch):
    """Each try goes on from what the one before has left."""
    config, run_dir, flush = blobs.config("predict.chunk_frames=64"), tmp_path / blob_run.name, artifacts._flush

    with monkeypatch.context() as patch:
        for place in PLACES:

            def full(path: Path, place: str = place) -> None:
                if path.is_file() and str(path.relative_to(run_dir)).replace("/.", "/").strip(".").startswith(place):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
                flush(path)

            patch.setattr(artifacts, "_flush", full)
            with pytest.raises(ResourceError, match="the disk is full"):
                analyze(blob_video, blobs.engine(), config=config, dest=tmp_path)
            assert not list(run_dir.rglob("*.partial*"))
    analyze(blob_video, blobs.engine(), config=config, dest=tmp_path)
    assert files_of(run_dir) == files_of(blob_run)


def test_a_full_disk_left_half_a_video_as_a_whole_one(blob_run, tmp_path):
    """The error came when the file was closed, and it was renamed all the same."""
    render(blob_run, dest=tmp_path).unlink()  # compiles what draws, whose cache is no part of this
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (200, 20_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(ResourceError, match=r"cannot write three_labeled.mp4: .*size of files"):
                render(blob_run, dest=tmp_path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert not list(tmp_path.iterdir())


def test_a_limit_on_file_sizes_ends_the_command_with_4(blob_run, tmp_path, monkeypatch, capsys):
    run_dir = shutil.copytree(blob_run, tmp_path / blob_run.name)
    monkeypatch.setattr(sys, "argv", ["shoal", "export", str(run_dir)])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(SystemExit) as stop:
            app.main()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    error = capsys.readouterr().err
    assert stop.value.code == 4 and f"where: {run_dir / 'export'}" in error and "MB are free" in error
    assert not list((run_dir / "export").glob("*")) and "Traceback" not in error
    assert [file.name for file in export(run_dir)] == ["three.h5", "three_el.h5"]


def test_a_drive_that_is_lost_in_mid_work_is_not_made_anew(blobs, blob_video, blob_run, tmp_path):
    stub, drive, away = blobs.engine(), tmp_path / "drive", tmp_path / "away"
    drive.mkdir()

    def losing(batch):
        if batch.frame[0] >= 192 and drive.exists():
            drive.rename(away)
        return stub.detect(batch)

    config = blobs.config("predict.chunk_frames=64")
    with pytest.raises(ResourceError, match="the folder is gone") as stopped:
        analyze(blob_video, dataclasses.replace(stub, detect=losing), config=config, dest=drive)
    assert "connect the drive again" in stopped.value.hint
    assert not drive.exists(), "results went into a new folder where the drive had been"
    away.rename(drive)
    run_dir = analyze(blob_video, stub, config=config, dest=drive)
    assert files_of(run_dir) == files_of(blob_run)


class Losing:
    """A container whose reading fails at its 150th packet."""

    def __init__(self, path: Path, lose) -> None:
        self._container, self._lose = packets.open_container(path), lose

    def __getattr__(self, name: str):
        return getattr(self._container, name)

    def __enter__(self) -> Losing:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def demux(self, stream):
        for number, packet in enumerate(self._container.demux(stream)):
            if number == 150:
                self._lose()
                raise av.error.OSError(errno.EIO, os.strerror(errno.EIO), self._container.name)
            yield packet


def test_a_video_whose_drive_was_lost_was_taken_for_a_shorter_one(blobs, blob_video, blob_run, tmp_path, monkeypatch):
    """Frames after the error counted as unreadable, and the run as complete."""
    drive, away, config = tmp_path / "drive", tmp_path / "away", blobs.config("predict.chunk_frames=64")
    drive.mkdir()
    video = Path(shutil.copy(blob_video, drive / blob_video.name))
    probe(video)
    with monkeypatch.context() as patch, pytest.raises(ResourceError, match=r"cannot read three.mp4: No such") as lost:
        patch.setattr(decoding, "open_container", lambda path: Losing(path, lambda: drive.rename(away)))
        analyze(video, blobs.engine(), config=config, dest=tmp_path)
    assert "connect the drive again" in lost.value.hint and lost.value.exit_code == 4
    away.rename(drive)
    run_dir = analyze(video, blobs.engine(), config=config, dest=tmp_path)
    assert {**files_of(run_dir), "video.json": b""} == {**files_of(blob_run), "video.json": b""}


def test_an_error_of_a_file_that_can_be_read_is_damaged_data(blobs, blob_video, tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "open_container", lambda path: Losing(path, lambda: None))
    run_dir = analyze(blob_video, blobs.engine(), config=blobs.config("predict.chunk_frames=64"), dest=tmp_path)
    assert open_folder(run_dir)["bad_frames"] == list(range(150, 250))  # up to the next keyframe


def test_a_drive_that_becomes_read_only(blobs, blob_video, tmp_path, full_disk):
    full_disk(9, errno.EROFS)
    with pytest.raises(ResourceError, match="the folder has become read-only"):
        analyze(blob_video, blobs.engine(), config=blobs.config("predict.chunk_frames=64"), dest=tmp_path)


def test_a_kill_between_detecting_and_assembling_lost_the_appearance(
    blobs, blob_video, blob_run, tmp_path, monkeypatch
):
    """The chunk counted as detected, was assembled again from its peaks, and had no features from then on."""

    class Killed(BaseException):
        pass

    config, write = blobs.config("predict.chunk_frames=64"), predict.write_entry
    written = []

    def killed_after_two(*args, **options):
        if len(written) == 3:
            raise Killed
        written.append(write(*args, **options))

    monkeypatch.setattr(predict, "write_entry", killed_after_two)
    with pytest.raises(Killed):
        analyze(blob_video, blobs.engine(), config=config, dest=tmp_path)
    monkeypatch.undo()
    run_dir = analyze(blob_video, blobs.engine(), config=config, dest=tmp_path)
    assert files_of(run_dir) == files_of(blob_run)


def test_a_killed_association_goes_on_where_it_was(blob_run, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    run_dir, followed = shutil.copytree(blob_run, tmp_path / blob_run.name), []
    save, follow = steps._save_column, steps.associating.follow

    def killed_at_the_fourth(run_dir, kind, column):
        if column.span[0] == 192:
            raise Killed
        return save(run_dir, kind, column)

    def counted(state, poses):
        followed.append(poses.span)
        return follow(state, poses)

    (run_dir / "manifest" / "associate.json").unlink()
    monkeypatch.setattr(steps, "HALFWAY_S", 0.0)
    monkeypatch.setattr(steps.associating, "follow", counted)
    with monkeypatch.context() as change, pytest.raises(Killed):
        change.setattr(steps, "_save_column", killed_at_the_fourth)
        track(run_dir)
    followed.clear()
    track(run_dir)
    assert followed == [(192, 250), (250, 300)]
    assert files_of(run_dir) == files_of(blob_run)
    with monkeypatch.context() as change, pytest.raises(Killed):
        change.setattr(steps, "_save_column", killed_at_the_fourth)
        track(run_dir, change_config(blob_run, overrides=["associate.max_age=2"]))
    followed.clear()
    track(run_dir, change_config(blob_run))
    assert followed[0] == (0, 64), "the tracker of other settings"
    assert files_of(run_dir) == files_of(blob_run)


def test_a_kill_in_another_tracking_left_its_tracklets_as_the_old_ones(blob_run, tmp_path, monkeypatch):
    """The manifest said that the old settings' were done, while some files were of the new."""

    class Killed(BaseException):
        pass

    def killed(*args, **options):
        raise Killed

    run_dir = shutil.copytree(blob_run, tmp_path / blob_run.name)
    for change in ("associate.max_age=2", "stitch.max_gap=2", "assemble.min_score=0.3"):
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(steps, "write_entry", killed)
            patch.setattr(predict, "write_entry", killed)
            track(run_dir, change_config(blob_run, overrides=[change]))
        track(run_dir, change_config(blob_run))
        for kind in ("tracklets", "tracks", "poses"):
            for path in (run_dir / kind).iterdir():
                assert path.read_bytes() == (blob_run / kind / path.name).read_bytes(), (change, path)


def test_a_tracking_setting_asks_the_network_nothing(blobs, blob_video, blob_run, tmp_path):
    run_dir = shutil.copytree(blob_run, tmp_path / blob_run.name)

    def refuse(batch):
        raise AssertionError("the network ran again")

    engine = dataclasses.replace(blobs.engine(), detect=refuse)

    def redone(work) -> set[str]:
        before = {path: path.stat().st_mtime_ns for path in run_dir.rglob("*") if path.is_file()}
        work()
        paths = [p for p in run_dir.rglob("*") if p.is_file() and p.stat().st_mtime_ns != before.get(p)]
        return {path.stem.split("-")[0] for path in paths if path.parent.name == "manifest"}

    for override, stages in (
        ("stitch.max_gap=7", {"stitch"}),
        ("associate.max_age=2", {"associate", "classify", "stitch"}),
    ):
        config = blobs.config("predict.chunk_frames=64", override)
        assert redone(lambda config=config: analyze(blob_video, engine, config=config, dest=tmp_path)) == stages
        assert redone(lambda config=config: track(run_dir, config)) == set()
        entry = read_entry(run_dir, "stitch")
        assert entry is not None and is_done(run_dir, "stitch", entry["fingerprint"])
