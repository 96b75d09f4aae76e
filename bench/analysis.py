"""The analysis issue's figures, bar by bar (A is ``analyze_peer.py``).

    scripts/bench analysis [--quick] [--only BARS] [--json FILE]

B  the light network end to end: twice real time on two cores
C  CPU time per frame outside the network and the decoder, at 1296x972, stride 8, 10 animals
D  twenty kills: nothing lost, little done twice
E  memory of a long analysis against a short one
F  nothing depends on batch size, chunk size, decoder threads or where reading begins; numbers of frames of odd videos
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import independence
import light
import memory
import numpy as np
from foundation import Bar, _bar, _calls, _python, run_bars
from kills import kill_and_resume

FRAME = (972, 1296)
STRIDE = 8.0
TARGET_MS = 4.0
LARGEST_SHARE = 0.03
ROUNDS = 4
WAITING = ("wait", "wait_for", "_worker", "_wait_for_tstate_lock", "join", "_flush")  # the last one for the disk
DECODER = ("packets.py", "video.py", "decoding.py")
PACKAGE = str(Path(__file__).parents[1] / "shoal") + os.sep


def bar_c(work: Path, args: argparse.Namespace) -> Bar:
    """Perfect maps of a rendered lab scene instead of a network, in a process of its own with one torch thread."""
    from shoal.synthetic.dataset import make_video
    from shoal.synthetic.scenes import SCENES

    n_frames = 60 if args.quick else 256
    video = work / "lab.mp4"
    if not video.is_file():
        make_video(SCENES["lab"], video, seed=5, n_frames=n_frames)
    call = _calls(f"measure_outside({str(work)!r}, {n_frames})").replace("foundation", "analysis")
    found = json.loads(_python(call).stdout)
    holds = found["ms_per_frame"] <= TARGET_MS and found["largest_share"] <= LARGEST_SHARE
    target = f"<= {TARGET_MS} ms of CPU a frame outside network and decoder, no Python function above 3 % of it"
    return _bar(found, target, holds=holds)


def measure_outside(work: str, n_frames: int) -> None:
    """Print what a frame costs besides network and decoder, and which functions it goes to."""
    import torch

    from shoal.config.run import load_config
    from shoal.io.video import probe, read_frames
    from shoal.run.engine import Engine
    from shoal.run.steps import analyze

    torch.set_num_threads(1)
    video = Path(work) / "lab.mp4"
    config = load_config(overrides=["predict.chunk_frames=128", "stitch.n_animals=10", "stitch.count=at-most"])
    card, look = _perfect(video)
    analyze(video, Engine(card, look), config=config, dest=Path(work) / "warm", overwrite=True)  # kernels compiled
    sampler = _Sampler()
    wholes, decodings = [], []
    for _ in range(ROUNDS):  # by turns, the fastest of each: beside other work CPU time grows too
        before = time.process_time()
        with sampler:
            analyze(video, Engine(card, look), config=config, dest=Path(work) / "timed", overwrite=True)
        wholes.append(time.process_time() - before)
        before = time.process_time()
        for _ in read_frames(probe(video).path, batch=8):
            pass
        decodings.append(time.process_time() - before)
    decoding = min(decodings)
    outside = min(wholes) - decoding
    top = [(name, round(n / sampler.n, 3)) for name, n in sampler.found.most_common(12)]
    print(json.dumps({
        "ms_per_frame": round(1e3 * outside / n_frames, 2), "decode_ms": round(1e3 * decoding / n_frames, 2),
        "largest_share": top[0][1] if top else 0.0, "functions": top, "samples": sampler.n, "frames": n_frames,
    }))  # fmt: skip


def _perfect(video: Path) -> tuple[Any, Any]:
    """(card, detect) of a network that sees exactly the truth: its maps are the training targets."""
    import torch

    from shoal.config.model import ModelConfig
    from shoal.config.run import RunConfig, load_config
    from shoal.models.checkpoint import LoadedModel, ModelInfo
    from shoal.models.detect import detect
    from shoal.models.limbs import choose_edges
    from shoal.models.pose import PoseMaps
    from shoal.models.targets import heatmaps, limb_fields
    from shoal.run.folder import ModelCard
    from shoal.synthetic.scenes import SKELETON
    from shoal.synthetic.truth import truth_of, visible_tracks

    skeleton = SKELETON
    poses = visible_tracks(truth_of(video)).poses
    edges = choose_edges(skeleton, [], "skeleton")
    individuals = tuple(f"fish{i}" for i in range(10))
    config: RunConfig = load_config().model_copy(update={"model": ModelConfig(input_scale=1.0)})
    info = ModelInfo(skeleton, edges, individuals, False, 100.0, config)
    size = (-(-FRAME[0] // int(STRIDE)), -(-FRAME[1] // int(STRIDE)))
    rng = torch.Generator().manual_seed(0)
    levels = tuple(
        torch.randn(1, c, size[0] // f + 1, size[1] // f + 1, generator=rng).to(memory_format=torch.channels_last)
        for c, f in ((64, 1), (128, 2), (256, 4))
    )
    strides = ((STRIDE, STRIDE), (2 * STRIDE, 2 * STRIDE), (4 * STRIDE, 4 * STRIDE))
    known: dict[int, PoseMaps] = {}

    def maps_of(frame: int) -> PoseMaps:
        rows = poses.frame == frame
        xy = torch.from_numpy(np.array(poses.xy[rows], np.float32))[None]
        heat = heatmaps(xy, size, stride=STRIDE, sigma=8.0)
        limbs, _ = limb_fields(xy, torch.from_numpy(np.array(edges)), size, stride=STRIDE, width=6.0)
        none = heat.new_zeros(1, 0, *size)
        return PoseMaps(heat, limbs, none, none, levels, (STRIDE, STRIDE), (STRIDE, STRIDE), strides)

    for frame in range(int(poses.frame.max()) + 1):
        known[frame] = maps_of(frame)
    model = LoadedModel(torch.nn.Identity(), info, "0" * 64, torch.device("cpu"))  # type: ignore[arg-type]

    def look(batch: Any) -> Any:
        waiting = iter(batch.frame.tolist())
        return detect(model, batch, config.predict, forward=lambda images: known[next(waiting)], n_animals=10)

    return ModelCard("perfect", "0" * 64, skeleton, edges, individuals), look


def bar_d(work: Path, args: argparse.Namespace) -> Bar:
    """``bench/kills.py``; the quick case kills six times."""
    size = {"frames": 500, "chunk": 128, "kills": 6} if args.quick else {"frames": 3000, "chunk": 128, "kills": 20}
    found = kill_and_resume(work, **size, seed=0)
    holds = found["frames_decoded"] <= found["allowed"] and not found["different"]
    target = "frames decoded in all runs <= frames + kills x 2 chunks; the files of an undisturbed run"
    return _bar(found, target, holds=holds)


def bar_e(work: Path, args: argparse.Namespace) -> Bar:
    """``bench/memory.py``; the quick case is short, and leaves out what ``analyze`` has done already."""
    short, long = (1500, 4500) if args.quick else (4000, 100_000)
    chunk, stages = (128, ("analyze", "export csv")) if args.quick else (1024, memory.STAGES)
    peaks = {str(n): memory.measure(n, work / str(n), chunk=chunk, stages=stages) for n in (short, long)}
    ratios = memory.compare(peaks[str(short)], peaks[str(long)])
    return _bar(
        {"chunk": chunk, "peak_mb": peaks, "ratio": ratios}, "peak within 15 %", holds=max(ratios.values()) <= 1.15
    )


def bar_f(work: Path, args: argparse.Namespace) -> Bar:
    """``bench/independence.py``; the quick case tries two ways of each kind."""
    found = independence.measure(work, is_quick=args.quick)
    wrong = [*(line for part in found.values() for line in part["different"]), *found["pictures"]["misplaced"]]
    target = "the same tables, numbers and pixels every way; no frame under another one's number"
    return _bar({"wrong": len(wrong), **found}, target, holds=not wrong)


class _Sampler:
    """Which of the package's functions each busy thread is in, a thousand times a second; callers do not count."""

    def __init__(self) -> None:
        self.found: Counter[str] = Counter()
        self.n = 0

    def __enter__(self) -> _Sampler:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        own = threading.get_ident()
        while not self._stop.wait(0.001):
            for ident, frame in sys._current_frames().items():
                code = frame.f_code
                if ident == own or code.co_name in WAITING:
                    continue
                self.n += 1
                while frame is not None and not frame.f_code.co_filename.startswith(PACKAGE):
                    frame = frame.f_back  # numpy's and torch's own Python counts for who called it
                file = Path(frame.f_code.co_filename).name if frame is not None else ""
                if frame is not None and file not in DECODER:
                    self.found[f"{file}:{frame.f_code.co_name}"] += 1


def bar_b(work: Path, args: argparse.Namespace) -> Bar:
    """``bench/light.py``; the quick case trains for two epochs, which says nothing about accuracy."""
    found = light.figures(work, n_frames=120, epochs=2) if args.quick else light.figures(work, n_frames=600)
    target = (
        "reduced scale: 60 frames/s, mAP >= full scale - 3, RMSE <= full scale + 1 px; full scale: 20 frames/s in int8"
    )
    return _bar(found, target, holds=light.holds(found))


BARS = {"B": bar_b, "C": bar_c, "D": bar_d, "E": bar_e, "F": bar_f}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--peers", action="store_true", help="nothing yet: no bar here asks a peer")
    parser.add_argument("--only", type=lambda bars: bars.upper().split(","), default=list(BARS))
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", type=Path, help="keep what is made there")
    return run_bars(BARS, parser.parse_args())


if __name__ == "__main__":
    raise SystemExit(main())
