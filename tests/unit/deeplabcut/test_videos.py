import pytest

from shoal.deeplabcut.videos import collect_videos
from shoal.errors import VideoError


@pytest.fixture
def folder(tmp_path):
    for name in (
        "b.mp4",
        "a.AVI",
        "a_labeled.mp4",
        "bDLC_x_full.mp4",
        "notes.txt",
        ".hidden.mp4",
        "sub/c.mp4",
        "d.xyz",
    ):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    return tmp_path


def names(found):
    return [path.name for path in found]


def test_folders_are_looked_into_one_level_and_made_videos_are_left_out(folder):
    assert names(collect_videos(folder)) == ["a.AVI", "b.mp4"]
    assert names(collect_videos([folder, folder / "b.mp4", folder / "sub"])) == ["a.AVI", "b.mp4", "c.mp4"]


@pytest.mark.parametrize("extension", [".avi", "avi", "AVI", ["mp4x", ".avi"]])
def test_extensions_come_with_or_without_the_dot(folder, extension):
    assert names(collect_videos([folder], extension)) == ["a.AVI"]


def test_a_file_given_by_name_needs_no_known_extension(folder):
    assert names(collect_videos(str(folder / "d.xyz"))) == ["d.xyz"]
    assert names(collect_videos([folder / "d.xyz", folder / "b.mp4"], "mp4")) == ["b.mp4"]


def test_nothing_found_is_an_error_that_names_the_place(folder):
    for wrong in (folder / "none.mp4", folder / "a_labeled.mp4"):
        with pytest.raises(VideoError, match=wrong.name):
            collect_videos([wrong])
