"""What a command does around its work: logs, progress, results. The only place that configures output."""

from __future__ import annotations

import json
import logging
import shlex
import shutil
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import typer

from shoal.errors import PartialFailure, ShoalError

LINE_SECONDS = 30.0
FIRST_LINE_SECONDS = 2.0
BAR_SECONDS = 0.1
MANY_FILES = 8  # in one folder: these are counted, not listed


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
    speed = f"{rate:.1f}/s" if rate > 0 else ""
    if not total:
        return f"{stage}  {done}  {speed}"
    left = f"{_clock((total - done) / rate)} left" if rate > 0 and done < total else ""
    filled = round(24 * done / total)
    bar = f"{'█' * filled}{'░' * (24 - filled)} " if has_bar else ""
    return f"{stage:<9} {bar}{done}/{total}  {speed}  {left}".rstrip()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class _Handler(logging.Handler):
    def __init__(self, progress: Progress, *, is_verbose: bool) -> None:
        super().__init__()
        self.progress = progress
        self.setFormatter(logging.Formatter("%(name)s: %(message)s" if is_verbose else "%(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        prefix = f"{record.levelname.lower()}: " if record.levelno >= logging.WARNING else ""
        self.progress.clear()
        self.progress.stream.write(f"{prefix}{self.format(record)}\n")
        self.progress.stream.flush()


@contextmanager
def session(*, verbose: bool = False, quiet: bool = False) -> Iterator[Progress]:
    """Logs and progress on stderr while a command works; yields its ``on_progress``.

    Warnings of other packages are shown with ``verbose`` only: users cannot act on them.
    """
    progress = Progress(sys.stderr, is_shown=not quiet)
    handler = _Handler(progress, is_verbose=verbose)
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


def report(
    result: Mapping[str, Any], *, as_json: bool, text: str = "", next_command: Iterable[str | Path] = ()
) -> None:
    """Print a command's result: JSON, or text, the files it wrote (``files``, ``runs``) and what to do next."""
    if as_json:
        from shoal.io.artifacts import json_ready

        typer.echo(json.dumps(json_ready(result), indent=1))
        return
    if text:
        typer.echo(text)
    folders: dict[Path, list[Path]] = {}
    for path in map(Path, [*result.get("runs", ()), *result.get("files", ())]):
        folders.setdefault(path.parent, []).append(path)
    for folder, paths in folders.items():
        if len(paths) > MANY_FILES:
            typer.echo(f"wrote {len(paths)} files into {folder}")
        else:
            typer.echo("\n".join(f"wrote {path}" for path in paths))
    words = [str(word) for word in next_command]
    if words:
        typer.echo(f"\nnext: {shlex.join(words)}")


def print_error(error: ShoalError) -> None:
    """``error: ...``, an empty line, ``hint: ...`` on stderr."""
    lines = [f"error: {error.message}"]
    if isinstance(error, PartialFailure):
        lines += [f"  {item}: {reason}" for item, reason in error.failures]
    if error.hint:
        lines += ["", f"hint: {error.hint}"]
    typer.echo("\n".join(lines), err=True)
