"""What every function of this package does around its work: keywords, banner, logs, progress, errors."""

from __future__ import annotations

import functools
import inspect
import logging
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from shoal import __version__
from shoal.deeplabcut.keywords import bind, unused
from shoal.errors import ShoalError, Stopped

if TYPE_CHECKING:
    from types import TracebackType

    from shoal.run.batch import Batch
    from shoal.types import OnProgress

log = logging.getLogger("shoal.deeplabcut")

INTERRUPTED = "interrupted by Ctrl-C in"

P = ParamSpec("P")
R = TypeVar("R")


class _Console:
    """Whether the banner was shown, and the progress of the call under way."""

    is_greeted = False
    progress: OnProgress | None = None
    show_uncaught = sys.excepthook


def step(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function of this package: DeepLabCut's keywords and aliases in, lines and a progress bar out.

    Lines that DeepLabCut prints go to stdout, warnings and progress to stderr, all of it flushed at once.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        name = function.__name__
        try:
            arguments = bind(name, signature, args, kwargs)
            if _Console.progress is not None:  # called by another function of this package
                return function(**arguments)  # type: ignore[call-arg]
            return _run(name, lambda: cast(Any, function)(**arguments), unused(name, signature, arguments))
        except ShoalError as error:
            if error.hint and not getattr(error, "__notes__", None):
                error.add_note(f"hint: {error.hint}")  # a traceback shows notes
            raise
        except KeyboardInterrupt as stop:
            stop.add_note(f"{INTERRUPTED} {function.__name__}")
            raise

    return cast("Callable[P, R]", call)


def _end_script(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A script that was asked to stop ends with a line and 128 + the signal's number; all else as it was.

    Raises:
        SystemExit: asked to stop. From here it becomes the script's exit code.
    """
    notes = getattr(error, "__notes__", [])
    if isinstance(error, Stopped) and error.signal_name:
        sys.stderr.write(f"{error.message}\n\nhint: {error.hint}\n")
        raise SystemExit(128 + signal.Signals[error.signal_name])
    if isinstance(error, KeyboardInterrupt) and any(note.startswith(INTERRUPTED) for note in notes):
        sys.stderr.write("\n".join(notes) + "\n")
        raise SystemExit(128 + signal.SIGINT)
    _Console.show_uncaught(kind, error, trace)


def on_progress(stage: str, done: int, total: int | None) -> None:
    """Progress of the call under way (an ``OnProgress``)."""
    if _Console.progress is not None:
        _Console.progress(stage, done, total)


def _run(name: str, work: Callable[[], Any], idle: list[str]) -> Any:
    from shoal.run.console import keep_kernels, session

    keep_kernels()
    if sys.excepthook is not _end_script:
        _Console.show_uncaught, sys.excepthook = sys.excepthook, _end_script
    with session(lines=sys.stdout) as progress:
        _Console.progress = progress
        try:
            if not _Console.is_greeted:
                _Console.is_greeted = True
                log.info("Loading shoal %s: DeepLabCut's functions on shoal's engine.", __version__)
            if idle:
                log.warning("%s: these change nothing in shoal: %s", name, "; ".join(idle))
            return work()
        finally:
            _Console.progress = None


def finish(done: Batch[Any], line: str = "") -> None:
    """Say how a batch ended: what failed is named, and an error only if nothing is left.

    Raises:
        ShoalError: every item failed.
    """
    from shoal.run.batch import raise_failures

    if done.failures and not done.results:
        raise_failures(done)
    if done.failures:
        what = "; ".join(f"{item}: {reason}" for item, reason in done.failures)
        log.error("%d of %d failed: %s", len(done.failures), len(done.failures) + len(done.results), what)
    if line:
        log.info(line)
