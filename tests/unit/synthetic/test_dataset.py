from dataclasses import replace

import av
import numpy as np
import pytest

from shoal.errors import ArtifactError
from shoal.io.dlc.project import read_project
from shoal.io.video import probe, read_frames
from shoal.synthetic.dataset import MIN_SEEN, make_project, make_truth, make_video, truth_of
from shoal.synthetic.scenes import KEYPOINTS, SCENES

SMALL = replace(
    SCENES["demo"],
    width=320,
    height=240,
    n_fish=3,
    margins=(8.0, 8.0, 40.0, 8.0),
    megabit_s=1.5,
    skin=replace(SCENES["demo"].skin, body_px=(40.0, 60.0)),
)


def test_video_has_every_frame_and_its_truth_can_be_read_back(tmp_path):
    seen = []
    truth = make_video(SMALL, tmp_path / "v.mp4", seed=3, n_frames=20, on_progress=lambda *a: seen.append(a))
    info = probe(tmp_path / "v.mp4")
    assert (info.n_frames, info.width, info.height, float(info.fps)) == (20, 320, 240, 30.0)
    assert info.codec == "h264"
    assert seen[-1] == ("render", 20, 20)
    back = truth_of(tmp_path / "v.mp4")
    for name in ("full_xy", "hidden", "covered", "lengths"):
        np.testing.assert_array_equal(getattr(back, name), getattr(truth, name))
    np.testing.assert_array_equal(back.tracks.poses.xy, truth.tracks.poses.xy)
    np.testing.assert_array_equal(back.reflections.poses.xy, truth.reflections.poses.xy)
    np.testing.assert_array_equal(back.reflections.track, truth.reflections.track)
    np.testing.assert_array_equal(back.crossings.stop, truth.crossings.stop)
    assert back.names == truth.names == ("fish1", "fish2", "fish3")


def test_same_seed_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        make_video(SMALL, tmp_path / f"{name}.mp4", seed=5, n_frames=12)
    make_video(SMALL, tmp_path / "c.mp4", seed=6, n_frames=12)
    truth = [(tmp_path / f"{name}.truth.npz").read_bytes() for name in "abc"]
    video = [(tmp_path / f"{name}.mp4").read_bytes() for name in "abc"]
    assert truth[0] == truth[1] != truth[2]
    assert video[0] == video[1] != video[2]


def test_truth_needs_no_video(tmp_path):
    rendered = make_video(SMALL, tmp_path / "v.mp4", seed=3, n_frames=6)
    np.testing.assert_array_equal(make_truth(SMALL, seed=3, n_frames=6).full_xy, rendered.full_xy)


def test_a_video_without_truth_says_so(tmp_path):
    with pytest.raises(ArtifactError, match="ground truth"):
        truth_of(tmp_path / "none.mp4")


def test_keypoints_lie_on_the_fish_in_the_decoded_picture(tmp_path):
    """A darker body against the floor: the picture at visible back keypoints differs from the empty tank."""
    scene = replace(SMALL, look=replace(SMALL.look, caustics=0.0, ripple_px=0.0, drift=0.0, shadow=0.0))
    truth = make_video(scene, tmp_path / "v.mp4", seed=4, n_frames=40)
    frames = np.concatenate([b.images for b in read_frames(tmp_path / "v.mp4")]).mean(-1)
    empty = np.median(frames[::4], axis=0)
    xy = truth.tracks.poses.xy.reshape(40, 3, 9, 2)[:, :, 3:5]
    f, a, k = np.nonzero(np.isfinite(xy).all(-1))
    x, y = xy[f, a, k].astype(int).T
    on = np.abs(frames[f, y, x] - empty[y, x])
    off = np.abs(frames[f, y, np.clip(x + 60, 0, 319)] - empty[y, np.clip(x + 60, 0, 319)])
    assert np.median(on) > 4 * np.median(off)


def test_project_reads_back_with_reflections_only_if_asked(tmp_path):
    for reflections in (False, True):
        folder = tmp_path / str(reflections)
        config = make_project(folder, SMALL, seed=2, n_frames=8, n_videos=2, reflections=reflections)
        project = read_project(config)
        assert project.problems == ()
        assert project.skeleton.keypoints == KEYPOINTS
        assert len(project.labels) == 8
        assert len(project.videos) == 2
        assert any(name.startswith("reflection") for name in project.individuals) == reflections
        for label in project.labels:
            count = np.isfinite(label.xy).all(-1).sum(-1)
            assert set(count) & set(range(1, MIN_SEEN)) == set()
    with av.open(str(project.videos[0])) as container:
        assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"


def test_labels_equal_truth_at_their_frames(tmp_path):
    project = read_project(make_project(tmp_path, SMALL, seed=2, n_frames=4, n_videos=1, reflections=False))
    truth = truth_of(project.videos[0])
    xy = truth.tracks.poses.xy.reshape(-1, 3, 9, 2)
    for label in project.labels:
        for animal, number in zip(label.xy, label.individual, strict=True):
            np.testing.assert_allclose(animal, xy[label.frame, number], atol=1e-3)
