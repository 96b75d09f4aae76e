"""Mirror pairs from names."""

import pytest

from shoal.io.dlc.skeleton import mirror_index


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("left_eye", "right_eye"), ("LeftEye", "RightEye"), ("leftear", "rightear"), ("eyeLeft", "eyeRight"),
        ("l_eye", "r_eye"), ("eye_L", "eye_R"), ("eye_l", "eye_r"), ("wingL", "wingR"), ("hindlegL4", "hindlegR4"),
        ("Lfoot", "Rfoot"), ("LEFT_FIN", "RIGHT_FIN"), ("eye-left", "eye-right"), ("fin left", "fin right"),
        ("L1", "R1"), ("lEye", "rEye"), ("left", "right"), ("L", "R"), ("leye", "reye"), ("front_l_paw", "front_r_paw"),
    ],
)  # fmt: skip
def test_pair(left, right):
    assert mirror_index([left, "tail", right]).tolist() == [2, 1, 0]


@pytest.mark.parametrize(
    "names",
    [
        ["nose", "tail"],
        ["leftear", "tail"],  # no partner
        ["cleft", "bright"],
        ["lateral", "rateral_fin"],
        ["spine1", "spine2"],
        [],
    ],
)
def test_no_pair(names):
    assert mirror_index(names).tolist() == list(range(len(names)))


def test_several_pairs_of_one_animal():
    names = ["head", "eyeL", "eyeR", "forelegL4", "forelegR4", "midlegL4", "midlegR4", "left_fin", "right_fin"]
    assert mirror_index(names).tolist() == [0, 2, 1, 4, 3, 6, 5, 8, 7]


def test_a_mirror_of_a_mirror_is_the_same_keypoint():
    names = ["L", "R", "left", "l", "r", "LR", "RL", "lr"]
    mirror = mirror_index(names)
    assert mirror[mirror].tolist() == list(range(len(names)))
