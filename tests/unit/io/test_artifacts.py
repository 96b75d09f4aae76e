from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from shoal.config.stitch import StitchConfig
from shoal.errors import ArtifactError
from shoal.io import artifacts
from shoal.types import Poses, Skeleton, Tracks


def small_tracks() -> Tracks:
    poses = Poses([3, 3, 5], [0, 1, 0], np.arange(12).reshape(3, 2, 2), np.ones((3, 2)), [0.5, 0.6, 0.7], (2, 9))
    return Tracks(poses, [0, 1, 0])


def test_equal_tables_give_equal_bytes(tmp_path, monkeypatch):
    artifacts.save_table(tmp_path / "a.npz", small_tracks())
    monkeypatch.setattr("time.time", lambda: 2e9)
    artifacts.save_table(tmp_path / "b.npz", small_tracks())
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_can_read_the_file(tmp_path):
    artifacts.save_table(tmp_path / "a.npz", small_tracks())
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["track"].tolist() == [0, 1, 0]
        assert file["poses.xy"].dtype == np.float32
        assert '"type": "Tracks"' in str(file["table"])


def test_names_none_and_optional_tables_survive(tmp_path):
    @dataclass
    class Scene:
        skeleton: Skeleton
        names: tuple[str, ...]
        tracks: Tracks | None
        other: Tracks | None
        rate: float

    globals()["Scene"] = Scene
    scene = Scene(Skeleton(("nose", "tail"), [[0, 1]]), ("Ä", "b"), small_tracks(), None, 29.97)
    artifacts.save_table(tmp_path / "scene.npz", scene)
    loaded = artifacts.load_table(tmp_path / "scene.npz", Scene)
    assert (loaded.names, loaded.other, loaded.rate) == (("Ä", "b"), None, 29.97)
    assert loaded.skeleton.keypoints == ("nose", "tail") and loaded.tracks.span == (2, 9)


def test_objects_are_refused(tmp_path):
    @dataclass
    class Odd:
        column: np.ndarray

    with pytest.raises(ValueError, match="objects"):
        artifacts.save_table(tmp_path / "odd.npz", Odd(np.array([{}], dtype=object)))


@pytest.mark.parametrize("content", [b"", b"garbage", None])
def test_a_bad_file_is_an_artifact_error(tmp_path, content):
    path = tmp_path / "a.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"a\.npz"):
        artifacts.load_table(path, Tracks)


def test_truncated_and_wrong_type(tmp_path):
    path = tmp_path / "a.npz"
    artifacts.save_table(path, small_tracks())
    with pytest.raises(ArtifactError, match="expected a table Poses, got Tracks"):
        artifacts.load_table(path, Poses)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ArtifactError):
        artifacts.load_table(path, Tracks)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    artifacts.write_atomic(path, b"old")

    def fail(aside: Path) -> None:
        aside.write_bytes(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        artifacts.write_atomic(path, fail)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses" / ".000.77.partial.npz").touch()
    (tmp_path / "poses" / "000.npz").touch()
    artifacts.remove_partial(tmp_path)
    assert [p.name for p in (tmp_path / "poses").iterdir()] == ["000.npz"]


def test_fingerprint_changes_with_each_part():
    base = {"stage": "stitch", "version": 1, "config": StitchConfig(), "inputs": ("a",), "video": "v"}
    other = [
        {"stage": "associate"}, {"version": 2}, {"config": StitchConfig(max_gap=1)}, {"inputs": ("b",)},
        {"checkpoint": "c"}, {"video": "w"}, {"config": None},
    ]  # fmt: skip
    prints = {artifacts.fingerprint(**(base | change)) for change in [{}, *other]}
    assert len(prints) == len(other) + 1
    assert artifacts.fingerprint(**base) == artifacts.fingerprint(**base)


def test_done_needs_entry_fingerprint_and_outputs(tmp_path):
    output = tmp_path / "poses" / "x.npz"
    artifacts.write_atomic(output, b"x")
    span = (0, 64)
    assert not artifacts.is_done(tmp_path, "predict", "f", span)
    artifacts.write_entry(tmp_path, "predict", fingerprint="f", outputs=[output], span=span, counts={"frames": 64})
    assert artifacts.is_done(tmp_path, "predict", "f", span)
    assert not artifacts.is_done(tmp_path, "predict", "g", span)
    assert not artifacts.is_done(tmp_path, "predict", "f", (64, 128))
    entry = artifacts.read_entry(tmp_path, "predict", span)
    assert entry is not None and entry["outputs"] == ["poses/x.npz"] and entry["counts"] == {"frames": 64}
    output.unlink()
    assert not artifacts.is_done(tmp_path, "predict", "f", span)


def test_a_damaged_entry_means_not_done(tmp_path):
    artifacts.write_atomic(artifacts.entry_path(tmp_path, "stitch"), b"{half")
    assert artifacts.read_entry(tmp_path, "stitch") is None
