"""Who works on a run folder, and who only seems to."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from shoal.errors import ResourceError
from shoal.io.artifacts import write_json
from shoal.run import running
from shoal.run.running import look, working


def claim(run_dir, *, host, pid, age=0.0):
    path = run_dir / "running" / f"{host}-{pid}-analyze.json"
    write_json(path, {"stage": "analyze", "host": host, "pid": pid, "began": time.time() - age})
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_worker_is_seen_while_it_works_and_leaves_nothing(tmp_path):
    with working(tmp_path, "analyze"):
        (worker,), dead = look(tmp_path)
        assert (worker.stage, worker.pid, dead) == ("analyze", os.getpid(), [])
    assert look(tmp_path) == ([], []) and not list(tmp_path.iterdir())


def test_a_worker_goes_on_beating(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "BEAT_S", 0.01)
    touched = threading.Event()
    monkeypatch.setattr(running.os, "utime", lambda _: touched.set())
    with working(tmp_path, "track"):
        assert touched.wait(10)


def test_the_killed_and_the_silent_are_stale(tmp_path, monkeypatch):
    monkeypatch.setattr(running.platform, "node", lambda: "here")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone = claim(tmp_path, host="here", pid=ended.pid)
    mute = claim(tmp_path, host="here", pid=os.getpid(), age=running.SILENT_S + 5)  # its number was given away since
    claim(tmp_path, host="elsewhere", pid=1, age=running.SILENT_S + 5)  # its clock may be slow
    long_mute = claim(tmp_path, host="elsewhere", pid=2, age=running.SILENT_S + running.SKEW_S + 5)
    broken = tmp_path / "running" / "x.json"
    broken.write_text("{")
    alive, dead = look(tmp_path)
    assert [(w.host, w.pid) for w in alive] == [("elsewhere", 1)]
    assert set(dead) == {gone, mute, long_mute, broken}


def test_the_next_one_cleans_up_and_names_the_others(tmp_path, caplog):
    dead = claim(tmp_path, host="elsewhere", pid=2, age=9999)
    other = claim(tmp_path, host="elsewhere", pid=1)
    with working(tmp_path, "track"):
        assert not dead.exists()
    assert "process 1 on elsewhere works on it too" in caplog.text
    assert other.exists()


def test_a_folder_that_is_gone_is_one_clear_error(tmp_path):
    with pytest.raises(ResourceError, match="the folder is gone"), working(tmp_path / "lost", "analyze"):
        pass
    assert not (tmp_path / "lost").exists()
