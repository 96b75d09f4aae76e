from __future__ import annotations

from pathlib import Path

import pytest

from shoal.errors import PartialFailure, Stopped, VideoError
from shoal.run.batch import expand_videos, for_each, raise_failures


def fail_on(*names: str, error: Exception):
    def work(path: Path) -> str:
        if path.name in names:
            raise error
        return path.name

    return work


def test_one_bad_video_neither_stops_nor_hides():
    done = for_each([Path("a"), Path("b"), Path("c")], fail_on("b", error=VideoError("empty file\nwhere: b")))
    assert done.results == ["a", "c"]
    with pytest.raises(PartialFailure, match="1 of 3 failed") as failure:
        raise_failures(done)
    assert failure.value.failures == [("b", "empty file")] and failure.value.exit_code == 5


def test_a_bug_is_listed_too(caplog):
    done = for_each([Path("a"), Path("b")], fail_on("a", error=ZeroDivisionError("oops")))
    assert done.results == ["b"] and done.failures == [("a", "bug: ZeroDivisionError: oops")]
    assert "Traceback" in caplog.text


def test_a_single_failure_is_raised_as_it_is():
    done = for_each([Path("a")], fail_on("a", error=VideoError("empty file")))
    with pytest.raises(VideoError, match="empty file"):
        raise_failures(done)
    raise_failures(for_each([Path("a")], fail_on(error=VideoError(""))))


def test_a_stop_ends_the_batch():
    with pytest.raises(Stopped):
        for_each([Path("a"), Path("b")], fail_on("a", error=Stopped("stopped")))


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
