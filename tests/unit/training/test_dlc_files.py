"""Which snapshots are kept: DLC's rules, without ever deleting what shoal did not write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from shoal.io.dlc.learning_stats import read_learning_stats
from shoal.training import dlc_files
from shoal.training.dlc_files import ShuffleFiles, dlc_losses, replace_snapshots


@pytest.fixture
def saved(monkeypatch):
    written = []

    def save(path, net, *, epoch, metrics, losses, optimizer):
        written.append((path.name, metrics, losses, optimizer))
        path.write_bytes(b"x")

    monkeypatch.setattr(dlc_files, "save_snapshot", save)
    return written


def end(epoch, score=None, best=False):
    line = {"heat": 0.3, "locref": 0.01, "limb": 0.02, "loss": 0.33, "learning_rate": 1e-4}
    line |= {} if score is None else {"mAP": score, "rmse": float("nan")}
    optimizer = SimpleNamespace(state_dict=lambda: {"state": 1})
    return SimpleNamespace(net=None, optimizer=optimizer, epoch=epoch, line=line, is_best=best)


def make(tmp_path: Path, *, n_epochs=10, keep="", **rules):
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "train").mkdir(exist_ok=True)
    return ShuffleFiles(tmp_path / "train", tmp_path / "run", rules, n_epochs=n_epochs, keep=keep)


def names(tmp_path):
    return sorted(p.name for p in (tmp_path / "train").glob("*.pt"))


def test_regular_ones_are_rotated_and_the_last_is_kept(tmp_path, saved):
    files = make(tmp_path, n_epochs=7, max_snapshots=2, save_epochs=2)
    for epoch in range(1, 8):
        files(end(epoch))
    assert names(tmp_path) == ["snapshot-006.pt", "snapshot-007.pt"]
    assert saved[0][3] is None


def test_the_best_has_a_name_of_its_own_and_becomes_regular_when_due(tmp_path, saved):
    files = make(tmp_path, max_snapshots=5, save_epochs=2, save_optimizer_state=True)
    files(end(1, 0.0, best=True))
    files(end(2, 5.0, best=True))  # the one of epoch 1 is not due: it goes
    assert names(tmp_path) == ["snapshot-best-002.pt"]
    files(end(3, 6.0, best=True))  # that of epoch 2 is due
    assert names(tmp_path) == ["snapshot-002.pt", "snapshot-best-003.pt"]
    files(end(4, 1.0))
    assert names(tmp_path) == ["snapshot-002.pt", "snapshot-004.pt", "snapshot-best-003.pt"]
    assert saved[0][1] == {"metrics/test.mAP": 0.0}  # NaN is no metric
    assert saved[0][3] == {"state": 1}


def test_an_epoch_done_again_gives_the_same_files(tmp_path, saved):
    files = make(tmp_path, save_epochs=1)
    for epoch in (1, 2, 3):
        files(end(epoch, float(epoch), best=True))
    before = names(tmp_path), (tmp_path / "train" / "learning_stats.csv").read_text()
    for epoch in (2, 3):
        make(tmp_path, save_epochs=1)(end(epoch, float(epoch), best=True))
    assert (names(tmp_path)[-1], (tmp_path / "train" / "learning_stats.csv").read_text()) == (before[0][-1], before[1])


def test_only_its_own_snapshots_are_deleted(tmp_path, saved):
    files = make(tmp_path, max_snapshots=1, save_epochs=1, keep="snapshot-002.pt")
    for name in ("snapshot-050.pt", "snapshot-best-060.pt"):
        (tmp_path / "train" / name).write_bytes(b"dlc")
    for epoch in (1, 2, 3, 4):
        files(end(epoch))
    assert names(tmp_path) == ["snapshot-002.pt", "snapshot-004.pt", "snapshot-050.pt", "snapshot-best-060.pt"]
    replace_snapshots(tmp_path / "train", tmp_path / "run")
    assert names(tmp_path) == ["snapshot-050.pt", "snapshot-060.pt"]


def test_losses_have_dlcs_names_and_weights(tmp_path, saved):
    losses = dlc_losses({"heat": 0.2115, "locref": 0.01244, "limb": 0.0229, "loss": 0.24684})
    assert losses["train.bodypart_heatmap"] == pytest.approx(0.6345)
    assert losses["train.bodypart_locref"] == pytest.approx(0.7464)
    assert losses["train.bodypart_total_loss"] == pytest.approx(losses["train.total_loss"])
    assert not any(name.startswith("eval") for name in losses)
    make(tmp_path)(end(1, 3.0))
    row = read_learning_stats(tmp_path / "train" / "learning_stats.csv")[1]
    assert row["metrics/test.mAP"] == 3.0
    assert row["losses/train.total_loss"] == pytest.approx(0.33)


def test_losses_of_test_images_have_columns_and_a_place_in_the_line(tmp_path, saved, caplog):
    caplog.set_level("INFO")
    evaluated = end(2, 3.0)
    evaluated.line |= {"eval.heat": 0.2, "eval.locref": 0.01, "eval.limb": 0.03}
    files = make(tmp_path)
    files(end(1))
    files(evaluated)
    assert "Epoch 1/10 (lr=0.0001), train loss 0.33000\n" in caplog.text
    assert "Epoch 2/10 (lr=0.0001), train loss 0.33000, valid loss 0.24000\n" in caplog.text
    rows = read_learning_stats(tmp_path / "train" / "learning_stats.csv")
    assert rows[2]["losses/eval.bodypart_heatmap"] == pytest.approx(0.6)
    assert rows[2]["losses/eval.bodypart_total_loss"] == pytest.approx(0.24)
    assert rows[2]["losses/eval.total_loss"] == pytest.approx(0.24)
    assert not any("eval" in name for name in rows[1])
