"""Rendered fish for the bars of re-identification: networks, videos, tracks, and whose they are.

Everything is kept in the work folder: what is there is not made again.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from shoal.config.run import load_config
from shoal.io.dlc.results import name_tracks
from shoal.run.crops import complete_crops
from shoal.run.edits import read_names
from shoal.run.engine import Engine
from shoal.run.enrolment import enroll
from shoal.run.evaluation import evaluate_tracks
from shoal.run.folder import ModelCard, each_span, read_animals, read_config
from shoal.run.gallery import forget
from shoal.run.models import train
from shoal.run.names import read_track_names
from shoal.run.steps import analyze, change_config, track
from shoal.stages.metrics_tracking import score_tracks
from shoal.synthetic.dataset import make_project, make_video
from shoal.synthetic.noise import noisy_detections
from shoal.synthetic.scenes import SCENES, SKELETON, Scene
from shoal.synthetic.truth import Truth, ignore_regions, truth_of, visible_tracks
from shoal.types import Detections, FrameBatch, Poses, Tracks, body_length

LIGHT = [
    "model.backbone=mobilenetv4_conv_small", "model.input_scale=0.625", "train.crop_px=192", "train.heat_sigma_px=3",
    "train.limb_width_px=3", "train.epochs=40", "train.eval_every=10", "dataset.train_fraction=0.9",
]  # fmt: skip
NEAR = 0.4  # body lengths between the centres of a true animal and the one found
AWAY_S = 10.0


def network(work: Path, scene: Scene, *, n_labelled: int) -> Path:
    """A network for a scene, trained on labelled frames of four videos of other fish."""
    project = work / "project"
    if not (project / "config.yaml").is_file():
        make_project(project, scene, seed=0, n_frames=n_labelled, n_videos=4, reflections=False)
    return Path(train(project, name="pose", config=load_config(overrides=LIGHT))["model"])


def simulated(video: Path, seed: int) -> Engine:
    """Stands in for a network: detections of a rendered video with the errors of the noise table."""
    found = noisy_detections(truth_of(video), seed=seed, edges=SKELETON.edges)

    def detect(batch: FrameBatch) -> tuple[Detections, Poses, np.ndarray]:
        peaks, limbs = np.isin(found.frame, batch.frame), np.isin(found.limb_frame, batch.frame)
        span = int(batch.frame[0]), int(batch.frame[-1]) + 1
        part = Detections(
            *(getattr(found, name)[peaks] for name in ("frame", "number", "keypoint", "xy", "confidence")),
            *(getattr(found, name)[limbs] for name in ("limb_frame", "edge", "source", "target", "affinity")),
            found.identity[peaks], span,
        )  # fmt: skip
        return part, Poses.empty(span, 0), np.zeros((len(part), 8), np.float16)

    card = ModelCard("simulated", "0" * 64, SKELETON, SKELETON.edges, tuple(f"fish{i + 1}" for i in range(8)))
    return Engine(card, detect)


def tracked(video: Path, model: Path | Engine, n_animals: int) -> tuple[Path, float]:
    """Run folder of a video, its crops cut on the way, and the seconds that it took (hardly any if it was there)."""
    more = ["sample.feature_size=8"] if isinstance(model, Engine) else []
    counted = [f"stitch.n_animals={n_animals}", "stitch.count=exact", "reid.use=true", *more]
    began = time.perf_counter()
    return analyze(video, model, config=load_config(overrides=counted)), time.perf_counter() - began


def owners(truth: Truth, poses: Poses) -> np.ndarray:
    """(M,) the true animal that each row lies on, -1 = none."""
    n, length = len(truth.names), body_length(truth.full_xy)
    n_frames = truth.tracks.poses.span[1]
    centre = truth.full_xy.reshape(n_frames, n, -1, 2).mean(axis=2)
    seen = np.isfinite(truth.tracks.poses.xy).all(axis=2).sum(axis=1).reshape(n_frames, n) >= 2
    own = np.nanmean(poses.xy, axis=1)
    apart = np.linalg.norm(centre[poses.frame] - own[:, None], axis=2)
    apart[~seen[poses.frame]] = np.inf
    return np.where(apart.min(axis=1) < NEAR * length, apart.argmin(axis=1), -1)


def away(truth: Truth) -> float:
    """Disappearances of more than ten seconds per fish and hour."""
    n, n_frames = len(truth.names), truth.tracks.poses.span[1]
    seen = (np.isfinite(truth.tracks.poses.xy).all(axis=2).sum(axis=1) >= 2).reshape(n_frames, n)
    gaps = [np.diff(np.flatnonzero(seen[:, a])) / truth.fps for a in range(n)]
    return sum(int((gap > AWAY_S).sum()) for gap in gaps) / (n_frames / truth.fps / 3600 * n)


def shelter(work: Path, seed: int, n_frames: int, model: Path | None, scene: Scene) -> dict[str, Any]:
    """IDF1 by motion, with looks, and of the same tracklets each given to its true fish; no model = simulated."""
    video = work / f"{scene.name}-{seed}.mp4"
    if not video.is_file():
        make_video(scene, video, seed=seed, n_frames=n_frames)
    run, analysis_s = tracked(video, model or simulated(video, seed), scene.n_fish)
    truth, found = truth_of(video), dict[str, Any](seed=seed, analysis_s=round(analysis_s))
    for name, use in (("motion", "false"), ("looks", "true")):
        began = time.perf_counter()
        track(run, change_config(run, None, [f"reid.use={use}"]))
        figures = evaluate_tracks(run, video.with_suffix(".truth.npz"))["tracking"]
        seconds = round(time.perf_counter() - began, 1)
        shown = {key: round(float(figures[key]), 3) for key in ("IDF1", "HOTA", "switches")}
        found[name] = shown | {"seconds": seconds}
    found["perfect"] = {"IDF1": round(_perfect(run, truth), 3)}
    gap = found["perfect"]["IDF1"] - found["motion"]["IDF1"]
    found["closed"] = round((found["looks"]["IDF1"] - found["motion"]["IDF1"]) / gap, 3)
    found["away_per_fish_hour"] = round(away(truth), 1)
    print(found, file=sys.stderr)
    return found


def _perfect(run: Path, truth: Truth) -> float:
    """IDF1 of the run's tracklets, each given to the fish that most of its rows are."""
    parts = list(each_span(run, kind="tracklets"))
    whose = [owners(truth, part.poses) for part in parts]
    votes = np.zeros((max(part.n_tracks for part in parts), len(truth.names)))
    for part, own in zip(parts, whose, strict=True):
        known = (part.track >= 0) & (own >= 0)
        np.add.at(votes, (part.track[known], own[known]), 1)
    fish = np.where(votes.any(axis=1), votes.argmax(axis=1), -1)
    columns = ("frame", "item", "xy", "confidence", "score")
    poses = Poses(
        *(np.concatenate([getattr(part.poses, name) for part in parts]) for name in columns), (0, parts[-1].span[1])
    )
    number = np.concatenate([np.where(part.track >= 0, fish[part.track], -1) for part in parts])
    figures = score_tracks(
        visible_tracks(truth), Tracks(poses, number), ignore=ignore_regions(truth), length=body_length(truth.full_xy),
        fps=truth.fps,
    )  # fmt: skip
    return float(figures["IDF1"])


def another_day(
    work: Path, seed: int, n_frames: int, model: Path | None, *, day: int, n_strangers: int
) -> dict[str, Any]:
    """Fish enrolled on one day, named on another one: all of them, and with some of them as strangers."""
    scene = replace(SCENES["demo"], n_fish=8)
    runs = []
    for when in (0, day):
        video = work / f"day{when}-{seed}.mp4"
        if not video.is_file():
            make_video(scene, video, seed=seed, n_frames=n_frames, day=when)
        runs.append((tracked(video, model or simulated(video, seed), scene.n_fish)[0], truth_of(video)))
    whose = _majority(*runs[0])
    names = name_tracks(read_names(runs[0][0]), scene.n_fish)
    called = {name: f"true{whose[t]}" if t in whose else f"unknown-{name}" for t, name in enumerate(names)}
    found: dict[str, Any] = {"seed": seed}
    for case in ("all known", "strangers"):
        gallery = work / f"gallery-{seed}-{case.replace(' ', '-')}"
        began = time.perf_counter()
        known = enroll(runs[0][0], gallery, names=called)["names"]
        found["enrolled"] = len(known)
        for name in known[:n_strangers] if case == "strangers" else ():
            forget(gallery, name)
        enrol_s = time.perf_counter() - began
        began = time.perf_counter()
        run, truth = runs[1]
        complete_crops(run, read_config(run).reid)
        track(run, change_config(run, None, [f"reid.gallery={gallery}"]))
        found[case] = _named(run, truth) | {
            "enrol_s": round(enrol_s, 1),
            "name_s": round(time.perf_counter() - began, 1),
        }
    return found


def _majority(run: Path, truth: Truth) -> dict[int, int]:
    """The fish of each track, as a person would say who looks at it; of two tracks of one fish the longer."""
    tracks = read_animals(run)
    own = owners(truth, tracks.poses)
    votes = np.zeros((tracks.n_tracks, len(truth.names)))
    known = (tracks.track >= 0) & (own >= 0)
    np.add.at(votes, (tracks.track[known], own[known]), 1)
    found: dict[int, int] = {}
    for t in np.argsort(-votes.max(axis=1), kind="stable").tolist():
        fish = int(votes[t].argmax())
        if votes[t].any() and fish not in found.values():
            found[t] = fish
    return found


def _named(run: Path, truth: Truth) -> dict[str, Any]:
    """Fish-frames by what they were called."""
    names = read_track_names(run)
    assert names is not None
    animals = read_animals(run)
    own = owners(truth, animals.poses)
    rows = (own >= 0) & np.isin(animals.track, names.track)
    at = np.searchsorted(names.track, animals.track[rows])
    probability, fish = names.probability[at], own[rows]
    said = np.array([*names.names, "unknown"])[probability.argmax(axis=1)]
    is_known = np.isin([f"true{f}" for f in fish], names.names)
    right = said == np.array([f"true{f}" for f in fish])
    unknown = probability[:, -1]
    found = {
        "right": round(float(right[is_known].mean()), 3),
        "known called unknown": round(float((said == "unknown")[is_known].mean()), 3),
    }
    if not is_known.all():
        n, m = int((~is_known).sum()), int(is_known.sum())
        rank = rankdata(np.r_[unknown[~is_known], unknown[is_known]])
        found["strangers called unknown"] = round(float((said == "unknown")[~is_known].mean()), 3)
        found["AUROC"] = round(float((rank[:n].sum() - n * (n + 1) / 2) / (n * m)), 3)
    return found
