from dataclasses import replace

import pytest

from shoal.synthetic.scenes import KEYPOINTS, SCENES, SKELETON, random_stream


def test_scenes_are_as_asked():
    assert set(SCENES) == {"demo", "lab", "zebra", "shelter"}
    demo, lab, zebra = SCENES["demo"], SCENES["lab"], SCENES["zebra"]
    assert (demo.width, demo.height, demo.n_fish, len(demo.mirrors), demo.skin.body_px) == (960, 720, 6, 1, (90, 140))
    assert (lab.width, lab.height, lab.n_fish, lab.megabit_s) == (1296, 972, 10, 7.5)
    assert (zebra.width, zebra.height, zebra.n_fish, zebra.fps) == (1160, 938, 8, 28)
    assert demo.shelter and lab.shelter and lab.mirrors


def test_keypoints_are_in_the_labs_order():
    assert KEYPOINTS == ("nose", "lefteye", "righteye", "spine1", "spine2", "spine3", "backfin", "leftfin", "rightfin")
    assert [KEYPOINTS[i] for i in SKELETON.mirror][1:3] == ["righteye", "lefteye"]
    assert [KEYPOINTS[i] for i in SKELETON.mirror][7:] == ["rightfin", "leftfin"]


@pytest.mark.parametrize("change", [{"n_fish": 0}, {"n_fish": 51}, {"width": 961}])
def test_impossible_scenes_are_refused(change):
    with pytest.raises(ValueError, match="Scene"):
        replace(SCENES["demo"], **change)


def test_streams_are_independent_and_repeatable():
    demo = SCENES["demo"]
    draws = [random_stream(demo, p, 1).random() for p in ("fish", "motion", "fish")]
    assert draws[0] == draws[2] != draws[1]
    assert random_stream(SCENES["lab"], "fish", 1).random() != draws[0]
