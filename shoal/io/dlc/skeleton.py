"""What the names of keypoints say about them."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

_SIDES = {"left": "right", "right": "left", "l": "r", "r": "l"}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^A-Za-z\d]+")


def mirror_index(names: Sequence[str]) -> Int64[ndarray, "K"]:
    """Which keypoint each becomes in a mirror image, from left and right in the names.

    Understood: ``left_eye``, ``LeftEye``, ``leftear``, ``eyeLeft``, ``l_eye``, ``eye_L``, ``wingL``, ``legL4``,
    ``Lfoot`` and the same with right; only pairs of which both names exist.

    Returns:
        (K,) index; a keypoint without a partner maps to itself.

    >>> mirror_index(["nose", "eyeL", "eyeR", "leftear", "rightear", "tail"]).tolist()
    [0, 2, 1, 4, 3, 5]
    """
    at = {name: i for i, name in enumerate(names)}
    mirror = np.arange(len(names))
    for i, name in enumerate(names):
        for other in _swapped(name):
            j = at.get(other)
            if j is not None and j != i:
                mirror[i] = j
                break
    # a claim counts only if it is mutual: "left" in "cleft" must not tie two names one way
    paired = mirror[mirror] == np.arange(len(names))
    return np.where(paired, mirror, np.arange(len(names)))


def _swapped(name: str) -> list[str]:
    """The name with left and right exchanged, in all readings, surest first."""
    words = _WORD.findall(name)
    readings = []
    for n, word in enumerate(words):
        if word.lower() in _SIDES:
            readings.append("".join([*words[:n], _like(word, _SIDES[word.lower()]), *words[n + 1 :]]))
    for pattern in (r"(?i)left|right", r"^[LR](?=[a-z\d])", r"^[lr](?=[A-Za-z\d])", r"[LRlr](?=\d*$)"):
        for found in re.finditer(pattern, name):
            word = found.group()
            readings.append(name[: found.start()] + _like(word, _SIDES[word.lower()]) + name[found.end() :])
    return readings


def _like(model: str, word: str) -> str:
    """``word`` in the letter case of ``model``."""
    if model.isupper():
        return word.upper()
    return word.capitalize() if model[0].isupper() else word
