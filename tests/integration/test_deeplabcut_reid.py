"""transformer_reID under DeepLabCut's name, with a stand-in for the network and its backbone."""

from __future__ import annotations

import dbm.dumb
import pickle
import shelve
from pathlib import Path

import numpy as np
import pytest
import torch

import shoal.deeplabcut as deeplabcut
from shoal.io.dlc.config_file import edit_config, write_config
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.results import read_tracks_file
from shoal.io.dlc.tracklets import read_tracklets
from shoal.io.dlc.training_set import create_training_set
from shoal.run import dlc_reid, dlc_videos

BASE = "newDLC_Resnet50_blobsJan1shuffle1_snapshot_5"


@pytest.fixture
def config(blobs, tmp_path, monkeypatch) -> str:
    """A project whose network is a stand-in; its backbone's map holds coordinates."""
    import cv2

    images = tmp_path / "project" / "labeled-data" / "clip"
    images.mkdir(parents=True)
    (tmp_path / "project" / "videos").mkdir()
    pictures = ["img03.png", "img09.png"]
    for name in pictures:
        cv2.imwrite(str(images / name), np.zeros((96, 160, 3), np.uint8))
    names = ("a", "b", "c")
    write_labels(
        images, scorer="me", skeleton=blobs.SKELETON, individuals=names, images=pictures,
        xy=blobs.positions(70, 3)[[3, 9]], unique_xy=np.full((2, 1, 2), 6.0),
    )  # fmt: skip
    path = tmp_path / "project" / "config.yaml"
    write_config(
        path, task="blobs", scorer="me", date="Jan1", skeleton=blobs.SKELETON, individuals=names,
        videos={tmp_path / "project" / "videos" / "clip.mp4": (160, 96)}, identity=False,
    )  # fmt: skip
    edit_config(path, values={"dotsize": 3})
    (shuffle,) = create_training_set(tmp_path / "project")
    (shuffle.train_folder / "snapshot-005.pt").write_bytes(b"not opened")
    monkeypatch.setattr(dlc_videos, "load_engine", lambda path, config: blobs.engine())
    monkeypatch.setattr(dlc_reid, "backbone_look", lambda path: coordinates)
    return str(path)


def coordinates(batch, image, xy):
    """Features of a place: the place, and a constant."""
    return np.c_[xy - batch.origin, np.ones(len(xy))].astype(np.float32)


def shelf_of(path: Path) -> dict:
    with shelve.Shelf(dbm.dumb.open(str(path), "r")) as shelf:
        return dict(shelf)


def test_from_a_video_to_tracks_by_looks(config, blobs, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    video = blobs.make_video(tmp_path / "videos" / "new.mp4", 70, 3)
    deeplabcut.transformer_reID(config, [str(video)], videotype="mp4", n_tracks=3, n_triplets=64, train_epochs=10)
    out = capsys.readouterr().out
    for line in ("Creating the triplet dataset... DONE", "Epoch 10, train acc: ", "Epoch 10, test acc ",
                 "dlc_transreid_10.pth", "Now running deeplabcut.stitch_tracklets()"):  # fmt: skip
        assert line in out
    base = video.parent / BASE
    tracklets = read_tracklets(Path(f"{base}_el.pickle"))
    shelf = shelf_of(Path(f"{base}_bpt_features.pickle"))
    assert shelf.pop("metadata")["nframes"] == 70
    for key, value in shelf.items():
        rows = tracklets.tracklets.poses.frame == int(key[5:])
        xy = tracklets.tracklets.poses.xy[rows]
        seen = ~np.isnan(xy[..., 0])
        assert len(key) == len("frame00") and value["features"].dtype == np.float64
        assert value["coordinates"].dtype == np.float32
        assert np.allclose(value["features"][..., :2][seen], xy[seen]), "features of another animal"
        assert not value["features"][~seen].any(), "a missing keypoint has features"
    triplets = np.load(f"{base}_triplet_vector.npy")
    assert triplets.dtype == np.float64 and triplets.shape[1:] == (3, len(blobs.SKELETON.keypoints), 3)
    (folder,) = Path(config).parent.glob("dlc-models-pytorch/*/*/train")
    saved = torch.load(folder / "dlc_transreid_10.pth", weights_only=True)
    assert set(saved) == {"state_dict", "num_kpts", "feature_dim"} and saved["feature_dim"] == 3
    assert saved["state_dict"]["base.blocks.3.attn.qkv.weight"].shape == (384, 128)
    results = pickle.loads((folder / "dlc_transreid_results.pickle").read_bytes())
    assert len(results["train_acc"]) == 10 and len(results["test_acc"]) == 1 and results["epochs"] == 10
    assert len(read_tracks_file(Path(f"{base}_el_tr.h5")).names) == 3
    worked = deeplabcut.create_labeled_video(config, [str(video)], track_method="transformer")
    assert worked == [True]
    deeplabcut.filterpredictions(config, [str(video)], track_method="transformer")
    deeplabcut.plot_trajectories(config, [str(video)], track_method="transformer")
    assert Path(f"{base}_el_tr_filtered.h5").is_file()


def test_existing_triplets_are_used(config, blobs, tmp_path, capsys):
    (tmp_path / "videos").mkdir()
    video = blobs.make_video(tmp_path / "videos" / "new.mp4", 40, 2)
    path = video.parent / f"{BASE}_triplet_vector.npy"
    np.save(path, np.random.default_rng(0).normal(size=(9, 3, len(blobs.SKELETON.keypoints), 3)))
    before = path.read_bytes()
    deeplabcut.create_tracking_dataset(config, [str(video)], "ellipse", n_triplets=20)
    assert path.read_bytes() == before and "9 triplets" in capsys.readouterr().out
    np.save(path, np.zeros((9, 3, 1, 3)))
    deeplabcut.create_tracking_dataset(config, [str(video)], "ellipse", n_triplets=20, all_frames=True)
    assert np.load(path).shape[2] == len(blobs.SKELETON.keypoints)
    assert len(shelf_of(video.parent / f"{BASE}_bpt_features.pickle")) == 41
