import cv2
import numpy as np
import pytest

from shoal.errors import ProjectError
from shoal.io.dlc.config_file import edit_config, read_config
from shoal.io.dlc.labels import write_labels
from shoal.io.dlc.pose_table import PoseTable, read_pose_table, write_pose_table
from shoal.io.video import VideoWriter
from shoal.run.labeling import draw_labels, extract_frames, extract_outliers
from shoal.run.projects import create_project
from shoal.types import Skeleton

N = 40
SKELETON = Skeleton(("bodypart1", "bodypart2", "bodypart3"))


@pytest.fixture
def project(tmp_path):
    with VideoWriter(tmp_path / "clip.mp4", fps=25, preset="ultrafast", crf=4) as writer:
        for frame in range(N):
            image = np.full((48, 64, 3), 20, np.uint8)
            image[:, : 8 + 8 * (frame // 10)] = 200
            writer.write(image)
    path = create_project("fish", "me", [tmp_path / "clip.mp4"], parent=tmp_path, individuals=("a", "b"))
    edit_config(path, values={"numframes2pick": 4})
    return path.parent


def shade(path):
    return int((cv2.imread(str(path))[:, :, 0] > 100).sum(axis=1).mean().round())


@pytest.mark.parametrize("algorithm", ["kmeans", "uniform"])
def test_frames_are_the_videos_own_and_enough_is_enough(project, algorithm):
    folder = project / "labeled-data" / "clip"
    written = extract_frames(project, algorithm=algorithm)
    assert len(written) == 4 and set(written) == set(folder.glob("img*.png"))
    for image in written:
        assert shade(image) == 8 + 8 * (int(image.stem[3:]) // 10)
    if algorithm == "kmeans":
        assert {shade(image) for image in written} == {8, 16, 24, 32}, "every kind of picture once"
    assert extract_frames(project, algorithm=algorithm) == ()
    more = extract_frames(project, algorithm=algorithm, add=True)
    assert len(more) == 4 and len(list(folder.glob("*.png"))) == 8


def test_crops_are_cut_and_only_part_of_the_video_counts(project):
    path = project / "config.yaml"
    path.write_text(path.read_text().replace("0, 64, 0, 48", "4, 24, 6, 46"))
    edit_config(path, values={"start": 0.5, "stop": 1})
    written = extract_frames(project, crop=True)
    assert all(cv2.imread(str(image)).shape == (40, 20, 3) and int(image.stem[3:]) >= N // 2 for image in written)


def test_no_video_is_an_error_with_its_name(project):
    (project / "videos" / "clip.mp4").unlink()
    with pytest.raises(ProjectError, match="clip"):
        extract_frames(project)


def test_labels_are_drawn_where_they_are(project):
    extract_frames(project, algorithm="uniform")
    folder = project / "labeled-data" / "clip"
    images = sorted(p.name for p in folder.glob("*.png"))
    xy = np.full((len(images), 1, 3, 2), np.nan)
    xy[:, 0, 0] = (40, 24)
    write_labels(folder, scorer="me", skeleton=SKELETON, individuals=("a", "b"), images=images, xy=xy)
    drawn = draw_labels(project, scale=2)
    assert len(drawn) == len(images) and drawn[0].parent.name == "clip_labeled"
    picture, plain = cv2.imread(str(drawn[0])), cv2.imread(str(folder / images[0]))
    plain = cv2.resize(plain, None, fx=2, fy=2, interpolation=cv2.INTER_AREA)
    ys, xs = np.nonzero(np.abs(picture.astype(int) - plain).max(axis=2) > 30)
    assert abs(ys.max() - 48) < 6 and abs(xs.mean() - 80) < 12


def tracks(path, *, jump_at=20):
    columns = [("net", i, k, c) for i in "ab" for k in SKELETON.keypoints for c in ("x", "y", "likelihood")]
    values = np.tile(np.array([10.0, 10, 0.9]), (N, 6))
    values[jump_at, 0] = 60
    values[5, 2] = 0.001
    index = tuple((str(i),) for i in range(N))
    write_pose_table(path, PoseTable(tuple(columns), index, values), key="tracks", layout="table")
    return path


@pytest.mark.parametrize(
    ("rule", "frames"), [("jump", [20, 21]), ("uncertain", [5]), ("list", [1, 7]), ("fitting", [])]
)
def test_outlier_frames_become_labels_to_correct(project, rule, frames):
    table = tracks(project / "tracks.h5")
    video = project / "videos" / "clip.mp4"
    extract_outliers(project, video, table, rule=rule, frames=[7, 1], draw=True)
    folder = project / "labeled-data" / "clip"
    assert [p.name for p in sorted(folder.glob("img??.png"))] == [f"img{f:02d}.png" for f in frames]
    if not frames:
        return
    labels = read_pose_table(folder / "machinelabels-iter0.h5")
    assert labels.index == tuple(("labeled-data", "clip", f"img{f:02d}.png") for f in frames)
    assert (labels.values[0] == read_pose_table(table).values[frames[0]]).all()
    assert (folder / "machinelabels.csv").is_file() and (folder / f"img{frames[0]:02d}labeled.png").is_file()


def test_a_second_round_adds_to_the_machine_labels(project):
    video = project / "videos" / "clip.mp4"
    extract_outliers(project, video, tracks(project / "one.h5", jump_at=20))
    extract_outliers(project, video, tracks(project / "two.h5", jump_at=21))
    labels = read_pose_table(project / "labeled-data" / "clip" / "machinelabels-iter0.h5")
    assert [row[-1] for row in labels.index] == ["img20.png", "img21.png", "img22.png"]
    assert labels.values[1, 0] == 60, "the later answer about the same frame counts"


def test_a_video_that_the_project_lacks_is_added(project):
    other = project / "other.mp4"
    other.symlink_to((project / "videos" / "clip.mp4").resolve())
    extract_outliers(project, other, tracks(project / "tracks.h5"))
    assert str(project / "videos" / "other.mp4") in read_config(project).videos
    with pytest.raises(ProjectError):
        extract_outliers(project, other, project / "config.yaml")
