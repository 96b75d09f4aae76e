"""Being told to stop: what is under way is finished, then the work ends in an orderly way."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

log = logging.getLogger(__name__)

SIGNALS = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")


@contextmanager
def stop_requests(what: str) -> Iterator[Callable[[], str]]:
    """A function that gives the name of the first stop signal, empty so far; a second Ctrl-C interrupts at once.

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
        yield lambda: received[0] if received else ""
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
