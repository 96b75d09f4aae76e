"""Which limbs are used after the first evaluation."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from ruamel.yaml import YAML

from shoal.config.assemble import AssembleConfig
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import read_project, write_config
from shoal.io.dlc.pytorch_config import kept_limbs, read_pytorch_config
from shoal.io.dlc.shuffles import Snapshot
from shoal.io.dlc.training_set import create_training_set, find_shuffle
from shoal.run.shuffle_scores import choose_used_limbs
from shoal.types import Detections, Poses, Skeleton

EDGES = np.array([[0, 1], [0, 2], [1, 2]])


@pytest.fixture
def root(tmp_path):
    """Two labelled images of two animals with three keypoints."""
    import cv2

    folder = tmp_path / "proj" / "labeled-data" / "v"
    folder.mkdir(parents=True)
    for name in ("img0.png", "img1.png"):
        cv2.imwrite(str(folder / name), np.zeros((64, 80, 3), np.uint8))
    skeleton, xy = Skeleton(("a", "b", "c")), np.random.default_rng(0).uniform(10, 60, (2, 2, 3, 2))
    images = ["img0.png", "img1.png"]
    write_labels(folder, scorer="me", skeleton=skeleton, individuals=("x", "y"), images=images, xy=xy)
    write_config(
        tmp_path / "proj" / "config.yaml", task="proj", scorer="me", date="Nov22", skeleton=skeleton,
        individuals=("x", "y"), videos={tmp_path / "v.mp4": (80, 64)}, identity=False,
    )  # fmt: skip
    create_training_set(tmp_path / "proj", train_rows=[0, 1], test_rows=[])
    return tmp_path / "proj"


def evaluation(affinity):
    """Two animals, all keypoints seen; ``affinity(edge, same animal)``."""
    xy = np.array([[(10, 10), (20, 14), (30, 10)], [(10, 40), (20, 44), (30, 40)]], np.float32)
    truth = Poses([0, 0], [0, 1], xy, np.ones((2, 3)), np.ones(2), (0, 1))
    number = np.arange(6).reshape(2, 3)  # peak of (animal, keypoint)
    limbs = [
        (e, number[i, a], number[j, b], affinity(e, i == j))
        for e, (a, b) in enumerate(EDGES.tolist()) for i in range(2) for j in range(2)
    ]  # fmt: skip
    edge, source, target, strength = np.array(limbs).T
    detections = Detections(
        np.zeros(6), np.arange(6), np.tile(np.arange(3), 2), xy.reshape(6, 2), np.ones(6),
        np.zeros(len(limbs)), edge, source, target, strength, np.zeros((6, 0)), (0, 1),
    )  # fmt: skip
    return SimpleNamespace(truth=truth, detections=detections)


def choose(root, monkeypatch, found):
    shuffle = find_shuffle(root)
    content = read_pytorch_config(shuffle.config_path)
    model = SimpleNamespace(edges=EDGES, config=SimpleNamespace(assemble=AssembleConfig()))
    monkeypatch.setattr("shoal.models.dlc_snapshots.load_snapshot", lambda *_, **__: model)
    monkeypatch.setattr("shoal.training.evaluate.evaluate", lambda *_, **__: found)
    snapshot = Snapshot(root / "snapshot-001.pt", 1)
    choose_used_limbs(shuffle, snapshot, content, read_project(root), device="cpu", on_progress=lambda *_: None)
    return shuffle, content


def test_limbs_that_tell_nothing_are_left_out_in_both_files(root, monkeypatch):
    shuffle, content = choose(root, monkeypatch, evaluation(lambda e, same: 0.5 if e == 1 else 0.9 if same else 0.1))
    assert kept_limbs(content) == [0, 2]
    assert kept_limbs(read_pytorch_config(shuffle.config_path)) == [0, 2]
    pose = YAML(typ="safe").load((shuffle.folder / "test" / "pose_cfg.yaml").read_text())
    assert pose["paf_best"] == [0, 2]
    assert pose["all_joints_names"] == ["a", "b", "c"]


def test_a_choice_is_made_once_and_not_for_a_network_that_finds_nothing(root, monkeypatch):
    blind = evaluation(lambda *_: 0.0)
    blind.detections = Detections.empty((0, 1))
    shuffle, content = choose(root, monkeypatch, blind)
    assert kept_limbs(content) == [0, 1, 2]
    choose(root, monkeypatch, evaluation(lambda e, same: 0.5 if e == 1 else 0.9 if same else 0.1))
    _, content = choose(root, monkeypatch, evaluation(lambda e, same: 0.5 if e == 0 else 0.9 if same else 0.1))
    assert kept_limbs(content) == [0, 2]
    assert (
        read_pytorch_config(shuffle.config_path)["model"]["heads"]["bodypart"]["predictor"]["graph"] == EDGES.tolist()
    )
