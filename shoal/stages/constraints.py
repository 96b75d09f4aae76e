"""Edits -> constraints between animal rows -> constraints between tracklets, which are cut where they must be.

A tracklet counts as one animal unless edits say otherwise. Where they do (two rows of it are two animals; two rows are
one animal in tracklets that overlap) it is cut at its least certain place in between: where another animal is nearest
to where this one was, measured by how far this one went. There the other's tracklet is cut as well, so that the two can
be exchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from shoal.types import Constraints, Decisions, Edit, Evidence, TrackInfo, Tracks

FAR_PX = 1000.0  # nobody else in the frame: as if the next one were so far away

Parts = Callable[[], Iterable[Tracks]]
Row = tuple[int, int]


@dataclass
class _Said:
    """What edits say together: which rows are one animal, which two, what they are called, which are none."""

    parent: dict[Row, Row] = field(default_factory=dict[Row, Row])
    apart: list[tuple[Row, Row]] = field(default_factory=list[tuple[Row, Row]])
    names: dict[str, Row] = field(default_factory=dict[str, Row])
    removed: set[Row] = field(default_factory=set[Row])

    def copy(self) -> _Said:
        return _Said(dict(self.parent), list(self.apart), dict(self.names), set(self.removed))

    def find(self, row: Row) -> Row:
        self.parent.setdefault(row, row)
        while self.parent[row] != row:
            row = self.parent[row]
        return row

    def is_sound(self) -> bool:
        """No animal is two, has two rows in a frame or two names, or is none."""
        place: dict[tuple[Row, int], int] = {}
        for row in list(self.parent):
            if row in self.removed or place.setdefault((self.find(row), row[0]), row[1]) != row[1]:
                return False
        owners = [self.find(row) for row in self.names.values()]
        return len(set(owners)) == len(owners) and all(self.find(a) != self.find(b) for a, b in self.apart)

    def join(self, a: Row, b: Row) -> None:
        a, b = self.find(a), self.find(b)
        self.parent[max(a, b)] = min(a, b)

    def say(self, edit: Edit) -> _Said:
        """What is said with one edit more."""
        more, rows = self.copy(), edit.rows
        if edit.kind == "remove":
            more.removed |= set(rows)
        elif edit.kind == "name":
            more.join(rows[0], more.names.setdefault(edit.value, rows[0]))
        elif edit.kind == "different":
            more.apart.append((more.find(rows[0]), more.find(rows[1])))
        else:
            more.join(rows[0], rows[1])
            if len(rows) > 2:
                more.find(rows[2])
                more.apart.append((rows[0], rows[2]))
        return more


def gather(edits: Sequence[Edit], numbers: Sequence[int] = ()) -> tuple[Constraints, dict[int, str]]:
    """What edits say, without those that contradict later ones.

    Args:
        edits: in order of time.
        numbers: what each is called where it is named; empty = 1, 2, ...

    Returns:
        The constraints; why an edit is left out, by its place in ``edits``.

    >>> found, why = gather([Edit("same", ((0, 0), (5, 1))), Edit("different", ((0, 0), (5, 1)))])
    >>> len(found), found.apart.tolist(), why
    (2, [[0, 1]], {0: 'it contradicts a later edit (2)'})
    """
    said, taken, why = _Said(), list[int](), dict[int, str]()
    called = numbers or range(1, len(edits) + 1)
    for i in reversed(range(len(edits))):
        more = said.say(edits[i])
        if more.is_sound():
            said = more
            taken.append(i)
            continue
        alone = _Said().say(edits[i])
        against = [k for k in reversed(taken) if not alone.say(edits[k]).is_sound()]
        if not alone.is_sound():
            why[i] = "it contradicts itself: an animal has one row in a frame"
        else:
            why[i] = f"it contradicts a later edit ({called[against[0]]})" if against else "it contradicts later edits"
    rows = sorted({*said.parent, *said.removed})
    roots = sorted({said.find(row) for row in said.parent})
    number = {root: g for g, root in enumerate(roots)}
    names = [""] * len(roots)
    for name, row in said.names.items():
        names[number[said.find(row)]] = name
    apart = {tuple(sorted((number[said.find(a)], number[said.find(b)]))) for a, b in said.apart}
    named = [g for g, name in enumerate(names) if name]
    apart |= {(g, h) for i, g in enumerate(named) for h in named[i + 1 :]}
    animal = [-1 if row in said.removed else number[said.find(row)] for row in rows]
    place = np.array(rows, np.int64).reshape(-1, 2)
    pairs = np.array(sorted(apart), np.int64).reshape(-1, 2)
    return Constraints(place[:, 0], place[:, 1], np.array(animal, np.int64), pairs, tuple(names)), why


@dataclass(frozen=True, eq=False)
class Links:
    """Constraints between the pieces of tracklets. X cuts, N pieces that edits are about.

    The first piece of a tracklet keeps its number, the piece after cut x has the number ``n_tracklets`` + x.

    Attributes:
        n_tracklets: before cutting.
        cut_tracklet: (X,) what is cut, sorted by (frame, tracklet).
        cut_frame: (X,) rows from this frame on are the next piece.
        removed: (R, 2) frame and item of rows that are no animals.
        piece: (N,) numbers of pieces.
        animal: (N,) pieces of equal number are one animal, on one path.
        apart: (n, 2) numbers of animals that are two.
        names: of the animals, empty = not named.
        sizes: first frame, last frame and rows of each piece of a tracklet that edits are about.
    """

    n_tracklets: int
    cut_tracklet: Int64[ndarray, "X"]
    cut_frame: Int64[ndarray, "X"]
    removed: Int64[ndarray, "R 2"]
    piece: Int64[ndarray, "N"]
    animal: Int64[ndarray, "N"]
    apart: Int64[ndarray, "n 2"]
    names: tuple[str, ...]
    sizes: dict[int, tuple[int, int, int]]

    @property
    def tracklet(self) -> Int64[ndarray, "P"]:
        """Which tracklet each piece is of."""
        return np.r_[np.arange(self.n_tracklets), self.cut_tracklet]


def bind(parts: Parts, constraints: Constraints) -> Links:
    """Constraints between rows -> between tracklets.

    Always an answer: tracklets are kept whole as far as that contradicts nothing, the surest stretches first (exact for
    one contradiction, greedy for many).

    Args:
        parts: gives the adjoining spans of the tracklets; called twice.
        constraints: rows that are not there are passed over.
    """
    removed = np.stack([constraints.frame, constraints.item], axis=1)[constraints.animal < 0]
    n_tracklets, tracklet = _locate(parts, constraints)
    known = np.flatnonzero((constraints.animal >= 0) & (tracklet >= 0))
    frame, owner, animal = constraints.frame[known], tracklet[known], constraints.animal[known]
    touched = np.unique(tracklet[tracklet >= 0])
    paths = _look(parts, touched, removed, _windows(frame, owner, animal))
    cuts = {(t, c) for pair in _successive(animal, frame) for t, c in _cuts_between(*pair, frame, owner, paths)}
    soft: list[_Soft] = []
    for a, b in _successive(owner, frame):
        t = int(owner[a])
        if not any(t == x and frame[a] < c <= frame[b] for x, c in cuts) and animal[a] != animal[b]:
            soft.append(_Soft(t, a, b, *paths[t].weakest(int(frame[a]), int(frame[b]))))
    group = _merge(constraints, (frame, owner, animal), soft, cuts, paths)
    partners = np.setdiff1d([t for t, _ in cuts], touched).astype(np.int64)
    paths |= _look(parts, partners, removed, []) if len(partners) else {}
    order = sorted(cuts, key=lambda cut: (cut[1], cut[0]))
    cut_t, cut_f = np.array(order, np.int64).reshape(-1, 2).T
    none = np.zeros(0, np.int64)
    blank = Links(n_tracklets, cut_t, cut_f, removed, none, none, none.reshape(0, 2), (), {})
    piece = _pieces(owner, frame, blank)
    sizes = {
        int(p): (int(rows[0]), int(rows[-1]), len(rows))
        for t in paths
        for p, rows in _by_piece(t, paths[t].frame, blank)
    }
    number = np.unique(group, return_inverse=True)[1]  # of each animal of the constraints
    names = [""] * (int(number.max(initial=-1)) + 1)
    for g, name in enumerate(constraints.names):
        names[number[g]] = names[number[g]] or name
    piece, first = np.unique(piece, return_index=True)
    pairs = np.unique(np.sort(number[constraints.apart], axis=1), axis=0).reshape(-1, 2)
    return replace(
        blank, piece=piece, animal=number[animal[first]], apart=pairs, names=tuple(names), sizes=sizes
    )  # fmt: skip


def split(tracklets: Tracks, links: Links) -> Tracks:
    """The same rows; tracklets are cut, and rows that are no animals belong to none."""
    track = np.array(tracklets.track)
    track[_is_among(tracklets, links.removed)] = -1
    return Tracks(tracklets.poses, _pieces(track, tracklets.poses.frame, links))


def evidence_of_pieces(evidence: Evidence | None, links: Links) -> Evidence | None:
    """Evidence about tracklets that stay whole; that about others is about two animals mixed."""
    if evidence is None or not len(links.cut_tracklet):
        return evidence
    weight = np.array(evidence.weight)
    cut = links.cut_tracklet
    weight[cut[cut < len(weight)]] = 0
    return replace(evidence, weight=weight)


def decisions_of_tracklets(decisions: Decisions, links: Links) -> Decisions:
    """Decisions about pieces as those about the tracklets that they are of."""
    tracklet = np.r_[links.tracklet, -1]
    return replace(decisions, source=tracklet[decisions.source], target=tracklet[decisions.target])


def kinds_of_pieces(info: TrackInfo, links: Links, animal: int) -> TrackInfo:
    """What pieces are: as their tracklets; what is named, or one with an animal, is an animal (kind ``animal``)."""
    parent = links.tracklet
    kind, probability = info.kind[parent], info.probability[parent]
    first, last, n = (np.array(column[parent]) for column in (info.first, info.last, info.n))
    for piece, size in links.sizes.items():
        first[piece], last[piece], n[piece] = size
    for g, name in enumerate(links.names):
        mine = links.piece[links.animal == g]
        if name or (kind[mine] == animal).any():
            probability[mine] = np.where(kind[mine] == animal, probability[mine], 1.0)
            kind[mine] = animal
    return TrackInfo(np.arange(len(parent)), kind, probability, first, last, n)


def names_of_tracks(number: Int64[ndarray, "P"], links: Links) -> dict[int, str]:
    """Tracks that edits gave a name, from the track of each piece."""
    track: list[int] = np.r_[number, np.full(max(len(links.tracklet) - len(number), 0), -1)][links.piece].tolist()
    animal: list[int] = links.animal.tolist()
    named = [(t, links.names[g]) for t, g in zip(track, animal, strict=True) if t >= 0 and links.names[g]]
    return dict(sorted(named))


@dataclass
class _Path:
    """The rows of one tracklet.

    frame: of each; sure: that it is the animal of the row before, 0-1 (1 = not asked); near: tracklet of the animal
    next to where that was, -1 = none.
    """

    frame: Int64[ndarray, "n"]
    sure: Float64[ndarray, "n"]
    near: Int64[ndarray, "n"]

    def weakest(self, after: int, until: int) -> tuple[int, float, int]:
        """Frame of the row in (after, until] that is least sure to go on from the one before, how sure, who is near."""
        begin, end = np.searchsorted(self.frame, (after + 1, until + 1))
        at = begin + int(self.sure[begin:end].argmin())
        return int(self.frame[at]), float(self.sure[at]), int(self.near[at])

    def cost_at(self, frames: Int64[ndarray, "f"]) -> Float64[ndarray, "f"]:
        """How sure what is cut is if all rows from each of these frames on are cut off; 0 = nothing is cut."""
        at = np.searchsorted(self.frame, frames)
        inside = (at > 0) & (at < len(self.frame))
        return np.where(inside, self.sure[np.minimum(at, len(self.frame) - 1)], 0.0)

    def row_from(self, frame: int) -> int | None:
        """Frame of the first row from ``frame`` on, if it has one before as well."""
        at = int(np.searchsorted(self.frame, frame))
        return int(self.frame[at]) if 0 < at < len(self.frame) else None


class _Soft(NamedTuple):
    """Two anchored rows of two animals in one tracklet; its weakest place between them, how sure it is, who is near."""

    tracklet: int
    a: int
    b: int
    at: int
    sure: float
    near: int


def _is_among(tracklets: Tracks, rows: Int64[ndarray, "R 2"]) -> ndarray:
    start, stop = tracklets.span
    rows = rows[(rows[:, 0] >= start) & (rows[:, 0] < stop)]
    if not len(rows):
        return np.zeros(len(tracklets), np.bool_)
    poses = tracklets.poses
    return np.isin(poses.frame * 65536 + poses.item, rows[:, 0] * 65536 + rows[:, 1])


def _locate(parts: Parts, constraints: Constraints) -> tuple[int, Int64[ndarray, "A"]]:
    """How many tracklets there are; that of each anchored row, -1 = none."""
    n, tracklet = 0, np.full(len(constraints), -1)
    for part in parts():
        n = max(n, part.n_tracks)
        poses = part.poses
        for a in np.flatnonzero((constraints.frame >= part.span[0]) & (constraints.frame < part.span[1])):
            begin, end = np.searchsorted(poses.frame, (constraints.frame[a], constraints.frame[a] + 1))
            found = begin + np.flatnonzero(poses.item[begin:end] == constraints.item[a])
            tracklet[a] = part.track[found[0]] if len(found) else -1
    return n, tracklet


def _successive(key: Int64[ndarray, "A"], frame: Int64[ndarray, "A"]) -> list[tuple[int, int]]:
    """Pairs of rows of equal key that follow each other in time."""
    order = np.lexsort((frame, key))
    return [(int(a), int(b)) for a, b in pairwise(order) if key[a] == key[b]]


def _windows(
    frame: Int64[ndarray, "A"], owner: Int64[ndarray, "A"], animal: Int64[ndarray, "A"]
) -> list[tuple[int, int, int]]:
    """(tracklet, first, last frame): where a tracklet may have to be cut."""
    pairs = [(a, b) for a, b in _successive(owner, frame) if animal[a] != animal[b]]
    pairs += [(a, b) for a, b in _successive(animal, frame) if owner[a] != owner[b]]
    return [(int(owner[x]), int(frame[a]), int(frame[b])) for a, b in pairs for x in {a, b}]


def _look(
    parts: Parts, wanted: Int64[ndarray, "t"], removed: Int64[ndarray, "R 2"], windows: list[tuple[int, int, int]]
) -> dict[int, _Path]:
    """The tracklets that edits are about."""
    frames: dict[int, list[ndarray]] = {int(t): [np.zeros(0, np.int64)] for t in wanted}
    sure: dict[int, list[ndarray]] = {int(t): [np.zeros(0)] for t in wanted}
    near: dict[int, list[ndarray]] = {int(t): [np.zeros(0, np.int64)] for t in wanted}
    before: dict[int, ndarray] = {}
    for part in parts() if len(wanted) else ():
        poses = part.poses
        track = np.where(_is_among(part, removed), -1, part.track)
        start = np.searchsorted(poses.frame, np.arange(part.span[0], part.span[1] + 1))
        for t in np.intersect1d(wanted, track).tolist():
            rows = np.flatnonzero(track == t)
            at = poses.frame[rows]
            asked = np.zeros(len(rows), np.bool_)
            for _, a, b in (window for window in windows if window[0] == t):
                asked |= (at > a) & (at <= b)
            here, who = np.ones(len(rows)), np.full(len(rows), -1)
            some = np.flatnonzero(asked)
            if len(some):
                known = np.concatenate([before.get(t, poses.xy[rows[:1]]), poses.xy[rows]])
                here[some], who[some] = _sureness(
                    poses.xy, track, known[some], rows[some], start, at[some] - part.span[0]
                )
            frames[t].append(at)
            sure[t].append(here)
            near[t].append(who)
            before[t] = poses.xy[rows[-1:]]
    return {t: _Path(*(np.concatenate(c[t]) for c in (frames, sure, near))) for t in frames}


def _sureness(
    xy: ndarray, track: ndarray, known: ndarray, rows: ndarray, start: ndarray, frame: ndarray
) -> tuple[Float64[ndarray, "n"], Int64[ndarray, "n"]]:
    """How much nearer than any other animal of its frame each row is to where its tracklet was (``known``), 0-1.

    Also the tracklet of the nearest other animal, -1 = none. ``start``: first row of each frame; ``frame``: from 0 on.
    """
    first, count = start[frame], start[frame + 1] - start[frame]
    which = np.repeat(np.arange(len(rows)), count)
    other = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
    step = np.hypot(*np.moveaxis(xy[other] - known[which], -1, 0))
    n = np.isfinite(step).sum(axis=1)
    distance = np.where(n > 0, np.where(np.isfinite(step), step, 0).sum(axis=1) / np.maximum(n, 1), FAR_PX)
    is_own = other == rows[which]
    own = distance[is_own]
    rest = np.flatnonzero(~is_own & (track[other] >= 0))
    rest = rest[np.lexsort((distance[rest], which[rest]))]
    seen, best = np.unique(which[rest], return_index=True)
    nearest, near = np.full(len(rows), FAR_PX), np.full(len(rows), -1)
    nearest[seen], near[seen] = distance[rest[best]], track[other[rest[best]]]
    return nearest / np.maximum(nearest + own, 1e-9), near


def _cuts_between(
    a: int, b: int, frame: Int64[ndarray, "A"], owner: Int64[ndarray, "A"], paths: dict[int, _Path]
) -> list[tuple[int, int]]:
    """Cuts that let row ``b`` of one tracklet follow row ``a`` of another: no frame has both pieces."""
    if owner[a] == owner[b]:
        return []
    early, late = paths[int(owner[a])], paths[int(owner[b])]
    between = [p.frame[(p.frame > frame[a]) & (p.frame <= frame[b])] for p in (early, late)]
    places = np.unique(np.r_[frame[a] + 1, between[0], between[0] + 1, between[1]])
    places = places[places <= frame[b]]
    cost = early.cost_at(places) + late.cost_at(places)
    at = int(places[int(cost.argmin())])
    found = ((int(owner[x]), path.row_from(at)) for x, path in ((a, early), (b, late)))
    return [(t, c) for t, c in found if c is not None]


def _merge(
    constraints: Constraints,
    anchors: tuple[ndarray, ndarray, ndarray],
    soft: list[_Soft],
    cuts: set[tuple[int, int]],
    paths: dict[int, _Path],
) -> Int64[ndarray, "G"]:
    """Animals that tracklets say are one, the surest first, where nothing speaks against it; cuts elsewhere, in place.

    Args:
        constraints: which animals are two.
        anchors: frame, tracklet and animal of each anchored row.
        soft: where one tracklet holds two animals.
        cuts: of tracklets; added to.
        paths: the tracklets.
    """
    frame, owner, animal = anchors
    group = np.arange(len(constraints.names))
    tentative = {*cuts, *((link.tracklet, link.at) for link in soft)}
    spans: dict[int, list[tuple[int, int]]] = {int(g): [] for g in group}
    for f, t, g in zip(frame.tolist(), owner.tolist(), animal.tolist(), strict=True):
        own = sorted(c for x, c in tentative if x == t)
        low = max((c for c in own if c <= f), default=int(paths[t].frame[0]))
        high = min((c for c in own if c > f), default=int(paths[t].frame[-1]) + 1)
        spans[g].append((low, high))
    for link in sorted(soft, key=lambda link: (-link.sure, link.at, link.tracklet)):
        g, h = int(group[animal[link.a]]), int(group[animal[link.b]])
        if g == h:
            continue
        two = {tuple(sorted(pair)) for pair in group[constraints.apart].tolist()}
        overlap = any(x < d and c < y for x, y in spans[g] for c, d in spans[h])
        if overlap or tuple(sorted((g, h))) in two:
            cuts |= {(t, link.at) for t in (link.tracklet, link.near) if t >= 0}
        else:
            group[group == h] = g
            spans[g] += spans.pop(h)
    return group


def _pieces(track: ndarray, frame: ndarray, links: Links) -> Int64[ndarray, "M"]:
    """The piece of each row, from its tracklet and frame."""
    piece = np.array(track, np.int64)
    if not len(piece) or not len(links.cut_tracklet):
        return piece
    latest = int(frame.max())
    for x, (t, at) in enumerate(zip(links.cut_tracklet.tolist(), links.cut_frame.tolist(), strict=True)):
        if at <= latest:
            piece[(track == t) & (frame >= at)] = links.n_tracklets + x
    return piece


def _by_piece(tracklet: int, frames: Int64[ndarray, "n"], links: Links) -> Iterable[tuple[int, Int64[ndarray, "m"]]]:
    """Frames of each piece of a tracklet."""
    piece = _pieces(np.full(len(frames), tracklet), frames, links)
    return ((int(p), frames[piece == p]) for p in np.unique(piece))
