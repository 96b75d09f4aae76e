"""A project becomes a network: tiny images, a tiny network, the real code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from shoal.config.run import RunConfig, load_config
from shoal.errors import ConfigError, ProjectError
from shoal.models.checkpoint import load_model
from shoal.training.evaluate import evaluate
from shoal.training.pose import PoseTask, train
from shoal.training.trial import try_training
from shoal.types import LabeledFrame, Project, Skeleton

SETTINGS = (
    "model.backbone=test_resnet", "model.neck=16", "model.input_scale=1", "train.crop_px=64", "train.batch_size=4",
    "train.crops_per_image=1", "train.epochs=3", "train.eval_every=2", "train.precision=float32",
    "predict.precision=float32", "compute.threads=1", "compute.device=cpu",
)  # fmt: skip


def config(*overrides: str) -> RunConfig:
    return load_config(overrides=[*SETTINGS, *overrides])


def make_project(folder: Path, n: int = 12) -> Project:
    """Animals with a red head, a green middle and a blue tail on noise; a white lamp in every image."""
    rng = np.random.default_rng(0)
    labels = []
    folder.mkdir(exist_ok=True)
    for i in range(n):
        image = rng.integers(60, 120, (96, 130, 3)).astype(np.uint8)
        animals = []
        for centre in ((35, 50), (95, 45)):
            angle = rng.uniform(0, 2 * np.pi)
            ahead = np.array([np.cos(angle), np.sin(angle)])
            xy = np.array(centre) + rng.uniform(-8, 8, 2) + np.array([[14], [0], [-14]]) * ahead
            for (x, y), color in zip(xy, ((250, 30, 30), (30, 250, 30), (30, 30, 250)), strict=True):
                cv2.circle(image, (int(x), int(y)), 4, color, -1)
            animals.append(xy)
        cv2.circle(image, (65, 8), 5, (255, 255, 255), -1)
        file = folder / f"img{i:03d}.png"
        cv2.imwrite(str(file), image[..., ::-1])
        xy = np.array(animals, np.float32)
        labels.append(
            LabeledFrame(file, "v", i, xy, np.ones((2, 3), bool), np.arange(2), np.array([[65.5, 8.5]]), row=i)
        )
    skeleton = Skeleton(("head", "middle", "tail"), np.array([[0, 1], [1, 2]]), unique=("lamp",))
    return Project(folder, "t", "me", "Nov22", skeleton, ("one", "two"), (), tuple(labels), has_identity=True)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    yield make_project(tmp_path / "images")
    torch.set_num_threads(threads)


def curve(run_dir: Path) -> list[tuple[float, ...]]:
    lines = [json.loads(line) for line in (run_dir / "log.jsonl").read_text().splitlines()]
    return [tuple(line[k] for k in ("epoch", "loss", "heat", "limb", "unique", "identity")) for line in lines]


def test_it_learns_to_see(tmp_path: Path, project: Project) -> None:
    """80 epochs of 2 steps, some seconds: what comes out is worth something, and it is the evaluation that says so."""
    result = train(project, tmp_path / "run", config("train.epochs=80", "train.eval_every=80", "model.edges=skeleton"))
    assert result.is_finished
    assert {f.name for f in result.run_dir.iterdir()} == {"run.yaml", "last.pt", "best.pt", "log.jsonl", "train.log"}
    model = load_model(result.run_dir)
    found = evaluate(model, project, range(12), model.config)
    assert found.scores.mAP > 60
    assert found.scores.recall > 0.75
    assert np.nanmedian(found.scores.error) < 2
    lamp = found.unique[1]
    assert len(lamp) == 12
    assert np.abs(lamp.xy[:, 0] - (65.5, 8.5)).max() < 2
    said = (result.run_dir / "train.log").read_text()
    assert "training on cpu" in said.splitlines()[0]
    assert "no GPU" in said


def test_evaluation_survives_an_untrained_network(tmp_path: Path, project: Project) -> None:
    result = train(project, tmp_path / "run", config("train.epochs=1", "train.eval_every=1"))
    assert np.isfinite(result.scores["mAP"])


def test_a_stopped_training_goes_on_exactly(tmp_path: Path, project: Project) -> None:
    """SIGTERM between and within epochs, then the same command: the same losses bit for bit."""
    whole = train(project, tmp_path / "whole", config())
    for stop_at in (3, 5, 9):
        run_dir = tmp_path / f"cut{stop_at}"

        def stop(stage: str, done: int, total: int | None, stop_at: int = stop_at) -> None:
            if stage == "train" and done == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)

        cut = train(project, run_dir, config(), on_progress=stop)
        assert cut.stopped_by == "SIGTERM" or stop_at == 9
        result = train(project, run_dir, config())
        assert result.is_finished
        assert curve(run_dir) == curve(whole.run_dir)
        assert load_model(run_dir / "last.pt").sha == load_model(whole.run_dir / "last.pt").sha


KILLED = """
import sys, time
sys.path.insert(0, {here!r})
from pathlib import Path
from test_training import config, make_project
from shoal.training.pose import train
def slow(stage, done, total):
    if stage == "train":
        print(done, flush=True)
        time.sleep(0.2)
folder = Path({folder!r})
train(make_project(folder / "images"), folder / "killed", config("train.save_minutes=1e-9"), on_progress=slow)
"""


def test_kill_9_then_the_same_command(tmp_path: Path, project: Project) -> None:
    code = KILLED.format(here=str(Path(__file__).parent), folder=str(tmp_path))
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=os.environ)
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "5":
            time.sleep(0.1)  # somewhere after saving
            child.send_signal(signal.SIGKILL)
            break
    child.wait()
    child.stdout.close()
    assert child.returncode == -signal.SIGKILL
    every = config("train.save_minutes=1e-9")
    assert train(project, tmp_path / "killed", every).is_finished
    train(project, tmp_path / "whole", config())
    assert curve(tmp_path / "killed") == curve(tmp_path / "whole")


def test_out_of_memory_in_a_real_training(tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    losses = PoseTask.losses

    def limited(self: PoseTask, net: torch.nn.Module, batch: tuple, rows: slice) -> dict:
        if rows.stop - rows.start > 1:
            raise torch.OutOfMemoryError("injected")
        return losses(self, net, batch, rows)

    monkeypatch.setattr(PoseTask, "losses", limited)
    result = train(project, tmp_path / "run", config())
    assert result.is_finished
    assert (tmp_path / "run" / "train.log").read_text().count("out of memory") == 2
    assert len(curve(tmp_path / "run")) == 3


def test_finished_stays_finished_and_fresh_replaces(tmp_path: Path, project: Project) -> None:
    run_dir = tmp_path / "run"
    train(project, run_dir, config())
    before = (run_dir / "last.pt").read_bytes()
    again = train(project, run_dir, config())
    assert again.is_finished
    assert (run_dir / "last.pt").read_bytes() == before
    assert len(curve(run_dir)) == 3
    other = train(project, run_dir, config("train.seed=1"), fresh=True)
    assert other.is_finished
    assert len(curve(run_dir)) == 3
    assert (run_dir / "last.pt").read_bytes() != before


def test_other_settings_or_labels_do_not_continue_a_training(tmp_path: Path, project: Project) -> None:
    run_dir = tmp_path / "run"
    train(project, run_dir, config("train.epochs=1"))
    with pytest.raises(ConfigError, match=r"train\.epochs") as error:
        train(project, run_dir, config("train.epochs=2"))
    assert "--fresh" in error.value.hint
    fewer = Project(**{**project.__dict__, "labels": project.labels[:-1]})
    with pytest.raises(ProjectError, match="labels changed"):
        train(fewer, run_dir, config("train.epochs=1"))


def test_same_seed_same_network_other_seed_another(tmp_path: Path, project: Project) -> None:
    shas = [
        load_model(train(project, tmp_path / str(i), config("train.epochs=1", f"train.seed={seed}")).model).sha
        for i, seed in enumerate((0, 0, 1))
    ]
    assert shas[0] == shas[1] != shas[2]


@pytest.mark.parametrize("keypoints", [[1], []])
def test_one_keypoint_or_only_unique_ones(tmp_path: Path, project: Project, keypoints: list[int]) -> None:
    names = tuple(project.skeleton.keypoints[k] for k in keypoints)
    labels = tuple(
        replace(label, xy=label.xy[:, keypoints], visible=label.visible[:, keypoints]) for label in project.labels
    )
    few = replace(project, skeleton=Skeleton(names, unique=("lamp",)), labels=labels, has_identity=False)
    result = train(few, tmp_path / "run", config("train.epochs=1", "train.eval_every=1"))
    assert result.is_finished
    assert load_model(result.model).edges.shape == (0, 2)


def test_no_labels_is_the_users_error(tmp_path: Path, project: Project) -> None:
    empty = tuple(
        LabeledFrame(
            label.image,
            "v",
            label.frame,
            np.full((2, 3, 2), np.nan),
            np.zeros((2, 3), bool),
            np.arange(2),
            np.full((1, 2), np.nan),
        )
        for label in project.labels
    )
    with pytest.raises(ProjectError, match="none in"):
        train(Project(**{**project.__dict__, "labels": empty}), tmp_path / "run", config())


def test_resnet_50_trains_and_detects(tmp_path: Path, project: Project) -> None:
    small = config(
        "model.name=resnet_50",
        "train.epochs=1",
        "train.crops_per_image=0.5",
        "train.batch_size=2",
        "train.eval_every=1",
    )
    result = train(project, tmp_path / "run", small, split=(np.arange(4), np.arange(4, 5)))
    assert result.is_finished
    assert np.isfinite(json.loads((tmp_path / "run" / "log.jsonl").read_text())["locref"])
    assert load_model(result.run_dir).net.body.state_dict()["heads.bodypart.convt1.weight"].shape[1] == 3  # type: ignore[union-attr]


def test_trying_says_what_it_would_cost(tmp_path: Path, project: Project) -> None:
    trial = try_training(project, config())
    assert trial.images_per_s > 0
    assert trial.peak_memory_mb > 10
    assert trial.seconds > 0
    assert trial.micro_batch == 4
    assert not list(tmp_path.glob("run*"))
