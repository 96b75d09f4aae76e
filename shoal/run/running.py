"""Who works on a run folder: one small file per process, touched for as long as that lives.

A process that was killed leaves its file behind. It is recognised by its silence and, on the same machine, by its
process being gone; the next one to work there removes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from shoal.errors import ArtifactError
from shoal.io.artifacts import read_json, write_json

log = logging.getLogger(__name__)

FOLDER = "running"
BEAT_S = 10.0
SILENT_S = 60.0  # after this long without a beat a process is taken for dead
SKEW_S = 240.0  # more for other machines, whose clocks may differ


@dataclass(frozen=True)
class Worker:
    """A process at work on a run folder.

    Attributes:
        stage: what it does: ``analyze`` or ``track``.
        host: machine.
        pid: process.
        began: seconds since 1970.
    """

    stage: str
    host: str
    pid: int
    began: float


@contextmanager
def working(run_dir: Path, stage: str) -> Iterator[None]:
    """Say that this process works on a run folder, until the end of the block; others there are named in the log.

    Raises:
        ResourceError: the folder cannot be written to.
    """
    alive, dead = look(run_dir)
    for path in dead:
        path.unlink(missing_ok=True)
    me = Worker(stage, platform.node(), os.getpid(), time.time())
    for other in alive:
        if (other.host, other.pid) != (me.host, me.pid):
            log.warning(
                "%s: process %d on %s works on it too (%s); what both do is done twice",
                run_dir.name, other.pid, other.host, other.stage,
            )  # fmt: skip
    path = run_dir / FOLDER / f"{me.host}-{me.pid}-{stage}.json"
    write_json(path, asdict(me), make_parents=False)
    is_over = threading.Event()

    def beat() -> None:
        while not is_over.wait(BEAT_S):
            with contextlib.suppress(OSError):  # a lost drive is noticed by whoever writes results there
                os.utime(path)

    thread = threading.Thread(target=beat, name="shoal-beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
            path.parent.rmdir()  # fails as long as others are at work


def look(run_dir: Path) -> tuple[list[Worker], list[Path]]:
    """The processes that work on a run folder, and the files that dead ones left."""
    alive: list[Worker] = []
    dead: list[Path] = []
    for path in sorted((run_dir / FOLDER).glob("*.json")):
        try:
            worker = Worker(**read_json(path))
            silent = time.time() - path.stat().st_mtime
        except (ArtifactError, TypeError, OSError):
            dead.append(path)
            continue
        is_here = worker.host == platform.node()
        if silent > SILENT_S + (0 if is_here else SKEW_S) or (is_here and not _is_alive(worker.pid)):
            dead.append(path)
        else:
            alive.append(worker)
    return alive, dead


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return True
