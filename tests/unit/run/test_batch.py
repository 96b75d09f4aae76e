from __future__ import annotations

from pathlib import Path

import pytest

from shoal.errors import PartialFailure, Stopped, VideoError
from shoal.run.batch import for_each, raise_failures


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
