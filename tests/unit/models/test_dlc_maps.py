"""DLC's maps of one image of mice: peaks, positions, scores and limb costs as its tests have them (dlc_formats.md 7.2).

The own-made twins of these figures are in test_decode.py.
"""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from shoal.config.predict import PredictConfig
from shoal.models.decode import find_peaks, score_limbs
from shoal.models.pose import PoseMaps

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def image(shoal_data):
    folder = shoal_data / "dlc_trimouse_algo"
    heat, locref, limbs = (
        torch.from_numpy(np.ascontiguousarray(np.moveaxis(m.reshape(1, 60, 80, -1), 3, 1)))
        for m in pickle.loads((folder / "outputs.pickle").read_bytes())
    )
    none = heat[:, :0]
    maps = PoseMaps(heat, limbs, none, none, (), (8.0, 8.0), (8.0, 8.0), (), locref=locref)
    return maps, pickle.loads((folder / "dets.pickle").read_bytes())[0]


def test_peaks_lie_where_dlc_finds_them(image):
    maps, theirs = image
    peaks = find_peaks(maps, min_confidence=0.01, cap=100)
    for keypoint in range(12):
        mine = peaks.keypoint == keypoint
        xy, score = theirs["coordinates"][0][keypoint], theirs["confidence"][keypoint][:, 0]
        order, other = np.lexsort(xy.T), np.lexsort(peaks.xy[mine].numpy().T)
        assert len(xy) == int(mine.sum())
        np.testing.assert_allclose(peaks.xy[mine].numpy()[other], xy[order], atol=1e-3)
        np.testing.assert_allclose(peaks.confidence[mine].numpy()[other], score[order], atol=1e-5)


def test_limbs_are_dlcs_up_to_its_correction(image):
    """DLC's own figures: 60 of 66 affinity matrices with the same best partners, lengths within 1.5 cells.

    The stored affinities were made before DLC corrected their computation, so that its own test allows six to differ.
    """
    maps, theirs = image
    edges = torch.tensor([(a, b) for a in range(12) for b in range(a + 1, 12)])
    peaks = find_peaks(maps, min_confidence=0.01, cap=100)
    dlc = PoseMaps(**{**vars(maps), "is_dlc": True})  # the limb's length whatever its direction
    limbs = score_limbs(dlc, peaks, edges, config=PredictConfig(min_affinity=0, max_limbs=100))
    keypoint, cell = peaks.keypoint.numpy(), peaks.cell.numpy()
    first = np.searchsorted(keypoint, np.arange(12))
    n_same, apart = 0, 0.0
    for e, (a, b) in enumerate(edges.tolist()):
        cost = theirs["costs"][e]
        mine = np.zeros(cost["m1"].shape)
        rows = (limbs.edge == e).numpy()
        mine[limbs.source.numpy()[rows] - first[a], limbs.target.numpy()[rows] - first[b]] = limbs.affinity[rows]
        length = np.linalg.norm(cell[keypoint == a][:, None] - cell[keypoint == b], axis=-1)
        apart = max(apart, float(np.abs(length - cost["distance"]).max()))
        n_same += np.array_equal(mine.argmax(axis=0), cost["m1"].argmax(axis=0))
    assert n_same == 60
    assert apart < 1.5
