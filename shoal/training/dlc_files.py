"""What a training of a DLC shuffle leaves in DLC's train folder: snapshots, learning_stats.csv, the guide's lines."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shoal.io.artifacts import read_json, write_json
from shoal.io.dlc.learning_stats import read_learning_stats, write_learning_stats
from shoal.io.dlc.shuffles import Snapshot, list_snapshots
from shoal.models.dlc_snapshots import save_snapshot
from shoal.training.loop import EpochEnd

logger = logging.getLogger(__name__)

LOSS_NAMES = {
    "heat": ("bodypart_heatmap", "bodypart"), "locref": ("bodypart_locref", "bodypart"),
    "limb": ("bodypart_paf", "bodypart"), "unique": ("unique_bodypart_heatmap", "unique_bodypart"),
    "unique_locref": ("unique_bodypart_locref", "unique_bodypart"), "identity": ("identity_heatmap", "identity"),
}  # fmt: skip
"""shoal's loss term -> (DLC's, its head)."""
WEIGHTS = {"heat": 1 / 3, "locref": 0.05 / 3, "limb": 0.1 / 3, "unique": 1 / 2, "unique_locref": 0.05 / 2}
"""Share of each term in its head's loss (``targets_dlc.dlc_loss``); DLC writes terms without it."""
SCORES = ("rmse", "rmse_pcutoff", "mAP", "mAR")
RECORD = "snapshots.json"
"""In shoal's run folder: the snapshots that it wrote, which are all that it ever deletes."""


class ShuffleFiles:
    """Called at the end of each epoch; DLC's rules of keeping snapshots (dlc_formats.md, 4.7).

    Everything that it needs to know is on disk, so an epoch that is done again after a crash gives the same files.

    Args:
        folder: DLC's train folder.
        run_dir: shoal's run folder of this training.
        rules: section ``runner.snapshots`` of pytorch_config.yaml.
        n_epochs: last epoch.
        keep: name of a snapshot that is never deleted: the one that this training started from.
    """

    def __init__(self, folder: Path, run_dir: Path, rules: Mapping[str, Any], *, n_epochs: int, keep: str = "") -> None:
        self.folder, self.record, self.keep, self.n_epochs = folder, run_dir / RECORD, keep, n_epochs
        self.most = int(_or(rules.get("max_snapshots"), 5))
        self.every = max(1, int(_or(rules.get("save_epochs"), 25)))
        self.with_optimizer = bool(rules.get("save_optimizer_state"))

    def __call__(self, end: EpochEnd) -> None:
        """Say how the epoch went; write its losses and, if it is due or the best, its snapshot."""
        losses = dlc_losses(end.line) | dlc_losses(end.line, "eval")
        scores = {f"metrics/test.{name}": end.line[name] for name in SCORES if name in end.line}
        self._say(end, scores, losses)
        stats = read_learning_stats(self.folder / "learning_stats.csv")
        stats = {epoch: row for epoch, row in stats.items() if epoch < end.epoch}
        stats[end.epoch] = {f"losses/{name}": value for name, value in losses.items()} | scores
        write_learning_stats(self.folder / "learning_stats.csv", stats)
        self._save(end, scores, losses)

    def _say(self, end: EpochEnd, scores: Mapping[str, float], losses: Mapping[str, float]) -> None:
        rate, loss = end.line["learning_rate"], end.line["loss"]
        valid = f", valid loss {losses['eval.total_loss']:.5f}" if "eval.total_loss" in losses else ""
        logger.info("Epoch %d/%d (lr=%g), train loss %.5f%s", end.epoch, self.n_epochs, rate, loss, valid)
        if scores:
            logger.info("Model performance:")
        for name, value in scores.items():
            logger.info("  %-26s%7.2f", f"{name}:", value)

    def _save(self, end: EpochEnd, scores: dict[str, float], losses: dict[str, float]) -> None:
        is_regular = end.epoch % self.every == 0 or end.epoch == self.n_epochs
        if not (end.is_best or is_regular):
            return
        path = self.folder / f"snapshot{'-best' if end.is_best else ''}-{end.epoch:03d}.pt"
        optimizer = end.optimizer.state_dict() if self.with_optimizer else None
        finite = {name: value for name, value in scores.items() if math.isfinite(value)}
        before = [s for s in list_snapshots(self.folder) if s.is_best and s.path != path]
        self._note(path.name)  # first: a file that was written and not noted would never be deleted
        save_snapshot(path, end.net, epoch=end.epoch, metrics=finite, losses=losses, optimizer=optimizer)
        for old in before if end.is_best else ():
            self._retire(old)
        regular = [s for s in list_snapshots(self.folder) if not s.is_best and s.path.name in self._ours()]
        for old in regular[: max(0, len(regular) - self.most)] if self.most > 0 else ():
            self._delete(old.path)

    def _retire(self, old: Snapshot) -> None:
        """A best snapshot that no longer is: a regular one if its epoch is due (or it is not ours), else it goes."""
        name = f"snapshot-{old.epoch:03d}.pt"
        ours = old.path.name in self._ours()
        if old.epoch % self.every == 0 or not ours or old.path.name == self.keep:
            if ours:
                self._note(name)
            old.path.replace(self.folder / name)
        else:
            self._delete(old.path)

    def _delete(self, path: Path) -> None:
        if path.name != self.keep:
            path.unlink(missing_ok=True)

    def _ours(self) -> set[str]:
        return written_snapshots(self.record)

    def _note(self, name: str) -> None:
        write_json(self.record, sorted({*self._ours(), name}))


def written_snapshots(record: Path) -> set[str]:
    """Names of the snapshots that shoal wrote."""
    return set(read_json(record)) if record.is_file() else set()


def replace_snapshots(folder: Path, run_dir: Path) -> None:
    """Make room for a training from the beginning: shoal's own snapshots go, DLC's stay as regular ones."""
    ours = written_snapshots(run_dir / RECORD)
    for snapshot in list_snapshots(folder):
        if snapshot.path.name in ours:
            snapshot.path.unlink()
        elif snapshot.is_best:
            name = f"snapshot-{snapshot.epoch:03d}.pt"
            logger.warning("%s is of an earlier training and is now called %s", snapshot.path.name, name)
            snapshot.path.replace(folder / name)
    (run_dir / RECORD).unlink(missing_ok=True)
    (folder / "learning_stats.csv").unlink(missing_ok=True)


def dlc_losses(line: Mapping[str, Any], part: str = "train") -> dict[str, float]:
    """Mean losses of an epoch by DLC's names: terms without their weights, a total per head, and the total.

    ``part`` "eval": of the test images; empty where they were not looked at.
    """
    prefix = "" if part == "train" else f"{part}."
    terms = {name: float(line[prefix + name]) for name in LOSS_NAMES if prefix + name in line}
    if not terms:
        return {}
    heads = {head: 0.0 for name, (_, head) in LOSS_NAMES.items() if name in terms}
    out: dict[str, float] = {}
    for name, value in terms.items():
        dlc_name, head = LOSS_NAMES[name]
        out[f"{part}.{dlc_name}"] = value * len(heads) / WEIGHTS.get(name, 1.0)
        heads[head] += value * len(heads)
    totals = {f"{part}.{head}_total_loss": total for head, total in heads.items()}
    return out | totals | {f"{part}.total_loss": sum(terms.values())}


def _or(value: Any, default: int) -> Any:
    return default if value is None else value
