"""Crops cut while a video is analyzed, and afterwards: the same pictures."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from shoal.io.artifacts import read_entry
from shoal.run import crops as cutting
from shoal.run.crops import complete_crops, each_crops, joined_crops, read_crop_plan
from shoal.run.folder import plan_spans, read_config
from shoal.run.steps import analyze

SETTINGS = ("reid.use=true", "reid.height=20", "reid.width=40", "reid.clear=0")


def all_crops(run_dir):
    return joined_crops(list(each_crops(run_dir)), (0, 300))


@pytest.fixture(scope="module")
def cut_run(blobs, blob_video, tmp_path_factory):
    """Analyzed in chunks of 64, with crops; tests must not change it."""
    config = blobs.config("predict.chunk_frames=64", *SETTINGS)
    return analyze(blob_video, blobs.engine(), config=config, dest=tmp_path_factory.mktemp("cut"))


def test_crops_are_cut_while_a_video_is_analyzed(cut_run):
    crops, config = all_crops(cut_run), read_config(cut_run).reid
    assert len(crops) == 3 * 150 and (crops.frame % config.every == 0).all()
    head, tail = crops.image[:, 10, 33].astype(int), crops.image[:, 10, 7].astype(int)
    assert (head[:, 0] > head[:, 1] + 60).all() and (tail[:, 1] > tail[:, 0] + 60).all(), "red heads are to the right"


def test_crops_do_not_depend_on_chunks_or_on_when_they_are_cut(blobs, blob_video, cut_run, tmp_path, monkeypatch):
    want = all_crops(cut_run)
    other = blobs.config("predict.chunk_frames=128", "predict.batch_size=3", *SETTINGS)
    np.testing.assert_array_equal(
        all_crops(analyze(blob_video, blobs.engine(), config=other, dest=tmp_path / "other")).image, want.image
    )
    later = tmp_path / "later.shoal"
    shutil.copytree(cut_run, later)
    shutil.rmtree(later / "crops")
    (later / cutting.PLAN).unlink()
    for path in later.glob("manifest/crops-*"):
        path.unlink()
    config = read_config(later).reid
    assert complete_crops(later, config) is not None
    for name in ("frame", "item", "image"):
        np.testing.assert_array_equal(getattr(all_crops(later), name), getattr(want, name))
    monkeypatch.setattr(cutting, "read_frames", None)
    assert complete_crops(later, config) is not None, "nothing is cut twice"


def test_lost_crops_of_one_chunk_are_cut_again(cut_run, tmp_path):
    folder = tmp_path / "lost.shoal"
    shutil.copytree(cut_run, folder)
    span, want = plan_spans(folder)[2], all_crops(folder)
    (folder / "crops" / f"{span[0]:09d}-{span[1]:09d}.npz").unlink()
    complete_crops(folder, read_config(folder).reid)
    np.testing.assert_array_equal(all_crops(folder).image, want.image)
    entry = read_entry(folder, "crops", span)
    assert entry is not None and entry["counts"]["crops"] > 0


def test_long_videos_have_fewer_crops_a_frame(cut_run, tmp_path):
    folder = tmp_path / "long.shoal"
    shutil.copytree(cut_run, folder)
    config = read_config(folder).reid.model_copy(update={"crops_per_hour": 60_000, "max_crops": 50})
    assert read_crop_plan(folder, config) is None, "other settings"
    complete_crops(folder, config)
    assert len(all_crops(folder)) == pytest.approx(60_000 * 12 / 3600, rel=0.2)
