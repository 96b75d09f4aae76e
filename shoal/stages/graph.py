"""Which limbs are worth using: chosen by how well their affinity tells one animal's keypoints from two animals'.

DeepLabCut's data-driven choice (Lauer et al., Nature Methods 2022; dlc_formats.md 6.4): the maximum spanning tree of
the limbs' separability, then the tree with more and more of the next best limbs, and of these graphs the one that
assembles labelled images best. DLC judges the graphs on the test images, which makes its test figures optimistic;
here they are judged on the images that the caller gives, as a rule those that the network was trained on.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (scipy comes without types)

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray
from scipy.optimize import linear_sum_assignment

from shoal.config.assemble import AssembleConfig
from shoal.stages.assemble import assemble
from shoal.stages.metrics_pose import score_poses
from shoal.types import Detections, Poses

N_BINS = 100  # of affinity, from 0 to 1
N_GRAPHS = 10
TIE = 1e-4  # of the difference of means: decides between limbs whose areas are equal


@dataclass(frozen=True, eq=False)
class LimbChoice:
    """A choice of limbs, and what it was made from. All limbs are indices into ``edges`` of the network.

    Attributes:
        limbs: the chosen ones, best first.
        candidates: the graphs tried, smallest first; each holds the one before.
        scores: mAP of each candidate, 0-100.
        separability: (E,) see ``separability``.
    """

    limbs: Int64[ndarray, "n"]
    candidates: tuple[Int64[ndarray, "n"], ...]
    scores: Float64[ndarray, "G"]
    separability: Float64[ndarray, "E"]


def choose_limbs(
    truth: Poses,
    detections: Detections,
    edges: Int64[ndarray, "E 2"],
    config: AssembleConfig,
    *,
    judge: tuple[Poses, Detections] | None = None,
    n_graphs: int = N_GRAPHS,
) -> LimbChoice:
    """Choose the limbs that assembly should use.

    Args:
        truth: labelled animals, ``frame`` = image number.
        detections: peaks and the affinities of all limbs on the same images.
        edges: (E, 2) keypoints of each limb.
        config: how animals are assembled.
        judge: truth and detections of the images that the graphs are compared on; None = the same ones.
        n_graphs: at most this many graphs are compared.

    Returns:
        The graph of highest mAP; of equals the smallest.
    """
    edges = np.asarray(edges, np.int64).reshape(-1, 2)
    separable = separability(truth, detections, edges)
    graphs = candidate_graphs(edges, separable, truth.n_keypoints, n_graphs=n_graphs)
    scores = np.zeros(len(graphs))
    labelled, seen = judge or (truth, detections)
    for g, limbs in enumerate(graphs):
        animals, _ = assemble(with_limbs(seen, limbs), edges[limbs], config, n_keypoints=truth.n_keypoints)
        scores[g] = np.nan_to_num(score_poses(labelled, animals).mAP)
    best = graphs[int(np.argmax(np.round(scores, 6)))] if graphs else np.zeros(0, np.int64)
    return LimbChoice(best, graphs, scores, separable)


def separability(truth: Poses, detections: Detections, edges: Int64[ndarray, "E 2"]) -> Float64[ndarray, "E"]:
    """How well each limb's affinity tells pairs of one animal from pairs of two.

    Returns:
        (E,) area under the receiver operating characteristic in 100 steps: 0.5 = not at all, 1 = always; 0 for a
        limb that no animal shows whole. Pairs that the network gave no affinity count as 0. A ten-thousandth of
        the difference of the two means is added: on easy images a third of all limbs always tell.
    """
    owner = owners(truth, detections)
    area = np.zeros(len(edges))
    for e, (a, b) in enumerate(np.asarray(edges, np.int64)):
        within, between = _affinities(detections, owner, e, int(a), int(b))
        if len(within):
            counts = [np.histogram(np.clip(v, 0, 1), N_BINS, (0.0, 1.0))[0] for v in (within, between)]
            share = [np.r_[0.0, np.cumsum(c) / max(c.sum(), 1)] for c in counts]
            area[e] = np.trapezoid(share[1], share[0]) if len(between) else 1.0
            area[e] += TIE * (within.mean() - (between.mean() if len(between) else 0.0))
    return area


def owners(truth: Poses, detections: Detections) -> Int64[ndarray, "P"]:
    """Row of ``truth`` whose keypoint each peak is, -1 = none: the pairs of least total distance in each frame."""
    owner = np.full(len(detections), -1)
    for frame in np.unique(truth.frame):
        animals, peaks = np.flatnonzero(truth.frame == frame), np.flatnonzero(detections.frame == frame)
        for keypoint in range(truth.n_keypoints):
            shown = animals[np.isfinite(truth.xy[animals, keypoint]).all(axis=1)]
            mine = peaks[detections.keypoint[peaks] == keypoint]
            apart = np.linalg.norm(truth.xy[shown, None, keypoint] - detections.xy[mine], axis=2)
            i, j = linear_sum_assignment(apart)
            owner[mine[j]] = shown[i]
    return owner


def _affinities(
    detections: Detections, owner: Int64[ndarray, "P"], edge: int, a: int, b: int
) -> tuple[Float64[ndarray, "N"], Float64[ndarray, "N"]]:
    """Affinities of all pairs of owned peaks of one limb: of one animal, of two animals of a frame."""
    within: list[ndarray] = [np.zeros(0)]
    between: list[ndarray] = [np.zeros(0)]
    mine = np.flatnonzero(detections.edge == edge)
    for frame in np.unique(detections.frame[owner >= 0]):
        peaks = np.flatnonzero((detections.frame == frame) & (owner >= 0))
        source, target = peaks[detections.keypoint[peaks] == a], peaks[detections.keypoint[peaks] == b]
        table = np.zeros((len(source), len(target)))
        limbs = mine[detections.limb_frame[mine] == frame]
        at = detections.number[source][:, None] == detections.source[limbs]
        to = detections.number[target][:, None] == detections.target[limbs]
        found = at.any(axis=0) & to.any(axis=0)
        if found.any():
            table[at[:, found].argmax(axis=0), to[:, found].argmax(axis=0)] = detections.affinity[limbs[found]]
        same = owner[source][:, None] == owner[target]
        within.append(table[same])
        between.append(table[~same])
    return np.concatenate(within), np.concatenate(between)


def candidate_graphs(
    edges: Int64[ndarray, "E 2"], separable: Float64[ndarray, "E"], n_keypoints: int, *, n_graphs: int = N_GRAPHS
) -> tuple[Int64[ndarray, "n"], ...]:
    """The maximum spanning tree, and the tree with the next best limbs, in at most ``n_graphs`` sizes up to all.

    Returns:
        Indices into ``edges``, the tree's first, both parts best first.

    >>> candidate_graphs(np.array([[0, 1], [0, 2], [1, 2]]), np.array([0.9, 0.6, 0.8]), 3)[0].tolist()
    [0, 2]
    """
    order = np.argsort(-separable, kind="stable")
    part = np.arange(n_keypoints)
    tree: list[int] = []
    for e in order:
        a, b = part[edges[e]]
        if a != b:
            part[part == b] = a
            tree.append(int(e))
    whole = np.array(tree + [int(e) for e in order if int(e) not in tree], np.int64)
    sizes = np.unique(np.linspace(len(tree), len(whole), max(n_graphs, 1)).astype(np.int64))
    return tuple(whole[:n] for n in sizes if n)


def with_limbs(detections: Detections, limbs: Int64[ndarray, "n"]) -> Detections:
    """The detections with the candidates of these limbs only, ``edge`` counted in their order."""
    place = np.full(int(max(detections.edge.max(initial=-1), limbs.max(initial=-1))) + 1, -1)
    place[limbs] = np.arange(len(limbs))
    edge = place[detections.edge]
    kept = np.flatnonzero(edge >= 0)
    kept = kept[np.lexsort((detections.target[kept], detections.source[kept], edge[kept], detections.limb_frame[kept]))]
    columns = {n: getattr(detections, n)[kept] for n in ("limb_frame", "source", "target", "affinity")}
    return replace(detections, edge=edge[kept], **columns)
