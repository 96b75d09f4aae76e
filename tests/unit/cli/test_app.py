"""The command as a user meets it: fast help, exit codes, errors as two lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from shoal.cli import app
from shoal.errors import ArtifactError, ConfigError, PartialFailure, ResourceError, VideoError
from shoal.io.video import VideoWriter

HEAVY = ("torch", "numpy", "pandas", "scipy", "matplotlib", "numba", "cv2", "av", "pydantic")


def shoal(monkeypatch, capsys, *args: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["shoal", *args])
    try:
        app.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


def test_help_is_instant_and_loads_nothing_heavy():
    script = f"import sys; import shoal.cli.app; sys.exit(str([m for m in {HEAVY} if m in sys.modules] or ''))"
    command = [sys.executable, "-c", script]
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        seconds.append(time.perf_counter() - began)
        assert done.stderr.strip() == ""
    assert min(seconds) < 0.5


@pytest.mark.parametrize(
    "command",
    [
        "",
        "check",
        "dataset",
        "train",
        "evaluate",
        "analyze",
        "edit",
        "track",
        "render",
        "export",
        "status",
        "run",
        "demo",
    ],
)
def test_every_command_has_help(monkeypatch, capsys, command):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = shoal(monkeypatch, capsys, *command.split(), "--help")
    assert code == 0 and "Usage" in out
    if command:
        assert "--json" in out
    else:
        assert all(name in out for name in ("check", "dataset", "train", "evaluate", "analyze", "demo"))


def test_the_kernel_cache_is_in_the_users_cache(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shoal(monkeypatch, capsys, "--version")
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "shoal" / "numba")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VideoError("expected a video\nwhere: a.mp4", hint="copy it again"), 2),
        (ConfigError("expected a number"), 2),
        (ArtifactError("incomplete"), 3),
        (ResourceError("no memory"), 4),
        (PartialFailure("1 of 2 failed", [("a.mp4", "empty file")]), 5),
    ],
)
def test_errors_become_lines_and_exit_codes(monkeypatch, capsys, error, code):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(app, "app", fail)
    got, out, err = shoal(monkeypatch, capsys)
    assert got == code and out == ""
    assert err.startswith(f"error: {error.message}")
    assert err.endswith(f"\n\nhint: {error.hint}\n" if error.hint else "\n") and "Traceback" not in err
    if isinstance(error, PartialFailure):
        assert "  a.mp4: empty file" in err


def test_a_wrong_option_is_exit_2(monkeypatch, capsys):
    assert shoal(monkeypatch, capsys, "status", "--nonsense")[0] == 2


def test_a_typo_in_a_setting_names_the_nearest(monkeypatch, capsys, tmp_path):
    code, _, err = shoal(monkeypatch, capsys, "analyze", str(tmp_path), "a.mp4", "--set", "stitch.max_gpa=3")
    assert code == 2 and "did you mean 'stitch.max_gap'?" in err


def test_missing_model_and_run_folder(monkeypatch, capsys, tmp_path):
    code, _, err = shoal(monkeypatch, capsys, "analyze", str(tmp_path), "a.mp4")
    assert code == 2 and "hint: `shoal train PROJECT` makes one" in err
    code, _, err = shoal(monkeypatch, capsys, "track", str(tmp_path))
    assert code == 3 and "error: expected a run folder" in err
    code, _, err = shoal(monkeypatch, capsys, "export", str(tmp_path), str(tmp_path))
    assert code == 5 and err.count("without video.json") >= 2


def test_status_of_a_folder_without_runs(monkeypatch, capsys, tmp_path):
    code, out, _ = shoal(monkeypatch, capsys, "status", str(tmp_path), "--json")
    assert code == 0 and json.loads(out)["status"] == [] and json.loads(out)["total"]["runs"] == 0
    video = tmp_path / "new.mp4"
    with VideoWriter(video, fps=5) as writer:
        writer.write(np.zeros((32, 32, 3), np.uint8))
    code, out, _ = shoal(monkeypatch, capsys, "status", str(video), "--json")
    assert code == 0 and [row["state"] for row in json.loads(out)["status"]] == ["not begun"]
