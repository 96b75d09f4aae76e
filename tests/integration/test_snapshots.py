"""A DLC snapshot takes the place of shoal's own model wherever one is asked for."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import torch

from shoal.cli import app
from shoal.io.dlc.pytorch_config import model_section, write_pytorch_config
from shoal.io.dlc.results import read_tracks
from shoal.models.dlc_networks import DlcBody
from shoal.models.dlc_snapshots import save_snapshot
from shoal.run.steps import export
from shoal.types import Skeleton

SCORER = "DLC_HrnetW18_blobsJan1shuffle3_snapshot_200"


def make_snapshot(folder: Path) -> Path:
    """Of a network that answers 0.9 everywhere."""
    train = folder / "dlc-models-pytorch" / "iteration-0" / "blobsJan1-trainset95shuffle3" / "train"
    train.mkdir(parents=True)
    content = {
        "model": model_section("hrnet_w18", 3, 2, 1, [[0, 1]], identity=False),
        "net_type": "hrnet_w18",
        "method": "bu",
        "metadata": {"bodyparts": ["head", "tail"], "unique_bodyparts": ["lamp"], "individuals": ["a", "b", "c"]},
    }
    write_pytorch_config(train / "pytorch_config.yaml", content)
    body = DlcBody("hrnet_w18", (2, 2, 1, 0))
    for parameter in body.heads.parameters():
        torch.nn.init.zeros_(parameter)
    torch.nn.init.constant_(body.heads["bodypart"].heatmap_head.deconv_layers[0].bias, 2.2)  # type: ignore
    save_snapshot(train / "snapshot-200.pt", body, epoch=200, metrics={}, losses={})
    return train / "snapshot-200.pt"


def test_shoal_analyze_takes_a_snapshot(blobs, tmp_path: Path, monkeypatch, capsys) -> None:
    video, snapshot = blobs.make_video(tmp_path / "clip.mp4", 4), make_snapshot(tmp_path)
    words = ["shoal", "analyze", str(snapshot), str(video), "--json", "--set", "compute.threads=1"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as stop:
        app.main()
    assert not stop.value.code
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    files = export(Path(run))
    skeleton = Skeleton(("head", "tail"), unique=("lamp",))
    assert SCORER.encode() in files[0].read_bytes()
    assert read_tracks(files[0], skeleton)[1][:3] == ("a", "b", "c")
