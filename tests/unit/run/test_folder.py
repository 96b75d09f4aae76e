from __future__ import annotations

import numpy as np
import pytest

from shoal.errors import ArtifactError
from shoal.io.artifacts import save_table, write_json
from shoal.run.folder import (
    ModelCard,
    TrackColumn,
    open_folder,
    plan_spans,
    read_card,
    read_tracks,
    table_path,
    write_card,
)
from shoal.types import Poses, Skeleton


def test_the_model_card_survives(tmp_path):
    skeleton = Skeleton(("nose", "left", "right"), [[0, 1], [0, 2]], [0, 2, 1], ("lamp",))
    write_card(tmp_path, ModelCard("pose", "abc", skeleton, np.array([[1, 2]]), ("a", "b"), "cuda", file="def"))
    card = read_card(tmp_path)
    found = (card.name, card.sha, card.individuals, card.device, card.file)
    assert found == ("pose", "abc", ("a", "b"), "cuda", "def")
    assert card.edges.tolist() == [[1, 2]] and card.skeleton.unique == ("lamp",)
    assert card.skeleton.edges.tolist() == [[0, 1], [0, 2]] and np.asarray(card.skeleton.mirror).tolist() == [0, 2, 1]


def test_a_damaged_card_is_an_artifact_error(tmp_path):
    write_json(tmp_path / "model.json", {"name": "pose"})
    with pytest.raises(ArtifactError, match=r"model\.json"):
        read_card(tmp_path)


def test_a_folder_that_is_no_run(tmp_path):
    with pytest.raises(ArtifactError, match=r"without video\.json") as error:
        open_folder(tmp_path)
    assert "shoal analyze" in error.value.hint


def test_tracks_of_a_part_come_from_the_spans_that_touch_it(tmp_path):
    write_json(tmp_path / "plan.json", {"n_frames": 10, "chunk_frames": 4})
    for start, stop in plan_spans(tmp_path):
        frames = np.arange(start, stop)
        poses = Poses(
            frames, 0 * frames, np.zeros((len(frames), 1, 2)), np.ones((len(frames), 1)), frames, (start, stop)
        )
        save_table(table_path(tmp_path, "poses", (start, stop)), poses)
        save_table(table_path(tmp_path, "tracks", (start, stop)), TrackColumn(frames, (start, stop)))
    part = read_tracks(tmp_path, start=5, stop=8)
    assert part.span == (4, 8) and part.track.tolist() == [4, 5, 6, 7]
    assert read_tracks(tmp_path).span == (0, 10)
    table_path(tmp_path, "tracks", (4, 8)).unlink()
    with pytest.raises(ArtifactError, match="000000004-000000008"):
        read_tracks(tmp_path)
