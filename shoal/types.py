"""The domain tables: what every stage takes and gives.

Frozen dataclasses over numpy arrays: parallel columns, one row per thing, ragged data flat, an
integer ``frame`` column, rows sorted by (frame, item). Columns are read-only after construction. (One module of
over 500 lines, half of them docstrings: every hand-over between stages can be read in one place.)

Shape legend: M animal rows, P peaks, L limb candidates, K keypoints, E edges, U unique keypoints,
I individuals, A animals of one image, N samples, D feature size, C tracks, B batch, R regions.

Coordinates: ``xy`` is (x, y) in pixels of the original, uncropped frame, x right, y down. **An integer
is a pixel's corner**: the first pixel covers [0, 1) and its centre is 0.5, so cell ``i`` of a map with
stride ``s`` has its centre at ``i * s + s / 2`` (DLC's convention) and scaling an image by ``f`` scales
coordinates by ``f``, with no offset anywhere. NaN = missing.

``span = (start, stop)`` of a table is the half-open range of frames it covers: "looked and found
nothing" differs from "not looked". Empty tables are ordinary values: ``T.empty(span, ...)``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, Int8, Int16, Int32, Int64, Shaped, UInt8
from numpy import ndarray

Span = tuple[int, int]
"""Half-open range of frame numbers."""

OnProgress = Callable[[str, int, int | None], None]
"""``on_progress(stage, done, total)``; total None = not known."""


def no_progress(stage: str, done: int, total: int | None) -> None:
    """The ``OnProgress`` that shows nothing."""


def column(table: Any, name: str, dtype: type, *shape: int | None) -> None:
    """Give one column its dtype, check its shape and make it read-only (used by ``__post_init__``).

    Args:
        table: the dataclass instance under construction.
        name: the column's attribute name.
        dtype: numpy scalar type that the column is cast to.
        *shape: expected sizes; None = any.

    Raises:
        ValueError: the shape does not fit; the message has both shapes.
    """
    array: ndarray[Any, Any] = np.asarray(getattr(table, name), dtype=dtype)
    fits = array.ndim == len(shape) and all(
        want is None or want == got for want, got in zip(shape, array.shape, strict=True)
    )
    if not fits:
        expected = tuple("any" if s is None else s for s in shape)
        raise ValueError(f"{type(table).__name__}.{name}: expected shape {expected}, got {array.shape}")
    array = array.view()
    array.flags.writeable = False
    object.__setattr__(table, name, array)


def _check_rows(table: Any, *keys: str) -> None:
    """Raise ValueError unless rows are sorted by ``keys`` and frames lie inside the span."""
    start, stop = (int(v) for v in table.span)
    object.__setattr__(table, "span", (start, stop))
    frame = getattr(table, keys[0])
    if len(frame) and (frame.min() < start or frame.max() >= stop):
        raise ValueError(f"{type(table).__name__}: frames {frame.min()}-{frame.max()} leave span {start}-{stop}")
    if len(frame) > 1:
        tied = np.ones(len(frame) - 1, dtype=bool)
        for key in keys:
            step = np.diff(getattr(table, key).astype(np.int64))
            if np.any(tied & (step < 0)):
                raise ValueError(f"{type(table).__name__}: rows are not sorted by ({', '.join(keys)})")
            tied &= step == 0


T = TypeVar("T", "Poses", "Tracks")


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Names of keypoints and how they belong together.

    Attributes:
        keypoints: K names, in the project's order.
        edges: (E, 2) keypoint indices of the limbs drawn and, by default, learned.
        mirror: (K,) index of the keypoint that each becomes in a mirror image (itself if none).
        unique: U names of keypoints that exist once per frame (DLC's unique bodyparts).
    """

    keypoints: tuple[str, ...]
    edges: Int64[ndarray, "E 2"] = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    mirror: Int64[ndarray, "K"] | None = None
    unique: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        k = len(self.keypoints)
        object.__setattr__(self, "edges", np.asarray(self.edges, np.int64).reshape(-1, 2))
        column(self, "edges", np.int64, None, 2)
        if self.mirror is None:
            object.__setattr__(self, "mirror", np.arange(k))
        column(self, "mirror", np.int64, k)
        if self.edges.size and (self.edges.min() < 0 or self.edges.max() >= k):
            raise ValueError(f"Skeleton.edges: expected indices 0-{k - 1}, got {self.edges.tolist()}")

    @property
    def n_keypoints(self) -> int:
        """K."""
        return len(self.keypoints)


@dataclass(frozen=True, eq=False)
class LabeledFrame:
    """Human annotation of one image.

    Attributes:
        image: file of the image.
        video: name of the labeled-data folder (the video's stem).
        frame: number in the file name, -1 if there is none.
        xy: (A, K, 2) keypoints in pixels of that image, NaN = not labelled.
        visible: (A, K) True where a keypoint is labelled.
        individual: (A,) index into ``Project.individuals``, -1 = unnamed.
        unique_xy: (U, 2) the unique keypoints, NaN = not labelled.
        row: (scorer's) position of this image in the merged, sorted label table; DLC's split indices
            refer to it.
    """

    image: Path
    video: str
    frame: int
    xy: Float32[ndarray, "A K 2"]
    visible: Bool[ndarray, "A K"]
    individual: Int64[ndarray, "A"]
    unique_xy: Float32[ndarray, "U 2"]
    row: int = -1

    def __post_init__(self) -> None:
        column(self, "xy", np.float32, None, None, 2)
        column(self, "visible", np.bool_, *self.xy.shape[:2])
        column(self, "individual", np.int64, len(self.xy))
        column(self, "unique_xy", np.float32, None, 2)


@dataclass(frozen=True)
class Problem:
    """Something in a project that does not fit; never fatal by itself.

    Attributes:
        where: file, folder or key.
        what: one sentence: expected / got.
        skipped: True if the item is left out of every dataset because of this.
    """

    where: str
    what: str
    skipped: bool = False


@dataclass(frozen=True, eq=False)
class Project:
    """A DLC project as shoal understands it; holds no file handles.

    Attributes:
        root: the project folder (wins over ``project_path`` in config.yaml).
        task: DLC's Task.
        scorer: the annotator's name, first column level of the label files.
        date: DLC's date field, e.g. ``Jul26``.
        skeleton: keypoints, limbs, mirror pairs, unique keypoints.
        individuals: names of labelled animals.
        videos: video files that exist.
        labels: one entry per usable labelled image, sorted as DLC merges them.
        problems: everything that did not fit.
        excluded: labeled-data folders that the user asked to leave out.
        has_identity: DLC's ``identity``: names mean the same animal in every video.
    """

    root: Path
    task: str
    scorer: str
    date: str
    skeleton: Skeleton
    individuals: tuple[str, ...]
    videos: tuple[Path, ...]
    labels: tuple[LabeledFrame, ...]
    problems: tuple[Problem, ...] = ()
    excluded: tuple[str, ...] = ()
    has_identity: bool = False


@dataclass(frozen=True, eq=False)
class FrameBatch:
    """Decoded pixels and how to get back to the frame.

    Attributes:
        frame: (B,) frame numbers.
        images: (B, H, W, 3) RGB.
        origin: (2,) frame position (x, y) of the images' top left corner.
        scale: image pixels per frame pixel.
    """

    frame: Int64[ndarray, "B"]
    images: UInt8[ndarray, "B H W 3"]
    origin: Float64[ndarray, "2"] = field(default_factory=lambda: np.zeros(2))
    scale: float = 1.0

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        column(self, "images", np.uint8, len(self.frame), None, None, 3)
        column(self, "origin", np.float64, 2)

    def to_frame_xy(self, xy: Shaped[ndarray, "... 2"]) -> Shaped[ndarray, "... 2"]:
        """Positions in these images -> positions in the frame (the one function that does it)."""
        return (xy / self.scale + self.origin).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Detections:
    """What the network saw, before grouping.

    Attributes:
        frame: (P,) frame of each peak; peaks are sorted by (frame, number).
        number: (P,) peak number within its frame, from 0.
        keypoint: (P,) index into ``Skeleton.keypoints``.
        xy: (P, 2) position.
        confidence: (P,) height of the peak, 0-1.
        limb_frame: (L,) frame of each limb candidate; sorted by (frame, edge, source, target).
        edge: (L,) index into the model's edges.
        source: (L,) peak number, within the frame, of the edge's first keypoint.
        target: (L,) peak number of the edge's second keypoint.
        affinity: (L,) limb strength, about 0-1.
        identity: (P, I) score of each named individual at the peak; I = 0 without an identity head.
        span: frames covered.
    """

    frame: Int64[ndarray, "P"]
    number: Int16[ndarray, "P"]
    keypoint: Int8[ndarray, "P"]
    xy: Float32[ndarray, "P 2"]
    confidence: Float16[ndarray, "P"]
    limb_frame: Int64[ndarray, "L"]
    edge: Int8[ndarray, "L"]
    source: Int16[ndarray, "L"]
    target: Int16[ndarray, "L"]
    affinity: Float16[ndarray, "L"]
    identity: Float16[ndarray, "P I"]
    span: Span

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        column(self, "limb_frame", np.int64, None)
        n_peaks, n_limbs = len(self.frame), len(self.limb_frame)
        column(self, "number", np.int16, n_peaks)
        column(self, "keypoint", np.int8, n_peaks)
        column(self, "xy", np.float32, n_peaks, 2)
        column(self, "confidence", np.float16, n_peaks)
        column(self, "edge", np.int8, n_limbs)
        column(self, "source", np.int16, n_limbs)
        column(self, "target", np.int16, n_limbs)
        column(self, "affinity", np.float16, n_limbs)
        column(self, "identity", np.float16, n_peaks, None)
        _check_rows(self, "frame", "number")
        _check_rows(self, "limb_frame", "edge", "source", "target")

    def __len__(self) -> int:
        return len(self.frame)

    @staticmethod
    def empty(span: Span, n_individuals: int = 0) -> Detections:
        """Frames that were looked at, nothing seen."""
        none, two = np.zeros(0), np.zeros((0, 2))
        return Detections(none, none, none, two, none, none, none, none, none, none, np.zeros((0, n_individuals)), span)


@dataclass(frozen=True, eq=False)
class Poses:
    """Assembled animals; (frame, item) is the key of an animal row for ever.

    Attributes:
        frame: (M,) frame number.
        item: (M,) number within the frame, given once by ``assemble``; -1 for rows filled in later.
        xy: (M, K, 2) keypoints, NaN = missing.
        confidence: (M, K) 0-1, 0 where missing.
        score: (M,) per animal, 0-1.
        span: frames covered.
    """

    frame: Int64[ndarray, "M"]
    item: Int16[ndarray, "M"]
    xy: Float32[ndarray, "M K 2"]
    confidence: Float32[ndarray, "M K"]
    score: Float32[ndarray, "M"]
    span: Span

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        m = len(self.frame)
        column(self, "item", np.int16, m)
        column(self, "xy", np.float32, m, None, 2)
        column(self, "confidence", np.float32, m, self.xy.shape[1])
        column(self, "score", np.float32, m)
        _check_rows(self, "frame")

    def __len__(self) -> int:
        return len(self.frame)

    @property
    def n_keypoints(self) -> int:
        """K."""
        return self.xy.shape[1]

    @staticmethod
    def empty(span: Span, n_keypoints: int) -> Poses:
        """Frames that were looked at, no animal found."""
        none = np.zeros(0)
        return Poses(none, none, np.zeros((0, n_keypoints, 2)), np.zeros((0, n_keypoints)), none, span)


@dataclass(frozen=True, eq=False)
class Tracks:
    """Animal rows and the track each belongs to; before stitching each track is a *tracklet*.

    Attributes:
        poses: the animal rows.
        track: (M,) track number, -1 = unassigned.
    """

    poses: Poses
    track: Int32[ndarray, "M"]

    def __post_init__(self) -> None:
        column(self, "track", np.int32, len(self.poses))

    def __len__(self) -> int:
        return len(self.poses)

    @property
    def span(self) -> Span:
        """Frames covered."""
        return self.poses.span

    @property
    def n_tracks(self) -> int:
        """C: numbers run from 0 to C - 1."""
        return int(self.track.max(initial=-1)) + 1

    @staticmethod
    def empty(span: Span, n_keypoints: int) -> Tracks:
        """Frames that were looked at, no track."""
        return Tracks(Poses.empty(span, n_keypoints), np.zeros(0))


DECISION_KINDS = ("cut", "join", "start", "end", "name")
DECISION_REASONS = (
    "gap",  # the animal was not seen for too long
    "ambiguous",  # another assignment was nearly as good
    "jump",  # moved further than the motion model allows
    "crossing",  # bodies overlapped
    "motion",  # joined because motion predicts it
    "appearance",  # joined because it looks the same
    "count",  # forced by the number of animals asked for
    "border",  # came in or left at the edge of the view
    "video",  # the video begins or ends here
    "leftover",  # fits into no track
    "mixed",  # its score fell or rose again: for that while it may be put together from two
    "edit",  # somebody said so, or it follows from what was said
)


@dataclass(frozen=True, eq=False)
class Decisions:
    """Every choice about identity that could be wrong: the review queue. N rows, sorted by frame.

    Attributes:
        kind: (N,) index into ``DECISION_KINDS``.
        frame: (N,) where the choice was made.
        source: (N,) tracklet before, -1 = none.
        target: (N,) tracklet after, -1 = none.
        gap: (N,) frames between source's last and target's first, 0 if there is no gap.
        cost: (N,) of the choice taken.
        margin: (N,) how much the total cost would rise otherwise; NaN = not computed.
        probability: (N,) that the choice is right; NaN = not calibrated.
        reason: (N,) index into ``DECISION_REASONS``.
        span: frames covered.
    """

    kind: Int8[ndarray, "N"]
    frame: Int64[ndarray, "N"]
    source: Int32[ndarray, "N"]
    target: Int32[ndarray, "N"]
    gap: Int64[ndarray, "N"]
    cost: Float32[ndarray, "N"]
    margin: Float32[ndarray, "N"]
    probability: Float32[ndarray, "N"]
    reason: Int8[ndarray, "N"]
    span: Span

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        n = len(self.frame)
        for name, dtype in (
            ("kind", np.int8), ("source", np.int32), ("target", np.int32), ("gap", np.int64),
            ("cost", np.float32), ("margin", np.float32), ("probability", np.float32), ("reason", np.int8),
        ):  # fmt: skip
            column(self, name, dtype, n)
        _check_rows(self, "frame")

    def __len__(self) -> int:
        return len(self.frame)

    @staticmethod
    def empty(span: Span) -> Decisions:
        """No choice had to be made."""
        none = np.zeros(0)
        return Decisions(none, none, none, none, none, none, none, none, none, span)


TRACK_KINDS = ("animal", "reflection", "duplicate")


@dataclass(frozen=True, eq=False)
class TrackInfo:
    """Facts per track.

    Attributes:
        track: (C,) number.
        kind: (C,) index into ``TRACK_KINDS``.
        probability: (C,) of that kind.
        first: (C,) first frame with a row.
        last: (C,) last frame with a row.
        n: (C,) rows.
    """

    track: Int32[ndarray, "C"]
    kind: Int8[ndarray, "C"]
    probability: Float32[ndarray, "C"]
    first: Int64[ndarray, "C"]
    last: Int64[ndarray, "C"]
    n: Int64[ndarray, "C"]

    def __post_init__(self) -> None:
        column(self, "track", np.int32, None)
        c = len(self.track)
        column(self, "kind", np.int8, c)
        column(self, "probability", np.float32, c)
        column(self, "first", np.int64, c)
        column(self, "last", np.int64, c)
        column(self, "n", np.int64, c)


@dataclass(frozen=True, eq=False)
class Appearance:
    """What animals looked like on sampled frames. N rows, sorted by (frame, item).

    Attributes:
        frame: (N,) frame number.
        item: (N,) item number: with frame, the key of the animal row.
        features: (N, K, D) network features at the keypoints, NaN where a keypoint is missing.
        space: name of the feature space; comparing two spaces is an error.
        span: frames covered.
    """

    frame: Int64[ndarray, "N"]
    item: Int16[ndarray, "N"]
    features: Float16[ndarray, "N K D"]
    space: str
    span: Span

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        n = len(self.frame)
        column(self, "item", np.int16, n)
        column(self, "features", np.float16, n, None, None)
        _check_rows(self, "frame", "item")

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, eq=False)
class Crops:
    """Pictures of animals, turned and moved so that all lie alike. N rows, sorted by (frame, item).

    Attributes:
        frame: (N,) frame number.
        item: (N,) item number: with frame, the key of the animal row.
        image: (N, h, w, 3) RGB, head to the right, one scale for the whole video; 0 = not of this animal.
        span: frames covered.
    """

    frame: Int64[ndarray, "N"]
    item: Int16[ndarray, "N"]
    image: UInt8[ndarray, "N h w 3"]
    span: Span

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        column(self, "item", np.int16, len(self.frame))
        column(self, "image", np.uint8, len(self.frame), None, None, 3)
        _check_rows(self, "frame", "item")

    def __len__(self) -> int:
        return len(self.frame)


@dataclass(frozen=True, eq=False)
class Evidence:
    """Who is who besides motion: all that ``stitch`` knows about appearance. T tracklets.

    The log odds that tracklets i and j are one animal are ``weight_i weight_j (slope vector_i . vector_j + offset)``,
    so that they are known for all pairs, and a whole track's add up, without storing any pair.

    Attributes:
        vector: (T, D) what each tracklet looks like.
        weight: (T,) how well that is known, 0 (not at all) to 1.
        slope: nats per unit of likeness, from calibration.
        offset: nats of two tracklets without likeness.
    """

    vector: Float32[ndarray, "T D"]
    weight: Float32[ndarray, "T"]
    slope: float
    offset: float

    def __post_init__(self) -> None:
        column(self, "vector", np.float32, None, None)
        column(self, "weight", np.float32, len(self.vector))
        object.__setattr__(self, "slope", float(self.slope))
        object.__setattr__(self, "offset", float(self.offset))


EDIT_KINDS = ("same", "different", "name", "move", "remove")


@dataclass(frozen=True)
class Edit:
    """A human correction, anchored to animal rows: it means the same animals whatever tracks are made of them.

    Attributes:
        kind: of ``EDIT_KINDS``. ``same``, ``different``: two rows are one animal, or two. ``name``: the animal of a row
            is called ``value``. ``move``: the first row goes, with what follows it, to the animal of the second one,
            away from that of the third (if given). ``remove``: the rows (any number) are no animals.
        rows: (frame, item) of each row.
        value: the name.
        author: who said so.
        time: when, ISO 8601.
        xy: centre of each row as it was seen, px; empty = not noted. A row that is elsewhere now is another one.
    """

    kind: str
    rows: tuple[tuple[int, int], ...]
    value: str = ""
    author: str = ""
    time: str = ""
    xy: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, eq=False)
class Constraints:
    """What edits say, free of contradictions. A anchored rows, sorted by (frame, item); G animals that they belong to.

    Attributes:
        frame: (A,) frame number.
        item: (A,) item number.
        animal: (A,) rows of equal number are one animal (must-link); -1 = no animal.
        apart: (N, 2) numbers of animals that are two (cannot-link).
        names: G names, empty = not named; no name twice.
    """

    frame: Int64[ndarray, "A"]
    item: Int64[ndarray, "A"]
    animal: Int64[ndarray, "A"]
    apart: Int64[ndarray, "N 2"]
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        column(self, "item", np.int64, len(self.frame))
        column(self, "animal", np.int64, len(self.frame))
        column(self, "apart", np.int64, None, 2)

    def __len__(self) -> int:
        return len(self.frame)

    @staticmethod
    def empty() -> Constraints:
        """Nothing was said."""
        return Constraints(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros((0, 2)))


@dataclass(frozen=True, eq=False)
class Regions:
    """Places where a prediction is neither right nor wrong (ignore regions). R rows, sorted by frame.

    Attributes:
        frame: (R,) frame number.
        xy: (R, 2) centre.
        radius: (R,) px.
    """

    frame: Int64[ndarray, "R"]
    xy: Float32[ndarray, "R 2"]
    radius: Float32[ndarray, "R"]

    def __post_init__(self) -> None:
        column(self, "frame", np.int64, None)
        column(self, "xy", np.float32, len(self.frame), 2)
        column(self, "radius", np.float32, len(self.frame))

    def __len__(self) -> int:
        return len(self.frame)

    @staticmethod
    def empty() -> Regions:
        """Everything counts."""
        return Regions(np.zeros(0), np.zeros((0, 2)), np.zeros(0))


def select(table: T, rows: Shaped[ndarray, "..."]) -> T:
    """The rows of Poses or Tracks that a mask or an increasing index names; keys and span are kept."""
    if isinstance(table, Tracks):
        return Tracks(select(table.poses, rows), table.track[rows])
    changed = {f.name: getattr(table, f.name)[rows] for f in fields(table) if f.name != "span"}
    return replace(table, **changed)


def concatenate(tables: Sequence[Any]) -> Any:
    """Tables of one type over adjoining spans, in order -> one table.

    Raises:
        ValueError: no table, or spans that do not adjoin.
    """
    if not tables:
        raise ValueError("concatenate: expected at least one table, got none")
    if isinstance(tables[0], Tracks):
        return Tracks(concatenate([t.poses for t in tables]), np.concatenate([t.track for t in tables]))
    for before, after in pairwise(tables):
        if before.span[1] != after.span[0]:
            raise ValueError(f"concatenate: span {before.span} is followed by {after.span}, expected adjoining spans")
    changed: dict[str, Any] = {"span": (tables[0].span[0], tables[-1].span[1])}
    for f in fields(tables[0]):
        value = getattr(tables[0], f.name)
        if isinstance(value, ndarray):
            changed[f.name] = np.concatenate([getattr(t, f.name) for t in tables])
    return replace(tables[0], **changed)


def body_length(xy: Shaped[ndarray, "M K 2"]) -> float:
    """Median over animals of the largest distance between two of their keypoints, px; NaN if there is none.

    The one length that similarity, ignore regions and "% of body length" refer to.
    """
    if not len(xy):
        return float("nan")
    longest = np.zeros(len(xy), np.float64)
    for keypoint in range(1, xy.shape[1]):  # to all keypoints at once, a million rows would take gigabytes
        distance = np.hypot(*np.moveaxis(xy[:, keypoint, None] - xy[:, :keypoint], -1, 0))
        np.fmax(longest, np.fmax.reduce(distance, axis=1), out=longest)
    longest = longest[longest > 0]
    return float(np.median(longest)) if len(longest) else float("nan")
