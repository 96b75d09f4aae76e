"""Being told to stop: the current chunk is finished, then the run ends in an orderly way."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from shoal.errors import ResourceError

log = logging.getLogger(__name__)

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


class Stopped(ResourceError):
    """Work ended early because somebody asked; what is done is saved and the same command goes on."""


@contextmanager
def stop_requests(what: str) -> Iterator[Callable[[], bool]]:
    """A function that tells whether a stop signal came; a second Ctrl-C interrupts at once.

    Args:
        what: is finished first, for the message.
    """
    received: list[str] = []
    old: dict[int, Any] = {}

    def note(number: int, _: object) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signal.Signals(number).name)
        log.warning("%s: finishing %s, then stopping (Ctrl-C again stops at once)", received[-1], what)

    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            if hasattr(signal, name):
                number = getattr(signal, name)
                old[number] = signal.signal(number, note)
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
