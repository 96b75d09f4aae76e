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

P = ParamSpec("P")
R = TypeVar("R")


class _Console:
    """Whether the banner was shown, the progress of the call under way, and the Ctrl-C that ended one at once."""

    is_greeted = False
    progress: OnProgress | None = None
    interrupt: KeyboardInterrupt | None = None


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

    return cast("Callable[P, R]", call)


def on_progress(stage: str, done: int, total: int | None) -> None:
    """Progress of the call under way (an ``OnProgress``)."""
    if _Console.progress is not None:
        _Console.progress(stage, done, total)


def _run(name: str, work: Callable[[], Any], idle: list[str]) -> Any:
    from shoal.run.console import keep_kernels, session

    keep_kernels()
    _end_quietly()
    with session(lines=sys.stdout) as progress:
        _Console.progress = progress
        try:
            if not _Console.is_greeted:
                _Console.is_greeted = True
                log.info("Loading shoal %s: DeepLabCut's functions on shoal's engine.", __version__)
            if idle:
                log.warning("%s: these change nothing in shoal: %s", name, "; ".join(idle))
            return work()
        except KeyboardInterrupt as error:
            _Console.interrupt = error
            raise
        finally:
            _Console.progress = None


@functools.cache
def _end_quietly() -> None:
    """From now on a plain script that is told to stop ends with one line and the shell's code of that signal.

    Only what the script does not catch comes here, and nothing does in a notebook.
    """
    usual = sys.excepthook

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, Stopped):
            where = "; ".join(filter(None, [*error.message.splitlines(), error.hint]))
            line, number = f"stopped: {where}", getattr(signal, error.by or "SIGTERM")
        elif error is _Console.interrupt:
            line, number = "stopped: interrupted at once; what was finished before is saved", signal.SIGINT
        else:
            return usual(kind, error, trace)
        sys.stderr.write(f"{line}\n")
        raise SystemExit(128 + number)

    sys.excepthook = show


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
