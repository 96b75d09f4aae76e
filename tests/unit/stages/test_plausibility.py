"""Which folders' labels look wrong."""

from __future__ import annotations

import numpy as np
import pytest

from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import read_project, write_config
from shoal.io.dlc.skeleton import mirror_index
from shoal.stages.plausibility import LabelTable, gather_labels, judge_labels
from shoal.types import Skeleton

KEYPOINTS = ("nose", "eyeL", "eyeR", "spine1", "spine2", "finL", "finR", "tail", "tailtip")
SKELETON = Skeleton(KEYPOINTS, mirror=mirror_index(KEYPOINTS))
BODY = np.array([[0, 0], [8, -5], [8, 5], [30, 0], [55, 0], [35, -14], [35, 14], [85, 0], [100, 0]], float)
SIZE = (1296, 972)


def fish(rng, n, length=1.0):
    """(n, K, 2) bent, turned, jittered fish, a seventh of the keypoints missing."""
    scale, turn, bend = length * rng.normal(1, 0.08, n), rng.uniform(0, 2 * np.pi, n), rng.normal(0, 0.5, n)
    angle = turn[:, None] + bend[:, None] * BODY[:, 0] / 100
    body = BODY - BODY.mean(axis=0)
    x = body[:, 0] * np.cos(angle) - body[:, 1] * np.sin(angle)
    y = body[:, 0] * np.sin(angle) + body[:, 1] * np.cos(angle)
    centre = rng.uniform([70, 70], [1226, 902], (n, 2))
    xy = np.stack([x, y], axis=-1) * scale[:, None, None] + centre[:, None] + rng.normal(0, 1.5, (n, 9, 2))
    xy[rng.random((n, 9)) < 0.15] = np.nan
    return xy


def project(rng, wrong, n_folders=12):
    """Labels of 12 folders with animals of differing size; ``wrong[folder](xy, rng)`` corrupts one."""
    folder, image, xy = [], [], []
    for f in range(n_folders):
        n_images = int(rng.integers(15, 40))
        n = rng.integers(2, 7, n_images)
        labels = fish(rng, int(n.sum()), rng.lognormal(0, 0.12))
        xy.append(wrong[f](labels, rng) if f in wrong else labels)
        image.append(np.repeat(np.arange(n_images), n) + len(folder))
        folder += [f] * n_images
    return LabelTable(folder, np.tile(SIZE, (len(folder), 1)), np.concatenate(image), np.concatenate(xy))


def swap_sides(xy, rng):
    return xy[:, SKELETON.mirror]


def halve(xy, rng):
    return xy * 0.5


def shuffle_names(xy, rng):
    return xy[:, rng.permutation(9)]


def shuffle_each(xy, rng):
    return np.stack([animal[rng.permutation(9)] for animal in xy])


def swap_eyes(xy, rng):
    return xy[:, [0, 2, 1, 3, 4, 5, 6, 7, 8]]


def swap_some(xy, rng):
    return np.where(rng.random(len(xy))[:, None, None] < 0.4, xy[:, SKELETON.mirror], xy)


def exchange_ends(xy, rng):
    return xy[:, [7, 1, 2, 3, 4, 5, 6, 0, 8]]


def move(xy, rng):
    return xy + np.array([400, 0])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("corrupt", "word"),
    [
        (swap_sides, "exchanged"),
        (swap_eyes, "eyeL and eyeR"),
        (swap_some, "exchanged"),
        (halve, "another image size"),
        (shuffle_names, "stand elsewhere"),
        (shuffle_each, "stand elsewhere"),
        (exchange_ends, "nose"),
        (move, "outside the image"),
    ],
)
def test_two_corrupted_folders_are_ranked_first_with_the_reason(corrupt, word, seed):
    table = project(np.random.default_rng(seed), {2: corrupt, 7: corrupt})
    result = judge_labels(table, SKELETON)
    assert set(result.folder[:2]) == {2, 7}
    assert all(word in " ".join(reasons) for reasons in result.reasons[:2])
    assert result.score[1] > result.score[2] + 0.1


def test_exchanged_eyes_are_found_among_reflections():
    """Half of all animals are mirror images in the glass, so no side is usual; an animal's pairs still agree."""
    table = project(np.random.default_rng(4), {5: swap_eyes})
    mirrored = np.random.default_rng(0).random(len(table.xy)) < 0.5
    xy = np.where(mirrored[:, None, None], table.xy * [-1, 1] + [SIZE[0], 0], table.xy)
    result = judge_labels(LabelTable(table.folder, table.size, table.image, xy), SKELETON)
    assert result.folder[0] == 5
    assert "lie on other sides than other pairs" in result.reasons[0][0]
    assert result.score[0] > 0.9 > 0.4 > result.score[1]


def test_a_sound_project_raises_no_alarm():
    for seed in range(5):
        assert judge_labels(project(np.random.default_rng(seed), {}), SKELETON).score.max() < 0.4


def test_three_corrupted_of_twelve_folders_on_disk_rank_first(tmp_path):
    """The guide's author had to comment out corrupted folders by hearsay."""
    rng = np.random.default_rng(8)
    wrong = {3: swap_sides, 6: halve, 9: shuffle_names}
    individuals = [f"fish{i}" for i in range(6)]
    png = _png(*SIZE)
    videos = {}
    for f in range(12):
        folder = tmp_path / "labeled-data" / f"video{f:02d}"
        folder.mkdir(parents=True)
        images = [f"img{i:03d}.png" for i in range(12)]
        for image in images:
            (folder / image).write_bytes(png)
        xy = fish(rng, 12 * 6, rng.lognormal(0, 0.12))
        xy = wrong[f](xy, rng) if f in wrong else xy
        write_labels(
            folder, scorer="me", skeleton=SKELETON, individuals=individuals, images=images, xy=xy.reshape(12, 6, 9, 2)
        )
        videos[folder] = SIZE
    write_config(
        tmp_path / "config.yaml", task="t", scorer="me", date="Nov22", skeleton=SKELETON,
        individuals=individuals, videos=videos, identity=False,
    )  # fmt: skip
    found = read_project(tmp_path)
    table, names = gather_labels(found.labels, [SIZE] * len(found.labels))
    result = judge_labels(table, found.skeleton)
    assert {names[f] for f in result.folder[:3]} == {"video03", "video06", "video09"}
    assert result.score[2] > 0.5 > result.score[3]


def test_labels_of_another_folder_are_found():
    rng = np.random.default_rng(0)
    table = project(rng, {})
    xy = table.xy.copy()
    owner = table.folder[table.image]
    source, target = np.flatnonzero(owner == 1), np.flatnonzero(owner == 4)
    n = min(len(source), len(target))
    xy[target[:n]] = xy[source[:n]]
    result = judge_labels(LabelTable(table.folder, table.size, table.image, xy), SKELETON)
    assert set(result.folder[:2]) == {1, 4}
    assert "labels of another folder" in " ".join(result.reasons[0])


def test_repeated_and_doubled_labels_are_named():
    rng = np.random.default_rng(1)
    one = fish(rng, 4)
    xy = np.concatenate([one, one, fish(rng, 2)])
    xy = np.concatenate([xy, xy[-1:] + 0.3])  # the last animal of image 2, clicked twice
    table = LabelTable([0, 0, 0], np.tile(SIZE, (3, 1)), [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2], xy)
    text = " ".join(judge_labels(table, SKELETON).reasons[0])
    assert "73% of animals repeat the exact labels of another image" in text
    assert "18% of animals lie on another one" in text


def test_other_image_size_and_other_counts_weigh_little():
    table = project(np.random.default_rng(2), {})
    size = table.size.copy()
    size[table.folder == 5] = (640, 480)
    xy = np.where((table.folder[table.image] == 5)[:, None, None], table.xy * 640 / 1296, table.xy)
    result = judge_labels(LabelTable(table.folder, size, table.image, xy), SKELETON)
    assert result.folder[0] == 5
    assert "images are 640 x 480 px, most others 1296 x 972" in result.reasons[0]


@pytest.mark.parametrize("n_keypoints", [1, 2, 9])
def test_small_projects_are_judged_without_a_warning(n_keypoints):
    skeleton = Skeleton(KEYPOINTS[:n_keypoints])
    for n in (0, 1, 2):
        xy = np.full((n, n_keypoints, 2), np.nan)
        xy[:, 0] = 5.0
        table = LabelTable(np.arange(n), np.zeros((n, 2)), np.arange(n), xy)
        assert len(judge_labels(table, skeleton).folder) == n


def test_folders_without_any_animal_are_kept():
    table = LabelTable([0, 1, 2, 3], np.tile(SIZE, (4, 1)), [0, 2], fish(np.random.default_rng(0), 2))
    result = judge_labels(table, SKELETON)
    assert sorted(result.folder) == [0, 1, 2, 3]
    assert dict(zip(result.folder, result.n_animals, strict=True)) == {0: 1, 1: 0, 2: 1, 3: 0}


def _png(width, height):
    import cv2

    return cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes()
