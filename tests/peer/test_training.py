"""DeepLabCut trains and evaluates on a shuffle that shoal made and trained, and shoal goes on with what it leaves.

Runs where ``SHOAL_DLC_PYTHON`` names a Python with deeplabcut 3.0.2 (scripts/peer); skipped elsewhere.
"""

from __future__ import annotations

import os
import subprocess

import cv2
import numpy as np
import pytest

import shoal.deeplabcut as facade
from shoal.io.dlc.config_file import read_config
from shoal.io.dlc.evaluation import evaluation_folder, read_predictions, read_results
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.learning_stats import read_learning_stats
from shoal.io.dlc.project import read_project, write_config
from shoal.io.dlc.pytorch_config import read_pytorch_config, update_pytorch_config, write_pytorch_config
from shoal.io.dlc.training_set import find_shuffle
from shoal.models.dlc_snapshots import open_snapshot
from shoal.types import Skeleton

pytestmark = [pytest.mark.peer, pytest.mark.slow]

SKELETON = Skeleton(("nose", "leftear", "rightear", "tail"), [[0, 1], [0, 2], [0, 3]], unique=("corner",))
SMALL = {
    "train_settings.epochs": 1, "train_settings.batch_size": 2, "train_settings.display_iters": 1,
    "data.train.crop_sampling.width": 64, "data.train.crop_sampling.height": 64, "runner.eval_interval": 1,
    "runner.snapshots.save_epochs": 1,
}  # fmt: skip
SCRIPT = """
import os, sys
os.environ["DLClight"] = "True"
os.environ["HF_HUB_OFFLINE"] = "1"
import deeplabcut
config, snapshot = sys.argv[1:]
deeplabcut.train_network(config, shuffle=1, epochs=1, snapshot_path=snapshot, device="cpu")
(last,) = [name[:-3] for name in os.listdir(os.path.dirname(snapshot)) if name.endswith("-002.pt")]
deeplabcut.evaluate_network(config, shuffles=[1], device="cpu", snapshots_to_evaluate=[last])
"""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A project that shoal's steps went over, then DeepLabCut's."""
    python = os.environ.get("SHOAL_DLC_PYTHON")
    if not python:
        pytest.skip("SHOAL_DLC_PYTHON is not set")
    root = tmp_path_factory.mktemp("proj-me-2024-11-22")
    rng = np.random.default_rng(0)
    folder, images = root / "labeled-data" / "vidA", [f"img{i:03d}.png" for i in range(8)]
    folder.mkdir(parents=True)
    for image in images:
        cv2.imwrite(str(folder / image), rng.integers(0, 255, (96, 128, 3)).astype(np.uint8))
    xy, once = rng.uniform(5, 90, (8, 2, 4, 2)), rng.uniform(5, 90, (8, 1, 2))
    write_labels(folder, scorer="me", skeleton=SKELETON, individuals=("a", "b"), images=images, xy=xy, unique_xy=once)
    config = root / "config.yaml"
    write_config(
        config, task="proj", scorer="me", date="Nov22", skeleton=SKELETON, individuals=("a", "b"),
        videos={root / "videos" / "vidA.mp4": (128, 96)}, identity=True,
    )  # fmt: skip
    facade.create_multianimaltraining_dataset(str(config), net_type="resnet_50")
    path = find_shuffle(root).config_path
    content = read_pytorch_config(path)
    update_pytorch_config(content, SMALL)
    write_pytorch_config(path, content)
    facade.train_network(str(config))
    facade.evaluate_network(str(config))
    before = config.read_bytes()
    words = [python, "-c", SCRIPT, config, find_shuffle(root).snapshots[-1].path]
    done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=root)
    assert done.returncode == 0, done.stderr[-2000:]
    assert config.read_bytes() == before, "DeepLabCut had to correct config.yaml"
    return root


def test_deeplabcut_goes_on_with_shoals_network(root):
    snapshots = {s.epoch: s.path for s in find_shuffle(root).snapshots}
    assert set(snapshots) == {1, 2}
    model = open_snapshot(snapshots[2])
    assert (model.epoch, model.skeleton.unique, model.individuals) == (2, ("corner",), ("a", "b"))


def test_shoal_reads_deeplabcuts_figures_beside_its_own(root):
    shuffle, config = find_shuffle(root), read_config(root)
    folder = evaluation_folder(config, shuffle)
    rows = read_results(folder.parent / "CombinedEvaluation-results.csv").rows
    assert {key[2] for key in rows} == {1, 2}
    assert set(read_learning_stats(shuffle.train_folder / "learning_stats.csv")) >= {1, 2}
    theirs = next(folder.glob("*[-_]2.h5"))
    images, individuals, _, poses = read_predictions(theirs)
    assert (len(images), individuals) == (len(read_project(root).labels), ("a", "b"))
    assert poses.shape == (8, 2, 4, 3)
