"""Where animals go while nobody sees them: learned from a video's own tracklets."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false, reportUnknownMemberType=false
# pyright: reportMissingTypeStubs=false
# (numba and scipy come without types)

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from shoal.stages.proportions import spread_between
from shoal.stages.survey import Samples, Survey, mean_point
from shoal.types import body_length

DEFAULT_BETA = 8.0  # frames, where a video has no tracklets to learn from
BETAS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)
INFLATE = 1.3  # animals are lost where they move unlike elsewhere
SMALLEST = 0.03  # body lengths: no prediction is better than the centre's noise
RAYLEIGH_MEDIAN = 1.1774  # median length of a 2-D error with unit deviation per axis
DEFAULT_STEP = 0.1  # body lengths per frame where a video has no tracklets to learn from
DEFAULT_BODY_PX = 40.0


class Motion(NamedTuple):
    """What the tracklets of a video say about motion.

    beta: frames over which velocity is remembered; sigma: (3, G) error scale of the centre, px, by known
    velocities and frames ahead; shape_sigma: (G,) of the shape; shape_any: that of two unrelated animals;
    build_between: (Q,) variance of body proportions between animals;
    area: px^2 that animals were seen in; body: body length, px; low, high: (2,) corners of that area.
    """

    beta: float
    sigma: Float64[ndarray, "3 G"]
    shape_sigma: Float64[ndarray, "G"]
    shape_any: float
    build_between: Float64[ndarray, "Q"]
    area: float
    body: float
    low: Float64[ndarray, "2"]
    high: Float64[ndarray, "2"]


def learn_motion(known: Survey) -> Motion:
    """Fit the memory of velocity and the error scales to what the tracklets do."""
    nodes, samples = known.nodes, {lag: _usable(sample) for lag, sample in known.samples.items()}
    samples = {lag: sample for lag, sample in samples.items() if len(sample.move)}
    body = body_length(known.chosen)
    body = body if np.isfinite(body) else DEFAULT_BODY_PX
    seen = mean_point(known.chosen.astype(np.float64))
    low, high = (seen.min(axis=0), seen.max(axis=0)) if len(seen) else (np.zeros(2), np.zeros(2))
    span = max(2, known.span[1] - known.span[0] + 1)
    # the fit of beta weighs every lag alike: log of the median error with both velocities known
    misfit = [sum(np.log(np.median(_errors(s, lag, beta, 2)) + 1e-9) for lag, s in samples.items()) for beta in BETAS]
    beta = BETAS[int(np.argmin(misfit))] if samples else DEFAULT_BETA
    area = float(np.prod(high - low + body))
    smallest = SMALLEST * body
    largest = max(smallest, np.sqrt(area / (2 * np.pi)))  # an error this large says nothing
    errors = [{lag: np.median(_errors(s, lag, beta, ends)) for lag, s in samples.items()} for ends in range(3)]
    sigma = np.stack([_curve(e, span, smallest, largest, DEFAULT_STEP * body) for e in errors])
    shape_any = max(_unrelated(known.chosen), smallest)
    bends = {lag: np.nanmedian(s.bend) for lag, s in samples.items() if np.isfinite(s.bend).any()}
    shape_sigma = _curve(bends, span, smallest, shape_any, DEFAULT_STEP * body)
    builds = zip(nodes.build.T, nodes.build_variance.T, strict=True)
    between = np.array([spread_between(*one, nodes.first, nodes.last) for one in builds])
    return Motion(beta, sigma, shape_sigma, shape_any, between, area, body, low, high)


def _usable(sample: Samples) -> Samples:
    """Without the pairs of rows that share no keypoint: nothing is known of how far those have moved."""
    known = np.isfinite(np.concatenate([sample.move, sample.before, sample.after], axis=1)).all(axis=1)
    return Samples(*(column[known] for column in sample))


def _unrelated(xy: Float32[ndarray, "n K 2"]) -> float:
    """Typical shape distance of two animals picked at random, as an error scale; 0 if there is none."""
    from shoal.stages.kernels.stitch import shifts

    _, distance = shifts(xy.astype(np.float64), np.roll(xy, len(xy) // 3 + 1, axis=0).astype(np.float64))
    return float(np.nanmedian(distance)) / RAYLEIGH_MEDIAN if np.isfinite(distance).any() else 0.0


def _errors(sample: Samples, lag: int, beta: float, known: int) -> Float64[ndarray, "n"]:
    """Prediction errors, px; the formulas are those of ``kernels.stitch.join_cost``."""
    move = sample.move
    if known == 2:
        move = move - (sample.before + sample.after) * beta * np.tanh(lag / (2 * beta))
    elif known == 1:
        move = move - sample.before * beta * (1 - np.exp(-lag / beta))
    return np.linalg.norm(move, axis=1)


def _curve(
    median: dict[int, float], span: int, smallest: float, largest: float, default: float
) -> Float64[ndarray, "G"]:
    """Error scale for 0 to span - 1 frames ahead: interpolated in log-log, beyond the data like a random walk."""
    ahead = np.maximum(np.arange(span), 1)
    if not median:
        return np.clip(default * np.sqrt(ahead), smallest, largest)
    lags = np.array(list(median))
    scale = np.array(list(median.values())) / RAYLEIGH_MEDIAN * INFLATE
    scale = np.maximum.accumulate(np.maximum(scale, smallest))
    curve = np.exp(np.interp(np.log(ahead), np.log(lags), np.log(scale)))
    beyond = ahead > lags[-1]
    curve[beyond] = scale[-1] * np.sqrt(ahead[beyond] / lags[-1])
    return np.minimum(curve, largest)
