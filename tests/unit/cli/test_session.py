from __future__ import annotations

import io
import json
import logging
import warnings

from shoal.cli import session as sessions
from shoal.cli.options import with_animals
from shoal.cli.session import Progress, report, session


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_is_taken_away_at_the_end(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(sessions.time, "monotonic", lambda: next(clock))
    stream = Terminal()
    progress = Progress(stream, is_shown=True)
    for done in (0, 100, 150, 200):
        progress("analyze", done, 200)
    text = stream.getvalue()
    assert "100/200  100.0/s  0:01 left" in text and "\n" not in text
    assert text.endswith("\r\x1b[2K")


def test_lines_in_a_file_come_early_and_then_rarely(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(sessions.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(stream, is_shown=True)
    for second in range(100):
        now[0] = float(second)
        progress("analyze", second * 10, 1000)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "analyze   20/1000  10.0/s  1:38 left" and "\r" not in stream.getvalue()


def test_quiet_shows_no_progress():
    stream = Terminal()
    Progress(stream, is_shown=False)("analyze", 1, 2)
    assert stream.getvalue() == ""


def test_logs_go_to_stderr_by_level(capsys):
    log = logging.getLogger("shoal.somewhere")
    for options, shown in (({}, "iw"), ({"quiet": True}, "w"), ({"verbose": True}, "diw")):
        with session(**options):
            log.debug("d-line")
            log.info("i-line")
            log.warning("w-line")
        output = capsys.readouterr()
        assert "".join(c for c in "diw" if f"{c}-line" in output.err) == shown and output.out == ""
        assert "warning: " in output.err
    log.warning("after")
    assert "after" not in capsys.readouterr().err


def test_warnings_of_others_are_not_shown():
    with session():
        warnings.warn("deprecated", DeprecationWarning, stacklevel=1)


def test_json_is_strict(capsys):
    report({"rmse": float("nan"), "files": ["a"]}, as_json=True)
    assert json.loads(capsys.readouterr().out, parse_constant=lambda _: 1 / 0) == {"rmse": None, "files": ["a"]}


def test_many_files_of_a_folder_are_counted(capsys):
    report({"files": [f"x/{i}.png" for i in range(9)] + ["y/a.h5"]}, as_json=False, next_command=["shoal", "my file"])
    assert capsys.readouterr().out == "wrote 9 files into x\nwrote y/a.h5\n\nnext: shoal 'my file'\n"


def test_animals_is_a_setting_that_set_overrides():
    assert with_animals(None, None) == []
    assert with_animals(["stitch.count=at-most"], 4) == [
        "stitch.n_animals=4", "stitch.count=exact", "stitch.count=at-most",
    ]  # fmt: skip
