from __future__ import annotations

import pytest

from shoal.errors import VideoError
from shoal.run.videos import expand_videos


def test_folders_stand_for_their_videos(tmp_path):
    for name in ("b.MP4", "a.avi", "notes.txt", ".hidden.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "empty").mkdir()
    single = tmp_path / "elsewhere.xyz"
    assert expand_videos([single, tmp_path]) == [single, tmp_path / "a.avi", tmp_path / "b.MP4"]
    with pytest.raises(VideoError, match="expected videos"):
        expand_videos([tmp_path / "empty"])


def test_folders_of_folders_without_what_was_made_of_videos(tmp_path):
    for name in ("day/1/a.mp4", "day/2/a.mp4", "day/a.shoal/export/a_labeled.mp4", "day/1/aDLC_labeled.mp4", "b.mkv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    wanted = [tmp_path / name for name in ("b.mkv", "day/1/a.mp4", "day/2/a.mp4")]
    assert expand_videos([tmp_path, tmp_path / "day" / "1" / "a.mp4"], is_recursive=True) == wanted
    assert expand_videos([tmp_path]) == wanted[:1]
    with pytest.raises(VideoError) as error:
        expand_videos([tmp_path / "day"])
    assert "--recursive" in error.value.hint
