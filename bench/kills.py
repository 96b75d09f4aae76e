"""An analysis killed again and again: nothing is lost but the chunk under way, and the results are those of one run.

    python bench/kills.py --frames 3000 --chunk 128 --kills 20

Every run analyzes, tracks and exports the same video with the stand-in of ``stub.py`` and is killed (SIGKILL) at a
random moment; then one run finishes. Its files are compared with those of a run that nobody disturbed. A quarter of
the kills fall between the first and the last ``fsync`` of a file (which takes 10 ms here, as on a network drive), one
each into association, stitching (twice) and export (twice), the others anywhere.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import multiprocessing
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

FIELDS = ("writing", "phase", "detected", "run_detected", "decoded")
PHASES = ("start", "analyze", "associate", "stitch", "export", "end")
SECONDS_PER_FRAME = 0.004
FSYNC_SECONDS = 0.01


class Board:
    """Counters in a file that outlive the process which counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            path.write_bytes(bytes(8 * len(FIELDS)))
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._lock = threading.Lock()

    def __getitem__(self, field: str) -> int:
        at = 8 * FIELDS.index(field)
        return int.from_bytes(self._map[at : at + 8], "little", signed=True)

    def __setitem__(self, field: str, value: int) -> None:
        at = 8 * FIELDS.index(field)
        self._map[at : at + 8] = value.to_bytes(8, "little", signed=True)

    def add(self, field: str, n: int = 1) -> None:
        """Count, from any thread."""
        with self._lock:
            self[field] = self[field] + n


def kill_and_resume(
    work: Path, *, frames: int = 3000, chunk: int = 128, kills: int = 20, seed: int = 0
) -> dict[str, Any]:
    """Kill a run ``kills`` times, let it finish, and compare.

    Returns:
        ``frames_decoded`` (given to the decoder by all runs, with those skipped after seeking and those that a video is
        checked with when it is opened), ``frames_detected`` (that the network saw),
        ``allowed`` (frames + 2 chunks a kill), ``kills`` by phase, ``in_write`` (how many hit a write), ``different``
        (names of files and manifest entries that are not those of the undisturbed run).
    """
    from stub import make_video

    video = make_video(work / "loop.mp4", frames)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["shoal.run.steps", "shoal.run.dlc_files", "stub"])
    board = Board(work / "board")

    def start(dest: Path, board: Board = board) -> Any:
        board["writing"] = board["phase"] = board["run_detected"] = 0
        process = context.Process(target=_work, args=(video, dest, chunk, board.path))
        process.start()
        return process

    plain = start(work / "plain", Board(work / "plain board"))  # meanwhile
    rng = np.random.default_rng(seed)
    hit: list[str] = []
    in_write = 0
    for wanted in _plan(kills):
        process = start(work / "killed")
        _wait(board, process, wanted, rng, frames=frames, kills=kills)
        if process.is_alive():
            process.kill()
            process.join()
            hit.append(PHASES[board["phase"]])
            in_write += board["writing"] > 0
    last = start(work / "killed")
    last.join()
    plain.join()
    return {
        "frames": frames, "chunk": chunk, "kills": {phase: hit.count(phase) for phase in dict.fromkeys(hit)},
        "n_kills": len(hit), "in_write": in_write, "frames_decoded": board["decoded"],
        "frames_detected": board["detected"], "allowed": frames + 2 * chunk * len(hit),
        "exit": [plain.exitcode, last.exitcode],
        "different": compare(work / "killed" / "loop.shoal", work / "plain" / "loop.shoal"),
    }  # fmt: skip


def compare(run_dir: Path, expected: Path) -> list[str]:
    """What differs between two run folders: npz and settings byte by byte, h5 by value, the manifest but for times."""
    from shoal.io.dlc.pose_table import read_pose_table

    def content(path: Path) -> Any:
        if path.suffix == ".h5":
            table = read_pose_table(path)
            return table.columns, table.index, table.values.tobytes()
        if path.parent.name == "manifest":
            return {k: v for k, v in json.loads(path.read_text()).items() if k not in ("seconds", "host")}
        return path.read_bytes()

    names = [
        {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()} - {"exports.json"}  # digests of h5 files
        for folder in (run_dir, expected)
    ]
    changed = [n for n in names[0] & names[1] if content(run_dir / n) != content(expected / n)]
    return sorted([*changed, *(names[0] ^ names[1])])


def _plan(kills: int) -> Iterator[str]:
    """What each kill aims at; the later phases come once the earlier ones are done."""
    late = ["associate", "stitch", "stitch", "export", "export"] if kills >= 20 else ["stitch", "export"]
    early = kills - len(late)
    for i in range(early):
        yield "write" if i % 2 == 0 and i // 2 < -(-kills // 3) else "any"
    yield from late


def _wait(board: Board, process: Any, wanted: str, rng: np.random.Generator, *, frames: int, kills: int) -> None:
    """Until the moment to kill has come, or the process has ended."""
    threshold = int(rng.uniform(10, 3.2 * frames / kills))
    delay = float(rng.uniform(0, 0.15))

    def is_time() -> bool:
        phase = PHASES[board["phase"]]
        if wanted in PHASES:
            return PHASES.index(phase) >= PHASES.index(wanted)
        is_far = board["run_detected"] >= threshold or PHASES.index(phase) >= PHASES.index("associate")
        return is_far and (wanted == "any" or board["writing"] > 0)

    while process.is_alive() and not is_time():
        time.sleep(0.0005)
    if wanted != "write":
        end = time.monotonic() + delay
        while process.is_alive() and time.monotonic() < end and PHASES[board["phase"]] != "end":
            time.sleep(0.0005)


def _work(video: Path, dest: Path, chunk: int, board_path: Path) -> None:
    """The process that is killed."""
    from dataclasses import replace

    from stub import make_engine, settings

    from shoal.io import decoding
    from shoal.io import video as video_files
    from shoal.run import steps
    from shoal.types import FrameBatch

    board = Board(board_path)
    engine = make_engine()

    def detect(batch: FrameBatch) -> Any:
        time.sleep(SECONDS_PER_FRAME * len(batch.frame))
        board.add("detected", len(batch.frame))
        board.add("run_detected", len(batch.frame))
        return engine.detect(batch)

    decode_packets = decoding.decode_packets

    def counted(packets: Iterator[Any], **options: Any) -> Iterator[Any]:
        return decode_packets(
            (packet for packet in packets if board.add("decoded", packet.size > 0) is None), **options
        )

    def entering(phase: str, fn: Callable[..., Any]) -> Callable[..., Any]:
        def enter(*args: Any, **options: Any) -> Any:
            board["phase"] = PHASES.index(phase)
            return fn(*args, **options)

        return enter

    fsync = os.fsync

    def slow_fsync(handle: int) -> None:
        board.add("writing")
        time.sleep(FSYNC_SECONDS)
        fsync(handle)
        board.add("writing", -1)

    os.fsync = slow_fsync
    decoding.decode_packets = video_files.decode_packets = counted
    for phase, name in (("analyze", "predict"), ("associate", "_associate"), ("stitch", "_stitch")):
        setattr(steps, name, entering(phase, getattr(steps, name)))
    config = settings(
        f"predict.chunk_frames={chunk}", "predict.batch_size=8", "stitch.n_animals=10", "compute.decode_workers=1"
    )
    with contextlib.chdir(dest.parent):
        run_dir = steps.analyze(video, replace(engine, detect=detect), config=config, dest=dest)
        entering("export", steps.export)(run_dir)
    board["phase"] = PHASES.index("end")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=3000)
    parser.add_argument("--chunk", type=int, default=128)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = kill_and_resume(Path(folder), frames=args.frames, chunk=args.chunk, kills=args.kills, seed=args.seed)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
