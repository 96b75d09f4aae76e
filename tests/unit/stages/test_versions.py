"""Results of the tracking stages on fixed input: they change only together with ``VERSION``.

A run folder keeps a stage's result as long as its fingerprint fits, and the fingerprint holds ``VERSION``. If this
test fails because you improved a stage, raise that stage's VERSION and put the new digest here.
"""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from shoal.config.assemble import AssembleConfig
from shoal.config.associate import AssociateConfig
from shoal.config.classify import ClassifyConfig
from shoal.config.sample import SampleConfig
from shoal.config.smooth import SmoothConfig
from shoal.config.stitch import StitchConfig
from shoal.stages import assemble, associate, classify, sampling, smooth, stitch
from shoal.types import Detections, Poses, Tracks, select

DIGESTS = {
    "assemble": (4, "d0028edbcd0e059d"),
    "associate": (4, "da648ec8ccf3850c"),
    "classify": (1, "8a73bed1770a5c09"),
    "smooth": (1, "1d69780a537a79bc"),
    "stitch": (5, "3ecb4c603c5e4090"),
    "sampling": (1, "2d3211a2547efc5b"),
}
"""VERSION and digest of the integers in the result (floats differ in the last bit between processors)."""

LENGTHS = np.array([40.0, 46.0, 52.0, 58.0])
BODY = np.stack([np.linspace(-0.5, 0.5, 5), np.zeros(5)], axis=1)


def swimmers():
    """Four animals of 300 frames that swim in circles through each other, unseen now and then."""
    t = np.arange(300)[:, None]
    phase, radius = np.arange(4) * 1.7, 60 + 25 * np.arange(4)
    angle = phase + t * (0.03 + 0.011 * np.arange(4))
    centre = np.stack([300 + radius * np.cos(angle), 300 + radius * np.sin(angle)], axis=-1)
    heading = angle + np.pi / 2
    turn = np.stack([np.cos(heading), np.sin(heading), -np.sin(heading), np.cos(heading)], -1).reshape(300, 4, 2, 2)
    xy = centre[:, :, None] + (LENGTHS[:, None, None] * BODY) @ turn
    frame, animal = np.nonzero((t + np.arange(4) * 37) % 60 > 7)
    item = np.concatenate([np.arange(n) for n in np.bincount(frame)])
    return Poses(frame, item, xy[frame, animal], np.ones((len(frame), 5)), 0.5 + 0.1 * animal, (0, 300))


def peaks():
    """The same animals as peaks with limb candidates; those between animals get weaker with distance."""
    poses = swimmers()
    rows = np.flatnonzero(poses.frame < 40)
    n_keypoints = 5
    frame, keypoint = np.repeat(poses.frame[rows], n_keypoints), np.tile(np.arange(n_keypoints), len(rows))
    xy, owner = poses.xy[rows].reshape(-1, 2), np.repeat(np.arange(len(rows)), n_keypoints)
    number = np.concatenate([np.arange(n) for n in np.bincount(frame)])
    edges = np.array([(0, 1), (1, 2), (2, 3), (3, 4), (0, 2), (2, 4)])
    limbs = []
    for e, (a, b) in enumerate(edges):
        for s in np.flatnonzero(keypoint == a):
            for d in np.flatnonzero((keypoint == b) & (frame == frame[s])):
                affinity = 0.9 if owner[s] == owner[d] else 0.9 * np.exp(-np.linalg.norm(xy[s] - xy[d]) / 60)
                limbs.append((frame[s], e, number[s], number[d], affinity))
    m = np.array(sorted(limbs))
    detections = Detections(
        frame, number, keypoint, xy, np.full(len(frame), 0.8), m[:, 0], m[:, 1], m[:, 2], m[:, 3], m[:, 4],
        np.zeros((len(frame), 0)), (0, 40),
    )  # fmt: skip
    return detections, edges


def reflected():
    """The same animals and their images in a wall at x = 440, as tracks 4 to 7."""
    poses = swimmers()
    animal = np.round((poses.score - 0.5) / 0.1).astype(int)
    image = poses.xy.copy()
    image[..., 0] = 440 + 0.85 * (440 - image[..., 0])
    frame = np.r_[poses.frame, poses.frame]
    order = np.argsort(frame, kind="stable")
    xy, track = np.concatenate([poses.xy, image])[order], np.r_[animal, animal + 4][order]
    item = np.arange(len(frame)) - np.searchsorted(frame[order], frame[order])
    table = Poses(frame[order], item, xy, np.ones(xy.shape[:2]), np.ones(len(frame)), (0, 300))
    return Tracks(table, track)


def results():
    detections, edges = peaks()
    poses = swimmers()
    tracklets, cuts = associate.associate(poses, AssociateConfig())
    info = classify.classify(reflected(), np.arange(5), ClassifyConfig())
    filled = smooth.smooth(select(reflected(), reflected().poses.frame % 7 > 1), SmoothConfig())
    tracks, decisions = stitch.stitch(tracklets, None, StitchConfig(n_animals=4, count="exact"))
    return {
        "assemble": [assemble.assemble(detections, edges, AssembleConfig(), n_keypoints=5)[1]],
        "associate": [tracklets.track, cuts.frame, cuts.source, cuts.target, cuts.reason],
        "classify": [info.kind, info.first, info.last, info.n],
        "smooth": [filled.tracks.poses.frame, filled.tracks.track, filled.is_filled],
        "stitch": [tracks.track, decisions.frame, decisions.source, decisions.target, decisions.reason],
        "sampling": [sampling.worth_keeping(poses, SampleConfig())],
    }


@pytest.fixture(scope="module")
def digests():
    return {
        name: hashlib.sha256(b"".join(np.asarray(a, np.int64).tobytes() for a in arrays)).hexdigest()[:16]
        for name, arrays in results().items()
    }


@pytest.mark.parametrize(
    "module", [assemble, associate, classify, smooth, stitch, sampling], ids=lambda m: m.__name__.split(".")[-1]
)
def test_results_change_only_with_the_version(module, digests):
    name = module.__name__.split(".")[-1]
    assert (module.VERSION, digests[name]) == DIGESTS[name]


def test_the_input_is_worth_testing():
    found = results()
    assert len(np.unique(found["associate"][0])) > 8
    assert len(found["stitch"][1]) > 5
    assert (found["assemble"][0] >= 0).all(axis=1).sum() > 100
    assert 0.05 < found["sampling"][0].mean() < 0.9
