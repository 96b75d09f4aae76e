"""Named scenes: every number that a rendered tank depends on, in one file.

Lengths are pixels of the frame unless a name says otherwise; a "body length" is nose to backfin, the
length that ``types.body_length`` measures on a straight fish.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from zlib import crc32

import numpy as np

from shoal.types import Skeleton

KEYPOINTS = ("nose", "lefteye", "righteye", "spine1", "spine2", "spine3", "backfin", "leftfin", "rightfin")
"""The lab's order (needs.md section 1)."""

SKELETON = Skeleton(
    keypoints=KEYPOINTS,
    edges=np.array([(0, 1), (0, 2), (0, 3), (3, 4), (4, 5), (5, 6), (3, 7), (3, 8)]),
    mirror=np.array([0, 2, 1, 3, 4, 5, 6, 8, 7]),
)


@dataclass(frozen=True)
class Behaviour:
    """How the animals move; speeds in body lengths per second, rates per second of one fish.

    Attributes:
        pace: speed that a burst adds; the median speed follows from it and ``burst_rate``.
        burst_rate: bursts (tail kicks) per second while swimming.
        glide_s: time constant with which speed decays between bursts.
        school: 0 = loners, 1 = a tight school.
        personal_space: distance below which fish turn away, body lengths.
        rest: chance that the next bout is a rest.
        chase: chance that the next bout is a chase of another fish.
        hide: chance that the next bout is a visit to the shelter.
        hide_s: mean length of a visit.
        bout_s: mean length of the other bouts.
        startles_per_minute: collective startles of the whole tank.
        startle_speed: median peak speed of a startled fish.
    """

    pace: float = 2.1
    burst_rate: float = 3.0
    glide_s: float = 0.55
    school: float = 0.3
    personal_space: float = 0.95
    rest: float = 0.02
    chase: float = 0.02
    hide: float = 0.0
    hide_s: float = 4.0
    bout_s: float = 2.5
    startles_per_minute: float = 6.0
    startle_speed: float = 19.0


@dataclass(frozen=True)
class Skin:
    """What the animals look like.

    Attributes:
        species: ``cichlid`` or ``zebrafish``: outline and pattern.
        body_px: smallest and largest body length.
        contrast: strength of individual pattern against the species' template.
        tone: standard deviation of the individual's overall brightness, relative.
        growth_per_day: relative growth.
    """

    species: str = "cichlid"
    body_px: tuple[float, float] = (90.0, 140.0)
    contrast: float = 1.0
    tone: float = 0.06
    growth_per_day: float = 0.002


@dataclass(frozen=True)
class Look:
    """The tank and the camera.

    Attributes:
        floor: ``sand`` or ``plain`` (a white acrylic box lit from below).
        grey: camera without colour.
        caustics: relative brightness of the light that ripples focus on the floor.
        ripple_px: how far ripples displace the floor.
        drift: relative slow change of the light over the video.
        uneven: relative brightness difference across the tank.
        noise: standard deviation of the sensor's noise, grey levels.
        shadow: darkness of the shadows on the floor, 0-1.
        mirror: opacity of the reflections, 0-1.
        blur_px: optics and compression of the camera, standard deviation.
    """

    floor: str = "sand"
    grey: bool = False
    caustics: float = 0.07
    ripple_px: float = 1.2
    drift: float = 0.06
    uneven: float = 0.22
    noise: float = 2.2
    shadow: float = 0.35
    mirror: float = 0.8
    blur_px: float = 0.7


@dataclass(frozen=True)
class Scene:
    """One kind of recording.

    Attributes:
        name: with the seed, decides who the fish are.
        width, height: frame size.
        fps: frames per second.
        n_fish: animals in the tank, 1 to 50.
        margins: left, top, right, bottom distance from the frame's edge to the tank's inner wall.
        mirrors: walls (``left``, ``top``, ``right``, ``bottom``) whose glass shows reflections in its margin.
        shelter: size of the shelter in mean body lengths (along, across); None = no shelter.
        megabit_s: bit rate of the H.264 stream.
        fish_seed: whose fish; None = the video's seed.
    """

    name: str
    width: int
    height: int
    fps: float
    n_fish: int
    margins: tuple[float, float, float, float]
    mirrors: tuple[str, ...] = ()
    shelter: tuple[float, float] | None = None
    megabit_s: float = 7.5
    behaviour: Behaviour = Behaviour()
    skin: Skin = Skin()
    look: Look = Look()
    fish_seed: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.n_fish <= 50:
            raise ValueError(f"Scene.n_fish: expected 1-50, got {self.n_fish}")
        if self.width % 2 or self.height % 2:
            raise ValueError(f"Scene: H.264 4:2:0 needs an even size, got {self.width}x{self.height}")

    @property
    def body_px(self) -> float:
        """Mean body length."""
        return sum(self.skin.body_px) / 2


_ZEBRA = Scene(
    name="zebra",  # calibrated against zebrafish8_a, see docs/aquarium.md
    width=1160,
    height=938,
    fps=28.0,
    n_fish=8,
    margins=(40.0, 12.0, 205.0, 20.0),
    megabit_s=2.6,
    behaviour=Behaviour(),
    skin=Skin(species="zebrafish", body_px=(61.5, 68.5), contrast=0.29, tone=0.028),
    look=Look(
        floor="plain",
        grey=True,
        caustics=0.0,
        ripple_px=0.0,
        drift=0.01,
        uneven=0.06,
        noise=1.0,
        shadow=0.0,
        blur_px=0.8,
    ),
)

# `lab` is `zebra` with these differences: size and rate of the lab's camera, larger coloured cichlids
# on sand, moving water, a shelter, two mirror walls, calmer fish that rest, chase and hide.
_LAB = replace(
    _ZEBRA,
    name="lab",
    width=1296,
    height=972,
    fps=30.0,
    n_fish=10,
    margins=(24.0, 24.0, 96.0, 84.0),
    mirrors=("right", "bottom"),
    shelter=(1.9, 1.45),
    megabit_s=7.5,
    behaviour=replace(
        _ZEBRA.behaviour, pace=1.3, rest=0.2, chase=0.12, hide=0.06, personal_space=0.6, startles_per_minute=2.0
    ),
    skin=Skin(species="cichlid", body_px=(88.0, 128.0), contrast=0.5, tone=0.04),
    look=Look(),
)

SCENES: dict[str, Scene] = {
    "demo": replace(
        _LAB,
        name="demo",
        width=960,
        height=720,
        n_fish=6,
        margins=(16.0, 16.0, 110.0, 16.0),
        mirrors=("right",),
        megabit_s=4.1,  # 7.5 Mbit/s scaled by the number of pixels
        skin=replace(_LAB.skin, body_px=(90.0, 140.0)),
        # Bodies cross about 8 times per fish and minute, as in `zebra` (`lab`: 12), and visits to the shelter are
        # short: which of two fish that were in there together comes out first is no question for motion.
        behaviour=replace(_LAB.behaviour, personal_space=0.95, chase=0.05, hide_s=1.5),
    ),
    "lab": _LAB,
    "zebra": _ZEBRA,
    "shelter": replace(
        _LAB,
        name="shelter",
        n_fish=10,
        mirrors=(),
        margins=(24.0, 24.0, 24.0, 24.0),
        shelter=(2.4, 1.9),
        behaviour=replace(_LAB.behaviour, hide=0.35, hide_s=12.0),
    ),
}

_PURPOSES = ("fish", "tank", "motion", "light", "sensor", "label")


def random_stream(scene: Scene, purpose: str, *key: int) -> np.random.Generator:
    """An independent generator for one purpose, so that a change in one part moves no other part.

    Args:
        scene: only its name counts.
        purpose: one of fish, tank, motion, light, sensor, label.
        *key: seeds, days, frame numbers.
    """
    return np.random.default_rng([crc32(scene.name.encode()), _PURPOSES.index(purpose), *key])
