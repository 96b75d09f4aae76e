"""What a person sees while something works: logs and progress. Commands and ``shoal.deeplabcut`` open one."""

from __future__ import annotations

import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

LINE_SECONDS = 30.0
FIRST_LINE_SECONDS = 2.0
BAR_SECONDS = 0.1


class Progress:
    """The ``OnProgress`` of commands: a bar on a terminal, a line now and then in a file.

    Args:
        stream: stderr.
        is_shown: False = show nothing.
    """

    def __init__(self, stream: TextIO, *, is_shown: bool) -> None:
        self.stream, self.is_shown, self.is_terminal = stream, is_shown, stream.isatty()
        self.stage, self.started, self.first, self.shown, self.is_drawn = "", 0.0, 0, 0.0, False

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        """Show that ``done`` of ``total`` are done."""
        if not self.is_shown:
            return
        now = time.monotonic()
        is_last = total is not None and done >= total
        if stage != self.stage or done < self.first:
            self.clear()
            wait = 0.0 if self.is_terminal else LINE_SECONDS - FIRST_LINE_SECONDS
            self.stage, self.started, self.first, self.shown = stage, now, done, now - wait
        interval = BAR_SECONDS if self.is_terminal else LINE_SECONDS
        if now - self.shown < interval and not (is_last and self.is_terminal):
            return
        self.shown = now
        rate = (done - self.first) / max(now - self.started, 1e-6)
        text = _progress_text(stage, done, total, rate=rate, has_bar=self.is_terminal)
        if self.is_terminal:
            self.stream.write(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}")
            self.is_drawn = True
            if is_last:
                self.clear()
        else:
            self.stream.write(f"{text}\n")
        self.stream.flush()

    def clear(self) -> None:
        """Take the bar off the terminal, so that a line can be written."""
        if self.is_drawn:
            self.stream.write("\r\x1b[2K")
            self.stream.flush()
            self.is_drawn = False


def _progress_text(stage: str, done: int, total: int | None, *, rate: float, has_bar: bool) -> str:
    unit = " frames/s" if stage.startswith(("analyze", "render")) else "/s"
    speed = f"{rate:.1f}{unit}" if rate > 0 else ""
    if not total:
        return f"{stage}  {done}  {speed}"
    left = f"{clock((total - done) / rate)} left" if rate > 0 and done < total else ""
    filled = round(24 * done / total)
    bar = f"{'█' * filled}{'░' * (24 - filled)} " if has_bar else ""
    return f"{stage:<9} {bar}{done}/{total}  {speed}  {left}".rstrip()


def clock(seconds: float) -> str:
    """A duration as m:ss or h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Handler(logging.Handler):
    def __init__(self, progress: Progress, *, is_verbose: bool, lines: TextIO | None) -> None:
        super().__init__()
        self.progress, self.lines = progress, lines
        self.setFormatter(logging.Formatter("%(name)s: %(message)s" if is_verbose else "%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        self.progress.clear()
        stream = self.progress.stream if prefix or self.lines is None else self.lines
        stream.write(f"{prefix}{self.format(record)}\n")
        stream.flush()


@contextmanager
def session(*, verbose: bool = False, quiet: bool = False, lines: TextIO | None = None) -> Iterator[Progress]:
    """Logs and progress on stderr while something works; yields its ``on_progress``.

    Warnings of other packages are shown with ``verbose`` only: users cannot act on them.

    Args:
        verbose: everything, with the module that says it.
        quiet: warnings and errors only.
        lines: where log lines go that are neither; None = stderr too.
    """
    progress = Progress(sys.stderr, is_shown=not quiet)
    handler = _Handler(progress, is_verbose=verbose, lines=lines)
    log = logging.getLogger("shoal")
    log.setLevel(logging.DEBUG if verbose else logging.WARNING if quiet else logging.INFO)
    log.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not verbose:
                warnings.simplefilter("ignore")
            yield progress
    finally:
        progress.clear()
        log.removeHandler(handler)


def keep_kernels() -> None:
    """Compiled kernels go into the user's cache: the package's own folder may be read-only."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "shoal" / "numba"
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache))
