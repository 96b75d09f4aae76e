from __future__ import annotations

import io
import logging
import sys
import warnings

from shoal.run import console
from shoal.run.console import Progress, session


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_on_a_terminal_is_taken_away_at_the_end(monkeypatch):
    clock = iter([0.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    stream = Terminal()
    progress = Progress(stream, is_shown=True)
    for done in (0, 100, 150, 200):
        progress("analyze", done, 200)
    text = stream.getvalue()
    assert "100/200  100.0 frames/s  0:01 left" in text and "\n" not in text
    assert text.endswith("\r\x1b[2K")


def test_lines_in_a_file_come_early_and_then_rarely(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    progress = Progress(stream, is_shown=True)
    for second in range(100):
        now[0] = float(second)
        progress("analyze", second * 10, 1000)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[0] == "analyze   20/1000  10.0 frames/s  1:38 left" and "\r" not in stream.getvalue()


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


def test_ordinary_lines_can_go_elsewhere(capsys):
    log = logging.getLogger("shoal.somewhere")
    with session(lines=sys.stdout):
        log.info("i-line")
        log.warning("w-line")
    output = capsys.readouterr()
    assert output.out == "i-line\n" and output.err == "warning: w-line\n"
