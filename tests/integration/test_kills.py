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

import pytest

from shoal.cli import app
from shoal.errors import ResourceError
from shoal.io import artifacts
from shoal.io.artifacts import is_done, read_entry
from shoal.run.steps import analyze, export, track

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


@pytest.mark.parametrize("n", [0, 11, 33])
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


def test_a_drive_that_becomes_read_only(blobs, blob_video, tmp_path, full_disk):
    full_disk(9, errno.EROFS)
    with pytest.raises(ResourceError, match="the folder has become read-only"):
        analyze(blob_video, blobs.engine(), config=blobs.config("predict.chunk_frames=64"), dest=tmp_path)


def test_a_kill_between_detecting_and_assembling_lost_the_appearance(
    blobs, blob_video, blob_run, tmp_path, monkeypatch
):
    """The chunk counted as detected, was assembled again from its peaks, and had no features from then on."""
    from shoal.run import predict

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

    for override, stages in (("stitch.max_gap=7", {"stitch"}), ("associate.max_age=2", {"associate", "stitch"})):
        config = blobs.config("predict.chunk_frames=64", override)
        assert redone(lambda config=config: analyze(blob_video, engine, config=config, dest=tmp_path)) == stages
        assert redone(lambda config=config: track(run_dir, config)) == set()
        entry = read_entry(run_dir, "stitch")
        assert entry is not None and is_done(run_dir, "stitch", entry["fingerprint"])
