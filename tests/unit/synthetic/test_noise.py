import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shoal.synthetic.dataset import make_truth
from shoal.synthetic.noise import MAX_LIMBS, crowded, load_noise, noisy_detections, save_noise
from shoal.synthetic.scenes import SCENES, SKELETON

TRUTH = make_truth(SCENES["lab"], seed=1, n_frames=200)
ALL_PAIRS = np.array([(i, j) for i in range(9) for j in range(i + 1, 9)])
CLEAN = replace(
    load_noise(), miss_clear=(0.0,) * 9, miss_crowded=(0.0,) * 9, miss_covered=(1.0,) * 9, jitter=(0.0,) * 9,
    false_peaks=(0.0,) * 9, merge=0.0, reflection=(0.0,) * 9, affinity_right=(0.0, 0.1), affinity_wrong=(-2.0, -2.0),
)  # fmt: skip


def test_without_errors_detections_are_the_visible_truth():
    found = noisy_detections(TRUTH, edges=SKELETON.edges, seed=1, table=CLEAN)
    poses = TRUTH.tracks.poses
    row, keypoint = np.nonzero(np.isfinite(poses.xy).all(-1))
    expected = np.column_stack([poses.frame[row], keypoint, poses.xy[row, keypoint]])
    got = np.column_stack([found.frame, found.keypoint, found.xy])
    order = [np.lexsort(table.T[::-1]) for table in (expected, got)]
    np.testing.assert_allclose(got[order[1]], expected[order[0]], atol=1e-3)
    first = np.searchsorted(found.frame, found.limb_frame)
    ends = SKELETON.edges[found.edge]
    np.testing.assert_array_equal(found.keypoint[first + found.source], ends[:, 0])
    np.testing.assert_array_equal(found.keypoint[first + found.target], ends[:, 1])


def test_seed_decides():
    a, b, c = (noisy_detections(TRUTH, edges=SKELETON.edges, seed=s) for s in (1, 1, 2))
    np.testing.assert_array_equal(a.xy, b.xy)
    np.testing.assert_array_equal(a.affinity, b.affinity)
    assert len(a) != len(c)


def test_rates_are_those_of_the_table():
    table = replace(CLEAN, miss_clear=(0.3,) * 9, miss_crowded=(0.3,) * 9, false_peaks=(0.5,) * 9)
    found = noisy_detections(TRUTH, edges=SKELETON.edges, seed=1, table=table)
    visible = np.isfinite(TRUTH.tracks.poses.xy).all(-1).sum()
    assert len(found) == pytest.approx(0.7 * visible + 0.5 * 9 * 200, rel=0.05)


def test_close_peaks_merge_and_the_merged_one_belongs_to_both():
    near = noisy_detections(TRUTH, edges=ALL_PAIRS, seed=1, table=replace(CLEAN, merge=0.3))
    apart = noisy_detections(TRUTH, edges=ALL_PAIRS, seed=1, table=CLEAN)
    assert len(near) < len(apart)
    assert crowded(TRUTH).any()


def test_limbs_are_capped_and_point_at_peaks_of_their_frame():
    found = noisy_detections(TRUTH, edges=ALL_PAIRS, seed=3)
    count = np.bincount(found.frame, minlength=200)
    assert (found.source < count[found.limb_frame]).all() and (found.target < count[found.limb_frame]).all()
    key = np.column_stack([found.limb_frame, found.edge, found.source])
    assert np.unique(key, axis=0, return_counts=True)[1].max() <= MAX_LIMBS


def test_limbs_between_fish_are_weak_unless_the_line_runs_along_a_body():
    table = replace(CLEAN, affinity_wrong=(0.0, 0.0))
    found = noisy_detections(TRUTH, edges=SKELETON.edges, seed=1, table=table)
    first = np.searchsorted(found.frame, found.limb_frame)
    fish = np.argmin(
        np.linalg.norm(
            TRUTH.full_xy.reshape(200, -1, 9, 2)[found.frame, :, found.keypoint] - found.xy[:, None], axis=-1
        ), axis=1,
    )  # fmt: skip
    same = fish[first + found.source] == fish[first + found.target]
    assert found.affinity[same].min() > 0.7
    assert (~same).sum() > 0
    assert np.quantile(found.affinity[~same].astype(float), 0.9) < 0.7


def test_false_peaks_stay_where_they_are_for_a_while():
    table = replace(CLEAN, miss_clear=(1.0,) * 9, miss_crowded=(1.0,) * 9, false_peaks=(1.0,) * 9, false_life=10.0)
    still = replace(table, false_near=0.0)
    found = noisy_detections(TRUTH, edges=SKELETON.edges, seed=1, table=still)
    key = {(f, k, x, y) for f, k, (x, y) in zip(found.frame, found.keypoint, found.xy.tolist(), strict=True)}
    again = np.mean([(f + 1, k, x, y) in key for f, k, x, y in key if f + 1 < 200])
    assert again == pytest.approx(0.9, abs=0.03)


def test_a_table_survives_its_file_and_foreign_columns_are_refused(tmp_path):
    save_noise(tmp_path / "t.json", load_noise())
    assert load_noise(tmp_path / "t.json") == load_noise()
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(ValueError, match="columns"):
        load_noise(tmp_path / "t.json")


def test_fitting_noisy_truth_gives_its_table_back(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3] / "bench"))
    monkeypatch.delitem(sys.modules, "fit_noise", raising=False)
    from fit_noise import fit_table

    guess = (0.1, 0.2, 0.4, 0.6, 0.8, 0.9)
    table = replace(
        load_noise(), merge=0.0, outlier=0.0, jitter=(0.02,) * 8 + (0.03,), miss_clear=(0.05,) * 8 + (0.2,),
        false_peaks=(1.0,) * 8 + (2.0,), false_life=4.0, false_near=0.0, persistence=0.5, confidence_clear=guess,
        affinity_right=(-0.2, 0.0, 0.2), affinity_wrong=(-0.1, 0.0, 0.1), link_false=0.3, affinity_false=(0.1, 0.4),
    )  # fmt: skip
    truth = make_truth(SCENES["lab"], seed=2, n_frames=150)
    found = noisy_detections(truth, edges=SKELETON.edges, seed=1, table=table)
    fitted = fit_table(truth, found, SKELETON.edges, source="test", prior=load_noise())
    np.testing.assert_allclose(fitted.jitter, table.jitter, rtol=0.25)
    np.testing.assert_allclose(fitted.miss_clear, table.miss_clear, atol=0.04)
    np.testing.assert_allclose(fitted.false_peaks, table.false_peaks, rtol=0.45)
    np.testing.assert_allclose(fitted.confidence_clear[::2], table.confidence_clear, atol=0.12)
    np.testing.assert_allclose(fitted.affinity_right[1:-1:4], np.linspace(-0.16, 0.16, 3), atol=0.06)
    np.testing.assert_allclose(fitted.affinity_wrong[1:-1:4], np.linspace(-0.08, 0.08, 3), atol=0.06)
    assert fitted.persistence == pytest.approx(table.persistence, abs=0.1)
    assert fitted.link_false == pytest.approx(table.link_false, abs=0.1)
    assert fitted.false_life == pytest.approx(table.false_life, rel=0.3)
    assert fitted.source == "test"
