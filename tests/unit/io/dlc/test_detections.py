"""``_full.pickle`` and ``_meta.pickle``: both engines' forms, and early releases'."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from shoal.errors import ProjectError
from shoal.io.dlc.detections import read_full, write_full
from shoal.io.dlc.meta import Meta, frame_key, frame_number, key_width, read_meta, write_meta
from shoal.types import Detections, Poses

POSES = Poses(
    [0, 0, 2], [0, 1, 0], [[[1, 2], [3, 4]], [[5, 6], [np.nan, np.nan]], [[7, 8], [9, 10]]],
    [[0.5, 0.75], [0.25, 0], [1, 1]], [0.6, 0.2, 1], (0, 12),
)  # fmt: skip
CORNER = Poses([1], [0], [[[20, 30]]], [[0.5]], [1], (0, 12))


def write_poses(path: Path, **more) -> dict:
    write_full(
        path, POSES, keypoints=("nose", "tail"), n_frames=12, n_individuals=3, unique=CORNER, unique_names=("corner",),
        **more,
    )  # fmt: skip
    return pickle.loads(path.read_bytes())


@pytest.mark.parametrize(("n_frames", "first"), [(1, "frame0"), (10, "frame0"), (30, "frame00"), (1001, "frame0000")])
def test_frame_keys_have_dlcs_width(n_frames, first):
    assert frame_key(0, key_width(n_frames)) == first


def test_frame_numbers():
    assert [frame_number(k) for k in ("frame007", 7, np.int64(7), "frame", "header", -1, True, 1.5, "frame٣")] == [
        7, 7, 7, None, None, None, None, None, None,
    ]  # fmt: skip


def test_animals_are_written_as_the_pytorch_engine_does(tmp_path):
    content = write_poses(tmp_path / "v_full.pickle", identity=np.arange(18.0).reshape(3, 2, 3))
    assert content["metadata"]["all_joints_names"] == ["nose", "tail", "corner"]
    assert (content["metadata"]["nframes"], content["metadata"]["key_str_width"]) == (12, 2)
    assert sorted(content)[:-1] == [f"frame{i:02d}" for i in range(12)]
    frame = content["frame00"]
    (coordinates,) = frame["coordinates"]
    assert frame["costs"] is None
    assert [c.shape for c in coordinates] == [(3, 2), (3, 2), (1, 2)] and coordinates[0].dtype == np.float32
    assert [c.shape for c in frame["confidence"]] == [(3, 1), (3, 1), (1, 1)]
    assert coordinates[0].tolist() == [[1, 2], [5, 6], [-1, -1]]
    assert np.isnan(coordinates[1][1]).all() and coordinates[1][2].tolist() == [-1, -1]
    assert frame["confidence"][0].tolist() == [[0.5], [0.25], [-1]]
    assert coordinates[2].tolist() == [[-1, -1]] and content["frame01"]["coordinates"][0][2].tolist() == [[20, 30]]
    assert frame["identity"][0].tolist() == [[0, 1, 2], [6, 7, 8], [-1, -1, -1]]
    assert frame["identity"][2].tolist() == [[-1, -1, -1]]


@pytest.mark.parametrize("unique", [(), ("corner",)])
def test_animals_come_back(tmp_path, unique):
    write_poses(tmp_path / "v_full.pickle", identity=np.arange(18.0).reshape(3, 2, 3))
    full = read_full(tmp_path / "v_full.pickle", unique=unique)
    assert (full.keypoints, full.unique_names) == (("nose", "tail"), ("corner",))
    assert full.poses is not None and full.poses.span == (0, 12)
    assert np.array_equal(full.poses.xy, POSES.xy, equal_nan=True)
    assert full.poses.confidence.tolist() == POSES.confidence.tolist()
    assert full.unique.frame.tolist() == [1] and full.unique.xy.tolist() == [[[20, 30]]]
    assert len(full.detections) == 5 and full.detections.identity.shape == (5, 3)
    assert full.detections.identity[2].tolist() == [3, 4, 5]  # tail of animal 0


def test_confidences_with_three_columns_are_read(tmp_path):
    """Releases before 3.0.0 stored (x, y, score, id, affinity) from the third on (#2755)."""
    content = write_poses(tmp_path / "v_full.pickle")
    for key in content:
        if key != "metadata":
            content[key]["confidence"] = [np.repeat(c, 3, axis=1) * [1, -1, 7] for c in content[key]["confidence"]]
    (tmp_path / "v_full.pickle").write_bytes(pickle.dumps(content))
    full = read_full(tmp_path / "v_full.pickle", unique=("corner",))
    assert full.poses is not None and full.poses.confidence.tolist() == POSES.confidence.tolist()


def test_raw_peaks_with_costs_go_there_and_back(tmp_path):
    peaks = Detections(
        [0, 0, 0, 3], [0, 1, 2, 0], [0, 0, 1, 1], [[1, 2], [3, 4], [5, 6], [7, 8]], [0.5, 0.25, 1, 1],
        [0, 0], [0, 0], [0, 1], [2, 2], [0.75, 0.5], np.zeros((4, 0)), (0, 5),
    )  # fmt: skip
    path = tmp_path / "v_full.pickle"
    write_full(path, peaks, keypoints=("nose", "tail"), n_frames=5, n_individuals=2, edges=np.array([[0, 1]]))
    costs = pickle.loads(path.read_bytes())["frame0"]["costs"]
    assert costs[0]["m1"].tolist() == [[0.75], [0.5]]
    assert np.allclose(costs[0]["distance"], [[np.hypot(4, 4)], [np.hypot(2, 2)]])
    full = read_full(path)
    assert full.poses is None and full.edges.tolist() == [[0, 1]]
    for name in ("frame", "number", "keypoint", "xy", "confidence", "limb_frame", "source", "target", "affinity"):
        assert getattr(full.detections, name).tolist() == getattr(peaks, name).tolist(), name


def test_no_frames_and_no_animals_are_ordinary(tmp_path):
    for n_frames in (0, 1, 3):
        path = tmp_path / "v_full.pickle"
        write_full(path, Poses.empty((0, n_frames), 2), keypoints=("a", "b"), n_frames=n_frames, n_individuals=2)
        full = read_full(path)
        assert full.poses is not None and len(full.poses) == 0 and full.detections.span == (0, n_frames)


def test_meta_opens_without_dlc_and_comes_back(tmp_path):
    meta = Meta(
        "DLC_x", 30, fps=29.97, size=(640, 480), individuals=("a", "b"), keypoints=("nose",), unique=("corner",),
        cropping=(10, 300, 20, 400), started=5.0, stopped=7.5, batch_size=8, fraction=0.5, iteration=2,
        model={"net_type": "resnet_50"},
    )  # fmt: skip
    write_meta(tmp_path / "v_meta.pickle", meta)
    assert vars(read_meta(tmp_path / "v_meta.pickle")) == vars(meta)
    assert meta.origin == (10, 20) and Meta("x", 1).origin == (0, 0)
    data = pickle.loads((tmp_path / "v_meta.pickle").read_bytes())["data"]
    assert data["run_duration"] == 2.5 and data["cropping_parameters"] == [10, 300, 20, 400]


def test_meta_with_objects_of_dlc_is_read_without_dlc(tmp_path):
    """DLC 3.0.2 leaves its enums and paths in the file (dlc_formats.md 10.9)."""
    enum = b"cdeeplabcut.core.config.net\nNetType\n(Vresnet_50\ntR"
    path = b"cpathlib\nPosixPath\n(V/\nVa\nVb.yaml\ntR"
    windows = b"cpathlib\nWindowsPath\n(VC:\\u005c\nVa\ntR"
    content = b"\x80\x02}Vdata\n}(VScorer\nVDLC_x\nVpytorch-config\n}(Vnet\n" + enum + b"Vp\n" + path
    content += b"Vw\n" + windows + b"uus."
    (tmp_path / "v_meta.pickle").write_bytes(content)
    meta = read_meta(tmp_path / "v_meta.pickle")
    assert meta.model == {"net": "resnet_50", "p": "/a/b.yaml", "w": "C:\\a"}


@pytest.mark.parametrize("content", [[], {}, {"metadata": {}}, {"metadata": {"all_joints_names": ["a"]}, "frame0": {}}])
def test_what_is_neither_is_an_error_with_its_name(tmp_path, content):
    path = tmp_path / "odd.pickle"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(ProjectError, match=r"odd\.pickle"):
        read_meta(path)
    if content == {"metadata": {"all_joints_names": ["a"]}, "frame0": {}}:
        assert read_full(path).detections.span == (0, 1)
    else:
        with pytest.raises(ProjectError, match=r"odd\.pickle"):
            read_full(path)


@pytest.mark.data
def test_a_file_of_the_tensorflow_engine(shoal_data: Path, tmp_path):
    full = read_full(shoal_data / "dlc_trimouse_algo" / "trimouse_full.pickle")
    assert full.poses is None and full.edges.shape == (66, 2) and full.keypoints[0] == "snout"
    assert (len(full.detections), len(np.unique(full.detections.frame))) == (1901, 50)
    path = tmp_path / "again_full.pickle"
    write_full(path, full.detections, keypoints=full.keypoints, n_frames=50, n_individuals=3, edges=full.edges)
    again = read_full(path)
    for name in ("frame", "number", "keypoint", "xy", "confidence", "limb_frame", "source", "target", "affinity"):
        assert np.array_equal(getattr(again.detections, name), getattr(full.detections, name)), name
