"""A DLC shuffle, made, trained, interrupted, continued and evaluated: DLC's files, by shoal's code."""

from __future__ import annotations

import csv
import re

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from shoal.config.run import load_config
from shoal.errors import ProjectError
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.project import write_config
from shoal.io.dlc.pytorch_config import read_pytorch_config
from shoal.io.dlc.training_set import create_training_set, find_shuffle
from shoal.run.shuffles import evaluate_shuffle, train_shuffle
from shoal.training import data, loop
from shoal.types import Skeleton

CONFIG = load_config(overrides=["compute.threads=1", "compute.device=cpu", "train.precision=float32"])
UPDATES = {
    "train_settings.epochs": 2, "train_settings.batch_size": 2, "train_settings.display_iters": 2,
    "data.train.crop_sampling.width": 64, "data.train.crop_sampling.height": 48, "runner.eval_interval": 1,
    "runner.snapshots.save_epochs": 1, "runner.snapshots.save_optimizer_state": True, "runner.gpus": [0, 1],
    "logger": {"type": "WandbLogger"},
}  # fmt: skip


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Four images of two animals; unique keypoint and identity; shuffle 1 trained for two epochs."""
    root = tmp_path_factory.mktemp("shuffles") / "proj"
    folder = root / "labeled-data" / "v"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = [f"img{i}.png" for i in range(4)]
    for name in images:
        cv2.imwrite(str(folder / name), rng.integers(0, 255, (64, 80, 3)).astype(np.uint8))
    skeleton = Skeleton(("nose", "tail"), [[0, 1]], unique=("lamp",))
    xy, lamp = rng.uniform(10, 60, (4, 2, 2, 2)), rng.uniform(10, 60, (4, 1, 2))
    write_labels(folder, scorer="me", skeleton=skeleton, individuals=("a", "b"), images=images, xy=xy, unique_xy=lamp)
    write_config(
        root / "config.yaml", task="proj", scorer="me", date="Nov22", skeleton=skeleton, individuals=("a", "b"),
        videos={root / "videos" / "v.mp4": (80, 64)}, identity=True,
    )  # fmt: skip
    create_training_set(root, train_rows=[0, 1, 2])
    return root


def stats(root):
    with (find_shuffle(root).train_folder / "learning_stats.csv").open() as file:
        return {row["step"]: row for row in csv.DictReader(file)}


def test_the_whole_way(root, caplog, monkeypatch):
    """One test, because each step needs the one before; about fifteen seconds."""
    monkeypatch.setattr(data, "cache_folder", lambda: root.parent / "cache")
    threads = torch.get_num_threads()
    caplog.set_level("INFO")

    class Killed(BaseException):
        pass

    def die(stage, done, total):
        log = find_shuffle(root).train_folder / "learning_stats.csv"
        if stage == "evaluate" and log.is_file():
            raise Killed

    monkeypatch.setattr(loop, "EPOCH_SAVE_S", 0.0)
    with pytest.raises(Killed):
        train_shuffle(root, updates=UPDATES, config=CONFIG, on_progress=die)
    assert "Using 3 images and 1 for testing" in caplog.text
    said = [r.message for r in caplog.records if "not supported" in r.message]
    assert said == ["not supported in pytorch_config.yaml, and left out: runner.gpus: [0, 1] (trains on the first); "
                    "logger.type: WandbLogger"]  # fmt: skip
    assert re.search(r"Number of iterations: \d+, loss: \d\.\d{5}, lr: 0.0005", caplog.text)
    caplog.clear()

    best = train_shuffle(root, config=CONFIG)  # the same call: the updates are in the file now
    shuffle = find_shuffle(root)
    assert "going on with the interrupted training" in caplog.text
    assert re.search(r"Epoch 2/2 \(lr=0.0005\), train loss \d\.\d{5}, valid loss \d\.\d{5}\n", caplog.text)
    assert "Model performance:" in caplog.text
    assert best == shuffle.snapshots[-1].path
    assert {s.epoch for s in shuffle.snapshots} == {1, 2}
    assert set(stats(root)) == {"1", "2"}
    for part in ("train", "eval"):
        assert float(stats(root)["2"][f"losses/{part}.unique_bodypart_heatmap"]) > 0
        assert float(stats(root)["2"][f"losses/{part}.identity_total_loss"]) > 0
    assert "Starting pose model training..." in (shuffle.train_folder / "train.txt").read_text()
    content = torch.load(best, weights_only=True)
    assert {name.split(".")[0] for name in content["model"]} == {"backbone", "heads"}
    assert "losses/train.total_loss".removeprefix("losses/") in content["metadata"]["losses"]
    assert read_pytorch_config(shuffle.config_path)["runner"]["gpus"] == [0, 1]

    caplog.clear()
    last = next(s.path for s in shuffle.snapshots if s.epoch == 2)
    assert len(torch.load(last, weights_only=True)["optimizer"]["state"]) > 100
    train_shuffle(root, snapshot=last, updates={"train_settings.epochs": 1, "runner.eval_interval": 9}, config=CONFIG)
    assert "the optimizer goes on with its state in the snapshot" in caplog.text
    assert "a new one starts" not in caplog.text
    assert "Epoch 3/3" in caplog.text
    assert "Model performance" not in caplog.text  # eval_interval is larger than the epochs
    assert {s.epoch for s in find_shuffle(root).snapshots} == {1, 2, 3}

    caplog.clear()
    train_shuffle(root, config=CONFIG)
    assert "earlier training of shuffle 1 is replaced" in caplog.text
    assert [s.path.name for s in find_shuffle(root).snapshots] == ["snapshot-001.pt"]
    _evaluate(root, caplog)
    torch.set_num_threads(threads)


def _evaluate(root, caplog):
    caplog.clear()
    (found,) = evaluate_shuffle(root, plotting="bodypart", per_keypoint=True, pcutoff=0.01, device="cpu")
    scorer = "DLC_Resnet50_projNov22shuffle1_snapshot_1"
    assert found["scorer"] == scorer
    assert f"Evaluation results for {scorer}-results.csv (pcutoff: 0.01):" in caplog.text
    folder = root / "evaluation-results-pytorch/iteration-0/projNov22-trainset75shuffle1"
    frame = pd.read_hdf(folder / f"{scorer}.h5")
    assert frame.shape == (4, 2 * 2 * 3 + 3)
    assert set(frame.dtypes) == {np.dtype(np.float32)}
    assert frame.index[0] == ("labeled-data", "v", "img0.png")
    head, row = (folder / f"{scorer}-results.csv").read_text().splitlines()
    assert head.startswith("%Training dataset,Shuffle number,Training epochs,Detector epochs (TD only),pcutoff,train")
    assert row.startswith("0.75,1,1,-1,0.01,")
    assert {"train rmse_detections", "test rmse_detections_pcutoff", "test id_head_nose_accuracy"} <= set(
        head.split(",")
    )
    combined = folder.parent / "CombinedEvaluation-results.csv"
    assert combined.read_text() == f"{head}\n{row}\n"
    evaluate_shuffle(root, pcutoff=0.5, device="cpu", keypoints=["nose"])
    assert len(combined.read_text().splitlines()) == 3
    assert (folder / f"{scorer}-keypoint-results.csv").read_text().splitlines()[0] == ",nose,tail,lamp"
    images = sorted(p.name for p in (folder / f"LabeledImages_{scorer}").iterdir())
    assert images == ["Test-v-img3.png", *(f"Training-v-img{i}.png" for i in range(3))]
    assert cv2.imread(str(folder / f"LabeledImages_{scorer}" / images[0])).shape == (64, 80, 3)


def test_a_project_that_changed_is_a_clear_error(root):
    path = root / "config.yaml"
    text = path.read_text()
    path.write_text(text.replace("- tail", "- fin"))
    with pytest.raises(ProjectError, match="expected bodyparts nose, tail as this shuffle was made, got nose, fin"):
        train_shuffle(root, config=CONFIG)
    path.write_text(text)
