"""How the fish move: burst-and-coast swimmers with company, whims and frights.

One state per fish, all fish at once, frame by frame; the whole video's motion (and so its truth) exists
before a pixel is drawn. Bursts and glides after Calovi et al. 2018 (PLoS Comput Biol 14:e1005933);
schooling is attraction, alignment and personal space (Couzin et al. 2002, J Theor Biol 218:1).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from shoal.synthetic.scenes import Scene, random_stream
from shoal.synthetic.tank import Shelter, Tank

SWIM, REST, CHASE, FLEE, ENTER, STAY, LEAVE = range(7)

PIVOT = 0.35
"""Body position that the state describes, body lengths from the nose."""


@dataclass(frozen=True, eq=False)
class Swim:
    """Motion of N fish over F frames.

    Attributes:
        xy: (F, N, 2) position of the pivot, px.
        heading: (F, N) of the head, radians, x right, y down.
        bend: (F, N) angle from head to tail, radians.
        phase: (F, N) of the tail beat, radians.
        beat: (F, N) amplitude of the tail beat, radians.
        roll: (F, N) how far the back leans to a side, half widths of the skin's strip.
        height: (F, N) 0 = on the floor, 1 = at the surface: who covers whom.
        fins: (F, N, 2) sweep of the left and right pectoral fin from the body's axis, radians.
        speed: (F, N) body lengths per second.
    """

    xy: Float32[ndarray, "F N 2"]
    heading: Float32[ndarray, "F N"]
    bend: Float32[ndarray, "F N"]
    phase: Float32[ndarray, "F N"]
    beat: Float32[ndarray, "F N"]
    roll: Float32[ndarray, "F N"]
    height: Float32[ndarray, "F N"]
    fins: Float32[ndarray, "F N 2"]
    speed: Float32[ndarray, "F N"]


def swim(
    scene: Scene, tank: Tank, lengths: Float32[ndarray, "N"], *, seed: int, day: int, n_frames: int, chunk: int = 256
) -> Iterator[Swim]:
    """Simulate; yields consecutive chunks.

    Args:
        scene: behaviour, frame rate.
        tank: walls and shelter.
        lengths: body lengths of the fish, px.
        seed: of the video.
        day: of the video.
        n_frames: how many frames in all.
        chunk: frames per yielded table; does not change the motion.
    """
    rng = random_stream(scene, "motion", seed, day)
    state = _State(scene, tank, np.asarray(lengths, np.float64), rng)
    for _ in range(2 * int(scene.fps)):  # let the school form
        state.step()
    for start in range(0, n_frames, chunk):
        rows = [state.step() for _ in range(min(chunk, n_frames - start))]
        yield Swim(**{f.name: np.stack([row[f.name] for row in rows]).astype(np.float32) for f in fields(Swim)})


def _wrap(angle: ndarray) -> ndarray:
    return (angle + np.pi) % (2 * np.pi) - np.pi


def _unit(angle: ndarray) -> ndarray:
    return np.stack([np.cos(angle), np.sin(angle)], -1)


class _State:
    """The fish at one moment; ``step`` moves them by one frame."""

    def __init__(self, scene: Scene, tank: Tank, lengths: ndarray, rng: np.random.Generator) -> None:
        n = len(lengths)
        self.scene, self.tank, self.length, self.rng = scene, tank, lengths, rng
        self.dt = 1.0 / scene.fps
        x0, y0, x1, y1 = tank.floor
        inset = 0.6 * lengths[:, None]
        self.xy = np.array([x0, y0]) + inset + rng.random((n, 2)) * (np.array([x1 - x0, y1 - y0]) - 2 * inset)
        self.heading = rng.uniform(-np.pi, np.pi, n)
        self.tail = self.heading.copy()
        self.turn = np.zeros(n)  # radians still to turn in the present burst
        self.speed = scene.behaviour.pace * rng.uniform(0.5, 1.5, n)
        self.dart = np.zeros(n)  # extra speed of a startle, decays fast
        self.wander = np.zeros(n)
        self.phase = rng.uniform(0, 2 * np.pi, n)
        self.beat = np.zeros(n)
        self.fin_phase = rng.uniform(0, 2 * np.pi, n)
        self.sway = np.zeros(n)  # slow part of the roll
        self.height = rng.permutation(n) / max(n - 1, 1) * 0.8 + 0.1
        self.mode = np.full(n, SWIM)
        self.timer = rng.uniform(0, 2 * scene.behaviour.bout_s, n)
        self.partner = np.zeros(n, int)
        self.pep = rng.uniform(0.8, 1.25, n)

    def step(self) -> dict[str, Any]:
        """One frame on; returns the columns of ``Swim`` for it."""
        self._choose_bouts()
        want, eager = self._wish()
        burst = self._burst(want, eager)
        self._startle()
        self._move(want)
        self._posture(burst)
        sweep = 0.95 + 0.35 * np.tanh(1.5 - self.speed)
        flap = 0.35 / (1 + 0.6 * self.speed)
        fins = np.stack([sweep + flap * np.sin(self.fin_phase), sweep + flap * np.sin(self.fin_phase + 0.7)], -1)
        return {
            "xy": self.xy.copy(), "heading": self.heading.copy(), "bend": _wrap(self.tail - self.heading),
            "phase": self.phase.copy(), "beat": self.beat.copy(), "height": self.height.copy(),
            "roll": self.sway + 0.12 * np.tanh(_wrap(self.tail - self.heading)), "fins": fins,
            "speed": self.speed + self.dart,
        }  # fmt: skip

    def _choose_bouts(self) -> None:
        """New bouts for fish whose bout is over."""
        b = self.scene.behaviour
        self.timer -= self.dt
        for i in np.flatnonzero(self.timer <= 0):
            u, mode, mean = self.rng.random(), SWIM, b.bout_s
            if self.mode[i] == STAY:
                mode = LEAVE
            elif u < b.hide and self.tank.shelter is not None:
                mode, mean = ENTER, 6.0
            elif u < b.hide + b.rest:
                mode, mean = REST, b.bout_s
            elif u < b.hide + b.rest + b.chase and len(self.xy) > 1:
                distance = np.linalg.norm(self.xy - self.xy[i], axis=1)
                distance[i] = np.inf
                other = int(distance.argmin())
                if self.mode[other] in (SWIM, REST):
                    mode, mean = CHASE, 1.5
                    self.partner[i], self.partner[other] = other, i
                    self.mode[other], self.timer[other] = FLEE, 1.6
            self.mode[i], self.timer[i] = mode, mean * self.rng.uniform(0.4, 1.8)

    def _wish(self) -> tuple[ndarray, ndarray]:
        """Direction each fish wants (N, 2) and how eagerly it kicks (N,)."""
        b, n = self.scene.behaviour, len(self.xy)
        self.wander += -self.wander * self.dt / 1.0 + 0.5 * np.sqrt(self.dt) * self.rng.standard_normal(n)
        want = _unit(self.heading + self.wander)
        to = self.xy[None] - self.xy[:, None]
        distance = np.linalg.norm(to, axis=-1) + np.eye(n) * 1e9
        lengths = distance / self.length[:, None]
        toward = to / distance[..., None]
        weight = np.exp(-((lengths / 5.0) ** 2))
        weight = weight / (weight.sum(1, keepdims=True) + 0.3)
        company = (weight[..., None] * toward).sum(1) + 0.8 * (weight[..., None] * _unit(self.heading)[None]).sum(1)
        want += b.school * company
        want -= 3.0 * (np.clip(1 - lengths / b.personal_space, 0, 1)[..., None] * toward).sum(1)
        eager = np.ones(n)
        eager[self.mode == REST] = 0.06
        partner = self.xy[self.partner] - self.xy
        partner /= np.linalg.norm(partner, axis=1, keepdims=True) + 1e-6
        chase, flee = self.mode == CHASE, self.mode == FLEE
        want[chase] = 3 * partner[chase]
        want[flee] += -2 * partner[flee]
        eager[chase | flee] = 2.6
        if self.tank.shelter is not None:
            self._visit(self.tank.shelter, want, eager)
        return want + self._walls(), eager

    def _visit(self, shelter: Shelter, want: ndarray, eager: ndarray) -> None:
        """Fish that go to, stay under or leave the shelter."""
        offset = np.asarray(shelter.centre) - self.xy
        distance = np.linalg.norm(offset, axis=1) / shelter.radius
        enter, stay = self.mode == ENTER, self.mode == STAY
        arrived = enter & (distance < 0.35)
        self.mode[arrived] = STAY
        self.timer[arrived] = self.rng.exponential(self.scene.behaviour.hide_s, int(arrived.sum()))
        direction = offset / (np.linalg.norm(offset, axis=1, keepdims=True) + 1e-6)
        want[enter] = 3 * direction[enter]
        strayed = stay & (distance > 0.3)
        want[strayed] = 3 * direction[strayed]
        eager[stay] = np.where(distance[stay] > 0.3, 0.35, 0.02)
        leave = self.mode == LEAVE
        want[leave] -= 1.5 * direction[leave]

    def _walls(self) -> ndarray:
        """Push away from walls ahead (N, 2)."""
        x0, y0, x1, y1 = self.tank.floor
        nose = self.xy + (PIVOT * self.length)[:, None] * _unit(self.heading)
        near = np.stack([nose[:, 0] - x0, x1 - nose[:, 0], nose[:, 1] - y0, y1 - nose[:, 1]], 1)
        push = 2.2 * np.clip(1 - near / (0.6 * self.length[:, None]), 0, 1.5) ** 2
        return np.stack([push[:, 0] - push[:, 1], push[:, 2] - push[:, 3]], 1)

    def _burst(self, want: ndarray, eager: ndarray) -> ndarray:
        """Kicks: speed and a turn toward the wish; returns who kicked."""
        b, n = self.scene.behaviour, len(self.xy)
        kick = self.rng.random(n) < b.burst_rate * eager * self.dt
        gain = b.pace * self.pep * np.exp(0.55 * self.rng.standard_normal(n)) * np.minimum(eager, 1.6)
        self.speed = np.where(kick, self.speed + gain * 0.55, self.speed)
        error = _wrap(np.arctan2(want[:, 1], want[:, 0]) - self.heading)
        self.turn = np.where(kick, error * self.rng.uniform(0.5, 1.0, n), self.turn)
        self.heading += error * np.minimum(1.2 * self.dt * np.minimum(eager, 1) * (0.3 + self.speed / 2), 0.3)
        return kick

    def _startle(self) -> None:
        """Now and then all fish dart off, each in its own direction."""
        b, n = self.scene.behaviour, len(self.xy)
        if self.rng.random() < b.startles_per_minute / 60 * self.dt:
            hit = (self.rng.random(n) < 0.9) & (self.mode != STAY)
            self.dart = np.where(hit, b.startle_speed * np.exp(0.35 * self.rng.standard_normal(n)), self.dart)
            self.speed = np.where(hit, self.speed + 2.2 * b.pace, self.speed)
            self.turn = np.where(hit, self.rng.normal(0, 1.2, n), self.turn)
            self.mode[hit], self.timer[hit] = SWIM, b.bout_s

    def _move(self, want: ndarray) -> None:
        """Turn, glide, slow down, stay inside the walls."""
        share = 1 - np.exp(-self.dt / 0.07)
        self.heading = _wrap(self.heading + share * self.turn)
        self.turn *= 1 - share
        self.speed = np.clip(self.speed * np.exp(-self.dt / self.scene.behaviour.glide_s), 0.02, 14.0)
        self.dart *= np.exp(-self.dt / 0.16)
        drift = 0.02 * self.rng.standard_normal((len(self.xy), 2))
        velocity = _unit(self.heading) * (self.speed + self.dart)[:, None] + drift
        self.xy = self.xy + velocity * self.length[:, None] * self.dt
        nose = self.xy + (PIVOT * self.length)[:, None] * _unit(self.heading)
        tail = self.xy - ((1 - PIVOT) * self.length)[:, None] * _unit(self.tail)
        gap = 0.1 * self.length[:, None]
        low, high = np.array(self.tank.floor[:2]) + gap, np.array(self.tank.floor[2:]) - gap
        into = np.maximum(low - nose, 0) - np.maximum(nose - high, 0)
        back = np.maximum(low - tail, 0) - np.maximum(tail - high, 0)
        self.xy = np.clip(self.xy + into + 0.5 * back, low, high)
        hit = np.abs(into).sum(1) > 0
        along = _wrap(np.arctan2(*(_unit(self.heading) * (into == 0) + 0.3 * np.sign(into)).T[::-1]) - self.heading)
        self.turn = np.where(hit, 0.6 * along, self.turn)
        self.dart = np.where(hit, 0.6 * self.dart, self.dart)

    def _posture(self, burst: ndarray) -> None:
        """The tail follows the head; tail and fins beat; fish change depth slowly."""
        total = self.speed + self.dart
        lag = np.clip(0.3 / np.maximum(total, 0.3), 0.06, 0.6)  # the tail comes where the head was
        self.tail = self.heading + np.clip(_wrap(self.tail - self.heading) * np.exp(-self.dt / lag), -1.5, 1.5)
        target = 0.06 + 0.30 * np.tanh(total / 4.0)
        self.beat += (target - self.beat) * 0.2
        self.beat = np.where(burst, np.maximum(self.beat, 0.3), self.beat)
        self.phase = (self.phase + 2 * np.pi * self.dt * np.clip(1.2 + 1.3 * total, 0, 0.35 / self.dt)) % (2 * np.pi)
        self.fin_phase = (self.fin_phase + 2 * np.pi * self.dt * 2.6) % (2 * np.pi)
        n = len(self.height)
        self.height += (0.5 - self.height) * self.dt / 12 + 0.1 * np.sqrt(self.dt) * self.rng.standard_normal(n)
        self.height = np.clip(self.height, 0.02, 1.0)
        self.sway += -self.sway * self.dt / 0.8 + 0.11 * np.sqrt(self.dt) * self.rng.standard_normal(n)
